"""The answers on which an information profile is measured: the references, the model's own, or those of a file."""

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
from mdm_tune.evaluation.scores import Cost
from mdm_tune.run.build import Run

__all__ = ["MODEL", "REFERENCE", "answer_records", "file_digits", "reencoded", "with_answers"]

REFERENCE, MODEL = "reference", "model"
Record = dict[str, Any]


def with_answers(
    run: Run, split: Split, source: str, keep: Callable[[str, Callable[[], Record]], Record]
) -> tuple[Split, Cost]:
    """Replace the references of a split by the answers on which a profile is measured.

    Args:
        run: The run.
        split: The examples.
        source: ``reference`` for the references of the data; ``model`` for answers that are drawn now, one token per
            step in the order of the run, since an instructed model does not write as references do; else the path of a
            file of JSON lines with ``id`` and ``answer``, and optionally the answer's ``tokens`` and their
            ``tokenizer``.
        keep: Returns the stored record of a name; makes and stores it if there is none.

    Returns:
        The split, and the cost of drawing answers.

    Raises:
        InputError: If a reference is unknown at some position, if an answer has a token that the model never produces,
            or if the file cannot be read or lacks an example.
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
        with_file_answers = _with_file_answers(run, split, Path(source))
        impossible.refuse(with_file_answers, "the loss of a profile")
        return with_file_answers, Cost()

    def draw() -> Record:
        drawn = run.evaluator.one_by_one(split)
        return {"tokens": drawn.tokens.tolist(), "cost": [drawn.denoiser_rows, drawn.denoiser_tokens]}

    record = keep(f"answers {split.use} {split.fingerprint}", draw)
    rows, tokens = record["cost"]
    return replace(split, originals=torch.tensor(record["tokens"])), Cost(rows, tokens)


def file_digits(source: str) -> str:
    """What a stored profile depends on: the name of the source, or sixteen hex digits of a file's content.

    Raises InputError if the file cannot be read.
    """
    if source in (REFERENCE, MODEL):
        return source
    try:
        content = read_bytes(Path(source), remedy="give reference, model, or a file of JSON lines with id and answer")
    except InputError as error:
        raise InputError(f"profile.answers: {error}") from None
    return short_digest(content)


@dataclass(frozen=True)
class _AnswerLine:
    """One line of a file of answers.

    Attributes:
        place: File and line, for messages.
        text: The answer's text.
        tokens: The answer's tokens; None if the line has none of this model's tokenizer.
        foreign: Whether the line has tokens of another tokenizer.
    """

    place: str
    text: str
    tokens: tuple[int, ...] | None
    foreign: bool


def _answers_by_id(run: Run, path: Path) -> dict[str, _AnswerLine]:
    """The answers of a file, by the id of their example. Raises InputError for a line without id or answer."""
    source, own_tokenizer, answers = jsonl_source(path), _tokenizer_name(run), {}
    vocab_size, mask = run.evaluator.denoiser.vocab_size, run.evaluator.denoiser.mask_id
    for number, record in enumerate(source.records):
        place, tokens = source.place(number), record.get("tokens")
        if not isinstance(record.get("id"), str | int) or not isinstance(record.get("answer"), str):
            raise InputError(f"{place}: each line must have id and answer, got {sorted(record)}; add them")
        usable = tokens is not None and record.get("tokenizer") == own_tokenizer
        if usable and not (isinstance(tokens, list) and all(_is_id(token, vocab_size, mask) for token in tokens)):
            raise InputError(
                f"{place}: tokens must be a list of ids of the model, got {shown(tokens)}; remove tokens from the line"
            )
        answers[str(record["id"])] = _AnswerLine(
            place=place,
            text=record["answer"],
            tokens=tuple(tokens) if usable and isinstance(tokens, list) else None,
            foreign=tokens is not None and not usable,
        )
    return answers


def _is_id(token: object, vocab_size: int, mask: int) -> bool:
    return isinstance(token, int) and not isinstance(token, bool) and 0 <= token < vocab_size and token != mask


def _with_file_answers(run: Run, split: Split, path: Path) -> Split:
    """The split with the answers of a file as references. Raises InputError if the file lacks an example."""
    file_digits(str(path))  # its message for an unreadable file names the option
    answers = _answers_by_id(run, path)
    originals = split.originals.clone()
    for row, name in enumerate(split.ids):
        if name not in answers:
            raise InputError(
                f"profile.answers: {path} has no answer for {split.named(row)} of the {split.use} split; add a line "
                "with its id"
            )
        hidden = split.hidden[row]
        originals[row, hidden] = torch.tensor(_answer_tokens(run, answers[name], int(hidden.sum()), split.named(row)))
    return replace(split, originals=originals)


def _answer_tokens(run: Run, answer: _AnswerLine, size: int, name: str) -> list[int]:
    """The tokens (size,) of an answer: those of its line if they are ``size``, else those of its text.

    Raises InputError if the text holds a special token, or if it is too short and the model has no end token.
    """
    assert run.dataset is not None  # a split is given, so that there is a data set
    codec = run.dataset.codec
    if answer.tokens is not None and len(answer.tokens) == size:
        return list(answer.tokens)
    encoded = codec.encode(answer.text)
    mask = run.evaluator.denoiser.mask_id
    if mask in encoded or ((find_specials := getattr(codec, "specials", None)) and find_specials(answer.text)):
        raise InputError(
            f"{answer.place}: the answer must be text, got {shown(answer.text)}, part of which the tokenizer reads as "
            "a special token; remove it"
        )
    tokens = reference_tokens(encoded, size, codec.end_tokens)
    if PADDING in tokens:
        raise InputError(
            f"profile.answers: the answer of {name} in {answer.place} has fewer than its {size} tokens, and the model "
            "has no end token to fill the rest; lengthen it, or give model.end_tokens"
        )
    return tokens


def reencoded(run: Run, use: Use) -> str | None:
    """A note if tokens of a file of answers cannot be used; None if all are used, or if no file is used."""
    source = run.config.profile.answers
    if source in (REFERENCE, MODEL) or run.dataset is None:
        return None
    answers, split = _answers_by_id(run, Path(source)), run.evaluator.split(use)
    sizes = dict(zip(split.ids, split.hidden.sum(1).tolist(), strict=True))
    foreign = [name for name in sizes if name in answers and answers[name].foreign]
    of_other_size = [
        name
        for name, size in sizes.items()
        if name in answers and (tokens := answers[name].tokens) is not None and len(tokens) != size
    ]
    if not foreign and not of_other_size:
        return None
    why = "another tokenizer wrote them" if foreign else "they have another number of tokens than the examples here"
    number = len(foreign) + len(of_other_size)
    return (
        f"{number:,} answers of {source} are read from their text and not from their tokens, since "
        f"{why}: losses differ from those of the run that wrote them"
    )


def answer_records(run: Run, split: Split) -> Iterator[Record]:
    """Yield the answers of a split as lines of a file for ``profile.answers``, with their text and tokens."""
    assert run.dataset is not None  # a split is given, so that there is a data set
    tokenizer, texts = _tokenizer_name(run), run.dataset.completions(split.originals, split)
    for row, (name, answer) in enumerate(zip(split.ids, texts, strict=True)):
        tokens = split.originals[row][split.hidden[row]].tolist()
        yield {"id": name, "answer": answer, "tokens": tokens, "tokenizer": tokenizer}


def _tokenizer_name(run: Run) -> str:
    """The fingerprint of the run's tokenizer; of the model if the codec has none."""
    fingerprint = getattr(run.model.codec, "fingerprint", None)
    return fingerprint if isinstance(fingerprint, str) else run.model.fingerprint
