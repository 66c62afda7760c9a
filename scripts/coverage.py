"""How often what a search claims is true: whole searches on problems whose true gain is known exactly.

    python scripts/coverage.py --output docs/coverage.md                  # half an hour on one core
    python scripts/coverage.py --output docs/coverage.md --processes 4

Every search has its own tune, choose and report examples, tunes by the real sampler, and claims a gain over linear with
an interval. The truth is the expectation of the objective under the schedule that this search returned, less linear's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from scipy.special import xlogy
from scipy.stats import binom, binomtest
from torch import Tensor

from mdm_tune.datasets.splits import Split, Use, law_dataset
from mdm_tune.denoisers.analytic import MarkovChain, Mixture, Table
from mdm_tune.denoisers.law import Law
from mdm_tune.evaluation import Evaluator
from mdm_tune.metrics.exact import Enumeration, target_distribution
from mdm_tune.metrics.quality import PathLikelihood, SampleMetric
from mdm_tune.profile.pricing import nelbo
from mdm_tune.sampling.drawing import Drawing, Order
from mdm_tune.sampling.unmasking import Unmasked
from mdm_tune.search.budget import search_budget
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.ledger import Worker
from mdm_tune.search.proposals import SearchSettings
from mdm_tune.search.sharing import Desk, Judge
from mdm_tune.seeding import derive_seed
from mdm_tune.settings import Sampler
from mdm_tune.statistics import Bounds

SEARCHES = 200
TRIALS = 20
SIZES: dict[Use, int] = {"tune": 64, "choose": 64, "report": 256}
BOX = (0.1, 10.0)
ROUNDING = 1e-12
Counts = tuple[int, ...]
Interval = tuple[float, float]


@dataclass(frozen=True)
class OfSample:
    """A metric that looks at the drawn tokens alone. of: from tokens (rows, length) to values (rows,)."""

    name: str
    direction: Any
    of: Callable[[Tensor], Tensor]
    reference: bool = False
    bounds: Bounds | None = None

    @property
    def label(self) -> str:
        return self.name

    def values(self, result: Unmasked, split: Split) -> NDArray[np.float64]:
        return self.of(result.tokens).double().numpy()

    def diversity(self, tokens: Tensor, split: Split) -> dict[str, NDArray[np.float64]]:
        return {}

    def ceiling(self, split: Split) -> None:
        return None


@dataclass(frozen=True)
class Problem:
    """Something to tune with a known truth. steps: the budgets. truth: the true value of a schedule by its counts."""

    law: Law
    order: Order
    metric: SampleMetric
    steps: tuple[int, ...]
    truth: Callable[[Counts], float]

    def evaluator(self, root: int, sizes: dict[Use, int]) -> Evaluator:
        """Examples and noise of their own for every root."""
        sampler = Sampler(Drawing(self.order), False, "one-per-step", 4096)
        return Evaluator(self.law, self.law.length, sampler, self.metric, law_dataset(self.law, sizes, root))


@dataclass(frozen=True)
class Outcome:
    """What one search claimed, and the true gain of its winner over linear.

    ci: the 95 % interval that is reported. familywise: the one by which a gain is claimed. differs: whether the winner
    has other counts than linear. claimed: whether it was called better. lost: whether linear was returned in its place.
    """

    ci: Interval
    familywise: Interval
    true: float
    differs: bool
    claimed: bool
    lost: bool = False

    @property
    def false(self) -> bool:
        return self.claimed and self.true <= ROUNDING


def of_samples(law: Law, order: Order, metric: OfSample, steps: int) -> Problem:
    """The truth is the metric's mean over the sampler's exact distribution."""
    enumeration = Enumeration(law, law.length, 1.0, order)
    values = metric.of(torch.tensor(list(product(range(law.vocab_size), repeat=law.length)))).double().numpy()
    return Problem(law, order, metric, (steps,), lambda counts: float(enumeration.fixed(counts) @ values))


def legal(order: Order) -> Problem:
    """Strings of eight with two or three a's; 1 where the sample is one of them, else 0."""
    words = ["".join(word) for word in product("ab", repeat=8) if word.count("a") in (2, 3)]
    law = Table(tuple(words), (1.0,) * len(words))
    return of_samples(law, order, OfSample("legal", "maximize", lambda x: torch.isfinite(law.log_prob(x))), 4)


def likelihood() -> Problem:
    """-log p of the samples of a Markov chain under it, in order of confidence."""
    law = MarkovChain.sticky(2, 0.1, 8)
    return of_samples(law, "confidence", OfSample("sample NLL", "minimize", lambda x: -law.log_prob(x)), 4)


def random_nelbo() -> Problem:
    """The NELBO of a Markov chain in random order, measured on paths; the truth is priced by its profile."""
    law = MarkovChain.sticky(2, 0.05, 32)
    curve = law.profile()
    return Problem(law, "random", PathLikelihood("nelbo", "random"), (8,), lambda counts: nelbo(curve, counts))


def path_nll() -> Problem:
    """path_nll of a Markov chain in order of the margin: the cross-entropy to what the sampler produces."""
    law = MarkovChain.sticky(4, 0.2, 6)
    data, enumeration = target_distribution(law), Enumeration(law, law.length, 1.0, "margin")
    truth: Callable[[Counts], float] = lambda counts: -float(xlogy(data, enumeration.fixed(counts)).sum())  # noqa: E731
    return Problem(law, "margin", PathLikelihood("path_nll", "margin"), (3,), truth)


def null(metric: OfSample) -> Problem:
    """Twelve fair bits: every schedule draws others of them in order of confidence, and none is better."""
    law = Mixture([1.0], np.full((1, 12, 2), 0.5))
    return Problem(law, "confidence", metric, (4, 6), lambda counts: 0.5)


MAKERS: dict[str, Callable[[], Problem]] = {
    "legal, confidence": lambda: legal("confidence"),
    "legal, random": lambda: legal("random"),
    "NELBO, random": random_nelbo,
    "sample NLL, confidence": likelihood,
    "path NLL, margin": path_nll,
    "share of ones": lambda: null(OfSample("ones", "maximize", lambda x: x.double().mean(1))),
    "parity": lambda: null(OfSample("parity", "maximize", lambda x: x.sum(1) % 2)),
}
NULLS = ("share of ones", "parity")


@cache
def problem_of(name: str) -> Problem:
    return MAKERS[name]()


def searched(name: str, number: int) -> list[Outcome]:
    return search(problem_of(name), derive_seed(0, "coverage", name, number))


def search(problem: Problem, root: int, trials: int = TRIALS, sizes: dict[Use, int] = SIZES) -> list[Outcome]:
    """The first budget of a problem alone; where there are more, then all of them as one search."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    settings = SearchSettings("qmc", trials, BOX, BOX, 4, ("linear", "squared-sine", "sine"), root)
    together = problem.steps if len(problem.steps) > 1 else ()
    runs: list[tuple[int, tuple[int, ...]]] = [(problem.steps[0], ()), *((steps, together) for steps in together)]
    storage = optuna.storages.InMemoryStorage()
    with Worker(storage, "coverage") as worker:
        judge = Judge(problem.evaluator(root, sizes), Desk(storage, "coverage", worker))
        return [outcome(problem, search_budget(judge, steps, settings, budgets=budgets)) for steps, budgets in runs]


def outcome(problem: Problem, budget: Budget) -> Outcome:
    """Of the best schedule of the choose split: its interval is made before the report split may put linear there."""
    lost = budget.loser is not None
    linear = budget.baselines["linear"].setting
    winner = budget.winner.setting if budget.loser is None else budget.loser.scores.setting
    sign = 1 if problem.metric.direction == "maximize" else -1
    true = sign * (problem.truth(winner.counts or ()) - problem.truth(linear.counts or ()))
    gain = budget.judged
    assert gain.ci is not None and gain.familywise is not None  # of sampled values
    differs = winner.key != linear.key
    return Outcome(gain.ci, gain.familywise, true, differs, budget.beats_linear, lost)


def holds(ci: Interval, true: float) -> bool:
    """Whether the interval contains the truth, rounding aside."""
    return ci[0] - ROUNDING <= true <= ci[1] + ROUNDING


def share(count: int, of: int) -> str:
    """A share with its binomial interval."""
    if not of:
        return "-"
    ends = binomtest(count, of).proportion_ci(method="exact")
    return f"{count} of {of}: {count / of:.1%} ({ends.low:.1%} to {ends.high:.1%})"


PAGE = """\
# How often the claims are true

Whole searches by `qmc` of at most {trials} trials with racing, each with its own seed, tune, choose and report examples
({sizes}), on problems whose true values are known exactly. In brackets: 95 % intervals of a
share (Clopper and Pearson). Made by `python scripts/coverage.py --output docs/coverage.md`.

## Is the true gain in the interval?

The true gain over linear of the best schedule of the choose split, and the 95 % interval that the report split gives
it, also where that lies below 0 and the search returns linear in its place. Where that schedule has linear's own
counts, gain and interval are 0: such searches say nothing of the interval and are left out of
the first table. *Wider*: the interval by which a gain is claimed.

| objective, order | winner is not linear | in the interval | interval above, below | in the wider interval |
|---|---|---|---|---|
{coverage}

| objective, order | true gain, least to most | in the interval, all searches | called better | wrongly |
|---|---|---|---|---|
{claims}

| objective, order | linear returned, since the interval lies below 0 | left out of winners that are truly no worse |
|---|---|---|
{losses}

- *legal*: strings of eight with two or three a's, 4 steps; is the sample one of them, 0 or 1? Truth by enumeration.
- *NELBO*: Markov chain, 2 symbols, flip 0.05, length 32, 8 steps, measured on paths. Truth by the law's own profile.
- *sample NLL*: -log p of samples under a chain of 2 symbols, flip 0.1, length 8, 4 steps. Truth by enumeration.
- *path NLL*: chain, 4 symbols, flip 0.2, length 6, 3 steps. Truth: the cross-entropy to the enumerated law of samples.

## Where nothing can be gained

Twelve fair bits in order of confidence: schedules draw different bits, and each of them is truly worth 1/2. A gain has
one side, so that 2.5 % of searches may call the winner better, {expected:.3g} of {searches}; more than {limit} of them
have probability {alarm:.2g}. *Two budgets*: 4 and 6 steps in one search, one or both called better.

| objective | winner is not linear | 0 in the interval | one budget, 4 steps: called better | two budgets |
|---|---|---|---|---|
{nulls}
"""


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def coverage_row(name: str, found: Sequence[Outcome]) -> str:
    moved = [each for each in found if each.differs]
    missed = [each for each in moved if not holds(each.ci, each.true)]
    above = sum(each.ci[0] > each.true for each in missed)
    return row(
        name,
        f"{len(moved)} of {len(found)}",
        share(len(moved) - len(missed), len(moved)),
        f"{above}, {len(missed) - above}",
        share(sum(holds(each.familywise, each.true) for each in moved), len(moved)),
    )


def claims_row(name: str, found: Sequence[Outcome]) -> str:
    true = [each.true for each in found if each.differs] or [0.0]
    return row(
        name,
        f"{min(true):.3f} to {max(true):.3f}",
        share(sum(holds(each.ci, each.true) for each in found), len(found)),
        str(sum(each.claimed for each in found)),
        str(sum(each.false for each in found)),
    )


def loss_row(name: str, found: Sequence[Outcome]) -> str:
    good = [each for each in found if each.differs and each.true >= 0]
    return row(
        name, share(sum(each.lost for each in found), len(found)), share(sum(each.lost for each in good), len(good))
    )


def null_row(name: str, found: Sequence[list[Outcome]]) -> str:
    moved = [first for first, *_ in found if first.differs]
    return row(
        name,
        f"{len(moved)} of {len(found)}",
        share(sum(holds(each.ci, each.true) for each in moved), len(moved)),
        share(sum(first.claimed for first, *_ in found), len(found)),
        share(sum(any(each.claimed for each in both) for _, *both in found), len(found)),
    )


def page(found: dict[str, list[list[Outcome]]]) -> str:
    alone = {name: [first for first, *_ in each] for name, each in found.items() if name not in NULLS}
    alone["all"] = [each for outcomes in alone.values() for each in outcomes]
    nulls = {name: [first for first, *_ in found[name]] for name in NULLS}
    searches = len(found[NULLS[0]])
    limit = searches // 20
    return PAGE.format(
        trials=TRIALS,
        sizes=", ".join(str(size) for size in SIZES.values()),
        coverage="\n".join(coverage_row(name, each) for name, each in alone.items()),
        claims="\n".join(claims_row(name, each) for name, each in alone.items()),
        losses="\n".join(loss_row(name, each) for name, each in [*alone.items(), *nulls.items()]),
        searches=searches,
        expected=searches / 40,
        limit=limit,
        alarm=float(binom.sf(limit, searches, 1 / 40)),
        nulls="\n".join(null_row(name, found[name]) for name in NULLS),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the Markdown file to write")
    parser.add_argument("--searches", type=int, default=SEARCHES, help="of every problem")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[list[Outcome]]] = {}
    with ProcessPoolExecutor(options.processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for name in MAKERS:
            tasks = [name] * options.searches, range(options.searches)
            found[name] = list((map if options.processes == 1 else pool.map)(searched, *tasks))
            print(coverage_row(name, [first for first, *_ in found[name]]), file=sys.stderr, flush=True)
    options.output.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
