"""The model section of a config as a live denoiser, with what else a run must know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

import torch

from mdm_tune.config.models import ExactLaw, ModelConfig
from mdm_tune.core.digests import short_digest
from mdm_tune.core.files import bundled
from mdm_tune.core.permissions import Permissions
from mdm_tune.core.text import Symbols
from mdm_tune.denoisers.analytic import MarkovChain, Mixture, Parity, RepeatedBit, Table
from mdm_tune.denoisers.law import Law
from mdm_tune.denoisers.loaded import LoadedModel
from mdm_tune.denoisers.transformer import load_transformer

__all__ = ["law_of", "load_model", "place_replicas"]


def place_replicas(
    config: ModelConfig, devices: Sequence[str], allow: Permissions = Permissions()
) -> tuple[tuple[str, ...], dict[str, int] | None]:
    """The device of each replica and, where one replica lies on all of the devices, their free bytes.

    Looks at the size of the weights' files and at the memory of the GPUs, before anything is loaded.

    Raises InputError where the model fits on none of them alone and may not, or cannot, lie on all.
    """
    if config.type != "huggingface" or "cpu" in devices:
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
    """The denoiser that the model section describes, on a device; exact laws stay on the CPU.

    free: the devices, with their free bytes, that a checkpoint's layers are laid over in place of the one.

    Raises InputError for whatever cannot be loaded, and for code that nobody has allowed.
    """
    match config.type:
        case "huggingface":
            from mdm_tune.denoisers.huggingface import load_huggingface

            return load_huggingface(config, trust_code=allow.trust_code, device=device, free=free)
        case "custom":
            from mdm_tune.denoisers.custom import load_custom

            return load_custom(config, trust_code=allow.trust_code, device=device)
        case "transformer":
            model = load_transformer(bundled(config.path))
            weights = [
                part
                for name, weight in sorted(model.state_dict().items())
                for part in (name.encode(), weight.numpy().tobytes())
            ]
            return LoadedModel(
                denoiser=model.to(device),
                codec=Symbols(model.symbols),
                length=model.length,
                notes=(),
                fingerprint=short_digest(*weights),
            )
    law = _law(config)
    return LoadedModel(
        denoiser=law,
        codec=Symbols(law.symbols),
        length=law.length,
        notes=(),
        fingerprint=short_digest(config.model_dump_json()),
    )


def law_of(model: LoadedModel) -> Law | None:
    """The denoiser, where its law is known exactly."""
    return model.denoiser if isinstance(model.denoiser, Law) else None


def _law(config: ExactLaw) -> Law:
    match config.type:
        case "markov":
            if config.flip is not None:
                even = MarkovChain.sticky(config.symbols, config.flip, config.length)
                return MarkovChain(even.transition, config.start, config.length) if config.start else even
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
