"""A profile inside the other commands: kept, reused, shared, and the optimum by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.commands.sample import sample
from mdm_tune.config.file import Config
from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.analytic import MarkovChain, Mixture
from mdm_tune.run import profiles
from mdm_tune.run.profiles import ProfileUse
from mdm_tune.schedules.pricing import nelbo
from tests.support.profile_runs import (
    CHAIN,
    MODEL,
    WIDE,
    Rows,
    config,
    evaluate,
    of,
    refuse,
    search,
)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    return Rows(monkeypatch)


def test_a_profile_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: Rows) -> None:
    first = of(config(tmp_path))
    made = first.profile
    assert rows.number == made.denoiser_rows > 0 and not first.reused
    assert first.spent == first.cost and first.cost.denoiser_rows == rows.number
    monkeypatch.setattr(profiles, "measure_profile", refuse)
    again = of(config(tmp_path))
    np.testing.assert_array_equal(again.profile.values, made.values)
    np.testing.assert_array_equal(again.profile.revealed, made.revealed)
    assert again.reused and rows.number == made.denoiser_rows
    assert again.cost == first.cost and again.spent.denoiser_rows == 0
    changed = config(tmp_path, sampler__steps=[5], search__trials=3, sampler__batch=3, profile__monotone=False)
    assert of(changed).profile is not None  # what it does not depend on


def test_the_commands_share_one_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """profile first, then search, evaluate and sample; and search first in another folder, then profile."""
    chosen = config(tmp_path)
    call = CliRunner().invoke
    command = [str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run"), "--json"]
    first = json.loads(call(app, ["profile", *command]).stdout)
    other = config(tmp_path, "other")
    found = search(other)
    assert found["profile"]["denoiser_rows"] > first["denoiser_rows"] > 0 and not first["reused"]  # and to choose by
    assert search(chosen)["budgets"] == found["budgets"]
    monkeypatch.setattr(profiles, "measure_profile", refuse)
    again = call(app, ["profile", *command])
    record = json.loads(again.stdout)
    assert record["reused"] and "note: profile of the same model and data taken from" in again.stderr
    assert record["measured"] == first["measured"] and record["denoiser_rows"] == 0 < first["denoiser_rows"]
    now = ("reused", "notes", "denoiser_rows", "denoiser_tokens", "seconds")
    assert {k: v for k, v in record.items() if k not in now} == {k: v for k, v in first.items() if k not in now}
    assert json.loads(call(app, ["profile", *command[:2], str(tmp_path / "other"), "--json"]).stdout)["reused"]
    best = {b["steps"]: b["optimum"]["counts"] for b in first["budgets"]}
    listed = {row["steps"]: row["counts"] for row in evaluate(chosen)["rows"] if row["schedule"] == "optimum"}
    assert listed == best
    drawn = sample(chosen, "optimum", 4, 2).to_json()
    assert drawn["counts"] == best[4] and drawn["schedule"] == "optimum"


def test_evaluate_and_sample_measure_the_profile_when_it_is_absent(tmp_path: Path, rows: Rows) -> None:
    commands: tuple[Callable[[Config], dict[str, Any]], ...] = (
        lambda chosen: evaluate(chosen, ("optimum", "linear"), (4,)),
        lambda chosen: sample(chosen, "optimum", 4, 3).to_json(),
    )
    for number, command in enumerate(commands):
        before = rows.number
        record = command(config(tmp_path, f"run-{number}"))
        assert record["denoiser_rows"] == rows.number - before
        file = tmp_path / f"run-{number}" / "profile-values.json"
        profile = json.loads(file.read_text(encoding="utf-8"))["profile"]
        assert record["denoiser_rows"] > profile["denoiser_rows"] > 0
        before = rows.number
        assert command(config(tmp_path, f"run-{number}"))["denoiser_rows"] == rows.number - before
        assert rows.number - before == record["denoiser_rows"] - profile["denoiser_rows"]


def test_evaluate_lists_the_optimum_among_rows_and_comparisons(tmp_path: Path) -> None:
    chain = config(tmp_path, model=CHAIN, objective={"metric": "order_kl"}, dataset=None, profile={})
    record = evaluate(chain, ("linear", "optimum", "beta:1,1"), (3, 20))
    assert record["denoiser_rows"] == 0
    rows = {(row["schedule"], row["steps"]): row for row in record["rows"]}
    law = MarkovChain.sticky(2, 0.05, 12)
    best = min(nelbo(law.profile(), (i, j, 12 - i - j)) for i in range(1, 11) for j in range(1, 12 - i))
    assert rows["optimum", 3]["value"] == pytest.approx(best - law.entropy(), abs=1e-12)
    assert sum(rows["optimum", 3]["counts"]) == 12 and rows["optimum", 3]["nfe"] == 3
    assert rows["optimum", 20]["counts"] == [1] * 12
    pairs = {(c["first"], c["second"]): c for c in record["comparisons"] if c["steps"] == 3}
    assert set(pairs) == {("linear", "optimum"), ("linear", "beta:1,1"), ("optimum", "beta:1,1")}
    gap = rows["linear", 3]["value"] - rows["optimum", 3]["value"]
    assert pairs["linear", "optimum"] == {
        "first": "linear",
        "second": "optimum",
        "steps": 3,
        "ci": None,
        "no_interval": "exact",
        "independent": None,
        "difference": pytest.approx(gap, abs=1e-12),
        "calls_ratio": 1.0,
        "equal_cost": True,
    }
    assert gap > 0.1
    assert json.loads((tmp_path / "run" / "evaluate.json").read_text(encoding="utf-8"))["rows"] == record["rows"]


def test_without_examples_there_is_no_optimum(tmp_path: Path) -> None:
    chosen = config(tmp_path, dataset=None, profile={}, objective={"metric": "order_kl"}, model=CHAIN)
    assert of(chosen).possible
    short = Mixture(WIDE.weights, WIDE.components[:, :4])
    model = {**MODEL, "components": short.components.tolist()}
    chosen = config(tmp_path, dataset=None, profile={}, objective={"metric": "kl"}, model=model)
    assert of(chosen).profile.exact
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Mixture, "_set_entropies", lambda *args: (_ for _ in ()).throw(InputError("too large")))
        bare = of(chosen)
        assert not bare.possible and not bare.uses and bare.guide(2, []).points == ()
        with pytest.raises(InputError, match="an information profile is measured on examples; add a dataset section"):
            evaluate(chosen, ("optimum",), (2,))


# Prices against sampling


@pytest.mark.parametrize(
    ("changes", "uses", "splits"),
    [
        ({"search__warm_start": "off"}, ProfileUse.OBJECTIVE, ("tune", "choose")),
        ({}, ProfileUse.OBJECTIVE | ProfileUse.WARM_START, ("tune", "choose")),
        ({"objective__metric": "path_nll", "sampler__order": "margin"}, ProfileUse(0), ("tune",)),
        (
            {
                "objective__metric": "path_nll",
                "sampler": {"steps": [4], "order": "margin", "block_length": [10, 20], "block_steps": "tuned"},
                "search__baselines": ["linear", "optimum"],
            },
            ProfileUse.BLOCK_STEPS | ProfileUse.BASELINE,
            ("tune",),
        ),
    ],
)
def test_what_a_search_uses_a_profile_for(
    tmp_path: Path, changes: dict[str, Any], uses: ProfileUse, splits: tuple[str, ...]
) -> None:
    found = of(config(tmp_path, **changes)).uses
    assert found == uses and found.splits == splits
    assert found.needed == bool(uses & ~ProfileUse.WARM_START)
