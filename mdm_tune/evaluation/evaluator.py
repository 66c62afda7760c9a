"""Score policies at step budgets on examples. All policies use the same examples and the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.statistics import Estimate, estimate
from mdm_tune.datasets.splits import Dataset, Split, Use
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.evaluation.call_timer import CallTimer
from mdm_tune.evaluation.filling import Filler, PoolFiller, Rows, rows_of_result
from mdm_tune.evaluation.own_answers import OwnAnswers
from mdm_tune.evaluation.scores import Cost, Reveals, ScoreBook, Scores
from mdm_tune.evaluation.settings import Key, Policy, Sampler, Setting
from mdm_tune.metrics.quality import ExactMetric, SampleMetric
from mdm_tune.sampling.pieces import LocalPool, Pool
from mdm_tune.sampling.unmasking import Step, Unmasked
from mdm_tune.schedules.adaptive_names import AdaptiveName
from mdm_tune.schedules.blocks import ShareRule, Shares
from mdm_tune.schedules.counts import beta_grids, counts_of_grids
from mdm_tune.schedules.curves import Linear, parse_schedule
from mdm_tune.schedules.labels import Label

__all__ = ["Evaluator", "Measurement"]

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Measurement:
    """A setting to measure on a split."""

    setting: Setting
    split: Split


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Scores settings. Scores that are already in its book cost nothing.

    An evaluator is immutable. Use ``dataclasses.replace`` for another one, which shares the book and the timer.

    Attributes:
        denoiser: The denoiser.
        length: Positions to fill.
        sampler: How tokens are revealed.
        metric: The objective.
        dataset: The examples; None only with an exact metric.
        block_lengths: The block lengths that are compared; settings use the first. () becomes one block.
        several: Whether labels name the block length; always if there are several block lengths.
        fill_with: Fills the rows; None to fill them with the denoiser in this process.
        shares: The rule that divides steps among blocks, by block length, where a profile decides it.
        own: The model's own answers, if the metric judges by these and not by the data.
        book: The scores computed so far.
        pace: Measures the time per denoiser call; an exact value counts as one call.
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
    own: OwnAnswers | None = None
    book: ScoreBook = field(default_factory=ScoreBook)
    pace: CallTimer = field(default_factory=CallTimer)

    def __post_init__(self) -> None:
        lengths = self.block_lengths or (self.length,)
        object.__setattr__(self, "block_lengths", lengths)
        object.__setattr__(self, "several", self.several or len(lengths) > 1)

    @property
    def filler(self) -> Filler:
        """Fills the rows."""
        return self.fill_with or PoolFiller(LocalPool(self.denoiser))

    @property
    def pool(self) -> Pool:
        """Computes predictions, possibly in several processes."""
        return self.filler.pool

    @property
    def exact(self) -> bool:
        """Whether values are computed exactly, without splits and intervals."""
        return isinstance(self.metric, ExactMetric)

    @property
    def preparation(self) -> Cost:
        """The cost of the metric itself, before the first setting is scored."""
        rows = self.metric.denoiser_rows if isinstance(self.metric, ExactMetric) else 0
        return Cost(rows, rows * self.length)

    @property
    def block_length(self) -> int:
        """The block length of the evaluator's settings."""
        return self.block_lengths[0]

    @property
    def one_block(self) -> bool:
        """Whether the evaluator's settings have one block."""
        return self.block_length >= self.length

    @property
    def tunes_shares(self) -> bool:
        """Whether a profile decides how many steps each block gets."""
        return self.sampler.section.block_steps == "tuned" and not self.one_block

    def in_blocks(self, block_length: int) -> Evaluator:
        """An evaluator for one block length, with the same book."""
        return self if self.block_lengths == (block_length,) else replace(self, block_lengths=(block_length,))

    def setting(self, policy: Policy, steps: int, label: str | None = None) -> Setting:
        """The setting of a policy at a step budget, with the evaluator's sampler and block length.

        Args:
            policy: A schedule, or an adaptive policy with its value.
            steps: The step budget.
            label: The setting's name; the policy's own if None.

        Raises:
            InputError: If explicit counts or the number of steps do not fit.
        """
        size = self.block_length
        if isinstance(policy, AdaptiveName):
            name = policy.schedule
            base = None if name is None else self.setting(parse_schedule(name), policy.steps_of_counts(steps))
            return self.adaptive_setting(policy, steps, base)
        setting = Setting.of(policy, steps, self.length, self.sampler, label, self.shares.get(size), size)
        return replace(setting, says_blocks=self.several)

    def adaptive_setting(self, plan: AdaptiveName, steps: int, base: Setting | None) -> Setting:
        """The setting of an adaptive policy with its value, in the evaluator's block length.

        Args:
            plan: The policy.
            steps: The number of calls that it is meant to make on average.
            base: The setting whose counts a quota or a cap follows; None for other policies.
        """
        size = self.block_length
        return Setting.of_adaptive(plan, steps, self.length, base, size, says_blocks=self.several)

    def labelled(self, name: str, block_length: int) -> str:
        """The name of a policy, with its block length if several block lengths are compared."""
        return str(Label(name, block_length if self.several else None))

    def steps_of_blocks(self, steps: int) -> Shares:
        """The number of steps that each block gets at a budget."""
        share = self.shares.get(self.block_length, self.sampler.share)
        return share(steps, self.length, self.block_length)

    def beta_keys(self, a: Values, b: Values, steps: int) -> set[Key]:
        """The distinct keys of many schedules Beta(a, b) at a step budget, for fixed counts; a and b (n,)."""
        rows = np.unique(self.beta_counts(a, b, steps), axis=0).tolist()
        return {Setting.key_of(row, steps, self.length, self.block_length) for row in rows}

    def beta_counts(self, a: Values, b: Values, steps: int) -> NDArray[np.int64]:
        """The counts (n, steps) of many schedules Beta(a, b) at a step budget, for fixed counts; a and b (n,)."""
        size, shares, rule = self.block_length, self.steps_of_blocks(steps), self.sampler.section.counts
        block_counts = {part: counts_of_grids(beta_grids(a, b, part), size, rule) for part in set(shares)}
        return np.concatenate([block_counts[part] for part in shares], axis=1)

    def split(self, use: Use) -> Split:
        """The examples of one use. Raises InputError if there is no data set."""
        if self.dataset is None:
            raise InputError(
                f"metric {self.metric.name} needs examples, and the config has no dataset section; add one"
            )
        return self.dataset.splits[use]

    def saved_by_equal_starts(self, use: Use, examples: int | None = None) -> float:
        """The denoiser rows that scoring a setting saves if all rows start alike: these are computed once a batch.

        Args:
            use: The split.
            examples: How many of its examples are scored; None for all.
        """
        split = self.split(use)
        scored = len(split.ids) if examples is None else examples
        same = bool((split.start == split.start[:1]).all())
        return scored * (1 - 1 / min(self.sampler.section.batch, scored)) if same else 0.0

    def _judged(self, split: Split) -> Split:
        """The split by whose originals the metric judges."""
        return split if self.own is None else self.own.of(split)

    def data(self, use: Use) -> Scores | None:
        """The scores of the references: the best value to expect, and the diversity of the data.

        None if the metric is exact or cannot score references.
        """
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
        """The mean of values (n,) on the examples of a split, with its interval."""
        bounds = None if isinstance(self.metric, ExactMetric) else self.metric.bounds
        return estimate(values, bounds=bounds, groups=split.shared)

    def scored(self, setting: Setting, values: Values, split: Split) -> Scores:
        """The scores that follow from known values (n,) on the examples of a split, at no cost."""
        bounds = None if isinstance(self.metric, ExactMetric) else self.metric.bounds
        return Scores(
            setting=setting,
            estimate=self.estimated(values, split),
            nfe=setting.nfe,
            cost=Cost(),
            use=split.use,
            values=values,
            groups=split.shared,
            bounds=bounds,
        )

    def score(self, setting: Setting, use: Use) -> Scores:
        """Score a setting on a whole split. Stored scores of equal counts are returned at no cost."""
        known_scores = self.book.whole(setting, None if self.exact else use)
        if known_scores is not None:
            return replace(known_scores, setting=setting, cost=Cost())
        scores = self._exact_scores(setting) if self.exact else self.measure_on(setting, self.split(use))
        self.book.keep_whole(scores)
        return scores

    def _exact_scores(self, setting: Setting) -> Scores:
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
        """The number of examples on which ``together`` has already scored the setting."""
        return len(self.book.first(setting, use))

    def together(self, settings: Sequence[Setting], use: Use, examples: int) -> tuple[list[Values], Cost]:
        """Score settings on the first examples of a split, with their rows in common denoiser batches.

        The examples have a fixed random order, so that the first ones represent the rest. Values from earlier calls
        are not computed again.

        Args:
            settings: The settings, all with the same block length.
            use: The split.
            examples: The number of first examples.

        Returns:
            The values (examples,) of each setting, and the cost.
        """
        assert not isinstance(self.metric, ExactMetric)  # exact metrics have no splits
        split, metric = self._judged(self.split(use).shuffled()), self.metric
        began = self.pace.now()
        known = {s.key: self.book.first(s, use) for s in settings}
        cost, parts, lacking = Cost(), list[Split](), list[list[Setting]]()
        wanted: dict[tuple[int, str], dict[Key, Setting]] = {}  # by the examples known so far and the form
        for setting in settings:
            if len(known[setting.key]) < examples:
                wanted.setdefault((len(known[setting.key]), setting.form), {})[setting.key] = setting
        for (first, _), lacking_settings in sorted(wanted.items()):
            parts.append(split.part(first, examples))
            lacking.append([*lacking_settings.values()])
        results = self.fill_each(
            Rows(
                settings=part_settings,
                start=part.start,
                seeds=part.seeds,
                reference=part.originals if metric.needs_originals else None,
            )
            for part_settings, part in zip(lacking, parts, strict=True)
        )
        calls = 0.0
        for part_settings, part, result in zip(lacking, parts, results, strict=True):
            for place, setting in enumerate(part_settings):
                rows = rows_of_result(result, place * len(part.ids), len(part.ids))
                values, first = metric.values(rows, part), len(known[setting.key])
                self.book.keep_calls(setting, use, first, rows.nfe.double().cpu().numpy())
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
        """Fill rows once and return the result; see ``Rows`` and ``Filler.fill_each`` for the arguments."""
        return next(self.fill_each([Rows(settings=settings, start=start, seeds=seeds, reference=reference)], on_step))

    def one_by_one(self, split: Split) -> Unmasked:
        """Fill the rows of a split at one token per step."""
        longest = int(split.hidden.sum(1).max())
        return self.fill([self.setting(Linear(), max(self.length, longest))], split.start, split.seeds)

    def fill_each(self, wanted: Iterable[Rows], on_step: Callable[[Step], None] | None = None) -> Iterator[Unmasked]:
        """Yield the results in order, each as soon as it is ready; see ``Filler.fill_each``."""
        return self.filler.fill_each(wanted, self.sampler, on_step)

    def measure_on(self, setting: Setting, split: Split) -> Scores:
        """Score a setting on any split by a sample metric. The book is neither read nor written."""
        return next(self.measure_each([Measurement(setting, split)]))

    def measure_each(self, wanted: Sequence[Measurement]) -> Iterator[Scores]:
        """Yield the scores of measurements in order. Free devices already fill the rows of the next.

        The book is neither read nor written. The seconds of a measurement begin when the one before it ends, so that
        their sum is the time of the whole.
        """
        assert not isinstance(self.metric, ExactMetric)  # exact metrics have no splits
        wanted = [replace(measurement, split=self._judged(measurement.split)) for measurement in wanted]
        start, priced = self.pace.now(), self.metric.needs_originals
        results = self.fill_each(
            Rows(
                settings=[measurement.setting],
                start=measurement.split.start,
                seeds=measurement.split.seeds,
                reference=measurement.split.originals if priced else None,
            )
            for measurement in wanted
        )
        for measurement, result in zip(wanted, results, strict=True):
            yield self._scores(measurement, result, start)
            start = self.pace.now()

    def _scores(self, measured: Measurement, result: Unmasked, start: float) -> Scores:
        assert not isinstance(self.metric, ExactMetric)
        setting, split = measured.setting, measured.split
        values, calls = self.metric.values(result, split), result.nfe.double().cpu().numpy()
        value, diversity = self.estimated(values, split), self.metric.diversity(result.tokens, split)
        cost = Cost(result.denoiser_rows, result.denoiser_tokens, self.pace.now() - start)
        self.pace.add(float(calls.sum()), cost.seconds)
        own_calls = calls if setting.adaptive is not None or np.ptp(calls) else None
        return Scores(
            setting=setting,
            estimate=value,
            nfe=float(calls.mean()),
            cost=cost,
            use=split.use,
            values=values,
            tokens=result.tokens,
            diversity=diversity,
            calls=own_calls,
            reveals=None if result.revealed is None else Reveals.of(result.revealed, result.nfe),
            groups=split.shared,
            bounds=self.metric.bounds,
        )
