"""A denoiser that a user's own function builds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mdm_tune.config.models import CustomConfig, PluginModelConfig
from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.guard import calling, safe_repr
from mdm_tune.core.messages import shown_path
from mdm_tune.core.plugins import load_plugin, plugin_named
from mdm_tune.core.trust import load_target, options_text
from mdm_tune.denoisers.checks import ExaminedDenoiser, check_denoiser, check_parts
from mdm_tune.denoisers.codecs import custom_codec
from mdm_tune.denoisers.compiling import compile_denoiser
from mdm_tune.denoisers.guarded import GuardedDenoiser
from mdm_tune.denoisers.lengths import EqualLengths
from mdm_tune.denoisers.loaded import LoadedModel

__all__ = ["load_custom"]

ROWS = 2
LONGEST = 65_536  # longest sequence, as in a config
CALLS = 64  # most calls to draw the rows of the checks


def load_custom(config: CustomConfig | PluginModelConfig, *, trust_code: bool, device: str = "cpu") -> LoadedModel:
    """Call the function of the model section with its options, and check the denoiser that it returns.

    The function is one of a file, or the plugin of another package.

    A function with an argument ``device`` receives the device. If it has none and returns a module, the module is moved
    to the device. The denoiser must have ``codec`` or ``symbols`` (one character per token) and, unless the config has
    ``model.length``, a whole number ``length``.

    Args:
        config: The model section.
        trust_code: Whether the user's code may run.
        device: Name of the device.

    Raises:
        InputError: If ``trust_code`` is False, the function cannot be called, or a check fails.
    """
    build, where, file, fingerprint = _function(config, trust_code)
    options = dict(config.options)
    place = f"with model.options [{', '.join(map(safe_repr, sorted(options)))}]"
    with calling(where, "correct it", file=file, place=place, loading=True):
        takes_device = "device" in _parameters(build)
        if takes_device:
            options.setdefault("device", device)
        model = build(**options)
        if isinstance(model, nn.Module):
            model = model.eval().requires_grad_(False)
            model = model if takes_device else model.to(device)
        length = config.length or getattr(model, "length", None)
    if not isinstance(length, int) or isinstance(length, bool) or not 3 <= length <= LONGEST:
        raise InputError(
            f"{where} must return a denoiser with a whole number length, at least 3 and at most {LONGEST}, got "
            f"{safe_repr(length)}; add it, or set model.length"
        )
    examined = ExaminedDenoiser(model, where, file)
    codec = custom_codec(model, where, file)
    if config.compile:  # before the checks, which then check the compiled code
        if not isinstance(model, nn.Module):
            raise InputError(
                f"{where}: model.compile needs a denoiser that is an nn.Module, got {type(model).__name__}; set "
                "model.compile to false"
            )
        hidden = torch.full((ROWS, length), examined.denoiser.mask_id, device=device)
        compile_denoiser(examined.denoiser, model, hidden, where, whole=True)
    rows, guarded = _rows(examined, length, device), GuardedDenoiser(model, where, file)
    checked, notes = check_denoiser(examined, rows, slice(0, length))
    if guarded.parts is not None:
        check_parts(examined, guarded.parts, rows)
    denoiser = EqualLengths(guarded) if isinstance(checked, EqualLengths) else guarded
    return LoadedModel(denoiser=denoiser, codec=codec, length=length, notes=tuple(notes), fingerprint=fingerprint)


def _function(config: CustomConfig | PluginModelConfig, trust_code: bool) -> tuple[Callable[..., Any], str, Path, str]:
    """The function, its name in messages, its file, and sixteen hex digits of the file and the options.

    Other files that the function loads do not count. Raises InputError if it cannot be loaded.
    """
    if isinstance(config, CustomConfig):
        function = load_target(config.target, trust_code, "model.target")
        path, _, name = config.target.rpartition(":")
        fingerprint = short_digest(Path(path).read_bytes(), options_text([name, config.options]))
        return function, f"model.target: {shown_path(config.target)}", Path(path), fingerprint
    plugin = plugin_named("denoisers", config.type)
    assert plugin is not None  # the config refuses other names
    function, where = load_plugin(plugin, "model.type", trust_code), f"model.type: {plugin.name} of {plugin.origin}"
    if not callable(function):
        raise InputError(
            f"{where} must be a function that returns a denoiser, got {type(function).__name__}; correct that package"
        )
    return function, where, plugin.file, plugin.fingerprint(options_text(config.options))


def _parameters(build: Callable[..., Any]) -> Iterable[str]:
    try:
        return inspect.signature(build).parameters
    except ValueError:  # raised for code that is not Python
        return ()


def _rows(examined: ExaminedDenoiser, length: int, device: str) -> Tensor:
    """Rows (2, length) drawn from the denoiser, so that a law with impossible texts is checked on possible ones."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.full((ROWS, length), examined.denoiser.mask_id, device=device)
    for columns in torch.randperm(length, generator=generator).tensor_split(min(length, CALLS)):
        wanted = torch.zeros_like(tokens, dtype=torch.bool)
        wanted[:, columns] = True
        drawn = torch.multinomial(examined(tokens, wanted).exp().cpu(), 1, generator=generator)
        tokens[wanted] = drawn.squeeze(1).to(device)
    return tokens
