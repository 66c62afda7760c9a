"""Figure 5 of arXiv:2509.13866 for the bundled text model and for AntiBERTy: quality against steps, by schedule.

    python scripts/figure5.py

It draws the numbers of the tables in docs/text.md and docs/antibody.md, which ``scripts/text_table.py`` and
``scripts/antibody_table.py`` make, and writes docs/figure5-confidence.svg, docs/figure5-random.svg,
docs/figure5-antibody-nelbo.svg and docs/figure5-antibody-samples.svg.
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
        marks=[Mark(table.data, "the data itself")],
    )


def _rows(part: str) -> list[dict[str, str]]:
    """The rows of the first table of a text, by heading."""
    lines = part[part.index("\n|") + 1 :].partition("\n\n")[0].splitlines()
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(header, row, strict=True)) for row in rows]


def antibody_nelbo(page: str) -> Figure:
    """The NELBO of AntiBERTy against steps, of the first kind of antibodies on the page."""
    kind, _, part = page.partition("<!-- tables -->\n**")[2].partition("**")
    rows = _rows(part)
    steps = tuple(int(row["steps"]) for row in rows)
    names = {"best Beta": "tuned", "linear": "linear", "squared-sine": "squared-sine", "sine": "sine"}
    series = [
        Series(name, steps, [float(row[column].split(" ")[0]) for row in rows], role=ROLES.get(name, "other"))
        for column, name in names.items()
    ]
    said = "; ".join(f"{each.name} {', '.join(f'{value:.1f}' for value in each.y)}" for each in series)
    one = re.search(rf"One token a step: {NUMBER}", part)
    if one is None:
        raise ValueError("the page does not say the NELBO of one token a step")
    return lines(
        series,
        x=Axis("steps", log=True, ticks=steps),
        y=Axis("NELBO", unit="nats per sequence", better="lower"),
        title="Likelihood against steps, random order: AntiBERTy",
        description=f"{kind}, NELBO at {', '.join(map(str, steps))} steps: {said}. One token a step has {one[1]}.",
        marks=[Mark(float(one[1]), "one token a step")],
    )


def antibody_samples(page: str) -> Figure:
    """The share of AntiBERTy's samples that are recognised as antibodies, against steps."""
    rows = [row for row in _rows(page.partition("**Drawn from nothing but masks**")[2]) if row["steps"]]
    series = []
    for kind, name in (("best Beta", "tuned"), ("linear", "linear")):
        own = [row for row in rows if row["schedule"] == kind]
        value, low, high = zip(*(_estimate(row["recognised"]) for row in own), strict=True)
        steps = [int(row["steps"]) for row in own]
        series.append(Series(name, steps, value, low=low, high=high, role=ROLES[name]))
    said = "; ".join(
        f"{each.name} {', '.join(f'{y:.3f} at {x:.0f}' for x, y in zip(each.x, each.y, strict=True))}"
        for each in series
    )
    ticks = sorted({int(row["steps"]) for row in rows})
    return lines(
        series,
        x=Axis("steps", log=True, ticks=ticks),
        y=Axis("share of samples recognised as antibodies", better="higher"),
        title="Quality against steps, random order: AntiBERTy",
        description=f"Recognised of {rows[0]['n']} samples with 95 % intervals, by steps: {said}.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DOCS, help="a folder")
    args = parser.parse_args()
    for table in read((DOCS / "text.md").read_text("utf-8")):
        (args.output / f"figure5-{table.order}.svg").write_text(drawn(table).svg("system"), "utf-8")
    page = (DOCS / "antibody.md").read_text("utf-8")
    for name, figure in (("nelbo", antibody_nelbo(page)), ("samples", antibody_samples(page))):
        (args.output / f"figure5-antibody-{name}.svg").write_text(figure.svg("system"), "utf-8")


if __name__ == "__main__":
    main()
