"""Prompts that name the day: rendered once, so that a search goes on another day with the prompts it began with."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from mdm_tune.cli import app
from mdm_tune.config.file import load_config
from mdm_tune.core.text import Clock
from mdm_tune.denoisers.tokenizer import TokenizerCodec
from mdm_tune.run.build import build
from mdm_tune.run.folder import RunFolder
from tests.support.tiny_models import SPECIAL, bert, transformers

DAYS = [f"day{number}" for number in range(1, 32)]
WORDS = [*SPECIAL, *DAYS, "q", "r", "paris", "rome"]
DATED = "day{{ strftime_now('%d') | int }} {% for m in messages %}{{ m.content }} {% endfor %}"
PLAIN = "{% for m in messages %}{{ m.content }} {% endfor %}"
TODAY = datetime(2026, 3, 5, 23, 59)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A BERT whose chat template says which day it is, on the fifth."""
    bert(tmp_path / "bert", vocab_size=len(WORDS))
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    template(tmp_path, DATED)
    lines = [json.dumps({"q": "q " * (n % 4) + "r " * n + "q", "a": "paris"}) for n in range(30)]
    (tmp_path / "qa.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    day(monkeypatch, 0)
    return tmp_path


def template(place: Path, text: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(place / "bert")
    tokenizer.chat_template = text
    tokenizer.save_pretrained(place / "bert")


def day(monkeypatch: pytest.MonkeyPatch, later: int) -> None:
    """From now on codecs are made so many days later."""
    made = Clock.__init__

    def then(self: Clock, now: datetime | None = None, used: bool = False) -> None:
        self.now, self.used = now or TODAY + timedelta(days=later), used

    assert made is not None
    monkeypatch.setattr(Clock, "__init__", then)


def config(place: Path, output: str = "run", **search: Any) -> str:
    sections = {
        "model": {"type": "huggingface", "path": "bert", "dtype": "float32"},
        "dataset": {
            "type": "jsonl",
            "path": "qa.jsonl",
            "prompt": "q",
            "answer": "a",
            "chat": True,
            "generation_length": 2,
            "tune": 8,
            "choose": 8,
            "report": 8,
        },
        "sampler": {"order": "confidence", "steps": [1], "batch": 16},
        "objective": {"metric": "exact_match"},
        "search": {"strategy": "tpe", "trials": 2, "baselines": ["linear"], **search},
        "output": str(place / output),
    }
    file = place / f"{output}.yaml"
    file.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return str(file)


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert "Traceback" not in result.output
    return result


def days(file: str) -> set[str]:
    """The days that the prompts of a config name."""
    dataset = build(load_config(Path(file))).dataset
    assert dataset is not None
    prompts = [example.prompt for split in dataset.splits.values() for example in split.examples]
    return {match[0] for prompt in prompts if (match := re.match(r"day\d+", prompt)) is not None}


def test_a_search_goes_on_the_next_day_with_its_own_prompts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = config(place)
    assert days(file) == {"day5"} and not (place / "run").exists()
    begun = call("search", file)
    assert begun.exit_code == 0, begun.output
    day(monkeypatch, 1)
    resumed = call("search", file, "--resume")
    assert resumed.exit_code == 0 and json.loads(resumed.stdout)["budgets"] == json.loads(begun.stdout)["budgets"]
    assert days(file) == {"day5"} and days(config(place, "other")) == {"day6"}
    drawn = call("sample", file, "--number", "1")
    assert json.loads(drawn.stdout)["samples"][0]["prompt"].startswith("day5")
    more = call("search", file, "--resume", "--set", "search.trials=3")
    assert more.exit_code == 0, more.output


def test_a_profile_is_kept_the_next_day(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = config(place)
    options = ("--set", "sampler.order=random", "--set", "profile.answers=model")
    first = call("profile", file, *options)
    assert first.exit_code == 0, first.output
    day(monkeypatch, 1)
    again = json.loads(call("profile", file, *options).stdout)
    assert again["reused"] and again["denoiser_rows"] == 0


def test_a_search_that_goes_on_in_another_folder_takes_the_day_from_the_storage(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {"storage": f"sqlite:///{place / 'shared.db'}", "name": "shared"}
    begun = call("search", config(place, **shared))
    assert begun.exit_code == 0, begun.output
    day(monkeypatch, 1)
    helped = call("search", config(place, "elsewhere", **shared), "--resume")
    assert helped.exit_code == 0, helped.output
    assert json.loads(helped.stdout)["budgets"] == json.loads(begun.stdout)["budgets"]


def test_a_template_that_asks_nothing_keeps_nothing(place: Path) -> None:
    template(place, PLAIN)
    assert call("search", config(place)).exit_code == 0
    assert not (place / "run" / "moment.json").exists()


def test_a_damaged_moment_is_named(place: Path) -> None:
    file = config(place)
    (place / "run").mkdir()
    (place / "run" / "moment.json").write_text('{"now": "soon"}', encoding="utf-8")
    result = call("sample", file, "--number", "1")
    assert result.exit_code == 2 and "moment.json is damaged: it holds the time" in re.sub(r"\s+", " ", result.stderr)


def test_the_first_moment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.write_moment(Clock(TODAY))
    assert folder.read_moment() is None  # nobody asked for it
    folder.write_moment(Clock(TODAY, True))
    folder.write_moment(Clock(TODAY + timedelta(days=1), True))
    assert folder.read_moment() == TODAY
    folder.write_moment(None)


def test_a_template_may_ask_anywhere(place: Path) -> None:
    """In a macro, through a variable, beside apostrophes, and for what it trims."""
    asks = (
        '{%- set form = "%d" -%}{%- macro said() -%}{{ strftime_now(form) | int }}{%- endmacro %}it\'s '
        "{%- if strftime_now is defined %} day{{ said() }} {{ strftime_now('%Y') }}{% endif %} don't "
        "{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    template(place, asks)
    codec = TokenizerCodec(transformers.AutoTokenizer.from_pretrained(place / "bert"), vocab_size=len(WORDS))
    codec.clock.now = datetime(2020, 1, 17)
    assert codec.chat([{"role": "user", "content": "q"}]) == "it's day17 2020 don't q"


def test_a_template_is_told_the_time_of_the_codec(place: Path) -> None:
    codec = TokenizerCodec(transformers.AutoTokenizer.from_pretrained(place / "bert"), vocab_size=len(WORDS))
    assert not codec.clock.used
    codec.clock.now = datetime(2020, 1, 17)
    assert codec.chat([{"role": "user", "content": "q"}]) == "day17 q " and codec.clock.used
