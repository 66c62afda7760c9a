"""Text with holes becomes rows of tokens: what is hidden, what is told, what is read back."""

from __future__ import annotations

import pytest
import torch

from mdm_tune.config.templates import Hole
from mdm_tune.core.errors import InputError
from mdm_tune.core.text import Symbols
from mdm_tune.datasets.examples import Example
from mdm_tune.datasets.rows import example_dataset
from mdm_tune.datasets.splits import Dataset, Split, Use

LETTERS = Symbols("abcdefgh $[]", (9,))  # $ ends a text
MASK = 12


class Framing(Symbols):
    """A model that was trained with brackets around its texts."""

    def framed(self, tokens: list[int]) -> tuple[list[int], list[int]]:
        return [10], [11]


def dataset(examples: list[Example], codec: Symbols = LETTERS, **more: int) -> tuple[Dataset, Split]:
    uses: dict[Use, list[Example]] = {"tune": examples}
    found = example_dataset(uses, codec, MASK, 0, **more)
    return found, found.splits["tune"]


def row(text: str) -> list[int]:
    """Tokens by their symbol, ? for hidden and . for padding or unknown."""
    return [{"?": MASK, ".": -1}.get(letter, LETTERS.symbols.find(letter)) for letter in text]


def test_a_prompt_is_padded_on_the_left_and_its_answer_ended() -> None:
    _, split = dataset(
        [Example("1", ("ab", Hole("cd"))), Example("2", ("a", Hole("h"))), Example("3", ("", Hole("abcdef")))],
        generation_length=4,
    )
    assert split.start.tolist() == [row("ab????"), row(".a????"), row("..????")]
    assert split.originals.tolist() == [row("abcd$$"), row(".ah$$$"), row("..abcd")]  # the last is cut
    assert split.ids == ("1", "2", "3") and len(set(split.seeds.tolist())) == 3


def test_whole_texts_are_framed_and_keep_their_own_length() -> None:
    whole, split = dataset(
        [Example("1", (Hole("abc"),)), Example("2", (Hole("a"),))], Framing(LETTERS.symbols, (9,)), generation_length=7
    )
    assert split.start.tolist() == [row("[???]"), row("..[?]")]
    assert split.originals.tolist() == [row("[abc]"), row("..[a]")]
    assert whole.length == 2 and not whole.uniform


@pytest.mark.parametrize(
    ("ends", "pieces", "length", "given", "told"),
    [
        # A model that ends its own texts says by itself where an answer ends.
        ((9,), ("ab", Hole("c")), 2, "[ab??", "[abc$"),
        ((9,), ("ab", Hole("c", 3)), None, "[ab???", "[abc$$"),
        # The reference fills its hole, so that the end is known: as in a text.
        ((9,), ("ab", Hole("c")), None, "[ab?]", "[abc]"),
        ((9,), (Hole("abc"),), None, "[???]", "[abc]"),
        ((9,), ("a", Hole("b"), "c"), None, "[a?c]", "[abc]"),
        # A model that ends none was trained on texts with both special tokens only.
        ((), ("ab", Hole("c")), 2, "[ab??]", "[abc.]"),
        ((), ("ab", Hole("cd")), 2, "[ab??]", "[abcd]"),
        ((), ("ab", Hole("c")), None, "[ab?]", "[abc]"),
        # What stands there already, from a chat template or by hand, is not put twice.
        ((), ("[ab", Hole("c")), 2, "[ab??]", "[abc.]"),
        ((), ("[ab", Hole("c"), "d]"), None, "[ab?d]", "[abcd]"),
    ],
)
def test_the_frame_is_that_of_a_text_where_the_end_is_known(
    ends: tuple[int, ...], pieces: tuple[str | Hole, ...], length: int | None, given: str, told: str
) -> None:
    more = {} if length is None else {"generation_length": length}
    found, split = dataset([Example("1", pieces)], Framing(LETTERS.symbols, ends), **more)
    assert split.start.tolist() == [row(given)] and split.originals.tolist() == [row(told)]
    assert found.closing == (given.endswith("?]"))


def test_a_prompt_with_its_answer_is_the_row_of_the_text() -> None:
    """Only what is hidden differs: a price of an answer is one of the same text."""
    codec = Framing(LETTERS.symbols)
    _, split = dataset([Example("1", ("ab", Hole("cd"))), Example("2", (Hole("abcd"),))], codec)
    assert split.originals[0].tolist() == split.originals[1].tolist() == row("[abcd]")


def test_holes_inside_a_text_are_read_back_one_by_one() -> None:
    found, split = dataset([Example("1", ("a", Hole("bc"), "d", Hole(None, 3), "e")), Example("2", (Hole("h"), "a"))])
    assert split.start.tolist() == [row("a??d???e"), row("......?a")]
    assert split.originals.tolist() == [row("abcd...e"), row("......ha")]
    drawn = torch.tensor([row("aghdb$ce"), row("......fa")])
    assert found.completions(drawn, split) == ["gh b", "f"]
    assert found.answers(drawn, split) == [[row("gh"), row("b")], [row("f")]]


@pytest.mark.parametrize(
    ("example", "more", "message"),
    [
        (Example("7", ("ab",)), {}, "example 7 has nothing to fill in, got 'ab'"),
        (Example("7", ("ab", Hole(None))), {}, r"a hole of no tokens: it needs an answer, or dataset\.generation_l"),
        (Example("7", (Hole(""),)), {}, "a hole of no tokens"),
        (Example("7", ("aXc", Hole("d"))), {}, "example 7: .* got 'X' in 'aXc'"),
        (Example("7", ("aXc", Hole("d")), source="a.jsonl, line 3"), {}, r"example 7 \(a\.jsonl, line 3\): .*'X'"),
        (Example("7", ("ab",), source="a.jsonl, line 3"), {}, r"example 7 \(a\.jsonl, line 3\) has nothing to fill in"),
    ],
)
def test_what_cannot_be_a_row_is_named(example: Example, more: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataset([example], **more)


def test_rows_that_are_too_long_are_counted_and_the_first_is_shown() -> None:
    texts = {"1": "ab", "2": "abcdefgh" * 20, "3": "abcdefg", "4": "abc"}
    examples = [Example(name, (text, Hole("d")), source=f"a.jsonl, line {name}") for name, text in texts.items()]
    with pytest.raises(InputError) as raised:
        dataset(examples, generation_length=2, longest=6)
    message = str(raised.value)
    assert message.startswith("example 2 (a.jsonl, line 2) has 162 tokens, the model takes 6; it begins 'abcdefgh")
    assert "2 of 4 examples are too long, the longest has 162" in message and len(message) < 400
    assert message.endswith("has 162; shorten prompts or use fewer shots, or leave such examples out")


@pytest.mark.parametrize("own_size", [False, True])
def test_the_remedy_for_rows_that_are_too_long_makes_them_fit(own_size: bool) -> None:
    """Of prompts of 2 to 4 tokens and a model that takes 7, answers of 3 fit; two holes after 1 share 6."""

    def load(size: int) -> Dataset:
        hole = Hole("d", size if own_size else None)
        examples = [Example(text, (text, hole)) for text in ("ab", "abc", "abcd")]
        return dataset([*examples, Example("two", ("a", hole, hole))], generation_length=size, longest=7)[0]

    with pytest.raises(InputError, match="4 of 4 examples") as raised:
        load(9)
    remedy = "set dataset.generation_length to at most 3, so that all fit, or shorten prompts or use fewer shots"
    assert str(raised.value).endswith(f"has 19; {remedy}")
    assert load(3).splits["tune"].start.shape == (4, 7)
    with pytest.raises(InputError, match=r"2 of 4 examples .* at most 3, .*, or leave such examples out"):
        load(4)


def test_shuffled_and_partial_splits_keep_their_examples() -> None:
    _, split = dataset([Example(str(i), ("a" * (i + 1), Hole("b"))) for i in range(6)])
    mixed = split.shuffled()
    assert sorted(mixed.ids) == list("012345") and mixed.ids != split.ids
    assert all(example.id == name for example, name in zip(mixed.examples, mixed.ids, strict=True))
    assert mixed.part(2, 4).examples == mixed.examples[2:4] and mixed.part(2, 4).hidden.sum() == 2
    assert split.fingerprint != mixed.fingerprint
