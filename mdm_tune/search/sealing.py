"""A digest beside what a search writes down, so that a record that was edited or cut is told from one that was not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from mdm_tune.errors import InputError

__all__ = ["changed", "digest"]


def digest(task: str, params: Mapping[str, float], value: float, text: str) -> str:
    """Sixteen hex digits of all that a finished task holds."""
    parts = [task, json.dumps(params, sort_keys=True), repr(value), text]
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest()


def changed(what: str) -> InputError:
    """The error to raise where a record is not what its digest says."""
    return InputError(
        f"the search's record of {what} is not what was written: it was edited or damaged; nothing was changed now: "
        "restore study.journal, or the database, or start again with --overwrite"
    )
