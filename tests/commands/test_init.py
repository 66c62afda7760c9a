"""What ``init`` writes for models and tasks, and what it refuses. ``test_init_kinds`` has the dry runs of usual tasks.

Covers: init.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from mdm_tune.cli import app
from mdm_tune.config.file import load_config
from mdm_tune.core.plain_yaml import read_yaml_file
from tests.support.harness_tasks import write_model, write_task
from tests.support.tiny_models import RESIDUES, bert, foreign, residue_vocabulary

CUSTOM = """
import torch

class Mine:
    vocab_size, mask_id, length, symbols = 27, 27, 32, " abcdefghijklmnopqrstuvwxyz"

    def __call__(self, tokens, wanted):
        one = torch.where(tokens == 27, 0, tokens).clamp(min=0).float()
        near = (one.roll(1, 1) + one.roll(-1, 1))[wanted]
        return torch.nn.functional.pad(-(torch.arange(27.0)[None] - near[:, None] / 2).abs() / 9, (0, 0))

def build():
    return Mine()

def needs(size, device, depth=2):
    return Mine()
"""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def written(folder: Path, *arguments: str, run: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config that init writes, and its JSON; with ``run`` the config passes a dry run."""
    file = folder / "run.yaml"
    done = call("init", *arguments, "--output", str(file), "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    if run:
        tried = call("search", str(file), "--dry-run", "--quiet", "--output", str(folder / "runs"), *result["needs"])
        assert tried.exit_code == 0, tried.output
    text = file.read_text(encoding="utf-8")
    assert text == result["text"] and text.startswith("# yaml-language-server: $schema=")
    assert all(len(line) <= 250 for line in text.splitlines()) and len(text.splitlines()) <= 45
    return read_yaml_file(file, ""), result


def refused(*arguments: str) -> str:
    done = call("init", *arguments)
    assert done.exit_code == 2, done.output
    assert done.stdout == "" and "Traceback" not in done.output
    assert done.stderr.count("error:") == 1
    return re.sub(r"\s+", " ", done.stderr)


def records(file: Path, make: Callable[[int], dict[str, object]], count: int = 60) -> str:
    file.write_text("\n".join(json.dumps(make(n)) for n in range(count)) + "\n", encoding="utf-8")
    return str(file)


def sequence(number: int) -> str:
    return "".join(np.random.default_rng(number).choice([*RESIDUES.lower()], 12))


def spaced(number: int) -> str:
    return " ".join(sequence(number))


def test_a_checkpoint_and_questions(tmp_path: Path) -> None:
    bert(tmp_path / "model")
    residue_vocabulary(tmp_path / "model", RESIDUES.lower())
    data = records(tmp_path / "q.jsonl", lambda n: {"Question": spaced(n), "answer": spaced(n)[:7]})
    config, result = written(tmp_path, str(tmp_path / "model"), data, "--steps", "2", "--steps", "3")
    assert config["model"] == {"type": "huggingface", "path": "model", "family": "bert"}
    assert config["dataset"]["prompt"] == "Question" and config["dataset"]["path"] == "q.jsonl"
    assert config["objective"] == {"metric": "exact_match"} and config["sampler"]["steps"] == [2, 3]
    assert (config["dataset"]["tune"], config["dataset"]["choose"]) == (8, 17)
    assert result["example"] == json.dumps(spaced(0))
    assert "which token ends an answer" in str(result["unknown"])


def test_a_checkpoint_and_lines(tmp_path: Path) -> None:
    bert(tmp_path / "model")
    residue_vocabulary(tmp_path / "model", RESIDUES.lower())
    (tmp_path / "texts.txt").write_text("\n".join(map(spaced, range(80))), encoding="utf-8")
    config, result = written(tmp_path, str(tmp_path / "model"), str(tmp_path / "texts.txt"))
    assert config["dataset"]["type"] == "lines" and config["objective"] == {"metric": "nelbo"}
    assert config["sampler"]["order"] == "random" and config["sampler"]["steps"] == [2, 3]
    assert result["detectable_gain"] > 0.2


def test_a_checkpoint_that_brings_its_code(tmp_path: Path) -> None:
    foreign(tmp_path / "model")
    data = records(tmp_path / "t.jsonl", lambda n: {"text": f"w{n % 20 + 3} w{n // 20 + 3} w5 w6 w7", "id": n})
    config, result = written(tmp_path, str(tmp_path / "model"), data, "--trust-code", run=True)
    assert config["model"]["family"] == "generic" and result["needs"] == ["--trust-code"]
    assert "the family of model type 'tiny-code'" in str(result["unknown"])
    assert config["dataset"]["text"] == "text"


def test_the_package_and_its_text(tmp_path: Path) -> None:
    config, result = written(tmp_path, "package:text", "package:text", "--steps", "16")
    assert config["objective"] == {"metric": "spelling"} and result["unknown"] == []


def test_the_package_and_its_problems(tmp_path: Path) -> None:
    config, result = written(tmp_path, "package:arithmetic", "package:arithmetic", "--steps", "8")
    assert config["objective"] == {"metric": "exact_match"} and config["dataset"]["path"] == "package:arithmetic"
    assert config["dataset"]["type"] == "jsonl" and config["dataset"]["generation_length"] == 32
    assert config["dataset"]["report"] <= 1024 and config["dataset"]["tune"] + config["dataset"]["choose"] <= 1024
    assert "how long the model's own answers are" in str(result["unknown"])


def test_a_task_of_the_harness(tmp_path: Path) -> None:
    write_model(tmp_path / "model", length=320)
    write_task(tmp_path / "tasks", num_fewshot=0, generation_kwargs={"until": ["Q:"], "max_gen_toks": 24})
    task = ("sums", "--include-path", str(tmp_path / "tasks"), "--trust-code")
    config, result = written(tmp_path, str(tmp_path / "model"), *task)
    assert config["dataset"]["generation_length"] == 24 and config["dataset"]["report"] == "all"
    assert config["objective"] == {"metric": "task"} and config["sampler"]["steps"] == [3, 6]
    assert "Q: 200+2?" in result["example"] and 0 < result["detectable_gain"] < 1


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CUSTOM, encoding="utf-8")
    (tmp_path / "texts.txt").write_text(
        "\n".join(f"line {'abcdefgh'[n % 8]} {'ijklmnop'[n // 8]} here" for n in range(64)), encoding="utf-8"
    )
    for flags in ((), ("--trust-code",)):
        config, result = written(
            tmp_path, f"{tmp_path / 'mine.py'}:build", str(tmp_path / "texts.txt"), "--force", *flags
        )
        assert config["model"] == {"type": "custom", "target": "mine.py:build"}
        assert result["needs"] == ["--trust-code"]
        assert "mdm-tune search run.yaml --dry-run --trust-code\n" in result["text"]
        assert ("its code was not run" in str(result["unknown"])) == (not flags)


def test_arguments_that_a_function_requires_are_left_to_fill_in(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CUSTOM, encoding="utf-8")
    (tmp_path / "texts.txt").write_text("\n".join(map(str, range(100, 164))), encoding="utf-8")
    done = call(
        "init", f"{tmp_path / 'mine.py'}:needs", str(tmp_path / "texts.txt"), "--output", str(tmp_path / "a.yaml")
    )
    assert done.exit_code == 0 and "model.options (size)" in done.stderr
    assert load_config(tmp_path / "a.yaml").model.options == {"size": None}  # type: ignore[union-attr]


def test_a_name_on_the_hub_without_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    data = records(tmp_path / "q.jsonl", lambda n: {"question": f"{n}?", "answer": str(n)})
    file = tmp_path / "run.yaml"
    done = call("init", "GSAI-ML/LLaDA-8B-Instruct", data, "--steps", "32", "--length", "128", "--output", str(file))
    assert done.exit_code == 0, done.output
    assert "whether the family is llada" in done.stderr and "config.json of GSAI-ML" in done.stderr
    config = load_config(file)
    assert config.sampler.order == "confidence" and config.sampler.temperature == 0.0
    assert config.dataset.chat  # type: ignore[union-attr]
    message = refused("someone/unknown", data, "--output", str(tmp_path / "b.yaml"))
    assert "--family" in message and "hf download someone/unknown --local-dir FOLDER" in message


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("mine", encoding="utf-8")
    assert "--force" in refused("package:text", "package:text", "--output", str(file))
    assert file.read_text(encoding="utf-8") == "mine"
    assert "the folder" not in refused("package:text", "package:text", "--output", str(tmp_path / "no" / "a.yaml"))


GOOD = "\n".join(json.dumps({"question": f"what {n}", "answer": f"it is {n}"}) for n in range(60))
FILES: dict[str, str | bytes] = {
    "good.jsonl": GOOD,
    "unclear.jsonl": '{"question": "x", "problem": "y", "answer": "z"}',
    "nameless.jsonl": '{"a": "x", "b": "y"}',
    "few.jsonl": "\n".join(json.dumps({"text": "a" * (n + 1)}) for n in range(20)),
    "same.jsonl": "\n".join(['{"question": "x", "answer": "ab cd ef"}'] * 60),
    "gaps.jsonl": GOOD + '\n{"question": "x"}',
    "nested.jsonl": '{"messages": [{"role": "user"}]}',
    "list.json": '[{"question": "x"}]',
    "broken.jsonl": GOOD + '\n{"question": ',
    "empty.jsonl": "",
    "blank.txt": "\n\n",
    "binary.jsonl": bytes(range(256)),
    "latin.txt": "caf\u00e9\n".encode("latin-1"),
    "semicolon.csv": "question;answer\na;b\n",
    "packed.jsonl.gz": b"\x1f\x8b",
    "wrong.py": "def build(:\n",
    "empty/nothing.bin": b"\0",
    "damaged/config.json": "{",
    "uniform/config.json": '{"model_type": "duo"}',
}
HUB = "GSAI-ML/LLaDA-8B-Instruct"


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("wrong")
    for name, content in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("no/such/folder", "good.jsonl"), "MODEL must be a folder with config.json"),
        (("good.jsonl", HUB), "which is none; correct it, or swap the two: MODEL is first, then TASK"),
        (("", "good.jsonl"), "MODEL must name a model, got ''"),
        (("empty", "good.jsonl"), "there is no config.json in"),
        (("damaged", "good.jsonl"), "config.json is not JSON"),
        (("uniform", "good.jsonl"), "uniform corruption"),
        (("package:txet", "good.jsonl"), "no bundled data called 'txet'"),
        (("missing.py:build", "good.jsonl"), "cannot read"),
        (("wrong.py:build", "good.jsonl"), "line 1: not Python"),
        ((HUB, ""), "TASK must name data or a task, got ''"),
        ((HUB, "missing.jsonl"), "and there is no file"),
        ((HUB, "empty"), "cannot be read as a data set (No (supported) data files found"),
        ((HUB, "damaged"), "the folder of a model (it has config.json); give the model first"),
        ((HUB, "package:text"), "holds text for models of this package"),
        ((HUB, "unclear.jsonl"), "question, problem, each of which could be it; name it with --prompt FIELD"),
        ((HUB, "nameless.jsonl"), "got the fields a, b; name it with --prompt FIELD"),
        ((HUB, "nested.jsonl"), "got the fields messages (no text)"),
        (
            (HUB, "gaps.jsonl"),
            "the field 'answer' must have text in every record, got none in 1 of 61",
        ),
        ((HUB, "few.jsonl"), "must hold at least 24 different examples"),
        ((HUB, "same.jsonl"), "got 1 example"),
        ((HUB, "list.json"), "must hold one JSON object a line, got a list of them; convert it"),
        ((HUB, "broken.jsonl"), "line 61: not JSON"),
        ((HUB, "empty.jsonl"), "holds no record"),
        ((HUB, "blank.txt"), "holds no record"),
        ((HUB, "binary.jsonl"), "must be UTF-8 text, got byte 0x80"),
        ((HUB, "latin.txt"), "must be UTF-8 text, got byte 0xe9"),
        ((HUB, "semicolon.csv"), "must be separated by a comma, got 'question;answer'"),
        ((HUB, "packed.jsonl.gz"), "is compressed; unpack it"),
        ((HUB, "good.jsonl", "--steps", "0"), "--steps must be from 1 to 65536"),
        ((HUB, "good.jsonl", "--steps", "-1"), "--steps must be from 1 to 65536"),
        ((HUB, "good.jsonl", "--steps", "many"), "--steps: must be a whole number, got 'many'"),
        ((HUB, "good.jsonl", "--steps", "2", "--steps", "2"), "--steps must not repeat"),
        ((HUB, "good.jsonl", "--steps", "1"), "give 2 to 7 steps, or more tokens with --length"),
        ((HUB, "good.jsonl", "--steps", "9"), "--steps must be below the number of tokens to fill in (8)"),
        ((HUB, "good.jsonl", "--length", "0"), "--length must be at least 1"),
        ((HUB, "good.jsonl", "--length", "2"), "at least 3 tokens must be filled in"),
        ((HUB, "good.jsonl", "--family", "gpt"), "--family must be one of llada"),
        ((HUB, "good.jsonl", "--answer", "nofield"), "there is no field 'nofield'"),
        ((HUB, "good.jsonl", "--prompt", "{question"), "not a template"),
        ((HUB, "good.jsonl", "--text", "answer", "--prompt", "question"), "give --text alone"),
        (
            (HUB, "good.jsonl", "--include-path", "x"),
            "names a folder with tasks of lm-evaluation-harness",
        ),
        (("package:text", "package:text", "--length", "8"), "--length is the tokens of an answer to a prompt"),
        (("package:text", "package:text", "--family", "bert"), "--family is that of a Hugging Face checkpoint"),
        (
            ("package:text", "package:text", "--prompt", "x"),
            "--prompt names a field of records, got 'x'",
        ),
        (("package:text", "good.jsonl"), "good.jsonl, line 1: a text must consist of the model's symbols"),
    ],
)
def test_bad_input(
    tmp_path: Path, wrong: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], part: str
) -> None:
    monkeypatch.chdir(wrong)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert part in refused(*arguments, "--output", str(tmp_path / "run.yaml"))
    assert not (tmp_path / "run.yaml").exists()


def test_a_budget_with_nothing_to_tune_beside_others_is_written_with_a_warning(tmp_path: Path) -> None:
    steps = ("--steps", "16", "--steps", "64")
    config, result = written(tmp_path, "package:text", "package:text", *steps)
    assert config["sampler"]["steps"] == [16, 64]
    (text,) = result["warnings"]
    assert text.startswith("at 64 steps each step reveals one token: nothing can be tuned there")
    assert f"steps: [16, 64] # {text}" in result["text"]


def test_json_lines_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "records.dat").write_text(GOOD, encoding="utf-8")
    config, _ = written(tmp_path, HUB, str(tmp_path / "records.dat"))
    assert config["dataset"]["type"] == "jsonl"


def test_fields_that_the_user_names(tmp_path: Path) -> None:
    data = records(tmp_path / "n.jsonl", lambda n: {"a": "abc"[n % 3] * (n // 3 + 1), "b": "x" * (n % 3 + 2)})
    config, _ = written(
        tmp_path, "package:text", data, "--prompt", "say {a} so ", "--answer", "b", "--steps", "2", run=True
    )
    assert config["dataset"]["prompt"] == "say {a} so " and config["dataset"]["answer"] == "b"
