"""Quality against denoiser calls over the budgets of a search."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mdm_tune.search.frontier import frontier_of
from tests.search.test_confirmation import Bench, budgets_of


def test_the_headline_is_the_pair_that_saves_most_calls() -> None:
    budgets = budgets_of({16: (4.0, 2.0), 4: (8.0, 5.0), 8: (6.0, 4.0)})  # in any order; less is better
    found = frontier_of(budgets, "minimize", 0.01)
    tested = {(pair.budget.steps, pair.larger.steps): pair for pair in found.pairs}
    assert {key: pair.test.holds for key, pair in tested.items()} == {(4, 8): True, (4, 16): False, (8, 16): True}
    assert found.confidence == pytest.approx(1 - 0.05 / 3)
    assert tested[4, 16].ratio == pytest.approx(budgets[0].baselines["linear"].nfe / budgets[1].winner.nfe)
    assert found.headline is not None
    assert found.headline.ratio == max(pair.ratio for pair in found.pairs if pair.test.holds)
    assert not any(pair.linear_too for pair in found.pairs)
    assert {key for key, pair in tested.items() if pair.test.better} == {(4, 8)}  # 5 nats against 6, and 4 against 4
    assert all(pair.ratio_ci is None and not pair.calls_vary for pair in found.pairs)  # fixed counts
    bound = tested[8, 16].test.bound
    assert bound is not None and -0.04 < bound < 0.01


def test_a_margin_decides_what_counts_as_the_same() -> None:
    budgets = budgets_of({4: (9.0, 4.2), 8: (4.0, 3.0)})
    assert frontier_of(budgets, "minimize", 0.01).headline is None
    assert frontier_of(budgets, "minimize", 0.1).headline is not None


def test_exact_values_are_compared_alike() -> None:
    budgets = budgets_of({4: (8.0, 5.0), 8: (5.0, 5.0), 16: (4.96, 4.0)}, exact=True)
    found = frontier_of(budgets, "minimize", 0.01)
    assert [pair.test.holds for pair in found.pairs] == [True, True, True]
    assert [pair.linear_too for pair in found.pairs] == [False, False, True]
    assert [pair.test.better for pair in found.pairs] == [False, False, False]
    assert [pair.test.holds for pair in frontier_of(budgets, "minimize", 0.001).pairs] == [True, False, False]
    assert all(pair.test.bound is None for pair in found.pairs)


def test_one_budget_and_budgets_of_equal_calls_have_no_pairs() -> None:
    assert frontier_of(budgets_of({8: (3.0, 2.0)}), "minimize", 0.01).pairs == ()
    bench = Bench({})
    same = replace(bench.confirm([]), steps=9)
    found = frontier_of([bench.confirm([]), same], "minimize", 0.01)
    assert found.pairs == () and found.headline is None
