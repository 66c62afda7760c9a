"""The whole way of a user with a checkpoint and a task of the harness, in small: YAML, dry run, search, numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import dynamic_module_utils
from typer.testing import CliRunner

import mdm_tune
from mdm_tune.cli import app
from mdm_tune.core.plain_yaml import yaml_text
from tests.support.harness_tasks import write_task
from tests.support.tiny_models import foreign

SCRIPT = Path(__file__).parents[2] / "scripts" / "lm_eval_numbers.py"
READY = Path(__file__).parents[2] / "configs" / "llada" / "instruct-gsm8k.yaml"
TEMPLATE = "{% for m in messages %}w3 {{ m['content'] }} w4 {% endfor %}"
TASK = {  # of the form of gsm8k, in words that the checkpoint knows; what follows the first w1 counts
    "doc_to_text": "{% set n = question.split('+')[0] | int %}w{{n % 20 + 3}} w{{n // 20 + 3}}",
    "doc_to_target": "w1{{answer[-1:]}}",
    "generation_kwargs": {"until": ["w22"], "do_sample": False},
    "filter_list": [
        {
            "name": "flexible-extract",
            "filter": [{"function": "regex", "regex_pattern": r"w1(\d)"}, {"function": "take_first"}],
        }
    ],
    "metric_list": [
        {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "regexes_to_ignore": ["w1"]}
    ],
}


@pytest.fixture(scope="module", autouse=True)
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place of its own for the copies that transformers makes of a checkpoint's code."""
    place = tmp_path_factory.mktemp("modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(place))
        patch.setenv("HF_MODULES_CACHE", str(place))
        yield place


def config(folder: Path) -> Path:
    """The ready configuration of LLaDA's instruct model on gsm8k, with the tiny checkpoint, task and budgets."""
    found: dict[str, Any] = yaml.safe_load(READY.read_text(encoding="utf-8"))
    found["model"] |= {"path": "llada", "dtype": "float32", "mask_token_id": 23, "end_tokens": ["<end>"]}
    found["dataset"] |= {
        "task": "tiny-gsm8k",
        "include_path": "tasks",
        "generation_length": 16,
        "tune": 16,
        "choose": 16,
    }
    found["dataset"]["system"] = "w5 w6"
    found["sampler"] |= {"steps": [4, 8], "temperature": 1.0, "batch": 64}
    found["search"] = {"strategy": "tpe", "trials": 4, "finalists": 2}
    found["evaluate"] = {"steps": [2, 4, 8, 16]}
    found["output"] = str(folder / "run")
    file = folder / "gsm8k.yaml"
    file.write_text(yaml_text(found), encoding="utf-8")
    return file


def command(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*words, "--trust-code", "--devices", "cpu", "--json", "--quiet"])
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_from_one_yaml_file_to_the_harness_own_numbers(tmp_path: Path) -> None:
    foreign(tmp_path / "llada", kind="llada")
    settings = json.loads((tmp_path / "llada" / "tokenizer_config.json").read_text(encoding="utf-8"))
    (tmp_path / "llada" / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": TEMPLATE}))
    write_task(tmp_path / "tasks", task="tiny-gsm8k", test=40, **TASK)
    file = str(config(tmp_path))

    priced = command("search", file, "--dry-run")
    bound = sum(phase["denoiser_rows"] for phase in priced["phases"])
    assert [each["steps"] for each in priced["reach"]] == [4, 8] and not (tmp_path / "run" / "schedule.yaml").exists()

    searched = command("search", file)
    assert 0 < searched["denoiser_rows"] <= bound
    assert [budget["n"] for budget in searched["budgets"]] == [40, 40]

    evaluated = command("evaluate", file, "--steps", "4", "--steps", "8")
    tuned = {row["steps"]: row for row in evaluated["rows"] if row["schedule"].endswith("schedule.yaml")}
    for budget in searched["budgets"]:
        assert tuned[budget["steps"]]["value"] == pytest.approx(budget["value"], abs=1e-12)
        assert tuned[budget["steps"]]["counts"] == budget["counts"]

    done = subprocess.run(
        [sys.executable, str(SCRIPT), file, "--trust-code", "--devices", "cpu", "--json", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert done.stderr == ""
    assert [(row["schedule"], row["steps"]) for row in numbers["rows"]] == [
        (name, steps) for steps in (4, 8) for name in ("linear", str(tmp_path / "run" / "schedule.yaml"))
    ]
    for row in numbers["rows"]:
        mine = next(
            each for each in evaluated["rows"] if (each["schedule"], each["steps"]) == (row["schedule"], row["steps"])
        )
        assert (row["value"], row["ci"], row["nfe"]) == (mine["value"], mine["ci"], mine["nfe"])
        assert row["value_of_harness"] == pytest.approx(row["value"], abs=1e-12)
        assert row["nfe"] <= row["steps"]  # a row stops behind its end token
    assert 0 < sum(row["value"] for row in numbers["rows"]) < 4
    assert numbers["fingerprints"] == mdm_tune.load_schedule(tmp_path / "run").record["fingerprints"]
    assert [each["steps"] for each in numbers["comparisons"]] == [4, 8]
