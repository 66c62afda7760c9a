"""The table of one schedule for all budgets."""

from __future__ import annotations

from mdm_tune.core.statistics import Estimate
from mdm_tune.run.shared_records import SharedBudgetRecord, SharedRecord, TunedPolicy
from mdm_tune.search.gains import Gain
from mdm_tune.terminal.shared_tables import shared_table

TUNED, OWN = (TunedPolicy(type="beta", a=a, b=0.5) for a in (0.71234, 0.9))


def record(value: float, ends: tuple[float, float] | None, differing: int | None) -> SharedRecord:
    estimate = Estimate(value, ends, differing)
    gain = Gain(value=0.02, ci=ends, familywise=ends, differing=differing, shown=True)
    budgets = tuple(
        SharedBudgetRecord(steps=steps, estimate=estimate, gain_over_linear=gain, own=OWN, loss=gain)
        for steps in (16, 4)
    )
    return SharedRecord(
        schedule=TUNED, mean=estimate, gain_over_linear=gain, trials=9, dropped=2, budgets=budgets, text=""
    )


def test_each_budget_has_a_row_in_ascending_order() -> None:
    table = shared_table(record(0.8, (0.01, 0.03), 40))
    assert "beta(0.7123, 0.5)" in str(table.title)
    cells = [[*column.cells] for column in table.columns]
    assert cells[0] == ["4", "16"] and cells[3] == ["beta(0.9, 0.5)"] * 2
    assert cells[2] == cells[4] == ["0.020 [0.010, 0.030]"] * 2
    assert [str(column.header) for column in table.columns][-1] == "loss against it (corrected)"


def test_exact_values_have_no_intervals() -> None:
    table = shared_table(record(0.8, None, None))
    assert [str(column.header) for column in table.columns][-1] == "loss against it"
    assert [*table.columns[4].cells] == ["0.02000"] * 2
