"""What the screen says, apart from how Rich draws it."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from mdm_tune.core.intervals import estimate_text, is_exact
from mdm_tune.run.record_parts import PlanRecord
from mdm_tune.terminal.cost_tables import detectable_lines
from mdm_tune.terminal.tables import (
    budgets_table,
    diversity_table,
    headline,
    paste,
    short_names,
    verdict,
)

BUDGET: dict[str, Any] = {
    "steps": 4,
    "nfe": 4,
    "nfe_ci": None,
    "block_length": 8,
    "counts": [1, 2, 3, 2],
    "alphas": None,
    "linear": "linear",
    "gain_over_first_linear": None,
    "gain_over_linear": {
        "value": 0.03,
        "ci": [0.02, 0.04],
        "ci_familywise": [0.018, 0.042],
        "examples_that_differ": 60,
        "shown": True,
    },
    "beats_linear": True,
    "flags": [],
    "diversity": None,
    "diversity_losses": None,
    "detectable_gain": 0.016,
    "trials": 20,
    "dropped": 0,
    "cut": 0,
    "ended": None,
}
LOSSES: dict[str, Any] = {
    "examples": 128,
    "threshold": 0.05,
    "reference_steps": 64,
    "losses": [
        {"figure": "token_entropy", "than": "reference", "share": 0.062, "share_of_linear": 0.011}
        | {"flagged": True, "blocks": True},
        {"figure": "answer_length", "than": "reference", "share": 0.02, "share_of_linear": 0.0}
        | {"flagged": False, "blocks": False},
        {"figure": "token_entropy", "than": "data", "share": 0.12, "share_of_linear": 0.1}
        | {"flagged": True, "blocks": False},
    ],
}
FLAGGED = {
    **BUDGET,
    "beats_linear": False,
    "flags": ["less-diverse:token_entropy", "less-diverse-than-data:token_entropy"],
    "diversity_losses": LOSSES,
    "diversity": {
        who: {
            "token_entropy": {"value": value, "ci": [value - 0.05, value + 0.05]},
            "distinct_tokens": {"value": 0.611, "ci": [0.6, 0.62]},
            "answer_length": {"value": 60.25, "ci": [59.75, 60.75]},
            "distinct_words": {"value": 0.625, "ci": [0.6, 0.65]},
        }
        for who, value in (("winner", 2.45), ("linear", 2.58), ("reference", 2.61), ("data", 2.79))
    },
}


def better(**changes: Any) -> dict[str, Any]:
    return {**BUDGET, "beats_linear": False, "gain_over_linear": {**BUDGET["gain_over_linear"], **changes}}


def shown(*tables: Any, width: int = 80) -> str:
    text = io.StringIO()
    console = Console(file=text, width=width)
    for table in tables:
        console.print(table)
    return text.getvalue()


def test_the_verdict_says_what_the_data_support() -> None:
    assert verdict(BUDGET)[0] == "better than linear by 0.030 [0.020, 0.040]"
    none = better(value=0.01, ci=[-0.01, 0.03], ci_familywise=[-0.02, 0.04], shown=False)
    assert verdict(none)[0] == "no gain over linear here: 0.010 [-0.010, 0.030]"
    alone = better(value=0.02, ci=[0.001, 0.04], ci_familywise=[-0.01, 0.05], shown=False)
    assert verdict(alone)[0] == "no gain over linear is claimed: 0.020 [0.001, 0.040], corrected 0.020 [-0.010, 0.050]"
    few = better(examples_that_differ=9, shown=False)
    assert verdict(few)[0] == "no gain over linear is claimed: 0.030 [0.020, 0.040], but only 9 examples differ"
    exact = better(value=0.0, ci=None, ci_familywise=None, examples_that_differ=None, shown=False)
    assert verdict(exact)[0] == "no gain over linear here: 0.00000"
    for value, text in ((0.2109, "0.2109"), (-0.2109, "-0.2109")):
        untested = better(value=value, ci=None, ci_familywise=None, no_interval="too few examples", shown=False)
        assert verdict(untested)[0] == f"untested: {text}, too few examples for an interval"


def test_a_loss_of_diversity_is_said_with_what_linear_loses() -> None:
    assert verdict(FLAGGED)[:3] == [
        "better than linear by 0.030 [0.020, 0.040], but not counted as a win: the samples are less diverse",
        "  token entropy: 6.2 % below linear at 64 steps (linear at this budget: 1.1 %)",
        "  below the data (in brackets how far linear at this budget is): token entropy 12.0 % (10.0 %)",
    ]
    losses = [{**loss, "blocks": loss["than"] == "data"} for loss in LOSSES["losses"][2:]]
    blocked = {**FLAGGED, "diversity_losses": {**LOSSES, "losses": losses}}
    assert verdict(blocked)[1] == "  token entropy: 12.0 % below the data (linear at this budget: 10.0 %)"
    shared = [{**loss, "flagged": True, "blocks": False} for loss in LOSSES["losses"]]
    assert verdict({**FLAGGED, "diversity_losses": {**LOSSES, "losses": shared}})[1:3] == [
        "  below linear at 64 steps (in brackets how far linear at this budget is): token entropy 6.2 % (1.1 %), "
        "answer length 2.0 % (0.0 %)",
        "  below the data (in brackets how far linear at this budget is): token entropy 12.0 % (10.0 %)",
    ]
    assert diversity_table(BUDGET) is None
    lines = shown(diversity_table(FLAGGED)).splitlines()
    assert "diversity, 128 examples: a loss of 5 % is flagged" in lines[0]
    assert [line.split("  ")[1].strip() for line in lines[-5:-1]] == [
        "tuned",
        "linear",
        "linear at 64 steps",
        "the data itself",
    ]
    assert lines[-5].split()[1:] == ["2.450", "0.611", "60.2", "0.625"]


def test_fewer_calls_and_an_early_stop_are_said() -> None:
    lines = verdict({**BUDGET, "steps": 6, "ended": "the time for trials is used up", "dropped": 7, "cut": 2})
    assert "stopped early: the time for trials is used up" in lines
    assert any("4 denoiser calls, not 6" in line for line in lines)
    assert any("7 of 20 trials were dropped early" in line for line in lines)
    assert any("2 of 20 trials were cut off" in line for line in lines)
    assert len(verdict(BUDGET)) == 2
    ended = verdict({**BUDGET, "nfe": 3.25, "nfe_ci": [3.0, 3.5]})
    assert ended[2:] == ["3.25 [3.00, 3.50] denoiser calls in the mean, not 4: some answers end early, or are shorter"]


def test_long_names_are_shortened_where_they_stay_apart() -> None:
    long = "beta:0.10000000000000002,0.10000000000000001"
    assert short_names([long, "linear", "/runs/a/schedule.yaml"]) == {
        long: "beta:0.1,0.1",
        "linear": "linear",
        "/runs/a/schedule.yaml": "schedule.yaml",
    }
    assert short_names([long, "beta:0.1,0.1"]) == {long: long, "beta:0.1,0.1": "beta:0.1,0.1"}


def several(**changes: Any) -> dict[str, Any]:
    """A search of two budgets, the larger one first."""
    value = {"value": 0.803, "ci": [0.79, 0.816]}
    one = {**FLAGGED, **value, "steps": 8, "nfe": 8.0, "baselines": {"linear": {"value": 0.76, "ci": [0.75, 0.77]}}}
    two = {**BUDGET, **value, "steps": 16, "nfe": 16.0, "baselines": {"linear": {"value": 0.8, "ci": [0.79, 0.81]}}}
    pair = {"steps": 8, "linear_steps": 16, "ratio": 2.0, "no_worse": True, "linear_too": False, "flags": []}
    frontier = {"margin": 0.01, "confidence": 0.95, "pairs": [pair], "headline": {**pair, **changes}}
    return {"budgets": [two, one], "confidence": {"budgets": 2}, "frontier": frontier}


def untested(budget: dict[str, Any]) -> dict[str, Any]:
    lacking = {"ci": None, "no_interval": "too few examples"}
    gain = {**budget["gain_over_linear"], **lacking, "ci_familywise": None, "shown": False}
    linear = {**budget["baselines"]["linear"], **lacking}
    return {**budget, **lacking, "gain_over_linear": gain, "baselines": {"linear": linear}}


def test_the_budgets_stand_side_by_side() -> None:
    table = budgets_table(several())
    assert table is not None
    cells = [list(map(str, column.cells)) for column in table.columns]
    assert cells[:4] == [["8", "16"], ["8", "16"], ["0.760", "0.800"], ["0.803", "0.803"]]
    assert cells[4] == ["0.030 [0.018, 0.042]"] * 2
    assert cells[5] == ["16", ""]
    assert cells[6] == ["token entropy", ""]
    assert "…" not in shown(table)
    worse = several()
    worse["frontier"]["pairs"][0]["no_worse"] = False
    assert list((budgets_table(worse) or table).columns[5].cells) == ["none", ""]
    assert budgets_table({**several(), "budgets": [BUDGET]}) is None
    worse["budgets"] = [untested(budget) for budget in worse["budgets"]]
    assert list((budgets_table(worse) or table).columns[5].cells) == ["untested", ""]


def test_the_headline_says_what_is_saved_and_what_it_takes_for_granted() -> None:
    how = "(margin 1 %, one-sided 95 %, corrected for 1 comparison)"
    claim = f"at 8 steps the tuned schedule is no worse than linear at 16: 2.0 times fewer denoiser calls {how}"
    assert headline(several()) == ["gains are claimed where they hold for all 2 budgets together at 95 %", claim]
    assert headline(several(linear_too=True))[2] == "  so is linear at 8 steps: the saving is not the schedule's"
    assert headline(several(flags=["less-diverse:x"]))[2] == "  its samples are flagged: less-diverse:x"
    none = several()
    none["frontier"]["headline"] = None
    assert headline(none)[1] == f"no tuned schedule is shown to be as good as linear at a larger budget {how}"
    assert headline({**none, "confidence": {"budgets": 1}}) == []
    assert headline({**none, "budgets": [untested(budget) for budget in none["budgets"]]})[1] == (
        "untested, too few examples: whether a tuned schedule is as good as linear at a larger budget " + how
    )
    exact = several()
    exact["budgets"][0] = {**BUDGET, "ci": None}
    assert headline(exact) == [claim.replace(how, "(margin 1 %, computed exactly)")]


def test_counts_can_be_pasted() -> None:
    namespace: dict[str, Any] = {}
    exec(paste(BUDGET["steps"], PlanRecord.from_json(BUDGET)), namespace)
    assert namespace["counts"] == [1, 2, 3, 2]
    exec(paste(8, PlanRecord(block_length=None, counts=None, alphas=(0.0, 0.25, 1.0))), namespace)
    assert namespace["alphas"] == [0, 0.25, 1]


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
    gain = {**BUDGET["gain_over_linear"], **few, "ci_familywise": None, "shown": False}
    lines = verdict(
        {
            **BUDGET,
            "gain_over_linear": gain,
            "beats_linear": False,
            "detectable_gain": None,
            "n": 9,
            "gain_can_be_shown": False,
        }
    )
    assert lines[0] == "untested: 0.875, too few examples for an interval"
    assert "no gain can be shown with 9 report examples; raise dataset.report" in lines
    pilot = {
        "steps": 8,
        "gain": None,
        "limit": 0.1,
        "linear": 0.5,
        "squared_sine_minus_linear": few,
        "report": 9,
        "report_needed": 40,
        "budgets": 1,
        "large": True,
    }
    warning, advice = detectable_lines(pilot)
    assert warning.startswith("warning: no gain can be shown with 9 report examples") and "to 40 or more" in advice


def test_a_claim_that_lacks_examples_that_differ_says_how_many_it_takes() -> None:
    gain = {
        "value": 0.1,
        "ci": [0.05, 0.15],
        "ci_familywise": [0.04, 0.16],
        "no_interval": None,
        "shown": False,
        "examples_that_differ": 12,
        "examples_that_must_differ": 32,
    }
    line = verdict({**BUDGET, "gain_over_linear": gain, "beats_linear": False})[0]
    assert "only 12 examples differ, of 32 that a claim takes" in line
