from __future__ import annotations

import pytest

from mdm_tune.pages.text_pairs import pieces_of


@pytest.mark.parametrize(
    ("first", "second", "left", "right"),
    [
        ("abcd", "abxd", [["ab", False], ["c", True], ["d", False]], [["ab", False], ["x", True], ["d", False]]),
        ("the cat", "the cats!", [["the ", False], ["cat", True]], [["the ", False], ["cats!", True]]),
        ("", "a", [], [["a", True]]),
        ("same", "same", [["same", False]], [["same", False]]),
        ("\u4f60\u597d", "\u4f60\u4eec", [["\u4f60", False], ["\u597d", True]], [["\u4f60", False], ["\u4eec", True]]),
    ],
)
def test_pieces(first: str, second: str, left: list[object], right: list[object]) -> None:
    assert pieces_of(first, second) == (left, right)


def test_pieces_hold_the_whole_text() -> None:
    first, second = "a b " * 2000 + "end", "a c " * 2500 + "the end"
    for text, pieces in zip((first, second), pieces_of(first, second), strict=True):
        assert "".join(str(part) for part, _ in pieces) == text
        assert [differs for _, differs in pieces] == [False, True, False]
