"""``sample`` between config and terminal: it reports events, writes the run folder and returns JSON."""

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
        config: the whole config; ``output`` names the run folder.
        schedule: how it is named on the command line; None for the run's own schedule file, or linear where there is
            none.
        steps: the budget; None for the first of the config, or the schedule's own where it lacks that.
        number: samples to draw.
        view: makes what shows the first sample while it is filled, from codec and mask id; it may return None.
        devices: where the rows are filled.
        allow: whether code from outside the package may run.
        notify: called with every event.

    Returns:
        What is printed and written to ``samples.json``.

    Raises:
        InputError: the schedule is unknown, does not fit, or decides by itself how many tokens a step reveals.
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
    evaluator = run.evaluator.in_blocks(run.evaluator.block_length)  # a file has its own blocks
    (setting,) = settings_of(evaluator, [name], [steps], optimum=optimum_of(profiles))
    asked = (each for each in profiles.values() if each.taken)
    beside = _beside_a_profile(folder) if chosen is ScheduleSource.DEFAULT else ()
    for note in (*beside, *(note for each in asked for note in profile_notes(each))):
        warned(note)
    for note in other_samplers(run, [name], warned.notes):
        warned(note)
    split = _to_fill(run, number)
    on_step = view(run.model.codec, evaluator.denoiser.mask_id) if evaluator.filler.shows_steps else None
    began = time.monotonic()
    result = evaluator.fill([setting], split.start, split.seeds, on_step=on_step)
    cut = run.dataset or Dataset({}, run.model.codec)  # a data set ends answers at its stops, as for every metric
    texts = cut.fillings(result.tokens, split)
    spent = Cost(result.denoiser_rows, result.denoiser_tokens, time.monotonic() - began)
    for note in memory_notes(run):
        warned(note)
    drawn = SampleResult(
        samples=tuple(
            SampleRecord(tokens=tuple(row), text=" ".join(filled), example=example)
            for row, filled, example in zip(result.tokens.tolist(), texts, _prompts(split, texts), strict=True)
        ),
        schedule=name,
        schedule_from=chosen,
        steps=setting.steps,
        plan=PlanRecord.of(setting),
        nfe=float(result.nfe.double().mean()),
        cost=sum((each.spent for each in profiles.values()), spent),
        warnings=warned.records,
    )
    folder.open()
    folder.write_moment(run.model.clock)
    folder.write_json("samples.json", drawn.to_json())
    return drawn


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
    return replace(report.take(places), seeds=seeds)


def _prompts(split: Split, texts: Sequence[Sequence[str]]) -> list[PromptRecord | None]:
    """The visible text of each example, where there is any: before its first hole, and whole with what was drawn."""
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
    """The schedule to sample with, and where it comes from."""
    if schedule is not None:
        return schedule, ScheduleSource.NAMED
    if folder.has(folder.schedule):
        return str(folder.schedule), ScheduleSource.SEARCH
    return "linear", ScheduleSource.DEFAULT


def _beside_a_profile(folder: RunFolder) -> Iterator[Note]:
    """What a folder with a profile and without a search has to offer in place of linear."""
    found = [str(file) for kind in ("beta", "optimum") if folder.has(file := folder.path / f"profile-{kind}.yaml")]
    if found:
        yield Note(
            f"linear is used, since {folder.path} holds no search; the profile's schedules are {' and '.join(found)}: "
            f"give --schedule {found[0]} to use one"
        )
