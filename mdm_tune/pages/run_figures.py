"""The figures of one run, by name. A figure that the run has no data for is left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.core.statistics import Estimate
from mdm_tune.pages.charts import Axis, Counts, Figure, Gain, Mark, Role, Series, Verdict, dots, landscape, lines, steps
from mdm_tune.pages.landscapes import DETAIL, map_of_profile, map_of_trials
from mdm_tune.pages.names import role_of, short_names
from mdm_tune.pages.run_views import BudgetView, CurveView, Row, RunView
from mdm_tune.pages.run_views import Verdict as Shown
from mdm_tune.schedules.counts import CountRule, to_counts
from mdm_tune.schedules.curves import Beta, Schedule, parse_schedule
from mdm_tune.schedules.curves import Counts as CountSchedule
from mdm_tune.schedules.labels import Label

__all__ = ["CLAIMS", "CURVE", "axis_of_metric", "figures_of", "named_counts", "quality_series", "schedule_of"]

CLAIMS: Mapping[Shown, Verdict] = {Shown.BETTER: "gain", Shown.WORSE: "loss"}
CURVE = 49  # points of a curve
MOST_SERIES = 8  # lines of one chart that can be told apart
Entries = Iterator[tuple[str, Figure]]


def figures_of(view: RunView, detail: int = DETAIL) -> dict[str, Figure]:
    """The figures by name, in the order of the page: gains, quality, landscapes, schedules, counts, profiles.

    Args:
        view: the run.
        detail: points of a landscape along each axis.
    """
    made = (_gains(view), _quality(view), _landscapes(view, detail), _alphas(view), _counts(view), _profiles(view))
    return {name: figure for group in made for name, figure in group}


def axis_of_metric(view: RunView) -> Axis:
    """The axis of the objective."""
    return Axis(view.about.metric, better="higher" if view.about.maximize else "lower")


def _gains(view: RunView) -> Entries:
    rows = [_gain(budget) for budget in view.budgets if math.isfinite(budget.gain.value)]
    if not rows:
        return
    intervals = "computed exactly" if view.about.exact else "with 95 % intervals for all budgets together"
    said = "; ".join(f"at {quantity(b.steps, 'step')} {b.gain.text}: {b.verdict.value}" for b in view.budgets)
    yield (
        "gains",
        dots(
            rows,
            x=Axis(f"gain in {view.about.metric} over linear", better="higher"),
            title="Gain over linear at the same number of steps",
            description=f"The gain over linear at each budget, {intervals}. {said}.",
        ),
    )


def _gain(budget: BudgetView) -> Gain:
    low, high = budget.gain.familywise or budget.gain.own or (None, None)
    at = quantity(budget.steps, "step")
    return Gain(
        label=at,
        value=budget.gain.value,
        low=low,
        high=high,
        verdict=CLAIMS.get(budget.verdict, "no gain"),
        tip=f"{at}: {budget.gain.text}, {budget.verdict.value}",
    )


def quality_series(groups: Mapping[str, Sequence[Row]], names: Mapping[str, str], dashed: bool = False) -> list[Series]:
    """One series for each label, with its rows in the order of their calls.

    Args:
        groups: the rows by label.
        names: what the labels are called.
        dashed: whether lines are dashed.
    """
    series = []
    for label, rows in groups.items():
        by_calls = {row.calls if row.calls is not None else float(row.steps): row for row in rows}
        ordered = [by_calls[calls] for calls in sorted(by_calls)]
        ends = [row.estimate.ci or (None, None) for row in ordered]
        role: Role = role_of(label)
        series.append(
            Series(
                names[label],
                sorted(by_calls),
                [row.estimate.value if math.isfinite(row.estimate.value) else math.nan for row in ordered],
                low=[low for low, _ in ends],
                high=[high for _, high in ends],
                role=role,
                dashed=dashed,
                tips=[_tip(names[label], row) for row in ordered],
            )
        )
    order = {"tuned": 0, "linear": 1, "adaptive": 2, "other": 3}
    return sorted(series, key=lambda each: order[each.role])


def _tip(name: str, row: Row) -> str:
    calls = f"{row.calls:.4g} calls" if row.calls is not None else quantity(row.steps, "step")
    return f"{name}, {quantity(row.steps, 'step')}: {row.estimate.text}, {calls}"


def _quality(view: RunView) -> Entries:
    """Value against calls: of the search, and of the evaluation."""
    if view.budgets:
        groups: dict[str, list[Row]] = {"tuned": []}
        for budget in view.budgets:
            groups["tuned"].append(Row(label="tuned", steps=budget.steps, calls=budget.calls, estimate=budget.estimate))
            for name, row in budget.baselines.items():
                groups.setdefault(name, []).append(row)
        where = "" if view.about.exact else ", on the report split of the search"
        data = next((budget.data for budget in view.budgets if budget.data is not None), None)
        yield "quality", _quality_figure(view, groups, where, data)
    if view.rows:
        rows: dict[str, list[Row]] = {}
        for row in view.rows:
            rows.setdefault(row.label, []).append(row)
        yield "evaluation", _quality_figure(view, rows, ", in the evaluation", view.data)


def _quality_figure(view: RunView, groups: Mapping[str, Sequence[Row]], where: str, data: Estimate | None) -> Figure:
    series = quality_series(groups, short_names(groups))[:MOST_SERIES]
    ticks = sorted({float(row.steps) for rows in groups.values() for row in rows if not row.every})
    intervals = "computed exactly" if view.about.exact else "with 95 % intervals"
    said = "; ".join(
        f"{each.name}: " + ", ".join(f"{y:.3g} at {x:.4g}" for x, y in zip(each.x, each.y, strict=True))
        for each in series
    )
    return lines(
        series,
        x=Axis("denoiser calls of a sequence", log=len(ticks) > 1, ticks=ticks),
        y=axis_of_metric(view),
        title=f"Value against denoiser calls: {view.about.metric}{where}",
        description=f"{view.about.metric} of each schedule against its denoiser calls, {intervals}. {said}.",
        marks=() if data is None else (Mark(data.value, "the data itself", along="y"),),
    )


def _landscapes(view: RunView, detail: int) -> Entries:
    for budget in view.budgets:
        panels = [map_of_trials(budget, view.about, detail), map_of_profile(budget, view.about, view.curves, detail)]
        found = [panel for panel in panels if panel is not None]
        if not found:
            continue
        at = quantity(budget.steps, "step")
        beside = " Beside it, the NELBO of the same schedules on the information profile." if len(found) > 1 else ""
        tried = f"{quantity(len(budget.points), 'trial')} of Beta(a, b)"
        yield (
            f"landscape-{budget.steps}",
            landscape(
                found,
                title=f"Schedules Beta(a, b) at {at}",
                description=f"A map over a and b at {at}, from {tried} with the winner {budget.name}. The outline is "
                f"the region that cannot be told from the winner.{beside}",
            ),
        )


def schedule_of(budget: BudgetView) -> Schedule | None:
    """The curve of a budget's schedule; None if its name is not known."""
    with suppress(InputError):
        if budget.a is not None and budget.b is not None:
            return Beta(budget.a, budget.b)
        if budget.counts and budget.kind.startswith("counts"):
            return CountSchedule(budget.counts)
        return parse_schedule(budget.kind)
    return None


def _alphas(view: RunView) -> Entries:
    """The curves alpha(t) of the tuned schedules, and of linear."""
    times = np.linspace(0, 1, CURVE)
    curves: dict[str, tuple[Schedule, Role]] = {}
    for budget in view.budgets:
        schedule = schedule_of(budget)
        if schedule is not None and budget.kind != "linear":
            names = [*curves, f"{budget.name}, {quantity(budget.steps, 'step')}"]
            curves[names[-1]] = schedule, "tuned"
    if not curves:
        return
    series = [
        Series(name, times.tolist(), schedule.alpha(times).tolist(), role=role, dashed=number > 0)
        for number, (name, (schedule, role)) in enumerate([*curves.items()][: MOST_SERIES - 1])
    ]
    series.append(Series("linear", times.tolist(), times.tolist(), role="linear"))
    yield (
        "alpha",
        lines(
            series,
            x=Axis("time t, from all masked to data", low=0, high=1),
            y=Axis("alpha, share of revealed tokens", low=0, high=1),
            title="Share of revealed tokens over time, alpha(t)",
            description="The share of revealed tokens against time, for the tuned schedules and for linear. "
            + "; ".join(f"{each.name} is at {each.y[CURVE // 2]:.2f} halfway" for each in series)
            + ".",
        ),
    )


def named_counts(view: RunView, budget: BudgetView, name: str = "linear") -> tuple[int, ...] | None:
    """The counts of a hand-made schedule at a budget.

    Returns:
        The counts; None for ancestral reveal, for blocks that share the steps unequally, and for an unknown name.
    """
    if budget.counts is None:
        return None
    length = sum(budget.counts)
    size = budget.block_length or length
    blocks = max(1, length // size)
    rule: CountRule = "cumulative" if view.about.section("sampler").get("counts") == "cumulative" else "one-per-step"
    if budget.steps % blocks or view.about.section("sampler").get("block_steps") == "tuned":
        return None
    with suppress(InputError):
        return to_counts(parse_schedule(Label.read(name).name), budget.steps // blocks, size, rule) * blocks
    return None


def _counts(view: RunView) -> Entries:
    for budget in view.budgets:
        if not budget.counts:
            continue
        rows = [Counts(f"tuned: {budget.name}", budget.counts, role="tuned", note=f"{budget.calls:.4g} calls")]
        linear = named_counts(view, budget)
        if linear is not None and budget.kind != "linear":
            rows.append(Counts("linear", linear, "linear"))
        at = quantity(budget.steps, "step")
        yield (
            f"counts-{budget.steps}",
            steps(
                rows,
                title=f"Tokens revealed by each step, {at}",
                description=f"The counts of {budget.name} at {at}: {', '.join(map(str, budget.counts[:64]))}"
                + (" and so on." if len(budget.counts) > 64 else "."),
            ),
        )


def _profiles(view: RunView) -> Entries:
    for curve in view.curves:
        if not curve.revealed:
            continue
        suffix = f"-{curve.block_length}" if len(view.curves) > 1 else ""
        yield f"profile{suffix}", _profile_figure(curve)


def _profile_figure(curve: CurveView) -> Figure:
    measured = "computed exactly" if curve.exact else f"over {quantity(curve.examples or 0, 'example')}"
    series = [Series("cross-entropy", curve.revealed, curve.mean, low=curve.low, high=curve.high, role="tuned")]
    if curve.vocabulary:
        uniform = math.log(curve.vocabulary)
        ends = [curve.revealed[0], curve.revealed[-1]]
        series.append(Series("uniform guess", ends, [uniform, uniform], role="other", dashed=True))
    blocks = f", blocks of {curve.block_length}" if curve.block_length < curve.length else ""
    first, last = curve.mean[0], curve.mean[-1]
    return lines(
        series,
        x=Axis("visible tokens"),
        y=Axis("cross-entropy of a hidden token", unit="nats", better="lower"),
        title=f"Information profile{blocks}",
        description=f"Cross-entropy of a hidden token against the number of visible tokens, {measured}"
        f"{'' if curve.low is None else ', with 95 % intervals'}: from {first:.3g} nats at {curve.revealed[0]} to "
        f"{last:.3g} at {curve.revealed[-1]}.",
    )
