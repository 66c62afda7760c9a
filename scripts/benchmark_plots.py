"""The two plots of scripts/benchmark_sampling.py, drawn from its records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator
from pages import with_dark_colours

matplotlib.use("Agg")

Record = dict[str, Any]
PLOTS = ("sampling-speed.svg", "sampling-memory.svg")
MARKERS = {"ours": "o", "LLaDA": "s", "dllm": "D", "plain": "^"}
COLOURS = {"ours": "C0", "LLaDA": "C1", "dllm": "C2", "plain": "C3"}


def ratios(record: Record, name: str, clock: str = "cpu") -> list[float]:
    """Time of a peer divided by ours, for each turn."""
    return [theirs / mine for theirs, mine in zip(record[clock][name], record[clock]["ours"], strict=True)]


def draw_plots(page: Path, records: Sequence[Record]) -> None:
    """Draw both plots beside a page."""
    plt.rcParams["svg.fonttype"] = "none"
    plt.rcParams["svg.hashsalt"] = "sampling"
    plot_ratios(records, page.with_name(PLOTS[0]))
    plot_memory(records, page.with_name(PLOTS[1]))
    for path in map(page.with_name, PLOTS):
        path.write_text(with_dark_colours(path.read_text("utf-8")), "utf-8")


def lines(records: Sequence[Record], keep: Callable[[Record], bool], field: str) -> dict[float, list[Record]]:
    """Cases in order of confidence that a plot shows, by temperature, in the order of the field."""
    found: dict[float, list[Record]] = {}
    for record in sorted(records, key=lambda record: record["case"][field]):
        case = record["case"]
        if case["order"] == "confidence" and case["trunk"] == "1M" and case["steps"] == 4 and keep(record):
            found.setdefault(case["temperature"], []).append(record)
    return found


def plot_ratios(records: Sequence[Record], path: Path) -> None:
    """Ratios over the vocabulary, one row of 64 positions in 4 steps."""
    figure, axes = plt.subplots(figsize=(6.0, 3.6), layout="constrained")
    kept = lines(records, lambda record: record["case"]["rows"] == 1 and record["case"]["length"] == 64, "vocabulary")
    for temperature, group in kept.items():
        for name, marker in MARKERS.items():
            some = [record for record in group if name in record["cpu"] and name != "ours"]
            if some:
                x = [record["case"]["vocabulary"] for record in some]
                y = [median(ratios(record, name)) for record in some]
                style = "-" if temperature else "--"
                axes.plot(x, y, style, marker=marker, color=COLOURS[name], label=f"{name}, temperature {temperature:g}")
    axes.axhline(1, color="0.6", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="vocabulary", ylabel="CPU time, peer / ours")
    finish(figure, axes, path)


def plot_memory(records: Sequence[Record], path: Path) -> None:
    """Peak memory over the rows, vocabulary 32,000, 64 positions in 4 steps."""
    figure, axes = plt.subplots(figsize=(6.0, 3.6), layout="constrained")
    keep = lambda record: record["case"]["vocabulary"] == 32_000 and record["case"]["length"] == 64  # noqa: E731
    for temperature, group in lines(records, keep, "rows").items():
        for name, marker in MARKERS.items():
            some = [record for record in group if record["memory"].get(name) and name != "dllm"]
            if some:
                x, y = [record["case"]["rows"] for record in some], [record["memory"][name] for record in some]
                style = "-" if temperature else "--"
                axes.plot(x, y, style, marker=marker, color=COLOURS[name], label=f"{name}, temperature {temperature:g}")
    axes.set(xscale="log", yscale="log", xlabel="rows", ylabel="peak memory above the model, MiB")
    finish(figure, axes, path)


def finish(figure: Any, axes: Any, path: Path) -> None:
    """Legend, grid and file; the same bytes for the same numbers."""
    axes.grid(True, color="0.9")
    low, high = axes.get_ylim()
    subs = (2, 5) if high > 5 * low else range(2, 10)  # more numbers would overlap
    axes.yaxis.set_minor_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_formatter("{x:,g}")
    ticks = sorted({float(x) for line in axes.lines if line.get_marker() != "None" for x in line.get_xdata()})
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.xaxis.minorticks_off()
    if axes.lines:
        axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
