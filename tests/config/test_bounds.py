"""Every number of a config or flag has a bound, and patterns a limit of time; whole messages stay short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.config.file import to_yaml
from mdm_tune.core import patterns
from mdm_tune.core.patterns import Pattern
from tests.core.test_problems import load, problems, whole

OWN = {"type": "custom", "target": "model.py:build"}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("search.trials=10001", "search.trials: must be at most 10000"),
        ("search.finalists=101", "search.finalists: must be at most 100"),
        ("search.rows=1000000000001", "search.rows: must be at most 1000000000000"),
        ("search.timeout=1.0e+300", "search.timeout: must be at most 320000000.0"),
        ("sampler.batch=1048577", "sampler.batch: must be at most 1048576"),
        ("sampler.temperature=1.0e+300", "sampler.temperature: must be 0, or from 0.0001 to 10000"),
        ("sampler.temperature=1.0e-300", "sampler.temperature: must be 0, or from 0.0001 to 10000"),
        ("sampler.guidance=1001", "sampler.guidance: must be at most 1000.0"),
        (f"sampler.steps={list(range(1, 102))}", "sampler.steps: must be a list of at most 100"),
        (f"evaluate.steps={list(range(1, 102))}", "evaluate.steps: must be a list of at most 100"),
        ("model.length=4097", "model.length: must be at most 4096"),
        ("model={type: markov, length: 4096, symbols: 1000, flip: 0.1}", "length x symbols x symbols must be at most"),
        ("a" + ".b" * 20_000 + "=1", "--set: must be section.key=value, got"),
    ],
)
def test_a_number_beyond_its_bound_is_refused(tmp_path: Path, override: str, said: str) -> None:
    assert any(said in line for line in problems(tmp_path, whole(), override))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"a": {1: "x", "b": "y"}}, "options.a must have keys of text, got 1"),
        ({"a": [float("inf")]}, r"options.a[0] must be a finite number, got inf"),
        ({"a": list(range(10_000))}, "must hold at most 10,000 values"),
    ],
)
def test_options_of_own_code_are_plain(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    found = problems(tmp_path, whole(model={**OWN, "options": options}))
    assert any(said in line for line in found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sample", "--number", "1000000000000"], "--number must be at most 100,000"),
        (["sample", "--steps", "65537"], "--steps must be from 1 to 65536"),
        (["evaluate", "--steps", "1000000000"], "--steps must be from 1 to 65536"),
        (["evaluate", "--steps", "2", "--steps", "2"], "--steps must not repeat"),
        (["profile", "--steps", "0"], "--steps must be from 1 to 65536"),
        (["search", "--workers", "2"], "--workers is no more, got '2': one process drives a search, replicas share"),
    ],
)
def test_flags_are_bounded_before_anything_is_loaded(tmp_path: Path, arguments: list[str], said: str) -> None:
    command, *rest = arguments
    done = CliRunner().invoke(app, [command, str(tmp_path / "there-is-none.yaml"), *rest])
    assert done.exit_code == 2
    assert said in done.stderr and len(done.stderr) < 500


def test_more_steps_than_tokens_are_noted(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(to_yaml(load(tmp_path, whole(output=str(tmp_path / "run")))))
    runner = CliRunner()
    for command in ("evaluate", "sample"):
        done = runner.invoke(app, [command, str(tmp_path / "c.yaml"), "--steps", "9"])
        assert done.exit_code == 0
        assert "9 steps are more than the 4 tokens to fill" in done.stderr
        assert "more than the" not in runner.invoke(app, [command, str(tmp_path / "c.yaml"), "--steps", "4"]).stderr


@pytest.mark.parametrize(
    "pattern", ["(" * 5000 + ")" * 5000, "(?:" * 300 + "(a)" + ")" * 300, "((a{50}){50}){50}", "[", "a"]
)
def test_patterns_that_cannot_be_used_are_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ValueError, match="must "):
        Pattern(pattern)
    regex = {"pattern": pattern}
    assert any("metrics.regex.pattern: must" in line for line in problems(tmp_path, whole(metrics={"regex": regex})))


def test_a_pattern_that_explodes_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SECONDS", 0.05)
    with pytest.raises(TimeoutError):
        list(Pattern("(a|aa)+$").group_texts("a" * 60 + "b"))  # 10^12 ways
    assert list(Pattern("#### (-?[0-9]+)").group_texts("#### 12 and #### -3")) == ["12", "-3"]


def test_twenty_thousand_problems_are_a_short_message(tmp_path: Path) -> None:
    content = whole(model={"type": "parity", "length": 4}, **{f"k{number}": 1 for number in range(20_000)})
    with pytest.raises(Exception, match="20,000 problems in the config") as caught:
        load(tmp_path, content)
    lines = str(caught.value).split("\n")
    assert lines[-1] == "  and 19,980 more" and len(lines) == 22 and max(map(len, lines)) <= 400
    (line,) = problems(tmp_path, whole(), "x" * 500_000 + "=1")
    assert len(line) <= 400
