"""Where a profile meets noise, interruption and unusual sizes: choosing by it, going on, rising curves, long laws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.run import profiles
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import parse_schedule
from mdm_tune.schedules.pricing import nelbo
from mdm_tune.schedules.profile import Profile
from mdm_tune.search.events import TrialDone
from tests.support.profile_runs import CHAIN, SPLITS, config, of, search


@pytest.mark.parametrize("seed", range(3))
def test_a_nelbo_search_on_an_exact_law_returns_its_best_trial(tmp_path: Path, seed: int) -> None:
    """Sampled on eight examples, the comparison of finalists would often prefer another one."""
    values: list[float] = []
    chosen = config(tmp_path, model=CHAIN, profile={}, seed=seed, sampler={"steps": [4]}, search__finalists=4)
    record = search(chosen, lambda event: values.append(event.value) if isinstance(event, TrialDone) else None)
    law = MarkovChain.sticky(2, 0.05, 12)
    (budget,) = record["budgets"]
    assert nelbo(law.profile(), budget["counts"]) == pytest.approx(min(values), abs=1e-9)
    assert all(found["ci"] is None for found in budget["choose"]) and budget["ci"] is not None


def test_finalists_are_chosen_on_examples_that_the_search_has_not_seen(tmp_path: Path) -> None:
    record = search(config(tmp_path, sampler={"steps": [4]}))
    files = [tmp_path / "run" / name for name in ("profile-values.json", "profile-values-choose.json")]
    tune, choose = (json.loads(file.read_text("utf-8"))["profile"] for file in files)
    assert tune["values"] != choose["values"] and len(choose["values"]) == SPLITS["choose"]
    curve = Profile.from_record(choose).monotone
    linear, raw = to_counts(parse_schedule("linear"), 4, 20), Profile.from_record(choose).curve
    for found in record["budgets"][0]["choose"]:
        counts = to_counts(parse_schedule(found["schedule"]), 4, 20)
        expected = nelbo(raw, linear) + nelbo(curve, counts) - nelbo(curve, linear)  # linear's is that of the losses
        assert found["value"] == pytest.approx(expected, rel=1e-12)
        assert found["ci"] is None and found["no_interval"] == "too few examples"  # 8 of them


def test_an_interruption_while_measuring_tells_a_command_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config(tmp_path)
    command = ["search", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", ["mdm-tune", *command])

    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(profiles, "measure_profile", interrupt)
        stopped = CliRunner().invoke(app, command)
    assert stopped.exit_code == 130 and "resume with: mdm-tune search" in stopped.stderr
    again = stopped.stderr.split("resume with: mdm-tune ")[1].split()
    assert CliRunner().invoke(app, again).exit_code == 0


def test_more_trials_do_not_propose_a_kept_start_twice(tmp_path: Path) -> None:
    """The first budget's winner changes with its trials; the second budget's study keeps the start it began with."""
    settings: dict[str, Any] = {
        "model": {**CHAIN, "length": 12},
        "sampler": {"steps": [2, 4], "order": "confidence", "temperature": 0.0},
        "objective": {"metric": "path_nll"},
        "search__strategy": "qmc",
    }
    search(config(tmp_path, **settings, search__trials=4))
    points: dict[int, list[tuple[float, float]]] = {2: [], 4: []}

    def keep(event: object) -> None:
        if isinstance(event, TrialDone):
            points[event.setting.steps].append((event.policy.a, event.policy.b))

    record = search(config(tmp_path, **settings, search__trials=9), keep, resume=True)
    whole = search(config(tmp_path, "whole", **settings, search__trials=9))
    assert record["trials"] == whole["trials"]
    for found in points.values():
        assert len(found) == len(set(found)) > 3


def test_a_failing_warm_start_is_done_without_and_a_needed_profile_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise InputError("the loss is infinite")

    monkeypatch.setattr(profiles, "measure_profile", fail)
    notes: list[str] = []
    found = of(config(tmp_path, objective={"metric": "path_nll"}, sampler={"steps": [4], "order": "margin"}))
    assert not found.uses  # other orders do not ask
    chosen = config(
        tmp_path,
        objective={"metric": "path_nll"},
        sampler={"steps": [4], "order": "margin"},
        search__warm_start="profile",
    )
    record = search(chosen, lambda event: notes.append(getattr(event, "text", "")))
    assert any("does not start from an information profile: the loss is infinite" in note for note in notes)
    assert record["profile"] is None and record["budgets"]
    with pytest.raises(InputError, match="the loss is infinite"):
        search(config(tmp_path, "needed"))


def test_the_adaptive_mode_looks_at_the_steps_that_are_asked_for(tmp_path: Path) -> None:
    chosen = config(tmp_path, profile={"points": 4, "examples": 8, "tolerance": 0.02}, dataset__tune=32)
    call = CliRunner().invoke
    command = ["profile", str(tmp_path / "c.yaml"), "--output", chosen.output, "--json"]
    few, many = (json.loads(call(app, [*command, "--steps", steps]).stdout) for steps in ("2", "16"))
    assert not many["reused"] and few["precision"] != many["precision"]
