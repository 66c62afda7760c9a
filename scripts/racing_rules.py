"""Which rule should drop a candidate in mid-race: rows spent, best candidates lost, regret of the winner.

    python scripts/racing_rules.py --work build/racing --output docs/racing.md

Scores of many schedules on many examples with common noise come from the real evaluator once (about ten minutes on one
core, kept under --work); then whole searches are simulated on them, with the same candidates and examples for every
rule (about four minutes).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from racing_scores import GUIDES, PROBLEMS, scores
from scipy import stats

from mdm_tune.search.racing import chance, look_sizes

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]

SEARCHES, TRIALS = 500, 25
SIZES = (64, 128, 256, 512)


@dataclass(frozen=True)
class Race:
    """Many races at one look. candidate (races, n) and incumbent (races, total), larger is better.

    looks: how often the rule is asked in a whole race. width: the largest difference that there can be, or was seen.
    """

    candidate: Values
    incumbent: Values
    looks: int
    width: float

    @property
    def count(self) -> int:
        return int(self.candidate.shape[1])

    @property
    def total(self) -> int:
        return int(self.incumbent.shape[1])

    @property
    def differences(self) -> Values:
        return self.candidate - self.incumbent[:, : self.count]


Rule = Callable[[Race], Flags]


def keep(race: Race) -> Flags:
    return np.zeros(len(race.candidate), dtype=bool)


def paired_t(level: float) -> Rule:
    """One-sided; equal differences drop nothing."""

    def rule(race: Race) -> Flags:
        deviation = race.differences.std(1, ddof=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = race.differences.mean(1) / deviation * np.sqrt(race.count)
        return np.asarray((deviation > 1e-12) & (stats.t.cdf(t, race.count - 1) < level / race.looks))

    return rule


@cache
def flips(count: int) -> Values:
    """Signs (flips, count): all of them, or 999 at random and the one that changes nothing."""
    if count <= 10:
        return np.array(list(product((1.0, -1.0), repeat=count)))
    signs = np.random.default_rng(count).choice((1.0, -1.0), (1000, count))
    signs[0] = 1.0
    return signs


def flipped(values: Values) -> Values:
    """p of the sign-flip permutation test that the values (rows, n) are not below 0 on average."""
    return np.asarray((values @ flips(values.shape[1]).T <= values.sum(1, keepdims=True) + 1e-9).mean(1))


def sign_flip(level: float) -> Rule:
    return lambda race: flipped(race.differences) < level / race.looks


def signed_ranks(differences: Values) -> Values:
    """p of Wilcoxon's test as Optuna calls it; exact for up to 10 pairs, where scipy takes 10 ms a test if some tie."""
    if differences.shape[1] <= 10:
        return flipped(stats.rankdata(np.abs(differences), axis=1) * np.sign(differences))
    return np.asarray(stats.wilcoxon(differences, alternative="less", zero_method="zsplit", axis=1).pvalue)


def wilcoxon(level: float) -> Rule:
    return lambda race: signed_ranks(race.differences) < level / race.looks


def optuna_pruner(race: Race) -> Flags:
    """Optuna's WilcoxonPruner: p < 0.1 at each look, and the mean so far below the incumbent's over all examples."""
    return np.asarray((signed_ranks(race.differences) < 0.1) & (race.candidate.mean(1) < race.incumbent.mean(1)))


def bernstein(level: float) -> Rule:
    """Empirical Bernstein bound. Source: Maurer and Pontil, arXiv:0907.3740, Theorem 4."""

    def rule(race: Race) -> Flags:
        log, found = np.log(2 * race.looks / level), race.differences
        radius = np.sqrt(2 * found.var(1, ddof=1) * log / race.count) + 7 * race.width * log / (3 * (race.count - 1))
        return np.asarray(found.mean(1) + radius < 0)

    return rule


def futility(least: float) -> Rule:
    """The shipped rule at other levels."""
    return lambda race: np.array([chance(row, race.total) < least for row in race.differences], dtype=bool)


def plain_futility(least: float) -> Rule:
    """Without pseudo-examples; equal differences drop nothing."""

    def rule(race: Race) -> Flags:
        deviation = race.differences.std(1, ddof=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = race.differences.mean(1) / deviation / np.sqrt(1 / race.count - 1 / race.total)
        return np.asarray((deviation > 1e-12) & (stats.t.cdf(t, race.count - 1) < least))

    return rule


SHIPPED = "futility 5 %"
HEADER = """\
# Racing: when to drop a candidate

A search races its candidates: it scores each one on more and more examples and drops it as soon as it can hardly win.
A candidate is compared with the incumbent, on the same examples with the same noise. The incumbent is the best
candidate so far that was scored on all examples. This page compares rules that decide when to drop a candidate.

## Results

- **The tool uses futility at 5 %.** It looks first at a sixteenth of the examples, at least 8, and each later look
  has twice as many. A race takes 49 % of the rows, drops the best in 0.7 % of the searches and adds 0.04 points of
  true regret. Among close candidates these numbers are 67 %, 0.8 % and 0.06 points.
- **Tests that take about as many rows drop the best more often.** These are the t test at 20 % (2 points fewer rows)
  and Optuna's pruner (2 points more). They drop the best two to three times as often.
- **Stricter tests save less.** Wilcoxon's test and the sign-flip test at 5 % drop few candidates on `few`, where most
  differences are 0. The empirical Bernstein bound never drops the best, but it saves hardly any rows.
- **Saved rows are worth more when they are spent on more examples.** On `chain random nelbo`, 512 examples with
  racing cost as many rows as 151 without. They leave a true regret of 0.7 %; 128 examples without racing leave 3.7 %.
  On `few random legal`, 256 examples with racing cost as many rows as 131 without. They leave 0.3 %; 128 without
  racing leave 0.7 %.
- **Racing pays from 128 examples on.** With 64 examples the first looks decide little. On `few`, three quarters of
  the rows are then still spent, and nine tenths among close candidates.
- **Another level of futility is not better.** At 1 % or 2 %, more rows are spent for hardly less regret. At 10 %, the
  best is dropped three times as often.
- **More looks are not better.** They make smaller batches and more writes. A look at every eighth of the examples
  saves 1 point of rows (close: 4) at the same error. 32 looks save 6 points (close: 9) and drop the best more than
  twice as often, much as a level of 10 % does.
- **Race on the objective, never on a dense score in its place.** A dense score, such as a likelihood, takes many
  values where the objective is 0 or 1. Here races of 0-or-1 objectives were decided by `nelbo` or `path_nll` of the
  same schedules (for order confidence: that of top-probability). Such a race takes more rows in every cell, because
  the remaining candidates are scored twice. It also drops the best more often, in up to 37 % of the searches on
  `rare`, because another score has another best schedule. If a search is tuned on the dense score alone, it takes up
  to 14 points of rows less (`text`: 1 more). The schedule that it returns is worse by up to 0.4 points on `few`, 2 on
  `text` and 20 on `rare`. Use a dense score only if the likelihood itself is your objective.

## How it was measured

Whole searches are simulated on scores that the real sampler made once. A cell holds 500 searches, the same ones for
every rule. In a search, up to 25 candidates in random order are raced against the current incumbent. *Close* means
that only the better half of the schedules compete, as late in a search.

Numbers are in per cent, with their standard errors over the searches, unless they are called points. 0 in 500
searches means below 0.7 % with 95 % confidence.

The columns:

- *rows*: the examples that were scored, relative to no racing. For one problem these are denoiser rows.
- *best dropped*: searches in which another candidate has a better mean on the tune examples than the returned one.
- *regret on the tune examples*: how much worse the returned candidate is than the best one, on the tune examples.
- *true regret*: how much worse the returned candidate is than the best one, on all examples of the problem, relative
  to the best candidate's value. For likelihoods, this value is counted from the entropy of the data.
- *added*: the true regret minus that of the same searches without racing.

The problems, with 4,096 examples and 15 to 60 distinct schedules each:

- `chain`: Markov chain, 2 symbols, flip 0.05, length 32, 8 steps.
- `few`: strings of eight with two or three a's, 4 steps. The score is 1 if the sample is such a string, else 0.
- `rare`: 128 random strings of 16 in 2 steps. The score is 1 if the sample is one of them, else 0. The middle
  schedule succeeds in 3 % of the samples.
- `text`: the bundled model, 8 steps. It has 256 examples and 24 schedules, so its true values are rough.

81 to 85 % of the paired differences of `few` and of `rare` are 0.

The rules:

- *t*, *Wilcoxon*, *sign flips*, *empirical Bernstein*: one-sided tests of the paired differences. Their level is
  divided by the number of looks.
- *as in Optuna*: `WilcoxonPruner` with its defaults, at the same looks.
- *futility*: drop a candidate if the predictive probability that it ends above the incumbent is below the level.

Futility adds pseudo-examples to the differences seen: one at plus and one at minus the largest difference. They save
no rows; without them, 2 % does what 5 % does with them. They have two purposes. The level of 5 % for each look then
holds also for 8 differences that are normal or 0 or 1, and equal differences need no rule of their own. The level
does not hold where large wins are rare: if differences are exponential, up to 10 % of the candidates that are as good
as the incumbent are dropped at the first look.

`python scripts/racing_rules.py --work build/racing --output docs/racing.md` makes this page. On one core the scores
take about ten minutes and the searches four.

"""
RULES: dict[str, Rule] = {
    "no racing": keep,
    "paired t, 5 % in all": paired_t(0.05),
    "paired t, 20 % in all": paired_t(0.2),
    "Wilcoxon, 5 % in all": wilcoxon(0.05),
    "Wilcoxon as in Optuna": optuna_pruner,
    "sign flips, 5 % in all": sign_flip(0.05),
    "sign flips, 20 % in all": sign_flip(0.2),
    "empirical Bernstein, 5 % in all": bernstein(0.05),
    "futility 2 %, no pseudo-examples": plain_futility(0.02),
    **{f"futility {100 * least:.0f} %": futility(least) for least in (0.01, 0.02, 0.05, 0.1)},
}


@dataclass(frozen=True)
class Searches:
    """Simulated searches in one cell: order (searches, trials) of schedules, examples (searches, size) to tune on."""

    order: NDArray[np.int64]
    examples: NDArray[np.int64]

    @classmethod
    def draw(cls, values: Values, size: int, close: bool) -> Searches:
        """The same for every rule. close: only the better half of the schedules compete, as late in a search."""
        rng = np.random.default_rng([size, close])
        ranked = np.argsort(-values.mean(1))
        pool = ranked[: len(ranked) // 2] if close else ranked
        trials = min(TRIALS, len(pool) * 2 // 3)  # fewer than there are, so that the best is not always the same
        order = [rng.permutation(pool)[:trials] for _ in range(SEARCHES)]
        examples = [rng.permutation(values.shape[1])[:size] for _ in range(SEARCHES)]
        return cls(np.array(order), np.array(examples))

    def pick(self, values: Values) -> Values:
        """(searches, trials, size)."""
        return values[self.order[:, :, None], self.examples[:, None, :]]


@dataclass(frozen=True)
class Outcome:
    """One number a search. spent: examples scored, relative to no racing; lost: a better one had been dropped.

    regret: of the winner on the tune examples; true: on all examples; both relative to the best of the candidates.
    """

    spent: Values
    lost: Flags
    regret: Values
    true: Values

    @classmethod
    def join(cls, outcomes: list[Outcome]) -> Outcome:
        return cls(**{name: np.concatenate([getattr(o, name) for o in outcomes]) for name in cls.__annotations__})


def race(
    found: Values, guide: Values, rule: Rule, at: tuple[int, ...], width: float
) -> tuple[NDArray[np.int64], Values]:
    """The winner of each search by its place, and the examples scored, when races are decided on ``guide``.

    found and guide (searches, trials, size); where they are not the same array, both cost examples.
    """
    searches, trials, size = found.shape
    apart = guide is not found
    every, full = np.arange(searches), found.mean(2)
    best = np.zeros(searches, dtype=np.int64)
    spent = np.full(searches, float(size * (1 + apart)))
    for trial in range(1, trials):
        running, seen = np.ones(searches, dtype=bool), 0
        for count in at:
            spent[running] += count - seen
            seen = count
            rows = np.flatnonzero(running)
            if count < size and len(rows):
                now = Race(
                    candidate=guide[rows, trial, :count],
                    incumbent=guide[rows, best[rows]],
                    looks=len(at) - 1,
                    width=width,
                )
                running[rows[rule(now)]] = False
        spent[running] += size * apart
        better = running & (full[:, trial] > full[every, best])
        best[better] = trial
    return best, spent / (trials * size)


def simulate(
    values: Values,
    size: int,
    close: bool,
    rule: Rule,
    at: tuple[int, ...] | None = None,
    guide: Values | None = None,
    judge: Values | None = None,
) -> Outcome:
    """Searches on values (schedules, examples). guide: decides races; judge: gives the true worth; values if None."""
    judge = values if judge is None else judge
    drawn = Searches.draw(judge, size, close)
    found = drawn.pick(values)
    steering = values if guide is None else guide
    reference = steering[steering.mean(1).argmax()]
    width = float(np.ptp(steering - reference, axis=1).max())
    best, spent = race(found, found if guide is None else drawn.pick(guide), rule, at or look_sizes(size), width)
    every, full, truth = np.arange(SEARCHES), found.mean(2), judge.mean(1)[drawn.order]
    top = full.max(1)
    missed = top - full[every, best]
    return Outcome(
        spent=spent,
        lost=missed > 1e-12,
        regret=missed / np.abs(truth.max(1)),
        true=(truth.max(1) - truth[every, best]) / np.abs(truth.max(1)),
    )


LOOKS: dict[str, Callable[[int], tuple[int, ...]]] = {
    "doubling, as shipped": look_sizes,
    "doubling from 8 on": lambda size: (*(8 * 2**i for i in range(6) if 8 * 2**i < size), size),
    "doubling from a quarter on": lambda size: (size // 4, size // 2, size),
    "every eighth": lambda size: tuple(range(size // 8, size + 1, size // 8)),
    "every 32nd": lambda size: tuple(range(size // 32, size + 1, size // 32)),
}
Key = tuple[str, int, bool, str]  # problem, tune examples, close, rule


@dataclass(frozen=True)
class Bench:
    """Everything that is simulated, by what was simulated."""

    values: dict[str, Values]
    guides: dict[str, Values]

    def sizes(self, problem: str) -> tuple[int, ...]:
        """Tune examples, at most half of those there are."""
        return tuple(size for size in SIZES if 2 * size <= self.values[problem].shape[1])

    def rules(self) -> dict[Key, Outcome]:
        found = {}
        for problem, values in self.values.items():
            for size, close, (name, rule) in product(self.sizes(problem), (False, True), RULES.items()):
                found[problem, size, close, name] = simulate(values, size, close, rule)
            print(f"{problem}: done", file=sys.stderr)
        return found


def mean(values: Values | Flags) -> str:
    """In per cent with its standard error over the searches."""
    return f"{100 * values.mean():.1f} ± {100 * values.std() / np.sqrt(len(values)):.1f}"


def extra(outcome: Outcome, without: Outcome) -> str:
    """True regret above that without racing, of the same searches, in percentage points, and its standard error."""
    more = 100 * (outcome.true - without.true)
    return f"{more.mean():+.2f} ± {more.std() / np.sqrt(len(more)):.2f}"


def markdown(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ("---",) * len(head), *lines)) + "\n"


def rule_table(found: dict[Key, Outcome]) -> str:
    """One line a rule, over all problems and sizes."""

    def joined(rule: str, close: bool) -> Outcome:
        return Outcome.join([o for (_, _, c, name), o in found.items() if (c, name) == (close, rule)])

    lines = []
    for rule in RULES:
        cells = []
        for close in (False, True):
            outcome, without = joined(rule, close), joined("no racing", close)
            cells += [mean(outcome.spent), mean(outcome.lost), mean(outcome.regret), extra(outcome, without)]
        lines.append((rule, *cells))
    head = ("rows", "best dropped", "regret on the tune examples", "added true regret, points")
    return markdown(("rule", *head, *(f"{name}, close" for name in head)), lines)


def problem_table(found: dict[Key, Outcome]) -> str:
    """One line a rule, per problem the rows and how often the best was dropped, over sizes and both candidate lists."""
    lines = []
    for rule in RULES:
        joined = [Outcome.join([o for (p, _, _, r), o in found.items() if (p, r) == (name, rule)]) for name in PROBLEMS]
        lines.append(
            (rule, *(f"{100 * outcome.spent.mean():.0f}, {100 * outcome.lost.mean():.1f}" for outcome in joined))
        )
    return markdown(("rule", *PROBLEMS), lines)


def size_table(found: dict[Key, Outcome], bench: Bench) -> str:
    """The shipped rule, one line a problem and size."""
    lines = []
    for problem in PROBLEMS:
        for size in bench.sizes(problem):
            cells = []
            for close in (False, True):
                outcome, without = (found[problem, size, close, rule] for rule in (SHIPPED, "no racing"))
                cells += [mean(outcome.spent), mean(outcome.lost), mean(without.true), extra(outcome, without)]
            lines.append((problem, str(size), *cells))
    head = ("rows", "best dropped", "true regret without racing", "added by racing, points")
    return markdown(("problem", "tune examples", *head, *(f"{name}, close" for name in head)), lines)


def looks_table(bench: Bench) -> str:
    """The shipped rule at other looks, over all problems at 256 tune examples, text at 128."""
    lines = []
    for name, at in LOOKS.items():
        cells = []
        for close in (False, True):
            outcomes = []
            for problem, values in bench.values.items():
                size = min(256, bench.sizes(problem)[-1])
                outcomes.append(simulate(values, size, close, RULES[SHIPPED], at(size)))
            joined = Outcome.join(outcomes)
            cells += [mean(joined.spent), mean(joined.lost), mean(joined.true)]
        lines.append((name, str(len(at(256))), *cells))
    head = ("rows", "best dropped", "true regret")
    return markdown(("looks", "number", *head, *(f"{name}, close" for name in head)), lines)


def guide_table(found: dict[Key, Outcome], bench: Bench) -> str:
    """Racing on the objective, racing on a dense score, and tuning on the dense score."""
    lines = []
    for problem, guide in bench.guides.items():
        values = bench.values[problem]
        for size in bench.sizes(problem):
            own = found[problem, size, False, SHIPPED]
            guided = simulate(values, size, False, RULES[SHIPPED], guide=guide)
            dense = simulate(guide, size, False, RULES[SHIPPED], judge=values)
            cells = [(mean(o.spent), mean(o.lost), mean(o.true)) for o in (own, guided)]
            lines.append((problem, str(size), *cells[0], *cells[1], mean(dense.spent), mean(dense.true)))
    head = ("rows", "best dropped", "true regret")
    parts = (*(f"objective: {name}" for name in head), *(f"dense race: {name}" for name in head))
    return markdown(("problem", "tune examples", *parts, "dense only: rows", "dense only: true regret"), lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for the scores, made once")
    parser.add_argument("--output", type=Path, required=True, help="write the tables here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(
        {name: scores(problem, options.work / f"{name}.npz") for name, problem in PROBLEMS.items()},
        {name: scores(problem, options.work / f"{name}, dense.npz") for name, problem in GUIDES.items()},
    )
    found = bench.rules()
    options.output.write_text(
        HEADER
        + f"## Rules\n\nOver all problems and sizes:\n\n{rule_table(found)}\n"
        + f"Rows and best dropped by problem, over sizes and both lists:\n\n{problem_table(found)}\n"
        + f"## The shipped rule\n\n{size_table(found, bench)}\n"
        + f"## Looks\n\nOver all problems at 256 tune examples, text at 128:\n\n{looks_table(bench)}\n"
        + f"## Racing on a dense score\n\n{guide_table(found, bench)}",
        "utf-8",
    )


if __name__ == "__main__":
    main()
