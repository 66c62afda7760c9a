"""The codec of a user's own model. Everything that it returns is checked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.guard import RUN_AGAIN, calling
from mdm_tune.core.messages import quantity, shown
from mdm_tune.core.text import Codec, Symbols

__all__ = ["CustomCodec", "custom_codec"]

NEEDED = ("end_tokens", "encode", "framed", "decode", "chat")
TRIED = 256  # most tokens that are decoded when the codec is loaded


class CustomCodec:
    """A ``Codec`` around one that the user wrote. Messages name the method that raises or returns a wrong value.

    Args:
        codec: The user's codec.
        where: Name of the model in messages.
        file: The file with the user's code.
        vocab_size: Number of tokens; all ids must lie below it.
        mask_id: Id of the mask, which stands for no text.
    """

    def __init__(self, codec: Any, where: str, file: Path, vocab_size: int, mask_id: int) -> None:
        self.codec, self.where, self.file, self.vocab_size, self.mask_id = codec, where, file, vocab_size, mask_id
        with calling(f"{where}: end_tokens of its codec", "correct it", file=file, loading=True):
            ends: Any = codec.end_tokens
        if not isinstance(ends, tuple | list) or not all(self._is_token(token) and token != mask_id for token in ends):
            raise InputError(
                f"{where}: end_tokens of its codec must be a tuple of ids below {vocab_size} without the mask "
                f"{mask_id}, got {shown(ends)}; correct the codec"
            )
        self.end_tokens: tuple[int, ...] = tuple(ends)
        self.framed([])
        for token in range(min(vocab_size, TRIED)):
            if token != mask_id:
                self._call_for_text("decode", [token])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["codec"], name)  # optional attributes that the protocol does not require

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text. Raises InputError if the codec raises, or returns no ids of the vocabulary."""
        return self._checked_ids("encode", self._call("encode", text), shown(text))

    def framed(self, tokens: list[int]) -> tuple[list[int], list[int]]:
        """Return the special tokens before and after a text. Raises InputError as ``encode`` does."""
        parts = self._call("framed", list(tokens))
        if not isinstance(parts, tuple | list) or len(parts) != 2:
            raise self._error("framed", "return the lists of ids before and after a text", shown(parts))
        before, after = (self._checked_ids("framed", part, "a text") for part in parts)
        return before, after

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens. Raises RunError if the codec raises, or returns no text."""
        try:
            return self._call_for_text("decode", list(tokens))
        except InputError as error:  # the model drew these tokens while the command ran
            raise RunError(f"{error}, {RUN_AGAIN}") from error

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return the text of chat messages. Raises InputError if the codec raises, or returns no text."""
        return self._call_for_text("chat", [dict(message) for message in messages])

    def _call(self, method: str, argument: Any) -> Any:
        what, place = f"{self.where}: {method} of its codec", f"on {shown(argument)}"
        with calling(what, "correct the codec", file=self.file, place=place, loading=True):
            return getattr(self.codec, method)(argument)

    def _call_for_text(self, method: str, argument: Any) -> str:
        text = self._call(method, argument)
        if not isinstance(text, str):
            raise self._error(method, "return text", shown(text))
        return text

    def _checked_ids(self, method: str, ids: Any, of: str) -> list[int]:
        if not isinstance(ids, list | tuple):
            raise self._error(method, "return a list of ids", shown(ids))
        if outside := [token for token in ids if not self._is_token(token)]:
            raise self._error(
                method, f"return whole numbers from 0 to {self.vocab_size - 1}", f"{shown(outside[0])} for {of}"
            )
        return [int(token) for token in ids]

    def _is_token(self, token: object) -> bool:
        return isinstance(token, int) and not isinstance(token, bool) and 0 <= token < self.vocab_size

    def _error(self, method: str, rule: str, got: str) -> InputError:
        return InputError(f"{self.where}: {method} of its codec must {rule}, got {got}; correct the codec")


def custom_codec(model: Any, where: str, file: Path) -> Codec:
    """The codec of a user's model, from its attribute ``codec`` or ``symbols``.

    Args:
        model: What the user's function returned.
        where: Name of the model in messages.
        file: The file with the user's code.

    Raises:
        InputError: If the model has neither attribute, or if ``symbols`` is no text of distinct characters or has more
            characters than the model has tokens.
    """
    vocab_size, mask_id = int(model.vocab_size), int(model.mask_id)
    with calling(where, "correct it", file=file, loading=True):
        codec = getattr(model, "codec", None)
        symbols = getattr(model, "symbols", None) if codec is None else getattr(codec, "symbols", None)
    if codec is None and symbols is not None:
        if not isinstance(symbols, str):
            raise InputError(
                f"{where}: symbols must be text, one character per token, got {shown(symbols)}; correct it"
            )
        codec = Symbols(symbols)
    missing = [
        name for name in NEEDED if inspect.getattr_static(codec, name, None) is None and not hasattr(codec, name)
    ]
    if missing:
        raise InputError(
            f"{where} must return a denoiser with symbols, one character per token, or a codec, got "
            f"{'neither' if codec is None else 'a codec without ' + ', '.join(missing)}; add one, for a Hugging Face "
            "tokenizer mdm_tune.denoisers.tokenizer.TokenizerCodec"
        )
    if not isinstance(codec, Symbols):
        return CustomCodec(codec, where, file, vocab_size, mask_id)
    if len(set(codec.symbols)) < len(codec.symbols):
        twice = next(symbol for symbol in codec.symbols if codec.symbols.count(symbol) > 1)
        raise InputError(f"{where}: symbols must be different characters, got {twice!r} twice; correct them")
    if len(codec.symbols) > vocab_size:
        raise InputError(
            f"{where}: must have at most as many symbols as tokens, got {quantity(len(codec.symbols), 'symbol')} "
            "and vocab_size "
            f"{vocab_size}; correct one of them"
        )
    CustomCodec(codec, where, file, vocab_size, mask_id)  # checks its end tokens
    return codec
