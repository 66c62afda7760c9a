"""Schedules x budgets x examples -> scores, every schedule on the same examples with the same noise."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.json_record import JsonRecord
from mdm_tune.core.statistics import CONFIDENCE, Bounds, Estimate, estimate, grouped, is_constant
from mdm_tune.datasets.splits import Dataset, Split, Use
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.evaluation.filling import Filler, PoolFiller, Rows
from mdm_tune.evaluation.settings import Sampler, Setting
from mdm_tune.metrics.quality import ExactMetric, SampleMetric
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.pieces import LocalPool, Pool
from mdm_tune.sampling.unmasking import Plan, Step, Unmasked
from mdm_tune.schedules.blocks import ShareRule, Shares
from mdm_tune.schedules.counts import beta_grids, counts_of_grids
from mdm_tune.schedules.curves import Schedule
from mdm_tune.schedules.labels import Label

__all__ = ["CallTimer", "Cost", "Evaluator", "Measurement", "ScoreBook", "Scores", "paired_difference"]

LATEST = 8  # pieces of work that say how fast the machine is now

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Cost(JsonRecord):
    """What something took: sequence forwards, their tokens, and wall-clock seconds."""

    denoiser_rows: int = 0
    denoiser_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.denoiser_rows + other.denoiser_rows,
            self.denoiser_tokens + other.denoiser_tokens,
            self.seconds + other.seconds,
        )

    def to_json(self) -> dict[str, Any]:
        """The fields by name, seconds to three decimals."""
        return {
            "denoiser_rows": self.denoiser_rows,
            "denoiser_tokens": self.denoiser_tokens,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Scores:
    """A setting's result on one split; values and tokens (n, ...) are None for exact metrics.

    diversity: see SampleMetric.diversity. nfe: mean denoiser calls measured. calls: those of each row (n,), where rows
    differ or a plan decides by itself. groups: a name for each example, where examples share one and are no independent
    ones. bounds: of every value, where it has any.
    """

    setting: Setting
    estimate: Estimate
    nfe: float
    cost: Cost = field(compare=False)
    use: Use | None = None
    values: Values | None = None
    tokens: Tensor | None = None
    diversity: dict[str, Values] = field(default_factory=dict)
    calls: Values | None = None
    groups: tuple[str, ...] | None = None
    bounds: Bounds | None = None

    @property
    def count(self) -> int | None:
        """How many examples were scored; None where the value is exact."""
        return None if self.values is None else len(self.values)


@dataclass(frozen=True)
class Measurement:
    """A setting that is measured on a split. plan, drawing: as in ``Rows``."""

    setting: Setting
    split: Split
    plan: Plan | None = None
    drawing: Drawing | None = None


class ScoreBook:
    """What was scored, so that the same counts are scored once on a split; it has the values of whole splits, and those
    of the first examples of one.
    """

    def __init__(self) -> None:
        self._whole: dict[tuple[Use | None, tuple[float, ...]], Scores] = {}
        self._first: dict[tuple[Use, tuple[float, ...]], Values] = {}

    def whole(self, setting: Setting, use: Use | None) -> Scores | None:
        """The scores on a split of what has the setting's counts; use: None where values are exact."""
        return self._whole.get((use, setting.key))

    def keep_whole(self, scores: Scores) -> None:
        self._whole[scores.use, scores.setting.key] = scores

    def first(self, setting: Setting, use: Use) -> Values:
        """The values on the first examples of a split, in their random order; (0,) where there are none."""
        return self._first.get((use, setting.key), np.empty(0))

    def keep_first(self, setting: Setting, use: Use, values: Values) -> None:
        """Keep values of the first examples, unless those of as many are known."""
        if len(values) > len(self.first(setting, use)):
            self._first[use, setting.key] = values


class CallTimer:
    """How long denoiser calls take, with the scoring of what they gave. now: the clock, in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._calls, self._seconds = 0.0, 0.0
        self._latest: deque[tuple[float, float]] = deque(maxlen=LATEST)

    def add(self, calls: float, seconds: float) -> None:
        """A piece of work: its denoiser calls, summed over examples, and what it took."""
        self._latest.append((calls, seconds))
        self._calls, self._seconds = self._calls + calls, self._seconds + seconds

    @property
    def per_call(self) -> float:
        """Seconds: of the latest pieces of work or of all so far, whichever were slower; 0 before the first."""
        if not self._calls:
            return 0.0
        calls = sum(calls for calls, _ in self._latest)
        seconds = sum(seconds for _, seconds in self._latest)
        return max(seconds / calls, self._seconds / self._calls)


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Scores settings and remembers them: what was scored once on a split is answered again at no cost.

    It never changes. What becomes known later is given to another one, by ``dataclasses.replace``, which shares the
    book of scores and the pace.

    length: positions to fill. dataset: None only with an exact metric. block_lengths: those that are compared, by the
    first of which schedules get their settings; () for one block, which is as long as the length. several: whether
    labels have to say the blocks. fill_with: what fills the rows; None for the denoiser, in this process.
    shares: how steps are shared out among blocks, by block length, where a profile says so. book: what is remembered.
    pace: learns what scoring takes; an exact value counts as one call.
    """

    denoiser: Denoiser
    length: int
    sampler: Sampler
    metric: ExactMetric | SampleMetric
    dataset: Dataset | None
    block_lengths: tuple[int, ...] = ()
    several: bool = False
    fill_with: Filler | None = None
    shares: Mapping[int, ShareRule] = field(default_factory=dict)
    book: ScoreBook = field(default_factory=ScoreBook)
    pace: CallTimer = field(default_factory=CallTimer)

    def __post_init__(self) -> None:
        lengths = self.block_lengths or (self.length,)
        object.__setattr__(self, "block_lengths", lengths)
        object.__setattr__(self, "several", self.several or len(lengths) > 1)

    @property
    def filler(self) -> Filler:
        """What fills the rows."""
        return self.fill_with or PoolFiller(LocalPool(self.denoiser))

    @property
    def pool(self) -> Pool:
        """What is asked for predictions, and how many pieces it works on at the same time."""
        return self.filler.pool

    @property
    def exact(self) -> bool:
        """Whether values are computed, so that splits and intervals have no meaning."""
        return isinstance(self.metric, ExactMetric)

    @property
    def preparation(self) -> Cost:
        """What the metric itself has cost before the first setting."""
        rows = self.metric.denoiser_rows if isinstance(self.metric, ExactMetric) else 0
        return Cost(rows, rows * self.length)

    @property
    def block_length(self) -> int:
        """Of the blocks in which schedules get their settings."""
        return self.block_lengths[0]

    @property
    def one_block(self) -> bool:
        """Whether schedules get their settings in one block."""
        return self.block_length >= self.length

    @property
    def tunes_shares(self) -> bool:
        """Whether a profile says how many steps each of these blocks gets."""
        return self.sampler.section.block_steps == "tuned" and not self.one_block

    def in_blocks(self, block_length: int) -> Evaluator:
        """An evaluator with the same book, for one block length."""
        return self if self.block_lengths == (block_length,) else replace(self, block_lengths=(block_length,))

    def setting(self, schedule: Schedule, steps: int, label: str | None = None) -> Setting:
        """The schedule at this budget under the evaluator's sampler."""
        size = self.block_length
        found = Setting.of(schedule, steps, self.length, self.sampler, label, self.shares.get(size), size)
        return replace(found, says_blocks=self.several)

    def labelled(self, name: str, block_length: int) -> str:
        """The name of a schedule, with its blocks where it is compared with itself in others."""
        return str(Label(name, block_length if self.several else None))

    def steps_of_blocks(self, steps: int) -> Shares:
        """How many steps of a budget each block gets."""
        share = self.shares.get(self.block_length, self.sampler.share)
        return share(steps, self.length, self.block_length)

    def beta_keys(self, a: Values, b: Values, steps: int) -> set[tuple[float, ...]]:
        """The keys of the fixed counts of many schedules Beta(a, b) at once; a and b (n,)."""
        size, shares = self.block_length, self.steps_of_blocks(steps)
        inside = {
            each: counts_of_grids(beta_grids(a, b, each), size, self.sampler.section.counts) for each in set(shares)
        }
        rows = np.unique(np.concatenate([inside[each] for each in shares], axis=1), axis=0).tolist()
        return {Setting.key_of(row, steps, self.length, size) for row in rows}

    def split(self, use: Use) -> Split:
        """The examples of one use; raises InputError without a data set."""
        if self.dataset is None:
            raise InputError(
                f"metric {self.metric.name} needs examples, and the config has no dataset section; add one"
            )
        return self.dataset.splits[use]

    def data(self, use: Use) -> Scores | None:
        """What the data itself scores, where the metric can say so: the ceiling, and the diversity to compare with."""
        if isinstance(self.metric, ExactMetric):
            return None
        split = self.split(use)
        values = self.metric.ceiling(split)
        if values is None:
            return None
        diversity = self.metric.diversity(split.originals, split)
        return Scores(
            setting=Setting("data", 0, self.length),
            estimate=self.estimated(values, split),
            nfe=0.0,
            cost=Cost(),
            use=use,
            values=values,
            tokens=split.originals,
            diversity=diversity,
            groups=split.shared,
            bounds=self.metric.bounds,
        )

    def estimated(self, values: Values, split: Split) -> Estimate:
        """The mean of the metric's values (n,) on the examples of a split, with its interval."""
        bounds = None if isinstance(self.metric, ExactMetric) else self.metric.bounds
        return estimate(values, bounds=bounds, groups=split.shared)

    def scored(self, setting: Setting, values: Values, split: Split) -> Scores:
        """Scores of values (n,) that are known on the examples of a split, at no cost."""
        bounds = None if isinstance(self.metric, ExactMetric) else self.metric.bounds
        found = self.estimated(values, split)
        return Scores(
            setting=setting,
            estimate=found,
            nfe=setting.nfe,
            cost=Cost(),
            use=split.use,
            values=values,
            groups=split.shared,
            bounds=bounds,
        )

    def score(self, setting: Setting, use: Use) -> Scores:
        """The setting's scores on a split; from the book at no cost where its counts were scored before."""
        known = self.book.whole(setting, None if self.exact else use)
        if known is not None:
            return replace(known, setting=setting, cost=Cost())
        found = self._compute(setting) if self.exact else self.measure_on(setting, self.split(use))
        self.book.keep_whole(found)
        return found

    def _compute(self, setting: Setting) -> Scores:
        assert isinstance(self.metric, ExactMetric)
        start = self.pace.now()
        if setting.counts is not None:
            value = self.metric.fixed(setting.counts, setting.block_length)
        else:
            value = self.metric.ancestral(np.array(setting.alphas))
        seconds = self.pace.now() - start
        self.pace.add(1.0, seconds)
        return Scores(setting=setting, estimate=Estimate(value, None), nfe=setting.nfe, cost=Cost(seconds=seconds))

    def answered(self, setting: Setting, use: Use) -> int:
        """On how many examples ``together`` has scored the setting already."""
        return len(self.book.first(setting, use))

    def together(self, settings: Sequence[Setting], use: Use, examples: int) -> tuple[list[Values], Cost]:
        """Values (examples,) of each setting on the first examples of a split, their rows in common denoiser batches.

        The examples come in a fixed random order, so that the first are like the rest. Values on the first of them that
        an earlier call gave are not computed again.
        """
        assert not isinstance(self.metric, ExactMetric)  # as in measure_on
        began, split, metric = self.pace.now(), self.split(use).shuffled(), self.metric
        known = {s.key: self.book.first(s, use) for s in settings}
        cost, parts, lacking = Cost(), list[Split](), list[list[Setting]]()
        for first in sorted({len(values) for values in known.values()} - {*range(examples, len(split.ids) + 1)}):
            parts.append(split.part(first, examples))
            lacking.append([*{s.key: s for s in settings if len(known[s.key]) == first}.values()])
        results = self.fill_each(
            Rows(
                settings=some,
                start=part.start,
                seeds=part.seeds,
                reference=part.originals if metric.reference else None,
            )
            for some, part in zip(lacking, parts, strict=True)
        )
        calls = 0.0
        for some, part, result in zip(lacking, parts, results, strict=True):
            for place, setting in enumerate(some):
                values = metric.values(_rows(result, place * len(part.ids), len(part.ids)), part)
                known[setting.key] = np.concatenate([known[setting.key], values])
                self.book.keep_first(setting, use, known[setting.key])
            cost += Cost(result.denoiser_rows, result.denoiser_tokens)
            calls += float(result.nfe.sum())
        cost += Cost(seconds=self.pace.now() - began)
        if calls:
            self.pace.add(calls, cost.seconds)
        return [known[s.key][:examples] for s in settings], cost

    def fill(
        self,
        settings: Sequence[Setting],
        start: Tensor,
        seeds: NDArray[np.uint64],
        reference: Tensor | None = None,
        on_step: Callable[[Step], None] | None = None,
    ) -> Unmasked:
        """The one result of ``fill_each`` for these rows; see ``Rows``."""
        return next(self.fill_each([Rows(settings=settings, start=start, seeds=seeds, reference=reference)], on_step))

    def fill_each(self, wanted: Iterable[Rows], on_step: Callable[[Step], None] | None = None) -> Iterator[Unmasked]:
        """The results in this order, each as soon as it is there; see ``Filler.fill_each``."""
        return self.filler.fill_each(wanted, self.sampler, on_step)

    def measure_on(self, setting: Setting, split: Split) -> Scores:
        """Scores on any split by a sample metric, neither looked up in the book nor added to it."""
        return next(self.measure_each([Measurement(setting, split)]))

    def measure_each(self, wanted: Sequence[Measurement]) -> Iterator[Scores]:
        """``measure_on`` of one after the other; rows of the next are filled where devices are free.

        The seconds of each are those since the one before it, so that all together are those of the whole.
        """
        assert not isinstance(self.metric, ExactMetric)  # exact metrics have no splits; score() keeps them apart
        start, priced = self.pace.now(), self.metric.reference
        results = self.fill_each(
            Rows(
                settings=[each.setting],
                start=each.split.start,
                seeds=each.split.seeds,
                reference=each.split.originals if priced else None,
                plan=each.plan,
                drawing=each.drawing,
            )
            for each in wanted
        )
        for each, result in zip(wanted, results, strict=True):
            yield self._scores(each, result, start)
            start = self.pace.now()

    def _scores(self, measured: Measurement, result: Unmasked, start: float) -> Scores:
        assert not isinstance(self.metric, ExactMetric)
        setting, split = measured.setting, measured.split
        values, calls = self.metric.values(result, split), result.nfe.double().cpu().numpy()
        value, diversity = self.estimated(values, split), self.metric.diversity(result.tokens, split)
        cost = Cost(result.denoiser_rows, result.denoiser_tokens, self.pace.now() - start)
        self.pace.add(float(calls.sum()), cost.seconds)
        own = calls if measured.plan is not None or np.ptp(calls) else None
        return Scores(
            setting=setting,
            estimate=value,
            nfe=float(calls.mean()),
            cost=cost,
            use=split.use,
            values=values,
            tokens=result.tokens,
            diversity=diversity,
            calls=own,
            groups=split.shared,
            bounds=self.metric.bounds,
        )


def paired_difference(first: Scores, second: Scores, confidence: float = CONFIDENCE) -> Estimate:
    """first - second, paired example by example; without an interval where both are exact.

    Where two schedules differ by the same on every example, a difference can be as large as the bounds of the values
    are wide, or as the values that were seen where there are no bounds (``interval_of_equal``). Equal schedules differ
    by exactly 0.
    """
    if first.values is None or second.values is None:
        return Estimate(first.estimate.value - second.estimate.value, None)
    differences = first.values - second.values
    if first.setting.key == second.setting.key and not differences.any():
        return Estimate(0.0, (0.0, 0.0), len(grouped(differences, first.groups)))
    bounds = None
    if first.bounds is not None:
        bounds = first.bounds[0] - first.bounds[1], first.bounds[1] - first.bounds[0]
    elif is_constant(grouped(differences, first.groups)):
        span = float(np.ptp([first.values, second.values]))
        bounds = (-span, span)
    return estimate(differences, confidence, bounds, first.groups)


def _rows(result: Unmasked, first: int, count: int) -> Unmasked:
    """The part of a result that begins at row ``first``; what it cost belongs to the whole."""
    here = slice(first, first + count)
    nll, bad = (None if each is None else each[here] for each in (result.nll, result.impossible))
    return Unmasked(
        tokens=result.tokens[here], nll=nll, nfe=result.nfe[here], denoiser_rows=0, denoiser_tokens=0, impossible=bad
    )
