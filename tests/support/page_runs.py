"""One small run folder with a search and an evaluation, made once, from which the tests of pages start."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mdm_tune.commands.evaluate import evaluate
from mdm_tune.commands.search import search
from mdm_tune.config.file import load_config

__all__ = ["PageRun", "text_run"]

TEXT = Path(__file__).parents[2] / "configs" / "text.yaml"
SMALL = (
    *("dataset.tune=10", "dataset.choose=10", "dataset.report=12", "sampler.steps=[2, 4]", "search.trials=6"),
    *("search.finalists=2", "search.baselines=[linear, sine]"),
)
NAMES = ("linear", "beta:0.43,0.76", "threshold:0.3")


@dataclass(frozen=True)
class PageRun:
    """A run folder, and its results as they were written."""

    folder: Path
    search: dict[str, Any]
    evaluate: dict[str, Any]


@pytest.fixture(scope="session")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> PageRun:
    """A search of the bundled text model at 2 and at 4 steps, and an evaluation of three policies at both."""
    folder = tmp_path_factory.mktemp("runs") / "text"
    config = load_config(TEXT, SMALL, output=str(folder))
    search(config, resume=False, overwrite=False, notify=lambda event: None)
    evaluate(config, NAMES, [2, 4], differences=False, notify=lambda event: None)
    results = [json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("search", "evaluate")]
    return PageRun(folder, *results)
