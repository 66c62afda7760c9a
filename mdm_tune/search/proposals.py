"""Propose the next Beta(a, b) by Optuna's samplers. No other module uses them.

A proposal is a function of the seed, its number and the given trials, so that a resumed search repeats it. The
samplers receive an in-memory copy of the trials and have no state of their own.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import optuna
import torch

from mdm_tune.config.file import SearchConfig, SpaceConfig
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.types import Direction
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.space import FILLING

__all__ = ["possible_gain", "propose"]


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
    sampler_seed = derive_seed(seed, "sampler", steps, number) % 2**32
    study = _study(search.space, finished, direction)
    study.add_trials([_trial(search.space, schedule, None) for schedule in running if schedule in search.space])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if search.strategy == "tpe":
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
            trial = study.ask({name: _log_uniform(*ends) for name, ends in search.space.ranges.items()})
    return Beta(trial.params["a"], trial.params["b"])


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

    study = _study(search.space, finished, direction)
    bound_seed = derive_seed(seed, "stop", steps, len(finished)) % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return float(RegretBoundEvaluator(seed=bound_seed).evaluate(study.trials, study.direction))


def _study(space: SpaceConfig, finished: Iterable[tuple[Beta, float]], direction: Direction) -> optuna.Study:
    """An in-memory study of the trials. Schedules outside the box are omitted, since a sampler cannot use them."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=direction)
    study.add_trials([_trial(space, beta, value) for beta, value in finished if beta in space])
    return study


def _trial(space: SpaceConfig, schedule: Beta, value: float | None) -> optuna.trial.FrozenTrial:
    """A finished trial, or a running one without a value."""
    state = optuna.trial.TrialState.RUNNING if value is None else optuna.trial.TrialState.COMPLETE
    ranges: dict[str, optuna.distributions.BaseDistribution]
    ranges = {name: _log_uniform(*ends) for name, ends in space.ranges.items()}
    params = schedule.parameters
    return optuna.trial.create_trial(state=state, value=value, params=params, distributions=ranges)


def _log_uniform(low: float, high: float) -> optuna.distributions.FloatDistribution:
    return optuna.distributions.FloatDistribution(low, high, log=True)
