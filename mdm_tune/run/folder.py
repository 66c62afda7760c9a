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
from mdm_tune.schedules.schedule_file import FORMAT, ScheduleBudget, ScheduleFile, format_for, load_schedule
from mdm_tune.version import package_versions

__all__ = ["RunFolder", "ScheduleBudget", "ScheduleFile", "load_schedule", "versions"]

HEADER = """\
# A tuned mask schedule. Per budget: `counts` tokens are revealed at steps 1..K (summing to `length`, which is the mean
# of many, rounded, where `lengths` does not say fixed; `schedule` is the curve for any other length), blocks of
# `block_length` positions from left to right, or `alphas`, the expected revealed share at each step's start and end,
# for ancestral reveal. Time runs from all masked to data.
"""
POLICY_HEADER = """\
# Where a budget has a `policy`, it is used in place of counts: an adaptive policy, which reveals as many tokens per
# step as the predictions allow. It was tuned to make K denoiser calls on average; `nfe` is the measured number.
"""


class RunFolder:
    """The files of a run. No file or folder is created before ``open``.

    Every file except the journal is written whole or not at all. Passwords are removed, see ``core.redaction``.

    Attributes:
        path: The folder.
        config: The config as it was used.
        journal: The state of a search.
        schedule: The schedule file of a search.
        result: The result of a search.
        identity: What the run is of; a search goes on only if this is the same.
        moment: The time at which prompts were rendered.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.journal = self.path / "study.journal"
        self.schedule = self.path / "schedule.yaml"
        self.result = self.path / "search.json"
        self.identity = self.path / "run.json"
        self.moment = self.path / "moment.json"

    def profile(self, use: str, suffix: str = "") -> Path:
        """The file of the profile that is measured on a split. ``suffix`` stands for the block length."""
        return self.path / f"profile-values{'' if use == 'tune' else f'-{use}'}{suffix}.json"

    def own_answers(self, use: str) -> Path:
        """The file of the model's own answers to the examples of a split."""
        return self.path / f"own-answers-{use}.json"

    def read_moment(self) -> datetime | None:
        """The time at which the prompts of this run were rendered; None if no chat template used the time.

        Raises InputError if the file is damaged.
        """
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
        """Write the time of a clock if a chat template used it. A time that was written before is not changed."""
        if clock is not None and clock.used and not self.has(self.moment):
            self.write_json(self.moment.name, {"now": clock.now.isoformat()})

    @property
    def holds_search(self) -> bool:
        """Whether a search was started here. Raises InputError if the folder cannot be read."""
        return self.has(self.journal) or self.has(self.result)

    def has(self, path: Path) -> bool:
        """Whether one of the folder's files exists. Raises InputError if the folder cannot be read."""
        try:
            return path.exists()
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> InputError:
        return InputError(
            f"output: cannot write a run into {shown_path(self.path)}: {system_reason(error)}; or give another folder "
            "with --output"
        )

    def open(self) -> None:
        """Create the folder, and remove files that a killed process left unfinished.

        Raises InputError if the folder cannot be created or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                remove_unfinished(self.path)
        except OSError as error:
            raise self._unusable(error) from None

    def clear_search(self, *, journal: bool = True) -> None:
        """Remove the files of a search and the copies of its journal; with ``journal``, also the journal."""
        names = ("search-scores.jsonl", "progress.json")
        owned = [self.result, self.schedule, *(self.path / name for name in names), *[self.journal] * journal]
        for file in (*owned, *self.path.glob("study.journal.*")):
            file.unlink(missing_ok=True)

    def read(self, path: Path) -> dict[str, Any]:
        """Read one of the folder's JSON files. Raises InputError if it is missing or damaged."""
        remedy = "restore it, or start again with --overwrite"
        record = read_json(path, remedy=remedy)
        if not isinstance(record, dict):
            raise InputError(f"{shown_path(path)} is damaged: it must be an object, got {shown(record)}; {remedy}")
        return record

    def write_schedule(self, record: Mapping[str, Any], name: str = "schedule.yaml") -> None:
        """Write a schedule file. ``record`` holds everything except the format."""
        budgets = [dict(entry) for entry in record.get("budgets", ())]
        for entry in budgets:
            if entry.get("policy", "") is None:
                del entry["policy"]  # a budget of counts is written as by versions without policies
        content = {"format": format_for(record), **record, "budgets": budgets}
        body = yaml_text(redacted(content), default_flow_style=None, width=120)
        header = HEADER if format_for(record) == FORMAT else HEADER + POLICY_HEADER
        write_text(self.path / name, header + body)

    def write_json(self, name: str, record: Mapping[str, Any]) -> Path:
        """Write one object as JSON and return the file's path."""
        return write_text(self.path / name, json.dumps(redacted(dict(record)), indent=1, allow_nan=False) + "\n")

    def write_lines(self, name: str, records: Iterable[Mapping[str, Any]]) -> Path:
        """Write one JSON object per line and return the file's path."""
        lines = (json.dumps(redacted(dict(record)), allow_nan=False) + "\n" for record in records)
        return write_text(self.path / name, "".join(lines))

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write rows with the same keys as CSV and return the file's path. Entries of a list are joined by spaces."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in redacted([dict(row) for row in rows]):
            writer.writerow({name: _csv_cell(value) for name, value in row.items()})
        return write_text(self.path / name, text.getvalue())


def _csv_cell(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def versions(model: str) -> dict[str, str]:
    """The versions of packages on which numbers can depend, for a model section of this type."""
    return package_versions(*(("transformers",) if model == "huggingface" else ()))
