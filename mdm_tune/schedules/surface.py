"""A map of the metric over the unit square from trials: the mean of a Gaussian process.

A trial that was scored on a part of the examples has more noise, in inverse proportion to their number. The process is
the one that proposes trials (``core.gaussian``), but for its mean. Proposals have that of the trials; a map has the
likeliest one, since most trials lie where the metric is good.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from mdm_tune.core.gaussian import Process

__all__ = ["FEWEST", "MOST", "Surface", "fit"]

Floats = NDArray[np.float64]
FEWEST = 4  # trials at different places that a surface needs
MOST = 100  # trials that are used; the time grows with their cube


@dataclass(frozen=True)
class Surface:
    """The process after the trials were seen.

    Attributes:
        process: Of the values minus ``mean``, in units of ``unit``.
        mean: Of the process.
        unit: The standard deviation of the values.
    """

    process: Process
    mean: float
    unit: float

    def at(self, places: ArrayLike) -> Floats:
        """The expected metric (m,) at places (m, 2)."""
        return self.mean + self.unit * self.process.at(np.asarray(places, dtype=np.float64))[0]


def fit(
    points: ArrayLike, values: ArrayLike, scales: ArrayLike | None = None, *, exact: bool = False
) -> Surface | None:
    """The surface on trials.

    Args:
        points: (n, 2) in the unit square.
        values: (n,); those that are not finite are left out.
        scales: (n,) the noise of each trial as a multiple of that of a trial on all examples; None for ones.
        exact: Whether values have no noise.

    Returns:
        The surface; None for fewer than ``FEWEST`` trials at different places, or if all values are equal.
    """
    from mdm_tune.core import gaussian

    places, seen = np.asarray(points, dtype=np.float64).reshape(-1, 2), np.asarray(values, dtype=np.float64)
    factors = np.ones(len(seen)) if scales is None else np.asarray(scales, dtype=np.float64)
    used = np.flatnonzero(np.isfinite(seen))
    if len(used) > MOST:  # those that rest on most examples, and of these the first
        used = np.sort(used[np.argsort(factors[used], kind="stable")[:MOST]])
    places, seen, factors = places[used], seen[used], factors[used]
    if len(np.unique(places, axis=0)) < FEWEST or np.ptp(seen) <= 1e-12 * max(1.0, float(np.abs(seen).max())):
        return None
    centre, unit = float(seen.mean()), float(seen.std())
    process = gaussian.fit(places, (seen - centre) / unit, factors, exact=exact)
    mean = process.likely_mean
    return Surface(replace(process, values=process.values - mean), centre + unit * mean, unit)
