"""Notes and warnings among the events of a command."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.commands.events import Note, RunEvent, Warnings
from mdm_tune.config.file import to_yaml
from tests.support.configs import load, whole


def test_more_steps_than_tokens_are_noted(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(to_yaml(load(tmp_path, whole(output=str(tmp_path / "run")))))
    runner = CliRunner()
    for command in ("evaluate", "sample"):
        done = runner.invoke(app, [command, str(tmp_path / "c.yaml"), "--steps", "9"])
        assert done.exit_code == 0
        assert "9 steps are more than the 4 tokens to fill" in done.stderr
        assert "more than the" not in runner.invoke(app, [command, str(tmp_path / "c.yaml"), "--steps", "4"]).stderr


def test_warnings_are_kept_once_and_notes_are_not() -> None:
    heard: list[RunEvent] = []
    warned = Warnings(heard.append)
    for event in (Note("a", "one", "do"), Note("b"), Note("a", "one", "do"), Note("c", "two")):
        warned(event)
    assert len(heard) == 4
    assert [each.to_json() for each in warned.records] == [
        {"code": "one", "text": "a", "advice": "do"},
        {"code": "two", "text": "c", "advice": ""},
    ]
