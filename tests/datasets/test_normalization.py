"""References that a model's tokens write in another form, or not at all: what counts as right, and what is said."""

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
from mdm_tune.config.templates import Hole
from mdm_tune.datasets.examples import Example
from mdm_tune.datasets.normalization import read_back, reference_form, same_but_form
from mdm_tune.datasets.notes import dataset_notes
from mdm_tune.metrics.answers import AnswerMetric
from mdm_tune.run.build import Run, build
from tests.support.tiny_models import SPECIAL, bert

WORDS = ["paris", "it", "'", "s", ".", "4", "5", "#", "18", "answer", "is", "q", "cafe", "rome", "##s", "one"]
SIZES = {"tune": 8, "choose": 8, "report": "all"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uncased BERT of a few words."""
    folder = tmp_path_factory.mktemp("references")
    bert(folder / "bert", vocab_size=len(SPECIAL) + len(WORDS))
    (folder / "bert" / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS]) + "\n", encoding="utf-8")
    return folder


def config(place: Path, tmp_path: Path, answers: list[str], metric: str = "exact_match", **sections: Any) -> Path:
    """Thirty questions whose answers are the given ones in turn."""
    lines = [json.dumps({"q": "q", "a": answers[n % len(answers)], "n": n}) for n in range(30)]
    (tmp_path / "qa.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    dataset = {"type": "jsonl", "path": "qa.jsonl", "id": "n", "template": "{q} {n} [[a]]", **SIZES}
    whole = {
        "model": {"type": "huggingface", "path": str(place / "bert"), "dtype": "float32", "never": []},
        "dataset": dataset | sections.pop("dataset", {}),
        "sampler": {"order": "confidence", "steps": [1], "batch": 16},
        "objective": {"metric": metric},
        "output": str(tmp_path / "run"),
        **sections,
    }
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")
    return file


def ceiling(run: Run) -> float:
    metric = run.evaluator.metric
    assert isinstance(metric, AnswerMetric)
    values = metric.ceiling(run.evaluator.split("report"))
    assert values is not None
    return float(values.mean())


def said(run: Run) -> dict[str, str]:
    assert run.dataset is not None
    return {
        code: text for text, code, _ in dataset_notes(run.dataset) if code != "no-interval"
    }  # there are 8 of each use


@pytest.mark.parametrize("answer", ["Paris", "it's.", "4.5", "PARIS  is", "Café", "rome"])
def test_a_reference_in_the_tokenizers_own_form_is_right(place: Path, tmp_path: Path, answer: str) -> None:
    run = build(load_config(config(place, tmp_path, [answer])))
    assert ceiling(run) == 1 and said(run) == {}
    dataset, metric = run.dataset, run.evaluator.metric
    assert dataset is not None and isinstance(metric, AnswerMetric)
    split = dataset.splits["report"]
    other = split.originals.where(~split.hidden, dataset.codec.encode("one")[0])
    assert metric.score(other, split).sum() == 0  # another answer is still wrong


def test_what_the_form_is_read_off_by_hand(place: Path, tmp_path: Path) -> None:
    dataset = build(load_config(config(place, tmp_path, ["Paris"]))).dataset
    assert dataset is not None
    codec = dataset.codec
    assert read_back(codec, "Paris Café") == "paris cafe"
    assert reference_form(codec, Example("1", ("q", Hole("Paris"), "is", Hole("ROME")))) == "paris rome"
    assert reference_form(codec, Example("1", ("q", Hole("Paris unicorn")))) is None
    assert reference_form(codec, Example("1", ("q", Hole(None, 3)))) is None
    assert same_but_form("It's 4.5", "it ' s 4 . 5") and not same_but_form("4.5", "45")


@pytest.mark.parametrize(
    ("answers", "regex"),
    [
        (["#### 18"], {"pattern": "# ?# ?# ?# ?(.*)"}),
        (["answer is 4.5"], {"pattern": "is (.*)"}),
        (["answer is Paris"], {"pattern": "is (.*)"}),
        (["answer is Paris"], {"pattern": "is (.*)", "reference": "a2"}),
    ],
)
def test_a_pattern_finds_the_tokenizers_own_form(
    place: Path, tmp_path: Path, answers: list[str], regex: dict[str, Any]
) -> None:
    file = config(place, tmp_path, answers, "regex", metrics={"regex": regex})
    lines = (tmp_path / "qa.jsonl").read_text(encoding="utf-8").splitlines()
    records = [{**json.loads(line), "a2": "PARIS"} for line in lines]
    (tmp_path / "qa.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")
    assert ceiling(build(load_config(file))) == 1


def test_what_no_token_writes_is_said(place: Path, tmp_path: Path) -> None:
    file = config(place, tmp_path, ["Paris unicorn", "Rome", "rome"])
    run = build(load_config(file))
    assert ceiling(run) < 1
    text = said(run)["lost-references"]
    assert text.startswith("10 of 30 references contain text that the model's tokens cannot write")
    assert re.search(r"'Paris unicorn' of example \d+ \(.*qa\.jsonl, line \d+\) reads back as 'paris'", text)
    result = CliRunner().invoke(app, ["sample", str(file), "--number", "1", "--schedule", "linear"])
    assert result.exit_code == 0, result.output
    found = CliRunner().invoke(app, ["search", str(file), "--dry-run"])
    assert "10 of 30 references do not count as right themselves" in re.sub(r"\s+", " ", found.stderr)


def test_a_pattern_that_the_tokenizers_form_never_has_is_said(place: Path, tmp_path: Path) -> None:
    file = config(place, tmp_path, ["#### 18"], "regex", metrics={"regex": {"pattern": "#### (.*)"}})
    assert ceiling(build(load_config(file))) == 0
    found = CliRunner().invoke(app, ["search", str(file), "--dry-run"])
    assert "30 of 30 references do not count as right" in re.sub(r"\s+", " ", found.stderr)


def test_answers_that_cannot_end_are_said(place: Path, tmp_path: Path) -> None:
    four = {"template": "{q} {n} [[a:4]]"}
    run = build(load_config(config(place, tmp_path, ["Paris", "it's."], dataset=four)))
    assert run.dataset is not None
    assert "open-references" not in {
        code for _, code, _ in dataset_notes(run.dataset, compared=False)
    }  # as for programs
    assert said(run)["open-references"].startswith(
        "15 of 30 references have fewer tokens than are filled in, and the m"
    )
    ended = {
        "type": "huggingface",
        "path": str(place / "bert"),
        "dtype": "float32",
        "never": [],
        "end_tokens": ["[SEP]"],
    }
    run = build(load_config(config(place, tmp_path, ["Paris", "it's."], dataset=four, model=ended)))
    assert said(run) == {} and ceiling(run) == 1
