"""The command ``export`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from mdm_tune.cli import app

PEER = """
import torch
def get_num_transfer_tokens(mask_index, steps):
    raise AssertionError("not replaced")
def generate(model, prompt, steps, gen_length, block_length, mask_id):
    x = torch.cat([prompt, torch.full((len(prompt), gen_length), mask_id)], 1)
    counts = get_num_transfer_tokens(x[:, prompt.shape[1]:] == mask_id, steps)
    done = prompt.shape[1]
    for count in counts[0].tolist():
        model(x)
        x[:, done:done + count {change}] = 0
        done += count {change}
    return x
"""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["export", *arguments])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    entry = {"steps": 4, "schedule": "linear", "counts": [2, 2, 2, 2], "alphas": None, "block_length": 8}
    record = {"format": "mdm-tune-schedule-1", "length": 8, "budgets": [entry]}
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "schedule.yaml").write_text(yaml.safe_dump(record), "utf-8")
    return folder


def peer(folder: Path, change: str = "") -> Path:
    made = folder / "peer"
    made.mkdir()
    (made / "generate.py").write_text(PEER.replace("{change}", change), "utf-8")
    return made


def test_files_go_into_the_run_folder_and_their_paths_to_stdout(run: Path) -> None:
    result = call(str(run), "--to", "llada")
    assert result.exit_code == 0, result.output
    path = run / "export-llada" / "mdm_tune_llada.py"
    assert result.stdout == f"{path}\n"
    assert "(2, 2, 2, 2)," in path.read_text("utf-8")
    assert "mdm_tune_llada.install(generate)" in result.stderr
    assert call(str(run), "--to", "llada").exit_code == 0  # its own file is replaced


def test_json_has_everything(run: Path, tmp_path: Path) -> None:
    result = call(str(run), "--to", "json", "--steps", "2", "--json", "--output", str(tmp_path / "out"))
    record = json.loads(result.stdout)
    assert result.stderr == "" or "note" not in result.stderr
    assert (record["format"], record["kind"], record["counts_by_block"]) == ("json", "counts", [[4, 4]])
    assert record["verification"] is None and record["notes"][0].startswith("2 steps were not tuned")
    written = json.loads((tmp_path / "out" / "schedule.json").read_text("utf-8"))
    assert written["counts_by_block"] == [[4, 4]]


def test_verification_needs_trust_and_sets_the_exit_code(run: Path, tmp_path: Path) -> None:
    folder = peer(tmp_path)
    refused = call(str(run), "--to", "llada", "--verify", str(folder))
    assert refused.exit_code == 2 and "--trust-code" in refused.stderr
    assert not (run / "export-llada").exists()
    result = call(str(run), "--to", "llada", "--verify", str(folder), "--trust-code", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["verification"] == {
        "wanted": [2, 2, 2, 2],
        "realised": [2, 2, 2, 2],
        "equal": True,
        "ran": "generate() of generate.py",
    }


def test_a_peer_that_does_otherwise_ends_with_exit_code_one(run: Path, tmp_path: Path) -> None:
    result = call(str(run), "--to", "llada", "--verify", str(peer(tmp_path, "- 1")), "--trust-code")
    assert result.exit_code == 1
    assert "wanted    2, 2, 2, 2" in result.stderr and "realised  1, 1, 1, 1" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--to", "lada"), ("--to must be one of", "did you mean llada?")),
        (("--to", "llada", "--steps", "0"), ("--steps must be from 1",)),
        (("--to", "llada", "--length", "0"), ("--length must be at least 1, got 0",)),
        (("--to", "llada", "--block-length", "-2"), ("--block-length must be at least 1, got -2",)),
        (("--to", "llada", "--length", "99999999999"), ("--length must be at most 65,536",)),
        (("--to", "llada", "--length", "9", "--block-length", "2"), ("do not divide the length 9",)),
        (("--to", "csv", "--verify", "x", "--trust-code"), ("csv has no code of a peer", "llada")),
    ],
)
def test_bad_input_is_one_message(run: Path, arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    result = call(str(run), *arguments)
    assert result.exit_code == 2, result.output
    assert all(part in " ".join(result.stderr.split()) for part in parts), result.stderr


def test_files_of_others_are_not_replaced(run: Path) -> None:
    folder = run / "export-llada"
    folder.mkdir()
    (folder / "mdm_tune_llada.py").write_text("mine = 1\n", "utf-8")
    result = call(str(run), "--to", "llada")
    assert result.exit_code == 2 and "was not written by this command" in result.stderr
    assert (folder / "mdm_tune_llada.py").read_text("utf-8") == "mine = 1\n"


def test_a_named_schedule_goes_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("linear", "--to", "csv", "--length", "8", "--steps", "2", "--quiet")
    assert result.stdout == "export-csv/schedule.csv\n" and result.stderr == ""
    assert (tmp_path / "export-csv" / "schedule.csv").exists()


@pytest.mark.parametrize("to", ["llada", "mdlm"])
def test_a_format_with_fixed_counts_is_offered_those_of_the_same_search(run: Path, to: str) -> None:
    """The command that the refusal of a threshold names can be given."""
    entry = {"steps": 4, "schedule": None, "policy": "threshold:0.9", "block_length": 8}
    record = {"format": "mdm-tune-schedule-2", "length": 8, "budgets": [{**entry, "counts": None, "alphas": None}]}
    (run / "schedule.yaml").write_text(yaml.safe_dump(record), "utf-8")
    policies = [{"kind": "threshold", "policy": "threshold:0.9"}, {"kind": "counts", "policy": "sine"}]
    (run / "search.json").write_text(json.dumps({"budgets": [{"steps": 4, "policies": policies}]}), "utf-8")
    refused = " ".join(call(str(run), "--to", to).stderr.split())
    assert "(the best counts of the same search)" in refused
    arguments = refused.split(", export ")[1].split(" (the best")[0].replace("- ", "-").split()
    assert arguments[0] == "sine" if to == "llada" else arguments[0].startswith("alphas:0,")
    assert call(*arguments, "--to", to, "--output", str(run / "out")).exit_code == 0
    (run / "search.json").write_text("[]", "utf-8")
    assert "--steps STEPS" in " ".join(call(str(run), "--to", to).stderr.split())
