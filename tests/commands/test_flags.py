"""The flags of the command line that have a value or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from mdm_tune.cli import app
from mdm_tune.commands.flags import Flags, generated, generated_words
from mdm_tune.core.permissions import GeneratedCode
from tests.test_cli import MARKOV

SAMPLE = ("sample", MARKOV, "--number", "1")


@pytest.mark.parametrize(
    ("allowed", "words"), [(False, []), (True, ["--run-generated-code"]), ("unsafe", ["--run-generated-code=unsafe"])]
)
def test_what_the_flag_allows_is_written_as_the_same_words(allowed: GeneratedCode, words: list[str]) -> None:
    assert generated_words(allowed) == words
    assert generated({False: False, True: "safe", "unsafe": "unsafe"}[allowed]) == allowed


@pytest.mark.parametrize(
    ("words", "config", "watch"),
    [
        ("c.yaml", "c.yaml", None),
        ("c.yaml --watch", "c.yaml", ""),
        ("c.yaml --watch linear", "c.yaml", "linear"),
        ("--watch linear c.yaml", "c.yaml", "linear"),
        ("--watch=linear c.yaml", "c.yaml", "linear"),
        ("--watch c.yaml", "c.yaml", ""),
        ("--steps 4 --watch c.yaml", "c.yaml", ""),
        ("--json --watch c.yaml", "c.yaml", ""),
        ("--steps=4 --watch runs/text/schedule.yaml c.yaml", "c.yaml", "runs/text/schedule.yaml"),
        ("c.yaml --watch --steps 4", "c.yaml", ""),
        ("c.yaml --run-generated-code --watch sine", "c.yaml", "sine"),
        ("--schedule linear --watch c.yaml", "c.yaml", ""),
    ],
)
def test_a_word_after_watch_is_its_value_unless_the_config_would_be_missing(
    words: str, config: str, watch: str | None
) -> None:
    command: Any = get_command(app)
    sample = command.commands["sample"]
    with sample.make_context("sample", words.split()) as context:
        assert (str(context.params["config"]), context.params["watch"]) == (config, watch)


def flags(config: Path, *overrides: str) -> Flags:
    return Flags(
        config=config,
        overrides=overrides,
        seed=None,
        output="runs/a",
        devices=None,
        ray_address=None,
        trust_code=False,
        run_generated_code=False,
    )


def test_a_command_that_follows_has_only_the_values_that_it_reads(tmp_path: Path) -> None:
    """A value of the search stays where the config is not valid without it."""
    given = ("search.trials=9", "sampler.steps=[4]", "search.margin=0.1", "search.storage=sqlite:///a.db")
    both = ["--set", "sampler.steps=[4]", "--set", "search.margin=0.1", "--output", "runs/a"]
    config = Path(MARKOV)
    assert flags(config, *given).words() == [str(config), *both]
    assert flags(config, *given).words(searches=True) == [str(config), "--set", "search.trials=9", *both]
    (tmp_path / "a.yaml").write_text(config.read_text("utf-8").replace("trials:", "trials: -"), "utf-8")
    wrong = tmp_path / "a.yaml"
    assert flags(wrong, *given).words() == [str(wrong), "--set", "search.trials=9", *both]
