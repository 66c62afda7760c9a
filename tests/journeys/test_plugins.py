"""A package with one plugin of each kind, used from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.plugins import CODE, RUN, install


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "run.yaml").write_text(RUN, encoding="utf-8")
    (folder / "packages").mkdir()
    mark = f"open({str(folder / 'ran')!r}, 'w').close()\n"
    install(folder / "packages", code=mark + CODE)
    return folder


def mdm_tune(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, with the packages of the folder on the module search path."""
    path = os.pathsep.join([str(folder / "packages"), str(Path(__file__).parents[2])])
    return subprocess.run(
        [sys.executable, "-m", "mdm_tune", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_of_a_plugin_runs_without_trust(folder: Path) -> None:
    done = mdm_tune(folder, "list", "metrics", "vow")
    assert done.stdout == "vowels  plugin of tiny-plugins 1.2, needs --trust-code\n"
    done = mdm_tune(folder, "evaluate", "run.yaml", "--quiet")
    assert done.returncode == 2
    assert "model.type: alike of the package tiny-plugins 1.2 runs code from outside this package" in done.stderr
    done = mdm_tune(folder, "export", "linear", "--length", "8", "--steps", "2", "--to", "lines")
    assert done.returncode == 2 and "--to: lines of the package tiny-plugins 1.2 runs code" in done.stderr
    assert not (folder / "ran").exists()


def test_all_four_from_the_command_line(folder: Path) -> None:
    done = mdm_tune(folder, "evaluate", "run.yaml", "--trust-code", "--json", "--output", "runs/one")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {row["metric"] for row in result["rows"]} == {"vowels"}
    assert all(0 <= row["value"] <= 1 for row in result["rows"])
    arguments = ("export", "counts:1,3,4", "--to", "lines", "--trust-code", "--output", "made", "--json")
    done = mdm_tune(folder, *arguments)
    assert done.returncode == 0, done.stderr
    lines = (folder / "made" / "counts.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["1", "3", "4"]
    assert json.loads(done.stdout)["target"] == "a program that reads numbers, one a line"
    assert mdm_tune(folder, *arguments).returncode == 0  # it replaces its own file
