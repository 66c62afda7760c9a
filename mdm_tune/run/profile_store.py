"""A measured profile in the run folder: what it depends on, and whether the one that is there is still the same."""

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
    """What a measured profile depends on; where it is unchanged the profile is taken from the folder.

    examples: what it begins with, whether the config says so or the objective.
    """
    config, used = resolved(run.config), versions(run.config.model.type)
    adaptive = {**config["sampler"], **config["profile"], "steps": sorted(budgets)}
    return {
        "format": FORMAT,
        "versions": {name: used[name] for name in ("mdm-tune", "torch", "transformers") if name in used},
        "model": run.fingerprints["model"],
        "split": run.evaluator.split(use).fingerprint,
        "answers": file_digits(config["profile"]["answers"]),
        "profile": {"examples": examples} | {name: config["profile"][name] for name in ("points", "tolerance")},
        "block_length": None if run.evaluator.one_block else run.evaluator.block_length,  # as kept profiles have it
        "guidance": config["sampler"]["guidance"],
        "sampler": [run.config.sampler.record, run.code] if config["profile"]["answers"] == MODEL else None,
        "adaptive": None
        if adaptive["tolerance"] is None
        else {name: adaptive[name] for name in ("steps", "reveal", "counts", "monotone")},
    }


def stored_profile(folder: RunFolder, file: Path, key: dict[str, Any]) -> tuple[Profile | None, list[str]]:
    """The folder's profile, if it was made from the same model, data and settings; else in what it differs."""
    try:
        record = folder.read(file)
        changed = [name for name in key if record["key"].get(name) != key[name]]
        return (None if changed else Profile.from_record(record["profile"])), changed
    except (InputError, AttributeError, LookupError, TypeError, ValueError):
        raise InputError(f"{file} is damaged; delete it, and the profile is measured anew") from None
