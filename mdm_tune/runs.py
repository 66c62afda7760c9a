"""What each command does between config and terminal: it reports events, writes the run folder, returns its JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from mdm_tune.build import build, check_baselines, is_file, own_steps, settings_of
from mdm_tune.config import Config, resolved, to_yaml
from mdm_tune.confirmation import Budget
from mdm_tune.errors import InputError
from mdm_tune.evaluation import Cost
from mdm_tune.events import BudgetStarted, Loaded, Note, Notify, Scored
from mdm_tune.profile_run import profile_notes
from mdm_tune.profiles import Profiles
from mdm_tune.records import (
    Record,
    comparison_records,
    cost_record,
    difference_records,
    example_records,
    row_record,
    schedule_record,
    search_record,
)
from mdm_tune.results import RunFolder, load_schedule, versions, write_text
from mdm_tune.sampling import Step
from mdm_tune.schedules import Beta
from mdm_tune.search import OPTIMUM, journal, search_budget
from mdm_tune.seeding import derive_seed

__all__ = ["evaluate", "sample", "search"]

MAY_CHANGE = ("output", "evaluate", "search.trials")  # between a search and its resumption


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
    profiles = Profiles(run, folder, notify)
    check_baselines(run, config.sampler.steps)
    identity = {"config": resolved(config), "fingerprints": run.fingerprints, "versions": versions()}
    folder.open()
    if overwrite:
        folder.clear_search()
    elif folder.holds_search:
        before = folder.read(folder.identity)
        _refuse_changes(before, identity)
        if folder.has(folder.result) and before["config"]["search"]["trials"] == config.search.trials:
            return folder.read(folder.result)
        folder.result.unlink(missing_ok=True)  # of fewer trials; should this run be stopped, it is no longer the answer
    folder.write_json(folder.identity.name, identity)
    write_text(folder.config, to_yaml(config))
    if profiles.guides:
        _begin_with_profile(profiles, notify)
    storage = journal(folder.journal)  # from here on the folder holds a search
    budgets: list[Budget] = []
    for steps in config.sampler.steps:
        winners = [budget.schedule for budget in budgets if isinstance(budget.schedule, Beta)]
        guide = profiles.guide(steps, winners)
        notify(BudgetStarted(steps))
        budgets.append(search_budget(run.evaluator, steps, run.search, storage, notify, guide))
    folder.write_schedule(schedule_record(run, budgets))
    reported = [
        scores
        for budget in budgets
        for scores in {each.setting.label: each for each in (*budget.baselines.values(), budget.winner)}.values()
    ]
    if not run.evaluator.exact:
        folder.write_lines("search-scores.jsonl", example_records(run, reported))
    record = search_record(run, folder, budgets, profiles.cost if profiles.guides else None)
    folder.write_json(folder.result.name, record)
    return record


def evaluate(
    config: Config, schedules: Sequence[str], steps: Sequence[int], *, differences: bool, notify: Notify
) -> Record:
    """Score schedules at budgets on the report split; returns the JSON of the command.

    schedules, steps: empty for those of the config, with the run's own schedule file where there is one. differences:
    add the examples on which linear and the last schedule differ most.
    """
    folder = RunFolder(config.output)
    own = [str(folder.schedule)] if folder.has(folder.schedule) and not schedules else []
    names = list(dict.fromkeys(schedules or config.evaluate.schedules))
    budgets = list(steps) or list(config.evaluate.steps or config.sampler.steps)
    run = build(config)
    notify(Loaded(run))
    profiles = Profiles(run, folder, notify, budgets)
    unnamed = [name for name in own if name not in names]
    settings = list(settings_of(run.evaluator, names, budgets, unnamed, profiles.optimum))
    if differences and run.evaluator.exact:
        raise InputError(
            "--show-differences needs a metric with samples, and this one is computed exactly; leave it out"
        )
    notes = profile_notes(profiles) if OPTIMUM in names else ()
    for note in (*_other_samplers(config, [*names, *own]), *notes):
        notify(note)
    folder.open()
    scores = []
    for done, setting in enumerate(settings):
        scores.append(run.evaluator.score(setting, "report"))
        notify(Scored(scores[-1], done + 1, len(settings)))
    metric = run.evaluator.metric.name
    data = run.evaluator.data("report")
    record = {
        "rows": [row_record(found, metric) for found in scores],
        "data": None if data is None else row_record(data, metric),
        "comparisons": comparison_records(scores),
        **cost_record(sum((found.cost for found in scores), run.evaluator.preparation + profiles.spent)),
    }
    record["files"] = {"table": str(folder.path / "evaluate.csv"), "run": str(folder.path)}
    folder.write_json("evaluate.json", record)
    folder.write_csv("evaluate.csv", record["rows"])
    examples = list(example_records(run, scores))
    if examples:
        folder.write_lines("evaluate-scores.jsonl", examples)
    if differences:
        record["differences"] = difference_records(examples)
    return record


def sample(
    config: Config,
    schedule: str | None,
    steps: int | None,
    number: int,
    view: Callable[[str], Callable[[Step], None] | None],
) -> Record:
    """Draw ``number`` samples with one schedule and write ``samples.json``; returns the JSON of the command.

    schedule: None for the run's own schedule file, or linear where there is none. steps: None for the first budget of
    the config, or one of the schedule's own where it lacks that. Each sample has its own seed: the first n of a longer
    run are the same.
    """
    folder = RunFolder(config.output)
    name = schedule or (str(folder.schedule) if folder.has(folder.schedule) else "linear")
    run = build(config)
    evaluator = run.evaluator
    if steps is None:
        first, own = config.sampler.steps[0], own_steps(name)
        steps = first if own is None or first in own else own[0]
    profiles = Profiles(run, folder, lambda event: None)
    (setting,) = settings_of(evaluator, [name], [steps], optimum=profiles.optimum)
    start = torch.full((number, evaluator.length), evaluator.denoiser.mask_id)
    seeds = np.array([derive_seed(config.seed, "sample", i) for i in range(number)], dtype=np.uint64)
    began = time.monotonic()
    result = evaluator.fill(setting, start, seeds, on_step=view(run.model.symbols))
    rows, symbols = result.tokens.tolist(), run.model.symbols
    record = {
        "samples": [{"tokens": row, "text": "".join(symbols[token] for token in row)} for row in rows],
        "schedule": name,
        "steps": setting.steps,
        "counts": None if setting.counts is None else list(setting.counts),
        "alphas": None if setting.alphas is None else list(setting.alphas),
        "nfe": float(result.nfe.double().mean()),
        **cost_record(Cost(result.denoiser_rows, result.denoiser_tokens, time.monotonic() - began) + profiles.spent),
    }
    folder.open()
    folder.write_json("samples.json", record)
    return record


def _begin_with_profile(profiles: Profiles, notify: Notify) -> None:
    """Measure or take the profile and say what to know about it; a warm start that fails is done without."""
    try:
        for note in profile_notes(profiles):
            notify(note)
        if profiles.prices_objective:
            profiles.prepare_choice()
    except InputError as error:
        if profiles.needed:
            raise
        profiles.without_start = True
        notify(Note(f"the search does not start from an information profile: {error}"))


def _other_samplers(config: Config, names: Sequence[str]) -> Iterator[Note]:
    """A note for each schedule file that was tuned for another order, reveal or temperature."""
    for name in filter(is_file, names):
        found = load_schedule(name).record.get("sampler")
        tuned = found if isinstance(found, dict) else {}  # the only part that reading a file does not check
        now = resolved(config)["sampler"]
        changed = [f"{key} {tuned[key]} (here {now[key]})" for key in tuned if tuned[key] != now.get(key)]
        if changed:
            yield Note(f"{name} was tuned for {', '.join(changed)}")


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
