"""How often what a search claims is true: whole searches on problems whose true gain is known exactly.

    python scripts/coverage.py --output docs/coverage.md                  # an hour on one core
    python scripts/coverage.py --output docs/coverage.md --results FILE --minutes 20

Every search has its own tune, choose and report examples and claims a gain over linear with an interval. Those on laws
tune by the real sampler; those of scripts/given_values.py by values that follow from a rule. The truth is the
expectation of the objective under the schedule that this search chose, less linear's.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from given_values import GIVEN, GivenProblem
from numpy.typing import NDArray
from scipy.special import xlogy
from scipy.stats import binomtest
from torch import Tensor

from mdm_tune.config.file import SearchConfig
from mdm_tune.config.sampler import SamplerConfig
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.statistics import Bounds
from mdm_tune.core.types import sign_of
from mdm_tune.datasets.splits import Split, Use, law_dataset
from mdm_tune.denoisers.analytic import MarkovChain, Mixture, Table
from mdm_tune.denoisers.law import Law
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.settings import Sampler
from mdm_tune.metrics.exact import Enumeration, target_distribution
from mdm_tune.metrics.quality import PathLikelihood, SampleMetric
from mdm_tune.sampling.drawing import Order
from mdm_tune.sampling.unmasking import Unmasked
from mdm_tune.schedules.pricing import nelbo
from mdm_tune.search.budget import search_budget
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.driver import SearchName, driving
from mdm_tune.search.stored_scores import StoredScores

SEARCHES = 200
GIVEN_TIMES = 5  # as many searches of a problem of given values, which take less time
ROUNDS = 40  # parts that all problems are run in by turns
TRIALS = 20
SIZES: dict[Use, int] = {"tune": 64, "choose": 64, "report": 256}
ROUNDING = 1e-12
Counts = tuple[int, ...]
Interval = tuple[float, float]


@dataclass(frozen=True)
class OfSample:
    """A metric that looks at the drawn tokens alone. of: from tokens (rows, length) to values (rows,)."""

    name: str
    direction: Any
    of: Callable[[Tensor], Tensor]
    needs_originals: bool = False
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

    @property
    def length(self) -> int:
        return self.law.length

    @property
    def sizes(self) -> dict[Use, int]:
        return SIZES

    def evaluator(self, root: int, sizes: dict[Use, int]) -> Evaluator:
        """Examples and noise of their own for every root."""
        sampler = Sampler(SamplerConfig(steps=(1,), order=self.order, batch=4096))
        return Evaluator(self.law, self.law.length, sampler, self.metric, law_dataset(self.law, sizes, root))


@dataclass(frozen=True)
class Outcome:
    """What one search claimed, and the true gain of its winner over linear.

    ci: the 95 % interval that is shown. familywise: the corrected one of several budgets. differs: whether the winner
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
    return Problem(
        law=law,
        order=order,
        metric=metric,
        steps=(steps,),
        truth=lambda counts: float(enumeration.fixed(counts) @ values),
    )


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
    return Problem(
        law=law,
        order="random",
        metric=PathLikelihood("nelbo", "random"),
        steps=(8,),
        truth=lambda counts: nelbo(curve, counts),
    )


def path_nll() -> Problem:
    """path_nll of a Markov chain in order of the margin: the cross-entropy to what the sampler produces."""
    law = MarkovChain.sticky(4, 0.2, 6)
    data, enumeration = target_distribution(law), Enumeration(law, law.length, 1.0, "margin")
    truth: Callable[[Counts], float] = lambda counts: -float(xlogy(data, enumeration.fixed(counts)).sum())  # noqa: E731
    return Problem(law=law, order="margin", metric=PathLikelihood("path_nll", "margin"), steps=(3,), truth=truth)


def null(metric: OfSample) -> Problem:
    """Twelve fair bits: every schedule draws others of them in order of confidence, and none is better."""
    law = Mixture([1.0], np.full((1, 12, 2), 0.5))
    return Problem(law=law, order="confidence", metric=metric, steps=(4, 6), truth=lambda counts: 0.5)


MAKERS: dict[str, Callable[[], Problem | GivenProblem]] = {
    "legal, confidence": lambda: legal("confidence"),
    "legal, random": lambda: legal("random"),
    "NELBO, random": random_nelbo,
    "sample NLL, confidence": likelihood,
    "path NLL, margin": path_nll,
    "share of ones": lambda: null(OfSample("ones", "maximize", lambda x: x.double().mean(1))),
    "parity": lambda: null(OfSample("parity", "maximize", lambda x: x.sum(1) % 2)),
    **{name: lambda problem=problem: problem for name, problem in GIVEN.items()},  # type: ignore[misc]
}


@cache
def problem_of(name: str) -> Problem | GivenProblem:
    return MAKERS[name]()


def searched(name: str, number: int) -> list[Outcome]:
    return search(problem_of(name), derive_seed(0, "coverage", name, number))


def search(
    problem: Problem | GivenProblem, root: int, trials: int = TRIALS, sizes: dict[Use, int] | None = None
) -> list[Outcome]:
    """The first budget of a problem alone; where there are more, then all of them as one search."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    settings = SearchConfig(
        strategy="qmc", trials=trials, finalists=4, baselines=("linear", "squared-sine", "sine"), auto_stop=False
    )
    together = problem.steps if len(problem.steps) > 1 else ()
    runs: list[tuple[int, tuple[int, ...]]] = [(problem.steps[0], ()), *((steps, together) for steps in together)]
    storage = optuna.storages.InMemoryStorage()
    with driving(storage, SearchName.plain("coverage")) as state:
        scores = StoredScores(problem.evaluator(root, sizes or problem.sizes), state)
        found = [search_budget(scores, steps, settings, seed=root, budgets=budgets) for steps, budgets in runs]
        return [outcome(problem, budget) for budget in found]


def outcome(problem: Problem | GivenProblem, budget: Budget) -> Outcome:
    """Of the best schedule of the choose split: its interval is made before the report split may put linear there."""
    lost = budget.loser is not None
    linear = budget.baselines["linear"].setting
    winner = budget.winner.setting if budget.loser is None else budget.loser.scores.setting
    sign = sign_of(problem.metric.direction)
    true = sign * (problem.truth(winner.counts or ()) - problem.truth(linear.counts or ()))
    gain = budget.judged
    assert gain.ci is not None and gain.familywise is not None  # of sampled values
    differs = winner.key != linear.key
    return Outcome(
        ci=gain.ci, familywise=gain.familywise, true=true, differs=differs, claimed=budget.beats_linear, lost=lost
    )


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

A search shows a gain over linear with an interval, and it claims a gain only if it can be told from noise. This page
counts how often the interval contains the true gain, and how often a claim is false, in {searches} whole searches on
problems whose true values are known exactly.

## Results

- **Intervals of 95 % contain the true gain in the share that they promise:** {inside}.
- **Claims are seldom false:** {false} of {claimed} claimed gains are false (problems: {mistaken}).

## How it was measured

The searches use `qmc`, at most {trials} trials and racing. Each has its own seed and its own tune, choose and report
examples. A share is followed by its 95 % interval in brackets (Clopper and Pearson).
`python scripts/coverage.py --output docs/coverage.md` makes this page.

## Is the true gain in the interval?

The table compares the true gain of the chosen schedule over linear with the 95 % interval that the search shows. The
chosen schedule is the one that won on the choose split.

- *not linear*: searches whose chosen schedule has other counts than linear. In the others, gain and interval are 0
  and say nothing about the interval. They are left out of the columns that follow.
- *returned*: the same, without the searches whose interval lies below 0. Such a search returns linear in place of the
  chosen schedule. The report split has then taken part in the choice, and the losses that it showed are gone.

| problem | report examples | not linear | in the interval | interval above, below | returned |
|---|---|---|---|---|---|
{coverage}

Shares outside 92 to 98 %: {outside}

With the whole bracket outside: {surely}

## Is a claimed gain true?

A gain is *wrongly* claimed if a schedule is called better than linear and its true gain is 0 or less. If nothing can
be gained, this may happen in 2.5 % of the searches, since a gain has one side. A claim needs at least 32 examples
that differ (10, if all differences have one size). *Rare differences* and *few examples* have 16, so they can show no
gain: there the interval is what counts.

| problem | true gain, least to most | called better | wrongly, of all searches |
|---|---|---|---|
{claims}

A search returns linear if the interval of its chosen schedule lies below 0. The last column counts how often that was
wrong.

| problem | linear returned, since the interval lies below 0 | of chosen schedules that are truly no worse |
|---|---|---|
{losses}

## Two budgets in one search

With two budgets, each gain still has its 95 % interval. A claim needs the corrected interval, at 97.5 %, to lie above
0. *Both in the corrected intervals* counts the searches in which both true gains lie in their corrected intervals.
This may fail in 5 % of the searches. Searches that chose linear at both budgets are left out of this column.

| problem | one budget: wrongly called better | two budgets: one or both wrongly | both in the corrected intervals |
|---|---|---|---|
{together}

## The problems

**Laws from which the real sampler draws.** The tune, choose and report splits have 64, 64 and 256 examples:

- *legal*: strings of eight with two or three a's, 4 steps. The score is 1 if the sample is such a string, else 0. The
  truth is found by enumeration.
- *NELBO*: Markov chain, 2 symbols, flip 0.05, length 32, 8 steps, measured on paths. The truth comes from the law's
  own profile.
- *sample NLL*: -log p of samples under a chain of 2 symbols, flip 0.1, length 8, 4 steps. The truth is found by
  enumeration.
- *path NLL*: chain, 4 symbols, flip 0.2, length 6, 3 steps. The truth is the cross-entropy to the enumerated law of
  samples.
- *share of ones*, *parity*: twelve fair bits in order of confidence, 4 and 6 steps. Schedules draw different bits,
  and each schedule is truly worth 1/2.

**Values that follow a rule, without a denoiser.** There are 16 positions in 8 steps (*heavy tails*, *left-skewed* and
*seldom differing*: 4 steps too). The tune and choose splits have 64 examples. The true gain g follows from the
counts: it is largest if the mean step sees 70 % of the tokens, 0 for linear, and never below minus the largest gain.
An example's value is linear's value plus a difference:

- *heavy tails, no gain*: a log-normal value with sigma 1.5, minus its mean, times 1 for half of the schedules and
  times -1 for the others. No schedule is better or worse.
- *left-skewed*: g, minus half of (a log-normal value with sigma 1, minus its mean): many small gains, few large
  losses.
- *seldom differing, 0 or 1*: values are 0 or 1 and differ from linear's in 5 % of the examples.
- *rare differences*: 0 in 80 % of the examples, else normal with mean g / 0.2 and deviation 1.
- *few examples*: normal with mean g and deviation 1.
- *prompts of 8 rows*: the same as *few examples*, but half of the variance is common to the 8 rows of a prompt. There
  are 16 prompts to tune, 16 to choose and 32 to report. Intervals are drawn over prompts.
"""

PROMISED = (0.92, 0.98)


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def held(found: Sequence[Outcome]) -> int:
    return sum(holds(each.ci, each.true) for each in found)


def coverage_row(name: str, found: Sequence[Outcome]) -> str:
    moved = [each for each in found if each.differs]
    returned = [each for each in moved if not each.lost]
    above = sum(each.ci[0] > each.true and not holds(each.ci, each.true) for each in moved)
    return row(
        name,
        str(problem_of(name).sizes["report"]) if name in MAKERS else "",
        f"{len(moved)} of {len(found)}",
        share(held(moved), len(moved)),
        f"{above}, {len(moved) - held(moved) - above}",
        share(held(returned), len(returned)),
    )


def claims_row(name: str, found: Sequence[Outcome]) -> str:
    true = [each.true for each in found if each.differs] or [0.0]
    return row(
        name,
        f"{min(true):.3f} to {max(true):.3f}",
        str(sum(each.claimed for each in found)),
        share(sum(each.false for each in found), len(found)),
    )


def loss_row(name: str, found: Sequence[Outcome]) -> str:
    good = [each for each in found if each.differs and each.true >= -ROUNDING]
    return row(
        name, share(sum(each.lost for each in found), len(found)), share(sum(each.lost for each in good), len(good))
    )


def together_row(name: str, found: Sequence[list[Outcome]]) -> str:
    moved = [both for _, *both in found if any(each.differs for each in both)]
    return row(
        name,
        share(sum(first.false for first, *_ in found), len(found)),
        share(sum(any(each.false for each in both) for _, *both in found), len(found)),
        share(sum(all(holds(each.familywise, each.true) for each in both) for both in moved), len(moved)),
    )


def outside(found: dict[str, list[Outcome]], surely: bool = False) -> str:
    """Problems whose share lies outside what is promised. surely: those whose share's whole interval does."""
    named = []
    for name, each in found.items():
        moved = [one for one in each if one.differs]
        if moved:
            rate = held(moved) / len(moved)
            ends = binomtest(held(moved), len(moved)).proportion_ci(method="exact")
            low, high = (ends.low, ends.high) if surely else (rate, rate)
            if high < PROMISED[0] or low > PROMISED[1]:
                named.append(f"*{name}* {rate:.1%}")
    return f"{', '.join(named) or 'none'}."


def page(found: dict[str, list[list[Outcome]]]) -> str:
    first = {name: [one for one, *_ in each] for name, each in found.items()}
    laws, given = (
        [one for name, each in first.items() if (name in GIVEN) == of_given for one in each]
        for of_given in (False, True)
    )
    every = [*laws, *given]
    rows = {**first, "all laws": laws, "all given values": given, "all": every}
    moved = [one for one in every if one.differs]
    mistaken = [f"*{name}*" for name, each in first.items() if any(one.false for one in each)]
    return PAGE.format(
        searches=len(every),
        trials=TRIALS,
        inside=share(held(moved), len(moved)),
        false=sum(one.false for one in every),
        claimed=sum(one.claimed for one in every),
        mistaken=", ".join(mistaken) or "none",
        coverage="\n".join(coverage_row(name, each) for name, each in rows.items()),
        outside=outside(first),
        surely=outside(first, surely=True),
        claims="\n".join(claims_row(name, each) for name, each in rows.items()),
        losses="\n".join(loss_row(name, each) for name, each in rows.items()),
        together="\n".join(together_row(name, each) for name, each in found.items() if len(each[0]) > 1),
    )


def read_results(path: Path | None) -> dict[tuple[str, int], list[Outcome]]:
    """The searches that an earlier call finished; a last line that was cut off is left out."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path and path.exists() else ():
        if line.endswith("\n"):
            name, number, outcomes = json.loads(line)
            pairs = [{**each, "ci": tuple(each["ci"]), "familywise": tuple(each["familywise"])} for each in outcomes]
            found[name, number] = [Outcome(**each) for each in pairs]
    return found


def tasks(searches: int) -> list[tuple[str, int]]:
    """All searches, every problem's by turns, so that a run that is ended has some of each."""
    found = []
    for part in range(ROUNDS):
        for name in MAKERS:
            count = searches * (GIVEN_TIMES if name in GIVEN else 1)
            found += [(name, number) for number in range(part * count // ROUNDS, (part + 1) * count // ROUNDS)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the Markdown file to write")
    parser.add_argument(
        "--searches", type=int, default=SEARCHES, help="of every law, and of given values 5 times as many"
    )
    parser.add_argument("--results", type=Path, help="keep each search here and go on with those that are here already")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="write the page of what is there by then")
    options = parser.parse_args()
    torch.set_num_threads(1)
    end, found = time.monotonic() + 60 * options.minutes, read_results(options.results)
    for name, number in tasks(options.searches):
        if time.monotonic() > end:
            break
        if (name, number) not in found:
            found[name, number] = outcomes = searched(name, number)
            if options.results:
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([name, number, [asdict(each) for each in outcomes]]) + "\n")
    named = {name: [each for (other, _), each in found.items() if other == name] for name in MAKERS}
    options.output.write_text(page({name: each for name, each in named.items() if each}), encoding="utf-8")


if __name__ == "__main__":
    main()
