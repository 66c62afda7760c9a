"""The cheapest policy that is as good as one token per step, on made-up scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mdm_tune.core.statistics import Estimate
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.search.cheapest import cheapest_of, first_level, same_measurement, shown_in_sequence
from mdm_tune.search.gains import no_worse
from mdm_tune.search.rare_losses import examples_for_ties

Values = NDArray[np.float64]
N = 600


def scored(values: Values, calls: float, name: str = "linear") -> Scores:
    return Scores(
        setting=Setting(name, round(calls), 64, counts=(1,) * 64),
        estimate=Estimate(float(np.mean(values)), None),
        nfe=calls,
        cost=Cost(),
        use="report",
        values=values,
        bounds=(0.0, 1.0),
    )


def answers(wrong: int, flipped: int = 0) -> Values:
    """Right answers but for the first ``wrong``, and ``flipped`` further ones lost."""
    values = np.ones(N)
    values[: wrong + flipped] = 0
    return values


REFERENCE = scored(answers(30), 64.0)


def policy(*points: tuple[float, int]) -> list[Scores]:
    """Points of given calls and lost answers."""
    return [scored(answers(30, lost), calls) for calls, lost in points]


def test_the_cheapest_of_the_shown_points_is_named() -> None:
    policies = [
        ("linear", policy((32.0, 1), (16.0, 90), (8.0, 300))),
        ("threshold", policy((30.0, 0), (15.0, 2), (7.5, 3), (4.0, 200))),
    ]
    found = cheapest_of(policies, REFERENCE, "maximize", 0.05)
    assert found.best is not None
    assert (found.best.policy, found.best.scores.nfe) == ("threshold", 7.5)
    linear = found.best_of("linear")
    assert linear is not None and linear.scores.nfe == 32.0 and found.best_of("sine") is None
    tested = {(point.policy, point.scores.nfe): point.test for point in found.points}
    assert all(test is not None for test in tested.values())
    assert tested["linear", 16.0] is not None and not tested["linear", 16.0].holds
    assert found.tests == 7 and not found.untested
    levels = {(point.policy, point.scores.nfe): point.level for point in found.points}
    assert levels["linear", 16.0] == pytest.approx(0.025 * 3 / 4)  # its own and that of the shown point before it
    assert levels["linear", 8.0] == pytest.approx(0.025 / 4)
    assert levels["threshold", 4.0] == pytest.approx(0.025)  # of all points before it


def test_a_point_is_tested_as_non_inferiority_is_at_its_level() -> None:
    policies = [("a", policy((32.0, 12))), ("b", policy((32.0, 14))), ("c", policy((32.0, 16)))]
    found = cheapest_of(policies, REFERENCE, "maximize", 0.05)
    for point in found.points:
        assert point.level is not None
        assert point.test == no_worse(point.scores, REFERENCE, "maximize", 0.05, point.level)


def test_what_repeats_or_saves_nothing_is_not_tested() -> None:
    same = replace(REFERENCE, setting=Setting("sine", 64, 64, counts=(1,) * 64))
    point = scored(answers(30), 9.0)
    policies = [("sine", [same]), ("threshold", [scored(answers(30), 64.0), point, replace(point, nfe=9.0)])]
    found = cheapest_of(policies, REFERENCE, "maximize", 0.05)
    assert [(each.same, each.test is not None) for each in found.points] == [
        (True, False),
        (False, False),
        (False, True),
    ]
    assert found.tests == 1 and found.best is not None and found.best.level == pytest.approx(0.05)
    assert same_measurement(same, REFERENCE) and not same_measurement(point, REFERENCE)


def test_equal_answers_on_enough_examples_are_no_worse_and_on_few_examples_they_are_untested() -> None:
    exactly = [("threshold", policy((20.0, 0)))]
    assert cheapest_of(exactly, REFERENCE, "maximize", 0.02).best is not None
    assert cheapest_of(exactly, REFERENCE, "maximize", 0.001).best is None
    few = scored(np.ones(9), 64.0)
    found = cheapest_of([("threshold", [scored(np.ones(9), 8.0)])], few, "maximize", 0.05)
    assert found.best is None and found.untested


def test_exact_values_need_no_correction_and_a_lower_value_may_be_better() -> None:
    def exact(value: float, calls: float) -> Scores:
        setting = Setting("linear", round(calls), 64, counts=(round(64 / calls),) * round(calls))
        return Scores(setting=setting, estimate=Estimate(value, None), nfe=calls, cost=Cost())

    policies = [("linear", [exact(1.04, 32.0), exact(1.06, 16.0)]), ("sine", [exact(1.05, 8.0)])]
    found = cheapest_of(policies, exact(1.0, 64.0), "minimize", 0.05)
    assert found.best is not None and found.best.policy == "sine" and not found.untested
    linear = found.best_of("linear")
    assert linear is not None and linear.scores.nfe == 32.0


def test_what_is_rejected_passes_its_level_on_and_what_is_not_blocks_nothing() -> None:
    levels: dict[str, float] = {}
    values = {"a1": 0.012, "a2": 0.02, "b1": 0.9, "b2": 0.006, "b3": 0.03}

    def test(name: str, level: float) -> bool:
        levels[name] = level
        return values[name] <= level

    # a1 has 0.0125, and a2 then 0.025, which goes to b1. b2 has 0.00625 and passes it to b3.
    assert set(shown_in_sequence([["a1", "a2"], ["b1", "b2", "b3"]], test, 0.05)) == {"a1", "a2", "b2"}
    assert levels == pytest.approx({"a1": 0.0125, "a2": 0.025, "b1": 0.0375, "b2": 0.00625, "b3": 0.0125})
    assert shown_in_sequence([], test, 0.05) == []


def test_the_level_is_never_exceeded_whatever_is_rejected() -> None:
    """What all hypotheses that are left have together is at most the level, after any rejections."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        sequences, levels = (
            [[(k, place) for place in range(rng.integers(1, 5))] for k in range(4)],
            dict[object, float](),
        )
        good = {each for sequence in sequences for each in sequence if rng.random() < 0.7}

        def test(at: object, level: float, good: set[tuple[int, int]] = good, levels: Any = levels) -> bool:
            levels[at] = level
            return at in good

        assert set(shown_in_sequence(sequences, test, 0.05)) == good
        left = sum(level for at, level in levels.items() if at not in good)
        assert left <= 0.05 + 1e-9 and (len(good) == len(levels) or left == pytest.approx(0.05))


def test_sequences_of_one_hypothesis_are_holms_procedure() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = rng.uniform(0, 0.06, 5)
        order = np.argsort(p)
        below = p[order] <= 0.05 / (5 - np.arange(5))
        expected = set(order[: int(np.argmin([*below, False]))].tolist())
        assert set(shown_in_sequence([[k] for k in range(5)], lambda k, level, p=p: p[k] <= level, 0.05)) == expected


@pytest.mark.parametrize("good", [(0, 0, 0), (4, 0, 0), (2, 1, 3), (4, 4, 3)])
def test_a_false_rejection_is_rare_whichever_points_are_truly_good(good: tuple[int, ...]) -> None:
    """2,000 experiments with independent p-values, uniform where a point is too bad; some are good and always pass.

    At most 100 false rejections are expected; more than 130 have probability 0.002 per case.
    """
    rng, false = np.random.default_rng(sum(good)), 0
    sequences = [[(k, place) for place in range(4)] for k in range(3)]
    for p in rng.uniform(size=(2000, 3, 4)):

        def test(at: tuple[int, int], level: float, p: Values = p) -> bool:
            return at[1] < good[at[0]] or bool(p[at] <= level)

        rejected = shown_in_sequence(sequences, test, 0.05)
        false += any(place >= good[k] for k, place in rejected)
    assert false <= 130


@pytest.mark.parametrize(("policies", "points", "share"), [(1, 1, 1.0), (4, 1, 1 / 4), (4, 3, 1 / 8), (1, 5, 1 / 2)])
def test_ties_are_named_from_as_many_examples_on_as_announced(policies: int, points: int, share: float) -> None:
    """Half of a policy's level belongs to its largest budget; a policy of one point has all of its own."""
    level = first_level(policies, points)
    assert level == pytest.approx(0.05 * share)
    needed = examples_for_ties((0.0, 1.0), 0.02, level)
    for count, named in ((needed, True), (needed - 1, False)):
        reference = scored(np.ones(count), 64.0)
        calls = [32.0 / 2**place for place in range(points)]
        compared = [(str(name), [scored(np.ones(count), call) for call in calls]) for name in range(policies)]
        assert (cheapest_of(compared, reference, "maximize", 0.02).best is not None) == named
