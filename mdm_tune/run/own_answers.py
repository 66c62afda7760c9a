"""The model's own answers of a run: drawn once, and stored with the search and in the run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mdm_tune.core.errors import InputError
from mdm_tune.datasets.splits import USES, Use
from mdm_tune.evaluation.own_answers import Keep, OwnAnswers, own_task
from mdm_tune.run.build import Run
from mdm_tune.run.folder import RunFolder, versions

__all__ = ["one_token_rows", "own_uses", "prepare_own_answers", "with_own_answers"]

FORMAT = "mdm-tune-own-answers-1"
Record = dict[str, Any]


def with_own_answers(run: Run, folder: RunFolder | None, keep: Keep | None = None) -> Run:
    """The same run, whose filler draws the model's own answers if its metrics need them.

    They are written to the run folder. A search stores them with its state too, so that a search that goes on does not
    draw them again. Other commands read those of the folder, at no cost, if they are of the same model, data and
    sampler.

    Args:
        run: The run.
        folder: The run folder; None stores nothing.
        keep: Returns the stored record of a name; makes and stores it if there is none. None for the folder alone.
    """
    if run.own is None or run.dataset is None:
        return run
    evaluator, splits = run.evaluator, run.dataset.splits
    uses: dict[str, Use] = {own_task(split): use for use, split in splits.items()}

    def kept(task: str, make: Callable[[], Record]) -> Record:
        assert folder is not None
        file, key = folder.own_answers(uses[task]), _key(run, uses[task])
        if keep is None and (stored := _stored(folder, file, key)) is not None:
            return {"tokens": stored, "cost": [0, 0, 0.0]}
        record = make() if keep is None else keep(task, make)
        folder.open()
        folder.write_json(file.name, {"key": key, "tokens": record["tokens"]})
        return record

    return run.judged_by(OwnAnswers(evaluator.one_by_one, splits, None if folder is None else kept))


def own_uses(run: Run) -> tuple[Use, ...]:
    """The splits whose examples a search compares with the model's own answers."""
    if run.own is None:
        return ()
    return ("report",) if run.evaluator.own is None else USES


def prepare_own_answers(run: Run) -> None:
    """Draw the model's own answers that a search needs, if they are not stored."""
    for use in own_uses(run):
        assert run.own is not None
        run.own.of(run.evaluator.split(use))


def one_token_rows(run: Run, uses: Sequence[Use]) -> int:
    """The denoiser rows of filling splits with one token per step, as the model's own answers are drawn."""
    forwards: int = getattr(run.evaluator.denoiser, "forwards", 1)
    return forwards * sum(int(run.evaluator.split(use).hidden.sum()) for use in uses)


def _key(run: Run, use: Use) -> Record:
    """What the answers depend on."""
    packages = versions(run.config.model.type)
    return {
        "format": FORMAT,
        "versions": {name: packages[name] for name in ("mdm-tune", "torch", "transformers") if name in packages},
        "model": run.fingerprints["model"],
        "split": run.evaluator.split(use).fingerprint,
        "block_length": None if run.evaluator.one_block else run.evaluator.block_length,
        "sampler": run.config.sampler.record,
    }


def _stored(folder: RunFolder, file: Path, key: Record) -> str | None:
    """The stored answers; None if there are none, or if they are of another run. Raises InputError if damaged."""
    if not folder.has(file):
        return None
    try:
        record = folder.read(file)
        return str(record["tokens"]) if record["key"] == key else None
    except (InputError, LookupError):
        raise InputError(f"{file} is damaged; delete it, and the model's own answers are drawn anew") from None
