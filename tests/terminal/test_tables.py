"""What the screen says, apart from how Rich draws it."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

from rich.console import Console

from mdm_tune.core.interval_text import estimate_text, is_exact
from mdm_tune.run.policy_records import PolicyRecord
from mdm_tune.run.record_parts import PlanRecord
from mdm_tune.terminal.cost_tables import detectable_lines
from mdm_tune.terminal.policy_tables import other_pastes
from mdm_tune.terminal.tables import (
    budget_table,
    budgets_table,
    diversity_table,
    headline,
    paste,
    short_names,
    verdict,
)
from tests.run.test_frontier_records import POINTS, record
from tests.run.test_policy_records import outcome
from tests.support.search_results import (
    BUDGET,
    EXACT,
    FLAGGED,
    LOSSES,
    UNTESTED,
    budget_record,
    search_result,
    two_budgets,
    with_gain,
    without_interval,
)
from tests.terminal.test_cost_tables import pilot


def shown(*tables: Any, width: int = 80) -> str:
    text = io.StringIO()
    console = Console(file=text, width=width)
    for table in tables:
        console.print(table)
    return text.getvalue()


def test_the_verdict_says_what_the_data_support() -> None:
    assert verdict(budget_record())[0] == "better than linear by 0.030 [0.020, 0.040]"
    none = with_gain(value=0.01, ci=[-0.01, 0.03], ci_familywise=[-0.02, 0.04], shown=False)
    assert verdict(none)[0] == "no gain over linear here: 0.010 [-0.010, 0.030]"
    alone = with_gain(value=0.02, ci=[0.001, 0.04], ci_familywise=[-0.01, 0.05], shown=False)
    assert verdict(alone)[0] == "no gain over linear is claimed: 0.020 [0.001, 0.040], corrected 0.020 [-0.010, 0.050]"
    few = with_gain(examples_that_differ=9, shown=False)
    assert verdict(few)[0] == "no gain over linear is claimed: 0.030 [0.020, 0.040], but only 9 examples differ"
    zeros = with_gain(value=0.0, ci=[0.0, 0.0], ci_familywise=[0.0, 0.0], examples_that_differ=0, shown=False)
    assert verdict(zeros)[0] == "no gain over linear here: the values are equal on every example"
    exact = with_gain(value=0.0, **EXACT)
    assert verdict(exact)[0] == "no gain over linear here: 0.00000"
    for value, text in ((0.2109, "0.2109"), (-0.2109, "-0.2109")):
        assert verdict(with_gain(value=value, **UNTESTED))[0] == f"untested: {text}, too few examples for an interval"


def test_a_loss_of_diversity_is_said_with_what_linear_loses() -> None:
    flagged = budget_record(FLAGGED)
    assert verdict(flagged)[:3] == [
        "better than linear by 0.030 [0.020, 0.040], but not counted as a win: the samples are less diverse",
        "  token entropy: 6.2 % below linear at 64 steps (linear at this budget: 1.1 %)",
        "  below the data (in brackets how far linear at this budget is): token entropy 12.0 % (10.0 %)",
    ]
    losses = [{**loss, "blocks": loss["than"] == "data"} for loss in LOSSES["losses"][2:]]
    blocked = budget_record(FLAGGED, diversity_losses={**LOSSES, "losses": losses})
    assert verdict(blocked)[1] == "  token entropy: 12.0 % below the data (linear at this budget: 10.0 %)"
    shared = [{**loss, "flagged": True, "blocks": False} for loss in LOSSES["losses"]]
    assert verdict(budget_record(FLAGGED, diversity_losses={**LOSSES, "losses": shared}))[1:3] == [
        "  below linear at 64 steps (in brackets how far linear at this budget is): token entropy 6.2 % (1.1 %), "
        "sample length 2.0 % (0.0 %)",
        "  below the data (in brackets how far linear at this budget is): token entropy 12.0 % (10.0 %)",
    ]
    assert diversity_table(budget_record()) is None
    table = diversity_table(flagged)
    assert table is not None  # the words of the page
    assert [str(column.header) for column in table.columns][1:3] == ["token entropy", "distinct trigrams"]
    lines = shown(table).splitlines()
    assert "diversity, 128 examples: a loss of 5 % is flagged" in lines[0]
    assert [line.split("  ")[1].strip() for line in lines[-5:-1]] == [
        "tuned",
        "linear",
        "linear at 64 steps",
        "the data itself",
    ]
    assert lines[-5].split()[1:] == ["2.450", "0.611", "60.2", "0.625"]


def test_fewer_calls_and_an_early_stop_are_said() -> None:
    lines = verdict(budget_record(steps=6, ended="the time for trials is used up", dropped=7, cut=2))
    assert "stopped early: the time for trials is used up" in lines
    nothing = "nothing to tune: all schedules of the box have the same counts"
    assert nothing in verdict(budget_record(ended=nothing))
    assert any("4 denoiser calls, not 6" in line for line in lines)
    assert any("7 of 20 trials were dropped early" in line for line in lines)
    assert any("2 of 20 trials were cut off" in line for line in lines)
    why = "klass:0.01@0 cannot make 4 calls at 4 steps: it makes at least 5.9 (at 0)"
    one, two = verdict(budget_record(unreachable=[why])), verdict(budget_record(unreachable=[why, "quota cannot"]))
    assert f"1 of 20 trials missed the calls of the budget: {why}" in one and not any("dropped" in line for line in one)
    assert f"2 of 20 trials missed the calls of the budget, for example: {why}" in two
    assert len(verdict(budget_record())) == 2
    ended = verdict(budget_record(nfe=3.25, nfe_ci=[3.0, 3.5]))
    assert ended[2:] == ["3.25 [3.00, 3.50] denoiser calls in the mean, not 4: some answers end early, or are shorter"]


def test_long_names_are_shortened_where_they_stay_apart() -> None:
    long = "beta:0.10000000000000002,0.10000000000000001"
    assert short_names([long, "linear", "/runs/a/schedule.yaml"]) == {
        long: "beta:0.1,0.1",
        "linear": "linear",
        "/runs/a/schedule.yaml": "schedule.yaml",
    }
    assert short_names([long, "beta:0.1,0.1"]) == {long: long, "beta:0.1,0.1": "beta:0.1,0.1"}


def test_the_budgets_stand_side_by_side() -> None:
    table = budgets_table(search_result())
    assert table is not None
    cells = [list(map(str, column.cells)) for column in table.columns]
    assert cells[:4] == [["8", "16"], ["8", "16"], ["0.760", "0.800"], ["0.803", "0.803"]]
    assert cells[4] == ["0.030 [0.018, 0.042]"] * 2
    assert cells[5] == ["16", ""]
    assert cells[6] == ["token entropy", ""]
    assert "…" not in shown(table)
    worse = two_budgets()
    worse["frontier"]["pairs"][0]["no_worse"] = False
    assert list((budgets_table(search_result(worse)) or table).columns[5].cells) == ["none", ""]
    assert budgets_table(search_result({**two_budgets(), "budgets": [BUDGET]})) is None
    worse["budgets"] = [without_interval(budget) for budget in worse["budgets"]]
    assert list((budgets_table(search_result(worse)) or table).columns[5].cells) == ["untested", ""]


def test_the_headline_says_what_is_saved_and_what_it_takes_for_granted() -> None:
    how = "(margin 1 %, one-sided 95 %, corrected for 1 comparison)"
    claim = "at 8 steps the tuned schedule is as good as linear at 16: linear makes 2.0 times as many denoiser calls "
    claim += f"(without an interval) {how}"
    together = "gains are claimed where they hold for all 2 budgets together at 95 %"
    assert headline(search_result()) == [together, claim]
    better = headline(search_result(better=True, ratio_ci=[1.9, 2.1], calls_vary=True))[1]
    assert "is better than linear at 16: linear makes 2.00 [1.90, 2.10] times as many denoiser calls (margin" in better
    fixed = headline(search_result(calls_vary=False))[1]
    assert "linear makes 2.0 times as many denoiser calls (the same for every example) (margin" in fixed
    also = "  so is linear at 8 steps: the saving is not the schedule's"
    assert headline(search_result(linear_too=True))[2] == also
    assert headline(search_result(flags=["less-diverse:x"]))[2] == "  its samples are flagged: less-diverse:x"
    several = two_budgets()
    several["confidence"] = {**several["confidence"], "policies": 3}
    assert headline(search_result(several))[1] == claim.replace("tuned schedule", "tuned policy")
    assert headline(search_result(several))[0] == together.replace("2 budgets", "2 budgets and 3 policies")
    several["confidence"]["budgets"] = 1
    assert headline(search_result(several)) == ["gains are claimed where they hold for all 3 policies together at 95 %"]
    none = two_budgets()
    none["frontier"]["headline"] = None
    shown = f"no tuned schedule is shown to be as good as linear at a larger budget {how}"
    assert headline(search_result(none))[1] == shown
    one = {**none["confidence"], "budgets": 1}
    assert headline(search_result({**none, "confidence": one})) == []
    few = {**none, "budgets": [without_interval(budget) for budget in none["budgets"]]}
    assert headline(search_result(few))[1] == (
        "untested, too few examples: whether a tuned schedule is as good as linear at a larger budget " + how
    )
    exact = two_budgets()
    exact["budgets"][0] = {**BUDGET, "ci": None, "independent": None}
    assert headline(search_result(exact)) == [claim.replace(how, "(margin 1 %, computed exactly)")]


def test_a_gain_at_more_calls_is_worded_by_their_interval_and_the_kind_that_counts_is_named_first() -> None:
    calls = {"flags": ["more-calls"], "calls_of_linear": 1.04, "calls_of_linear_ci": [0.99, 1.09]}
    threshold = PolicyRecord.of(outcome("threshold:0.9")).to_json()
    quota = {**threshold, "kind": "quota", "policy": "quota:linear#8@0.9"}
    kinds = [quota, {**threshold, "beats_linear": False, "more_calls": True}]
    found = budget_record(**calls, policies=kinds, policy="threshold:0.9", counts=None)
    gain = PolicyRecord.from_json(quota).gain_over_linear
    assert gain is not None and verdict(found)[:2] == [
        "better than linear by 0.030 [0.020, 0.040], but at 4 [-1, 9] % more calls than linear: not surely a gain at "
        "equal cost",
        "at no more calls than linear (2 % tolerated): quota:linear#8@0.9, 8 calls, is better by "
        + gain.corrected_text,
    ]
    (other,) = other_pastes(replace(search_result(), budgets=(found,)))
    assert "'quota:linear#8@0.9'" in other and other.endswith("; better than linear at no more calls")
    sure = budget_record(**{**calls, "calls_of_linear_ci": [1.03, 1.05]}, policy="threshold:0.9", counts=None)
    assert verdict(sure)[0].endswith("4.0 [3.0, 5.0] % more calls than linear: no gain at equal cost")
    saved = search_result(flags=["more-calls"])
    assert not any("flagged" in line for line in headline(saved))  # what is saved counts the calls that were made


def test_the_cheapest_policy_can_be_pasted_where_no_budget_offers_it() -> None:
    frontier = record(POINTS)
    assert frontier.cheapest is not None and [*other_pastes(search_result())] == []
    (line,) = other_pastes(replace(search_result(), policy_frontier=frontier))
    assert line.startswith("schedule = 'threshold:0.9'  # about 16 denoiser calls")
    assert line.endswith("; the cheapest within 5 % of one token per step")
    won = replace(search_result(), budgets=(budget_record(policy="threshold:0.9", counts=None),))
    assert [*other_pastes(replace(won, policy_frontier=frontier))] == []


def test_counts_can_be_pasted() -> None:
    namespace: dict[str, Any] = {}
    exec(paste(BUDGET["steps"], PlanRecord.from_json(BUDGET)), namespace)
    assert namespace["counts"] == [1, 2, 3, 2]
    exec(paste(8, PlanRecord(block_length=None, counts=None, alphas=(0.0, 1 / 3, 1.0))), namespace)
    assert namespace["alphas"] == [0, 1 / 3, 1]


def test_file_names_are_shortened_while_that_tells_them_apart() -> None:
    assert short_names(["linear", "runs/a/schedule.yaml"])["runs/a/schedule.yaml"] == "schedule.yaml"
    blocks = ["runs/a/schedule.yaml in blocks of 8", "beta:0.123456,0.3 in blocks of 16"]
    assert [*short_names(blocks).values()] == ["schedule.yaml in blocks of 8", "beta:0.1235,0.3 in blocks of 16"]
    two = ["runs/a/schedule.yaml", "runs/b/schedule.yaml"]
    assert short_names(two) == {name: name for name in two}


def test_values_of_too_few_examples_say_so_in_place_of_an_interval() -> None:
    few = {"value": 0.875, "ci": None, "no_interval": "too few examples"}
    exact = {"value": 0.875, "ci": None, "no_interval": "exact"}
    assert estimate_text(few) == "0.875 (too few examples)" and not is_exact(few)
    assert estimate_text(exact) == "0.87500" and is_exact(exact)
    gain = {**BUDGET["gain_over_linear"], **UNTESTED, "value": 0.875}
    small: dict[str, Any] = {"n": 9, "independent": 9, "detectable_gain": None, "gain_can_be_shown": False}
    lines = verdict(budget_record(gain_over_linear=gain, beats_linear=False, **small))
    assert lines[0] == "untested: 0.875, too few examples for an interval"
    (line,) = (line for line in lines if line.startswith("no gain can be shown with 9 report examples"))
    assert "dataset.report" in line
    warning, advice = detectable_lines(pilot(needed=40, report=9, linear=0.5))
    assert warning.startswith("warning: no gain can be shown with 9 report examples") and "to 40 or more" in advice


def test_a_claim_that_lacks_examples_that_differ_says_how_many_it_takes() -> None:
    gain = {"value": 0.1, "ci": [0.05, 0.15], "ci_familywise": [0.04, 0.16], "shown": False}
    lacking = with_gain(**gain, examples_that_differ=12, examples_that_must_differ=32)
    assert "only 12 examples differ, of 32 that a claim takes" in verdict(lacking)[0]


def test_a_hand_made_winner_is_not_called_tuned() -> None:
    sine = {**BUDGET["baselines"]["linear"], "value": 0.8}
    record = budget_record(
        schedule={"type": "sine", "a": None, "b": None, "policy": None},
        baselines={**BUDGET["baselines"], "sine": sine},
    )
    assert verdict(record)[:2] == [
        "no schedule found that is better than the hand-made sine",
        "better than linear by 0.030 [0.020, 0.040]",
    ]
    assert "chosen: sine (hand-made)" in shown(budget_table(record))
    assert "tuned: " in shown(budget_table(budget_record())) and "found" not in verdict(budget_record())[0]
