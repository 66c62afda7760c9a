"""A Gaussian process on trials: an estimate of the metric at every (a, b), with its uncertainty.

The kernel is a Matern kernel with smoothness 5/2 and a length scale for each axis, plus noise. A trial that was scored
on a part of the examples has more noise, in inverse proportion to their number. The length scales, the variance and
the noise maximise the marginal likelihood, with weak priors that keep them finite when there are few trials. The mean
is constant and is estimated by generalised least squares.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, sections 2.2, 2.7, 4.2 and 5.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["FEWEST", "Parameters", "Surface", "fit", "kernel"]

Floats = NDArray[np.float64]
FEWEST = 4  # trials at different places that a surface needs
MOST = 100  # trials that are used; the time grows with their cube
JITTER = 1e-9  # added to the diagonal, relative to the variance
EXACT = 1e-6  # variance of the noise of exact values, relative to that of all values
# Of the priors of the logarithms: mean and standard deviation, for values of variance 1 on the unit square.
PRIOR_LENGTH, PRIOR_VARIANCE, PRIOR_NOISE = (math.log(0.4), 1.0), (0.0, 1.0), (math.log(0.02), 1.5)
STARTS = (0.3, 0.8)  # length scales from which the likelihood is climbed
SEVERAL = 40  # trials, up to which it is climbed from each of them


@dataclass(frozen=True)
class Parameters:
    """The parameters of the process.

    Attributes:
        lengths: the length scale of each axis, (axes,).
        variance: of the values around their mean.
        noise: variance of the noise of a trial on all examples.
        mean: of the process.
    """

    lengths: tuple[float, ...]
    variance: float
    noise: float
    mean: float


@dataclass(frozen=True)
class Surface:
    """The process after the trials were seen.

    Attributes:
        points: the places of the trials, (n, axes).
        values: their values, (n,).
        scales: the noise of each trial as a multiple of ``parameters.noise``, (n,).
        parameters: the parameters.
    """

    points: Floats
    values: Floats
    scales: Floats
    parameters: Parameters

    @cached_property
    def _factor(self) -> Floats:
        """The lower Cholesky factor of the covariance of the values, (n, n)."""
        return _factor_of(self.points, self.scales, self.parameters)

    def at(self, places: ArrayLike) -> tuple[Floats, Floats]:
        """The mean and the standard deviation of the metric without noise.

        Args:
            places: (m, axes).

        Returns:
            Two arrays (m,).
        """
        from scipy.linalg import solve_triangular

        covariance = kernel(self.points, np.asarray(places, dtype=np.float64), self.parameters)
        whitened = np.asarray(solve_triangular(self._factor, covariance, lower=True))
        residual = np.asarray(solve_triangular(self._factor, self.values - self.parameters.mean, lower=True))
        variance = self.parameters.variance - (whitened**2).sum(axis=0)
        return self.parameters.mean + whitened.T @ residual, np.sqrt(np.maximum(variance, 0.0))

    @property
    def log_likelihood(self) -> float:
        """The logarithm of the marginal likelihood of the values."""
        return _log_likelihood(self._factor, self.values, self.parameters.mean)


def kernel(first: Floats, second: Floats, parameters: Parameters) -> Floats:
    """The Matern kernel with smoothness 5/2, variance (1 + r + r^2 / 3) exp(-r), r = sqrt(5) times the distance.

    Args:
        first: (n, axes).
        second: (m, axes).
        parameters: the distance is measured in the length scales of the axes.

    Returns:
        (n, m).
    """
    difference = (first[:, None] - second[None]) / np.array(parameters.lengths)
    scaled = math.sqrt(5) * np.sqrt((difference**2).sum(axis=2))
    return np.asarray(parameters.variance * (1 + scaled + scaled**2 / 3) * np.exp(-scaled))


def fit(
    points: ArrayLike, values: ArrayLike, scales: ArrayLike | None = None, *, exact: bool = False
) -> Surface | None:
    """The process whose parameters explain the trials best.

    Args:
        points: (n, 2) in the unit square.
        values: (n,); those that are not finite are left out.
        scales: (n,) the noise of each trial as a multiple of that of a trial on all examples; None for ones.
        exact: whether values have no noise.

    Returns:
        The surface; None for fewer than ``FEWEST`` trials at different places, or if all values are equal.
    """
    places, seen = np.asarray(points, dtype=np.float64).reshape(-1, 2), np.asarray(values, dtype=np.float64)
    factors = np.ones(len(seen)) if scales is None else np.asarray(scales, dtype=np.float64)
    used = np.flatnonzero(np.isfinite(seen))
    if len(used) > MOST:  # those that rest on most examples, and of these the first
        used = np.sort(used[np.argsort(factors[used], kind="stable")[:MOST]])
    places, seen, factors = places[used], seen[used], factors[used]
    if len(np.unique(places, axis=0)) < FEWEST or np.ptp(seen) <= 1e-12 * max(1.0, float(np.abs(seen).max())):
        return None
    centre, unit = float(seen.mean()), float(seen.std())
    found = _best(places, (seen - centre) / unit, factors, exact)
    parameters = Parameters(
        lengths=found.lengths,
        variance=found.variance * unit**2,
        noise=found.noise * unit**2,
        mean=found.mean * unit + centre,
    )
    return Surface(points=places, values=seen, scales=factors, parameters=parameters)


def _best(points: Floats, values: Floats, scales: Floats, exact: bool) -> Parameters:
    """The parameters of the largest posterior density, for values of mean 0 and variance 1."""
    from scipy.optimize import minimize

    priors = np.array([PRIOR_LENGTH, PRIOR_LENGTH, PRIOR_VARIANCE, *([] if exact else [PRIOR_NOISE])])
    bounds = [(math.log(0.03), math.log(10.0))] * 2 + [(math.log(0.05), math.log(50.0))]
    bounds += [] if exact else [(math.log(1e-5), math.log(2.0))]

    def cost(logs: Floats) -> float:
        parameters, factor = _from_logs(points, values, scales, logs)
        likelihood = _log_likelihood(factor, values, parameters.mean)
        return float((((logs - priors[:, 0]) / priors[:, 1]) ** 2).sum() / 2) - likelihood

    lengths = STARTS if len(points) <= SEVERAL else STARTS[:1]
    starts = [np.array([math.log(length)] * 2 + [row[0] for row in priors[2:]]) for length in lengths]
    climbed = [minimize(cost, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 50}) for start in starts]
    return _from_logs(points, values, scales, min(climbed, key=lambda each: float(each.fun)).x)[0]


def _from_logs(points: Floats, values: Floats, scales: Floats, logs: Floats) -> tuple[Parameters, Floats]:
    """The parameters of their logarithms, with the mean of generalised least squares; and the factor."""
    from scipy.linalg import cho_solve

    numbers = np.exp(logs).tolist()
    parameters = Parameters(
        lengths=(numbers[0], numbers[1]), variance=numbers[2], noise=numbers[3] if len(numbers) > 3 else EXACT, mean=0.0
    )
    factor = _factor_of(points, scales, parameters)
    weights = cho_solve((factor, True), np.ones(len(values)))
    return replace(parameters, mean=float(weights @ values / weights.sum())), factor


def _factor_of(points: Floats, scales: Floats, parameters: Parameters) -> Floats:
    covariance = kernel(points, points, parameters)
    covariance[np.diag_indices(len(points))] += parameters.noise * scales + JITTER * parameters.variance
    return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)


def _log_likelihood(factor: Floats, values: Floats, mean: float) -> float:
    from scipy.linalg import solve_triangular

    residual = solve_triangular(factor, values - mean, lower=True)
    determinant = 2 * float(np.log(np.diag(factor)).sum())
    return -0.5 * (float(residual @ residual) + determinant + len(values) * math.log(2 * math.pi))
