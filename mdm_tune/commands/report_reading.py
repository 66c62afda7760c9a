"""Reads a run folder for its page: results, the journal's trials, stored profiles and samples. Nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import listed, shown_path
from mdm_tune.core.reading import expanded, json_line, read_json
from mdm_tune.pages.run_reading import RunRecords, read_run
from mdm_tune.pages.run_views import RunView
from mdm_tune.pages.text_pairs import pieces_of
from mdm_tune.run.folder import RunFolder
from mdm_tune.schedules.profile import Profile

__all__ = ["PAGE", "PROGRESS", "damage_named", "read_folder", "view_of_folder"]

PAGE = "report.html"
PROGRESS = "progress.json"
RESULTS = ("search.json", "evaluate.json", "profile.json")
PAIRS = 2  # pairs of samples of each budget, from folders that do not list any
Record = dict[str, Any]


def view_of_folder(name: str) -> RunView:
    """What the page shows of a run folder.

    Args:
        name: The folder, as on the command line.

    Raises:
        InputError: If there is no such folder, if it holds neither a result nor a search, or if a file is damaged.
    """
    with damage_named(name):
        return read_run(read_folder(name))


@contextmanager
def damage_named(*names: str) -> Iterator[None]:
    """Turn errors of records that have another form into one message.

    Args:
        names: The folders of the records, as on the command line.

    Raises:
        InputError: If the block raises an error that damaged records cause.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        files = [file for file in (*RESULTS, PROGRESS) if any((Path(expanded(name)) / file).exists() for name in names)]
        raise InputError(
            f"{listed(names)}: the records ({', '.join(files)}) are damaged or of another program; restore them, or "
            "run the command that wrote them again"
        ) from None


def read_folder(name: str) -> RunRecords:
    """The records of a run folder.

    Args:
        name: The folder, as on the command line.

    Raises:
        InputError: As ``view_of_folder``, except for records of the wrong form.
    """
    try:
        path = Path(expanded(name))
        exists = path.is_dir()
    except (OSError, ValueError) as error:
        raise InputError(f"report: cannot use {shown_path(name)} as a folder ({error}); give a run folder") from None
    if not exists:
        raise InputError(f"report: {shown_path(path)} is no folder; give the run folder of a search, such as runs/text")
    folder = RunFolder(path)
    search, evaluate, profile = (_object(path / file) for file in RESULTS)
    identity, progress = _object(folder.identity), None
    if search is None:
        progress = _object(path / PROGRESS)
        if progress is None and folder.has(folder.journal):
            progress = _progress(identity or {}, path)
    if search is evaluate is profile is progress is None:
        raise InputError(
            f"report: {shown_path(path)} holds no result: none of {', '.join(RESULTS)} and no search; give a run "
            "folder, or run mdm-tune search or evaluate first"
        )
    if progress is not None and progress.get("state") != "stopped" and _left(folder):
        progress = {**progress, "state": "stopped"}
    return RunRecords(
        name=path.resolve().name,
        path=str(path),
        search=search,
        evaluate=evaluate,
        profile=profile,
        identity=identity,
        progress=progress,
        curves=_curves(path, identity or {}),
        trials=_trials(folder, search or progress or {}),
        pairs=[] if _has_pairs(search, evaluate) else _pairs(path / "search-scores.jsonl", search or {}),
    )


def _object(path: Path) -> Record | None:
    """The object in a JSON file; None if there is no such file. Raises InputError if it is damaged."""
    if not path.exists():
        return None
    record = read_json(path, remedy="restore it, or run the command that wrote it again")
    if not isinstance(record, dict):
        raise InputError(f"{shown_path(path)} is damaged: it must be an object; run the command that wrote it again")
    return record


def _progress(identity: Record, path: Path) -> Record:
    """The progress of a search of which only its journal is known."""
    config = identity.get("config") or {}
    steps = (config.get("sampler") or {}).get("steps") or []
    total = len(steps) * int((config.get("search") or {}).get("trials") or 0)
    return {
        "state": "running",
        "stage": "the trials that the journal holds",
        "done": 0,
        "total": total,
        "started": "",
        "updated": "",
        "steps": steps,
        "resume": f"mdm-tune search {path / 'config.yaml'} --output {path} --resume",
    }


def _left(folder: RunFolder) -> bool:
    """Whether the journal says that no process drives the search any more."""
    from mdm_tune.run.search_state import drives

    return folder.has(folder.journal) and not drives(folder)


def _trials(folder: RunFolder, record: Mapping[str, Any]) -> dict[int, list[Record]]:
    """The trials of the journal, if the result does not list them."""
    budgets = record.get("budgets")
    if not folder.has(folder.journal) or (budgets and all(budget.get("trial_points") for budget in budgets)):
        return {}
    from mdm_tune.search.journal_trials import journal_trials

    return journal_trials(folder.journal)


def _curves(path: Path, identity: Record) -> list[Record]:
    """The stored profiles of the folder. Those that cannot be read are left out: a page does not need them."""
    settings = (identity.get("config") or {}).get("profile") or {}
    found = []
    for file in sorted(path.glob("profile-values*.json")):
        if file.name.startswith("profile-values-choose"):
            continue
        try:
            profile = Profile.from_record(read_json(file)["profile"])
            intervals = profile.intervals
            pricing = profile.smoothed if settings.get("monotone") is False else profile.monotone
            found.append(
                {
                    "block_length": profile.block_length,
                    "length": profile.length,
                    "vocab_size": profile.vocab_size,
                    "exact": profile.exact,
                    "examples": len(profile.values),
                    "revealed": profile.revealed.tolist(),
                    "cross_entropy": profile.mean.tolist(),
                    "cross_entropy_ci": None if intervals is None else intervals.tolist(),
                    "pricing_curve": (pricing * profile.scale).tolist(),
                }
            )
        except (InputError, LookupError, TypeError, ValueError):
            continue
    return found


def _has_pairs(*records: Record | None) -> bool:
    return any("sample_pairs" in record for record in records if record is not None)


def _pairs(path: Path, search: Record) -> list[Record]:
    """The first samples of linear and of each winner that differ, from the scores of examples of an older search."""
    if not path.exists():
        return []
    found, linear = list[Record](), dict[tuple[int, str], Record]()
    wanted = {budget["steps"]: budget for budget in search.get("budgets") or () if isinstance(budget, dict)}
    counted: dict[int, int] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                record = json_line(line, path.name)
                steps, key = record["steps"], (record["steps"], record["id"])
                budget = wanted.get(steps)
                if budget is None:
                    continue
                if record["schedule"] == budget.get("linear", "linear"):
                    linear[key] = record
                elif record["schedule"].startswith("beta:") and key in linear and counted.get(steps, 0) < PAIRS:
                    first = linear[key]
                    if first["text"] != record["text"]:
                        counted[steps] = counted.get(steps, 0) + 1
                        found.append(_pair(first, record))
    except (InputError, OSError, KeyError, TypeError, AttributeError, json.JSONDecodeError):
        return found
    return found


def _pair(first: Record, second: Record) -> Record:
    pieces = pieces_of(first["text"], second["text"])
    sides = [
        {"schedule": side["schedule"], "value": side["value"], "pieces": own}
        for side, own in zip((first, second), pieces, strict=True)
    ]
    return {"steps": second["steps"], "id": second["id"], "chosen": "first", "first": sides[0], "second": sides[1]}
