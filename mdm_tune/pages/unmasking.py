"""The unmasking of one row as text: its tokens, when each was revealed, and how confident the model was.

It holds no tensors, so that the terminal and figures show the same.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise
from typing import Literal

from mdm_tune.core.messages import quantity
from mdm_tune.core.redaction import JOINERS, printable

__all__ = ["END", "LEVELS", "Glyph", "Kind", "ShownToken", "Unmasking", "clusters", "placed"]

Kind = Literal["prompt", "text", "end"]
LEAST = (0.9, 0.6, 0.3, 0.0)  # confidence of each level
LEVELS = len(LEAST)  # that colours tell apart
END = "\u25a0"  # stands for a token that ends the text
TAB = "    "


@dataclass(frozen=True)
class ShownToken:
    """One token of the row.

    Attributes:
        text: Its text; empty while it is hidden.
        kind: ``prompt`` is visible from the start, ``end`` ends the text.
        step: The step that revealed it, from 1; 0 for the prompt, None while it is hidden.
        confidence: Of the model when the token was revealed, in [0, 1]; None if it is not known.
    """

    text: str = ""
    kind: Kind = "text"
    step: int | None = None
    confidence: float | None = None

    def written(self, change: Callable[[str], str]) -> ShownToken:
        """The same token with another text."""
        return replace(self, text=change(self.text))


@dataclass(frozen=True)
class Unmasking:
    """A row after some of its steps.

    Attributes:
        name: Of the policy.
        tokens: The tokens in their order.
        steps: The budget.
        done: Steps so far.
        scale: What confidence means, for a reader; None if the order has none. Colours then stand for the step.
        note: What is known of the policy, such as its metric with an interval; may be empty.
        open: Whether the predictions still decide how many steps there are; ``steps`` is then what is expected.
    """

    name: str
    tokens: tuple[ShownToken, ...]
    steps: int
    done: int
    scale: str | None = "confidence"
    note: str = ""
    open: bool = False

    @cached_property
    def filled(self) -> tuple[ShownToken, ...]:
        """The tokens that the model fills."""
        return tuple(token for token in self.tokens if token.kind != "prompt")

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """The tokens that each step so far has revealed (done,)."""
        counts = [0] * self.done
        for token in self.filled:
            if token.step is not None:
                counts[token.step - 1] += 1
        return tuple(counts)

    @property
    def progress(self) -> str:
        """The steps and the tokens so far, in words."""
        return self.progress_after(self.done)

    def progress_after(self, step: int) -> str:
        """The steps and the tokens up to a step, in words."""
        steps = f"step {step}" if self.open else f"step {step} of {self.steps}"
        return f"{steps}, {sum(self.counts[:step])} of {quantity(len(self.filled), 'token')}"

    def level(self, token: ShownToken) -> int | None:
        """The colour of a revealed token, from 0 (confident, or an early step) on; None for one without a colour."""
        if token.kind != "text" or not token.step:
            return None
        if self.scale is None:
            return (token.step - 1) * LEVELS // max(self.steps, self.done)
        if token.confidence is None:
            return None
        return next(level for level, least in enumerate(LEAST) if token.confidence >= least)

    @property
    def levels(self) -> Sequence[tuple[int, str]]:
        """The levels and what each of them stands for."""
        if self.scale is not None:
            between = (f"{low} to {high}" for high, low in pairwise(LEAST[:-1]))
            return tuple(enumerate((f"{LEAST[0]} or more", *between, f"below {LEAST[-2]}")))
        most = max(self.steps, self.done)
        found = []
        for level, steps in groupby(range(1, most + 1), key=lambda step: (step - 1) * LEVELS // most):
            first, *rest = steps
            found.append((level, f"{first} to {rest[-1]}" if rest else f"{first}"))
        return found

    @property
    def meaning(self) -> str:
        """What the colours stand for, in words."""
        return f"{self.scale} when revealed" if self.scale else "random order has no confidence; colour is the step"


@dataclass(frozen=True)
class Glyph:
    """One character, with the marks that combine with it, at its place.

    Attributes:
        token: The place of its token in the row.
        text: The character; empty for a hidden token, a line feed for the end of a line, ``END`` for an end token.
        row: From 0.
        column: From 0.
        width: Columns that it takes, 1 or 2; more where a text from right to left is one piece.
    """

    token: int
    text: str
    row: int
    column: int
    width: int


def placed(tokens: Sequence[ShownToken], columns: int, *, at_spaces: bool = False) -> tuple[Glyph, ...]:
    """Where each character of the row stands.

    Args:
        tokens: The tokens.
        columns: Of a line, at least 2.
        at_spaces: Whether lines break at spaces where possible. A row that is still being filled breaks anywhere, so
            that a token does not move others when it is revealed.
    """
    units = list(_units(tokens))
    starts = _word_lengths(units) if at_spaces else {}
    found, row, column, folded = [], 0, 0, False
    for place, (token, text, width) in enumerate(units):
        if column and (column + width > columns or column + min(starts.get(place, 0), columns) > columns):
            row, column, folded = row + 1, 0, True
        if text == " " and column == 0 and folded and at_spaces:
            continue  # the space at which the line was broken
        found.append(Glyph(token=token, text=text, row=row, column=column, width=width))
        column += width
        if text == "\n":
            row, column, folded = row + 1, 0, False
    return tuple(found)


def _units(tokens: Sequence[ShownToken]) -> Iterator[tuple[int, str, int]]:
    """The characters of the row as token, text and width."""
    for place, token in enumerate(tokens):
        if token.step is None:
            yield place, "", 1
        elif token.kind == "end":
            yield place, END, 1
        else:
            yield from ((place, text, width) for text, width in clusters(token.text))


def _word_lengths(units: Sequence[tuple[int, str, int]]) -> dict[int, int]:
    """The columns of each word by the place of its first character."""
    found, place = {}, 0
    for blank, run in groupby(units, key=lambda unit: unit[1] in (" ", "\n")):
        widths = [width for _, _, width in run]
        if not blank:
            found[place] = sum(widths)
        place += len(widths)
    return found


def clusters(text: str) -> list[tuple[str, int]]:
    """The characters of a text with their widths in columns. Control characters are shown as escapes.

    Marks and joiners stay with the character before them, and letters from right to left stay together.
    """
    found: list[tuple[str, int]] = []
    shown = printable(text.replace("\r\n", "\n")).replace("\t", TAB)
    for character in shown:
        category, before = unicodedata.category(character), found[-1] if found else ("", 0)
        if before[0] and (category in ("Mn", "Me") or character in JOINERS or before[0][-1] == "\u200d"):
            found[-1] = (before[0] + character, before[1])
        elif before[0] and _leftward(character) and _leftward(before[0][-1]):
            found[-1] = (before[0] + character, before[1] + 1)
        else:
            found.append((character, 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1))
    return found


def _leftward(character: str) -> bool:
    return unicodedata.bidirectional(character) in ("R", "AL")
