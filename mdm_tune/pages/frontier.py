"""Quality against tokens per forward: what the page shows of the frontier of a search or an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mdm_tune.core.statistics import Estimate
from mdm_tune.pages.chart_frame import Role
from mdm_tune.pages.charts import Axis, Figure, Series, lines
from mdm_tune.pages.names import role_of, short_names

__all__ = ["FrontierPoint", "FrontierView", "frontier_figure", "read_frontier"]

MOST = 8  # policies of one chart that can be told apart


@dataclass(frozen=True)
class FrontierPoint:
    """A policy at a budget.

    Attributes:
        label: of the schedule or plan.
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
    """

    sentence: str
    reference: FrontierPoint
    policies: Mapping[str, tuple[FrontierPoint, ...]]


def read_frontier(found: Mapping[str, Any]) -> FrontierView | None:
    """The frontier of a record of one, of an evaluation or a search; None if the record is empty.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: the record is damaged.
    """
    if not found:
        return None
    policies: dict[str, tuple[FrontierPoint, ...]] = {}
    for each in found["points"]:
        policies[str(each["policy"])] = (*policies.get(each["policy"], ()), _point(each))
    return FrontierView(str(found["sentence"]), _point(found["reference"]), policies)


def _point(record: Mapping[str, Any]) -> FrontierPoint:
    estimate, shown = Estimate.from_json(record), record["no_worse"] is True
    tpf = float(record["tpf"]["value"])
    return FrontierPoint(label=str(record["schedule"]), tpf=tpf, estimate=estimate, shown=shown)


def frontier_figure(view: FrontierView, y: Axis) -> Figure:
    """The value of each policy against its tokens per forward. Every line begins at one token per step.

    Args:
        view: the frontier.
        y: the axis of the metric.
    """
    names = short_names(view.policies)
    series = []
    # Where there are too many, hand-made schedules other than linear are left out.
    chosen = sorted(view.policies.items(), key=lambda item: _role(item[0]) == "other")[:MOST]
    for policy, points in chosen:
        start = [] if any(point.tpf == view.reference.tpf for point in points) else [view.reference]
        ordered = sorted([*start, *points], key=lambda point: point.tpf)
        ends = [point.estimate.ci or (None, None) for point in ordered]
        tips = [
            f"{point.label if point is not view.reference else 'one token per step'}: {point.estimate.text} at "
            f"{point.tpf:.3g} tokens per call{', as good as one token per step' if point.shown else ''}"
            for point in ordered
        ]
        series.append(
            Series(
                names[policy],
                [point.tpf for point in ordered],
                [point.estimate.value for point in ordered],
                low=[low for low, _ in ends],
                high=[high for _, high in ends],
                role=_role(policy),
                tips=tips,
            )
        )
    said = "; ".join(
        f"{each.name}: " + ", ".join(f"{y:.3g} at {x:.3g}" for x, y in zip(each.x, each.y, strict=True))
        for each in series
    )
    return lines(
        series,
        x=Axis("tokens per denoiser call", log=True),
        y=y,
        title=f"Value against tokens per call: {y.label}",
        description=f"The value of each policy, from one token per step on. {view.sentence}. {said}.",
    )


def _role(policy: str) -> Role:
    """The look of a policy; a search names its own policies ``tuned counts``, ``tuned quota`` and so on."""
    return "tuned" if policy == "tuned counts" else role_of(policy.removeprefix("tuned "))
