"""Candidates raced against an incumbent: who is dropped, when, and with what value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mdm_tune.core.types import Direction
from mdm_tune.datasets.splits import Use
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Cost
from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.curves import Counts
from mdm_tune.search.racing import look_sizes
from mdm_tune.search.scoring import CandidateScore, price_settings, race
from tests.support.searches import Given, exact, sampled

SIZES: dict[Use, int] = {"tune": 64, "choose": 8, "report": 8}
SPREAD = np.random.default_rng(0).normal(0.0, 1.0, 64)  # of the examples of the tune split
Look = tuple[int, int, float]


def setting(first: int) -> Setting:
    """Two steps, told apart by the tokens of the first."""
    return Setting(f"counts:{first},{16 - first}", 2, 16, counts=(first, 16 - first))


def given(rule: Callable[[int], np.ndarray], direction: Direction = "minimize") -> Given:
    """rule(first): the values of ``setting(first)`` on all tune examples."""
    return Given.by(lambda setting, use, examples: rule((setting.counts or ())[0])[examples], SIZES, direction)


def order(evaluator: Evaluator) -> list[int]:
    """The examples in the order of a race."""
    return [int(name) for name in evaluator.split("tune").shuffled().ids]


def raced(
    evaluator: Evaluator, candidates: list[int], incumbent: np.ndarray | None, rows: float = float("inf")
) -> tuple[dict[int, CandidateScore], Cost, list[Look]]:
    """The result for candidates numbered by their first count."""
    told: list[Look] = []
    settings = {first: setting(first) for first in candidates}
    found, cost = race(evaluator, settings, incumbent, rows, lambda *look: told.append(look))
    return found, cost, told


def test_without_an_incumbent_everything_is_scored() -> None:
    evaluator = given(lambda first: SPREAD + first)
    found, cost, told = raced(evaluator, [3, 5], None)
    assert [found[first].value for first in (3, 5)] == pytest.approx([SPREAD.mean() + 3, SPREAD.mean() + 5])
    assert all(scored.dropped is None and scored.values is not None for scored in found.values())
    assert cost.denoiser_rows == evaluator.rows == 2 * 64 * 2
    assert [look[:2] for look in told] == []


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_dropped_candidate_is_worth_the_incumbent_and_the_paired_difference(direction: Direction) -> None:
    """Of these values the first eight are far from the rest, so that a mean over them alone says nothing."""
    sign = 1 if direction == "minimize" else -1
    noise = np.random.default_rng(1).normal(0.0, 0.5, 64)
    base = given(lambda first: SPREAD)
    first, rest = order(base)[:8], order(base)[8:]
    easy = SPREAD.copy()
    easy[first] -= 50.0 * sign
    incumbent = easy[order(base)]
    evaluator = given(lambda number: easy + sign * (0.0 if number == 4 else 2.0 + noise), direction)
    found, _, told = raced(evaluator, [4, 5], incumbent)
    assert found[5] == CandidateScore(pytest.approx(easy.mean() + sign * (2.0 + noise[first].mean())), None, 8)
    assert sign * found[5].value > sign * found[4].value  # though its own mean is far better than anything
    assert abs(found[5].value - easy.mean()) < 10 < abs((easy + 2.0 + noise)[first].mean() - easy.mean())
    assert rest and {number for number, _, _ in told} == {4}


def test_a_lucky_prefix_does_not_win() -> None:
    """Perfect on the first eight examples, bad on all others: it goes on, and is then seen for what it is."""
    base = given(lambda first: SPREAD)
    lucky = SPREAD + 3.0
    lucky[order(base)[:8]] = -100.0
    evaluator = given(lambda first: lucky if first == 7 else SPREAD + 0.01 * first)
    found, _, told = raced(evaluator, [7, 8], SPREAD[order(base)])
    assert (7, 8, pytest.approx(-100.0)) in told
    scored = found[7]
    assert scored.dropped is None or scored.dropped > 8
    if scored.values is not None:
        assert scored.value == pytest.approx(lucky.mean())
        np.testing.assert_array_equal(scored.values, lucky[order(base)])


def test_a_candidate_that_is_better_is_never_dropped_and_one_that_is_worse_always() -> None:
    base = given(lambda first: SPREAD)
    noise = np.random.default_rng(2).normal(0.0, 0.3, (17, 64))
    evaluator = given(lambda first: SPREAD + noise[first] + (2.0 if first > 8 else -2.0))
    found, cost, told = raced(evaluator, [*range(1, 16)], SPREAD[order(base)])
    assert {first for first, scored in found.items() if scored.dropped is None} == {*range(1, 9)}
    assert all(found[first].dropped == look_sizes(64)[0] for first in range(9, 16))
    assert list(found) == [*range(1, 16)]
    assert cost.denoiser_rows == evaluator.rows == 2 * (8 * 64 + 7 * 8)
    assert len(told) == 8 * len(look_sizes(64))


def test_each_look_that_is_survived_is_reported_with_the_mean_so_far() -> None:
    base = given(lambda first: SPREAD)
    better = SPREAD - 1.0
    evaluator = given(lambda first: better)
    _, _, told = raced(evaluator, [3], SPREAD[order(base)])
    ordered = better[order(base)]
    assert told == [(3, look, pytest.approx(ordered[:look].mean())) for look in look_sizes(64)]


def test_settings_that_are_equal_on_every_example_are_scored_to_the_end() -> None:
    base = given(lambda first: SPREAD)
    found, _, _ = raced(given(lambda first: SPREAD), [3], SPREAD[order(base)])
    assert found[3].dropped is None and found[3].value == pytest.approx(SPREAD.mean())


def test_too_few_rows_for_all_let_the_better_go_on() -> None:
    """All are better than the incumbent; the limit holds, and the best is scored to the end if anyone is."""
    base = given(lambda first: SPREAD)
    noise = np.random.default_rng(3).normal(0.0, 0.1, (17, 64))
    for rows in range(2 * 8 * 15, 2 * 64 * 15, 60):
        evaluator = given(lambda first: SPREAD + noise[first] - 0.5 * first)
        found, cost, _ = raced(evaluator, [*range(1, 16)], SPREAD[order(base)], rows)
        assert cost.denoiser_rows == evaluator.rows <= rows
        seen = [64 if scored.dropped is None else scored.dropped for scored in found.values()]
        assert seen == sorted(seen)  # who is better has the higher number, and is scored on no fewer examples
        if rows >= 2 * (8 * 15 + 56):
            assert seen[-1] == 64


def test_prices_come_from_the_profile_or_are_computed() -> None:
    evaluator, denoiser = sampled()
    settings = {2: evaluator.setting(Counts((8, 8)), 2), 5: evaluator.setting(Counts((2, 14)), 2)}
    found, cost = price_settings(evaluator, settings, lambda setting: float((setting.counts or ())[0]))
    assert found == {2: CandidateScore(8.0), 5: CandidateScore(2.0)} and cost == Cost() and denoiser.rows == 0
    law = exact()
    one = law.setting(Counts((8, 24)), 2)
    computed, _ = price_settings(law, {1: one}, None)
    assert computed == {1: CandidateScore(law.score(one, "tune").estimate.value)}
