"""The trials of one step budget: proposed in batches, raced on the tune split, kept in a ledger.

All state lies in the ledger: the trials of a batch are written when their scores are there. What a batch proposes,
compares itself with and may spend follows from the batches before it alone, so that a search that was stopped anywhere
goes on as if it had not been.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdm_tune.config.file import SearchConfig
from mdm_tune.core.types import sign_of
from mdm_tune.evaluation.evaluator import Cost, Evaluator
from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.checksums import changed
from mdm_tune.search.events import TrialDone
from mdm_tune.search.finalists import Trial
from mdm_tune.search.ledger import Ledger, LedgerEntry
from mdm_tune.search.outcomes import Ended, Ending
from mdm_tune.search.proposals import propose
from mdm_tune.search.scoring import CandidateScore, InTime, least_rows, price_settings, race
from mdm_tune.search.space import START, Guide, given_points, reachable_counts
from mdm_tune.search.stopping import all_values_equal, settled

__all__ = ["Tuned", "tune"]

Values = NDArray[np.float64]
Key = tuple[float, ...]


@dataclass(frozen=True)
class Tuned:
    """The trials of one budget by number, and why they ended before ``search.trials``, if they did."""

    trials: tuple[Trial, ...]
    ended: Ended | None


def tune(
    evaluator: Evaluator,
    steps: int,
    search: SearchConfig,
    ledger: Ledger,
    notify: Callable[[TrialDone], None] = lambda event: None,
    guide: Guide = Guide(),
    in_time: InTime | None = None,
    *,
    seed: int,
) -> Tuned:
    """Run the trials that the ledger lacks; none where the box reaches one vector of counts only.

    in_time: what ends the trials in time, looked at between batches and inside them; linear is scored however late it
    is. seed: of the run, from which each proposal draws.
    """
    bench = _TrialRunner(evaluator, steps, search, seed, ledger, guide, in_time)
    if bench.reachable is not None and len(bench.reachable) == 1:
        return Tuned((), Ended.of(Ending.NOTHING_TO_TUNE))
    while True:
        began, trials, ended = time.monotonic(), bench.trials(), bench.ended
        batch = None if ended else _next_batch(trials, bench.together, bench.most)
        if batch is None:
            return Tuned(tuple(trials), ended or (Ended.of(Ending.EXHAUSTED) if bench.exhausted(trials) else None))
        before = [trial for trial in trials if trial.number < batch.start]
        if (why := bench.enough(before, len(batch))) is not None:
            ledger.note(bench.end, why.to_json())
            continue
        for event in bench.run(batch, before, {trial.number: trial for trial in trials}, began):
            notify(event)


class _TrialRunner:
    """Where the batches of one budget are run."""

    def __init__(
        self,
        evaluator: Evaluator,
        steps: int,
        search: SearchConfig,
        seed: int,
        ledger: Ledger,
        guide: Guide,
        in_time: InTime | None,
    ) -> None:
        self.evaluator, self.steps, self.search, self.seed = evaluator, steps, search, seed
        self.ledger, self.guide = ledger, guide
        self.in_time, self.thinking = in_time, 0.0  # the most seconds that it took to decide on a batch and propose it
        self.given = given_points(search, seed, steps, _starting_points(ledger, guide))
        self.most = min(search.trials, len(self.given)) if search.strategy == "grid" else search.trials
        self.priced = evaluator.exact or guide.price is not None  # values without examples
        self.together = 1 if self.priced else search.together  # batches are for the denoiser
        self.reachable = None if evaluator.sampler.bernoulli else reachable_counts(evaluator, steps, search)
        self.sign = sign_of(evaluator.metric.direction)
        self.end = f"ended {search.limits}"  # by other limits the trials may go on

    @property
    def ended(self) -> Ended | None:
        """Why there are no more trials, as was noted when that was found; raises InputError for an unknown reason."""
        found = self.ledger.notes.get(self.end)
        try:
            return None if found is None else Ended.from_json(found)
        except ValueError:
            raise changed(f"note {self.end!r}") from None

    def trials(self) -> list[Trial]:
        """The finished trials, by number."""
        entries = {int(task): entry for task, entry in self.ledger.finished().items()}
        return [_trial(number, entry) for number, entry in sorted(entries.items())]

    def run(
        self, batch: range, before: Sequence[Trial], finished: Mapping[int, Trial], began: float
    ) -> Iterator[TrialDone]:
        """Propose and score a batch.

        Trials of the batch that are finished already, because a process was killed while it wrote them down or because
        fewer were asked for then, are scored once more: the others' race and cost must not depend on where that
        happened. began: when thinking about this batch did.
        """
        proposed: dict[int, Beta] = {}
        for number in batch:
            kept = finished.get(number)
            proposed[number] = kept.schedule if kept else self._propose(number, before, [*proposed.values()])
        settings = {number: self.evaluator.setting(beta, self.steps) for number, beta in proposed.items()}
        self.thinking = max(self.thinking, time.monotonic() - began)
        looks: dict[int, dict[int, float]] = {number: {} for number in batch}
        records = self._score(settings, before, looks, began)
        new = [number for number in batch if number not in finished]
        for number in new:
            value, record = records[number]
            params = proposed[number].parameters
            self.ledger.write(str(number), value, record, params, self.search.space.ranges, looks[number])
        known = [*before, *(trial for trial in self.trials() if trial.number in batch)]
        for number in new:
            value, record = records[number]
            best = self._best(known, number)
            yield TrialDone(
                number=number,
                trials=self.most,
                schedule=proposed[number],
                setting=settings[number],
                value=value,
                best=best,
                fresh=record["fresh"],
                dropped=record["dropped"],
            )

    def exhausted(self, trials: Sequence[Trial]) -> bool:
        """Whether nothing is left to be scored."""
        return self.reachable is not None and self.reachable <= {trial.key for trial in trials if not trial.cut}

    def enough(self, before: Sequence[Trial], count: int) -> Ended | None:
        """Why there need be no more trials; None where a batch of so many should begin."""
        if self.exhausted(before):
            return Ended.of(Ending.EXHAUSTED)
        if not before:
            return None
        linear = self.evaluator.setting(START[0], self.steps)
        needed = 1.0 if self.priced else least_rows(self.evaluator, [linear] * count, racing=self.search.racing)
        if self.in_time is not None and not self.in_time(needed, self.thinking):
            return Ended.of(Ending.TIME)
        if self.priced:
            return None
        full = {number: values for number, values in self._values().items() if number in {t.number for t in before}}
        if (why := all_values_equal(before, full, self.evaluator.metric)) is not None:
            return why
        direction, groups = self.evaluator.metric.direction, self.evaluator.split("tune").shuffled().shared
        if self.search.auto_stop and settled(self.search, self.seed, self.steps, before, full, direction, groups):
            return Ended.of(Ending.SETTLED)
        if self._rows_left(before) < needed * getattr(self.evaluator.denoiser, "forwards", 1):  # guidance makes two
            return Ended.of(Ending.ROWS, rows=self.search.rows)
        return None

    def _propose(self, number: int, before: Sequence[Trial], earlier: Sequence[Beta]) -> Beta:
        if number < len(self.given):
            return self.given[number]
        known = [(trial.schedule, trial.value) for trial in before]
        direction = self.evaluator.metric.direction
        running = dict.fromkeys(earlier)
        return propose(self.search, self.seed, self.steps, number, known, running, direction, exact=self.priced)

    def _score(
        self, settings: Mapping[int, Setting], before: Sequence[Trial], looks: dict[int, dict[int, float]], began: float
    ) -> dict[int, tuple[float, dict[str, Any]]]:
        """Value and record of every trial of the batch, with an equal share of what the batch has cost.

        looks: of each trial, told of every one that it survives: its value so far, by the examples behind that.
        """
        whole = [trial for trial in reversed(before) if not trial.cut]
        known = {trial.key: CandidateScore(trial.value, dropped=0 if trial.dropped else None) for trial in whole}
        fresh: dict[Key, int] = {}  # the first trial of the batch that has these counts
        for number, setting in settings.items():
            if setting.key not in known:
                fresh.setdefault(setting.key, number)
        wanted = {number: settings[number] for number in fresh.values()}
        if self.priced:
            scored, cost = price_settings(self.evaluator, wanted, self.guide.price)
        else:

            def report(number: int, examples: int, value: float) -> None:
                looks[number][examples] = value

            lead = self._incumbent(before) if self.search.racing or self.in_time is not None else None
            left, racing = self._rows_left(before), self.search.racing
            scored, cost = race(self.evaluator, wanted, lead, left, report, racing=racing, in_time=self.in_time)
        seconds = (time.monotonic() - began) / len(settings)  # the proposals' time included
        shares = zip(
            _shared(cost.denoiser_rows, len(settings)), _shared(cost.denoiser_tokens, len(settings)), strict=True
        )
        records: dict[int, tuple[float, dict[str, Any]]] = {}
        for (number, setting), (rows, tokens) in zip(settings.items(), shares, strict=True):
            found = known.get(setting.key) or scored[fresh[setting.key]]
            new = number in wanted
            records[number] = (
                found.value,
                {
                    "key": list(setting.key),
                    "fresh": new,
                    "dropped": found.dropped,
                    "cut": found.cut,
                    "values": found.values.tolist() if new and found.values is not None else None,
                    "cost": [rows, tokens, seconds],
                },
            )
        return records

    def _values(self) -> dict[int, Values]:
        """Values on the examples, by the number of each trial that was scored on all of them."""
        found = {int(task): entry.record["values"] for task, entry in self.ledger.finished().items()}
        return {number: np.array(values) for number, values in found.items() if values is not None}

    def _incumbent(self, before: Sequence[Trial]) -> Values | None:
        """The values of the best trial that was scored on all examples; None before there is one."""
        values = self._values()
        full = [trial for trial in before if trial.number in values]
        best = max(full, key=lambda trial: (self.sign * trial.value, -trial.number), default=None)
        return None if best is None else values[best.number]

    def _best(self, trials: Sequence[Trial], number: int) -> float:
        """The best value up to this trial, so that it is told with the trial that reached it."""
        full = [trial for trial in trials if not trial.dropped]
        return self.sign * max(self.sign * each.value for each in [t for t in full if t.number <= number] or full)

    def _rows_left(self, before: Sequence[Trial]) -> float:
        if self.search.rows is None:
            return float("inf")
        return self.search.rows - sum(trial.cost.denoiser_rows for trial in before)


def _shared(total: int, count: int) -> list[int]:
    """A total in so many shares, as equal as can be."""
    return [total * (place + 1) // count - total * place // count for place in range(count)]


def _starting_points(ledger: Ledger, guide: Guide) -> tuple[Beta, ...]:
    """The guide's points that the study began with: more trials of an earlier budget may have another winner."""
    kept = ledger.notes.get("points")
    if kept is None:
        ledger.note("points", [[beta.a, beta.b] for beta in guide.points])
        return guide.points
    return tuple(Beta(a, b) for a, b in kept)


def _next_batch(trials: Sequence[Trial], size: int, most: int) -> range | None:
    """The first batch that lacks a trial.

    Trial 0, linear, is a batch of its own: the others race against it.
    """
    finished = {trial.number for trial in trials}
    for start in (0, *range(1, most, size)):
        batch = range(start, min(start + size, most) if start else 1)
        if not finished.issuperset(batch):
            return batch
    return None


def _trial(number: int, entry: LedgerEntry) -> Trial:
    """A finished trial without what is the ledger's."""
    rows, tokens, seconds = entry.record["cost"]
    return Trial(
        number=number,
        schedule=Beta(entry.params["a"], entry.params["b"]),
        key=tuple(entry.record["key"]),
        value=entry.value,
        fresh=bool(entry.record["fresh"]),
        cost=Cost(int(rows), int(tokens), float(seconds)),
        dropped=entry.record["dropped"] is not None,
        cut=bool(entry.record.get("cut")),
    )
