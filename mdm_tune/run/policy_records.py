"""The record of one kind of policy at a budget, where a search tunes several."""

from __future__ import annotations

from dataclasses import dataclass

from mdm_tune.core.json_record import JsonRecord
from mdm_tune.core.statistics import Estimate
from mdm_tune.run.record_parts import CallsRecord
from mdm_tune.schedules.equal_cost import CallRatio
from mdm_tune.search.comparing import PolicyOutcome
from mdm_tune.search.gains import Gain, Loss

__all__ = ["PolicyRecord"]


@dataclass(frozen=True, kw_only=True)
class PolicyRecord(JsonRecord):
    """The best of one kind of policy at a budget, on the report split.

    Attributes:
        kind: The kind: ``counts``, or that of an adaptive policy.
        policy: Its name, as on the command line; None if there is none.
        value: Value of the objective, with its interval; None likewise.
        calls: Denoiser calls that were made; None likewise.
        calls_of_linear: These calls as a multiple of those of linear; None likewise.
        more_calls: Whether these are over 2 % more than linear's, so that no gain at equal cost is claimed.
        gain_over_linear: Gain over linear, corrected for all budgets and kinds; None likewise.
        trials: Finished trials of this kind.
        why: Why there is no policy; None if there is one.
        beats_linear: Whether the gain is a win: shown, at no more calls, and with no loss of diversity; None in older
            records.
        losses: The losses of diversity that exceed both the threshold and the noise.
        calls_of_linear_ci: The 95 % interval of ``calls_of_linear``; None if the calls do not vary, or in old records.
    """

    kind: str
    policy: str | None
    value: Estimate | None
    calls: CallsRecord | None
    calls_of_linear: float | None
    more_calls: bool
    gain_over_linear: Gain | None
    trials: int
    why: str | None
    beats_linear: bool | None = None
    losses: tuple[Loss, ...] = ()
    calls_of_linear_ci: tuple[float, float] | None = None

    @classmethod
    def of(cls, outcome: PolicyOutcome) -> PolicyRecord:
        """The record of an outcome."""
        best = outcome.best
        return cls(
            kind=outcome.kind,
            policy=None if best is None else best.policy.name,
            value=None if best is None else best.scores.estimate,
            calls=None if best is None else CallsRecord.of(best.scores),
            calls_of_linear=None if best is None else best.calls.ratio,
            more_calls=best is not None and best.calls.more,
            gain_over_linear=None if best is None else best.gain,
            trials=outcome.trials,
            why=outcome.why,
            beats_linear=best is not None and best.beats_linear,
            losses=() if best is None or best.diversity is None else best.diversity.flagged,
            calls_of_linear_ci=None if best is None else best.calls.ci,
        )

    @property
    def call_ratio(self) -> CallRatio | None:
        """Its calls, compared with those of linear; None if there is no policy."""
        return None if self.calls_of_linear is None else CallRatio(self.calls_of_linear, self.calls_of_linear_ci)
