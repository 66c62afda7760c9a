"""How fast an information profile prices schedules and finds optima, on one core.

    python scripts/pricing_speed.py

Prices include the way from (a, b) to counts. Each figure is the median of five runs, with the slowest in parentheses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import torch

from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.schedules.family import Pricer
from mdm_tune.schedules.pricing import optima

RUNS, MANY = 5, 10_000
BOX = (0.1, 10.0)
RANGES = {"a": BOX, "b": BOX}


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Median and slowest of five runs, after one that is not counted."""
    work()
    found = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return median(found), max(found)


def main() -> None:
    torch.set_num_threads(1)
    points = np.exp(np.random.default_rng(0).uniform(np.log(BOX[0]), np.log(BOX[1]), (MANY, 2)))
    curve = MarkovChain.sticky(4, 0.1, 256).profile()
    for name, bernoulli in (("fixed counts", False), ("ancestral reveal", True)):
        pricer = Pricer(curve=curve, block_length=256, bernoulli=bernoulli, rule="one-per-step")
        usual, slow = seconds(partial(pricer.beta_nelbos, points, 32))
        print(f"{name}, length 256, 32 steps: {MANY / usual:,.0f} schedules a second ({MANY / slow:,.0f})")
        usual, slow = seconds(partial(pricer.best_beta, 32, RANGES))
        print(f"{name}, length 256, 32 steps: best Beta(a, b) in {usual:.2f} s ({slow:.2f})")
    curve = MarkovChain.sticky(4, 0.1, 1024).profile()
    for block in (None, 128):
        usual, slow = seconds(partial(optima, curve, 128, block))
        print(f"optimum, length 1024, every K up to 128, blocks of {block or 1024}: {usual:.2f} s ({slow:.2f})")


if __name__ == "__main__":
    main()
