"""What to know of a data set before anything is paid for."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from mdm_tune.core.text import Symbols
from mdm_tune.datasets.notes import dataset_notes
from mdm_tune.datasets.readers import read_examples
from mdm_tune.datasets.rows import example_dataset
from mdm_tune.datasets.splits import law_dataset
from mdm_tune.denoisers.analytic import RepeatedBit
from tests.datasets.test_readers import CODEC, config, write


@pytest.mark.parametrize(("size", "few"), [(8, True), (9, True), (10, False)])
def test_fewer_examples_than_an_interval_takes_are_told_at_once(size: int, few: bool) -> None:
    told = list(dataset_notes(law_dataset(RepeatedBit(4), {"tune": 10, "report": size}, 0)))
    expected = (
        f"an interval needs at least 10 examples, got {size} in report: values there have no interval, and no gain can"
    )
    assert [code for _, code, _ in told] == (["no-interval"] if few else [])
    assert all(text.startswith(expected) for text, _, _ in told)


def test_rows_carry_their_groups_and_a_note_counts_them(tmp_path: Path) -> None:
    records = [{"q": "abc"[n % 3] * (1 + n // 3 % 10), "a": "abc"[k] * 2} for n in range(30) for k in range(3)]
    write(tmp_path / "data.jsonl", records)
    found = read_examples(config(tmp_path, tune=30, choose=30, report=30), CODEC, 0)
    splits = example_dataset(found, Symbols("abc"), 3, 0)
    told = [text for text, code, _ in dataset_notes(splits) if code == "groups"]
    assert told and "30 of 10 groups in tune, 30 of 10 groups in choose, 30 of 10 groups in report" in told[0]
    for split in splits.splits.values():
        assert split.shared is not None and len(set(split.groups)) == 10
        order = split.shuffled().groups
        assert len([1 for a, b in itertools.pairwise(order) if a != b]) == 9  # groups stay together
    alone = example_dataset(
        read_examples(config(tmp_path, group="{q}{a}", tune=30, choose=30, report=30), CODEC, 0), Symbols("abc"), 3, 0
    )
    assert not [code for _, code, _ in dataset_notes(alone) if code == "groups"]
    assert alone.splits["tune"].shared is None
