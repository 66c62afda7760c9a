"""Benchmarks in a config: what their sections hold, what goes together, and that none of it loads the harness."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mdm_tune.config.file import Config, load_config, to_yaml
from mdm_tune.config.tasks import CodeDatasetConfig, HumanEvalDatasetConfig, LmEvalDatasetConfig
from tests.support.configs import LAW, MARKOV, SPLITS, TEXT, TRANSFORMER, load, problems

MODEL = {"type": "huggingface", "path": "model"}
SIZES = {"tune": 8, "choose": 9, "generation_length": 12}
GSM8K = {"type": "lm-eval", "task": "gsm8k", **SIZES}
HUMANEVAL = {"type": "humaneval", "path": "HumanEval.jsonl.gz", **SIZES}
MBPP = {"type": "mbpp", "path": "mbpp.jsonl", **SIZES}
OTHER = {"task": "mbpp", "path": "mbpp.jsonl", "examples": 16}
JSONL = {"type": "jsonl", "path": "qa.jsonl", "prompt": "q", "answer": "a", **SPLITS}


def whole(dataset: Any, metric: str = "task", **sections: Any) -> dict[str, Any]:
    usual = {"model": MODEL, "dataset": dataset, "sampler": {"steps": [4]}, "objective": {"metric": metric}}
    return {name: section for name, section in {**usual, **sections}.items() if section is not None}


def without(section: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name != key}


def test_sections_have_paths_beside_the_config_and_dump_back(tmp_path: Path) -> None:
    task = load(tmp_path, whole({**GSM8K, "include_path": "tasks", "shots": 4, "filter": "strict-match"})).dataset
    assert isinstance(task, LmEvalDatasetConfig)
    assert task.include_path == str(tmp_path / "tasks") and task.report == "all" and task.multiturn
    config = load(tmp_path, whole({**HUMANEVAL, "tune": OTHER}))
    assert isinstance(config.dataset, HumanEvalDatasetConfig) and config.dataset.path == str(
        tmp_path / "HumanEval.jsonl.gz"
    )
    assert config.dataset.tune == {"task": "mbpp", "examples": 16, "path": str(tmp_path / "mbpp.jsonl")}
    assert config.dataset.tune_size == 16 and load(tmp_path, to_yaml(config)) == config


def test_code_has_limits_of_its_own(tmp_path: Path) -> None:
    given = load(tmp_path, whole({**MBPP, "shots": 0, "seconds": 10.0, "memory": 2048, "workers": 3})).dataset
    assert isinstance(given, CodeDatasetConfig)
    assert (given.seconds, given.memory, given.workers) == (10.0, 2048, 3)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (without(GSM8K, "task"), "dataset.task: is required and missing; add `task: gsm8k`"),
        (without(GSM8K, "generation_length"), "dataset.generation_length: is required and missing; add"),
        (without(HUMANEVAL, "path"), "dataset.path: is required and missing; add `path: HumanEval.jsonl.gz`"),
        (without(MBPP, "path"), "dataset.path: is required and missing; add `path: mbpp.jsonl`"),
        (without(GSM8K, "tune"), "dataset.tune: is required and missing; add `tune: 128`"),
        ({**GSM8K, "tasks": "a"}, "dataset.tasks: unknown key; did you mean 'task'? legal keys here: type, tune, "),
        ({**GSM8K, "path": "a"}, "dataset.path: unknown key; "),
        ({**HUMANEVAL, "shots": 1}, "dataset.shots: unknown key; "),
        ({**MBPP, "shots": 4}, "dataset.shots: must be at most 3, got 4"),
        ({**MBPP, "second": 1}, "dataset.second: unknown key; did you mean 'seconds'?"),
        ({**MBPP, "seconds": 0.5}, "dataset.seconds: must be at least 1.0, got 0.5"),
        ({**MBPP, "memory": 1}, "dataset.memory: must be at least 64, got 1"),
        ({**GSM8K, "type": "lmeval"}, "got 'lmeval'; did you mean 'lm-eval'?"),
        ({**GSM8K, "report": "some"}, "dataset.report: must be a whole number or all, got 'some'"),
        ({**GSM8K, "tune": 7}, "dataset.tune: must be at least 8"),
        ({**GSM8K, "tune": "many"}, "dataset.tune: must be a whole number or another task, got 'many'"),
        ({**GSM8K, "tune": True}, "dataset.tune: must be a whole number or another task, got true"),
        (
            {**GSM8K, "tune": {}},
            "dataset.tune: must name another task, got null; write it as {task: mbpp, examples: 128}",
        ),
        ({**GSM8K, "tune": {"task": "x"}}, "dataset.tune: must have a number of examples of x, got null; write it as"),
        ({**GSM8K, "tune": {"task": "x", "examples": 4}}, "dataset.tune: must be at least 8"),
        (
            {**GSM8K, "tune": {**OTHER, "shots": 1}},
            "must have only the keys task, examples, path, got 'shots'; remove it",
        ),
        ({**GSM8K, "tune": OTHER}, "tune must name a task of the harness without a path, because "),
        (
            {**MBPP, "tune": {"task": "gsm8k", "examples": 8}},
            "tune must name a task whose answers are programs, and its",
        ),
        ({**MBPP, "tune": {"task": "humaneval", "examples": 8}}, "got task humaneval, examples 8; write"),
        ({**MBPP, "tune": {"task": "mbpp", "examples": 8, "path": ""}}, "must name the file of mbpp, got ''"),
        ({**GSM8K, "folds": 5}, "folds and fold go together, the second counting from 0, got 5 and null"),
        ({**GSM8K, "folds": 5, "fold": 5}, "folds and fold go together, the second counting from 0, got 5 and 5"),
        ({**GSM8K, "folds": 1, "fold": 0}, "dataset.folds: must be at least 2, got 1"),
        (
            {**HUMANEVAL, "tune": OTHER, "folds": 5, "fold": 0},
            "folds tune on the task itself, got tune from 'mbpp'; leave one of them out",
        ),
        ({**GSM8K, "system": "Be brief."}, "system goes with chat: true, got 'Be brief.' without"),
    ],
)
def test_bad_sections_are_named(tmp_path: Path, dataset: dict[str, Any], expected: str) -> None:
    (line,) = problems(tmp_path, whole(dataset))
    assert expected in line


@pytest.mark.parametrize(
    ("dataset", "metric", "sections", "expected"),
    [
        (GSM8K, "task", {}, None),
        (HUMANEVAL, "task", {"sampler": {"steps": [4], "order": "confidence", "temperature": 0}}, None),
        (GSM8K, "nelbo", {}, None),
        (MBPP, "custom", {"metrics": {"custom": {"target": "a.py:b", "direction": "minimize"}}}, None),
        (GSM8K, "generative_nll", {}, "metrics.generative_nll: is required by objective.metric and is missing"),
        (GSM8K, "spelling", {}, "objective.metric: spelling needs a dataset of type text, got 'lm-eval'"),
        (GSM8K, "kl", {}, "objective.metric: kl needs a model whose law is known exactly"),
        (GSM8K, "nelbo", {"sampler": {"steps": [4], "order": "margin"}}, "sampler.order: metric nelbo needs order"),
        (GSM8K, "task", {"model": MARKOV}, "dataset.type: lm-eval holds text, and an exact law has data of its own"),
        (None, "task", {}, "objective.metric: task is the metric of a benchmark, got no dataset; set"),
        (JSONL, "task", {}, "got 'jsonl'; set dataset.type to one of lm-eval, humaneval, mbpp"),
        (LAW, "task", {"model": MARKOV}, "objective.metric: task is the metric of a benchmark, got 'law'"),
        (TEXT, "task", {"model": TRANSFORMER}, "objective.metric: task is the metric of a benchmark, got"),
        (TEXT, "exact_match", {"model": TRANSFORMER}, "of jsonl, csv, lines, datasets, lm-eval, humaneval, mbpp"),
        (GSM8K, "task", {"sampler": {"steps": [4], "block_length": 4}}, None),
        (
            GSM8K,
            "task",
            {"sampler": {"steps": [4], "block_length": 5}},
            "sampler.block_length: must divide dataset.generation_length, 12 tokens, got 5; choose one of 1, 2, 3, 4, ",
        ),
        (
            {**JSONL, "generation_length": 9},
            "exact_match",
            {"sampler": {"steps": [4], "block_length": 6}},
            "sampler.block_length: must divide dataset.generation_length, 9 tokens, got 6; choose one of 1, 3, 9",
        ),
        (GSM8K, "task", {"profile": {"examples": 9}}, "profile.examples: must be at most dataset.tune"),
        ({**HUMANEVAL, "tune": OTHER}, "task", {"profile": {"examples": 16}}, None),
        ({**HUMANEVAL, "tune": OTHER}, "task", {"profile": {"examples": 17}}, "is measured on (16), got 17"),
    ],
)
def test_what_goes_together(
    tmp_path: Path, dataset: Any, metric: str, sections: dict[str, Any], expected: str | None
) -> None:
    content = whole(dataset, metric, **sections)
    if expected is None:
        assert load(tmp_path, content).objective.metric == metric
    else:
        (line,) = problems(tmp_path, content)
        assert expected in line


def test_a_config_made_in_python_is_judged_too() -> None:
    content = whole({**GSM8K, "tune": 16}, sampler={"steps": (4,)})
    assert Config.model_validate({**content, "output": "x"}).objective.metric == "task"


def test_reading_a_config_loads_neither_harness_nor_model(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(whole(GSM8K)), encoding="utf-8")
    assert load_config(file).dataset is not None
    code = (
        f"import sys, pathlib\nfrom mdm_tune.config.file import load_config\nload_config(pathlib.Path({str(file)!r}))\n"
        "found = {'lm_eval', 'datasets', 'torch', 'transformers', 'scipy'} & set(sys.modules)\n"
        "assert not found, found\n"
        "import mdm_tune.run.build\n"
        "found = {'lm_eval', 'datasets', 'transformers'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
