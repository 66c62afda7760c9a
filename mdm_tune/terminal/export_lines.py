"""Lines about an export: what was written, what is lost, what a peer's code did with it, and where it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mdm_tune.core.messages import cut, quantity
from mdm_tune.core.numerals import shortest
from mdm_tune.core.redaction import one_line
from mdm_tune.run.export_records import ExportResult

__all__ = ["export_lines"]

SHOWN = 600  # characters of a list of numbers


def export_lines(result: ExportResult) -> Iterator[str]:
    """The lines that ``export`` shows on stderr."""
    steps = "" if result.steps is None else f", {quantity(result.steps, 'step')}"
    blocks = "" if result.block_length == result.length else f", blocks of {result.block_length}"
    what = cut(one_line(result.schedule or result.name), 200)
    yield f"{what}{steps}, {quantity(result.length, 'token')}{blocks}, for {result.target}"
    for number, counts in enumerate(result.counts_by_block or (), 1):
        if number == 1 or counts != (result.counts_by_block or ())[number - 2]:
            label = "counts" if len(result.counts_by_block or ()) == 1 else f"counts from block {number}"
            yield f"{label}  {_numbers(counts)}"
    if result.alphas is not None:
        yield f"alphas  {cut(', '.join(map(shortest, result.alphas)), SHOWN)}"
    if result.value is not None:
        yield f"{result.kind}  {shortest(result.value)}"
    for note in result.notes:
        yield f"note: {note}"
    for loss in result.lost:
        yield f"lost: {loss}"
    if result.verification is not None:
        made = result.verification
        yield f"\nran       {made.ran}"
        yield f"wanted    {_numbers(made.wanted)}"
        yield f"realised  {_numbers(made.realised)}"
        yield "equal" if made.equal else "NOT EQUAL"
    yield ""
    yield from result.where
    yield ""


def _numbers(values: Sequence[float]) -> str:
    return cut(", ".join(f"{value:.6g}" for value in values), SHOWN)
