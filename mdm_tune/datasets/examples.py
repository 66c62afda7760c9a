"""One example of a data set: text with holes that a model fills."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mdm_tune.config.templates import Hole
from mdm_tune.core.digests import content_digest

__all__ = ["Example", "group_of", "stable"]


def stable(value: object) -> object:
    """What JSON lacks, as something that is the same in every process: no address of an object in memory."""
    if isinstance(value, bytes | bytearray):
        return hashlib.sha256(value).hexdigest()
    for method in ("isoformat", "tolist", "tobytes"):
        if callable(found := getattr(value, method, None)):
            told = found()
            return hashlib.sha256(told).hexdigest() if isinstance(told, bytes) else told
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(value))


def group_of(*texts: str) -> str:
    """The group of examples whose visible texts these are: sixteen hex digits."""
    return content_digest(texts)


@dataclass(frozen=True)
class Example:
    """Visible text and holes, in order.

    id: unique and stable in its source. A prompt task is (prompt, Hole(answer)), unconditional text (Hole(text),),
    infilling any other sequence. record: the fields of the source, which a task's own scoring may look at. source: the
    file and line, or the set and row, that it comes from; empty where its name says so. plain: for each piece the
    places of special tokens that are read as text; () where there is none in any. group: alike for examples that are
    no independent ones, such as several answers to one prompt; empty where it stands alone.
    """

    id: str
    pieces: tuple[str | Hole, ...]
    record: Mapping[str, Any] = field(default_factory=dict)
    source: str = field(default="", compare=False)
    plain: tuple[tuple[int, ...], ...] = ()
    group: str = ""

    @property
    def named(self) -> str:
        """What messages call it."""
        return f"example {self.id} ({self.source})" if self.source else f"example {self.id}"

    @property
    def holes(self) -> tuple[Hole, ...]:
        """The places to fill, in order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Hole))

    @property
    def prompt(self) -> str:
        """What is visible before the first hole."""
        first = self.pieces[0] if self.pieces else ""
        return first if isinstance(first, str) else ""

    @property
    def answer(self) -> str | None:
        """The reference of the first hole."""
        return self.holes[0].answer if self.holes else None

    @property
    def told(self) -> str:
        """The record as text, the same for equal records."""
        return json.dumps(dict(self.record), sort_keys=True, default=stable) if self.record else ""

    @property
    def conditional(self) -> bool:
        """Whether any text is visible."""
        return any(isinstance(piece, str) for piece in self.pieces)

    @property
    def shown(self) -> str:
        """The whole example for a reader, references in angle brackets."""
        return self.filled(["?" if hole.answer is None else hole.answer for hole in self.holes])

    def filled(self, texts: Sequence[str]) -> str:
        """The whole example for a reader, with these texts in its holes, in angle brackets."""
        left = iter(texts)
        return "".join(piece if isinstance(piece, str) else f"⟨{next(left)}⟩" for piece in self.pieces)
