"""The commands on checkpoints and tasks like the users' own, in small: what is read, drawn, judged and refused."""

from __future__ import annotations

import json
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

from mdm_tune.cli import app
from mdm_tune.config.file import load_config
from mdm_tune.core.errors import InputError
from mdm_tune.core.permissions import Permissions
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.denoisers.loading import place_replicas
from mdm_tune.run.build import build, open_run
from mdm_tune.run.folder import load_schedule
from tests.support.tiny_models import BERT_MASK, RESIDUES, bert, foreign, transformers

ANSWERS = {"path": "qa.jsonl", "type": "jsonl", "prompt": "{q}", "answer": "a", "generation_length": 4}
SIZES = {"tune": 8, "choose": 8, "report": 12}
LIKELIHOOD = {
    "dataset": {"type": "lines", "path": "texts.txt", **SIZES},
    "sampler": {"order": "random", "steps": [3], "batch": 16},
    "objective": {"metric": "nelbo"},
    "profile": {"examples": 8, "points": 4},
}
TASK = {
    "dataset": {**ANSWERS, **SIZES},
    "sampler": {"order": "confidence", "temperature": 1.0, "steps": [2], "batch": 16},
    "objective": {"metric": "custom"},
    "metrics": {"custom": {"target": "score.py:share", "direction": "maximize"}, "exact_match": {}},
}
TIGHT = {"cuda:0": 90_000, "cuda:1": 90_000}  # bytes, for a model of 81,000
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


def config(place: Path, tmp_path: Path, sections: dict[str, Any], **more: Any) -> str:
    model = {"type": "huggingface", "path": "bert", "split": "characters", "dtype": "float32"}
    search = {"strategy": "tpe", "trials": 4, "together": 2, "finalists": 2, "baselines": ["linear"]}
    whole = {"model": model, "search": search, "output": str(tmp_path / "run"), **sections}
    for name, changed in more.items():
        whole[name] = {**whole.get(name, {}), **changed}
    file = place / f"{tmp_path.name}.yaml"
    file.write_text(yaml_text(whole), encoding="utf-8")
    return str(file)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def answered(*arguments: str) -> tuple[dict[str, Any], str]:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout), re.sub(r"\s+", " ", result.stderr)


def refused(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 2 and "Traceback" not in result.output, (result.output, result.exception)
    return re.sub(r"\s+", " ", result.stderr)


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


def test_samples_end_where_evaluate_ends_answers(place: Path, tmp_path: Path) -> None:
    stops = [*RESIDUES[:10]]
    task = {**TASK, "dataset": {**ANSWERS, **SIZES, "stop": stops}}
    task |= {"objective": {"metric": "exact_match"}, "metrics": {}}
    drawn, _ = answered("sample", config(place, tmp_path, task), "--number", "12", "--schedule", "linear")
    cut = 0
    for each in drawn["samples"]:
        whole = "".join(RESIDUES[token - 5] for token in each["tokens"][-5:-1] if token >= 5)
        expected = whole[: min((at for stop in stops if (at := whole.find(stop)) >= 0), default=len(whole))]
        assert each["text"] == expected
        cut += expected != whole
    assert cut > 6  # half of the letters end an answer


def test_guidance_costs_two_rows_and_nothing_else_changes_its_scale_0(place: Path, tmp_path: Path) -> None:
    task = {**TASK, "objective": {"metric": "exact_match"}, "metrics": {}}
    costs, texts = {}, {}
    for scale in (0.0, 1.5):
        file = config(place, tmp_path, task, sampler={"guidance": scale})
        found, _ = answered("sample", file, "--number", "6", "--schedule", "linear", "--output", str(tmp_path / "g"))
        costs[scale], texts[scale] = found["denoiser_rows"], [sample["text"] for sample in found["samples"]]
        assert found["nfe"] == 2
        priced, _ = answered("search", file, "--dry-run", "--output", str(tmp_path / "d"))
        costs[scale, "dry"] = sum(phase["denoiser_rows"] for phase in priced["phases"])
        assert all(phase["denoiser_tokens"] > 8 * phase["denoiser_rows"] for phase in priced["phases"])  # with prompts
    assert costs[1.5] == 2 * costs[0.0] and texts[0.0] != texts[1.5]
    assert costs[1.5, "dry"] == 2 * costs[0.0, "dry"]


def test_a_profile_under_guidance_is_not_taken_for_one_without(place: Path, tmp_path: Path) -> None:
    file = config(place, tmp_path, {**LIKELIHOOD, "dataset": {**ANSWERS, **SIZES}})
    with_it, _ = answered("profile", file, "--set", "sampler.guidance=1.0")
    without, said = answered("profile", file)
    assert not without["reused"] and "measured anew, because of another guidance" in said
    assert without["cross_entropy"] != with_it["cross_entropy"] and with_it["denoiser_rows"] > without["denoiser_rows"]
    drawn = ("--set", "profile.answers=model", "--output", str(tmp_path / "drawn"))
    answered("profile", file, *drawn)
    _, said = answered("profile", file, *drawn, "--set", "sampler.top_p=0.5", "--set", "objective.metric=exact_match")
    assert "measured anew, because of another sampler" in said


def test_guidance_needs_prompts_of_one_kind(place: Path, tmp_path: Path) -> None:
    file = config(place, tmp_path, LIKELIHOOD, sampler={"guidance": 1.0})
    assert "sampler.guidance: hides what stands before" in refused("profile", file)


def test_code_of_a_checkpoint_and_a_denoiser_of_the_users_own(place: Path, tmp_path: Path) -> None:
    words = {"dataset": {**ANSWERS, "path": "words.jsonl", **SIZES}, "objective": {"metric": "exact_match"}}
    lines = [json.dumps({"q": f"w{3 + i % 7} w{3 + i % 5}", "a": f"w{3 + i % 11}", "id": i}) for i in range(70)]
    (place / "words.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    coded = {"model": {"type": "huggingface", "path": "coded"}, "sampler": TASK["sampler"], **words}
    assert "--trust-code" in refused("sample", config(place, tmp_path, coded))
    found, _ = answered(
        "sample", config(place, tmp_path, coded), "--trust-code", "--schedule", "linear", "--number", "2"
    )
    assert all(len(sample["tokens"]) == 6 for sample in found["samples"])
    (place / "mine.py").write_text(
        "import torch\n"
        "from mdm_tune.core.text import Symbols\n"
        "class Mine:\n"
        "    vocab_size, mask_id, length = 20, 20, 16\n"
        f"    codec = Symbols({RESIDUES!r})\n"
        "    def __call__(self, tokens, wanted):\n"
        "        seen = torch.where((tokens >= 0) & (tokens < 20), tokens + 1, 0).sum(1)\n"
        "        rows = wanted.nonzero()[:, 0]\n"
        "        return torch.sin(seen[rows, None] * torch.arange(1.0, 21.0))\n"
        "def build(): return Mine()\n",
        encoding="utf-8",
    )
    own = {**LIKELIHOOD, "model": {"type": "custom", "target": "mine.py:build"}}
    assert "--trust-code" in refused("profile", config(place, tmp_path, own))
    found, _ = answered("profile", config(place, tmp_path, own), "--trust-code", "--output", str(tmp_path / "mine"))
    assert found["budgets"][0]["beta"]["nelbo"] > 0


def test_the_familys_own_settings_are_used_and_named(place: Path, tmp_path: Path) -> None:
    file = Path(config(place, tmp_path, TASK, model={"family": "llada"}))
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    document["sampler"] = {"steps": [2]}
    file.write_text(yaml_text(document), encoding="utf-8")
    loaded = load_config(file)
    assert loaded.sampler.order == "confidence" and loaded.sampler.temperature == 0.0
    assert loaded.taken == ("order confidence", "temperature 0.0")
    document["sampler"] = {"steps": [2], "temperature": 0.5, "order": "topk_margin"}
    file.write_text(yaml_text(document), encoding="utf-8")
    assert load_config(file).taken == () and load_config(file).sampler.order == "margin"
    document["model"]["family"] = "dream"
    document["sampler"] = {"steps": [2]}
    file.write_text(yaml_text(document), encoding="utf-8")
    dream = load_config(file).sampler
    assert (dream.order, dream.temperature, dream.top_p, dream.tempered_scores) == ("entropy", 0.1, 0.9, True)


@pytest.mark.parametrize(
    ("family", "sampler", "metric", "taken"),
    [
        ("dream", {}, "nelbo", ()),  # nothing is drawn
        ("dream", {}, "path_nll", ("order entropy",)),
        ("llada", {}, "path_nll", ("order confidence", "temperature 0.0")),
        ("dream", {"order": "random"}, "exact_match", ("temperature 0.1", "top_p 0.9")),  # nothing ranks positions
        ("llada", {"reveal": "bernoulli"}, "exact_match", ("temperature 0.0",)),
        ("dream", {"type": "external", "target": "mine.py:generate"}, "exact_match", ()),
    ],
)
def test_the_familys_settings_give_way_to_what_the_config_asks_for(
    place: Path, tmp_path: Path, family: str, sampler: dict[str, Any], metric: str, taken: tuple[str, ...]
) -> None:
    sections = {**TASK, "sampler": {"steps": [2], **sampler}, "objective": {"metric": metric}, "metrics": {}}
    assert load_config(Path(config(place, tmp_path, sections, model={"family": family}))).taken == taken


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": {"metric": "regex"}}, r"metrics\.regex: is what objective\.metric names and is missing"),
        ({"sampler": {"stop_at_end": True, "end_drawn": False}}, r"sampler\.stop_at_end: waits for a token"),
        ({"sampler": {"order": "random", "end_confident": False}}, r"sampler\.end_confident: needs an order that"),
        ({"sampler": {"type": "external"}}, "target goes with type: external"),
        ({"dataset": {"type": "text"}}, "dataset"),
        (
            {"objective": {"metric": "path_nll"}, "sampler": {"order": "margin", "top_p": 0.9}},
            r"sampler\.top_p: metric",
        ),
    ],
)
def test_what_does_not_go_together_is_named(place: Path, tmp_path: Path, changes: Any, message: str) -> None:
    assert re.search(message, refused("search", config(place, tmp_path, TASK, **changes)))


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


def test_adaptive_plans_stand_beside_schedules_at_equal_cost(place: Path, tmp_path: Path) -> None:
    task = {**TASK, "objective": {"metric": "exact_match"}, "metrics": {}}
    file = config(place, tmp_path, task, evaluate={"schedules": ["linear", "threshold", "quota:linear@0.9"]})
    names = ("linear", "threshold", "threshold:0.05", "entropy-bound", "quota:linear@0.05", "quota:squared-sine")
    found, _ = answered("evaluate", file, *(part for name in names for part in ("--schedule", name)), "--steps", "2")
    rows = {row["schedule"]: row for row in found["rows"]}
    assert len(rows) == 6 and rows["linear"]["nfe"] == 2 and rows["linear"]["nfe_ci"] is None
    for name, row in rows.items():
        assert row["steps"] == 2 and row["n"] == 12
        if name != "linear":
            low, high = row["nfe_ci"]
            assert 1 <= low <= row["nfe"] <= high <= 4 and row["counts"] is None
    assert rows["quota:linear@0.05"]["nfe"] <= 2  # a quota is never slower than its counts
    (swept,) = (row for name, row in rows.items() if name.startswith("threshold:") and name != "threshold:0.05")
    assert abs(swept["nfe"] - 2) < 0.75
    assert {(pair["first"], pair["second"]) for pair in found["comparisons"]} >= {("linear", "threshold:0.05")}
    usual, _ = answered("evaluate", file)
    assert [row["schedule"].partition("@")[0].partition(":0")[0] for row in usual["rows"]] == [
        *("linear", "threshold", "quota:linear")
    ]


def test_answers_that_end_early_save_calls_and_both_are_shown(place: Path, tmp_path: Path) -> None:
    task = {**TASK, "objective": {"metric": "exact_match"}, "metrics": {}}
    file = config(place, tmp_path, task, model={"end_tokens": [*RESIDUES[:14]]}, sampler={"stop_at_end": True})
    steps = ("--set", "sampler.steps=[4]")
    (budget,) = answered("search", file, *steps)[0]["budgets"]
    low, high = budget["nfe_ci"]
    assert 1 <= low <= budget["nfe"] <= high <= 4 and budget["nfe"] < 4
    said = call("search", file, *steps, "--resume").stderr
    assert "denoiser calls in the mean, not 4: some answers end early" in said
    names = ("linear", "threshold", "quota:linear", f"quota:{tmp_path / 'run' / 'schedule.yaml'}@1")
    chosen = [part for name in names for part in ("--schedule", name)]
    compared, _ = answered("evaluate", file, *steps, *chosen)
    linear, swept, quota, kept = compared["rows"]
    assert linear["steps"] == 4 and linear["nfe"] == budget["nfe"] and linear["nfe_ci"] == budget["nfe_ci"]
    # Plans are swept to what linear takes, not to its steps: 8 tune examples tell it within a call and a half.
    assert abs(swept["nfe"] - linear["nfe"]) < 1.5 and abs(quota["nfe"] - linear["nfe"]) < 1.5
    assert kept["value"] == linear["value"] and kept["nfe"] == linear["nfe"]  # 4 steps have one count vector
    table = call("evaluate", file, *steps, *chosen[:2]).stderr
    assert re.search(rf" 4 +linear .* {int(linear['nfe'])}\.\d+ \[", table)
    lacking = refused("evaluate", file, *steps, "--schedule", f"quota:{tmp_path / 'run' / 'schedule.yaml'}")
    assert "needs counts of twice the budget's 4 steps where no threshold is given" in lacking


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("threshold:x", "threshold needs a probability from 0 to 1, got 'threshold:x'"),
        ("entropy-bound:-1", "needs a number of at least 0"),
        ("quota:", "quota needs a schedule"),
        ("quota:counts:2,2", "counts:2,2"),
        ("quota:nonsense@0.5", "nonsense"),
    ],
)
def test_bad_adaptive_plans_are_named(place: Path, tmp_path: Path, name: str, message: str) -> None:
    task = {**TASK, "objective": {"metric": "exact_match"}, "metrics": {}}
    assert message in refused("evaluate", config(place, tmp_path, task), "--schedule", name, "--steps", "2")


def test_adaptive_plans_need_samples(place: Path, tmp_path: Path) -> None:
    text = refused("evaluate", config(place, tmp_path, LIKELIHOOD), "--schedule", "threshold:0.9")
    assert "metric nelbo draws nothing" in text


@pytest.mark.parametrize(
    ("room", "devices", "expected"),
    [
        ({"cuda:0": 10**9, "cuda:1": 10**9}, ("cuda:0", "cuda:1"), (("cuda:0", "cuda:1"), None)),
        (
            {"cuda:0": 90_000, "cuda:1": 90_000},
            ("cuda:0", "cuda:1"),
            (("cuda:0",), {"cuda:0": 90_000, "cuda:1": 90_000}),
        ),
        ({}, ("cpu", "cpu"), (("cpu", "cpu"), None)),
    ],
)
def test_replicas_are_one_per_gpu_unless_none_holds_the_model(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: Any, devices: Any, expected: Any
) -> None:
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (room[device], 10**12))
    chosen = load_config(Path(config(place, tmp_path, LIKELIHOOD, model={"device_map": "auto"}))).model
    assert place_replicas(chosen, devices) == expected


def test_a_model_that_fits_on_no_gpu_is_refused_before_it_is_loaded(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (90_000, 10**12))
    loaded = load_config(Path(config(place, tmp_path, LIKELIHOOD)))
    with pytest.raises(InputError, match=r"set model\.device_map to auto"), open_run(loaded, ("cuda:0", "cuda:1")):
        pass


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


GENERATE = """
import numpy as np
import torch

def generate(prompts, counts, seeds, denoiser, mask_id, bias=0):
    tokens, nfe = prompts.clone(), torch.zeros(len(prompts), dtype=torch.int64)
    for row in range(len(tokens)):
        chance = np.random.default_rng(int(seeds[row]))
        for count in counts[row].flatten().tolist():
            hidden = (tokens[row] == mask_id).nonzero()[:, 0]
            if count == 0:
                continue
            nfe[row] += 1
            wanted = torch.zeros_like(tokens[row : row + 1], dtype=torch.bool)
            wanted[0, hidden[:count]] = True
            logits = denoiser(tokens[row : row + 1], wanted)
            noise = torch.from_numpy(chance.gumbel(size=tuple(logits.shape)))
            tokens[row, hidden[:count]] = (logits + noise).argmax(1)
    return tokens, nfe
"""


def test_a_search_runs_on_generate_code_of_the_users_own_and_goes_on_with_it(place: Path, tmp_path: Path) -> None:
    (place / "mine_generate.py").write_text(GENERATE, encoding="utf-8")
    task = {**TASK, "objective": {"metric": "exact_match"}, "metrics": {}}
    task["sampler"] = {"type": "external", "target": "mine_generate.py:generate", "steps": [2], "batch": 5}
    file = config(place, tmp_path, task)
    assert "--trust-code" in refused("search", file)
    found, said = answered("search", file, "--trust-code")
    (budget,) = found["budgets"]
    assert budget["nfe"] == 2 and found["denoiser_rows"] > 0
    assert "drawn by mine_generate.py:generate" in said and not (tmp_path / "run" / "profile.json").exists()
    again, _ = answered("search", file, "--trust-code", "--resume")
    assert again["budgets"] == found["budgets"]
    drawn, _ = answered("sample", file, "--trust-code", "--number", "3")
    assert drawn["nfe"] == 2 and all(BERT_MASK not in sample["tokens"] for sample in drawn["samples"])
    assert "adaptive" in refused("evaluate", file, "--trust-code", "--schedule", "threshold:0.5")
    builtin = config(place, tmp_path, {**task, "sampler": {"steps": [2]}})
    _, said = answered("evaluate", builtin, "--schedule", str(tmp_path / "run"), "--output", str(tmp_path / "other"))
    assert "was tuned for target mine_generate.py:generate (here None)" in said
    file = config(place, tmp_path, task)
    (place / "mine_generate.py").write_text(GENERATE.replace("bias=0", "bias=1"), encoding="utf-8")
    sys.modules.pop(
        next(
            name
            for name in sys.modules
            if name.startswith("mdm_tune_target_") and hasattr(sys.modules[name], "generate")
        )
    )
    assert "fingerprints.code" in refused("search", file, "--trust-code", "--resume")
    likelihood = {**LIKELIHOOD, "sampler": {**task["sampler"], "order": "random"}}
    assert "sampler.type: metric nelbo needs the probabilities" in refused(
        "search", config(place, tmp_path, likelihood)
    )


def test_the_loop_of_the_page_on_models_draws_what_the_built_in_sampler_draws(place: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"<!-- generate -->\n```python\n(.*?)```\n<!-- /generate -->", page, flags=re.DOTALL)
    (place / "my_generate.py").write_text(code, encoding="utf-8")
    lines = [json.dumps({"q": " ".join(f"w{3 + (i * j) % 19}" for j in range(1, 3 + i % 3))}) for i in range(40)]
    (place / "ask.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = {"type": "jsonl", "path": "ask.jsonl", "prompt": "{q}", "generation_length": 8, **SIZES}
    (place / "size.py").write_text("def size(answer, record): return len(answer)\n", encoding="utf-8")
    judged = {
        "objective": {"metric": "custom"},
        "metrics": {"custom": {"target": "size.py:size", "direction": "maximize"}},
    }
    task = {"model": {"type": "huggingface", "path": "coded"}, "dataset": data, **judged}
    common = {"steps": [6], "block_length": 4, "batch": 5}
    drawn = {}
    for name, sampler in (
        ("own", {"type": "external", "target": "my_generate.py:generate"}),
        ("built in", {"order": "confidence", "temperature": 0.0}),
    ):
        file = config(place, tmp_path, {**task, "sampler": {**common, **sampler}})
        found, _ = answered("sample", file, "--trust-code", "--schedule", "beta:0.9,0.3", "--number", "11")
        drawn[name] = [[token for token in sample["tokens"] if token >= 0] for sample in found["samples"]]
        assert found["nfe"] == 6
    assert drawn["own"] == drawn["built in"] and len({len(row) for row in drawn["own"]}) == 3
