"""Propose the next trials by a Gaussian process or by Optuna's TPE; the policies of a search.

The proposals of a batch are a function of the seed, the batch and the given trials, so that a resumed search repeats
them. A batch has a sampler of its own, which receives the trials and is then forgotten.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import optuna
from numpy.typing import NDArray

from mdm_tune.config.file import SearchConfig
from mdm_tune.core import gaussian
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.types import Direction, sign_of
from mdm_tune.evaluation.settings import Policy
from mdm_tune.schedules.curves import Beta
from mdm_tune.search import improvement
from mdm_tune.search.ledger import LedgerEntry
from mdm_tune.search.space import FILLING, given_points

__all__ = ["BetaSpace", "Space", "propose_points"]

Point = Mapping[str, float]  # parameters by name
Ranges = Mapping[str, tuple[float, float]]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Space(ABC):
    """The policies that a search proposes at a budget.

    Attributes:
        search: The search section of the config, with the trials of this space.
        steps: The step budget.
        seed: Seed of the run, from which each proposal derives its own.
    """

    search: SearchConfig
    steps: int
    seed: int

    @property
    def stream(self) -> str:
        """The name under which proposals derive their seeds."""
        return "sampler"

    @property
    @abstractmethod
    def ranges(self) -> Ranges:
        """The range of each free parameter."""

    @abstractmethod
    def point(self, policy: Policy) -> dict[str, float]:
        """The free parameters of a policy."""

    @abstractmethod
    def policy_at(self, point: Point) -> Policy:
        """The policy with these parameters. An adaptive policy has no value yet."""

    @abstractmethod
    def policy_of(self, entry: LedgerEntry) -> Policy:
        """The policy of a finished trial. An adaptive policy has its value."""

    @abstractmethod
    def given(self, points: Sequence[Beta]) -> Sequence[Policy]:
        """The proposals that need no sampler, in order; points: those of a guide."""

    def propose(
        self,
        numbers: range,
        known: Sequence[tuple[Policy, float]],
        running: Sequence[Policy],
        direction: Direction,
        *,
        exact: bool,
    ) -> list[Policy]:
        """Propose the policies of trials that run together, by the sampler of ``search.strategy``.

        Args:
            numbers: The numbers of the trials. Fewer trials have the first of the same proposals.
            known: Policies with their values.
            running: Further policies that run with them.
            direction: The metric's direction.
            exact: Whether values have no noise.
        """
        points = propose_points(
            self.search.strategy,
            self.ranges,
            derive_seed(self.seed, self.stream, self.steps, numbers.start) % 2**32,
            [(self.point(policy), value) for policy, value in known],
            [self.point(policy) for policy in dict.fromkeys(running)],
            direction,
            count=len(numbers),
            exact=exact,
        )
        return [self.policy_at(point) for point in points]


@dataclass(frozen=True)
class BetaSpace(Space):
    """The schedules Beta(a, b) that a search proposes at a budget."""

    @property
    def ranges(self) -> Ranges:
        return self.search.space.ranges

    def point(self, policy: Policy) -> dict[str, float]:
        assert isinstance(policy, Beta)
        return policy.parameters

    def policy_at(self, point: Point) -> Beta:
        return Beta(point["a"], point["b"])

    def policy_of(self, entry: LedgerEntry) -> Beta:
        return self.policy_at(entry.params)

    def given(self, points: Sequence[Beta]) -> Sequence[Policy]:
        return given_points(self.search, self.seed, self.steps, points)

    def possible_gain(self, known: Sequence[tuple[Policy, float]], direction: Direction) -> float:
        """An upper bound of what further trials could gain, by a Gaussian process on the trials.

        Args:
            known: Schedules with their values.
            direction: The metric's direction.
        """
        inside = [(self.point(policy), value) for policy, value in known if _inside(self.point(policy), self.ranges)]
        rng = np.random.default_rng(derive_seed(self.seed, "stop", self.steps, len(known)))
        values = sign_of(direction) * np.array([value for _, value in inside])
        return improvement.possible_gain(_in_unit_box(self.ranges, [point for point, _ in inside]), values, rng)


def propose_points(
    strategy: str,
    ranges: Ranges,
    sampler_seed: int,
    finished: Iterable[tuple[Point, float]],
    running: Collection[Point],
    direction: Direction,
    *,
    count: int,
    exact: bool,
) -> list[Point]:
    """Propose parameters by a sampler. Each point is proposed as if those before it were running.

    Points outside the ranges are left out, since a sampler cannot use them.

    Args:
        strategy: ``tpe``, or anything else for a Gaussian process.
        ranges: The range of each parameter, which is searched in its logarithm.
        sampler_seed: Seed of the sampler.
        finished: Parameters with their values.
        running: Different parameters whose values are not known yet.
        direction: The metric's direction.
        count: The number of points.
        exact: Whether values have no noise.
    """
    known = [(point, value) for point, value in finished if _inside(point, ranges)]
    waiting = [point for point in running if _inside(point, ranges)]
    if strategy == "tpe":
        return _by_tpe(ranges, sampler_seed, known, waiting, direction, count=count)
    rng = np.random.default_rng(sampler_seed)
    if not known:
        return [_in_ranges(ranges, unit) for unit in rng.random((count, len(ranges)))]
    values = improvement.standardized(sign_of(direction) * np.array([value for _, value in known]))
    process = gaussian.fit(_in_unit_box(ranges, [point for point, _ in known]), values, exact=exact)
    points = list[Point]()
    for _ in range(count):
        # The covariance of a point with itself is singular, so what is proposed again counts once.
        distinct = [dict(names) for names in dict.fromkeys(tuple(point.items()) for point in [*waiting, *points])]
        with_running = replace(process, running=_in_unit_box(ranges, distinct))
        points.append(_in_ranges(ranges, improvement.highest_point(with_running, rng)))
    return points


def _by_tpe(
    ranges: Ranges,
    sampler_seed: int,
    finished: Iterable[tuple[Point, float]],
    running: Iterable[Point],
    direction: Direction,
    *,
    count: int,
) -> list[Point]:
    """``propose_points`` by Optuna's TPE, on an in-memory copy of the trials."""
    with _quiet():
        sampler = optuna.samplers.TPESampler(
            seed=sampler_seed, n_startup_trials=FILLING, multivariate=True, constant_liar=True
        )
        study = optuna.create_study(direction=direction, sampler=sampler)
        study.add_trials([_trial(ranges, point, value) for point, value in finished])
        study.add_trials([_trial(ranges, point, None) for point in running])
        return [dict(study.ask(_distributions(ranges)).params) for _ in range(count)]


def _in_unit_box(ranges: Ranges, points: Sequence[Point]) -> Floats:
    """The points in the unit box (n, axes), uniform in the logarithms of the ranges."""
    low, high = np.log([*ranges.values()]).T
    logs = np.log([[point[name] for name in ranges] for point in points]).reshape(-1, len(ranges))
    return np.asarray((logs - low) / (high - low))


def _in_ranges(ranges: Ranges, unit: Floats) -> Point:
    """The point of a place (axes,) in the unit box."""
    low, high = np.array([*ranges.values()]).T
    found = np.clip(low * (high / low) ** unit, low, high)
    return dict(zip(ranges, found.tolist(), strict=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from saying what it does and which of its parts are experimental."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _inside(point: Point, ranges: Ranges) -> bool:
    return all(low <= point[name] <= high for name, (low, high) in ranges.items())


def _trial(ranges: Ranges, point: Point, value: float | None) -> optuna.trial.FrozenTrial:
    """A finished trial, or a running one without a value."""
    state = optuna.trial.TrialState.RUNNING if value is None else optuna.trial.TrialState.COMPLETE
    return optuna.trial.create_trial(state=state, value=value, params=dict(point), distributions=_distributions(ranges))


def _distributions(ranges: Ranges) -> dict[str, optuna.distributions.BaseDistribution]:
    return {name: optuna.distributions.FloatDistribution(*ends, log=True) for name, ends in ranges.items()}
