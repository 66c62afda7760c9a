from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from mdm_tune.config.templates import Hole
from mdm_tune.core.errors import InputError
from mdm_tune.core.text import Symbols
from mdm_tune.datasets.readers import ReaderConfig, example_of, read_examples

CODEC = Symbols("abc")
SIZES = {"tune": 8, "choose": 8, "report": 8}


@dataclass(frozen=True)
class Chatty:
    """A codec whose chat template can be read off the result."""

    end_tokens: tuple[int, ...] = ()

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def framed(self, tokens: list[int]) -> tuple[list[int], list[int]]:
        return [], []

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, tokens))

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        return "".join(f"<{message['role']}>{message['content']}" for message in messages) + "<assistant>"


def config(folder: Path = Path("/nowhere"), **options: Any) -> ReaderConfig:
    """A dataset section as its YAML would give it; prompt q and answer a where nothing else is said."""
    given = {"type": "jsonl", "path": "data.jsonl", **SIZES, **options}
    if given["type"] != "lines" and not {"prompt", "text", "template"} & given.keys():
        given |= {"prompt": "q", "answer": "a"}
    return TypeAdapter[ReaderConfig](ReaderConfig).validate_python(given, context={"folder": folder})


def write(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def sums(first: int, stop: int) -> list[dict[str, Any]]:
    return [{"q": f"{number}+1=", "a": number + 1} for number in range(first, stop)]


def test_a_prompt_and_its_answer() -> None:
    example = example_of(
        {"q": "1+1", "a": 2, "x": [1]}, config(prompt="{q} =", answer=" {a}", generation_length=4), CODEC
    )
    assert example.pieces == ("1+1 =", Hole(" 2", 4))
    assert example.record == {"q": "1+1", "a": 2, "x": [1]}


def test_what_is_filled_in() -> None:
    record = {"before": "b", "t": "whole", "after": "a"}
    text = example_of(record, config(text="t"), CODEC)
    cut = example_of(record, config(text="t", generation_length=3), CODEC)
    holes = example_of(record, config(template="{before} [[t]] {after}"), CODEC)
    open_end = example_of(record, config(prompt="t", generation_length=3), CODEC)
    assert text.pieces == (Hole("whole"),)
    assert cut.pieces == (Hole("whole", 3),)
    assert holes.pieces == ("b ", Hole("whole"), " a")
    assert open_end.pieces == ("whole", Hole(None, 3))


def test_shots_stand_before_the_prompt() -> None:
    shots = sums(0, 2)
    plain = example_of(sums(5, 6)[0], config(separator="|"), CODEC, shots)
    assert plain.pieces == ("0+1=1|1+1=2|5+1=", Hole("6"))
    bare = example_of(sums(5, 6)[0], config(separator="|"), CODEC)
    assert bare.id == plain.id  # named by its own content


def test_shots_of_a_chat_are_turns() -> None:
    chosen = config(chat=True, system="Add.")
    alone = example_of(sums(5, 6)[0], chosen, Chatty())
    after = example_of(sums(5, 6)[0], chosen, Chatty(), sums(0, 1))
    assert alone.prompt == "<system>Add.<user>5+1=<assistant>"
    assert after.prompt == "<system>Add.<user>0+1=<assistant>1<user>5+1=<assistant>"
    with pytest.raises(InputError, match="has no chat template"):
        example_of(sums(5, 6)[0], chosen, CODEC)


def test_names_follow_from_the_field_or_the_content() -> None:
    records = [{"q": "x", "a": "y", "n": 1}, {"q": "x", "a": "z", "n": 2}, {"q": "xy", "a": "", "n": 3}]
    assert [example_of(record, config(id="n"), CODEC).id for record in records] == ["1", "2", "3"]
    names = [example_of(record, config(), CODEC).id for record in records]
    assert len(set(names)) == 3 and all(len(name) == 16 for name in names)
    assert names == [example_of({**record, "n": 0}, config(), CODEC).id for record in records]


def test_examples_know_their_line(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", sums(0, 30))
    for examples in read_examples(config(tmp_path), CODEC, 0).values():
        for example in examples:
            assert example.source == f"{path}, line {example.record['a']}"
            assert example.named == f"example {example.id} ({path}, line {example.record['a']})"


def test_one_file_is_shared_out(tmp_path: Path) -> None:
    write(tmp_path / "data.jsonl", sums(0, 40))
    found = read_examples(config(tmp_path, report="all", shots=3), CODEC, root=0)
    assert {use: len(examples) for use, examples in found.items()} == {"tune": 8, "choose": 8, "report": 21}
    answers = [example.record["a"] for examples in found.values() for example in examples]
    assert sorted(answers) == list(range(4, 41))  # all, once each, but for the shots 1, 2 and 3
    assert all(example.prompt.startswith("0+1=1\n\n1+1=2\n\n2+1=3\n\n") for example in found["report"])
    again, other = (read_examples(config(tmp_path, report="all", shots=3), CODEC, root) for root in (0, 1))
    assert again == found and other["tune"] != found["tune"]
    assert answers[:8] != sorted(answers[:8])  # at random, and not the head of the file


def test_what_a_file_still_has_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "data.jsonl", sums(0, 30))
    for report, left in ((8, 6), (14, 0), ("all", 0)):
        spare: dict[Any, int] = {}
        read_examples(config(tmp_path, report=report), CODEC, 0, None, spare)
        assert spare["report"] == left


def test_the_share_of_a_use_does_not_depend_on_where_the_file_lies(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "data.jsonl", sums(0, 40))
    assert read_examples(config(tmp_path / "one"), CODEC, 0) == read_examples(config(tmp_path / "two"), CODEC, 0)


def test_files_for_each_use(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", sums(0, 30))
    write(tmp_path / "test.jsonl", sums(30, 40))
    write(tmp_path / "shots.jsonl", sums(100, 103))
    path = {"tune": "train.jsonl", "choose": "train.jsonl", "report": "test.jsonl"}
    found = read_examples(config(tmp_path, path=path, report="all", shots=2), CODEC, 0)
    assert {example.record["a"] for example in found["report"]} == set(range(31, 41))
    assert found["report"][0].prompt.startswith("0+1=1\n\n1+1=2\n\n")
    assert not {1, 2} & {example.record["a"] for use in ("tune", "choose") for example in found[use]}
    own = read_examples(config(tmp_path, path={**path, "shots": "shots.jsonl"}, shots=2), CODEC, 0)
    assert own["tune"][0].prompt.startswith("100+1=101\n\n101+1=102\n\n")


def test_a_repeat_in_a_source_counts_once(tmp_path: Path) -> None:
    write(tmp_path / "data.jsonl", [*sums(0, 12), *sums(0, 24)])
    found = read_examples(config(tmp_path), CODEC, 0)
    assert sorted(example.record["a"] for examples in found.values() for example in examples) == list(range(1, 25))
    with pytest.raises(InputError, match=r"dataset\.report: 9 examples are requested, .* has 8 left of 36 after"):
        read_examples(config(tmp_path, report=9), CODEC, 0)


@pytest.mark.parametrize("use", ["report", "shots"])
def test_one_example_in_two_sources_is_refused(tmp_path: Path, use: str) -> None:
    write(tmp_path / "one.jsonl", sums(0, 24))
    write(tmp_path / "two.jsonl", [*sums(7, 8), *sums(50, 57)])
    path = {"tune": "one.jsonl", "choose": "one.jsonl", "report": "one.jsonl", use: "two.jsonl"}
    sizes = {"tune": 8, "choose": 16 if use == "report" else 8, "report": 8, "shots": 1 if use == "shots" else 0}
    with pytest.raises(InputError, match="uses must not share an example; remove it") as caught:
        read_examples(config(tmp_path, path=path, **sizes), CODEC, 0)
    assert "one.jsonl, line 8" in str(caught.value) and "two.jsonl, line 1" in str(caught.value)


def test_a_name_that_repeats_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "data.jsonl", [{**record, "n": record["a"] // 2} for record in sums(0, 24)])
    with pytest.raises(InputError, match=r"line \d+: its name '\d+' is also that of .*line \d+; names must not repeat"):
        read_examples(config(tmp_path, id="n"), CODEC, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "{question}"}, r"data\.jsonl, line \d+: dataset\.prompt: there is no field 'question', the record"),
        ({"answer": "answer"}, r"line \d+: dataset\.answer: there is no field 'answer', the record has q, a, e, none"),
        ({"prompt": "none"}, r"dataset\.prompt: field 'none' must hold text or a number, got nothing"),
        ({"prompt": "e"}, r"dataset\.prompt: 'e' is empty here; leave such records out"),
        ({"text": "e"}, r"dataset\.text: 'e' is empty here"),
        ({"template": "{q}[[x]]"}, r"line \d+: dataset\.template: there is no field 'x'"),
        ({"tune": 9, "choose": 16}, r"dataset\.choose: 16 examples are requested, .* has 15 left of 24"),
        ({"choose": 16, "report": "all"}, r"dataset\.report: all examples are requested, .* has 0 left of 24"),
        ({"shots": 25}, r"dataset\.shots: 25 shots are requested, .* has 24 records"),
    ],
)
def test_records_that_do_not_fit(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write(tmp_path / "data.jsonl", [{**record, "e": "", "none": None} for record in sums(0, 24)])
    given = options if {"text", "template"} & options.keys() else {"prompt": "q", "answer": "a", **options}
    with pytest.raises(InputError, match=message):
        read_examples(config(tmp_path, **given), CODEC, 0)


def test_lines_are_filled_in_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join("abc" * n for n in range(1, 25)), encoding="utf-8")
    found = read_examples(config(tmp_path, type="lines", path="a.txt"), CODEC, 0)
    assert all(example.pieces == (Hole(example.record["text"]),) for example in found["tune"])
    (tmp_path / "a.txt").write_text("\n\n".join(f"line {n}\nnext" for n in range(24)), encoding="utf-8")
    per = read_examples(
        config(tmp_path, type="lines", path="a.txt", per="paragraph", prompt="text", generation_length=9), CODEC, 0
    )
    assert {example.prompt for examples in per.values() for example in examples} == {
        f"line {n}\nnext" for n in range(24)
    }


def test_csv_becomes_examples(tmp_path: Path) -> None:
    rows = "\n".join(f"{record['q']},{record['a']}" for record in sums(0, 24))
    (tmp_path / "a.csv").write_text(f"q,a\n{rows}", encoding="utf-8")
    found = read_examples(config(tmp_path, type="csv", path="a.csv"), CODEC, 0)
    assert {(example.prompt, example.answer) for examples in found.values() for example in examples} == {
        (f"{n}+1=", str(n + 1)) for n in range(24)
    }
