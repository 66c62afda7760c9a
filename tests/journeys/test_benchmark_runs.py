"""The commands on benchmarks, in small: a task of lm-evaluation-harness and HumanEval, with tiny checkpoints."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mdm_tune.benchmarks.task_benchmark import load_harness_benchmark
from mdm_tune.cli import app
from mdm_tune.config.file import load_config
from mdm_tune.core.permissions import Permissions
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.run.build import build
from mdm_tune.run.folder import RunFolder
from tests.benchmarks.test_task_benchmark import logged
from tests.support.local_tasks import harness_result, make_tasks, sums
from tests.support.tiny_models import SPECIAL, bert, load, word_tokenizer

WORDS = [
    *SPECIAL,
    "Q:",
    "A:",
    "is",
    "plus",
    "and",
    "END",
    "the",
    "answer",
    "user",
    "assistant",
    ":",
    *map(str, range(64)),
]
TEMPLATE = (
    "{% for m in messages %}{{ m.role }} : {{ m.content }}"
    "{% if not loop.last or add_generation_prompt %} END {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tasks about sums, and a checkpoint whose tokens are the words that they are made of."""
    folder = tmp_path_factory.mktemp("benchmarks")
    (folder / "tasks").mkdir()
    make_tasks(folder / "tasks")
    bert(folder / "model", vocab_size=len(WORDS), max_position_embeddings=96)
    (folder / "model" / "vocab.txt").unlink()
    names = ("unk_token", "mask_token", "pad_token", "cls_token", "sep_token")
    special = dict(zip(names, ("[UNK]", "[MASK]", "[PAD]", "[CLS]", "[SEP]"), strict=True))
    word_tokenizer(folder / "model", WORDS, chat_template=TEMPLATE, **special)
    return folder


def config(place: Path, tmp_path: Path, **changed: Any) -> str:
    whole: dict[str, Any] = {
        "model": {"type": "huggingface", "path": "model", "dtype": "float32", "never": SPECIAL[:3]},
        "dataset": {"type": "lm-eval", "task": "sums", "include_path": "tasks", "tune": 8, "choose": 8},
        "sampler": {"order": "confidence", "steps": [2], "batch": 64},
        "objective": {"metric": "task"},
        "profile": {"examples": 8, "points": 4},
        "search": {"strategy": "tpe", "trials": 4, "together": 2, "finalists": 2, "baselines": ["linear"]},
        "output": str(tmp_path / "run"),
    }
    whole["dataset"]["generation_length"] = 4
    for name, section in changed.items():
        whole[name] = {**whole.get(name, {}), **section}
    file = place / f"{tmp_path.name}.yaml"
    file.write_text(yaml_text(whole), encoding="utf-8")
    return str(file)


def answered(*arguments: str) -> tuple[dict[str, Any], str]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout), result.stderr


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 2 and "Traceback" not in result.output, (result.output, result.exception)
    return re.sub(r"\s+", " ", result.stderr)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_search_on_a_task_of_the_harness(place: Path, tmp_path: Path) -> None:
    """Its numbers are what the harness's own evaluation makes of the answers that it wrote down."""
    file = config(place, tmp_path)
    assert "--trust-code" in refused("search", file)
    found, said = answered("search", file, "--trust-code")
    (budget,) = found["budgets"]
    assert budget["metric"] == "task" and budget["n"] == 25 and found["trials"] == 4
    assert "note: sums: exact_match after filter first, 2 shots; reported on 25 official documents" in said
    dataset = build(load_config(Path(file)), Permissions(trust_code=True)).dataset
    assert dataset is not None
    assert f"the reference in brackets:\n{dataset.splits['tune'].examples[0].shown}\n" in said
    again, _ = answered("search", file, "--trust-code", "--resume")
    assert again["budgets"] == found["budgets"]
    scored, _ = answered("evaluate", file, "--trust-code", "--schedule", "linear", "--schedule", "sine", "--steps", "3")
    for row in scored["rows"]:
        written = {
            line["id"]: line
            for line in lines(tmp_path / "run" / "evaluate-scores.jsonl")
            if line["schedule"] == row["schedule"]
        }
        assert len(written) == row["n"] == 25
        by_question = {each["a"] + 100 * each["b"]: f"sums/test/{n}" for n, each in enumerate(sums(range(55, 80)))}

        def answer(fields: Any, prompt: str) -> str:
            return str(written[by_question[fields["a"] + 100 * fields["b"]]]["text"])  # noqa: B023

        theirs = logged(harness_result(place / "tasks", "sums", answer))
        assert {key: line["value"] for key, line in written.items()} == {
            key: each["first"] for key, each in theirs.items()
        }
        assert row["value"] == pytest.approx(sum(each["first"] for each in theirs.values()) / 25)
    drawn, _ = answered("sample", file, "--trust-code", "--number", "2")
    assert [each["prompt"] for each in drawn["samples"]] == [
        each.prompt for each in dataset.splits["report"].examples[:2]
    ]


def test_nothing_is_said_where_nothing_is_wanted(place: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["search", config(place, tmp_path), "--trust-code", "--quiet"])
    assert result.exit_code == 0 and result.stderr == ""


def test_a_search_does_not_go_on_with_another_way_to_score(place: Path, tmp_path: Path) -> None:
    tasks = shutil.copytree(place / "tasks", tmp_path / "tasks")
    file = config(place, tmp_path, dataset={"include_path": str(tasks)}, search={"trials": 2})
    answered("search", file, "--trust-code")
    identity = RunFolder(str(tmp_path / "run")).identity
    assert set(json.loads(identity.read_text(encoding="utf-8"))["fingerprints"]) == {"model", "dataset", "task"}
    task = yaml.safe_load((tasks / "sums.yaml").read_text(encoding="utf-8"))
    task["filter_list"][0]["filter"][0]["regex_pattern"] = "([0-9])"
    (tasks / "sums.yaml").write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")
    from mdm_tune.benchmarks.harness import _manager

    _manager.cache_clear()  # a command is a process of its own
    assert "fingerprints.task: was" in refused("search", file, "--trust-code", "--resume")


def test_a_dry_run_prices_the_search(place: Path, tmp_path: Path) -> None:
    found, said = answered("search", config(place, tmp_path), "--trust-code", "--dry-run")
    assert "the first tune example, sums/validation/" in said and "Q: " in said  # seen before anything is spent
    assert [phase["phase"] for phase in found["phases"]] == ["tune", "choose", "report"]
    assert not (tmp_path / "run").exists()


# --- the profile ----------------------------------------------------------------------------------


def test_a_profile_on_references_own_answers_and_a_file(place: Path, tmp_path: Path) -> None:
    """A model that follows instructions: prompts in its chat template, content and what follows the end apart."""
    file = config(place, tmp_path, dataset={"chat": True}, model={"end_tokens": ["END"]}, sampler={"order": "random"})
    found = {}
    for name in ("reference", "model"):
        folder = ("--output", str(tmp_path / name), "--set", f"profile.answers={name}")
        found[name], said = answered("profile", file, "--trust-code", *folder)
        assert "user : Q:" in said
    kept = tmp_path / "model" / "answers-tune.jsonl"
    folder = ("--output", str(tmp_path / "file"), "--set", f"profile.answers={kept}")
    found["file"], _ = answered("profile", file, "--trust-code", *folder)
    assert found["file"]["cross_entropy"] == pytest.approx(found["model"]["cross_entropy"])
    assert found["reference"]["cross_entropy"] != found["model"]["cross_entropy"]
    assert found["model"]["denoiser_rows"] > found["reference"]["denoiser_rows"]
    reference = found["reference"]  # one word of content and three end tokens in each answer
    apart = [(1 * a + 3 * b) / 4 for a, b in zip(reference["content"], reference["end_of_text"], strict=True)]
    assert reference["revealed"][0] == 0 and apart[0] == pytest.approx(reference["cross_entropy"][0], rel=1e-6)
    dataset = build(load_config(Path(file)), Permissions(trust_code=True)).dataset
    assert dataset is not None
    assert [each["id"] for each in lines(kept)] == list(dataset.splits["tune"].shuffled().ids)


def test_a_task_without_references_needs_the_models_answers(place: Path, tmp_path: Path) -> None:
    file = config(place, tmp_path, dataset={"task": "poor"}, sampler={"order": "random"})
    text = refused("profile", file, "--trust-code")
    assert "profile.answers: a profile on references needs a token at every position, and example poor/train/" in text
    found, _ = answered("profile", file, "--trust-code", "--set", "profile.answers=model")
    assert found["budgets"][0]["beta"]["nelbo"] > 0
    searched, said = answered("search", file, "--trust-code", "--output", str(tmp_path / "search"))
    assert "the search does not start from an information profile" in said and searched["trials"] == 4
    started, said = answered(
        *("search", file, "--trust-code", "--output", str(tmp_path / "started"), "--set", "profile.answers=model")
    )
    assert "does not start" not in said and started["trials"] >= 4
    likelihood = config(
        place, tmp_path, dataset={"task": "poor"}, sampler={"order": "random"}, objective={"metric": "nelbo"}
    )
    assert "prices the reference of every position" in refused("search", likelihood, "--trust-code")


def test_the_chat_template_is_the_tokenizers_own(place: Path, tmp_path: Path) -> None:
    """Against the call that the harness makes of transformers, with and without a beginning of the answer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place / "model")
    codec = load(place / "model").codec
    for name, folds in (("sums", {}), ("begun", {"folds": 2, "fold": 0})):
        changed = {"task": name, "chat": True, "system": "answer", **folds}
        chosen = load_config(Path(config(place, tmp_path, dataset=changed))).dataset
        task = load_harness_benchmark(chosen, codec, 0, trust_code=True)  # type: ignore[arg-type]  # of this type, as written above

        def template(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            options = {
                "add_generation_prompt": add_generation_prompt,
                "continue_final_message": not add_generation_prompt,
            }
            return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))

        options = {"apply_chat_template": True, "system_instruction": "answer", "template": template}
        theirs = logged(harness_result(place / "tasks", name, lambda fields, prompt: "", **options))
        for example in task.examples("report"):
            assert example.prompt == theirs[example.id]["prompt"]


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dataset": {"task": "tested"}}, "tested has test documents only, and these are reported"),
        (
            {"sampler": {"block_length": 3}},
            "sampler.block_length: must divide dataset.generation_length, 4 tokens, got 3",
        ),
        ({"dataset": {"generation_length": 90}}, "the model takes 9"),
        ({"dataset": {"prefix": "word"}, "model": {"path": "nowhere"}}, "nowhere"),
    ],
)
def test_bad_input_is_one_message(place: Path, tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    assert message in refused("search", config(place, tmp_path, **changed), "--trust-code")
