"""The ``sample`` command: it draws samples, reports events, writes the run folder and returns the result."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mdm_tune.commands.events import Note, Notify, Warnings, as_notes, memory_notes, report_loaded
from mdm_tune.commands.profile import profile_notes
from mdm_tune.commands.progress import Following, Stage, Stages
from mdm_tune.commands.schedule_notes import other_samplers
from mdm_tune.commands.watching import Watch, Watcher, watcher_of
from mdm_tune.config.file import Config
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.core.permissions import Permissions
from mdm_tune.core.seeding import derive_seed
from mdm_tune.datasets.splits import Dataset, Split
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Cost
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.build import Run, open_run
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.profiles import optimum_of, profiles_of
from mdm_tune.run.record_parts import PlanRecord
from mdm_tune.run.sample_records import PromptRecord, SampleRecord, SampleResult, ScheduleSource
from mdm_tune.run.schedule_names import check_names, check_value, own_steps, settings_of
from mdm_tune.sampling.devices import Devices
from mdm_tune.schedules.adaptive_names import parse_adaptive

__all__ = ["sample"]


def sample(
    config: Config,
    schedule: str | None,
    steps: int | None,
    number: int,
    watch: Watch | None = None,
    devices: Devices = ("cpu",),
    allow: Permissions = Permissions(),
    notify: Notify = lambda event: None,
) -> SampleResult:
    """Draw ``number`` samples with one schedule and write ``samples.json``.

    Each sample has its own seed: the first n of a longer run are the same.

    Args:
        config: The config of the run; ``output`` names the run folder.
        schedule: The name of a schedule or an adaptive policy on the command line; None for the run's own schedule
            file, or linear if there is no file.
        steps: The budget; None for the first budget of the config, or of the schedule if it lacks that one.
        number: Samples to draw.
        watch: Whether the steps of the first sample are reported, and how; None for no.
        devices: Where the rows are filled.
        allow: Which foreign code may run.
        notify: Called with every event.

    Returns:
        The result, as it is written to ``samples.json``.

    Raises:
        InputError: If a schedule is unknown or does not fit, or if it is an adaptive policy without a value.
        RunError: If the denoiser or a replica fails.
    """
    _check_named(schedule, None if watch is None else watch.beside)
    with open_run(config, devices, allow, as_notes(notify)) as run:
        return _sample(run, schedule, steps, number, watch, Warnings(notify))


def _check_named(schedule: str | None, beside: str | None) -> None:
    """Check the schedule and that of ``--watch`` before the model is loaded; None is no name."""
    for name, flag in ((schedule, ""), (beside, "--watch: ")):
        try:
            if name is not None:
                check_names([name])
                check_value(parse_adaptive(name))
        except InputError as error:
            raise InputError(f"{flag}{error}") from None


def _sample(
    run: Run,
    schedule: str | None,
    steps: int | None,
    number: int,
    watch: Watch | None,
    warned: Warnings,
) -> SampleResult:
    config = run.config
    report_loaded(run, warned, [steps or config.sampler.steps[0]])
    folder = RunFolder(config.output)
    name, source = _schedule_for(folder, schedule)
    if steps is None:
        first, own = config.sampler.steps[0], own_steps(name)
        steps = first if own is None or first in own else own[0]
    run, profiles = profiles_of(run, folder, warned)
    evaluator = run.evaluator.in_blocks(run.evaluator.block_length)  # a schedule file names its own block length
    optimum = optimum_of(profiles)
    (setting,) = settings_of(evaluator, [name], [steps], optimum=optimum)
    in_use = (profile for profile in profiles.values() if profile.used)
    unused = _unused_schedules(folder) if source is ScheduleSource.DEFAULT else ()
    for note in (*unused, *(note for profile in in_use for note in profile_notes(profile))):
        warned(note)
    for note in other_samplers(run, [name], warned.notes):
        warned(note)
    split = _rows_to_fill(run, number)
    dataset = run.dataset or Dataset({}, run.model.codec)  # it ends answers at the stop texts, as for every metric
    began = time.monotonic()
    watcher = None if watch is None else watcher_of(run, setting, split, watch=watch, warned=warned, optimum=optimum)
    stage = Stage(f"drawing {quantity(number, 'sample')}", number * setting.nfe)
    evaluator = Following(warned).begin(Stages([stage]), replace(run, evaluator=evaluator)).evaluator
    tokens, nfe, spent = _filled(evaluator, setting, split, watcher)
    texts = dataset.fillings(tokens, split)
    spent += Cost(seconds=time.monotonic() - began - (watcher.seconds if watcher is not None else 0.0))
    for note in memory_notes(run):
        warned(note)
    sampled = SampleResult(
        samples=tuple(
            SampleRecord(tokens=tuple(row), text=" ".join(filled), example=example)
            for row, filled, example in zip(tokens.tolist(), texts, _prompts(split, texts), strict=True)
        ),
        schedule=name,
        schedule_from=source,
        steps=setting.steps,
        plan=PlanRecord.of(setting),
        nfe=float(nfe.double().mean()),
        cost=sum((profile.spent for profile in profiles.values()), spent),
        warnings=warned.records,
    )
    folder.open()
    folder.write_moment(run.model.clock)
    folder.write_json("samples.json", sampled.to_json())
    if watcher is not None and watch is not None and watch.save is not None:
        watcher.save(watch.save)
    return sampled


def _filled(
    evaluator: Evaluator, setting: Setting, split: Split, watcher: Watcher | None
) -> tuple[Tensor, Tensor, Cost]:
    """The filled rows, their calls, and the cost without its seconds. A row that is watched is filled by itself."""
    parts, cost, watched = [], Cost(), 0
    if watcher is not None:
        one, section = split.first(1), evaluator.sampler.section
        section = section.model_copy(update={"batch": max(section.batch, len(watcher.settings))})  # steps of all rows
        together = replace(evaluator, sampler=replace(evaluator.sampler, section=section))
        filled, cost = watcher.follow(together, one)
        parts.append((filled.tokens[:1], filled.nfe[:1]))
        watched = 1
    if watched < len(split.ids):
        rest = split.part(watched, len(split.ids))
        filled = evaluator.fill([setting], rest.start, rest.seeds)
        parts.append((filled.tokens, filled.nfe))
        cost += Cost(filled.denoiser_rows, filled.denoiser_tokens)
    tokens, calls = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return tokens, calls, cost


def _rows_to_fill(run: Run, number: int) -> Split:
    """The rows to fill, each with its own seed: the prompts of the report split in turn, or rows of masks."""
    length, mask = run.evaluator.length, run.evaluator.denoiser.mask_id
    seeds = np.array([derive_seed(run.config.seed, "sample", i) for i in range(number)], dtype=np.uint64)
    if run.dataset is None or not run.dataset.splits["report"].examples:
        empty = torch.full((number, length), mask)
        return Split(
            use="report", ids=tuple(map(str, range(number))), originals=empty, start=empty, seeds=seeds, mask_id=mask
        )
    report = run.dataset.splits["report"]
    places = [i % len(report.ids) for i in range(number)]
    return replace(report.take(places), seeds=seeds)


def _prompts(split: Split, texts: Sequence[Sequence[str]]) -> list[PromptRecord | None]:
    """The example of each row with its prompt and its filled text; None for rows without an example."""
    if not split.examples:
        return [None] * len(texts)
    return [
        PromptRecord(
            id=example.id,
            prompt=example.prompt,
            conditional=example.conditional,
            shown=example.filled(filled),
        )
        for example, filled in zip(split.examples, texts, strict=True)
    ]


def _schedule_for(folder: RunFolder, schedule: str | None) -> tuple[str, ScheduleSource]:
    """The name of the schedule, and its source."""
    if schedule is not None:
        return schedule, ScheduleSource.NAMED
    if folder.has(folder.schedule):
        return str(folder.schedule), ScheduleSource.SEARCH
    return "linear", ScheduleSource.DEFAULT


def _unused_schedules(folder: RunFolder) -> Iterator[Note]:
    """A note that linear is used, with the schedule files that are there and not used unless they are named."""
    files = [str(file) for kind in ("beta", "optimum") if folder.has(file := folder.path / f"profile-{kind}.yaml")]
    if not files:
        yield Note(
            f"linear is used, since {folder.path} holds no search; give --schedule FOLDER to use the schedule of a "
            "search in another run folder"
        )
    else:
        yield Note(
            f"linear is used, since {folder.path} holds no search; the profile's schedules are {' and '.join(files)}: "
            f"give --schedule {files[0]} to use one"
        )
