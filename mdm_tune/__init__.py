"""Tune the mask schedule of masked diffusion models.

A public name is loaded at its first use, so that reading a schedule file does not import torch.
"""

from __future__ import annotations

from mdm_tune.version import __version__

TYPE_CHECKING = False  # importing it from typing would double the import time of this package
if TYPE_CHECKING:
    from typing import Any

    from mdm_tune.denoisers.transformer import Transformer, TransformerConfig, load_transformer, save_transformer
    from mdm_tune.run.folder import load_schedule
    from mdm_tune.sampling.unmasking import unmask
    from mdm_tune.schedules.counts import to_counts
    from mdm_tune.schedules.curves import parse_schedule
    from mdm_tune.schedules.energy import (
        beta_energy,
        conditional_kinetic_energy,
        geodesic_energy,
        kinetic_energy,
        path_energy,
    )

__all__ = [
    "Transformer",
    "TransformerConfig",
    "__version__",
    "beta_energy",
    "conditional_kinetic_energy",
    "geodesic_energy",
    "kinetic_energy",
    "load_schedule",
    "load_transformer",
    "parse_schedule",
    "path_energy",
    "save_transformer",
    "to_counts",
    "unmask",
]

_MODULES = {
    "Transformer": "denoisers.transformer",
    "TransformerConfig": "denoisers.transformer",
    "beta_energy": "schedules.energy",
    "conditional_kinetic_energy": "schedules.energy",
    "geodesic_energy": "schedules.energy",
    "kinetic_energy": "schedules.energy",
    "load_schedule": "run.folder",
    "load_transformer": "denoisers.transformer",
    "parse_schedule": "schedules.curves",
    "path_energy": "schedules.energy",
    "save_transformer": "denoisers.transformer",
    "to_counts": "schedules.counts",
    "unmask": "sampling.unmasking",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mdm_tune' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"mdm_tune.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
