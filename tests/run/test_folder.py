"""The schedule file comes back as it was written, damage is named, and nothing is ever half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.run.folder import RunFolder, load_schedule
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.curves import Alphas, Beta, Counts

BUDGET = {"steps": 3, "schedule": "beta:0.9,0.3", "counts": [1, 2, 5], "alphas": None, "value": 0.5}
POLICY = {"steps": 3, "schedule": None, "counts": None, "alphas": None, "policy": "threshold:0.9"}
RECORD = {"length": 8, "budgets": [BUDGET, {**BUDGET, "steps": 2, "counts": None, "alphas": [0.0, 0.25, 1.0]}]}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.open()
    folder.write_schedule(RECORD)
    return folder


def test_a_schedule_file_comes_back(folder: RunFolder) -> None:
    for path in (folder.schedule, folder.path, str(folder.schedule)):
        loaded = load_schedule(path)
        assert loaded.length == 8
        assert loaded.budget(3).schedule == Beta(0.9, 0.3)
        assert loaded.budget(3).counts == (1, 2, 5) and loaded.budget(3).alphas is None
        assert loaded.budget(2).alphas == (0.0, 0.25, 1.0) and loaded.budget(2).counts is None
        assert loaded.record["budgets"][0]["value"] == 0.5


def test_a_file_with_a_policy_says_another_format(folder: RunFolder) -> None:
    """An earlier version, which knows no policies, refuses it by its first line."""
    assert "\nformat: mdm-tune-schedule-1\n" in folder.schedule.read_text("utf-8")
    assert "policy" not in folder.schedule.read_text("utf-8")
    quota = {**POLICY, "steps": 2, "schedule": "beta:0.9,0.3", "policy": "quota:beta:0.9,0.3#4@0.5", "block_length": 4}
    folder.write_schedule({"length": 8, "budgets": [POLICY, quota, {**BUDGET, "steps": 5, "counts": [1, 1, 1, 1, 4]}]})
    text = folder.schedule.read_text("utf-8")
    assert "\nformat: mdm-tune-schedule-2\n" in text and "# Where a budget has a `policy`" in text
    loaded = load_schedule(folder.path)
    three, two, five = (loaded.budget(steps) for steps in (3, 2, 5))
    assert three.policy == parse_adaptive("threshold:0.9") and (three.schedule, three.counts) == (None, None)
    assert two.policy == parse_adaptive("quota:beta:0.9,0.3#4@0.5") and two.schedule == Beta(0.9, 0.3)
    assert (five.policy, five.counts) == (None, (1, 1, 1, 1, 4))


def test_reading_a_schedule_file_needs_no_torch(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open()
    folder.write_schedule({"length": 8, "budgets": [{**BUDGET, "counts": [1, 1, 6]}]})
    code = (
        f"import sys, mdm_tune; print(mdm_tune.load_schedule({str(folder.schedule)!r}).budget(3).counts); "
        "print([m for m in ('torch', 'optuna', 'matplotlib') if m in sys.modules])"  # the counts are checked with scipy
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["(1, 1, 6)", "[]"]


def test_a_schedule_file_may_have_another_name_and_explicit_schedules(folder: RunFolder) -> None:
    entries = [
        {**BUDGET, "schedule": "counts:1,2,5"},
        {"steps": 2, "schedule": "alphas:0.0,0.25,1.0", "counts": None, "alphas": [0.0, 0.25, 1.0]},
    ]
    folder.write_schedule({"length": 8, "budgets": entries}, "profile-optimum.yaml")
    loaded = load_schedule(folder.path / "profile-optimum.yaml")
    assert loaded.budget(3).schedule == Counts((1, 2, 5))
    assert loaded.budget(2).schedule == Alphas((0.0, 0.25, 1.0))
    assert load_schedule(folder.path).budget(3).schedule == Beta(0.9, 0.3)  # the folder's own is another file


def test_an_unknown_budget_names_the_known_ones(folder: RunFolder) -> None:
    with pytest.raises(InputError, match="tuned for steps 2, 3, got 4"):
        load_schedule(folder.path).budget(4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "it must say format: mdm-tune-schedule-1 or mdm-tune-schedule-2, got 'other'"),
        ({"budgets": [{**BUDGET, "counts": [1, 2, 6]}]}, r"sum to the length 8, got \[1, 2, 6\]"),
        ({"budgets": [{**BUDGET, "counts": [-1, 2, 7]}]}, r"budgets\[0\].counts\[0\]: must be at least 0, got -1"),
        (
            {"budgets": [{**BUDGET, "counts": None}]},
            "one of counts, alphas and policy must be given, got none; leave",
        ),
        ({"budgets": [{**BUDGET, "counts": None, "alphas": [0.0, 0.9, 0.5, 1.0]}]}, "increase from 0 to 1"),
        ({"budgets": [{"steps": 3}]}, "is damaged"),
        ({"budgets": []}, "budgets: must be a list of at least 1"),
        ({"budgets": [{**BUDGET, "counts": [1, 1.9, 5]}]}, r"counts\[1\]: must be a whole number, got 1.9"),
        ({"budgets": [{**BUDGET, "counts": [True, 2, 5]}]}, r"counts\[0\]: must be a whole number, got true"),
        ({"budgets": [{**BUDGET, "counts": ["1", 2, 5]}]}, r"counts\[0\]: must be a whole number, got '1'"),
        ({"budgets": [{**BUDGET, "steps": 3.0}]}, r"steps: must be a whole number, got 3.0"),
        ({"budgets": [{**BUDGET, "steps": 10**9}]}, r"steps: must be at most 65536, got 1000000000"),
        ({"budgets": [{**BUDGET, "counts": [8]}]}, r"a budget of 3 steps must have counts for them, got 1, \[8\]"),
        ({"budgets": [BUDGET, BUDGET]}, "each number of steps has one budget, got 3 twice"),
        ({"budgets": [{**BUDGET, "schedule": "counts:2,1,5"}]}, r"schedule must name the counts that are given, got"),
        ({"budgets": [{**BUDGET, "block_length": 3}]}, "block_length must divide the length 8, got 3"),
        (
            {"budgets": [{**BUDGET, "alphas": [0.0, 1.0]}]},
            "policy must be given, got counts, alphas; leave the other null",
        ),
        ({"budgets": [{**BUDGET, "policy": "threshold:0.9"}]}, "got counts, policy; leave the other null"),
        (
            {"budgets": [{**BUDGET, "alphas": [0, 1], "policy": "threshold:0.9"}]},
            "got counts, alphas, policy; leave",
        ),
        (
            {"budgets": [{**POLICY, "policy": "threshold"}]},
            r"policy: must say its value, got 'threshold'; .* threshold:0\.9",
        ),
        ({"budgets": [{**POLICY, "policy": "quota:linear"}]}, r"must say its value, .* write it as quota:linear@0\.9"),
        (
            {"budgets": [{**POLICY, "policy": "treshold:0.9"}]},
            r"the name of an adaptive policy, got 'treshold:0\.9'",
        ),
        (
            {"budgets": [{**POLICY, "policy": 0.9}]},
            r"the name of an adaptive policy, got 0\.9; write it as thr",
        ),
        ({"budgets": [{**POLICY, "policy": "threshold:2"}]}, "threshold needs a probability from 0 to 1"),
        ({"budgets": [{**POLICY, "policy": "quota:runs/x@0.9"}]}, "Unknown schedule 'runs/x'"),
        (
            {"budgets": [{**POLICY, "schedule": "sine"}]},
            r"of policy threshold:0\.9 must be null, .* got 'sine'; corr",
        ),
        (
            {"budgets": [{**POLICY, "policy": "quota:sine@0.9"}]},
            "must be sine, whose counts it keeps, got null; corr",
        ),
        ({"budgets": [{**POLICY, "policy": None}]}, "one of counts, alphas and policy must be given, got none"),
        ({"budgets": {"steps": 3}}, "budgets: must be a list, got a mapping"),
        ({"length": 4.7}, "length: must be a whole number, got 4.7"),
        ({"length": True}, "length: must be a whole number, got true"),
        ({"sampler": [1]}, r"sampler: must be a mapping, got \[1\]"),
        ({"fingerprints": {"model": 5}}, r"fingerprints.model: must be text, got 5"),
        ({"budgets": [{**BUDGET, "steps": 2}]}, "a budget of 2 steps must have counts for them"),
        ({"budgets": [{**BUDGET, "counts": None, "alphas": []}]}, "is damaged"),
        ({"budgets": [{**BUDGET, "schedule": None}]}, "is damaged"),
        ({"budgets": [{**BUDGET, "schedule": "linaer"}]}, "is damaged"),
        ({"length": float("inf")}, "is damaged"),
        ({"length": None}, "is damaged"),
    ],
)
def test_damaged_files_are_named(folder: RunFolder, change: dict[str, object], message: str) -> None:
    import yaml

    record = {**yaml.safe_load(folder.schedule.read_text(encoding="utf-8")), **change}
    folder.schedule.write_text(yaml_text(record), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_schedule(folder.schedule)
    assert str(folder.schedule) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a: [1", b"- 1\n"])
def test_files_that_are_no_schedule_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.yaml"):
        load_schedule(tmp_path / "x.yaml")


def test_a_folder_that_cannot_be_looked_into_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", closed)  # a superuser can look everywhere, so the mode bits do not do
    with pytest.raises(InputError, match="Permission denied"):
        _ = RunFolder(tmp_path).holds_search


def test_output_that_is_a_file_or_not_writable_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="output: cannot write a run into"):
            RunFolder(path).open()


def test_clearing_a_search_leaves_everything_else(folder: RunFolder) -> None:
    (folder.path / "evaluate.json").write_text("{}")
    folder.journal.write_text("")
    assert folder.holds_search
    folder.write_json(folder.profile("tune").name, {})
    folder.clear_search()
    assert not folder.holds_search
    assert sorted(path.name for path in folder.path.iterdir()) == ["evaluate.json", "profile-values.json"]


def test_csv_and_lines(folder: RunFolder) -> None:
    folder.write_csv("rows.csv", [{"schedule": "linear", "counts": [1, 2], "ci": None}])
    assert (folder.path / "rows.csv").read_text() == "schedule,counts,ci\nlinear,1 2,\n"
    folder.write_lines("x.jsonl", [{"a": 1}, {"a": 2}])
    lines = (folder.path / "x.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"a": 1}, {"a": 2}]
