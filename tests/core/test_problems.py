"""What a bad config is answered: every problem at once, each with its dotted path, the value and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm_tune.config.file import load_config
from mdm_tune.core.errors import InputError
from tests.support.configs import MARKOV, load, problems, whole


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    content = {
        "model": {**MARKOV, "length": 0, "flipp": 1},
        "sampler": {"order": "confidence", "reveal": "bernoulli", "temperature": "hot", "steps": [1, 1]},
        "objective": {"metric": "nelbo"},
        "search": {"trials": 0, "space": {"a": [2, 1]}},
        "sede": 1,
    }
    lines = problems(tmp_path, content, "sampler.steps.first=1", "nonsense", "evaluate.steps=[", "search.finalists=0")
    assert [line.split(": ")[0] for line in lines] == [
        "sampler.steps",  # the three overrides that cannot be applied
        "--set",
        "--set evaluate.steps",
        "model.length",
        "model.flipp",
        "sampler.temperature",
        "sampler.steps",
        "search.trials",
        "search.space.a",
        "search.finalists",
        "sede",
        "sampler.order",  # and what contradicts each other among the settings that are sound in themselves
        "sampler.order",
        "objective.metric",
    ]


def test_required_sections(tmp_path: Path) -> None:
    assert problems(tmp_path, "seed: 1") == [
        "model: is required and missing; add `model: {type: markov, length: 32, flip: 0.05}`",
        "sampler: is required and missing; add `sampler: {steps: [4, 8]}`",
        "objective: is required and missing; add `objective: {metric: order_kl}`",
    ]
    added = "model: {type: markov, length: 32, flip: 0.05}\nsampler: {steps: [4, 8]}\nobjective: {metric: order_kl}"
    assert load(tmp_path, added).sampler.steps == (4, 8)


def test_flags_are_named_in_their_errors(tmp_path: Path) -> None:
    assert problems(tmp_path, whole(), trials=0, seed=-1, output="") == [
        "--trials: must be at least 1, got 0; give 1 or more",
        "--seed: must be at least 0, got -1; give 0 or more",
        "--output: must be text that is not empty, got ''; give it a value",
    ]
    (line,) = problems(tmp_path, whole(search=3), trials=5)
    assert line.startswith("search: must be a mapping, got 3")


@pytest.mark.parametrize("override", ["search.trials", "=3", "search.=3", ".trials=3", "a..b=3"])
def test_malformed_override(tmp_path: Path, override: str) -> None:
    (line,) = problems(tmp_path, whole(), override)
    assert line == f"--set: must be section.key=value, got {override!r}; write it like --set search.trials=5"


FILES = [
    ("", "the config is empty; it needs at least the sections model, sampler and objective"),
    ("# only a comment", "the config is empty"),
    ("- model", "a config must be a mapping of sections, got ['model']; write `model:` first"),
    ("model", "a config must be a mapping of sections, got 'model'"),
    (
        "seed: 1\nmodel: [1",
        "not valid YAML at line 3, column 1: while parsing a flow sequence",
    ),
    ("seed: 1\n\tmodel: 1", "not valid YAML at line 2, column 1: while scanning a plain scalar, found a tab character"),
    ("seed: 1\nmodel:\n  a: 1\n  b: 2\n  a: 3", "at line 5, column 3: key 'a' is given twice"),
    ("seed: 1\nmodel: a\x01", "not valid YAML at line 2, column 9: character '\\x01' is not allowed"),
    (
        "model: !!python/object/apply:os.getcwd []",
        "at line 1, column 8: tags such as !!python/object/apply:os.getcwd are not read",
    ),
    ("a: 1\n---\nb: 1", "at line 2, column 1: a second document begins; keep one"),
    (
        "a: 2020-13-01",
        "at line 1, column 4: 2020-13-01 is a date to some readers of YAML and text to others",
    ),
    ("a: " + "[" * 1_000, "at line 1, column 67: it is nested in more than 64 levels; write it flatter"),
    (b"model: \xff", "must be UTF-8 text, got byte 0xff at offset 7; save the file as UTF-8"),
]


@pytest.mark.parametrize(("content", "expected"), FILES)
def test_bad_file(tmp_path: Path, content: str | bytes, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'run.yaml'}")
    assert expected in str(caught.value)


def test_no_file_a_folder_and_a_closed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"cannot read .*absent\.yaml: No such file or directory; give the YAML file"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match=r"is a folder, not a file that can be read; give the YAML file of a run"):
        load_config(tmp_path)
    with pytest.raises(InputError, match=r"cannot read .*: no path holds a null character"):
        load_config(Path("a\0.yaml"))

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("mdm_tune.core.reading.os.open", refuse)  # a superuser can read every file: mode bits do not do
    with pytest.raises(InputError, match=r"cannot read .*: Permission denied; check the rights of the file"):
        load_config(tmp_path / "closed.yaml")


def test_twenty_thousand_problems_are_a_short_message(tmp_path: Path) -> None:
    content = whole(model={"type": "parity", "length": 4}, **{f"k{number}": 1 for number in range(20_000)})
    with pytest.raises(Exception, match="20,000 problems in the config") as caught:
        load(tmp_path, content)
    lines = str(caught.value).split("\n")
    assert lines[-1] == "  and 19,980 more" and len(lines) == 22 and max(map(len, lines)) <= 400
    (line,) = problems(tmp_path, whole(), "x" * 500_000 + "=1")
    assert len(line) <= 400
