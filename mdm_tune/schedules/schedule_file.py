"""Reading and checking of schedule files. Needs no torch, and scipy only for the values of a Beta schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, listed, quantity, shown, shown_path
from mdm_tune.core.plain_yaml import read_yaml_file
from mdm_tune.core.problems import field_problems
from mdm_tune.core.reading import expanded
from mdm_tune.schedules.adaptive_names import FORMS, AdaptiveName, parse_adaptive
from mdm_tune.schedules.blocks import steps_by_block
from mdm_tune.schedules.counts import CountRule, alpha_grid, to_counts
from mdm_tune.schedules.curves import Counts, Schedule, parse_schedule

__all__ = [
    "FORMAT",
    "POLICY_FORMAT",
    "ScheduleBudget",
    "ScheduleFile",
    "check_schedule_names",
    "format_for",
    "load_schedule",
]

FORMAT = "mdm-tune-schedule-1"
POLICY_FORMAT = "mdm-tune-schedule-2"  # of a file with a policy, so that a version without them says so
LARGEST = 65_536  # tokens and steps, as in a config
BUDGETS = 1000
ROUNDING = 1e-9  # the largest difference between alphas and those of the schedule that the file names


@dataclass(frozen=True)
class ScheduleBudget:
    """One budget of a schedule file. It has exactly one of counts, alphas and a policy.

    Attributes:
        steps: of the budget. A policy was tuned to make as many denoiser calls on average.
        schedule: the mask schedule; of a policy the one whose counts it keeps, None if it keeps none.
        counts: tokens per step, (steps,); (length,) ones if there are fewer tokens than steps.
        alphas: (steps + 1,), from 0 to 1, for ancestral reveal.
        block_length: tokens of a block, the whole length for one block; None if the file does not say it.
        policy: an adaptive policy with its value.
        kept_counts: the counts that the policy follows, tokens per step as in ``counts``; None if the file does not say
            them, and for a policy that follows none.
    """

    steps: int
    schedule: Schedule | None
    counts: tuple[int, ...] | None
    alphas: tuple[float, ...] | None
    block_length: int | None = None
    policy: AdaptiveName | None = None
    kept_counts: tuple[int, ...] | None = None

    @property
    def curve(self) -> Schedule:
        """The mask schedule of a budget that has one."""
        assert self.schedule is not None
        return self.schedule


@dataclass(frozen=True)
class ScheduleFile:
    """The content of a schedule file.

    Attributes:
        length: tokens of a sequence.
        budgets: the budgets by number of steps.
        record: the whole file as it was read.
    """

    length: int
    budgets: dict[int, ScheduleBudget]
    record: Mapping[str, Any]

    @property
    def shared(self) -> Schedule | None:
        """The one schedule of all budgets, which may be used at any number of steps; None if each has its own."""
        name = self.record.get("shared")
        return None if name is None else parse_schedule(name)

    def budget(self, steps: int) -> ScheduleBudget:
        """The budget that was tuned for a number of steps.

        Raises:
            InputError: the file has no such budget; the message lists those that it has.
        """
        if steps not in self.budgets:
            tuned = listed(sorted(self.budgets))
            raise InputError(
                f"the schedule file was tuned for steps {tuned}, got {shown(steps)}; use one of them or search again"
            )
        return self.budgets[steps]


def schedule_of_name(text: object) -> Schedule:
    if not isinstance(text, str):
        raise ValueError(f"must be the name of a schedule, got {shown(text)}; write it as beta:0.9,0.3")
    try:
        return parse_schedule(text)
    except InputError as error:
        raise ValueError(str(error)) from None


def policy_of_name(text: object) -> AdaptiveName:
    """The adaptive policy of a text. Raises ValueError unless it has its value and, if it keeps counts, a schedule."""
    if not isinstance(text, str):
        raise ValueError(f"must be the name of an adaptive policy, got {shown(text)}; write it as threshold:0.9")
    try:
        policy = parse_adaptive(text)
        if policy is None:
            raise ValueError(
                f"must be the name of an adaptive policy, got {shown(text)}; write it as one of {FORMS}, with its value"
            )
        if policy.value is None:
            raise ValueError(
                f"must say its value, got {shown(text)}; write it as {cut(policy.name)}{policy.separator}0.9"
            )
        if policy.schedule is not None:
            parse_schedule(policy.schedule)
    except InputError as error:
        raise ValueError(str(error)) from None
    return policy


def list_as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Size = Annotated[int, Field(ge=1, le=LARGEST)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Name = Annotated[Any, AfterValidator(schedule_of_name)]
PolicyName = Annotated[Any, AfterValidator(policy_of_name)]
FromList = BeforeValidator(list_as_tuple)


class BudgetEntry(BaseModel):
    """The rules for a budget of a schedule file; keys without a rule are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    steps: Size
    schedule: Name | None
    counts: Annotated[tuple[Count, ...], FromList, Field(max_length=LARGEST)] | None
    alphas: Annotated[tuple[Share, ...], FromList, Field(max_length=LARGEST + 1)] | None
    block_length: Size | None = None
    policy: PolicyName | None = None
    kept_counts: Annotated[tuple[Count, ...], FromList, Field(max_length=LARGEST)] | None = None

    @model_validator(mode="after")
    def is_one_plan(self) -> Self:
        given = [name for name in ("counts", "alphas", "policy") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of counts, alphas and policy must be given, got {listed(given) if given else 'none'}; "
                f"leave the {'other' if len(given) == 2 else 'others'} null"
            )
        if self.policy is not None:
            self.check_policy(self.policy)
        elif self.schedule is None:
            raise ValueError(f"schedule must be named beside {given[0]}, got null; write it as beta:0.9,0.3")
        if self.counts is not None:
            fewer = len(self.counts) < self.steps and set(self.counts) == {1}  # the length is smaller than the steps
            if len(self.counts) != self.steps and not fewer:
                raise ValueError(
                    f"a budget of {quantity(self.steps, 'step')} must have counts for them, got {len(self.counts)}, "
                    f"{shown(self.counts)}; give one for each step"
                )
        elif self.alphas is not None:
            if len(self.alphas) != self.steps + 1:
                raise ValueError(
                    f"a budget of {quantity(self.steps, 'step')} must have alphas for their beginnings and the last "
                    "end, got "
                    f"{len(self.alphas)}, {shown(self.alphas)}; give {self.steps + 1}"
                )
            increasing = all(before <= after for before, after in pairwise(self.alphas))
            if self.alphas[0] != 0 or self.alphas[-1] != 1 or not increasing:
                raise ValueError(f"alphas must increase from 0 to 1, got {shown(self.alphas)}; correct them")
            if self.block_length is not None:
                raise ValueError(f"block_length goes with counts, got {self.block_length} with alphas; leave it out")
        if isinstance(self.schedule, Counts) and self.counts is not None and self.schedule.counts != self.counts:
            raise ValueError(
                f"schedule must name the counts that are given, got {shown(self.schedule.name)} and "
                f"{shown(self.counts)}; correct one of them"
            )
        return self

    def check_policy(self, policy: AdaptiveName) -> None:
        """Check that the schedule is the one whose counts the policy keeps."""
        kept = None if policy.schedule is None else parse_schedule(policy.schedule)
        if self.schedule != kept:
            got = "null" if self.schedule is None else shown(self.schedule.name)
            wanted = (
                "null, as it keeps the counts of none" if kept is None else f"{cut(kept.name)}, whose counts it keeps"
            )
            raise ValueError(f"schedule of policy {cut(policy.name)} must be {wanted}, got {got}; correct one of them")

    @model_validator(mode="after")
    def keeps_counts(self) -> Self:
        """Check that kept counts belong to a policy that follows some, and have its steps."""
        if self.kept_counts is None:
            return self
        if self.policy is None or self.policy.schedule is None:
            raise ValueError(
                f"kept_counts go with a quota or a cap, got {shown(self.kept_counts)} without one; leave them out"
            )
        steps = self.policy.steps_of_counts(self.steps)
        fewer = len(self.kept_counts) < steps and set(self.kept_counts) == {1}
        if len(self.kept_counts) != steps and not fewer:
            raise ValueError(
                f"kept_counts of policy {cut(self.policy.name)} must be for {quantity(steps, 'step')}, got "
                f"{len(self.kept_counts)}, {shown(self.kept_counts)}; give one for each step"
            )
        return self


class ScheduleDocument(BaseModel):
    """The rules for a schedule file; keys without a rule are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    format: Literal["mdm-tune-schedule-1", "mdm-tune-schedule-2"]
    length: Size
    budgets: Annotated[tuple[BudgetEntry, ...], FromList, Field(min_length=1, max_length=BUDGETS)]
    shared: Name | None = None
    sampler: dict[str, Any] | None = None
    fingerprints: dict[str, str] | None = None

    @model_validator(mode="after")
    def fits_its_length(self) -> Self:
        repeated = [steps for steps, count in Counter(entry.steps for entry in self.budgets).items() if count > 1]
        if repeated:
            raise ValueError(f"each number of steps has one budget, got {repeated[0]} twice; remove one")
        other = [entry for entry in self.budgets if self.shared is not None and entry.schedule != self.shared]
        if other:
            raise ValueError(
                "shared is the schedule of every budget, got another one for "
                f"{quantity(other[0].steps, 'step')}; correct it, or remove shared"
            )
        for entry in self.budgets:
            counts, what = entry.counts, "counts"
            if entry.kept_counts is not None:
                counts, what = entry.kept_counts, "kept_counts"
            if counts is not None and sum(counts) != self.length:
                raise ValueError(
                    f"{what} must sum to the length {self.length}, got {shown(counts)} with sum "
                    f"{sum(counts)} for {quantity(entry.steps, 'step')}; correct them"
                )
            if entry.block_length is not None and self.length % entry.block_length:
                raise ValueError(
                    f"block_length must divide the length {self.length}, got {entry.block_length} for {entry.steps} "
                    "steps; correct it"
                )
        return self


def format_for(record: Mapping[str, Any]) -> str:
    """The format that a file with this content says."""
    policies = [entry.get("policy") for entry in record.get("budgets", ())]
    return FORMAT if set(policies) <= {None} else POLICY_FORMAT


def load_schedule(path: str | Path) -> ScheduleFile:
    """Read a schedule file. Needs no torch.

    Args:
        path: the file, or a run folder that holds ``schedule.yaml``.

    Raises:
        InputError: the file cannot be read, is no schedule file, or is damaged.
    """
    try:
        file = Path(expanded(str(path)))
        file = file / "schedule.yaml" if file.is_dir() else file
    except (OSError, ValueError):  # reading the file raises the error with a message
        file = Path(path)
    record = read_yaml_file(file, "a schedule.yaml that a search wrote")
    if not isinstance(record, dict) or record.get("format") not in (FORMAT, POLICY_FORMAT):
        got = shown(record.get("format")) if isinstance(record, dict) else "no such line"
        raise InputError(
            f"{shown_path(file)} is not a schedule file: it must say format: {FORMAT} or {POLICY_FORMAT}, got {got}; "
            "give one that a search wrote"
        )
    try:
        document = ScheduleDocument.model_validate(record)
    except ValidationError as error:
        problems = field_problems(error, {}, {}, {})
        lines = [line.removeprefix(": ") for _, line in problems if line]
        more = f"; and {quantity(len(problems) - 1, 'more problem')}" if len(problems) > 1 else ""
        remedy = "" if ";" in lines[0] else "; restore it or search again"
        raise InputError(f"{shown_path(file)} is damaged: {lines[0]}{more}{remedy}") from None
    budgets = {
        entry.steps: ScheduleBudget(
            steps=entry.steps,
            schedule=entry.schedule,
            counts=entry.counts,
            alphas=entry.alphas,
            block_length=entry.block_length,
            policy=entry.policy,
            kept_counts=entry.kept_counts,
        )
        for entry in document.budgets
    }
    return ScheduleFile(document.length, budgets, record)


def check_schedule_names(file: ScheduleFile, name: str) -> None:
    """Check that the schedule of every budget gives the counts or alphas of the file.

    A run uses the counts if its length is the file's, and the schedule otherwise, so both must agree. So do the counts
    that a policy keeps.

    Args:
        file: the schedule file.
        name: of the file, for messages.

    Raises:
        InputError: a schedule gives other counts or alphas.
    """
    sampler = file.record.get("sampler") or {}
    rule: CountRule = "cumulative" if sampler.get("counts") == "cumulative" else "one-per-step"
    for budget in file.budgets.values():
        if budget.alphas is not None:
            alphas = alpha_grid(budget.curve, budget.steps)
            if any(abs(a - b) > ROUNDING for a, b in zip(alphas, budget.alphas, strict=True)):
                raise _misnamed(name, budget, "alphas", alphas.tolist(), budget.alphas)
        for what, given in (("counts", budget.counts), ("kept_counts", budget.kept_counts)):
            if given is not None and (counts := _scheduled_counts(budget, given, file.length, rule)) != given:
                raise _misnamed(name, budget, what, counts, given)


def _scheduled_counts(
    budget: ScheduleBudget, given: tuple[int, ...], length: int, rule: CountRule
) -> tuple[int, ...] | None:
    """The counts that the budget's schedule gives if every block has as many steps as in the given counts."""
    size = budget.block_length or length
    curve = budget.curve
    if isinstance(curve, Counts) or (budget.block_length is None and sum(given) != length):
        return given
    if size == length:
        steps = budget.steps if budget.policy is None else budget.policy.steps_of_counts(budget.steps)
        return to_counts(curve, steps, length, rule)
    ends, total = set(), 0
    for count in given:
        total += count
        ends.add(total)
    if 0 in given or not set(range(size, length + 1, size)) <= ends:
        return given  # a step without tokens belongs to no block; a step over two blocks is refused elsewhere
    return tuple(count for share in steps_by_block(given, size) for count in to_counts(curve, share, size, rule))


def _misnamed(name: str, budget: ScheduleBudget, what: str, scheduled: object, got: object) -> InputError:
    return InputError(
        f"{cut(name)} is damaged: for {quantity(budget.steps, 'step')} it says schedule "
        f"{cut(budget.curve.name)}, whose {what} "
        f"are {shown(scheduled)}, and {what} {shown(got)}; restore it, correct one of them, or search again"
    )
