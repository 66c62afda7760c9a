"""What each call of an adaptive policy reveals, beside linear."""

from __future__ import annotations

from typing import Any

from mdm_tune.pages.run_figures import figures_of
from mdm_tune.pages.run_looks import Looks
from mdm_tune.pages.run_sections import sections_of
from mdm_tune.pages.run_values import RevealsView
from tests.pages.test_run_page import RIVAL, checked, made
from tests.support.charts import outside, overlaps, parsed, tips
from tests.support.html_pages import read_page
from tests.support.search_results import BUDGET, two_budgets

REVEALS = {
    "threshold:0.625": {"mean": [5.5, 2.25, 0.25], "low": [4, 0, 0], "high": [7, 4, 1], "examples": [64, 48, 8]},
    "quota:linear#8@0.5": {"mean": [4.0, 4.0], "low": [4, 4], "high": [4, 4], "examples": [64, 64]},
    "linear": {"mean": [2.0, 2.0, 2.0, 2.0], "low": [2] * 4, "high": [2] * 4, "examples": [64] * 4},
}


def adaptive(**changes: Any) -> dict[str, Any]:
    """A budget whose winner is a threshold."""
    schedule = {"type": "threshold", "a": None, "b": None, "policy": "threshold:0.625"}
    return {**RIVAL, "schedule": schedule, "policy": "threshold:0.625", "counts": None, "nfe": 2.125} | changes


def test_means_and_spreads_of_an_adaptive_policy_stand_beside_linear() -> None:
    view = made(two_budgets() | {"budgets": [adaptive(reveals=REVEALS)]})
    figure = figures_of(view)["counts-4"]
    assert figure.title == "Tokens revealed by each call, at the calls of linear with 4 steps"
    assert "tuned: threshold:0.625: 5.5, 2.25, 0.25; linear: 2, 2, 2, 2." in figure.description
    root = parsed(figure.svg())
    assert "tuned: threshold:0.625, call 2: 2.2 tokens in the mean, 0 to 4 in most examples, 48 of 64" in " ".join(
        tips(root)
    )
    for compact in (False, True):
        assert (
            overlaps(parsed(figure.svg(compact=compact))) == [] and outside(parsed(figure.svg(compact=compact))) == []
        )
    assert "8.0 of 8" in " ".join(tips(root)) or "8 of 8 revealed" in " ".join(tips(root))
    (about,) = (" ".join(each.about) for each in sections_of(view, Looks(view), ["counts-4"]) if each.id == "schedule")
    assert "The thin line holds their middle 80 %." in about and "alpha(t)" not in about
    text = read_page(checked(view)).text
    assert "Tokens revealed by each call" in text
    assert "with 2.125 calls in the mean; 95 % of examples take at most 3, all at most 3" in text
    found = RevealsView(mean=(2.0, 1.0, 0.5), low=(), high=(), examples=(40, 20, 2))
    assert [found.most_calls(share) for share in (0.5, 0.95, 1.0)] == [1, 2, 3]


def test_a_sampler_of_adaptive_winners_is_not_said_to_reveal_fixed_counts() -> None:
    description = {"metric": "spelling", "direction": "maximize", "exact": False, "length": 8, "config": {}}
    description |= {"sampler": "order confidence, reveal fixed, temperature 0", "fingerprints": {}, "versions": {}}
    record = two_budgets() | {"description": description}
    text = read_page(checked(made(record | {"budgets": [adaptive(nfe=4)]}))).text
    assert "reveal fixed" not in text and "sampled with order confidence, temperature 0" in text
    assert "It is no limit for one sequence." in text
    assert "reveal fixed" in read_page(checked(made(record | {"budgets": [BUDGET]}))).text


def test_the_policy_that_keeps_to_the_calls_stands_between_them() -> None:
    gain = RIVAL["gain_over_linear"]
    kind = {"kind": "quota", "policy": "quota:linear#8@0.5", "value": {"value": 0.8, "ci": [0.7, 0.9]}, "trials": 2}
    kind |= {"calls": {"nfe": 2.0, "nfe_ci": None}, "more_calls": False, "gain_over_linear": gain}
    view = made(two_budgets() | {"budgets": [adaptive(reveals=REVEALS, policies=[kind], flags=["more-calls"])]})
    said = figures_of(view)["counts-4"].description
    assert said.index("tuned: threshold:0.625") < said.index("quota:linear#8@0.5: 4, 4") < said.index("linear: 2, 2")


def test_all_kinds_stand_in_a_figure_of_their_own_also_where_counts_won() -> None:
    kinds = [
        {"kind": kind, "policy": policy, "value": {"value": 0.8, "ci": [0.7, 0.9]}, "trials": 1, "more_calls": False}
        | {"calls": {"nfe": 2.5, "nfe_ci": None}, "gain_over_linear": None}
        for kind, policy in (
            ("counts", "beta:0.5,0.5"),
            ("threshold", "threshold:0.625"),
            ("quota", "quota:linear#8@0.5"),
        )
    ]
    for record in (adaptive(reveals=REVEALS, policies=kinds), {**RIVAL, "reveals": REVEALS, "policies": kinds}):
        view = made(two_budgets() | {"budgets": [record]})
        figures = figures_of(view)
        said = figures["kinds-4"].description
        assert "threshold:0.625: 5.5, 2.25, 0.25; quota:linear#8@0.5: 4, 4; linear: 2, 2, 2, 2." in said
        assert "tuned" not in said and "tuned" in figures["counts-4"].description
        assert "What each policy reveals" in read_page(checked(view)).text
    one = {name: each for name, each in REVEALS.items() if "quota" not in name}
    assert "kinds-4" not in figures_of(made(two_budgets() | {"budgets": [adaptive(reveals=one, policies=kinds)]}))


def test_an_older_folder_says_that_it_does_not_know_what_is_revealed() -> None:
    view = made(two_budgets() | {"budgets": [adaptive()]})
    assert "counts-4" not in figures_of(view)
    assert "an earlier version made this folder" in read_page(checked(view)).text
    only = {"linear": REVEALS["linear"]}  # of scores that an older journal held
    assert "counts-4" not in figures_of(made(two_budgets() | {"budgets": [adaptive(reveals=only)]}))
