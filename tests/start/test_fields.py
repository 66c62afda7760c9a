from __future__ import annotations

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.start.fields import Fields, recognised


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        ({"question": "a", "answer": "b"}, Fields(prompt="question", answer="answer")),
        ({"Prompt": "a", "Target": 3, "id": "c"}, Fields(prompt="Prompt", answer="Target")),
        ({"input": "a"}, Fields(prompt="input")),
        ({"instruction": "a", "input": "b", "output": "c"}, Fields(prompt="{instruction}\n\n{input}", answer="output")),
        ({"text": "a", "label": "b"}, Fields(text="text")),
        ({"sequence": "a"}, Fields(text="sequence")),
        ({"question": "a", "answer": ["b"]}, Fields(prompt="question")),
        ({"question": "a", "problem": "", "answer": "b"}, Fields(prompt="question", answer="answer")),
    ],
)
def test_fields_by_their_names(record: dict[str, object], fields: Fields) -> None:
    assert recognised([record], "x.jsonl") == fields


def test_a_field_that_only_some_records_have_is_none() -> None:
    records = [{"instruction": "a", "input": "b", "output": "c"}, {"instruction": "a", "input": "", "output": "c"}]
    assert recognised(records, "x.jsonl") == Fields(prompt="instruction", answer="output")


def test_what_the_user_names_comes_first() -> None:
    record = {"question": "a", "problem": "b", "answer": "c", "solution": "d"}
    named = recognised([record], "x.jsonl", prompt="Q: {problem}", answer="solution")
    assert named == Fields(prompt="Q: {problem}", answer="solution")


@pytest.mark.parametrize(
    ("record", "part"),
    [
        ({"question": "a", "problem": "b"}, "got question, problem, each of which could be it; name it with --prompt"),
        ({"question": "a", "answer": "b", "target": "c"}, "got answer, target, each of which could be it; name it wit"),
        ({"a": "b"}, "got the fields a; name it with --prompt FIELD"),
    ],
)
def test_unclear_fields(record: dict[str, object], part: str) -> None:
    with pytest.raises(InputError, match="exactly one field") as caught:
        recognised([record], "x.jsonl")
    assert part in str(caught.value)


def test_a_field_with_gaps_is_named() -> None:
    with pytest.raises(InputError, match="the field 'text' must have text in every record, got none in 1 of 2 records"):
        recognised([{"text": "a"}, {"text": ""}], "x.jsonl")


def test_an_answer_that_some_records_lack_is_named() -> None:
    records = [{"question": "a"}, {"question": "b", "answer": "c"}]
    with pytest.raises(
        InputError, match="the field 'answer' must have text in every record, got none in 1 of 2 record"
    ):
        recognised(records, "x.jsonl")
    assert recognised(records, "x.jsonl", answer="answer") == Fields(prompt="question", answer="answer")
