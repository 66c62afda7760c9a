"""Texts from a model in memory: the tokens are those of the command ``sample`` and of an unmasking loop by hand."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from mdm_tune.api import generation
from mdm_tune.api.generation import generate
from mdm_tune.api.runs import evaluate, sample
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.exports.policy import read_policy
from mdm_tune.sampling.unmasking import unmask
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Beta
from tests.support.tiny_models import BERT_MASK, bert, foreign

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


def write_config(place: Path, folder: Path, **sampler: Any) -> Path:
    """A config of the model on prompts of two residues."""
    residues = "ACDEFGHIKLMN"
    lines = [json.dumps({"question": f"{a} {b}", "answer": a}) for a, b in product(residues, repeat=2)]
    (place / "data.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
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
        "sampler": {"order": "confidence", "steps": [4], **sampler},
        "objective": {"metric": "exact_match"},
        "output": str(place / "run"),
    }
    (place / "run.yaml").write_text(yaml_text(config), "utf-8")
    return place / "run.yaml"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_tokens_are_those_of_the_command(
    tmp_path: Path, folder: Path, model: Any, tokenizer: Any, temperature: float
) -> None:
    config = write_config(tmp_path, folder, temperature=temperature)
    drawn = sample(config, CURVE.name, 4, number=3, devices="cpu").samples
    prompts = [each.example.prompt for each in drawn if each.example is not None]
    texts = generate(
        model, tokenizer, prompts, schedule=CURVE, steps=4, length=8, order="confidence", temperature=temperature
    )
    assert [text.tokens[-9:-1] for text in drawn] == [*texts.tokens]
    assert [text.text for text in drawn] == texts


def policy(name: str, steps: int, schedule: str | None = None, **more: Any) -> dict[str, Any]:
    return {"steps": steps, "schedule": schedule, "counts": None, "alphas": None, "policy": name, **more}


POLICIES = [
    policy("threshold:0.17", 2),
    policy("entropy-bound:2.5", 3, block_length=4),
    policy(f"quota:{CURVE.name}#3@0.17", 4, CURVE.name, block_length=8),
    policy("cap:sine@0.12", 6, "sine", block_length=4),
    policy("klass:0.05@0.12", 5),
]


def policy_file(folder: Path, *budgets: dict[str, Any], **sampler: Any) -> Path:
    record = {"format": "mdm-tune-schedule-2", "length": 8, "budgets": budgets or POLICIES}
    sampler = {"order": "confidence", "temperature": 0.0, **sampler}
    (folder / "schedule.yaml").write_text(yaml_text({**record, "sampler": sampler}), "utf-8")
    return folder / "schedule.yaml"


def test_a_policy_of_a_file_is_what_its_name_is(tmp_path: Path, folder: Path, model: Any, tokenizer: Any) -> None:
    """For sample, evaluate and generate alike: equal tokens, and equal calls."""
    config, file = write_config(tmp_path, folder, temperature=0.0), str(policy_file(tmp_path))
    for entry in POLICIES:
        steps, name, blocks = entry["steps"], entry["policy"], entry.get("block_length", 8)
        held = sample(config, file, steps, number=4, devices="cpu")
        if steps == 2:
            named = sample(config, name, steps, number=4, devices="cpu")
            assert held.samples == named.samples and held.nfe == named.nfe
        record = held.to_json()
        assert (record["schedule"], record["counts"], record["policy"]) == (file, None, name)
        assert (record["steps"], record["block_length"]) == (steps, blocks)
        prompts = [each.example.prompt for each in held.samples if each.example is not None]
        texts = generate(model, tokenizer, prompts, schedule=file, steps=steps)
        assert [each.tokens[-9:-1] for each in held.samples] == [*texts.tokens]
        assert texts.schedule == name and texts.notes == () and sum(texts.nfe) / 4 == held.nfe < 8
        greedy = GREEDY | {"order": "entropy" if "entropy" in name else "confidence"}
        by_name = generate(model, tokenizer, prompts, schedule=name, steps=steps, block_length=blocks, **greedy)
        assert by_name.tokens == texts.tokens and by_name.nfe == texts.nfe
    rows = evaluate(config, [file, POLICIES[0]["policy"], "quota:linear"], [2, 3, 4], devices="cpu").rows
    by = {(row.schedule, row.steps): row for row in rows}
    assert {steps for name, steps in by if name == file} == {2, 3, 4}
    held_row, named_row = by[file, 2], by["threshold:0.17", 2]
    assert held_row.calls == named_row.calls and held_row.estimate == named_row.estimate
    assert (held_row.plan.policy, held_row.plan.counts) == ("threshold:0.17", None)
    printed = [name for name, steps in by if name.startswith("quota:linear") and steps == 3]
    again = evaluate(config, printed, [3], devices="cpu").rows  # the name that is printed repeats the run
    assert printed[0].startswith("quota:linear#6@0.") and again[0] == by[printed[0], 3]


@pytest.mark.parametrize("kind", ["counts", "quota", "cap"])
def test_the_counts_of_a_file_are_the_same_everywhere(
    tmp_path: Path, folder: Path, model: Any, tokenizer: Any, kind: str
) -> None:
    """The profile gave one step to the first block and two to the second; even shares would be two and one."""
    counts = (4, *to_counts(CURVE, 2, 4))
    explicit = f"counts:{','.join(map(str, counts))}"
    plain = {"steps": 3, "schedule": CURVE.name, "counts": list(counts), "alphas": None, "block_length": 4}
    if kind == "counts":
        entry, steps, plan = plain, 3, explicit
    else:
        value = 1 if kind == "quota" else 0  # both then follow their counts exactly
        entry, steps, plan = policy(f"{kind}:{CURVE.name}#3@{value}", 4, CURVE.name, block_length=4), 4, ""
        entry, plan = {**entry, "kept_counts": list(counts)}, f"{kind}:{explicit}#3@{value}"
    file = str(policy_file(tmp_path, entry, block_steps="tuned"))
    config = write_config(tmp_path, folder, temperature=0.0)
    held = sample(config, file, steps, number=3, devices="cpu")
    prompts = [each.example.prompt for each in held.samples if each.example is not None]
    by_file = generate(model, tokenizer, prompts, schedule=file, steps=steps)
    by_counts = generate(model, tokenizer, prompts, schedule=plan, steps=steps, block_length=4, **GREEDY)
    assert by_file.tokens == by_counts.tokens and by_file.nfe == by_counts.nfe == (3, 3, 3) and by_file.notes == ()
    assert [each.tokens[-9:-1] for each in held.samples] == [*by_file.tokens] and held.nfe == 3
    assert evaluate(config, [file], [steps], devices="cpu").rows[0].calls.nfe == 3
    assert read_policy(file).counts == (counts[:1], counts[1:])
    if kind == "counts":
        return
    del entry["kept_counts"]
    policy_file(tmp_path, entry, block_steps="tuned")
    for read in (
        lambda: sample(config, file, steps, number=3, devices="cpu"),
        lambda: generate(model, tokenizer, prompts, schedule=file, steps=steps),
        lambda: read_policy(file),
    ):
        with pytest.raises(InputError, match=r"share the steps as a profile gave them .* has no kept_counts"):
            read()


def test_a_name_has_no_profile_that_shares_the_steps(model: Any, tokenizer: Any) -> None:
    texts = generate(model, tokenizer, PROMPTS, schedule=CURVE, steps=3, block_length=4, block_steps="tuned", **GREEDY)
    assert texts.notes[-1].startswith("block_steps tuned needs a profile") and texts.nfe == (3, 3, 3)


def test_a_policy_of_a_file_at_other_lengths_and_settings_is_noted(tmp_path: Path, model: Any, tokenizer: Any) -> None:
    file = policy_file(tmp_path, *POLICIES[:3])
    texts = generate(model, tokenizer, PROMPTS, schedule=file, steps=2, length=6, temperature=0.5)
    assert len(texts.tokens[0]) == 6 and [note.partition(",")[0] for note in texts.notes] == [
        "A length of 6 tokens was not tuned: the policy was tuned for 8",
        "The schedule was tuned for temperature 0.0",
    ]
    blocks = generate(model, tokenizer, PROMPTS, schedule=file, steps=3, block_length=8)
    assert blocks.notes == ("The policy was tuned for blocks of 4, and is used for one block.",)
    quota = generate(model, tokenizer, PROMPTS, schedule=file, steps=4, length=6)
    assert "A length of 6 tokens was not tuned: the counts follow from beta:0.7,1.2" in quota.notes[0]
    for given, message in (
        ({"steps": 8}, "budgets of 2, 3, 4 steps, got 8; the nearest holds the adaptive policy quota:"),
        ({}, "steps must be given"),
        ({"steps": 2, "reveal": "bernoulli"}, "threshold:0.17 decides how many positions each step reveals"),
        ({"steps": 3, "length": 6}, "block_length must divide the length 6, got 4"),
        ({"schedule": f"quota:{file}@0.5", "steps": 2}, "the adaptive policy threshold:0.17, which has no counts"),
    ):
        with pytest.raises(InputError, match=message):
            generate(model, tokenizer, PROMPTS, **{"schedule": file, **given})
    alone = policy_file(tmp_path, POLICIES[0])
    assert generate(model, tokenizer, PROMPTS, schedule=alone).schedule == "threshold:0.17"


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
    assert texts == again and "24/24" in capsys.readouterr().err
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
        ({"length": 100, "steps": 4}, "prompt 2 and its text have 107 tokens, and the model takes 64"),
        ({"block_length": 3}, "block_length must divide the length 8, got 3"),
        ({"order": "best"}, "order: "),
        ({"temperature": -1.0}, "temperature: "),
        ({"schedule": "lineer"}, "lineer"),
        ({"tokenizer": None}, "tokenizer must be the model's tokenizer, got NoneType"),
        ({"model": 3}, "model must be a module of transformers, got int"),
        ({"mask_token_id": 99}, "mask_token_id: must be one of the 25 tokens"),
        ({"mask": 4}, "mask: generate has no such option, got 4"),
        ({"max_new_tokens": 8}, "max_new_tokens: generate has no such option, got 8; its name here is length"),
        ({"device": "cuda"}, "device: generate has no such option"),
        ({"prompts": [{"role": "user", "content": "A"}]}, "a chat is a list of messages, .* in brackets once more"),
        ({"prompts": [[{"role": "user", "content": "A"}]]}, "prompt 0 is a chat, .* set tokenizer.chat_template"),
        ({"prompts": ["A", [{"role": "user"}]]}, "prompt 1 must be a text, or a list of messages .* got"),
        ({"prompts": ["A", None]}, "prompt 1 must be a text, .* got null"),
        ({"schedule": 3}, "schedule must be a schedule, its name or its file, got 3"),
        ({"schedule": "runs/none"}, "Unknown schedule 'runs/none'.* threshold.* or a run folder"),
        ({"schedule": "threshold:0.5", "order": "random"}, "needs the order 'confidence' .* got 'random'"),
        ({"schedule": "threshold:0.5", "reveal": "bernoulli"}, "threshold:0.5 decides how many positions"),
        ({"schedule": "threshold", "steps": None}, "steps must be given"),
        ({"schedule": "quota:threshold:0.5"}, "quota keeps the counts of a schedule"),
        ({"reveal": "bernoulli", "block_length": 4}, "has no blocks, got block_length 4"),
        ({"steps": 4.5}, "steps must be a whole number of at least 1, got 4.5"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"batch": 0}, "batch: "),
    ],
)
def test_wrong_arguments_are_named(model: Any, tokenizer: Any, changes: dict[str, Any], message: str) -> None:
    given = {"model": model, "tokenizer": tokenizer, "prompts": PROMPTS, "steps": 4, "length": 8, **changes}
    with pytest.raises(InputError, match=message):
        generate(given.pop("model"), given.pop("tokenizer"), given.pop("prompts"), **given)


def test_a_tokenizer_without_a_mask_is_refused(folder: Path, model: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.mask_token = None
    with pytest.raises(InputError, match=r"names one; set model.mask_token_id"):
        generate(model, tokenizer, PROMPTS, steps=4, length=8)
    assert generate(model, tokenizer, PROMPTS, steps=4, length=8, mask_token_id=BERT_MASK)


def test_the_model_keeps_its_mode_and_has_no_gradients(model: Any, tokenizer: Any) -> None:
    """Dropout would change the tokens if it were at work."""
    expected = generate(model, tokenizer, PROMPTS, steps=4, length=8)
    model.requires_grad_(True).train()
    model.cls.eval()
    try:
        assert generate(model, tokenizer, PROMPTS, steps=4, length=8) == expected
        assert model.training and model.bert.training and not model.cls.training
        assert all(weight.grad is None for weight in model.parameters())
        with pytest.raises(InputError, match="order: "):
            generate(model, tokenizer, PROMPTS, steps=4, length=8, order="best")
        assert model.training and not model.cls.training
    finally:
        model.requires_grad_(False).eval()


GREEDY: dict[str, Any] = {"length": 8, "order": "confidence", "temperature": 0.0}


def test_a_threshold_is_that_of_a_loop_by_hand(model: Any, tokenizer: Any) -> None:
    texts = generate(model, tokenizer, PROMPTS, schedule="threshold:0.17", **GREEDY)
    for prompt, drawn, calls in zip(PROMPTS, texts.tokens, texts.nfe, strict=True):
        start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        row, made = torch.tensor([[2, *start, *[BERT_MASK] * 8, 3]]), 0
        while (hidden := row[0] == BERT_MASK).any():
            logits, made = model(row).logits[0].double(), made + 1
            logits[:, : BERT_MASK + 1] = -torch.inf
            best = logits.softmax(-1).max(-1)
            confidence = torch.where(hidden, best.values, -1.0)
            for place in range(row.shape[1]):
                if hidden[place] and (confidence[place] >= 0.17 or place == int(confidence.argmax())):
                    row[0, place] = best.indices[place]
        assert (drawn, calls) == (tuple(row[0, 1 + len(start) : -1].tolist()), made)
    assert 1 < min(texts.nfe) < max(texts.nfe) < 8 and texts.schedule == "threshold:0.17"


def test_every_form_of_an_adaptive_policy_is_accepted(tmp_path: Path, model: Any, tokenizer: Any) -> None:
    file = schedule_file(tmp_path)
    counts = to_counts(CURVE, 4, 8)
    fixed = generate(model, tokenizer, PROMPTS, schedule=CURVE, steps=4, **GREEDY)
    explicit = ",".join(map(str, counts))
    for name in (f"quota:{CURVE.name}@1", f"quota:{file}@1", f"quota:{tmp_path}@1", f"quota:counts:{explicit}@1"):
        given = {} if "counts" in name or "quota:/" in name else {"steps": 4}
        texts = generate(model, tokenizer, PROMPTS, schedule=name, **given, **GREEDY)
        assert texts.tokens == fixed.tokens and texts.nfe == fixed.nfe and texts.schedule == name
    assert generate(model, tokenizer, PROMPTS, schedule="entropy-bound:64", length=8).nfe == (1, 1, 1)
    blocks = generate(model, tokenizer, PROMPTS, schedule="threshold:0", block_length=2, **GREEDY)
    assert blocks.nfe == (4, 4, 4) and blocks.denoiser_rows == 12


@pytest.mark.parametrize("name", ["threshold", "entropy-bound", "quota:linear", "cap:linear", "klass:0.5"])
def test_a_plan_without_a_value_costs_what_linear_costs(model: Any, tokenizer: Any, name: str) -> None:
    prompts = [f"{a} {b}" for a, b in product("ACDEF", repeat=2)]
    texts = generate(model, tokenizer, prompts, schedule=name, steps=4, length=8)
    found = generate(model, tokenizer, prompts, schedule=texts.schedule, steps=4, length=8)
    assert found.tokens == texts.tokens and found.schedule == texts.schedule
    assert texts.schedule.startswith(name) and texts.schedule != name
    assert abs(sum(found.nfe) / len(prompts) - 4) < 0.5
    assert texts.denoiser_rows > sum(texts.nfe) and found.denoiser_rows <= sum(found.nfe)


def test_rows_with_a_value_that_is_far_too_cautious_are_left_unfinished(
    model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 2 calls of 8 tokens: no try of 16 prompts but of the boldest value makes more than 48 calls, and a step."""
    spent: list[int] = []

    def counted(*given: Any, **options: Any) -> Any:
        result = unmask(*given, **options)
        spent.append(int(result.nfe.sum()))
        return result

    monkeypatch.setattr(generation, "unmask", counted)
    prompts = [f"{a} {b}" for a, b in product("ACDE", repeat=2)]
    generate(model, tokenizer, prompts, schedule="threshold", steps=2, length=8)
    assert 48 < max(spent) <= 48 + 16  # the threshold of 0.9 would make about 8 calls of each prompt


TEMPLATE = (
    "{% for message in messages %}{{ 'D' if message.role == 'user' else 'E' }} {{ message.content }} {% endfor %}"
    "{% if add_generation_prompt %}E{% endif %}"
)


def test_chats_are_rendered_by_the_template(folder: Path, model: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    chat = [{"role": "user", "content": "A C"}, {"role": "assistant", "content": "F"}, {"role": "user", "content": "G"}]
    texts = generate(model, tokenizer, [chat, "A C"], steps=4, **GREEDY)
    assert texts == generate(model, tokenizer, ["D A C E F D G E", "A C"], steps=4, **GREEDY)


def test_the_tokens_of_chats_are_those_of_the_command(tmp_path: Path) -> None:
    """Dream's form: logits are shifted, rows are padded on the left, and order and temperature are the family's."""
    from transformers import AutoModel

    foreign(tmp_path / "dream", "4d", kind="Dream")
    (tmp_path / "dream" / "chat_template.jinja").write_text(TEMPLATE.replace("D", "w3").replace("E", "w4"), "utf-8")
    words = [f"w{number}" for number in range(5, 17)]
    questions = [" ".join(pair[: 1 + number % 2]) for number, pair in enumerate(product(words, repeat=2))]
    lines = [json.dumps({"question": question, "answer": "w9"}) for question in dict.fromkeys(questions)]
    (tmp_path / "data.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    config = {
        "model": {"type": "huggingface", "path": str(tmp_path / "dream")},
        "dataset": {
            "type": "jsonl",
            "path": "data.jsonl",
            "prompt": "question",
            "answer": "answer",
            "chat": True,
            "generation_length": 8,
            "tune": 10,
            "choose": 10,
            "report": 10,
        },
        "sampler": {"steps": [4], "block_length": 4},
        "objective": {"metric": "exact_match"},
        "output": str(tmp_path / "run"),
    }
    (tmp_path / "run.yaml").write_text(yaml_text(config), "utf-8")
    drawn = sample(tmp_path / "run.yaml", "sine", 4, number=6, devices="cpu", trust_code=True).samples
    prompts = [each.example.prompt.split()[1:-1] for each in drawn if each.example is not None]
    chats = [[{"role": "user", "content": " ".join(prompt)}] for prompt in prompts]
    code = {"trust_remote_code": True}
    model = AutoModel.from_pretrained(tmp_path / "dream", **code)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "dream", **code)
    texts = generate(model, tokenizer, chats, schedule="sine", steps=4, length=8, block_length=4)
    assert [text.tokens[-8:] for text in drawn] == [*texts.tokens] and [text.text for text in drawn] == texts
    assert len({*map(len, prompts)}) > 1 and len({*texts}) > 1


def test_what_an_explicit_schedule_says_need_not_be_given(model: Any, tokenizer: Any) -> None:
    texts = generate(model, tokenizer, PROMPTS, schedule="counts:5,2,1")
    assert texts.nfe == (3, 3, 3) and len(texts.tokens[0]) == 8 and texts.schedule == "counts:5,2,1"
    ancestral = generate(model, tokenizer, PROMPTS, steps=16, length=8, reveal="bernoulli")
    assert max(ancestral.nfe) <= 8


def test_a_file_for_ancestral_reveal_or_the_code_of_a_user(tmp_path: Path, model: Any, tokenizer: Any) -> None:
    entry = {"steps": 2, "schedule": "linear", "counts": None, "alphas": [0.0, 0.5, 1.0]}
    record = {"format": "mdm-tune-schedule-1", "length": 8, "budgets": [entry], "sampler": {"reveal": "bernoulli"}}
    (tmp_path / "schedule.yaml").write_text(yaml_text(record), "utf-8")
    texts = generate(model, tokenizer, PROMPTS, schedule=tmp_path)
    assert texts == generate(model, tokenizer, PROMPTS, steps=2, length=8, reveal="bernoulli")
    assert texts.schedule == "linear" and max(texts.nfe) <= 2
    entry |= {"counts": [4, 4], "alphas": None}
    (tmp_path / "schedule.yaml").write_text(yaml_text(record | {"sampler": {"target": "mine.py"}}), "utf-8")
    assert "tuned for the code mine.py" in generate(model, tokenizer, PROMPTS, schedule=tmp_path).notes[0]


def test_notes_are_events(tmp_path: Path, model: Any, tokenizer: Any) -> None:
    events: list[Any] = []
    options: dict[str, Any] = {"schedule": schedule_file(tmp_path), "steps": 2, "temperature": 0.5}
    texts = generate(model, tokenizer, PROMPTS, **options, on_event=events.append)
    assert [event.text for event in events] == [*texts.notes] and len(texts.notes) == 2
    assert texts.notes[1] == "The schedule was tuned for temperature 0.0, and is used with temperature 0.5."
