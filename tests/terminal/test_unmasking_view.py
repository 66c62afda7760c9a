"""The text that fills in the terminal: what the screen has after each step, at every width, with or without colours."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import pytest
from rich.cells import cell_len
from rich.color import Color, ColorSystem
from rich.console import Console

from mdm_tune.core.errors import InputError
from mdm_tune.pages.colours import contrast
from mdm_tune.pages.unmasking import Kind, ShownToken, Unmasking
from mdm_tune.terminal.console import Screen
from mdm_tune.terminal.unmasking_view import COLOURS, UnmaskingView
from tests.commands.test_flags import SAMPLE
from tests.test_cli import MARKOV, call

SPOKEN: Sequence[tuple[str, Kind, int, float | None]] = (
    *(
        ("Q:", "prompt", 0, None),
        (" the", "text", 2, 0.95),
        (" cat", "text", 1, 0.7),
        (" \u732b\u732b", "text", 3, 0.35),
    ),
    *(("\n", "text", 2, 0.2), ("\x1b[2J", "text", 3, 0.99), ("e\u0301", "text", 1, 0.05), ("", "end", 3, None)),
)


def at(done: int, name: str = "linear", scale: str | None = "confidence", note: str = "") -> Unmasking:
    tokens = tuple(
        ShownToken(text, kind, step, confidence) if step <= done else ShownToken()
        for text, kind, step, confidence in SPOKEN
    )
    return Unmasking(name=name, tokens=tokens, steps=3, done=done, scale=scale, note=note)


class Stream(io.StringIO):
    """A text stream of an encoding, which refuses what it cannot encode."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def write(self, text: str) -> int:
        text.encode(self._encoding)
        return super().write(text)


class Clock:
    """A clock that stands still but for waiting."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.seconds += seconds


def view_of(encoding: str = "utf-8", **options: Any) -> tuple[UnmaskingView, Stream, Clock]:
    stream, clock = Stream(encoding), Clock()
    usual: dict[str, Any] = {"width": 80, "height": 24, "force_terminal": True, "color_system": "truecolor"}
    console = Console(file=stream, **{**usual, "_environ": {}, **options})
    return UnmaskingView(console, clock.wait, clock.now), stream, clock


def screen_of(output: str) -> list[str]:
    """What a terminal shows after this output, by the four codes that the view uses."""
    lines, row, rest = [""], 0, re.sub(r"\x1b\[[\d;]*m", "", output)
    for part in re.findall(r"\x1b\[1A|\x1b\[2K|\r|\n|[^\x1b\r\n]+", rest):
        if part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part != "\r":
            lines[row] += part
    assert "\x1b" not in "".join(lines) and row >= 0
    return lines


def test_each_step_replaces_the_picture_before() -> None:
    view, stream, _ = view_of()
    stream.write("before\n")
    for done in range(4):
        view.show([at(done), at(done, "sine")])
    first, blank, names, steps, text, below, *rest = screen_of(stream.getvalue())
    assert (first, blank) == ("before", "")
    assert re.fullmatch(r"  linear {33,}sine", names)
    assert re.fullmatch(r"  step 3 of 3, 7 of 7 tokens {5,}step 3 of 3, 7 of 7 tokens", steps)
    assert text.split("   ")[0] == "  Q: the cat \u732b\u732b\u21b5"
    assert below.split("   ")[0] == "  \\x1b[2Je\u0301\u25a0"
    assert rest[0] == "" and " ".join(rest).count("0.9 or more") == 1
    shown = screen_of(stream.getvalue())
    view.console.print("after")
    assert screen_of(stream.getvalue())[: len(shown) - 1] == shown[:-1]
    assert "?25" not in stream.getvalue()  # the cursor is never hidden, so nothing needs to be restored


def test_hidden_tokens_are_dots_and_new_ones_bright() -> None:
    view, stream, _ = view_of()
    view.show([at(1)])
    assert "  Q:\u00b7 cat\u00b7\u00b7\u00b7e\u0301\u00b7" in screen_of(stream.getvalue())
    styled = re.findall(r"\x1b\[([\d;]+)m([^\x1b]+)\x1b\[0m", stream.getvalue())
    assert {style for style, text in styled if "cat" in text} == {"1;7;38;2;45;130;200"}
    view, stream, _ = view_of()
    view.show([at(2)])
    styled = re.findall(r"\x1b\[([\d;]+)m([^\x1b]+)\x1b\[0m", stream.getvalue())
    assert {style for style, text in styled if "cat" in text} == {"38;2;45;130;200"}  # no longer new


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("color_system", ["truecolor", None])
def test_every_width_and_height_is_kept(encoding: str, color_system: Any) -> None:
    name = "counts:" + ",".join(["12"] * 60)
    for width in (40, 60, 80, 120, 200):
        for height in (12, 24):
            view, stream, _ = view_of(encoding, width=width, height=height, color_system=color_system)
            rows = [at(2, name, note="x " * 80), at(2, "linear")]
            rows = [Unmasking(name=row.name, tokens=row.tokens * 40, steps=3, done=2, note=row.note) for row in rows]
            view.show(rows)
            lines = screen_of(stream.getvalue())
            assert max(map(cell_len, lines)) <= width, (width, height)
            assert len(lines) <= height, (width, height)
            assert any(re.search(r"lines \d+ to \d+ of \d+", line) for line in lines) or width > 80 or height == 12


def test_without_colours_digits_stand_below_the_text() -> None:
    for options in ({"no_color": True}, {"color_system": None}):
        view, stream, _ = view_of(**options)
        view.show([at(3)])
        lines = screen_of(stream.getvalue())
        place = lines.index("  Q: the cat \u732b\u732b\u21b5")
        assert lines[place + 1] == "    9999777733 3 2"
        assert any("digits: first decimal of the confidence" in line for line in lines)
    view, stream, _ = view_of("ascii")
    view.show([at(1)])
    assert "  Q:_ cat___e\\u0301_" in screen_of(stream.getvalue())


def test_random_order_marks_what_is_new_and_says_that_it_has_no_confidence() -> None:
    rows = [
        Unmasking(name="linear", tokens=(ShownToken("a", step=1), ShownToken("b", step=2)), steps=2, done=2, scale=None)
    ]
    view, stream, _ = view_of()
    view.show(rows)
    said = " ".join(" ".join(screen_of(stream.getvalue())).split())
    assert "random order has no confidence; colour is the step: \u25a0 1 \u25a0 2" in said
    view, stream, _ = view_of(no_color=True)
    view.show(rows)
    lines = screen_of(stream.getvalue())
    assert lines[lines.index("  ab") + 1] == "   ^"


@pytest.mark.parametrize(("steps", "lasts"), [(3, 0.5), (32, 0.25), (1000, 0.08)])
def test_a_step_lasts_long_enough_to_be_read(steps: int, lasts: float) -> None:
    view, _, clock = view_of()
    for done in range(3):
        view.show([Unmasking(name="linear", tokens=(), steps=steps, done=done)])
        clock.seconds += 0.01  # the sampler
    assert clock.waits == [pytest.approx(lasts - 0.01)] * 2
    clock.seconds += 60  # a slow sampler
    view.show([Unmasking(name="linear", tokens=(), steps=steps, done=3)])
    assert clock.waits[-1] == 0


def test_without_a_terminal_lines_are_plain_and_nothing_waits() -> None:
    for options in ({"force_terminal": False}, {"_environ": {"TERM": "dumb"}}):
        view, stream, clock = view_of(width=30, **options)
        for done in range(3):
            view.show([at(done, note="a note")])
        assert clock.waits == [] and "\x1b" not in stream.getvalue()
        assert stream.getvalue().splitlines() == [
            "  below each new token: the first decimal of its confidence; \u00b7 is hidden",
            "  linear, step 0 of 3, 0 of 7 tokens",
            "  Q:\u00b7\u00b7\u00b7\u00b7\u00b7\u00b7\u00b7",
            "  linear, step 1 of 3, 2 of 7 tokens",
            "  Q:\u00b7 cat\u00b7\u00b7\u00b7e\u0301\u00b7",
            "     7777   0",
            "  linear, step 2 of 3, 4 of 7 tokens",
            "  Q: the cat\u00b7\u21b5\u00b7e\u0301\u00b7",
            "    9999     2",
        ]


def test_a_stopped_run_leaves_the_terminal_as_it_is() -> None:
    view, stream, _ = view_of()
    view.show([at(0)])

    def stopped(seconds: float) -> None:
        raise KeyboardInterrupt

    view.wait = stopped
    with pytest.raises(KeyboardInterrupt):
        view.show([at(1)])
    output = stream.getvalue()
    assert output.endswith("\n") and output.count("\x1b[0m") >= len(re.findall(r"\x1b\[[1-9][\d;]*m", output))
    view, stream, _ = view_of()
    stream.close()
    view.show([at(0)])  # a closed stream ends no run


def test_colours_are_legible_on_black_and_on_white() -> None:
    assert len({Color.parse(colour).downgrade(ColorSystem.EIGHT_BIT).number for colour in COLOURS}) == 4
    for colour in COLOURS:
        assert contrast(colour, "#ffffff") >= 3.5 and contrast(colour, "#000000") >= 3.5


def test_a_view_that_nobody_could_see_is_refused() -> None:
    for arguments, message in (
        (("--watch", "--json"), "--watch shows the text for people, and --json prints one object for programs"),
        (("--watch", "--quiet"), "--quiet shows nothing; give one of them, or add --save"),
        (("--save", "a.png"), "must end in .svg, got 'a.png'"),
    ):
        done = call("sample", MARKOV, *arguments)
        assert done.exit_code == 2 and message in " ".join(done.stderr.split()) and done.stdout == ""
    screen = Screen(quiet=True, as_json=False)
    screen.watch(True, saves=True)
    assert screen.view is None
    with pytest.raises(InputError):
        screen.watch(True, saves=False)


def test_the_command_shows_plain_lines_where_stderr_is_no_terminal(tmp_path: Any) -> None:
    done = call(*SAMPLE, "--output", str(tmp_path / "run"), "--watch", "linear", "--save", str(tmp_path / "a.svg"))
    assert done.exit_code == 0 and re.fullmatch("[01]{32}\n", done.stdout)
    assert done.stderr.count("linear, step") == 2 * 5 and done.stdout.strip() in done.stderr
    assert (tmp_path / "a.svg").is_file()
