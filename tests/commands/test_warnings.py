"""Warnings are data: results, schedule files and later commands keep what the screen has shown long before."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.commands.profile import other_sampler, winner_notes
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.core.statistics import estimate
from mdm_tune.denoisers.transformer import Transformer, TransformerConfig, save_transformer
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.metrics.quality import PathLikelihood
from mdm_tune.run.folder import load_schedule
from tests.support.profile_runs import config, of


def call(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads(result.stdout)
    return record


@pytest.fixture(scope="module")
def garbage(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A config whose model is sure of itself and wrong: random weights, scaled up."""
    folder = tmp_path_factory.mktemp("garbage")
    model = Transformer(TransformerConfig(symbols="abcd", length=8, width=16, depth=1, heads=2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(3 * torch.randn(weight.shape, generator=generator))
    save_transformer(model, folder / "model")
    letters = np.random.default_rng(0).integers(0, 4, (3, 128))
    for use, row in zip(("tune", "choose", "report"), letters, strict=True):
        (folder / f"{use}.txt").write_text("".join("abcd"[i] for i in row), encoding="utf-8")
    chosen = {
        "model": {"type": "transformer", "path": "model"},
        "dataset": {"type": "text", "path": ".", "tune": 16, "choose": 8, "report": 8},
        "sampler": {"steps": [2]},
        "objective": {"metric": "nelbo"},
        "search": {"trials": 3, "finalists": 1, "baselines": ["linear"]},
        "output": str(folder / "run"),
    }
    (folder / "c.yaml").write_text(yaml_text(chosen), encoding="utf-8")
    return str(folder / "c.yaml")


def test_a_search_of_a_model_worse_than_uniform_says_so_to_its_end(garbage: str) -> None:
    """In the JSON, in each budget's flags, in the schedule file, on the screen's last lines, and in later commands."""
    shown = CliRunner().invoke(app, ["search", garbage])
    assert shown.exit_code == 0, shown.output
    folder = Path(garbage).parent / "run"
    record = json.loads((folder / "search.json").read_text("utf-8"))
    worse = [each for each in record["warnings"] if each["code"] == "worse-than-uniform"]
    assert worse and all("condition on a prompt" in each["advice"] for each in worse)
    assert all(set(each) == {"code", "text", "advice"} for each in record["warnings"])
    assert [budget["flags"] for budget in record["budgets"]] == [["worse-than-uniform"]]
    table = shown.stderr.index("schedule file  ")
    assert "warning [worse-than-uniform]: " in shown.stderr[table:]
    assert load_schedule(folder).record["warnings"] == record["warnings"]
    assert load_schedule(folder).record["budgets"][0]["flags"] == ["worse-than-uniform"]
    later = call("evaluate", garbage, "--schedule", str(folder), "--schedule", "linear")
    texts = [each["text"].partition("was written with the warning: ")[2] or each["text"] for each in later["warnings"]]
    assert len(set(texts)) == len(texts) and any("was written with" in each["text"] for each in later["warnings"])
    drawn = call("sample", garbage, "--number", "1")
    assert "worse-than-uniform" in [each["code"] for each in drawn["warnings"]]


def test_a_profile_and_its_files_keep_the_warning(garbage: str, tmp_path: Path) -> None:
    record = call("profile", garbage, "--output", str(tmp_path / "run"))
    assert "worse-than-uniform" in [each["code"] for each in record["warnings"]]
    for name in ("profile-beta.yaml", "profile-optimum.yaml"):
        assert load_schedule(tmp_path / "run" / name).record["warnings"] == record["warnings"]


def test_a_sound_run_has_no_warning(tmp_path: Path) -> None:
    config(tmp_path, dataset__tune=32, dataset__choose=16, profile__examples=32)
    command = [str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run")]
    for name in ("profile", "search", "evaluate", "sample"):
        assert call(name, *command)["warnings"] == []
    assert call("search", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "other"), "--dry-run")["warnings"] == []


@pytest.mark.parametrize(
    ("sampler", "told"),
    [
        ({}, None),
        ({"order": "margin"}, "order margin at temperature 1"),
        ({"temperature": 0.5}, "order random at temperature 0.5"),
        ({"top_p": 0.9}, "order random at temperature 1, top-p 0.9"),
        ({"target": "mine.py:fill"}, "external code"),
    ],
)
def test_what_a_profile_does_not_price_is_named(sampler: dict[str, Any], told: str | None) -> None:
    plain = {"order": "random", "temperature": 1.0, "top_p": 1.0, "target": None}
    chosen: Any = SimpleNamespace(sampler=SimpleNamespace(**{**plain, **sampler}))
    assert other_sampler(chosen) == told


def test_a_profile_of_few_examples_says_so(tmp_path: Path) -> None:
    config(tmp_path, dataset__choose=10)  # 12 of them
    (found,) = call("profile", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run"))["warnings"]
    assert found["code"] == "few-examples" and "rests on 12 independent examples" in found["text"]


def test_a_likelihood_below_uniform_guessing_is_flagged_without_a_profile(tmp_path: Path) -> None:
    """20 hidden bits: uniform guessing has 13.86 nats; 15 is worse and 12 is not, both with small noise."""
    profiles = of(config(tmp_path, objective={"metric": "path_nll"}, sampler={"steps": [4], "order": "margin"}))
    evaluator = profiles.run.evaluator
    assert isinstance(evaluator.metric, PathLikelihood) and not profiles.used
    report = len(evaluator.split("report").ids)
    told = {}
    for level in (12.0, 15.0):
        values = level + np.linspace(-0.1, 0.1, report)
        scores = Scores(
            setting=Setting(name="linear", steps=4, length=20, counts=(5, 5, 5, 5)),
            estimate=estimate(values),
            nfe=4.0,
            cost=Cost(),
            use="report",
            values=values,
        )
        told[level] = list(winner_notes({None: profiles}, scores))
    assert told[12.0] == []
    (note,) = told[15.0]
    assert note.code == "worse-than-uniform" and f"has {math.log(2):.3f}" in note.text and "0.750 nats" in note.text


def test_only_a_winner_that_passes_through_is_flagged() -> None:
    """The model is worse than uniform with 1 to 3 of 20 tokens visible: 10, 10 skips that, 1, 19 does not."""
    profile = SimpleNamespace(worse_than_uniform=lambda: (1, 3))
    evaluator = SimpleNamespace(exact=True, metric=None)
    here: Any = SimpleNamespace(used=True, profile=profile, run=SimpleNamespace(evaluator=evaluator))
    for counts, flagged in (((10, 10), False), ((1, 19), True), ((2, 18), True), ((4, 16), False)):
        scores = Scores(
            setting=Setting(name="x", steps=2, length=20, counts=counts),
            estimate=estimate(np.zeros(2)),
            nfe=2.0,
            cost=Cost(),
        )
        assert bool(list(winner_notes({None: here}, scores))) == flagged
