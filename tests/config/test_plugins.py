"""Names of plugins in a config: legal where a package has them, and in the schema of every installation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from mdm_tune.config.file import Config, DatasetConfig, ModelConfig, load_config, to_yaml
from mdm_tune.config.plugins import DATASETS, METRICS, MODELS, PLUGIN, type_name
from mdm_tune.config.schema import config_schema
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_value
from tests.support.plugins import POINTS, RUN, install


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "packages").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, "tiny_plugins", raising=False)
    file = tmp_path / "run.yaml"
    file.write_text(RUN, encoding="utf-8")
    return file


def packages(run: Path) -> Path:
    return run.parent / "packages"


def test_the_names_of_types_are_those_of_the_sections() -> None:
    assert [type_name(section) for section in get_args(ModelConfig)] == [*MODELS, PLUGIN]
    assert [type_name(section) for section in get_args(DatasetConfig)] == [*DATASETS, PLUGIN]


def test_a_config_names_plugins(run: Path) -> None:
    install(packages(run))
    config = load_config(run, ["metrics.plugins=[vowels]"])
    assert (config.model.type, config.objective.metric) == ("alike", "vowels")
    assert config.dataset is not None and config.dataset.type == "words"
    assert "tiny_plugins" not in sys.modules  # a config runs nothing
    again = run.parent / "again.yaml"
    again.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(again) == config
    assert Config.model_validate(dict(config)) == config
    checker = jsonschema.Draft202012Validator(config_schema())
    assert [error.message for error in checker.iter_errors(yaml_value(to_yaml(config), ""))] == []
    assert [*checker.iter_errors(yaml_value(RUN.replace("prompt: q", "promt: q"), ""))]


def test_every_wrong_name_is_one_line(run: Path) -> None:
    with pytest.raises(InputError, match="3 problems in the config") as caught:
        load_config(run)
    lines = str(caught.value).splitlines()[1:]
    known = ", ".join(MODELS)
    assert (
        lines[0].strip() == f"model.type: must be one of {known}, got 'alike'; did you mean 'table'? choose one of them"
    )
    assert lines[1].strip().startswith("dataset.type: must be one of text, law, jsonl")
    assert lines[2].strip() == (
        f"objective.metric: must be one of {', '.join(METRICS)}, got 'vowels'; choose one of them"
    )
    for setting in ("model.type", "dataset.type"):
        with pytest.raises(InputError, match=f"{setting}: must be the name of an installed plugin, got"):
            load_config(run, [f"{setting}={PLUGIN}"])
    with pytest.raises(InputError, match=r"metrics\.plugins: must hold names of installed plugins, got 'x'; no inst"):
        load_config(run, ["metrics.plugins=[x]"])


@pytest.mark.parametrize(
    ("kind", "built_in", "setting"),
    [
        ("denoisers", "markov", "model.type"),
        ("datasets", "jsonl", "dataset.type"),
        ("metrics", "exact_match", "objective.metric"),
    ],
)
def test_a_plugin_with_a_built_in_name_is_refused(run: Path, kind: str, built_in: str, setting: str) -> None:
    install(packages(run), {**POINTS, kind: {built_in: "tiny_plugins:anything"}})
    with pytest.raises(InputError, match=rf"{setting}: a plugin must not have a built-in name, got '{built_in}'"):
        load_config(run, [f"{setting}={built_in}"])


def test_unknown_keys_and_wrong_settings_of_plugins(run: Path) -> None:
    install(packages(run))
    with pytest.raises(InputError, match=r"model\.lenght: unknown key; did you mean 'length'\? legal keys here: type"):
        load_config(run, ["model.lenght=8"])
    with pytest.raises(InputError, match=r"objective\.metric: vowels judges answers of examples with fields, got"):
        load_config(run, ["dataset={type: law, tune: 8, choose: 8, report: 8}"])
