"""Which Beta(a, b) a search tries next: given points first, then Optuna's samplers on what is finished.

A proposal is a function of the seed, its number and the trials it is shown, so that a resumed search repeats it. The
samplers see an in-memory copy of the trials and keep no state of their own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import optuna

from mdm_tune.choices import Direction
from mdm_tune.config.file import SearchConfig, SpaceConfig
from mdm_tune.evaluation import Evaluator, Scores
from mdm_tune.schedules import Beta, Schedule
from mdm_tune.seeding import derive_seed
from mdm_tune.settings import Setting

__all__ = [
    "START",
    "Direction",
    "Guide",
    "given_points",
    "possible_gain",
    "propose",
    "reachable_counts",
]

START = (Beta(0.5, 0.5), Beta(1.0, 1.0))  # linear and squared-sine, always trials 0 and 1
GRID = tuple(i / 10 for i in range(1, 11))  # the paper's, for a and for b
SCANS = (48, 96, 192)  # points per axis when looking for reachable counts, finer where few were found
FILLING = 6  # trials that spread over the box, the starting points among them, before a sampler is asked


@dataclass(frozen=True)
class Guide:
    """What an information profile tells the study of one budget.

    points: proposals that follow linear and squared-sine, in every strategy but the grid, whose points are its own.
    price: a trial's value without a denoiser call, where the profile prices the objective itself, and choose a
    finalist's on the choose split. optimum: what the baseline of that name stands for.
    """

    points: tuple[Beta, ...] = ()
    price: Callable[[Setting], float] | None = None
    choose: Callable[[Setting], Scores] | None = None
    optimum: Schedule | None = None


def given_points(search: SearchConfig, seed: int, steps: int, points: Sequence[Beta] = ()) -> list[Beta]:
    """The proposals that need no sampler: the starting points, those of a guide, then the grid or a Sobol sequence."""
    if search.strategy == "grid":
        grid = [beta for a in GRID for b in GRID if (beta := Beta(a, b)) in search.space]
        shuffled = np.random.default_rng(derive_seed(seed, "grid", steps)).permutation(len(grid))
        return [*START, *(grid[i] for i in shuffled if grid[i] not in START)]
    start = [*START, *points]
    wanted = search.trials if search.strategy == "qmc" else FILLING
    return [*start, *_sobol(search.space, seed, steps, wanted)[: max(0, wanted - len(start))]]


def reachable_counts(evaluator: Evaluator, steps: int, search: SearchConfig) -> set[tuple[float, ...]]:
    """The distinct counts that a scan of the box meets, and those of the starting points.

    Where there are fewer than trials, so that all of them could be scored, the scan is refined until it finds no more,
    up to 192 points an axis; elsewhere points between those of the coarse scan reach more.
    """
    found = {evaluator.setting(schedule, steps).key for schedule in START}
    if evaluator.sampler.section.counts == "one-per-step":
        size = evaluator.sampler.block_length or evaluator.length
        if all(share == 1 or share >= size for share in evaluator.steps_of_blocks(steps)):
            return found  # a block at once or one token a step, whatever the curve
    for points in SCANS:
        before = len(found)
        axes = (np.geomspace(*ends, points) for ends in search.space.ranges.values())
        a, b = (axis.ravel() for axis in np.meshgrid(*axes))
        found |= evaluator.beta_keys(a, b, steps)
        if len(found) > search.trials or (points > SCANS[0] and len(found) == before):
            break
    return found


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
    """The sampler's answer for trial ``number``; running: proposals whose values are not known yet."""
    own = derive_seed(seed, "sampler", steps, number) % 2**32
    study = _study(search.space, finished, direction)
    study.add_trials([_trial(search.space, schedule, None) for schedule in running if schedule in search.space])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if search.strategy == "tpe":
            study.sampler = optuna.samplers.TPESampler(
                seed=own, n_startup_trials=FILLING, multivariate=True, constant_liar=True
            )
        else:
            study.sampler = optuna.samplers.GPSampler(seed=own, n_startup_trials=1, deterministic_objective=exact)
        trial = study.ask({name: _log_uniform(*ends) for name, ends in search.space.ranges.items()})
    return Beta(trial.params["a"], trial.params["b"])


def possible_gain(
    search: SearchConfig, seed: int, steps: int, finished: Sequence[tuple[Beta, float]], direction: Direction
) -> float:
    """What a better schedule could still gain: an upper bound of the regret by a Gaussian process on the trials.

    Source: Makarova et al., AutoML 2022, as ``optuna.terminator.RegretBoundEvaluator`` computes it.
    """
    from optuna.terminator import RegretBoundEvaluator  # optuna does not load it by itself

    study = _study(search.space, finished, direction)
    own = derive_seed(seed, "stop", steps, len(finished)) % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return float(RegretBoundEvaluator(seed=own).evaluate(study.trials, study.direction))


def _sobol(space: SpaceConfig, seed: int, steps: int, count: int) -> list[Beta]:
    from scipy.stats import qmc

    bits = max(1, int(count).bit_length())
    unit = qmc.Sobol(d=2, rng=np.random.default_rng(derive_seed(seed, "qmc", steps))).random_base2(bits)
    low, high = np.log([space.a, space.b]).T
    return [Beta(float(a), float(b)) for a, b in np.exp(low + unit * (high - low))]


def _study(space: SpaceConfig, finished: Iterable[tuple[Beta, float]], direction: Direction) -> optuna.Study:
    """A study in memory; starting points outside the box are left out, since no sampler could use them."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=direction)
    study.add_trials([_trial(space, beta, value) for beta, value in finished if beta in space])
    return study


def _trial(space: SpaceConfig, schedule: Beta, value: float | None) -> optuna.trial.FrozenTrial:
    state = optuna.trial.TrialState.RUNNING if value is None else optuna.trial.TrialState.COMPLETE
    ranges: dict[str, optuna.distributions.BaseDistribution]
    ranges = {name: _log_uniform(*ends) for name, ends in space.ranges.items()}
    params = {"a": schedule.a, "b": schedule.b}
    return optuna.trial.create_trial(state=state, value=value, params=params, distributions=ranges)


def _log_uniform(low: float, high: float) -> optuna.distributions.FloatDistribution:
    return optuna.distributions.FloatDistribution(low, high, log=True)
