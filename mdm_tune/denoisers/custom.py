"""A denoiser that a user's own function returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mdm_tune.config.models import CustomConfig
from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.guard import calling, safe_repr
from mdm_tune.core.messages import shown_path
from mdm_tune.core.trust import load_target, options_text
from mdm_tune.denoisers.checks import Examined, check_denoiser
from mdm_tune.denoisers.codecs import codec_of
from mdm_tune.denoisers.guarded import OwnDenoiser
from mdm_tune.denoisers.lengths import EqualLengths
from mdm_tune.denoisers.loaded import LoadedModel

__all__ = ["load_custom"]

ROWS = 2
LONGEST = 65_536  # of a sequence, as in a config
CALLS = 64  # to draw the rows of the checks


def load_custom(config: CustomConfig, *, trust_code: bool, device: str = "cpu") -> LoadedModel:
    """Call the function that the model section names with its options, and check what it returns.

    It is also given ``device`` where it takes an argument of that name; a module from one that does not is moved there.
    What it returns satisfies ``Denoiser`` and has ``codec`` or ``symbols`` (one character per token) and, unless the
    config has ``model.length``, a whole number ``length``.

    Raises InputError without ``trust_code``, where the function cannot be called, and for the first failing check.
    """
    build = load_target(config.target, trust_code, "model.target")
    where, file = f"model.target: {shown_path(config.target)}", Path(config.target.rpartition(":")[0])
    options = dict(config.options)
    named = f"with model.options [{', '.join(map(safe_repr, sorted(options)))}]"
    with calling(where, "correct it", file=file, place=named, loading=True):
        placed = "device" in _parameters(build)
        if placed:
            options.setdefault("device", device)
        made = build(**options)
        if isinstance(made, nn.Module):
            made = made.eval().requires_grad_(False)
            made = made if placed else made.to(device)
        length = config.length or getattr(made, "length", None)
    if not isinstance(length, int) or isinstance(length, bool) or not 3 <= length <= LONGEST:
        raise InputError(
            f"{where} must return a denoiser with a whole number length, at least 3 and at most {LONGEST}, got "
            f"{safe_repr(length)}; add it, or set model.length"
        )
    examined = Examined(made, where, file)
    codec = codec_of(made, where, file)
    found, notes = check_denoiser(examined, _rows(examined, length, device), slice(0, length))
    own = OwnDenoiser(made, where, file)
    guarded = EqualLengths(own) if isinstance(found, EqualLengths) else own
    return LoadedModel(
        denoiser=guarded, codec=codec, length=length, notes=tuple(notes), fingerprint=_fingerprint(config)
    )


def _parameters(build: Callable[..., Any]) -> Iterable[str]:
    try:
        return inspect.signature(build).parameters
    except ValueError:  # of code that is not Python
        return ()


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
    told = options_text([config.target.rpartition(":")[2], config.options])
    return short_digest(source, told)
