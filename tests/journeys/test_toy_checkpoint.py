"""The toy that docs/walk.md can be followed with: a checkpoint that init knows, and answers of the model itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from mdm_tune.start.models import describe_model
from scripts import toy_checkpoint
from tests.support.tiny_models import load


def test_the_answers_are_those_of_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["toy_checkpoint.py", str(tmp_path)])
    toy_checkpoint.main()
    found = describe_model(str(tmp_path / "llada"), trust_code=True)
    assert found.family is not None and found.family.name == "llada" and found.tokens_of is not None
    records = [json.loads(line) for line in (tmp_path / "questions.jsonl").read_text("utf-8").splitlines()]
    assert len({record["question"] for record in records}) == len(records) == 363
    assert {found.tokens_of(record["answer"]) for record in records} == {8}
    denoiser = load(tmp_path / "llada", trust_code=True, family="llada").denoiser
    prompt, answer = ([int(word[1:]) for word in records[7][key].split()] for key in ("question", "answer"))
    row = torch.tensor([[*prompt, *[23] * 8]])
    for _ in range(8):  # row by row, with the loaded checkpoint
        wanted = row == 23
        chances = denoiser(row, wanted)[:, :23].softmax(-1)[:, 3:]
        best = int(chances.max(-1).values.argmax())
        row[0, wanted[0].nonzero()[best, 0]] = 3 + int(chances[best].argmax())
    assert row[0, 6:].tolist() == answer
