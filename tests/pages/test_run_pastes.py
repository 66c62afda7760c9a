"""What a reader copies: each text once, and no variable that nothing uses."""

from __future__ import annotations

import ast
import shlex
from typing import Any

import pytest

from mdm_tune.pages.run_pastes import pastes_of, to_use
from mdm_tune.pages.run_reading import RunRecords, read_run
from tests.pages.test_frontier import FRONTIER
from tests.pages.test_run_page import made
from tests.support.page_runs import PageRun
from tests.support.search_results import BUDGET, two_budgets

ALPHAS = {"counts": None, "alphas": [0.0, 0.123456789, 0.7, 1.0], "block_length": None}
PLAN = {"schedule": {"type": "threshold", "policy": "threshold:0.875"}, "policy": "threshold:0.875", "counts": None}


def texts(*changes: dict[str, Any]) -> dict[str, str]:
    """The texts by their ids, of budgets of 4, 8 and so on with these changes."""
    budgets = [{**BUDGET, **each, "steps": 4 << place, "nfe": 4 << place} for place, each in enumerate(changes)]
    return {paste.id: paste.text for paste in pastes_of(made(two_budgets() | {"budgets": budgets}))}


def test_each_budget_has_the_command_that_follows_it() -> None:
    found = texts({}, PLAN)
    for steps in (4, 8):
        assert shlex.split(found[f"run-{steps}"], comments=True) == [
            *("mdm-tune", "sample", "runs/text/config.yaml", "--schedule", "runs/text", "--steps", str(steps))
        ]
    assert "# 8 is the budget that its number was set for, and no limit: it makes 8 calls" in found["run-8"]
    assert "counts-8" not in found and "#" not in found["run-4"]
    # The file of one schedule for all budgets holds another schedule than a budget's own.
    plan = {
        "steps": 4,
        "plan": {"counts": [2, 2, 2, 2], "block_length": None},
        "stand_ins": {"baselines": {"sine": {}}},
    }
    record = two_budgets() | {"budgets": [BUDGET], "shared": {"text": "One.", "budgets": [plan]}}
    pastes = {paste.id: paste for paste in pastes_of(made(record))}
    assert "--schedule beta:0.4312345678901234,0.7612345678901234 --steps 4" in pastes["run-4"].text
    assert pastes["instead-4-sine"].title.endswith("take the place of the shared schedule")


def test_what_to_use_is_named_below_the_headline_where_it_is_short() -> None:
    def named(*changes: dict[str, Any]) -> str:
        budgets = [{**BUDGET, **each, "steps": 4 << place, "nfe": 4 << place} for place, each in enumerate(changes)]
        return "".join(text for _, text in to_use(made(two_budgets() | {"budgets": budgets})))

    below = ". Commands and code are below"
    assert named({}, PLAN) == f"counts = [1, 2, 3, 2] at 4 steps; threshold:0.875 at 8 steps{below}"
    assert named(ALPHAS) == named({"counts": [1] * 17}) == named({"schedule": {"type": "linear"}}) == ""
    assert named({}, {"counts": [1] * 17}) == f"counts = [1, 2, 3, 2] at 4 steps{below}"


def test_counts_of_hand_made_schedules_that_may_be_used_are_there() -> None:
    """Those that may take the place of the winner, and the one that keeps to linear's calls where a policy does not."""
    stand_ins = {"stand_ins": {"text": "not shown to be worse: sine", "rounder": None, "baselines": {"sine": {}}}}
    assert texts(stand_ins)["instead-4-sine"].startswith("counts = [3, 3, 1, 1]") and "instead-4-sine" not in texts({})
    hand_made = {**BUDGET["baselines"], "sine": {**BUDGET["baselines"]["linear"], "value": 0.79}}
    (title,) = (
        paste.title
        for paste in pastes_of(made(two_budgets() | {"budgets": [{**BUDGET, "baselines": hand_made}]}))
        if paste.id == "instead-4-sine"
    )
    assert title == "4 steps: sine, the best hand-made schedule"
    gain = BUDGET["gain_over_linear"]
    sine = {"kind": "counts", "policy": "sine", "value": {"value": 0.8, "ci": [0.7, 0.9]}, "gain_over_linear": gain}
    sine |= {"calls": {"nfe": 4.0, "nfe_ci": None}, "more_calls": False}
    description = {"config": {}, "metric": "spelling", "direction": "maximize", "exact": False, "sampler": ""}
    description |= {"length": 8, "fingerprints": {}, "versions": {}}
    budget = {**BUDGET, **PLAN, "policies": [sine], "flags": ["more-calls"]}
    view = made(two_budgets() | {"budgets": [budget], "description": description})
    found = {paste.id: paste.text for paste in pastes_of(view)}
    assert found["equal-4"].endswith("--schedule sine --steps 4")
    assert found["equal-counts-4"].startswith("counts = [3, 3, 1, 1]") and "for count in counts" in found["loop"]


def test_the_lines_that_read_the_file_run(text_run: PageRun) -> None:
    view = read_run(RunRecords(name="text", path=str(text_run.folder), search=text_run.search))
    found = {paste.id: paste.text for paste in pastes_of(view)}
    (best,) = [each for each in text_run.search["budgets"] if f"(steps={each['steps']})" in found["load"]]
    *_, own, longer = found["load"].splitlines()
    names: dict[str, Any] = {}
    exec(found["load"], names)
    assert list(names["counts"]) == best["counts"] and own.startswith("counts = ")
    exec(longer.removeprefix("# "), names)
    assert sum(names["counts"]) == 2 * sum(best["counts"]) and "length=" in longer


@pytest.mark.parametrize("changes", [[{}, {}, {}], [ALPHAS, ALPHAS], [PLAN, PLAN], [{}, PLAN, ALPHAS]])
def test_code_to_copy_has_no_unused_variable_and_nothing_twice(changes: list[dict[str, Any]]) -> None:
    found = texts(*changes)
    code = [text for text in found.values() if not text.startswith("mdm-tune ")]
    whole = [*ast.walk(ast.parse("\n".join(code)))]
    names = [node for node in whole if isinstance(node, ast.Name)]
    assigned = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    assert assigned <= {node.id for node in names if isinstance(node.ctx, ast.Load)}
    lines = found["export"].splitlines()
    assert len({*lines}) == len(lines) and lines[-1].startswith("mdm-tune list exports")


def test_exports_are_of_the_budget_with_the_largest_gain_and_of_each_kind_that_it_lacks() -> None:
    more = {**BUDGET["gain_over_linear"], "value": 0.05}
    lines = texts({}, {"gain_over_linear": more}, {}, PLAN)["export"].splitlines()
    assert [line.split(" --to ")[1] for line in lines[:-1]] == [
        *("llada --steps 8", "dream --steps 8", "json --steps 8"),
        *("fast-dllm --steps 32", "sglang --steps 32", "json --steps 32"),
    ]
    budgets = [{**BUDGET, "steps": steps, "nfe": steps} for steps in (4, 8, 16)]
    (title,) = (each.title for each in pastes_of(made(two_budgets() | {"budgets": budgets})) if each.id == "export")
    assert title == "The tuned one for another sampler; also with --steps 8 and 16"


def test_each_policy_stands_once_as_code_for_a_sampler_of_ones_own() -> None:
    found = texts(PLAN, PLAN, {})
    assert [name for name in found if name.startswith("policy-")] == ["policy-0"]
    assert (
        found["policy-0"].startswith("threshold = 0.875\n\nimport ") and "now = sure >= threshold" in found["policy-0"]
    )
    assert not any(name.startswith("policy-") for name in texts({}, ALPHAS))
    other = {**PLAN, "schedule": {"type": "threshold", "policy": "threshold:0.5"}, "policy": "threshold:0.5"}
    both = texts(PLAN, other)
    assert both["policy-0"].startswith("threshold = 0.875\n# 8 steps: threshold = 0.5\n\nimport ")
    assert "policy-1" not in both


def test_values_to_copy_are_whole() -> None:
    assert texts(ALPHAS)["counts-4"].startswith("alphas = [0, 0.123456789, 0.7, 1]")
    assert texts({**PLAN, "policy": "threshold:0.99999886"})["policy-0"].startswith("threshold = 0.99999886\n")


def test_the_cheapest_policy_is_offered_where_no_budget_offers_it() -> None:
    quota = "quota:beta:0.9,0.3#8@0.99999886"
    record = two_budgets() | {"budgets": [{**BUDGET, **PLAN}]}

    def offered(name: str) -> dict[str, str]:
        frontier = {**FRONTIER, "cheapest": {"schedule": name, "steps": 8}}
        return {paste.id: paste.text for paste in pastes_of(made(record | {"policy_frontier": frontier}))}

    assert shlex.split(offered(quota)["cheapest"])[3:] == ["--schedule", quota, "--steps", "8"]
    assert "cheapest" not in offered("threshold:0.875") and "cheapest" not in texts(PLAN)
