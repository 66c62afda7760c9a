"""How a command ends: one message, and what to paste to go on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import typer

from mdm_tune.cli import exit_codes
from mdm_tune.core.errors import InputError
from mdm_tune.terminal.console import Screen
from mdm_tune.terminal.exit_codes import command
from tests.terminal.test_console import ADDRESS, MARKOV, call


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


def test_a_command_tells_a_full_disk_from_a_name_that_is_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for number, place in ((errno.ENOSPC, "/full"), (errno.ENAMETOOLONG, "n" * 300), (errno.EIO, None)):
        with pytest.raises(typer.Exit) as ended, exit_codes(Screen(quiet=True, as_json=False)):
            raise OSError(number, os.strerror(number), place)
        assert ended.value.exit_code == 1
        said.append(capsys.readouterr().err)
    assert said[0] == "error: /full: No space left on device; free space there, or use another disk\n"
    assert said[1].endswith("nnn: File name too long; give a shorter name\n") and len(said[1]) < 250
    assert said[2] == "error: Input/output error\n"


def test_a_command_cuts_a_huge_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), exit_codes(Screen(quiet=True, as_json=False)):
        raise InputError("k" * 500_000)
    assert len(capsys.readouterr().err) < 1100
