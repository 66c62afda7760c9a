from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from mdm_tune.cli import app


def test_init_shows_what_comes_next(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    done = CliRunner().invoke(app, ["init", "package:text", "package:text", "--output", str(file)])
    assert done.exit_code == 0 and done.stdout == f"{file}\n"
    assert f"mdm-tune search {file} --dry-run" in done.stderr


def test_a_missing_argument_is_named() -> None:
    done = CliRunner().invoke(app, ["init", "package:text"])
    assert done.exit_code == 2 and "TASK is required and missing" in done.stderr


def test_lists() -> None:
    done = CliRunner().invoke(app, ["list", "metrics"])
    assert done.exit_code == 0 and "exact_match" in done.stdout
    found = json.loads(CliRunner().invoke(app, ["list", "families", "dream", "--json"]).stdout)
    assert [entry["name"] for entry in found["entries"]] == ["dream"]
