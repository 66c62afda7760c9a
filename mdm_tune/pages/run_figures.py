"""The figures of one run, by name. A figure that the run has no data for is left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.core.numerals import significant
from mdm_tune.core.statistics import Estimate
from mdm_tune.pages.charts import (
    Axis,
    Figure,
    Gain,
    Landscape,
    Look,
    Mark,
    Role,
    Series,
    Verdict,
    dots,
    landscape,
    lines,
    numbers_of,
    open_verdict,
)
from mdm_tune.pages.frontier import frontier_figure
from mdm_tune.pages.landscapes import map_of_profile, map_of_progress, map_of_trials
from mdm_tune.pages.names import and_listed, role_of, short_name, short_names
from mdm_tune.pages.run_looks import Looks
from mdm_tune.pages.run_steps import step_figures
from mdm_tune.pages.run_views import BudgetView, CurveView, Rivalry, Row, RunView
from mdm_tune.pages.run_views import Verdict as Shown
from mdm_tune.schedules.box import DETAIL
from mdm_tune.schedules.curves import Beta, Schedule, parse_schedule
from mdm_tune.schedules.curves import Counts as CountSchedule
from mdm_tune.schedules.labels import Label

__all__ = ["CLAIMS", "CURVE", "axis_of_metric", "figures_of", "schedule_of"]

CLAIMS: Mapping[Shown, Verdict] = {
    Shown.BETTER: "gain",
    Shown.WORSE: "loss",
    Shown.MORE_CALLS: "more calls",
    Shown.LESS_DIVERSE: "less diverse",
}
RIVALRIES: Mapping[Rivalry, Verdict] = {
    Rivalry.BETTER: "gain",
    Rivalry.WORSE: "loss",
    Rivalry.MORE_CALLS: "more calls",
}
DASHES = (None, "7 3", "2 3", "9 3 2 3")  # of the tuned schedules of several budgets, which have one colour
CURVE = 49  # points of a curve
WIDE = 4  # between the most and the fewest calls of a chart from which its axis is logarithmic
MOST_SERIES = 8  # lines of one chart that can be told apart
Entries = Iterator[tuple[str, Figure]]


def figures_of(view: RunView, detail: int = DETAIL) -> dict[str, Figure]:
    """The figures by name, in the order of the page: gains, quality, landscapes, schedules, counts, profiles.

    Args:
        view: the run.
        detail: points of a landscape along each axis.
    """
    looks = Looks(view)
    made = (
        _gains(view),
        _quality(view, looks),
        _landscapes(view, looks, detail),
        _alphas(view, looks),
        step_figures(view, looks),
        _profiles(view),
    )
    return {name: figure for group in made for name, figure in group}


def axis_of_metric(view: RunView) -> Axis:
    """The axis of the objective."""
    return Axis(view.about.metric, better="higher" if view.about.maximize else "lower")


def _gains(view: RunView) -> Entries:
    """The gains over linear, and over the best hand-made schedule of each budget."""
    rows = [row for budget in view.budgets for row in _gains_of(view, budget)]
    if not rows:
        return
    intervals = "computed exactly" if view.about.exact else "with 95 % intervals for all budgets together"
    said = "; ".join(f"{row.group} {row.label}: {row.tip}".strip() for row in rows)
    what = f"{view.word} {'policy' if any(budget.adaptive for budget in view.budgets) else 'schedule'}"
    yield (
        "gains",
        dots(
            rows,
            x=Axis(f"gain in {view.about.metric}", better="higher"),
            title=f"Gain of the {what} at the same number of steps",
            description=f"The gain of the {what} over others at each budget, {intervals}. {said}.",
        ),
    )


def _gains_of(view: RunView, budget: BudgetView) -> Iterator[Gain]:
    """The rows of a budget, with a heading if there are others."""
    group = quantity(budget.steps, "step") if len(view.budgets) > 1 else ""
    doubt = open_verdict(exact=view.about.exact)
    gains = [("over linear", budget.gain, CLAIMS.get(budget.verdict, doubt), budget.verdict.value)]
    if budget.over_rival is not None and budget.rival is not None and budget.against_rival is not None:
        name, rivalry = short_name(budget.rival.label), budget.against_rival
        verdict = RIVALRIES.get(rivalry, doubt)
        gains.append((f"over {name}, hand-made", budget.over_rival, verdict, f"{rivalry.value} {name}"))
    if (kind := budget.equal_beside) is not None and kind.gain is not None:
        gains.append((f"{short_name(kind.policy or kind.kind)} over linear", kind.gain, "gain", Shown.BETTER.value))
    for label, gain, verdict, words in gains:
        if math.isfinite(gain.value):
            low, high = gain.familywise or gain.own or (None, None)
            tip = f"{gain.text}, {words}"
            yield Gain(label=label, value=gain.value, low=low, high=high, verdict=verdict, group=group, tip=tip)


def _quality_series(groups: Mapping[str, Sequence[Row]], names: Mapping[str, str], looks: Looks) -> list[Series]:
    """One series for each label, with its rows in the order of their calls.

    Args:
        groups: the rows by label.
        names: what the labels are called.
        looks: of the schedules of the page.
    """
    series = []
    for label, rows in groups.items():
        by_calls = {row.calls if row.calls is not None else float(row.steps): row for row in rows}
        ordered = [by_calls[calls] for calls in sorted(by_calls)]
        ends = [row.estimate.ci or (None, None) for row in ordered]
        series.append(
            Series(
                names[label],
                sorted(by_calls),
                [row.estimate.value if math.isfinite(row.estimate.value) else math.nan for row in ordered],
                low=[low for low, _ in ends],
                high=[high for _, high in ends],
                left=[None if row.calls_ends is None else row.calls_ends[0] for row in ordered],
                right=[None if row.calls_ends is None else row.calls_ends[1] for row in ordered],
                role=role_of(label),
                look=looks.of(label),
                tips=[_tip(names[label], row) for row in ordered],
            )
        )
    order: dict[Role, int] = {"tuned": 0, "linear": 1, "adaptive": 2}
    return sorted(series, key=lambda each: order.get(each.role, 3))


def _tip(name: str, row: Row) -> str:
    calls = f"{significant(row.calls, 4)} calls" if row.calls is not None else quantity(row.steps, "step")
    return f"{name}, {quantity(row.steps, 'step')}: {row.estimate.text}, {calls}"


def _quality(view: RunView, looks: Looks) -> Entries:
    """The values of the search, and those of the evaluation, each in one figure.

    They are drawn against calls. Where there is a frontier, its figure shows them against tokens per call instead. That
    of a search over several kinds of policies has the best of each kind, linear, and the best hand-made schedule.
    """
    searched, frontier = view.frontier is not None and view.frontier.searched, view.frontier
    if view.budgets and not searched:
        where = "" if view.about.exact else ", on the report split of the search"
        data = next((budget.data for budget in view.budgets if budget.data is not None), None)
        if not _kinds(view.budgets):
            yield "quality", _quality_figure(view, looks, _groups(view.budgets), where, data, _names(view.budgets))
        else:
            groups, names = _policy_groups(view.budgets)
            what = ", of the best schedule and of each policy"
            yield "policies", _quality_figure(view, looks, groups, what, data, names)
    if frontier is not None:
        yield "frontier", frontier_figure(frontier, axis_of_metric(view), looks.of_policy)
    if view.rows and (frontier is None or searched):
        rows: dict[str, list[Row]] = {}
        for row in view.rows:
            rows.setdefault(row.name, []).append(row)
        yield "evaluation", _quality_figure(view, looks, rows, ", in the evaluation", view.data)


def _groups(budgets: Sequence[BudgetView]) -> dict[str, list[Row]]:
    """The rows of the tuned schedules and of each hand-made one, by name. A hand-made winner has its own row alone."""
    own = [each for each in budgets if not any(each.is_itself(row) for row in each.baselines.values())]
    tuned = [Row(label="tuned", steps=each.steps, calls=each.calls, estimate=each.estimate) for each in own]
    groups: dict[str, list[Row]] = {"tuned": tuned} if tuned else {}
    for budget in budgets:
        for name, row in budget.baselines.items():
            groups.setdefault(name, []).append(row)
    return groups


def _names(budgets: Sequence[BudgetView]) -> dict[str, str]:
    """What labels are called: a hand-made winner with the budgets that it won, and tuned schedules as such."""
    won: dict[str, list[BudgetView]] = {}
    own = []
    for budget in budgets:
        itself = next((label for label, row in budget.baselines.items() if budget.is_itself(row)), None)
        if itself is None:
            own.append(budget)
        elif itself != "linear":
            won.setdefault(itself, []).append(budget)
    names = {}
    for label, found in won.items():
        at = f" at {and_listed([str(budget.steps) for budget in found])} steps" if len(found) < len(budgets) else ""
        names[label] = f"{found[0].title}{at}"
    alike = {budget.title for budget in own}
    return names | {"tuned": alike.pop() if len(alike) == 1 else "tuned"}


def _kinds(budgets: Sequence[BudgetView]) -> dict[str, list[Row]]:
    """The best of each kind of policy at each budget, by kind, at the calls that it made."""
    found: dict[str, list[Row]] = {}
    for budget in budgets:
        for each in budget.policies:
            if each.estimate is not None:
                row = Row(label=each.kind, steps=budget.steps, calls=each.calls, estimate=each.estimate)
                found.setdefault(each.kind, []).append(replace(row, calls_ends=each.ends))
    return found


def _policy_groups(budgets: Sequence[BudgetView]) -> tuple[dict[str, list[Row]], dict[str, str]]:
    """The best of each kind, linear and the best hand-made schedule, each once, and what they are called."""
    rivals = Counter(budget.rival.label for budget in budgets if budget.rival is not None)
    best = {(budget.steps, each.policy) for budget in budgets for each in budget.policies if each.kind == "counts"}
    shown = {
        label: [row for row in rows if (row.steps, label) not in best]
        for label, rows in _groups(budgets).items()
        if label in {"linear", *(label for label, _ in rivals.most_common(1))}
    }
    names = {name for _, name in best}
    (name,) = names if len(names) == 1 else (None,)
    groups = _kinds(budgets) | {label: rows for label, rows in shown.items() if rows}
    return groups, {"counts": "best schedule" if name is None else f"best schedule: {short_name(name)}"}


def _quality_figure(
    view: RunView,
    looks: Looks,
    groups: Mapping[str, Sequence[Row]],
    where: str,
    data: Estimate | None,
    names: Mapping[str, str] = MappingProxyType({}),
) -> Figure:
    """Values against calls. names: what labels are called, where it is not their short name."""
    series = _quality_series(groups, {**short_names(groups), **names}, looks)[:MOST_SERIES]
    intervals = "computed exactly" if view.about.exact else "with 95 % intervals"
    calls, steps = (
        [x for each in series for x in each.x],
        {float(row.steps) for rows in groups.values() for row in rows},
    )
    single, log = len({*calls}) == 1 and len(series) > 1, len(steps) > 2 and max(calls) >= WIDE * min(calls)
    name = "denoiser calls of a sequence"
    name += ", the same for all: points stand side by side" if single else ", on a logarithmic axis" if log else ""
    return lines(
        series,
        x=Axis(name, log=log, ticks=sorted(steps) if log or single else None),
        y=axis_of_metric(view),
        title=f"Value against denoiser calls: {view.about.metric}{where}",
        description=f"{view.about.metric} of each schedule against its denoiser calls, {intervals}. "
        f"{numbers_of(series)}.",
        marks=() if data is None else (Mark(data.value, "the data itself"),),
    )


def _landscapes(view: RunView, looks: Looks, detail: int) -> Entries:
    for budget in view.budgets:
        panels = [
            map_of_trials(budget, view.about, looks, detail),
            map_of_profile(budget, view.about, looks, view.curves, detail),
        ]
        found = [panel for panel in panels if panel is not None and panel.values is not None]
        beside = " Beside it, the NELBO of the same schedules on the information profile." if len(found) > 1 else ""
        tried = f"{quantity(len(budget.points), 'trial')} of Beta(a, b) with the winner {budget.name}"
        if found:
            yield f"landscape-{budget.steps}", _landscape(found, budget.steps, tried, beside)
    progress = view.progress
    if progress is None or progress.current is None or progress.current in [budget.steps for budget in view.budgets]:
        return
    panel = map_of_progress(progress, view.about, looks, detail)
    if panel is not None:
        tried = f"the first {quantity(len(progress.points), 'trial')} of Beta(a, b)"
        yield f"landscape-{progress.current}", _landscape([panel], progress.current, tried, " The search goes on.")


def _landscape(panels: Sequence[Landscape], steps: int, tried: str, beside: str) -> Figure:
    at = quantity(steps, "step")
    return landscape(
        panels,
        title=f"Schedules Beta(a, b) at {at}: alpha(t) = sin\u00b2(\u03c0/2 \u00b7 BetaCDF(t; a, b))",
        description=f"A map over a and b at {at}, from {tried}.{beside}",
    )


def schedule_of(budget: BudgetView) -> Schedule | None:
    """The curve of a budget's schedule; None if its name is not known."""
    with suppress(InputError):
        if budget.of_the_family and budget.a is not None and budget.b is not None:
            return Beta(budget.a, budget.b)
        if budget.counts and budget.kind.startswith("counts"):
            return CountSchedule(budget.counts)
        return parse_schedule(budget.kind)
    return None


def _alphas(view: RunView, looks: Looks) -> Entries:
    """The curves alpha(t) of the tuned schedules, each once, of the best hand-made ones, and of linear."""
    times, series = np.linspace(0, 1, CURVE), list[Series]()

    def add(name: str, schedule: Schedule, look: Look) -> None:
        series.append(Series(name, times.tolist(), schedule.alpha(times).tolist(), look=look))

    tuned: dict[str, list[BudgetView]] = {}
    for budget in view.budgets:
        if schedule_of(budget) is not None and budget.kind != "linear":
            tuned.setdefault(budget.name, []).append(budget)
    for name, budgets in tuned.items():
        schedule, at = schedule_of(budgets[0]), [str(budget.steps) for budget in budgets]
        assert schedule is not None
        look = looks.of(budgets[0].label, budgets[0].steps)
        look = replace(look, dash=DASHES[len(series) % len(DASHES)])
        add(f"{name}, {and_listed(at)} step{'' if at == ['1'] else 's'}", schedule, look)
    if not series:
        return
    del series[MOST_SERIES - 2 :]
    rivals = dict.fromkeys(budget.rival.label for budget in view.budgets if budget.rival is not None)
    for label in rivals:
        if Label.read(label).name not in tuned:
            with suppress(InputError):
                add(short_name(label), parse_schedule(Label.read(label).name), looks.of(label))
    add("linear", parse_schedule("linear"), looks.of("linear"))
    yield (
        "alpha",
        lines(
            series,
            x=Axis("time t, from all masked to data", low=0, high=1),
            y=Axis("alpha, share of revealed tokens", low=0, high=1),
            title="Share of revealed tokens over time, alpha(t)",
            description="The share of revealed tokens against time, for the tuned schedules, the best hand-made ones "
            "and linear. " + "; ".join(f"{each.name} is at {each.y[CURVE // 2]:.2f} halfway" for each in series) + ".",
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
    series = [Series("cross-entropy", curve.revealed, curve.mean, low=curve.low, high=curve.high, role="plain")]
    marks = [Mark(math.log(curve.vocabulary), "uniform guess")] if curve.vocabulary else []
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
        marks=marks,
    )
