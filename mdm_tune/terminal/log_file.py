"""The file of --log-file: every event as one plain line, with the time and a level."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown_path, system_reason
from mdm_tune.core.redaction import one_line, redacted

__all__ = ["LogFile"]


class LogFile:
    """A file to which lines are appended. It is opened for each line, so that it can be moved or removed meanwhile.

    A file that can no longer be written ends nothing.

    Args:
        path: The file.

    Raises:
        InputError: If the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._append("")
        except OSError as error:
            raise InputError(
                f"--log-file: cannot write {shown_path(path)}: {system_reason(error)}; give a file in a folder that "
                "exists and can be written"
            ) from None

    def write(self, level: str, text: str) -> None:
        """Append a line, without colours, with passwords hidden."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with suppress(OSError):
            self._append(f"{moment} {level:<7} {one_line(redacted(text).strip())}\n")

    def _append(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
