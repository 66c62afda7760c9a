"""Schedules x budgets x examples -> scores, every schedule on the same examples with the same noise."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.blocks import Share, Shares
from mdm_tune.counts import beta_grids, counts_of_grids
from mdm_tune.datasets.splits import Dataset, Split, Use
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.errors import InputError
from mdm_tune.labels import Label
from mdm_tune.metrics.quality import ExactMetric, SampleMetric
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.pieces import Call, Here, Pool, answers_of, filling
from mdm_tune.sampling.unmasking import Plan, Step, Unmasked
from mdm_tune.schedules import Schedule
from mdm_tune.settings import Sampler, Setting, plan_of
from mdm_tune.statistics import CONFIDENCE, Bounds, Estimate, constant, estimate, grouped

__all__ = ["Cost", "Evaluator", "Measured", "Rows", "Scores", "difference"]

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
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
class Rows:
    """Rows to be filled: every row of start (rows, length) by the first setting, then by the next, in common batches.

    All settings have the same blocks. reference: as ``unmask`` has it, of each row of start. plan, drawing: in place of
    those of the settings, which then say the blocks.
    """

    settings: Sequence[Setting]
    start: Tensor
    seeds: NDArray[np.uint64]
    reference: Tensor | None = None
    plan: Plan | None = None
    drawing: Drawing | None = None


@dataclass(frozen=True)
class Measured:
    """A setting that is measured on a split. plan, drawing: as in ``Rows``."""

    setting: Setting
    split: Split
    plan: Plan | None = None
    drawing: Drawing | None = None


class Evaluator:
    """Scores settings and remembers them: what was scored once on a split is answered again at no cost.

    length: positions to fill. dataset: None only with an exact metric. pool: what fills the rows, in pieces; this
    process with the denoiser unless it is set. unmask: replaces the pool where code of the user's own fills the rows,
    with the parameters of ``sampling.unmask`` but the denoiser. clocked(calls, seconds): told what denoiser calls,
    summed over examples, took with the scoring of what they gave; an exact value counts as one call. block_lengths:
    those that are compared, the sampler's own the first; schedules get their settings at the sampler's. shares: how
    steps are shared out among blocks, by block length, where a profile says so.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        length: int,
        sampler: Sampler,
        metric: ExactMetric | SampleMetric,
        dataset: Dataset | None,
        block_lengths: Sequence[int | None] = (),
    ) -> None:
        self.denoiser, self.length, self.sampler, self.metric, self.dataset = denoiser, length, sampler, metric, dataset
        self.block_lengths = tuple(block_lengths) or (sampler.block_length,)
        self.several = len(self.block_lengths) > 1  # so that labels have to say which
        self.shares: dict[int | None, Share] = {}
        self.pool: Pool = Here(denoiser)
        self.unmask: Callable[..., Unmasked] | None = None
        self.clocked: Callable[[float, float], None] = lambda calls, seconds: None
        self.record: dict[tuple[Use | None, tuple[float, ...]], Scores] = {}
        self.begun: dict[tuple[Use, tuple[float, ...]], Values] = {}  # values on the first examples of a split

    @property
    def exact(self) -> bool:
        """Whether values are computed, so that splits and intervals have no meaning."""
        return isinstance(self.metric, ExactMetric)

    @property
    def preparation(self) -> Cost:
        """What the metric itself has cost before the first setting."""
        rows = self.metric.denoiser_rows if isinstance(self.metric, ExactMetric) else 0
        return Cost(rows, rows * self.length)

    def at(self, block_length: int | None) -> Evaluator:
        """The same evaluator with the same record, for one block length."""
        if self.block_lengths == (block_length,):
            return self
        found = copy.copy(self)
        found.sampler, found.block_lengths = replace(self.sampler, block_length=block_length), (block_length,)
        return found

    def setting(self, schedule: Schedule, steps: int, label: str | None = None) -> Setting:
        """The schedule at this budget under the evaluator's sampler."""
        size = self.sampler.block_length
        found = Setting.of(schedule, steps, self.length, self.sampler, label, self.shares.get(size))
        return replace(found, says_blocks=self.several)

    def labelled(self, name: str, block_length: int | None) -> str:
        """The name of a schedule, with its blocks where it is compared with itself in others."""
        return str(Label(name, (block_length or self.length) if self.several else None))

    def steps_of_blocks(self, steps: int) -> Shares:
        """How many steps of a budget each block gets."""
        share = self.shares.get(self.sampler.block_length, self.sampler.share)
        return share(steps, self.length, self.sampler.block_length or self.length)

    def beta_keys(self, a: Values, b: Values, steps: int) -> set[tuple[float, ...]]:
        """The keys of the fixed counts of many schedules Beta(a, b) at once; a and b (n,)."""
        size, shares = self.sampler.block_length or self.length, self.steps_of_blocks(steps)
        inside = {
            each: counts_of_grids(beta_grids(a, b, each), size, self.sampler.section.counts) for each in set(shares)
        }
        rows = np.unique(np.concatenate([inside[each] for each in shares], axis=1), axis=0).tolist()
        return {Setting.key_of(row, steps, self.sampler.block_length) for row in rows}

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
        """The setting's scores on a split; from the record at no cost where its counts were scored before."""
        key = (None if self.exact else use, setting.key)
        if key in self.record:
            return replace(self.record[key], setting=setting, cost=Cost())
        self.record[key] = found = self._compute(setting) if self.exact else self.measure_on(setting, self.split(use))
        return found

    def _compute(self, setting: Setting) -> Scores:
        assert isinstance(self.metric, ExactMetric)
        start = time.monotonic()
        if setting.counts is not None:
            value = self.metric.fixed(setting.counts, setting.block_length)
        else:
            value = self.metric.ancestral(np.array(setting.alphas))
        seconds = time.monotonic() - start
        self.clocked(1.0, seconds)
        return Scores(setting=setting, estimate=Estimate(value, None), nfe=setting.nfe, cost=Cost(seconds=seconds))

    def answered(self, setting: Setting, use: Use) -> int:
        """On how many examples ``together`` has scored the setting already."""
        return len(self.begun.get((use, setting.key), ()))

    def together(self, settings: Sequence[Setting], use: Use, examples: int) -> tuple[list[Values], Cost]:
        """Values (examples,) of each setting on the first examples of a split, their rows in common denoiser batches.

        The examples come in a fixed random order, so that the first are like the rest. Values on the first of them that
        an earlier call gave are not computed again.
        """
        assert not isinstance(self.metric, ExactMetric)  # as in measure_on
        began, split, metric = time.monotonic(), self.split(use).shuffled(), self.metric
        known = {s.key: self.begun.get((use, s.key), np.empty(0)) for s in settings}
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
                self.begun[use, setting.key] = known[setting.key]
            cost += Cost(result.denoiser_rows, result.denoiser_tokens)
            calls += float(result.nfe.sum())
        cost += Cost(seconds=time.monotonic() - began)
        if calls:
            self.clocked(calls, cost.seconds)
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
        """The results in this order, each as soon as it is there; the next are filled where devices are free.

        on_step: shown the steps of the first rows, which this process then fills.
        """
        if self.unmask is not None:
            for rows in wanted:
                tokens, plan, options = self._parameters(rows)
                yield self.unmask(tokens, plan, **options)
            return
        shown = on_step is not None and not isinstance(self.pool, Here)
        pool = Here(self.denoiser) if shown else self.pool
        yield from answers_of(pool, (self._call(pool, rows, on_step) for rows in wanted))

    def _call(self, pool: Pool, rows: Rows, on_step: Callable[[Step], None] | None) -> Call[Unmasked]:
        """The rows in pieces. Those of one example are in one, where identical ones, as at first, are computed once."""
        tokens, plan, options = self._parameters(rows)
        mixed = torch.arange(len(tokens)).view(-1, len(rows.start)).T.flatten()
        options |= {name: each[mixed] for name, each in options.items() if isinstance(each, Tensor)}
        options["seeds"] = options["seeds"][mixed.numpy()]
        mixed_plan = type(plan)(*(each[mixed] for each in vars(plan).values()))
        found = filling(pool, tokens[mixed], mixed_plan, **options, on_step=on_step)
        back = mixed.argsort()
        return Call(found.tasks, lambda answers: _ordered(found.joined(answers), back))

    def _parameters(self, wanted: Rows) -> tuple[Tensor, Plan, dict[str, Any]]:
        """Tokens, plan and options of ``sampling.unmask`` for the rows of one setting after the other."""
        size, copies = wanted.settings[0].block_length, len(wanted.settings)
        hidden = wanted.start == self.denoiser.mask_id
        plan = wanted.plan or plan_of(wanted.settings, hidden.sum(1), self.sampler)
        options = {
            "seeds": np.tile(wanted.seeds, copies),
            "drawing": wanted.drawing or self.sampler.drawing,
            "blocks": None if size is None else ((hidden.cumsum(1) - 1) // size).repeat(copies, 1),
            "batch": self.sampler.section.batch,
            "reference": None if wanted.reference is None else wanted.reference.repeat(copies, 1),
        }
        return wanted.start.repeat(copies, 1), plan, options

    def measure_on(self, setting: Setting, split: Split) -> Scores:
        """Scores on any split by a sample metric, neither looked up in the record nor added to it."""
        return next(self.measure_each([Measured(setting, split)]))

    def measure_each(self, wanted: Sequence[Measured]) -> Iterator[Scores]:
        """``measure_on`` of one after the other; rows of the next are filled where devices are free.

        The seconds of each are those since the one before it, so that all together are those of the whole.
        """
        assert not isinstance(self.metric, ExactMetric)  # exact metrics have no splits; score() keeps them apart
        start, priced = time.monotonic(), self.metric.reference
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
            start = time.monotonic()

    def _scores(self, measured: Measured, result: Unmasked, start: float) -> Scores:
        assert not isinstance(self.metric, ExactMetric)
        setting, split = measured.setting, measured.split
        values, calls = self.metric.values(result, split), result.nfe.double().cpu().numpy()
        value, diversity = self.estimated(values, split), self.metric.diversity(result.tokens, split)
        cost = Cost(result.denoiser_rows, result.denoiser_tokens, time.monotonic() - start)
        self.clocked(float(calls.sum()), cost.seconds)
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


def difference(first: Scores, second: Scores, confidence: float = CONFIDENCE) -> Estimate:
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
    elif constant(grouped(differences, first.groups)):
        span = float(np.ptp([first.values, second.values]))
        bounds = (-span, span)
    return estimate(differences, confidence, bounds, first.groups)


def _ordered(result: Unmasked, order: Tensor) -> Unmasked:
    """The result with its rows in this order."""
    nll, bad = (None if each is None else each[order] for each in (result.nll, result.impossible))
    return Unmasked(
        tokens=result.tokens[order],
        nll=nll,
        nfe=result.nfe[order],
        denoiser_rows=result.denoiser_rows,
        denoiser_tokens=result.denoiser_tokens,
        impossible=bad,
    )


def _rows(result: Unmasked, first: int, count: int) -> Unmasked:
    """The part of a result that begins at row ``first``; what it cost belongs to the whole."""
    here = slice(first, first + count)
    nll, bad = (None if each is None else each[here] for each in (result.nll, result.impossible))
    return Unmasked(
        tokens=result.tokens[here], nll=nll, nfe=result.nfe[here], denoiser_rows=0, denoiser_tokens=0, impossible=bad
    )
