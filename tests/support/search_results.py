"""Results of searches for tables to show: a sound one, and what makes it another one."""

from __future__ import annotations

from typing import Any

from mdm_tune.run.search_records import BudgetRecord, SearchResult

BUDGET: dict[str, Any] = {
    "steps": 4,
    "schedule": {"type": "beta", "a": 0.4312345678901234, "b": 0.7612345678901234},
    "block_length": 8,
    "counts": [1, 2, 3, 2],
    "alphas": None,
    "nfe": 4,
    "nfe_ci": None,
    "metric": "spelling",
    "direction": "maximize",
    "value": 0.803,
    "ci": [0.79, 0.816],
    "no_interval": None,
    "independent": 512,
    "n": 512,
    "split": "report",
    "baselines": {"linear": {"value": 0.76, "ci": [0.75, 0.77], "no_interval": None, "independent": 512}},
    "gain_over_linear": {
        "value": 0.03,
        "ci": [0.02, 0.04],
        "ci_familywise": [0.018, 0.042],
        "no_interval": None,
        "examples_that_differ": 60,
        "examples_that_must_differ": None,
        "shown": True,
    },
    "linear": "linear",
    "gain_over_first_linear": None,
    "beats_linear": True,
    "flags": [],
    "loser": None,
    "data": None,
    "diversity": None,
    "diversity_losses": None,
    "detectable_gain": 0.016,
    "gain_can_be_shown": True,
    "trials": 20,
    "answered_from_record": 0,
    "dropped": 0,
    "cut": 0,
    "ended": None,
    "all_reachable_counts_scored": False,
    "choose": [],
    "same_counts": [],
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
UNTESTED = {"ci": None, "ci_familywise": None, "shown": False}  # of a gain whose examples are too few for an interval
EXACT = {**UNTESTED, "examples_that_differ": None}


def budget_record(record: dict[str, Any] = BUDGET, **changes: Any) -> BudgetRecord:
    """A budget, with other values of some keys."""
    return BudgetRecord.from_json({**record, **changes})


def with_gain(**changes: Any) -> BudgetRecord:
    """A budget that is not called better than linear, with other values of its gain."""
    return budget_record(beats_linear=False, gain_over_linear={**BUDGET["gain_over_linear"], **changes})


def without_interval(record: dict[str, Any]) -> dict[str, Any]:
    """A budget with too few examples for an interval."""
    few = {"ci": None, "no_interval": "too few examples", "independent": 9}
    gain = {**record["gain_over_linear"], **UNTESTED}
    return {
        **record,
        **few,
        "gain_over_linear": gain,
        "baselines": {"linear": {**record["baselines"]["linear"], **few}},
    }


def two_budgets(**changes: Any) -> dict[str, Any]:
    """A search of two budgets, the larger one first, as JSON; changes: of the pair that saves most."""
    linear = {"linear": {"value": 0.8, "ci": [0.79, 0.81], "independent": 512}}
    one = {**FLAGGED, "steps": 8, "nfe": 8.0}
    two = {**BUDGET, "steps": 16, "nfe": 16.0, "baselines": linear}
    pair = {
        "steps": 8,
        "linear_steps": 16,
        "ratio": 2.0,
        "difference": 0.003,
        "bound": -0.004,
        "margin": 0.008,
        "no_worse": True,
        "linear_too": False,
        "flags": [],
    }
    return {
        "budgets": [two, one],
        "confidence": {"each": 0.95, "familywise": 0.95, "budgets": 2},
        "frontier": {"margin": 0.01, "confidence": 0.95, "pairs": [pair], "headline": {**pair, **changes}},
        "trials": 40,
        "profile": None,
        "denoiser_rows": 1234,
        "denoiser_tokens": 56789,
        "seconds": 3.25,
        "denoiser_rows_of": {"profile": 0, "pilots": 34, "trials": 1000, "comparison": 200},
        "files": {"schedule": "runs/text/schedule.yaml", "run": "runs/text"},
        "reported": [],
        "seconds_late": None,
        "warnings": [],
    }


def search_result(record: dict[str, Any] | None = None, **changes: Any) -> SearchResult:
    """A search of two budgets; changes: of the pair that saves most."""
    return SearchResult.from_json(two_budgets(**changes) if record is None else record)
