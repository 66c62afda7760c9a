"""The options of the program itself.

Covers: cli.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.version import __version__


def test_the_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"mdm-tune {__version__}\n")


@pytest.mark.parametrize(("words", "completed"), [("mdm-tune sea", "search"), ("mdm-tune evaluate --sho", "--show-d")])
def test_the_shell_completes_commands_and_flags(words: str, completed: str) -> None:
    settings = {"_MDM_TUNE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-m", "mdm_tune"],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed in done.stdout, done.stderr
