"""The commands as a user meets them: exit codes, messages, JSON, files, and what an interruption leaves."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mdm_tune.cli import app

CONFIGS = Path(__file__).parent.parent / "configs"
MARKOV = str(CONFIGS / "markov.yaml")
TOY = str(CONFIGS / "toy-extremes.yaml")
QUICK = ("--set", "search.strategy=tpe", "--trials", "6")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def refused(*arguments: str) -> str:
    """The one message of a command that was given bad input."""
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    return re.sub(r"\s+", " ", result.stderr)


def test_fewer_tokens_than_steps_are_said(tmp_path: Path) -> None:
    result = call("search", MARKOV, *QUICK, "--set", "sampler.steps=[40]", "--output", str(tmp_path / "run"))
    assert "32 denoiser calls, not 40" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("search", "missing.yaml"), ("missing.yaml",)),
        (("search", MARKOV, "--set", "serach.trials=3"), ("serach", "did you mean", "search")),
        (("search", MARKOV, "--trials", "0"), ("trials", "at least 1", "got 0")),
        (("search", MARKOV, "--set", "sampler.steps=[0, 4]", "--seed", "-1"), ("sampler.steps", "seed", "got -1")),
        (("search", MARKOV, "--set", "sampler.steps=[4, 4]"), ("sampler.steps", "4")),
        (("search", MARKOV, "--set", "search.space.a=[0, 1]"), ("search.space.a", "above 0")),
        (("search", MARKOV, "--resume", "--overwrite"), ("--resume", "--overwrite")),
        (("evaluate", MARKOV, "--schedule", "linaer"), ("linaer", "linear")),
        (("evaluate", MARKOV, "--schedule", "beta:0,1"), ("1e-06 <= a", "0.0")),
        (("evaluate", MARKOV, "--schedule", "counts:1,2", "--steps", "2"), ("counts:1,2", "32")),
        (("evaluate", MARKOV, "--schedule", "counts:16,16", "--steps", "4"), ("counts:16,16", "got 4;", "--steps")),
        (("evaluate", MARKOV, "--schedule", "nothing.yaml"), ("nothing.yaml", "No such file")),
        (("evaluate", MARKOV, "--steps", "0"), ("--steps must be from 1 to 65536", "got 0; give 1 or more")),
        (("evaluate", MARKOV, "--show-differences"), ("--show-differences", "computed exactly")),
        (("evaluate", MARKOV, "--schedule", "runs/none"), ("'runs/none'", "run folder with a schedule.yaml", "quota:")),
        (("sample", MARKOV, "--schedule", "linaer"), ("'linaer'", "Did you mean linear?", "optimum")),
        (("sample", MARKOV, "--schedule", "threshold"), ("threshold has no value of its own", "mdm-tune evaluate")),
        (("sample", MARKOV, "--number", "0"), ("--number must be at least 1, got 0; give 1",)),
        (("sample", MARKOV, "--steps", "-3"), ("--steps must be from 1 to 65536", "got -3; give 1 or more")),
        (("sample", MARKOV, "--steps", "0"), ("--steps must be from 1 to 65536", "got 0; give 1 or more")),
        (("evaluate", MARKOV, "--steps", "4", "--steps", "4"), ("steps must not repeat", "[4, 4]")),
        (("search", MARKOV, "--set", "search.baselines=[linear, 'counts:2,3']"), ("search.baselines", "counts:2,3")),
        (("search", MARKOV, "--set", "model.length=2000000000"), ("model.length", "at most 4096")),
    ],
)
def test_bad_input_gets_one_message_and_exit_code_two(
    tmp_path: Path, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    message = refused(*arguments, "--output", str(tmp_path / "run"))
    for part in parts:
        assert part in message
    assert not (tmp_path / "run" / "schedule.yaml").exists()


def test_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    assert "cannot write a run into" in refused("search", MARKOV, *QUICK, "--output", str(tmp_path / "run"))
    assert (tmp_path / "run").read_text() == "mine"
    assert "cannot write a run into" in refused("search", MARKOV, *QUICK, "--output", "x" * 300)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    package = Path(__file__).parent.parent / "mdm_tune" / "data" / "text"
    shutil.copytree(package, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    message = refused(
        *(
            "search",
            str(CONFIGS / "text.yaml"),
            "--set",
            f"model.path={tmp_path / 'model'}",
            "--output",
            str(tmp_path / "r"),
        ),
    )
    assert str(weights) in message and "truncated" in message
    assert not (tmp_path / "r").exists()


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mdm_tune", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_says_how_to_go_on_and_does(tmp_path: Path, number: signal.Signals) -> None:
    common = ("search", MARKOV, "--set", "search.strategy=tpe", "--set", "sampler.steps=[8]", "--trials", "30")
    process = start(*common, "--output", str(tmp_path / "run"))
    assert process.stderr is not None
    for line in process.stderr:
        if "trial   4/30" in line:
            break
    process.send_signal(number)
    _, tail = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in tail
    assert "resume with: mdm-tune search" in tail and "--resume" in tail
    resumed = call(*common, "--output", str(tmp_path / "run"), "--resume", "--json")
    whole = call(*common, "--output", str(tmp_path / "whole"), "--json")
    assert json.loads(resumed.stdout)["budgets"] == json.loads(whole.stdout)["budgets"]


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    process = start("sample", MARKOV, "--number", "4000", "--output", str(tmp_path / "run"), "--quiet")
    assert process.stdout is not None and process.stderr is not None
    with process.stderr as errors:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert errors.read() == ""


def test_a_closed_stderr_does_not_end_the_run(tmp_path: Path) -> None:
    process = start("search", MARKOV, *QUICK, "--output", str(tmp_path / "run"))
    assert process.stdout is not None and process.stderr is not None
    process.stderr.close()
    with process.stdout as result:
        assert result.read().startswith("counts = [")
    process.wait(timeout=60)
    assert (tmp_path / "run" / "search.json").is_file()


def test_the_first_line_comes_within_two_seconds(tmp_path: Path) -> None:
    """A contract of the command, with room for a loaded machine: the line comes before torch is imported."""
    began = time.monotonic()
    process = start("search", MARKOV, *QUICK, "--output", str(tmp_path / "run"))
    assert process.stderr is not None
    line = process.stderr.readline()
    elapsed = time.monotonic() - began
    process.kill()
    process.communicate()
    assert "loading" in line
    assert elapsed < 10
