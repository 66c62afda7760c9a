"""Intervals of means and of paired differences, and the smallest gain that a split can show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "detectable_gain", "estimate"]

CONFIDENCE = 0.95
POWER = 0.80
RESAMPLES = 9999
MEMORY = 20_000_000  # resampled values held at a time


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; ``ci`` is None where the value is computed exactly and has no sampling error."""

    value: float
    ci: tuple[float, float] | None


def estimate(values: NDArray[np.float64]) -> Estimate:
    """Mean of values (n,) with its bias-corrected and accelerated bootstrap interval.

    Of paired differences this is the paired bootstrap. The resampling seed is fixed: the same values give the same
    interval. Source: Efron, JASA 1987, as scipy.stats.bootstrap computes it.
    """
    from scipy.stats import bootstrap

    mean = float(np.mean(values))
    if np.ptp(values) <= 1e-12 * max(1.0, abs(mean)):  # rounding only: the acceleration would be 0 / 0
        return Estimate(mean, (mean, mean))
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, MEMORY // len(values)),
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(mean, (float(found.low), float(found.high)))


def detectable_gain(deviation: float, count: int) -> float:
    """The smallest true mean difference that ``count`` pairs show at 95 % confidence with 80 % power.

    deviation: standard deviation of one paired difference. Two-sided normal approximation.
    """
    from scipy.stats import norm

    quantiles = norm.ppf(0.5 + CONFIDENCE / 2) + norm.ppf(POWER)
    return float(quantiles * deviation / np.sqrt(count))
