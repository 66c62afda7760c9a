"""The command ``report`` as a function. It loads no torch."""

from __future__ import annotations

from pathlib import Path

from mdm_tune.commands.report import ReportResult
from mdm_tune.commands.report import report as report_command
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown

__all__ = ["report"]


def report(*runs: str | Path, output: str | Path | None = None, figures: str | Path | None = None) -> ReportResult:
    """Write the page of a run, or one page that compares several, as ``mdm-tune report`` does. Nothing is printed.

    Args:
        runs: Run folders.
        output: The file of the page; None for ``report.html`` in the run folder, or for ``comparison.html`` here if
            there are several.
        figures: The folder for the figures as SVG and PNG; None for no figures. The page is then written only if
            ``output`` is given too.

    Returns:
        The result: the states and headlines of the runs, and the paths that were written.

    Raises:
        InputError: If a folder holds no result, if a file in it is damaged, or if a path cannot be written.
        RunError: If writing fails.
    """
    wrong = [run for run in runs if not isinstance(run, str | Path)]
    if wrong or not runs:
        got = shown(wrong[0]) if wrong else "none"
        raise InputError(f"report takes the folders of runs, got {got}; give one such as 'runs/text'")
    return report_command(
        [str(run) for run in runs],
        output=None if output is None else str(output),
        figures=None if figures is None else str(figures),
    )
