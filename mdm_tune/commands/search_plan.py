"""What a search still has to do: the rows of trials, as many as races leave, and of comparisons on unseen examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from mdm_tune.commands.events import BudgetsListed, BudgetStarted, RunEvent
from mdm_tune.commands.progress import BUDGETS, PROPOSALS, expected_rows, proposal_weight
from mdm_tune.config.validators import OPTIMUM
from mdm_tune.core.messages import quantity
from mdm_tune.datasets.splits import Use
from mdm_tune.run.build import Run
from mdm_tune.schedules.curves import parse_schedule
from mdm_tune.search.budget import PILOT, reference_of
from mdm_tune.search.events import Comparison, ReferenceStarted, TrialDone, TrialsProposed
from mdm_tune.search.space import FILLING
from mdm_tune.search.stopping import SETTLING

__all__ = ["SearchPlan"]

RACED = 0.5  # share of its rows that a trial takes in a race, until trials have shown it (docs/racing.md)
FEW = 2  # trials that this guess counts as
MANY = 12  # trials that the share of other budgets counts as, since the first trials of a budget are dropped sooner
TUNED = 0.5  # chance that a finalist wins against the baselines, until budgets have shown it; also its weight


class SearchPlan:
    """A ``Plan`` of a search. What races save, and how many trials reach the end, is learned from the trials so far.

    Args:
        run: The run.
        profile: The denoiser rows of the information profile, if it is measured.
        own: The denoiser rows of the model's own answers, if the metric needs them.
    """

    def __init__(self, run: Run, profile: float = 0.0, own: float = 0.0) -> None:
        self.run, self.search, self.budgets = run, run.config.search, list(run.config.sampler.steps)
        self.profile = profile + own  # both come before the first budget
        self.priced = run.evaluator.exact or run.priced_by_profile  # trials take no rows
        self.sizes = run.evaluator.block_lengths
        self.trials = dict.fromkeys(self.budgets, self.search.trials * len(self.sizes))
        self.doing, self.kind = "measuring the information profile" if profile else "beginning", "profile"
        self.doing = "drawing the model's own answers" if own else self.doing
        self.place = -1  # of the budget
        self.used: list[float] = []  # shares of the trials that finished budgets needed
        self.raced, self.racing = 0.0, 0  # rows of raced trials as multiples of all rows of one; their number
        self.full, self.tried = 0, 0  # trials that reached the end of a race; all but the first two of a budget
        self.tuned, self.won = TUNED, 2 * TUNED  # budgets that a finalist won, and those whose winner is known
        self.reference_drawn = False
        self._begin_budget()
        self.rows: Callable[[Use, int], float] = cache(lambda use, steps: expected_rows(run, use, steps))
        self._distinct: dict[int, int] = {}

    def _begin_budget(self) -> None:
        self.finished = self.own_full = 0  # trials of this budget
        self.raced_here, self.racing_here = 0.0, 0
        self.batch: TrialsProposed | None = None
        self.counted = self.item = 0.0  # rows of the present batch or comparison: computed, and expected in all
        self.choose_left: float | None = None  # comparisons that have not begun; None during trials
        self.report_left = 0.0

    @property
    def sure(self) -> bool:
        """Whether a trial has shown how long rows take."""
        return self.priced or self.finished > 0 or self.place > 0 or self.choose_left is not None

    @property
    def at_most(self) -> bool:
        """Whether trials that are still to run may be left out: by ``auto_stop``, or where rows or time run out."""
        if self.priced and self.search.timeout is None:
            return False
        limited = self.search.rows is not None or self.search.timeout is not None
        here = 0 if self.choose_left is not None or self.place < 0 else self.trials[self.steps] - self.finished
        later = [self.trials[steps] for steps in self.budgets[max(0, self.place + 1) :]]
        if limited:
            return here + sum(later) > 0
        settled = max([self.trials[self.steps] if here else 0, *later]) / len(self.sizes) > SETTLING
        return self.search.auto_stop and settled

    @property
    def steps(self) -> int:
        """The present budget."""
        return self.budgets[max(0, self.place)]

    def count(self, rows: int) -> None:
        self.counted += rows

    def follow(self, event: RunEvent) -> None:
        match event:
            case BudgetsListed(outlooks):
                self.profile = 0.0
                for steps in self.budgets:
                    here = [outlook.counts for outlook in outlooks if outlook.steps == steps]
                    self.trials[steps] = sum(self._most(counts) for counts in here)
            case BudgetStarted(steps):
                self.raced, self.racing = self.raced + self.raced_here, self.racing + self.racing_here
                if self.place >= 0 and self.trials[self.steps]:
                    self.used.append(self.finished / self.trials[self.steps])
                self.place = self.budgets.index(steps)
                self._begin_budget()
                self.kind = PROPOSALS if self.priced else "trials"
                self.doing = f"{quantity(steps, 'step')}: " + ("trials" if self.priced else "pilot")
            case TrialsProposed(first, count, trials):
                self.batch, self.counted = event, 0.0
                number = f"{first + 1}" if count == 1 else f"{first + 1}-{first + count}"
                self.doing = f"{quantity(self.steps, 'step')}: trial {number} of {trials}"
            case TrialDone():
                self._finish(event)
            case ReferenceStarted(setting, examples):
                self._compare()
                self.reference_drawn, self.item = True, setting.nfe * examples
                self.doing = f"{quantity(self.steps, 'step')}: linear at {setting.steps} steps, for diversity"
            case Comparison():
                self._compare()
                self.reference_drawn = True  # it comes first, unless the storage has it
                self.item = self.rows(event.use, self.steps)
                if event.use == "choose":
                    self.choose_left = event.total - event.done - 1
                    finalists = event.total > self._named(self.steps)
                    self.report_left = self._named(self.steps) + finalists * self.tuned / self.won
                else:
                    if event.done == 0:
                        self.tuned, self.won = self.tuned + (event.total > self._named(self.steps)), self.won + 1
                    self.choose_left, self.report_left = 0.0, event.total - event.done - 1.0
                self.doing = f"{quantity(self.steps, 'step')}: {event.use} split, {event.done + 1} of {event.total}"

    def _finish(self, event: TrialDone) -> None:
        """Note a finished trial, and with the first of a batch the rows that the race of the batch took."""
        if self.batch is not None:
            if self.batch.first > 0 and not self.priced:
                self.raced_here += self.counted / max(1.0, self.rows("tune", self.steps))
                self.racing_here += self.batch.count
            self.batch, self.counted = None, 0.0
        self.finished += 1
        if event.number > 1:
            full = event.dropped is None and event.fresh
            self.tried, self.full, self.own_full = self.tried + 1, self.full + full, self.own_full + full

    def _compare(self) -> None:
        """Note that a comparison on unseen examples begins."""
        if self.choose_left is None:
            finalists = self._finalists(self.steps, self.own_full, 0)
            self.choose_left = self._named(self.steps) + finalists
            self.report_left = self._named(self.steps) + (finalists > 0) * self.tuned / self.won
        self.kind, self.counted = "comparison", 0.0

    def left(self) -> Mapping[str, float]:
        amounts = dict.fromkeys(("profile", "trials", "comparison", PROPOSALS), 0.0)
        amounts[BUDGETS] = len(self.budgets) - self.place - 1.0
        amounts["profile"] = max(0.0, self.profile - self.counted) if self.place < 0 else 0.0
        usual = sum(self.used) / len(self.used) if self.used and not self.at_most else 1.0
        for place in range(max(0, self.place), len(self.budgets)):
            steps, here = self.budgets[place], place == self.place
            trials = self.trials[steps]
            waiting = usual * trials  # trials that are still to run
            if here:
                waiting = 0.0 if self.choose_left is not None else max(0, trials - self.finished)
            finished = self.finished if here else 0
            amounts[PROPOSALS] += self._proposed(waiting, finished)
            amounts["trials"] += self._trial_rows(steps, waiting, finished, here)
            amounts["comparison"] += self._comparison_rows(steps, waiting, here)
        return amounts

    def _most(self, counts: int | None) -> int:
        """The most trials in one block length, where this many count vectors can be reached."""
        most = self.search.trials
        if counts is None or counts > most:
            return most
        return 0 if counts == 1 else min(most, 2 * counts)

    def _proposed(self, waiting: float, finished: int) -> float:
        """The trials to propose, of those that are still to run; later ones count more (``proposal_weight``)."""
        kinds = len(self.sizes)
        last = (finished + waiting) / kinds
        if self.priced:
            first = finished / kinds
        elif self.search.strategy in ("gp", "tpe"):
            first = max(FILLING, (finished + (0 if self.batch is None else self.batch.count)) / kinds)
        else:
            return 0.0
        return max(0.0, last - first) * kinds * proposal_weight((first + last) / 2)

    def _trial_rows(self, steps: int, waiting: float, finished: int, here: bool) -> float:
        """The rows of the pilot and of the trials that are still to run.

        The pilot scores linear and squared-sine on the first examples. Linear is then scored on the others, and all
        other trials race.
        """
        if self.priced or not waiting:
            return 0.0
        share = self._share(here=here)
        full = self.rows("tune", steps)
        if finished:
            running = 0.0 if self.batch is None else min(self.batch.count, waiting)
            begun = full * share * running
        else:
            examples = len(self.run.evaluator.split("tune").ids)
            pilot, before = min(PILOT, examples) / examples, not here or self.batch is None
            begun, running = full * (1 + pilot if before else 1 - pilot), 1.0
        return max(0.0, begun - (self.counted if here else 0.0)) + full * share * max(0.0, waiting - running)

    def _share(self, *, here: bool) -> float:
        """The share of its rows that a trial takes: in this budget, or in those that follow."""
        raced, racing = self.raced, self.racing  # of the budgets before
        if not here:
            raced, racing = raced + self.raced_here, racing + self.racing_here
        guess = RACED if self.search.racing else 1.0
        usual = (raced + FEW * guess) / (racing + FEW)
        return (self.raced_here + MANY * usual) / (self.racing_here + MANY) if here else usual

    def _comparison_rows(self, steps: int, waiting: float, here: bool) -> float:
        """The rows of the comparisons that are still to run or to finish."""
        if self.run.evaluator.exact:
            return 0.0
        rows = 0.0
        if here and self.choose_left is not None:
            choose, report = self.choose_left, self.report_left
            rows += max(0.0, self.item - self.counted)
        else:
            finalists = self._finalists(steps, self.own_full if here else 0, waiting)
            choose = self._named(steps) + finalists
            report = self._named(steps) + min(1.0, finalists) * self.tuned / self.won
        choose = 0.0 if self.run.priced_by_profile or self._named(steps) + choose < 2 else choose
        rows += choose * self.rows("choose", steps) + report * self.rows("report", steps)
        if not self.reference_drawn and steps == self.steps:
            reference = reference_of(self.run.evaluator, self.budgets)
            rows += 0.0 if reference is None else reference[0].nfe * reference[1]
        return rows

    def _finalists(self, steps: int, full: int, waiting: float) -> float:
        """The finalists that are expected, with ``full`` of them known and so many trials still to run."""
        rate = (self.full + 1) / (self.tried + 2)
        return min(self.search.finalists, full + rate * waiting)

    def _named(self, steps: int) -> int:
        """The baselines of a budget that have different counts."""
        if steps not in self._distinct:
            views = [self.run.evaluator.in_blocks(size) for size in self.sizes]
            names = [parse_schedule(name) for name in self.search.baselines if name != OPTIMUM]
            keys = {view.setting(schedule, steps).key for view in views for schedule in names}
            self._distinct[steps] = len(keys) + (OPTIMUM in self.search.baselines) * len(views)
        return self._distinct[steps]
