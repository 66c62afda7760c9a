"""The last line of a terminal, and the log file.

Covers: status, log_file.
"""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from mdm_tune.commands.events import Note, Progress
from mdm_tune.core.errors import InputError
from mdm_tune.terminal import console, status
from mdm_tune.terminal.console import Screen
from mdm_tune.terminal.layout import fitted
from mdm_tune.terminal.log_file import LogFile
from mdm_tune.terminal.status import ERASE, Status
from mdm_tune.version import __version__
from tests.test_cli import MARKOV, QUICK, call


def line_of(width: int = 60, **options: object) -> tuple[Status, io.StringIO]:
    shown = io.StringIO()
    options = {"force_terminal": True, "color_system": None, "_environ": {}, **options}
    return Status(Console(file=shown, width=width, **options)), shown  # type: ignore[arg-type]


def test_the_line_shows_what_fits_and_makes_room_for_other_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "TICK", 100.0)  # the thread draws nothing
    line, shown = line_of(40)
    line.update("loading")
    line.begin()
    line.began = time.monotonic() - 3725.5
    line.update("8 steps: trial 4 of 20", "about 2 min left", "", "25 % done")
    assert shown.getvalue() == f"{ERASE}1:02:05  8 steps: trial 4 of 20"
    with line.hidden():
        shown.write("a line\n")
    assert shown.getvalue().endswith(f"{ERASE}a line\n{ERASE}1:02:05  8 steps: trial 4 of 20")
    line.end()
    assert shown.getvalue().endswith(ERASE)
    line.update("more")
    with line.hidden():
        assert shown.getvalue().endswith(f"20{ERASE}")


@pytest.mark.parametrize("options", [{"force_terminal": False}, {"_environ": {"TERM": "dumb"}}, {"quiet": True}])
def test_nothing_is_rewritten_where_it_cannot_be(options: dict[str, object]) -> None:
    line, shown = line_of(**options)
    line.begin()
    line.began -= 10
    line.update("loading")
    with line.hidden():
        pass
    line.end()
    assert shown.getvalue() == ""


def test_the_line_obeys_nothing_in_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "TICK", 100.0)
    line, shown = line_of()
    line.begin()
    line.began -= 101
    line.update("\x1b]0;title\x07 postgresql://me:hunter2@host/db")
    assert shown.getvalue() == f"{ERASE}1:41  \\x1b]0;title\\x07 postgresql://me:***@host/db"
    line.end()


def test_parts_that_do_not_fit_are_left_out() -> None:
    assert fitted(("abc", "", "def", "ghi"), 13) == "abc  def  ghi"
    assert fitted(("abc", "def", "ghi"), 12) == "abc  def"
    assert fitted(("abc", "def", "ghi"), 9, leave_out=(1,)) == "abc  ghi"
    assert fitted(("abcdef",), 4) == "abcd"


def test_without_a_terminal_a_line_comes_after_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, shown = Screen(quiet=False, as_json=False), io.StringIO()
    screen.err, clock = Console(file=shown, width=120), [100.0]
    monkeypatch.setattr("mdm_tune.terminal.console.time.monotonic", lambda: clock[0])
    screen.last_progress = 100.0
    for clock[0] in (101.0, 131.0, 132.0):
        screen.on_event(Progress("4 steps: trial 1 of 8", 0.5, 600.0))
    assert shown.getvalue() == "  4 steps: trial 1 of 8, about 10 min left, 50 % done\n"


def test_the_log_has_every_event_as_a_plain_line(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    arguments = ("search", MARKOV, *QUICK, "--output", str(tmp_path / "run"), "--log-file", str(file), "--quiet")
    assert call(*arguments).stderr == ""
    assert call(*arguments).exit_code == 2  # the folder holds a search; the log goes on
    lines = file.read_text("utf-8").splitlines()
    assert all(
        re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) +\S", line) for line in lines
    )
    told = [line.split(maxsplit=2)[2] for line in lines]
    found = json.loads((tmp_path / "run" / "search.json").read_text("utf-8"))
    assert sum(text.startswith("trial ") for text in told) == found["trials"]
    assert sum(text.startswith("counts [") for text in told) == found["trials"]
    assert any(text.startswith("schedule file") for text in told) and any(text.startswith("seed 0") for text in told)
    assert lines[-1].split()[1] == "ERROR" and "already holds a search" in lines[-1]


def test_verbose_shows_what_the_log_has(tmp_path: Path) -> None:
    quick = ("search", MARKOV, *QUICK, "--output", str(tmp_path / "run"), "--overwrite")
    assert "counts [" not in call(*quick).stderr and "    counts [" in call(*quick, "--verbose").stderr


def test_commands_without_a_config_have_the_same_flags(tmp_path: Path) -> None:
    file, log = tmp_path / "run.yaml", tmp_path / "log"
    words = {
        "init": ["package:text", "package:text", "--output", str(file), "--steps", "64", "--steps", "16"],
        "export": ["linear", "--to", "json", "--length", "64", "--steps", "8", "--output", str(tmp_path / "exported")],
        "report": [str(tmp_path / "run")],
    }
    call("search", MARKOV, *QUICK, "--output", str(tmp_path / "run"))
    details = {"init": "  2 of 3: reading the task", "export": "  reading the schedule", "report": "  making the page"}
    for name, given in words.items():
        again = ["--force"] if name == "init" else []
        plain, more = call(name, *given), call(name, *given, *again, "--verbose")
        assert plain.exit_code == more.exit_code == 0
        assert details[name] not in plain.stderr and details[name] in more.stderr
        assert plain.stderr.startswith(f"mdm-tune {name} {given[0]}")
        quiet = call(name, *given, *again, "--quiet", "--log-file", str(log))
        assert quiet.exit_code == 0 and quiet.stderr == "" and quiet.stdout == plain.stdout
        told = [line.split(maxsplit=2)[1:] for line in log.read_text("utf-8").splitlines()]
        assert ["INFO", f"mdm-tune {__version__}"] in told
        assert any(level == "DEBUG" and text.startswith(details[name].strip()) for level, text in told)
        if name == "init":
            assert any(level == "WARNING" and "at 64 steps" in text for level, text in told)
        log.unlink()
    refused = call("report", str(tmp_path / "none"), "--quiet", "--log-file", str(log))
    assert refused.exit_code == 2 and log.read_text("utf-8").splitlines()[-1].split()[1] == "ERROR"


def test_a_log_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    result = call("search", MARKOV, *QUICK, "--output", str(tmp_path / "run"), "--log-file", str(tmp_path / "no" / "x"))
    assert result.exit_code == 2 and "error: --log-file: cannot write" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_log_hides_passwords_keeps_one_line_and_survives_a_full_disk(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log")
    log.write("INFO", "  a\nb \x1b[2J postgresql://me:hunter2@host/db")
    (line,) = (tmp_path / "log").read_text("utf-8").splitlines()
    assert line.endswith("INFO    a\\nb \\x1b[2J postgresql://me:***@host/db")
    log.path = tmp_path  # a folder: what cannot be written ends nothing
    log.write("INFO", "lost")
    with pytest.raises(InputError, match="cannot write"):
        LogFile(tmp_path)


def test_notes_are_logged_with_their_level(tmp_path: Path) -> None:
    screen = Screen(quiet=True, as_json=False, log_file=tmp_path / "log")
    screen.begin("mdm-tune search x.yaml: loading")
    screen.on_event(Note("careful", "code"))
    screen.end("error: it failed")
    told = [line.split(maxsplit=1)[1] for line in (tmp_path / "log").read_text("utf-8").splitlines()]
    assert told[1:] == ["INFO    mdm-tune search x.yaml: loading", "WARNING note: careful", "ERROR   error: it failed"]


def test_the_console_hides_the_line_while_it_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden: list[str] = []
    screen = Screen(quiet=False, as_json=False)
    monkeypatch.setattr(Status, "hidden", lambda self: hidden.append("") or console.nullcontext())  # type: ignore[func-returns-value]
    screen.say("a line")
    assert hidden == [""]
