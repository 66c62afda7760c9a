"""The page of a run whose budgets hold policies, or compare several kinds of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mdm_tune.exports.registry import FORMATS
from mdm_tune.pages.landscapes import map_of_trials
from mdm_tune.pages.run_figures import figures_of
from mdm_tune.pages.run_looks import Looks
from mdm_tune.pages.run_page import run_page
from mdm_tune.pages.run_pastes import SUITED
from mdm_tune.pages.run_sections import sections_of
from tests.pages.test_frontier import FRONTIER
from tests.pages.test_run_page import RIVAL, checked, made, points
from tests.support.html_pages import read_page
from tests.support.search_results import BUDGET, two_budgets


def test_each_kind_of_policy_has_a_row_and_a_point_at_the_calls_that_it_made() -> None:
    """A gain at more calls is none at equal cost, in the headline, the card, the chart and the table."""
    gain = BUDGET["gain_over_linear"]
    threshold = {"kind": "threshold", "policy": "threshold:0.6222", "value": {"value": 0.8125, "ci": [0.7, 0.9]}}
    threshold |= {"calls": {"nfe": 4.375, "nfe_ci": [4.125, 4.625]}, "more_calls": True, "gain_over_linear": gain}
    counts = {**threshold, "kind": "counts", "policy": "beta:0.5,0.75", "more_calls": False}
    counts["calls"] = {"nfe": 4.0, "nfe_ci": None}
    cap = dict.fromkeys(threshold) | {"kind": "cap", "trials": 2, "why": "cannot make 4 calls at 4 steps"}
    changes = {"schedule": {"type": "quota", "a": 0.5, "b": 0.75, "policy": "threshold:0.6222"}, "nfe": 4.375}
    changes |= {"counts": None, "policy": "threshold:0.6222", "policies": [counts, threshold, cap]}
    record = two_budgets() | {"budgets": [{**RIVAL, **changes, "flags": ["more-calls"]}], "policy_frontier": FRONTIER}
    view = made(record)
    (budget,) = view.budgets
    assert (budget.name, budget.label, budget.of_the_family) == ("threshold:0.6222", "threshold:0.6222", False)
    found, kinds = figures_of(view), figures_of(replace(view, frontier=None))
    assert "threshold: 0.812 at 4.375" in kinds["policies"].description and "cap" not in kinds["policies"].description
    assert "over linear: 0.030 [0.018, 0.042], better, but at more calls" in found["gains"].description
    assert "quality" not in kinds and not {"quality", "policies"} & {*found} and "frontier" in found  # each shown once
    page = read_page(checked(view))
    assert {4.375, 4.125, 4.625, 0.8125} <= page.numbers
    assert "cannot make 4 calls at 4 steps" in page.text and "schedule: Beta(0.5, 0.75)" in page.text
    assert "better, but at more calls" in page.text and "the policy that decides how many tokens" in page.text
    assert "he cheapest policy is threshold:0.9" in page.text and "tokens per denoiser call" in page.text
    assert (
        "<h1>The winner, threshold:0.6222, is better than linear by 0.030 [0.018, 0.042] at 4 steps, spelling"
        in run_page(view)
    )
    assert "At no more calls than linear (2 % tolerated), Beta(0.5, 0.75) gains 0.030 [0.018, 0.042] at" in page.text
    assert "Beta(0.5, 0.75) over linear: 0.030 [0.018, 0.042], better than linear" in found["gains"].description
    assert "more calls" in found["gains"].svg()
    assert (
        "At no more calls than linear (2 % tolerated): Beta(0.5, 0.75) with 4 calls, +0.030 [0.018, 0.042]" in page.text
    )
    assert 'href="#equal-4">Command to paste' in run_page(view)
    assert (
        "every token whose confidence is at least the number" in page.text and "its prediction moved" not in page.text
    )
    assert "4 steps: Beta(0.5, 0.75), better than linear at no more calls" in page.text
    assert "--to sglang --steps 4" in page.text or "--to json --steps 4" in page.text


def test_exports_that_the_page_lists_hold_what_the_budget_has() -> None:
    assert all(kind in FORMATS[name].kinds for kind, names in SUITED.items() for name in names)
    alphas = {"counts": None, "alphas": [0.0, 0.2, 0.7, 1.0], "block_length": None}
    for changes, name in (({}, "llada"), (alphas, "mdlm")):
        text = read_page(checked(made(two_budgets() | {"budgets": [{**BUDGET, **changes}]}))).text
        assert f"--to {name} --steps 4" in text and ("--to llada" in text) == (name == "llada")


@pytest.mark.parametrize(
    ("schedule", "name"),
    [
        ({"type": "threshold", "tau": 0.875}, "threshold (tau 0.875)"),
        ({"type": "threshold", "a": None, "b": None, "tau": 0.875}, "threshold (tau 0.875)"),
        ({"type": "quota", "a": 0.5, "b": 0.75, "tau": 0.9}, "quota (a 0.5, b 0.75, tau 0.9)"),
        ({"type": "klass"}, "klass"),
    ],
)
def test_a_winner_that_is_another_policy_has_a_sound_page(schedule: dict[str, Any], name: str) -> None:
    trials = [*points(12), *points(3, a=None, b=None), *points(3, kind="threshold")]
    changes = {"schedule": schedule, "counts": None, "alphas": None, "nfe": 3.4, "trial_points": trials}
    view = made(two_budgets() | {"budgets": [{**BUDGET, **changes}]})
    (budget,) = view.budgets
    assert budget.name == name and not budget.of_the_family and len(budget.points) == 12
    page = read_page(checked(view))
    assert name in page.text and ": better than linear, a policy" in page.text
    assert "at 3.4;" in figures_of(view)["quality"].description  # at the calls that were made
    assert "mdm_tune.generate" not in page.text
    named = {**changes, "policy": "threshold:0.875"}
    record = two_budgets() | {"budgets": [{**BUDGET, **named}]}
    for kind, following in (
        ("huggingface", "mdm_tune.generate(model, tokenizer, prompts, schedule='threshold:0.875', steps=4)"),
        ("transformer", "mdm-tune sample runs/text/config.yaml --schedule runs/text --steps 4"),
    ):
        config = {"model": {"type": kind}}
        identity = {"config": config, "fingerprints": {}, "versions": {}, "flags": []}
        description = {"metric": "spelling", "label": "spelling", "direction": "maximize", "exact": False, "length": 8}
        view = made(record | {"description": {**description, "sampler": "", **identity}})
        text = read_page(checked(view)).text
        assert following in text
        assert ("mdm_tune.generate" in text, "mdm-tune sample follows it" in text) == (
            kind == "huggingface",
            kind != "huggingface",
        )


def test_the_map_says_that_an_adaptive_winner_is_not_on_it_and_what_few_trials_know() -> None:
    changes = {"schedule": {"type": "threshold"}, "policy": "threshold:0.5", "counts": None, "n": 512}
    for count, few in ((6, True), (24, False)):
        view = made(two_budgets() | {"budgets": [{**BUDGET, **changes, "trial_points": points(count)}]})
        (about,) = (
            " ".join(each.about) for each in sections_of(view, Looks(view), ["landscape-4"]) if each.id == "landscape"
        )
        assert "At 4 steps the winner is a policy, which has no place here." in about
        placed = f"{count - 1} dots, 1 under the mark of the best trial"
        rest = f", {20 - count} of policies" if few else ""
        assert f"The {max(20, count)} trials, {count // 3} of them dropped early: {placed}{rest}." in about
        assert "Each had at most 64 examples." in about
        assert (f"With {count} trials most of the map is such a guess." in about) == few
        assert "far from the trials is not known" in about and "hatched" not in about


def test_a_hand_made_winner_is_the_one_that_is_marked_and_budgets_without_a_card_are_named() -> None:
    counts = {"kind": "counts", "policy": "beta:0.5,0.75", "value": {"value": 0.8125, "ci": [0.7, 0.9]}, "trials": 2}
    counts |= {"calls": {"nfe": 4.0, "nfe_ci": None}, "more_calls": False, "gain_over_linear": None}
    sine = {**RIVAL, "schedule": {"type": "sine", "a": None, "b": None}, "policies": [counts]}
    others = [{**BUDGET, "steps": steps, "nfe": steps, "counts": [1] * steps} for steps in (8, 16, 32)]
    none = {**BUDGET["gain_over_linear"], "value": -0.5, "ci": [-0.6, 0.1], "shown": False}
    last = {**BUDGET, "steps": 64, "nfe": 64, "counts": [1] * 64, "gain_over_linear": none}
    text = checked(made(two_budgets() | {"budgets": [sine, *others, last]}))
    page = read_page(text)
    assert "sine (hand-made)" in page.text and "It is the best hand-made schedule." in page.text
    assert "The other budgets are in the table below: 64 steps, no gain is shown." in page.text
    kinds = text[text.index("The best schedule and policies") :]
    assert '<tr class="tuned">' not in kinds[: kinds.index("</table>")]


def test_the_map_says_what_it_shows_and_which_trials_lie_under_other_marks() -> None:
    places = ((0.5, 0.5, 0.75), (1.0, 1.0, 0.5), (2.0, 0.25, 0.875), (4.0, 0.25, 0.875), (2.0, 0.25, 0.625))
    trials = [
        {**point, "a": a, "b": b, "value": value, "dropped": False}
        for (a, b, value), point in zip(places, points(5), strict=True)
    ]
    sine = {**RIVAL, "schedule": {"type": "sine", "a": None, "b": None}, "trial_points": trials, "n": 512}
    view = made(two_budgets() | {"budgets": [sine]})
    (about,) = (
        " ".join(each.about) for each in sections_of(view, Looks(view), ["landscape-4"]) if each.id == "landscape"
    )
    assert (
        "At 4 steps the best trial is Beta(2, 0.25). On the examples of the trials, which are not those of the tables, "
        "its spelling is 0.875, that of linear 0.75. 1 other trial has the same" in about
    )
    assert "Linear is (0.5, 0.5), squared-sine (1, 1)." in about
    assert "sine is no Beta(a, b) and not on the map; sine is the winner." in about
    marks = "4 under the marks of linear, squared-sine and the best trial"
    assert f"The 20 trials: 1 dot, {marks}, 15 that the run does not list." in about
    (panel,) = [each for each in [map_of_trials(view.budgets[0], view.about, Looks(view))] if each is not None]
    assert panel.winner is not None and panel.winner.look is None  # the best trial does not look like a winner


def test_marks_are_explained_only_where_they_stand() -> None:
    kind = {"kind": "counts", "policy": "beta:0.5,0.75", "value": {"value": 0.8125, "ci": [0.7, 0.9]}, "trials": 2}
    kind |= {"calls": {"nfe": 4.0, "nfe_ci": None}, "more_calls": False, "gain_over_linear": None}
    for more, blocks in ((False, False), (True, True)):
        losses = [{"figure": "token_entropy", "blocks": blocks}]
        view = made(
            two_budgets() | {"budgets": [{**BUDGET, "policies": [{**kind, "more_calls": more, "losses": losses}]}]}
        )
        (about,) = (" ".join(each.about) for each in sections_of(view, Looks(view), []) if each.id == "quality")
        assert ("marked as more" in about, "marked as less diverse" in about) == (more, blocks)
        assert "for all budgets together" not in about


def test_nothing_that_stands_in_for_the_winners_is_said_once() -> None:
    text = "none of linear and sine, which are shown to be worse"
    none: dict[str, Any] = {"rounder": None, "baselines": {}, "text": text}
    record = [{**BUDGET, "steps": steps, "nfe": steps, "stand_ins": none} for steps in (4, 8)]
    page = read_page(checked(made(two_budgets() | {"budgets": record}))).text
    assert page.count("In place of the winner") == page.count(f"In place of the winner at 4 and 8 steps: {text}.") == 1
    assert page.count("Only hand-made schedules and roundings of the a") == 1 and "Other policies were not" not in page
    policy = {"schedule": {"type": "threshold", "policy": "threshold:0.9"}, "policy": "threshold:0.9", "counts": None}
    kind = {"kind": "threshold", **policy, "calls": {"nfe": 4.0, "nfe_ci": None}, "gain_over_linear": None}
    followed = [{**each, **policy, "policies": [kind]} for each in record]
    view = made(two_budgets() | {"budgets": followed})
    (about,) = (" ".join(each.about) for each in sections_of(view, Looks(view), []) if each.id == "use")
    assert "Only hand-made schedules were tested in its place. Other policies were not, so" in about
    old = [{**each, "stand_ins": {**none, "text": "each baseline is shown to be worse"}} for each in record]
    page = read_page(checked(made(two_budgets() | {"budgets": old}))).text
    assert "at 4 and 8 steps: no other baseline, as each is shown to be worse." in page


def sampled(sampler: dict[str, Any], dataset: dict[str, Any]) -> dict[str, Any]:
    """A search with this sampler and this data."""
    config = {"sampler": sampler, "dataset": dataset}
    description = {"metric": "spelling", "label": "spelling", "direction": "maximize", "exact": False, "length": 8}
    description |= {"sampler": "", "config": config, "fingerprints": {}, "versions": {}}
    return two_budgets() | {"budgets": [RIVAL], "description": description}


def test_the_page_says_of_prompts_noise_and_corrections_what_is_so() -> None:
    sampler = {"type": "builtin", "order": "confidence", "reveal": "fixed", "temperature": 0.0}
    text = read_page(checked(made(sampled(sampler, {"prompt": "question", "generation_length": 8})))).text
    assert text.count("answers of 8 tokens after a prompt") == 2 and "sequences of 8" not in text
    assert "Nothing is drawn at random here" in text and "same noise" not in text
    assert "Tokens are those of prompt and answer." in text
    assert "those over linear for 2 comparisons and those with hand-made schedules for 2. Those of values" in text
    assert "corrected for 2 comparisons with linear (Bonferroni)" in text
    for change in ({"temperature": 0.5}, {"order": "random"}, {"confidence_temperature": 1.0}, {"type": "custom"}):
        text = read_page(checked(made(sampled(sampler | change, {"type": "text"})))).text
        assert "drawn from the same noise" in text and "Nothing is drawn" not in text
        assert text.count("sequences of 8 tokens") == 2 and "prompt" not in text


def test_a_card_says_what_the_best_hand_made_schedule_gains_and_whether_more_may_be_chance() -> None:
    own = {**BUDGET["gain_over_linear"], "value": 0.036, "shown": True}
    text = checked(made(two_budgets() | {"budgets": [{**RIVAL, "gains_of_baselines": {"sine": own}}]}))
    page = read_page(text).text
    assert "sine, without a search: +0.036 [0.018, 0.042] over linear" in page
    assert "over the best hand-made schedule, sine (may be chance)" in page
    assert "against it: wins 241, ties 20, losses 251" in page and "card warn" not in text
    assert '<li class="card better">' in text


def test_a_custom_metric_and_files_of_data_are_called_by_their_names() -> None:
    data = {"type": "jsonl", "path": {"tune": "/data/a.jsonl", "report": "/data/b.jsonl"}}
    description = {"metric": "custom", "label": "spelling", "direction": "maximize", "exact": False, "length": 8}
    description |= {"sampler": "", "config": {"dataset": data}, "fingerprints": {}, "versions": {}}
    view = made(two_budgets() | {"description": description})
    assert (view.about.metric, view.about.data) == ("spelling", "jsonl tune: a.jsonl, report: b.jsonl")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"trial_points": points(2)}, "2 trials of Beta(a, b) are too few for one."),
        ({"policy": "threshold:0.5", "counts": None}, "no trial was of Beta(a, b)."),
        ({}, "this folder does not list its trials."),
    ],
)
def test_a_page_without_a_map_has_no_part_for_it_and_says_why(changes: dict[str, Any], why: str) -> None:
    view = made(two_budgets() | {"budgets": [{**BUDGET, **changes}]})
    page = read_page(checked(view))
    assert f"There is no map over a and b: {why}" in page.text and 'href="#landscape"' not in run_page(view)
    full = made(two_budgets() | {"budgets": [{**BUDGET, "trial_points": points(20)}]})
    assert 'href="#landscape"' in run_page(full) and "There is no map" not in run_page(full)
    assert "a hollow one was dropped early" in run_page(full)
