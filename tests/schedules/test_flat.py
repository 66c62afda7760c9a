"""The flat part against the joint normal distribution, every rectangle of random masks, and the hand-made schedules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import norm

from mdm_tune.schedules.curves import Beta, parse_schedule
from mdm_tune.schedules.flat import (
    NAMED,
    USUAL,
    Box,
    FlatPart,
    LogGrid,
    Pair,
    Tried,
    distance_to_named,
    flat_part,
    surface_of,
    unit_square,
    upper_of_trials,
)
from mdm_tune.schedules.surface import Parameters, Surface, kernel

BOX: Box = ((0.25, 4.0), (0.2, 5.0))
KNOWN = Parameters(lengths=(0.4, 0.6), variance=1.5, noise=0.05, mean=0.2)
COUNT = 24
POINTS, SCALES = np.random.default_rng(5).random((COUNT, 2)), np.array([1.0, 4.0, 1.0] * 8)
VALUES = np.sin(5 * POINTS[:, 0]) - POINTS[:, 1]


def by_conditioning(pairs: np.ndarray, reference: Pair, sign: int) -> np.ndarray:
    """Whether the 95 % interval of the gain over the reference reaches 0, from the joint covariance of all values."""
    places = np.log(np.concatenate([pairs, [reference]]) / [0.25, 0.2]) / np.log([16.0, 25.0])
    everywhere = np.concatenate([POINTS, places])
    covariance = kernel(everywhere, everywhere, KNOWN)
    seen = covariance[:COUNT, :COUNT] + np.diag(KNOWN.noise * SCALES)
    across = covariance[COUNT:, :COUNT] @ np.linalg.inv(seen)
    mean, rest = 0.2 + across @ (VALUES - 0.2), covariance[COUNT:, COUNT:] - across @ covariance[:COUNT, COUNT:]
    minus = np.concatenate([np.eye(len(pairs)), -np.ones((len(pairs), 1))], axis=1)
    deviation = np.sqrt(np.maximum((minus @ rest @ minus.T).diagonal(), 0))
    return np.asarray(sign * minus @ mean + norm.ppf(0.975) * deviation >= 0)


@pytest.mark.parametrize(("sign", "reference"), [(1, (0.6, 0.4)), (-1, (3.4, 3.0))])
def test_the_flat_part_is_that_of_the_joint_distribution(sign: int, reference: Pair) -> None:
    upper = upper_of_trials(Surface(POINTS, VALUES, SCALES, KNOWN), BOX, reference, sign)
    flat = flat_part(upper, BOX, reference, source="trials", points=11)
    a, b = np.geomspace(0.25, 4.0, 11), np.geomspace(0.2, 5.0, 11)
    pairs = np.array([*itertools.product(a, b)])
    wanted = by_conditioning(pairs, reference, sign)
    assert 10 < wanted.sum() < 111
    assert np.array_equal(flat.inside, wanted.reshape(11, 11)) and flat.share == pytest.approx(wanted.mean())
    named = by_conditioning(np.array([*NAMED.values()]), reference, sign)
    assert flat.named == tuple(itertools.compress(NAMED, named))
    for ends, axis in ((flat.a, 0), (flat.b, 1)):
        assert ends == pytest.approx((pairs[wanted, axis].min(), pairs[wanted, axis].max()))
    edge = np.isin(pairs, [0.25, 4.0, 0.2, 5.0]) | np.isclose(pairs, [[4.0, 5.0]]) | np.isclose(pairs, [[0.25, 0.2]])
    assert flat.at_edge == bool((wanted & edge.any(axis=1)).any())


def of_mask(mask: np.ndarray, reference: Pair = (0.9, 0.7)) -> FlatPart:
    """The flat part of a box of which a mask says what is flat, by the nearest point of its grid."""
    grid = LogGrid.over(BOX, len(mask))

    def upper(pairs: np.ndarray) -> np.ndarray:
        a, b = (np.abs(np.log(axis[:, None] / pairs[:, i])).argmin(axis=0) for i, axis in enumerate((grid.a, grid.b)))
        return np.where(mask[a, b], 0.0, -1.0)

    return flat_part(upper, BOX, reference, source="trials", points=len(mask))


def test_the_rectangle_is_the_largest_of_all() -> None:
    grid = LogGrid.over(BOX, 6)
    for seed in range(30):
        mask = np.random.default_rng(seed).random((6, 6)) < (0.4 + 0.02 * seed)
        spans = [*itertools.combinations(range(6), 2)]
        areas = {
            (rows, columns): (rows[1] - rows[0]) * (columns[1] - columns[0])
            for rows, columns in itertools.product(spans, spans)
            if mask[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1].all()
        }
        flat = of_mask(mask)
        assert (flat.any_a is None) == (flat.any_b is None) == (not areas)
        if flat.any_a is not None and flat.any_b is not None:
            rows, columns = (
                tuple(int(np.abs(axis - end).argmin()) for end in ends)
                for axis, ends in ((grid.a, flat.any_a), (grid.b, flat.any_b))
            )
            assert areas[rows, columns] == max(areas.values())


def test_the_words_say_what_is_flat() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    few = of_mask(mask)
    assert few.text == (
        "Less than 1 % of the box cannot be told apart from the winner by these trials. No hand-made schedule is in "
        "this part. Its point nearest to maskgit-cosine is (0.9, 0.7)."
    )
    assert few.share == 0 and few.a == (0.9, 0.9) and few.b == (0.7, 0.7) and not few.at_edge
    mask[2:6, 3:5] = True  # a from 0.5 to 1.41, b from 0.669 to 1
    some = of_mask(mask)
    assert some.text == (
        "10 % of the box cannot be told apart from the winner by these trials, such as any a from 0.5 to 1.4 with any "
        "b from 0.67 to 1. Squared-sine, sine (nearly) and maskgit-cosine (nearly) are in this part."
    )
    assert some.nearest == ("maskgit-cosine", NAMED["maskgit-cosine"])  # the one nearest to the winner
    mask[:, 3:5] = True
    assert of_mask(mask).at_edge
    full = of_mask(np.ones((9, 9), dtype=bool))
    assert full.text == "No (a, b) of the box can be told apart from the winner by these trials."
    upper = upper_of_trials(Surface(POINTS, VALUES, SCALES, KNOWN), BOX, (1.0, 1.0), 1)
    other = flat_part(upper, BOX, (1.0, 1.0), source="profile", of_winner=False, points=9)
    assert "from the best Beta(a, b) by this profile" in other.text and "squared-sine" in other.named


def test_the_places_of_hand_made_schedules_are_theirs_or_near() -> None:
    times = np.linspace(0, 1, 501)
    gaps = {
        name: np.abs(Beta(*place).alpha(times) - parse_schedule(name).alpha(times)).max()
        for name, place in NAMED.items()
    }
    assert gaps["linear"] < 1e-12 and gaps["squared-sine"] < 1e-12
    assert 0.005 < gaps["sine"] < 0.006 and 0.005 < gaps["maskgit-cosine"] < 0.006


def test_the_distance_to_a_hand_made_schedule_is_in_log_scale() -> None:
    assert distance_to_named((0.5, 0.5)) == 0 and distance_to_named((2.0, 2.0)) == pytest.approx(2**0.5 * np.log(2))


def test_a_trial_that_was_scored_before_has_the_noise_of_the_first_one() -> None:
    def tried(repeated: int | None) -> tuple[Tried, ...]:
        source = np.random.default_rng(0)
        pairs = np.exp(source.normal(size=(8, 2))).tolist()
        trials = [Tried(a, b, float(source.normal()), 16 if number else 64) for number, (a, b) in enumerate(pairs)]
        return (*trials, Tried(3.0, 0.3, trials[2].value, repeated))

    surface, same = surface_of(tried(None), USUAL, False), surface_of(tried(16), USUAL, False)
    assert surface is not None and same is not None
    assert surface.scales.tolist() == same.scales.tolist() == [1.0, *[4.0] * 8]
    assert surface_of(tried(None)[:3], USUAL, False) is None


def test_places_of_the_unit_square_are_even_in_log_scale() -> None:
    square = unit_square(np.array([[0.1, 0.1], [1.0, 1.0], [10.0, 0.1]]), ((0.1, 10.0), (0.1, 10.0)))
    assert square == pytest.approx(np.array([[0, 0], [0.5, 0.5], [1, 0]]))
