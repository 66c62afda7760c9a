"""Texts as a tokenizer writes them, which may change case, accents and spaces."""

from __future__ import annotations

import unicodedata

from mdm_tune.core.errors import InputError
from mdm_tune.core.text import Codec
from mdm_tune.datasets.examples import Example

__all__ = ["read_back", "reference_form", "same_but_form"]


def read_back(codec: Codec, text: str) -> str:
    """Encode and decode a text. Raises InputError if the vocabulary has no tokens for it."""
    return codec.decode(codec.encode(text))


def same_but_form(text: str, other: str) -> bool:
    """Whether two texts are equal, apart from case, accents and white space."""
    return _without_form(text) == _without_form(other)


def reference_form(codec: Codec, example: Example) -> str | None:
    """The references of all holes as the tokenizer writes them, joined by spaces.

    None if a reference is unknown, or if tokenization loses more than case, accents and spaces.
    """
    forms = []
    for hole in example.holes:
        if hole.answer is None:
            return None
        try:
            forms.append(read_back(codec, hole.answer))
        except InputError:
            return None
        if not same_but_form(forms[-1], hole.answer):
            return None
    return " ".join(forms)


def _without_form(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter) and not letter.isspace())
