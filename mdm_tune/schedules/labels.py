"""What a schedule is called in tables, messages and JSON: its name and, where several are compared, its blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Label"]


@dataclass(frozen=True)
class Label:
    """A name, and the length of the blocks that tell the schedule from itself in others; None where all have the same.

    ``str`` writes it, ``read`` takes it apart again.
    """

    name: str
    blocks: int | None = None

    def __str__(self) -> str:
        return self.name if self.blocks is None else f"{self.name} in blocks of {self.blocks}"

    @classmethod
    def read(cls, text: str) -> Label:
        """The label that is written so."""
        found = re.fullmatch(r"(.*) in blocks of (\d+)", text, re.DOTALL)
        return cls(text) if found is None else cls(found[1], int(found[2]))
