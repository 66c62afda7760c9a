"""The maps over (a, b) of one budget: what the trials say of the metric, and what the information profile says.

The colours of the trials are the mean of a Gaussian process (``surface``). They are about the tune split, and only as
good as the process where trials are few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.core.numerals import significant
from mdm_tune.pages.charts import Landscape, Place, Trial
from mdm_tune.pages.names import and_listed
from mdm_tune.pages.run_looks import TUNED, Looks
from mdm_tune.pages.run_views import About, BudgetView, CurveView, Point, Progress
from mdm_tune.schedules.box import DETAIL, EXACTLY_NAMED, USUAL, Box, LogGrid, Tried, surface_of, unit_square
from mdm_tune.schedules.counts import CountRule
from mdm_tune.schedules.family import Pricer
from mdm_tune.schedules.labels import Label

__all__ = ["box_of", "map_of_profile", "map_of_progress", "map_of_trials", "where_trials_are", "wins_at_edge"]

Floats = NDArray[np.float64]
MANY = 120  # trials of a map; more would hide it
EDGE = 0.01  # of an axis in log scale: a winner that is nearer to its end lies at the edge


def box_of(about: About, points: Sequence[Point]) -> Box:
    """The box of the search, or for older folders one that holds the trials."""
    space = about.section("search").get("space") or {}
    try:
        a, b = (tuple(map(float, space[name])) for name in ("a", "b"))
        if 0 < a[0] < a[1] and 0 < b[0] < b[1]:
            return (a[0], a[1]), (b[0], b[1])
    except (KeyError, TypeError, ValueError, IndexError):
        pass
    tried = [(point.a, point.b) for point in points if point.a > 0 and point.b > 0]
    ends = zip(*tried, strict=True) if tried else ()
    found = [(min(low, *each), max(high, *each)) for each, (low, high) in zip(ends, USUAL, strict=False)]
    return (found[0], found[1]) if found else USUAL


def map_of_trials(budget: BudgetView, about: About, looks: Looks, points: int = DETAIL) -> Landscape | None:
    """The map of the metric as the trials show it; None if there are no trials.

    It has no colours if there are too few trials for a surface.

    Args:
        budget: the result of the budget.
        about: what the run is of.
        looks: of the schedules of the page.
        points: of the map along each axis.
    """
    finalists = {place for label, _ in budget.choose if (place := _place_of(label)) is not None}
    tried = _of_blocks(budget.points, budget.block_length)
    winner = _winner(budget, looks)
    return _map(tried, about, looks, points, winner=winner, finalists=finalists - set(EXACTLY_NAMED.values()))


def map_of_progress(progress: Progress, about: About, looks: Looks, points: int = DETAIL) -> Landscape | None:
    """The map of the trials so far of the budget at work; None if there are none."""
    sizes = [point.block_length for point in progress.points]
    return _map(_of_blocks(progress.points, sizes[-1] if sizes else None), about, looks, points)


def _map(
    tried: Sequence[Point],
    about: About,
    looks: Looks,
    points: int,
    *,
    winner: Place | None = None,
    finalists: Set[tuple[float, float]] = frozenset(),
) -> Landscape | None:
    """The map of trials. Without a winner of the family the best trial is marked."""
    if not tried:
        return None
    box, reference = box_of(about, tried), winner or _best(tried, about.sign)
    named = [each for each in _in_family(looks) if reference is None or (each.a, each.b) != (reference.a, reference.b)]
    grid, surface = LogGrid.over(box, points), surface_of(tuple(map(_tried, tried)), box, about.exact)
    values = None if surface is None else grid.shaped(surface.at(unit_square(grid.pairs, box)))
    return Landscape(
        name="from the trials",
        a=grid.a,
        b=grid.b,
        values=values,
        label=about.metric,
        better="higher" if about.maximize else "lower",
        trials=[_drawn(point, about) for point in _shown(tried, finalists)],
        finalists=sorted(finalists),
        winner=reference,
        winner_name="best trial" if winner is None else "winner",
        named=named,
    )


def where_trials_are(budget: BudgetView, about: About, looks: Looks) -> str:
    """Where each trial of a budget is on its map, or why it is not there, in words; the numbers sum to all trials."""
    known = [point for point in budget.points if point.a > 0 and point.b > 0]
    tried = _of_blocks(budget.points, budget.block_length)
    finalists = {place for label, _ in budget.choose if (place := _place_of(label)) is not None}
    shown, (a, b) = _shown(tried, finalists), box_of(about, tried)
    marks = {at: name for name, at in EXACTLY_NAMED.items()}
    if (winner := _winner(budget, looks)) is not None:
        marks = {(winner.a, winner.b): "the winner"} | {
            at: name for at, name in marks.items() if at != (winner.a, winner.b)
        }
    elif (best := _best(tried, about.sign)) is not None:
        marks |= {(best.a, best.b): "the best trial"}
    inside = [(each.a, each.b) for each in shown if a[0] <= each.a <= a[1] and b[0] <= each.b <= b[1]]
    marked = [at for at in inside if at in marks]
    free = [at for at in inside if at not in marks]
    names = and_listed([name for at, name in marks.items() if at in marked])
    total = max(budget.trials, len(budget.points))
    parts = (
        (len(set(free)), "dot" if len(set(free)) == 1 else "dots"),
        (len(marked), f"under the mark{'' if len(set(marked)) == 1 else 's'} of {names}"),
        (len(free) - len(set(free)), "at the place of another"),
        (len(shown) - len(inside), "outside the map"),
        (len(tried) - len(shown), "left out, as the map would be too full"),
        (len(known) - len(tried), "in other block lengths"),
        (
            total - len(known),
            "of policies" if budget.policies or budget.adaptive else "that the run does not list",
        ),
    )
    dropped = sum(point.dropped for point in budget.points)
    early = f", {dropped} of them dropped early" if dropped else ""
    return f"The {quantity(total, 'trial')}{early}: {', '.join(f'{count} {where}' for count, where in parts if count)}."


def _in_family(looks: Looks) -> list[Place]:
    """The hand-made schedules that are members of the family."""
    return [Place(*at, name, looks.of(name)) for name, at in EXACTLY_NAMED.items()]


def wins_at_edge(budget: BudgetView, about: About, looks: Looks) -> bool:
    """Whether the winner lies at the edge of the box of the search."""
    winner = _winner(budget, looks)
    if winner is None:
        return False
    box = box_of(about, budget.points)
    place = unit_square(np.array([[winner.a, winner.b]]), box)[0]
    return bool((place < EDGE).any() or (place > 1 - EDGE).any())


def map_of_profile(
    budget: BudgetView, about: About, looks: Looks, curves: Sequence[CurveView], points: int = DETAIL
) -> Landscape | None:
    """The map of the NELBO on the information profile; None if there is no profile of the winner's block length.

    Args:
        budget: the result of the budget.
        about: what the run is of.
        looks: of the schedules of the page.
        curves: the profiles of the run.
        points: of the map along each axis.
    """
    size = budget.block_length
    curve = next((each for each in curves if size is None or each.block_length == size), None)
    if curve is None or not curve.revealed:
        return None
    pricing = np.array(curve.pricing) if curve.pricing else _interpolated(curve)
    grid = LogGrid.over(box_of(about, budget.points), points)
    sampler = about.section("sampler")
    rule: CountRule = "cumulative" if sampler.get("counts") == "cumulative" else "one-per-step"
    pricer = Pricer(
        curve=pricing, block_length=curve.block_length, bernoulli=sampler.get("reveal") == "bernoulli", rule=rule
    )
    try:
        values = grid.shaped(pricer.beta_nelbos(grid.pairs, budget.steps))
    except InputError:  # the blocks share the steps unequally
        return None
    winner = _winner(budget, looks)
    best = np.unravel_index(int(np.argmin(values)), values.shape)
    a, b = float(grid.a[best[0]]), float(grid.b[best[1]])
    return Landscape(
        name="from the information profile",
        a=grid.a,
        b=grid.b,
        values=values,
        label="NELBO",
        unit="nats per sequence",
        better="lower",
        winner=Place(a, b, f"least NELBO {_pair(a, b)}"),
        winner_name="least NELBO",
        named=[*_in_family(looks), *([] if winner is None else [winner])],
    )


def _of_blocks(points: Sequence[Point], size: int | None) -> list[Point]:
    """The trials in a block length, or all if there are none in it."""
    known = [point for point in points if point.a > 0 and point.b > 0]
    return [point for point in known if point.block_length == size] or known


def _winner(budget: BudgetView, looks: Looks) -> Place | None:
    """The winner; None if it is not of the family."""
    if budget.of_the_family and budget.a and budget.b and min(budget.a, budget.b) > 0:
        return Place(budget.a, budget.b, f"winner {budget.name}", TUNED)
    if budget.kind in EXACTLY_NAMED:
        return Place(*EXACTLY_NAMED[budget.kind], f"winner: {budget.kind}", looks.of(budget.kind))
    return None


def _best(tried: Sequence[Point], sign: int) -> Place | None:
    """The best trial, with a mark of its own, since it did not win; None if none was scored in full."""
    full = [point for point in tried if math.isfinite(point.value) and not point.dropped]
    best = max(full, key=lambda point: sign * point.value, default=None)
    if best is None:
        return None
    name = next((name for name, at in EXACTLY_NAMED.items() if at == (best.a, best.b)), None)
    words = ["best trial", *([] if name is None else [name]), _pair(best.a, best.b)]
    return Place(best.a, best.b, " ".join(words))


def _pair(a: float, b: float) -> str:
    return f"Beta({significant(a, 3)}, {significant(b, 3)})"


def _tried(point: Point) -> Tried:
    return Tried(a=point.a, b=point.b, value=point.value, examples=point.examples)


def _shown(tried: Sequence[Point], finalists: Set[tuple[float, float]]) -> list[Point]:
    """At most ``MANY`` trials: the finalists, and the first of the others."""
    if len(tried) <= MANY:
        return list(tried)
    ranked = sorted(tried, key=lambda point: ((point.a, point.b) not in finalists, point.dropped, point.number))
    return sorted(ranked[:MANY], key=lambda point: point.number)


def _drawn(point: Point, about: About) -> Trial:
    value = f"{point.value:.4g}" if math.isfinite(point.value) else "not finite"
    words = f"trial {point.number + 1}: a {point.a:.3g}, b {point.b:.3g}, {about.metric} {value}"
    if point.dropped and point.examples:
        words += f", estimated after {point.examples} examples"
    elif not point.fresh:
        words += ", counts scored before"
    return Trial(point.a, point.b, words, point.dropped)


def _place_of(label: str) -> tuple[float, float] | None:
    """The parameters of a label such as ``beta:0.4,0.7``."""
    kind, _, numbers = Label.read(label).name.partition(":")
    try:
        a, b = map(float, numbers.split(","))
    except ValueError:
        return None
    return (a, b) if kind == "beta" else None


def _interpolated(curve: CurveView) -> Floats:
    """The measured curve at every number of visible tokens, within each block, never rising."""
    at = np.arange(curve.length)
    revealed, mean = np.array(curve.revealed), np.array(curve.mean)
    values = np.empty(curve.length)
    for start in range(0, curve.length, curve.block_length):
        block = slice(start, start + curve.block_length)
        own = (revealed >= start) & (revealed < start + curve.block_length)
        if not own.any():
            return np.asarray(np.interp(at, revealed, mean))
        values[block] = np.minimum.accumulate(np.interp(at[block], revealed[own], mean[own]))
    return values
