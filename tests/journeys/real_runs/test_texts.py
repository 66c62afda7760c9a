"""Texts, answers and references: what is read, judged and refused."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from mdm_tune.config.file import load_config
from mdm_tune.core.permissions import Permissions
from mdm_tune.run.build import build
from mdm_tune.run.folder import load_schedule
from tests.support.real_runs import ANSWERS, LIKELIHOOD, SIZES, TASK, answered, call, config, refused
from tests.support.tiny_models import BERT_MASK, RESIDUES, transformers

TIGHT = {"cuda:0": 90_000, "cuda:1": 90_000}  # bytes, for a model of 81,000


def test_texts_of_different_lengths_are_tuned_by_likelihood(place: Path, tmp_path: Path) -> None:
    file = config(place, tmp_path, LIKELIHOOD)
    found, said = answered("search", file)
    (budget,) = found["budgets"]
    assert sum(budget["counts"]) == build(load_config(Path(file))).evaluator.length and budget["n"] == 12
    assert "the first tune example" in said and "⟨" in said
    kept = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert kept["versions"]["transformers"] == metadata.version("transformers")
    assert kept["versions"] == load_schedule(tmp_path / "run").record["versions"]
    again, _ = answered("evaluate", file, "--schedule", "linear", "--schedule", str(tmp_path / "run"))
    assert again["rows"][1]["value"] == pytest.approx(budget["value"])
    drawn, _ = answered("sample", file, "--number", "14")
    assert set("".join(sample["text"] for sample in drawn["samples"])) <= set(RESIDUES)
    dataset = build(load_config(Path(file))).dataset
    assert dataset is not None and [len(sample["prompt"]) for sample in drawn["samples"]] == [0] * 14
    lengths = [sum(token >= 0 for token in sample["tokens"]) - 2 for sample in drawn["samples"]]  # without the frame
    assert lengths == [int(dataset.splits["report"].hidden[i % 12].sum()) for i in range(14)]
    assert all(4 not in sample["tokens"] for sample in drawn["samples"])  # no mask is left


def test_answers_are_judged_by_the_users_own_metric(place: Path, tmp_path: Path) -> None:
    file = config(place, tmp_path, TASK)
    assert "--trust-code" in refused("search", file)
    found, _ = answered("search", file, "--trust-code")
    (budget,) = found["budgets"]
    assert budget["metric"] == "custom" and 0 <= budget["value"] <= 1
    (figure, *_) = found["reported"]
    assert figure["name"] == "exact_match" and figure["count"] == 12
    scored, _ = answered("evaluate", file, "--trust-code", "--schedule", "linear", "--steps", "2")
    lines = (tmp_path / "run" / "evaluate-scores.jsonl").read_text(encoding="utf-8").splitlines()
    dataset = build(load_config(Path(file)), Permissions(trust_code=True)).dataset
    assert dataset is not None
    by_id = {example.id: example for example in dataset.splits["report"].examples}
    for line in map(json.loads, lines):
        question = by_id[line["id"]].record["q"]
        assert line["value"] == sum(letter in question for letter in line["text"]) / 4
    assert scored["rows"][0]["n"] == 12
    drawn, _ = answered("sample", file, "--trust-code", "--number", "3")
    examples = dataset.splits["report"].examples[:3]
    assert [sample["prompt"] for sample in drawn["samples"]] == [example.prompt for example in examples]
    assert [sample["shown"] for sample in drawn["samples"]] == [
        f"{example.prompt}⟨{sample['text']}⟩" for example, sample in zip(examples, drawn["samples"], strict=True)
    ]
    kept = json.loads((tmp_path / "run" / "samples.json").read_text(encoding="utf-8"))
    assert kept["samples"] == drawn["samples"] and kept["schedule_from"] == "search"
    shown = call("sample", file, "--trust-code", "--number", "3")
    for sample in drawn["samples"]:
        assert f"example {sample['id']}, what was drawn in brackets:\n{sample['shown']}\n" in shown.stdout
    assert "the search's own; 2 steps" in re.sub(r"\s+", " ", shown.stderr)


def test_several_holes_are_shown_where_they_stand(place: Path, tmp_path: Path) -> None:
    """What stands between them is given, and what is drawn has its place in brackets."""
    holes = {"type": "jsonl", "path": "qa.jsonl", "template": "{q}[[a:2]]{q}[[a:3]]", **SIZES}
    drawn, _ = answered("sample", config(place, tmp_path, {**TASK, "dataset": holes}), "--trust-code", "--number", "2")
    for sample in drawn["samples"]:
        first, second = sample["text"].split(" ")
        assert sample["shown"] == f"{sample['prompt']}⟨{first}⟩{sample['prompt']}⟨{second}⟩"


def test_prompts_have_a_likelihood_and_a_profile(place: Path, tmp_path: Path) -> None:
    sections = {**LIKELIHOOD, "dataset": {**ANSWERS, **SIZES}}
    found, _ = answered("profile", config(place, tmp_path, sections))
    assert found["length"] == 4 and found["denoiser_rows"] <= 8 * 4


def test_references_that_do_not_fit_are_counted(place: Path, tmp_path: Path) -> None:
    """All have four residues: three positions cut them, four do not, and no exact match could ever be reached."""
    file = config(place, tmp_path, {**TASK, "objective": {"metric": "exact_match"}, "metrics": {}})
    linear = ("evaluate", file, "--schedule", "linear")
    _, said = answered(*linear, "--set", "dataset.generation_length=3")
    assert "28 of 28 references are longer than the tokens that are filled in" in said
    assert "references are longer" not in answered(*linear)[1]


def test_a_likelihood_needs_a_reference_at_every_position(place: Path, tmp_path: Path) -> None:
    sections = {**LIKELIHOOD, "dataset": {**ANSWERS, **SIZES, "generation_length": 5}}
    text = refused("profile", config(place, tmp_path, sections, model={"end_tokens": []}))
    assert "prices the reference of every position" in text and "end tokens" in text


def test_a_profile_on_the_models_own_answers_and_on_those_of_a_file(place: Path, tmp_path: Path) -> None:
    sections = {**LIKELIHOOD, "dataset": {**ANSWERS, **SIZES}}
    found = {}
    file = config(place, tmp_path, sections, model={"never": ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]})
    for answers in ("reference", "model", str(tmp_path / "model" / "answers-tune.jsonl")):
        name = answers if answers in ("reference", "model") else "file"
        folder = ("--output", str(tmp_path / name), "--set", f"profile.answers={answers}")
        found[name], _ = answered("profile", file, *folder)
    assert found["model"]["cross_entropy"] != found["reference"]["cross_entropy"]
    drawing = found["model"]["denoiser_rows"] - found["reference"]["denoiser_rows"]
    assert 0 < drawing <= 8 * 4  # one token per step for each of eight examples
    kept = [json.loads(line) for line in (tmp_path / "model" / "answers-tune.jsonl").read_text().splitlines()]
    dataset = build(load_config(Path(file))).dataset
    assert dataset is not None and [each["id"] for each in kept] == list(dataset.splits["tune"].shuffled().ids)
    assert found["file"]["cross_entropy"] == found["model"]["cross_entropy"]
    again, _ = answered("profile", file, "--output", str(tmp_path / "model"), "--set", "profile.answers=model")
    assert again["reused"] and again["denoiser_rows"] == 0
    (tmp_path / "some.jsonl").write_text('{"id": "x", "answer": "AC"}\n', encoding="utf-8")
    short = [json.dumps({"id": each["id"], "answer": "AC"}) for each in kept]
    (tmp_path / "short.jsonl").write_text("\n".join(short) + "\n", encoding="utf-8")
    brief = ("--output", str(tmp_path / "brief"), "--set", f"profile.answers={tmp_path / 'short.jsonl'}")
    assert "has fewer than its 4 tokens" in refused("profile", file, *brief)
    other = ("--output", str(tmp_path / "other"), "--set", f"profile.answers={tmp_path / 'some.jsonl'}")
    assert "has no answer for example" in refused("profile", file, *other)
    assert "cannot read" in refused("profile", file, *other[:2], "--set", f"profile.answers={tmp_path / 'none'}")


@pytest.mark.parametrize("block_length", [None, 2])
@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_likelihoods_of_answers_are_those_of_the_module_called_by_hand(
    place: Path, tmp_path: Path, scale: float, block_length: int | None
) -> None:
    """Prompts of two lengths; all of a block at once, so that its tokens are priced by one prediction each."""
    sampler = {"order": "margin", "temperature": 1.0, "guidance": scale, "block_length": block_length}
    steps = 1 if block_length is None else 2
    sections = {"dataset": {**ANSWERS, **SIZES}, "objective": {"metric": "path_nll"}}
    file = config(place, tmp_path, {**sections, "sampler": {**sampler, "steps": [steps], "batch": 16}})
    found, _ = answered("evaluate", file, "--schedule", "linear")
    lines = (tmp_path / "run" / "evaluate-scores.jsonl").read_text(encoding="utf-8").splitlines()
    values = {line["id"]: line["value"] for line in map(json.loads, lines)}
    model = transformers.BertForMaskedLM.from_pretrained(place / "bert").eval().requires_grad_(False)
    dataset = build(load_config(Path(file))).dataset
    assert dataset is not None and len(values) == 12
    for example in dataset.splits["report"].examples:
        residue = {letter: 5 + number for number, letter in enumerate(RESIDUES)}
        asked, closed = [2, *(residue[letter] for letter in example.record["q"])], [3]
        answer = [residue[letter] for letter in example.record["a"]]
        nll, size = 0.0, block_length or 4
        for first in range(0, 4, size):
            hidden = [*answer[:first], *[BERT_MASK] * (4 - first)]
            told, untold = (
                model(torch.tensor([[*before, *hidden, *closed]])).logits[0, len(asked) : -1].double()
                for before in (asked, [BERT_MASK] * len(asked))
            )
            logits = untold + (scale + 1) * (told - untold)
            logits[:, [0, 2, 3, BERT_MASK]] = -torch.inf  # never produced
            log_p = logits.log_softmax(1)
            nll -= sum(float(log_p[at, answer[at]]) for at in range(first, first + size))
        assert values[example.id] == pytest.approx(nll, abs=1e-4)
    assert found["rows"][0]["value"] == pytest.approx(np.mean(list(values.values())))
