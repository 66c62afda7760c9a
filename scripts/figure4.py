"""Figure 4 of arXiv:2509.13866: target and sampled distributions on the paper's two toy laws, computed exactly.

    python scripts/figure4.py --output build/figure4.svg

Five positions, two symbols, three steps, ancestral reveal, exact posteriors. ``legal`` sequences are aaaaa and bbbbb
(extremes), or those with two or three a's (middle). Each panel shows the probability of all 32 sequences under the
target and under one schedule; "tuned" is the best of a fine grid over Beta(a, b).
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from pages import with_dark_colours

from mdm_tune.denoisers.analytic import Table
from mdm_tune.metrics.exact import Enumeration, kl, target_distribution
from mdm_tune.schedules.counts import alpha_grid
from mdm_tune.schedules.curves import Beta, Schedule, parse_schedule

STEPS, LENGTH = 3, 5
STRINGS = ["".join(letters) for letters in product("ab", repeat=LENGTH)]
LAWS = {
    "extremes": ("aaaaa", "bbbbb"),
    "middle": tuple(text for text in STRINGS if text.count("a") in (2, 3)),
}


def best_beta(enumeration: Enumeration, target: np.ndarray) -> Schedule:
    """The best Beta schedule of an 81 x 81 logarithmic grid on [0.1, 10]^2."""
    axis = np.geomspace(0.1, 10, 81)
    candidates = [Beta(float(a), float(b)) for a in axis for b in axis]
    return min(candidates, key=lambda schedule: kl(target, enumeration.ancestral(alpha_grid(schedule, STEPS))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("figure4.svg"))
    args = parser.parse_args()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(2, 4, figsize=(16, 6), sharex=True, sharey="row", layout="constrained")
    for row, (name, legal) in zip(axes, LAWS.items(), strict=True):
        law = Table(legal, (1.0,) * len(legal))
        enumeration, target = Enumeration(law, LENGTH), target_distribution(law)
        order = np.argsort([text.count("a") for text in STRINGS], kind="stable")
        tuned = best_beta(enumeration, target)
        named = {text: parse_schedule(text) for text in ("linear", "squared-sine", "sine")}
        for axis, (label, schedule) in zip(row, {**named, "tuned": tuned}.items(), strict=True):
            sampled = enumeration.ancestral(alpha_grid(schedule, STEPS))
            shown = f"{label} ({schedule.a:.3g}, {schedule.b:.3g})" if isinstance(schedule, Beta) else label
            print(f"{name:>9}  {shown:<22} KL {kl(target, sampled):.5f}")
            axis.bar(np.arange(32), target[order], width=1.0, color="0.8", label="target")
            axis.step(np.arange(32), sampled[order], where="mid", color="C3", linewidth=1.4, label="sampled")
            axis.set_title(f"{shown}: KL {kl(target, sampled):.4f}", fontsize=10)
        row[0].set_ylabel(f"{name}\nprobability")
    axes[0, 0].legend(frameon=False)
    for axis in axes[1]:
        axis.set_xlabel("sequence, by its number of a's")
    figure.suptitle("What three steps of ancestral reveal produce, by mask schedule (exact)")
    plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "figure4"}
    figure.savefig(args.output, metadata={"Date": None})
    args.output.write_text(with_dark_colours(args.output.read_text("utf-8")), "utf-8")
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
