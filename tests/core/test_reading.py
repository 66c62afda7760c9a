"""What may be read, and as what: regular files of a stated size, plain YAML, JSON, and numbers in texts."""

from __future__ import annotations

import gzip
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdm_tune.benchmarks.code_problems import MBPP, read_problems
from mdm_tune.config.file import load_config, to_yaml
from mdm_tune.config.sampler import family_sampling
from mdm_tune.core import reading
from mdm_tune.core.errors import InputError
from mdm_tune.core.numerals import decimal, decimals, whole, wholes
from mdm_tune.core.plain_yaml import UnquotedWord, yaml_text, yaml_value
from mdm_tune.core.reading import json_line, json_value, read_bytes, read_json, read_text
from mdm_tune.datasets.sources import csv_source, hub_source, jsonl_source, lines_source
from mdm_tune.datasets.splits import text_dataset
from mdm_tune.denoisers.transformer import load_transformer
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.profile_answers import file_digits
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.curves import Beta, Counts, parse_schedule
from mdm_tune.schedules.schedule_file import load_schedule
from tests.core.test_problems import load, problems
from tests.core.test_problems import whole as whole_config


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


@pytest.mark.parametrize(
    "value",
    [
        *("010", "-017", "00", "08", "0x10", "0XfF", "0o17", "0b1", "1_0", "1_000.5", "1:20", "1:20.5", "190:20:30"),
        *("1e-3", "1e3", "1.0e3", "2024-01-01", "2001-12-14t21:59:43.10-05:00", "=", "<<"),
    ],
)
def test_what_readers_of_yaml_take_for_different_things_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(InputError, match=r"x at line 2, column 5: .*; .*, or put it in quotes$"):
        yaml_value(f"a:\n  - {value}", "x")
    assert yaml_value(f"a: '{value}'", "x") == {"a": value}
    (line,) = problems(tmp_path, whole_config(), f"seed={value}")
    assert line.startswith("--set seed at line 1, column 1: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("!!timestamp 2024", "tags such as !!timestamp are not read"),
        ("!!bool maybe", "tags such as !!bool"),
        ("!!int ''", "tags such as !!int"),
        ("!!float ''", "tags such as !!float"),
        ("!!python/name:os.system", "tags such as !!python/name:os.system"),
        ("&a [*a]", r"aliases such as \*a are not read"),
        ("{a: &x 1, b: *x}", r"aliases such as \*x"),
        ("{<<: {a: 1}}", "a sign of YAML's own"),
        ("{a: 1, a: 2}", "key 'a' is given twice"),
        ("{[1]: 2}", "a key must be one value"),
        ("1" * 41, "a number has at most 40 digits, got 41"),
        ("1.0e+999", "number '1.0e.999' is too large"),
        ("a: b: c", "not valid YAML at line 1, column 5"),
        ("\x07", "character '.x07' is not allowed"),
        ("'\ud800'", "is not allowed; remove it"),
    ],
)
def test_yaml_that_is_not_plain_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        yaml_value(text, "x")


def test_a_bomb_of_aliases_is_refused_where_the_first_stands() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))]
    with pytest.raises(InputError, match=r"line 2, column 10: aliases such as \*a0 are not read"):
        yaml_value("\n".join(lines), "x")


def test_plain_yaml_is_read_as_both_versions_have_it() -> None:
    text = (
        "{a: 0, b: -12, c: +3, d: 1.5, e: 1.0e-3, f: .5, g: 3., h: -.inf, i: ~, j: , k: null, l: true, m: False,"
        " n: beta:0.9, o: 1-2, p: v1.2, q: 'x', r: 1.2.3, s: 12 34}"
    )
    assert yaml_value(text, "x") == {
        "a": 0,
        "b": -12,
        "c": 3,
        "d": 1.5,
        "e": 0.001,
        "f": 0.5,
        "g": 3.0,
        "h": float("-inf"),
        "i": None,
        "j": None,
        "k": None,
        "l": True,
        "m": False,
        "n": "beta:0.9",
        "o": "1-2",
        "p": "v1.2",
        "q": "x",
        "r": "1.2.3",
        "s": "12 34",
    }
    assert yaml_value("a: |\n  010\n  yes\n", "x") == {"a": "010\nyes\n"}
    assert yaml_value("", "x") is None


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "Yes", "NO", "On", "OFF"])
def test_words_of_yaml_1_1_are_refused_where_text_is_meant(tmp_path: Path, word: str) -> None:
    assert yaml_value(f"a: {word}", "x") == {"a": UnquotedWord(word)}
    said = "true or false to some readers of YAML and text to others; put it in quotes"
    assert problems(tmp_path, whole_config(), f"output={word}") == [f"output: {word} is {said}"]
    own = {"type": "custom", "target": "model.py:build", "options": {"names": ["a"]}}
    found = problems(tmp_path, whole_config(model=own), f"model.options.names=[a, {word}]")
    assert f"model.options.names[1]: {word} is {said}" in found
    (line,) = problems(tmp_path, whole_config(), f"search.racing={word}")
    assert line == f"search.racing: must be true or false, got {word}; write one of them, without quotes"


def test_off_is_a_word_of_the_warm_start(tmp_path: Path) -> None:
    assert load(tmp_path, whole_config(), "search.warm_start=off").search.warm_start == "off"
    assert type(load(tmp_path, whole_config(), "search.warm_start=off").search.warm_start) is str


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.text("0123456789:._-+exob", max_size=6)
    | st.sampled_from(
        ["yes", "NO", "null", "~", "=", "<<", "2024-01-01", "1e-3", "", "- a", "a: b", "#", "'", "&a", "*a"]
    )
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(VALUES)
def test_what_is_written_is_read_back(value: Any) -> None:
    text = yaml_text({"a": value})
    assert yaml_value(text, "x") == {"a": value}
    shared = [value]
    assert yaml_value(yaml_text({"a": shared, "b": shared}), "x") == {"a": shared, "b": shared}  # without an alias
    assert json_value(json.dumps(value)) == value if not _has_half_or_infinity(value) else True


def _has_half_or_infinity(value: Any) -> bool:
    text = json.dumps(value)
    return "Infinity" in text or "\\ud" in text


def test_a_config_of_texts_that_look_like_numbers_loads_back(tmp_path: Path) -> None:
    options = {"a": "010", "b": "1e-3", "c": "yes", "d": ["2024-01-01", 1e-7, 10**12], "e": "", "f": None}
    model = {"type": "custom", "target": "model.py:build", "options": options}
    config = load(
        tmp_path,
        whole_config(
            model=model,
            objective={"metric": "regex"},
            metrics={"regex": {"pattern": "(off)"}},
            dataset={"type": "jsonl", "path": "x", "prompt": "q", "answer": "no", "tune": 8, "choose": 8, "report": 8},
        ),
    )
    (tmp_path / "again.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert load_config(tmp_path / "again.yaml") == config


@pytest.mark.parametrize(
    "text", ["1_0", " 1", "1 ", "\u0661", "\u00b2", "+1", "010", "", "-", "1.0", "nan", "1" * 19, "0x1"]
)
def test_whole_numbers_are_digits(text: str) -> None:
    with pytest.raises(ValueError, match="written in digits"):
        whole(text)


@pytest.mark.parametrize(
    "text", ["1_0.5", "\u0661", "nan", "inf", "-inf", "1e", ".", "e5", "", "01.5", "1e99999", "0x1p3", "+1"]
)
def test_numbers_are_digits_and_a_point(text: str) -> None:
    with pytest.raises(ValueError, match="written in digits"):
        decimal(text)


def test_numbers_in_lists() -> None:
    assert (whole("-12"), whole("0"), decimal("-.5"), decimal("3."), decimal("2e-1"), decimal("7")) == (
        *(-12, 0, -0.5, 3.0, 0.2, 7.0),
    )
    assert wholes("1, 2,3", 6) == (1, 2, 3)
    assert decimals("0.9, 0.3", 2) == (0.9, 0.3)
    with pytest.raises(ValueError, match="at most 5 in all"):
        wholes("1,2,3", 5)
    with pytest.raises(ValueError, match="at most 3 numbers"):
        wholes("1,1,1,1", 3)
    with pytest.raises(ValueError, match="2 numbers are needed"):
        decimals("1", 2)


@pytest.mark.parametrize(
    "name",
    [
        *("beta:1_0,1", "beta:\u0661,1", "beta:nan,1", "beta:1,inf", "beta:1\t,1", "beta:1", "beta:1,2,3", "beta:"),
        *("counts:1_0", "counts:\u00b2,1", "counts:", "counts:1,,2", "counts:1.0,2", "counts:010", "counts:1e3"),
        *("counts:99999999999999999999", "counts:65537", "counts:" + "1," * 70_000 + "1", "alphas:0,nan,1", "alphas:"),
    ],
)
def test_numbers_of_schedules_are_read_in_one_way(name: str) -> None:
    with pytest.raises(InputError, match=r"^No such numbers for a schedule as in ") as caught:
        parse_schedule(name)
    assert len(str(caught.value)) < 500


def test_plain_numbers_of_schedules_are_read() -> None:
    assert parse_schedule("beta:0.9, 0.3") == Beta(0.9, 0.3)
    assert parse_schedule("counts:" + ",".join("1" * 4096)) == Counts((1,) * 4096)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("threshold:", "threshold needs a probability from 0 to 1, got 'threshold:'"),
        ("threshold:2", "threshold needs a probability from 0 to 1, got 'threshold:2'"),
        ("threshold:1.5", "threshold needs a probability"),
        ("threshold:-0.1", "threshold needs a probability"),
        ("threshold:nan", "threshold needs a probability"),
        ("threshold:0_1", "threshold needs a probability"),
        ("entropy-bound:", "entropy-bound needs a number of at least 0"),
        ("entropy-bound:inf", "entropy-bound needs a number of at least 0"),
        ("quota:linear@2", "quota needs a probability from 0 to 1, got 'quota:linear@2'"),
        ("quota:linear@", "quota needs a probability"),
        ("quota:", "quota needs a schedule"),
        ("quota:@0.9", "quota needs a schedule"),
        ("quota:threshold:0.5", "quota keeps a schedule's counts|quota keeps the counts"),
        ("quota:quota:linear", "quota keeps"),
    ],
)
def test_values_of_adaptive_plans_lie_in_their_range(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_adaptive(name)
    (line,) = problems(tmp_path, whole_config(evaluate={"schedules": [name]}))
    assert line.startswith("evaluate.schedules[0]: ")


@pytest.mark.parametrize(("name", "value"), [("threshold:0", 0), ("threshold:1", 1), ("entropy-bound:7.5", 7.5)])
def test_the_ends_of_a_range_belong_to_it(name: str, value: float) -> None:
    plan = parse_adaptive(name)
    assert plan is not None and plan.value == value


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
