"""The page of a run: its form, its numbers, and what data cannot do to it.

Covers: template, run_page, run_views, run_figures, run_looks, run_sections, run_costs, run_values.
"""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from typing import Any

import pytest

from mdm_tune.pages.run_figures import figures_of
from mdm_tune.pages.run_looks import Looks
from mdm_tune.pages.run_page import run_page
from mdm_tune.pages.run_reading import RunRecords, read_run
from mdm_tune.pages.run_sections import origins
from mdm_tune.pages.run_steps import named_counts
from mdm_tune.pages.run_views import RunView, State
from mdm_tune.pages.template import visible
from tests.support.html_pages import problems_of, read_page
from tests.support.page_runs import PageRun
from tests.support.search_results import BUDGET, EXACT, FLAGGED, two_budgets

HOSTILE = '<script>alert("1")</script></pre><img src=x onerror=alert(2)>&amp;{{ 7 * 7 }}'
SCRIPTS = "\u0645\u0631\u062d\u0628\u0627 \u4f60\u597d \u0928\u092e\u0938\u094d\u0924\u0947 \U0001f9ec e\u0301"


def points(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Trials along a spiral."""
    return [
        {"number": n, "a": 0.5 * 1.2 ** (n * math.cos(n)), "b": 0.5 * 1.2 ** (n * math.sin(n)), "block_length": 8}
        | {"value": 0.8 - 0.01 * n, "examples": 64, "fresh": True, "dropped": n % 3 == 2, "cut": False}
        | changes
        for n in range(count)
    ]


def pair(text: str, steps: int = 8) -> dict[str, Any]:
    side = {"schedule": "linear", "value": 0.5, "pieces": [[text[:5], False], [text[5:], True]]}
    other = {**side, "schedule": "beta:0.43,0.76"}
    return {"steps": steps, "id": "example-1", "chosen": "first", "first": side, "second": other}


def made(search: dict[str, Any] | None = None, **records: Any) -> RunView:
    return read_run(RunRecords(name="text", path="runs/text", search=search or two_budgets(), **records))


def checked(view: RunView) -> str:
    text = run_page(view)
    assert problems_of(text) == []
    return text


def test_the_page_of_a_real_run_is_sound_and_its_numbers_are_those_of_the_json(text_run: PageRun) -> None:
    view = read_run(RunRecords(name="text", path="runs/text", search=text_run.search, evaluate=text_run.evaluate))
    page = read_page(checked(view))
    shown = page.numbers
    for budget in text_run.search["budgets"]:
        assert {budget["value"], budget["gain_over_linear"]["value"]} <= shown
        assert {each["value"] for each in budget["baselines"].values()} <= shown
        for figures in budget["diversity"].values():
            assert {each["value"] for each in figures.values()} <= shown
        assert f"counts = {budget['counts']}" in page.text
    for row in text_run.evaluate["rows"]:
        assert {row["value"], *(row["ci"] or ())} <= shown
    assert {pair[side]["value"] for pair in text_run.search["sample_pairs"] for side in ("first", "second")} <= shown
    assert "the grid of arXiv:2509.13866" in page.text and "mdm-tune search runs/text/config.yaml" in page.text
    assert "threshold:0.3" in page.text
    assert all(f"--chart-{name}" in run_page(view) for name in ("ink", "paper", "tuned"))
    assert "http-equiv" not in run_page(view)


def test_the_same_run_gives_the_same_page(text_run: PageRun) -> None:
    records = RunRecords(name="text", path="runs/text", search=text_run.search)
    assert run_page(read_run(records)) == run_page(read_run(copy.deepcopy(records)))


def test_every_section_of_a_search_is_there_in_order(text_run: PageRun) -> None:
    view = read_run(RunRecords(name="text", path="runs/text", search=text_run.search))
    found = [str(each["id"]) for each in read_page(run_page(view)).named("section")]
    assert found == [
        *("use", "quality", "landscape", "schedule"),
        *("samples", "diversity", "cost", "provenance"),
    ]


@pytest.mark.parametrize(
    ("section", "value", "shown"),
    [
        ("sampler", {"temperature": 0.5}, False),
        ("sampler", {"steps": [99], "batch": 3}, True),
        ("objective", {"metric": "other"}, False),
        ("dataset", {"report": 99}, True),
    ],
)
def test_an_evaluation_of_something_else_is_not_shown(
    text_run: PageRun, section: str, value: dict[str, Any], shown: bool
) -> None:
    evaluate = copy.deepcopy(text_run.evaluate)
    evaluate["description"]["config"][section] |= value
    view = read_run(RunRecords(name="text", path="runs/text", search=text_run.search, evaluate=evaluate))
    assert bool(view.rows) is shown is ("other-evaluation" not in [warned.code for warned in view.warnings])


def test_an_older_evaluation_with_another_metric_is_not_shown(text_run: PageRun) -> None:
    evaluate = copy.deepcopy(text_run.evaluate)
    del evaluate["description"]
    for metric, shown in (("spelling", True), ("nelbo", False)):
        for row in evaluate["rows"]:
            row["metric"] = metric
        view = read_run(RunRecords(name="text", path="runs/text", search=text_run.search, evaluate=evaluate))
        assert bool(view.rows) is shown


def test_tables_sort_by_real_buttons() -> None:
    page = read_page(checked(made()))
    heads = page.named("th")
    assert len(page.named("table")) >= 2 and all(each.get("scope") == "col" for each in heads)
    text = run_page(made())
    assert 'th scope="col"><button type="button">schedule</button>' in text and "aria-sort" in text


def test_texts_of_data_are_escaped_wherever_they_stand() -> None:
    record = two_budgets() | {
        "sample_pairs": [pair(HOSTILE)],
        "warnings": [{"code": HOSTILE, "text": HOSTILE, "advice": ""}],
    }
    record["budgets"][0] = {
        **BUDGET,
        "steps": 16,
        "baselines": {**BUDGET["baselines"], HOSTILE: BUDGET["baselines"]["linear"]},
    }
    view = replace(made(record), name=HOSTILE, path=HOSTILE)
    text = checked(view)
    assert (
        "<script>alert" not in text and "<img" not in text and "{{ 7 * 7 }}" in text and "onerror=alert(2)&gt;" in text
    )
    assert len(read_page(text).named("script")) == 1


def test_a_better_hand_made_schedule_is_offered_first() -> None:
    baselines = {**BUDGET["baselines"], "sine": {"value": 0.9, "ci": [0.89, 0.91]}}
    text = read_page(checked(made(two_budgets() | {"budgets": [{**BUDGET, "baselines": baselines}]}))).text
    before, found, text = text.partition(". Commands and code are below")
    assert found and before.endswith("counts = [3, 3, 1, 1] at 4 steps")
    first, second = (
        text.index("4 steps: sine, hand-made, with a better value"),
        text.index("4 steps: Beta(0.431, 0.761)"),
    )
    assert first < text.index("counts = [3, 3, 1, 1]") < second < text.index("counts = [1, 2, 3, 2]")
    assert "# one denoiser call" in text and "--to llada --steps 4" in text


def test_an_adaptive_policy_that_is_the_same_at_every_budget_has_one_row(text_run: PageRun) -> None:
    view = read_run(RunRecords(name="text", path="runs/text", evaluate=text_run.evaluate))
    (row,) = [row for row in view.rows if row.label == "threshold:0.3"]
    assert row.every and row.difference is None and len(view.rows) == len(text_run.evaluate["rows"]) - 1


def test_gains_of_an_evaluation_are_positive_where_they_are_better(text_run: PageRun) -> None:
    signs = []
    for direction in ("maximize", "minimize"):
        evaluate = copy.deepcopy(text_run.evaluate)
        evaluate["description"]["direction"] = direction
        view = read_run(RunRecords(name="text", path="runs/text", evaluate=evaluate))
        signs.append([row.difference.value for row in view.rows if row.difference is not None])
    assert signs[0] == [-value for value in signs[1]] and any(signs[0])


def test_control_characters_and_all_scripts_are_shown() -> None:
    assert visible("a\x00b\x1b[31m\n\tc\x7f\x85\ud800") == "a\u2400b\u241b[31m\n\tc\ufffd\ufffd\ufffd"
    assert visible(SCRIPTS) == SCRIPTS
    text = checked(made(two_budgets() | {"sample_pairs": [pair("ab\x00cd" + SCRIPTS)]}))
    assert "\x00" not in text and "\u2400" in text and SCRIPTS in text
    text.encode("utf-8")


def test_differing_tokens_are_marked_without_colour_too() -> None:
    page = read_page(checked(made(two_budgets() | {"sample_pairs": [pair("equal and other")]})))
    assert len(page.named("del")) == len(page.named("ins")) == 1
    assert any(each.get("dir") == "auto" for each in page.named("div"))


def test_samples_stand_below_what_was_asked() -> None:
    asked = {**pair("equal and other"), "example": "2 + 2 =\u27e8 4\u27e9"}
    text = read_page(checked(made(two_budgets() | {"sample_pairs": [asked]}))).text
    assert "2 + 2 =\u27e8 4\u27e9" in text and "with the reference answer in \u27e8" in text
    assert "what was asked" not in read_page(checked(made(two_budgets() | {"sample_pairs": [pair("a")]}))).text


def test_long_samples_are_cut_and_say_so() -> None:
    text = checked(made(two_budgets() | {"sample_pairs": [pair("x" * 10_000)]}))
    assert "8\u202f500 more characters" in text and "x" * 1600 not in text


def many_budgets(count: int, trials: int = 30) -> dict[str, Any]:
    """A search of many budgets with all that a page can hold."""
    budgets = [
        {**FLAGGED, "steps": steps, "nfe": steps, "counts": [1 + step % 7 for step in range(steps)]}
        | {"trial_points": points(trials), "choose": [], "paper_grid": {"denoiser_rows": 9}}
        for steps in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)[:count]
    ]
    pairs = [pair("word " * 2000, steps=budget["steps"]) for budget in budgets for _ in range(4)]
    return two_budgets() | {"budgets": budgets, "sample_pairs": pairs}


@pytest.mark.parametrize("count", [1, 8])
def test_a_page_of_any_size_is_small_enough(count: int) -> None:
    text = checked(made(many_budgets(count)))
    assert read_page(text).text.count("tokens per step,") == count


def test_figures_of_two_and_of_many_steps() -> None:
    record = many_budgets(10, 0)
    found = figures_of(made(record | {"budgets": [record["budgets"][0], record["budgets"][7]]}))
    assert {"counts-2", "counts-256", "quality", "gains"} <= set(found)
    assert not any(name.startswith("landscape") for name in found)


@pytest.mark.parametrize(
    "changes",
    [
        {"gain_over_linear": {**BUDGET["gain_over_linear"], **EXACT}, "ci": None, "no_interval": "exact", "n": None},
        {"value": None, "ci": [None, None]},
        {"gain_over_linear": {**BUDGET["gain_over_linear"], "value": None, "ci": None, "ci_familywise": None}},
        {"trials": 0, "trial_points": []},
        {"trial_points": points(3)},
        {"trial_points": points(9, value=None)},
        {"trial_points": points(9, value=0.5)},
        {"trial_points": points(300)},
        {"counts": None, "alphas": [0.0, 0.2, 0.7, 1.0], "block_length": None},
        {"schedule": {"type": "sine", "a": None, "b": None}, "trial_points": points(12)},
        {"schedule": {"type": "linear", "a": None, "b": None}, "trial_points": points(12)},
        {"schedule": {"type": "counts:1,2,3,2", "a": None, "b": None}},
        {"schedule": {"type": "a plugin's", "a": None, "b": None}},
        {"block_length": 4, "steps": 4, "nfe": 3.2},
        {"block_length": 4, "steps": 3},
        {"baselines": {}},
        {"data": {"value": 0.9, "ci": None, "no_interval": "too few examples", "independent": 4}},
    ],
)
def test_unusual_results_have_a_sound_page(changes: dict[str, Any]) -> None:
    checked(made(two_budgets() | {"budgets": [{**BUDGET, **changes}]}))


def test_no_baseline_and_no_direction_of_an_older_record() -> None:
    older = copy.deepcopy(two_budgets())
    for budget in older["budgets"]:
        del budget["direction"], budget["diversity"], budget["diversity_losses"]
    del older["denoiser_rows_of"], older["warnings"]
    text = checked(made(older))
    assert "does not list its trials" in text and "has no figures of diversity" in text


@pytest.mark.parametrize(
    ("budget", "linear"),
    [
        ({"counts": [1, 2, 3, 2], "steps": 4}, (2, 2, 2, 2)),
        ({"counts": [1, 3, 2, 2], "steps": 4, "block_length": 4}, (2, 2, 2, 2)),
        ({"counts": [1, 3, 4], "steps": 3, "block_length": 4}, None),
        ({"counts": None, "alphas": [0, 1], "steps": 1}, None),
    ],
)
def test_the_counts_of_linear_beside_the_tuned_ones(budget: dict[str, Any], linear: tuple[int, ...] | None) -> None:
    view = made(two_budgets() | {"budgets": [{**BUDGET, **budget}]})
    assert named_counts(view, view.budgets[0]) == linear


def test_blocks_are_marked_and_a_schedule_keeps_its_own() -> None:
    """Of eight tokens at four steps: the tuned schedule in one block, the best hand-made one in two."""
    baselines = {**BUDGET["baselines"], "sine in blocks of 4": {"value": 0.81, "ci": [0.8, 0.82]}}
    view = made(two_budgets() | {"budgets": [{**BUDGET, "baselines": baselines}]})
    counts = named_counts(view, view.budgets[0], "sine in blocks of 4")
    assert counts == (3, 1, 3, 1) != named_counts(view, view.budgets[0], "sine")
    source = figures_of(view)["counts-4"].svg()
    assert source.count('stroke-dasharray="2 2"') == 1  # the border of the two blocks


def test_costs_say_how_trials_ended_and_equal_counts_are_said() -> None:
    record = {**BUDGET, "trials": 16, "dropped": 11, "ended": "the time for trials is used up", "same_counts": ["sine"]}
    record["unreachable"] = ["klass:0.01@0 cannot make 4 calls", "klass:0.01@0 cannot make 4 calls"]
    page = read_page(checked(made(two_budgets() | {"budgets": [record]})))
    missed = "klass:0.01@0 cannot make 4 calls"
    assert (
        f"16, 11 of them dropped early; why no more trials were run: the time for trials is used up; {missed}"
        in page.text
    )
    assert page.text.count(missed) == 1
    assert "At 4 steps Beta(0.431, 0.761) has the same counts as sine." in page.text


def progress(**changes: Any) -> dict[str, Any]:
    return {
        "state": "running",
        "stage": "trial 3 of 20 at 8 steps",
        "done": 5,
        "total": 50,
        "started": "2026-01-01T10:00:00+00:00",
        "updated": "2026-01-01T10:05:00+00:00",
        "steps": [8, 16],
        "current": 8,
        "best": 0.77,
        "resume": "mdm-tune search c.yaml --resume",
        "budgets": [],
        **changes,
    }


def test_a_running_search_says_how_far_it_is_and_is_read_again() -> None:
    view = read_run(RunRecords(name="text", path="runs/text", progress=progress()))
    text = checked(view)
    page = read_page(text)
    assert view.state is State.RUNNING and '<meta http-equiv="refresh" content="10">' in text
    assert "10 % of its work" in page.text and "trial 3 of 20 at 8 steps" in page.text and 0.77 in page.numbers
    assert [each["aria-valuenow"] for each in page.named("div") if each.get("role") == "progressbar"] == ["10"]


def test_a_running_search_shows_the_budgets_that_are_finished() -> None:
    budget = json.loads(json.dumps({**BUDGET, "steps": 8, "trial_points": points(12)}))
    view = read_run(RunRecords(name="text", path="runs/text", progress=progress(budgets=[budget])))
    text = checked(view)
    assert "+0.030" in text and "<h1>The search is running" in text


def test_a_search_that_was_stopped_says_how_to_go_on_and_is_not_read_again() -> None:
    text = checked(read_run(RunRecords(name="text", path="runs/text", progress=progress(state="stopped"))))
    assert "was stopped after 10 %" in text and "--resume" in text and "http-equiv" not in text


def test_a_running_search_says_how_long_it_will_still_take_and_shows_the_trials_so_far() -> None:
    record = progress(seconds_left=250.0, trial_points=points(12))
    text = checked(read_run(RunRecords(name="text", path="runs/text", progress=record)))
    page = read_page(text)
    assert "About 4 min left" in page.text and 'data-left="250.0"' in text
    assert "the first 12 trials of Beta(a, b)" in text and "best trial" in page.text
    looks = Looks(read_run(RunRecords(name="text", path="runs/text", progress=record)))
    assert looks.colour("squared-sine") == "first" != looks.colour("tuned")  # before any result
    stopped = {**record, "state": "stopped"}
    assert (
        "left"
        not in read_page(checked(read_run(RunRecords(name="t", path="t", progress=stopped)))).text.split("Landscape")[0]
    )
    journal = {8: points(20)}  # of a search that goes on: more than this command has seen
    view = read_run(RunRecords(name="text", path="runs/text", progress=record, trials=journal))
    assert view.progress is not None and len(view.progress.points) == 20


RIVAL = {
    **BUDGET,
    "steps": 4,
    "baselines": {**BUDGET["baselines"], "sine": {"value": 0.81, "ci": [0.8, 0.82]}},
    "gains_over_baselines": {
        "sine": {**BUDGET["gain_over_linear"], "value": -0.007, "ci": [-0.02, 0.01], "ci_familywise": [-0.03, 0.02]}
        | {"shown": False}
    },
    "wins_over_baselines": {
        "linear": {"wins": 301, "ties": 11, "losses": 200},
        "sine": {"wins": 241, "ties": 20, "losses": 251},
    },
    "diversity": FLAGGED["diversity"],
    "diversity_losses": {
        **FLAGGED["diversity_losses"],
        "losses": [
            {"figure": "token_entropy", "than": "reference", "share": 0.02, "share_of_linear": 0.011}
            | {"flagged": False, "blocks": False, "share_ci": [-0.004, 0.044]}
        ],
    },
    "baseline_diversity": {"sine": {"token_entropy": {"value": 2.5125, "ci": [2.5, 2.52]}}},
    "trial_points": points(12),
}


def with_a_rival() -> RunView:
    """A search at 4 and 8 steps in which sine is the best hand-made schedule."""
    third = {"schedule": "sine", "value": 0.625, "pieces": [["w", True], ["ord", False]]}
    other = {**RIVAL, "steps": 8, "nfe": 8, "counts": [1] * 8}
    pairs = [{**pair("word"), "third": third}]
    return made(two_budgets() | {"budgets": [RIVAL, other], "sample_pairs": pairs})


def test_the_best_hand_made_schedule_stands_beside_the_tuned_one_everywhere() -> None:
    view = with_a_rival()
    found = figures_of(view)
    assert (
        "8 steps over sine, hand-made: -0.007 [-0.030, 0.020], not shown better than sine" in found["gains"].description
    )
    assert "4 steps over linear: 0.030 [0.018, 0.042], better than linear" in found["gains"].description
    counts = ", ".join(map(str, named_counts(view, view.budgets[0], "sine") or ()))
    assert f"sine: {counts}; linear: 2, 2, 2, 2." in found["counts-4"].description
    assert "sine is at 0.71 halfway" in found["alpha"].description
    page = read_page(checked(view))
    assert {2.5125, 0.625} <= page.numbers and len(page.named("ins")) == 2
    assert "dashed in the third, other than in the second" in page.text


def test_a_schedule_has_one_colour_and_one_marker_on_the_whole_page(text_run: PageRun) -> None:
    """Also one that only the evaluation has: its look is not that of a baseline of the search."""
    evaluate = copy.deepcopy(text_run.evaluate)
    view = read_run(RunRecords(name="text", path="runs/text", search=two_budgets() | {"budgets": [RIVAL]}))
    view = replace(view, rows=read_run(RunRecords(name="text", path="x", evaluate=evaluate)).rows)
    looks = Looks(view)
    labels = ["tuned", "linear", "sine", "beta:0.43,0.76", "threshold:0.3"]
    assert len({looks.of(label) for label in labels}) == len(labels)
    figures = figures_of(view)
    for label, colour in (("sine", "second"), ("linear", "linear"), ("tuned", "tuned")):
        assert looks.colour(label) == colour
        shown = [name for name, figure in figures.items() if f"--chart-{colour}" in figure.svg()]
        assert {"quality", "alpha", "counts-4"} <= set(shown)
    text = checked(view)
    for label in labels:
        assert text.count(looks.key(label)) >= 1
    assert looks.of("beta:0.4312345678901234,0.7612345678901234", 4) == looks.of("tuned") != looks.of("beta:0.43,0.76")


def test_wins_ties_and_losses_stand_in_the_cards_and_in_the_table() -> None:
    page = read_page(checked(with_a_rival()))
    assert "wins 301, ties 11, losses 200 of 512 examples" in page.text
    assert page.text.count("wins 241, ties 20, losses 251") == 2 and "241 / 20 / 251" in page.text
    assert "wins" not in read_page(checked(made())).text  # an older record


def test_figures_of_diversity_say_what_they_are_and_on_how_many_samples() -> None:
    page = read_page(checked(with_a_rival()))
    assert "128 samples of each, with 95 % intervals" in page.text
    assert "distinct trigrams" in page.text and "distinct tokens" not in page.text
    said = "In token entropy the winners' samples fall below those of linear at 64 steps by 2.0 % [-0.4, 4.4]"
    assert f"{said} at 4 steps, where linear is 1.1 % below it and hand-made sine is " in page.text
    assert page.text.count(said) == 1 and "errors count as diverse too" in page.text


def test_the_page_says_where_the_schedules_of_an_evaluation_come_from(text_run: PageRun) -> None:
    def told(path: str, *labels: str, named: tuple[str, ...] = ()) -> dict[str, str]:
        evaluate = copy.deepcopy(text_run.evaluate)
        evaluate["description"]["config"]["evaluate"]["schedules"] = [*named]
        evaluate["rows"] = [{**evaluate["rows"][0], "schedule": label} for label in labels]
        record = two_budgets() | {"budgets": [{**BUDGET, "metric": "spelling"}]}
        return dict(origins(read_run(RunRecords(name="text", path=path, search=record, evaluate=evaluate))))

    found = told(
        "runs/text", "linear", "sine", "beta:0.4,0.7", "beta:0.4312345678901234,0.7612345678901234", named=("linear",)
    )
    assert found == {
        "Beta(0.4, 0.7)": "given to mdm-tune evaluate as beta:0.4,0.7; the search of this folder did not find it",
        "Beta(0.431, 0.761)": "found by the search of this folder at 4 steps",
    }
    found = told("runs/text", "runs/text/schedule.yaml", "b/c.yaml", "threshold:0.9", named=("threshold:0.9",))
    assert found == {
        "tuned (text)": "the schedules that the search of this folder found",
        "c.yaml": "the schedule file b/c.yaml",
        "threshold:0.9": "threshold:0.9 in evaluate.schedules",
    }


def test_a_profile_alone_has_a_page() -> None:
    schedule = {"nelbo": 12.5, "a": 0.5, "b": 0.6}
    profile = {
        "length": 8,
        "block_length": 8,
        "exact": False,
        "examples": 64,
        "revealed": [0, 3, 7],
        "cross_entropy": [2.0, 1.5, 1.2],
        "cross_entropy_ci": [[1.9, 2.1], [1.4, 1.6], [1.1, 1.3]],
        "budgets": [{"steps": 4, "linear": {**schedule, "nelbo": 13.0}, "beta": schedule, "optimum": schedule}],
    }
    text = checked(read_run(RunRecords(name="text", path="runs/text", profile=profile)))
    page = read_page(text)
    assert "chosen on other examples" in page.text
    minus = {**schedule, "minus_linear": {"nelbo": -0.5, "ci": [-0.75, -0.25]}}
    budgets = [{**profile["budgets"][0], "beta": minus}]  # type: ignore[index]
    exact = {**profile, "exact": True, "budgets": budgets}
    known = read_page(checked(read_run(RunRecords(name="text", path="runs/text", profile=exact))))
    assert {-0.5, -0.75, -0.25} <= known.numbers and "chosen on other examples" not in known.text
    assert "Beta(0.5, 0.6) has a NELBO of 12.5 nats at 4 steps, and linear has 13" in page.text
    assert {12.5, 13.0, 0.5, 0.6} <= page.numbers


def test_model_and_data_are_named_with_what_is_known_of_them(text_run: PageRun) -> None:
    about = read_run(RunRecords(name="text", path="runs/text", search=text_run.search)).about
    assert about.model == (
        "transformer package:text (bundled with mdm-tune, 1.19 million parameters, a vocabulary of 27 tokens)"
    )
    assert about.data == "text package:text (bundled with mdm-tune)"
    assert about.label == "share of characters in known words (those of words.txt, beside the texts)"
    older = replace(about, parameters=None, vocabulary=None, config={"model": {"type": "custom", "target": "a.py:f"}})
    assert (older.model, older.data) == ("custom a.py:f", "")
