"""The codec of a user's own model, each of whose answers is looked at."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.guard import RUN_AGAIN, calling
from mdm_tune.core.messages import quantity, shown
from mdm_tune.core.text import Codec, Symbols

__all__ = ["OwnCodec", "codec_of"]

NEEDED = ("end_tokens", "encode", "framed", "decode", "chat")
TRIED = 256  # tokens that are decoded when the codec is loaded


class OwnCodec:
    """A ``Codec`` over one that the user wrote; what it raises or returns wrongly is said with its name.

    where: what messages call the model. file: of the user's code. vocab_size: ids lie below it. mask_id: is no text.
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
                self._text("decode", [token])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["codec"], name)  # what a codec may have beside the protocol

    def encode(self, text: str) -> list[int]:
        """Its tokens of a text; raises InputError for what it raises, and for anything but ids of the vocabulary."""
        return self._ids("encode", self._called("encode", text), shown(text))

    def framed(self, tokens: list[int]) -> tuple[list[int], list[int]]:
        """Its special tokens around a text, likewise."""
        found = self._called("framed", list(tokens))
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise self._wrong("framed", "return the lists of ids before and after a text", shown(found))
        before, after = (self._ids("framed", part, "a text") for part in found)
        return before, after

    def decode(self, tokens: Sequence[int]) -> str:
        """Its text of tokens; raises RunError for what it raises, and for anything but text."""
        try:
            return self._text("decode", list(tokens))
        except InputError as error:  # the model drew these tokens while the command ran
            raise RunError(f"{error}, {RUN_AGAIN}") from error

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Its text of messages; raises InputError for what it raises, and for anything but text."""
        return self._text("chat", [dict(message) for message in messages])

    def _called(self, method: str, given: Any) -> Any:
        what, place = f"{self.where}: {method} of its codec", f"on {shown(given)}"
        with calling(what, "correct the codec", file=self.file, place=place, loading=True):
            return getattr(self.codec, method)(given)

    def _text(self, method: str, given: Any) -> str:
        found = self._called(method, given)
        if not isinstance(found, str):
            raise self._wrong(method, "return text", shown(found))
        return found

    def _ids(self, method: str, found: Any, of: str) -> list[int]:
        if not isinstance(found, list | tuple):
            raise self._wrong(method, "return a list of ids", shown(found))
        if beyond := [token for token in found if not self._is_token(token)]:
            raise self._wrong(
                method, f"return whole numbers from 0 to {self.vocab_size - 1}", f"{shown(beyond[0])} for {of}"
            )
        return [int(token) for token in found]

    def _is_token(self, token: object) -> bool:
        return isinstance(token, int) and not isinstance(token, bool) and 0 <= token < self.vocab_size

    def _wrong(self, method: str, rule: str, got: str) -> InputError:
        return InputError(f"{self.where}: {method} of its codec must {rule}, got {got}; correct the codec")


def codec_of(made: Any, where: str, file: Path) -> Codec:
    """The codec of what a user's function returned, from its ``codec`` or its ``symbols``.

    Raises InputError where there is neither, and for symbols that are no text of different characters or more than the
    model has tokens.
    """
    vocab_size, mask_id = int(made.vocab_size), int(made.mask_id)
    with calling(where, "correct it", file=file, loading=True):
        codec = getattr(made, "codec", None)
        symbols = getattr(made, "symbols", None) if codec is None else getattr(codec, "symbols", None)
    if codec is None and symbols is not None:
        if not isinstance(symbols, str):
            raise InputError(
                f"{where}: symbols must be text, one character per token, got {shown(symbols)}; correct it"
            )
        codec = Symbols(symbols)
    lacking = [
        name for name in NEEDED if inspect.getattr_static(codec, name, None) is None and not hasattr(codec, name)
    ]
    if lacking:
        raise InputError(
            f"{where} must return a denoiser with symbols, one character per token, or a codec, got "
            f"{'neither' if codec is None else 'a codec without ' + ', '.join(lacking)}; add one, for a Hugging Face "
            "tokenizer mdm_tune.denoisers.tokenizer.TokenizerCodec"
        )
    if not isinstance(codec, Symbols):
        return OwnCodec(codec, where, file, vocab_size, mask_id)
    if len(set(codec.symbols)) < len(codec.symbols):
        twice = next(each for each in codec.symbols if codec.symbols.count(each) > 1)
        raise InputError(f"{where}: symbols must be different characters, got {twice!r} twice; correct them")
    if len(codec.symbols) > vocab_size:
        raise InputError(
            f"{where}: must have at most as many symbols as tokens, got {quantity(len(codec.symbols), 'symbol')} "
            "and vocab_size "
            f"{vocab_size}; correct one of them"
        )
    OwnCodec(codec, where, file, vocab_size, mask_id)  # its end tokens are looked at there
    return codec
