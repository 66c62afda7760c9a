"""What a dry run times and prices: the replicas and the share of the machine that a real run would have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.commands import dry_run as module
from mdm_tune.config.file import load_config
from mdm_tune.evaluation.filling import PoolFiller
from mdm_tune.evaluation.scores import Cost
from mdm_tune.run.build import Run, build
from mdm_tune.run.dry_run_records import BusyRecord
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.profiles import profiles_of
from mdm_tune.sampling.pieces import LocalPool
from mdm_tune.sampling.unmasking import Unmasked
from mdm_tune.terminal.cost_tables import busy_replicas
from tests.support import profile_runs, searches
from tests.test_cli import CONFIGS, MARKOV, call

SECTIONS: dict[str, Any] = {
    "model": {"type": "markov", "length": 8, "flip": 0.1},
    "dataset": {"type": "law", "tune": 200, "choose": 16, "report": 24},
    "sampler": {"steps": [4], "order": "margin", "batch": 40},
    "objective": {"metric": "path_nll"},
    "search": {"trials": 6, "finalists": 2, "baselines": ["linear"], "auto_stop": False},
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SECTIONS), encoding="utf-8")
    return tmp_path / "c.yaml"


def timed(config: Path, copies: int = 1) -> tuple[Run, list[int]]:
    """A run in which a denoiser row takes one second, and the examples of its calls. copies: of its pool."""
    run, sizes, now = with_copies(config, copies), list[int](), [0.0]

    def slow(result: Unmasked) -> None:
        sizes.append(len(result.tokens))
        now[0] += result.denoiser_rows

    return replace(run, evaluator=searches.timed(run.evaluator, slow, lambda: now[0])), sizes


def with_copies(config: Path, copies: int) -> Run:
    """A run whose pool has so many copies, in this process."""
    run = build(load_config(config))
    filler = PoolFiller(LocalPool(run.evaluator.denoiser, copies=copies))
    return replace(run, evaluator=replace(run.evaluator, fill_with=filler))


@pytest.mark.parametrize("copies", [1, 3])
def test_each_replica_gets_a_batch_of_its_own(config: Path, copies: int) -> None:
    run, sizes = timed(config, copies)
    module._priced(run, RunFolder(config.parent / "run"))
    assert sizes == [40 * copies] * 2


def test_replicas_that_wait_are_priced_and_named(config: Path) -> None:
    """By hand, for three replicas and batches of 40: looks at 13, 25, 50, 100 and 200 examples, two batches of four."""
    run, _ = timed(config)
    assert module._priced(run, RunFolder(config.parent / "run")).busy_replicas is None
    run, _ = timed(config, copies=3)
    found = module._priced(run, RunFolder(config.parent / "run"))
    assert found.busy_replicas == BusyRecord(replicas=3, together=4, pieces=2, busy=0.667, together_to_fill=7)
    assert busy_replicas(found.busy_replicas) == (
        "a batch of 4 trials is 2 pieces at its first look, which keep 67 % of the 3 replicas busy; search.together 7 "
        "would fill them"
    )
    tune = [5] + 2 * [2, 2, 3, 5, 10]  # pieces of linear, and of what each look adds
    rounds = 2 + 2 * (1 + 1 + 1 + 2 + 4)
    stretched = [3 * rounds / sum(tune), *[3 * (2 + 1) / (4 + 1)] * 2]
    assert [phase.cost.seconds / phase.cost.denoiser_rows for phase in found.phases] == pytest.approx(
        stretched, abs=1e-3
    )


def test_each_phase_is_priced_by_its_rows(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = timed(config)
    phases = module._priced(run, RunFolder(config.parent / "run")).phases
    assert [phase.cost.denoiser_rows for phase in phases] == [6 * 200 * 4, 3 * 16 * 4, 2 * 24 * 4]
    assert [phase.cost.seconds for phase in phases] == [phase.cost.denoiser_rows for phase in phases]


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({}, 20 * 6),
        ({"profile__answers": "model"}, 20 * (6 + 20)),
        ({"profile__answers": "model", "profile__tolerance": 0.5}, 20 * 6 + 24 * 20),
        ({"sampler__block_length": 5}, 20 * 8),
        ({"sampler__block_length": [20, 5], "sampler__steps": [4], "profile__answers": "model"}, 20 * (6 + 8 + 2 * 20)),
    ],
)
def test_a_profile_is_priced_with_its_answers_and_the_ends_of_all_blocks(
    tmp_path: Path, changes: dict[str, Any], rows: int
) -> None:
    """On 12 tune and 8 choose examples; what the profiles then take is no more."""
    run = build(profile_runs.config(tmp_path, **{"sampler__steps": [4], **changes}))
    (phase,) = (each for each in module._phases(run, Cost(1, 20, 1.0)) if each.phase == "profile")
    assert phase.cost.denoiser_rows == rows
    spent = 0
    _, by_length = profiles_of(run, RunFolder(run.config.output), lambda event: None)
    for profiles in by_length.values():
        profiles.prepare_choice()
        spent += profiles.profile.denoiser_rows + profiles.on_choose_split.denoiser_rows
    assert 0.5 * rows < spent <= rows


@pytest.mark.parametrize("slow", [False, True])
def test_what_a_first_batch_sets_up_is_not_counted_for_every_row(
    config: Path, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    """Rows of 1 s or of 1 ms; the first batch takes 100 s more."""
    run, now, second, first = build(load_config(config)), [0.0], 1.0 if slow else 0.001, [100.0]

    def once(result: Unmasked) -> None:
        now[0] += result.denoiser_rows * second + first[0]
        first[0] = 0.0

    run = replace(run, evaluator=searches.timed(run.evaluator, once, lambda: now[0]))
    phases = module._priced(run, RunFolder(config.parent / "run")).phases
    assert [phase.cost.seconds for phase in phases] == pytest.approx(
        [phase.cost.denoiser_rows * second for phase in phases], abs=1e-3
    )
    assert not run.evaluator.book._first


def test_what_was_timed_is_said(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdm_tune.sampling.devices.available_cpus", lambda: 2)
    command = ["search", str(config), "--dry-run", "--output", str(config.parent / "run")]
    alone = CliRunner().invoke(app, [*command, "--set", "search.timeout=1000000"])
    assert alone.exit_code == 0 and "at most" in alone.stderr
    assert "replicas" not in alone.stderr and "search.timeout" not in alone.stderr
    result = CliRunner().invoke(app, [*command, "--devices", "cpu:2", "--set", "search.timeout=0.001"])
    assert result.exit_code == 0, result.stderr
    assert "at most, on 2 replicas (cpu, cpu)" in result.stderr
    assert "search.timeout: 0.001 s are given, and the comparison on unseen examples" in result.stderr
    assert not (config.parent / "run").exists()


def test_tokens_of_a_row_are_those_of_its_split() -> None:
    """Two choose rows of 3 and 5 tokens, padding aside, and a report row of 6, whatever the tune split has."""
    start = {"choose": torch.tensor([[-1, -1, 1, 2, 2], [0, 1, 2, 2, 2]]), "report": torch.tensor([[0, 0, 2, 2, 2, 2]])}
    splits = {use: SimpleNamespace(start=rows) for use, rows in start.items()}
    evaluator = SimpleNamespace(denoiser=SimpleNamespace(forwards=2), length=3)
    run: Any = SimpleNamespace(evaluator=evaluator, dataset=SimpleNamespace(splits=splits))
    assert module._forwards_and_tokens(run, "choose") == (2, 4.0)
    assert module._forwards_and_tokens(run, "report") == (2, 6.0)
    run.dataset = None
    assert module._forwards_and_tokens(run, "report") == (2, 3)


TEXT = str(CONFIGS / "text.yaml")


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


def test_budgets_with_nothing_to_tune_are_said_first_and_cost_no_trial(config: Path) -> None:
    """Of the 8 tokens, 8 steps reveal one each: there the report split alone is filled in, once for all schedules."""

    def rows(*steps: int) -> tuple[dict[str, int], dict[str, Any]]:
        done = call("search", str(config), "--dry-run", "--json", "--quiet", "--set", f"sampler.steps={list(steps)}")
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        return {each["phase"]: each["denoiser_rows"] for each in found["phases"]}, found

    alone, few = rows(4)
    both, found = rows(8, 4)
    assert both["tune"] == alone["tune"] and both["choose"] == alone["choose"]
    assert both["report"] == alone["report"] + 8 * 24
    assert few["warnings"] == [] and found["gain_can_be_shown"] is not None
    (warning,) = found["warnings"]
    assert warning["code"] == "nothing-to-tune" and warning["advice"] == "give 2 to 7 steps in sampler.steps"
    assert warning["text"].startswith("at 8 steps each step reveals one token: every schedule has the same counts")
    more, none = rows(9, 4)[1]["warnings"]
    assert (more["code"], more["advice"], none["advice"]) == ("more-steps-than-tokens", "", warning["advice"])
    assert more["text"].startswith("9 steps are more than the 8 tokens to fill") and "at 9 steps each" in none["text"]


def test_the_gain_is_estimated_at_a_budget_where_the_two_schedules_differ(config: Path) -> None:
    """Linear and squared-sine have the same counts in 2 steps, but other schedules do not."""
    for steps, known in (("[2]", False), ("[2, 4]", True)):
        done = call("search", str(config), "--dry-run", "--json", "--quiet", "--set", f"sampler.steps={steps}")
        found = json.loads(done.stdout)
        assert (found["gain_can_be_shown"] is not None) == known and found["warnings"] == []


def test_a_search_says_first_where_nothing_can_be_tuned(config: Path) -> None:
    done = call("search", str(config), "--output", str(config.parent / "run"), "--set", "sampler.steps=[1, 8]")
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    text = "at 1, 8 steps all tokens are revealed at once, or each step reveals one token: every schedule has the same"
    assert text in said and "no trial runs at any budget of this search" in said
    assert said.index(text) < said.index("1 step: 1 count vector; nothing to tune")


@pytest.mark.parametrize(
    ("setting", "advice"),
    [
        ("sampler={steps: [2], block_length: 4, order: random}", "give 4 steps in sampler.steps, 2 for each block"),
        ("sampler={steps: [4], block_length: 2, order: random}", "a schedule needs at least 3 tokens per block"),
        ("sampler={steps: [1], reveal: bernoulli, order: random}", "give 2 steps or more in sampler.steps"),
    ],
)
def test_what_to_give_where_nothing_can_be_tuned(config: Path, setting: str, advice: str) -> None:
    sections = {**SECTIONS, "objective": {"metric": "nelbo"}, "sampler": yaml.safe_load(setting.partition("=")[2])}
    config.write_text(yaml.safe_dump(sections), encoding="utf-8")
    done = call("search", str(config), "--dry-run", "--json", "--quiet")
    assert done.exit_code == 0, done.output
    (warning,) = json.loads(done.stdout)["warnings"]
    assert warning["code"] == "nothing-to-tune" and advice in warning["advice"]
