"""A denoiser that a user's own function returns."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from mdm_tune.config.models import CustomConfig
from mdm_tune.denoisers.checks import Examined, checked
from mdm_tune.denoisers.codecs import codec_of
from mdm_tune.denoisers.loaded import Loaded
from mdm_tune.errors import InputError
from mdm_tune.trust import described, load_target

__all__ = ["load_custom"]

ROWS = 2
CALLS = 64  # to draw the rows of the checks


def load_custom(config: CustomConfig, *, trust_code: bool, device: str = "cpu") -> Loaded:
    """Call the function that the model section names with its options, and check what it returns.

    It is also given ``device`` where it takes an argument of that name; a module from one that does not is moved there.
    What it returns satisfies ``Denoiser`` and has ``codec`` or ``symbols`` (one character per token) and, unless the
    config has ``model.length``, a whole number ``length``.

    Raises InputError without ``trust_code``, where the function cannot be called, and for the first failing check.
    """
    build = load_target(config.target, trust_code, "model.target")
    where = f"model.target: {config.target}"
    options = dict(config.options)
    try:
        placed = "device" in inspect.signature(build).parameters
        if placed:
            options.setdefault("device", device)
        made = build(**options)
    except InputError:
        raise
    except Exception as error:
        file = Path(config.target.rpartition(":")[0])
        raise InputError(
            f"{where} failed with model.options {sorted(config.options)}: {described(error, file)}; correct it"
        ) from error
    if isinstance(made, nn.Module):
        made = made.eval().requires_grad_(False)
        made = made if placed else made.to(device)
    length = config.length or getattr(made, "length", None)
    if not isinstance(length, int) or isinstance(length, bool) or length < 3:
        raise InputError(
            f"{where} must return a denoiser with a whole number length, at least 3, got {length!r}; "
            "add it, or set model.length"
        )
    examined = Examined(made, where)
    codec = codec_of(made, where, Path(config.target.rpartition(":")[0]))
    found, notes = checked(examined, _rows(examined, length, device), slice(0, length))
    return Loaded(found, codec, length, tuple(notes), _fingerprint(config))


def _rows(examined: Examined, length: int, device: str) -> Tensor:
    """Rows that the denoiser itself draws, so that a law with impossible texts is asked about possible ones."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.full((ROWS, length), examined.denoiser.mask_id, device=device)
    for places in torch.randperm(length, generator=generator).tensor_split(min(length, CALLS)):
        wanted = torch.zeros_like(tokens, dtype=torch.bool)
        wanted[:, places] = True
        drawn = torch.multinomial(examined(tokens, wanted).exp().cpu(), 1, generator=generator)
        tokens[wanted] = drawn.squeeze(1).to(device)
    return tokens


def _fingerprint(config: CustomConfig) -> str:
    """Sixteen hex digits of the file and the options: what the function loads beside them is not seen."""
    source = Path(config.target.rpartition(":")[0]).read_bytes()
    told = json.dumps([config.target.rpartition(":")[2], config.options], sort_keys=True, default=str)
    return hashlib.sha256(source + told.encode()).hexdigest()[:16]
