"""The codec of a user's own model."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm_tune.core.errors import InputError, RunError
from tests.denoisers.test_custom import GOOD, load, written

CODED = (
    GOOD.replace('symbols = 4, "abc"', "codec = 4, Codec()")
    + """

class Codec:
    end_tokens = ()

    def encode(self, text):
        return ["abc".index(letter) for letter in text]

    def framed(self, tokens):
        return [], []

    def decode(self, tokens):
        return "".join("abc"[token] for token in tokens)

    def chat(self, messages):
        return messages[-1]["content"]
"""
)


def with_codec(body: str) -> str:
    """The class Codec before the class that uses it."""
    before, law, rest = body.partition("class Law")
    rest, codec, after = rest.partition("class Codec")
    return before + codec + after + "\n\n" + law + rest


def test_a_codec_of_the_users_own(tmp_path: Path) -> None:
    codec = load(written(tmp_path, with_codec(CODED))).codec
    assert codec.encode("cab") == [2, 0, 1] and codec.decode([2, 0]) == "ca" and codec.framed([1]) == ([], [])
    assert codec.chat([{"role": "user", "content": "ab"}]) == "ab" and codec.end_tokens == ()
    with pytest.raises(InputError, match=r"encode of its codec failed on 'xyz': ValueError: .*\(line 11\)"):
        codec.encode("xyz")
    with pytest.raises(RunError, match=r"decode of its codec failed on \[7\]: IndexError"):
        codec.decode([7])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("end_tokens = ()", "end_tokens = (1, 3)"), r"ids below 3 without the mask 3, got \[1, 3\]"),
        (("end_tokens = ()", "end_tokens = 2"), "end_tokens of its codec must be a tuple of ids"),
        (("end_tokens = ()", "end_tokens = property(lambda self: 1 / 0)"), "end_tokens of its codec failed: ZeroDiv"),
        (("return [], []", "return []"), "framed of its codec must return the lists of ids before and after"),
        (("return [], []", "return [9], []"), "framed of its codec must return whole numbers from 0 to 2, got 9"),
        (('return "".join(', "return list("), r"decode of its codec must return text, got \['a'\]"),
        (('return "".join("abc"', 'return "".join("ab"'), r"decode of its codec failed on \[2\]: IndexError"),
    ],
)
def test_a_codec_is_tried_when_it_is_loaded(change: tuple[str, str], said: str, tmp_path: Path) -> None:
    assert change[0] in CODED
    with pytest.raises(InputError, match=said):
        load(written(tmp_path, with_codec(CODED.replace(*change))))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('["abc".index(letter)', '[7 + "abc".index(letter)'), "must return whole numbers from 0 to 2, got 7 for 'a'"),
        (('["abc".index(letter)', '[1.5 + "abc".index(letter)'), "whole numbers from 0 to 2, got 1.5 for 'a'"),
        (
            ('["abc".index(letter) for letter in text]', "text"),
            "encode of its codec must return a list of ids, got 'a'",
        ),
    ],
)
def test_ids_of_a_codec_belong_to_the_model(change: tuple[str, str], said: str, tmp_path: Path) -> None:
    assert change[0] in CODED
    codec = load(written(tmp_path, with_codec(CODED.replace(*change)))).codec
    with pytest.raises(InputError, match=said):
        codec.encode("a")
