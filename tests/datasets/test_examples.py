"""An example of text: how it is told and shown, and its part in the fingerprint of a split."""

from __future__ import annotations

import datetime

import numpy as np

from mdm_tune.config.templates import Hole
from mdm_tune.core.text import Symbols
from mdm_tune.datasets.examples import Example
from mdm_tune.datasets.readers import example_of
from mdm_tune.datasets.rows import example_dataset
from mdm_tune.datasets.splits import USES, Dataset
from tests.datasets.test_readers import CODEC, config


def test_a_record_is_told_alike_in_every_process() -> None:
    class Picture:
        def tobytes(self) -> bytes:
            return b"pixels"

    record = {"p": Picture(), "b": b"x", "d": datetime.date(2020, 1, 2), "o": object(), "n": np.arange(2), "s": {2, 1}}
    told = [Example("1", (), {**record, "p": Picture(), "o": object()}).record_json for _ in range(2)]
    assert told[0] == told[1] and "0x" not in told[0]
    assert told[0] != Example("1", (), {**record, "b": b"y"}).record_json


def test_an_example_can_be_shown_whole() -> None:
    example = example_of({"q": "1+1=", "a": 2}, config(), CODEC)
    assert isinstance(example, Example) and example.shown == "1+1=⟨2⟩"


def test_a_fingerprint_changes_with_what_only_a_metric_sees() -> None:
    """A field that no prompt shows may decide what an answer is worth."""

    def data(**more: int) -> Dataset:
        examples = [Example(str(n), ("ab", Hole("ba")), {"x": n, **more}) for n in range(3)]
        return example_dataset(dict.fromkeys(USES, examples), Symbols("ab"), 2, 0, generation_length=2)

    assert data().fingerprint == data().fingerprint != data(right=1).fingerprint != data(right=2).fingerprint
