"""A Gaussian process on the trials of a budget, and the point where it expects the largest improvement.

The kernel, the priors, the acquisition functions and the bound are those of ``optuna.samplers.GPSampler`` and
``optuna.terminator.RegretBoundEvaluator``. They are written here with arrays and derivatives in closed form. With a
hundred trials in two parameters, most of Optuna's time is spent on small tensors and on their derivatives.

Sources: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, algorithm 2.1 and equation 5.9; Ament et
al., NeurIPS 2023, equation 9; Makarova et al., AutoML 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import erfcx, ndtr, ndtri

__all__ = ["Process", "fit", "highest_point", "log_improvement", "possible_gain", "sobol", "standardized"]

Floats = NDArray[np.float64]
Acquisition = Callable[[Floats], Floats]  # of places (m, axes), (m,)

LEAST_NOISE = 1e-6  # variance of the noise of exact values, where all values have the variance 1
JITTER = 1e-12  # added to variances, and the least improvement
SAMPLES = 128  # of what the running trials may give

# Where the highest point of an acquisition function is looked for, in a box whose sides are 1.
SPREAD = 1024  # points all over the box
CENTERS, NEAR = 8, 8  # the best trials, later the best points so far, and the points near each of them
WIDTHS = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)  # how near

BOUND_SHARE, BOUND_FEWEST = 0.5, 20  # the best trials, which the bound of the possible gain rests on
BOUND_RISK, BOUND_SCALE = 0.1, 5.0  # how often it may fail; how much smaller it is than in theory
BOUND_POINTS = 2048


@dataclass(frozen=True, kw_only=True)
class Process:
    """A Gaussian process after trials were seen, with a Matern kernel of smoothness 5/2.

    Attributes:
        points: The places of the trials in the unit box, (n, axes).
        values: Their values with mean 0 and variance 1, where more is better, (n,).
        rates: 1 / length scale^2 of each axis, (axes,).
        variance: Of the values around their mean, 0.
        noise: The variance of their noise.
        running: Places without a value yet, (r, axes).
    """

    points: Floats
    values: Floats
    rates: Floats
    variance: float
    noise: float
    running: Floats

    @cached_property
    def factor(self) -> Floats:
        """The lower Cholesky factor of the covariance of the values and of what runs, (n + r, n + r)."""
        covariance, _ = _kernel(cdist(self._seen, self._seen), self.variance)
        extra = [self.noise] * len(self.points) + [JITTER] * len(self.running)
        return np.asarray(np.linalg.cholesky(covariance + np.diag(extra)), dtype=np.float64)

    @cached_property
    def whitened_values(self) -> Floats:
        """The values, divided by their part of the factor, (n,)."""
        count = len(self.points)
        return np.asarray(solve_triangular(self.factor[:count, :count], self.values, lower=True))

    def at(self, places: Floats) -> tuple[Floats, Floats, Floats]:
        """What is expected at places (m, axes).

        Returns:
            The mean (m,); by how much it rises with each standard normal variable of what runs (r, m); the standard
            deviation (m,) after what runs is known.
        """
        covariance, _ = _kernel(cdist(self._seen, places * self._scale), self.variance)
        whitened = solve_triangular(self.factor, covariance, lower=True, overwrite_b=True, check_finite=False)
        known, running = whitened[: len(self.points)], whitened[len(self.points) :]
        rest = self.variance - np.einsum("ij,ij->j", whitened, whitened)
        return self.whitened_values @ known, running, np.sqrt(np.maximum(rest, 0) + JITTER)

    def of_running(self, normals: Floats) -> Floats:
        """Samples (s, r) of what runs, from standard normal variables (s, r)."""
        count = len(self.points)
        return self.factor[count:, :count] @ self.whitened_values + normals @ self.factor[count:, count:].T

    @cached_property
    def _seen(self) -> Floats:
        return np.vstack([self.points, self.running]) * self._scale

    @property
    def _scale(self) -> Floats:
        """What makes the distance of two places the one of the kernel, (axes,)."""
        return np.sqrt(5 * self.rates)


def standardized(values: Floats) -> Floats:
    """The values with mean 0 and variance 1, where infinite ones count as the nearest finite ones."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    clipped = np.clip(values, low, high)
    return np.asarray((clipped - clipped.mean()) / max(1e-10, float(clipped.std())))


def fit(points: Floats, values: Floats, *, exact: bool) -> Process:
    """The process whose parameters have the largest posterior density.

    Args:
        points: As in ``Process``.
        values: As in ``Process``.
        exact: Whether values have no noise.
    """
    axes = points.shape[1]
    squares = ((points.T[:, :, None] - points.T[:, None]) ** 2).reshape(axes, -1)
    start = np.zeros(axes + (1 if exact else 2))
    try:
        with np.errstate(all="ignore"):  # a step that is too far ends in numbers that are not finite
            found = minimize(_cost, start, (squares, values), "L-BFGS-B", jac=True, options={"gtol": 1e-2})
        logs = found.x if found.success else start
    except np.linalg.LinAlgError:
        logs = start
    rates, variance, noise = _from_logs(logs, axes)
    running = np.empty((0, axes))
    return Process(points=points, values=values, rates=rates, variance=variance, noise=noise, running=running)


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
    others = np.maximum(process.of_running(normals[:, :-1]).max(axis=1) - best, JITTER)
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


def _kernel(distances: Floats, variance: float) -> tuple[Floats, Floats]:
    """The Matern kernel with smoothness 5/2, variance (1 + r + r^2 / 3) exp(-r), and variance exp(-r).

    Args:
        distances: (n, m), r.
        variance: of the process.
    """
    decay = np.exp(-distances)
    decay *= variance
    found = distances / 3
    found += 1
    found *= distances
    found += 1
    found *= decay
    return found, decay


def _from_logs(logs: Floats, axes: int) -> tuple[Floats, float, float]:
    """The rates, the variance and the noise by their logarithms. There is none of the noise of exact values."""
    noise = float(np.exp(logs[axes + 1])) if len(logs) > axes + 1 else 0.0
    return np.exp(logs[:axes]), float(np.exp(logs[axes])), LEAST_NOISE + noise


def _cost(logs: Floats, squares: Floats, values: Floats) -> tuple[float, Floats]:
    """Minus the logarithm of the posterior density of the parameters, without a constant, and its derivatives.

    Args:
        logs: The logarithms of the rates, of the variance and, unless values are exact, of the noise.
        squares: The squared differences of all pairs of points on each axis, (axes, n * n).
        values: (n,).
    """
    axes, count = len(squares), len(values)
    rates, variance, noise = _from_logs(logs, axes)
    distances = np.sqrt(5 * rates @ squares).reshape(count, count)
    covariance, decay = _kernel(distances, variance)
    factor = np.linalg.cholesky(covariance + noise * np.eye(count))
    inverse = dpotri(factor, lower=True)[0]
    inverse += np.tril(inverse, -1).T
    weights = inverse @ values
    likelihood = -0.5 * float(values @ weights) - float(np.log(np.diag(factor)).sum())
    prior = -0.1 * float((1 / rates + rates).sum()) + logs[axes] - variance + 0.1 * math.log(noise) - 30 * noise
    by_covariance = 0.5 * (np.outer(weights, weights) - inverse)
    slopes = np.empty_like(logs)
    by_square = -5 / 6 * decay * (1 + distances)
    slopes[:axes] = rates * (squares @ (by_covariance * by_square).ravel()) + 0.1 * (1 / rates - rates)
    slopes[axes] = np.vdot(by_covariance, covariance) + 1 - variance
    if len(logs) > axes + 1:
        slopes[axes + 1] = (np.trace(by_covariance) + 0.1 / noise - 30) * (noise - LEAST_NOISE)
    return -likelihood - prior, -slopes


def _log_expected(lead: Floats) -> Floats:
    """log E max(0, lead + x) of a standard normal x, also where this is too small for a float."""
    behind, ahead = np.minimum(lead, 0), np.maximum(lead, 0)
    far = np.log1p(np.maximum(math.sqrt(math.pi / 2) * behind * erfcx(-behind / math.sqrt(2)), -1 + 1e-16))
    far -= 0.5 * behind**2 + 0.5 * math.log(2 * math.pi)
    return np.asarray(
        np.where(lead < 0, far, np.log(ahead * ndtr(ahead) + np.exp(-0.5 * ahead**2) / math.sqrt(2 * math.pi)))
    )
