"""Problems whose best schedule is known, for benchmarks of searches: exact laws, and the text model on a lattice.

A law's problem scores the tune examples of a seed by the real sampler; the truth is known by a sum, or by many
examples. The text model is replayed: the score of every count vector that a lattice of 12 x 12 schedules or the paper's
grid meets is drawn once for all examples, and a proposal stands for the nearest of them, so that the exhaustive
best is known and a search costs no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.stats import binom
from torch import Tensor

from mdm_tune.config.sampler import SamplerConfig
from mdm_tune.core.files import bundled
from mdm_tune.core.statistics import Bounds
from mdm_tune.core.types import sign_of
from mdm_tune.datasets.splits import Dataset, Split, Use, law_dataset, text_dataset
from mdm_tune.denoisers.analytic import MarkovChain, Table
from mdm_tune.denoisers.law import Law
from mdm_tune.denoisers.transformer import Transformer, load_transformer
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Cost
from mdm_tune.evaluation.settings import Key, Sampler, Setting
from mdm_tune.metrics.quality import ExactMetric, PathLikelihood, SampleMetric, Spelling
from mdm_tune.sampling.unmasking import Unmasked
from mdm_tune.schedules.adaptive_names import AdaptiveName
from mdm_tune.schedules.counts import beta_grids, counts_of_grids
from mdm_tune.schedules.curves import Beta, Schedule
from mdm_tune.schedules.pricing import count_weights
from mdm_tune.search.racing import look_sizes

SEEDS = range(10)
BOX = (0.1, 10.0)
LATTICE = np.geomspace(*BOX, 12)
GRID = tuple(i / 10 for i in range(1, 11))  # the paper's
DRAWN = np.array([*product(LATTICE, LATTICE), *product(GRID, GRID)])  # what a proposal on the text model stands for
EXAMPLES = 512  # tune examples of a law
SCAN = 32  # points an axis where the best Beta is looked for by enumeration
TEXT = "package:text"
TEXT_STEPS, TEXT_TUNE, TEXT_JUDGE = 4, 48, 256
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """One thing to tune. evaluator: of a seed, with its tune examples. regret: relative to the best true value."""

    steps: int
    evaluator: Callable[[int], Memo]
    regret: Callable[[Setting], float]
    judged: str


@dataclass(frozen=True)
class Counted:
    """The uniform law of strings of a's and b's whose number of a's is an allowed one.

    It is a denoiser too: hidden positions are exchangeable, so that counting what is visible says everything.
    """

    length: int
    allowed: tuple[int, ...]
    vocab_size: int = 2
    mask_id: int = 2
    symbols: str = "ab"

    def next_a(self, a: int, b: int) -> float:
        """Probability that a hidden position is an a, where so many of each are visible; 1/2 where both cannot be."""
        hidden = self.length - a - b
        ways = {n: comb(hidden, n - a) for n in self.allowed if n >= a and self.length - n >= b}
        total = sum(ways.values()) * hidden
        return sum(count * (n - a) for n, count in ways.items()) / total if total else 0.5

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        seen = torch.stack([(tokens == 0).sum(1), (tokens == 1).sum(1)], 1)
        rows = torch.tensor([self.next_a(a, b) for a, b in seen.tolist()], dtype=torch.float64)
        p = rows[wanted.nonzero()[:, 0]]
        return torch.stack([p, 1 - p], 1).log()

    def sample(self, number: int, seed: int) -> Tensor:
        rng = np.random.default_rng(seed)
        ways = np.array([comb(self.length, n) for n in self.allowed], dtype=float)
        counts = rng.choice(self.allowed, number, p=ways / ways.sum())
        ranks = rng.random((number, self.length)).argsort(1).argsort(1)
        return torch.from_numpy((ranks >= counts[:, None]).astype(np.int64))


@dataclass(frozen=True)
class Legal:
    """1 where the drawn sequence has positive probability, else 0."""

    law: Table | Counted
    name: str = "legal"
    label: str = "share of legal samples"
    direction: Any = "maximize"
    needs_originals: bool = False
    bounds: Bounds | None = (0.0, 1.0)

    def values(self, result: Unmasked, split: Split) -> Values:
        if isinstance(self.law, Counted):
            return np.isin((result.tokens == 0).sum(1).numpy(), self.law.allowed).astype(np.float64)
        return torch.isfinite(self.law.log_prob(result.tokens)).double().numpy()

    def diversity(self, tokens: Tensor, split: Split) -> dict[str, Values]:
        return {}

    def ceiling(self, split: Split) -> None:
        return None


@dataclass(frozen=True, eq=False)
class Memo(Evaluator):
    """An evaluator that answers again at no time what it drew before, and counts its rows as if it drew them anew.

    Rows are calls x examples: small laws have many rows alike, which are computed once; long texts hardly have any.
    """

    known: dict[tuple[Any, int, int], Values] = field(default_factory=dict)

    def together(self, settings: Sequence[Setting], use: Use, examples: int) -> tuple[list[Values], Cost]:
        found, rows = [], 0
        for setting in settings:
            mine = self.book.first(setting, use)
            if len(mine) < examples:
                rows += round(setting.nfe) * (examples - len(mine))
                mine = np.concatenate([mine, *self.drawn(setting, use, len(mine), examples)])
                self.book.keep_first(setting, use, mine)
            found.append(mine[:examples])
        return found, Cost(rows, rows * self.length)

    def drawn(self, setting: Setting, use: Use, first: int, stop: int) -> Iterator[Values]:
        """Values of the examples from first to stop, look by look, so that races and whole scores share them."""
        places = [0, *look_sizes(len(self.split(use).ids))]
        for begin, end in pairwise(places):
            if first <= begin < stop:
                place = (setting.key, begin, end)
                if place not in self.known:
                    part, metric = self.split(use).part(begin, end), self.metric
                    assert not isinstance(metric, ExactMetric)
                    told = part.originals if metric.needs_originals else None
                    result = self.fill([setting], part.start, part.seeds, told)
                    self.known[place] = metric.values(result, part)
                yield self.known[place]


@dataclass(frozen=True, eq=False)
class Replay(Memo):
    """Scores from a table (examples,) per count vector; schedules stand for their nearest lattice point."""

    table: dict[Key, Values] = field(default_factory=dict)

    def setting(self, schedule: Schedule | AdaptiveName, steps: int, label: str | None = None) -> Setting:
        return super().setting(on_lattice(schedule), steps, label)

    def beta_keys(self, a: Values, b: Values, steps: int) -> set[Key]:
        a, b = nearest(np.stack([a, b], axis=1)).T
        return super().beta_keys(a, b, steps)

    def drawn(self, setting: Setting, use: Use, first: int, stop: int) -> Iterator[Values]:
        yield self.table[setting.key][first:stop]


def on_lattice(schedule: Schedule | AdaptiveName) -> Schedule | AdaptiveName:
    """The drawn point next to a Beta: of the lattice, or of the paper's grid, which holds linear and squared-sine."""
    return Beta(*nearest(np.array([[schedule.a, schedule.b]]))[0].tolist()) if isinstance(schedule, Beta) else schedule


def nearest(points: Values) -> Values:
    """The drawn points (n, 2) next to points (n, 2), in log a and log b."""
    found: Values = DRAWN[KDTree(np.log(DRAWN)).query(np.log(points))[1]]
    return found


def law_problem(
    law: Law | Counted,
    order: Any,
    metric: SampleMetric,
    steps: int,
    tune: int,
    truth: Callable[[Setting], float],
    sign: int,
) -> Problem:
    """truth: the exact value of a setting; sign: 1 where more is better."""
    temperature = 0.0 if metric.needs_originals and order == "confidence" else 1.0
    sampler = Sampler(SamplerConfig(steps=(1,), order=order, temperature=temperature, batch=4096))
    sizes: dict[Use, int] = {"tune": tune, "choose": 8, "report": 8}

    def make(seed: int) -> Memo:
        return Memo(law, law.length, sampler, metric, law_dataset(law, sizes, 1000 + seed))  # type: ignore[arg-type]

    judge = make(0)
    axis = np.geomspace(*BOX, SCAN)
    a, b = (points.ravel() for points in np.meshgrid(axis, axis))
    pool = np.unique(counts_of_grids(beta_grids(a, b, steps), law.length, "one-per-step"), axis=0)
    known = {
        (key := tuple(n for n in row if n)): truth(Setting(name="", steps=steps, length=law.length, counts=key))
        for row in pool.tolist()
    }
    best = max(sign * value for value in known.values())

    def regret(setting: Setting) -> float:
        key = tuple(int(part) for part in setting.key)
        value = known.setdefault(key, truth(Setting(name="", steps=steps, length=law.length, counts=key)))
        return (best - sign * value) / abs(best)

    assert sign_of(judge.metric.direction) == sign
    return Problem(steps=steps, evaluator=make, regret=regret, judged=f"{metric.name}, exactly")


def few(order: Any, length: int = 32, steps: int = 8, allowed: tuple[int, ...] = (10, 11)) -> Problem:
    """Does a sample of 32 letters have ten or eleven a's (0 or 1)? Their number is a Markov chain over the steps."""
    law = Counted(length, allowed)

    def share(setting: Setting) -> float:
        states, visible = {0: 1.0}, 0
        for count in setting.counts or ():
            after: dict[int, float] = {}
            for a, weight in states.items():
                hidden, p = length - visible, law.next_a(a, visible - a)
                drawn = count if order == "random" else hidden  # confidence draws all and keeps the likelier letter
                for n, chance in enumerate(binom.pmf(np.arange(drawn + 1), drawn, p).tolist()):
                    likelier = min(count, n) if p > 0.5 else count - min(count, drawn - n)
                    new = a + (n if order == "random" else likelier)
                    after[new] = after.get(new, 0.0) + weight * chance
            states, visible = after, visible + count
        return sum(weight for a, weight in states.items() if a in allowed)

    return law_problem(law, order, Legal(law), steps, EXAMPLES, share, 1)


def chain(symbols: int, flip: float, length: int, steps: int) -> Problem:
    """The likelihood of a Markov chain in random order, measured on paths; KL is judged exactly."""
    law = MarkovChain.sticky(symbols, flip, length)
    curve, entropy = law.profile(), law.entropy()
    truth = lambda setting: float(count_weights(setting.counts or (), length) @ curve) - entropy  # noqa: E731
    return law_problem(law, "random", PathLikelihood("nelbo", "random"), steps, EXAMPLES, truth, -1)


def paths(symbols: int, flip: float, length: int, steps: int) -> Problem:
    """path_nll of a Markov chain in order of confidence (temperature 0), judged on 4,096 unseen examples."""
    law = MarkovChain.sticky(symbols, flip, length)
    sampler = Sampler(SamplerConfig(steps=(1,), order="confidence", temperature=0.0, batch=4096))
    metric = PathLikelihood("path_nll", "confidence")
    unseen = law_dataset(law, {"report": 4096, "tune": 8, "choose": 8}, 99)
    judge = Evaluator(law, length, sampler, metric, unseen)
    entropy = float(-law.log_prob(unseen.splits["report"].originals).mean())  # on the same examples
    truth = lambda setting: judge.score(setting, "report").estimate.value - entropy  # noqa: E731
    problem = law_problem(law, "confidence", metric, steps, EXAMPLES, truth, -1)
    return replace(problem, judged="KL along the path, 4,096 unseen examples")


class Bf16(torch.nn.Module):
    """A transformer whose products are in bfloat16: the replayed tables are drawn 3 times faster."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model, self.vocab_size, self.mask_id = model, model.vocab_size, model.mask_id

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            found: Tensor = self.model(tokens, wanted)
        return found


def text(order: Any, metric: str, work: Path) -> Problem:
    """The bundled text model at 4 steps, 48 tune examples a seed, judged on 256 others; ``work`` keeps the table."""
    model = load_transformer(bundled(TEXT))
    temperature = 0.0 if metric == "path_nll" and order == "confidence" else 1.0
    sampler = Sampler(SamplerConfig(steps=(1,), order=order, temperature=temperature, batch=64))
    sizes: dict[Use, int] = {"tune": TEXT_TUNE * len(SEEDS), "choose": 8, "report": TEXT_JUDGE}
    data = text_dataset(bundled(TEXT), model.symbols, model.length, sizes, 0)
    scored: SampleMetric = Spelling(data) if metric == "spelling" else PathLikelihood(metric, order)  # type: ignore[arg-type]
    whole = Evaluator(Bf16(model), model.length, sampler, scored, data)
    settings = {s.key: s for a in LATTICE for b in LATTICE for s in [whole.setting(Beta(a, b), TEXT_STEPS)]}
    settings |= {s.key: s for a in GRID for b in GRID for s in [whole.setting(Beta(a, b), TEXT_STEPS)]}
    file = work / f"text-{order}-{metric}.npz"
    if not file.is_file():
        tables: dict[Use, list[Values]] = {"tune": [], "report": []}
        for setting in settings.values():
            for use, rows in tables.items():
                values = whole.measure_on(setting, data.splits[use]).values
                assert values is not None
                rows.append(values)
        np.savez(file, tune=np.stack(tables["tune"]), report=np.stack(tables["report"]))
    kept = np.load(file)
    tune, truth = kept["tune"], dict(zip(settings, kept["report"].mean(1), strict=True))
    sign = sign_of(scored.direction)
    best = max(sign * value for value in truth.values())
    floor = 0.0
    if metric != "spelling":  # a likelihood is judged above what one token a step loses
        floor = float(whole.measure_on(whole.setting(Beta(0.5, 0.5), 64), data.splits["report"]).estimate.value)

    def make(seed: int) -> Memo:
        rows = slice(TEXT_TUNE * seed, TEXT_TUNE * (seed + 1))
        split = data.splits["tune"].part(rows.start, rows.stop)
        own = Dataset({**data.splits, "tune": split}, data.codec)
        table = {key: values[rows] for key, values in zip(settings, tune, strict=True)}
        return Replay(model, model.length, sampler, scored, own, table=table)

    regret = lambda setting: (best - sign * truth[setting.key]) / abs(best + floor)  # noqa: E731
    return Problem(steps=TEXT_STEPS, evaluator=make, regret=regret, judged=f"{metric}, {TEXT_JUDGE} unseen examples")


def problems(work: Path) -> dict[str, Callable[[], Problem]]:
    """By name; ``work`` keeps the tables of the text model."""
    return {
        "few-random": lambda: few("random"),
        "few-confidence": lambda: few("confidence"),
        "chain-random": lambda: chain(2, 0.05, 32, 8),
        "chain-confidence": lambda: paths(2, 0.05, 32, 8),
        "text-random-spelling": lambda: text("random", "spelling", work),
        "text-random-nelbo": lambda: text("random", "nelbo", work),
        "text-confidence-spelling": lambda: text("confidence", "spelling", work),
        "text-margin-path_nll": lambda: text("margin", "path_nll", work),
    }
