"""What leaves the commands: no password, nothing that a terminal obeys, one message for wrong use."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from mdm_tune.cli import app
from mdm_tune.commands.events import Note
from mdm_tune.run.folder import RunFolder
from mdm_tune.terminal import console
from mdm_tune.terminal.console import Screen, complain
from mdm_tune.terminal.reporting import command

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


def test_a_suggested_command_says_what_has_to_be_put_in_again() -> None:
    shown = command(["search", "a b.yaml", "--set", f"search.storage={ADDRESS}", "--resume"])
    assert shown == (
        "mdm-tune search 'a b.yaml' --set 'search.storage=postgresql://me:***@127.0.0.1:1/db' --resume"
        "  # put the password in again for ***"
    )
    assert command(["search", "c\udcff's\n.yaml"]) == "mdm-tune search $'c\\xff\\x27s\\x0a.yaml'"  # as bash reads it
    assert command(["search", "c.yaml", "--resume"]) == "mdm-tune search c.yaml --resume"


def test_what_follows_a_search_needs_no_storage(tmp_path: Path) -> None:
    """The commands that come next read the run folder, so that no password has to be put in again."""
    storage = f"search.storage=sqlite:///{tmp_path}/a.db"
    quick = ("--trials", "2", "--set", "sampler.steps=[4]", "--set", storage, "--output", str(tmp_path / "run"))
    result = call("search", MARKOV, *quick, "--devices", "cpu")
    assert result.exit_code == 0, result.stderr
    line = f"  mdm-tune sample {MARKOV} --set 'sampler.steps=[4]' --output {tmp_path / 'run'} --devices cpu\n"
    assert line in result.stderr


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("evaluate",),
            "CONFIG is required and missing: mdm-tune evaluate takes the YAML file of the run; give it, such as",
        ),
        (
            ("evalute", MARKOV),
            "there is no command 'evalute'; did you mean evaluate? the commands are search, evaluate, ",
        ),
        (("fly",), "there is no command 'fly'; the commands are search"),
        (
            ("search", MARKOV, "--trails", "4"),
            "mdm-tune search has no option '--trails'; did you mean --trials? mdm-tune",
        ),
        (("--seed", "4"), "mdm-tune has no option '--seed'; mdm-tune --help lists its options"),
        (("evaluate", MARKOV, "--steps", "abc"), "--steps: must be a whole number, got 'abc'; write digits, such as 8"),
        (("search", MARKOV, "--worker", "2"), "mdm-tune search has no option '--worker'; mdm-tune search --help lists"),
        (("sample", MARKOV, "--number", "1_0"), "--number: must be a whole number, got '1_0'; write digits"),
        (("sample", MARKOV, "--seed"), "--seed needs a value and got none; write --seed VALUE"),
        (("sample", MARKOV, "--json=1"), "--json takes no value and got one; write --json alone"),
        (
            ("sample", MARKOV, "b.yaml"),
            "mdm-tune sample takes one CONFIG, got more: 'b.yaml'; remove it, or put a value",
        ),
    ],
)
def test_wrong_use_gets_one_message(arguments: tuple[str, ...], message: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith(f"error: {message}") and result.stderr.count("\n") == 1
    assert not re.search("[╭│╰]", result.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("evaluate", "--steps", "010"),
            "got '010'; it is base 8 to some readers and base 10 to others, so write it",
        ),
        (("evaluate", "--schedule", ""), "error: the schedule's name is empty; give a name such as linear\n"),
        (("evaluate", "--schedule", "threshold:2"), "write threshold alone, or threshold:0.9\n"),
        (("evaluate", "--schedule", "quota:linear@2"), "write quota:linear alone, or quota:linear@0.9\n"),
        (("evaluate", "--schedule", "counts:4,4,4"), "error: counts:4,4,4 reveals 12 tokens but the sequence has 32"),
        (("sample", "--schedule", "counts:4,4,4"), "error: counts:4,4,4 reveals 12 tokens but the sequence has 32"),
        (("evaluate", "--schedule", "counts:16,16"), "counts:16,16 is for 2 steps, got 4 and 8; give --steps 2"),
        (("evaluate", "--schedule", "counts:32"), "counts:32 is for 1 step, got 4 and 8; give --steps 1"),
    ],
)
def test_wrong_values_get_a_remedy_that_works(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    flags = ("--set", "sampler.steps=[4,8]", "--output", str(tmp_path)) if "--steps" not in arguments else ()
    result = call(arguments[0], MARKOV, *arguments[1:], *flags)
    assert result.exit_code == 2 and message in result.stderr


def test_no_command_shows_the_help() -> None:
    result = call()
    assert result.exit_code == 2 and "Usage" in result.output and "error" not in result.output
