"""Tables and lines in any width: no number is cut, no line breaks inside a word, nothing in data is obeyed."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from mdm_tune.core.statistics import Estimate
from mdm_tune.evaluation.scores import Cost
from mdm_tune.metrics.reported import Figure
from mdm_tune.run.dry_run_records import DryRunResult, Phase, PhaseRecord, ShownGainRecord
from mdm_tune.run.evaluate_records import ComparisonRecord, EvaluateResult, RowRecord
from mdm_tune.run.record_parts import CallsRecord, PlanRecord, ReportedRecord
from mdm_tune.schedules.curves import Beta
from mdm_tune.terminal.console import show
from mdm_tune.terminal.cost_tables import phases_table
from mdm_tune.terminal.evaluate_tables import evaluate_table, figures_table
from mdm_tune.terminal.layout import Grid, folded
from mdm_tune.terminal.profile_tables import curve_table, energies_table, prices_table
from mdm_tune.terminal.tables import budget_table, budgets_table, diversity_table, reported_table
from tests.support.search_results import FLAGGED, budget_record, search_result
from tests.terminal.test_profile_tables import priced, priced_budget, profile_record

WIDTHS = (40, 60, 80, 120)
NAMES = ("linear", "maskgit-cosine", "beta:0.4312345,0.7612345", "runs/text/schedule.yaml")
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*")


def drawn(what: Any, width: int, **options: Any) -> str:
    text = io.StringIO()
    show(Console(file=text, width=width, **options), what)
    return text.getvalue()


def evaluated() -> EvaluateResult:
    figures = {"token_entropy": 2.5912, "distinct_tokens": 0.6112, "answer_length": 60.251, "distinct_words": 0.2512}
    rows = tuple(
        RowRecord(
            schedule=name,
            steps=steps,
            plan=PlanRecord(block_length=64, counts=(4,) * 16, alphas=None),
            calls=CallsRecord(15.875, (15.5, 16.0)),
            metric="spelling",
            estimate=Estimate(12345.6785, (12345.5534, 12345.8729), 512),
            n=512,
            diversity=figures,
        )
        for steps in (8, 16)
        for name in NAMES
    )
    difference = Estimate(-0.0231, (-0.0342, -0.0109), 512)
    pairs = tuple(
        ComparisonRecord(first="linear", second=name, steps=steps, difference=difference)
        for steps in (8, 16)
        for name in NAMES[1:]
    )
    return EvaluateResult(
        rows=rows,
        data=rows[0],
        comparisons=pairs,
        reference="linear",
        cost=Cost(),
        reported=(),
        files={},
        warnings=(),
        programs={},
    )


def beside() -> list[ReportedRecord]:
    figure = Figure(
        name="exact_match",
        label="share of exact answers",
        direction="maximize",
        value=0.1234,
        range=(0.1, 0.1432),
        over="examples",
        count=512,
    )
    return [ReportedRecord(schedule=name, steps=8, **vars(figure)) for name in NAMES]


def tables() -> Iterator[tuple[str, Table]]:
    """Every table of every command, as wide as they get."""
    found = budget_record(FLAGGED, steps=8, nfe=8.0, data={"value": 0.9123, "ci": [0.9, 0.9312]})
    budget = priced_budget()
    tuned = {**budget.schedules, "beta_tuned": priced(12345.678, Beta(0.123456, 0.654321))}
    budgets = (replace(budget, schedules=tuned),)
    profile = profile_record(content=(1.0,) * 32, end_of_text=(2.0,) * 32, budgets=budgets)
    yield "budget", budget_table(found)
    for name, table in (
        ("diversity", diversity_table(found)),
        ("budgets", budgets_table(search_result())),
        ("figures", figures_table(evaluated())),
        ("reported", reported_table(beside())),
    ):
        assert table is not None
        yield name, table
    yield "evaluate", evaluate_table(evaluated())
    yield "curve", curve_table(profile, "128 examples, 95 % intervals")
    yield "prices", prices_table(profile, "blocks of 16, 128 examples, 95 % intervals")
    yield "energies", energies_table(profile)
    yield "phases", phases_table(priced_search())


def priced_search() -> DryRunResult:
    names: tuple[Phase, ...] = ("profile", "tune", "choose", "report")
    cost = Cost(123456789, 98765432100, 98765.4)
    phases = tuple(
        PhaseRecord(phase=name, schedules=1234, cost=cost, memory_bytes=123456789012, overhead_seconds=1.5)
        for name in names
    )
    return DryRunResult(
        phases=phases,
        start_seconds=12.5,
        total=cost,
        reach=(),
        shown_gain=ShownGainRecord(detectable_gain=None, gain_can_be_shown=None, size=None),
        busy_replicas=None,
        peak_memory_bytes=None,
        already_holds_search=False,
        timeout=None,
        cost=Cost(),
        devices=("cuda:0", "cuda:1"),
        warnings=(),
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("name", "table"), list(tables()))
def test_no_table_cuts_a_number_or_a_word(name: str, table: Table, width: int) -> None:
    whole, narrow = drawn(table, 1000), drawn(table, width)
    assert Counter(NUMBER.findall(whole)) <= Counter(NUMBER.findall(narrow))
    words = set(re.findall(r"[^\s█─]+", whole))
    assert words <= set(re.findall(r"[^\s█─]+", narrow))
    assert "…" not in narrow
    assert max(cell_len(line.rstrip()) for line in narrow.splitlines()) <= width


def test_a_table_that_fits_has_one_line_for_each_row() -> None:
    table = Grid("title", ("name", "value"), ("name",))
    table.row("one", "0.865 [0.855, 0.873]")
    table.row("two", "1.865 [0.855, 0.873]")
    assert "  one    0.865 [0.855, 0.873]  \n  two    1.865 [0.855, 0.873]" in drawn(table, 31)
    assert "  one             0.865  \n         [0.855, 0.873]" in drawn(table, 27)
    stacked = "name   one\nvalue\n  0.865\n  [0.855, 0.873]\n\nname   two"
    assert stacked in "\n".join(line.rstrip() for line in drawn(table, 16).splitlines())


def test_decimal_points_stand_below_each_other_where_there_is_room() -> None:
    table = Grid("title", ("name", "value", "calls"), ("name",))
    for cells in (("a", "0.57 [0.52, 0.62]", "8"), ("b", "-0.598 [0.556, 0.640]", "12.25"), ("c", "", "none")):
        table.row(*cells)
    wide = [line.rstrip() for line in drawn(table, 80).splitlines()]
    assert wide[-4:-1] == [
        "  a       0.57  [0.52, 0.62]         8",
        "  b      -0.598 [0.556, 0.640]   12.25",
        "  c                               none",
    ]
    numbers = Grid("title", ("n",))
    for text in ("1,234", "5.25"):
        numbers.row(text)
    assert "  1,234     \n      5.25  \n" in drawn(numbers, 80)


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize(("name", "table"), list(tables()))
def test_tables_are_legible_in_ascii_without_colours(name: str, table: Table, width: int) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace")
    environment = {"NO_COLOR": "1", "TERM": "xterm-256color"}
    show(Console(file=file, width=width, force_terminal=True, _environ=environment), table)
    file.flush()
    text = raw.getvalue().decode("ascii")
    plain = re.sub(r"\x1b\[([0-9;]*)m", lambda style: "" if int(style[1] or 0) < 10 else "colour", text)
    assert "\\u" not in text and "?" not in text and "colour" not in plain
    assert Counter(NUMBER.findall(drawn(table, 1000))) <= Counter(NUMBER.findall(plain))
    assert max(cell_len(line.rstrip()) for line in plain.splitlines()) <= width


def test_data_in_a_table_is_text_and_nothing_else() -> None:
    table = Grid("[bold]t[/bold] :snake:", ("[red]h", "v :snake:"), ("[red]h",))
    table.row(":snake: [bold]x\x1b[2J\u202e\nz", "postgresql://me:hunter2@host/db")
    for width in (120, 20):
        text = drawn(table, width, force_terminal=True, color_system=None)
        for part in (
            "[bold]t[/bold]",
            "[red]h",
            ":snake:",
            "[bold]x\\x1b[2J\\u202e\\nz",
            "postgresql://me:***@host/db",
        ):
            assert part in text
        assert "\x1b[2J" not in text and "\u202e" not in text and "hunter2" not in text and "🐍" not in text


def test_lines_are_folded_at_spaces() -> None:
    line = "  trial   3/20  a 0.7348  (dropped after 32 examples) /a/very/long/path/that/is/no/place/to/break"
    lines = folded(line, 30, "    ").split("\n")
    assert lines[0] == "  trial   3/20  a 0.7348" and lines[1].startswith("      (dropped")
    assert lines[-1].strip() == "/a/very/long/path/that/is/no/place/to/break"
    assert " ".join(" ".join(lines).split()) == " ".join(line.split())
    assert all(len(each) <= 30 for each in lines[:-1])
    assert folded("a\n\nb", 1) == "a\n\nb" and folded("", 5) == "" and folded("世界 世界", 5) == "世界\n世界"
