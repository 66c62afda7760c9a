"""Where records come from: files of several kinds, and sets of the library datasets."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.datasets.readers import read_examples
from mdm_tune.datasets.sources import Source, csv_source, hub_source, jsonl_source, lines_source
from tests.datasets.test_readers import CODEC, config, sums, write


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
    assert set(example.record) == {"q", "a", "n"} and example.record_json == again["tune"][0].record_json
    assert example.source.startswith(f"{tmp_path / 'set'}, row ")
    with pytest.raises(InputError, match="field 'i' must be text, got Image; name another field"):
        read_examples(config(tmp_path, type="datasets", path="set", prompt="{q} {i}", answer="a"), CODEC, 0)


def test_numbers_of_single_precision_are_no_text(library: Any, tmp_path: Path) -> None:
    whole = library.Dataset.from_list([{"q": "x", "a": 0.1}] * 30)
    whole.cast_column("a", library.Value("float32")).save_to_disk(tmp_path / "set")
    with pytest.raises(InputError, match=r"field 'a' holds float32 numbers, .* cast the column to string"):
        read_examples(config(tmp_path, type="datasets", path="set"), CODEC, 0)


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
