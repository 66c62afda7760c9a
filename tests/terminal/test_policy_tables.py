"""The table of the policies that a search tuned."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from mdm_tune.run.policy_records import PolicyRecord
from mdm_tune.run.search_records import BudgetRecord
from mdm_tune.terminal.policy_tables import kinds_table, policy_notes
from tests.run.test_policy_records import LOSS, NOTHING, outcome
from tests.search.test_confirmation import A


def test_the_table_has_a_row_for_each_kind_and_says_what_is_missing() -> None:
    records = tuple(map(PolicyRecord.of, (outcome(A.name), outcome("threshold:0.9", 8.4), NOTHING)))
    budget = cast(BudgetRecord, SimpleNamespace(policies=records))
    table: Any = kinds_table(budget)
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["counts: beta:2,0.5", "threshold:0.9", "klass"] and cells[1][2] == "none"
    assert cells[2][:2] == ["8", "8.4"] and cells[3][0].startswith("0.9995")
    assert policy_notes(budget) == [
        "threshold made 5 % more calls than linear: a gain of it is no gain at equal cost",
        "klass: cannot make 8 calls at 8 steps",
    ]
    assert kinds_table(cast(BudgetRecord, SimpleNamespace(policies=()))) is None
    less = SimpleNamespace(policies=(PolicyRecord.of(outcome("threshold:0.9", 8.0, LOSS)),))
    assert policy_notes(cast(BudgetRecord, less)) == [
        "threshold is less diverse in token entropy: a gain of it is not counted"
    ]
