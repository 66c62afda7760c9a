"""Figure 5 of arXiv:2509.13866 for the bundled text model: quality against steps, by schedule.

    python scripts/figure5.py

It draws the numbers of the tables in docs/text.md, which ``scripts/text_table.py`` makes, and writes
docs/figure5-confidence.svg and docs/figure5-random.svg.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from mdm_tune.pages.charts import Axis, Figure, Mark, Role, Series, lines

DOCS = Path(__file__).parent.parent / "docs"
ROLES: dict[str, Role] = {"tuned": "tuned", "linear": "linear"}
NUMBER = r"(-?[\d.]+)"
ESTIMATE = re.compile(rf"{NUMBER} \[{NUMBER}, {NUMBER}\]")


@dataclass(frozen=True)
class Table:
    """The numbers of one order.

    Attributes:
        order: such as "confidence".
        steps: the budgets.
        values: by schedule, for each budget the value and the ends of its interval.
        data: the value of the data itself.
    """

    order: str
    steps: tuple[int, ...]
    values: dict[str, list[tuple[float, float, float]]]
    data: float


def read(page: str) -> list[Table]:
    """The tables of the page, one for each order."""
    found = []
    for part in re.split(r"\*\*order `", page)[1:]:
        order = part.partition("`")[0]
        header, _, *rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("|")
        ]
        columns = {name: place for place, name in enumerate(header) if ESTIMATE.fullmatch(rows[0][place])}
        columns["tuned"] = columns.pop("its value")
        values = {name: [_estimate(row[place]) for row in rows] for name, place in columns.items()}
        data = re.search(rf"The data itself: {NUMBER}", part)
        if data is None:
            raise ValueError(f"the table of order {order} does not say the value of the data")
        steps = tuple(int(row[0]) for row in rows)
        found.append(Table(order=order, steps=steps, values=values, data=float(data[1])))
    return found


def _estimate(cell: str) -> tuple[float, float, float]:
    match = ESTIMATE.fullmatch(cell)
    if match is None:
        raise ValueError(f"no value with its interval: {cell}")
    return float(match[1]), float(match[2]), float(match[3])


def drawn(table: Table) -> Figure:
    """Quality against steps for one order."""
    names = sorted(table.values, key=lambda name: (name != "tuned", name != "linear"))
    series = []
    for name in names:
        value, low, high = zip(*table.values[name], strict=True)
        series.append(Series(name, table.steps, value, low=low, high=high, role=ROLES.get(name, "other")))
    said = "; ".join(f"{each.name} {', '.join(f'{value:.3f}' for value in each.y)}" for each in series)
    budgets = ", ".join(map(str, table.steps))
    return lines(
        series,
        x=Axis("steps", log=True, ticks=table.steps),
        y=Axis("share of correctly spelt characters", better="higher"),
        title=f"Quality against steps, order {table.order}: the bundled text model",
        description=f"Spelling of 512 samples with 95 % intervals at {budgets} steps: {said}. The data itself has "
        f"{table.data:.3f}.",
        marks=[Mark(table.data, "the data itself", "y")],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DOCS, help="a folder")
    args = parser.parse_args()
    for table in read((DOCS / "text.md").read_text("utf-8")):
        (args.output / f"figure5-{table.order}.svg").write_text(drawn(table).svg("system"), "utf-8")


if __name__ == "__main__":
    main()
