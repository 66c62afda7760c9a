"""Figure 3 of arXiv:2509.13866: mask schedules alpha = sin^2(pi/2 BetaCDF(t; a, b)) of the two-parameter family.

python scripts/figure3.py --output docs/figure3.svg
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from mdm_tune.pages.charts import Axis, Figure, Role, Series, lines
from mdm_tune.schedules.curves import Beta

FAMILY: tuple[tuple[float, float, str, Role], ...] = (
    (0.5, 0.5, "linear", "linear"),
    (1.0, 1.0, "squared-sine", "other"),
    (3.0, 3.0, "", "other"),
    (0.2, 0.2, "", "other"),
    (0.5, 1.5, "", "tuned"),
    (1.5, 0.5, "", "adaptive"),
)
TIMES = (1 - np.cos(np.pi * np.linspace(0, 1, 101))) / 2  # closer together at the ends, where some curves are steep


def drawn() -> Figure:
    """One curve for each member of the family that is shown."""
    series = []
    for a, b, name, role in FAMILY:
        values = Beta(a, b).alpha(TIMES)
        label = f"({a:g}, {b:g}){f' {name}' if name else ''}"
        series.append(Series(label, TIMES.tolist(), values.tolist(), role=role))
    halfway = "; ".join(f"{each.name} {each.y[50]:.2f}" for each in series)
    return lines(
        series,
        x=Axis("time t, from all masked to data", low=0, high=1),
        y=Axis("alpha, share of revealed tokens", low=0, high=1),
        title="Mask schedules of the family Beta(a, b)",
        description="The share of revealed tokens against time. Equal a and b give curves that are symmetric about the "
        "middle: flatter ends for larger values, steeper ends for smaller ones. A smaller a reveals earlier, a "
        f"smaller b later. Halfway: {halfway}.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("figure3.svg"))
    args = parser.parse_args()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(drawn().svg("system"), "utf-8")


if __name__ == "__main__":
    main()
