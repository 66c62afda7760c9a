"""What a search may take: the rows of each phase, known beforehand, and the time that is left for its trials."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence

from mdm_tune.datasets.splits import Use
from mdm_tune.run.build import Run
from mdm_tune.schedules.curves import Linear
from mdm_tune.search.budget import PILOT, reference_of
from mdm_tune.search.events import Comparison
from mdm_tune.search.power import Detectable
from mdm_tune.search.scoring import InTime
from mdm_tune.search.space import START

__all__ = ["Timetable", "confirmation_rows", "phase_rows", "pilot_rows", "schedules_of"]

TOLD = 0.02  # of the timeout: a search that is expected to end later by more than this says so


def schedules_of(run: Run, use: Use) -> int:
    """How many schedules of a budget are scored on a split, at most."""
    settings, kinds = run.config.search, len(run.evaluator.block_lengths)
    named = kinds * len(settings.baselines)
    return {"tune": kinds * settings.trials, "choose": settings.finalists + named, "report": 1 + named}[use]


def phase_rows(run: Run, use: Use, schedules: int, steps: Sequence[int], *, reference: bool = True) -> int:
    """Denoiser rows, at most, of so many schedules at each of these budgets on a split; 0 where values are exact.

    reference: with linear at many steps, which is drawn once for all budgets, on the report split.
    """
    evaluator = run.evaluator
    if evaluator.exact:
        return 0
    sizes, rows = Counter(evaluator.split(use).hidden.sum(1).tolist()), 0.0
    for setting in (evaluator.setting(Linear(), budget) for budget in steps):
        calls = (number * setting.calls_for(size, evaluator.sampler.section.counts) for size, number in sizes.items())
        rows += schedules * sum(calls)
    if use == "report" and reference and (many := reference_of(evaluator, run.config.sampler.steps)) is not None:
        setting, examples = many
        rows += setting.nfe * examples
    return math.ceil(rows)


def confirmation_rows(run: Run, steps: Sequence[int], *, reference: bool = True) -> int:
    """Denoiser rows, at most, of comparing finalists and baselines on unseen examples at these budgets."""
    rows = 0 if run.priced_by_profile else phase_rows(run, "choose", schedules_of(run, "choose"), steps)
    return rows + phase_rows(run, "report", schedules_of(run, "report"), steps, reference=reference)


def pilot_rows(run: Run, steps: Sequence[int]) -> int:
    """Denoiser rows, at most, that say what the report split can show, before the first trial of each budget."""
    examples = 0 if run.evaluator.exact else len(run.evaluator.split("tune").ids)
    return math.ceil(phase_rows(run, "tune", len(START), steps) * min(PILOT, examples) / max(1, examples))


class Timetable:
    """Shares a command's seconds among its budgets and keeps what their confirmations need.

    How long denoiser calls take is what they took lately in this process, scoring included, on this machine as busy as
    it is. timeout: seconds from ``began`` on; None for no limit.
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
        self.told = False

    def trials_of(self, place: int, kind: int = 0) -> InTime | None:
        """Whether the trials of the budget at this place of the config have time for more; None without a timeout.

        kind: which of the kinds of blocks they are for. What is left when all confirmations from this budget on are
        paid for is shared equally by the budgets and the kinds of blocks of each.
        """
        if self.timeout is None:
            return None
        end, began = self.began + self.timeout, self.clock()
        studies = (len(self.run.config.sampler.steps) - place) * len(self.run.evaluator.block_lengths) - kind
        rows = self._rows(place, reference=place == 0)

        def in_time(calls: float, more: float) -> bool:
            share = (end - began - rows * self._per_call) / studies
            return self.clock() - began + calls * self._per_call + more <= share

        return in_time

    def warning(self, place: int, event: object) -> str | None:
        """Once: that the confirmations from this budget on will not end in time; asked at every event of its search."""
        compares = isinstance(event, Comparison) and event.use == "choose" and event.done == 0
        if self.timeout is None or self.told or not (compares or isinstance(event, Detectable)):
            return None
        rows = self._rows(place, reference=place == 0 and not compares)  # it is drawn right before
        left, needed = self.began + self.timeout - self.clock(), rows * self._per_call
        if needed - left <= TOLD * self.timeout:
            return None
        self.told = True
        return (
            f"search.timeout: of {self.timeout:g} s {max(0.0, left):.0f} are left, and comparing finalists and "
            f"baselines on unseen examples, which is never cut, takes about {needed:.0f} at the present speed: the "
            f"search will end about {needed - left:.0f} s late; raise search.timeout, or lower search.finalists, "
            "dataset.choose or dataset.report"
        )

    @property
    def late(self) -> float | None:
        """Seconds since the timeout; None where it is not over yet, or there is none."""
        over = 0.0 if self.timeout is None else self.clock() - self.began - self.timeout
        return round(over, 1) if over > 0 else None

    def _rows(self, place: int, *, reference: bool) -> int:
        return confirmation_rows(self.run, self.run.config.sampler.steps[place:], reference=reference)

    @property
    def _per_call(self) -> float:
        return self.run.evaluator.pace.per_call
