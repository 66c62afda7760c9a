"""A Hugging Face tokenizer as the codec of a model: text to tokens, tokens to text, frames and chats."""

from __future__ import annotations

import json
import re
from ast import literal_eval
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.text import Clock, hidden_message

__all__ = ["TokenizerCodec", "checked_ends", "doubtful_mask", "token_ids"]

SHOWN = 40
STRFTIME_MACRO = "{%- macro strftime_now(form) -%}{{- clock_times[form] -}}{%- endmacro -%}"
BRACKETED = re.compile(r"[<\[{].*[>\]}]", re.DOTALL)  # special tokens are usually written in brackets


class TokenizerCodec:
    """The ``Codec`` of a Hugging Face tokenizer, fast or slow.

    Args:
        tokenizer: The tokenizer.
        vocab_size: Number of tokens that the model knows; a text that needs others is refused.
        hidden: Further ids that stand for no text, such as the mask.
        end_tokens: Ids that end a text.
        split: ``characters`` reads every character as one token of the vocabulary.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        vocab_size: int,
        hidden: Sequence[int] = (),
        end_tokens: tuple[int, ...] = (),
        split: Literal["characters"] | None = None,
    ) -> None:
        self.tokenizer, self.vocab_size, self.split = tokenizer, vocab_size, split
        self.end_tokens = end_tokens
        self._ids: dict[str, int] = tokenizer.get_vocab()
        self._texts = {token: text for text, token in self._ids.items()}
        self.not_decoded = {*tokenizer.all_special_ids, *hidden, *end_tokens}
        self._special = self._special_ids(hidden)
        self.clock = Clock()
        self._before, self._after = self._find_frame()

    @property
    def ids(self) -> frozenset[int]:
        """Every id that stands for a token."""
        return frozenset(self._texts)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits; equal digits mean equal tokens for every text."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        description = json.dumps(sorted(self._ids.items()))
        if backend is not None:  # includes how text is split; every call sets padding and truncation anew
            settings = json.loads(backend.to_str())
            varying = ("padding", "truncation")
            description = json.dumps({name: value for name, value in settings.items() if name not in varying})
        return short_digest(f"{self.split} {description}")

    def encode(self, text: str, plain: Sequence[int] = ()) -> list[int]:
        """Return the tokens of a text.

        Args:
            text: The text.
            plain: Positions of special tokens, as ``specials`` returns them, that are read as ordinary text.

        Raises:
            InputError: If the vocabulary has no tokens for the text.
        """
        if plain:
            tokens = self._with_plain(text, set(plain))
        else:
            tokens = self._characters(text) if self.split == "characters" else self._words(text)
        if unknown := [token for token in tokens if token >= self.vocab_size]:
            raise InputError(
                f"a text must consist of the {self.vocab_size} tokens of the model, got {self._texts[unknown[0]]!r}, "
                f"token {unknown[0]} of the tokenizer, in {text[:SHOWN]!r}; remove it, or give the model's tokenizer"
            )
        return tokens

    def specials(self, text: str) -> list[tuple[int, str]]:
        """Find what the tokenizer reads as special tokens: the position of the first letter, and the token's text.

        Special are the tokens that the tokenizer marks as special, the mask, and end tokens such as <end>. An unknown
        word does not count.
        """
        return [(place, self._texts[token]) for place, _, token in self._spans(text)]

    def framed(self, tokens: list[int]) -> tuple[list[int], list[int]]:
        """Return the special tokens that the tokenizer puts before and after a text."""
        return list(self._before), list(self._after)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, without padding, mask, end of text and other special tokens."""
        visible = [token for token in tokens if token in self._texts and token not in self.not_decoded]
        if self.split == "characters":
            return "".join(self._texts[token] for token in visible)
        text: str = self.tokenizer.decode(visible, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def spelled(self, tokens: Sequence[int]) -> str:
        """Return the texts of tokens, special ones included, for a reader."""
        return "".join(self._texts.get(token, "") for token in tokens)

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return the messages in the tokenizer's chat template. Raises InputError if there is none or it fails."""
        if not self.tokenizer.chat_template:
            raise InputError(
                "dataset.chat: the model's tokenizer has no chat template; leave chat out, or give a model that was "
                "trained on chats"
            )
        copies = [dict(message) for message in messages]
        text = self._render_chat(copies)
        if hidden_message(messages, text) is None:
            return text
        # Some templates expect a list of content parts instead of plain text.
        with_parts = [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]
        with suppress(InputError):
            other = self._render_chat(with_parts)
            return other if hidden_message(messages, other) is None else text
        return text

    def _render_chat(self, messages: Sequence[Mapping[str, Any]]) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **self._clock_options()
            )
        except Exception as error:  # a template is a program and may raise anything
            roles = [message.get("role") for message in messages]
            raise InputError(
                f"dataset.chat: the model's chat template refuses messages of roles {roles}: {error}; change them"
            ) from None
        return text

    def _clock_options(self) -> dict[str, Any]:
        """Options that give a template the clock's time instead of the time of rendering."""
        template = self.tokenizer.get_chat_template()
        if "strftime_now" not in template:
            return {}
        from jinja2 import Environment

        strings = (value for _, kind, value in Environment().lex(template) if kind == "string")
        forms = [form for value in strings if "%" in (form := str(literal_eval(value)))]
        return {"chat_template": STRFTIME_MACRO + template, "clock_times": self.clock.formatted(forms)}

    def _special_ids(self, hidden: Sequence[int]) -> frozenset[int]:
        """Ids that stand for no text. An end token without brackets, such as a line break, is ordinary text."""
        decoder = getattr(self.tokenizer, "added_tokens_decoder", {})
        marked = {token for token, added_token in decoder.items() if getattr(added_token, "special", False)}
        end_ids = {token for token in self.end_tokens if BRACKETED.fullmatch(self._texts.get(token, ""))}
        return frozenset({*self.tokenizer.all_special_ids, *marked, *hidden, *end_ids})

    def _spans(self, text: str) -> list[tuple[int, int, int]]:
        """Start, end and id of each special token in a text."""
        if self.split == "characters":
            ids = [self._ids.get(character, -1) for character in text]
            return [(place, place + 1, token) for place, token in enumerate(ids) if token in self._special]
        ids = self._raw_ids(text)
        if self._special.isdisjoint(ids):
            return []
        if not self.tokenizer.is_fast:  # a slow tokenizer does not report positions
            literals = sorted((self._texts[token] for token in self._special & set(ids)), key=len, reverse=True)
            places = re.finditer("|".join(map(re.escape, literals)), text)
            return [(match.start(), match.end(), self._ids[match[0]]) for match in places]
        encoding = self.tokenizer(text, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
        spans, unknown = [], self.tokenizer.unk_token_id
        for token, (start, stop) in zip(ids, encoding["offset_mapping"], strict=True):
            text_of_token = self._texts.get(token, "")
            # A token may include the spaces beside it. An unknown word is no special token.
            begin = text.find(text_of_token, start, stop)
            if token in self._special and (begin >= 0 or token != unknown) and stop > start:
                spans.append((max(begin, start), begin + len(text_of_token) if begin >= 0 else stop, token))
        return spans

    def _with_plain(self, text: str, plain: set[int]) -> list[int]:
        """The tokens of a text whose special tokens at the positions ``plain`` are read as text.

        The text between two other special tokens is tokenised by itself.
        """
        tokens: list[int] = []
        end = 0
        for start, stop, token in [*self._spans(text), (len(text), len(text), -1)]:
            if start in plain:
                continue
            piece = [] if self.split == "characters" else self._raw_ids(text[end:start], split_special_tokens=True)
            special = [token_id for token_id in piece if self._is_literal(token_id)]
            if self.split == "characters" or special:
                shown_token = text[min(plain) :][:SHOWN] if self.split == "characters" else self._texts[special[0]]
                raise InputError(
                    f"a text must not hold a special token, got {shown_token!r}, for which the tokenizer has no other "
                    "tokens; remove it from the data"
                )
            tokens += [*piece, *([token] if token >= 0 else [])]
            end = stop
        return tokens

    def _is_literal(self, token: int) -> bool:
        return token in self._special and token != self.tokenizer.unk_token_id

    def _raw_ids(self, text: str, **options: Any) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False, **options)["input_ids"]
        return ids

    def _words(self, text: str) -> list[int]:
        tokens = self._raw_ids(text)
        unknown = self.tokenizer.unk_token_id
        if tokens and unknown is not None and all(token == unknown for token in tokens):
            raise InputError(
                f"a text must have tokens in the model's vocabulary, got {text[:SHOWN]!r}, all of which is "
                "unknown; remove it from the data, or where every character is a token of its own, set model.split to "
                "characters"
            )
        return tokens

    def _characters(self, text: str) -> list[int]:
        if foreign := sorted(set(text) - self._ids.keys()):
            raise InputError(
                f"every character of a text must be a token of the model, got {foreign[0]!r} in {text[:SHOWN]!r}; "
                "replace or remove it"
            )
        return [self._ids[character] for character in text]

    def _find_frame(self) -> tuple[list[int], list[int]]:
        """The special tokens around a text, read from a sample: direct ways differ between versions of transformers."""
        for sample in ("a", "A", next(iter(self._ids))):
            bare: list[int] = self.tokenizer(sample, add_special_tokens=False, verbose=False)["input_ids"]
            whole: list[int] = self.tokenizer(sample, verbose=False)["input_ids"]
            for start in range(len(whole) - len(bare) + 1):
                if bare and whole[start : start + len(bare)] == bare:
                    return whole[:start], whole[start + len(bare) :]
        return [], []


def token_ids(tokenizer: Any, tokens: Sequence[int | str], field: str | None) -> tuple[int, ...]:
    """Convert tokens to ids.

    Args:
        tokenizer: The tokenizer.
        tokens: Ids, or texts of tokens.
        field: Path of their YAML field. None marks the tokens of a family; those that this vocabulary lacks are
            dropped, since a checkpoint may have another vocabulary than the published one.

    Raises:
        InputError: If ``field`` is given and the vocabulary lacks a token.
    """
    ids_by_text: dict[str, int] = tokenizer.get_vocab()
    vocabulary = set(ids_by_text.values())
    ids = [ids_by_text.get(token, -1) if isinstance(token, str) else token for token in tokens]
    for token, token_id in zip(tokens, ids, strict=True):
        if field is not None and token_id not in vocabulary:
            raise InputError(
                f"{field}: must name tokens of the model's vocabulary, got {token!r}; give a token's text or its id"
            )
    return tuple(dict.fromkeys(token_id for token_id in ids if token_id in vocabulary))


def checked_ends(
    tokenizer: Any, ends: tuple[int, ...], never: Sequence[int], mask_id: int, vocab_size: int, family: str
) -> tuple[int, ...]:
    """The end tokens, unchanged. Raises InputError if the model can never produce one of them."""
    texts = {token: text for text, token in tokenizer.get_vocab().items()}
    for token in ends:
        if token in never:
            forbidden = ", ".join(repr(texts[excluded]) for excluded in never)
            reason = f"model.never forbids (of family {family}: {forbidden})"
        elif token == mask_id:
            reason = "is the mask"
        elif token >= vocab_size:
            reason = f"is beyond the {vocab_size} tokens of the model"
        else:
            continue
        raise InputError(
            f"model.end_tokens: must be tokens that the model can produce, got {texts[token]!r} ({token}), which "
            f"{reason}; remove it from model.end_tokens, or set model.never without it"
        )
    return ends


def doubtful_mask(tokenizer: Any, mask_id: int) -> list[str]:
    """A note if the tokenizer uses the mask token for something else, too; else an empty list."""
    roles = ("unk", "pad", "sep", "cls", "bos", "eos")
    uses = [f"{role}_token" for role in roles if getattr(tokenizer, f"{role}_token_id", None) == mask_id]
    if not uses:
        return []
    text = tokenizer.convert_ids_to_tokens(mask_id)
    return [
        f"the mask, token {mask_id} ({text!r}), is also the tokenizer's {' and '.join(uses)}: a model is rarely "
        "trained so, and a text with that token would have one more hole; check model.mask_token_id"
    ]
