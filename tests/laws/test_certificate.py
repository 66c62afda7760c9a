"""On Markov chains the two-parameter family leaves little behind: the best Beta against the optimum over all counts."""

from __future__ import annotations

from itertools import product

import numpy as np

from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.schedules.family import Pricer

RANGES = {"a": (0.1, 10.0), "b": (0.1, 10.0)}


def test_the_best_beta_is_close_to_the_optimum_on_markov_chains() -> None:
    """A part of the 300 cases of scripts/family_gap.py, the worst among them: 2 % in the median, 5 % in every case."""
    gaps = {}
    for symbols, length, flip in [*product((2, 5, 8), (32, 128), (0.05, 0.2)), (2, 256, 0.01)]:
        law = MarkovChain.sticky(symbols, flip, length)
        pricer, entropy = (
            Pricer(curve=law.profile(), block_length=length, bernoulli=False, rule="one-per-step"),
            law.entropy(),
        )
        least = pricer.optimum_counts(16).nelbo - entropy
        for steps in (4, 8, 16):
            beta = pricer.best_beta(steps, RANGES)
            price = float(pricer.beta_nelbos(np.array([[beta.a, beta.b]]), steps)[0])
            gaps[symbols, length, flip, steps] = (price - entropy) / least[steps - 1] - 1
    assert min(gaps.values()) > -1e-9  # the optimum is one
    assert np.median(list(gaps.values())) < 0.02
    assert {case: gap for case, gap in gaps.items() if gap > 0.05} == {}
    assert max(gaps.values()) > 0.03  # the family is not all schedules, and the measure sees it
