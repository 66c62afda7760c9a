"""A schedule file as an object of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mdm_tune.run.build import Run
from mdm_tune.run.schedule_records import ScheduleFileRecord

__all__ = ["Record", "schedule_file_record"]

Record = dict[str, Any]


def schedule_file_record(run: Run, budgets: Sequence[Record]) -> Record:
    """A schedule file of these budgets, without its warnings."""
    found = ScheduleFileRecord.of(run, budgets, ()).to_json()
    del found["warnings"]
    return found
