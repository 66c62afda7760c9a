"""Figure 2 of arXiv:2509.13866: the energy of mask schedules Beta(a, b) under four interpolation schedules.

    python scripts/figure2.py --output docs/figure2.svg --page docs/paper-figures.md

The maps are the closed form of ``schedules.energy.landscape``. The least energy is also searched without it: the
integral of the definition is computed by quadrature from alpha and its derivative, and minimised by the method of
Nelder and Mead. Condition 3.4 of the paper says where the minimum is: at the (a, b) of the interpolation schedule.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.integrate import quad
from scipy.optimize import minimize

sys.path.insert(0, str(Path(__file__).parent.parent))

from mdm_tune.pages.charts import Figure, Landscape, Place, landscape
from mdm_tune.schedules.curves import Beta
from mdm_tune.schedules.energy import LEAST_ENERGY
from mdm_tune.schedules.energy import landscape as energies
from scripts.pages import show_part

CONDITIONS = ((1.0, 1.0), (0.5, 0.5), (2.0, 1.0), (0.4, 0.8))
GRID = np.geomspace(0.1, 10, 61)
EDGE = 1e-30  # the quadrature leaves out so much of the time at both ends
FROM = (3.0, 2.0)  # the start of the search


@dataclass(frozen=True)
class Minimum:
    """What the search found for one interpolation schedule.

    Attributes:
        condition: (a, b) of the interpolation schedule.
        found: (a, b) of the least energy that the search found.
        energy: in multiples of pi^2/4.
    """

    condition: tuple[float, float]
    found: tuple[float, float]
    energy: float

    @property
    def distance(self) -> float:
        """The larger of the two relative differences to the condition."""
        return max(abs(got / wanted - 1) for got, wanted in zip(self.found, self.condition, strict=True))


def energy_by_quadrature(mask: Beta, interpolation: Beta) -> float:
    """int alpha'^2 / (4 alpha (1 - alpha) gamma') dt from its definition, in multiples of pi^2/4.

    It is integrated over log(t / (1 - t)), in which the ends of the time are far away and smooth. The second half of
    the time is the first half of the dual schedules.
    """

    def density(logit: float, mask: Beta, interpolation: Beta) -> float:
        t = math.exp(logit) / (1 + math.exp(logit))
        here, weight = mask.at(np.array([t])), interpolation.at(np.array([t]))
        alpha, weight_rate = float(here.alpha[0]), float(weight.d_gamma[0])
        if not alpha * (1 - alpha) * weight_rate > 0:  # smaller than a float can be, and so is the rate of alpha
            return 0.0
        return float(here.d_alpha[0]) ** 2 / (4 * alpha * (1 - alpha)) / weight_rate * t * (1 - t)

    def half(mask: Beta, interpolation: Beta) -> float:
        return float(quad(density, math.log(EDGE), 0, (mask, interpolation), limit=400, epsabs=1e-12, epsrel=1e-12)[0])

    return (half(mask, interpolation) + half(mask.dual(), interpolation.dual())) / LEAST_ENERGY


def searched(condition: tuple[float, float]) -> Minimum:
    """The least energy over (a, b), searched by quadrature alone."""
    gamma = Beta(*condition)

    def energy(point: np.ndarray) -> float:
        a, b = (float(each) for each in np.exp(point))
        if 2 * a <= gamma.a * 1.02 or 2 * b <= gamma.b * 1.02:  # there, or nearly there, the integral is infinite
            return math.inf
        return energy_by_quadrature(Beta(a, b), gamma)

    options = {"xatol": 1e-7, "fatol": 1e-12, "maxiter": 400}
    best = minimize(energy, np.log(FROM), method="Nelder-Mead", options=options)
    a, b = (float(each) for each in np.exp(best.x))
    return Minimum(condition=condition, found=(a, b), energy=float(best.fun))


def drawn(minima: list[Minimum]) -> Figure:
    """Four maps, each with the minimum that the search found."""
    panels = [
        Landscape(
            name=f"gamma = BetaCDF({each.condition[0]:g}, {each.condition[1]:g})",
            a=GRID,
            b=GRID,
            values=energies(GRID, GRID, *each.condition),
            label="energy, in multiples of the least",
            better="lower",
            span=(1.0, 2.0),
            winner=Place(*each.found, f"({each.found[0]:.3g}, {each.found[1]:.3g})"),
            winner_name="least energy, found by quadrature",
        )
        for each in minima
    ]
    places = "; ".join(f"{p.name}: the minimum is at {p.winner.name}" for p in panels if p.winner)
    return landscape(
        panels,
        title="Energy of the mask schedule Beta(a, b) under four interpolation schedules gamma",
        description=f"Four maps of the energy over a and b. {places}. The energy rises on all sides of its minimum, "
        "and is infinite where 2a or 2b is at most the parameter of gamma.",
    )


def table(minima: list[Minimum]) -> str:
    """The minima as a table of Markdown."""
    head = ("gamma", "minimum by condition 3.4", "minimum found", "relative distance", "distance of the energy to 1")
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for each in minima:
        (c, d), (a, b) = each.condition, each.found
        found = f"({a:.6f}, {b:.6f}) | {each.distance:.0e} | {abs(each.energy - 1):.0e}"
        rows.append(f"| BetaCDF({c:g}, {d:g}) | ({c:g}, {d:g}) | {found} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("figure2.svg"))
    parser.add_argument("--page", type=Path, help="write the table there, between the comments minima")
    args = parser.parse_args()
    minima = [searched(each) for each in CONDITIONS]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(drawn(minima).svg("system"), "utf-8")
    show_part(args.page, "minima", table(minima))


if __name__ == "__main__":
    main()
