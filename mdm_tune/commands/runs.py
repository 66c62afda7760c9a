"""``evaluate`` and ``sample`` between config and terminal: they report events, write the run folder, return JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import torch

from mdm_tune.build import Run, opened
from mdm_tune.commands.events import Note, Notify, Scored, Warnings, memory_notes, noting, tell_loaded
from mdm_tune.commands.profile_run import profile_notes
from mdm_tune.commands.schedule_notes import alike, lacking, other_samplers
from mdm_tune.config.file import Config
from mdm_tune.datasets.splits import Dataset, Split
from mdm_tune.errors import InputError
from mdm_tune.evaluation import Cost, Evaluator, Measured, Scores
from mdm_tune.example_records import difference_records, example_records, reported_records
from mdm_tune.naming import own_steps, settings_of
from mdm_tune.permissions import Permissions
from mdm_tune.profile.profiles import Profiles, optimum_of, profiles_of
from mdm_tune.records import Record, comparison_records, cost_record, plan_record, row_record
from mdm_tune.results import RunFolder
from mdm_tune.sampling.adaptive import Asked, calibrated, check_adaptive
from mdm_tune.sampling.adaptive_names import Adaptive, parse_adaptive
from mdm_tune.sampling.devices import Devices
from mdm_tune.sampling.unmasking import Step
from mdm_tune.seeding import derive_seed
from mdm_tune.settings import Setting
from mdm_tune.text import Codec

__all__ = ["evaluate", "sample"]


def evaluate(
    config: Config,
    schedules: Sequence[str],
    steps: Sequence[int],
    *,
    differences: bool,
    notify: Notify,
    devices: Devices = ("cpu",),
    allow: Permissions = Permissions(),
) -> Record:
    """Score schedules at budgets on the report split; returns the JSON of the command.

    schedules, steps: empty for those of the config, with the run's own schedule file where there is one. differences:
    add the examples on which linear and the last schedule differ most.
    """
    with opened(config, devices, allow, noting(notify)) as run:
        return _evaluate(run, schedules, steps, differences=differences, notify=notify)


def _evaluate(run: Run, schedules: Sequence[str], steps: Sequence[int], *, differences: bool, notify: Notify) -> Record:
    config = run.config
    folder = RunFolder(config.output)
    own = [str(folder.schedule)] if folder.has(folder.schedule) and not schedules else []
    names = list(dict.fromkeys(schedules or config.evaluate.schedules))
    budgets = list(steps) or list(config.evaluate.steps or config.sampler.steps)
    notify = warned = Warnings(notify)
    tell_loaded(run, notify, budgets)
    run, profiles = profiles_of(run, folder, notify, budgets)
    unnamed = [name for name in own if name not in names]
    adaptive = [plan for name in names if (plan := parse_adaptive(name)) is not None]
    fixed = [name for name in names if parse_adaptive(name) is None]
    settings = list(settings_of(run.evaluator, fixed, budgets, unnamed, optimum_of(profiles)))
    if differences and run.evaluator.exact:
        raise InputError(
            "--show-differences needs a metric with samples, and this one is computed exactly; leave it out"
        )
    files = [*fixed, *own, *(plan.schedule for plan in adaptive if plan.schedule is not None)]
    asked = [each for each in profiles.values() if each.taken]
    notes = (note for each in asked for note in profile_notes(each))
    for note in notes:
        notify(note)
    for note in (*other_samplers(run, dict.fromkeys(files), warned.kept), *lacking([*fixed, *unnamed], budgets)):
        notify(note)
    for note in alike(settings):
        notify(note)
    for plan, number, size in product(adaptive, budgets, profiles):
        here = run.evaluator.at(size)
        check_adaptive(here, plan, number, partial(_setting_at, here, profiles))
    folder.open()
    folder.keep_moment(run.model.clock)
    scores = []
    total = len(settings) + len(adaptive) * len(budgets) * len(profiles)
    for found in _scored(run, settings, adaptive, budgets, profiles):
        scores.append(found)
        notify(Scored(found, len(scores), total))
    for note in memory_notes(run):
        notify(note)
    metric = run.evaluator.metric.name
    data = run.evaluator.data("report")
    record = {
        "rows": [row_record(found, metric) for found in scores],
        "data": None if data is None else row_record(data, metric),
        "comparisons": comparison_records(scores),
        "reference": run.evaluator.labelled("linear", run.evaluator.block_lengths[0]),
        **cost_record(
            sum((each.cost for each in scores), run.evaluator.preparation)
            + sum((each.spent for each in profiles.values()), Cost())
        ),
    }
    record["reported"] = list(reported_records(run, scores if data is None else [*scores, data]))
    record["files"] = {"table": str(folder.path / "evaluate.csv"), "run": str(folder.path)}
    record |= {"warnings": warned.records} | run.programs
    folder.write_json("evaluate.json", record)
    folder.write_csv("evaluate.csv", record["rows"])
    examples = list(example_records(run, scores))
    if examples:
        folder.write_lines("evaluate-scores.jsonl", examples)
    if differences:
        record["differences"] = difference_records(examples, record["reference"])
    return record


def _setting_at(evaluator: Evaluator, profiles: Mapping[int | None, Profiles], name: str, steps: int) -> Setting:
    return next(settings_of(evaluator, [name], [steps], optimum=optimum_of(profiles)))


def _scored(
    run: Run,
    settings: Sequence[Setting],
    adaptive: Sequence[Adaptive],
    budgets: Sequence[int],
    profiles: Mapping[int | None, Profiles],
) -> Iterator[Scores]:
    """Schedules and then adaptive plans, budget by budget; a plan with a value of its own costs the same at each."""
    if run.evaluator.exact:
        yield from (
            run.evaluator.score(each, "report") for steps in budgets for each in settings if each.steps == steps
        )
        return
    plans: dict[object, Asked] = {}
    order: list[tuple[object, int, Setting | None]] = []
    for steps in budgets:
        order += [(each.key, steps, each) for each in settings if each.steps == steps]
        for plan, size in product(adaptive, profiles):
            evaluator = run.evaluator.at(size)
            key = plan.name, size, None if plan.value is not None and plan.kind != "quota" else steps
            plans.setdefault(
                key,
                Asked(
                    evaluator=evaluator, plan=plan, steps=steps, setting_at=partial(_setting_at, evaluator, profiles)
                ),
            )
            order.append((key, steps, None))
    values = dict(zip(plans, calibrated([*plans.values()], "report"), strict=True))
    split, wanted = run.evaluator.split("report"), dict[object, Measured]()
    for place, _, setting in order:
        wanted.setdefault(place, values[place][0] if setting is None else Measured(setting, split))
    results, known = run.evaluator.measure_each([*wanted.values()]), dict[object, Scores]()
    for place, steps, setting in order:
        if place in known:
            again = setting or replace(known[place].setting, steps=steps)
            yield replace(known[place], setting=again, cost=Cost())
            continue
        found = known[place] = next(results)
        yield found if setting is not None else replace(found, cost=found.cost + values[place][1])


def sample(
    config: Config,
    schedule: str | None,
    steps: int | None,
    number: int,
    view: Callable[[Codec, int], Callable[[Step], None] | None],
    devices: Devices = ("cpu",),
    allow: Permissions = Permissions(),
    notify: Notify = lambda event: None,
) -> Record:
    """Draw ``number`` samples with one schedule and write ``samples.json``; returns the JSON of the command.

    schedule: None for the run's own schedule file, or linear where there is none. steps: None for the first budget of
    the config, or one of the schedule's own where it lacks that. Each sample has its own seed: the first n of a longer
    run are the same.
    """
    with opened(config, devices, allow, noting(notify)) as run:
        return _sample(run, schedule, steps, number, view, Warnings(notify))


def _sample(
    run: Run,
    schedule: str | None,
    steps: int | None,
    number: int,
    view: Callable[[Codec, int], Callable[[Step], None] | None],
    warned: Warnings,
) -> Record:
    config = run.config
    tell_loaded(run, warned, [steps or config.sampler.steps[0]])
    folder = RunFolder(config.output)
    name, chosen = _schedule_for(folder, schedule)
    if parse_adaptive(name) is not None:
        raise InputError(
            f"--schedule: {name} decides by itself how many tokens a step reveals, and sample draws with given counts; "
            "compare it with mdm-tune evaluate, or give a schedule such as linear"
        )
    if steps is None:
        first, own = config.sampler.steps[0], own_steps(name)
        steps = first if own is None or first in own else own[0]
    run, profiles = profiles_of(run, folder, warned)
    evaluator = run.evaluator.at(run.evaluator.block_lengths[0])  # a file has its own blocks
    (setting,) = settings_of(evaluator, [name], [steps], optimum=optimum_of(profiles))
    asked = (each for each in profiles.values() if each.taken)
    beside = _beside_a_profile(folder) if chosen == "default" else ()
    for note in (*beside, *(note for each in asked for note in profile_notes(each))):
        warned(note)
    for note in other_samplers(run, [name], warned.kept):
        warned(note)
    split = _to_fill(run, number)
    on_step = view(run.model.codec, evaluator.denoiser.mask_id) if evaluator.filler.shows_steps else None
    began = time.monotonic()
    result = evaluator.fill([setting], split.start, split.seeds, on_step=on_step)
    cut = run.dataset or Dataset({}, run.model.codec)  # a data set ends answers at its stops, as for every metric
    texts = cut.fillings(result.tokens, split)
    record = {
        "samples": [
            {"tokens": row, "text": " ".join(filled), **prompted}
            for row, filled, prompted in zip(result.tokens.tolist(), texts, _prompts(split, texts), strict=True)
        ],
        "schedule": name,
        "schedule_from": chosen,
        "steps": setting.steps,
        **plan_record(setting),
        "nfe": float(result.nfe.double().mean()),
        **cost_record(
            Cost(result.denoiser_rows, result.denoiser_tokens, time.monotonic() - began)
            + sum((each.spent for each in profiles.values()), Cost())
        ),
    }
    for note in memory_notes(run):
        warned(note)
    record["warnings"] = warned.records
    folder.open()
    folder.keep_moment(run.model.clock)
    folder.write_json("samples.json", record)
    return record


def _to_fill(run: Run, number: int) -> Split:
    """The rows that are sampled: empty ones, or the prompts of the report split in turn; the seeds are their own."""
    length, mask = run.evaluator.length, run.evaluator.denoiser.mask_id
    seeds = np.array([derive_seed(run.config.seed, "sample", i) for i in range(number)], dtype=np.uint64)
    if run.dataset is None or not run.dataset.splits["report"].examples:
        empty = torch.full((number, length), mask)
        return Split(
            use="report", ids=tuple(map(str, range(number))), originals=empty, start=empty, seeds=seeds, mask_id=mask
        )
    report = run.dataset.splits["report"]
    places = [i % len(report.ids) for i in range(number)]
    return replace(report.at(places), seeds=seeds)


def _prompts(split: Split, texts: Sequence[Sequence[str]]) -> list[Record]:
    """The visible text of each example, where there is any: before its first hole, and whole with what was drawn."""
    if not split.examples:
        return [{}] * len(texts)
    return [
        {
            "id": example.id,
            "prompt": example.prompt,
            "conditional": example.conditional,
            "shown": example.filled(filled),
        }
        for example, filled in zip(split.examples, texts, strict=True)
    ]


def _schedule_for(folder: RunFolder, schedule: str | None) -> tuple[str, str]:
    """The schedule to sample with, and where it comes from: named, the folder's search, or the default."""
    if schedule is not None:
        return schedule, "named"
    return (str(folder.schedule), "search") if folder.has(folder.schedule) else ("linear", "default")


def _beside_a_profile(folder: RunFolder) -> Iterator[Note]:
    """What a folder with a profile and without a search has to offer in place of linear."""
    found = [str(file) for kind in ("beta", "optimum") if folder.has(file := folder.path / f"profile-{kind}.yaml")]
    if found:
        yield Note(
            f"linear is used, since {folder.path} holds no search; the profile's schedules are {' and '.join(found)}: "
            f"give --schedule {found[0]} to use one"
        )
