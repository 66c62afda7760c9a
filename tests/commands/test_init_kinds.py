"""A dry run of what ``init`` writes, for every kind of task and two kinds of model each.

Covers: init.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.commands import dry_run
from mdm_tune.core.plain_yaml import read_yaml_file
from mdm_tune.search.power import Detectable, detectable
from mdm_tune.start.sizes import shown_gain
from tests.support.code_problems import SHIPPED, problem
from tests.support.harness_tasks import SYMBOLS, write_task
from tests.support.tiny_models import SPECIAL, bert, word_tokenizer

FUNCTION = """
import torch

SYMBOLS = "ALL"

class Mine:
    vocab_size, mask_id, length, symbols = len(SYMBOLS), len(SYMBOLS), 4096, SYMBOLS

    def __call__(self, tokens, wanted):
        near = (tokens.roll(1, 1) + tokens.roll(-1, 1))[wanted].clamp(max=2 * self.mask_id).float()
        return -(torch.arange(float(self.vocab_size))[None] - near[:, None] / 2).abs() / 9

def build():
    return Mine()
"""
WORDS = [f"w{number}" for number in range(40)]
OTHERS = ["Q:", "A:", "####", "def", "return", "You", "assert"]  # so that no text is all unknown
TEXTS = [" ".join(WORDS[(number * step) % 40] for step in range(1, 9)) for number in range(1, 81)]
MODELS = ("checkpoint", "function")
TASKS = (
    *("prompts.jsonl", "texts.jsonl", "table.csv", "lines.txt", "paragraphs.txt", "saved"),
    *("sums", "humaneval", "mbpp.jsonl"),
)
FLAGS: dict[str, tuple[str, ...]] = {
    "sums": ("--trust-code", "--length", "8"),
    "humaneval": ("--length", "8"),
    "mbpp.jsonl": ("--length", "8"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both models and the data of all tasks."""
    root = tmp_path_factory.mktemp("kinds")
    bert(root / "checkpoint", vocab_size=52, hidden_size=8, num_hidden_layers=1, max_position_embeddings=2048)
    (root / "checkpoint" / "vocab.txt").unlink()
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    special = dict(zip(names, SPECIAL, strict=True))
    word_tokenizer(root / "checkpoint", [*SPECIAL, *WORDS, *OTHERS], ("[CLS]", "[SEP]"), **special)
    with gzip.open(SHIPPED, "rt", encoding="utf-8") as file:
        programs = {letter for line in file for value in json.loads(line).values() for letter in value}
    symbols = "".join(sorted({*SYMBOLS, *programs, "\r"}))
    (root / "function.py").write_text(FUNCTION.replace('"ALL"', repr(symbols)), encoding="utf-8")
    prompts = [{"question": text, "answer": text[-11:]} for text in TEXTS]
    write_lines(root / "prompts.jsonl", prompts)
    write_lines(root / "texts.jsonl", [{"id": number, "text": text} for number, text in enumerate(TEXTS)])
    with (root / "table.csv").open("w", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, ["question", "answer"])
        writer.writeheader()
        writer.writerows(prompts)
    (root / "lines.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    (root / "paragraphs.txt").write_text("\n\n".join(f"{text}\n{text}" for text in TEXTS) + "\n", encoding="utf-8")
    save_set(root / "saved", {"train": prompts[:50], "test": prompts[50:]})
    write_task(root / "tasks", num_fewshot=0)
    write_lines(root / "mbpp.jsonl", [problem(number) for number in range(1, 975)])
    return root


def write_lines(file: Path, records: list[dict[str, Any]]) -> None:
    file.write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")


def save_set(folder: Path, splits: dict[str, list[dict[str, Any]]]) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    made = {name: datasets.Dataset.from_list(records) for name, records in splits.items()}
    datasets.DatasetDict(made).save_to_disk(str(folder))


def answer(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def checked(root: Path, model: str, task: str, *flags: str, steps: int = 2) -> dict[str, Any]:
    """What init writes passes a dry run, and the numbers of both agree; the config."""
    file = root / f"{Path(model).stem}-{Path(task).stem}-{Path(task).suffix[1:]}.yaml".replace(":", "-")
    made = answer("init", model, task, "--output", str(file), "--steps", str(steps), *flags)
    tried = answer("search", str(file), "--dry-run", "--quiet", "--output", str(root / "none"), *made["needs"])
    config, text = read_yaml_file(file, ""), file.read_text(encoding="utf-8")
    report = config["dataset"]["report"]
    if tried.get("report_examples") is not None and report != "all":
        assert tried["report_examples"] == report
    stated = re.search(r"shows a gain of about ([\d.]+)( % of the answers| standard deviations)", text)
    if made["detectable_gain"] is None:
        assert stated is None
    elif stated is not None:
        scale = 100 if "%" in stated[2] else 1
        assert float(stated[1]) == pytest.approx(scale * made["detectable_gain"], rel=0.06)
    number = re.search(r"tune: \d+ # of ([\d,]+)", text)
    if number is not None:
        taken = sum(config["dataset"][use] for use in ("tune", "choose"))
        assert taken + (report if report != "all" and "split" not in config["dataset"] else 0) <= int(
            number[1].replace(",", "")
        )
    assert {phase["phase"] for phase in tried["phases"]} >= {"tune", "choose", "report"}
    return config


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model", MODELS)
def test_what_init_writes_runs(place: Path, model: str, task: str) -> None:
    named = str(place / model) if model == "checkpoint" else f"{place / 'function.py'}:build"
    if task == "sums":
        flags = ("--include-path", str(place / "tasks"))
    else:
        flags = ("--trust-code",) if model == "function" else ()
    given = task if task in ("sums", "humaneval") else str(place / task)
    config = checked(place, named, given, *flags, *FLAGS.get(task, ()))
    assert config["model"]["type"] == {"checkpoint": "huggingface", "function": "custom"}[model]
    kinds = {"saved": "datasets", "sums": "lm-eval", "humaneval": "humaneval", "mbpp.jsonl": "mbpp", "table.csv": "csv"}
    assert config["dataset"]["type"] == kinds.get(task, "lines" if task.endswith(".txt") else "jsonl")


def test_the_gain_that_the_file_states_is_that_of_the_dry_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In units of the standard deviation of the pilot's differences, which init does not know."""
    found: list[Detectable | None] = []

    def kept(*arguments: Any) -> Detectable | None:
        found.append(detectable(*arguments))
        return found[-1]

    monkeypatch.setattr(dry_run, "detectable", kept)
    config = checked(place, "package:text", "package:text", steps=4)
    assert config["objective"] == {"metric": "spelling"}
    assert found[0] is not None
    deviation = float(np.std(found[0].pilot, ddof=1))
    assert found[0].gain / deviation == pytest.approx(shown_gain(config["dataset"]["report"], 1, False), rel=0.1)
