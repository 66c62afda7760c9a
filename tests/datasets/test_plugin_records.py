"""What a data set of another package may return, and how its records become splits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mdm_tune.config.data import PluginDatasetConfig
from mdm_tune.core.errors import InputError
from mdm_tune.core.text import Symbols
from mdm_tune.datasets.readers import read_examples
from tests.support.plugins import install


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny_plugins", raising=False)
    return tmp_path


def config(**more: object) -> PluginDatasetConfig:
    given = {"type": "words", "prompt": "q", "answer": "a", "tune": 16, "choose": 16, "report": 16, **more}
    return PluginDatasetConfig.model_validate(given)


def test_uses_share_the_records_of_one_list(folder: Path) -> None:
    install(folder)
    found, again = (read_examples(config(), Symbols("abcd"), 0, trust_code=True) for _ in range(2))
    assert found == again
    ids = [example.id for examples in found.values() for example in examples]
    assert len(ids) == 48 == len(set(ids))
    with pytest.raises(InputError, match="runs code from outside this package"):
        read_examples(config(), Symbols("abcd"), 0)


def test_records_for_each_use(folder: Path) -> None:
    body = (
        "def words(first):\n    return {u: [{'q': f'{u}{i}', 'a': first} for i in range(16)]"
        " for u in ('tune', 'choose', 'report')}\n"
    )
    install(folder, code=body)
    given = config(options={"first": "x"})
    found = read_examples(given, Symbols("abcd"), 0, trust_code=True)
    assert {example.prompt.rstrip("0123456789") for example in found["choose"]} == {"choose"}
    assert found["tune"][0].answer == "x"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 3", "must return records, a list of mappings, got 3"),
        ("return ['a']", "mappings from names of fields to values, got 'a' as row 0"),
        ("return [{1: 'a'}]", "got {1: 'a'} as row 0"),
        ("return {'tune': []}", "for tune, choose and report, and for shots if it has any, got the keys"),
        ("return []", "words holds no record"),
        (
            "raise KeyError('x')",
            r"dataset\.type: words of tiny-plugins 1\.2 failed with dataset\.options",
        ),
    ],
)
def test_what_is_no_set_of_records(folder: Path, body: str, message: str) -> None:
    install(folder, code=f"def words():\n    {body}\n")
    with pytest.raises(InputError, match=message):
        read_examples(config(), Symbols("abcd"), 0, trust_code=True)
