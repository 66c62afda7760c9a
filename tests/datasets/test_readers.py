from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from mdm_tune.config.templates import Hole, JsonNumber, check_template, fields_of, fill_template, pieces_of
from mdm_tune.core.errors import InputError
from mdm_tune.core.reading import json_line
from mdm_tune.core.text import Symbols
from mdm_tune.datasets.examples import Example
from mdm_tune.datasets.readers import ReaderConfig, example_of, read_examples
from mdm_tune.datasets.sources import Source, csv_source, hub_source, jsonl_source, lines_source

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


# --- templates ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("q", "two?"),
        ("{q}", "two?"),
        ("Q: {q}\nA:", "Q: two?\nA:"),
        ("{{{n}}} {x.y[0]}", "{3} dotted"),  # doubled braces stand for themselves; a name is looked up as it stands
        ("n", "3"),
        ("f", "0.5"),
    ],
)
def test_a_template_shows_fields(template: str, text: str) -> None:
    check_template(template, holes=False)
    record = {"q": "two?", "n": 3, "x.y[0]": "dotted", "f": 0.5, "brace": "{q}"}
    assert fill_template(template, record) == text
    assert fill_template("{brace}", record) == "{q}"  # what a field holds is no template


@pytest.mark.parametrize("template", ["{q!r}", "{q:>10}", "{}", "{q:{n}}", "{q", "q}", "{q!}"])
def test_a_template_can_do_nothing_but_show(template: str) -> None:
    with pytest.raises(InputError, match=r"only plain fields|not a template"):
        check_template(template, holes=False)


@pytest.mark.parametrize("template", ["{q.__class__}", "{q[0]}", "question", "{question}"])
def test_an_unknown_field_is_answered_with_those_there_are(template: str) -> None:
    with pytest.raises(InputError, match=r"there is no field '.*', the record has q, a; name one of these"):
        fill_template(template, {"q": "x", "a": "y"})


@pytest.mark.parametrize(("value", "kind"), [(None, "nothing"), ([1], "a list"), (True, "a bool"), ({}, "a dict")])
def test_a_field_must_be_text_or_a_number(value: object, kind: str) -> None:
    with pytest.raises(InputError, match=f"field 'q' must hold text or a number, got {kind}"):
        fill_template("{q}", {"q": value})


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ('"007"', "007"),
        ("7", "7"),
        ("-12345678901234567890123", "-12345678901234567890123"),
        ("1.0", "1.0"),
        ("0.1", "0.1"),
        ("-2.5", "-2.5"),
        ('"NaN"', "NaN"),
        ('"1.50"', "1.50"),
    ],
)
def test_numbers_of_json_read_as_they_are_written(written: str, text: str) -> None:
    assert fill_template("{q}", json_line(f'{{"q": {written}}}', "here", number=JsonNumber)) == text


@pytest.mark.parametrize(
    "written", ["1.50", "1e5", "1E-7", "0.10", "1e400", "10000000000000000.0", "0.1000000000000000055"]
)
def test_numbers_with_two_texts_are_refused(written: str) -> None:
    record = json_line(f'{{"q": {written}, "other": {written}}}', "here", number=JsonNumber)
    assert record["other"] == float(written)  # nobody reads it as text
    with pytest.raises(InputError, match=r"field 'q' (holds the number|must hold text or a number, got inf)"):
        fill_template("{q}", record)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "must hold text or a number, got nan"),
        (float("-inf"), "must hold text or a number, got -inf"),
        (datetime.date(2020, 1, 2), "got 2020-01-02 as a date, which the library datasets makes"),
        (datetime.datetime(2020, 1, 2, 3), "got 2020-01-02T03:00:00 as a date"),
        pytest.param(10**5000, "a number too long to show", id="huge"),
        (b"x", "got a bytes"),
    ],
)
def test_values_that_are_no_text(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fill_template("{q}", {"q": value})


@pytest.mark.parametrize(
    ("template", "holes", "fields"),
    [
        ("q", False, {"q"}),
        ("{q} {{x}} {a b}", False, {"q", "a b"}),
        ("{before} [[word]] {after} [[end:3]]", True, {"before", "word", "after", "end"}),
        (None, True, set()),
        ("plain {{", False, set()),
    ],
)
def test_the_fields_of_a_template(template: str | None, holes: bool, fields: set[str]) -> None:
    assert fields_of(template, holes=holes) == fields


def test_holes_lie_between_what_is_visible() -> None:
    record = {"a": "x", "b": "y", "n": 7}
    assert pieces_of("{a} [[b]] and [[n:3]].", record) == ("x ", Hole("y"), " and ", Hole("7", 3), ".")
    assert pieces_of("[[b]]{a}", record) == (Hole("y"), "x")
    with pytest.raises(InputError, match="two holes need visible text between them"):
        pieces_of("[[a]]{empty}[[b]]", {**record, "empty": ""})


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{a} and {b}", "needs a hole to fill"),
        ("[[a:x]]", "a hole's size is its number of tokens, got 'x'"),
        ("[[a:0]]", "got '0'"),
        ("[[a:]]", "got ''"),
        ("{a [[b]]", "not a template"),
    ],
)
def test_templates_with_wrong_holes(template: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        check_template(template, holes=True)


# --- sources --------------------------------------------------------------------------------------


def test_jsonl_keeps_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('\ufeff{"q": "one\u2028still one"}\r\n\n  \n{"q": 2}'.encode())
    source = jsonl_source(path)
    assert source.records == [{"q": "one\u2028still one"}, {"q": 2}]
    assert [source.place(number) for number in (0, 1)] == [f"{path}, line 1", f"{path}, line 4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"q": 1}\n{"q": }\n', "line 2: not JSON: Expecting value at column 7, got"),
        (b'{"q": 1}\n\n[1, 2]\n', "line 3: must be an object"),
        (b"\n \n", "holds no record"),
        (b"", "holds no record"),
        (b'{"q": "\xff"}', r"must be UTF-8 text, got byte 0xff at offset 7"),
        (b"[" * 100_000, "line 1: not JSON: it is nested in more than 64 levels"),
        (b'{"q": 1}\n{"q": NaN}\n', "line 2: not JSON: NaN is no number of JSON"),
        (b'{"q": [-Infinity]}', "line 1: not JSON: -Infinity is no number of JSON"),
        (b'{"q": 1, "a": 2, "q": 3}', "line 1: not JSON: key 'q' is given twice"),
        (b'{"q": {"x": 1, "x": 1}}', "line 1: not JSON: key 'x' is given twice"),
        (b'{"q": "a\\ud83d"}', "line 1: not JSON: a text holds half of a character"),
        (b'{"q": {"x": ["\\udc00"]}}', "line 1: not JSON: a text holds half of a character"),
    ],
)
def test_jsonl_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        jsonl_source(path)


@pytest.mark.parametrize("read", [jsonl_source, csv_source, lambda path: lines_source(path, "line")])
def test_a_file_that_is_not_there(tmp_path: Path, read: Callable[[Path], Source]) -> None:
    with pytest.raises(InputError, match=r"cannot read .*: No such file or directory; give a file"):
        read(tmp_path / "missing")
    with pytest.raises(InputError, match="is a folder, not a file"):
        read(tmp_path)


def test_two_halves_are_a_character(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"q": "\\ud83d\\ude00 \\u00e9"}')
    assert jsonl_source(tmp_path / "a.jsonl").records == [{"q": "\U0001f600 \u00e9"}]


def test_csv_reads_quotes_lines_and_tabs(tmp_path: Path) -> None:
    text = 'q,a\n"one, two",3\n\n"two\nlines",4\n'
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    source = csv_source(tmp_path / "a.csv")
    assert source.records == [{"q": "one, two", "a": "3"}, {"q": "two\nlines", "a": "4"}]
    assert source.lines == (2, 4)
    (tmp_path / "a.tsv").write_text("q\ta\none, two\t3\n", encoding="utf-8")
    assert csv_source(tmp_path / "a.tsv").records == [{"q": "one, two", "a": "3"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q,a\n1,2\n1,2,3\n", r"line 3: has 3 fields, the first line names 2 \(q, a\)"),
        ("q,a\n1\n", "line 2: has 1 fields"),
        ("q,q\n1,2\n", "must name each field once"),
        ("q,\n1,2\n", "must name each field once"),
        ("q,a\n", "holds no record"),
        ("", "holds no record"),
        ('q,a\n"1,2\n', "line 2: not CSV: unexpected end of data"),
    ],
)
def test_csv_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        csv_source(tmp_path / "a.csv")


def test_lines_and_paragraphs(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\none\r\n two\n \n\nthree\n")
    found = {per: lines_source(path, per) for per in ("line", "paragraph")}
    assert [record["text"] for record in found["line"].records] == ["one", " two", "three"]
    assert [record["text"] for record in found["paragraph"].records] == ["one\n two", "three"]
    assert found["line"].lines == (2, 3, 6) and found["paragraph"].lines == (2, 6)


# --- the library datasets -------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``datasets``, offline and with a cache of its own."""
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return datasets


def test_a_saved_set(library: Any, tmp_path: Path) -> None:
    library.Dataset.from_list(sums(0, 3)).save_to_disk(tmp_path / "set")
    source = hub_source(str(tmp_path / "set"))
    assert [source.records[number] for number in range(len(source.records))] == sums(0, 3)
    assert source.place(2) == f"{tmp_path / 'set'}, row 2"


def test_a_saved_set_with_splits(library: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "set")
    parts = {"train": library.Dataset.from_list(sums(0, 3)), "test": library.Dataset.from_list(sums(3, 5))}
    library.DatasetDict(parts).save_to_disk(path)
    source = hub_source(path, split="test")
    assert [source.records[number]["a"] for number in range(2)] == [4, 5]
    assert source.place(0) == f"{path} (test), row 0"
    with pytest.raises(InputError, match=r"has the splits train, test; choose with dataset\.split"):
        hub_source(path)
    with pytest.raises(InputError, match="has no split 'dev', it has train, test"):
        hub_source(path, split="dev")
    with pytest.raises(InputError, match=r"is one set without splits, got dataset\.split 'train'"):
        hub_source(str(tmp_path / "set" / "test"), split="train")


def test_files_that_the_library_reads(library: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    library.disable_progress_bars()
    library.Dataset.from_list(sums(0, 3)).to_parquet(tmp_path / "a.parquet")
    library.enable_progress_bars()
    capfd.readouterr()
    source = hub_source(str(tmp_path / "a.parquet"))
    assert [source.records[number]["q"] for number in range(len(source.records))] == ["0+1=", "1+1=", "2+1="]
    assert capfd.readouterr() == ("", "")
    assert not library.are_progress_bars_disabled()  # as it was before
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "train.jsonl", sums(0, 2))
    write(tmp_path / "folder" / "test.jsonl", sums(2, 5))
    assert len(hub_source(str(tmp_path / "folder"), split="test").records) == 3


def test_every_value_of_csv_is_the_text_that_stands_there(library: Any, tmp_path: Path) -> None:
    rows = [
        {"q": "1+6", "a": "007", "e": ""},
        {"q": "NA", "a": "1.50", "e": "nan"},
        {"q": "x", "a": "1e5", "e": "True"},
    ]
    text = "q,a,e\n" + "".join(f"{row['q']},{row['a']},{row['e']}\n" for row in rows)
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "train.csv").write_text(text, encoding="utf-8")
    for path in ("a.csv", "folder"):
        source = hub_source(str(tmp_path / path), split="train" if path == "folder" else None)
        assert [source.records[number] for number in range(3)] == rows
    assert csv_source(tmp_path / "a.csv").records == rows


def test_a_file_of_json_lines_is_read_as_type_jsonl_does(library: Any, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"q": "2020-01-01", "a": "007"}])
    source = hub_source(str(tmp_path / "a.jsonl"), split="train")
    assert source.records == [{"q": "2020-01-01", "a": "007"}] and source.lines == (1,)
    with pytest.raises(InputError, match="has no split 'test', it has train"):
        hub_source(str(tmp_path / "a.jsonl"), split="test")


def test_pictures_are_never_read(library: Any, tmp_path: Path) -> None:
    rows = [{"q": f"q{n}", "a": str(n), "i": {"bytes": b"no picture", "path": None}, "n": n} for n in range(30)]
    whole = library.Dataset.from_list(rows).cast_column("i", library.Image())
    whole = whole.add_column("l", [[{"bytes": b"x", "path": None}]] * 30).cast_column(
        "l", library.List(library.Image())
    )
    whole.save_to_disk(tmp_path / "set")
    chosen = config(tmp_path, type="datasets", path="set")
    first, again = (read_examples(chosen, CODEC, 0) for _ in range(2))
    (example, *_) = first["tune"]
    assert set(example.record) == {"q", "a", "n"} and example.told == again["tune"][0].told
    assert example.source.startswith(f"{tmp_path / 'set'}, row ")
    with pytest.raises(InputError, match="field 'i' is no text but Image; name another field"):
        read_examples(config(tmp_path, type="datasets", path="set", prompt="{q} {i}", answer="a"), CODEC, 0)


def test_numbers_of_single_precision_are_no_text(library: Any, tmp_path: Path) -> None:
    whole = library.Dataset.from_list([{"q": "x", "a": 0.1}] * 30)
    whole.cast_column("a", library.Value("float32")).save_to_disk(tmp_path / "set")
    with pytest.raises(InputError, match=r"field 'a' holds float32 numbers, .* cast the column to string"):
        read_examples(config(tmp_path, type="datasets", path="set"), CODEC, 0)


def test_a_record_is_told_alike_in_every_process() -> None:
    class Picture:
        def tobytes(self) -> bytes:
            return b"pixels"

    record = {"p": Picture(), "b": b"x", "d": datetime.date(2020, 1, 2), "o": object(), "n": np.arange(2), "s": {2, 1}}
    told = [Example("1", (), {**record, "p": Picture(), "o": object()}).told for _ in range(2)]
    assert told[0] == told[1] and "0x" not in told[0]
    assert told[0] != Example("1", (), {**record, "b": b"y"}).told


def test_a_set_that_cannot_be_loaded(library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InputError, match=r"cannot load the dataset someone/sums: .*run datasets.load_dataset\('someone/"
    ):
        hub_source("someone/sums", name="main", split="train")
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot load the dataset .*: .*; check the files"):
        hub_source(str(tmp_path / "a.json"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"needs the library datasets, .* pip install 'mdm-tune\[hf\]'"):
        hub_source("someone/sums")


def test_a_saved_set_becomes_examples(library: Any, tmp_path: Path) -> None:
    library.DatasetDict(
        {"train": library.Dataset.from_list(sums(0, 30)), "test": library.Dataset.from_list(sums(30, 41))}
    ).save_to_disk(tmp_path / "set")
    chosen = config(
        tmp_path,
        type="datasets",
        path="set",
        report="all",
        shots=2,
        split={"tune": "train", "choose": "train", "report": "test", "shots": "train"},
    )
    found = read_examples(chosen, CODEC, 0)
    assert {use: len(examples) for use, examples in found.items()} == {"tune": 8, "choose": 8, "report": 11}
    assert {example.record["a"] for example in found["report"]} == set(range(31, 42))
    assert found["tune"][0].prompt.startswith("0+1=1\n\n1+1=2\n\n")


# --- examples -------------------------------------------------------------------------------------


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
    with pytest.raises(InputError, match=r"dataset\.report: 9 examples are wanted, .* has 8 left of 36 after"):
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
        ({"tune": 9, "choose": 16}, r"dataset\.choose: 16 examples are wanted, .* has 15 left of 24"),
        ({"choose": 16, "report": "all"}, r"dataset\.report: all examples are wanted, .* has 0 left of 24"),
        ({"shots": 25}, r"dataset\.shots: 25 shots are wanted, .* has 24 records"),
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


# --- the section of the config --------------------------------------------------------------------


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


def test_an_example_can_be_shown_whole() -> None:
    example = example_of({"q": "1+1=", "a": 2}, config(), CODEC)
    assert isinstance(example, Example) and example.shown == "1+1=⟨2⟩"
