"""Text and tokens: what a model's tokens mean to a reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mdm_tune.errors import InputError

__all__ = ["Codec", "Symbols"]


class Codec(Protocol):
    """From text to a model's tokens and back.

    end_tokens: ids that end a text, () where there are none; the first is what fills the rest of an answer.
    """

    @property
    def end_tokens(self) -> tuple[int, ...]: ...

    def encode(self, text: str) -> list[int]:
        """The tokens of a text without any special token; raises InputError for a text that has none."""
        ...

    def framed(self, tokens: list[int]) -> tuple[list[int], list[int]]:
        """The special tokens that the model was trained to see before and after a whole text of these tokens."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; padding, the mask and other special tokens are left out."""
        ...

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The messages (role, content) in the model's chat template, up to where its answer begins.

        Raises InputError where the model has no chat template.
        """
        ...


@dataclass(frozen=True)
class Symbols:
    """One character per token, in the order of the ids: exact laws and the package's own transformer."""

    symbols: str
    end_tokens: tuple[int, ...] = ()

    def encode(self, text: str) -> list[int]:
        if foreign := sorted(set(text) - set(self.symbols)):
            raise InputError(
                f"a text must consist of the model's symbols {self.symbols!r}, got {foreign[0]!r} in {text[:40]!r}; "
                "replace or remove it"
            )
        return [self.symbols.index(character) for character in text]

    def framed(self, tokens: list[int]) -> tuple[list[int], list[int]]:
        return [], []

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.symbols[token] for token in tokens if 0 <= token < len(self.symbols))

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        raise InputError("a model of single characters has no chat template; leave dataset.chat out")
