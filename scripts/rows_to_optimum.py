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
from mdm_tune.evaluation import Evaluator
from mdm_tune.profile.family import Pricer
from mdm_tune.profile.measuring import measure
from mdm_tune.schedules import Beta
from mdm_tune.search.confirmation import Trial
from mdm_tune.search.ledger import Ledger
from mdm_tune.search.proposals import Guide
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
    found = measure(
        evaluator.denoiser,
        split.start,
        split.originals,
        split.seeds,
        examples=min(examples, len(split.ids)),
        points=POINTS,
        batch=evaluator.sampler.section.batch,
    )
    pricer = Pricer(curve=found.monotone, block_length=found.length, bernoulli=False, rule="one-per-step")
    return pricer.near_best(problem.steps, BOX, BOX, NEAR), len(found.revealed) * len(found.values)


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
    return tune(evaluator, problem.steps, settings, ledger, guide=Guide(tuple(points)), seed=seed).trials


def incumbents(problem: Problem, evaluator: Evaluator, trials: Sequence[Trial], spent: int) -> Path_:
    sign = 1 if evaluator.metric.direction == "maximize" else -1
    best, regret, found = -math.inf, math.inf, []
    for trial in trials:
        spent += trial.cost.denoiser_rows
        if not trial.dropped and sign * trial.value > best:
            best, regret = sign * trial.value, problem.regret(evaluator.setting(trial.schedule, problem.steps))
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

How many denoiser rows it takes to come within 5 % and 1 % of the best, by strategy, with and without racing and a start
from the information profile. {seeds} seeds, each with its own tune examples, on which all ways meet; medians over the
seeds. A trial is judged by what its schedule is truly worth. A target counts as reached from the trial on after which
the incumbent, the best fully scored trial by its own noisy value, stays within it; "-": fewer than half of the seeds
ended there. Regret at the end: of what the search would return, relative to the best Beta, median and worst seed.

- *paper's grid*: the 100 points a, b in {{0.1, .., 1.0}}, distinct count vectors scored once. The others: 25 trials,
  linear first, then squared-sine. *raced*: candidates are dropped early. *warm*: four schedules of a profile
  of {profiled} examples, or of all if fewer, follow, and its rows are counted, as are those of *profile alone*.
  (`mdm-tune search` for `nelbo` measures it on up to 512, 16,384 rows here: see "Where the worst seeds come from" in
  [search.md](search.md).) Four candidates at a time, but for *one at a time*. *a tenth*: the search ends
  where it has spent a tenth of the rows that the paper's grid spends on the same examples, the profile's included;
  linear is always scored. Rows are calls x examples: of the rows of a small law many are alike and would be
  computed once.
- `few`: is the sample a string of 32 with ten or eleven a's (0 or 1)? 8 steps; the truth is a small sum.
  `chain`: Markov chain, 2 symbols, flip 0.05, length 32, 8 steps.
  Random order: the NELBO along sampled paths, judged by the exact KL averaged over orders. Confidence: path_nll at
  temperature 0, judged on 4,096 unseen examples as nats above the entropy. {examples} tune examples a seed.
- `text`: the bundled model at 4 steps (products in bfloat16), 48 tune examples a seed, replayed: a proposal stands for
  the nearest point of a lattice of 12 x 12 schedules or of the paper's grid, each of which was drawn for all
  examples, so that the exhaustive best is known. It is judged on 256 unseen examples; likelihoods by the nats above one
  token a step. The standard error of a paired difference in spelling there is 1 to 2 % of the score.

Made by `python scripts/rows_to_optimum.py --work build/rows --output docs/rows.md`.

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
    lines = ["Regret at the end, median (worst seed), and rows:", ""]
    lines += [f"| problem | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for problem, record in records.items():
        runs = record["runs"]
        cells = [f"{ends(runs[name])}, {median(path[-1][0] for path in runs[name]):,.0f}" for name in names]  # type: ignore[index]
        lines.append(f"| {problem} | {' | '.join(cells)} |")
    return [*lines, ""]


def ranks(records: dict[str, dict[str, object]]) -> list[str]:
    """Over all problems: the median of rows to 5 % relative to the grid's, and the mean regret at the end."""
    lines = [
        "Over all problems: regret at the end, mean over problems of the median and of the worst seed; rows, geometric "
        "mean of their ratio to the paper's grid:",
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
