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

__all__ = ["Example", "group_of", "stable_json"]


def stable_json(value: object) -> object:
    """Convert a value that JSON lacks to one that is equal in every process, without addresses in memory."""
    if isinstance(value, bytes | bytearray):
        return hashlib.sha256(value).hexdigest()
    for name in ("isoformat", "tolist", "tobytes"):
        if callable(method := getattr(value, name, None)):
            content = method()
            return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else content
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(value))


def group_of(*texts: str) -> str:
    """The group of examples with these visible texts, as sixteen hex digits."""
    return content_digest(texts)


@dataclass(frozen=True)
class Example:
    """Visible text and holes, in order.

    Attributes:
        id: Name, unique and stable in its source.
        pieces: Texts and holes: (prompt, Hole(answer)) for a prompt task, (Hole(text),) for unconditional text, any
            other sequence for infilling.
        record: Fields of the source, for a task's own scoring.
        source: File and line, or set and row; empty if the id says it.
        plain: For each piece, the positions of special tokens that are read as text; () if no piece has any.
        group: Equal for examples that are not independent, such as several answers to one prompt; empty if the
            example stands alone.
    """

    id: str
    pieces: tuple[str | Hole, ...]
    record: Mapping[str, Any] = field(default_factory=dict)
    source: str = field(default="", compare=False)
    plain: tuple[tuple[int, ...], ...] = ()
    group: str = ""

    @property
    def named(self) -> str:
        """The example's name in messages."""
        return f"example {self.id} ({self.source})" if self.source else f"example {self.id}"

    @property
    def holes(self) -> tuple[Hole, ...]:
        """The holes, in order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Hole))

    @property
    def prompt(self) -> str:
        """The text before the first hole."""
        first = self.pieces[0] if self.pieces else ""
        return first if isinstance(first, str) else ""

    @property
    def answer(self) -> str | None:
        """The reference answer of the first hole; None if it is unknown or there is no hole."""
        return self.holes[0].answer if self.holes else None

    @property
    def record_json(self) -> str:
        """The record as JSON, equal for equal records; empty without a record."""
        return json.dumps(dict(self.record), sort_keys=True, default=stable_json) if self.record else ""

    @property
    def conditional(self) -> bool:
        """Whether any text is visible."""
        return any(isinstance(piece, str) for piece in self.pieces)

    @property
    def shown(self) -> str:
        """The whole example for a reader, with references in angle brackets."""
        return self.filled(["?" if hole.answer is None else hole.answer for hole in self.holes])

    def filled(self, texts: Sequence[str]) -> str:
        """The whole example for a reader, with these texts in its holes in angle brackets."""
        remaining = iter(texts)
        return "".join(piece if isinstance(piece, str) else f"⟨{next(remaining)}⟩" for piece in self.pieces)
