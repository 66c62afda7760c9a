"""Propose the next Beta(a, b) by Optuna's samplers. No other module uses them.

A proposal is a function of the seed, its number and the given trials, so that a resumed search repeats it. The
samplers receive an in-memory copy of the trials and have no state of their own.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

import optuna
import torch

from mdm_tune.config.file import SearchConfig
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.types import Direction
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.space import FILLING

__all__ = ["possible_gain", "propose", "propose_point"]


Point = Mapping[str, float]  # parameters by name
Ranges = Mapping[str, tuple[float, float]]


def propose(
    search: SearchConfig,
    seed: int,
    steps: int,
    number: int,
    finished: Iterable[tuple[Beta, float]],
    running: Iterable[Beta],
    direction: Direction,
    *,
    exact: bool,
) -> Beta:
    """Propose the schedule of a trial by the sampler of ``search.strategy``.

    Args:
        search: The search section of the config.
        seed: Seed of the run.
        steps: The step budget.
        number: The trial's number.
        finished: Schedules with their values.
        running: Proposals whose values are not known yet.
        direction: The metric's direction.
        exact: Whether values have no noise.
    """
    point = propose_point(
        search.strategy,
        search.space.ranges,
        derive_seed(seed, "sampler", steps, number) % 2**32,
        [(beta.parameters, value) for beta, value in finished],
        [beta.parameters for beta in running],
        direction,
        exact=exact,
    )
    return Beta(point["a"], point["b"])


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


def possible_gain(
    search: SearchConfig, seed: int, steps: int, finished: Sequence[tuple[Beta, float]], direction: Direction
) -> float:
    """An upper bound of what further trials could gain: the regret bound of a Gaussian process on the trials.

    Args:
        search: The search section of the config.
        seed: Seed of the run.
        steps: The step budget.
        finished: Schedules with their values.
        direction: The metric's direction.

    Source: Makarova et al., AutoML 2022, as ``optuna.terminator.RegretBoundEvaluator`` computes it.
    """
    from optuna.terminator import RegretBoundEvaluator  # optuna does not load it by itself

    study = _study(search.space.ranges, [(beta.parameters, value) for beta, value in finished], direction)
    bound_seed = derive_seed(seed, "stop", steps, len(finished)) % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return float(RegretBoundEvaluator(seed=bound_seed).evaluate(study.trials, study.direction))


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
