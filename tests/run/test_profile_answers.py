"""A profile on the answers of an earlier run prices the very tokens of that run, or says that it cannot."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.config.file import load_config
from mdm_tune.core.errors import InputError
from mdm_tune.core.text import Symbols
from mdm_tune.run.build import build
from tests.support.tiny_models import SPECIAL, bert

WORDS = ["paris", "##par", "##is", "pa", "##s", "q", "r", "##ris", "p"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of pieces of words: what it draws is seldom what its own tokenizer makes of the same text."""
    folder = tmp_path_factory.mktemp("answers")
    bert(folder / "bert", vocab_size=len(SPECIAL) + len(WORDS))
    (folder / "bert" / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS]) + "\n", encoding="utf-8")
    lines = [json.dumps({"q": "q " * (1 + n % 3) + "r " * n, "a": "paris"}) for n in range(30)]
    (folder / "qa.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def profiled(place: Path, folder: Path, answers: str, **changed: Any) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON and what was said of ``profile``."""
    sections = {
        "model": {"type": "huggingface", "path": "bert", "dtype": "float32", "never": SPECIAL},
        "dataset": {
            "type": "jsonl",
            "path": "qa.jsonl",
            "prompt": "q",
            "answer": "a",
            "generation_length": 4,
            "tune": 8,
            "choose": 8,
            "report": 8,
            **changed,
        },
        "sampler": {"order": "random", "steps": [2], "batch": 16},
        "objective": {"metric": "exact_match"},
        "profile": {"answers": answers, "examples": 8, "points": 4},
        "output": str(folder),
    }
    file = place / f"{folder.name}.yaml"
    file.write_text(yaml.safe_dump(sections), encoding="utf-8")
    done = CliRunner().invoke(app, ["profile", str(file), "--json"])
    assert "Traceback" not in done.output
    return done.exit_code, json.loads(done.stdout or "{}"), re.sub(r"\s+", " ", done.stderr)


def test_the_tools_own_file_gives_the_numbers_of_the_run_that_wrote_it(place: Path, tmp_path: Path) -> None:
    _, drawn, _ = profiled(place, tmp_path / "model", "model")
    file = tmp_path / "model" / "answers-tune.jsonl"
    code, again, said = profiled(place, tmp_path / "again", str(file))
    assert code == 0 and again["cross_entropy"] == drawn["cross_entropy"] and "read from their text" not in said
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    dataset = build(load_config(place / "model.yaml")).dataset
    assert dataset is not None
    differing = 0
    for record in records:
        assert len(record["tokens"]) == 4 and record["answer"] == dataset.codec.decode(record["tokens"])
        try:
            differing += dataset.codec.encode(record["answer"]) != record["tokens"]
        except InputError:  # the text is unknown as a whole
            differing += 1
    assert differing > 4  # text alone would have given another profile


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: {**record, "tokenizer": "0" * 16}, "another tokenizer wrote them: losses differ"),
        (lambda record: {**record, "tokens": record["tokens"][:3]}, "they have another number of tokens"),
        (lambda record: {key: record[key] for key in ("id", "answer")}, None),
    ],
)
def test_tokens_that_cannot_be_used_are_said(place: Path, tmp_path: Path, change: Any, message: str | None) -> None:
    profiled(place, tmp_path / "model", "model")
    lines = (tmp_path / "model" / "answers-tune.jsonl").read_text(encoding="utf-8").splitlines()
    records = [{**json.loads(line), "answer": "paris paris paris paris"} for line in lines]
    file = tmp_path / "other.jsonl"
    file.write_text("\n".join(json.dumps(change(record)) for record in records) + "\n", encoding="utf-8")
    code, _, said = profiled(place, tmp_path / "again", str(file))
    assert code == 0
    assert ("read from their text" in said) == (message is not None)
    if message is not None:
        assert f"8 answers of {file} are read from their text and not from their tokens, since {message}" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": [5, 6, 7, 99]}, r"line 1: tokens must be a list of ids of the model, got \[5, 6, 7, 99\]"),
        ({"tokens": [5, 6, 7, 4]}, r"line 1: tokens must be a list of ids of the model, got \[5, 6, 7, 4\]"),
        ({"tokens": "5"}, "line 1: tokens must be a list of ids"),
        (
            {"tokens": None, "answer": "paris [MASK] paris"},
            "the answer must be text, got 'paris \\[MASK\\] paris', part",
        ),
        (
            {"tokens": None, "answer": "paris"},
            r"answer of example \w+ \(.*qa\.jsonl, line \d+\) in .*other\.jsonl, line",
        ),
    ],
)
def test_answers_that_are_none(place: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    profiled(place, tmp_path / "model", "model")
    lines = (tmp_path / "model" / "answers-tune.jsonl").read_text(encoding="utf-8").splitlines()
    records = [{**json.loads(line), **change} for line in lines]
    file = tmp_path / "other.jsonl"
    file.write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")
    code, _, said = profiled(place, tmp_path / "again", str(file))
    assert code == 2 and re.search(message, said), said


def test_tokenizers_are_told_apart(place: Path, tmp_path: Path) -> None:
    bert(tmp_path / "bert", vocab_size=len(SPECIAL) + len(WORDS))
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS[::-1]]) + "\n", encoding="utf-8")
    profiled(place, tmp_path / "model", "model")
    first, again = (build(load_config(place / "model.yaml")).model.codec for _ in range(2))
    file = tmp_path / "config.yaml"
    file.write_text((place / "model.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "qa.jsonl").write_text((place / "qa.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    other = build(load_config(file)).model.codec
    digits = [each.fingerprint for each in (first, again, other)]  # type: ignore[attr-defined]
    assert digits[0] == digits[1] != digits[2]
    again.encode("paris")
    assert again.fingerprint == digits[0]  # type: ignore[attr-defined]
    assert Symbols("ab").fingerprint == Symbols("ab").fingerprint != Symbols("ba").fingerprint
