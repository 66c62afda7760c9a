"""The commands on checkpoints and tasks like the users' own, in small: configs, and what a command answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from mdm_tune.cli import app
from mdm_tune.core.plain_yaml import yaml_text

ANSWERS = {"path": "qa.jsonl", "type": "jsonl", "prompt": "{q}", "answer": "a", "generation_length": 4}
SIZES = {"tune": 8, "choose": 8, "report": 12}
LIKELIHOOD = {
    "dataset": {"type": "lines", "path": "texts.txt", **SIZES},
    "sampler": {"order": "random", "steps": [3], "batch": 16},
    "objective": {"metric": "nelbo"},
    "profile": {"examples": 8, "points": 4},
}
TASK = {
    "dataset": {**ANSWERS, **SIZES},
    "sampler": {"order": "confidence", "temperature": 1.0, "steps": [2], "batch": 16},
    "objective": {"metric": "custom"},
    "metrics": {"custom": {"target": "score.py:share", "direction": "maximize"}, "exact_match": {}},
}


def config(place: Path, tmp_path: Path, sections: dict[str, Any], **more: Any) -> str:
    model = {"type": "huggingface", "path": "bert", "split": "characters", "dtype": "float32"}
    search = {"strategy": "tpe", "trials": 4, "together": 2, "finalists": 2, "baselines": ["linear"]}
    whole = {"model": model, "search": search, "output": str(tmp_path / "run"), **sections}
    for name, changed in more.items():
        whole[name] = {**whole.get(name, {}), **changed}
    file = place / f"{tmp_path.name}.yaml"
    file.write_text(yaml_text(whole), encoding="utf-8")
    return str(file)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def answered(*arguments: str) -> tuple[dict[str, Any], str]:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout), re.sub(r"\s+", " ", result.stderr)


def refused(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 2 and "Traceback" not in result.output, (result.output, result.exception)
    return re.sub(r"\s+", " ", result.stderr)
