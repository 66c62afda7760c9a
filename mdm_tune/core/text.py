"""Text and tokens: what a model's tokens mean to a reader."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown

__all__ = ["Clock", "Codec", "Symbols", "chat_prompt", "hidden_message"]


class Codec(Protocol):
    """From text to a model's tokens and back.

    end_tokens: ids that end a text, () where there are none; the first is what fills the rest of an answer. Where some
    text is read as a special token, a codec may have ``specials(text)``, the place and the text of each, and
    ``encode(text, plain)``, which reads those at the places ``plain`` as text. It may have a ``fingerprint``,
    and a ``clock`` where its chat template may ask for the time.
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


@dataclass
class Clock:
    """The time that a chat template is told, so that a search which goes on another day has the prompts it began with.

    now: when the codec was made, until a run that is gone on with says otherwise. asked: whether a template wanted it.
    """

    now: datetime = field(default_factory=datetime.now)
    asked: bool = False

    def told(self, forms: Iterable[str]) -> dict[str, str]:
        """The time in each form of ``strftime``; a template asks for it by strftime_now."""
        self.asked = True
        found = {}
        for form in forms:
            with suppress(ValueError):  # a text that is no form
                found[form] = self.now.strftime(form)
        return found


def hidden_message(messages: Sequence[Mapping[str, str]], rendered: str) -> str | None:
    """The content of the first message that a chat template left out; None where all are there.

    White space counts for nothing, and a template may write a text as a string of JSON.
    """
    whole = "".join(rendered.split())
    for message in messages:
        content = message["content"]
        forms = (content, json.dumps(content)[1:-1], json.dumps(content, ensure_ascii=False)[1:-1])
        if not any("".join(form.split()) in whole for form in forms):
            return content
    return None


def chat_prompt(codec: Codec, messages: Sequence[Mapping[str, str]]) -> str:
    """The messages in the codec's chat template; raises InputError where that leaves one of them out."""
    text = codec.chat(messages)
    if (content := hidden_message(messages, text)) is not None:
        raise InputError(
            f"dataset.chat: the model's chat template must show every message, got none of {shown(content)} in "
            f"{shown(text)}; correct the template (chat_template of its tokenizer), or leave chat out"
        )
    return text


@dataclass(frozen=True)
class Symbols:
    """One character per token, in the order of the ids: exact laws and the package's own transformer."""

    symbols: str
    end_tokens: tuple[int, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits; equal means the same tokens for every text."""
        return short_digest(self.symbols)

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
