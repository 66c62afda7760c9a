"""The events that a search reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from mdm_tune.config.file import PolicyKind
from mdm_tune.core.types import Use
from mdm_tune.evaluation.settings import Policy, Setting
from mdm_tune.search.power import Detectable

__all__ = ["AllValuesEqual", "Comparison", "Event", "ReferenceStarted", "StudyStarted", "TrialDone", "TrialsProposed"]


def trial_state(*, fresh: bool, dropped: int | None, cut: bool, unreachable: str | None) -> str:
    """What became of a trial, in words. The arguments are fields of ``TrialDone``."""
    if unreachable is not None:
        return "budget out of reach"
    if not fresh:
        return "scored before"
    return "out of rows or time" if cut else "complete" if dropped is None else "dropped"


@dataclass(frozen=True)
class TrialsProposed:
    """The policies of a batch of trials are proposed, and their values are computed next.

    Attributes:
        first: The number of the first trial within its budget, from 0.
        count: Trials of the batch.
        trials: Trials of the budget.
        given: Whether all of these policies were given in advance, so that proposing took no time.
    """

    first: int
    count: int
    trials: int
    given: bool


@dataclass(frozen=True)
class TrialDone:
    """A trial is finished.

    Attributes:
        number: The trial's number within its budget, from 0.
        trials: Trials of the budget.
        policy: The schedule, or the adaptive policy with its value.
        setting: Its setting.
        value: Its value; infinite if its policy cannot make the calls of the budget.
        best: The best value so far.
        fresh: Whether its counts were scored for the first time.
        dropped: The examples after which it was dropped; None if it was not.
        cut: Whether it was dropped for lack of rows or time, not because it could hardly win.
        ci: The interval of its value on the tune examples; None for exact and priced values, for too few examples, and
            for a trial that was dropped or whose counts were scored before.
        examples: The examples that were scored for it; None as for exact values or counts that were scored before.
        rows: Denoiser rows that it took, an equal share of its batch.
        calls: Mean denoiser calls of an adaptive policy on the scored tune examples; None for a schedule.
        unreachable: Why a policy cannot make the calls of the budget; None if it can.
    """

    number: int
    trials: int
    policy: Policy
    setting: Setting
    value: float
    best: float
    fresh: bool
    dropped: int | None
    cut: bool = False
    ci: tuple[float, float] | None = None
    examples: int | None = None
    rows: int = 0
    calls: float | None = None
    unreachable: str | None = None

    @property
    def schedule(self) -> Policy:
        """The policy, by the name that it had when schedules were all that a search tuned."""
        return self.policy

    @property
    def state(self) -> str:
        """What became of it, in words: complete, dropped, out of rows or time, scored before, budget out of reach."""
        return trial_state(fresh=self.fresh, dropped=self.dropped, cut=self.cut, unreachable=self.unreachable)


@dataclass(frozen=True)
class ReferenceStarted:
    """Linear at many steps is about to be drawn, with which the diversity of samples is compared.

    Attributes:
        setting: Its setting.
        examples: Examples of the ``report`` split.
    """

    setting: Setting
    examples: int


@dataclass(frozen=True)
class Comparison:
    """A policy is about to be scored on the ``choose`` or ``report`` split.

    Attributes:
        use: The split.
        setting: The policy's setting.
        done: Policies scored on the split so far.
        total: Policies to score on the split.
    """

    use: Use
    setting: Setting
    done: int
    total: int


@dataclass(frozen=True)
class StudyStarted:
    """The trials of one study of a budget begin or continue, where a budget has several.

    Attributes:
        block_length: Positions per block; None if all studies have the same.
        kind: The kind of policy; None if all studies have the same.
    """

    block_length: int | None
    kind: PolicyKind | None = None


@dataclass(frozen=True)
class AllValuesEqual:
    """All examples of the pilot have the same value.

    Attributes:
        text: The sentence for the user.
    """

    text: str


Event = TrialsProposed | TrialDone | ReferenceStarted | Comparison | Detectable | StudyStarted | AllValuesEqual
