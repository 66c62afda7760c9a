"""Reads the rows of an evaluation from its record, each policy once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mdm_tune.core.statistics import Estimate
from mdm_tune.pages.names import FIGURES, role_of, without_value
from mdm_tune.pages.run_values import Row
from mdm_tune.schedules.equal_cost import equal_cost

__all__ = ["rows_of_evaluation"]

Record = Mapping[str, Any]


def rows_of_evaluation(record: Record, maximize: bool) -> list[Row]:
    """The rows of an evaluation, each with its gain over linear.

    Args:
        record: ``evaluate.json``.
        maximize: whether larger values are better.
    """
    reference, differences = record.get("reference") or "linear", dict[tuple[int, str], Estimate]()
    for pair in record.get("comparisons") or ():
        difference = Estimate.from_json({**pair, "value": pair["difference"]})
        estimate = difference if maximize else difference.negated
        if pair["second"] == reference:
            differences[pair["steps"], pair["first"]] = estimate
        elif pair["first"] == reference:
            differences[pair["steps"], pair["second"]] = estimate.negated
    calls = {row["steps"]: float(row["nfe"]) for row in record["rows"] if row["schedule"] == reference}
    rows = [
        Row(
            label=str(row["schedule"]),
            steps=int(row["steps"]),
            calls=float(row["nfe"]),
            more=equal_cost(float(row["nfe"]), calls.get(row["steps"]) or float(row["nfe"])).more,
            estimate=Estimate.from_json(row),
            diversity={name: value for name in FIGURES if isinstance(value := row.get(name), int | float)},
            counts=None if row.get("counts") is None else tuple(map(int, row["counts"])),
            difference=differences.get((row["steps"], row["schedule"])),
        )
        for row in record["rows"]
    ]
    return _once_if_equal(_with_policies(rows))


def _with_policies(rows: Sequence[Row]) -> list[Row]:
    """The rows, those of adaptive policies with the policy that they are at all budgets.

    An evaluation scores every policy at every budget. An adaptive one that is not at all of them has a value that was
    set for its budget.
    """
    budgets = {row.steps for row in rows}
    own = {label: {row.steps for row in rows if row.label == label} for label in {row.label for row in rows}}
    return [
        replace(row, policy=without_value(row.label))
        if role_of(row.label) == "adaptive" and own[row.label] != budgets
        else row
        for row in rows
    ]


def _once_if_equal(rows: Sequence[Row]) -> list[Row]:
    """The rows, those of an adaptive policy that is the same at every budget as one row at the end."""
    by_label: dict[str, list[Row]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    same = {
        label: replace(own[0], every=True, difference=None, more=True)
        for label, own in by_label.items()
        if len(own) > 1 and role_of(label) == "adaptive" and len({(row.calls, row.estimate) for row in own}) == 1
    }
    return [*(row for row in rows if row.label not in same), *same.values()]
