"""The tables of the frontier."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from mdm_tune.run.frontier_records import PolicyFrontierRecord
from mdm_tune.terminal.frontier_tables import frontier_lines, frontier_table, policies_table
from tests.run.test_frontier_records import POINTS, record
from tests.run.test_policy_records import LOSS


def shown(frontier: PolicyFrontierRecord) -> str:
    text = io.StringIO()
    console = Console(file=text, width=80)
    for table in (frontier_table(frontier), policies_table(frontier)):
        console.print(table)
    return text.getvalue()


def test_the_tables_fit_into_eighty_columns() -> None:
    text = shown(record(POINTS))
    assert max(map(len, text.split("\n"))) <= 80 and "…" not in text
    lines = [" ".join(line.split()) for line in text.split("\n")]
    assert any(line.startswith("one token per step * 32 1") for line in lines)
    assert any(line.startswith("threshold:0.9 * 8 4.00") and line.endswith("yes") for line in lines)
    assert any(line.startswith("linear 8 4 0.667") and line.endswith("not shown") for line in lines)
    assert "within 5 % of one token per step: at 95 % for 4 tests together" in " ".join(lines)
    assert any(line.startswith("threshold 8.00 [") for line in lines) and "AUP" in text


def test_tokens_per_second_stand_where_calls_do_not_cost_the_same() -> None:
    found = record(POINTS)
    assert "per second" not in " ".join(shown(found).split())
    unequal = replace(found, equal_calls=False)
    assert "9,600" in shown(unequal)
    assert [*frontier_lines(unequal)][2].startswith("calls do not cost the same here")
    assert [*frontier_lines(found)] == [f"\n{found.sentence}", found.hint] and found.hint


def test_samples_that_are_less_diverse_are_said_beside_the_claim() -> None:
    found = record([replace(each, losses=(LOSS,)) if each is POINTS[3] else each for each in POINTS])
    assert "yes, but less diverse" in " ".join(shown(found).split())
    assert max(map(len, shown(found).split("\n"))) <= 80


def test_a_tuned_policy_that_is_a_hand_made_schedule_has_one_row_with_what_is_shown_of_it() -> None:
    found = record(POINTS)
    (linear,) = [point for point in found.points if (point.schedule, point.steps) == ("linear", 8)]
    again = replace(found, points=(*found.points, replace(linear, policy="tuned counts", no_worse=True)))
    rows = [" ".join(line.split()) for line in shown(again).split("\n")]
    assert [row.split()[-1] for row in rows if row.startswith("linear 8 4 ")] == ["yes"]


def test_without_a_frontier_nothing_is_shown() -> None:
    assert frontier_table(None) is None and policies_table(None) is None and [*frontier_lines(None)] == []
