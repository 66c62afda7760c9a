"""Special tokens in the user's data: text that a tokenizer reads as its mask, its end of text or its padding.

Special tokens of a chat template or of the config's templates are intended. Those in a record are ordinary text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mdm_tune.config.templates import Hole
from mdm_tune.core.errors import InputError
from mdm_tune.core.text import Codec

__all__ = ["Special", "data_specials", "plain_places", "texts_of"]

CONTEXT = 24  # characters on each side that must match between a field and the rendered text


@dataclass(frozen=True)
class Special:
    """A special token in a rendered text that comes from a field.

    Attributes:
        place: Position of its first character in the rendered text.
        text: Its text.
        field: Name of the field.
    """

    place: int
    text: str
    field: str


def data_specials(codec: Codec, rendered: str, records: Sequence[Mapping[str, Any]]) -> list[Special]:
    """Find the special tokens of a rendered text that come from a field of the records.

    A template may trim a field and put other text around it. A special token is therefore matched to a field by its
    neighbouring characters. A codec without special tokens gives an empty list.

    Args:
        codec: The model's codec.
        rendered: The text.
        records: Records whose fields the text may show.
    """
    find_specials = getattr(codec, "specials", None)
    specials: list[tuple[int, str]] = [] if find_specials is None else find_specials(rendered)
    if not specials:
        return []
    fields = [entry for record in records for entry in texts_of(record)]
    return [
        Special(place, text, names[0])
        for place, text in specials
        if (names := [name for name, value in fields if _has_same_neighbours(value, text, rendered, place)])
    ]


def plain_places(
    codec: Codec, pieces: Sequence[str | Hole], records: Sequence[Mapping[str, Any]], *, refuse: bool = False
) -> tuple[tuple[int, ...], ...]:
    """Find the special tokens in the pieces of an example that come from the records.

    Args:
        codec: The model's codec.
        pieces: Texts and holes of the example.
        records: The example's record, and those of its shots.
        refuse: Whether to raise an error if there are any.

    Returns:
        For each piece, the positions of its special tokens; () if no piece has any.

    Raises:
        InputError: If ``refuse`` is True and there is a special token.
    """
    texts = [piece if isinstance(piece, str) else piece.answer or "" for piece in pieces]
    specials = [data_specials(codec, text, records) for text in texts]
    first = next((special for piece_specials in specials for special in piece_specials), None)
    if first is None:
        return ()
    if refuse:
        raise InputError(
            f"field {first.field!r} holds {first.text!r}, which the model's tokenizer reads as a special token and not "
            "as text; remove it from the data, or set dataset.special_tokens to text, which reads it letter by letter "
            "(a place to fill in is written as [[field]] in dataset.template)"
        )
    return tuple(tuple(special.place for special in piece_specials) for piece_specials in specials)


def texts_of(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield (field, text) for every text in a record, at any depth."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts_of(item, name or str(key))
    elif isinstance(value, Iterable) and not isinstance(value, bytes):
        for item in value:
            yield from texts_of(item, name)


def _has_same_neighbours(value: str, text: str, rendered: str, place: int) -> bool:
    """Whether ``text`` at ``place`` of the rendered text has the same neighbouring characters as in ``value``."""
    start = value.find(text)
    while start >= 0:
        before, after = value[max(start - CONTEXT, 0) : start].lstrip(), value[start + len(text) :][:CONTEXT].rstrip()
        if rendered[:place].endswith(before) and rendered[place + len(text) :].startswith(after):
            return True
        start = value.find(text, start + 1)
    return False
