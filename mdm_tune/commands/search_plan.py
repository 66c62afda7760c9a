"""What a search still has to do: the rows of trials, as many as races leave, and of comparisons on unseen examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Literal

from mdm_tune.commands.events import BudgetsListed, BudgetStarted, RunEvent
from mdm_tune.commands.progress import BUDGETS, PROPOSALS, expected_rows, proposal_weight
from mdm_tune.config.file import PolicyKind
from mdm_tune.config.validators import OPTIMUM
from mdm_tune.core.messages import quantity
from mdm_tune.datasets.splits import Use
from mdm_tune.run.build import Run
from mdm_tune.run.own_answers import one_token_rows
from mdm_tune.schedules.curves import parse_schedule
from mdm_tune.search.budget import PILOT, reference_of
from mdm_tune.search.equal_calls import rows_of_looking
from mdm_tune.search.events import Comparison, ReferenceStarted, StudyStarted, TrialDone, TrialsProposed
from mdm_tune.search.policies import allotted
from mdm_tune.search.space import FILLING
from mdm_tune.search.stopping import SETTLING

__all__ = ["SearchPlan"]

RACED = 0.5  # share of its rows that a trial takes in a race, until trials have shown it (docs/racing.md)
# Share of its most rows that a trial of an adaptive policy takes, until trials have shown it: of the first one of a
# kind at a budget, and of later ones. On the task model (5 kinds, 4 and 8 steps, 64 tune examples, 4 seeds) they were
# 0.78 (0.63 to 0.93, 33 trials) and 0.40 (0.32 to 0.49, 19 batches): 95 % intervals, at 1ca26dd.
LOOKED = {"first": 0.8, "later": 0.4}
FEW = 2  # trials that the guess for races counts as
MANY = 12  # trials that the share of other budgets counts as, since the first trials of a budget are dropped sooner
# Trials that the guess for an adaptive policy counts as. The trials of a batch take about the same rows, and what they
# take at one budget says little of the next, where more or fewer are dropped.
SOME = 8
# Seconds of intervals, files and the page at the end: of a search, of each budget and of each trial. Six searches took
# 0.14 to 0.30 s on a quiet machine; a busy one takes twice as long.
PAGE, PAGE_OF_BUDGET, PAGE_OF_TRIAL = 0.15, 0.05, 0.0002
ALL = 0  # stands for all budgets together, in a search for one schedule
SHARED = 0.5  # share of the rows of comparing it that were not computed for the budgets' own schedules
TUNED = 0.5  # chance that a finalist wins against the baselines, until budgets have shown it; also its weight


class SearchPlan:
    """A ``Plan`` of a search. What races save, and how many trials reach the end, is learned from the trials so far.

    Args:
        run: The run.
        profile: The denoiser rows of the information profile, if it is measured.
        own: The denoiser rows of the model's own answers, if the metric needs them.
    """

    def __init__(self, run: Run, profile: float = 0.0, own: float = 0.0) -> None:
        self.run, self.search, self.asked = run, run.config.search, list(run.config.sampler.steps)
        self.budgets = [ALL, *self.asked] if self.search.shared else self.asked
        self.profile = profile + own  # both come before the first budget
        self.priced = run.evaluator.exact or run.priced_by_profile  # trials take no rows
        self.sizes = run.evaluator.block_lengths
        self.shares = allotted(self.search.policies, self.search.trials)  # trials of a study, by kind of policy
        self.studies = [policy for policy in self.shares for _ in self.sizes]  # of a budget, in order
        self.trials = {
            steps: [
                self.shares[policy] if steps == self.budgets[0] or not self.search.shared else 0
                for policy in self.studies
            ]
            for steps in self.budgets
        }
        self.doing, self.kind = "measuring the information profile" if profile else "beginning", "profile"
        self.doing = "drawing the model's own answers" if own else self.doing
        self.place = -1  # of the budget
        self.used: list[float] = []  # shares of the trials of counts that finished budgets needed
        self.raced, self.racing = 0.0, 0  # rows of raced trials as multiples of all rows of one; their number
        # The same of the trials of adaptive policies: of the first ones of studies, and of the others.
        self.looked, self.looking = dict.fromkeys(LOOKED, 0.0), dict.fromkeys(LOOKED, 0)
        # Trials that reached the end of a race, and trials that could: all but the first two of counts at a budget.
        self.full, self.tried = dict.fromkeys(self.shares, 0), dict.fromkeys(self.shares, 0)
        self.tuned, self.won = TUNED, 2 * TUNED  # budgets that a finalist won, and those whose winner is known
        self.reference_drawn = self.frontier_begun = False
        self._begin_budget()
        self.rows: Callable[[Use, int], float] = cache(self._rows)
        self._distinct: dict[int, int] = {}

    def _rows(self, use: Use, steps: int) -> float:
        """The rows of scoring one schedule on a split."""
        return sum(expected_rows(self.run, use, budget) for budget in (self.asked if steps == ALL else [steps]))

    def _begin_budget(self) -> None:
        self.study = 0  # the place of the present one
        self.finished = [0] * len(self.studies)  # trials of each study
        if self.place < 1 or not self.search.shared:  # the trials of all budgets are those of each
            self.own_full = dict.fromkeys(self.shares, 0)
        self.piloted = False
        self.raced_here, self.racing_here = 0.0, 0
        self.batch: TrialsProposed | None = None
        self.counted = self.item = 0.0  # rows of the present batch or comparison: computed, and expected in all
        self.choose_left: float | None = None  # comparisons that have not begun; None during trials
        self.report_left = 0.0

    @property
    def sure(self) -> bool:
        """Whether a trial has shown how long rows take."""
        return self.priced or any(self.finished) or self.place > 0 or self.choose_left is not None

    @property
    def at_most(self) -> bool:
        """Whether trials that are still to run may be left out: by ``auto_stop``, or where rows or time run out."""
        if self.priced and self.search.timeout is None:
            return False
        here = [0.0] * len(self.studies) if self.place < 0 else self._waiting(self.place)
        later = [self.trials[steps] for steps in self.budgets[self.place + 1 :]]
        if self.search.rows is not None or self.search.timeout is not None:
            return sum(here) + sum(map(sum, later)) > 0
        going_on = [most if left else 0 for most, left in zip(self.trials[self.steps], here, strict=True)]
        of_counts = [trials for studies in [going_on, *later] for trials in self._of_counts(studies)]
        return self.search.auto_stop and max(of_counts, default=0) > SETTLING

    @property
    def ending(self) -> float:
        """The seconds of the page and the files, which come last."""
        trials = sum(map(sum, self.trials.values()))
        return PAGE + PAGE_OF_BUDGET * len(self.asked) + PAGE_OF_TRIAL * trials

    @property
    def steps(self) -> int:
        """The present budget."""
        return self.budgets[max(0, self.place)]

    @property
    def at(self) -> str:
        """The present budget in words."""
        return "all budgets" if self.steps == ALL else quantity(self.steps, "step")

    def count(self, rows: int) -> None:
        self.counted += rows

    def follow(self, event: RunEvent) -> None:
        match event:
            case BudgetsListed(outlooks):
                self.profile = 0.0
                if self.search.shared:
                    self._start(ALL)
                for outlook in outlooks if "counts" in self.shares and not self.search.shared else ():
                    study = self._study("counts", outlook.block_length)
                    self.trials[outlook.steps][study] = self._most(outlook.counts)
            case BudgetStarted(steps):
                self._start(steps)
            case StudyStarted(size, policy):
                self.study = self._study(policy or self.studies[0], size or self.sizes[0])
            case TrialsProposed(first, count, trials):
                self.batch, self.counted, self.piloted = event, 0.0, True
                self.finished[self.study] = first  # also where a search is resumed
                number = f"{first + 1}" if count == 1 else f"{first + 1}-{first + count}"
                of_policy = f", {self.policy}" if len(self.shares) > 1 else ""
                self.doing = f"{self.at}{of_policy}: trial {number} of {trials}"
            case TrialDone():
                self._finish(event)
            case ReferenceStarted(setting, examples):
                self._compare()
                self.reference_drawn, self.item = True, setting.nfe * examples
                self.doing = f"{self.at}: linear at {setting.steps} steps, for diversity"
            case Comparison():
                self._compare()
                self.reference_drawn = True  # it comes first, unless the storage has it
                if event.use == "report" and event.setting.steps != self.steps:  # after the last budget
                    self.frontier_begun, self.report_left, self.item = True, 0.0, self._frontier_rows()
                    self.doing = "scoring one token per step"
                    return
                self.item = self.rows(event.use, self.steps)
                if event.use == "choose":
                    self.choose_left = event.total - event.done - 1
                    self.report_left = self._reported(self.steps, event.total - self._named(self.steps))
                else:
                    if event.done == 0:
                        self.tuned, self.won = self.tuned + (event.total > self._named(self.steps)), self.won + 1
                    self.choose_left, self.report_left = 0.0, event.total - event.done - 1.0
                self.doing = f"{self.at}: {event.use} split, {event.done + 1} of {event.total}"

    def _start(self, steps: int) -> None:
        """Note that a budget begins."""
        self.raced, self.racing = self.raced + self.raced_here, self.racing + self.racing_here
        if self.place >= 0 and (most := sum(self._of_counts(self.trials[self.steps]))):
            self.used.append(sum(self._of_counts(self.finished)) / most)
        self.place = self.budgets.index(steps)
        self._begin_budget()
        self.kind = PROPOSALS if self.priced else "trials"
        self.doing = f"{self.at}: " + ("trials" if self.priced else "pilot")

    def _finish(self, event: TrialDone) -> None:
        """Note a finished trial, and with the first of a batch the rows that the batch took."""
        if self.batch is not None:
            count, rows = self.batch.count, self.counted / max(1.0, self.rows("tune", self.steps))
            if self.policy != "counts":
                which = "later" if self.batch.first else "first"
                self.looked[which] += min(rows, count * self._most_looking)  # more is rare, and says nothing of others
                self.looking[which] += count
            elif self.batch.first > 0 and not self.priced:
                self.raced_here, self.racing_here = self.raced_here + rows, self.racing_here + count
            self.finished[self.study] += count
            self.batch, self.counted = None, 0.0
        if event.number > 1 or self.policy != "counts":
            full = event.dropped is None and event.fresh and event.unreachable is None
            for counts, more in ((self.tried, 1), (self.full, full), (self.own_full, full)):
                counts[self.policy] += more

    @property
    def policy(self) -> PolicyKind:
        """The kind of policy whose trials are run."""
        return self.studies[self.study]

    def _study(self, policy: PolicyKind, size: int) -> int:
        """The place of the study of a kind of policy in a block length."""
        return self.studies.index(policy) + self.sizes.index(size)

    def _of_counts(self, by_study: Sequence[int]) -> list[int]:
        """The numbers of those studies that try counts."""
        return [number for policy, number in zip(self.studies, by_study, strict=True) if policy == "counts"]

    def _compare(self) -> None:
        """Note that a comparison on unseen examples begins."""
        if self.choose_left is None:
            finalists = self._finalists((), here=True)
            self.choose_left = self._named(self.steps) + finalists
            self.report_left = self._reported(self.steps, finalists)
        self.kind, self.counted = "comparison", 0.0

    def left(self) -> Mapping[str, float]:
        amounts = dict.fromkeys(("profile", "trials", "comparison", PROPOSALS), 0.0)
        amounts[BUDGETS] = float(sum(any(self.trials[steps]) for steps in self.budgets[self.place + 1 :]))
        amounts["profile"] = max(0.0, self.profile - self.counted) if self.place < 0 else 0.0
        for place in range(max(0, self.place), len(self.budgets)):
            steps, here, waiting = self.budgets[place], place == self.place, self._waiting(place)
            for study, trials in enumerate(waiting):
                running = 0 if self.batch is None or not here or study != self.study else self.batch.count
                amounts[PROPOSALS] += self._proposed(trials, self.finished[study] if here else 0, running)
            amounts["trials"] += self._trial_rows(steps, waiting, here)
            amounts["comparison"] += self._comparison_rows(steps, waiting, here)
        amounts["comparison"] += 0.0 if self.frontier_begun else self._frontier_rows()
        if self.search.shared and not self.run.evaluator.exact:
            shared = 0.0 if self.run.priced_by_profile else self._finalists((), here=True) * self.rows("choose", ALL)
            amounts["comparison"] += SHARED * (shared + self.rows("report", ALL))
        return amounts

    def _waiting(self, place: int) -> list[float]:
        """The trials of each study of a budget that are still to run."""
        trials = self.trials[self.budgets[place]]
        if place == self.place:
            over = len(trials) if self.choose_left is not None else self.study  # studies that are finished
            left = (max(0.0, most - done) for most, done in zip(trials, self.finished, strict=True))
            return [0.0 if study < over else each for study, each in enumerate(left)]
        usual = sum(self.used) / len(self.used) if self.used and not self.at_most else 1.0
        return [
            most * (usual if policy == "counts" else 1.0) for policy, most in zip(self.studies, trials, strict=True)
        ]

    def _most(self, counts: int | None) -> int:
        """The most trials of a study of counts, where this many count vectors can be reached."""
        most = self.shares["counts"]
        if counts is None or counts > most:
            return most
        return 0 if counts == 1 else min(most, 2 * counts)

    def _proposed(self, waiting: float, finished: int, running: int) -> float:
        """The trials of a study to propose; later ones count more (``proposal_weight``)."""
        last = finished + waiting
        if self.priced:
            first = float(finished)
        elif self.search.strategy in ("gp", "tpe"):
            first = max(FILLING, finished + running)
        else:
            return 0.0
        ends = proposal_weight(first) + proposal_weight(last)
        return max(0.0, last - first) * (ends + 4 * proposal_weight((first + last) / 2)) / 6  # Simpson's rule, exact

    def _trial_rows(self, steps: int, waiting: Sequence[float], here: bool) -> float:
        """The rows of the pilot and of the trials that are still to run.

        The pilot scores linear and squared-sine on the first examples. Linear is then scored on the others, and all
        other trials race. A trial of an adaptive policy also looks for the value that makes the calls of the budget.
        The first one of its kind has no value to begin with, and no other to race against.
        """
        if self.priced or not any(waiting):
            return 0.0
        full, examples = self.rows("tune", steps), len(self.run.evaluator.split("tune").ids)
        pilot = min(PILOT, examples) / examples
        running, rows = 0.0 if here and self.piloted else 2 * full * pilot, 0.0  # what runs now, and what follows
        for study, (policy, trials) in enumerate(zip(self.studies, waiting, strict=True)):
            begun = min(trials, self.batch.count) if self.batch is not None and here and study == self.study else 0.0
            if policy == "counts":  # linear is the first
                first, each = full * (1 - pilot * (study == 0)), full * self._share(here=here)
            else:
                first, each = full * self._looking("first"), full * self._looking("later")
            one = min(1.0, trials)
            if here and self.finished[study]:
                first, one = each, begun
            now, then = (first * one, 0.0) if begun else (0.0, first * one)
            running, rows = running + now, rows + then + each * (trials - one)
        return max(0.0, running - (self.counted if here else 0.0)) + rows

    def _share(self, *, here: bool) -> float:
        """The share of its rows that a trial of counts takes: in this budget, or in those that follow."""
        raced, racing = self.raced, self.racing  # of the budgets before
        if not here:
            raced, racing = raced + self.raced_here, racing + self.racing_here
        guess = RACED if self.search.racing else 1.0
        usual = (raced + FEW * guess) / (racing + FEW)
        return (self.raced_here + MANY * usual) / (self.racing_here + MANY) if here else usual

    @property
    def _most_looking(self) -> float:
        """The most rows that such a trial usually takes, as a multiple of scoring a schedule on all examples."""
        return rows_of_looking(len(self.run.evaluator.split("tune").ids), again=False)

    def _looking(self, which: Literal["first", "later"]) -> float:
        """The rows that a trial of an adaptive policy takes, as a multiple of scoring a schedule on all examples."""
        return (self.looked[which] + SOME * LOOKED[which] * self._most_looking) / (self.looking[which] + SOME)

    def _comparison_rows(self, steps: int, waiting: Sequence[float], here: bool) -> float:
        """The rows of the comparisons that are still to run or to finish."""
        if self.run.evaluator.exact:
            return 0.0
        rows = 0.0
        if not self.reference_drawn and steps == self.steps:
            reference = reference_of(self.run.evaluator, self.asked)
            rows += 0.0 if reference is None else reference[0].nfe * reference[1]
        if steps == ALL:
            return rows
        if here and self.choose_left is not None:
            choose, report = self.choose_left, self.report_left
            rows += max(0.0, self.item - self.counted)
        else:
            finalists = self._finalists(waiting, here=here)
            choose = self._named(steps) + finalists
            report = self._reported(steps, finalists, waiting, here=here)
        choose = 0.0 if self.run.priced_by_profile or self._named(steps) + choose < 2 else choose
        rows += choose * self.rows("choose", steps) + report * self.rows("report", steps)
        return rows

    def _finalists(self, waiting: Sequence[float], *, here: bool) -> float:
        """The finalists that are expected: trials that reach the end, those so far included if ``here``."""
        full = self._full(waiting, here=here)
        return max(min(self.search.finalists, sum(full)), sum(min(1.0, each) for each in full) * (len(full) > 1))

    def _full(self, waiting: Sequence[float], *, here: bool) -> list[float]:
        """The trials of each kind of policy that are expected to reach the end."""
        here, waiting = (True, self._waiting(max(0, self.place))) if self.search.shared else (here, waiting)
        full: dict[PolicyKind, float] = {policy: self.own_full[policy] if here else 0.0 for policy in self.shares}
        for policy, trials in zip(self.studies, waiting, strict=False):
            full[policy] += trials * (self.full[policy] + 1) / (self.tried[policy] + 2)
        return [*full.values()]

    def _reported(self, steps: int, finalists: float, waiting: Sequence[float] = (), *, here: bool = True) -> float:
        """The policies on the report split: the baselines, and the best of each kind or, of one kind, a winner."""
        if len(self.shares) > 1:
            best = sum(min(1.0, each) for each in self._full(waiting, here=here))
        else:
            best = min(1.0, finalists) * self.tuned / self.won
        return self._named(steps) + best

    def _frontier_rows(self) -> float:
        """The rows of one token per step on the report split; 0 if they are not asked for or measured already."""
        evaluator = self.run.evaluator
        if not self.search.frontier or evaluator.exact:
            return 0.0
        hidden = evaluator.split("report").hidden.sum(1)
        longest = max(evaluator.length, int(hidden.max()))
        reference = reference_of(evaluator, self.asked)
        drawn = reference is not None and reference[0].steps == longest and reference[1] == len(hidden)
        if drawn or longest in self.budgets:
            return 0.0
        return float(one_token_rows(self.run, ["report"]))

    def _named(self, steps: int) -> int:
        """The baselines of a budget that have different counts."""
        if steps not in self._distinct:
            views = [self.run.evaluator.in_blocks(size) for size in self.sizes]
            names = [parse_schedule(name) for name in self.search.baselines if name != OPTIMUM]
            keys = {view.setting(schedule, steps).key for view in views for schedule in names}
            self._distinct[steps] = len(keys) + (OPTIMUM in self.search.baselines) * len(views)
        return self._distinct[steps]
