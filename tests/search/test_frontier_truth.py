"""The cheapest policy is named wrongly in at most 5 % of evaluations, where the truth is known.

Covers: cheapest.
"""

from __future__ import annotations

import numpy as np
import pytest

from scripts.frontier_truth import Population, at_the_limit, claimed, judged, legal, margins_of, measured, page, table


@pytest.fixture(scope="module")
def strings() -> Population:
    """600 examples of a small table of strings; a sample is right if it is one of them."""
    law = table(words=8, length=8)
    return measured("strings", law, legal(law), (4, 2), 600)


def test_a_policy_at_the_margin_is_seldom_named(strings: Population) -> None:
    """Each margin is the true loss of a policy; over 13 false claims of 100 have probability 0.0005 at 5 %."""
    margins = margins_of(strings, 2)
    assert len(margins) == 2 and all(
        margin in {round(loss, 12) for loss in strings.losses.values()} for margin in margins
    )
    lines = [judged(strings, margin, 256, 100) for margin in margins]
    assert all(line.false <= line.any_false <= 13 for line in lines)
    assert any(line.claims >= 50 for line in lines)  # it is not silent


def test_policies_that_are_all_at_the_margin_are_seldom_named() -> None:
    population = at_the_limit(0.1, policies=4, budgets=(8, 4), size=4000)
    assert set(np.round([*population.losses.values()][1:], 9)) == {0.1}
    assert judged(population, 0.1, 256, 100).false <= 13


def test_a_margin_above_all_losses_is_nearly_always_claimed_at_the_fewest_calls() -> None:
    population = at_the_limit(0.02, policies=2, budgets=(8, 4), size=4000)
    named = [claimed(population, 0.2, 512, seed)[0] for seed in range(10)]
    assert all(name is not None and name[1] == 4 for name in named)


def test_the_page_has_a_row_for_each_margin(strings: Population) -> None:
    line = judged(strings, 0.2, 64, 5)
    text = page([line, line], 600, 61.0)
    assert text.count("| strings | 20.00 % | 64 |") == 2 and "The replications took 1 minutes" in text
