"""What the console shows of ``evaluate``, from its JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mdm_tune.core.intervals import estimate_text, interval_text
from mdm_tune.core.messages import quantity
from mdm_tune.terminal.layout import Grid
from mdm_tune.terminal.tables import calls, short_names

__all__ = ["difference_lines", "evaluate_table", "figures_table"]

Record = dict[str, Any]

FIGURES = ("token_entropy", "distinct_tokens", "answer_length", "distinct_words")


def evaluate_table(record: Record) -> Grid:
    """Every schedule at every budget, and how it compares with linear there."""
    rows, linear = record["rows"], record["reference"]
    exact = rows[0]["n"] is None
    of = "computed exactly" if exact else f"{quantity(rows[0]['n'], 'example')}, 95 % intervals"
    of += f"; compared with {linear}" if linear != "linear" else ""
    compared = any(linear in (pair["first"], pair["second"]) for pair in record["comparisons"])
    headings = ("steps", "schedule", "value", *(["minus linear"] if compared else []), "calls")
    table = Grid(f"{rows[0]['metric']}, {of}", headings, ("schedule",))
    against = _against(record["comparisons"], linear)
    short = short_names([row["schedule"] for row in rows])
    for row in rows:
        table.row(
            str(row["steps"]),
            short[row["schedule"]],
            estimate_text(row),
            *([against.get((row["steps"], row["schedule"]), "")] if compared else []),
            calls(row),
        )
    if (data := record["data"]) is not None:
        empty = ("",) * (1 + compared)
        table.row("", "the data itself", estimate_text(data), *empty, style="dim")
    return table


def _against(comparisons: Sequence[Record], linear: str) -> dict[tuple[int, str], str]:
    """What each schedule at each budget has more than linear."""
    found = {}
    for pair in comparisons:
        for name, other, sign in ((pair["second"], pair["first"], -1), (pair["first"], pair["second"], 1)):
            if other == linear:
                bounds = pair["ci"] and [None if bound is None else sign * bound + 0.0 for bound in pair["ci"]][::sign]
                gap = pair["difference"]
                found[pair["steps"], name] = interval_text(gap and sign * gap, bounds, pair.get("no_interval"))
    return found


def figures_table(record: Record) -> Grid | None:
    """The figures that fall when samples become alike, where the metric has any."""
    rows = record["rows"]
    figures = [name for name in FIGURES if name in rows[0]]
    if not figures:
        return None
    named = [name.replace("_", " ") for name in figures]
    table = Grid("diversity, means over the same samples", ("steps", "schedule", *named), ("schedule",))
    short = short_names([row["schedule"] for row in rows])
    for row in rows:
        table.row(str(row["steps"]), short[row["schedule"]], *(f"{row[name]:.3f}" for name in figures))
    if (data := record["data"]) is not None:
        table.row("", "the data itself", *(f"{data[name]:.3f}" for name in figures), style="dim")
    return table


def difference_lines(record: Record) -> Iterator[str]:
    """The samples on which two schedules differ most, which two they are, and why these."""
    found = record.get("differences")
    if found is None:
        return
    if not found:
        yield "\nlinear and the last schedule differ on no example"
    metric = record["rows"][0]["metric"]
    for pair in dict.fromkeys((each["first"]["schedule"], each["second"]["schedule"]) for each in found):
        names = short_names(pair)
        first, second = (names[name] for name in pair)
        yield (
            f"\nlargest differences in {metric}, drawn from the same noise: {first} and {second}, the last of the "
            "compared schedules"
        )
        for each in found:
            if (each["first"]["schedule"], each["second"]["schedule"]) == pair:
                yield f"\n  {quantity(each['steps'], 'step')}, example {each['id']}"
                for side in (each["first"], each["second"]):
                    yield f"    {names[side['schedule']]}: {metric} {side['value']:.4g}"
                    yield "\n".join(f"      {line}" for line in side["text"].split("\n"))
