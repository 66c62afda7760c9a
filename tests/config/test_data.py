"""The sections for examples of text and for metrics of answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.datasets.test_readers import SIZES, config
from tests.metrics.test_reported import options


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"regex": {"pattern": "[0-9"}}, "must be a regular expression, got"),
        ({"regex": {"pattern": "[0-9]+"}}, r"must have one group \( \), the part that is compared, got 0"),
        ({"regex": {"pattern": "(a)(b)"}}, "got 2 in"),
        ({"regex": {"pattern": "(a)", "reference": "{a!r}"}}, "only plain fields"),
        ({"exact_match": {"ignore": ["case", "case"]}}, "must not repeat"),
        ({"exact_match": {"ignore": ["colour"]}}, "should be 'spaces'"),
        ({"mauve": {"model": "gpt2", "seeds": 1}}, "greater than or equal to 2"),
        ({"custom": {"target": "own:score", "direction": "minimize"}}, "must be FILE.py:NAME"),
        ({"custom": {"target": "own.py:score"}}, "Field required"),
        ({"bleu": {}}, "Extra inputs"),
    ],
)
def test_options_that_cannot_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        options(**given)


def test_options_survive_being_written_down(tmp_path: Path) -> None:
    (tmp_path / "judge").mkdir()
    given = options(tmp_path, regex={"pattern": "(a)"}, mauve={"model": "judge"}, generative_nll={"model": "gpt2"})
    assert options(Path("/elsewhere"), **json.loads(given.model_dump_json())) == given
    assert given.mauve is not None and given.mauve.model == str(tmp_path / "judge")
    assert given.generative_nll is not None and given.generative_nll.model == "gpt2"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "q", "text": "t"}, "must have exactly one of prompt, text and template, got prompt and text"),
        ({"prompt": None}, "exactly one of prompt, text and template, got none"),
        ({"prompt": "q"}, "prompt needs answer or generation_length, got neither"),
        ({"text": "t", "answer": "a"}, "answer goes with prompt, got text"),
        ({"text": "t", "chat": True}, "chat goes with prompt, got text"),
        ({"template": "[[t]]", "shots": 1}, "shots goes with prompt, got template"),
        ({"template": "[[t]]", "generation_length": 8}, r"give a hole's own tokens, as in \[\[answer:12\]\]"),
        ({"template": "t"}, "a template needs a hole to fill"),
        ({"system": "s"}, "system goes with chat: true"),
        ({"prompt": "q", "generation_length": 8, "shots": 1}, "shots are solved examples and need answer"),
        ({"prompt": "{q!r}", "answer": "a"}, "only plain fields"),
        (
            {"path": {"tune": "a", "report": "b"}},
            "must name tune, choose and report, and may name shots, got tune, rep",
        ),
        ({"path": {**dict.fromkeys(SIZES, "a"), "test": "b"}}, "may name shots"),
        ({"path": 3}, "must be text, or text for each of tune, choose and report, got 3"),
        ({"path": ""}, "must be text, or text for each"),
        ({"path": dict.fromkeys(SIZES, "")}, "must be text, or text for each"),
        ({"report": "rest"}, "must be a whole number or all, got 'rest'"),
        ({"report": True}, "must be a whole number or all, got true"),
        ({"report": 7}, "must be at least 8"),
        ({"tune": "all"}, "valid integer"),
        ({"questions": "q"}, "Extra inputs are not permitted"),
    ],
)
def test_sections_that_contradict_themselves(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**options)


def test_paths_start_at_the_config(tmp_path: Path) -> None:
    each = dict.fromkeys(SIZES, "a.jsonl")
    assert config(tmp_path, path="a.jsonl").path == str(tmp_path / "a.jsonl")
    assert config(tmp_path, path=each).path == dict.fromkeys(SIZES, str(tmp_path / "a.jsonl"))
    (tmp_path / "here").mkdir()
    paths = {name: config(tmp_path, type="datasets", path=name).path for name in ("here", "someone/sums", "a.parquet")}
    assert paths == {
        "here": str(tmp_path / "here"),
        "someone/sums": "someone/sums",
        "a.parquet": str(tmp_path / "a.parquet"),
    }


def test_a_section_survives_being_written_down(tmp_path: Path) -> None:
    given = config(tmp_path, path=dict.fromkeys(SIZES, "a.jsonl"), report="all", stop=["\n\n"], shots=2)
    again = config(Path("/elsewhere"), **json.loads(given.model_dump_json()))
    assert again == given
    assert again.stop == ("\n\n",)
