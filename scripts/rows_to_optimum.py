"""Denoiser rows to within 5 % and 1 % of the exhaustive best: strategies, racing, warm starts, batches, automatic stop.

    python scripts/rows_to_optimum.py --work build/rows                         # every problem, one after another
    python scripts/rows_to_optimum.py --work build/rows --problem few-random    # one of them
    python scripts/rows_to_optimum.py --work build/rows --output docs/rows.md   # those that lack, then the page

Every seed has its own tune examples, on which all strategies meet. A trial is judged by what its schedule is truly
worth: by enumeration, or on many unseen examples. A target counts as reached from the trial on after which the
incumbent, the best fully scored trial by its own noisy value, stays within it. The rows of a profile are counted, and
measured by denoiser calls on the tune examples.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import optuna
from problems import BOX, EXAMPLES, SEEDS, Problem, Values, problems

from mdm_tune.config.file import SearchConfig
from mdm_tune.core.types import sign_of
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.run.measuring import measure_profile
from mdm_tune.schedules.curves import Beta
from mdm_tune.schedules.family import Pricer
from mdm_tune.search.finalists import Trial
from mdm_tune.search.ledger import Ledger
from mdm_tune.search.proposals import BetaSpace
from mdm_tune.search.space import Guide
from mdm_tune.search.tuning import tune

TRIALS, POINTS, NEAR = 25, 32, 4
PROFILED = 128  # examples of a profile
TARGETS = (0.05, 0.01)
Path_ = list[tuple[int, float]]  # rows spent so far and true regret of the incumbent, one entry a trial


@dataclass(frozen=True)
class Way:
    """One way to search. warm: start from the profile. share: of the grid's rows that it may spend; None: 25 trials."""

    name: str
    strategy: str = "gp"
    racing: bool = True
    warm: bool = False
    together: int = 4
    auto_stop: bool = False
    share: float | None = None


WAYS = (
    Way("paper's grid", "grid", racing=False),
    Way("grid, raced", "grid"),
    *(
        Way(name=f"{strategy}{', raced' * racing}{', warm' * warm}", strategy=strategy, racing=racing, warm=warm)
        for strategy in ("gp", "tpe", "qmc")
        for racing in (False, True)
        for warm in (False, True)
    ),
    Way("gp, raced, one at a time", together=1),
    Way("gp, raced, auto stop", auto_stop=True),
    Way("gp, raced, a tenth of the grid's rows", share=0.1),
    Way("gp, raced, warm, a tenth of the grid's rows", warm=True, share=0.1),
)
PROFILE = "profile alone"


def run(problem: Problem, seed: int) -> Iterator[tuple[str, Path_]]:
    """Every way's incumbents on one seed's examples."""
    known: dict[tuple[Any, int, int], Values] = {}  # what one way has drawn, the next is answered at no time

    def evaluator() -> Evaluator:
        return replace(problem.evaluator(seed), known=known)

    points, spent = profile(problem, evaluator())
    yield PROFILE, [(spent, problem.regret(evaluator().setting(points[0], problem.steps)))]
    whole = 0
    for way in WAYS:
        before = spent if way.warm else 0
        rows = None if way.share is None else max(1, round(way.share * whole) - before)  # linear is always scored
        trials = search(problem, evaluator(), seed, way, points if way.warm else (), rows)
        path = incumbents(problem, evaluator(), trials, before)
        whole = whole or path[-1][0]  # the first way is the grid
        yield way.name, path


def profile(problem: Problem, evaluator: Evaluator, examples: int = PROFILED) -> tuple[list[Beta], int]:
    """The best schedules on a profile measured on so many tune examples, or on all if fewer, and its rows."""
    split = evaluator.split("tune")
    found = measure_profile(
        evaluator.denoiser,
        split.start,
        split.originals,
        split.seeds,
        examples=min(examples, len(split.ids)),
        points=POINTS,
        batch=evaluator.sampler.section.batch,
    )
    pricer = Pricer(curve=found.monotone, block_length=found.length, bernoulli=False, rule="one-per-step")
    return pricer.near_best(problem.steps, {"a": BOX, "b": BOX}, NEAR), len(found.revealed) * len(found.values)


def search(
    problem: Problem, evaluator: Evaluator, seed: int, way: Way, points: Sequence[Beta], rows: int | None
) -> Sequence[Trial]:
    """The finished trials of one search from nothing."""
    settings = SearchConfig(
        strategy=way.strategy,  # type: ignore[arg-type]
        trials=100 if way.strategy == "grid" else TRIALS if rows is None else 2 * TRIALS,
        finalists=1,
        baselines=("linear",),
        racing=way.racing,
        together=way.together,
        auto_stop=way.auto_stop,
        rows=rows,
    )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ledger = Ledger(optuna.storages.InMemoryStorage(), "trials", evaluator.metric.direction)
    return tune(evaluator, BetaSpace(settings, problem.steps, seed), ledger, guide=Guide(tuple(points))).trials


def incumbents(problem: Problem, evaluator: Evaluator, trials: Sequence[Trial], spent: int) -> Path_:
    sign = sign_of(evaluator.metric.direction)
    best, regret, found = -math.inf, math.inf, []
    for trial in trials:
        spent += trial.cost.denoiser_rows
        if not trial.dropped and sign * trial.value > best:
            best, regret = sign * trial.value, problem.regret(evaluator.setting(trial.policy, problem.steps))
        found.append((spent, regret))
    return found


def reached(path: Path_, target: float) -> int | None:
    """Rows from which on the incumbent stays within the target; None where it does not end there."""
    rows = None
    for spent, regret in reversed(path):
        if regret > target + 1e-12:
            break
        rows = spent
    return rows


HEADER = """\
# Denoiser rows to the optimum

How many denoiser rows does a search need to come within 5 % or 1 % of the best schedule? This page compares search
strategies on eight problems. Each is run with and without racing, and with and without a start from the information
profile.

## Results

- **`gp` with racing, the default, needs few rows.** Over all problems it ends 1.58 % above the best with 11.6 % of
  the rows of the paper's grid. The grid itself ends 1.52 % above the best.
- **Racing halves the rows.** Without racing, `gp` ends at 1.55 % with 22.7 % of the rows.
- **`tpe` and `qmc` are worse.** With racing they end at 4.95 % and 4.56 %.
- **The profile alone is cheap, but it does not fit every order.** It takes 3.1 % of the rows and ends at 6.34 %. On
  exact laws in random order it ends within 0.9 % of the best in the median (worst seed: 18.3 %); on
  `text-margin-path_nll` it ends at 32.0 %.

## How it was measured

Each of {seeds} seeds has its own tune examples, and every way to search uses the same ones. Numbers are medians over
the seeds. A trial is judged by the true value of its schedule.

A target counts as reached at the first trial after which the incumbent stays within it. The incumbent is the best
fully scored trial by its own noisy value. The number of seeds that reached the target is in brackets; "-" means fewer
than half of the seeds. *Regret at the end* is the regret of the schedule that the search would return, relative to
the best Beta: the median and, in brackets, the worst seed.

The ways to search:

- *paper's grid*: the 100 points a, b in {{0.1, .., 1.0}}; distinct count vectors are scored once.
- *gp*, *tpe*, *qmc*: 25 trials. The first is linear, the second squared-sine. Four candidates are proposed at a time,
  except with *one at a time*.
- *raced*: candidates are dropped early ([racing.md](racing.md)).
- *warm*: after the first two trials come four schedules that were chosen on a profile of {profiled} examples, or of
  all if there are fewer. The rows of the profile are counted. (`mdm-tune search` for `nelbo` measures it on up to 512
  examples, which are 16,384 rows here: see "Where the worst seeds come from" in [search.md](search.md).)
- *profile alone*: the best schedule on that profile, without a search. The rows of the profile are counted.
- *a tenth*: the search ends when it has spent a tenth of the rows that the paper's grid spends on the same examples.
  The rows of the profile count as spent. Linear is always scored.
- *auto stop*: with `search.auto_stop`.

Rows are calls times examples. Many rows of a small law are alike; a real search would compute them once.

The problems:

- `few`: is the sample a string of 32 with ten or eleven a's (0 or 1)? 8 steps, {examples} tune examples for each
  seed. The truth is a small sum.
- `chain`: Markov chain, 2 symbols, flip 0.05, length 32, 8 steps, {examples} tune examples for each seed. In random
  order the objective is the NELBO along sampled paths, and the truth is the exact KL averaged over orders. In order
  of confidence the objective is path_nll at temperature 0, and the truth is measured on 4,096 unseen examples, in
  nats above the entropy.
- `text`: the bundled model at 4 steps, with matrix products in bfloat16 and 48 tune examples for each seed. Searches
  are replayed: a proposal is replaced by the nearest point of a lattice of 12 x 12 schedules, or of the paper's grid.
  Samples of all examples were drawn at each of these points, so the best of all points is known. The truth is
  measured on 256 unseen examples; for likelihoods, in nats above those of one token a step. The standard error of a
  paired difference in spelling is 1 to 2 % of the score.

`python scripts/rows_to_optimum.py --work build/rows --output docs/rows.md` makes this page.

"""


def medians(paths: Sequence[Path_], target: float) -> str:
    """The median of the rows to a target over all seeds, those that never got there counted as infinite."""
    rows = sorted(math.inf if (found := reached(path, target)) is None else found for path in paths)
    middle = median(rows)
    ended = sum(math.isfinite(each) for each in rows)
    return f"{middle:,.0f} ({ended})" if math.isfinite(middle) else f"- ({ended})"


def ends(paths: Sequence[Path_]) -> str:
    """Regret of what is returned, median and worst seed."""
    regrets = [path[-1][1] for path in paths]
    return f"{median(regrets):.1%} ({max(regrets):.1%})"


def page(records: dict[str, dict[str, object]]) -> str:
    """Markdown: one table a problem, one line a way."""
    lines = [HEADER.format(seeds=len(SEEDS), examples=EXAMPLES, profiled=PROFILED), *tenths(records), *ranks(records)]
    for name, record in records.items():
        lines += [
            f"## {name}",
            "",
            f"Judged by {record['judged']}.",
            "",
            "| way | rows to 5 % (seeds) | rows to 1 % (seeds) | regret at the end (worst) | rows | trials |",
            "|---|---|---|---|---|---|",
        ]
        for way, paths in record["runs"].items():  # type: ignore[attr-defined]
            cells = [medians(paths, target) for target in TARGETS]
            rows, trials = median(path[-1][0] for path in paths), median(len(path) for path in paths)
            lines.append(f"| {way} | {' | '.join(cells)} | {ends(paths)} | {rows:,.0f} | {trials:,.0f} |")
        lines.append("")
    return "\n".join(lines)


def tenths(records: dict[str, dict[str, object]]) -> list[str]:
    """The table of searches with a tenth of the grid's rows."""
    names = ["paper's grid", *(way.name for way in WAYS if way.share is not None), PROFILE]
    lines = [
        "## With a tenth of the grid's rows",
        "",
        "The regret at the end, as the median and (the worst seed), then the rows:",
        "",
    ]
    lines += [f"| problem | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for problem, record in records.items():
        runs = record["runs"]
        cells = [f"{ends(runs[name])}, {median(path[-1][0] for path in runs[name]):,.0f}" for name in names]  # type: ignore[index]
        lines.append(f"| {problem} | {' | '.join(cells)} |")
    return [*lines, ""]


def ranks(records: dict[str, dict[str, object]]) -> list[str]:
    """Over all problems: the median of rows to 5 % relative to the grid's, and the mean regret at the end."""
    lines = [
        "## All problems together",
        "",
        "*regret* and *worst*: the regret at the end of the median and of the worst seed, as means over the problems. "
        "*rows / grid's*: the rows relative to the paper's grid, as a geometric mean over the problems.",
        "",
        "| way | regret | worst | rows / grid's |",
        "|---|---|---|---|",
    ]
    for name in [*(way.name for way in WAYS), PROFILE]:
        middle, worst, ratio = [], [], []
        for record in records.values():
            paths, grid = record["runs"][name], record["runs"]["paper's grid"]  # type: ignore[index]
            middle.append(median(path[-1][1] for path in paths))
            worst.append(max(path[-1][1] for path in paths))
            ratio.append(math.log(median(path[-1][0] for path in paths) / median(path[-1][0] for path in grid)))
        count = len(middle)
        lines.append(
            f"| {name} | {sum(middle) / count:.2%} | {sum(worst) / count:.2%} | {math.exp(sum(ratio) / count):.1%} |"
        )
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for one JSON file a problem")
    known = problems(Path())
    parser.add_argument("--problem", action="append", choices=sorted(known), help="repeatable; without it all of them")
    parser.add_argument("--output", type=Path, help="write the page here")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for name in options.problem or known:
        file = options.work / f"{name}.json"
        if file.is_file():
            continue
        problem = problems(options.work)[name]()
        runs: dict[str, list[Path_]] = {}
        for seed in SEEDS:
            for way, path in run(problem, seed):
                runs.setdefault(way, []).append(path)
            print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
        file.write_text(json.dumps({"judged": problem.judged, "runs": runs}), "utf-8")
    if options.output is not None:
        files = [(name, options.work / f"{name}.json") for name in known]
        options.output.write_text(page({name: json.loads(f.read_text("utf-8")) for name, f in files}), "utf-8")


if __name__ == "__main__":
    main()
