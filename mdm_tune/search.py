"""One Optuna study per step budget over Beta(a, b), then an honest comparison of its finalists on unseen examples.

The only room that knows Optuna. All state of a search lies in the study's storage: each proposal is a function of the
seed, the number of finished trials and their results, so a search that was stopped goes on where it was.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from mdm_tune.config_rules import OPTIMUM
from mdm_tune.confirmation import Budget, Comparing, Trial, confirm
from mdm_tune.errors import InputError
from mdm_tune.evaluation import Cost, Evaluator, Scores, Setting
from mdm_tune.schedules import Beta, Schedule, parse_schedule
from mdm_tune.seeding import derive_seed

__all__ = [
    "OPTIMUM",
    "Event",
    "Guide",
    "SearchSettings",
    "Strategy",
    "TrialDone",
    "finished_trials",
    "journal",
    "reachable_counts",
    "search_budget",
]

Strategy = Literal["gp", "tpe", "qmc", "grid"]
Range = tuple[float, float]
START = (Beta(0.5, 0.5), Beta(1.0, 1.0))  # linear and squared-sine, always trials 0 and 1
GRID = tuple(i / 10 for i in range(1, 11))  # the paper's, for a and for b
SCANS = (48, 96, 192)  # points per axis when looking for reachable counts, finer where few were found


@dataclass(frozen=True)
class SearchSettings:
    """trials: per budget. space_a, space_b: the box, searched in log scale. finalists: how many meet the baselines."""

    strategy: Strategy
    trials: int
    space_a: Range
    space_b: Range
    finalists: int
    baselines: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class TrialDone:
    """One finished trial. number: from 0 within its budget. fresh: False where its counts were scored before."""

    number: int
    trials: int
    schedule: Beta
    setting: Setting
    value: float
    best: float
    fresh: bool


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


Event = TrialDone | Comparing
Notify = Callable[[Event], None]


def journal(path: Path) -> BaseStorage:
    """Optuna storage in one append-only file; raises InputError where the file is damaged.

    A last line that a killed process left half-written is cut off first: Optuna reads past it and then fails to write.
    """
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            return JournalStorage(JournalFileBackend(str(path)))
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{path} is damaged ({error}); restore it, or start again with --overwrite") from None


def search_budget(
    evaluator: Evaluator,
    steps: int,
    settings: SearchSettings,
    storage: BaseStorage,
    notify: Notify,
    guide: Guide = Guide(),
) -> Budget:
    """Tune one budget and confirm the result; goes on with what ``storage`` already holds.

    Raises InputError for a baseline that does not fit, and for ``optimum`` where the guide has none.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    direction = evaluator.metric.direction
    study = optuna.create_study(storage=storage, study_name=_name(steps), direction=direction, load_if_exists=True)
    _fail_orphans(study)
    guide = _first_guide(study, guide)
    scored = {tuple(trial.user_attrs["key"]): _value(trial) for trial in _finished(study)}
    reachable = None if evaluator.sampler.bernoulli else reachable_counts(evaluator, steps, settings)
    trials = _trials(settings, steps)
    while len(_finished(study)) < trials and not (reachable is not None and reachable <= scored.keys()):
        notify(_run_trial(study, evaluator, steps, settings, guide, scored))
    finished = finished_trials(storage, steps)
    baselines = {name: _baseline(name, guide) for name in settings.baselines}
    exhausted = len(finished) < trials
    return confirm(evaluator, steps, finished, baselines, settings.finalists, exhausted, notify, guide.choose)


def _first_guide(study: optuna.Study, guide: Guide) -> Guide:
    """The guide with the points that the study began with: more trials of an earlier budget may have another winner."""
    kept = study.user_attrs.get("points")
    if kept is None:
        study.set_user_attr("points", [[beta.a, beta.b] for beta in guide.points])
        return guide
    return replace(guide, points=tuple(Beta(a, b) for a, b in kept))


def finished_trials(storage: BaseStorage, steps: int) -> list[Trial]:
    """The finished trials of one budget, in their order."""
    return [_trial(trial) for trial in _finished(optuna.load_study(study_name=_name(steps), storage=storage))]


def reachable_counts(evaluator: Evaluator, steps: int, settings: SearchSettings) -> set[tuple[float, ...]]:
    """The distinct counts that a scan of the box meets, and those of the starting points.

    Where there are fewer than trials, so that all of them could be scored, the scan is refined until it finds no more,
    up to 192 points an axis; elsewhere points between those of the coarse scan reach more.
    """
    found = {evaluator.setting(schedule, steps).key for schedule in START}
    if evaluator.sampler.rule == "one-per-step" and steps >= evaluator.length:
        return found  # one token a step, whatever the curve
    for points in SCANS:
        before = len(found)
        axes = (np.geomspace(*ends, points) for ends in (settings.space_a, settings.space_b))
        a, b = (axis.ravel() for axis in np.meshgrid(*axes))
        found |= evaluator.beta_keys(a, b, steps)
        if len(found) > settings.trials or (points > SCANS[0] and len(found) == before):
            break
    return found


def _trials(settings: SearchSettings, steps: int) -> int:
    """How many trials there can be: a grid ends when all of its points were visited."""
    given = len(_given_points(settings, steps, Guide()))
    return min(settings.trials, given) if settings.strategy == "grid" else settings.trials


def _fail_orphans(study: optuna.Study) -> None:
    """Close what a killed process left open: running trials, and one that was enqueued and never asked for."""
    states = optuna.trial.TrialState
    for _ in study.get_trials(deepcopy=False, states=(states.WAITING,)):
        study.ask()  # takes the waiting trial and makes it a running one
    for orphan in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
        study.tell(orphan.number, state=states.FAIL)


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))


def _value(trial: optuna.trial.FrozenTrial) -> float:
    assert trial.value is not None  # a complete trial of a single-objective study has one
    return trial.value


def _run_trial(
    study: optuna.Study,
    evaluator: Evaluator,
    steps: int,
    settings: SearchSettings,
    guide: Guide,
    scored: dict[tuple[float, ...], float],
) -> TrialDone:
    """Ask for one schedule, score it on the tune split and tell the study."""
    began, number = time.monotonic(), len(_finished(study))
    given = _given_points(settings, steps, guide)
    if number < len(given):
        study.enqueue_trial({"a": given[number].a, "b": given[number].b})
    else:
        study.sampler = _sampler(settings, evaluator.exact or guide.price is not None, steps, number)
    with warnings.catch_warnings():  # the starting points may lie outside the box
        warnings.filterwarnings("ignore", message=".*out of range.*")
        trial = study.ask()
        a = trial.suggest_float("a", *settings.space_a, log=True)
        b = trial.suggest_float("b", *settings.space_b, log=True)
    schedule = Beta(a, b)
    setting = evaluator.setting(schedule, steps)
    fresh, cost = setting.key not in scored, Cost()
    if fresh and guide.price is not None:
        scored[setting.key] = guide.price(setting)
    elif fresh:
        scores = evaluator.score(setting, "tune")
        scored[setting.key], cost = scores.estimate.value, scores.cost
    value = scored[setting.key]
    for name, entry in (
        ("key", setting.key),
        ("fresh", fresh),
        ("cost", [cost.denoiser_rows, cost.denoiser_tokens, time.monotonic() - began]),  # the proposal's time included
    ):
        trial.set_user_attr(name, entry)
    study.tell(trial, value)
    return TrialDone(number, _trials(settings, steps), schedule, setting, value, study.best_value, fresh)


def _name(steps: int) -> str:
    return f"steps-{steps}"


def _trial(trial: optuna.trial.FrozenTrial) -> Trial:
    """A finished trial without what is Optuna's."""
    rows, tokens, seconds = trial.user_attrs["cost"]
    schedule, key = Beta(trial.params["a"], trial.params["b"]), tuple(trial.user_attrs["key"])
    cost = Cost(int(rows), int(tokens), float(seconds))
    return Trial(trial.number, schedule, key, _value(trial), bool(trial.user_attrs["fresh"]), cost)


def _baseline(name: str, guide: Guide) -> Schedule:
    if name != OPTIMUM:
        return parse_schedule(name)
    if guide.optimum is None:
        raise InputError("the baseline optimum needs an information profile; leave it out of search.baselines")
    return guide.optimum


def _given_points(settings: SearchSettings, steps: int, guide: Guide) -> Sequence[Beta]:
    """The proposals that need no sampler: the starting points, the guide's, then the whole grid or a Sobol sequence."""
    if settings.strategy == "grid":
        points = [
            Beta(a, b)
            for a in GRID
            for b in GRID
            if settings.space_a[0] <= a <= settings.space_a[1] and settings.space_b[0] <= b <= settings.space_b[1]
        ]
        shuffled = np.random.default_rng(derive_seed(settings.seed, "grid", steps)).permutation(len(points))
        return [*START, *(points[i] for i in shuffled if points[i] not in START)]
    start = (*START, *guide.points)
    if settings.strategy == "qmc":
        from scipy.stats import qmc

        bits = max(1, int(settings.trials).bit_length())
        unit = qmc.Sobol(d=2, rng=np.random.default_rng(derive_seed(settings.seed, "qmc", steps))).random_base2(bits)
        low, high = np.log([settings.space_a, settings.space_b]).T
        return [*start, *(Beta(float(a), float(b)) for a, b in np.exp(low + unit * (high - low)))]
    return start


def _sampler(settings: SearchSettings, exact: bool, steps: int, number: int) -> optuna.samplers.BaseSampler:
    """A fresh sampler per trial, since Optuna keeps no sampler state: reseeded by the trial's number."""
    seed = derive_seed(settings.seed, "sampler", steps, number) % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if settings.strategy == "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=False)
        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=exact)
