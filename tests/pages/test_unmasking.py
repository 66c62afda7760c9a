"""The unmasking of a row as text: its characters in lines, its counts, and the levels of confidence."""

from __future__ import annotations

import pytest

from mdm_tune.pages.unmasking import END, ShownToken, Unmasking, clusters, placed

HIDDEN = ShownToken()


def token(text: str, step: int = 1, confidence: float | None = None) -> ShownToken:
    return ShownToken(text=text, step=step, confidence=confidence)


def lines_of(tokens: list[ShownToken], columns: int, *, at_spaces: bool = False) -> list[str]:
    lines: dict[int, str] = {}
    for glyph in placed(tokens, columns, at_spaces=at_spaces):
        shown = glyph.text.replace("\n", "/") or "_"
        lines[glyph.row] = lines.get(glyph.row, "") + shown
    return [lines.get(row, "") for row in range(max(lines, default=-1) + 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ab", [("a", 1), ("b", 1)]),
        ("\u732b!", [("\u732b", 2), ("!", 1)]),
        ("e\u0301a", [("e\u0301", 1), ("a", 1)]),
        ("\U0001f469\u200d\U0001f52c", [("\U0001f469\u200d\U0001f52c", 2)]),
        ("\u05d0\u05d1 a", [("\u05d0\u05d1", 2), (" ", 1), ("a", 1)]),
        ("\x1b\u202e", [(each, 1) for each in "\\x1b\\u202e"]),
        ("a\tb\r\n", [("a", 1), *[(" ", 1)] * 4, ("b", 1), ("\n", 1)]),
    ],
)
def test_characters_keep_their_marks_and_have_the_width_of_a_terminal(
    text: str, expected: list[tuple[str, int]]
) -> None:
    assert clusters(text) == expected


def test_lines_have_at_most_their_columns_and_break_anywhere_or_at_spaces() -> None:
    words = [token("one"), token(" two"), HIDDEN, token(" three")]
    assert lines_of(words, 6) == ["one tw", "o_ thr", "ee"]
    assert lines_of(words, 6, at_spaces=True) == ["one ", "two_ ", "three"]
    assert lines_of(words, 100) == ["one two_ three"]
    assert lines_of([token("abcdefgh i")], 3, at_spaces=True) == ["abc", "def", "gh ", "i"]  # longer than a line
    assert lines_of([token("if a:\n  b"), token(" = c")], 5, at_spaces=True) == ["if a:", "/", "  b =", "c"]  # code
    wide = [token("\u732b\u732b\u732b")]
    assert lines_of(wide, 5) == ["\u732b\u732b", "\u732b"]  # two and a half would fit
    assert lines_of([token("a\nb"), token("\n"), ShownToken(kind="end", step=1)], 9) == ["a/", "b/", END]
    for columns in (2, 3, 7, 40):
        for glyph in placed([*words, *wide], columns, at_spaces=True):
            assert glyph.column + glyph.width <= columns


def test_counts_and_progress_are_those_of_the_tokens_that_are_filled() -> None:
    prompt = ShownToken(text="Q", kind="prompt", step=0)
    row = Unmasking(name="linear", tokens=(prompt, token("a"), token("b", 3), HIDDEN, token("c", 3)), steps=4, done=3)
    assert row.counts == (1, 0, 2)
    assert row.progress == "step 3 of 4, 3 of 4 tokens"
    assert row.progress_after(2) == "step 2 of 4, 1 of 4 tokens"


def test_levels_follow_the_confidence_or_the_step() -> None:
    row = Unmasking(name="linear", tokens=(), steps=6, done=6)
    confidence = [1.0, 0.9, 0.8999, 0.6, 0.3, 0.2999, 0.0, None]
    assert [row.level(token("a", 1, each)) for each in confidence] == [0, 0, 1, 1, 2, 3, 3, None]
    assert [text for _, text in row.levels] == ["0.9 or more", "0.6 to 0.9", "0.3 to 0.6", "below 0.3"]
    assert row.meaning == "confidence when revealed"
    assert [row.level(each) for each in (HIDDEN, ShownToken("Q", "prompt", 0), ShownToken("", "end", 1, 0.9))] == [
        None
    ] * 3
    for steps, expected in ((6, ["1 to 2", "3", "4 to 5", "6"]), (2, ["1", "2"]), (1, ["1"])):
        row = Unmasking(name="linear", tokens=(), steps=steps, done=steps, scale=None)
        assert [text for _, text in row.levels] == expected
        found = [row.level(token("a", step)) for step in range(1, steps + 1)]
        assert sorted({*found}) == [level for level, _ in row.levels]
    assert "no confidence" in row.meaning
