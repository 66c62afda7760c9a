from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_models import RESIDUES, bert, foreign

SCORE = """
def share(answer, record):
    return sum(letter in record["q"] for letter in answer) / 4
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with words for tokens that ends texts, one of residues, questions of two lengths, and texts."""
    folder = tmp_path_factory.mktemp("real")
    bert(folder / "bert")
    foreign(folder / "coded")
    chance = np.random.default_rng(0)
    words = ["".join(chance.choice(list(RESIDUES), size)) for size in chance.integers(6, 10, 60)]
    (folder / "texts.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    lines = [json.dumps({"q": word[: 3 + place % 2], "a": word[-4:]}) for place, word in enumerate(words)]
    (folder / "qa.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "score.py").write_text(SCORE, encoding="utf-8")
    return folder
