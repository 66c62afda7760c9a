"""Agreement with the model's own answers, against the definition written out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mdm_tune.core.text import Symbols
from mdm_tune.datasets.splits import Dataset, Split, masked_split
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.metrics.agreement import agreement

LAW = MarkovChain.sticky(3, 0.4, 8)


def split_of(rows: list[str], start: str) -> Split:
    """Rows of symbols, of which e and f end a text; start has a mask where they are filled in."""
    tokens = torch.tensor([["abcdef".index(symbol) for symbol in row] for row in rows])
    split = masked_split("tune", [str(place) for place in range(len(rows))], tokens, 6, 0)
    visible = torch.tensor([symbol != "_" for symbol in start])
    return replace(split, start=torch.where(visible, tokens, split.mask_id))


def values(own: list[str], drawn: list[str], start: str, *, whole: bool = False, stops: tuple[str, ...] = ()) -> list:
    split = split_of(own, start)
    dataset = Dataset({"tune": split}, Symbols("abcdef", end_tokens=(4, 5)), stops=stops)
    return agreement(dataset, whole=whole).score(split_of(drawn, start).originals, split).tolist()


def test_tokens_are_compared_at_their_positions() -> None:
    assert values(["abcabc", "aaaaaa"], ["abcccc", "bbbbbb"], "______") == [4 / 6, 0.0]
    assert values(["abcabc", "aaaaaa"], ["abcccc", "aaaaaa"], "______", whole=True) == [0.0, 1.0]
    assert values(["abcabc"], ["abcccc"], "abc___") == [1 / 3]  # what is visible does not count


@pytest.mark.parametrize(
    ("own", "drawn", "share"),
    [
        ("abeabc", "abecba", 1.0),  # what follows the end does not count
        ("abeabc", "abfabc", 1.0),  # every end token ends a text
        ("abeabc", "abcabc", 2 / 6),  # never ends: the longer answer has six tokens
        ("abceab", "abeeab", 2 / 4),  # ends too early; its tail is not part of the answer
        ("eabcab", "ebbbbb", 1.0),  # two empty answers are equal
        ("eabcab", "aeabcb", 0.0),
        ("abcabc", "abcabe", 5 / 6),
    ],
)
def test_an_answer_ends_with_its_first_end_token(own: str, drawn: str, share: float) -> None:
    assert values([own], [drawn], "______") == values([drawn], [own], "______") == [share]
    assert values([own], [drawn], "______", whole=True) == [float(share == 1.0)]


def test_holes_of_a_row_count_together_and_each_ends_by_itself() -> None:
    assert values(["aebcbb"], ["aebcba"], "__b_c_") == [(2 + 1 + 0) / 4]
    assert values(["eabcbb"], ["ebbcbb"], "__b_c_") == [1.0]  # the first hole is empty in both


def test_a_stop_text_ends_an_answer_at_the_token_that_completes_it() -> None:
    assert values(["abcbba"], ["abcaaa"], "______", stops=("bc",)) == [1.0]
    assert values(["abcbba"], ["abebba"], "______", stops=("bc",)) == [1.0]
    assert values(["abcbba"], ["abbcba"], "______", stops=("bc",)) == [2 / 4]
