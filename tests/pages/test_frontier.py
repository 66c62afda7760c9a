"""The frontier of an evaluation on the page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mdm_tune.pages.charts import Axis, Look
from mdm_tune.pages.frontier import frontier_figure, read_frontier
from mdm_tune.pages.run_figures import figures_of
from mdm_tune.pages.run_looks import Looks
from mdm_tune.pages.run_page import run_page
from tests.pages.test_sentences import evaluation
from tests.support.charts import parsed, texts


def point(schedule: str, policy: str, tpf: float, value: float, no_worse: bool | None) -> dict[str, Any]:
    return {
        "schedule": schedule,
        "policy": policy,
        "steps": 8,
        "tpf": {"value": tpf},
        "no_worse": no_worse,
        "value": value,
        "ci": [value - 0.02, value + 0.02],
        "no_interval": None,
        "independent": 64,
    }


FRONTIER = {
    "sentence": "the cheapest policy is threshold:0.9",
    "reference": point("linear", "linear", 1.0, 0.95, None),
    "points": [
        point("linear", "linear", 4.0, 0.8, False),
        point("threshold:0.9", "threshold", 3.5, 0.94, True),
        point("threshold:0.5", "threshold", 7.0, 0.6, None),
    ],
}


def look(policy: str) -> Look:
    return Looks(evaluation(("linear", 8, 0.8, None))).of_policy(policy)


def test_one_token_per_step_is_a_line_across_and_ticks_are_powers_of_two() -> None:
    view = read_frontier(FRONTIER)
    assert view is not None and list(view.policies) == ["linear", "threshold"]
    figure = frontier_figure(view, Axis("share", better="higher"), look)
    drawn, root = figure.svg(), parsed(figure.svg())
    assert "one token per step is 0.950 [0.930, 0.970]" in figure.description
    shown = {each.text: each for each in texts(root)}
    assert "one token per step" in shown and {"4", "5", "6"} <= shown.keys()  # one power of two would be too few
    wide = {**FRONTIER, "points": [point("linear", "linear", tpf, 0.8, False) for tpf in (1.9, 8.1)]}
    found = read_frontier(wide)
    assert found is not None
    ticks = {each.text for each in texts(parsed(frontier_figure(found, Axis("share"), look).svg()))}
    assert {"2", "4", "8"} <= ticks and not {"5", "6", "7"} & ticks
    assert "threshold:0.9: 0.940 [0.920, 0.960] at 3.5 tokens per call, as good as one token per step" in drawn
    assert read_frontier({}) is None


def test_the_page_has_the_sentence_and_the_figure_only_if_there_is_a_frontier() -> None:
    view = evaluation(("linear", 8, 0.8, None), ("threshold:0.9", 8, 0.94, (0.1, 0.2)))
    assert "frontier" not in figures_of(view) and "tokens per call" not in run_page(view)
    whole = replace(view, frontier=read_frontier(FRONTIER))
    text = run_page(replace(whole, cheapest="the cheapest policy is threshold:0.9"))
    assert '<li class="note">The cheapest policy is threshold:0.9.</li>' in text
    assert "tokens per denoiser call" in text and "evaluation" not in figures_of(whole)  # the same values


def test_of_too_many_policies_the_worst_hand_made_schedules_are_left_out() -> None:
    names = ["linear", "squared-sine", "sine", "maskgit-cosine", "tuned counts", "threshold", "tuned quota"]
    names += ["tuned cap", "entropy-bound", "tuned klass"]
    values = {"sine": 0.6}
    points = [point(name, name, 4.0, values.get(name, 0.5), None) for name in names]
    view = read_frontier({**FRONTIER, "points": points})
    assert view is not None
    said = frontier_figure(view, Axis("share", better="higher"), look).description
    assert [name for name in names if f" {name}: " in said] == ["linear", "sine", *names[4:]]
    assert len({(look(name).colour, look(name).shape) for name in names}) == len(names)
