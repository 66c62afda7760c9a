"""Values of a smooth function at random points, as Gaussian processes meet them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mdm_tune.search.improvement import standardized

Floats = NDArray[np.float64]


def trials(count: int, axes: int = 2, noise: float = 0.0, seed: int = 0) -> tuple[Floats, Floats]:
    """Points in the unit box, with values of a smooth function and noise."""
    rng = np.random.default_rng(seed)
    points = rng.random((count, axes))
    values = np.sin(5 * points[:, 0]) - 3 * ((points - 0.4) ** 2).sum(axis=1) + noise * rng.normal(size=count)
    return points, standardized(values)
