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
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mdm_tune.cli import app
from mdm_tune.commands.events import RunEvent
from mdm_tune.commands.search import search
from mdm_tune.config.file import Config, load_config
from mdm_tune.search.events import TrialDone

CONFIGS = Path(__file__).parent.parent / "configs"
MARKOV = str(CONFIGS / "markov.yaml")
TEXT = str(CONFIGS / "text.yaml")
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


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("runs") / "markov"
    result = call("search", MARKOV, *QUICK, "--output", str(folder), "--json", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return folder, json.loads(result.stdout)


def test_search_json_has_the_stated_shape(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, record = searched
    assert [budget["steps"] for budget in record["budgets"]] == [4, 8]
    assert record["trials"] == 12
    assert record["files"] == {"schedule": str(folder / "schedule.yaml"), "run": str(folder)}
    budget = record["budgets"][1]
    assert set(budget) >= {
        *("steps", "schedule", "counts", "alphas", "nfe", "metric", "value", "ci", "n"),
        *("baselines", "gain_over_linear", "beats_linear", "flags"),
    }
    assert sum(budget["counts"]) == 32 and len(budget["counts"]) == budget["nfe"] == 8
    assert budget["alphas"] is None and budget["ci"] is None
    assert budget["baselines"]["linear"]["value"] == pytest.approx(1.0884, abs=1e-4)
    assert budget["gain_over_linear"]["value"] == pytest.approx(1.0884 - budget["value"], abs=1e-4)


def test_the_schedule_file_says_what_the_json_says(searched: tuple[Path, dict[str, Any]]) -> None:
    import mdm_tune

    folder, record = searched
    loaded = mdm_tune.load_schedule(folder)
    for budget in record["budgets"]:
        assert list(loaded.at(budget["steps"]).counts or ()) == budget["counts"]
    text = (folder / "schedule.yaml").read_text(encoding="utf-8")
    assert "revealed_share_after_step" in text and "fingerprints" in text and "versions" in text


def test_human_output_ends_with_counts_to_paste(tmp_path: Path) -> None:
    result = call("search", MARKOV, *QUICK, "--set", "sampler.steps=[4]", "--output", str(tmp_path / "run"))
    assert result.exit_code == 0
    match = re.fullmatch(r"counts = (\[[\d, ]+\])  # 4 steps.*\n", result.stdout)
    assert match and sum(json.loads(match[1])) == 32
    for text in ("trial   1/6", "squared-sine", "better than linear by", "schedule file", "mdm-tune evaluate"):
        assert text in result.stderr


def test_a_folder_with_a_search_is_not_touched_without_being_told(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, record = searched
    before = {path: path.read_bytes() for path in folder.iterdir()}
    message = refused("search", MARKOV, *QUICK, "--output", str(folder))
    assert "already holds a search; add --resume to go on with it, --overwrite to start again" in message
    assert before == {path: path.read_bytes() for path in folder.iterdir()}
    again = call("search", MARKOV, *QUICK, "--output", str(folder), "--json", "--resume")
    assert json.loads(again.stdout) == record


def test_resume_refuses_another_search_and_shows_the_difference(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = searched
    message = refused(
        "search", MARKOV, *QUICK, "--output", str(folder), "--resume", "--set", "model.flip=0.2", "--seed", "3"
    )
    assert "model.flip: was 0.05, is 0.2" in message and "seed: was 0, is 3" in message


def test_resume_with_more_trials_goes_on(tmp_path: Path) -> None:
    common = ("--set", "search.strategy=tpe", "--set", "sampler.steps=[8]", "--json")
    call("search", MARKOV, *common, "--trials", "4", "--output", str(tmp_path / "a"))
    more = call("search", MARKOV, *common, "--trials", "7", "--output", str(tmp_path / "a"), "--resume")
    whole = call("search", MARKOV, *common, "--trials", "7", "--output", str(tmp_path / "b"))
    first, second = json.loads(more.stdout), json.loads(whole.stdout)
    assert first["budgets"] == second["budgets"] and first["trials"] == 7


def test_a_stopped_resumption_with_more_trials_goes_on(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop_at_the_sixth(event: RunEvent) -> None:
        if isinstance(event, TrialDone) and event.number == 5:
            raise Stop

    def config(trials: int) -> Config:
        overrides = ["search.strategy=tpe", "sampler.steps=[8]"]
        return load_config(Path(MARKOV), overrides, trials=trials, output=str(tmp_path / "run"))

    first = search(config(3), resume=False, overwrite=False, notify=lambda event: None)
    with pytest.raises(Stop):
        search(config(9), resume=True, overwrite=False, notify=stop_at_the_sixth)
    resumed = search(config(9), resume=True, overwrite=False, notify=lambda event: None)
    assert (first["trials"], resumed["trials"]) == (3, 9)


@pytest.mark.parametrize(("name", "reach"), [("toy-extremes", 0.336), ("toy-middle", 0.1085), ("markov", 0.63)])
def test_the_cheap_configurations_reach_what_they_promise(tmp_path: Path, name: str, reach: float) -> None:
    result = call("search", str(CONFIGS / f"{name}.yaml"), "--output", str(tmp_path / "run"), "--json", "--quiet")
    budget = json.loads(result.stdout)["budgets"][-1]
    assert budget["value"] <= reach
    assert budget["beats_linear"]


def test_overwrite_replaces(tmp_path: Path) -> None:
    common = ("search", MARKOV, "--set", "sampler.steps=[4]", "--set", "search.strategy=qmc", "--trials", "3", "--json")
    one = call(*common, "--output", str(tmp_path / "run"))
    two = call(*common, "--output", str(tmp_path / "run"), "--overwrite", "--seed", "9")
    assert one.exit_code == two.exit_code == 0
    assert json.loads(two.stdout)["trials"] == 3


def test_evaluate_gives_the_papers_toy_values(tmp_path: Path) -> None:
    for name, values in (
        ("toy-extremes", {"linear": 0.51935, "squared-sine": 0.49132, "sine": 0.87125}),
        ("toy-middle", {"linear": 0.12433, "squared-sine": 0.13658, "sine": 0.11799}),
    ):
        result = call("evaluate", str(CONFIGS / f"{name}.yaml"), "--json", "--output", str(tmp_path / name))
        record = json.loads(result.stdout)
        found = {row["schedule"]: row["value"] for row in record["rows"]}
        for schedule, value in values.items():
            assert found[schedule] == pytest.approx(value, abs=1e-5)
        pair = next(c for c in record["comparisons"] if (c["first"], c["second"]) == ("linear", "sine"))
        assert pair["difference"] == pytest.approx(values["linear"] - values["sine"], abs=2e-5)
        assert pair["ci"] is None
        assert (tmp_path / name / "evaluate.csv").read_text().startswith("schedule,steps,block_length,counts,alphas")


def test_evaluate_takes_any_schedule_at_the_budgets_it_has(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, record = searched
    result = call(
        *("evaluate", MARKOV, "--output", str(folder), "--json", "--steps", "4", "--steps", "8"),
        *("--schedule", "linear", "--schedule", "counts:3,5,9,15", "--schedule", str(folder / "schedule.yaml")),
    )
    rows = {(row["schedule"], row["steps"]): row["value"] for row in json.loads(result.stdout)["rows"]}
    assert rows["counts:3,5,9,15", 4] == pytest.approx(1.7164, abs=1e-4)
    assert ("counts:3,5,9,15", 8) not in rows
    assert rows[str(folder / "schedule.yaml"), 8] == pytest.approx(record["budgets"][1]["value"])


def test_evaluate_includes_the_runs_own_schedule(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = searched
    rows = json.loads(call("evaluate", MARKOV, "--output", str(folder), "--json").stdout)["rows"]
    assert str(folder / "schedule.yaml") in {row["schedule"] for row in rows}


def test_the_runs_own_schedule_is_left_out_where_it_has_no_such_budget(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = searched
    result = call("evaluate", MARKOV, "--output", str(folder), "--json", "--steps", "5")
    rows = json.loads(result.stdout)["rows"]
    assert {row["schedule"] for row in rows} == {"linear", "squared-sine", "sine", "maskgit-cosine"}


def test_a_schedule_tuned_for_another_sampler_is_noted(searched: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = searched
    data = ("--set", "objective.metric=path_nll", "--set", "dataset={type: law, tune: 8, choose: 8, report: 8}")
    result = call(
        *("evaluate", MARKOV, "--schedule", str(folder), "--steps", "8", "--output", str(tmp_path / "run")),
        *(*data, "--set", "sampler.order=margin"),
    )
    assert result.exit_code == 0
    assert "was tuned for order random (here margin)" in result.stderr


def test_a_schedule_tuned_for_another_length_is_used_and_said(
    searched: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, _ = searched
    for command in (("sample", "--number", "2"), ("evaluate",)):
        name, *more = command
        result = call(
            *(name, MARKOV, "--schedule", str(folder), "--steps", "8", "--output", str(tmp_path / name)),
            *("--set", "model.length=40", *more),
        )
        assert result.exit_code == 0, result.stderr
        said = " ".join(result.stderr.split())
        assert "was tuned for 32 tokens, and here there are 40: its curve is cut into counts" in said


def test_a_schedule_with_its_own_budget_needs_no_steps(tmp_path: Path) -> None:
    result = call("sample", MARKOV, "--schedule", "counts:16,16", "--json", "--output", str(tmp_path / "run"))
    assert json.loads(result.stdout)["counts"] == [16, 16]


def test_fewer_tokens_than_steps_are_said(tmp_path: Path) -> None:
    result = call("search", MARKOV, *QUICK, "--set", "sampler.steps=[40]", "--output", str(tmp_path / "run"))
    assert "32 denoiser calls, not 40" in result.stderr


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


def test_scores_are_kept_once_per_example_and_schedule(tmp_path: Path) -> None:
    data = ("--set", "objective.metric=nelbo", "--set", "dataset={type: law, tune: 8, choose: 8, report: 12}")
    folder = tmp_path / "run"
    assert call("search", MARKOV, *QUICK, *data, "--output", str(folder), "--quiet").exit_code == 0
    lines = [json.loads(line) for line in (folder / "search-scores.jsonl").read_text().splitlines()]
    keys = [(line["split"], line["steps"], line["schedule"], line["id"]) for line in lines]
    assert len(set(keys)) == len(keys)
    assert {line["split"] for line in lines} == {"report"} and {len(line["text"]) for line in lines} == {32}
    assert len([key for key in keys if key[1:3] == (8, "linear")]) == 12


def test_dry_run_prices_the_search_and_writes_nothing(tmp_path: Path) -> None:
    result = call(
        *("search", MARKOV, "--dry-run", "--json", "--output", str(tmp_path / "run"), "--trials", "5"),
        *("--set", "objective.metric=nelbo", "--set", "dataset={type: law, tune: 16, choose: 32, report: 64}"),
    )
    record = json.loads(result.stdout)
    rows = {phase["phase"]: phase["denoiser_rows"] for phase in record["phases"]}
    # An exact profile prices trials and finalists; what the report split can show is sampled.
    assert rows == {"tune": 2 * 16 * 12, "choose": 0, "report": 5 * 64 * 12}
    assert record["detectable_gain"] > 0 and record["peak_memory_bytes"] > 1e7
    assert [each["steps"] for each in record["reach"]] == [4, 8]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("order", "profile"), [("random", {"profile": 16 * 32}), ("confidence", {})])
def test_dry_run_counts_the_profile_that_a_search_starts_from(
    tmp_path: Path, order: str, profile: dict[str, int]
) -> None:
    result = call(
        *("search", TEXT, "--dry-run", "--json", "--output", str(tmp_path / "run"), "--trials", "5"),
        *("--set", "dataset={type: text, path: 'package:text', tune: 16, choose: 8, report: 8}"),
        *("--set", "sampler.steps=[2]", "--set", f"sampler.order={order}"),
    )
    rows = {phase["phase"]: phase["denoiser_rows"] for phase in json.loads(result.stdout)["phases"]}
    reference = 8 * 8  # linear at four times the steps shows how diverse samples can be
    assert rows == {**profile, "tune": 5 * 16 * 2, "choose": 7 * 8 * 2, "report": 5 * 8 * 2 + reference}


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
        (("sample", MARKOV, "--schedule", "threshold:0.9"), ("threshold:0.9 decides by itself", "mdm-tune evaluate")),
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
