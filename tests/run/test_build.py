"""Configs become the models, data and metrics that they describe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mdm_tune.config.data import CustomMetricConfig, MetricsConfig
from mdm_tune.config.file import load_config
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.denoisers.transformer import Transformer
from mdm_tune.run.build import Run, build
from mdm_tune.run.schedule_names import settings_of

CONFIGS = Path(__file__).parents[2] / "configs"
BASE = {"sampler": {"steps": [2]}, "objective": {"metric": "kl"}}


def built(tmp_path: Path, **sections: object) -> Run:
    (tmp_path / "c.yaml").write_text(yaml_text({**BASE, **sections}), encoding="utf-8")
    return build(load_config(tmp_path / "c.yaml"))


def test_the_text_config_loads_the_bundled_model() -> None:
    run = build(load_config(CONFIGS / "text.yaml"))
    assert isinstance(run.model.denoiser, Transformer)
    assert run.model.length == 64 and run.model.denoiser.vocab_size == 27
    assert run.dataset is not None and run.dataset.words is not None and "hamlet" in run.dataset.words
    data = run.evaluator.data("report")
    assert data is not None and 0.85 < data.estimate.value < 1.0


def test_the_bundled_model_predicts_held_out_text(tmp_path: Path) -> None:
    """The stated bound is 1.62 nats per character; 24 windows estimate it with a standard error below 0.08."""
    overrides = ["objective.metric=nelbo", "sampler.order=random", "sampler.steps=[64]", "dataset.report=24"]
    run = build(load_config(CONFIGS / "text.yaml", overrides))
    found = run.evaluator.score(next(settings_of(run.evaluator, ["linear"], [64])), "report")
    assert found.estimate.value / 64 == pytest.approx(1.62, abs=0.3)


def test_fingerprints_follow_model_and_data(tmp_path: Path) -> None:
    model = {"type": "markov", "length": 4, "flip": 0.1}
    data = {"type": "law", "tune": 8, "choose": 8, "report": 8}
    nelbo = {"metric": "nelbo"}
    first = built(tmp_path, model=model, dataset=data, objective=nelbo).fingerprints
    assert first == built(tmp_path, model=model, dataset=data, objective=nelbo).fingerprints
    other = built(tmp_path, model={**model, "flip": 0.2}, dataset=data, objective=nelbo).fingerprints
    assert other["model"] != first["model"]
    more = built(tmp_path, model=model, dataset={**data, "tune": 9}, objective=nelbo).fingerprints
    assert more["model"] == first["model"] and more["dataset"] != first["dataset"]


def test_the_fingerprint_of_a_metric_follows_its_file(tmp_path: Path) -> None:
    """So that a search does not go on with other values than it began with."""
    run, file = built(tmp_path, model={"type": "parity", "length": 4}), tmp_path / "metric.py"
    assert "metric" not in run.fingerprints
    file.write_text("def score(answer, record): return 1")
    metrics = MetricsConfig(custom=CustomMetricConfig(target=f"{file}:score", direction="maximize"))
    own = replace(run, config=run.config.model_copy(update={"metrics": metrics}))
    before = own.fingerprints
    assert before.items() >= run.fingerprints.items() and own.fingerprints == before
    file.write_text("def score(answer, record): return 0")
    assert own.fingerprints["metric"] != before["metric"] and own.fingerprints["model"] == before["model"]
