"""From a mask schedule to what a sampler takes: alpha on a grid of steps, and integer counts of tokens per step."""

from __future__ import annotations

import operator
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, quantity, shown
from mdm_tune.schedules.curves import HALF_PI, Counts, Linear, Schedule

__all__ = ["CountRule", "beta_grids", "counts_of_grids", "grid", "to_counts"]

Array = NDArray[np.float64]
CountRule = Literal["one-per-step", "cumulative"]

DREAM_END = 1e-3  # the time that Dream's sampler ends at
DECIMALS = 9  # a share of tokens this close to a half is a half, so that float noise cannot turn 2.5 into 2


def grid(schedule: Schedule, steps: int) -> Array:
    """alpha at i/steps for i = 0..steps, (steps + 1,): never decreasing, exactly 0 first and exactly 1 last.

    Raises InputError if steps < 1.
    """
    steps = _at_least_one("steps", steps)
    return _closed(schedule.alpha(np.arange(steps + 1) / steps))


def beta_grids(a: ArrayLike, b: ArrayLike, steps: int) -> Array:
    """``grid`` of many schedules Beta(a, b) at once: a and b (n,), result (n, steps + 1).

    Raises InputError if steps < 1.
    """
    from scipy.special import betainc

    steps = _at_least_one("steps", steps)
    times = np.arange(steps + 1) / steps
    gamma = betainc(np.asarray(a, dtype=np.float64)[:, None], np.asarray(b, dtype=np.float64)[:, None], times)
    return _closed(np.sin(HALF_PI * gamma) ** 2)


def to_counts(schedule: Schedule, steps: int, length: int, rule: CountRule = "one-per-step") -> tuple[int, ...]:
    """How many of ``length`` tokens each of ``steps`` steps reveals, (steps,); the sum is ``length``.

    ``one-per-step``: of all counts >= 1 those whose running totals N_i are closest to the schedule, with the least
    sum_i (N_i - length alpha(i/steps))^2; of equally close ones those that are ahead at every step. If length < steps
    it is ``length`` ones. ``cumulative``: N_i = floor(length alpha(i/steps) + 1/2); a count may be 0.
    Values within 1e-9 of a half count as a half. A ``Counts`` schedule is its own result and must fit, and linear as
    LLaDA and Dream cut it keeps their rule, whatever ``rule`` is.

    Raises InputError if steps or length is below 1, the rule is unknown or a ``Counts`` schedule does not fit.
    Source of the rounding: Goldstein and Kruskal, JASA 1976: a least-squares monotonic function with integer values
    is the isotonic regression, rounded.
    """
    steps, length = _at_least_one("steps", steps), _at_least_one("length", length)
    if rule not in get_args(CountRule):
        raise InputError(f"Unknown counts rule {shown(rule)}: choose one of {', '.join(get_args(CountRule))}.")
    if isinstance(schedule, Counts):
        have, tokens = len(schedule.counts), sum(schedule.counts)
        if tokens != length:
            raise InputError(
                f"{cut(schedule.name)} reveals {quantity(tokens, 'token')} but the sequence has {length}: sum to that."
            )
        if have != steps:
            raise InputError(
                f"{cut(schedule.name)} has {quantity(have, 'step')} but the budget is {steps}: "
                f"ask for {quantity(have, 'step')}."
            )
        return schedule.counts
    if isinstance(schedule, Linear) and schedule.counts_of != "ours":
        return {"llada": _llada, "dream": _dream, "dllm": _dllm}[schedule.counts_of](steps, length)
    if rule == "one-per-step" and length < steps:
        return (1,) * length
    return tuple(counts_of_grids(grid(schedule, steps)[None], length, rule)[0].tolist())


def counts_of_grids(grids: Array, length: int, rule: CountRule) -> NDArray[np.int64]:
    """Counts (n, steps) of grids (n, steps + 1) as ``to_counts`` makes them, and (n, length) ones if length < steps."""
    steps = grids.shape[1] - 1
    if rule == "one-per-step" and length < steps:
        return np.ones((len(grids), length), dtype=np.int64)
    totals = length * grids
    if rule == "one-per-step" and steps > 1:
        from scipy.optimize import isotonic_regression

        ones = np.arange(steps + 1)  # what is beyond one token per step must not decrease from 0 to length - steps
        for row, beyond in zip(totals, totals - ones, strict=True):
            row[1:-1] = np.clip(isotonic_regression(beyond[1:-1]).x, 0, length - steps) + ones[1:-1]
    revealed = np.floor(np.round(totals, DECIMALS) + 0.5).astype(np.int64)
    return np.diff(revealed, axis=1)


def _llada(steps: int, length: int) -> tuple[int, ...]:
    """Equal counts, the remainder on the first steps. Source: the sampler of arXiv:2502.09992."""
    each, rest = divmod(length, steps)
    return tuple(each + (step < rest) for step in range(steps))


def _dream(steps: int, length: int) -> tuple[int, ...]:
    """At each step the floor of what is left times 1 - s/t, t and s falling from 1 to 1e-3; all of it at the last.

    Source: the sampler of arXiv:2508.15487. Its times are float32, which decides where a product is nearly whole.
    """
    times = np.linspace(1, DREAM_END, steps + 1, dtype=np.float32)
    counts: list[int] = []
    for step in range(steps):
        left = length - sum(counts)
        share = np.float32(1) - times[step + 1] / times[step]
        counts.append(left if step == steps - 1 else int(np.float32(left) * share))
    return tuple(counts)


def _dllm(steps: int, length: int) -> tuple[int, ...]:
    """At each step what is left times 1 - s/t, rounded half to even, t and s falling from 1 to 0.

    Source: dllm (https://github.com/ZHZisZZ/dllm), ``get_num_transfer_tokens`` with the linear alpha. Its times are
    float32, and alpha is 1 - t, so that s/t has the rounding of 1 - (1 - s).
    """
    times = [np.float32(step / steps) for step in range(steps, -1, -1)]
    hidden = [np.float32(1) - (np.float32(1) - time) for time in times]
    counts: list[int] = []
    for step in range(steps):
        left = length - sum(counts)
        counts.append(round(left * (1 - float(hidden[step + 1] / hidden[step]))))
    return tuple(counts)


def _closed(alphas: Array) -> Array:
    """Never decreasing along the last axis, exactly 0 first and exactly 1 last."""
    alphas = np.maximum.accumulate(alphas, axis=-1)
    alphas[..., 0], alphas[..., -1] = 0.0, 1.0
    return alphas


def _at_least_one(key: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise InputError(f"{key} must be an integer of at least 1, not {shown(value)}: give 1 or more.")
    return number
