"""What a measured profile says against the truth: the gap of the optimum, intervals of c(m) and of prices, by examples.

    python scripts/profile_honesty.py --page docs/profile.md     # replaces the table between its marks

A sticky chain of 64 tokens (2 symbols, flip 0.05) is measured afresh for every repeat; its law's own profile is the
truth. The best Beta is looked for on a scan of the box, 128 points an axis.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pages import show_part
from scipy.stats import t

from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.evaluation.profile_choice import clearly_above
from mdm_tune.run.measuring import measure_profile
from mdm_tune.schedules.counts import beta_grids, counts_of_grids, to_counts
from mdm_tune.schedules.curves import Linear
from mdm_tune.schedules.pricing import count_weights, optima
from mdm_tune.schedules.profile import Profile

Floats = NDArray[np.float64]
LENGTH, FOLDS, POINTS = 64, 5, 32
LAW = MarkovChain.sticky(2, 0.05, LENGTH)
TRUE, ENTROPY = LAW.profile(), LAW.entropy()
EXAMPLES, BUDGETS = (8, 32, 128, 512), (8, 16)
AXIS = np.geomspace(0.1, 10.0, 128)
BOX = np.stack(np.meshgrid(AXIS, AXIS), axis=-1).reshape(-1, 2)
BETAS = {
    k: np.unique(counts_of_grids(beta_grids(BOX[:, 0], BOX[:, 1], k), LENGTH, "one-per-step"), axis=0) for k in BUDGETS
}


def chosen(profile: Profile, steps: int) -> tuple[Floats, Floats]:
    """The weights of the best Beta and of the optimum over all counts."""
    curve, counts = profile.monotone, BETAS[steps]
    prices = (counts * curve[np.cumsum(counts, axis=1) - counts]).sum(axis=1)
    best = count_weights(counts[prices.argmin()], LENGTH)
    return best, count_weights(optima(curve, steps).counts(steps), LENGTH)


def drawn(examples: int, seed: int) -> Profile:
    originals = LAW.sample(examples, 1000 * seed + examples)
    noise = np.arange(examples, dtype=np.uint64) + np.uint64(10**6 * seed + 7919 * examples)
    start = torch.full_like(originals, LAW.mask_id)
    return measure_profile(LAW, start, originals, noise, examples=examples, points=POINTS)


def said(profile: Profile, steps: int) -> dict[str, float]:
    """One profile at one budget: what it says, and whether that is true."""
    count, by_example = len(profile.values), profile.by_example
    found: dict[str, float] = {}
    beta, best = chosen(profile, steps)
    held_beta, held_best = np.empty(count), np.empty(count)
    for part in range(FOLDS):
        rows = np.arange(count) % FOLDS == part
        one, two = chosen(profile.of_examples(np.flatnonzero(~rows)), steps)
        held_beta[rows], held_best[rows] = by_example[rows] @ one, by_example[rows] @ two
    kept = best if clearly_above(profile, held_beta - held_best) else beta
    linear = count_weights(to_counts(Linear(), steps, LENGTH), LENGTH)
    truth = {"beta": float(beta @ TRUE), "optimum": float(best @ TRUE), "kept": float(kept @ TRUE)}
    found["true gap"] = truth["beta"] - truth["optimum"]
    found["gap on the curve"] = float((beta - best) @ profile.monotone)
    found["gap held out"] = float((held_beta - held_best).mean())
    found["optimum worse"] = truth["optimum"] > truth["beta"] + 1e-9
    least = float(optima(TRUE, steps).nelbo[-1])
    found |= {f"regret of {name}": (value - least) / (least - ENTROPY) for name, value in truth.items()}
    reach = float(t.ppf(0.975, count - 1)) / np.sqrt(count)
    for name, values, exact in (
        ("price of the best Beta", held_beta, truth["beta"]),
        ("gain of the best Beta", held_beta - by_example @ linear, truth["beta"] - float(linear @ TRUE)),
    ):
        found[name] = float(abs(values.mean() - exact) <= reach * values.std(ddof=1))
    return found


def covered(profile: Profile, quantile: float) -> float:
    """The share of points at which c(m) lies in the interval of so many standard errors; those without noise count."""
    off = np.abs(profile.mean - TRUE[profile.revealed])
    return float((off <= quantile * profile.stderr + 1e-12).mean())


def table(repeats: int) -> list[str]:
    lines = [
        "| examples | c(m), 1.96 | c(m), Student | price | gain | gap said before | gap said now | true gap | optimum "
        "worse | regret of best Beta | of optimum | of what is taken |",
        "|---" * 12 + "|",
    ]
    for examples in EXAMPLES:
        profiles = [drawn(examples, seed) for seed in range(repeats)]
        rows = [said(profile, steps) for profile in profiles for steps in BUDGETS]
        mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        student = float(t.ppf(0.975, examples - 1))
        cells = [f"{np.mean([covered(profile, each) for profile in profiles]):.3f}" for each in (1.96, student)]
        cells += [f"{mean[name]:.3f}" for name in ("price of the best Beta", "gain of the best Beta")]
        cells += [f"{mean[name]:+.4f}" for name in ("gap on the curve", "gap held out", "true gap")]
        cells += [f"{mean['optimum worse']:.0%}"]
        cells += [f"{mean[f'regret of {name}']:.1%}" for name in ("beta", "optimum", "kept")]
        lines.append(f"| {examples} | {' | '.join(cells)} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--page", type=Path, help="a page with the marks between which the table stands")
    options = parser.parse_args(arguments)
    text = "\n".join(table(options.repeats))
    show_part(options.page, "honesty", text)


if __name__ == "__main__":
    main()
