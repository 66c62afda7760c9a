"""What the numbers of a result were computed with: config, metric, versions, fingerprints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from mdm_tune.config.file import resolved
from mdm_tune.core.json_record import JsonRecord
from mdm_tune.core.permissions import Permissions
from mdm_tune.core.types import Direction
from mdm_tune.run.build import Run
from mdm_tune.run.folder import versions

__all__ = ["RunDescription", "flags_of", "parameters_of"]


@dataclass(frozen=True, kw_only=True)
class RunDescription(JsonRecord):
    """What a result is of. The page of a run shows it.

    Attributes:
        config: The complete config, without the run folder, which may be moved.
        length: Tokens to fill.
        metric: Name of the objective.
        label: The objective in words.
        direction: Direction of the objective.
        exact: Whether values are computed without examples.
        sampler: The sampler in words.
        fingerprints: Fingerprints of model, data and code, by name.
        versions: Versions of packages, by name, and the instructions of the processor that torch used. Samples may
            depend on both.
        flags: Words of a command line that repeat the permissions.
        parameters: Numbers that the model has learnt; None if it is no module of torch, and in older records.
        vocabulary: Tokens that the model knows; None in older records.
    """

    config: dict[str, Any]
    length: int
    metric: str
    label: str
    direction: Direction
    exact: bool
    sampler: str
    fingerprints: dict[str, str]
    versions: dict[str, str]
    flags: tuple[str, ...] = ()
    parameters: int | None = None
    vocabulary: int | None = None

    @classmethod
    def of(cls, run: Run, allow: Permissions = Permissions()) -> RunDescription:
        """The description of a run with these permissions."""
        metric = run.evaluator.metric
        return cls(
            config={name: value for name, value in resolved(run.config).items() if name != "output"},
            length=run.evaluator.length,
            metric=metric.name,
            label=metric.label,
            direction=metric.direction,
            exact=run.evaluator.exact,
            sampler=run.config.sampler.described,
            fingerprints=run.fingerprints,
            versions={**versions(run.config.model.type), "instructions": torch.backends.cpu.get_cpu_capability()},
            flags=flags_of(allow),
            parameters=parameters_of(run.model.denoiser),
            vocabulary=run.model.denoiser.vocab_size,
        )


def parameters_of(denoiser: object) -> int | None:
    """The parameters of the module in a denoiser, each counted once; None if there is no module or it has none."""
    inner = getattr(denoiser, "denoiser", denoiser)  # that of a guided one
    module = inner if isinstance(inner, torch.nn.Module) else getattr(inner, "model", None)
    return (sum(each.numel() for each in module.parameters()) or None) if isinstance(module, torch.nn.Module) else None


def flags_of(allow: Permissions) -> tuple[str, ...]:
    """The words on a command line that give these permissions."""
    generated = allow.run_generated_code
    flags = ["--trust-code"] if allow.trust_code else []
    if generated:
        flags.append("--run-generated-code=unsafe" if generated == "unsafe" else "--run-generated-code")
    return tuple(flags)
