"""The schedule file and the run folder: written atomically, read without torch."""

from __future__ import annotations

import csv
import io
import json
import platform
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from mdm_tune.errors import InputError
from mdm_tune.files import remove_unfinished, write_text
from mdm_tune.messages import shown_path, system_reason
from mdm_tune.schedules import Schedule, parse_schedule
from mdm_tune.showing import redacted
from mdm_tune.version import __version__

__all__ = ["RunFolder", "ScheduleBudget", "ScheduleFile", "load_schedule", "versions"]

FORMAT = "mdm-tune-schedule-1"
HEADER = """\
# A tuned mask schedule. Per budget: `counts` tokens are revealed at steps 1..K (summing to `length`, which is the mean
# of many, rounded, where `lengths` does not say fixed; `schedule` is the curve for any other length), blocks of
# `block_length` positions from left to right, or `alphas`, the expected revealed share at each step's start and end,
# for ancestral reveal. Time runs from all masked to data.
"""


@dataclass(frozen=True)
class ScheduleBudget:
    """One budget of a schedule file: exactly one of counts (tokens per step) and alphas (from 0 to 1) is set.

    block_length: of the blocks that the counts fill from left to right, the whole length for one block; None where the
    file does not say.
    """

    steps: int
    schedule: Schedule
    counts: tuple[int, ...] | None
    alphas: tuple[float, ...] | None
    block_length: int | None = None


@dataclass(frozen=True)
class ScheduleFile:
    """A schedule file: sequence length in tokens, budgets by number of steps, and everything else as it stands."""

    length: int
    budgets: dict[int, ScheduleBudget]
    record: Mapping[str, Any]

    def at(self, steps: int) -> ScheduleBudget:
        """The budget tuned for ``steps``; raises InputError naming those that there are."""
        if steps not in self.budgets:
            known = ", ".join(map(str, sorted(self.budgets)))
            raise InputError(
                f"the schedule file was tuned for steps {known}, got {steps}; use one of them or search again"
            )
        return self.budgets[steps]


def load_schedule(path: str | Path) -> ScheduleFile:
    """Read a schedule file, or the one in a run folder; needs no torch. Raises InputError naming what is wrong."""
    file = Path(path)
    file = file / "schedule.yaml" if file.is_dir() else file
    try:
        record = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"cannot read the schedule file {file}: {reason}; give a schedule.yaml of a search") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        got = repr(record.get("format")) if isinstance(record, dict) else "no such line"
        raise InputError(
            f"{file} is not a schedule file: it must say format: {FORMAT}, got {got}; give one that a search wrote"
        )
    try:
        budgets = [_budget(entry, int(record["length"])) for entry in record["budgets"]]
        if not budgets:
            raise ValueError("there must be at least one budget")
        return ScheduleFile(int(record["length"]), {budget.steps: budget for budget in budgets}, record)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, InputError) as error:
        raise InputError(f"{file} is damaged ({error!r}); restore it or search again") from None


def _budget(entry: Mapping[str, Any], length: int) -> ScheduleBudget:
    steps = int(entry["steps"])
    counts = None if entry["counts"] is None else tuple(int(count) for count in entry["counts"])
    alphas = None if entry["alphas"] is None else tuple(float(alpha) for alpha in entry["alphas"])
    if (counts is None) == (alphas is None):
        raise ValueError("exactly one of counts and alphas must be given")
    if len(counts or (alphas or ())[1:]) not in range(1, steps + 1):  # fewer where there are fewer tokens than steps
        raise ValueError(f"a budget of {steps} steps must have counts for them, got {counts or alphas}")
    if counts is not None and (min(counts) < 0 or sum(counts) != length):
        raise ValueError(f"counts must not be negative and sum to the length {length}, got {list(counts)}")
    if alphas is not None and (alphas[0] != 0 or alphas[-1] != 1 or list(alphas) != sorted(alphas)):
        raise ValueError(f"alphas must increase from 0 to 1, got {list(alphas)}")
    size = entry.get("block_length")
    if size is not None and (counts is None or not isinstance(size, int) or size < 1 or length % size):
        raise ValueError(f"block_length goes with counts and divides the length {length}, got {size!r}")
    return ScheduleBudget(steps, parse_schedule(entry["schedule"]), counts, alphas, size)


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

    def profile(self, use: str, mark: str = "") -> Path:
        """Where the profile measured on a split is kept. mark: tells it from those in other blocks."""
        return self.path / f"profile-values{'' if use == 'tune' else f'-{use}'}{mark}.json"

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

    def clear_search(self) -> None:
        """Remove what a search wrote, and nothing else."""
        owned = (self.result, self.schedule, self.journal, self.path / "search-scores.jsonl")
        for file in (*owned, *self.path.glob("study.journal.*")):
            file.unlink(missing_ok=True)

    def read(self, path: Path) -> dict[str, Any]:
        """One of the folder's JSON files; raises InputError where it is missing or damaged."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {path} ({error}); restore it, or start again with --overwrite") from None
        if not isinstance(record, dict):
            raise InputError(f"{path} is damaged; restore it, or start again with --overwrite")
        return record

    def write_schedule(self, record: Mapping[str, Any], name: str = "schedule.yaml") -> None:
        """Write a schedule file; ``record`` holds everything but the format."""
        body = yaml.safe_dump(
            redacted({"format": FORMAT, **record}), sort_keys=False, default_flow_style=None, width=120
        )
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
    names = ("torch", "optuna", "numpy", "scipy", *(("transformers",) if model == "huggingface" else ()))
    libraries = {name: metadata.version(name) for name in names}
    return {"mdm-tune": __version__, "python": platform.python_version(), **libraries}
