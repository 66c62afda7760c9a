"""The result of a search as JSON, and read back.

Covers: claim_records.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mdm_tune.run.folder import RunFolder
from mdm_tune.run.page_records import BudgetDetails
from mdm_tune.run.schedule_records import ScheduleFileRecord
from mdm_tune.run.search_records import BudgetRecord, SearchResult
from mdm_tune.schedules.curves import Linear
from mdm_tune.search.outcomes import Ended, Ending, Outcome, Saving
from tests.search.test_confirmation import A, B, Bench, budgets_of, run_of
from tests.support.search_results import budget_record, search_result, two_budgets, with_gain, without_interval


def test_the_records_hold_claims_and_diversity(tmp_path: Path) -> None:
    bench = Bench({"linear": 3.0, A.name: 2.0, "data": 0.0}, tokens={A.name: 80})
    many = bench.made("linear", bench.setting(Linear(), 32), "report")
    trials = [bench.trial(0, A, 0.1), bench.trial(1, B, 9.0, dropped=True)]
    budgets = [
        bench.confirm(trials, claims=2, reference=many, ended=Ended.of(Ending.TIME)),
        *budgets_of({16: (2.5, 1.0)}),
    ]
    record = SearchResult.of(run_of(bench), RunFolder(tmp_path), budgets, None).to_json()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["confidence"] == {"each": 0.95, "familywise": 0.95, "budgets": 2, "policies": 1}
    (pair,) = record["frontier"]["pairs"]
    assert record["frontier"]["headline"] == pair and pair["no_worse"]
    assert (pair["steps"], pair["linear_steps"]) == (8, 16)
    assert pair["flags"] == ["less-diverse:token_entropy", "less-diverse-than-data:token_entropy"]
    first = record["budgets"][0]
    assert first["flags"] == pair["flags"] and not first["beats_linear"] and first["gain_over_linear"]["shown"]
    assert first["gain_over_linear"]["examples_that_differ"] == 64
    low, high = first["gain_over_linear"]["ci_familywise"]
    assert low < first["gain_over_linear"]["ci"][0] < first["gain_over_linear"]["ci"][1] < high
    assert set(first["diversity"]) == {"winner", "linear", "reference", "data"}
    losses = first["diversity_losses"]
    assert (losses["examples"], losses["threshold"], losses["reference_steps"]) == (64, 0.05, 32)
    assert losses["losses"][0] == {
        "figure": "token_entropy",
        "than": "reference",
        "share": pytest.approx(0.2),
        "share_of_linear": 0.0,
        "flagged": True,
        "blocks": True,
        "share_ci": pytest.approx((0.2, 0.2)),
    }
    assert (first["dropped"], first["ended"], first["all_reachable_counts_scored"]) == (
        1,
        "the time for trials is used up",
        False,
    )
    file = ScheduleFileRecord.of_search(run_of(bench), budgets, ()).to_json()
    assert (file["frontier"], file["confidence"]) == (record["frontier"], record["confidence"])
    assert file["budgets"][0]["diversity_losses"] == losses


def test_a_result_that_was_read_back_is_the_one_that_was_written(tmp_path: Path) -> None:
    """A bench where one budget has a loser, one exact values, and one is better; and a made-up one with diversity."""
    worse = Bench({"linear": 1.0, A.name: 3.0, f"choose {A.name}": 0.1})
    budgets = [worse.confirm([worse.trial(0, A, 0.1)], ended=Ended.of(Ending.ROWS, rows=1234))]
    assert budgets[0].loser is not None
    exact = Bench({"linear": float("inf"), A.name: 1.0}, exact=True)
    budgets.append(exact.confirm([exact.trial(0, A, 1.0)]))
    budgets += budgets_of({16: (2.5, 1.0)})
    for result in (
        SearchResult.of(run_of(worse), RunFolder(tmp_path), budgets, budgets[0].cost, seconds_late=1.5),
        search_result(),
    ):
        written = json.loads(json.dumps(result.to_json(), allow_nan=False))
        read = SearchResult.from_json(written)
        assert read.to_json() == written and list(read.to_json()) == list(written)
        assert [each.quality.outcome for each in read.budgets] == [each.quality.outcome for each in result.budgets]
        assert read.saving is result.saving
    assert [budget.outcome for budget in budgets[:2]] == [Outcome.WORSE, Outcome.BETTER]


@pytest.mark.parametrize(
    "change",
    [
        {"budgets": 3},
        {"trials": None},
        {"trials": "40"},
        {"frontier": {}},
        {"denoiser_rows": None},
        {"files": {"run": "runs"}},
    ],
)
def test_what_is_no_result_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|lacks"):
        SearchResult.from_json({**two_budgets(), **change})


def test_an_older_budget_without_the_details_of_the_page_can_be_read() -> None:
    record = budget_record().to_json()
    older = {key: value for key, value in record.items() if key not in BudgetDetails().to_json()}
    read = BudgetRecord.from_json(older)
    assert read.details == BudgetDetails() and read.to_json() == {**older, **BudgetDetails().to_json()}


@pytest.mark.parametrize("key", [key for key in budget_record().to_json() if key not in BudgetDetails().to_json()])
def test_a_budget_without_one_of_its_keys_is_refused(key: str) -> None:
    if key.startswith("calls_of_linear"):
        return
    record = budget_record().to_json()
    if key in (
        "no_interval",
        "independent",
        "policies",
        "stand_ins",
        "policy",
        "unreachable",
    ):  # which earlier files lack
        return
    del record[key]
    with pytest.raises(ValueError, match=r"lacks|has value and ci"):
        SearchResult.from_json({**two_budgets(), "budgets": [record]})


def test_the_outcome_of_a_budget_follows_from_its_record() -> None:
    assert budget_record().quality.outcome is Outcome.BETTER
    assert with_gain(ci_familywise=[-0.1, 0.1], shown=False).quality.outcome is Outcome.UNCORRECTED
    assert with_gain(ci=None, ci_familywise=None, shown=False).quality.outcome is Outcome.UNTESTED
    assert search_result().budgets[1].quality.outcome is Outcome.LESS_DIVERSE


def test_steps_are_saved_where_a_schedule_is_no_worse_than_linear_at_more_of_them() -> None:
    found = search_result()
    assert found.saving is Saving.SHOWN and found.claims.frontier.reached(8) == 16
    assert [found.saving_of(budget) for budget in found.budgets] == [None, Saving.SHOWN]
    none = two_budgets()
    none["frontier"] |= {"headline": None, "pairs": [{**none["frontier"]["pairs"][0], "no_worse": False}]}
    found = search_result(none)
    assert found.saving is Saving.NOT_SHOWN and found.claims.frontier.reached(8) is None
    assert [found.saving_of(budget) for budget in found.budgets] == [None, Saving.NOT_SHOWN]
    found = search_result({**none, "budgets": [without_interval(each) for each in none["budgets"]]})
    assert found.saving is Saving.UNTESTED and found.saving_of(found.budgets[1]) is Saving.UNTESTED


def test_fewer_calls_than_steps_have_two_reasons() -> None:
    assert not budget_record().idle_steps and not budget_record().ends_early
    assert budget_record(steps=6).idle_steps and budget_record(nfe=3.25, nfe_ci=[3.0, 3.5]).ends_early
    ancestral = budget_record(counts=None, alphas=[0.0, 0.5, 1.0], nfe=1.5, nfe_ci=[1.25, 1.75])
    assert not ancestral.idle_steps and not ancestral.ends_early
