"""The ``sample`` command: it draws samples, reports events, writes the run folder and returns the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from mdm_tune.commands.events import Note, Notify, Warnings, as_notes, memory_notes, report_loaded
from mdm_tune.commands.profile import profile_notes
from mdm_tune.commands.schedule_notes import other_samplers
from mdm_tune.config.file import Config
from mdm_tune.core.errors import InputError
from mdm_tune.core.permissions import Permissions
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.text import Codec
from mdm_tune.datasets.splits import Dataset, Split
from mdm_tune.evaluation.evaluator import Cost
from mdm_tune.run.build import Run, open_run
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.profiles import optimum_of, profiles_of
from mdm_tune.run.record_parts import PlanRecord
from mdm_tune.run.sample_records import PromptRecord, SampleRecord, SampleResult, ScheduleSource
from mdm_tune.run.schedule_names import own_steps, settings_of
from mdm_tune.sampling.devices import Devices
from mdm_tune.sampling.unmasking import Step
from mdm_tune.schedules.adaptive_names import parse_adaptive

__all__ = ["sample"]


def sample(
    config: Config,
    schedule: str | None,
    steps: int | None,
    number: int,
    view: Callable[[Codec, int], Callable[[Step], None] | None],
    devices: Devices = ("cpu",),
    allow: Permissions = Permissions(),
    notify: Notify = lambda event: None,
) -> SampleResult:
    """Draw ``number`` samples with one schedule and write ``samples.json``.

    Each sample has its own seed: the first n of a longer run are the same.

    Args:
        config: The config of the run; ``output`` names the run folder.
        schedule: Its name on the command line; None for the run's own schedule file, or linear if there is no file.
        steps: The budget; None for the first budget of the config, or of the schedule if it lacks that one.
        number: Samples to draw.
        view: Returns a function that shows the first sample at each step, or None; called with codec and mask id.
        devices: Where the rows are filled.
        allow: Which foreign code may run.
        notify: Called with every event.

    Returns:
        The result, as it is written to ``samples.json``.

    Raises:
        InputError: If the schedule is unknown or does not fit, or if it is an adaptive plan.
        RunError: If the denoiser or a replica fails.
    """
    with open_run(config, devices, allow, as_notes(notify)) as run:
        return _sample(run, schedule, steps, number, view, Warnings(notify))


def _sample(
    run: Run,
    schedule: str | None,
    steps: int | None,
    number: int,
    view: Callable[[Codec, int], Callable[[Step], None] | None],
    warned: Warnings,
) -> SampleResult:
    config = run.config
    report_loaded(run, warned, [steps or config.sampler.steps[0]])
    folder = RunFolder(config.output)
    name, source = _schedule_for(folder, schedule)
    if parse_adaptive(name) is not None:
        raise InputError(
            f"--schedule: {name} decides by itself how many tokens a step reveals, and sample draws with given counts; "
            "compare it with mdm-tune evaluate, or give a schedule such as linear"
        )
    if steps is None:
        first, own = config.sampler.steps[0], own_steps(name)
        steps = first if own is None or first in own else own[0]
    run, profiles = profiles_of(run, folder, warned)
    evaluator = run.evaluator.in_blocks(run.evaluator.block_length)  # a schedule file names its own block length
    (setting,) = settings_of(evaluator, [name], [steps], optimum=optimum_of(profiles))
    in_use = (profile for profile in profiles.values() if profile.used)
    unused = _unused_schedules(folder) if source is ScheduleSource.DEFAULT else ()
    for note in (*unused, *(note for profile in in_use for note in profile_notes(profile))):
        warned(note)
    for note in other_samplers(run, [name], warned.notes):
        warned(note)
    split = _rows_to_fill(run, number)
    on_step = view(run.model.codec, evaluator.denoiser.mask_id) if evaluator.filler.shows_steps else None
    began = time.monotonic()
    result = evaluator.fill([setting], split.start, split.seeds, on_step=on_step)
    dataset = run.dataset or Dataset({}, run.model.codec)  # it ends answers at the stop texts, as for every metric
    texts = dataset.fillings(result.tokens, split)
    spent = Cost(result.denoiser_rows, result.denoiser_tokens, time.monotonic() - began)
    for note in memory_notes(run):
        warned(note)
    sampled = SampleResult(
        samples=tuple(
            SampleRecord(tokens=tuple(row), text=" ".join(filled), example=example)
            for row, filled, example in zip(result.tokens.tolist(), texts, _prompts(split, texts), strict=True)
        ),
        schedule=name,
        schedule_from=source,
        steps=setting.steps,
        plan=PlanRecord.of(setting),
        nfe=float(result.nfe.double().mean()),
        cost=sum((profile.spent for profile in profiles.values()), spent),
        warnings=warned.records,
    )
    folder.open()
    folder.write_moment(run.model.clock)
    folder.write_json("samples.json", sampled.to_json())
    return sampled


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
    """A note about schedule files of a profile in the run folder, which are not used unless they are named."""
    files = [str(file) for kind in ("beta", "optimum") if folder.has(file := folder.path / f"profile-{kind}.yaml")]
    if files:
        yield Note(
            f"linear is used, since {folder.path} holds no search; the profile's schedules are {' and '.join(files)}: "
            f"give --schedule {files[0]} to use one"
        )
