"""The trials in a journal, read without opening it as a storage: for pages of runs without a result that lists them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mdm_tune.search.journal import operations

__all__ = ["journal_trials"]

STUDY = re.compile(r".*/steps-(\d+)(?:-blocks-(\d+))?")  # as ``budget`` names the ledger of a budget's trials
Record = dict[str, Any]


def journal_trials(path: Path) -> dict[int, list[Record]]:
    """The finished trials of each budget, as ``run.page_records.TrialPoint`` has them.

    Lines and trials that cannot be read are left out.

    Args:
        path: The journal's path.

    Returns:
        The trials by budget, by number; {} if there is no journal.

    Raises:
        InputError: If the journal cannot be read.
    """
    names: list[str | None] = []
    found: dict[str, dict[int, Record]] = {}
    for log in operations(path):
        kind = log["op_code"]
        if kind == 0 and log["study_name"] not in names:
            names.append(log["study_name"])
        elif kind == 1 and 0 <= log["study_id"] < len(names):
            found.pop(str(names[log["study_id"]]), None)
            names[log["study_id"]] = None
        elif kind == 4 and 0 <= log["study_id"] < len(names):
            name = names[log["study_id"]] or ""
            if STUDY.fullmatch(name) and (point := _point(log, name)) is not None:
                found.setdefault(name, {}).setdefault(point["number"], point)
    trials: dict[int, list[Record]] = {}
    for name, points in found.items():
        match = STUDY.fullmatch(name)
        if match is not None:
            trials.setdefault(int(match[1]), []).extend(points[number] for number in sorted(points))
    return trials


def _point(log: Record, study: str) -> Record | None:
    """The trial of an operation; None if it is none or cannot be read."""
    match = STUDY.fullmatch(study)
    try:
        attributes, params = log["user_attrs"], log["params"]
        pieces = [key for key in attributes if key.startswith("record.")]
        record = json.loads("".join(attributes[f"record.{place}"] for place in range(len(pieces))))
        values, dropped = record["values"], record["dropped"]
        return {
            "number": int(attributes["task"]),
            "a": float(params["a"]),
            "b": float(params["b"]),
            "block_length": int(match[2]) if match is not None and match[2] else None,
            "value": float(log["value"]),
            "examples": len(values) if values is not None else dropped or None,
            "fresh": bool(record["fresh"]),
            "dropped": dropped is not None,
            "cut": bool(record.get("cut")),
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
