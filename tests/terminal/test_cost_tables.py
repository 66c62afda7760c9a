"""What a search would cost and could show."""

from __future__ import annotations

from typing import Any

from mdm_tune.terminal.cost_tables import cannot_be_shown, detectable_lines
from mdm_tune.terminal.tables import (
    verdict,
)
from tests.terminal.test_tables import BUDGET


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
