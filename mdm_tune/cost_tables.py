"""What the console shows of ``--dry-run``, from its JSON."""

from __future__ import annotations

from typing import Any

from mdm_tune.layout import Grid

__all__ = ["phases_table"]

Record = dict[str, Any]


def phases_table(record: Record) -> Grid:
    """What a search would cost, phase by phase and in all."""
    on, workers = record["devices"], record["workers"]
    title = "what the search takes at most" + ("" if len(on) == 1 else f", on {len(on)} replicas ({', '.join(on)})")
    title += f", shared equally by {workers} workers but for a profile" if workers > 1 else ""
    table = Grid(title, ("phase", "schedules", "denoiser rows", "tokens", "seconds", "memory, MiB"), ("phase",))
    for phase in record["phases"]:
        cells = (f"{phase[name]:,}" for name in ("schedules", "denoiser_rows", "denoiser_tokens"))
        seconds = phase["seconds"] + phase["overhead_seconds"]
        memory = "" if phase["memory_bytes"] is None else f"{phase['memory_bytes'] / 2**20:,.0f}"
        table.row(phase["phase"], *cells, f"{seconds:,.1f}", memory)
    table.row("start", "", "", "", f"{record['start_seconds']:,.1f}", "")
    table.add_section()
    total = record["total"]
    rows, tokens = f"{total['denoiser_rows']:,}", f"{total['denoiser_tokens']:,}"
    table.row("in all", "", rows, tokens, f"{total['seconds']:,.1f}", "", style="bold")
    return table
