"""Tune the mask schedule of masked diffusion models. The public names are explained in docs/python.md.

A public name is loaded at its first use, so that importing the package, or reading a schedule file, loads no torch.
"""

from __future__ import annotations

import sys
from types import ModuleType

from mdm_tune.version import __version__

TYPE_CHECKING = False  # importing it from typing would double the import time of this package
if TYPE_CHECKING:
    from typing import Any

    from mdm_tune.api.generation import Texts, generate
    from mdm_tune.api.pages import report
    from mdm_tune.api.runs import evaluate, export, profile, sample, search
    from mdm_tune.commands.events import Note
    from mdm_tune.commands.report import ReportResult
    from mdm_tune.config.file import Config, load_config
    from mdm_tune.core.errors import InputError, MdmTuneError, RunError
    from mdm_tune.core.permissions import Permissions
    from mdm_tune.denoisers.base import Denoiser, LinearHead, Parts
    from mdm_tune.denoisers.loaded import LoadedModel
    from mdm_tune.denoisers.loading import load_model
    from mdm_tune.denoisers.transformer import Transformer, TransformerConfig, load_transformer, save_transformer
    from mdm_tune.evaluation.evaluator import Evaluator
    from mdm_tune.metrics.quality import Metric
    from mdm_tune.run.evaluate_records import EvaluateResult
    from mdm_tune.run.export_records import ExportResult
    from mdm_tune.run.measuring import measure_profile
    from mdm_tune.run.profile_records import ProfileResult
    from mdm_tune.run.sample_records import SampleResult
    from mdm_tune.run.search_records import SearchResult
    from mdm_tune.sampling.drawing import Drawing
    from mdm_tune.sampling.plans import (
        CapPlan,
        CountPlan,
        EntropyBoundPlan,
        KlassPlan,
        QuotaPlan,
        RevealPlan,
        ThresholdPlan,
    )
    from mdm_tune.sampling.unmasking import Step, Unmasked, unmask
    from mdm_tune.schedules.counts import alpha_grid, to_counts
    from mdm_tune.schedules.curves import (
        Alphas,
        Beta,
        Counts,
        Linear,
        MaskgitCosine,
        Schedule,
        Shift,
        Sine,
        SquaredSine,
        parse_schedule,
    )
    from mdm_tune.schedules.energy import (
        beta_energy,
        conditional_kinetic_energy,
        geodesic_energy,
        kinetic_energy,
        path_energy,
    )
    from mdm_tune.schedules.loaded import LoadedSchedule, SchedulePlan, load_schedule
    from mdm_tune.schedules.profile import Profile
    from mdm_tune.search.events import TrialDone

__all__ = [
    "Alphas",
    "Beta",
    "CapPlan",
    "Config",
    "CountPlan",
    "Counts",
    "Denoiser",
    "Drawing",
    "EntropyBoundPlan",
    "EvaluateResult",
    "Evaluator",
    "ExportResult",
    "InputError",
    "KlassPlan",
    "Linear",
    "LinearHead",
    "LoadedModel",
    "LoadedSchedule",
    "MaskgitCosine",
    "MdmTuneError",
    "Metric",
    "Note",
    "Parts",
    "Permissions",
    "Profile",
    "ProfileResult",
    "QuotaPlan",
    "ReportResult",
    "RevealPlan",
    "RunError",
    "SampleResult",
    "Schedule",
    "SchedulePlan",
    "SearchResult",
    "Shift",
    "Sine",
    "SquaredSine",
    "Step",
    "Texts",
    "ThresholdPlan",
    "Transformer",
    "TransformerConfig",
    "TrialDone",
    "Unmasked",
    "__version__",
    "alpha_grid",
    "beta_energy",
    "conditional_kinetic_energy",
    "evaluate",
    "export",
    "generate",
    "geodesic_energy",
    "kinetic_energy",
    "load_config",
    "load_model",
    "load_schedule",
    "load_transformer",
    "measure_profile",
    "parse_schedule",
    "path_energy",
    "profile",
    "report",
    "sample",
    "save_transformer",
    "search",
    "to_counts",
    "unmask",
]

_MODULES = {
    "Alphas": "schedules.curves",
    "Beta": "schedules.curves",
    "CapPlan": "sampling.plans",
    "Config": "config.file",
    "CountPlan": "sampling.plans",
    "Counts": "schedules.curves",
    "Denoiser": "denoisers.base",
    "Drawing": "sampling.drawing",
    "EntropyBoundPlan": "sampling.plans",
    "EvaluateResult": "run.evaluate_records",
    "Evaluator": "evaluation.evaluator",
    "ExportResult": "run.export_records",
    "InputError": "core.errors",
    "KlassPlan": "sampling.plans",
    "Linear": "schedules.curves",
    "LinearHead": "denoisers.base",
    "LoadedModel": "denoisers.loaded",
    "LoadedSchedule": "schedules.loaded",
    "MaskgitCosine": "schedules.curves",
    "MdmTuneError": "core.errors",
    "Metric": "metrics.quality",
    "Note": "commands.events",
    "Parts": "denoisers.base",
    "Permissions": "core.permissions",
    "Profile": "schedules.profile",
    "ProfileResult": "run.profile_records",
    "QuotaPlan": "sampling.plans",
    "ReportResult": "commands.report",
    "RevealPlan": "sampling.plans",
    "RunError": "core.errors",
    "SampleResult": "run.sample_records",
    "Schedule": "schedules.curves",
    "SchedulePlan": "schedules.loaded",
    "SearchResult": "run.search_records",
    "Shift": "schedules.curves",
    "Sine": "schedules.curves",
    "SquaredSine": "schedules.curves",
    "Step": "sampling.unmasking",
    "Texts": "api.generation",
    "ThresholdPlan": "sampling.plans",
    "Transformer": "denoisers.transformer",
    "TransformerConfig": "denoisers.transformer",
    "TrialDone": "search.events",
    "Unmasked": "sampling.unmasking",
    "alpha_grid": "schedules.counts",
    "beta_energy": "schedules.energy",
    "conditional_kinetic_energy": "schedules.energy",
    "evaluate": "api.runs",
    "export": "api.runs",
    "generate": "api.generation",
    "geodesic_energy": "schedules.energy",
    "kinetic_energy": "schedules.energy",
    "load_config": "config.file",
    "load_model": "denoisers.loading",
    "load_schedule": "schedules.loaded",
    "load_transformer": "denoisers.transformer",
    "measure_profile": "run.measuring",
    "parse_schedule": "schedules.curves",
    "path_energy": "schedules.energy",
    "profile": "api.runs",
    "report": "api.pages",
    "sample": "api.runs",
    "save_transformer": "denoisers.transformer",
    "search": "api.runs",
    "to_counts": "schedules.counts",
    "unmask": "sampling.unmasking",
}


class _SearchFolder(ModuleType):
    """The folder ``mdm_tune.search``, which can be called, because the function ``search`` has its name."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return _load("search")(*arguments, **options)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        if name == "search" and isinstance(value, ModuleType):  # Python sets it when a module of the folder is imported
            value.__class__ = _SearchFolder
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def _load(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mdm_tune' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"mdm_tune.{_MODULES[name]}"), name)


if not TYPE_CHECKING:
    __getattr__ = _load  # type checkers would take it to mean that every name exists


def __dir__() -> list[str]:
    return __all__
