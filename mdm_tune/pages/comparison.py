"""One page about several runs: a table of their gains, and figures that show them together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mdm_tune.core.messages import quantity
from mdm_tune.core.numerals import significant
from mdm_tune.pages.charts import Axis, Figure, Gain, Series, dots, lines, open_verdict
from mdm_tune.pages.headlines import headline, value_text
from mdm_tune.pages.names import and_listed, cut_text
from mdm_tune.pages.run_figures import CLAIMS, CURVE, axis_of_metric, schedule_of
from mdm_tune.pages.run_sections import Section
from mdm_tune.pages.run_views import BudgetView, RunView, State, Verdict
from mdm_tune.pages.template import MOST_BYTES, rendered

__all__ = ["Compared", "compared_headline", "comparison_figures", "comparison_page", "named_runs"]

MOST_LINES = 8  # of one chart that can be told apart
MOST_GAINS = 40  # rows of the chart of gains
MOST_FACTS = 4  # different values of one fact
LONGEST = 40  # characters of a name


@dataclass(frozen=True)
class Compared:
    """A run with the name that it has on the page."""

    name: str
    view: RunView


def named_runs(views: Sequence[RunView]) -> list[Compared]:
    """The runs with different names: those of the folders, or paths where these are the same."""
    names = [view.name for view in views]
    chosen = [view.path if names.count(view.name) > 1 else view.name for view in views]
    seen: list[Compared] = []
    for name, view in zip(chosen, views, strict=True):
        twice = sum(each.view.path == view.path for each in seen)
        seen.append(Compared(cut_text(name, LONGEST) + (f" ({twice + 1})" if twice else ""), view))
    return seen


def compared_headline(runs: Sequence[Compared]) -> str:
    """How many of the runs show a gain."""
    searched = [run for run in runs if run.view.budgets]
    won = [run for run in searched if any(each.verdict is Verdict.BETTER for each in run.view.budgets)]
    if not searched:
        return f"{quantity(len(runs), 'run')}, none of which is a finished search."
    what = "policy" if any(budget.adaptive for run in searched for budget in run.view.budgets) else "schedule"
    what = f"{'chosen' if any(run.view.word == 'chosen' for run in searched) else 'tuned'} {what}"
    several = any(len(run.view.budgets) > 1 for run in won)
    some = ", at one budget or more" if several else ""
    if len(searched) == 1:
        how = "is" if won else "is not shown to be"
        return f"The {what} {how} better than linear in the one search of these runs{some}."
    which = "all" if len(won) == len(searched) else "none" if not won else str(len(won))
    return f"The {what} is better than linear in {which} of {len(searched)} searches{some}."


def comparison_figures(runs: Sequence[Compared]) -> dict[str, Figure]:
    """The figures by name: gains of all runs, quality by metric, and the tuned schedules."""
    found: dict[str, Figure] = {}
    by_metric: dict[tuple[str, bool], list[Compared]] = {}
    for run in runs:
        if run.view.budgets:
            by_metric.setdefault((run.view.about.metric, run.view.about.maximize), []).append(run)
    for number, ((metric, _), group) in enumerate(by_metric.items()):
        suffix = f"-{number + 1}" if len(by_metric) > 1 else ""
        if (gains := _gains(group, metric)) is not None:
            found[f"gains{suffix}"] = gains
        found[f"quality{suffix}"] = _quality(group, metric)
    if (schedules := _schedules(runs)) is not None:
        found["schedules"] = schedules
    return found


def comparison_page(views: Sequence[RunView]) -> str:
    """The page of several runs, at most 600 kB: figures are left out from the last one on if it would be larger."""
    runs = named_runs(views)
    figures = comparison_figures(runs)
    while True:
        text = _page(runs, figures)
        if len(text.encode()) <= MOST_BYTES or not figures:
            return text
        figures.popitem()


def _page(runs: Sequence[Compared], figures: Mapping[str, Figure]) -> str:
    return rendered(
        "comparison.html",
        runs=runs,
        headline=compared_headline(runs),
        facts=_facts(runs),
        figures=figures,
        headlines={run.name: headline(run.view) for run in runs},
        sections=[
            Section("gains", "Gains over linear", ("Each run is compared with linear on its own unseen examples.",)),
            Section("figures", "Together", tuple(_about_figures(runs))),
            Section("runs", "The runs", ("What each run is of, and what its own page begins with.",)),
        ],
        finished=State.FINISHED,
    )


def _facts(runs: Sequence[Compared]) -> list[tuple[str, str]]:
    """What the runs share, and in what they differ."""
    facts = []
    for name, values in (
        ("Model", [run.view.about.model for run in runs]),
        ("Data", [run.view.about.data for run in runs]),
        ("Tokens", [str(run.view.about.length or "") for run in runs]),
        ("Sampler", [run.view.about.sampler for run in runs]),
        ("Metric", [run.view.about.metric for run in runs]),
    ):
        different = list(dict.fromkeys(value for value in values if value))
        if different:
            more = f"; and {len(different) - MOST_FACTS} more" if len(different) > MOST_FACTS else ""
            facts.append((name, f"{'; '.join(different[:MOST_FACTS])}{more}"))
    return facts


def _about_figures(runs: Sequence[Compared]) -> list[str]:
    about = ["Each run has a colour and a kind of line. Grey lines are linear."]
    if len({run.view.about.metric for run in runs}) > 1:
        about.append("The runs have different metrics, so each metric has a figure of its own.")
    return about


def _gains(runs: Sequence[Compared], metric: str) -> Figure | None:
    rows = [_gain(run, budget) for run in runs for budget in run.view.budgets if math.isfinite(budget.gain.value)][
        :MOST_GAINS
    ]
    if not rows:
        return None
    said = "; ".join(f"{row.group} at {row.label}: {row.value:.3g}" for row in rows)
    return dots(
        rows,
        x=Axis(f"gain in {metric} over linear", better="higher"),
        title=f"Gain in {metric} over linear, by run",
        description=f"The gain over linear of each run at each budget, with intervals for all its budgets. {said}.",
    )


def _gain(run: Compared, budget: BudgetView) -> Gain:
    low, high = budget.gain.familywise or budget.gain.own or (None, None)
    at = quantity(budget.steps, "step")
    return Gain(
        label=at,
        value=budget.gain.value,
        low=low,
        high=high,
        verdict=CLAIMS.get(budget.verdict, open_verdict(exact=run.view.about.exact)),
        group=run.name,
        tip=f"{run.name}, {at}: {budget.gain.text}, {budget.verdict.value}",
    )


def _quality(runs: Sequence[Compared], metric: str) -> Figure:
    """The winners and linear of each run, in neighbouring lines."""
    series = []
    for run in runs[: MOST_LINES // 2]:
        tuned = [(budget.calls, budget.estimate) for budget in run.view.budgets]
        linear = [
            (row.calls if row.calls is not None else float(row.steps), row.estimate)
            for budget in run.view.budgets
            if (row := budget.baselines.get("linear")) is not None
        ]
        for name, values, dashed in ((run.name, tuned, False), (f"{run.name}, linear", linear, True)):
            points = dict(sorted(values, key=lambda point: point[0]))
            ends = [each.ci or (None, None) for each in points.values()]
            series.append(
                Series(
                    name,
                    list(points),
                    [each.value if math.isfinite(each.value) else math.nan for each in points.values()],
                    low=[low for low, _ in ends],
                    high=[high for _, high in ends],
                    role="linear" if dashed else "other",
                    dashed=dashed,
                )
            )
    ticks = sorted({float(budget.steps) for run in runs for budget in run.view.budgets})
    left_out = "" if len(runs) <= MOST_LINES // 2 else f" Only the first {MOST_LINES // 2} runs are drawn."
    said = "; ".join(f"{run.name}: {', '.join(map(_value_at_calls, run.view.budgets))}" for run in runs)
    return lines(
        series,
        x=Axis("denoiser calls of a sequence", log=len(ticks) > 1, ticks=ticks),
        y=axis_of_metric(runs[0].view),
        title=f"{metric} against denoiser calls, by run",
        description=f"{metric} of the winners and of linear in each run. {said}.{left_out}",
    )


def _value_at_calls(budget: BudgetView) -> str:
    return f"{value_text(budget.estimate)} at {significant(budget.calls, 4)}"


def _schedules(runs: Sequence[Compared]) -> Figure | None:
    times = [number / (CURVE - 1) for number in range(CURVE)]
    series = []
    for run in runs:
        same: dict[str, list[str]] = {}  # the budgets of each schedule
        for budget in run.view.budgets:
            same.setdefault(budget.name, []).append(str(budget.steps))
        for budget in {each.name: each for each in run.view.budgets}.values():
            schedule, at = schedule_of(budget), same[budget.name]
            if schedule is not None and budget.kind != "linear":
                name = f"{run.name}, {and_listed(at)} step{'' if at == ['1'] else 's'}"
                series.append(Series(name, times, schedule.alpha(times).tolist()))
    if not series:
        return None
    return lines(
        [*series[: MOST_LINES - 1], Series("linear", times, times, role="linear")],
        x=Axis("time t, from all masked to data", low=0, high=1),
        y=Axis("alpha, share of revealed tokens", low=0, high=1),
        title="Mask schedules of the winners, by run",
        description="; ".join(f"{each.name} is at {each.y[CURVE // 2]:.2f} halfway" for each in series) + ".",
    )
