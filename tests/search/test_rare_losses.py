"""Whether few losses among many examples are shown to be small on average."""

from __future__ import annotations

import numpy as np
import pytest

from mdm_tune.search.rare_losses import examples_for_ties, margin_of_ties, seldom_worse, worst_surplus


def test_examples_without_a_difference_exclude_a_loss_as_the_binomial_distribution_does() -> None:
    """A loss of 1 % stays unseen in n examples with probability 0.99^n; about a fifth more examples are needed."""
    needed = next(n for n in range(100, 2000) if seldom_worse(np.full(n, 0.01), 1.0, 0.05))
    binomial = np.log(0.05) / np.log(0.99)
    assert binomial < needed < 1.5 * binomial


@pytest.mark.parametrize(("count", "margin"), [(512, 0.01), (1000, 0.005), (300, 0.05)])
def test_losses_of_the_margin_are_excluded_in_at_most_five_percent(count: int, margin: float) -> None:
    """2,000 experiments each at the margin; 131 wrong ones of 100 expected would have probability 0.002."""
    losses = np.random.default_rng(count).binomial(count, margin, 2000)
    held = {n: seldom_worse(np.r_[np.full(count - n, margin), np.full(n, margin - 1)], 1.0, 0.05) for n in {*losses}}
    assert sum(held[n] for n in losses) <= 130
    assert held[min(held)]  # without hardly any loss it holds


def test_unbounded_values_and_groups_of_several_sizes_show_nothing() -> None:
    surplus = np.full(2000, 0.01)
    assert not seldom_worse(surplus, None, 0.05)
    assert seldom_worse(surplus, 1.0, 0.05, [place // 2 for place in range(2000)])
    assert not seldom_worse(surplus[:400], 1.0, 0.05, [place // 2 for place in range(400)])
    assert not seldom_worse(surplus, 1.0, 0.05, [0, *range(1999)])


def test_a_total_loss_takes_the_stake() -> None:
    assert not seldom_worse(np.r_[np.full(2000, 0.01), np.full(40, -1.0)], 1.0, 0.05)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.0, 5.0), (-2.0, 1.0), (-1.0, 0.0)])
@pytest.mark.parametrize(("share", "level"), [(0.01, 0.05), (0.05, 0.0125), (0.2, 0.001)])
def test_the_examples_for_ties_are_the_fewest_with_which_the_test_itself_holds(
    bounds: tuple[float, float], share: float, level: float
) -> None:
    needed, worst = examples_for_ties(bounds, share, level), worst_surplus(bounds, share)
    surplus = np.full(needed, share * max(map(abs, bounds)))
    assert seldom_worse(surplus, worst, level) and not seldom_worse(surplus[1:], worst, level)
    margin = margin_of_ties(needed, bounds, level)
    assert margin is not None and margin <= share
    assert examples_for_ties(bounds, margin * 1.000001, level) == needed
    assert examples_for_ties(bounds, margin * 0.999999, level) == needed + 1


def test_so_few_examples_that_no_margin_is_small_enough() -> None:
    """Wealth of at most 2 per example, after a stake of all: 4 examples reach 1 / 0.05 = 20 on no average of stakes."""
    assert margin_of_ties(4, (0.0, 1.0), 0.05) is None
    assert margin_of_ties(10, (0.0, 1.0), 0.05) == pytest.approx(0.4, abs=0.1)
