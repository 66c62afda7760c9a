"""A measured profile in the run folder: when it is used again, and when it is measured anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.core.errors import InputError
from mdm_tune.run import profiles
from mdm_tune.run.folder import RunFolder
from tests.support.profile_runs import (
    config,
    evaluate,
    of,
    refuse,
)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"model__weights": [0.4, 0.6]},
        {"profile__points": 7},
        {"profile__examples": 11},
        {"profile__tolerance": 0.5},
        {"sampler__block_length": 10},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_profile_depends_on_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    assert not of(config(tmp_path)).profile.exact
    other = of(config(tmp_path, **change))
    assert other.profile.denoiser_rows > 0 and not other.reused
    monkeypatch.setattr(profiles, "measure_profile", refuse)
    latest = of(config(tmp_path, **change))
    assert latest.profile.denoiser_rows == other.profile.denoiser_rows and latest.reused
    with pytest.raises(AssertionError, match="measured again"):
        _ = of(config(tmp_path)).profile


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"key": 1'])
def test_a_damaged_profile_file_is_named(tmp_path: Path, content: str) -> None:
    chosen = config(tmp_path)
    RunFolder(chosen.output).open()
    (tmp_path / "run" / "profile-values.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"profile-values\.json"):
        _ = of(chosen).profile


def test_a_profile_file_whose_values_are_damaged_is_named(tmp_path: Path) -> None:
    _ = of(config(tmp_path)).profile
    path = tmp_path / "run" / "profile-values.json"
    kept = json.loads(path.read_text(encoding="utf-8"))
    for damage in ({}, {**kept["profile"], "values": "none"}):
        path.write_text(json.dumps({**kept, "profile": damage}), encoding="utf-8")
        with pytest.raises(InputError, match=r"profile-values\.json"):
            _ = of(config(tmp_path)).profile


@pytest.mark.parametrize("damage", [{"values": [[1.0, 2.0]]}, {"values": [[1.0] * 6] * 11 + [[float("nan")] * 6]}, {}])
def test_a_damaged_profile_is_named(tmp_path: Path, damage: dict[str, Any]) -> None:
    evaluate(config(tmp_path), ("optimum",), (4,))
    file = tmp_path / "run" / "profile-values.json"
    record = json.loads(file.read_text("utf-8"))
    record["profile"] = {**record["profile"], **damage} if damage else {}
    file.write_text(json.dumps(record), "utf-8")
    with pytest.raises(InputError, match=r"profile-values.json is damaged; delete it"):
        evaluate(config(tmp_path), ("optimum",), (4,))


def test_the_profile_depends_on_its_own_split_alone_and_says_why_it_is_measured_anew(tmp_path: Path) -> None:
    command = ["profile", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run"), "--json"]
    config(tmp_path)
    found = [json.loads(CliRunner().invoke(app, [*command, "--set", each]).stdout) for each in ("seed=0", "seed=0")]
    config(tmp_path, dataset__report=11)
    found.append(json.loads(CliRunner().invoke(app, command).stdout))
    assert [each["reused"] for each in found] == [False, True, True]
    again = CliRunner().invoke(app, [*command, "--set", "profile.points=5", "--seed", "1"])
    assert "measured anew, because of another split, profile" in again.stderr
    assert json.loads(again.stdout)["notes"][0].startswith("the profile in the folder was measured anew")
