"""Special tokens in the user's data: text that a tokenizer reads as its mask, its end of text or its padding.

What a chat template or the config's own templates place is meant so; what a record holds is text like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mdm_tune.config.templates import Hole
from mdm_tune.core.errors import InputError
from mdm_tune.core.text import Codec

__all__ = ["Special", "data_specials", "plain_places", "texts_of"]

CONTEXT = 24  # characters on each side by which a text is found again where it was rendered


@dataclass(frozen=True)
class Special:
    """A special token's text at ``place`` of a rendered text, and the field that brought it there."""

    place: int
    text: str
    field: str


def data_specials(codec: Codec, rendered: str, records: Sequence[Mapping[str, Any]]) -> list[Special]:
    """The special tokens that a codec reads in a rendered text and that come from a field of the records.

    A template may trim a field and put anything around it, so that a field's special token is looked for together with
    its neighbours there. A codec that knows no special tokens has none.
    """
    read = getattr(codec, "specials", None)
    found: list[tuple[int, str]] = [] if read is None else read(rendered)
    if not found:
        return []
    fields = [each for record in records for each in texts_of(record)]
    return [
        Special(place, text, names[0])
        for place, text in found
        if (names := [name for name, value in fields if _stands_in(value, text, rendered, place)])
    ]


def plain_places(
    codec: Codec, pieces: Sequence[str | Hole], records: Sequence[Mapping[str, Any]], *, refuse: bool = False
) -> tuple[tuple[int, ...], ...]:
    """For each piece the places of special tokens that come from the records; () where there are none at all.

    Raises InputError for the first of them where they are refused.
    """
    texts = [piece if isinstance(piece, str) else piece.answer or "" for piece in pieces]
    found = [data_specials(codec, text, records) for text in texts]
    first = next((each for listed in found for each in listed), None)
    if first is None:
        return ()
    if refuse:
        raise InputError(
            f"field {first.field!r} holds {first.text!r}, which the model's tokenizer reads as a special token and not "
            "as text; remove it from the data, or set dataset.special_tokens to text, which reads it letter by letter "
            "(a place to fill in is written as [[field]] in dataset.template)"
        )
    return tuple(tuple(each.place for each in listed) for listed in found)


def texts_of(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a record, however deep, with the name of its field."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from texts_of(part, name or str(key))
    elif isinstance(value, Iterable) and not isinstance(value, bytes):
        for part in value:
            yield from texts_of(part, name)


def _stands_in(value: str, text: str, rendered: str, place: int) -> bool:
    """Whether the token's text at a place of what was rendered has the neighbours that it has in a value."""
    at = value.find(text)
    while at >= 0:
        before, after = value[max(at - CONTEXT, 0) : at].lstrip(), value[at + len(text) :][:CONTEXT].rstrip()
        if rendered[:place].endswith(before) and rendered[place + len(text) :].startswith(after):
            return True
        at = value.find(text, at + 1)
    return False
