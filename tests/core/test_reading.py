"""Files that are read: regular ones of a stated size, and JSON."""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from mdm_tune.benchmarks.code_problems import MBPP, read_problems
from mdm_tune.config.file import load_config
from mdm_tune.config.sampler import family_sampling
from mdm_tune.core import reading
from mdm_tune.core.errors import InputError
from mdm_tune.core.reading import json_line, json_value, read_bytes, read_json, read_text
from mdm_tune.datasets.sources import csv_source, hub_source, jsonl_source, lines_source
from mdm_tune.datasets.splits import text_dataset
from mdm_tune.denoisers.transformer import load_transformer
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.profile_answers import file_digits
from mdm_tune.schedules.schedule_file import load_schedule
from tests.support.configs import load, problems
from tests.support.configs import whole as whole_config


def _text_folder(path: Path) -> None:
    folder = path.parent / "texts"
    folder.mkdir()
    (folder / "tune.txt").symlink_to(path)
    text_dataset(folder, "ab", 4, {"tune": 8}, 0)


READERS: dict[str, Callable[[Path], object]] = {
    "config": load_config,
    "schedule file": load_schedule,
    "json": read_json,
    "jsonl": jsonl_source,
    "csv": csv_source,
    "lines": lambda path: lines_source(path, "line"),
    "datasets": lambda path: hub_source(str(path)),
    "text": _text_folder,
    "answers": lambda path: file_digits(str(path)),
    "problems": lambda path: read_problems(MBPP, path),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "zeros", "random", "socket"])
def test_what_never_ends_is_named_and_not_read(
    tmp_path: Path, reader: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "input.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)  # the path of a socket must be short
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    else:
        path.symlink_to({"zeros": "/dev/zero", "random": "/dev/urandom"}[kind])
    said = {"pipe": "is a pipe", "socket": "No such device or address", "zeros": "is a device", "random": "is a device"}
    with pytest.raises(InputError, match=said[kind]) as caught:
        READERS[reader](path)
    assert "input.jsonl" in str(caught.value) or "tune.txt" in str(caught.value)


def test_a_file_has_at_most_the_stated_size(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(InputError, match=r"x must have at most 4 bytes, got more; give another"):
        read_bytes(path, 4, "give another")
    (tmp_path / "c.yaml").write_bytes(b"a: [" + b"0, " * (reading.WRITTEN_BYTES // 3) + b"0]")
    for reader in (load_config, load_schedule):
        with pytest.raises(InputError, match="must have at most 4 MiB, got more; give "):
            reader(tmp_path / "c.yaml")


def test_a_sparse_file_of_a_terabyte_is_refused_at_once(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match="at most 4 MiB"):
        load_config(tmp_path / "big")


def test_a_packed_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdm_tune.benchmarks.code_problems.LARGEST", 10_000)
    (tmp_path / "x.gz").write_bytes(gzip.compress(b" " * 10_001))
    with pytest.raises(InputError, match="unpacks to more than 10,000 bytes"):
        read_problems(MBPP, tmp_path / "x.gz")
    for damaged in (b"no gzip", gzip.compress(b"{}")[:-9], b"\x1f\x8b\x08\0" + b"\xff" * 40):
        (tmp_path / "x.gz").write_bytes(damaged)
        with pytest.raises(InputError, match=r"cannot unpack .*x\.gz"):
            read_problems(MBPP, tmp_path / "x.gz")


@pytest.mark.parametrize("start", ["[", "{a: ", "- ", "{[", '{"a": ['])
def test_deep_yaml_ends_in_one_message(tmp_path: Path, start: str) -> None:
    (tmp_path / "c.yaml").write_text("format: mdm-tune-schedule-1\nx: " + start * 300_000)
    for reader in (load_config, load_schedule):
        with pytest.raises(InputError, match=r"nested in more than 64 levels|not valid YAML|a key must be one value"):
            reader(tmp_path / "c.yaml")
    (line,) = problems(tmp_path, whole_config(), f"seed={start * 50_000}")
    assert line.startswith("--set seed") and len(line) < 200


@pytest.mark.parametrize("levels", [65, 1_000, 200_000])
def test_deep_json_ends_in_one_message(tmp_path: Path, levels: int) -> None:
    for text in ("[" * levels + "]" * levels, '{"a":' * levels + "1" + "}" * levels):
        with pytest.raises(ValueError, match="nested in more than 64 levels"):
            json_value(text)
        (tmp_path / "config.json").write_text(text)
        folder = RunFolder(tmp_path)
        with pytest.raises(InputError, match="nested"):
            folder.read(tmp_path / "config.json")
        (tmp_path / "model.safetensors").touch()
        with pytest.raises(InputError, match="nested"):
            load_transformer(tmp_path)
        assert family_sampling(None, tmp_path, {}, None) == {}
    assert json_value("[" * 64 + "]" * 64)
    assert json_value('{"a":' * 64 + "1" + "}" * 64)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expecting value at column 1"),
        ("[1,\n2,\n}", "at line 3, column 1"),
        ("[NaN]", "NaN is no number of JSON"),
        ("[-Infinity]", "-Infinity is no number"),
        ("[1e999]", "number '1e999' is too large"),
        ('{"a": 1, "b": 2, "a": 3}', "key 'a' is given twice"),
        ('["\\ud800"]', "half of a character"),
        ("[" + "9" * 5000 + "]", "too many digits"),
    ],
)
def test_json_that_python_alone_would_take_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        json_value(text)
    with pytest.raises(InputError, match=r"x, line 3: not JSON: .* got '.*; write one object a line"):
        json_line(text, "x, line 3")


def test_json_that_is_one_is_read() -> None:
    assert json_value('{"a": ["\\ud83d\\ude00", 1.5, -3, null, true], "b": {"a": 1e-3}}') == {
        "a": ["\U0001f600", 1.5, -3, None, True],
        "b": {"a": 0.001},
    }
    assert json_value("[" + ",".join(["[]"] * 1000) + "]") == [[]] * 1000  # wide is not deep


def test_a_line_states_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LINE_CHARACTERS", 10)
    with pytest.raises(InputError, match=r"x, line 1: a line has at most 10 characters, got 17"):
        json_line('{"q": "01234567"}', "x, line 1")
    assert json_line('{"q": 10}', "x, line 1") == {"q": 10}


def test_the_home_of_the_user_is_read_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    text = {"tune": 8, "choose": 8, "report": 8, "prompt": "q", "answer": "a"}
    for dataset, field, expected in [
        ({"type": "jsonl", "path": "~/a.jsonl", **text}, "path", f"{home}/a.jsonl"),
        ({"type": "jsonl", "path": {"tune": "~/a", "choose": "b", "report": "~/c"}, **text}, "path", None),
        ({"type": "datasets", "path": "~/saved", **text}, "path", f"{home}/saved"),
    ]:
        model = {"type": "huggingface", "path": "~/model", "tokenizer": "~/tokenizer"}
        config = load(
            tmp_path,
            {
                "model": model,
                "dataset": dataset,
                "sampler": {"steps": [2]},
                "objective": {"metric": "exact_match"},
                "profile": {"answers": "~/told.jsonl"},
                "evaluate": {"schedules": ["~/run/schedule.yaml", "quota:~/run/schedule.yaml@0.9"]},
                "metrics": {"custom": {"target": "~/m.py:score", "direction": "maximize"}},
                "search": {"storage": "sqlite:///~/trials.db"},
                "output": "~/run",
            },
        )
        found = config.model_dump()
        assert (found["model"]["path"], found["model"]["tokenizer"]) == (f"{home}/model", f"{home}/tokenizer")
        each = found["dataset"][field]
        assert (
            each == expected
            if expected
            else each == {"tune": f"{home}/a", "choose": f"{tmp_path}/b", "report": f"{home}/c"}
        )
        assert found["profile"]["answers"] == f"{home}/told.jsonl"
        assert found["evaluate"]["schedules"] == (
            f"{home}/run/schedule.yaml",
            f"quota:{home}/run/schedule.yaml@0.9",
        )
        assert found["metrics"]["custom"]["target"] == f"{home}/m.py:score"
        assert (found["search"]["storage"], found["output"]) == (f"sqlite:///{home}/trials.db", f"{home}/run")
    (home / "c.yaml").write_text("model: {type: parity, length: 4}\nsampler: {steps: [2]}\nobjective: {metric: kl}")
    assert load_config(Path("~/c.yaml"), output="~/there").output == f"{home}/there"
    with pytest.raises(InputError, match="begins with the home of a user who does not exist"):
        load_config(home / "c.yaml", output="~nobody-of-this-name/x")


def test_texts_are_read_without_their_mark(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfa")
    assert read_text(tmp_path / "x") == "a"
    (tmp_path / "x").write_bytes(b"a\xff")
    with pytest.raises(InputError, match="must be UTF-8 text, got byte 0xff at offset 1; save the file as UTF-8"):
        read_text(tmp_path / "x")
