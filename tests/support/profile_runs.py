"""A small run whose profile is measured, the commands on it, and a count of the rows that models are shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from mdm_tune.commands import search as search_run
from mdm_tune.commands.evaluate import evaluate as evaluate_command
from mdm_tune.commands.events import RunEvent
from mdm_tune.config.file import Config, load_config
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.denoisers.analytic import Mixture
from mdm_tune.denoisers.law import Law
from mdm_tune.denoisers.transformer import Transformer
from mdm_tune.run.build import build
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.profiles import Profiles
from mdm_tune.schedules.profile import Profile

CONFIGS = Path(__file__).parents[2] / "configs"
LENGTH = 20
# Two classes of product laws, too long to be enumerated: it is measured like a network.
WIDE = Mixture([0.5, 0.5], [[[0.9, 0.1]] * LENGTH, [[0.1, 0.9]] * LENGTH])
MODEL = {"type": "mixture", "weights": [0.5, 0.5], "components": [[[0.9, 0.1]] * LENGTH, [[0.1, 0.9]] * LENGTH]}
SPLITS = {"tune": 16, "choose": 8, "report": 10}
SECTIONS: dict[str, Any] = {
    "model": MODEL,
    "dataset": {"type": "law", **SPLITS},
    "sampler": {"steps": [2, 4]},
    "objective": {"metric": "nelbo"},
    "profile": {"points": 6, "examples": 12},
    "search": {"strategy": "tpe", "trials": 5, "finalists": 2, "baselines": ["linear"]},
    "evaluate": {"schedules": ["linear", "optimum"]},
}
CHAIN = {"type": "markov", "length": 12, "flip": 0.05}


def config(folder: Path, output: str = "run", **changes: Any) -> Config:
    """The config above; changes by dotted path with two underscores for the dot, None removes a section."""
    content = {name: dict(section) for name, section in SECTIONS.items()}
    for path, value in changes.items():
        section, _, key = path.partition("__")
        if key:
            content[section][key] = value
        elif value is None:
            del content[section]
        else:
            content[section] = value
    (folder / "c.yaml").write_text(yaml_text(content), encoding="utf-8")
    return load_config(folder / "c.yaml", output=str(folder / output))


def of(chosen: Config) -> Profiles:
    return Profiles(build(chosen), RunFolder(chosen.output), lambda event: None)


def search(chosen: Config, notify: Callable[[RunEvent], None] = lambda event: None, **flags: bool) -> dict[str, Any]:
    return search_run.search(chosen, **{"resume": False, "overwrite": False, **flags}, notify=notify).to_json()


def evaluate(chosen: Config, schedules: tuple[str, ...] = (), steps: tuple[int, ...] = ()) -> dict[str, Any]:
    return evaluate_command(chosen, schedules, steps, differences=False, notify=lambda event: None).to_json()


def refuse(*args: object, **kwargs: object) -> None:
    raise AssertionError("measured again")


class Rows:
    """Counts the rows that laws and transformers are shown."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        for kind, name in ((Law, "__call__"), (Transformer, "states")):
            inner = getattr(kind, name)

            def counting(model: Any, tokens: Tensor, *places: Tensor, inner: Any = inner) -> Any:
                self.number += len(tokens)
                return inner(model, tokens, *places)

            monkeypatch.setattr(kind, name, counting)


def kept_curve(folder: Path) -> np.ndarray:
    """The curve that schedules are priced on, from the file alone."""
    record = json.loads((folder / "profile-values.json").read_text(encoding="utf-8"))["profile"]
    return Profile.from_record(record).monotone


# Reuse
