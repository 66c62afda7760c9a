"""The figures of docs/concepts: counts of two schedules and the information profile, of the Markov chain of configs/.

python scripts/concept_figures.py --output docs/concepts
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

import mdm_tune
from mdm_tune.pages.chart_frame import Role
from mdm_tune.pages.charts import Axis, Counts, Figure, Series, lines, steps

ROOT = Path(__file__).parent.parent
STEPS = 8
TIMES = np.linspace(0, 1, 101)


def priced() -> mdm_tune.ProfileResult:
    """The exact profile of the chain, with the prices of the schedules at 8 steps."""
    with tempfile.TemporaryDirectory() as folder:
        config = mdm_tune.load_config(ROOT / "configs" / "markov.yaml", output=folder)
        return mdm_tune.profile(config, steps=[STEPS])


def counts(result: mdm_tune.ProfileResult) -> Figure:
    """Tokens per step of linear and of the best Beta."""
    schedules = result.profiles[0].budgets[0].schedules
    rows = []
    kinds: tuple[tuple[str, str, Role], ...] = (("linear", "linear", "linear"), ("beta", "tuned", "tuned"))
    for name, label, role in kinds:
        found = schedules[name]
        rows.append(Counts(label, found.plan.counts or (), role=role, note=f"NELBO {found.nelbo.value:.2f}"))
    told = "; ".join(f"{row.name}: {', '.join(map(str, row.counts))}" for row in rows)
    return steps(
        rows,
        title="Tokens that each of 8 steps reveals, of 32",
        description=f"A Markov chain of 32 symbols in random order. {told}. The tuned schedule begins slowly.",
    )


def profile(result: mdm_tune.ProfileResult) -> Figure:
    """c(m) of the chain."""
    curve = result.profiles[0]
    start, end = curve.cross_entropy[0], curve.cross_entropy[-1]
    return lines(
        [Series("c(m)", curve.revealed, curve.cross_entropy, role="tuned")],
        x=Axis("visible tokens m"),
        y=Axis("cross-entropy of a hidden token", unit="nats", low=0),
        title="Information profile of a Markov chain of 32 symbols",
        description=f"The curve falls from {start:.2f} nats with nothing visible to {end:.2f} with all others visible, "
        "fast at first.",
    )


def named() -> Figure:
    """The hand-made schedules as curves."""
    found: tuple[tuple[str, mdm_tune.Schedule, Role], ...] = (
        ("linear", mdm_tune.Linear(), "linear"),
        ("sine", mdm_tune.Sine(), "other"),
        ("squared-sine", mdm_tune.SquaredSine(), "other"),
        ("maskgit-cosine", mdm_tune.MaskgitCosine(), "other"),
    )
    return lines(
        [Series(name, TIMES.tolist(), each.alpha(TIMES).tolist(), role=role) for name, each, role in found],
        x=Axis("time t, from all masked to data", low=0, high=1),
        y=Axis("alpha, share of revealed tokens", low=0, high=1),
        title="Four hand-made mask schedules",
        description="Sine reveals most tokens early, maskgit-cosine late, linear evenly, squared-sine in the middle.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/concepts"))
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    result = priced()
    for name, figure in (("counts", counts(result)), ("profile", profile(result)), ("schedules", named())):
        (args.output / f"{name}.svg").write_text(figure.svg("system"), "utf-8")


if __name__ == "__main__":
    main()
