"""What leaves the commands: no password, nothing that a terminal obeys, one message for wrong use."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from mdm_tune.cli import app
from mdm_tune.commands.events import Note
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.measuring import PointMeasured
from mdm_tune.terminal import console
from mdm_tune.terminal.console import Screen, Stderr, complain

MARKOV = str(Path(__file__).parents[2] / "configs" / "markov.yaml")
SECRET = "hunter2"
ADDRESS = f"postgresql://me:{SECRET}@127.0.0.1:1/db"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def screen_of(**options: Any) -> tuple[Screen, io.StringIO]:
    screen, shown = Screen(quiet=False, as_json=False), io.StringIO()
    screen.err = Console(file=shown, **options)
    return screen, shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", MARKOV, "--set", f"search.storage={ADDRESS}"),
        ("search", MARKOV, "--set", f"{ADDRESS}=1"),
        ("search", MARKOV, "--set", ADDRESS),
        ("search", MARKOV, "--set", f"search.{ADDRESS}=1"),
        ("search", MARKOV, "--set", f"search.trials={ADDRESS}"),
        ("search", MARKOV, "--set", "search.storage=postgresql://me:hunter2"),
        ("search", ADDRESS),
        ("search", MARKOV, ADDRESS),
        ("evaluate", MARKOV, "--schedule", ADDRESS),
        ("evaluate", MARKOV, "--steps", ADDRESS),
        (ADDRESS,),
        ("search", f"--{ADDRESS}"),
    ],
)
def test_no_message_shows_a_password(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    named = arguments[0] in ("search", "evaluate")
    result = call(*arguments, *(("--output", str(tmp_path / "run")) if named else ()))
    assert result.exit_code == 2 and "error: " in result.stderr
    assert SECRET not in result.output and "Traceback" not in result.output
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or SECRET.encode() not in file.read_bytes()


def test_no_file_of_a_run_holds_a_password(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open()
    record = {"note": f"see {ADDRESS}", ADDRESS: [{"x": ADDRESS}], "counts": [1, 2]}
    folder.write_json("a.json", record)
    folder.write_lines("b.jsonl", [record])
    folder.write_csv("c.csv", [{"schedule": ADDRESS, "counts": [1, 2]}])
    folder.write_schedule(record)
    for file in folder.path.iterdir():
        text = file.read_text(encoding="utf-8")
        assert SECRET not in text and "postgresql://me:***@127.0.0.1:1/db" in text
    assert json.loads((folder.path / "a.json").read_text(encoding="utf-8"))["counts"] == [1, 2]


def test_progress_is_escaped_and_no_markup() -> None:
    screen, shown = screen_of(width=80, force_terminal=True, color_system=None)
    screen.on_event(Note(f"[bold]x[/bold] :snake: \x1b]0;title\x07 \u202e {ADDRESS}\nsecond line"))
    assert shown.getvalue() == (
        "  note: [bold]x[/bold] :snake: \\x1b]0;title\\x07 \\u202e\n"
        "      postgresql://me:***@127.0.0.1:1/db\nsecond line\n"
    )


def test_lines_are_folded_on_a_terminal_and_whole_in_a_pipe() -> None:
    text = "word " * 40 + "end"
    for terminal, lines in ((True, 3), (False, 1)):
        screen, shown = screen_of(width=80, force_terminal=terminal, color_system=None)
        screen.say(text)
        assert len(shown.getvalue().splitlines()) == lines
        assert " ".join(shown.getvalue().split()) == text
        screen.say(text, whole=True)  # a command to paste
        assert shown.getvalue().endswith(f"\n{text}\n")


@pytest.mark.parametrize(("terminal", "line"), [(True, "a\\x1b[2Jb\\udcff"), (False, "a\x1b[2Jb\\udcff")])
def test_results_are_escaped_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, terminal: bool, line: str) -> None:
    """What is piped is data; a byte that is no text is an escape everywhere, since no encoding has it."""
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(stdout, "isatty", lambda: terminal)
    monkeypatch.setattr(console, "results_stream", lambda: stdout)
    Screen(quiet=True, as_json=False).out("a\x1b[2Jb\udcff")
    stdout.seek(0)
    assert stdout.read() == f"{line}\n"


def test_json_is_ascii_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    record = {"text": "\x1b\x7f\x9b\u202eü", "at": ADDRESS}
    Screen(quiet=True, as_json=True).json(record)
    out = capsys.readouterr().out
    assert out.isascii() and out.strip().isprintable()
    assert json.loads(out) == {**record, "at": "postgresql://me:***@127.0.0.1:1/db"}


def test_a_stderr_that_fails_or_is_closed_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    screen, _ = screen_of()
    for stream in (Full(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        complain("error: it failed")
        screen = Screen(quiet=False, as_json=False)
        screen.say("progress")
        screen.say("more")


def test_measured_points_are_told_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, shown = Screen(quiet=False, as_json=False), io.StringIO()
    screen.err = Console(file=shown, width=120)
    clock = [100.0]
    monkeypatch.setattr("mdm_tune.terminal.console.time.monotonic", lambda: clock[0])
    screen.last_progress = 100.0
    for clock[0], visible in ((101.0, 1), (102.5, 2), (103.0, 3), (105.0, 4)):
        screen.on_event(PointMeasured(revealed=visible, loss=1.5, examples=8, points=6, denoiser_rows=1234))
    lines = shown.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["2", "4"]
    assert lines[0].split("  ")[-1] == "(6 points, 8 examples, 1,234 rows)" and "1.5000 nats per token" in lines[0]


def test_a_dumb_terminal_has_its_own_width(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            return 2

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: os.terminal_size((40, 20)))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("COLUMNS", raising=False)
    assert Stderr(quiet=False).width == 40
    monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: os.terminal_size((0, 0)))  # a serial line
    assert Stderr(quiet=False).width == 80
