"""Numbers that are flags have bounds too."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.config.flag_bounds import check_length
from mdm_tune.core.errors import InputError


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sample", "--number", "1000000000000"], "--number must be at most 100,000"),
        (["sample", "--steps", "65537"], "--steps must be from 1 to 65536"),
        (["evaluate", "--steps", "1000000000"], "--steps must be from 1 to 65536"),
        (["evaluate", "--steps", "2", "--steps", "2"], "--steps must not repeat"),
        (["profile", "--steps", "0"], "--steps must be from 1 to 65536"),
    ],
)
def test_flags_are_bounded_before_anything_is_loaded(tmp_path: Path, arguments: list[str], said: str) -> None:
    command, *rest = arguments
    done = CliRunner().invoke(app, [command, str(tmp_path / "there-is-none.yaml"), *rest])
    assert done.exit_code == 2
    assert said in done.stderr and len(done.stderr) < 500


@pytest.mark.parametrize(
    ("number", "message"), [(0, "must be at least 1, got 0"), (65_537, "must be at most 65,536, the")]
)
def test_a_length_has_bounds(number: int, message: str) -> None:
    check_length("--length", 65_536)
    with pytest.raises(InputError, match=f"--length {message}"):
        check_length("--length", number)
