"""Labels of schedules in tables, messages and JSON: the name and, if several are compared, the block length."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Label"]


@dataclass(frozen=True)
class Label:
    """The label of a schedule. ``str`` converts it to text and ``read`` converts the text back.

    Attributes:
        name: the name of the schedule.
        blocks: the block length; None if all compared schedules have the same one.
    """

    name: str
    blocks: int | None = None

    def __str__(self) -> str:
        return self.name if self.blocks is None else f"{self.name} in blocks of {self.blocks}"

    @classmethod
    def read(cls, text: str) -> Label:
        """The label of a text that ``str`` made."""
        match = re.fullmatch(r"(.*) in blocks of (\d+)", text, re.DOTALL)
        return cls(text) if match is None else cls(match[1], int(match[2]))
