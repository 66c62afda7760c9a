"""From a mask schedule to the input of a sampler: alpha on a grid of steps, or integer counts of tokens per step."""

from __future__ import annotations

import operator
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, quantity, shown
from mdm_tune.schedules.curves import HALF_PI, Counts, Linear, Schedule, check_schedule

__all__ = ["CountRule", "alpha_grid", "beta_grids", "counts_of_grids", "to_counts"]

Array = NDArray[np.float64]
CountRule = Literal["one-per-step", "cumulative"]

DREAM_END = 1e-3  # the last time of Dream's sampler
DECIMALS = 9  # of a number of tokens before it is rounded, so that 2.4999999999 counts as 2.5
TOGETHER = 64  # rows of one regression; with more, the sums lose digits


def alpha_grid(schedule: Schedule, steps: int) -> Array:
    """alpha at the times i/steps for i = 0..steps.

    Args:
        schedule: the mask schedule.
        steps: at least 1.

    Returns:
        (steps + 1,), never decreasing, with first entry exactly 0 and last entry exactly 1.

    Raises:
        InputError: steps is below 1.
    """
    steps = _positive_integer("steps", steps)
    check_schedule(schedule)
    return _with_exact_ends(schedule.alpha(np.arange(steps + 1) / steps))


def beta_grids(a: ArrayLike, b: ArrayLike, steps: int) -> Array:
    """``alpha_grid`` of many schedules Beta(a, b) at once.

    Args:
        a: (n,).
        b: (n,).
        steps: at least 1.

    Returns:
        (n, steps + 1).

    Raises:
        InputError: steps is below 1.
    """
    from scipy.special import betainc

    steps = _positive_integer("steps", steps)
    times = np.arange(steps + 1) / steps
    gamma = betainc(np.asarray(a, dtype=np.float64)[:, None], np.asarray(b, dtype=np.float64)[:, None], times)
    return _with_exact_ends(np.sin(HALF_PI * gamma) ** 2)


def to_counts(schedule: Schedule, steps: int, length: int, rule: CountRule = "one-per-step") -> tuple[int, ...]:
    """How many tokens each step reveals.

    Let N_i be the number of tokens that are revealed after step i.

    - ``one-per-step``: all counts are at least 1, and sum_i (N_i - length alpha(i/steps))^2 is as small as possible. If
      several counts tie, those with the largest N_i at every step are taken. If length < steps, there are ``length``
      counts of 1.
    - ``cumulative``: N_i = floor(length alpha(i/steps) + 1/2). A count may be 0.

    Values within 1e-9 of a half count as a half. Two kinds of schedules ignore the rule: ``Counts``, which must fit
    steps and length, and linear as LLaDA, Dream and dllm round it.

    Source of the rounding: Goldstein and Kruskal, JASA 1976: a least-squares monotonic function with integer values
    is the isotonic regression, rounded.

    Args:
        schedule: the mask schedule.
        steps: at least 1.
        length: tokens of a sequence, at least 1.
        rule: how the schedule is rounded.

    Returns:
        (steps,), with sum ``length``; (length,) ones if there are fewer tokens than steps under ``one-per-step``.

    Raises:
        InputError: steps or length is below 1, the rule is unknown, or a ``Counts`` schedule does not fit.
    """
    steps, length = _positive_integer("steps", steps), _positive_integer("length", length)
    check_schedule(schedule)
    if rule not in get_args(CountRule):
        raise InputError(f"Unknown counts rule {shown(rule)}: choose one of {', '.join(get_args(CountRule))}.")
    if isinstance(schedule, Counts):
        own_steps, tokens = len(schedule.counts), sum(schedule.counts)
        if tokens != length:
            raise InputError(
                f"{cut(schedule.name)} reveals {quantity(tokens, 'token')} but the sequence has {length}: give counts "
                f"with sum {length}."
            )
        if own_steps != steps:
            raise InputError(
                f"{cut(schedule.name)} has {quantity(own_steps, 'step')} but the budget is {steps}: "
                f"use a budget of {quantity(own_steps, 'step')}."
            )
        return schedule.counts
    if isinstance(schedule, Linear) and schedule.counts_of != "ours":
        rules = {"llada": _llada_counts, "dream": _dream_counts, "dllm": _dllm_counts}
        return rules[schedule.counts_of](steps, length)
    if rule == "one-per-step" and length < steps:
        return (1,) * length
    return tuple(counts_of_grids(alpha_grid(schedule, steps)[None], length, rule)[0].tolist())


def counts_of_grids(grids: Array, length: int, rule: CountRule) -> NDArray[np.int64]:
    """``to_counts`` of many schedules at once.

    Args:
        grids: (n, steps + 1), as ``alpha_grid`` returns them.
        length: tokens of a sequence.
        rule: as in ``to_counts``.

    Returns:
        (n, steps); (n, length) ones if there are fewer tokens than steps under ``one-per-step``.
    """
    steps = grids.shape[1] - 1
    if rule == "one-per-step" and length < steps:
        return np.ones((len(grids), length), dtype=np.int64)
    totals = length * grids
    if rule == "one-per-step" and steps > 1:
        ones = np.arange(1, steps)  # the tokens beyond one per step never decrease from 0 to length - steps
        totals[:, 1:-1] = np.clip(_isotonic_rows(totals[:, 1:-1] - ones), 0, length - steps) + ones
    revealed = np.floor(np.round(totals, DECIMALS) + 0.5).astype(np.int64)
    return np.diff(revealed, axis=1)


def _isotonic(values: Array) -> Array:
    """The numbers (n,) that never decrease and are closest to the values (n,) in least squares.

    Neighbours that decrease are replaced by their mean, until none are left (pool adjacent violators).
    """
    means: list[float] = []
    sizes: list[int] = []
    for value in values.tolist():
        mean, size = value, 1
        while means and means[-1] >= mean:
            before = sizes.pop()
            mean = (before * means.pop() + size * mean) / (before + size)
            size += before
        means.append(mean)
        sizes.append(size)
    return np.repeat(means, sizes)


def _isotonic_rows(rows: Array) -> Array:
    """``_isotonic`` of each row (n, m).

    Rows that never decrease stay as they are. The others are one long row for SciPy, a few at a time, because a call
    takes longer than a row: each is lifted above the one before, so that no value is pooled with one of another row.
    """
    if len(rows) == 1:  # importing SciPy's takes longer than all else that a schedule file needs
        return _isotonic(rows[0])[None]
    found = rows.copy()
    decreasing = np.flatnonzero((rows[:, 1:] < rows[:, :-1]).any(axis=1))
    if not len(decreasing):
        return found
    from scipy.optimize import isotonic_regression

    for start in range(0, len(decreasing), TOGETHER):
        numbers = decreasing[start : start + TOGETHER]
        lifts = np.arange(len(numbers))[:, None] * (np.ceil(np.ptp(rows[numbers])) + 1)
        together = isotonic_regression((rows[numbers] + lifts).ravel()).x
        found[numbers] = together.reshape(len(numbers), -1) - lifts
    return found


def _llada_counts(steps: int, length: int) -> tuple[int, ...]:
    """Equal counts, with the remainder on the first steps. Source: the sampler of arXiv:2502.09992."""
    count, rest = divmod(length, steps)
    return tuple(count + (step < rest) for step in range(steps))


def _dream_counts(steps: int, length: int) -> tuple[int, ...]:
    """The counts of Dream's sampler.

    A step from time t to time s reveals floor(hidden tokens * (1 - s/t)); times fall from 1 to 1e-3. The last step
    reveals all that are left. The times are float32, as in Dream, because rounding decides products near an integer.

    Source: the sampler of arXiv:2508.15487.
    """
    times = np.linspace(1, DREAM_END, steps + 1, dtype=np.float32)
    counts: list[int] = []
    for step in range(steps):
        hidden = length - sum(counts)
        share = np.float32(1) - times[step + 1] / times[step]
        counts.append(hidden if step == steps - 1 else int(np.float32(hidden) * share))
    return tuple(counts)


def _dllm_counts(steps: int, length: int) -> tuple[int, ...]:
    """The counts of dllm's sampler.

    A step from time t to time s reveals hidden tokens * (1 - s/t), rounded half to even; times fall from 1 to 0. The
    times are float32 and alpha is 1 - t, as in dllm, so s/t has the rounding of 1 - (1 - s).

    Source: dllm (https://github.com/ZHZisZZ/dllm), ``get_num_transfer_tokens`` with the linear alpha.
    """
    times = [np.float32(step / steps) for step in range(steps, -1, -1)]
    masked = [np.float32(1) - (np.float32(1) - time) for time in times]
    counts: list[int] = []
    for step in range(steps):
        hidden = length - sum(counts)
        counts.append(round(hidden * (1 - float(masked[step + 1] / masked[step]))))
    return tuple(counts)


def _with_exact_ends(alphas: Array) -> Array:
    """The alphas without rounding errors: never decreasing along the last axis, exactly 0 first and exactly 1 last."""
    alphas = np.maximum.accumulate(alphas, axis=-1)
    alphas[..., 0], alphas[..., -1] = 0.0, 1.0
    return alphas


def _positive_integer(key: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise InputError(f"{key} must be an integer of at least 1, not {shown(value)}: give 1 or more.")
    return number
