"""What a good config loads to: defaults, paths, overrides, flags, the round trip and the shipped files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mdm_tune.config.file import Config, load_config, resolved, to_yaml
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text

CONFIGS = Path(__file__).parents[2] / "configs"
SPLITS = {"tune": 8, "choose": 9, "report": 10}
TEXT = {"type": "text", "path": "package:text", **SPLITS}
TRANSFORMER = {"type": "transformer", "path": "package:text"}
MODELS: dict[str, dict[str, Any]] = {
    "transformer": TRANSFORMER,
    "flip": {"type": "markov", "length": 4, "symbols": 3, "flip": 0.25, "start": [0.5, 0.5, 0]},
    "transition": {"type": "markov", "length": 4, "transition": [[0.9, 0.1, 0], [0, 1, 0], [0.2, 0.2, 0.6]]},
    "repeated-bit": {"type": "repeated-bit", "length": 1},
    "parity": {"type": "parity", "length": 2},
    "table": {"type": "table", "sequences": {"ab": 1, "10": 2.5}},
    "list": {"type": "table", "sequences": ["ab", "10"]},
    "mixture": {"type": "mixture", "weights": [0.25, 0.75], "components": [[[1, 0], [0.5, 0.5]]] * 2},
}


def whole(**sections: Any) -> dict[str, Any]:
    """A complete good config in which the given sections replace or extend the usual ones; None removes one."""
    usual = {"model": MODELS["flip"], "sampler": {"steps": [2, 4]}, "objective": {"metric": "kl"}}
    return {key: value for key, value in {**usual, **sections}.items() if value is not None}


def write(folder: Path, content: dict[str, Any] | str) -> Path:
    path = folder / "my.run.yaml"
    path.write_text(yaml_text(content) if isinstance(content, dict) else content, encoding="utf-8")
    return path


def load(folder: Path, content: dict[str, Any] | str, *overrides: str, **flags: Any) -> Config:
    return load_config(write(folder, content), overrides, **flags)


def test_defaults(tmp_path: Path) -> None:
    assert resolved(load(tmp_path, whole())) == {
        "model": {**MODELS["flip"], "transition": None},
        "dataset": None,
        "sampler": {
            "type": "builtin",
            "target": None,
            "options": {},
            "order": "random",
            "reveal": "fixed",
            "temperature": 1.0,
            "top_p": 1.0,
            "confidence_temperature": 0.0,
            "tempered_scores": False,
            "guidance": 0.0,
            "end_drawn": True,
            "end_confident": True,
            "stop_at_end": False,
            "steps": [2, 4],
            "counts": "one-per-step",
            "batch": 128,
            "block_length": None,
            "block_steps": "equal",
        },
        "objective": {"metric": "kl", "answers": "reference"},
        "metrics": {
            **dict.fromkeys(("exact_match", "regex", "agreement", "generative_nll", "mauve", "custom")),
            "plugins": [],
        },
        "profile": {"answers": "reference", "examples": None, "points": 32, "tolerance": None, "monotone": True},
        "search": {
            "policies": ["counts"],
            "strategy": "gp",
            "trials": 25,
            "shared": False,
            "space": {"a": [0.1, 10.0], "b": [0.1, 10.0]},
            "finalists": 4,
            "warm_start": "auto",
            "racing": True,
            "together": 4,
            "auto_stop": True,
            "rows": None,
            "timeout": None,
            "storage": None,
            "name": None,
            "diversity_loss": 0.05,
            "track": None,
            "margin": 0.01,
            "frontier": False,
            "baselines": ["linear", "squared-sine", "sine", "maskgit-cosine"],
        },
        "evaluate": {
            "schedules": ["linear", "squared-sine", "sine", "maskgit-cosine"],
            "steps": None,
            "frontier": False,
        },
        "seed": 0,
        "output": "runs/my.run",
    }


@pytest.mark.parametrize("model", MODELS)
def test_the_resolved_config_loads_back_from_another_folder(tmp_path: Path, model: str) -> None:
    sections = {"objective": {"metric": "nelbo"}, "dataset": TEXT | {"path": "lines/é.txt"}, "seed": 2**63 - 1}
    config = load(tmp_path, whole(model=MODELS[model], evaluate={"schedules": ["beta:1,2", "mine.yaml"]}, **sections))
    other = tmp_path / "other"
    other.mkdir()
    assert load(other, to_yaml(config)) == config
    assert yaml.safe_load(to_yaml(config)) == resolved(config)
    assert list(yaml.safe_load(to_yaml(config))) == list(resolved(config))  # in the order of the documentation


@settings(deadline=None)
@given(
    low=st.floats(1e-6, 1.0, exclude_max=True),
    high=st.floats(1.0, 1e6),
    temperature=st.just(0.0) | st.floats(1e-4, 1e4),
    flip=st.floats(0, 1),
)
def test_every_number_survives_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, low: float, high: float, temperature: float, flip: float
) -> None:
    folder = tmp_path_factory.mktemp("numbers")
    search = {"space": {"a": [low, high]}}
    model = {"type": "markov", "length": 4, "flip": flip}
    config = load(folder, whole(model=model, search=search, sampler={"steps": [1], "temperature": temperature}))
    assert config.search.space.a == (low, high)
    assert config.sampler.temperature == temperature
    assert load(folder, to_yaml(config)) == config


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_config(path: Path) -> None:
    config = load_config(path)
    assert config.output == f"runs/{path.stem}"
    comment = path.read_text(encoding="utf-8").split("\nmodel:")[0]
    assert "What this shows" in comment
    assert "What it costs" in comment


def test_the_optimum_is_a_schedule_where_schedules_are_named(tmp_path: Path) -> None:
    search = {"baselines": ["linear", " optimum "], "warm_start": "off"}
    config = load(tmp_path, whole(search=search, evaluate={"schedules": ["optimum"]}))
    assert config.search.baselines == ("linear", "optimum") and config.search.warm_start == "off"
    assert config.evaluate.schedules == ("optimum",)
    assert load(tmp_path, to_yaml(config)) == config


def test_profile_and_blocks_survive_the_round_trip(tmp_path: Path) -> None:
    profile = {"examples": 8, "points": 2, "tolerance": 0.005, "monotone": False}
    for written, sizes in ((2, (2,)), ([2, 4], (2, 4))):
        sampler = {"steps": [2], "block_length": written, "block_steps": "tuned"}
        config = load(tmp_path, whole(profile=profile, sampler=sampler, objective={"metric": "nelbo"}, dataset=TEXT))
        assert resolved(config)["profile"] == {"answers": "reference", **profile}
        assert config.sampler.block_length == sizes
        assert load(tmp_path, to_yaml(config)) == config


def test_paths_are_relative_to_the_file_and_output_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    sections = {
        "model": {"type": "transformer", "path": "../net"},
        "dataset": TEXT | {"path": "/abs/lines.txt"},
        "evaluate": {"schedules": ["linear", "won/schedule.yml"]},
        "objective": {"metric": "nelbo"},
        "output": "out",
    }
    write(folder, whole(**sections))
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("deep/my.run.yaml"), ["dataset.path=package:text"])
    assert resolved(config)["model"]["path"] == str(folder / "../net")
    assert resolved(config)["dataset"]["path"] == "package:text"
    assert config.evaluate.schedules == ("linear", str(folder / "won/schedule.yml"))
    assert config.output == "out"
    assert resolved(load_config(Path("deep/my.run.yaml")))["dataset"]["path"] == "/abs/lines.txt"


def test_overrides_then_flags(tmp_path: Path) -> None:
    overrides = ["search.trials=5", "sampler.steps=[4, 8]", "search.space.a=[0.5, 2]", "seed=3", "output=there"]
    overrides += [
        "evaluate.schedules=[' sine ']",
        "dataset.type=law",
        "dataset={type: law, tune: 8, choose: 8, report: 8}",
        "search.trials=6",
    ]
    config = load(tmp_path, whole(search={"finalists": 2}), *overrides)
    assert config.sampler.steps == (4, 8)
    assert config.search.space.a == (0.5, 2.0)
    assert config.search.space.b == (0.1, 10.0)
    assert config.evaluate.schedules == ("sine",)
    assert (config.search.finalists, config.search.trials, config.seed, config.output) == (2, 6, 3, "there")
    assert config.dataset is not None
    flagged = load(tmp_path, whole(), *overrides, trials=7, seed=0, output="here")
    assert (flagged.search.trials, flagged.seed, flagged.output) == (7, 0, "here")


def test_configs_cannot_be_changed_after_loading(tmp_path: Path) -> None:
    config = load(tmp_path, whole())
    with pytest.raises(ValidationError, match="frozen"):
        config.sampler.batch = 3


def test_reading_a_config_loads_no_heavy_library() -> None:
    """In a fresh interpreter, because pytest's own has loaded what other tests need."""
    code = (
        "import sys; from pathlib import Path; import mdm_tune.config.file as config; "
        f"config.load_config(Path({str(CONFIGS / 'text.yaml')!r})); "
        "print([name for name in ('torch', 'optuna', 'scipy', 'matplotlib', 'rich', 'typer') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_grid_visits_all_points_unless_told_otherwise(tmp_path: Path) -> None:
    assert load(tmp_path, whole(), "search={strategy: grid}").search.trials == 100
    assert load(tmp_path, whole(), "search={strategy: grid, trials: 7}").search.trials == 7
    assert load(tmp_path, whole(), "search={strategy: gp}").search.trials == 25


def test_the_keys_of_a_shared_and_limited_search_survive_the_round_trip(tmp_path: Path) -> None:
    search = {
        "racing": False,
        "together": 1,
        "auto_stop": False,
        "rows": 10_000,
        "timeout": 0.5,
        "storage": "sqlite:////tmp/a b.db",
        "name": "my.run-1",
        "diversity_loss": 0.1,
        "margin": 0.0,
    }
    config = load(tmp_path, whole(search=search))
    assert {key: resolved(config)["search"][key] for key in search} == search
    assert load(tmp_path, to_yaml(config)) == config


SECRET = "hunter2"
ADDRESSES = [
    ("postgresql://me:hunter2@host:5432/db", "postgresql://me:***@host:5432/db"),
    ("postgresql+psycopg://me:p@hunter2@host/db", "postgresql+psycopg://me:***@host/db"),
    ("redis://:hunter2@host", "redis://:***@host"),
    ("mysql://me:hunter2:x/y@host/db?charset=utf8", "mysql://me:***@host/db?charset=utf8"),
    ("postgresql://host/db?user=me&password=hunter2&x=1", "postgresql://host/db?user=me&password=***&x=1"),
    ("postgresql://host/db?sslPassword=hunter2", "postgresql://host/db?sslPassword=***"),
]
OPEN = ["sqlite:////tmp/a@b:c.db", "postgresql://me@host:5432/db", "redis://host/0?db=3", "sqlite:///run.db"]


@pytest.mark.parametrize(("address", "shown"), ADDRESSES)
def test_the_password_of_the_storage_is_known_and_never_written(tmp_path: Path, address: str, shown: str) -> None:
    config = load(tmp_path, whole(search={"storage": address}))
    assert config.search.storage == address
    assert resolved(config)["search"]["storage"] == shown
    assert SECRET not in to_yaml(config) and yaml.safe_load(to_yaml(config))["search"]["storage"] == shown


@pytest.mark.parametrize("address", OPEN)
def test_an_address_without_a_password_is_written_as_it_is(tmp_path: Path, address: str) -> None:
    assert resolved(load(tmp_path, whole(search={"storage": address})))["search"]["storage"] == address


@pytest.mark.parametrize(
    ("sections", "overrides", "part"),
    [
        ({"search": {"storage": "me:hunter2@host/db"}}, [], "search.storage: must be a URL that Optuna knows"),
        ({"search": {"storage": ["redis://:hunter2@host"]}}, [], "search.storage: must be text, got"),
        ({"search": "redis://:hunter2@host"}, [], "search: must be a mapping, got"),
        ({}, ["search.storage:redis://:hunter2@host"], "--set: must be section.key=value, got"),
        ({"search": {"storage": "redis://:hunter2@host", "trials": 0}}, [], "search.trials"),
        ({"search": {"storag": "redis://:hunter2@host"}}, [], "did you mean 'storage'"),
        ({"search": {"storage": "redis://:hunter2@host"}}, ["search.storage.x=1"], "search.storage: must be a mapping"),
    ],
    ids=range(7),
)
def test_no_message_shows_the_password(tmp_path: Path, sections: Any, overrides: list[str], part: str) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, whole(**sections), *overrides)
    assert part in str(caught.value) and SECRET not in str(caught.value)
