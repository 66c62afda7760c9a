"""A Gaussian process on values at points of the unit box, with a Matern kernel of smoothness 5/2.

The kernel and the priors are those of ``optuna.samplers.GPSampler``. They are written here with arrays and derivatives
in closed form. With a hundred points on two axes, most of Optuna's time is spent on small tensors and on their
derivatives. The noise of a value may be a multiple of that of the others, which Optuna's may not.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 2.7, algorithm 2.1
and equation 5.9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

__all__ = ["Process", "fit"]

Floats = NDArray[np.float64]

LEAST_NOISE = 1e-6  # variance of the noise of exact values, where all values have the variance 1
JITTER = 1e-12  # added to variances


@dataclass(frozen=True, kw_only=True)
class Process:
    """A Gaussian process after values were seen.

    Attributes:
        points: The places of the values in the unit box, (n, axes).
        values: The values with mean 0 and variance 1, (n,).
        scales: The variance of the noise of each value as a multiple of ``noise``, (n,).
        rates: 1 / length scale^2 of each axis, (axes,).
        variance: Of the process around its mean, 0.
        noise: The variance of the noise.
        running: Places without a value yet, (r, axes).
    """

    points: Floats
    values: Floats
    scales: Floats
    rates: Floats
    variance: float
    noise: float
    running: Floats

    @cached_property
    def factor(self) -> Floats:
        """The lower Cholesky factor of the covariance of the values and of what runs, (n + r, n + r)."""
        covariance, _ = _kernel(cdist(self._seen, self._seen), self.variance)
        extra = np.concatenate([self.noise * self.scales, np.full(len(self.running), JITTER)])
        return np.asarray(np.linalg.cholesky(covariance + np.diag(extra)), dtype=np.float64)

    @cached_property
    def whitened_values(self) -> Floats:
        """The values, divided by their part of the factor, (n,)."""
        count = len(self.points)
        return np.asarray(solve_triangular(self.factor[:count, :count], self.values, lower=True))

    @property
    def likely_mean(self) -> float:
        """The mean that makes the values likeliest: that of generalised least squares. ``at`` leaves it out."""
        count = len(self.points)
        ones = solve_triangular(self.factor[:count, :count], np.ones(count), lower=True)
        return float(ones @ self.whitened_values / (ones @ ones))

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


def fit(points: Floats, values: Floats, scales: Floats | None = None, *, exact: bool) -> Process:
    """The process whose parameters have the largest posterior density.

    Args:
        points: As in ``Process``.
        values: As in ``Process``.
        scales: As in ``Process``; None for ones.
        exact: Whether values have no noise.
    """
    axes, scales = points.shape[1], np.ones(len(values)) if scales is None else scales
    squares = ((points.T[:, :, None] - points.T[:, None]) ** 2).reshape(axes, -1)
    start = np.zeros(axes + (1 if exact else 2))
    try:
        with np.errstate(all="ignore"):  # a step that is too far ends in numbers that are not finite
            found = minimize(_cost, start, (squares, values, scales), "L-BFGS-B", jac=True, options={"gtol": 1e-2})
        logs = found.x if found.success else start
    except np.linalg.LinAlgError:
        logs = start
    rates, variance, noise = _from_logs(logs, axes)
    return Process(
        points=points,
        values=values,
        scales=scales,
        rates=rates,
        variance=variance,
        noise=noise,
        running=np.empty((0, axes)),
    )


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


def _cost(logs: Floats, squares: Floats, values: Floats, scales: Floats) -> tuple[float, Floats]:
    """Minus the logarithm of the posterior density of the parameters, without a constant, and its derivatives.

    Args:
        logs: The logarithms of the rates, of the variance and, unless values are exact, of the noise.
        squares: The squared differences of all pairs of points on each axis, (axes, n * n).
        values: (n,).
        scales: (n,).
    """
    axes, count = len(squares), len(values)
    rates, variance, noise = _from_logs(logs, axes)
    distances = np.sqrt(5 * rates @ squares).reshape(count, count)
    covariance, decay = _kernel(distances, variance)
    factor = np.linalg.cholesky(covariance + np.diag(noise * scales))
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
        slopes[axes + 1] = ((scales * by_covariance.diagonal()).sum() + 0.1 / noise - 30) * (noise - LEAST_NOISE)
    return -likelihood - prior, -slopes
