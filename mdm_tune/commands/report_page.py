"""Writes the page of a run folder when a command ends. A page that fails is said and never ends the command."""

from __future__ import annotations

from pathlib import Path

from mdm_tune.commands.events import Note, Notify
from mdm_tune.commands.report_reading import PAGE, view_of_folder
from mdm_tune.core.files import write_text
from mdm_tune.core.messages import bounded
from mdm_tune.core.redaction import redacted
from mdm_tune.pages.run_page import run_page
from mdm_tune.run.folder import RunFolder

__all__ = ["write_page"]


def write_page(folder: RunFolder, notify: Notify) -> Path | None:
    """Write ``report.html`` from what the folder holds.

    Args:
        folder: The run folder.
        notify: Receives a note if the page could not be written.

    Returns:
        The path of the page; None if it could not be written.
    """
    try:
        return write_text(folder.path / PAGE, redacted(run_page(view_of_folder(str(folder.path)))))
    except Exception as error:  # whatever it is, the result of the command is not affected
        reason = f"{type(error).__name__}: {bounded(str(error))}"
        notify(Note(f"the page {folder.path / PAGE} could not be written, and the result is not affected ({reason})"))
        return None
