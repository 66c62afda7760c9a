"""The cheapest policy whose quality is no worse than that of one token per step, with a correction for all tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.statistics import CONFIDENCE
from mdm_tune.core.types import Direction
from mdm_tune.evaluation.scores import Scores
from mdm_tune.search.gains import NoWorse, no_worse

__all__ = ["Cheapest", "Tested", "cheapest_of", "first_level", "same_measurement", "shown_in_sequence"]

LEVEL = round(1 - CONFIDENCE, 12)  # the probability of a false claim, for all tests together
ROUNDING = 1e-12

FIRST = 0.5  # of a policy's level, for its point with the most calls

T = TypeVar("T")
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Tested:
    """A policy at one budget, compared with one token per step.

    Attributes:
        policy: The policy to which the point belongs.
        scores: The point's scores.
        level: The level of its last test; None if it was not tested.
        test: The last test; None if it was not tested, because it makes no fewer calls than one token per step.
        same: Whether the point is one token per step itself. It is as good then without a test.
    """

    policy: str
    scores: Scores
    level: float | None = None
    test: NoWorse | None = None
    same: bool = False

    @property
    def shown(self) -> bool:
        """Whether the point is shown to be no worse than one token per step."""
        return self.test is not None and self.test.holds


@dataclass(frozen=True)
class Cheapest:
    """Which policies are no worse than one token per step, up to a margin.

    Attributes:
        margin: The share of the absolute value of one token per step that counts as no loss.
        reference: The scores of one token per step.
        points: The points, policy by policy, each in the order of the tests.
        tests: The number of points that may be tested.
    """

    margin: float
    reference: Scores
    points: tuple[Tested, ...]
    tests: int

    @property
    def best(self) -> Tested | None:
        """The shown point with the fewest denoiser calls; None if no point is shown."""
        return min((point for point in self.points if point.shown), key=lambda point: point.scores.nfe, default=None)

    def best_of(self, policy: str) -> Tested | None:
        """The shown point of a policy with the fewest denoiser calls; None if no point of it is shown."""
        own = (point for point in self.points if point.policy == policy and point.shown)
        return min(own, key=lambda point: point.scores.nfe, default=None)

    @property
    def untested(self) -> bool:
        """Whether there are too few examples for any test."""
        tests = [point.test for point in self.points if point.test is not None]
        return (
            bool(tests)
            and not any(test.holds for test in tests)
            and self.reference.values is not None
            and all(test.bound is None for test in tests)
        )


def cheapest_of(
    policies: Sequence[tuple[str, Sequence[Scores]]], reference: Scores, direction: Direction, margin: float
) -> Cheapest:
    """Test which policies are no worse than one token per step, on the same examples with the same noise.

    The level 0.05 is divided among the policies. Each policy is tested from its most calls to its fewest, and what is
    shown passes its level on, see ``shown_in_sequence``. At most 5 % of such comparisons therefore name a policy whose
    loss is the margin or more, however many points there are, and whichever of the shown points is named.

    Args:
        policies: The name and the points of each policy. The order of the points, from most calls to fewest, must not
            depend on the values. Points that repeat a measurement are left out.
        reference: One token per step.
        direction: The metric's direction.
        margin: The share of the absolute value of one token per step that counts as no loss.
    """
    chains: list[list[Tested]] = []
    for name, scores in policies:
        chain: list[Tested] = []
        for each in scores:
            if not any(same_measurement(each, other.scores) for other in chain):
                chain.append(Tested(name, each, same=same_measurement(each, reference)))
        chains.append(chain)
    tested = [[place for place, each in enumerate(chain) if _tested(each, reference)] for chain in chains]
    sequences = [[(chain, place) for place in places] for chain, places in zip(chains, tested, strict=True) if places]

    def test(entry: tuple[list[Tested], int], level: float) -> bool:
        chain, place = entry
        point, result = chain[place], no_worse(chain[place].scores, reference, direction, margin, level)
        chain[place] = Tested(point.policy, point.scores, level=level, test=result)
        return result.holds

    shown_in_sequence(sequences, test, LEVEL)
    points = tuple(point for chain in chains for point in chain)
    return Cheapest(margin, reference, points, tests=sum(map(len, sequences)))


def shown_in_sequence(sequences: Sequence[Sequence[T]], test: Callable[[T, float], bool], level: float) -> list[T]:
    """Test hypotheses in sequences, so that any false rejection has probability ``level`` at most.

    Each of m sequences has level / m. Half of it belongs to its first hypothesis, and the rest is divided among the
    others. A rejected hypothesis passes its level on to the next one of its sequence, the last one in equal parts to
    the beginnings of the other sequences. So a sequence whose hypotheses are all rejected needs no correction for its
    length, and one that is not rejected blocks none behind it. This is a graphical procedure, which holds for any
    dependence among the tests. For sequences of one hypothesis it is Holm's.

    Source: Bretz, Maurer, Brannath and Posch, Statistics in Medicine 2009, algorithm 1.

    Args:
        sequences: Hypotheses in orders that do not depend on the data; none is empty.
        test: Whether a hypothesis is rejected at a level. What is rejected at a level is rejected at higher levels.
        level: The probability of a false rejection, in (0, 1).

    Returns:
        The rejected hypotheses, in the order in which they were rejected.
    """
    hypotheses = [each for sequence in sequences for each in sequence]
    weights, passed = _graph([len(sequence) for sequence in sequences])
    tried, rejected, left = np.zeros(len(hypotheses)), list[T](), set(range(len(hypotheses)))
    while news := [place for place in sorted(left) if weights[place] > tried[place] + ROUNDING]:
        for place in news:
            tried[place] = weights[place]
            if test(hypotheses[place], level * float(weights[place])):
                rejected.append(hypotheses[place])
                left.remove(place)
                weights, passed = _without(place, weights, passed)
                break
    return rejected


def first_level(policies: int, points: int) -> float:
    """The largest level at which ``cheapest_of`` tests before a point is shown.

    Args:
        policies: The number of policies, at least 1.
        points: The points of each, at least 1.
    """
    return LEVEL * float(_graph([points] * policies)[0].max())


def _graph(lengths: Sequence[int]) -> tuple[Values, Values]:
    """The share of the level (n,) that each hypothesis has, and the shares (n, n) that it passes on to others."""
    count, starts = sum(lengths), np.cumsum([0, *lengths])[:-1]
    weights, passed = np.zeros(count), np.zeros((count, count))
    for start, length in zip(starts, lengths, strict=True):
        weights[start : start + length] = (1 - FIRST) / max(1, length - 1)
        weights[start] = FIRST if length > 1 else 1
        passed[range(start, start + length - 1), range(start + 1, start + length)] = 1
        for other in starts[starts != start]:
            passed[start + length - 1, other] = 1 / (len(lengths) - 1)
    return weights / max(1, len(lengths)), passed


def _without(gone: int, weights: Values, passed: Values) -> tuple[Values, Values]:
    """The graph after a hypothesis was rejected."""
    weights = weights + weights[gone] * passed[gone]
    through = np.outer(passed[:, gone], passed[gone])
    rest = 1 - passed[:, gone] * passed[gone]
    passed = np.divide(passed + through, rest[:, None], out=np.zeros_like(passed), where=rest[:, None] > ROUNDING)
    np.fill_diagonal(passed, 0)
    weights[gone], passed[gone], passed[:, gone] = 0, 0, 0
    return weights, passed


def same_measurement(first: Scores, second: Scores) -> bool:
    """Whether two scores are of the same rows in the same plan, such as those of an adaptive policy at two budgets."""
    return first.values is second.values if first.values is not None else first.setting.key == second.setting.key


def _tested(point: Tested, reference: Scores) -> bool:
    """Whether a point can save calls."""
    return not point.same and point.scores.nfe < reference.nfe - ROUNDING
