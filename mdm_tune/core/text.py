"""Text and tokens: codecs, chat templates and the clock that chat templates read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Protocol

from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown

__all__ = ["Clock", "Codec", "Symbols", "chat_prompt", "hidden_message"]


class Codec(Protocol):
    """Converts text to a model's tokens and back.

    A codec may also have:

    - ``specials(text)``: the position and the text of everything that the tokenizer reads as a special token, and
      ``encode(text, plain)``: the same as ``encode``, but the special tokens at the positions ``plain`` are read as
      text.
    - ``fingerprint``: a text; equal fingerprints mean equal tokens for every text.
    - ``clock``: the ``Clock`` that its chat template reads.
    """

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """The ids of tokens that end a text; the first one fills the rest of an answer. Empty if there are none."""
        ...

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without added special tokens.

        Raises:
            InputError: the text cannot be written in the model's tokens.
        """
        ...

    def framed(self, tokens: list[int]) -> tuple[list[int], list[int]]:
        """The special tokens that the model expects before and after a whole text of these tokens."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without padding, masks and other special tokens."""
        ...

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The messages in the model's chat template, up to the beginning of the model's answer.

        Args:
            messages: mappings with the keys ``role`` and ``content``.

        Raises:
            InputError: the model has no chat template.
        """
        ...


@dataclass
class Clock:
    """The time that a chat template reads. It is fixed, so that a search resumed on another day has the same prompts.

    Attributes:
        now: when the codec was made; a resumed run sets it to the time of its first start.
        used: whether a template has read the time.
    """

    now: datetime = field(default_factory=datetime.now)
    used: bool = False

    def formatted(self, formats: Iterable[str]) -> dict[str, str]:
        """The time in each format of ``strftime``; templates read it by ``strftime_now``."""
        self.used = True
        times = {}
        for form in formats:
            with suppress(ValueError):  # the template passed an invalid format
                times[form] = self.now.strftime(form)
        return times


def hidden_message(messages: Sequence[Mapping[str, str]], rendered: str) -> str | None:
    """The content of the first message that a chat template left out; None if it shows all of them.

    White space is ignored, because templates strip it. A template may also write the content as a JSON string.

    Args:
        messages: mappings with the key ``content``.
        rendered: the text that the template made of them.
    """
    text = "".join(rendered.split())
    for message in messages:
        content = message["content"]
        forms = (content, json.dumps(content)[1:-1], json.dumps(content, ensure_ascii=False)[1:-1])
        if not any("".join(form.split()) in text for form in forms):
            return content
    return None


def chat_prompt(codec: Codec, messages: Sequence[Mapping[str, str]]) -> str:
    """The messages in the codec's chat template.

    Raises:
        InputError: the model has no chat template, or it leaves out a message.
    """
    text = codec.chat(messages)
    if (content := hidden_message(messages, text)) is not None:
        raise InputError(
            f"dataset.chat: the model's chat template must show every message, got none of {shown(content)} in "
            f"{shown(text)}; correct the template (chat_template of its tokenizer), or leave chat out"
        )
    return text


@dataclass(frozen=True)
class Symbols:
    """A codec with one character per token, for exact laws and the package's own transformer.

    Attributes:
        symbols: the characters, in the order of their token ids.
        end_tokens: the ids of tokens that end a text.
    """

    symbols: str
    end_tokens: tuple[int, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits; equal fingerprints mean equal tokens for every text."""
        ends = "".join(self.symbols[token] for token in self.end_tokens)
        return short_digest(*(text.encode() for text in (self.symbols, ends) if text))

    def encode(self, text: str) -> list[int]:
        if foreign := sorted(set(text) - set(self.symbols)):
            raise InputError(
                f"a text must consist of the model's symbols {self.symbols!r}, got {foreign[0]!r} in {text[:40]!r}; "
                "replace or remove it"
            )
        tokens = [self.symbols.index(character) for character in text]
        if ends := [token for token in tokens if token in self.end_tokens]:
            raise InputError(
                f"a text must not hold {self.symbols[ends[0]]!r}, which ends a text of this model, got {text[:40]!r}; "
                "remove it"
            )
        return tokens

    def framed(self, tokens: list[int]) -> tuple[list[int], list[int]]:
        return [], []

    def decode(self, tokens: Sequence[int]) -> str:
        known = self._known
        return "".join([known[token] for token in tokens if token in known])

    @cached_property
    def _known(self) -> dict[int, str]:
        """The characters of a text, by their tokens."""
        return {token: symbol for token, symbol in enumerate(self.symbols) if token not in self.end_tokens}

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        raise InputError("a model of single characters has no chat template; leave dataset.chat out")
