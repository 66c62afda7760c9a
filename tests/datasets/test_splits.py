"""Splits share nothing, windows are what the file says, and every bad file is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mdm_tune.core.errors import InputError
from mdm_tune.datasets.splits import Use, law_dataset, text_dataset
from mdm_tune.denoisers.analytic import Parity

SYMBOLS = " abcdefghijklmnopqrstuvwxyz"
SIZES: dict[Use, int] = {"tune": 3, "choose": 2, "report": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for use, letter in (("tune", "a"), ("choose", "b"), ("report", "c")):
        words = "".join(f"{letter}{chr(97 + i % 26)}{chr(97 + i // 26)} " for i in range(30))
        (tmp_path / f"{use}.txt").write_text(words + "\n", encoding="utf-8")
    (tmp_path / "words.txt").write_text("aaa\nbaa\n", encoding="utf-8")
    return tmp_path


def test_windows_are_cut_from_the_text_and_spread_over_it(folder: Path) -> None:
    dataset = text_dataset(folder, SYMBOLS, 20, SIZES, root=0)
    assert [split.spare for split in dataset.splits.values()] == [6 - 3, 6 - 2, 6 - 4]
    text = (folder / "tune.txt").read_text(encoding="utf-8").rstrip("\n")
    tune = dataset.splits["tune"]
    windows = dataset.completions(tune.originals, tune)
    assert windows == [text[0:20], text[40:60], text[80:100]]  # 6 windows fit; 0, 2 and 4 of them
    assert dataset.words == {"aaa", "baa"}
    assert (dataset.splits["tune"].start == len(SYMBOLS)).all()


def test_seeds_differ_between_examples_uses_and_roots(folder: Path) -> None:
    seeds = [
        seed
        for root in (0, 1)
        for split in text_dataset(folder, SYMBOLS, 20, SIZES, root).splits.values()
        for seed in split.seeds.tolist()
    ]
    assert len(set(seeds)) == len(seeds) == 18


def test_a_longer_split_keeps_the_noise_of_its_first_examples() -> None:
    short = law_dataset(Parity(6), {"tune": 8}, root=5).splits["tune"]
    long = law_dataset(Parity(6), {"tune": 16}, root=5).splits["tune"]
    assert np.array_equal(short.seeds, long.seeds[:8])
    assert long.first(8).ids == short.ids


def test_fingerprint_sees_examples_seeds_and_words(folder: Path) -> None:
    first = text_dataset(folder, SYMBOLS, 20, SIZES, 0).fingerprint
    assert first == text_dataset(folder, SYMBOLS, 20, SIZES, 0).fingerprint
    assert first != text_dataset(folder, SYMBOLS, 20, SIZES, 1).fingerprint
    (folder / "words.txt").write_text("aaa\n", encoding="utf-8")
    assert first != text_dataset(folder, SYMBOLS, 20, SIZES, 0).fingerprint


def test_law_examples_follow_the_law_and_differ_between_uses() -> None:
    dataset = law_dataset(Parity(8), {"tune": 64, "choose": 64, "report": 64}, root=0)
    for split in dataset.splits.values():
        assert (split.originals.sum(1) % 2 == 0).all()
    assert not torch.equal(dataset.splits["tune"].originals, dataset.splits["report"].originals)


def test_bad_texts_are_named_with_their_remedy(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"tune\.txt: 7 examples of 20 characters need 140 .* has 120 \(enough for 6\)"
    ):
        text_dataset(folder, SYMBOLS, 20, {"tune": 7}, 0)
    (folder / "choose.txt").write_text("abc dEf", encoding="utf-8")
    with pytest.raises(InputError, match=r"choose\.txt, line 1, column 6: 'E' is not one of the model's symbols"):
        text_dataset(folder, SYMBOLS, 2, SIZES, 0)
    (folder / "choose.txt").write_text("abc\ndef", encoding="utf-8")
    with pytest.raises(InputError, match=r"line 1, column 4: '\\n'"):
        text_dataset(folder, SYMBOLS, 2, SIZES, 0)
    (folder / "choose.txt").write_bytes(b"ab\xff")
    with pytest.raises(InputError, match=r"choose\.txt must be UTF-8 text, got byte 0xff at offset 2"):
        text_dataset(folder, SYMBOLS, 2, SIZES, 0)
    (folder / "choose.txt").unlink()
    with pytest.raises(InputError, match=r"cannot read .*choose\.txt: No such file"):
        text_dataset(folder, SYMBOLS, 2, SIZES, 0)


def test_an_empty_text_is_too_short(folder: Path) -> None:
    (folder / "report.txt").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"report\.txt: 4 examples .* the text has 0"):
        text_dataset(folder, SYMBOLS, 20, SIZES, 0)


@pytest.mark.parametrize("shift", ["", "a", "aaaaaaa"])
def test_splits_that_share_text_are_refused_wherever_it_stands(folder: Path, shift: str) -> None:
    (folder / "report.txt").write_text(shift + (folder / "tune.txt").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(InputError, match=r"splits must not share an example, but .* is also in report\.txt"):
        text_dataset(folder, SYMBOLS, 20, SIZES, 0)
