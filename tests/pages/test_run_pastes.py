"""What a reader copies: each text once, and no variable that nothing uses."""

from __future__ import annotations

import ast
import shlex
from typing import Any

import pytest

from mdm_tune.pages.run_pastes import pastes_of
from tests.pages.test_frontier import FRONTIER
from tests.pages.test_run_page import made
from tests.support.search_results import BUDGET, two_budgets

ALPHAS = {"counts": None, "alphas": [0.0, 0.123456789, 0.7, 1.0], "block_length": None}
PLAN = {"schedule": {"type": "threshold", "policy": "threshold:0.875"}, "policy": "threshold:0.875", "counts": None}


def texts(*changes: dict[str, Any]) -> dict[str, str]:
    """The texts by their ids, of budgets of 4, 8 and so on with these changes."""
    budgets = [{**BUDGET, **each, "steps": 4 << place, "nfe": 4 << place} for place, each in enumerate(changes)]
    return {paste.id: paste.text for paste in pastes_of(made(two_budgets() | {"budgets": budgets}))}


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
    assert found["policy-0"].startswith("threshold = 0.875\nwhile ") and "now = sure >= threshold" in found["policy-0"]
    assert not any(name.startswith("policy-") for name in texts({}, ALPHAS))
    other = {**PLAN, "schedule": {"type": "threshold", "policy": "threshold:0.5"}, "policy": "threshold:0.5"}
    both = texts(PLAN, other)
    assert (
        both["policy-0"].startswith("threshold = 0.875\n# 8 steps: threshold = 0.5\nwhile ") and "policy-1" not in both
    )


def test_values_to_copy_are_whole() -> None:
    assert texts(ALPHAS)["counts-4"].startswith("alphas = [0, 0.123456789, 0.7, 1]")
    quota = "quota:beta:0.9,0.3#8@0.99999886"
    command = texts({**PLAN, "policy": quota})["counts-4"]
    assert shlex.split(command)[3:] == ["--schedule", quota, "--steps", "4"]


def test_the_cheapest_policy_is_offered_where_no_budget_offers_it() -> None:
    quota = "quota:beta:0.9,0.3#8@0.99999886"
    record = two_budgets() | {"budgets": [{**BUDGET, **PLAN}]}

    def offered(name: str) -> dict[str, str]:
        frontier = {**FRONTIER, "cheapest": {"schedule": name, "steps": 8}}
        return {paste.id: paste.text for paste in pastes_of(made(record | {"policy_frontier": frontier}))}

    assert shlex.split(offered(quota)["cheapest"])[3:] == ["--schedule", quota, "--steps", "8"]
    assert "cheapest" not in offered("threshold:0.875") and "cheapest" not in texts(PLAN)
