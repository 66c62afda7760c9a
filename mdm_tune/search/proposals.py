"""Propose the next trials by Optuna's samplers, which no other module uses; the policies of a search.

The proposals of a batch are a function of the seed, the batch and the given trials, so that a resumed search repeats
them. A batch has a sampler of its own, which receives an in-memory copy of the trials and is then forgotten.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import torch
from optuna.study import StudyDirection

from mdm_tune.config.file import SearchConfig
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.types import Direction
from mdm_tune.evaluation.settings import Policy
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.ledger import LedgerEntry
from mdm_tune.search.space import FILLING, given_points

__all__ = ["BetaSpace", "GaussianProcess", "Space", "propose_points"]

Point = Mapping[str, float]  # parameters by name
Ranges = Mapping[str, tuple[float, float]]

# Where the best point by an acquisition function is looked for, in a box whose sides are 1 in log scale.
SPREAD = 2048  # points all over the box
CENTERS, NEAR = 16, 32  # the best points so far, and the points near each of them
WIDTHS = (0.1, 0.05, 0.02, 0.01, 0.003, 0.001, 0.0003)  # how near, in each round


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
        """The policy with these parameters. An adaptive plan has no value yet."""

    @abstractmethod
    def policy_of(self, entry: LedgerEntry) -> Policy:
        """The policy of a finished trial. An adaptive plan has its value."""

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
        """An upper bound of what further trials could gain: the regret bound of a Gaussian process on the trials.

        Args:
            known: Schedules with their values.
            direction: The metric's direction.

        Source: Makarova et al., AutoML 2022, as ``optuna.terminator.RegretBoundEvaluator`` computes it.
        """
        from optuna.terminator import RegretBoundEvaluator  # optuna does not load it by itself

        trials = _trials(self.ranges, [(self.point(policy), value) for policy, value in known])
        bound_seed = derive_seed(self.seed, "stop", self.steps, len(known)) % 2**32
        with _quiet():
            return float(RegretBoundEvaluator(seed=bound_seed).evaluate(trials, StudyDirection[direction.upper()]))


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
    points = list[Point]()
    with _quiet():
        study = optuna.create_study(direction=direction)
        study.add_trials(_trials(ranges, finished))
        study.add_trials(_trials(ranges, [(point, None) for point in running]))
        if strategy == "tpe":
            study.sampler = optuna.samplers.TPESampler(
                seed=sampler_seed, n_startup_trials=FILLING, multivariate=True, constant_liar=True
            )
        else:
            study.sampler = GaussianProcess(sampler_seed, exact=exact)
        # Optuna's sampler sets a default device for torch, and thereby passes every operation through a function in
        # Python. Its tensors lie on the CPU in any case, so this is switched off, which saves a sixth of the time.
        with torch._C.DisableTorchFunction():
            for _ in range(count):
                trial = study.ask({name: _log_uniform(*ends) for name, ends in ranges.items()})
                if trial.params in [*running, *points]:  # the covariance of a point with itself is singular
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
                points.append(dict(trial.params))
    return points


class GaussianProcess(optuna.samplers.GPSampler):
    """Optuna's sampler with another search for the best point by its acquisition function.

    Optuna follows the gradient from ten places. With two parameters it is faster, and as good, to look at points all
    over the box and then ever nearer to the best of them.

    Args:
        seed: Seed of the sampler.
        exact: Whether values have no noise.
    """

    def __init__(self, seed: int, *, exact: bool) -> None:
        super().__init__(seed=seed, n_startup_trials=1, deterministic_objective=exact)
        self.rng = np.random.default_rng(seed)

    def _optimize_acqf(self, acqf: Any, best_params: Any) -> Any:
        """The best point found.

        Optuna's authors let users override this method, but may remove it. Without it the sampler works, but is slower.

        Args:
            acqf: The acquisition function.
            best_params: (1, parameters) the best trial, in the unit box.

        Returns:
            (parameters,) the point, in the unit box.
        """
        points = np.vstack([best_params, self.rng.random((SPREAD, best_params.shape[1]))])
        values = acqf.eval_acqf_no_grad(points)
        for width in WIDTHS:
            centers = np.repeat(points[np.argsort(values)[-CENTERS:]], NEAR, axis=0)
            near = np.clip(centers + self.rng.uniform(-width, width, centers.shape), 0, 1)
            points, values = np.vstack([points, near]), np.concatenate([values, acqf.eval_acqf_no_grad(near)])
        return points[np.argmax(values)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from saying what it does and which of its parts are experimental."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _trials(ranges: Ranges, points: Iterable[tuple[Point, float | None]]) -> list[optuna.trial.FrozenTrial]:
    """The points as trials, without those outside the ranges, since a sampler cannot use them."""
    return [_trial(ranges, point, value) for point, value in points if _inside(point, ranges)]


def _inside(point: Point, ranges: Ranges) -> bool:
    return all(low <= point[name] <= high for name, (low, high) in ranges.items())


def _trial(ranges: Ranges, point: Point, value: float | None) -> optuna.trial.FrozenTrial:
    """A finished trial, or a running one without a value."""
    state = optuna.trial.TrialState.RUNNING if value is None else optuna.trial.TrialState.COMPLETE
    distributions: dict[str, optuna.distributions.BaseDistribution]
    distributions = {name: _log_uniform(*ends) for name, ends in ranges.items()}
    return optuna.trial.create_trial(state=state, value=value, params=dict(point), distributions=distributions)


def _log_uniform(low: float, high: float) -> optuna.distributions.FloatDistribution:
    return optuna.distributions.FloatDistribution(low, high, log=True)
