"""The point where a Gaussian process on the trials of a budget expects the largest improvement, and what may be left.

The acquisition functions and the bound are those of ``optuna.samplers.GPSampler`` and
``optuna.terminator.RegretBoundEvaluator``, written with arrays.

Sources: Ament et al., NeurIPS 2023, equation 9; Makarova et al., AutoML 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr, ndtri

from mdm_tune.core.gaussian import Process, fit

__all__ = ["highest_point", "log_improvement", "possible_gain", "sobol", "standardized"]

Floats = NDArray[np.float64]
Acquisition = Callable[[Floats], Floats]  # of places (m, axes), (m,)

LEAST = 1e-12  # improvement
SAMPLES = 128  # of what the running trials may give

# Where the highest point of an acquisition function is looked for, in a box whose sides are 1.
SPREAD = 1024  # points all over the box
CENTERS, NEAR = 8, 8  # the best trials, later the best points so far, and the points near each of them
WIDTHS = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)  # how near

BOUND_SHARE, BOUND_FEWEST = 0.5, 20  # the best trials, which the bound of the possible gain rests on
BOUND_RISK, BOUND_SCALE = 0.1, 5.0  # how often it may fail; how much smaller it is than in theory
BOUND_POINTS = 2048


def standardized(values: Floats) -> Floats:
    """The values with mean 0 and variance 1, where infinite ones count as the nearest finite ones."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    clipped = np.clip(values, low, high)
    return np.asarray((clipped - clipped.mean()) / max(1e-10, float(clipped.std())))


def log_improvement(process: Process, normals: Floats) -> Acquisition:
    """The logarithm of the expected improvement of the best value, by the finished trials, what runs and one more.

    Args:
        process: The process.
        normals: Standard normal variables (s, r + 1): of what runs and of the one more; unused if nothing runs.
    """
    best = float(process.values.max())
    if not len(process.running):

        def alone(places: Floats) -> Floats:
            mean, _, deviation = process.at(places)
            return _log_expected((mean - best) / deviation) + np.log(deviation)

        return alone
    others = np.maximum(process.of_running(normals[:, :-1]).max(axis=1) - best, LEAST)
    columns = np.vstack([normals[:, :-1].T, np.ones(len(normals)), normals[:, -1]])

    def together(places: Floats) -> Floats:
        mean, rises, deviation = process.at(places)
        gains = np.vstack([rises, mean - best, deviation]).T @ columns
        return np.asarray(np.log(np.maximum(gains, others, out=gains).mean(axis=1)))

    return together


def highest_point(process: Process, rng: np.random.Generator) -> Floats:
    """The point (axes,) where the expected improvement is largest, of those that are looked at.

    These are points all over the box and near the best trials, then points ever nearer to the best points. Where values
    have little noise, the improvement has narrow peaks near the best trials.

    Args:
        process: The process.
        rng: Draws the points, and samples of what runs.
    """
    normals = ndtri(sobol(SAMPLES, len(process.running) + 1, rng))
    acquisition = log_improvement(process, normals)
    best = process.points[np.argsort(-process.values, kind="stable")[:CENTERS]]
    points = np.vstack([best, sobol(SPREAD, best.shape[1], rng), *(_near(best, width, rng) for width in WIDTHS)])
    values = acquisition(points)
    for width in WIDTHS:
        near = _near(points[np.argsort(-values, kind="stable")[:CENTERS]], width, rng)
        points, values = np.vstack([points, near]), np.concatenate([values, acquisition(near)])
    return np.asarray(points[np.argmax(values)])


def sobol(count: int, axes: int, rng: np.random.Generator) -> Floats:
    """Points (count, axes) of a scrambled Sobol sequence inside the unit box. SciPy's takes half a second to import."""
    engine = torch.quasirandom.SobolEngine(axes, scramble=True, seed=int(rng.integers(2**32)))
    return np.asarray(engine.draw(count, dtype=torch.float64).numpy() + 2.0**-31)  # its points are multiples of 2^-30


def possible_gain(points: Floats, values: Floats, rng: np.random.Generator) -> float:
    """An upper bound of what further trials could gain: of the regret, by the better half of the trials.

    Args:
        points: The places of the trials in the unit box, (n, axes).
        values: Their values, where more is better, (n,).
        rng: Draws the points of the box.
    """
    fewest = int(np.clip(int(len(values) * BOUND_SHARE), min(BOUND_FEWEST, len(values)), len(values)))
    top = values >= np.sort(values)[-fewest]
    count, axes = int(top.sum()), points.shape[1]
    unit = max(1e-10, float(values[top].std()))
    process = fit(points[top], (values[top] - values[top].mean()) / unit, exact=False)
    width = math.sqrt(2 * math.log(axes * count**2 * math.pi**2 / 6 / BOUND_RISK) / BOUND_SCALE)
    mean, _, deviation = process.at(np.vstack([points[top], sobol(BOUND_POINTS, axes, rng)]))
    return unit * float((mean + width * deviation).max() - (mean - width * deviation)[:count].max())


def _near(centers: Floats, width: float, rng: np.random.Generator) -> Floats:
    """Points near each center (n, axes) on all axes: ``NEAR`` for each."""
    repeated = np.repeat(centers, NEAR, axis=0)
    return np.clip(repeated + rng.uniform(-width, width, repeated.shape), 0, 1)


def _log_expected(lead: Floats) -> Floats:
    """log E max(0, lead + x) of a standard normal x, also where this is too small for a float."""
    behind, ahead = np.minimum(lead, 0), np.maximum(lead, 0)
    far = np.log1p(np.maximum(math.sqrt(math.pi / 2) * behind * erfcx(-behind / math.sqrt(2)), -1 + 1e-16))
    far -= 0.5 * behind**2 + 0.5 * math.log(2 * math.pi)
    return np.asarray(
        np.where(lead < 0, far, np.log(ahead * ndtr(ahead) + np.exp(-0.5 * ahead**2) / math.sqrt(2 * math.pi)))
    )
