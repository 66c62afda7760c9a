"""HumanEval through the commands: code of the user's own writes answers, good ones and bad ones, which are run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mdm_tune.benchmarks import execution
from mdm_tune.benchmarks.execution import isolation
from mdm_tune.cli import app
from tests.support.code_problems import SHIPPED, problem

LENGTH = 1024  # bytes of an answer, enough for every canonical solution
WRITER = """
import gzip, json
import torch

END, MASK = 256, 257
ANSWERS = {each["prompt"]: each["canonical_solution"] for each in map(json.loads, gzip.open(PROBLEMS, "rt"))}
BAD = [
    "    return None", "    while True:\\n        pass", "    x = [0] * 10**10",
    "    import socket\\n    socket.socket()", "    import os\\n    os._exit(0)",
    "    raise SystemExit(0)", "    import os\\n    os.remove(KEPT)",
    "    import os\\n    os.fork()",
]


class Bytes:
    end_tokens = (END,)

    def encode(self, text):
        return list(text.encode())

    def framed(self, tokens):
        return [], []

    def decode(self, tokens):
        return bytes(token for token in tokens if 0 <= token < END).decode(errors="replace")

    def chat(self, messages):
        raise NotImplementedError


class Any:
    vocab_size, mask_id, length, codec = MASK, MASK, 4096, Bytes()

    def __call__(self, tokens, wanted):
        seen = torch.where((tokens >= 0) & (tokens < MASK), tokens + 1, 0).sum(1)
        return torch.sin(seen[wanted.nonzero()[:, 0], None] * torch.arange(1.0, MASK + 1))


def build():
    return Any()


def generate(prompts, counts, seeds, good=True):
    tokens = prompts.clone()
    for number, row in enumerate(tokens):
        hidden = row == MASK
        text = Bytes().decode([token for token in row.tolist() if token < END])
        answer = ANSWERS.get(text, "") if good else BAD[number % len(BAD)]
        written = list(answer.encode())[: int(hidden.sum())]
        row[hidden] = torch.tensor(written + [END] * (int(hidden.sum()) - len(written)))
    return tokens, (counts > 0).sum((1, 2))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    kept = folder / "kept"
    kept.write_text("mine", encoding="utf-8")
    writer = WRITER.replace("PROBLEMS", repr(str(SHIPPED))).replace("KEPT", repr(str(kept)).replace("'", "\\'"))
    (folder / "writer.py").write_text(writer, encoding="utf-8")
    lines = [json.dumps(problem(number)) for number in (*range(1, 11), *range(601, 640))]
    (folder / "mbpp.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def config(place: Path, tmp_path: Path, good: bool = True, **dataset: Any) -> str:
    sizes = {"tune": {"task": "mbpp", "path": "mbpp.jsonl", "examples": 8}, "choose": 8, "generation_length": LENGTH}
    sampler = {"type": "external", "target": "writer.py:generate", "options": {"good": good}, "steps": [4]}
    whole = {
        "model": {"type": "custom", "target": "writer.py:build"},
        "dataset": {"type": "humaneval", "path": str(SHIPPED), "seconds": 1, "memory": 512, **sizes, **dataset},
        "sampler": {**sampler, "batch": 512},
        "objective": {"metric": "task"},
        "output": str(tmp_path / "run"),
    }
    file = place / f"{tmp_path.name}.yaml"
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")
    return str(file)


def evaluated(file: str) -> tuple[dict[str, Any], str]:
    command = ["evaluate", file, "--schedule", "linear", "--trust-code", "--run-generated-code", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout), re.sub(r"\s+", " ", result.stderr)


def test_canonical_solutions_of_all_164_problems_pass(place: Path, tmp_path: Path) -> None:
    found, said = evaluated(config(place, tmp_path))
    (row,) = found["rows"]
    assert (row["value"], row["n"]) == (1.0, 164) and found["data"]["value"] == 1.0
    assert {each["name"]: each["value"] for each in found["reported"] if each["schedule"] == "linear"} == dict.fromkeys(
        ("failed", "timed_out", "out_of_memory", "refused"), 0.0
    )
    assert "pass@1 of humaneval (maximize)" in said and "reported on 164 test problems" in said
    assert "note: generated programs run in processes" in said
    assert "the first tune example, mbpp/train/" in said and "[BEGIN]" in said


def test_bad_programs_are_told_apart_and_do_nothing_here(place: Path, tmp_path: Path) -> None:
    found, _ = evaluated(config(place, tmp_path, good=False, report=8))
    (row,) = found["rows"]
    assert (row["value"], row["n"]) == (0.0, 8)
    shares = {each["name"]: 8 * each["value"] for each in found["reported"] if each["schedule"] == "linear"}
    unseen = "mounts" in found["generated_code"]["in_force"]  # the file to remove, which then is not found
    refused = 2.0 if unseen else 3.0
    assert shares == {"failed": 6.0 - refused, "timed_out": 1.0, "out_of_memory": 1.0, "refused": refused}
    assert found["generated_code"]["lost"] == [] and "seccomp" in found["generated_code"]["in_force"]
    assert (place / "kept").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("command", ["search", "evaluate"])
def test_programs_need_a_flag(place: Path, tmp_path: Path, command: str) -> None:
    result = CliRunner().invoke(app, [command, config(place, tmp_path), "--trust-code"])
    assert result.exit_code == 2 and "give --run-generated-code if you accept that" in re.sub(
        r"\s+", " ", result.stderr
    )
    assert not (tmp_path / "run").exists()


def test_a_search_on_programs(place: Path, tmp_path: Path) -> None:
    command = ["search", config(place, tmp_path, report=8), "--trials", "2", "--json"]
    result = CliRunner().invoke(app, [*command, "--trust-code", "--run-generated-code"])
    assert result.exit_code == 0, (result.output, result.exception)
    found = json.loads(result.stdout)
    written = yaml.safe_load(Path(found["files"]["schedule"]).read_text(encoding="utf-8"))
    assert written["generated_code"] == found["generated_code"] == {"in_force": list(isolation().layers), "lost": []}
    assert found["budgets"][0]["value"] == 1.0 and not found["budgets"][0]["beats_linear"]
    assert {each["name"] for each in found["reported"]} == {"failed", "timed_out", "out_of_memory", "refused"}


def test_where_a_limit_does_not_hold_the_flag_needs_a_value(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "WANTED", ())
    file = config(place, tmp_path, report=8)
    command = ["evaluate", file, "--schedule", "linear", "--trust-code", "--json"]
    refused = CliRunner().invoke(app, [*command, "--run-generated-code"])
    said = re.sub(r"\s+", " ", refused.stderr)
    assert refused.exit_code == 2 and "network, other processes" in said and "--run-generated-code=unsafe" in said
    done = CliRunner().invoke(app, [*command, "--run-generated-code=unsafe"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "note: generated programs run unsafely" in re.sub(r"\s+", " ", done.stderr)
    assert json.loads(done.stdout)["generated_code"]["in_force"] == []


def test_the_flag_has_no_value_or_one_and_takes_no_word_after_it(place: Path, tmp_path: Path) -> None:
    file = config(place, tmp_path, report=8)
    command = ["evaluate", "--trust-code", "--schedule", "linear", "--run-generated-code", file, "--json"]
    assert CliRunner().invoke(app, command).exit_code == 0
    wrong = CliRunner().invoke(app, ["evaluate", file, "--run-generated-code=yes"])
    said = re.sub(r"\s+", " ", wrong.stderr)
    assert wrong.exit_code == 2 and "--run-generated-code: has no value or the value unsafe, got" in said, said
