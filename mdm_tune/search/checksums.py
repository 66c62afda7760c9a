"""A digest beside what a search writes down, so that a record that was edited or cut is told from one that was not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mdm_tune.core.errors import InputError

__all__ = ["SUM", "changed", "digest", "read_notes", "sealed"]

SUM = "sum"  # the attribute that holds a digest of what was written


def digest(task: str, params: Mapping[str, float], value: float, text: str) -> str:
    """Sixteen hex digits of all that a finished task holds."""
    parts = [task, json.dumps(params, sort_keys=True), repr(value), text]
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest()


def sealed(key: str, value: Any) -> dict[str, Any]:
    """A note that JSON can hold, with its digest."""
    text = json.dumps(value)
    return {"note": json.loads(text), SUM: digest(key, {}, 0.0, text)}


def read_notes(kept: Mapping[str, Any]) -> dict[str, Any]:
    """What was noted, by key; raises InputError for a note that is not what was written."""
    for key, each in kept.items():
        if not isinstance(each, dict) or each.get(SUM) != digest(key, {}, 0.0, json.dumps(each.get("note"))):
            raise changed(f"note {key!r}")
    return {key: each["note"] for key, each in kept.items()}


def changed(what: str) -> InputError:
    """The error to raise where a record is not what its digest says."""
    return InputError(
        f"the search's record of {what} is not what was written: it was edited or damaged; nothing was changed now: "
        "restore study.journal, or the database, or start again with --overwrite"
    )
