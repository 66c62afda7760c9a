"""Texts from a model in memory: the tokens are those of the command ``sample`` and of an unmasking loop by hand."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from mdm_tune.api.generation import generate
from mdm_tune.api.runs import sample
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Beta
from tests.support.tiny_models import BERT_MASK, bert

PROMPTS = ["A C D", "E F", "G H I K L"]
CURVE = Beta(0.7, 1.2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "bert"
    bert(folder)
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}', "utf-8")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    from transformers import BertForMaskedLM

    return BertForMaskedLM.from_pretrained(folder).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def schedule_file(folder: Path) -> Path:
    entry = {"steps": 4, "schedule": CURVE.name, "counts": list(to_counts(CURVE, 4, 8)), "alphas": None}
    sampler = {"order": "confidence", "temperature": 0.0}
    record = {"format": "mdm-tune-schedule-1", "length": 8, "budgets": [entry], "sampler": sampler}
    (folder / "schedule.yaml").write_text(yaml_text(record), "utf-8")
    return folder / "schedule.yaml"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_tokens_are_those_of_the_command(
    tmp_path: Path, folder: Path, model: Any, tokenizer: Any, temperature: float
) -> None:
    residues = "ACDEFGHIKLMN"
    lines = [json.dumps({"question": f"{a} {b}", "answer": a}) for a, b in product(residues, repeat=2)]
    (tmp_path / "data.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    config = {
        "model": {"type": "huggingface", "path": str(folder)},
        "dataset": {
            "type": "jsonl",
            "path": "data.jsonl",
            "prompt": "question",
            "answer": "answer",
            "generation_length": 8,
            "tune": 10,
            "choose": 10,
            "report": 10,
        },
        "sampler": {"order": "confidence", "temperature": temperature, "steps": [4]},
        "objective": {"metric": "exact_match"},
        "output": str(tmp_path / "run"),
    }
    (tmp_path / "run.yaml").write_text(yaml_text(config), "utf-8")
    drawn = sample(tmp_path / "run.yaml", CURVE.name, 4, number=3, devices="cpu").samples
    prompts = [each.example.prompt for each in drawn if each.example is not None]
    texts = generate(
        model, tokenizer, prompts, schedule=CURVE, steps=4, length=8, order="confidence", temperature=temperature
    )
    assert [text.tokens[-9:-1] for text in drawn] == [*texts.tokens]
    assert [text.text for text in drawn] == texts


def test_the_tokens_are_those_of_a_loop_by_hand(tmp_path: Path, model: Any, tokenizer: Any) -> None:
    """Each prompt alone, without padding: the most probable token at the most confident positions."""
    texts = generate(model, tokenizer, PROMPTS, schedule=schedule_file(tmp_path), steps=4, progress=False)
    for prompt, drawn, text in zip(PROMPTS, texts.tokens, texts, strict=True):
        start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        row = torch.tensor([[2, *start, *[BERT_MASK] * 8, 3]])
        for count in to_counts(CURVE, 4, 8):
            logits = model(row).logits[0].double()
            logits[:, : BERT_MASK + 1] = -torch.inf  # the special tokens, which this family never draws
            best = logits.softmax(-1).max(-1)
            confidence = torch.where(row[0] == BERT_MASK, best.values, -1.0)
            for place in confidence.topk(count).indices:
                row[0, place] = best.indices[place]
        assert drawn == tuple(row[0, 1 + len(start) : -1].tolist())
        assert text == tokenizer.decode([t for t in drawn if t > BERT_MASK])
    assert texts.nfe == (4, 4, 4) and texts.notes == ()


def test_nothing_depends_on_the_batch_and_nothing_is_printed(
    tmp_path: Path, model: Any, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"schedule": "beta:0.7,1.2", "steps": 4, "length": 8, "block_length": 4, "seed": 3}
    texts = generate(model, tokenizer, PROMPTS, **options, order="confidence", temperature=1.0)
    assert capsys.readouterr() == ("", "")
    again = generate(model, tokenizer, PROMPTS, **options, order="confidence", temperature=1.0, batch=1, progress=True)
    assert texts == again and "12/12" in capsys.readouterr().err
    other = generate(model, tokenizer, PROMPTS, **options | {"seed": 4}, order="confidence", temperature=1.0)
    assert other.tokens != texts.tokens


def test_what_was_not_tuned_is_a_note(tmp_path: Path, model: Any, tokenizer: Any) -> None:
    texts = generate(model, tokenizer, PROMPTS[:1], schedule=schedule_file(tmp_path), steps=2, length=6)
    assert "2 steps were not tuned" in texts.notes[0] and len(texts.tokens[0]) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": []}, "prompts must be a list of at least one text"),
        ({"prompts": "a c"}, "prompts must be a list of at least one text, got 'a c'"),
        ({"steps": 9}, "steps must be at most the length, 8 tokens, .* got 9"),
        ({"steps": None}, "steps must be given"),
        ({"length": None}, "length, the tokens to generate, must be given"),
        ({"length": 100, "steps": 4}, "the model takes 64"),
        ({"block_length": 3}, "block_length must divide the length 8, got 3"),
        ({"order": "best"}, "order: "),
        ({"temperature": -1.0}, "temperature: "),
        ({"schedule": "lineer"}, "lineer"),
        ({"tokenizer": None}, "tokenizer must be the model's tokenizer, got NoneType"),
        ({"model": 3}, "model must be a module of transformers, got int"),
        ({"mask_token_id": 99}, "mask_token_id: must be one of the 25 tokens"),
        ({"mask": 4}, "mask: "),
    ],
)
def test_wrong_arguments_are_named(model: Any, tokenizer: Any, changes: dict[str, Any], message: str) -> None:
    given = {"model": model, "tokenizer": tokenizer, "prompts": PROMPTS, "steps": 4, "length": 8, **changes}
    with pytest.raises(InputError, match=message):
        generate(given.pop("model"), given.pop("tokenizer"), given.pop("prompts"), **given)


def test_a_model_in_training_and_a_tokenizer_without_a_mask_are_refused(folder: Path, model: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.mask_token = None
    with pytest.raises(InputError, match=r"names one; set model.mask_token_id"):
        generate(model, tokenizer, PROMPTS, steps=4, length=8)
    model.train()
    try:
        with pytest.raises(InputError, match=r"evaluation mode, .* call model.eval\(\)"):
            generate(model, tokenizer, PROMPTS, steps=4, length=8)
    finally:
        model.eval()
