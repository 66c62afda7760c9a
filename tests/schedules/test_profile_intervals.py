"""Standard errors over the examples of a profile, or over groups of them."""

from __future__ import annotations

import numpy as np
import pytest

from mdm_tune.core.statistics import estimate
from mdm_tune.schedules.profile import Profile
from mdm_tune.schedules.profile_intervals import independent_count, standard_errors


def test_groups_are_one_example_each() -> None:
    values = np.random.default_rng(0).normal(2, 1, 9)
    repeated, names = np.repeat(values, 3), tuple(str(i // 3) for i in range(27))
    assert independent_count(27, names) == 9
    assert standard_errors(repeated[:, None] - repeated.mean(), names) == pytest.approx([values.std(ddof=1) / 3])


def test_intervals_of_cross_entropies_and_prices_end_at_zero() -> None:
    """One surprise in 16 examples, whose interval as that of any value begins below 0."""
    values = np.zeros((16, 2))
    values[3] = [8.0, 4.0]
    found = Profile(length=2, block_length=2, vocab_size=4, revealed=np.arange(2), values=values, exact=False)
    assert found.intervals is not None
    for node in range(2):
        whole = estimate(values[:, node]).ci
        assert whole is not None and whole[0] < 0 and found.intervals[node] == pytest.approx([0.0, whole[1]])
    price = found.price(np.ones(2))
    raw = estimate(values.sum(axis=1)).ci
    assert raw is not None and raw[0] < 0 and price.ci == (0.0, raw[1]) and price.value == 0.75
    sure = Profile(
        length=2, block_length=2, vocab_size=4, revealed=np.arange(2), values=values + 9.0, exact=False
    ).price(np.ones(2))
    assert sure.ci == pytest.approx((raw[0] + 18, raw[1] + 18))
    less = found.mean_price(-values.sum(axis=1)).ci
    assert less is not None and less[0] < 0  # a difference may be negative
