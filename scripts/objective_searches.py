"""What a search by each objective finds: the part "Searches" of docs/objectives.md.

    python scripts/objective_searches.py --work build/objectives --page docs/objectives.md

Real searches over counts, with the tune examples of objectives.py: ten sets of prompts, and on each a search by the
score, by ``agreement`` (whole answers) and by ``path_nll`` of own answers. A search returns its best trial on these
prompts. The truth of what it returns is that of objective_scores.py. Searches that are in --work are not run again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from objective_scores import Problem, strings, task
from objectives import LABELS, PATH, SEEDS, interval, sets_of
from pages import commit, show_part

from mdm_tune.config.file import SearchConfig
from mdm_tune.core.types import sign_of
from mdm_tune.datasets.splits import Split
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import ScoreBook
from mdm_tune.metrics.agreement import agreement
from mdm_tune.metrics.quality import Metric, PathLikelihood
from mdm_tune.schedules.curves import Linear
from mdm_tune.search.ledger import Ledger
from mdm_tune.search.proposals import BetaSpace
from mdm_tune.search.tuning import tune

Values = NDArray[np.float64]
PROBLEMS: dict[str, Callable[[], Problem]] = {"task": task, "strings": strings}
OBJECTIVES = ("score", "agreement, whole", PATH)
TRIALS = 20


def with_tune(evaluator: Evaluator, split: Split, metric: Metric) -> Evaluator:
    """The evaluator with these tune examples and this metric, which remembers nothing."""
    assert evaluator.dataset is not None
    splits = {**evaluator.dataset.splits, "tune": split}
    return replace(evaluator, dataset=replace(evaluator.dataset, splits=splits), metric=metric, book=ScoreBook())


def metric_of(problem: Problem, objective: str) -> Metric:
    """The objective as a metric."""
    evaluator = problem.evaluator
    assert evaluator.dataset is not None
    if objective == "agreement, whole":
        return agreement(evaluator.dataset)
    if objective == PATH:
        return PathLikelihood("path_nll", evaluator.sampler.section.order, of_model=True)
    return evaluator.metric


def searched(problem: Problem, objective: str, places: Sequence[int], seed: int) -> dict[str, float]:
    """The rows of a search on these prompts, and the true value of its best trial."""
    split, spent = problem.evaluator.split("tune").take(places), 0
    if objective != "score":
        own = problem.evaluator.one_by_one(split)
        split, spent = replace(split, originals=own.tokens), own.denoiser_rows
    evaluator = with_tune(problem.evaluator, split, metric_of(problem, objective))
    settings = SearchConfig(trials=TRIALS, finalists=1, baselines=("linear",))
    ledger = Ledger(optuna.storages.InMemoryStorage(), "trials", evaluator.metric.direction)
    trials = tune(evaluator, BetaSpace(settings, problem.steps, seed), ledger).trials
    sign = sign_of(evaluator.metric.direction)
    best = max((trial for trial in trials if not trial.dropped), key=lambda trial: (sign * trial.value, -trial.number))
    found = problem.evaluator.setting(best.policy, problem.steps)
    return {"truth": truth(problem, found), "rows": spent + sum(trial.cost.denoiser_rows for trial in trials)}


def truth(problem: Problem, setting: object) -> float:
    """The true value of a setting: the mean of the score over the report split."""
    scores = problem.evaluator.score(setting, "report")  # type: ignore[arg-type]
    return scores.estimate.value


def kept(file: Path, name: str) -> dict[str, list[dict[str, float]]]:
    """The searches of a problem by objective, and the true values of linear and of the best that was found."""
    found: dict[str, list[dict[str, float]]] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    if not found:
        problem = PROBLEMS[name]()
        pool = len(problem.evaluator.split("tune").ids)
        linear = problem.evaluator.setting(Linear(), problem.steps)
        found["linear"] = [{"truth": truth(problem, linear)}]
        for objective in OBJECTIVES:
            sets = sets_of(pool, pool // SEEDS)
            found[objective] = [searched(problem, objective, rows.tolist(), seed) for seed, rows in enumerate(sets)]
        file.write_text(json.dumps(found), "utf-8")
    return found


def table(name: str, found: dict[str, list[dict[str, float]]]) -> list[str]:
    """The rows of a problem."""

    def values(objective: str, key: str) -> Values:
        return np.array([search[key] for search in found[objective]])

    (linear,) = values("linear", "truth")
    lines = []
    for objective in OBJECTIVES:
        true = values(objective, "truth")
        minus = "" if objective == "score" else interval(true - values("score", "truth"), 3)
        rows = f"{values(objective, 'rows').mean():,.0f}"
        gain = interval(true - linear, 3)
        lines.append(f"| {name} | {LABELS[objective]} | {rows} | {interval(true, 3)} | {gain} | {minus} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--page", type=Path, help="the page; the table is printed without it")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    lines = [
        "| problem | search by | rows | true value of what it returns | minus that of linear | minus that of a search "
        "by the score |",
        "|---|---|---|---|---|---|",
    ]
    for name in PROBLEMS:
        lines += table(name, kept(options.work / f"searches-{name}.json", name))
    lines += ["", f"{SEEDS} searches each, {TRIALS} trials over counts. Code at commit {commit()}."]
    show_part(options.page, "searches", "\n".join(lines))


if __name__ == "__main__":
    main()
