"""What the screen says, apart from how Rich draws it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from mdm_tune.console import Screen, interval, paste, short_names, verdict

BUDGET: dict[str, Any] = {
    "steps": 4,
    "nfe": 4,
    "counts": [1, 2, 3, 2],
    "alphas": None,
    "gain_over_linear": {"value": 0.03, "ci": [0.02, 0.04]},
    "beats_linear": True,
    "flags": [],
    "diversity": None,
    "detectable_gain": 0.016,
    "all_reachable_counts_scored": False,
}


@pytest.mark.parametrize(
    ("value", "bounds", "text"),
    [
        (0.86453, [0.8554, 0.8729], "0.865 [0.855, 0.873]"),
        (150.123, [148.51, 151.72], "150.1 [148.5, 151.7]"),
        (0.5, [0.5, 0.5], "0.500 [0.500, 0.500]"),
        (0.5193495, None, "0.51935"),
        (None, None, "infinite"),
    ],
)
def test_intervals_show_two_digits_of_their_width(value: float | None, bounds: Any, text: str) -> None:
    assert interval(value, bounds) == text


def test_the_verdict_says_what_the_data_support() -> None:
    assert verdict(BUDGET)[0] == "better than linear by 0.030 [0.020, 0.040]"
    none = {**BUDGET, "beats_linear": False, "gain_over_linear": {"value": 0.01, "ci": [-0.01, 0.03]}}
    assert verdict(none)[0] == "no gain over linear here: 0.010 [-0.010, 0.030]"
    figures = {"token_entropy": {"value": 2.5, "ci": [2.4, 2.6]}}
    flagged = {
        **BUDGET,
        "beats_linear": False,
        "flags": ["less-diverse:token_entropy"],
        "diversity": {"winner": figures, "linear": figures},
    }
    first, second, *_ = verdict(flagged)
    assert "not counted as a win: the samples are less diverse" in first
    assert second == "  token entropy: winner 2.50 [2.40, 2.60]; linear 2.50 [2.40, 2.60]"


def test_fewer_calls_and_an_early_stop_are_said() -> None:
    lines = verdict({**BUDGET, "steps": 6, "all_reachable_counts_scored": True})
    assert any("stopped early" in line for line in lines)
    assert any("4 denoiser calls, not 6" in line for line in lines)


def test_counts_can_be_pasted() -> None:
    namespace: dict[str, Any] = {}
    exec(paste(BUDGET), namespace)
    assert namespace["counts"] == [1, 2, 3, 2]
    exec(paste({**BUDGET, "counts": None, "alphas": [0.0, 0.25, 1.0]}), namespace)
    assert namespace["alphas"] == [0, 0.25, 1]


def test_file_names_are_shortened_while_that_tells_them_apart() -> None:
    assert short_names(["linear", "runs/a/schedule.yaml"])["runs/a/schedule.yaml"] == "schedule.yaml"
    two = ["runs/a/schedule.yaml", "runs/b/schedule.yaml"]
    assert short_names(two) == {name: name for name in two}


def test_the_evaluation_table_fits_into_eighty_columns() -> None:
    def row(name: str) -> dict[str, Any]:
        found = {"schedule": name, "steps": 16, "value": 0.8645, "ci": [0.8554, 0.8729], "nfe": 16.0, "n": 512}
        return {**found, "metric": "spelling", "token_entropy": 2.59, "distinct_words": 0.25}

    pair = {"first": "linear", "second": "maskgit-cosine", "steps": 16, "difference": -0.02, "ci": [-0.03, -0.01]}
    record = {
        "rows": [row("linear"), row("maskgit-cosine")],
        "data": row("data"),
        "comparisons": [pair],
        "denoiser_rows": 100,
        "seconds": 3.0,
        "files": {"table": "runs/text/evaluate.csv", "run": "runs/text"},
    }
    screen, shown = Screen(quiet=False, as_json=False), io.StringIO()
    screen.err = Console(file=shown, width=80)
    screen.evaluate_result(record)
    assert "…" not in shown.getvalue()
    assert "0.020 [0.010, 0.030]" in shown.getvalue()
    assert "maskgit-cosine" in shown.getvalue() and "token entropy" in shown.getvalue()
