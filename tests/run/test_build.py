"""Configs become the models, data and metrics that they describe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mdm_tune.commands.schedule_notes import other_samplers
from mdm_tune.config.data import CustomMetricConfig, MetricsConfig
from mdm_tune.config.file import load_config
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.denoisers.analytic import MarkovChain, Mixture, Parity, RepeatedBit, Table
from mdm_tune.denoisers.transformer import Transformer
from mdm_tune.run.build import Run, build
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.records import schedule_file_record
from mdm_tune.run.schedule_names import settings_of

CONFIGS = Path(__file__).parents[2] / "configs"
BASE = {"sampler": {"steps": [2]}, "objective": {"metric": "kl"}}


def built(tmp_path: Path, **sections: object) -> Run:
    (tmp_path / "c.yaml").write_text(yaml_text({**BASE, **sections}), encoding="utf-8")
    return build(load_config(tmp_path / "c.yaml"))


@pytest.mark.parametrize(
    ("model", "kind", "length"),
    [
        ({"type": "table", "sequences": {"ab": 1, "ba": 3}}, Table, 2),
        ({"type": "repeated-bit", "length": 4}, RepeatedBit, 4),
        ({"type": "parity", "length": 5}, Parity, 5),
        ({"type": "markov", "length": 4, "flip": 0.1, "symbols": 3}, MarkovChain, 4),
        ({"type": "markov", "length": 4, "transition": [[0.9, 0.1], [0.2, 0.8]], "start": [1, 0]}, MarkovChain, 4),
        ({"type": "mixture", "weights": [0.5, 0.5], "components": [[[1, 0], [1, 0]], [[0, 1], [0, 1]]]}, Mixture, 2),
    ],
)
def test_exact_laws(tmp_path: Path, model: dict[str, object], kind: type, length: int) -> None:
    run = built(tmp_path, model=model)
    assert isinstance(run.model.denoiser, kind)
    assert run.model.length == run.evaluator.length == length
    total = torch.cartesian_prod(*[torch.arange(run.model.denoiser.vocab_size)] * length).view(-1, length)
    assert run.model.denoiser.log_prob(total).exp().sum().item() == pytest.approx(1.0)


def test_table_weights_and_chain_starts_arrive(tmp_path: Path) -> None:
    run = built(tmp_path, model={"type": "table", "sequences": {"ab": 1, "ba": 3}})
    assert run.model.denoiser.log_prob(torch.tensor([[0, 1], [1, 0]])).exp().tolist() == pytest.approx([0.25, 0.75])
    chain = {"type": "markov", "length": 3, "flip": 0.25, "start": [1.0, 0.0]}
    run = built(tmp_path, model=chain)
    assert run.model.denoiser.log_prob(torch.tensor([[0, 0, 1], [1, 0, 0]])).exp().tolist() == pytest.approx(
        [0.1875, 0.0]
    )


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


def test_a_larger_report_is_no_other_source_of_a_schedule(tmp_path: Path) -> None:
    """A search decides by tune and choose; a file of another seed or other tune examples says which it is."""
    model, nelbo = {"type": "markov", "length": 6, "flip": 0.1}, {"metric": "nelbo"}
    data = {"type": "law", "tune": 8, "choose": 8, "report": 8}

    def run(seed: int = 0, **sizes: int) -> Run:
        return built(tmp_path, model=model, dataset={**data, **sizes}, objective=nelbo, seed=seed)

    folder, entry = RunFolder(tmp_path / "run"), {"steps": 2, "schedule": "linear", "counts": [3, 3], "alphas": None}
    folder.open()
    folder.write_schedule(schedule_file_record(run(), [entry]))

    def said(here: Run) -> list[str]:
        return [note.text for note in other_samplers(here, [str(folder.schedule)]) if note.code == "other-source"]

    assert run().fingerprints["dataset"] != run(report=16).fingerprints["dataset"]
    assert said(run()) == said(run(report=16)) == []
    assert "was tuned for other examples of tune and choose (" in said(run(tune=9))[0]
    assert "was tuned for seed 0, not 1, and so on other examples (" in said(run(seed=1))[0]


def test_a_schedule_file_of_another_reveal_or_budget_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open()
    entry = {"steps": 2, "schedule": "linear", "counts": [2, 2], "alphas": None}
    folder.write_schedule({"length": 4, "budgets": [entry]})
    name = str(folder.schedule)
    sampler = {"steps": [2], "reveal": "bernoulli"}
    ancestral = built(tmp_path, model={"type": "parity", "length": 4}, sampler=sampler)
    with pytest.raises(InputError, match=r"was tuned for fixed counts; set sampler\.reveal to match"):
        list(settings_of(ancestral.evaluator, [name], [2]))
    fitting = built(tmp_path, model={"type": "parity", "length": 4})
    with pytest.raises(InputError, match=r"is for 2 steps, got 3; give --steps 2"):
        list(settings_of(fitting.evaluator, [name], [3]))


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
