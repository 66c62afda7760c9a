"""What is reported of answers beside the objective, and MAUVE."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdm_tune.config.data import MetricsConfig
from mdm_tune.core.errors import InputError
from mdm_tune.core.statistics import estimate
from mdm_tune.metrics.answers import (
    AnswerMetric,
    exact_match,
    generative_nll,
)
from mdm_tune.metrics.quality import sample_figures
from mdm_tune.metrics.reference_models import ReferenceModel
from mdm_tune.metrics.reported import Mauve, figures, mauve_metric, text_metrics
from tests.metrics.test_answers import asked, data, drawn, values
from tests.support.reference_texts import embedded

needs_mauve = pytest.mark.skipif(importlib.util.find_spec("mauve") is None, reason="the extra mauve is not here")


def test_generative_nll_is_reported_with_entropy(model: ReferenceModel) -> None:
    dataset = data(asked(["cat"] * 20))
    tokens, split = drawn(dataset, ["cat", "dog", "bird", "fish"] * 5), dataset.splits["report"]
    metric = generative_nll(dataset, model)
    nll, entropy = figures(metric, tokens, split)
    expected = estimate(metric.score(tokens, split))
    assert (nll.name, nll.value, nll.range, nll.over, nll.count) == (
        "generative_nll",
        expected.value,
        expected.ci,
        "examples",
        20,
    )
    of_tokens = estimate(sample_figures(dataset, tokens, split)["token_entropy"])
    assert (entropy.name, entropy.value, entropy.range, entropy.count) == (
        "token_entropy",
        of_tokens.value,
        of_tokens.ci,
        16,
    )
    (right,) = figures(exact_match(dataset), tokens, split)
    assert (right.value, right.direction) == (0.25, "maximize")


def words(seed: int, count: int, letters: str) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(letters), 6)) for _ in range(count)]


@needs_mauve
def test_mauve_is_the_package_s(model: ReferenceModel, capfd: pytest.CaptureFixture[str]) -> None:
    from mauve import compute_mauve

    references, answers = words(0, 60, "abcdefgh"), words(1, 60, "efghijkl")
    dataset = data(asked(references, prompt="Q:"))
    split, tokens = dataset.splits["report"], drawn(dataset, answers)
    metric = mauve_metric(dataset, model, seeds=4)
    capfd.readouterr()
    found = metric.score(tokens, split)
    assert capfd.readouterr() == ("", "")  # k-means warns otherwise
    p, q = (embedded(model, [f"Q:{text}" for text in texts]) for texts in (references, answers))
    expected = [compute_mauve(p_features=p, q_features=q, seed=seed).mauve for seed in (25, 26, 27, 28)]
    assert "WARNING" in capfd.readouterr().err  # the stream is back
    assert len(set(expected)) > 1
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    (figure,) = figures(metric, tokens, split)
    assert (figure.value, figure.range) == (pytest.approx(np.mean(expected)), (min(found), max(found)))
    assert (figure.over, figure.count, figure.direction) == ("seeds of k-means", 4, "maximize")
    same = metric.score(drawn(dataset, references), split)
    assert same.min() > 0.99 > found.max()


@needs_mauve
def test_mauve_needs_references_and_its_package(model: ReferenceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"metrics\.mauve: compares answers with references, and example 1 has none"):
        mauve_metric(data(asked(["a", None])), model)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package mauve-text .*pip install 'mdm-tune\[mauve\]'"):
        mauve_metric(data(asked(["a"])), model)


@needs_mauve
def test_metrics_are_made_from_their_options(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def size(answer, record):\n    return len(answer)\n", encoding="utf-8")
    config = options(
        tmp_path,
        exact_match={"ignore": ["case"]},
        regex={"pattern": "([A-Za-z]+)", "match": "first"},
        generative_nll={"model": str(folder), "with_prompt": False},
        mauve={"model": str(folder), "seeds": 3},
        custom={"target": "own.py:size", "direction": "minimize"},
    )
    dataset = data(asked(["Yes", "no"]))
    found = text_metrics(config, "regex", dataset, trust_code=True)
    assert list(found) == ["exact_match", "regex", "custom", "generative_nll", "mauve"]
    judged = {name: values(each, ["yes no", "no"]) for name, each in found.items() if isinstance(each, AnswerMetric)}
    assert judged["exact_match"] == [0, 1] and judged["regex"] == [0, 1] and judged["custom"] == [6, 2]
    likely, alike = found["generative_nll"], found["mauve"]
    assert isinstance(alike, Mauve) and alike.seeds == 3 and alike.model.batch == 8
    assert judged["generative_nll"] == pytest.approx(alike.model.nll([("", "yes no"), ("", "no")]).tolist())
    assert likely.direction == "minimize" and found["custom"].direction == "minimize"
    with pytest.raises(InputError, match=r"metrics\.custom\.target: .* give --trust-code if you trust it"):
        text_metrics(config, "regex", dataset, trust_code=False)


def test_only_what_is_named_is_made() -> None:
    dataset = data(asked(["a"]))
    assert text_metrics(options(), "nelbo", dataset, False) == {}
    assert list(text_metrics(options(), "exact_match", dataset, False)) == ["exact_match"]
    assert list(text_metrics(options(exact_match={}), "nelbo", dataset, False)) == ["exact_match"]


def options(folder: Path = Path("/nowhere"), **given: Any) -> MetricsConfig:
    return MetricsConfig.model_validate(given, context={"folder": folder})
