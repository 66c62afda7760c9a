"""Which interval of a mean holds: the one that is shown beside three others, over laws and numbers of examples.

    python scripts/interval_table.py --output docs/intervals.md        # two minutes on one core

Every cell draws samples of n independent values from a law whose mean is known, and counts the intervals that hold it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, t

from mdm_tune.core.statistics import CONFIDENCE, FEWEST, Bounds, corrected_confidence, interval_of_equal, lower_bounds
from mdm_tune.search.gains import MANY, differing_of

Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Values]

REPEATS = 10_000  # samples of a cell
SLOW = 400  # of a cell of the bootstrap
RESAMPLES = 999
BATCH = 2_000_000  # values drawn at a time
SIZES = (5, 8, 10, 12, 16, 32, 64, 128, 512)
SLOW_SIZES = tuple(size for size in SIZES if size <= 128)
LOW, HIGH = 0.92, 0.98  # what an interval of 95 % should hold


def ternary(win: float, loss: float) -> Draw:
    """+1 and -1 with these probabilities, and else 0."""

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Values:
        uniform = rng.random(shape)
        return (uniform < win).astype(float) - (uniform > 1 - loss)

    return draw


def mixed(rng: np.random.Generator, shape: tuple[int, int]) -> Values:
    """Normal with deviation 1, or with deviation 10 for one value in twenty."""
    return rng.normal(size=shape) * np.where(rng.random(shape) < 0.05, 10.0, 1.0)


def seldom_lost(rng: np.random.Generator, shape: tuple[int, int]) -> Values:
    """Small wins of 1, and a loss of 19 for one value in twenty."""
    return np.where(rng.random(shape) < 0.05, -19.0, 1.0)


Law = tuple[float, Draw, Bounds | None]  # the mean, how to draw, and the bounds of every value where it has any
Interval = Callable[[Values, Bounds | None], tuple[Values, Values]]

UNIT = (-1.0, 1.0)  # of differences of right and wrong answers
LAWS: dict[str, Law] = {
    "normal": (0.0, lambda rng, shape: rng.normal(size=shape), None),
    "uniform": (0.0, lambda rng, shape: rng.uniform(-1, 1, shape), UNIT),
    "ternary, 60 % ties": (0.0, ternary(0.2, 0.2), UNIT),
    "ternary, 80 % ties": (0.0, ternary(0.1, 0.1), UNIT),
    "ternary, 90 % ties": (0.0, ternary(0.05, 0.05), UNIT),
    "ternary, 95 % ties": (0.0, ternary(0.025, 0.025), UNIT),
    "80 % ties, three wins for a loss": (0.1, ternary(0.15, 0.05), UNIT),
    "90 % ties, never worse": (0.1, ternary(0.1, 0.0), UNIT),
    "exponential": (0.0, lambda rng, shape: rng.exponential(size=shape) - 1, None),
    "exponential, to the left": (0.0, lambda rng, shape: 1 - rng.exponential(size=shape), None),
    "log-normal": (0.0, lambda rng, shape: rng.lognormal(size=shape) - np.exp(0.5), None),
    "log-normal, to the left": (0.0, lambda rng, shape: np.exp(0.5) - rng.lognormal(size=shape), None),
    "heavy tails (Student, 2.5)": (0.0, lambda rng, shape: rng.standard_t(2.5, shape), None),
    "heavy tails (one in twenty ten times as wide)": (0.0, mixed, None),
}
CLAIMED = {
    "normal": LAWS["normal"],
    "ternary, 80 % ties": LAWS["ternary, 80 % ties"],
    "exponential, to the left": LAWS["exponential, to the left"],
    "log-normal, to the left": LAWS["log-normal, to the left"],
    "wins of 1, a loss of 19 in twenty": (0.0, seldom_lost, (-20.0, 20.0)),
}


def shown(samples: Values, bounds: Bounds | None, confidence: float = CONFIDENCE) -> tuple[Values, Values]:
    """The ends of ``statistics.estimate`` of many samples at once."""
    low, high = lower_bounds(samples, confidence), -lower_bounds(-samples, confidence)
    if bounds is None:
        return low, high
    low, high = np.maximum(low, bounds[0]), np.minimum(high, bounds[1])
    for place in np.flatnonzero(np.ptp(samples, axis=1) == 0):
        low[place], high[place] = interval_of_equal(samples[place, 0], samples.shape[1], bounds, confidence)
    return low, high


def student(samples: Values, bounds: Bounds | None = None) -> tuple[Values, Values]:
    count = samples.shape[1]
    mean = samples.mean(axis=1)
    reach = t.ppf(0.5 + CONFIDENCE / 2, count - 1) * samples.std(axis=1, ddof=1) / np.sqrt(count)
    return mean - reach, mean + reach


def bca(samples: Values, bounds: Bounds | None = None) -> tuple[Values, Values]:
    """The bias-corrected and accelerated bootstrap; the mean where all values are equal."""
    mean = samples.mean(axis=1)
    low, high = mean.copy(), mean.copy()
    varied = np.ptp(samples, axis=1) > 0
    if varied.any():
        found = bootstrap(
            (samples[varied],), np.mean, axis=1, n_resamples=RESAMPLES, batch=50, method="BCa", rng=0
        ).confidence_interval
        low[varied], high[varied] = found.low, found.high
    return low, high


def wider(samples: Values, bounds: Bounds | None = None) -> tuple[Values, Values]:
    (one, two), (three, four) = bca(samples), student(samples)
    return np.minimum(one, three), np.maximum(two, four)


def samples_of(law: Law, name: str, size: int, repeats: int) -> list[Values]:
    """Batches of samples (batch, size), the same for every interval."""
    rng = np.random.default_rng([size, *name.encode()])
    batch = max(1, min(repeats, BATCH // size))
    return [law[1](rng, (min(batch, repeats - start), size)) for start in range(0, repeats, batch)]


def missed(law: Law, name: str, size: int, repeats: int, interval: Interval) -> tuple[float, float]:
    """The shares of intervals that lie above and below the mean; those of no width hold it where they are it."""
    above = below = 0
    for samples in samples_of(law, name, size, repeats):
        low, high = interval(samples, law[2])
        above += int((low > law[0] + 1e-12).sum())
        below += int((high < law[0] - 1e-12).sum())
    return above / repeats, below / repeats


def held_table(interval: Interval, sizes: tuple[int, ...], repeats: int) -> str:
    lines = [f"| law | {' | '.join(map(str, sizes))} |", f"|---|{'---|' * len(sizes)}"]
    for name, law in LAWS.items():
        cells = []
        for size in sizes:
            held = 1 - sum(missed(law, name, size, repeats, interval))
            cells.append(f"{held:.3f}" if LOW <= held <= HIGH else f"**{held:.3f}**")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def sides_table(sizes: tuple[int, ...]) -> str:
    lines = [f"| law | {' | '.join(map(str, sizes))} |", f"|---|{'---|' * len(sizes)}"]
    for name, law in LAWS.items():
        cells = [" / ".join(f"{100 * side:.1f}" for side in missed(law, name, size, REPEATS, shown)) for size in sizes]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def claims_table(sizes: tuple[int, ...], claims: int) -> str:
    """How often a gain is claimed where there is none, in per cent."""
    lines = [f"| law | {' | '.join(map(str, sizes))} |", f"|---|{'---|' * len(sizes)}"]
    for name, law in CLAIMED.items():
        cells = []
        for size in sizes:
            false = 0
            for samples in samples_of(law, name, size, REPEATS):
                above = samples[shown(samples, law[2], corrected_confidence(claims))[0] > 1e-12]
                false += sum(differing >= needed for differing, needed in (differing_of(each, None) for each in above))
            cells.append(f"{100 * false / REPEATS:.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


PAGE = """\
# Which interval is shown

The tool shows one kind of 95 % interval, for every mean and every mean difference. It is Student's interval with two
changes:

1. One further value is added, as far from the mean as the farthest one.
2. The end on the side of the skew is moved out by twice what the skew moves it in theory (Johnson 1978, Hall 1992).

The interval depends on the values alone, so the same values give the same interval. With fewer than {fewest} examples
there is no interval: the tool shows the value and *too few examples*. Examples that share a prompt count as one.

## Results

- **The interval contains the true mean about as often as it should.** Of 98 cells in the first table, one is below
  92 %: 91.4 %, for ten log-normal values with the tail to the left. Where most values are equal, the interval is
  wider than needed and contains the mean in up to 100 % of the samples.
- **Other intervals fail on small samples.** With ten values of one law, Student's interval contains the mean in
  64.5 % of the samples, and the bootstrap in 64.0 %.
- **Claims without a true gain are as rare as they should be,** except for log-normal losses with 128 examples and
  fewer.

## How it was measured

The tables count how often intervals of 95 % contain the true mean. The values are independent draws from laws with a
known mean. Each cell has {repeats:,} samples, so it is known to about {error:.1%}. A cell outside {low:.0%} to
{high:.0%} is in bold type. `python scripts/interval_table.py --output docs/intervals.md` makes this page.

## The interval that is shown

How often it contains the true mean, by the number of examples:

{shown}

How often it lies above / below the true mean, in per cent; 2.5 / 2.5 would be exact:

{sides}

**Skew.** Skewed laws with rare large values are the hardest. A sample without the rare value says nothing about it,
so no interval that is computed from the sample alone can allow for it. Every interval on this page therefore contains
the mean of ten log-normal values less often than 95 %. Heavier tails are worse: for log-normal values whose
logarithms have deviation 2, the interval contains the mean in 84 % at 64 examples (1,500 samples, by hand).

**Bounds.** Some values have bounds, such as shares of right answers. Their interval does not go beyond the bounds.
The ternary laws and the uniform one have the bounds -1 and 1 here. If all values of a bounded law are equal, a
further value may be as far away as the bounds, and the interval allows for that. (Of 0s or 1s it is then Clopper and
Pearson's.)

**Equal values.** If nine of ten pairs of answers are alike, ten pairs often show no difference at all, and the
interval is wide.

## When a gain is claimed where there is none

A search claims a gain if the interval lies above 0 and enough examples differ:

- 10 examples, if all differences have one size, as those of right and wrong answers have;
- {many} examples, if the differences have several sizes. The largest losses are often missing among few differences.

The laws here have the mean 0, so every claim is wrong. Most laws are skewed to the left, which makes small samples
look better than they are. The cells are per cent of the samples, by the number of examples. All laws but one keep to
what is allowed. Gains on log-normal losses are claimed too often with 128 examples and fewer, by up to three times.

One budget, where 2.5 is allowed:

{claims1}

Two budgets, where 1.25 is allowed for each:

{claims2}

Four budgets, where 0.625 is allowed for each:

{claims4}

## Other intervals

Student's interval, {repeats:,} samples:

{student}

The bias-corrected and accelerated bootstrap (BCa) with {resamples} resamples and {slow} samples, so a cell is known
to about 2 %:

{bca}

The wider of the two at each end, {slow} samples:

{wider}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the Markdown file to write")
    options = parser.parse_args()
    sizes = tuple(size for size in SIZES if size >= FEWEST)
    page = PAGE.format(
        fewest=FEWEST,
        many=MANY,
        repeats=REPEATS,
        error=2 * (0.05 * 0.95 / REPEATS) ** 0.5,
        low=LOW,
        high=HIGH,
        shown=held_table(shown, sizes, REPEATS),
        sides=sides_table(sizes),
        **{f"claims{claims}": claims_table(sizes, claims) for claims in (1, 2, 4)},
        student=held_table(student, SIZES, REPEATS),
        resamples=RESAMPLES,
        slow=SLOW,
        bca=held_table(bca, SLOW_SIZES, SLOW),
        wider=held_table(wider, SLOW_SIZES, SLOW),
    )
    options.output.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
