"""The stored profile of a run folder: what it depends on, and whether it can be used again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mdm_tune.config.file import resolved
from mdm_tune.core.errors import InputError
from mdm_tune.datasets.splits import Use
from mdm_tune.run.build import Run
from mdm_tune.run.folder import RunFolder, versions
from mdm_tune.run.profile_answers import MODEL, file_digits
from mdm_tune.schedules.profile import Profile

__all__ = ["profile_key", "stored_profile"]

FORMAT = "mdm-tune-profile-2"


def profile_key(run: Run, use: Use, budgets: Sequence[int], examples: int) -> dict[str, Any]:
    """The values that a measured profile depends on. A stored profile with the same key is used again.

    Args:
        run: The run.
        use: The split on which the profile is measured.
        budgets: The budgets whose prices the adaptive mode makes precise.
        examples: Examples at the beginning of measuring.
    """
    config, packages = resolved(run.config), versions(run.config.model.type)
    adaptive = {**config["sampler"], **config["profile"], "steps": sorted(budgets)}
    return {
        "format": FORMAT,
        "versions": {name: packages[name] for name in ("mdm-tune", "torch", "transformers") if name in packages},
        "model": run.fingerprints["model"],
        "split": run.evaluator.split(use).fingerprint,
        "answers": file_digits(config["profile"]["answers"]),
        "profile": {"examples": examples} | {name: config["profile"][name] for name in ("points", "tolerance")},
        "block_length": None if run.evaluator.one_block else run.evaluator.block_length,  # as in stored profiles
        "guidance": config["sampler"]["guidance"],
        "sampler": [run.config.sampler.record, run.code] if config["profile"]["answers"] == MODEL else None,
        "adaptive": None
        if adaptive["tolerance"] is None
        else {name: adaptive[name] for name in ("steps", "reveal", "counts", "monotone")},
    }


def stored_profile(folder: RunFolder, file: Path, key: dict[str, Any]) -> tuple[Profile | None, list[str]]:
    """Read the stored profile of a folder.

    Args:
        folder: The run folder.
        file: Path of the stored profile.
        key: The key that the profile must have, see ``profile_key``.

    Returns:
        The profile, None if its key differs; and the names of the entries that differ.

    Raises:
        InputError: If the file is damaged.
    """
    try:
        record = folder.read(file)
        changed = [name for name in key if record["key"].get(name) != key[name]]
        return (None if changed else Profile.from_record(record["profile"])), changed
    except (InputError, AttributeError, LookupError, TypeError, ValueError):
        raise InputError(f"{file} is damaged; delete it, and the profile is measured anew") from None
