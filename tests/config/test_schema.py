from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mdm_tune.config.file import legal_keys, load_config, to_yaml
from mdm_tune.config.schema import config_schema, schema_path, schema_text
from mdm_tune.core.plain_yaml import read_yaml_file, yaml_value

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
BASE: dict[str, Any] = {
    "model": {"type": "huggingface", "path": "org/name"},
    "dataset": {"type": "lm-eval", "task": "gsm8k", "tune": 8, "choose": 8, "generation_length": 8},
    "sampler": {"steps": [4]},
    "objective": {"metric": "task"},
}


def problems(document: object) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(config_schema()).iter_errors(document)]


def test_the_file_in_the_package_is_that_of_the_models() -> None:
    """If not: python scripts/config_schema.py."""
    assert schema_path().read_text(encoding="utf-8") == schema_text()


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text()))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONFIGS)))
def test_it_accepts_what_the_package_ships_and_writes(file: Path) -> None:
    assert problems(read_yaml_file(file, "")) == []
    assert problems(yaml_value(to_yaml(load_config(file)), "")) == []


@pytest.mark.parametrize(
    ("section", "changed"),
    [
        ("sampler", {"order": "low_confidence"}),
        ("sampler", {"block_length": 4}),
        ("sampler", {"block_length": [2, 4]}),
        ("dataset", {"report": "all"}),
        ("dataset", {"report": 100}),
        ("dataset", {"tune": {"task": "gsm8k", "examples": 8}}),
        ("search", {"warm_start": False}),
        ("search", {"space": {"a": [0.1, 1.0]}}),
    ],
)
def test_it_accepts_each_form_of_a_setting(section: str, changed: dict[str, Any]) -> None:
    assert problems({**BASE, section: {**BASE.get(section, {}), **changed}}) == []


@pytest.mark.parametrize(
    ("section", "changed"),
    [
        ("sampler", {"steps": 4}),
        ("sampler", {"steps": []}),
        ("sampler", {"num_steps": 4}),
        ("sampler", {"block_length": []}),
        ("sampler", {"order": "best"}),
        ("dataset", {"report": "some"}),
        ("dataset", {"tune": 7}),
        ("dataset", {"type": "lm_eval"}),
        ("dataset", {"tune": {"task": "gsm8k"}}),
        ("model", {"family": "gpt"}),
    ],
)
def test_it_refuses_what_the_config_refuses(section: str, changed: dict[str, Any], tmp_path: Path) -> None:
    document = {**BASE, section: {**BASE.get(section, {}), **changed}}
    assert problems(document)
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(Exception, match="problem"):
        load_config(file)


def test_every_section_and_most_settings_are_described() -> None:
    schema = config_schema()
    parts = [schema, *schema["$defs"].values()]
    assert all(part["description"] for part in parts)
    assert schema["$defs"]["SamplerConfig"]["properties"]["top_p"]["description"] == (
        "the probability of the nucleus from which tokens are drawn."
    )
    assert schema["$defs"]["MbppDatasetConfig"]["properties"]["seconds"]["description"].startswith("CPU time")
    names = {key for names in legal_keys().values() for key in names}
    assert names == {key for part in parts for key in part["properties"]}


def test_a_file_that_states_no_folder_is_complete() -> None:
    assert "output" not in config_schema()["required"]
    assert problems({key: value for key, value in BASE.items() if key != "sampler"}) == [
        "'sampler' is a required property"
    ]
