"""What is exported: a policy at a length, with its counts, alphas or threshold, and its origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, quantity, shown
from mdm_tune.core.numerals import shortest
from mdm_tune.core.redaction import one_line, redacted
from mdm_tune.schedules.adaptive_names import AdaptiveName, parse_adaptive
from mdm_tune.schedules.curves import Counts, Schedule, begins_with_schedule_name, parse_schedule
from mdm_tune.schedules.derived import (
    Blocks,
    Derived,
    budget_at,
    derived_of_file,
    derived_of_schedule,
    kept_counts,
    policy_notes,
)
from mdm_tune.schedules.policy_names import parse_policy
from mdm_tune.schedules.schedule_file import ScheduleBudget, ScheduleFile, check_schedule_names, load_schedule
from mdm_tune.version import __version__

__all__ = ["Kind", "Policy", "read_policy"]

Kind = Literal["counts", "alphas", "threshold", "quota", "entropy-bound", "cap", "klass"]
SHOWN_SETTINGS = ("order", "temperature", "top_p", "confidence_temperature", "guidance")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A schedule or an adaptive policy, as an export format receives it.

    Attributes:
        name: what the user named: a schedule, an adaptive policy, a schedule file or a run folder.
        kind: ``counts`` (fixed numbers of tokens per step), ``alphas`` (ancestral reveal), ``threshold``, ``quota`` (at
            least the counts, and all positions above the threshold), ``entropy-bound``, ``cap`` (positions above the
            threshold, at most the counts and at least one) or ``klass`` (positions above the threshold whose prediction
            is stable).
        schedule: name of the mask schedule, as ``parse_schedule`` reads it; empty for policies without one.
        plan: name of the adaptive policy, as ``parse_adaptive`` reads it; empty for schedules.
        fixed: the schedule to take where a target has fixed numbers of tokens only, with its steps; those of the search
            that found the policy, if it tuned some.
        length: tokens to fill.
        steps: of all blocks together; 0 for policies that decide it themselves.
        block_length: tokens of a block; ``length`` for one block. Blocks are filled from left to right.
        counts: for ``counts``, ``quota`` and ``cap``: tokens per step, one tuple per block.
        alphas: for ``alphas``: (steps + 1,) expected revealed shares, from 0 to 1.
        value: of ``entropy-bound``, the bound in nats; of the other adaptive policies, the threshold.
        kl: of ``klass``, the KL divergence in nats below which a prediction is stable.
        sampler: the sampler settings that it was tuned for, by their names in a config; empty if unknown.
        digest: of the schedule file; empty for names.
        notes: what was not tuned, and steps that are not made, in sentences.
    """

    name: str
    kind: Kind
    schedule: str
    length: int
    steps: int
    block_length: int
    counts: Blocks | None = None
    alphas: tuple[float, ...] | None = None
    value: float | None = None
    kl: float | None = None
    sampler: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    notes: tuple[str, ...] = ()
    plan: str = ""
    fixed: tuple[str, int | None] = ("linear", None)

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return self.length // self.block_length

    @property
    def flat_counts(self) -> tuple[int, ...]:
        """The counts of all blocks, one after the other; empty for policies without counts."""
        return tuple(count for block in self.counts or () for count in block)

    @property
    def most_steps(self) -> int:
        """The number of steps of the block that has most of them; 0 for policies without counts."""
        return max(map(len, self.counts or ((),)))

    @property
    def calls(self) -> int:
        """The steps that reveal a token, which are the denoiser calls of a sampler that skips all others."""
        return sum(count > 0 for count in self.flat_counts)

    @property
    def one_for_all(self) -> bool:
        """Whether every block has the same counts."""
        return len(set(self.counts or ())) <= 1

    @property
    def padded(self) -> Blocks:
        """The counts of each block, with zeros at the end so that all blocks have equally many steps."""
        return tuple((*block, *(0,) * (self.most_steps - len(block))) for block in self.counts or ())

    @property
    def described(self) -> str:
        """Schedule, steps, length and blocks in a phrase."""
        parts = [cut(one_line(redacted(self.schedule or self.plan or self.name)), 200)]
        if self.kind in ("quota", "cap") and self.value is not None:
            parts.append(f"{self.kind} with threshold {shortest(self.value)}")
        if self.steps:
            parts.append(quantity(self.steps, "step"))
        parts.append(quantity(self.length, "token"))
        if self.blocks > 1:
            parts.append(f"blocks of {self.block_length}")
        return ", ".join(parts)

    def provenance(self, format_name: str) -> tuple[str, ...]:
        """Lines that say where an exported file comes from, without signs of a comment.

        Texts of the user are escaped, so that no line ends within one and none becomes code of an exported file.
        """
        source = cut(redacted(self.name), 160)
        digest = f" ({self.digest})" if self.digest else ""
        lines = [f"Written by mdm-tune {__version__}, mdm-tune export --to {format_name}", f"From: {source}{digest}"]
        lines.append(f"Schedule: {self.described}")
        settings = [f"{name} {cut(self.sampler[name])}" for name in SHOWN_SETTINGS if name in self.sampler]
        if settings:
            lines.append(f"Tuned for: {', '.join(settings)}")
        return tuple(map(one_line, (*lines, *(f"Note: {note}" for note in self.notes))))


def read_policy(name: str, steps: int | None = None, length: int | None = None, size: int | None = None) -> Policy:
    """The policy that a text names, at a length and a number of steps.

    Args:
        name: a schedule, an adaptive policy, a schedule file, or a run folder with a ``schedule.yaml``.
        steps: of all blocks together; None for a file's only budget, or for explicit counts.
        length: tokens to fill; None for a file's, or for explicit counts.
        size: tokens of a block; None for a file's, or for one block.

    Raises:
        InputError: the name cannot be read, or the numbers are missing or do not fit.
    """
    for what, value in (("steps", steps), ("length", length), ("block length", size)):
        if value is not None and value < 1:
            raise InputError(f"{what} must be an integer of at least 1, got {value}; give 1 or more")
    plan = parse_adaptive(name)
    if plan is not None:
        return _adaptive(plan, steps, length, size)
    if begins_with_schedule_name(name):
        schedule = parse_schedule(name)
        derived = _named(name, schedule, steps, length, size)
        return _policy(name, derived)
    if name.strip() == "optimum":
        raise InputError(
            "optimum is computed from the profile of a run; give the file that mdm-tune profile wrote, such as "
            "runs/NAME/profile-optimum.yaml"
        )
    file = _file(name)
    check_schedule_names(file, name)
    budget = budget_at(file, steps)
    if budget.policy is not None:
        policy = _held(file, budget, budget.policy, length, size)
    else:
        policy = _policy(name, derived_of_file(file, steps, length, size))
    sampler = file.record.get("sampler")
    return replace(
        policy,
        name=name,
        sampler=sampler if isinstance(sampler, dict) else {},
        digest=short_digest(repr(file.record)),
    )


def _held(
    file: ScheduleFile, budget: ScheduleBudget, plan: AdaptiveName, length: int | None, size: int | None
) -> Policy:
    """The policy that a budget of a file holds; length and size as in ``read_policy``."""
    if plan.schedule is not None:
        kept = _policy(plan.name, derived_of_file(kept_counts(file, budget), length=length, block_length=size))
        return replace(kept, kind=plan.kind, value=plan.value, plan=plan.name)
    length = length or file.length
    own = budget.block_length if budget.block_length != file.length else None
    policy = _adaptive(plan, None, length, size or own)
    return replace(policy, notes=policy_notes(file, budget, length, policy.block_length))


def _file(name: str) -> ScheduleFile:
    """The schedule file of a path. The message about a missing file names the profile's files if there are any."""
    try:
        return load_schedule(name)
    except InputError:
        folder = Path(name).expanduser()
        others = sorted(folder.glob("profile-*.yaml")) if folder.is_dir() else []
        if others and not (folder / "schedule.yaml").exists():
            raise InputError(
                f"{shown(name)} holds no search; the profile's schedules are {' and '.join(map(str, others))}; give "
                "one of them"
            ) from None
        if not folder.exists() and folder.suffix not in (".yaml", ".yml") and len(folder.parts) <= 1:
            parse_policy(name)  # its message lists the names
        raise


def _named(name: str, schedule: Schedule, steps: int | None, length: int | None, size: int | None) -> Derived:
    """The counts of a schedule that is named; alphas for ``alphas:..``."""
    if isinstance(schedule, Counts):
        steps, length = steps or len(schedule.counts), length or sum(schedule.counts)
    ancestral = name.strip().startswith("alphas:")
    if ancestral:
        steps = steps or name.count(",")
    missing = [flag for flag, value in (("--length", length), ("--steps", steps)) if value is None]
    if missing:
        raise InputError(
            f"{cut(name)} is a curve and has no length and steps of its own; give {' and '.join(missing)}, or a run "
            "folder or schedule file that has them"
        )
    assert length is not None and steps is not None
    return derived_of_schedule(schedule, steps, length, size, ancestral=ancestral)


def _adaptive(plan: AdaptiveName, steps: int | None, length: int | None, size: int | None) -> Policy:
    """The record of an adaptive policy, whose value must be given."""
    if plan.value is None:
        example = f"{plan.name}{plan.separator}0.9"
        raise InputError(
            f"{plan.name} has no value of its own: mdm-tune evaluate finds the one that costs a budget and prints it; "
            f"give that, as in {example}"
        )
    if plan.schedule is not None:
        if plan.counts_steps is not None and steps not in (None, plan.counts_steps):
            raise InputError(
                f"{cut(plan.name)} names the steps of its counts, got --steps {steps} besides; leave it out"
            )
        policy = read_policy(plan.schedule, plan.counts_steps or steps, length, size)
        if policy.plan:
            raise InputError(
                f"{plan.kind} keeps the counts of a schedule, and {cut(plan.schedule)} holds the adaptive policy "
                f"{policy.plan}; name a schedule such as linear"
            )
        if policy.counts is None:
            raise InputError(
                f"{cut(plan.name)} keeps to the counts of a schedule, and ancestral reveal has none; use linear"
            )
        return replace(policy, name=plan.name, kind=plan.kind, value=plan.value, plan=plan.name)
    if length is None:
        raise InputError(f"{plan.name} has no length of its own; give --length")
    if steps is not None:
        raise InputError(f"{plan.name} decides by itself how many steps it takes, got --steps {steps}; leave it out")
    if size is not None and (size < 1 or length % size):
        raise InputError(f"the block length must divide the length {length}, got {size}; give a divisor")
    return Policy(
        name=plan.name,
        kind=plan.kind,
        schedule="",
        length=length,
        steps=0,
        block_length=size or length,
        value=plan.value,
        kl=plan.kl,
        plan=plan.name,
    )


def _policy(name: str, derived: Derived) -> Policy:
    return Policy(
        name=name,
        kind="counts" if derived.counts is not None else "alphas",
        schedule=derived.schedule.name,
        length=derived.length,
        steps=derived.steps,
        block_length=derived.block_length,
        counts=derived.counts,
        alphas=derived.alphas,
        notes=derived.notes,
    )
