"""Examples of text as rows of a model's tokens: visible tokens, hidden positions and their references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

import torch

from mdm_tune.config.templates import Hole
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.core.text import Codec
from mdm_tune.datasets.examples import Example
from mdm_tune.datasets.splits import PADDING, Dataset, Split, Use, masked_split

__all__ = ["example_dataset", "reference_tokens"]

SHOWN = 60  # most characters of a text that a message shows


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
    """Convert examples of text to rows of a model's tokens. Shorter rows are padded on the left.

    The size of a hole is its own if it has one, else the generation length if text precedes it, else the number of
    tokens of its answer. A shorter answer is followed by end tokens, a longer answer is cut. The reference is unknown
    (-1) where there is no answer, and after a shorter answer if the model has no end token. Special tokens are added
    around the text, see ``frame_of``.

    Args:
        examples: The examples of each use.
        codec: The model's codec.
        mask_id: Id of the mask.
        root: Seed of the examples' noise.
        generation_length: Tokens of a hole after a prompt; None if every hole has a size or an answer.
        longest: Most tokens of a row; None is unlimited.
        stops: Texts that end an answer.

    Raises:
        InputError: If an example has no hole, a hole of unknown size or an empty text, or if a row is too long.
    """
    splits: dict[Use, Split] = {}
    tokens = {
        use: [_start_and_originals(example, codec, mask_id, generation_length) for example in split_examples]
        for use, split_examples in examples.items()
    }
    if longest is not None:
        _check_lengths([*chain.from_iterable(examples.values())], tokens, longest, generation_length)
    for use, split_examples in examples.items():
        rows = tokens[use]
        width = max((len(start) for start, _ in rows), default=0)
        start, originals = (
            torch.tensor([[PADDING] * (width - len(row[part])) + row[part] for row in rows]) for part in (0, 1)
        )
        split = masked_split(use, [example.id for example in split_examples], originals, mask_id, root)
        groups = tuple(example.group or f"example {example.id}" for example in split_examples)
        splits[use] = replace(split, start=start, examples=tuple(split_examples), groups=groups)
    return Dataset(splits, codec, stops=stops)


def _check_lengths(
    examples: Sequence[Example],
    tokens: Mapping[Use, Sequence[tuple[list[int], list[int]]]],
    longest: int,
    generation_length: int | None,
) -> None:
    """Raise InputError if rows have more tokens than the model accepts; the message names the first and the number."""
    lengths = [len(start) for rows in tokens.values() for start, _ in rows]
    over = [(example, length) for example, length in zip(examples, lengths, strict=True) if length > longest]
    if over:
        example, length = over[0]
        remedies = ["shorten prompts or use fewer shots"]
        if (fits := _fitting_length(examples, lengths, longest, generation_length)) > 0:
            remedies.insert(0, f"set dataset.generation_length to at most {fits}, so that all fit")
        if len(over) < len(examples):
            remedies.append("leave such examples out")
        raise InputError(
            f"{example.named} has {quantity(length, 'token')}, the model takes {longest:,}; it begins "
            f"{_shortened(example)}. {len(over):,} of {len(examples):,} examples are too long, the longest has "
            f"{max(lengths):,}; {', or '.join(remedies)}"
        )


def _fitting_length(
    examples: Sequence[Example], lengths: Sequence[int], longest: int, generation_length: int | None
) -> int:
    """The largest generation length with which every row has at most ``longest`` tokens; 0 if none makes all fit."""
    fits = longest if generation_length else 0
    for example, length in zip(examples, lengths, strict=True):
        holes = sum(
            not isinstance(piece, str) and (piece.tokens == generation_length or (piece.tokens is None and place > 0))
            for place, piece in enumerate(example.pieces)
        )
        spare = longest - length + holes * (generation_length or 0)
        fits = min(fits, spare // holes if holes else fits if spare >= 0 else 0)
    return max(0, fits)


def _shortened(example: Example) -> str:
    text = example.shown
    return repr(text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}...")


def _start_and_originals(
    example: Example, codec: Codec, mask_id: int, generation_length: int | None
) -> tuple[list[int], list[int]]:
    """The row that the sampler receives and the row of references of an example, without padding."""
    start: list[int] = []
    originals: list[int] = []
    for place, piece in enumerate(example.pieces):
        if isinstance(piece, str):
            visible = _piece_tokens(codec, mask_id, example, place)
            start += visible
            originals += visible
            continue
        answer = None if piece.answer is None else _piece_tokens(codec, mask_id, example, place)
        size = piece.tokens
        if size is None:
            size = generation_length if place > 0 and generation_length is not None else len(answer or ())
        if size < 1:
            raise InputError(
                f"{example.named} has a hole of no tokens: it needs an answer, or dataset.generation_length; got "
                f"{_shortened(example)}"
            )
        start += [mask_id] * size
        originals += reference_tokens(answer, size, codec.end_tokens)
    if not example.holes:
        raise InputError(f"{example.named} has nothing to fill in, got {_shortened(example)}; give it a hole")
    before, after = frame_of(example, codec, start, originals, generation_length)
    return before + start + after, before + originals + after


def frame_of(
    example: Example, codec: Codec, start: list[int], originals: list[int], generation_length: int | None
) -> tuple[list[int], list[int]]:
    """The special tokens to add before and after an example: those that the model saw around whole texts in training.

    Nothing is added after a last hole that the model ends itself by an end token, that is, a hole with a size of its
    own or the generation length. Special tokens that the text already has, for example from a chat template, are not
    added again.

    Args:
        example: The example.
        codec: The model's codec.
        start: Its tokens, with the mask at hidden positions.
        originals: Its tokens, with references at hidden positions.
        generation_length: Tokens of a hole after a prompt, as in ``example_dataset``.

    Returns:
        The tokens before and after.
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


def _piece_tokens(codec: Codec, mask_id: int, example: Example, place: int) -> list[int]:
    """The tokens of one piece. Raises InputError if the vocabulary has none for it, or one of them is the mask."""
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
            f"which would be one more place to fill in, got {_shortened(example)}; write places to fill in as "
            "[[field]] in dataset.template, and check model.mask_token_id"
        )
    return tokens


def reference_tokens(answer: list[int] | None, size: int, end_tokens: tuple[int, ...]) -> list[int]:
    """The reference of ``size`` positions: the answer, cut or followed by end tokens; -1 where it is unknown."""
    if answer is None:
        return [PADDING] * size
    filler = end_tokens[0] if end_tokens else PADDING
    return (answer + [filler] * size)[:size]
