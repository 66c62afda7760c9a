"""Is the sentence of ``evaluate --frontier`` right? It is claimed again and again where the truth is known.

An exact law is sampled once by each policy on a population of examples. A replication draws tune examples from the
population, sets adaptive policies to the calls of the budgets on them, draws report examples, and claims the cheapest
policy. The loss of every policy in the population is known without error, so that each claim is true or false. The
margin is set to the true loss of one policy after the other, so that this policy is exactly at the limit, where a false
claim is most likely. In the last case all policies are at the limit, independently of each other.

    python scripts/frontier_truth.py --work build/frontier-truth --output docs/frontier-truth.md
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from mdm_tune.config.sampler import SamplerConfig
from mdm_tune.core.files import write_text
from mdm_tune.core.statistics import Bounds, Estimate
from mdm_tune.core.types import Direction, Order, sign_of
from mdm_tune.datasets.splits import Split, law_dataset
from mdm_tune.denoisers.analytic import MarkovChain, Table
from mdm_tune.denoisers.law import Law
from mdm_tune.evaluation.evaluator import Evaluator, Measurement
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Sampler, Setting
from mdm_tune.metrics.quality import SampleMetric
from mdm_tune.sampling.unmasking import Unmasked
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.curves import Linear, SquaredSine
from mdm_tune.search.cheapest import cheapest_of
from mdm_tune.search.gains import no_worse

POPULATION, TUNE, REPLICATIONS, MARGINS = 2000, 64, 200, 4
THRESHOLDS = (0.3, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99, 0.999)
BOUNDS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 4.5, 7.0)
SMALLEST, LARGEST = 0.005, 0.9  # margins that a user may set
Values = NDArray[np.float64]

INTRODUCTION = """\
# How often the cheapest policy is named wrongly

Made by `python scripts/frontier_truth.py`. The sentence of [frontier.md](frontier.md) is asked for {total} times where
the truth is known. It names a policy whose loss is the margin or more in {false} of them. At most 5 % of each row may
be false; the worst row has {worst}.

- **Truth.** Each policy fills the same {size} examples of an exact law once, by the real sampler. A replication draws
  its examples from these with replacement. So the true loss of each policy is the mean over all of them, without error.
- **A replication** draws {tune} tune examples and sets `threshold` ({thresholds} values) and `entropy-bound` ({bounds})
  to the calls of three budgets on them. It then draws the report examples and claims the cheapest of the policies
  linear, squared-sine, threshold and entropy-bound; in some rows without threshold, which is truly good on these laws
  and therefore nearly always the named one.
- **Laws.** The Markov chain of configs/markov.yaml (32 symbols) has two metrics: the surprise of a sample in nats
  (unbounded, skewed, lower is better), and whether it has at most three flips, as 93 % of the law's samples have. Its
  order is random for fixed counts, and that of confidence for threshold. The second law is a table of 24 random strings
  of 16 letters, in order of confidence. A sample is right if it is one of them, and one token per step is always right.
- **Margins** are true losses of a policy at a budget. This policy is exactly at the limit and must not be named. In
  *all at the limit* 6 policies at 3 budgets lose the margin, on examples that are independent of each other. That is
  the hardest case for the correction.
- **Columns.** Claims: replications that name a policy. False: the named policy loses the margin or more. Any: some
  shown point does, named or not. Bonferroni: replications in which at least one point is shown at the level 0.05
  divided by all points, for comparison.

| law and metric | margin | examples | claims | false | any | Bonferroni |
|---|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class OfLaw:
    """A value of a sample that its law decides."""

    name: str
    label: str
    of: Callable[[Any], Values]
    direction: Direction
    bounds: Bounds | None
    needs_originals: bool = False

    def values(self, result: Unmasked, split: Split) -> Values:
        return np.asarray(self.of(result.tokens), dtype=np.float64)

    def diversity(self, tokens: Any, split: Split) -> dict[str, Values]:
        return {}

    def ceiling(self, split: Split) -> None:
        return None


@dataclass(frozen=True)
class Population:
    """Every policy on every example of a population.

    Attributes:
        name: For the page.
        values: (population,) by policy and parameter; ``("reference", 0)`` is one token per step.
        calls: Denoiser calls alike.
        budgets: From large to small.
        direction: Of the metric.
        bounds: Of the metric.
    """

    name: str
    values: Mapping[tuple[str, float], Values]
    calls: Mapping[tuple[str, float], Values]
    budgets: tuple[int, ...]
    direction: Direction
    bounds: Bounds | None

    @property
    def losses(self) -> dict[tuple[str, float], float]:
        """The true loss of each policy, as a share of the absolute value of one token per step."""
        best = float(self.values["reference", 0].mean())
        sign = sign_of(self.direction)
        return {at: sign * (best - float(own.mean())) / abs(best) for at, own in self.values.items()}

    def without(self, policy: str) -> Population:
        """The population without a policy."""
        values, calls = ({at: each for at, each in own.items() if at[0] != policy} for own in (self.values, self.calls))
        return replace(self, name=f"{self.name}, no {policy}", values=values, calls=calls)

    def at_budgets(self, rows: NDArray[np.int64]) -> dict[str, list[float]]:
        """The parameters of each policy at the budgets: those whose calls on these rows are nearest to the budgets."""
        found: dict[str, list[float]] = {}
        for name in dict.fromkeys(name for name, _ in self.values if name != "reference"):
            own = {number: float(self.calls[name, number][rows].mean()) for kind, number in self.values if kind == name}
            nearest = (min(own, key=lambda number: abs(own[number] - steps)) for steps in self.budgets)
            found[name] = [*dict.fromkeys(nearest)]
        return found


def chain() -> MarkovChain:
    """The law of configs/markov.yaml."""
    return MarkovChain.sticky(2, 0.05, 32)


def table(words: int = 24, length: int = 16) -> Table:
    """A toy law: a few random strings, of unequal probability."""
    rng = np.random.default_rng(0)
    found: dict[str, None] = {}
    while len(found) < words:
        found["".join(rng.choice([*"ab"], length))] = None
    return Table(tuple(found), tuple(float(1 + place % 4) for place in range(words)))


def surprise(law: Law) -> SampleMetric:
    """-log probability of the sample in nats: many sizes, skewed, without bounds."""
    return OfLaw("surprise", "nats", lambda tokens: -law.log_prob(tokens).numpy(), "minimize", None)


def seldom_flips() -> SampleMetric:
    """Whether neighbours differ at most three times: right or wrong, and one token per step is wrong too at times."""
    few = lambda tokens: (tokens.diff(dim=1) != 0).sum(1).le(3).numpy()  # noqa: E731
    return OfLaw("at most 3 flips", "share", few, "maximize", (0.0, 1.0))


def legal(law: Law) -> SampleMetric:
    """Whether the sample has positive probability; one token per step is always right."""
    return OfLaw("legal", "share", lambda tokens: law.log_prob(tokens).isfinite().numpy(), "maximize", (0.0, 1.0))


def measured(
    name: str, law: Law, metric: SampleMetric, budgets: tuple[int, ...], size: int, order: Order = "confidence"
) -> Population:
    """The population of a law, drawn by the real sampler."""
    sampler = Sampler(SamplerConfig(order=order, steps=budgets, batch=1024))
    data = law_dataset(law, {"tune": 1, "choose": 1, "report": size}, 0)
    evaluator = Evaluator(denoiser=law, length=law.length, sampler=sampler, metric=metric, dataset=data)
    settings: dict[tuple[str, float], Setting] = {("reference", 0): evaluator.setting(Linear(), law.length)}
    for schedule in (Linear(), SquaredSine()):
        settings |= {(schedule.name, steps): evaluator.setting(schedule, steps) for steps in budgets}
    for kind, numbers in (("threshold", THRESHOLDS), ("entropy-bound", BOUNDS)):
        for number in numbers:
            plan = parse_adaptive(f"{kind}:{number}")
            assert plan is not None
            settings[kind, number] = Setting.of_adaptive(plan, budgets[0], law.length)
    split = evaluator.split("report")
    found = dict(
        zip(settings, evaluator.measure_each([Measurement(each, split) for each in settings.values()]), strict=True)
    )
    calls = {at: np.full(size, each.nfe) if each.calls is None else each.calls for at, each in found.items()}
    values = {at: each.values for at, each in found.items() if each.values is not None}
    return Population(
        name=name, values=values, calls=calls, budgets=budgets, direction=metric.direction, bounds=metric.bounds
    )


def at_the_limit(
    margin: float, policies: int = 6, budgets: tuple[int, ...] = (16, 8, 4), size: int = 20_000
) -> Population:
    """Right and wrong answers; every point loses exactly the margin, where it does is independent of the others."""
    rng, reference = np.random.default_rng(1), np.zeros(size)
    reference[: round(0.9 * size)] = 1
    values, calls = {("reference", 0.0): reference}, {("reference", 0.0): np.full(size, 64.0)}
    for policy in range(policies):
        for steps in budgets:
            won = round(0.1 * margin * size)
            lost = won + round(0.9 * margin * size)
            own = reference.copy()
            own[rng.choice(round(0.9 * size), lost, replace=False)] = 0
            own[round(0.9 * size) + rng.choice(round(0.1 * size), won, replace=False)] = 1
            values[f"policy {policy}", steps], calls[f"policy {policy}", steps] = own, np.full(size, float(steps))
    return Population(
        name="all at the limit", values=values, calls=calls, budgets=budgets, direction="maximize", bounds=(0.0, 1.0)
    )


def claimed(
    population: Population, margin: float, examples: int, seed: int
) -> tuple[tuple[str, float] | None, bool, bool]:
    """One replication: the point that is named, whether Bonferroni shows a point, and whether a false one is shown."""
    rng = np.random.default_rng([seed, examples])
    size = len(population.values["reference", 0])
    tune, report = rng.integers(0, size, TUNE), rng.integers(0, size, examples)

    def scores(at: tuple[str, float]) -> Scores:
        values, calls = population.values[at][report], population.calls[at][report]
        return Scores(
            setting=Setting(*at[:1], 1, 1),
            estimate=Estimate(float(values.mean()), None),
            nfe=float(calls.mean()),
            cost=Cost(),
            use="report",
            values=values,
            calls=calls,
            bounds=population.bounds,
        )

    chosen = population.at_budgets(tune)
    found = {name: [scores((name, number)) for number in numbers] for name, numbers in chosen.items()}
    at = {id(each): (name, number) for name in found for number, each in zip(chosen[name], found[name], strict=True)}
    reference = scores(("reference", 0))
    result = cheapest_of([*found.items()], reference, population.direction, margin)
    bonferroni = 0.05 / max(1, result.tests)
    everyone = [each for own in found.values() for each in own]
    plain = any(no_worse(each, reference, population.direction, margin, bonferroni).holds for each in everyone)
    losses = population.losses
    false = any(losses[at[id(point.scores)]] >= margin - 1e-9 for point in result.points if point.shown)
    return None if result.best is None else at[id(result.best.scores)], plain, false


def margins_of(population: Population, count: int) -> list[float]:
    """True losses at the budgets that a user may set as the margin, evenly chosen from the smallest to the largest."""
    everyone = np.arange(len(population.values["reference", 0]))
    known = population.losses
    found = [known[name, number] for name, numbers in population.at_budgets(everyone).items() for number in numbers]
    losses = sorted({round(loss, 12) for loss in found if SMALLEST <= loss <= LARGEST})
    places: set[int] = {round(place) for place in np.linspace(0, len(losses) - 1, count).tolist()} if losses else set()
    return [losses[place] for place in sorted(places)]


@dataclass(frozen=True)
class Line:
    """A row of the page: counts over the replications."""

    name: str
    margin: float
    examples: int
    replications: int
    claims: int
    false: int
    any_false: int
    plain: int


def judged(population: Population, margin: float, examples: int, replications: int) -> Line:
    """Count the claims and the false ones."""
    losses, claims, false, shown_false, plain = population.losses, 0, 0, 0, 0
    for seed in range(replications):
        named, by_bonferroni, any_false = claimed(population, margin, examples, seed)
        plain, shown_false = plain + by_bonferroni, shown_false + any_false
        if named is not None:
            claims += 1
            false += losses[named] >= margin - 1e-9
    return Line(population.name, margin, examples, replications, claims, false, shown_false, plain)


def populations(size: int) -> Iterator[tuple[str, Callable[[], Population]]]:
    """Names and makers of the populations of the exact laws."""
    markov, toy = chain(), table()
    drawn = partial(measured, budgets=(24, 16, 8), size=size, order="random")
    yield "surprise", partial(drawn, "Markov chain, surprise", markov, surprise(markov))
    yield "flips", partial(drawn, "Markov chain, at most 3 flips", markov, seldom_flips())
    yield "legal", partial(measured, "24 strings, legal", toy, legal(toy), (8, 4, 2), size)


def stored(work: Path, name: str, make: Callable[[], Population]) -> Population:
    """A population, read from the folder if it is there."""
    path = work / f"{name}.npz"
    if path.exists():
        whole: Population = np.load(path, allow_pickle=True)["population"].item()
        return whole
    population = make()
    work.mkdir(parents=True, exist_ok=True)
    np.savez(path, population=np.array(population, dtype=object))
    return population


def percent(count: int, of: int) -> str:
    """A share with its Clopper-Pearson interval."""
    if not of:
        return "0 of 0"
    ends = binomtest(count, of).proportion_ci(0.95)
    return f"{count} of {of:,}: {100 * count / of:.1f} % ({100 * ends.low:.1f} % to {100 * ends.high:.1f} %)"


def page(lines: Sequence[Line], size: int, seconds: float) -> str:
    """The page of the results."""
    worst = max(lines, key=lambda line: line.false / line.replications)
    total, false = sum(line.replications for line in lines), sum(line.false for line in lines)
    rows = [
        f"| {line.name} | {100 * line.margin:.2f} % | {line.examples} | {line.claims:,} | "
        f"{percent(line.false, line.replications)} | {line.any_false} | {line.plain:,} |"
        for line in lines
    ]
    return "\n".join(
        [
            *INTRODUCTION.format(
                total=f"{total:,}",
                false=false,
                worst=percent(worst.false, worst.replications),
                size=f"{size:,}",
                tune=TUNE,
                thresholds=len(THRESHOLDS),
                bounds=len(BOUNDS),
            ).splitlines(),
            *rows,
            "",
            f"The replications took {seconds / 60:.0f} minutes of CPU time on one core.",
            "",
        ]
    )


def main() -> None:
    """Measure, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the populations, which are kept")
    parser.add_argument("--output", type=Path, required=True, help="the page")
    parser.add_argument("--population", type=int, default=POPULATION)
    parser.add_argument("--replications", type=int, default=REPLICATIONS)
    given = parser.parse_args()
    began, lines = time.process_time(), []
    for name, make in populations(given.population):
        whole = stored(given.work, f"{name}-{given.population}", make)
        for population in (whole, whole.without("threshold")):
            for margin, examples in product(margins_of(population, MARGINS), (128, 512)):
                lines.append(judged(population, margin, examples, given.replications))
                print(lines[-1], f"{time.process_time() - began:.0f} s", flush=True)
    for margin in (0.02, 0.1):
        for examples in (128, 512):
            lines.append(judged(at_the_limit(margin), margin, examples, 5 * given.replications))
            print(lines[-1], flush=True)
    write_text(given.output, page(lines, given.population, time.process_time() - began))


if __name__ == "__main__":
    main()
