"""The result alone is on stdout: what a model's code prints, in Python, natively, at the end, goes to stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mdm_tune.core import streams

NOISY = """
import atexit, ctypes, os, sys
import torch
from tests.support.helpers import TableDenoiser, random_law

KEPT = sys.stdout
print("of the import")
atexit.register(print, "of the end")


class Law(TableDenoiser):
    length, symbols = 4, "abc"

    def __call__(self, tokens, wanted):
        print("of the call", flush=True)
        print("of a kept stream", file=KEPT)
        print("of the first stream", file=sys.__stdout__)
        os.write(1, b"of the descriptor\\n")
        ctypes.CDLL(None).puts(b"of C")
        os.system("echo of a child")
        return super().__call__(tokens, wanted)


def build():
    print("of build")
    return Law(random_law(4, 3, 0))
"""
CONFIG = """
model: {type: custom, target: "noisy.py:build"}
sampler: {order: random, steps: [2]}
objective: {metric: nelbo}
dataset: {type: lines, path: texts.txt, tune: 8, choose: 8, report: 8}
"""


def test_a_model_that_prints_leaves_the_result_alone(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "texts.txt").write_text("\n".join(f"{a}{b}{c}a" for a in "abc" for b in "abc" for c in "abc"))
    command = [sys.executable, "-m", "mdm_tune", "sample", "config.yaml", "--trust-code", "--number", "2"]
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}"}

    def call(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )

    done = call("--json", "--devices", "cpu")
    assert len(json.loads(done.stdout)["samples"]) == 2
    said = (
        "the import",
        "build",
        "the call",
        "a kept stream",
        "the first stream",
        "the descriptor",
        "C",
        "a child",
        "the end",
    )
    for each in said:
        assert f"of {each}\n" in done.stderr, each
    plain = call("--devices", "cpu")
    assert [len(line) for line in plain.stdout.splitlines()] == [4, 4]


def test_python_and_the_descriptor_come_back(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    with streams.stdout_for_results():
        assert sys.stdout is sys.stderr
        print("noise")
        os.write(1, b"native\n")
        found = streams.results_stream()
        assert found is not None
        found.write("result\n")
        with streams.stdout_for_results():  # a command inside another one
            assert streams.results_stream() is found
        assert streams.results_stream() is found
    assert sys.stdout is before and streams.results_stream() is before
    os.write(1, b"after\n")
    out, err = capfd.readouterr()
    assert sorted(out.split()) == ["after", "result"] and sorted(err.split()) == ["native", "noise"]


def test_it_comes_back_after_an_error() -> None:
    before = sys.stdout
    with pytest.raises(ValueError, match="no"), streams.stdout_for_results():
        raise ValueError("no")
    assert sys.stdout is before


def test_without_any_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with streams.stdout_for_results():
        assert streams.results_stream() is None
        assert sys.stdout is None
    streams.redirect_rest_to_stderr()
