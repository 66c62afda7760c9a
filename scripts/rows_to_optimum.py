"""Denoiser rows to within 5 % and 1 % of the exhaustive best: the paper's grid, Optuna, warm starts, the profile alone.

    python scripts/rows_to_optimum.py --work build/rows --problem chain-random    # one problem, resumable by problem
    python scripts/rows_to_optimum.py --work build/rows --output docs/rows.md     # the table of those that are done

Every seed has its own tune examples, on which all strategies meet. A trial is judged by what its schedule is truly
worth: exactly, or on many unseen examples. A target counts as reached from the trial on after which the incumbent, the
best trial by its own noisy value, stays within it. The rows of a profile or of a path_nll study are counted, and
measured by denoiser calls on the tune examples.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.confirmation import Trial
from mdm_tune.datasets import Dataset, Split, Use, bundled, law_dataset, text_dataset
from mdm_tune.denoisers.analytic import MarkovChain, Table
from mdm_tune.denoisers.law import Law
from mdm_tune.denoisers.transformer import load_transformer
from mdm_tune.evaluation import Evaluator, Sampler, Setting
from mdm_tune.exact import Enumeration, target_distribution
from mdm_tune.family import Pricer
from mdm_tune.measuring import measure
from mdm_tune.metrics import PathLikelihood, SampleMetric, Spelling
from mdm_tune.pricing import count_weights
from mdm_tune.profile import Profile
from mdm_tune.sampling import Unmasked
from mdm_tune.schedules import Beta
from mdm_tune.search import Guide, SearchSettings, finished_trials, journal, search_budget
from mdm_tune.seeding import derive_seed

SEEDS = range(5)
BOX = (0.1, 10.0)
TRIALS, POINTS, NEAR = 25, 32, 4
PATH_TRIALS, PATH_EXAMPLES = 12, 32
TARGETS = (0.05, 0.01)
TEXT = "package:text"
STARTED = ("Optuna, started from the profile", "Optuna, started from path_nll")


HEADER = """\
# Denoiser rows to the optimum

How many denoiser rows it takes to come within 5 % and 1 % of the exhaustive best. Five seeds, each with its own
tune examples, on which all strategies meet; medians over the seeds that got there. A trial is judged by what
its schedule is truly worth: exactly, or on unseen examples. A target counts as reached from the trial on after
which the incumbent, the best trial by its own noisy value, stays within it. "-": no seed ended there. Regret at
the end: of what the strategy would return, relative to the exhaustive best (the best Beta of a fine search
where values are exact, else the best point of the paper's grid or of any strategy).

- *paper's grid*: the 100 points a, b in {0.1, .., 1.0} in random order, distinct count vectors scored once.
- *Optuna*: `gp`, 25 trials, the first two linear and squared-sine. *Started from the profile*: four more points
  enqueued.
- *profile alone*: the best Beta on the profile, which is measured by denoiser calls on the tune examples, also
  where the law is known. *path_nll*: a study of 12 trials on 32 examples, whose best point is enqueued; where
  the order has no path_nll it is that of `top-probability`.
- `chain`: Markov chain, 2 symbols, flip 0.05, length 32, 8 steps, 128 tune examples; objective `nelbo` in
  random order, for order `confidence` (temperature 0) `path_nll`. `chain4`: 4 symbols, flip 0.2, length 64, 8
  steps. `few`: strings of eight with two or three a's, 4 steps, 256 tune examples, objective 0 or 1: is the
  sample legal? `text`: the bundled model, 8 steps, 64 tune examples, objective `spelling` or `nelbo`.

Text is judged on 512 unseen examples: the standard error of a paired difference in spelling is about 1 % of the score
in order of confidence and 1.7 % in random order, so that the rows to 1 % say little there.

Made by `python scripts/rows_to_optimum.py --work build/rows --problem ... --output docs/rows.md`. The text
problems take about an hour each on one core.

"""


@dataclass(frozen=True)
class Problem:
    """One thing to tune. evaluator: of a seed, with its tune examples. truth: of settings, smaller regret is better."""

    steps: int
    evaluator: Callable[[int], Evaluator]
    regret: Callable[[Setting], float]
    judged: str
    path: bool = False  # whether a path_nll study is tried as a warm start


@dataclass(frozen=True)
class Legal:
    """1 where the drawn sequence has positive probability, else 0."""

    law: Table
    name: str = "legal"
    label: str = "share of legal samples"
    direction: Any = "maximize"
    reference: bool = False

    def values(self, result: Unmasked) -> NDArray[np.float64]:
        return torch.isfinite(self.law.log_prob(result.tokens)).double().numpy()

    def diversity(self, tokens: Tensor) -> dict[str, NDArray[np.float64]]:
        return {}

    def ceiling(self, split: Split) -> None:
        return None


def law_evaluator(law: Law, sampler: Sampler, metric: SampleMetric, tune: int) -> Callable[[int], Evaluator]:
    sizes: dict[Use, int] = {"tune": tune, "choose": 8, "report": 8}
    return lambda seed: Evaluator(law, law.length, sampler, metric, law_dataset(law, sizes, 1000 + seed))


def chain(symbols: int, flip: float, length: int, steps: int, order: Any) -> Problem:
    """The likelihood of a Markov chain; KL judged exactly in random order, else on 4,096 unseen examples."""
    law = MarkovChain.sticky(symbols, flip, length)
    if order == "random":
        sampler = Sampler("random", False, 1.0, "one-per-step", 4096)
        pricer = Pricer(law.profile(), length, False, "one-per-step")
        best = pricer.best_beta(steps, BOX, BOX)
        least = float(pricer.betas(np.array([[best.a, best.b]]), steps)[0]) - law.entropy()

        def regret(setting: Setting) -> float:
            return (float(count_weights(setting.counts or (), length) @ pricer.curve) - law.entropy()) / least - 1

        make = law_evaluator(law, sampler, PathLikelihood("nelbo", order), 128)
        return Problem(steps, make, regret, "KL, exactly")
    sampler = Sampler(order, False, 0.0, "one-per-step", 4096)
    metric = PathLikelihood("path_nll", order)
    unseen = law_dataset(law, {"report": 4096, "tune": 8, "choose": 8}, 99)
    judge = Evaluator(law, length, sampler, metric, unseen)
    entropy = float(-law.log_prob(unseen.splits["report"].originals).mean())  # on the same examples
    value = lambda setting: judge.score(setting, "report").estimate.value - entropy  # noqa: E731
    return Problem(
        steps, law_evaluator(law, sampler, metric, 128), against_pool(judge, steps, value, -1), "KL, 4,096 examples"
    )


def few(order: Any) -> Problem:
    """Strings of eight with two or three a's: the share of legal samples, judged exactly."""
    names = [f"{n:08b}".replace("1", "a").replace("0", "b") for n in range(256)]
    law = Table(tuple(name for name in names if name.count("a") in (2, 3)), (1.0,) * 84)
    sampler = Sampler(order, False, 1.0, "one-per-step", 4096)
    enumeration, legal = Enumeration(law, 8, temperature=1.0, order=order), target_distribution(law) > 0
    make = law_evaluator(law, sampler, Legal(law), 256)
    share = lambda setting: float(enumeration.fixed(setting.counts or ())[legal].sum())  # noqa: E731
    return Problem(4, make, against_pool(make(0), 4, share, 1), "legal share, exactly", order != "random")


def text(order: Any, metric: str) -> Problem:
    """The bundled text model at 8 steps on 64 tune examples a seed, judged on 512 unseen ones."""
    model = load_transformer(bundled(TEXT))
    sampler = Sampler(order, False, 1.0, "one-per-step", 64)
    sizes: dict[Use, int] = {"tune": 64 * len(SEEDS), "choose": 8, "report": 512}
    data = text_dataset(bundled(TEXT), model.symbols, model.length, sizes, 0)
    scored: SampleMetric = Spelling(data) if metric == "spelling" else PathLikelihood("nelbo", order)

    def make(seed: int) -> Evaluator:
        whole = data.splits["tune"]
        rows = slice(64 * seed, 64 * (seed + 1))
        noise = np.array([derive_seed(seed, "noise", name) for name in whole.ids[rows]], dtype=np.uint64)
        tune = Split("tune", whole.ids[rows], whole.originals[rows], whole.start[rows], noise)
        return Evaluator(model, model.length, sampler, scored, Dataset({**data.splits, "tune": tune}, data.symbols))

    judge = Evaluator(model, model.length, sampler, scored, data)
    if metric == "nelbo":
        report = judge.split("report")
        whole = measure(model, report.start, report.originals, report.seeds, examples=512, points=64, batch=64)
        floor = float(whole.curve.sum())
        value = lambda setting: float(whole.curve @ count_weights(setting.counts or (), 64)) - floor  # noqa: E731
        judged = "NELBO above one token per step, 512 examples"
        return Problem(8, make, against_pool(judge, 8, value, -1), judged)
    value = lambda setting: judge.score(setting, "report").estimate.value  # noqa: E731
    return Problem(8, make, against_pool(judge, 8, value, 1), "spelling, 512 examples", order != "random")


def against_pool(
    judge: Evaluator, steps: int, value: Callable[[Setting], float], sign: int
) -> Callable[[Setting], float]:
    """Regret relative to the best schedule of the paper's grid; below 0 where something better was found."""
    pool = {s.key: s for a in range(1, 11) for b in range(1, 11) for s in [judge.setting(Beta(a / 10, b / 10), steps)]}
    known = {key: value(setting) for key, setting in pool.items()}
    best = max(known.values()) if sign > 0 else min(known.values())

    def regret(setting: Setting) -> float:
        found = known.setdefault(setting.key, value(setting))
        return sign * (best - found) / abs(best)

    return regret


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "chain-random": lambda: chain(2, 0.05, 32, 8, "random"),
    "chain4-random": lambda: chain(4, 0.2, 64, 8, "random"),
    "few-random": lambda: few("random"),
    "text-random-nelbo": lambda: text("random", "nelbo"),
    "text-random-spelling": lambda: text("random", "spelling"),
    "chain-confidence": lambda: chain(2, 0.05, 32, 8, "confidence"),
    "chain4-confidence": lambda: chain(4, 0.2, 64, 8, "confidence"),
    "few-confidence": lambda: few("confidence"),
    "few-margin": lambda: few("margin"),
    "text-confidence-spelling": lambda: text("confidence", "spelling"),
}


def run(problem: Problem, seed: int) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    """Per strategy its incumbents: rows spent so far and true regret, one entry a trial."""
    steps = problem.steps
    settings = SearchSettings("gp", TRIALS, BOX, BOX, 1, ("linear",), seed)
    grid = replace(settings, strategy="grid", trials=100)
    yield "paper's grid", incumbents(problem, study(problem, seed, grid, Guide()), 0)
    yield "Optuna", incumbents(problem, study(problem, seed, settings, Guide()), 0)
    evaluator = problem.evaluator(seed)
    profile = profile_of(evaluator)
    pricer = Pricer(profile.monotone, profile.length, False, "one-per-step")
    near = pricer.near_best(steps, BOX, BOX, NEAR)
    rows = profile.denoiser_rows
    guided = study(problem, seed, settings, Guide(tuple(near)))
    yield STARTED[0], incumbents(problem, guided, rows)
    yield "profile alone", [(rows, problem.regret(evaluator.setting(near[0], steps)))]
    if problem.path:
        found, spent = path_start(evaluator, steps, seed)
        guided = study(problem, seed, settings, Guide((found,)))
        yield STARTED[1], incumbents(problem, guided, spent)


def study(problem: Problem, seed: int, settings: SearchSettings, guide: Guide) -> list[Trial]:
    """The finished trials of one search from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        storage = journal(Path(folder) / "study.journal")
        search_budget(problem.evaluator(seed), problem.steps, settings, storage, lambda event: None, guide)
        return finished_trials(storage, problem.steps)


def path_start(evaluator: Evaluator, steps: int, seed: int) -> tuple[Beta, int]:
    """The best trial of a small path_nll study, and its rows; where the order has none, in that of top probability."""
    order: Any = "top-probability" if evaluator.sampler.order == "confidence" else evaluator.sampler.order
    sampler = replace(evaluator.sampler, order=order)
    assert evaluator.dataset is not None
    few_examples = evaluator.split("tune").first(PATH_EXAMPLES)
    data = Dataset({**evaluator.dataset.splits, "tune": few_examples}, evaluator.dataset.symbols)
    judge = Evaluator(
        evaluator.denoiser, evaluator.length, sampler, PathLikelihood("path_nll", "top-probability"), data
    )
    settings = SearchSettings("gp", PATH_TRIALS, BOX, BOX, 1, ("linear",), seed)
    with tempfile.TemporaryDirectory() as folder:
        storage = journal(Path(folder) / "study.journal")
        search_budget(judge, steps, settings, storage, lambda event: None)
        trials = finished_trials(storage, steps)
    best = min(trials, key=lambda trial: trial.value)
    return best.schedule, sum(trial.cost.denoiser_rows for trial in trials)


def profile_of(evaluator: Evaluator) -> Profile:
    """Measured on the tune examples by denoiser calls, for exact laws too."""
    split = evaluator.split("tune")
    return measure(
        evaluator.denoiser,
        split.start,
        split.originals,
        split.seeds,
        examples=min(128, len(split.ids)),
        points=POINTS,
        batch=evaluator.sampler.batch,
    )


def incumbents(problem: Problem, trials: list[Trial], spent: int) -> list[tuple[int, float]]:
    judge = problem.evaluator(0)
    sign = 1 if judge.metric.direction == "maximize" else -1
    best, found = -math.inf, []
    regret = math.inf
    for trial in trials:
        spent += trial.cost.denoiser_rows
        if sign * trial.value > best:
            best, regret = sign * trial.value, problem.regret(judge.setting(trial.schedule, problem.steps))
        found.append((spent, regret))
    return found


def reached(path: list[tuple[int, float]], target: float) -> int | None:
    """Rows from which on the incumbent stays within the target; None where it does not end there."""
    rows = None
    for spent, regret in reversed(path):
        if regret > target + 1e-12:
            break
        rows = spent
    return rows


def finished(work: Path) -> Iterator[tuple[str, str, dict[str, list[list[tuple[int, float]]]]]]:
    """Name, judge and runs of each problem that is done, regrets relative to the best that anything found."""
    for name in PROBLEMS:
        file = work / f"{name}.json"
        if file.is_file():
            record = json.loads(file.read_text("utf-8"))
            runs = record["runs"]
            lowest = min(0.0, *(regret for paths in runs.values() for path in paths for _, regret in path))
            shifted = {
                strategy: [[(rows, regret - lowest) for rows, regret in path] for path in paths]
                for strategy, paths in runs.items()
            }
            yield name, record["judged"], shifted


def ends(paths: list[list[tuple[int, float]]]) -> str:
    """Regret of what is returned, median and worst seed."""
    regrets = [path[-1][1] for path in paths]
    return f"{median(regrets):.1%} ({max(regrets):.1%})"


def summary(work: Path) -> str:
    """Markdown: one line per problem, what each strategy returns and the rows it took."""
    names = ["paper's grid", "Optuna", *STARTED, "profile alone"]
    lines = [f"| problem | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for name, _, runs in finished(work):
        cells = [
            f"{ends(runs[strategy])}, {median(path[-1][0] for path in runs[strategy]):,.0f} rows"
            if strategy in runs
            else ""
            for strategy in names
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def table(work: Path) -> str:
    """Markdown: one line per problem and strategy, medians over seeds, the worst seed beside them."""
    lines = [
        "| problem | judged by | strategy | rows to 5 % | seeds | rows to 1 % | seeds "
        "| regret at the end, median (worst) | rows at the end |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, judged, runs in finished(work):
        for strategy, paths in runs.items():
            cells = []
            for target in TARGETS:
                rows = [found for path in paths if (found := reached(path, target)) is not None]
                cells += [f"{median(rows):,.0f}" if rows else "-", f"{len(rows)} of {len(paths)}"]
            cells += [ends(paths), f"{median(path[-1][0] for path in paths):,.0f}"]
            lines.append(f"| {name} | {judged} | {strategy} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for one JSON file a problem")
    parser.add_argument("--problem", action="append", choices=sorted(PROBLEMS), help="repeatable; run it now")
    parser.add_argument("--output", type=Path, help="write the table of finished problems here")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for name in options.problem or ():
        problem = PROBLEMS[name]()
        runs: dict[str, list[list[tuple[int, float]]]] = {}
        for seed in SEEDS:
            for strategy, path in run(problem, seed):
                runs.setdefault(strategy, []).append(path)
                print(f"{name}, seed {seed}, {strategy}: {path[-1][1]:.3%} after {path[-1][0]:,} rows", file=sys.stderr)
        record = {"judged": problem.judged, "runs": runs}
        (options.work / f"{name}.json").write_text(json.dumps(record), "utf-8")
    if options.output is not None:
        options.output.write_text(f"{HEADER}{summary(options.work)}\n{table(options.work)}", "utf-8")


if __name__ == "__main__":
    main()
