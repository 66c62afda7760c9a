"""Hugging Face tokenizers as codecs: tokens are those of the vocabulary by hand, and texts come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.core.text import Codec, chat_prompt
from mdm_tune.denoisers.tokenizer import TokenizerCodec, token_ids
from tests.support.tiny_models import residue_vocabulary, transformers, word_tokenizer

WORDS = ["<unk>", "<s>", "</s>", "<mask>", "the", "cat", "sat"]
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    "<s> {{ m.role }}: {{ m.content }} {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.fixture
def residues(tmp_path: Path) -> Any:
    residue_vocabulary(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    return transformers.AutoTokenizer.from_pretrained(tmp_path)


@pytest.fixture
def words(tmp_path: Path) -> Any:
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "mask_token": "<mask>"}
    word_tokenizer(tmp_path, WORDS, ("<s>", "</s>"), **special)
    return transformers.AutoTokenizer.from_pretrained(tmp_path)


def test_every_residue_is_a_token(residues: Any) -> None:
    codec: Codec = TokenizerCodec(residues, vocab_size=25, hidden=(4,), split="characters")
    assert codec.encode("ACY") == [5, 6, 24] and codec.encode("") == []
    assert codec.framed([5, 6]) == ([2], [3]) and codec.end_tokens == ()
    assert codec.decode([2, 5, 4, 6, 24, 3, 0, -1]) == "ACY"
    with pytest.raises(InputError, match="every character of a text must be a token of the model, got ' ' in 'A C'"):
        codec.encode("A C")


def test_a_text_that_is_one_unknown_word_is_refused(residues: Any) -> None:
    codec = TokenizerCodec(residues, vocab_size=25)
    with pytest.raises(InputError, match=r"got 'ACY', all of which is unknown; .* set model\.split to characters"):
        codec.encode("ACY")


def test_words(words: Any) -> None:
    codec = TokenizerCodec(words, vocab_size=7, hidden=(3,), end_tokens=(2,))
    assert codec.encode("the cat sat") == [4, 5, 6] and codec.encode("the dog") == [4, 0]
    assert codec.framed([4]) == ([1], [2]) and codec.end_tokens == (2,)
    assert codec.decode([1, 4, 3, 5, -1, 2, 2]) == "the cat"
    assert codec.encode(codec.decode([6, 4, 5])) == [6, 4, 5]
    assert codec.ids == frozenset(range(7))


def test_no_frame_where_the_tokenizer_adds_none(tmp_path: Path) -> None:
    word_tokenizer(tmp_path, WORDS, unk_token="<unk>")
    assert TokenizerCodec(transformers.AutoTokenizer.from_pretrained(tmp_path), vocab_size=7).framed([4]) == ([], [])


def test_a_token_that_the_model_lacks_is_refused(words: Any) -> None:
    with pytest.raises(InputError, match="must consist of the 6 tokens of the model, got 'sat', token 6"):
        TokenizerCodec(words, vocab_size=6).encode("the cat sat")


def test_chats(words: Any) -> None:
    codec = TokenizerCodec(words, vocab_size=7)
    turn = {"role": "user", "content": "the cat"}
    with pytest.raises(InputError, match="tokenizer has no chat template; leave chat out"):
        codec.chat([turn])
    words.chat_template = TEMPLATE
    assert codec.chat([turn]) == "<s> user: the cat assistant:"
    with pytest.raises(InputError, match=r"refuses messages of roles \['system'\]: no system here"):
        codec.chat([{"role": "system", "content": "sat"}])


PARTS = "{% for m in messages %}<s> {{ m.role }}: {% for part in m.content %}{{ part.text }}{% endfor %} {% endfor %}"


def test_a_template_that_goes_through_parts_is_given_them(words: Any) -> None:
    words.chat_template = PARTS
    codec = TokenizerCodec(words, vocab_size=7)
    assert codec.chat([{"role": "user", "content": "the cat"}]) == "<s> user: the cat "
    assert chat_prompt(codec, [{"role": "user", "content": "the cat"}]) == "<s> user: the cat "


@pytest.mark.parametrize("template", ["<s> user: ", "{% for m in messages %}{{ m.role }}{% endfor %}"])
def test_a_template_that_loses_the_message_is_refused(words: Any, template: str) -> None:
    words.chat_template = template
    codec = TokenizerCodec(words, vocab_size=7)
    with pytest.raises(InputError, match="chat template must show every message, got none of 'the cat' in"):
        chat_prompt(codec, [{"role": "user", "content": "the cat"}])


def test_tokens_by_text_and_by_id(words: Any) -> None:
    assert token_ids(words, ("cat", 2, "cat"), "model.never") == (5, 2)
    assert token_ids(words, ("dog", 5, 99), None) == (5,)
    for absent in ("dog", 99):
        with pytest.raises(InputError, match=r"model\.never: must name tokens of the model's vocabulary, got"):
            token_ids(words, (absent,), "model.never")
