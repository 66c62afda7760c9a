"""Rows of tables that are shown once."""

from __future__ import annotations

import copy
from typing import Any

from mdm_tune.pages.run_looks import Looks
from mdm_tune.pages.run_page import run_page
from mdm_tune.pages.run_tables import decimals_of, diversity_table, own_calls, values_of_data
from tests.pages.test_run_page import RIVAL, checked, made
from tests.support.html_pages import read_page
from tests.support.search_results import BUDGET, FLAGGED, two_budgets

DATA = {"value": 0.9, "ci": [0.89, 0.91], "independent": 512}


def budgets(**changes: Any) -> list[dict[str, Any]]:
    """Two budgets with diversity and the value of the data, which differ in what is given for the second one."""
    first = {**FLAGGED, "data": DATA}
    return [first, copy.deepcopy({**first, "steps": 8, "nfe": 8, **changes})]


def test_samples_that_are_the_same_at_all_budgets_have_one_row() -> None:
    table = diversity_table(made(two_budgets() | {"budgets": budgets()}))
    assert table is not None and table.samples == "128 samples"
    assert [(row.name, row.steps) for row in table.rows] == [
        *(("tuned: Beta(0.431, 0.761)", 4), ("linear", 4), ("tuned: Beta(0.431, 0.761)", 8), ("linear", 8)),
        *(("linear at 64 steps", None), ("the data itself", None)),
    ]
    assert list(table.figures) == ["token_entropy", "distinct_tokens", "answer_length", "distinct_words"]
    other = copy.deepcopy(FLAGGED["diversity"])
    other["data"]["token_entropy"] = {"value": 2.125, "ci": [2, 2.25]}
    losses = {**FLAGGED["diversity_losses"], "examples": 64, "reference_steps": 32}
    table = diversity_table(made(two_budgets() | {"budgets": budgets(diversity=other, diversity_losses=losses)}))
    assert table is not None and table.samples == "64 to 128 samples"
    assert [(row.name, row.steps) for row in table.rows[4:]] == [
        *(("linear at 64 steps", 4), ("linear at 32 steps", 8), ("the data itself", 4), ("the data itself", 8))
    ]
    assert diversity_table(made(two_budgets() | {"budgets": [{**BUDGET, "diversity": None}]})) is None


def test_the_value_of_the_data_stands_once_if_it_is_the_same() -> None:
    same = values_of_data(made(two_budgets() | {"budgets": budgets()}))
    assert [(steps, value.value) for steps, value in same] == [(None, 0.9)]
    other = values_of_data(made(two_budgets() | {"budgets": budgets(data={**DATA, "value": 0.8})}))
    assert [(steps, value.value) for steps, value in other] == [(4, 0.9), (8, 0.8)]
    assert values_of_data(made()) == []


def test_calls_have_a_column_only_where_they_are_not_the_steps() -> None:
    assert not own_calls(made(two_budgets() | {"budgets": budgets()}))
    assert own_calls(made(two_budgets() | {"budgets": budgets(nfe=7.5)}))
    kind = {"kind": "counts", "policy": "beta:1,2", "value": {"value": 0.5, "ci": None}, "trials": 1}
    assert not own_calls(made(two_budgets() | {"budgets": budgets(nfe=7.5, policies=[kind])}))  # they are in its table
    calls = {"linear": {"nfe": 7.0, "nfe_ci": None}}
    assert own_calls(made(two_budgets() | {"budgets": budgets(baseline_calls=calls)}))


def test_a_hand_made_winner_has_one_row_in_the_tables_and_one_line_in_the_charts() -> None:
    from mdm_tune.pages.run_figures import figures_of

    sine = {**RIVAL["baselines"]["sine"], "value": 0.8125, "ci": [0.8, 0.825]}
    record = {**RIVAL, "schedule": {"type": "sine", "a": None, "b": None}, **sine}
    record["baselines"] = {**RIVAL["baselines"], "sine": sine}
    view = made(two_budgets() | {"budgets": [record, {**record, "steps": 8, "nfe": 8, "counts": [1] * 8}]})
    figures, looks = figures_of(view), Looks(view)
    assert "; chosen: sine (hand-made): 0.812 at 4, 0.812 at 8." in figures["quality"].description
    assert "; sine" not in figures["quality"].description
    assert "sine, 4 and 8 steps is at 0.71 halfway; linear" in figures["alpha"].description
    page = read_page(checked(view))
    assert "tuned: " not in page.text and "chosen minus it" in page.text
    assert looks.of("sine") == looks.of("sine", 4) != looks.of("tuned")  # one look in all places
    values = page.text[page.text.index("Values on the report split") :]
    assert values[: values.index("Landscape")].count("sine") == 2  # once at each budget
    both = made(two_budgets() | {"budgets": [record, {**RIVAL, "steps": 8, "nfe": 8}]})
    drawn = figures_of(both)["quality"].description
    assert "; chosen: sine (hand-made) at 4 steps: 0.812 at 4, " in drawn and drawn.count(" at 4,") == 2
    assert ": tuned: Beta(0.431, 0.761): 0.803 at 8;" in drawn.replace(". ", ": ")
    best = {"kind": "counts", "policy": "sine", "value": {"value": 0.8125, "ci": [0.8, 0.825]}}
    best |= {"calls": {"nfe": 4.0, "nfe_ci": None}, "more_calls": False}
    kinds = made(two_budgets() | {"budgets": [{**record, "policies": [best]}]})
    assert figures_of(kinds)["policies"].description.count("sine") == 1
    assert "best schedule: sine: 0.812 at 4" in figures_of(kinds)["policies"].description
    linear = {**BUDGET, "schedule": {"type": "linear", "a": None, "b": None}, **BUDGET["baselines"]["linear"]}
    view = made(two_budgets() | {"budgets": [linear]})
    assert "tuned" not in figures_of(view)["quality"].description.replace("of each schedule", "")
    assert run_page(view).count('<td class="name">') >= 1


def test_a_column_has_one_number_of_decimals() -> None:
    """Intervals of widths 0.125 and 0.0625 need two and three decimals."""
    wide = {"value": 0.5, "ci": [0.4375, 0.5625], "no_interval": None, "independent": 64}
    narrow = {**wide, "ci": [0.46875, 0.53125]}
    gain = {**BUDGET["gain_over_linear"], "value": 0.25}
    over = {**gain, "ci": [0.1875, 0.3125], "ci_familywise": [0.1875, 0.3125]}
    record = {**BUDGET, **wide, "baselines": {"linear": narrow, "sine": wide}, "gains_over_baselines": {"sine": over}}
    record["gain_over_linear"] = {**gain, "ci": [0.21875, 0.28125], "ci_familywise": [0.21875, 0.28125]}
    view = made(two_budgets() | {"budgets": [record]})
    assert decimals_of(view) == {"kinds": (0, 0), "winners": (3, 3), "rows": (0, 0)}
    text = read_page(checked(view)).text
    table = text[text.index("Values on the report split") : text.index("Tokens per step", text.index("Values on"))]
    assert "0.500 [0.438, 0.562]" in table and "+0.250 [0.188, 0.312]" in table and "0.50 [" not in table
    assert decimals_of(made(two_budgets() | {"budgets": []}))["winners"] == (0, 0)
