"""The ``report`` command: it makes the page of a run or of several runs from their folders, or the figures alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mdm_tune.commands.report_reading import PAGE, damage_named, view_of_folder
from mdm_tune.core.errors import InputError
from mdm_tune.core.files import write_text
from mdm_tune.core.json_record import JsonRecord
from mdm_tune.core.messages import shown_path, system_reason
from mdm_tune.core.reading import expanded
from mdm_tune.core.redaction import redacted
from mdm_tune.pages.charts import Figure
from mdm_tune.pages.comparison import comparison_figures, comparison_page, named_runs
from mdm_tune.pages.headlines import headline
from mdm_tune.pages.run_figures import figures_of
from mdm_tune.pages.run_page import run_page

__all__ = ["ReportResult", "report"]

COMPARISON = "comparison.html"
FIGURE_DETAIL = 64  # points of a landscape along each axis in a file of its own


@dataclass(frozen=True, kw_only=True)
class ReportResult(JsonRecord):
    """The result of ``report``.

    Attributes:
        runs: The run folders.
        states: Whether each run is finished, running or stopped.
        headlines: The sentence that each run's page begins with.
        page: The path of the page; None if only figures were asked for.
        figures: The paths of the figures.
    """

    runs: tuple[str, ...]
    states: tuple[str, ...]
    headlines: tuple[str, ...]
    page: str | None
    figures: tuple[str, ...]


def report(
    names: Sequence[str],
    *,
    figures: str | None = None,
    output: str | None = None,
    doing: Callable[[str, str], None] = lambda text, detail: None,
) -> ReportResult:
    """Write the page of a run, or one page that compares several.

    Args:
        names: Run folders.
        figures: The folder for the figures as SVG and PNG; None for no figures. The page is then written only if
            ``output`` is given too.
        output: The file of the page; None for ``report.html`` in the run folder, or for ``comparison.html`` here if
            there are several.
        doing: Called with what is done next, and with a detail that a narrow terminal leaves out.

    Returns:
        What was written.

    Raises:
        InputError: If a folder holds no result, if a file in it is damaged, or if a path cannot be written.
        RunError: If writing fails.
    """
    views = []
    for number, name in enumerate(names, 1):
        doing("reading the run" + (f" {number} of {len(names)}" if len(names) > 1 else ""), name)
        views.append(view_of_folder(name))
    page = None
    if figures is None or output is not None:
        default = Path(views[0].path) / PAGE if len(views) == 1 else Path(COMPARISON)
        target = default if output is None else Path(expanded(output))
        if target.is_dir():
            raise InputError(f"--output: {shown_path(target)} is a folder; give the file of the page")
        _make(target.parent, "--output")
        doing("making the page", str(target))
        with damage_named(*names):
            text = run_page(views[0]) if len(views) == 1 else comparison_page(views)
        page = write_text(target, redacted(text))
    drawn = []
    if figures is not None:
        doing("drawing the figures", figures)
        with damage_named(*names):
            made = figures_of(views[0], FIGURE_DETAIL) if len(views) == 1 else comparison_figures(named_runs(views))
        drawn = _write_figures(made, Path(expanded(figures)), doing)
    return ReportResult(
        runs=tuple(view.path for view in views),
        states=tuple(view.state.value for view in views),
        headlines=tuple(map(headline, views)),
        page=None if page is None else str(page),
        figures=tuple(map(str, drawn)),
    )


def _make(folder: Path, flag: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{flag}: cannot write into {shown_path(folder)}: {system_reason(error)}") from None


def _write_figures(made: Mapping[str, Figure], folder: Path, doing: Callable[[str, str], None]) -> list[Path]:
    """Write each figure as SVG for light and dark places, and then as PNG, which may fail; returns the paths."""
    if not made:
        raise InputError("--figures: this run has no data for a figure yet; leave the flag out")
    _make(folder, "--figures")
    written = []
    for number, (name, figure) in enumerate(made.items(), 1):
        doing(f"writing figure {number} of {len(made)}", name)
        written.append(write_text(folder / f"{name}.svg", figure.svg("light") + "\n"))
        written.append(write_text(folder / f"{name}-dark.svg", figure.svg("dark") + "\n"))
    for name, figure in made.items():
        image = folder / f"{name}.png"
        try:
            image.write_bytes(figure.png())
        except InputError as error:
            raise InputError(
                f"--figures: {error}; the SVG figures, which need nothing, are in {shown_path(folder)}"
            ) from None
        except OSError as error:
            raise InputError(f"--figures: cannot write {shown_path(image)}: {system_reason(error)}") from None
        written.append(image)
    return written
