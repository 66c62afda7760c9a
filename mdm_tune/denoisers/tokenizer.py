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
TOLD = "{%- macro strftime_now(form) -%}{{- told_times[form] -}}{%- endmacro -%}"
BRACKETED = re.compile(r"[<\[{].*[>\]}]", re.DOTALL)  # how special tokens are written


class TokenizerCodec:
    """The ``Codec`` of a tokenizer, fast or slow.

    vocab_size: the number of tokens that the model knows; a text that needs others is refused. hidden: ids, the mask
    among them, that are no text. split: ``characters`` reads every character as one token of the vocabulary.
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
        self.silent = {*tokenizer.all_special_ids, *hidden, *end_tokens}
        self._marks = self._special_ids(hidden)
        self.clock = Clock()
        self._before, self._after = self._frame()

    @property
    def ids(self) -> frozenset[int]:
        """Every id that stands for a token."""
        return frozenset(self._texts)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits; equal means the same tokens for every text."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        told = json.dumps(sorted(self._ids.items()))
        if backend is not None:  # how it splits, too; padding and truncation are set by every call
            whole = json.loads(backend.to_str())
            told = json.dumps({name: part for name, part in whole.items() if name not in ("padding", "truncation")})
        return short_digest(f"{self.split} {told}")

    def encode(self, text: str, plain: Sequence[int] = ()) -> list[int]:
        """The tokens of a text; raises InputError where the vocabulary has none for it.

        plain: places of special tokens, as ``specials`` gives them, that are read as text, letter by letter.
        """
        if plain:
            tokens = self._with_plain(text, set(plain))
        else:
            tokens = self._characters(text) if self.split == "characters" else self._words(text)
        if beyond := [token for token in tokens if token >= self.vocab_size]:
            raise InputError(
                f"a text must consist of the {self.vocab_size} tokens of the model, got {self._texts[beyond[0]]!r}, "
                f"token {beyond[0]} of the tokenizer, in {text[:SHOWN]!r}; remove it, or give the model's own tokenizer"
            )
        return tokens

    def specials(self, text: str) -> list[tuple[int, str]]:
        """Where a text holds what is read as a special token: the place of its first letter, and the token's text.

        Special are the tokens that the tokenizer calls so, the mask, and ends of text such as <end>. A word that is
        unknown is not.
        """
        return [(place, self._texts[token]) for place, _, token in self._spans(text)]

    def framed(self, tokens: list[int]) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer puts before and after one text."""
        return list(self._before), list(self._after)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens without padding, mask, end of text and other special tokens."""
        shown = [token for token in tokens if token in self._texts and token not in self.silent]
        if self.split == "characters":
            return "".join(self._texts[token] for token in shown)
        text: str = self.tokenizer.decode(shown, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def spelled(self, tokens: Sequence[int]) -> str:
        """The texts of special tokens, for a reader."""
        return "".join(self._texts.get(token, "") for token in tokens)

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The messages in the tokenizer's chat template; raises InputError where it has none or refuses them."""
        if not self.tokenizer.chat_template:
            raise InputError(
                "dataset.chat: the model's tokenizer has no chat template; leave chat out, or give a model that was "
                "trained on chats"
            )
        plain = [dict(message) for message in messages]
        text = self._rendered(plain)
        if hidden_message(messages, text) is None:
            return text
        # Some templates go through the parts of a content, which a plain text has none of.
        parts = [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]
        with suppress(InputError):
            other = self._rendered(parts)
            return other if hidden_message(messages, other) is None else text
        return text

    def _rendered(self, messages: Sequence[Mapping[str, Any]]) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **self._at_one_time()
            )
        except Exception as error:  # whatever the template, a program of its authors, raises
            roles = [message.get("role") for message in messages]
            raise InputError(
                f"dataset.chat: the model's chat template refuses messages of roles {roles}: {error}; change them"
            ) from None
        return text

    def _at_one_time(self) -> dict[str, Any]:
        """Options by which a template that asks for the time is told the clock's, and not when it is rendered."""
        template = self.tokenizer.get_chat_template()
        if "strftime_now" not in template:
            return {}
        from jinja2 import Environment

        strings = (value for _, kind, value in Environment().lex(template) if kind == "string")
        forms = [form for value in strings if "%" in (form := str(literal_eval(value)))]
        return {"chat_template": TOLD + template, "told_times": self.clock.formatted(forms)}

    def _special_ids(self, hidden: Sequence[int]) -> frozenset[int]:
        """Ids that stand for no text; an end of text may also be a word or a line break, which are text."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        called = {token for token, each in added.items() if getattr(each, "special", False)}
        ends = {token for token in self.end_tokens if BRACKETED.fullmatch(self._texts.get(token, ""))}
        return frozenset({*self.tokenizer.all_special_ids, *called, *hidden, *ends})

    def _spans(self, text: str) -> list[tuple[int, int, int]]:
        """First place, end and id of each special token in a text."""
        if self.split == "characters":
            ids = [self._ids.get(character, -1) for character in text]
            return [(place, place + 1, token) for place, token in enumerate(ids) if token in self._marks]
        ids = self._raw(text)
        if self._marks.isdisjoint(ids):
            return []
        if not self.tokenizer.is_fast:  # it does not say where its tokens stand
            texts = sorted((self._texts[token] for token in self._marks & set(ids)), key=len, reverse=True)
            places = re.finditer("|".join(map(re.escape, texts)), text)
            return [(each.start(), each.end(), self._ids[each[0]]) for each in places]
        told = self.tokenizer(text, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
        found, unknown = [], self.tokenizer.unk_token_id
        for token, (start, stop) in zip(ids, told["offset_mapping"], strict=True):
            literal = self._texts.get(token, "")
            # A token may take the spaces beside it, and an unknown word is no special token.
            begin = text.find(literal, start, stop)
            if token in self._marks and (begin >= 0 or token != unknown) and stop > start:
                found.append((max(begin, start), begin + len(literal) if begin >= 0 else stop, token))
        return found

    def _with_plain(self, text: str, plain: set[int]) -> list[int]:
        """The tokens of a text some of whose special tokens are text, those between them as they would be alone."""
        tokens: list[int] = []
        last = 0
        for place, stop, token in [*self._spans(text), (len(text), len(text), -1)]:
            if place in plain:
                continue
            part = [] if self.split == "characters" else self._raw(text[last:place], split_special_tokens=True)
            if self.split == "characters" or (left := [each for each in part if self._is_literal(each)]):
                which = text[min(plain) :][:SHOWN] if self.split == "characters" else self._texts[left[0]]
                raise InputError(
                    f"a text must not hold a special token, got {which!r}, for which the tokenizer has no other "
                    "tokens; remove it from the data"
                )
            tokens += [*part, *([token] if token >= 0 else [])]
            last = stop
        return tokens

    def _is_literal(self, token: int) -> bool:
        return token in self._marks and token != self.tokenizer.unk_token_id

    def _raw(self, text: str, **options: Any) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False, **options)["input_ids"]
        return found

    def _words(self, text: str) -> list[int]:
        tokens = self._raw(text)
        unknown = self.tokenizer.unk_token_id
        if tokens and unknown is not None and all(token == unknown for token in tokens):
            raise InputError(
                f"a text must have tokens in the model's vocabulary, got {text[:SHOWN]!r}, which is unknown as a "
                "whole; remove it from the data, or where every character is a token of its own, set model.split to "
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

    def _frame(self) -> tuple[list[int], list[int]]:
        """Read off what the tokenizer makes of a sample: the ways to ask for it directly differ between versions."""
        for sample in ("a", "A", next(iter(self._ids))):
            bare: list[int] = self.tokenizer(sample, add_special_tokens=False, verbose=False)["input_ids"]
            whole: list[int] = self.tokenizer(sample, verbose=False)["input_ids"]
            for start in range(len(whole) - len(bare) + 1):
                if bare and whole[start : start + len(bare)] == bare:
                    return whole[:start], whole[start + len(bare) :]
        return [], []


def token_ids(tokenizer: Any, given: Sequence[int | str], field: str | None) -> tuple[int, ...]:
    """The ids of tokens that are given by id or text.

    field: the path of the YAML field they come from; None drops the tokens that this vocabulary lacks, as those that a
    family's published vocabulary has need not be in another one.

    Raises InputError for a token that the vocabulary lacks.
    """
    known: dict[str, int] = tokenizer.get_vocab()
    found = set(known.values())
    ids = [known.get(token, -1) if isinstance(token, str) else token for token in given]
    for token, number in zip(given, ids, strict=True):
        if field is not None and number not in found:
            raise InputError(
                f"{field}: must name tokens of the model's vocabulary, got {token!r}; give a token's text or its id"
            )
    return tuple(dict.fromkeys(number for number in ids if number in found))


def checked_ends(
    tokenizer: Any, ends: tuple[int, ...], never: Sequence[int], mask_id: int, vocab_size: int, family: str
) -> tuple[int, ...]:
    """The tokens that end a text; raises InputError for one that the model can never produce."""
    texts = {token: text for text, token in tokenizer.get_vocab().items()}
    for token in ends:
        if token in never:
            reason = f"model.never forbids (of family {family}: {', '.join(repr(texts[each]) for each in never)})"
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
    """A note where the mask is a token that the tokenizer uses for something else."""
    roles = ("unk", "pad", "sep", "cls", "bos", "eos")
    found = [f"{role}_token" for role in roles if getattr(tokenizer, f"{role}_token_id", None) == mask_id]
    if not found:
        return []
    text = tokenizer.convert_ids_to_tokens(mask_id)
    return [
        f"the mask, token {mask_id} ({text!r}), is also the tokenizer's {' and '.join(found)}: a model is seldom "
        "trained so, and a text with that token would have one more hole; check model.mask_token_id"
    ]
