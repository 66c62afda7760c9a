"""Plain YAML: what is refused, what is read, and that what is written is read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdm_tune.config.file import load_config, to_yaml
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import UnquotedWord, yaml_text, yaml_value
from mdm_tune.core.reading import json_value
from tests.support.configs import load, problems
from tests.support.configs import whole as whole_config


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
