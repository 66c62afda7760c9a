"""The schedule file and the run folder: written atomically, read without torch."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mdm_tune.core.errors import InputError
from mdm_tune.core.files import remove_unfinished, write_text
from mdm_tune.core.messages import shown, shown_path, system_reason
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.core.reading import read_json
from mdm_tune.core.redaction import redacted
from mdm_tune.core.text import Clock
from mdm_tune.schedules.schedule_file import FORMAT, ScheduleBudget, ScheduleFile, load_schedule
from mdm_tune.version import package_versions

__all__ = ["RunFolder", "ScheduleBudget", "ScheduleFile", "load_schedule", "versions"]

HEADER = """\
# A tuned mask schedule. Per budget: `counts` tokens are revealed at steps 1..K (summing to `length`, which is the mean
# of many, rounded, where `lengths` does not say fixed; `schedule` is the curve for any other length), blocks of
# `block_length` positions from left to right, or `alphas`, the expected revealed share at each step's start and end,
# for ancestral reveal. Time runs from all masked to data.
"""


class RunFolder:
    """The files of a run. Nothing is created before ``open``; all but the journal are replaced whole or not at all.

    No file holds a password: see ``showing.redacted``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.journal = self.path / "study.journal"
        self.schedule = self.path / "schedule.yaml"
        self.result = self.path / "search.json"
        self.identity = self.path / "run.json"
        self.moment = self.path / "moment.json"

    def profile(self, use: str, mark: str = "") -> Path:
        """Where the profile measured on a split is kept. mark: tells it from those in other blocks."""
        return self.path / f"profile-values{'' if use == 'tune' else f'-{use}'}{mark}.json"

    def read_moment(self) -> datetime | None:
        """The time that the prompts of this run were rendered at, where a chat template asked for it."""
        if not self.has(self.moment):
            return None
        try:
            return datetime.fromisoformat(self.read(self.moment)["now"])
        except (InputError, KeyError, TypeError, ValueError):
            raise InputError(
                f"{self.moment} is damaged: it holds the time that prompts were rendered at; restore it, or delete it "
                "and start again with --overwrite"
            ) from None

    def write_moment(self, clock: Clock | None) -> None:
        """Keep the time of a clock that a chat template has asked; a time that is kept already stays."""
        if clock is not None and clock.used and not self.has(self.moment):
            self.write_json(self.moment.name, {"now": clock.now.isoformat()})

    @property
    def holds_search(self) -> bool:
        """Whether a search was started here; raises InputError where that cannot be seen."""
        return self.has(self.journal) or self.has(self.result)

    def has(self, path: Path) -> bool:
        """Whether one of the folder's files exists."""
        try:
            return path.exists()
        except OSError as error:
            raise self._closed(error) from None

    def _closed(self, error: OSError) -> InputError:
        return InputError(
            f"output: cannot write a run into {shown_path(self.path)}: {system_reason(error)}; or give another folder "
            "with --output"
        )

    def open(self) -> None:
        """Create the folder, and clear away what a killed process had begun to write in it.

        Raises InputError where that is impossible or nothing can be written in it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                remove_unfinished(self.path)
        except OSError as error:
            raise self._closed(error) from None

    def clear_search(self, *, journal: bool = True) -> None:
        """Remove what a search wrote, and nothing else. journal: the journal too, not only copies of it."""
        owned = [self.result, self.schedule, self.path / "search-scores.jsonl", *[self.journal] * journal]
        for file in (*owned, *self.path.glob("study.journal.*")):
            file.unlink(missing_ok=True)

    def read(self, path: Path) -> dict[str, Any]:
        """One of the folder's JSON files; raises InputError where it is missing or damaged."""
        remedy = "restore it, or start again with --overwrite"
        record = read_json(path, remedy=remedy)
        if not isinstance(record, dict):
            raise InputError(f"{shown_path(path)} is damaged: it must be an object, got {shown(record)}; {remedy}")
        return record

    def write_schedule(self, record: Mapping[str, Any], name: str = "schedule.yaml") -> None:
        """Write a schedule file; ``record`` holds everything but the format."""
        body = yaml_text(redacted({"format": FORMAT, **record}), default_flow_style=None, width=120)
        write_text(self.path / name, HEADER + body)

    def write_json(self, name: str, record: Mapping[str, Any]) -> Path:
        """Write one object as JSON and return the file's path."""
        return write_text(self.path / name, json.dumps(redacted(dict(record)), indent=1, allow_nan=False) + "\n")

    def write_lines(self, name: str, records: Iterable[Mapping[str, Any]]) -> Path:
        """Write one JSON object a line."""
        lines = (json.dumps(redacted(dict(record)), allow_nan=False) + "\n" for record in records)
        return write_text(self.path / name, "".join(lines))

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write rows of equal keys as CSV; lists become texts with spaces between their entries."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in redacted([dict(row) for row in rows]):
            writer.writerow({k: " ".join(map(str, v)) if isinstance(v, list | tuple) else v for k, v in row.items()})
        return write_text(self.path / name, text.getvalue())


def versions(model: str) -> dict[str, str]:
    """Versions of everything that a number can depend on; model: the type of the section, ``huggingface`` and so on."""
    return package_versions(*(("transformers",) if model == "huggingface" else ()))
