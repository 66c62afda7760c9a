"""What to know of the schedules that a command was given."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.commands.schedule_notes import missing_budgets, other_samplers, same_counts, same_plans
from mdm_tune.run.build import Run
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.schedule_names import settings_of
from mdm_tune.run.schedule_records import ScheduleFileRecord
from mdm_tune.schedules.curves import Beta, parse_schedule
from tests.commands.test_warnings import call
from tests.run.test_build import built
from tests.run.test_schedule_names import at, schedule_file
from tests.support.profile_runs import config


def test_another_length_than_a_file_was_tuned_for_is_said_with_its_range(tmp_path: Path) -> None:
    entry = {"steps": 2, "schedule": "linear", "counts": [14, 14]}
    lengths = {"fixed": False, "least": 10, "most": 45, "mean": 27.8}
    name = schedule_file(tmp_path / "mean", 28, entry, lengths=lengths)
    fixed = schedule_file(tmp_path / "fixed", 28, entry)
    here = at(tmp_path, 30)
    said = [note.text for note in other_samplers(here, [name, fixed])]
    ends = "and here there are 30: its curve is cut into counts for that length"
    assert said == [
        f"{name} was tuned for 28 tokens (the mean of 10 to 45), {ends}",
        f"{fixed} was tuned for 28 tokens, {ends}",
    ]


def test_a_file_of_another_model_is_used_with_a_note(tmp_path: Path) -> None:
    here = at(tmp_path, 8)
    entry = {"steps": 2, "schedule": "counts:3,5", "counts": [3, 5]}
    own = schedule_file(tmp_path / "own", 8, entry, fingerprints=here.fingerprints)
    assert [note for note in other_samplers(here, [own]) if note.code == "other-source"] == []
    other = schedule_file(tmp_path / "other", 8, entry, fingerprints={"model": "0" * 16, "code": "1" * 16})
    (note,) = (note for note in other_samplers(here, [other]) if note.code == "other-source")
    assert note.text == f"{other} was tuned for another model ({'0' * 16}, here {here.fingerprints['model']})"
    (setting,) = settings_of(here.evaluator, [other], [2])
    assert setting.counts == (3, 5)


def test_a_file_without_a_sampler_or_fingerprints_is_read(tmp_path: Path) -> None:
    here = at(tmp_path, 8)
    name = schedule_file(tmp_path / "run", 8, {"steps": 2, "schedule": "counts:3,5", "counts": [3, 5]})
    assert list(other_samplers(here, [name])) == []


def test_a_larger_report_is_no_other_source_of_a_schedule(tmp_path: Path) -> None:
    """A search decides by tune and choose; a file of another seed or other tune examples says which it is."""
    model, nelbo = {"type": "markov", "length": 6, "flip": 0.1}, {"metric": "nelbo"}
    data = {"type": "law", "tune": 8, "choose": 8, "report": 8}

    def run(seed: int = 0, **sizes: int) -> Run:
        return built(tmp_path, model=model, dataset={**data, **sizes}, objective=nelbo, seed=seed)

    folder, entry = RunFolder(tmp_path / "run"), {"steps": 2, "schedule": "linear", "counts": [3, 3], "alphas": None}
    folder.open()
    folder.write_schedule(ScheduleFileRecord.of(run(), [entry], ()).to_json())

    def said(here: Run) -> list[str]:
        return [note.text for note in other_samplers(here, [str(folder.schedule)]) if note.code == "other-source"]

    assert run().fingerprints["dataset"] != run(report=16).fingerprints["dataset"]
    assert said(run()) == said(run(report=16)) == []
    assert "was tuned for other examples of tune and choose (" in said(run(tune=9))[0]
    assert "was tuned for seed 0, not 1, and so on other examples (" in said(run(seed=1))[0]


def test_budgets_that_a_file_lacks_and_schedules_that_are_one_are_said(tmp_path: Path) -> None:
    """Counts for 4 steps among budgets 2 and 4; and linear as counts is linear."""
    config(tmp_path, dataset__choose=10)
    command = ["evaluate", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run"), "--steps", "2", "--steps", "4"]
    result = CliRunner().invoke(app, [*command, "--schedule", "linear", "--schedule", "counts:5,5,5,5", "--json"])
    record = json.loads(result.stdout)
    (found,) = record["warnings"]
    assert found["code"] == "budgets-missing"
    assert found["text"] == "counts:5,5,5,5 has no counts for 2 steps and is compared at 4 only"
    assert "note: at 4 steps counts:5,5,5,5 has the same counts as linear" in result.stderr


def test_a_search_names_schedules_with_the_winners_counts(tmp_path: Path) -> None:
    """With one step all schedules are one."""
    search = {"strategy": "tpe", "trials": 3, "finalists": 1, "baselines": ["linear", "squared-sine"]}
    record = call("search", str(written(tmp_path, search)), "--output", str(tmp_path / "run"))
    (budget,) = record["budgets"]
    assert budget["schedule"]["type"] in ("beta", "linear") and "squared-sine" in budget["same_counts"]


def written(folder: Path, search: dict[str, Any]) -> Path:
    config(folder, sampler={"steps": [1]}, search=search)
    return folder / "c.yaml"


def test_notes_on_files_with_policies(tmp_path: Path) -> None:
    entry = {"steps": 2, "schedule": None, "policy": "threshold:0.9", "block_length": 28}
    one, two = (schedule_file(tmp_path / place, 28, entry) for place in ("one", "two"))
    here = at(tmp_path, 30, order="margin")
    (note,) = (note.text for note in other_samplers(here, [one, f"quota:{two}@0.5"]) if "one" in note.text)
    ends = "and here there are 30: the number of calls of its policies may differ"
    assert note == f"{one} was tuned for 28 tokens, {ends}"
    assert len([*other_samplers(here, [f"quota:{two}@0.5", "threshold:0.9"])]) == 1
    (lacking,) = missing_budgets([one], [2, 4])
    assert lacking.text == f"{one} has no policy for 4 steps and is compared at 2 only"
    (same,) = same_plans([*settings_of(here.evaluator, [one, two], [2])])
    assert same.text == f"at 2 steps {two} has the same policy as {one}"


def test_names_in_a_sentence_have_the_fewest_digits_that_repeat_the_counts(tmp_path: Path) -> None:
    evaluator = at(tmp_path, 64).evaluator
    long = Beta(0.10000000000000002, 2.2923617178306563)
    winner = evaluator.setting(long, 8)
    (said,) = same_counts(evaluator, winner, [long.name, "beta:0.10000000000000002,2.2923617178306567", "sine"])
    assert said.text == "at 8 steps beta:0.1,2.292 has the same counts as sine"
    assert list(same_counts(evaluator, winner, [long.name])) == []
    assert evaluator.setting(Beta(0.1, 2.292), 8).key == winner.key
    edge = next(  # four digits have other counts
        beta
        for beta in (Beta(0.5 + step * 1.37e-6, 0.7) for step in range(1, 2000))
        if evaluator.setting(Beta(float(f"{beta.a:.4g}"), 0.7), 24).key != evaluator.setting(beta, 24).key
    )
    (said,) = same_counts(evaluator, evaluator.setting(edge, 24), ["linear"])
    (named,) = re.findall("beta:[^ ]*", said.text)
    assert 4 < len(named.partition(",")[0]) - len("beta:0.") < 17
    assert evaluator.setting(parse_schedule(named), 24).key == evaluator.setting(edge, 24).key
