"""Limits of a search: the most denoiser rows of each phase, and the time that is left for trials."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from mdm_tune.datasets.splits import Use
from mdm_tune.evaluation.settings import calls_of
from mdm_tune.run.build import Run
from mdm_tune.schedules.curves import Linear
from mdm_tune.search.budget import PILOT, reference_of
from mdm_tune.search.equal_calls import rows_of_looking
from mdm_tune.search.events import Comparison
from mdm_tune.search.policies import allotted
from mdm_tune.search.power import Detectable
from mdm_tune.search.scoring import InTime
from mdm_tune.search.space import START

__all__ = ["Timetable", "most_scored", "phase_rows", "pilot_rows", "trial_weight"]

WARNED_SHARE = 0.02  # of the timeout; a search that is expected to end later by more gives a warning


def most_scored(run: Run, use: Use) -> int:
    """The most policies of a budget that are scored on a split."""
    settings, lengths, kinds = run.config.search, len(run.evaluator.block_lengths), len(run.config.search.policies)
    named, best = lengths * len(settings.baselines), kinds if kinds > 1 else 0
    finalists, winners = max(settings.finalists, best), 1 + settings.shared  # its own, and the shared one
    choose, report = winners * finalists + named, winners + best + named
    return {"tune": lengths * settings.trials, "choose": choose, "report": report}[use]


def trial_weight(run: Run) -> float:
    """The rows of the trials of a budget, as a multiple of scoring as many schedules on all tune examples.

    A trial of an adaptive policy takes more, for the value at which it makes the calls of the budget.
    """
    search = run.config.search
    if run.evaluator.exact or search.policies == ("counts",):
        return 1.0
    looking = rows_of_looking(len(run.evaluator.split("tune").ids))
    shares = allotted(search.policies, search.trials)
    return sum(count * (1.0 if kind == "counts" else looking) for kind, count in shares.items()) / search.trials


def phase_rows(run: Run, use: Use, policies: float, steps: Sequence[int], *, reference: bool = True) -> int:
    """The most denoiser rows of scoring policies on a split; 0 if values are exact.

    Args:
        run: The run.
        use: The split.
        policies: Number of policies per budget.
        steps: The budgets.
        reference: Whether the report split includes linear at many steps, which is drawn once for all budgets.
    """
    evaluator = run.evaluator
    if evaluator.exact:
        return 0
    sizes, rule = evaluator.split(use).hidden.sum(1), evaluator.sampler.section.counts
    settings = [evaluator.setting(Linear(), budget) for budget in steps]
    rows = policies * sum(calls_of(setting, sizes, rule) for setting in settings)
    many_steps = reference_of(evaluator, run.config.sampler.steps) if use == "report" and reference else None
    if many_steps is not None:
        setting, examples = many_steps
        rows += setting.nfe * examples
    return math.ceil(rows)


def _confirmation_rows(run: Run, steps: Sequence[int], *, reference: bool) -> int:
    """The most denoiser rows of comparing finalists and baselines on unseen examples at these budgets."""
    rows = 0 if run.priced_by_profile else phase_rows(run, "choose", most_scored(run, "choose"), steps)
    return rows + phase_rows(run, "report", most_scored(run, "report"), steps, reference=reference)


def pilot_rows(run: Run, steps: Sequence[int]) -> int:
    """The most denoiser rows of the pilots, which estimate what the report split can show, at these budgets."""
    examples = 0 if run.evaluator.exact else len(run.evaluator.split("tune").ids)
    return math.ceil(phase_rows(run, "tune", len(START), steps) * min(PILOT, examples) / max(1, examples))


class Timetable:
    """Divides the time of a search among its budgets and reserves time for their comparisons on unseen examples.

    The time of a denoiser call, scoring included, is estimated from recent calls of this process.

    Args:
        run: The run.
        timeout: Seconds from ``began`` on; None for no limit.
        clock: Returns the time in seconds.
        began: When the search began, by the clock; None for now.
    """

    def __init__(
        self,
        run: Run,
        timeout: float | None,
        clock: Callable[[], float] = time.monotonic,
        began: float | None = None,
    ) -> None:
        self.run, self.timeout, self.clock = run, timeout, clock
        self.began = clock() if began is None else began
        self.warned = False

    def trials_of(self, place: int, study: int = 0) -> InTime | None:
        """A function that says whether trials have time for more calls; None without a timeout.

        The time that comparisons do not need is divided equally among the remaining studies.

        Args:
            place: Index of the budget in the config.
            study: Index of the study in its budget. The block lengths of one kind of policy follow each other.
        """
        if self.timeout is None:
            return None
        end, began = self.began + self.timeout, self.clock()
        of_budget = len(self.run.config.search.policies) * len(self.run.evaluator.block_lengths)
        studies = (len(self.run.config.sampler.steps) - place) * of_budget - study
        rows = self._rows(place, reference=place == 0)

        def in_time(calls: float, seconds: float) -> bool:
            share = (end - began - rows * self._per_call) / studies
            return self.clock() - began + calls * self._per_call + seconds <= share

        return in_time

    def warning(self, place: int, event: object) -> str | None:
        """A warning, given once, if the comparisons from this budget on are expected to end after the timeout.

        It is called at every event of a search.

        Args:
            place: Index of the budget in the config.
            event: The event.
        """
        compares = isinstance(event, Comparison) and event.use == "choose" and event.done == 0
        if self.timeout is None or self.warned or not (compares or isinstance(event, Detectable)):
            return None
        rows = self._rows(place, reference=place == 0 and not compares)  # comparing begins after the reference is drawn
        left, needed = self.began + self.timeout - self.clock(), rows * self._per_call
        if needed - left <= WARNED_SHARE * self.timeout:
            return None
        self.warned = True
        return (
            f"search.timeout: of {self.timeout:g} s {max(0.0, left):.0f} are left, and comparing finalists and "
            f"baselines on unseen examples, which is never cut, takes about {needed:.0f} at the present speed: the "
            f"search will end about {needed - left:.0f} s late; raise search.timeout, or lower search.finalists, "
            "dataset.choose or dataset.report"
        )

    @property
    def late(self) -> float | None:
        """Seconds since the timeout; None before it, or without one."""
        over = 0.0 if self.timeout is None else self.clock() - self.began - self.timeout
        return round(over, 1) if over > 0 else None

    def _rows(self, place: int, *, reference: bool) -> int:
        return _confirmation_rows(self.run, self.run.config.sampler.steps[place:], reference=reference)

    @property
    def _per_call(self) -> float:
        return self.run.evaluator.pace.per_call
