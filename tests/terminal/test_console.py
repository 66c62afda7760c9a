"""What the screen says, apart from how Rich draws it."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from mdm_tune.core.intervals import estimate_text, is_exact
from mdm_tune.core.statistics import Estimate
from mdm_tune.evaluation.evaluator import Cost
from mdm_tune.run.evaluate_records import ComparisonRecord, EvaluateResult, RowRecord
from mdm_tune.run.measuring import PointMeasured
from mdm_tune.run.record_parts import CallsRecord, PlanRecord
from mdm_tune.terminal.console import Screen
from mdm_tune.terminal.cost_tables import cannot_be_shown, detectable_lines
from mdm_tune.terminal.profile_tables import curve_table, left_behind
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


def test_what_can_be_seen_is_said_before_the_first_trial() -> None:
    found: dict[str, Any] = {
        "gain": 0.0204,
        "linear": 0.531,
        "report": 512,
        "report_needed": 86,
        "budgets": 4,
        "squared_sine_minus_linear": {"value": -0.023, "ci": [-0.04, -0.01]},
        "large": False,
    }
    (line,) = detectable_lines(found)
    assert line == (
        "512 report examples show gains of about 0.0204 and more (80 % power, corrected for 4 budgets), a guess from "
        "linear against squared-sine on a pilot; there linear has 0.531 and squared-sine -0.023 [-0.040, -0.010] more"
    )
    _, warning = detectable_lines({**found, "large": True, "report_needed": 1234, "budgets": 1})
    assert warning.startswith("warning:") and warning.endswith("raise dataset.report to 1,234 or more")
    assert detectable_lines({**found, "large": True, "report_needed": None})[1].endswith("raise dataset.report")
    assert detectable_lines(None) == []


def test_where_no_gain_can_be_shown_groups_are_counted_and_more_of_them_asked_for() -> None:
    found: dict[str, Any] = {
        "gain": None,
        "linear": 0.0,
        "report": 4,
        "report_examples": 16,
        "report_needed": None,
        "budgets": 1,
        "squared_sine_minus_linear": {"value": 0.0, "ci": None, "no_interval": "too few examples"},
        "large": True,
    }
    remedy = "give more groups of report examples (prompts), not more examples of each"
    assert detectable_lines(found) == [
        "warning: no gain can be shown with 4 groups of report examples (16 examples); on a pilot linear has 0",
        f"{remedy}, or read the result as a search without a test",
    ]
    assert detectable_lines({**found, "report_needed": 40})[1].startswith("give 40 or more groups of")
    known = {"value": 0.25, "ci": [0.1, 0.4]}
    alone = {**found, "report": 8, "report_examples": 8, "report_needed": 86, "squared_sine_minus_linear": known}
    assert detectable_lines(alone) == [
        "warning: no gain can be shown with 8 report examples; on a pilot linear has 0 and squared-sine "
        "0.25 [0.10, 0.40] more",
        "raise dataset.report to 86 or more, or read the result as a search without a test",
    ]
    assert cannot_be_shown(16, 4) == (f"no gain can be shown with 4 groups of report examples (16 examples); {remedy}")
    assert cannot_be_shown(8, 8) == "no gain can be shown with 8 report examples; raise dataset.report"
    assert verdict({**BUDGET, "detectable_gain": None, "gain_can_be_shown": False, "n": 16, "independent": 4})[1] == (
        cannot_be_shown(16, 4)
    )
    assert verdict(BUDGET)[1] == (
        "by the differences seen in it, this report split shows gains of 0.016 and more (80 % power)"
    )


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


def test_the_evaluation_table_fits_into_eighty_columns() -> None:
    def row(name: str) -> RowRecord:
        return RowRecord(
            schedule=name,
            steps=16,
            plan=PlanRecord(block_length=64, counts=(4,) * 16, alphas=None),
            calls=CallsRecord(16.0, None),
            metric="spelling",
            estimate=Estimate(0.8645, (0.8554, 0.8729), 512),
            n=512,
            diversity={"token_entropy": 2.59, "distinct_words": 0.25},
        )

    difference = Estimate(-0.02, (-0.03, -0.01), 512)
    pair = ComparisonRecord(first="linear", second="maskgit-cosine", steps=16, difference=difference)
    result = EvaluateResult(
        rows=(row("linear"), row("maskgit-cosine")),
        data=row("data"),
        comparisons=(pair,),
        reference="linear",
        cost=Cost(100, 6400, 3.0),
        reported=(),
        files={"table": "runs/text/evaluate.csv", "run": "runs/text"},
        warnings=(),
        programs={},
    )
    screen, shown = Screen(quiet=False, as_json=False), io.StringIO()
    screen.err = Console(file=shown, width=80)
    screen.evaluate_result(result)
    assert "…" not in shown.getvalue()
    assert "0.020 [0.010, 0.030]" in shown.getvalue()
    assert "maskgit-cosine" in shown.getvalue() and "token entropy" in shown.getvalue()


def priced(value: float, **more: Any) -> dict[str, Any]:
    found = {"nelbo": value, "ci": [value - 1.25, value + 1.5], "minus_linear": {"nelbo": -1.5, "ci": [-2.0, -1.0]}}
    energy = {"linear": 1.25, "squared-sine": None}
    return {"counts": [2, 6], "alphas": None, "block_length": 8, "energy": energy, **found, **more}


RANGE = {"linear_steps_range": [2, None], "gain_expected": True}


def profile_record(**changes: Any) -> dict[str, Any]:
    gap = {"nelbo": 0.25, "excess_ratio": 1.25, "measured": {"nelbo": 0.125, "ci": [-0.125, 0.5]}}
    schedules = {
        "linear": priced(100.0),
        "beta": priced(98.5, a=0.75, b=0.40123456),
        "optimum": priced(98.25, same_counts_as=None),
    }
    return {
        "other_block_lengths": [],
        "block_length": 64,
        "length": 64,
        "exact": False,
        "examples": 128,
        "revealed": list(range(0, 64, 2)),
        "content": None,
        "end_of_text": None,
        "cross_entropy": [3.0 - i / 16 for i in range(32)],
        "stderr": [0.01] * 32,
        "cross_entropy_ci": [[2.98 - i / 16, 3.02 - i / 16] for i in range(32)],
        "one_token_per_step": {"nelbo": 97.0, "ci": [96.0, 98.0]},
        "budgets": [{"steps": 2, **schedules, "gap": gap, "linear_steps_for_same_nelbo": 3, **RANGE}],
        "denoiser_rows": 1234,
        "seconds": 2.0,
        "files": {"run": "r", "profile": "p", "beta": "b.yaml", "optimum": "o.yaml"},
        **changes,
    }


def shown_profile(record: dict[str, Any]) -> str:
    screen, shown = Screen(quiet=False, as_json=False), io.StringIO()
    screen.err = Console(file=shown, width=80)
    screen.profile_result(record)
    return shown.getvalue()


def test_the_profile_tables_fit_into_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown_profile(profile_record())
    assert "…" not in text
    for line in ("best Beta: (0.75, 0.4012)    98.5 [97.2, 100.0]   -1.5 [-2.0, -1.0]", "64   one token per step"):
        assert line in text
    assert "information profile, 128 examples, 95 % intervals" in text
    assert re.search(r"any   linear +1\.2500 +infinite", text) and re.search(r"  2   optimum +1\.2500", text)
    assert capsys.readouterr().out == "counts = [2, 6]  # 2 steps, tokens to reveal at each\n"


def test_the_curve_is_shown_in_nine_points_with_both_ends() -> None:
    table = curve_table(profile_record(), "here")
    cells = [list(map(str, column.cells)) for column in table.columns]
    assert cells[0] == ["0", "8", "16", "24", "32", "38", "46", "54", "62"]
    assert cells[1][0] == "3.0000" and cells[2][0] == "[2.9800, 3.0200]"
    assert len(cells[3][0]) == 24 and len(cells[3][-1]) == round(24 * (3 - 31 / 16) / 3)
    exact = curve_table(profile_record(exact=True, cross_entropy=[0.0] * 32, cross_entropy_ci=None), "here")
    assert set(exact.columns[2].cells) == {""} and set(exact.columns[3].cells) == {""}  # no errors, and no bar of 0 / 0


def test_what_is_left_behind_is_said_in_one_sentence() -> None:
    (budget,) = profile_record()["budgets"]
    assert left_behind(budget) == (
        "2 steps: linear needs 3 steps [2, more than were tried] to be as good; on examples that chose neither the "
        "best Beta is 0.12 [-0.12, 0.50] nats above the optimum over all (25.0 % of its loss above one token per step)"
    )
    assert left_behind({**budget, "linear_steps_range": [2, 5]}).startswith(
        "2 steps: linear needs 3 steps [2, 5] to be"
    )
    exact = {"nelbo": 0.0, "excess_ratio": None, "measured": {"nelbo": 0.0, "ci": None}}
    nothing = {**budget, "gap": exact, "linear_steps_for_same_nelbo": None, "linear_steps_range": None}
    assert left_behind(nothing) == (
        "2 steps: linear needs more steps than were tried to be as good; the best Beta is 0 nats above the optimum "
        "over all"
    )
    assert "2 steps: no gain over linear here; on" in left_behind({**budget, "gain_expected": False})
    noise = {**budget["gap"], "nelbo": -0.12, "excess_ratio": 0.913}
    noise["measured"] = {"nelbo": -0.12, "ci": [-0.5, 0.12]}
    assert left_behind({**budget, "gap": noise}).endswith(
        "the best Beta is 0.12 [-0.12, 0.50] nats below the optimum over all, within the noise"
    )
    noise["measured"] = {"nelbo": -0.12, "ci": [-0.5, -0.02]}
    assert left_behind({**budget, "gap": noise}).endswith("0.12 [0.02, 0.50] nats below the optimum over all")
    noise["measured"] = {"nelbo": -0.12, "ci": None, "no_interval": "too few examples"}
    assert left_behind({**budget, "gap": noise}).endswith(
        "0.12 (too few examples) nats below the optimum over all, within the noise"
    )
    same = {**budget, "optimum": priced(98.25, same_counts_as="beta")}
    assert left_behind(same).endswith("and takes its place")


def test_measured_points_are_told_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, shown = Screen(quiet=False, as_json=False), io.StringIO()
    screen.err = Console(file=shown, width=120)
    clock = [100.0]
    monkeypatch.setattr("mdm_tune.terminal.console.time.monotonic", lambda: clock[0])
    screen.told = 100.0
    for clock[0], visible in ((101.0, 1), (102.5, 2), (103.0, 3), (105.0, 4)):
        screen.on_event(PointMeasured(revealed=visible, loss=1.5, examples=8, points=6, denoiser_rows=1234))
    lines = shown.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["2", "4"]
    assert lines[0].split("  ")[-1] == "(6 points, 8 examples, 1,234 rows)" and "1.5000 nats per token" in lines[0]


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
