"""Propose the next trial by Optuna's samplers, which no other module uses; the policies of a search.

A proposal is a function of the seed, its number and the given trials, so that a resumed search repeats it. The
samplers receive an in-memory copy of the trials and have no state of their own.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import optuna
import torch

from mdm_tune.config.file import SearchConfig
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.types import Direction
from mdm_tune.evaluation.settings import Policy
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.ledger import LedgerEntry
from mdm_tune.search.space import FILLING, given_points

__all__ = ["BetaSpace", "Space", "propose_point"]

Point = Mapping[str, float]  # parameters by name
Ranges = Mapping[str, tuple[float, float]]


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
        number: int,
        known: Sequence[tuple[Policy, float]],
        running: Sequence[Policy],
        direction: Direction,
        *,
        exact: bool,
    ) -> Policy:
        """Propose the policy of a trial by the sampler of ``search.strategy``.

        Args:
            number: The trial's number.
            known: Policies with their values.
            running: Proposals whose values are not known yet.
            direction: The metric's direction.
            exact: Whether values have no noise.
        """
        point = propose_point(
            self.search.strategy,
            self.ranges,
            derive_seed(self.seed, self.stream, self.steps, number) % 2**32,
            [(self.point(policy), value) for policy, value in known],
            [self.point(policy) for policy in dict.fromkeys(running)],
            direction,
            exact=exact,
        )
        return self.policy_at(point)


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

        study = _study(self.ranges, [(self.point(policy), value) for policy, value in known], direction)
        bound_seed = derive_seed(self.seed, "stop", self.steps, len(known)) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return float(RegretBoundEvaluator(seed=bound_seed).evaluate(study.trials, study.direction))


def propose_point(
    strategy: str,
    ranges: Ranges,
    sampler_seed: int,
    finished: Iterable[tuple[Point, float]],
    running: Iterable[Point],
    direction: Direction,
    *,
    exact: bool,
) -> Point:
    """Propose parameters by a sampler.

    Args:
        strategy: ``tpe``, or anything else for a Gaussian process.
        ranges: The range of each parameter, which is searched in its logarithm.
        sampler_seed: Seed of the sampler.
        finished: Parameters with their values.
        running: Proposals whose values are not known yet.
        direction: The metric's direction.
        exact: Whether values have no noise.
    """
    study = _study(ranges, finished, direction)
    study.add_trials([_trial(ranges, point, None) for point in running if _inside(point, ranges)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if strategy == "tpe":
            study.sampler = optuna.samplers.TPESampler(
                seed=sampler_seed, n_startup_trials=FILLING, multivariate=True, constant_liar=True
            )
        else:
            study.sampler = optuna.samplers.GPSampler(
                seed=sampler_seed, n_startup_trials=1, deterministic_objective=exact
            )
        # Optuna's sampler sets a default device for torch, and thereby passes every operation through a function in
        # Python. Its tensors lie on the CPU in any case, so this is switched off, which saves a sixth of the time.
        with torch._C.DisableTorchFunction():
            trial = study.ask({name: _log_uniform(*ends) for name, ends in ranges.items()})
    return dict(trial.params)


def _study(ranges: Ranges, finished: Iterable[tuple[Point, float]], direction: Direction) -> optuna.Study:
    """An in-memory study of the trials. Points outside the ranges are omitted, since a sampler cannot use them."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=direction)
    study.add_trials([_trial(ranges, point, value) for point, value in finished if _inside(point, ranges)])
    return study


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
