"""The table of evaluate."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from mdm_tune.core.statistics import Estimate
from mdm_tune.evaluation.scores import Cost
from mdm_tune.run.evaluate_records import ComparisonRecord, EvaluateResult, RowRecord
from mdm_tune.run.record_parts import CallsRecord, PlanRecord
from mdm_tune.terminal.console import Screen, show
from mdm_tune.terminal.evaluate_tables import evaluate_table, figures_table


def test_the_evaluation_table_fits_into_eighty_columns() -> None:
    def row(name: str) -> RowRecord:
        return RowRecord(
            schedule=name,
            steps=16,
            plan=PlanRecord(block_length=64, counts=(4,) * 16, alphas=None),
            calls=CallsRecord(16.0, None),
            metric="spelling",
            estimate=Estimate(0.8645, (0.8554, 0.8729), 512),
            n=512,
            diversity={"token_entropy": 2.59, "distinct_words": 0.25},
        )

    difference = Estimate(-0.02, (-0.03, -0.01), 512)
    pair = ComparisonRecord(first="linear", second="maskgit-cosine", steps=16, difference=difference)
    result = EvaluateResult(
        rows=(row("linear"), row("maskgit-cosine")),
        data=row("data"),
        comparisons=(pair,),
        reference="linear",
        cost=Cost(100, 6400, 3.0),
        reported=(),
        files={"table": "runs/text/evaluate.csv", "run": "runs/text"},
        warnings=(),
        programs={},
    )
    screen, shown = Screen(quiet=False, as_json=False), io.StringIO()
    screen.err = Console(file=shown, width=80)
    screen.evaluate_result(result)
    assert "…" not in shown.getvalue()
    assert "0.020 [0.010, 0.030]" in shown.getvalue()
    assert "maskgit-cosine" in shown.getvalue() and "token entropy" in shown.getvalue()
    plan, calls = "threshold:0.9", CallsRecord(15.0, None)
    rows = tuple(replace(row(plan), steps=steps, calls=calls) for steps in (8, 16, 32))
    for table in (evaluate_table(replace(result, rows=rows)), figures_table(replace(result, rows=rows))):
        screen.err = Console(file=(listed := io.StringIO()), width=80)
        assert table is not None
        show(screen.err, table)
        assert listed.getvalue().count(plan) == 1 and " 16 " in listed.getvalue()


def test_long_names_get_numbers_so_that_the_columns_stay_comparable() -> None:
    names = (
        "linear",
        "quota:beta:0.123456,0.654321#16@0.99999889",
        "cap:beta:1.123456,2.654321#8@0.99123 in blocks of 8",
    )
    rows = tuple(
        RowRecord(
            schedule=name,
            steps=16,
            plan=PlanRecord(block_length=64, counts=None, alphas=None),
            calls=CallsRecord(15.75 + place, (14.5, 17.25)),
            metric="exact_match",
            estimate=Estimate(0.8645 - place / 10, (0.7554 - place / 10, 0.8729), 512),
            n=512,
            diversity={},
        )
        for place, name in enumerate(names)
    )
    pairs = tuple(
        ComparisonRecord(first="linear", second=name, steps=16, difference=Estimate(0.0312, (-0.1234, 0.1234), 512))
        for name in names[1:]
    )
    result = EvaluateResult(
        rows=rows,
        data=None,
        comparisons=pairs,
        reference="linear",
        cost=Cost(100, 6400, 3.0),
        reported=(),
        files={},
        warnings=(),
        programs={},
    )
    console = Console(file=(listed := io.StringIO()), width=80)
    show(console, evaluate_table(result))
    text = listed.getvalue()
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= 80 and "\u2026" not in text
    head = next(line for line in lines if "steps" in line)
    assert all(name in head for name in ("schedule", "value", "calls"))  # one row of headings, so columns
    for place, name in enumerate(names[1:], 1):
        (row,) = [line for line in lines if f" ({place}) " in line and "16" in line and name.split()[0] not in line]
        assert f"{0.8645 - place / 10:.2f}" in row and f"  ({place}) {name}" in text
