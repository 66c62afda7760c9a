"""Examples of text as rows of a model's tokens: what is visible, what is hidden, and what belongs there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from mdm_tune.config.templates import Hole
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.core.text import Codec
from mdm_tune.datasets.examples import Example
from mdm_tune.datasets.splits import PADDING, Dataset, Split, Use, masked_split

__all__ = ["example_dataset", "reference_tokens"]

BEGINNING = 60  # characters of a text that a message shows


def example_dataset(
    examples: Mapping[Use, Sequence[Example]],
    codec: Codec,
    mask_id: int,
    root: int,
    *,
    generation_length: int | None = None,
    longest: int | None = None,
    stops: tuple[str, ...] = (),
) -> Dataset:
    """Examples of text in a model's tokens; shorter rows are padded on the left.

    A hole has the positions that it names, else those of the generation length where text stands before it, else as
    many as its answer has tokens. An answer shorter than its hole is followed by end tokens, a longer one is cut; where
    the model has no end token, and where there is no answer, the reference is unknown. Around the whole stand the
    special tokens that the model was trained to see, see ``frame_of``. longest: tokens a row may have.
    stops: texts that end an answer.

    Raises InputError for an example without a hole, a hole whose size nothing says, an empty text and a row that is too
    long.
    """
    splits: dict[Use, Split] = {}
    tokens = {
        use: [_tokenised(example, codec, mask_id, generation_length) for example in listed]
        for use, listed in examples.items()
    }
    if longest is not None:
        _check_lengths([example for listed in examples.values() for example in listed], tokens, longest)
    for use, listed in examples.items():
        rows = tokens[use]
        width = max((len(start) for start, _ in rows), default=0)
        given, told = (
            torch.tensor([[PADDING] * (width - len(row[part])) + row[part] for row in rows]) for part in (0, 1)
        )
        split = masked_split(use, [example.id for example in listed], told, mask_id, root)
        groups = tuple(example.group or f"example {example.id}" for example in listed)
        splits[use] = replace(split, start=given, examples=tuple(listed), groups=groups)
    return Dataset(splits, codec, stops=stops)


def _check_lengths(
    examples: Sequence[Example], tokens: Mapping[Use, Sequence[tuple[list[int], list[int]]]], longest: int
) -> None:
    """Raise InputError where rows have more tokens than the model takes: the first of them, and how many there are."""
    lengths = [len(start) for rows in tokens.values() for start, _ in rows]
    over = [(example, length) for example, length in zip(examples, lengths, strict=True) if length > longest]
    if over:
        example, length = over[0]
        raise InputError(
            f"{example.named} has {quantity(length, 'token')}, the model takes {longest:,}; it begins "
            f"{_beginning(example)}. "
            f"{len(over):,} of {len(examples):,} examples are too long, the longest has {max(lengths):,}; shorten "
            "prompts or dataset.generation_length, use fewer shots, or leave such examples out"
        )


def _beginning(example: Example) -> str:
    text = example.shown
    return repr(text if len(text) <= BEGINNING else f"{text[: BEGINNING - 3]}...")


def _tokenised(
    example: Example, codec: Codec, mask_id: int, generation_length: int | None
) -> tuple[list[int], list[int]]:
    """What the sampler is given and the reference, for one example, without padding."""
    start: list[int] = []
    originals: list[int] = []
    for place, piece in enumerate(example.pieces):
        if isinstance(piece, str):
            visible = _encoded(codec, mask_id, example, place)
            start += visible
            originals += visible
            continue
        answer = None if piece.answer is None else _encoded(codec, mask_id, example, place)
        size = piece.tokens
        if size is None:
            size = generation_length if place > 0 and generation_length is not None else len(answer or ())
        if size < 1:
            raise InputError(
                f"{example.named} has a hole of no tokens: it needs an answer, or dataset.generation_length; got "
                f"{_beginning(example)}"
            )
        start += [mask_id] * size
        originals += reference_tokens(answer, size, codec.end_tokens)
    if not example.holes:
        raise InputError(f"{example.named} has nothing to fill in, got {_beginning(example)}; give it a hole")
    before, after = frame_of(example, codec, start, originals, generation_length)
    return before + start + after, before + originals + after


def frame_of(
    example: Example, codec: Codec, start: list[int], originals: list[int], generation_length: int | None
) -> tuple[list[int], list[int]]:
    """The special tokens before and after the tokens of an example: those that the model saw around whole texts.

    Nothing follows an answer whose end is the model's own to say, by an end token in more positions than a reference
    fills. Where the size of the last hole is the text's size, as in every model without end tokens, what closes a text
    stands behind it too. A frame that the text already has, from a chat template or by hand, is not put twice.
    """
    before, after = codec.framed(originals)
    last, alone = example.pieces[-1], len(example.pieces) == 1
    if isinstance(last, Hole) and not alone and codec.end_tokens and (last.tokens or generation_length) is not None:
        after = []
    if before and start[: len(before)] == before:
        before = []
    if after and start[-len(after) :] == after:
        after = []
    return before, after


def _encoded(codec: Codec, mask_id: int, example: Example, place: int) -> list[int]:
    """The tokens of one piece; raises InputError where there are none, and where one of them is the mask."""
    piece = example.pieces[place]
    text = piece if isinstance(piece, str) else piece.answer or ""
    plain = example.plain[place] if example.plain else ()
    try:
        tokens: list[int] = codec.encode(text, plain) if plain else codec.encode(text)  # type: ignore[call-arg]
    except InputError as error:
        raise InputError(f"{example.named}: {error}") from None
    if mask_id in tokens:
        what = "its text" if isinstance(piece, str) else "its reference"
        raise InputError(
            f"{example.named}: {what} has the mask, token {mask_id}, as its token number {tokens.index(mask_id) + 1}, "
            f"which would be one more place to fill in, got {_beginning(example)}; write places to fill in as "
            "[[field]] in dataset.template, and check model.mask_token_id"
        )
    return tokens


def reference_tokens(answer: list[int] | None, size: int, end_tokens: tuple[int, ...]) -> list[int]:
    """What belongs into ``size`` positions: an answer, cut or followed by end tokens, -1 where nothing is known."""
    if answer is None:
        return [PADDING] * size
    filler = end_tokens[0] if end_tokens else PADDING
    return (answer + [filler] * size)[:size]
