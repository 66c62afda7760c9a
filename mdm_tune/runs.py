"""What each command does between the config and the terminal: it reports events, writes the run folder, returns records."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import yaml

from mdm_tune.build import Run, build, settings_of
from mdm_tune.config import Config, to_yaml
from mdm_tune.datasets import USES
from mdm_tune.errors import InputError
from mdm_tune.evaluation import Cost, Scores, plan_of
from mdm_tune.records import (
    Record,
    comparison_records,
    cost_record,
    example_records,
    row_record,
    schedule_record,
    search_record,
)
from mdm_tune.results import RunFolder, versions, write_text
from mdm_tune.sampling import Step, unmask
from mdm_tune.schedules import Beta, Linear
from mdm_tune.search import Budget, Event, journal, reachable_counts, search_budget
from mdm_tune.seeding import derive_seed
from mdm_tune.statistics import detectable_gain

__all__ = ["BudgetDone", "BudgetStarted", "Loaded", "Notify", "RunEvent", "Scored", "dry_run", "evaluate", "sample", "search"]

MAY_CHANGE = ("output", "evaluate", "search.trials")  # between a search and its resumption


@dataclass(frozen=True)
class Loaded:
    """Model and data are in memory."""

    run: Run


@dataclass(frozen=True)
class BudgetStarted:
    """The study of one budget begins or goes on."""

    steps: int


@dataclass(frozen=True)
class BudgetDone:
    """One budget is tuned and confirmed."""

    budget: Budget


@dataclass(frozen=True)
class Scored:
    """``evaluate`` has scored one more setting."""

    scores: Scores
    done: int
    total: int


RunEvent = Loaded | BudgetStarted | BudgetDone | Scored | Event
Notify = Callable[[RunEvent], None]


def search(config: Config, *, resume: bool, overwrite: bool, notify: Notify) -> Record:
    """Tune every budget of the config and write the run folder; returns the JSON of the command.

    A finished search is answered from its folder. Raises InputError where the folder holds a search and neither flag is
    set, and where the search to be resumed came from another config, model, data or version.
    """
    folder = RunFolder(config.output)
    if folder.holds_search and not (resume or overwrite):
        raise InputError(
            f"output: {folder.path} already holds a search; add --resume to go on with it, --overwrite to start "
            "again, or give another folder with --output"
        )
    run = build(config)
    notify(Loaded(run))
    identity = {"config": yaml.safe_load(to_yaml(config)), "fingerprints": run.fingerprints, "versions": versions()}
    folder.open()
    if overwrite:
        folder.clear_search()
    elif folder.holds_search:
        before = folder.read(folder.identity)
        _refuse_changes(before, identity)
        if folder.result.exists() and before["config"]["search"]["trials"] == config.search.trials:
            return folder.read(folder.result)
    folder.write_json(folder.identity.name, identity)
    write_text(folder.config, to_yaml(config))
    storage = journal(folder.journal)
    budgets = []
    for steps in config.sampler.steps:
        notify(BudgetStarted(steps))
        budgets.append(search_budget(run.evaluator, steps, run.search, storage, notify))
        notify(BudgetDone(budgets[-1]))
    folder.write_schedule(schedule_record(run, budgets))
    reported = [scores for budget in budgets for scores in (budget.winner, *budget.baselines.values())]
    folder.write_lines("search-scores.jsonl", example_records(run, reported))
    record = search_record(run, folder, budgets)
    folder.write_json(folder.result.name, record)
    return record


def evaluate(
    config: Config, schedules: Sequence[str], steps: Sequence[int], *, differences: bool, notify: Notify
) -> Record:
    """Score schedules at budgets on the report split; returns the JSON of the command.

    schedules, steps: empty for those of the config, with the run's own schedule file where there is one. differences: add
    the examples on which linear and the last schedule differ most.
    """
    folder = RunFolder(config.output)
    own = [str(folder.schedule)] if folder.schedule.exists() else []
    names = list(schedules) or [*config.evaluate.schedules, *own]
    budgets = list(steps) or list(config.evaluate.steps or config.sampler.steps)
    run = build(config)
    notify(Loaded(run))
    settings = list(settings_of(run.evaluator, list(dict.fromkeys(names)), budgets))
    folder.open()
    scores = []
    for done, setting in enumerate(settings):
        scores.append(run.evaluator.score(setting, "report"))
        notify(Scored(scores[-1], done + 1, len(settings)))
    metric = run.evaluator.metric.name
    record = {
        "rows": [row_record(found, metric) for found in scores],
        "comparisons": comparison_records(scores),
        **cost_record(sum((found.cost for found in scores), run.evaluator.preparation)),
    }
    folder.write_json("evaluate.json", record)
    folder.write_csv("evaluate.csv", record["rows"])
    examples = list(example_records(run, scores))
    if examples:
        folder.write_lines("evaluate-scores.jsonl", examples)
    if differences:
        record["differences"] = _differences(examples)
    return record


def sample(
    config: Config, schedule: str | None, steps: int | None, number: int, view: Callable[[str], Callable[[Step], None] | None]
) -> Record:
    """Draw ``number`` samples with one schedule; returns the JSON of the command.

    schedule: None for the run's own schedule file, or linear where there is none. steps: None for the first budget of the
    config. Each sample has its own seed: the first n of a longer run are the same.
    """
    folder = RunFolder(config.output)
    name = schedule or (str(folder.schedule) if folder.schedule.exists() else "linear")
    run = build(config)
    evaluator = run.evaluator
    (setting,) = settings_of(evaluator, [name], [steps or config.sampler.steps[0]])
    start = torch.full((number, evaluator.length), evaluator.denoiser.mask_id)
    seeds = np.array([derive_seed(config.seed, "sample", i) for i in range(number)], dtype=np.uint64)
    began = time.monotonic()
    result = unmask(
        evaluator.denoiser,
        start,
        plan_of(setting, number),
        seeds=seeds,
        order=evaluator.sampler.order,
        temperature=evaluator.sampler.temperature,
        batch=evaluator.sampler.batch,
        on_step=view(run.model.symbols),
    )
    rows, symbols = result.tokens.tolist(), run.model.symbols
    return {
        "samples": [{"tokens": row, "text": "".join(symbols[token] for token in row)} for row in rows],
        "schedule": name,
        "steps": setting.steps,
        "counts": None if setting.counts is None else list(setting.counts),
        "alphas": None if setting.alphas is None else list(setting.alphas),
        "nfe": float(result.nfe.double().mean()),
        **cost_record(Cost(result.denoiser_rows, result.denoiser_tokens, time.monotonic() - began)),
    }


def dry_run(config: Config) -> Record:
    """Load everything, time two real batches and price the search; nothing is written.

    The phases are upper bounds: counts that come up again cost nothing. ``seconds`` per phase assume the speed of the two
    batches. ``detectable_gain`` is estimated from linear against squared-sine on the same batch.
    """
    folder = RunFolder(config.output)
    run = build(config)
    evaluator, settings = run.evaluator, run.search
    first = config.sampler.steps[0]
    trials = {"linear": evaluator.setting(Linear(), first), "squared-sine": evaluator.setting(Beta(1.0, 1.0), first)}
    examples: dict[str, int] = {}
    detectable = None
    if evaluator.exact:
        timed = [evaluator.score(setting, "tune") for setting in trials.values()]
    else:
        splits = {use: evaluator.split(use) for use in USES}
        examples = {use: len(split.ids) for use, split in splits.items()}
        pilot = splits["tune"].first(config.sampler.batch)
        timed = [evaluator.measure_on(setting, pilot) for setting in trials.values()]
        deviation = float(np.std(values_of(timed[0]) - values_of(timed[1]), ddof=1))
        detectable = detectable_gain(deviation, examples["report"])
    spent = timed[0].cost + timed[1].cost
    schedules = {
        "tune": settings.trials,
        "choose": settings.finalists + len(settings.baselines),
        "report": 1 + len(settings.baselines),
    }
    phases = []
    for use, count in schedules.items():
        rows = count * examples.get(use, 0) * sum(config.sampler.steps)
        pace = spent.seconds / spent.denoiser_rows if spent.denoiser_rows else 0.0
        exact_seconds = count * len(config.sampler.steps) * spent.seconds / 2 if evaluator.exact else 0.0
        phases.append(
            {"phase": use, "schedules": count, **cost_record(Cost(rows, rows * evaluator.length, rows * pace + exact_seconds))}
        )
    return {
        "phases": phases,
        "reachable_counts": {
            str(steps): None if evaluator.sampler.bernoulli else len(set(reachable_counts(evaluator, steps, settings)))
            for steps in config.sampler.steps
        },
        "detectable_gain": detectable,
        "peak_memory_bytes": _peak_memory(),
        "already_holds_search": folder.holds_search,
        **cost_record(spent),
    }


def values_of(scores: Scores) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The per-example values, which sample metrics always have."""
    assert scores.values is not None
    return scores.values


def _peak_memory() -> int:
    """Peak resident size of this process in bytes; the kernel counts in KiB, on macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _refuse_changes(before: Record, now: Record) -> None:
    """Raise InputError naming what differs between the search in the folder and this one."""
    old, new = _flat(before), _flat(now)
    changed = [
        f"{path.removeprefix('config.')}: was {old.get(path)!r}, is {new.get(path)!r}"
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path) and not path.removeprefix("config.").startswith(MAY_CHANGE)
    ]
    if changed:
        raise InputError(
            "the search in this folder was made with other settings, so it cannot go on:\n  "
            + "\n  ".join(changed)
            + "\nrestore them, start again with --overwrite, or give another folder with --output"
        )


def _flat(record: Record, prefix: str = "") -> dict[str, Any]:
    """Leaves by their dotted path; lists count as leaves."""
    leaves: dict[str, Any] = {}
    for key, value in record.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def _differences(examples: Sequence[Record], most: int = 3) -> list[Record]:
    """Per budget the examples on which linear and the last schedule differ most, from the same noise, both ways."""
    if not examples:
        raise InputError("--show-differences needs a metric with samples, and this one is computed exactly; leave it out")
    found = []
    for steps in dict.fromkeys(example["steps"] for example in examples):
        here = [example for example in examples if example["steps"] == steps]
        labels = list(dict.fromkeys(example["schedule"] for example in here))
        if "linear" not in labels or len(labels) < 2:
            continue
        other = next(label for label in reversed(labels) if label != "linear")
        linear = {example["id"]: example for example in here if example["schedule"] == "linear"}
        tuned = {example["id"]: example for example in here if example["schedule"] == other}
        pairs = sorted(linear, key=lambda name: tuned[name]["value"] - linear[name]["value"])
        for name in dict.fromkeys([*pairs[-most:][::-1], *pairs[:most]]):
            found.append(
                {
                    "steps": steps,
                    "id": name,
                    "first": {key: linear[name][key] for key in ("schedule", "value", "text")},
                    "second": {key: tuned[name][key] for key in ("schedule", "value", "text")},
                }
            )
    return found
