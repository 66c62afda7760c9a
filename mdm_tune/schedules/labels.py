"""Labels of schedules in tables, messages and JSON: the name and, if several are compared, the block length."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import PurePath

__all__ = ["Label", "short_label"]


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


def short_label(text: str) -> str:
    """A label for a line of text: a file without its folders, parameters of a curve in four digits."""
    label = Label.read(text)
    name, (kind, _, numbers) = label.name, label.name.partition(":")
    if name.endswith((".yaml", ".yml")):
        name = PurePath(name).name
    elif kind in ("beta", "shift"):
        with suppress(ValueError):  # a person may have edited the file
            name = f"{kind}:{','.join(f'{float(number):.4g}' for number in numbers.split(','))}"
    return str(replace(label, name=name))
