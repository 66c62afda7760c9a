"""The command sample."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mdm_tune.core.plain_yaml import yaml_text
from tests.support.configs import TEXT, TRANSFORMER, whole
from tests.test_cli import MARKOV, call


def test_sample_is_reproducible_and_a_prefix_of_a_longer_run(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = searched
    few = call("sample", MARKOV, "--output", str(folder), "--number", "3", "--steps", "8")
    many = call("sample", MARKOV, "--output", str(folder), "--number", "5", "--steps", "8", "--set", "sampler.batch=2")
    assert few.exit_code == 0
    assert few.stdout.splitlines() == many.stdout.splitlines()[:3]
    assert all(re.fullmatch("[01]{32}", line) for line in few.stdout.splitlines())
    other = call("sample", MARKOV, "--output", str(folder), "--number", "3", "--steps", "8", "--seed", "1")
    assert other.stdout != few.stdout
    record = json.loads(call("sample", MARKOV, "--json", "--schedule", "linear", "--output", str(folder)).stdout)
    assert len(record["samples"]) == 8 and record["counts"] == [8] * 4 and record["nfe"] == 4
    assert record["samples"][0]["text"] == "".join(map(str, record["samples"][0]["tokens"]))


POLICY = {"steps": 4, "schedule": None, "counts": None, "alphas": None, "policy": "threshold:0.9"}


def policy_file(folder: Path, length: int, **more: Any) -> str:
    file = folder / "tuned.yaml"
    file.write_text(yaml_text({"format": "mdm-tune-schedule-2", "length": length, "budgets": [{**POLICY, **more}]}))
    return str(file)


def test_a_policy_is_drawn_and_its_calls_are_said(tmp_path: Path) -> None:
    """A sample needs no metric, so that the policy may be used where it cannot be scored."""
    shown, order = {}, ("--set", "sampler.order=confidence", "--set", "sampler.temperature=0")
    order += ("--set", "objective.metric=path_nll")
    order += ("--set", "dataset={type: law, tune: 8, choose: 8, report: 8}")
    for name in ("threshold:0.9", policy_file(tmp_path, 32)):
        given = ("--schedule", name, "--output", str(tmp_path / "run"), "--number", "3", *order)
        done = call("sample", MARKOV, *given)
        record = json.loads(call("sample", MARKOV, *given, "--json").stdout)
        assert (record["schedule"], record["counts"], record["policy"]) == (name, None, "threshold:0.9")
        assert 4 < record["nfe"] < 32 and record["steps"] == 4 and len(record["samples"]) == 3
        shown[name] = done.stdout
        file = "" if ":" in name else ", policy threshold:0.9"
        said = " ".join(done.stderr.split())
        assert f"{file}; {record['nfe']:.4g} denoiser calls in the mean" in said
    assert len({*shown.values()}) == 1
    last = ("--schedule", name, "--output", str(tmp_path / "run"))
    text = " ".join(call("evaluate", MARKOV, *last, *order, "--steps", "4").stderr.split())
    assert "threshold:0.9 of " in text and "metric path_nll draws nothing; choose" in text
    refused = call("sample", MARKOV, *last)
    assert refused.exit_code == 2 and "no meaning in random order; set" in " ".join(refused.stderr.split())
    other = call("sample", MARKOV, *last, *order, "--steps", "8")
    assert other.exit_code == 2 and "is for 4 steps, got 8; give --steps 4, or" in " ".join(other.stderr.split())


def test_code_of_the_user_follows_no_adaptive_policy(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def generate(*arguments, **options):\n    raise SystemExit\n")
    sampler = {"steps": [4], "type": "external", "target": "mine.py:generate"}
    sections = whole(model=TRANSFORMER, dataset=TEXT, objective={"metric": "spelling"}, sampler=sampler)
    (tmp_path / "run.yaml").write_text(yaml_text({**sections, "output": str(tmp_path / "run")}))
    file = policy_file(tmp_path, 64)
    for command in ("sample", "evaluate"):
        for name in ("threshold:0.9", file):
            done = call(command, str(tmp_path / "run.yaml"), "--schedule", name, "--steps", "4", "--trust-code")
            text = " ".join(done.stderr.split())
            assert done.exit_code == 2 and not (tmp_path / "run").exists()
            assert "the number of tokens per step in advance, got the adaptive policy threshold:0.9, whose" in text
            assert ("tuned.yaml holds an adaptive policy at 4 steps: " in text) == (name == file)
