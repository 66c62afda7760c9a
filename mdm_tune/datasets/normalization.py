"""Texts as a model's tokens write them: in lower case, without accents or with other spaces."""

from __future__ import annotations

import unicodedata

from mdm_tune.core.errors import InputError
from mdm_tune.core.text import Codec
from mdm_tune.datasets.examples import Example

__all__ = ["read_back", "reference_form", "same_but_form"]


def read_back(codec: Codec, text: str) -> str:
    """What the tokens of a text say; raises InputError where it has none."""
    return codec.decode(codec.encode(text))


def same_but_form(text: str, other: str) -> bool:
    """Whether two texts differ in case, accents and white space at most."""
    return _bare(text) == _bare(other)


def reference_form(codec: Codec, example: Example) -> str | None:
    """What belongs into all holes, in the tokenizer's own form; None where a reference is unknown, or where tokens lose
    more of it than case, accents and spaces. Several holes are joined as completions are.
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


def _bare(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter) and not letter.isspace())
