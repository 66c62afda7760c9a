"""Tables and lines for the frontier of ``evaluate``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mdm_tune.core.messages import quantity
from mdm_tune.core.numerals import significant
from mdm_tune.terminal.layout import Grid
from mdm_tune.terminal.tables import short_names

if TYPE_CHECKING:  # these load torch
    from mdm_tune.run.frontier_records import PointRecord, PolicyFrontierRecord

__all__ = ["frontier_lines", "frontier_table", "policies_table"]


def frontier_table(frontier: PolicyFrontierRecord | None) -> Grid | None:
    """Every policy at every budget: calls, tokens per forward, value, and whether it is as good as the reference."""
    if frontier is None:
        return None
    within, speed = f"within {100 * frontier.margin:g} %", not frontier.equal_calls
    headings = ("schedule", "calls", "tokens per call", *(["tokens per second"] if speed else []), "value", within)
    title = f"frontier; {within} of one token per step: {_level(frontier)}; * no point is cheaper and as good"
    table = Grid(title, headings, ("schedule", within))
    points = [frontier.reference, *_each_once(frontier.points)]
    short = short_names([point.schedule for point in points])
    for point in sorted(points, key=lambda point: -point.calls.nfe):
        named = short[point.schedule] if point is not frontier.reference else "one token per step"
        per_second = "" if point.tokens_per_second is None else significant(point.tokens_per_second, 3)
        table.row(
            f"{named}{' *' if point.on_front else ''}",
            significant(point.calls.nfe, 3),
            point.tpf.text if point.tpf.ci else significant(point.tpf.value, 3),
            *([per_second] if speed else []),
            point.estimate.text.split(" ")[0],  # its interval stands in the table above
            "" if point is frontier.reference else _verdict(point),
            style="dim" if point is frontier.reference else "",
        )
    return table


def _each_once(points: Sequence[PointRecord]) -> list[PointRecord]:
    """The points; of a tuned policy that is a hand-made schedule, the one that more is shown of."""
    found: dict[tuple[str, int], PointRecord] = {}
    for point in points:
        place = (point.schedule, point.steps)
        if place not in found or (point.no_worse and not found[place].no_worse):
            found[place] = point
    return [*found.values()]


def policies_table(frontier: PolicyFrontierRecord | None) -> Grid | None:
    """The fewest calls of each policy that is as good as one token per step, and its area under the curve."""
    if frontier is None:
        return None
    areas = any(policy.aup is not None for policy in frontier.policies)
    within = f"calls within {100 * frontier.margin:g} %"
    title = "policies, each with the interval of its own calls"
    title += "; AUP is the area under accuracy and parallelism" if areas else ""
    table = Grid(title, ("policy", within, *(["AUP"] if areas else [])), ("policy",))
    short = short_names([policy.policy for policy in frontier.policies])
    for policy in frontier.policies:
        area = [] if policy.aup is None else [policy.aup.text]
        table.row(short[policy.policy], "none shown" if policy.calls is None else policy.calls.text, *area)
    return table


def frontier_lines(frontier: PolicyFrontierRecord | None) -> Iterator[str]:
    """The cheapest policy in a sentence."""
    if frontier is not None:
        yield f"\n{frontier.sentence}"
        if frontier.hint:
            yield frontier.hint
        if not frontier.equal_calls:
            yield "calls do not cost the same here: compare tokens per second too, which this machine decides"


def _level(frontier: PolicyFrontierRecord) -> str:
    if frontier.reference.estimate.exact:
        return "computed exactly"
    return f"at {100 * frontier.confidence:g} % for {quantity(frontier.tests, 'test')} together"


def _verdict(point: PointRecord) -> str:
    if not point.no_worse:
        return "not tested" if point.no_worse is None else "not shown"
    return "yes, but less diverse" if point.losses else "yes"
