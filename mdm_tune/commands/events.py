"""What the commands tell while they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mdm_tune.build import Run
from mdm_tune.datasets.splits import Dataset
from mdm_tune.denoisers.asking import working_batch
from mdm_tune.evaluation import Scores
from mdm_tune.profile.measuring import PointMeasured
from mdm_tune.reach import Reach
from mdm_tune.search.budget import Event

__all__ = [
    "BudgetStarted",
    "Loaded",
    "Note",
    "Notify",
    "Reachable",
    "RunEvent",
    "Scored",
    "SearchBegun",
    "loaded_notes",
    "memory_notes",
]


@dataclass(frozen=True)
class Loaded:
    """Model and data are in memory."""

    run: Run


@dataclass(frozen=True)
class SearchBegun:
    """From here on the folder or the storage holds a search, which has to be resumed."""


@dataclass(frozen=True)
class Reachable:
    """What the search of every budget can reach; length: tokens of a sequence."""

    found: tuple[Reach, ...]
    length: int


@dataclass(frozen=True)
class BudgetStarted:
    """The study of one budget begins or goes on."""

    steps: int


@dataclass(frozen=True)
class Scored:
    """``evaluate`` has scored one more setting."""

    scores: Scores
    done: int
    total: int


@dataclass(frozen=True)
class Note:
    """Something about the input that is allowed and worth knowing."""

    text: str


RunEvent = Loaded | SearchBegun | Reachable | BudgetStarted | Scored | Note | PointMeasured | Event
Notify = Callable[[RunEvent], None]


def loaded_notes(run: Run) -> Iterator[Note]:
    """What to know of model and benchmark, which settings its family gave, and what one example looks like."""
    for text in (*run.model.notes, *(run.benchmark.notes if run.benchmark is not None else ())):
        yield Note(text)
    if run.dataset is not None and (text := _cut(run.dataset)):
        yield Note(text)
    if run.config.taken:
        yield Note(f"the config leaves these to the model's family: {', '.join(run.config.taken)}")
    if run.dataset is not None and (examples := run.dataset.splits["tune"].examples):
        yield Note(f"the first tune example, {examples[0].id}, the reference in brackets:\n{examples[0].shown}")


def _cut(dataset: Dataset) -> str:
    """How many references have more tokens than their hole; empty where all fit.

    Of texts with several holes only those holes are looked at that name their tokens.
    """
    cut = total = 0
    for split in (split for split in dataset.splits.values() if split.examples):
        for example, hidden in zip(split.examples, split.hidden.sum(1).tolist(), strict=True):
            single = len(example.holes) == 1
            sizes = [hidden if single else hole.tokens for hole in example.holes]
            answers = [
                None if hole.answer is None else len(dataset.codec.encode(hole.answer)) for hole in example.holes
            ]
            total += any(length is not None for length in answers)
            cut += any(n is not None and size is not None and n > size for n, size in zip(answers, sizes, strict=True))
    if not cut:
        return ""
    return (
        f"{cut:,} of {total:,} references are longer than the tokens that are filled in, and are cut there; where they "
        "are what a metric compares with or prices, raise dataset.generation_length or give holes more tokens"
    )


def memory_notes(run: Run) -> Iterator[Note]:
    """Whether denoiser batches had to be halved, and on which devices, and what spares the attempt the next time."""
    asked, replicas = run.evaluator.sampler.batch, run.replicas
    if replicas is None:
        worked, which = [working_batch(run.evaluator.denoiser, asked)], [""]
    else:
        worked = replicas.working_batches(asked)
        which = [f" in {name}" for name in replicas.names]
    for works, where in zip(worked, which, strict=True):
        if works < asked:
            yield Note(
                f"batches of {asked} rows ran out of memory{where}, {works} worked; set sampler.batch to {min(worked)}"
            )
