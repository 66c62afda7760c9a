"""The model section: what its values mean."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from mdm_tune.config.file import load_config, to_yaml
from mdm_tune.config.models import MarkovConfig, TableConfig
from tests.config.test_file import CONFIGS, MODELS, load, whole


def test_the_toys_are_those_of_the_paper() -> None:
    for name, legal in (("extremes", (0, 5)), ("middle", (2, 3))):
        config = load_config(CONFIGS / f"toy-{name}.yaml")
        strings = ["".join(letters) for letters in itertools.product("ab", repeat=5)]
        expected = {text: 1.0 for text in strings if text.count("a") in legal}
        assert isinstance(config.model, TableConfig)
        assert config.model.sequences == expected
        assert (config.sampler.reveal, config.sampler.steps, config.objective.metric) == ("bernoulli", (3,), "kl")


def test_table_weights_and_symbols(tmp_path: Path) -> None:
    model = load(tmp_path, whole(model={"type": "table", "sequences": {"ba": 1, "cb": 3, "aa": 4}})).model
    assert isinstance(model, TableConfig)
    assert model.symbols == "abc"
    assert model.probabilities == {"ba": 0.125, "cb": 0.375, "aa": 0.5}
    huge = TableConfig(type="table", sequences={"a": 1e308, "b": 1e308})
    assert huge.probabilities == {"a": 0.5, "b": 0.5}


def test_a_transition_matrix_counts_its_symbols(tmp_path: Path) -> None:
    model = load(tmp_path, whole(model=MODELS["transition"])).model
    assert isinstance(model, MarkovConfig)
    assert (model.symbols, model.flip, model.start) == (3, None, None)


def test_probabilities_as_people_write_them_are_divided_by_their_sum_once(tmp_path: Path) -> None:
    model = {"type": "markov", "length": 4, "symbols": 3, "flip": 0.1, "start": [0.333333, 0.333333, 0.3333333]}
    config = load(tmp_path, whole(model=model))
    assert isinstance(config.model, MarkovConfig)
    assert config.model.start is not None
    assert sum(config.model.start) == pytest.approx(1, abs=1e-15)
    assert config.model.start[2] / config.model.start[0] == pytest.approx(0.3333333 / 0.333333, rel=1e-15)
    assert load(tmp_path, to_yaml(config)) == config
