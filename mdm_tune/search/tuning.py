"""The trials of one step budget: proposed in batches, raced on the tune split, stored in a ledger.

All state is in the ledger. The trials of a batch are written once they are scored. The proposals of a batch, the trial
that they race against and the rows that they may use follow from earlier batches only. Therefore a stopped search
continues as if it had not been stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.types import sign_of
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Cost
from mdm_tune.evaluation.settings import Key, Policy, Setting
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.checksums import changed
from mdm_tune.search.equal_calls import Matched
from mdm_tune.search.events import TrialDone, TrialsProposed, trial_state
from mdm_tune.search.finalists import Trial
from mdm_tune.search.ledger import Ledger, LedgerEntry
from mdm_tune.search.outcomes import Ended, Ending
from mdm_tune.search.proposals import BetaSpace, Space
from mdm_tune.search.scoring import CandidateScore, InTime, least_rows, price_settings, race
from mdm_tune.search.space import START, Guide, reachable_counts
from mdm_tune.search.stopping import all_values_equal, settled

__all__ = ["Prepared", "TrialRunner", "Tuned", "run_trials", "tune"]

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Tuned:
    """The trials of one budget.

    Attributes:
        trials: The finished trials, by number.
        ended: Why there are fewer than ``search.trials``; None if there are not.
    """

    trials: tuple[Trial, ...]
    ended: Ended | None


def tune(
    evaluator: Evaluator,
    space: BetaSpace,
    ledger: Ledger,
    notify: Callable[[TrialsProposed | TrialDone], None] = lambda event: None,
    guide: Guide = Guide(),
    in_time: InTime | None = None,
) -> Tuned:
    """Run the trials that the ledger lacks. There are none if all schedules of the box have the same counts.

    Args:
        evaluator: The evaluator for the block length.
        space: The schedules to propose.
        ledger: The ledger of the trials.
        notify: Called with each batch of proposed trials, and with each finished trial.
        guide: What an information profile contributes.
        in_time: Whether there is time for more denoiser calls, checked between and inside batches; None for no limit.
            Linear is scored in any case.

    Returns:
        The trials, and why they ended early.
    """
    return run_trials(TrialRunner(evaluator, space, ledger, guide, in_time), notify)


def run_trials(runner: TrialRunner, notify: Callable[[TrialsProposed | TrialDone], None]) -> Tuned:
    """Run the trials that the runner's ledger lacks."""
    if runner.reachable is not None and len(runner.reachable) == 1:
        return Tuned((), Ended.of(Ending.NOTHING_TO_TUNE))
    while True:
        batch_began, trials, ended = time.monotonic(), runner.trials(), runner.ended
        batch = None if ended else _next_batch(trials, runner.together, runner.most)
        if batch is None:
            exhausted = Ended.of(Ending.EXHAUSTED) if runner.exhausted(trials) else None
            return Tuned(tuple(trials), ended or exhausted)
        before = [trial for trial in trials if trial.number < batch.start]
        if (ending := runner.early_end(before, len(batch))) is not None:
            runner.ledger.note(runner.end_key, ending.to_json())
            continue
        for event in runner.run(batch, before, {trial.number: trial for trial in trials}, batch_began):
            notify(event)


@dataclass(frozen=True)
class Prepared:
    """The settings of a batch of proposals.

    Attributes:
        settings: By trial number; those that can be scored.
        cost: The cost of finding them.
        matched: The adaptive policies whose values were looked for, by the number of their trial.
    """

    settings: Mapping[int, Setting]
    cost: Cost = field(default_factory=Cost)
    matched: Mapping[int, Matched] = field(default_factory=dict)

    @property
    def unreachable(self) -> dict[int, str]:
        """Why a policy cannot make the calls of the budget, by the number of its trial."""
        return {number: found.unreachable for number, found in self.matched.items() if found.unreachable is not None}


class TrialRunner:
    """Runs the batches of one study. Its settings need no search for a value, as those of schedules."""

    def __init__(
        self, evaluator: Evaluator, space: Space, ledger: Ledger, guide: Guide, in_time: InTime | None
    ) -> None:
        self.evaluator, self.space, self.ledger, self.guide = evaluator, space, ledger, guide
        self.search, self.steps = space.search, space.steps
        self.in_time, self.proposal_seconds = in_time, 0.0  # the longest time that proposing a batch has taken
        self.points = space.given(_starting_points(ledger, guide))
        finite = self.search.strategy == "grid" or not space.ranges
        self.most = min(self.search.trials, len(self.points)) if finite else self.search.trials
        self.priced = evaluator.exact or guide.price is not None  # values are computed without examples
        self.together = 1 if self.priced else self.search.together  # only the denoiser is faster with batches
        self.reachable = self.distinct()
        self.sign = sign_of(evaluator.metric.direction)
        self.end_key = f"ended {self.search.limits}"  # with other limits the trials may continue

    def distinct(self) -> set[Key] | None:
        """The keys of all settings that can be proposed; None if these are not known."""
        return None if self.evaluator.sampler.bernoulli else reachable_counts(self.evaluator, self.steps, self.search)

    @property
    def ended(self) -> Ended | None:
        """Why the trials ended early, as noted in the ledger. Raises InputError for an unknown reason."""
        note = self.ledger.notes.get(self.end_key)
        try:
            return None if note is None else Ended.from_json(note)
        except ValueError:
            raise changed(f"note {self.end_key!r}") from None

    def trials(self) -> list[Trial]:
        """The finished trials, by number."""
        entries = {int(task): entry for task, entry in self.ledger.finished().items()}
        return [_trial(number, entry, self.space.policy_of(entry)) for number, entry in sorted(entries.items())]

    def prepare(self, proposed: Mapping[int, Policy], before: Sequence[Trial]) -> Prepared:
        """The settings of a batch of proposals.

        Args:
            proposed: The proposals by trial number.
            before: The trials of earlier batches.
        """
        return Prepared({number: self.evaluator.setting(policy, self.steps) for number, policy in proposed.items()})

    def run(
        self, batch: range, before: Sequence[Trial], finished: Mapping[int, Trial], began: float
    ) -> Iterator[TrialsProposed | TrialDone]:
        """Propose and score a batch.

        Some trials of the batch may be finished, because a process was killed while it wrote them or because an earlier
        search requested fewer trials. They are scored again, so that the race and the cost of the others do not depend
        on this.

        Args:
            batch: The numbers of the trials.
            before: The trials of earlier batches.
            finished: All finished trials by number.
            began: The time at which work on this batch began.

        Yields:
            The batch, once it is proposed; then its new trials.
        """
        proposed: dict[int, Policy] = {number: finished[number].policy for number in batch if number in finished}
        if len(proposed) < len(batch):
            proposed = self.propose(batch, before) | proposed
        self.proposal_seconds = max(self.proposal_seconds, time.monotonic() - began)
        given = batch.stop <= len(self.points) or finished.keys() >= {*batch}
        yield TrialsProposed(first=batch.start, count=len(batch), trials=self.most, given=given)
        looks: dict[int, dict[int, float]] = {number: {} for number in batch}
        prepared = self.prepare(proposed, before)
        settings, records = self._score(prepared, before, looks, began)
        new = [number for number in batch if number not in finished]
        for number in new:
            value, record = records[number]
            self.ledger.write(
                str(number),
                value,
                record,
                self.space.point(proposed[number]),
                self.space.ranges,
                looks[number],
                _shown(record),
                pruned=record["dropped"] is not None,
            )
        known = [*before, *(trial for trial in self.trials() if trial.number in batch)]
        known_by_number = {trial.number: trial for trial in known}
        for number in new:
            value, record = records[number]
            best = self._best(known, number)
            yield TrialDone(
                number=number,
                trials=self.most,
                policy=known_by_number[number].policy,
                setting=settings[number],
                value=value,
                best=best,
                fresh=record["fresh"],
                dropped=record["dropped"],
                cut=record["cut"],
                ci=self._interval(record["values"]),
                examples=_examples_of(record),
                rows=record["cost"][0],
                calls=record.get("calls"),
                unreachable=record.get("unreachable"),
            )

    def _interval(self, values: Sequence[float] | None) -> tuple[float, float] | None:
        """The interval of the mean of a trial's values on the tune examples; None if there are none or too few."""
        if values is None:
            return None
        return self.evaluator.estimated(np.array(values), self.evaluator.split("tune").shuffled()).ci

    def exhausted(self, trials: Sequence[Trial]) -> bool:
        """Whether all reachable counts are scored."""
        return self.reachable is not None and self.reachable <= {trial.key for trial in trials if not trial.cut}

    def early_end(self, before: Sequence[Trial], count: int) -> Ended | None:
        """Why the trials end before the next batch, of ``count`` trials; None if the batch should run."""
        if self.exhausted(before):
            return Ended.of(Ending.EXHAUSTED)
        if not before:
            return None
        linear = self.evaluator.setting(START[0], self.steps)
        needed = 1.0 if self.priced else least_rows(self.evaluator, [linear] * count, racing=self.search.racing)
        if self.in_time is not None and not self.in_time(needed, self.proposal_seconds):
            return Ended.of(Ending.TIME)
        if self.priced:
            return None
        earlier = {trial.number for trial in before}
        full = {number: values for number, values in self._values().items() if number in earlier}
        if (ending := all_values_equal(before, full, self.evaluator.metric)) is not None:
            return ending
        direction, groups = self.evaluator.metric.direction, self.evaluator.split("tune").shuffled().shared
        if self.search.auto_stop:
            assert isinstance(self.space, BetaSpace)  # where adaptive policies are tried, the rule is off
            if settled(self.space, before, full, direction, groups):
                return Ended.of(Ending.SETTLED)
        if self._rows_left(before) < needed * getattr(self.evaluator.denoiser, "forwards", 1):  # guidance makes two
            return Ended.of(Ending.ROWS, rows=self.search.rows)
        return None

    def propose(self, batch: range, before: Sequence[Trial]) -> dict[int, Policy]:
        """The policies of new trials by their numbers.

        Args:
            batch: The numbers of the trials.
            before: The trials of earlier batches.
        """
        policies = {number: self.points[number] for number in batch if number < len(self.points)}
        numbers = range(batch.start + len(policies), batch.stop)
        if numbers:
            known = [(trial.policy, trial.value) for trial in before if trial.unreachable is None]
            running, direction = [*policies.values()], self.evaluator.metric.direction
            found = self.space.propose(numbers, known, running, direction, exact=self.priced)
            policies |= zip(numbers, found, strict=True)
        return policies

    def _score(
        self, prepared: Prepared, before: Sequence[Trial], looks: dict[int, dict[int, float]], began: float
    ) -> tuple[dict[int, Setting], dict[int, tuple[float, dict[str, Any]]]]:
        """Score a batch.

        Args:
            prepared: The settings of the batch.
            before: The trials of earlier batches.
            looks: By trial number; receives the value at each look that the trial survives, by the number of examples.
            began: The time at which work on this batch began.

        Returns:
            The setting of each trial; its value and record, with an equal share of the batch's cost.
        """
        settings, after = prepared.settings, prepared
        uncut = [trial for trial in reversed(before) if not trial.cut]
        known = {trial.key: CandidateScore(trial.value, dropped=0 if trial.dropped else None) for trial in uncut}
        fresh: dict[Key, int] = {}  # the first trial of the batch that has these counts
        for number, setting in settings.items():
            if setting.key not in known and number not in prepared.unreachable:
                fresh.setdefault(setting.key, number)
        new_settings = {number: settings[number] for number in fresh.values()}
        if self.priced:
            scored, cost = price_settings(self.evaluator, new_settings, self.guide.price)
        else:

            def report(number: int, examples: int, value: float) -> None:
                looks[number][examples] = value

            incumbent = self._incumbent(before) if self.search.racing or self.in_time is not None else None
            scored, cost = race(
                self.evaluator,
                new_settings,
                incumbent,
                self._rows_left(before) - prepared.cost.denoiser_rows,
                report,
                racing=self.search.racing,
                in_time=self.in_time,
            )
            after, scored = self.corrected(prepared, scored)
            cost += after.cost
        seconds = (time.monotonic() - began) / len(settings)  # with the time of the proposals
        shares = zip(
            _equal_shares(cost.denoiser_rows, len(settings)),
            _equal_shares(cost.denoiser_tokens, len(settings)),
            strict=True,
        )
        records: dict[int, tuple[float, dict[str, Any]]] = {}
        settings = {number: after.settings[fresh.get(setting.key, number)] for number, setting in settings.items()}
        for (number, setting), (rows, tokens) in zip(settings.items(), shares, strict=True):
            first = fresh.get(prepared.settings[number].key, number)
            unreachable = after.unreachable.get(first)
            if unreachable is not None:
                score = CandidateScore(-self.sign * math.inf, dropped=0)
            else:
                score = scored[first] if first in scored else known[setting.key]
            new = number in new_settings
            records[number] = (
                score.value,
                {
                    "key": list(setting.key),
                    "fresh": new or unreachable is not None,
                    "dropped": score.dropped,
                    "cut": score.cut,
                    "values": score.values.tolist() if new and score.values is not None else None,
                    "cost": [rows, tokens, seconds],
                    **self.noted(setting, unreachable),
                },
            )
        return settings, records

    def corrected(
        self, prepared: Prepared, scored: dict[int, CandidateScore]
    ) -> tuple[Prepared, dict[int, CandidateScore]]:
        """Correct what a race has scored: the batch with its settings and all of its cost, and all scores.

        Schedules stay.
        """
        return prepared, scored

    def noted(self, setting: Setting, unreachable: str | None) -> dict[str, Any]:
        """What a trial's record says of its policy besides its parameters: nothing of a schedule."""
        return {}

    def _values(self) -> dict[int, Values]:
        """The values on all examples, by the number of each trial that was scored on all of them."""
        values_by_task = {int(task): entry.record["values"] for task, entry in self.ledger.finished().items()}
        return {number: np.array(values) for number, values in values_by_task.items() if values is not None}

    def _incumbent(self, before: Sequence[Trial]) -> Values | None:
        """The values of the best trial that was scored on all examples; None if there is none."""
        values = self._values()
        full = [trial for trial in before if trial.number in values]
        best = max(full, key=lambda trial: (self.sign * trial.value, -trial.number), default=None)
        return None if best is None else values[best.number]

    def _best(self, trials: Sequence[Trial], number: int) -> float:
        """The best value up to this trial, so that each trial is reported with the best value at its time."""
        full = [trial for trial in trials if not trial.dropped] or trials  # none where a policy cannot reach the budget
        return self.sign * max(self.sign * trial.value for trial in [t for t in full if t.number <= number] or full)

    def _rows_left(self, before: Sequence[Trial]) -> float:
        """The denoiser rows that further trials may use; infinite without a limit."""
        if self.search.rows is None:
            return float("inf")
        return self.search.rows - sum(trial.cost.denoiser_rows for trial in before)


def _equal_shares(total: int, count: int) -> list[int]:
    """Divide a total into ``count`` integers that differ by at most 1."""
    return [total * (place + 1) // count - total * place // count for place in range(count)]


def _starting_points(ledger: Ledger, guide: Guide) -> tuple[Beta, ...]:
    """The guide's points with which the study began, from its notes.

    A resumed search may have another guide, since more trials of an earlier budget may change its winner.
    """
    stored = ledger.notes.get("points")
    if stored is None:
        ledger.note("points", [[beta.a, beta.b] for beta in guide.points])
        return guide.points
    return tuple(Beta(a, b) for a, b in stored)


def _next_batch(trials: Sequence[Trial], size: int, most: int) -> range | None:
    """The first batch with an unfinished trial; None if there is none.

    Trial 0, linear, is a batch of its own, since the others race against it.

    Args:
        trials: The finished trials.
        size: Trials per batch.
        most: Trials of the budget.
    """
    finished = {trial.number for trial in trials}
    for start in (0, *range(1, most, size)):
        batch = range(start, min(start + size, most) if start else 1)
        if not finished.issuperset(batch):
            return batch
    return None


def _trial(number: int, entry: LedgerEntry, policy: Policy) -> Trial:
    """The trial of a ledger entry."""
    rows, tokens, seconds = entry.record["cost"]
    return Trial(
        number=number,
        policy=policy,
        key=tuple(entry.record["key"]),
        value=entry.value,
        fresh=bool(entry.record["fresh"]),
        cost=Cost(int(rows), int(tokens), float(seconds)),
        dropped=entry.record["dropped"] is not None,
        cut=bool(entry.record.get("cut")),
        examples=_examples_of(entry.record),
        calls=entry.record.get("calls"),
        unreachable=entry.record.get("unreachable"),
    )


def _shown(record: Mapping[str, Any]) -> dict[str, str | float]:
    """What viewers of the study show of a trial, in words: what became of it, its examples and its rows."""
    state = trial_state(
        fresh=record["fresh"], dropped=record["dropped"], cut=record["cut"], unreachable=record.get("unreachable")
    )
    of_policy = {name: record[name] for name in ("policy", "calls", "unreachable") if record.get(name) is not None}
    shown: dict[str, str | float] = {**of_policy, "state": state, "denoiser rows": record["cost"][0]}
    examples = _examples_of(record)
    return shown if examples is None else {**shown, "examples": examples}


def _examples_of(record: Mapping[str, Any]) -> int | None:
    """The examples that were scored for a trial; None if values are exact, or if its counts were scored before."""
    if record["values"] is not None:
        return len(record["values"])
    return int(record["dropped"]) if record["dropped"] else None
