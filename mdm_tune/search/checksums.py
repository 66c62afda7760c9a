"""Digests of the records that a search writes, so that an edited or damaged record is detected."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mdm_tune.core.errors import InputError

__all__ = ["SUM", "changed", "digest", "read_notes", "sealed"]

SUM = "sum"  # the attribute that holds a record's digest


def digest(task: str, params: Mapping[str, float], value: float, text: str) -> str:
    """The digest of a finished task, sixteen hex digits.

    Args:
        task: The task's name.
        params: Its parameters.
        value: Its value.
        text: Its record as JSON.
    """
    parts = [task, json.dumps(params, sort_keys=True), repr(value), text]
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest()


def sealed(key: str, value: Any) -> dict[str, Any]:
    """A note that JSON can represent, with its digest."""
    text = json.dumps(value)
    return {"note": json.loads(text), SUM: digest(key, {}, 0.0, text)}


def read_notes(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The notes by key, from what ``sealed`` returned. Raises InputError if a note does not match its digest."""
    for key, note in stored.items():
        if not isinstance(note, dict) or note.get(SUM) != digest(key, {}, 0.0, json.dumps(note.get("note"))):
            raise changed(f"note {key!r}")
    return {key: note["note"] for key, note in stored.items()}


def changed(what: str) -> InputError:
    """The error for a record that does not match its digest."""
    return InputError(
        f"the search's record of {what} is not what was written: it was edited or damaged; nothing was changed now: "
        "restore study.journal, or the database, or start again with --overwrite"
    )
