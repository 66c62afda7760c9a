"""Quality against tokens per forward: what the page shows of the frontier of a search or an evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mdm_tune.core.numerals import significant
from mdm_tune.core.statistics import Estimate
from mdm_tune.pages.chart_frame import Role
from mdm_tune.pages.charts import Axis, Figure, Look, Mark, Series, lines, numbers_of
from mdm_tune.pages.names import role_of, short_names

__all__ = ["FrontierPoint", "FrontierView", "frontier_figure", "read_frontier"]

MOST = 8  # policies of one chart that can be told apart
NEAR = 0.1  # doublings between a power of two and the nearest value


@dataclass(frozen=True)
class FrontierPoint:
    """A policy at a budget.

    Attributes:
        label: of the schedule or policy.
        tpf: tokens per forward.
        estimate: of the metric.
        shown: whether it is shown to be as good as one token per step.
    """

    label: str
    tpf: float
    estimate: Estimate
    shown: bool = False


@dataclass(frozen=True)
class FrontierView:
    """The frontier of an evaluation or a search.

    Attributes:
        sentence: names the cheapest policy.
        reference: one token per step.
        policies: the points of each policy.
        searched: whether it is that of a search.
    """

    sentence: str
    reference: FrontierPoint
    policies: Mapping[str, tuple[FrontierPoint, ...]]
    searched: bool = False


def read_frontier(found: Mapping[str, Any], *, searched: bool = False) -> FrontierView | None:
    """The frontier of a record of one, of an evaluation or a search; None if the record is empty.

    Args:
        found: the record.
        searched: whether it is that of a search.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: the record is damaged.
    """
    if not found:
        return None
    policies: dict[str, tuple[FrontierPoint, ...]] = {}
    for each in found["points"]:
        policies[str(each["policy"])] = (*policies.get(each["policy"], ()), _point(each))
    return FrontierView(str(found["sentence"]), _point(found["reference"]), policies, searched=searched)


def _point(record: Mapping[str, Any]) -> FrontierPoint:
    estimate, shown = Estimate.from_json(record), record["no_worse"] is True
    tpf = float(record["tpf"]["value"])
    return FrontierPoint(label=str(record["schedule"]), tpf=tpf, estimate=estimate, shown=shown)


def frontier_figure(view: FrontierView, y: Axis, look: Callable[[str], Look]) -> Figure:
    """The value of each policy against its tokens per forward, beside that of one token per step.

    Args:
        view: the frontier.
        y: the axis of the metric.
        look: how a policy is drawn.
    """
    names = short_names(view.policies)
    series = []
    for policy, points in _chosen(view, y):
        ordered = sorted(points, key=lambda point: point.tpf)
        ends = [point.estimate.ci or (None, None) for point in ordered]
        tips = [
            f"{point.label}: {point.estimate.text} at {significant(point.tpf, 3)} tokens per call"
            f"{', as good as one token per step' if point.shown else ''}"
            for point in ordered
        ]
        series.append(
            Series(
                names[policy],
                [point.tpf for point in ordered],
                [point.estimate.value for point in ordered],
                low=[low for low, _ in ends],
                high=[high for _, high in ends],
                look=look(policy),
                tips=tips,
            )
        )
    reference = view.reference.estimate
    return lines(
        series,
        x=Axis("tokens per denoiser call", log=True, ticks=_doubled([x for each in series for x in each.x])),
        y=y,
        title=f"Value against tokens per call: {y.label}",
        description=f"The value of each policy. That of one token per step is {reference.text}. {view.sentence}. "
        f"{numbers_of(series)}.",
        marks=() if math.isnan(reference.value) else (Mark(reference.value, "one token per step"),),
    )


def _chosen(view: FrontierView, y: Axis) -> list[tuple[str, Sequence[FrontierPoint]]]:
    """The policies of the chart. Where there are too many, the worst hand-made schedules but linear are left out."""
    sign = -1 if y.better == "lower" else 1

    def rank(item: tuple[str, Sequence[FrontierPoint]]) -> float:
        values = [sign * point.estimate.value for point in item[1] if math.isfinite(point.estimate.value)]
        return -max(values, default=-math.inf) if _role(item[0]) == "other" else -math.inf

    kept = dict(sorted(view.policies.items(), key=rank)[:MOST])
    return [(policy, points) for policy, points in view.policies.items() if policy in kept]


def _doubled(values: Sequence[float]) -> list[float] | None:
    """The powers of two near the values; None if there are fewer than two of them."""
    found = [value for value in values if value > 0 and math.isfinite(value)]
    if not found:
        return None
    low, high = math.log2(min(found)) - NEAR, math.log2(max(found)) + NEAR
    powers = [2.0**power for power in range(math.ceil(low), math.floor(high) + 1)]
    return powers if len(powers) > 1 else None


def _role(policy: str) -> Role:
    """The look of a policy; a search names its own policies ``tuned counts``, ``tuned quota`` and so on."""
    return "tuned" if policy == "tuned counts" else role_of(policy.removeprefix("tuned "))
