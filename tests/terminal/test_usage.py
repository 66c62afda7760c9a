"""Wrong use of the command line: one message with the rule, the value and the remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.terminal.test_console import MARKOV, call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("evaluate",),
            "CONFIG is required and missing: mdm-tune evaluate takes the YAML file of the run; give it, such as",
        ),
        (
            ("evalute", MARKOV),
            "there is no command 'evalute'; did you mean evaluate? the commands are search, evaluate, ",
        ),
        (("fly",), "there is no command 'fly'; the commands are search"),
        (
            ("search", MARKOV, "--trails", "4"),
            "mdm-tune search has no option '--trails'; did you mean --trials? mdm-tune",
        ),
        (("--seed", "4"), "mdm-tune has no option '--seed'; mdm-tune --help lists its options"),
        (("evaluate", MARKOV, "--steps", "abc"), "--steps: must be a whole number, got 'abc'; write digits, such as 8"),
        (("search", MARKOV, "--worker", "2"), "mdm-tune search has no option '--worker'; mdm-tune search --help lists"),
        (("sample", MARKOV, "--number", "1_0"), "--number: must be a whole number, got '1_0'; write digits"),
        (("sample", MARKOV, "--seed"), "--seed needs a value and got none; write --seed VALUE"),
        (("sample", MARKOV, "--json=1"), "--json takes no value and got one; write --json alone"),
        (
            ("sample", MARKOV, "b.yaml"),
            "mdm-tune sample takes one CONFIG, got more: 'b.yaml'; remove it, or put a value",
        ),
    ],
)
def test_wrong_use_gets_one_message(arguments: tuple[str, ...], message: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith(f"error: {message}") and result.stderr.count("\n") == 1
    assert not re.search("[╭│╰]", result.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("evaluate", "--steps", "010"),
            "got '010'; it is base 8 to some readers and base 10 to others, so write it",
        ),
        (("evaluate", "--schedule", ""), "error: the schedule's name is empty; give a name such as linear\n"),
        (("evaluate", "--schedule", "threshold:2"), "write threshold alone, or threshold:0.9\n"),
        (("evaluate", "--schedule", "quota:linear@2"), "write quota:linear alone, or quota:linear@0.9\n"),
        (("evaluate", "--schedule", "counts:4,4,4"), "error: counts:4,4,4 reveals 12 tokens but the sequence has 32"),
        (("sample", "--schedule", "counts:4,4,4"), "error: counts:4,4,4 reveals 12 tokens but the sequence has 32"),
        (("evaluate", "--schedule", "counts:16,16"), "counts:16,16 is for 2 steps, got 4 and 8; give --steps 2"),
        (("evaluate", "--schedule", "counts:32"), "counts:32 is for 1 step, got 4 and 8; give --steps 1"),
    ],
)
def test_wrong_values_get_a_remedy_that_works(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    flags = ("--set", "sampler.steps=[4,8]", "--output", str(tmp_path)) if "--steps" not in arguments else ()
    result = call(arguments[0], MARKOV, *arguments[1:], *flags)
    assert result.exit_code == 2 and message in result.stderr


def test_no_command_shows_the_help() -> None:
    result = call()
    assert result.exit_code == 2 and "Usage" in result.output and "error" not in result.output
