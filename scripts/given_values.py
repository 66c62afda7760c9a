"""Problems for searches whose values come from a rule in place of a denoiser, so that a search takes no time.

Every schedule has a true gain over linear in closed form, and what the examples add to it has a law of its own: heavy
tails, a skew, seldom any difference, few examples, groups. Values are the same whenever they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.config.sampler import SamplerConfig
from mdm_tune.core.statistics import Bounds
from mdm_tune.core.types import Direction
from mdm_tune.datasets.splits import USES, Dataset, Split, Use, law_dataset
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.filling import Rows
from mdm_tune.evaluation.settings import Sampler, Setting
from mdm_tune.metrics.quality import SHARE
from mdm_tune.sampling.pieces import LocalPool
from mdm_tune.sampling.unmasking import Unmasked
from mdm_tune.schedules.curves import Linear

LAW = MarkovChain.sticky(2, 0.1, 16)  # gives rows of 16 positions and is never asked
SAMPLER = Sampler(SamplerConfig(steps=(1,), batch=4096))
BEST, WIDTH = 0.7, 0.2  # the share of tokens that is best seen by a step, and how far from it linear is, at 0.5
ROWS = 8  # of a prompt

Values = NDArray[np.float64]
Rule = Callable[[Setting, Use, NDArray[np.int64]], Values]
Draw = Callable[[np.random.Generator, float, Values], Values]


@dataclass(frozen=True)
class GivenMetric:
    """Reads the values that a ``GivenFiller`` wrote; diverse: a diversity figure by the first token of a row."""

    direction: Direction = "maximize"
    bounds: Bounds | None = None
    diverse: Callable[[int], float] | None = None
    name: str = "given"
    label: str = "given"
    needs_originals: bool = False

    def values(self, result: Unmasked, split: Split) -> Values:
        assert result.nll is not None
        return result.nll.numpy()

    def diversity(self, tokens: Tensor, split: Split) -> dict[str, Values]:
        if self.diverse is None:
            return {}
        return {"variety": np.linspace(-0.01, 0.01, len(tokens)) + self.diverse(int(tokens[0, 0]))}

    def ceiling(self, split: Split) -> None:
        return None


class GivenFiller:
    """Values by a rule in place of a denoiser; every step of a row costs one denoiser row.

    rule(setting, use, examples): one value for each of the examples, which are numbers within the split of the use.
    token: what all positions of a setting's rows are filled with. rows: denoiser rows so far.
    """

    shows_steps = False

    def __init__(self, rule: Rule, dataset: Dataset, token: Callable[[Setting], int] = lambda setting: 0) -> None:
        self.rule, self.token, self.rows = rule, token, 0
        self.count: Callable[[int], None] = lambda rows: None
        self.pool = LocalPool(LAW)
        self.example = {
            seed: (use, number)
            for use, split in dataset.splits.items()
            for number, seed in enumerate(split.seeds.tolist())
        }

    def fill_each(self, wanted: Iterable[Rows], sampler: Sampler, on_step: Any = None) -> Iterator[Unmasked]:
        for rows in wanted:
            found = self.given(rows.settings, rows.start, rows.seeds)
            self.count(found.denoiser_rows)
            yield found

    def counted(self, count: Callable[[int], None]) -> GivenFiller:
        self.count = count
        return self

    def given(self, settings: Sequence[Setting], start: Tensor, seeds: NDArray[np.uint64]) -> Unmasked:
        places = [self.example[seed] for seed in seeds.tolist()]
        (use,) = {use for use, _ in places}
        numbers = np.array([number for _, number in places])
        found = np.concatenate([self.rule(setting, use, numbers) for setting in settings])
        tokens = torch.cat([torch.full_like(start, self.token(setting)) for setting in settings])
        nfe = torch.tensor([int(setting.nfe) for setting in settings]).repeat_interleave(len(start))
        rows = int(nfe.sum())
        self.rows += rows
        return Unmasked(
            tokens=tokens,
            nll=torch.from_numpy(found),
            nfe=nfe,
            denoiser_rows=rows,
            denoiser_tokens=rows * LAW.length,
        )


@dataclass(frozen=True)
class GivenProblem:
    """A problem of given values.

    draw(rng, gain, base): what each example's value lies above linear's value of it, base (n,); mean gain over
    examples. peak: the largest true gain. sizes: examples of each use. prompts: whether they come in groups of 8.
    """

    draw: Draw
    peak: float
    sizes: dict[Use, int]
    metric: GivenMetric = GivenMetric()
    prompts: bool = False
    steps: tuple[int, ...] = (8,)
    length: int = LAW.length

    def gain(self, counts: Sequence[int]) -> float:
        return gain_of_counts(counts, self.peak)

    def truth(self, counts: Sequence[int]) -> float:
        """The mean of linear's values, and the gain."""
        return (0.0 if self.metric.bounds is None else 0.5) + self.gain(counts)

    def evaluator(self, root: int, sizes: dict[Use, int] | None = None) -> Evaluator:
        """Examples and noise of their own for every root."""
        dataset = law_dataset(LAW, self.sizes if sizes is None else sizes, root)
        if self.prompts:
            splits = {use: replace(split, groups=_prompts(len(split.ids))) for use, split in dataset.splits.items()}
            dataset = Dataset(splits, dataset.codec)
        sizes_of = {use: len(split.ids) for use, split in dataset.splits.items()}

        def rule(setting: Setting, use: Use, examples: NDArray[np.int64]) -> Values:
            return self.values(setting, [root, USES.index(use)], sizes_of[use])[examples]

        return Evaluator(LAW, LAW.length, SAMPLER, self.metric, dataset, fill_with=GivenFiller(rule, dataset))

    def values(self, setting: Setting, address: list[int], size: int) -> Values:
        """Of all examples of a split, whose noise has this address; always the same."""
        base = np.random.default_rng(address).random(size)
        base = 4 * (base - 0.5) if self.metric.bounds is None else (base < 0.5).astype(float)
        if setting.key == Setting.of(Linear(), setting.steps, LAW.length, SAMPLER).key:
            return base
        own = np.random.default_rng([*address, *map(int, setting.key)])
        found: Values = base + self.draw(own, self.gain(setting.counts or ()), base)
        return found


def gain_of_counts(counts: Sequence[int], peak: float) -> float:
    """The true gain over linear: a parabola in the mean share of tokens that a step but the first sees.

    0 for linear, peak at the best share, and no loss is larger than the peak.
    """
    seen = np.cumsum(counts)[:-1] / sum(counts)
    return peak * max(-1.0, 1 - ((float(seen.mean()) - BEST) / WIDTH) ** 2)


def log_normal(rng: np.random.Generator, size: int, sigma: float) -> Values:
    """Skewed to the right, with mean 0."""
    return rng.lognormal(0.0, sigma, size) - float(np.exp(sigma**2 / 2))


def heavy(rng: np.random.Generator, gain: float, base: Values) -> Values:
    """One heavy tail: of gains with half of the schedules, of losses with the others."""
    sign = float(rng.choice([-1.0, 1.0]))
    return gain + sign * log_normal(rng, len(base), 1.5)


def left_skewed(rng: np.random.Generator, gain: float, base: Values) -> Values:
    """Many small gains and few large losses."""
    return gain - 0.5 * log_normal(rng, len(base), 1.0)


def binary(rng: np.random.Generator, gain: float, base: Values) -> Values:
    """Right or wrong, and 5 % of examples differ from linear; base is 0 or 1, each for one half of them."""
    drawn = rng.random(len(base))
    return np.where(base == 0, 1.0 * (drawn < 0.05 + gain), -1.0 * (drawn < 0.05 - gain))


def rare(rng: np.random.Generator, gain: float, base: Values) -> Values:
    """20 % of examples differ from linear, by normal amounts."""
    return (rng.random(len(base)) < 0.2) * rng.normal(gain / 0.2, 1.0, len(base))


def normal(rng: np.random.Generator, gain: float, base: Values) -> Values:
    return rng.normal(gain, 1.0, len(base))


def by_prompt(rng: np.random.Generator, gain: float, base: Values) -> Values:
    """Half of the variance is the prompt's."""
    own = np.repeat(rng.normal(0.0, 1.0, -(-len(base) // ROWS)), ROWS)[: len(base)]
    found: Values = gain + np.sqrt(0.5) * (own + rng.normal(0.0, 1.0, len(base)))
    return found


def _prompts(size: int) -> tuple[str, ...]:
    return tuple(f"prompt {number // ROWS}" for number in range(size))


def _sizes(report: int, others: int = 64) -> dict[Use, int]:
    return {"tune": others, "choose": others, "report": report}


GIVEN: dict[str, GivenProblem] = {
    "heavy tails, no gain": GivenProblem(heavy, 0.0, _sizes(64), steps=(8, 4)),
    "left-skewed": GivenProblem(left_skewed, 0.25, _sizes(32), steps=(8, 4)),
    "seldom differing, 0 or 1": GivenProblem(
        draw=binary, peak=0.04, sizes=_sizes(64), metric=GivenMetric(bounds=SHARE), steps=(8, 4)
    ),
    "rare differences": GivenProblem(rare, 0.1, _sizes(16)),
    "few examples": GivenProblem(normal, 0.3, _sizes(16)),
    "prompts of 8 rows": GivenProblem(by_prompt, 0.15, _sizes(256, 128), prompts=True),
}
