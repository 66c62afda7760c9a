"""Which answers an information profile is measured on: the data's, the model's own, or those of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown
from mdm_tune.core.reading import read_bytes
from mdm_tune.datasets.impossible import ImpossibleTokens
from mdm_tune.datasets.rows import reference_tokens
from mdm_tune.datasets.sources import jsonl_source
from mdm_tune.datasets.splits import PADDING, Split, Use
from mdm_tune.evaluation.evaluator import Cost
from mdm_tune.run.build import Run
from mdm_tune.schedules.curves import Linear

__all__ = ["MODEL", "REFERENCE", "answer_records", "answered", "file_digits", "reencoded"]

REFERENCE, MODEL = "reference", "model"
Record = dict[str, Any]


def answered(
    run: Run, split: Split, source: str, keep: Callable[[str, Callable[[], Record]], Record]
) -> tuple[Split, Cost]:
    """The split with the answers that a profile is measured on as its reference, and what drawing them cost.

    source: ``reference`` keeps the data's own. ``model`` draws one for each example, one token per step in the run's
    own order: a model that follows instructions writes otherwise than the reference does. Anything else is a file of
    JSON lines with ``id`` and ``answer``, and perhaps the answer's ``tokens`` with the ``tokenizer`` that they are of.
    keep: makes a record of that name, or returns the one that is kept.

    Raises InputError for a reference that is unknown at some position, and for a file that cannot be read or lacks an
    example.
    """
    impossible = ImpossibleTokens(run.model.denoiser, run.model.codec)
    if source == REFERENCE:
        unknown = (split.hidden & (split.originals < 0)).any(1)
        if bool(unknown.any()):
            lacking = split.named(int(unknown.nonzero()[0, 0]))
            raise InputError(
                f"profile.answers: a profile on references needs a token at every position, and {lacking} of "
                f"the {split.use} split has none for some; set profile.answers to model, or give each an answer "
                "and, where answers are shorter than dataset.generation_length, the model end tokens (model.end_tokens)"
            )
        impossible.refuse(split, "the loss of a profile")
        return split, Cost()
    if source != MODEL:
        given = _from_file(run, split, Path(source))
        impossible.refuse(given, "the loss of a profile")
        return given, Cost()

    def make() -> Record:
        longest = int(split.hidden.sum(1).max())
        setting = run.evaluator.setting(Linear(), max(run.evaluator.length, longest))
        drawn = run.evaluator.fill([setting], split.start, split.seeds)
        return {"tokens": drawn.tokens.tolist(), "cost": [drawn.denoiser_rows, drawn.denoiser_tokens]}

    kept = keep(f"answers {split.use} {split.fingerprint}", make)
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
    return short_digest(content)


@dataclass(frozen=True)
class _AnswerLine:
    """One line of a file: an answer's text and, where the same tokenizer wrote it, its tokens."""

    place: str
    text: str
    tokens: tuple[int, ...] | None
    foreign: bool  # whether it has tokens of another tokenizer


def _told(run: Run, path: Path) -> dict[str, _AnswerLine]:
    """The answers of a file by the id of their example; raises InputError for a line without id or answer."""
    source, own, found = jsonl_source(path), _tokenizer(run), {}
    most, mask = run.evaluator.denoiser.vocab_size, run.evaluator.denoiser.mask_id
    for number, record in enumerate(source.records):
        place, tokens = source.place(number), record.get("tokens")
        if not isinstance(record.get("id"), str | int) or not isinstance(record.get("answer"), str):
            raise InputError(f"{place}: each line must have id and answer, got {sorted(record)}; add them")
        same = tokens is not None and record.get("tokenizer") == own
        if same and not (isinstance(tokens, list) and all(_is_id(each, most, mask) for each in tokens)):
            raise InputError(
                f"{place}: tokens must be a list of ids of the model, got {shown(tokens)}; remove tokens from the line"
            )
        kept = tuple(tokens) if same and isinstance(tokens, list) else None
        found[str(record["id"])] = _AnswerLine(
            place=place, text=record["answer"], tokens=kept, foreign=tokens is not None and not same
        )
    return found


def _is_id(token: object, most: int, mask: int) -> bool:
    return isinstance(token, int) and not isinstance(token, bool) and 0 <= token < most and token != mask


def _from_file(run: Run, split: Split, path: Path) -> Split:
    file_digits(str(path))
    told = _told(run, path)
    originals = split.originals.clone()
    for row, name in enumerate(split.ids):
        if name not in told:
            raise InputError(
                f"profile.answers: {path} has no answer for {split.named(row)} of the {split.use} split; add a line "
                "with its id"
            )
        hidden = split.hidden[row]
        originals[row, hidden] = torch.tensor(_tokens(run, told[name], int(hidden.sum()), split.named(row)))
    return replace(split, originals=originals)


def _tokens(run: Run, told: _AnswerLine, size: int, name: str) -> list[int]:
    """What belongs into ``size`` positions: the tokens that the file holds, else those of its text."""
    assert run.dataset is not None  # it has splits
    codec = run.dataset.codec
    if told.tokens is not None and len(told.tokens) == size:
        return list(told.tokens)
    found = codec.encode(told.text)
    mask = run.evaluator.denoiser.mask_id
    if mask in found or ((read := getattr(codec, "specials", None)) is not None and read(told.text)):
        raise InputError(
            f"{told.place}: the answer must be text, got {shown(told.text)}, part of which the tokenizer reads as a "
            "special token; remove it"
        )
    answer = reference_tokens(found, size, codec.end_tokens)
    if PADDING in answer:
        raise InputError(
            f"profile.answers: the answer of {name} in {told.place} has fewer than its {size} tokens, and the model "
            "has no end token to fill the rest; lengthen it, or give model.end_tokens"
        )
    return answer


def reencoded(run: Run, use: Use) -> str | None:
    """What to know of a file of answers whose tokens cannot be used; None where they are, or where there are none."""
    source = run.config.profile.answers
    if source in (REFERENCE, MODEL) or run.dataset is None:
        return None
    told, split = _told(run, Path(source)), run.evaluator.split(use)
    sizes = dict(zip(split.ids, split.hidden.sum(1).tolist(), strict=True))
    foreign = [name for name in sizes if name in told and told[name].foreign]
    others = [
        name
        for name, size in sizes.items()
        if name in told and (tokens := told[name].tokens) is not None and len(tokens) != size
    ]
    if not foreign and not others:
        return None
    why = "another tokenizer wrote them" if foreign else "they have another number of tokens than the examples here"
    return (
        f"{len(foreign) + len(others):,} answers of {source} are read from their text and not from their tokens, since "
        f"{why}: losses differ from those of the run that wrote them"
    )


def answer_records(run: Run, split: Split) -> Iterator[Record]:
    """The answers of a split as lines of a file that ``profile.answers`` takes: text, and the very tokens."""
    assert run.dataset is not None  # it has splits
    own, texts = _tokenizer(run), run.dataset.completions(split.originals, split)
    for row, (name, answer) in enumerate(zip(split.ids, texts, strict=True)):
        tokens = split.originals[row][split.hidden[row]].tolist()
        yield {"id": name, "answer": answer, "tokens": tokens, "tokenizer": own}


def _tokenizer(run: Run) -> str:
    """What tells one tokenizer from another; of a codec that does not say so, the model's own fingerprint."""
    found = getattr(run.model.codec, "fingerprint", None)
    return found if isinstance(found, str) else run.model.fingerprint
