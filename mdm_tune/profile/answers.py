"""Which answers an information profile is measured on: the data's, the model's own, or those of a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mdm_tune.build import Run
from mdm_tune.datasets.rows import reference_tokens
from mdm_tune.datasets.sources import jsonl_source
from mdm_tune.datasets.splits import PADDING, Split
from mdm_tune.errors import InputError
from mdm_tune.evaluation import Cost
from mdm_tune.reading import read_bytes
from mdm_tune.schedules import Linear

__all__ = ["MODEL", "REFERENCE", "answer_records", "answered", "file_digits"]

REFERENCE, MODEL = "reference", "model"
Record = dict[str, Any]


def answered(
    run: Run, split: Split, source: str, share: Callable[[str, Callable[[], Record]], Record]
) -> tuple[Split, Cost]:
    """The split with the answers that a profile is measured on as its reference, and what drawing them cost.

    source: ``reference`` keeps the data's own. ``model`` draws one for each example, one token per step in the run's
    own order: a model that follows instructions writes otherwise than the reference does. Anything else is a file of
    JSON lines with ``id`` and ``answer``. share: makes a record once for all workers.

    Raises InputError for a reference that is unknown at some position, and for a file that cannot be read or lacks an
    example.
    """
    if source == REFERENCE:
        unknown = (split.hidden & (split.originals < 0)).any(1)
        if bool(unknown.any()):
            lacking = split.named(int(unknown.nonzero()[0, 0]))
            raise InputError(
                f"profile.answers: a profile on references needs a token at every position, and {lacking} of "
                f"the {split.use} split has none for some; set profile.answers to model, or give each an answer "
                "and, where answers are shorter than dataset.generation_length, the model end tokens (model.end_tokens)"
            )
        return split, Cost()
    if source != MODEL:
        return _from_file(run, split, Path(source)), Cost()

    def make() -> Record:
        setting = run.evaluator.setting(Linear(), run.evaluator.length)
        drawn = run.evaluator.fill([setting], split.start, split.seeds)
        return {"tokens": drawn.tokens.tolist(), "cost": [drawn.denoiser_rows, drawn.denoiser_tokens]}

    kept = share(f"answers {split.use} {split.fingerprint}", make)
    rows, tokens = kept["cost"]
    return replace(split, originals=torch.tensor(kept["tokens"])), Cost(rows, tokens)


def file_digits(source: str) -> str:
    """What a kept profile depends on: the source's name or, of a file, sixteen hex digits of what it says."""
    if source in (REFERENCE, MODEL):
        return source
    try:
        content = read_bytes(Path(source), remedy="give reference, model, or a file of JSON lines with id and answer")
    except InputError as error:
        raise InputError(f"profile.answers: {error}") from None
    return hashlib.sha256(content).hexdigest()[:16]


def _from_file(run: Run, split: Split, path: Path) -> Split:
    file_digits(str(path))
    dataset = run.dataset
    assert dataset is not None
    told: dict[str, str] = {}
    source = jsonl_source(path)
    for number, record in enumerate(source.records):
        if not isinstance(record.get("id"), str | int) or not isinstance(record.get("answer"), str):
            raise InputError(
                f"{source.place(number)}: each line must have id and answer, got {sorted(record)}; add them"
            )
        told[str(record["id"])] = record["answer"]
    originals = split.originals.clone()
    for row, name in enumerate(split.ids):
        if name not in told:
            raise InputError(
                f"profile.answers: {path} has no answer for example {name} of the {split.use} split; add a line with "
                "its id"
            )
        hidden = split.hidden[row]
        answer = reference_tokens(dataset.codec.encode(told[name]), int(hidden.sum()), dataset.codec.end_tokens)
        if PADDING in answer:
            raise InputError(
                f"profile.answers: the answer of example {name} in {path} has fewer than its {len(answer)} tokens, and "
                "the model has no end token to fill the rest; lengthen it, or give model.end_tokens"
            )
        originals[row, hidden] = torch.tensor(answer)
    return replace(split, originals=originals)


def answer_records(run: Run, split: Split) -> Iterator[Record]:
    """The answers of a split as lines of a file that ``profile.answers`` takes."""
    assert run.dataset is not None  # it has splits
    for name, answer in zip(split.ids, run.dataset.completions(split.originals, split), strict=True):
        yield {"id": name, "answer": answer}
