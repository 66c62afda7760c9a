"""Load the denoiser that the model section of a config describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

import torch

from mdm_tune.config.models import (
    CustomConfig,
    ExactLaw,
    HuggingFaceConfig,
    ModelConfig,
    PluginModelConfig,
    Section,
    TransformerModelConfig,
)
from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.files import bundled
from mdm_tune.core.messages import shown, shown_path
from mdm_tune.core.permissions import Permissions
from mdm_tune.core.text import Symbols
from mdm_tune.denoisers.analytic import MarkovChain, Mixture, Parity, RepeatedBit, Table
from mdm_tune.denoisers.compiling import as_compiled, check_compiler, compile_denoiser
from mdm_tune.denoisers.law import Law
from mdm_tune.denoisers.loaded import LoadedModel
from mdm_tune.denoisers.precision import bfloat16_notes
from mdm_tune.denoisers.transformer import load_transformer

__all__ = ["law_of", "load_model", "place_replicas"]

PROBE = 8  # tokens of the rows with which a compiled transformer is called first


def place_replicas(
    config: ModelConfig, devices: Sequence[str], allow: Permissions = Permissions()
) -> tuple[tuple[str, ...], dict[str, int] | None]:
    """Choose the device of each replica, before anything is loaded.

    The choice follows from the size of the weights' files and the free memory of the GPUs.

    Args:
        config: The model section.
        devices: Names of the devices, such as ``cuda:0``.
        allow: What the user allows; a checkpoint's own code needs ``trust_code``.

    Returns:
        The device of each replica, and None. If one replica is spread over all devices, only the first device, and the
        free bytes of each device.

    Raises:
        InputError: If the model fits on no device alone and may not, or cannot, be spread over all of them.
    """
    if not isinstance(config, HuggingFaceConfig) or "cpu" in devices:
        return tuple(devices), None
    from mdm_tune.denoisers.checkpoint import open_checkpoint
    from mdm_tune.denoisers.placement import groups_of_devices

    free = {device: torch.cuda.mem_get_info(device)[0] for device in devices}
    size = open_checkpoint(config.path, config.revision, allow.trust_code).weight_bytes(config.dtype)
    groups = groups_of_devices(size, free, config.device_map)
    return (tuple(devices), None) if len(groups) == len(devices) else (groups[0][:1], free)


def load_model(
    config: ModelConfig,
    device: str = "cpu",
    allow: Permissions = Permissions(),
    free: Mapping[str, int] | None = None,
) -> LoadedModel:
    """Load the denoiser that the model section describes. Exact laws stay on the CPU.

    Args:
        config: The model section.
        device: Name of the device.
        allow: What the user allows.
        free: Free bytes of several devices; a checkpoint's layers are spread over them instead of ``device``.

    Raises:
        InputError: If the model cannot be loaded or compiled, or needs code that is not allowed to run.
    """
    if not isinstance(config, Section):
        raise InputError(
            f"load_model takes the section model of a config, got {shown(config)}; give load_config(path).model"
        )
    if not isinstance(config, HuggingFaceConfig | CustomConfig | PluginModelConfig | TransformerModelConfig):
        law = _exact_law(config)
        return LoadedModel(
            denoiser=law,
            codec=Symbols(law.symbols),
            length=law.length,
            notes=(),
            fingerprint=short_digest(config.model_dump_json()),
        )
    if not config.compile:
        return _load_network(config, device, allow, free)
    if free is not None:
        raise InputError(
            f"model.compile: compiles a model on one device, got one that is spread over {len(free)}; set "
            "model.compile to false"
        )
    check_compiler(device)
    return as_compiled(_load_network(config, device, allow, free))


def _load_network(
    config: HuggingFaceConfig | CustomConfig | PluginModelConfig | TransformerModelConfig,
    device: str,
    allow: Permissions,
    free: Mapping[str, int] | None,
) -> LoadedModel:
    match config:
        case HuggingFaceConfig():
            from mdm_tune.denoisers.huggingface import load_huggingface

            return load_huggingface(config, trust_code=allow.trust_code, device=device, free=free)
        case CustomConfig() | PluginModelConfig():
            from mdm_tune.denoisers.custom import load_custom

            return load_custom(config, trust_code=allow.trust_code, device=device)
        case TransformerModelConfig():
            return _load_transformer(config, device)


def _load_transformer(config: TransformerModelConfig, device: str) -> LoadedModel:
    model = load_transformer(bundled(config.path))
    parts = [
        part
        for name, weight in sorted(model.state_dict().items())
        for part in (name.encode(), weight.numpy().tobytes())
    ]
    notes: tuple[str, ...] = ()
    if config.dtype == "bfloat16":
        model, parts, notes = model.to(torch.bfloat16), [*parts, b"bfloat16"], bfloat16_notes(device)
    model = model.to(device)
    if config.compile:
        rows = torch.full((2, min(model.length, PROBE)), model.mask_id, device=device)
        compile_denoiser(model, model, rows, f"model.path: {shown_path(config.path)}")
    return LoadedModel(
        denoiser=model,
        codec=Symbols(model.symbols, model.end_tokens),
        length=model.length,
        notes=notes,
        fingerprint=short_digest(*parts),
        doubts=notes,
    )


def law_of(model: LoadedModel) -> Law | None:
    """The model's exact law, or None if its denoiser is a network or a user's own."""
    return model.denoiser if isinstance(model.denoiser, Law) else None


def _exact_law(config: ExactLaw) -> Law:
    match config.type:
        case "markov":
            if config.flip is not None:
                chain = MarkovChain.sticky(config.symbols, config.flip, config.length)
                return MarkovChain(chain.transition, config.start, config.length) if config.start else chain
            assert config.transition is not None  # the config has exactly one of the two
            start = config.start or (1 / config.symbols,) * config.symbols
            return MarkovChain(config.transition, start, config.length)
        case "repeated-bit":
            return RepeatedBit(config.length)
        case "parity":
            return Parity(config.length)
        case "table":
            return Table(tuple(config.probabilities), tuple(config.probabilities.values()))
        case "mixture":
            return Mixture(config.weights, config.components)
    assert_never(config)
