"""A search that is killed again and again, from a process of its own, so that forks start in no time."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import optuna.samplers  # noqa: F401  # imported before the forks
import scipy.stats.qmc  # noqa: F401
import torch
import yaml

from mdm_tune.commands.search import search
from mdm_tune.config.file import load_config
from mdm_tune.core.errors import MdmTuneError

LONGEST = 0.05  # seconds from a sign of life to a kill, at most


def kill_and_resume(config: Path, folder: Path, kills: int, seed: int, told: Path) -> None:
    """Kill ``kills`` searches at random moments, then let one end.

    Writes one JSON object to ``told``: kills that hit, wounds given to the journal, and what every interruption left.
    """
    torch.set_num_threads(1)  # threads do not survive a fork
    chance = random.Random(seed)
    journal = folder / "study.journal"
    hit, torn, locks, known = 0, 0, 0, dict[int, float]()
    while hit < kills:
        child = os.fork()
        if child == 0:
            run(config, folder)
        before, patient = finished(journal), chance.random() < 0.8  # most searches get somewhere, however slow
        gone, status = 0, 0
        while patient and finished(journal) == before and not gone:
            time.sleep(0.01)
            gone, status = os.waitpid(child, os.WNOHANG)
        time.sleep(chance.uniform(0.0, LONGEST))
        if not gone:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            raise SystemExit(f"the search ended after {hit} kills with {os.WEXITSTATUS(status)}; make it longer")
        hit += 1
        readable(folder)
        now = finished(journal)
        assert known.items() <= now.items(), (known, now)
        known = now
        if hit % 5 == 0 and journal.exists():  # what a kill in the middle of a write would leave
            with journal.open("ab") as file:
                file.write(b'{"op_code":6,"worker_id":"torn')
            torn += 1
        if hit % 7 == 3 and journal.exists():
            lock = journal.with_name(f"{journal.name}.lock")
            lock.unlink(missing_ok=True)
            lock.symlink_to(journal)  # as Optuna's own lock is left by a kill
            locks += 1
    child = os.fork()
    if child == 0:
        run(config, folder)
    _, status = os.waitpid(child, 0)
    now = finished(journal)
    found: dict[str, Any] = {
        "kills": hit,
        "torn": torn,
        "locks": locks,
        "kept": known.items() <= now.items(),
        "before_the_last": len(known),
        "code": os.waitstatus_to_exitcode(status),
    }
    told.write_text(json.dumps(found), "utf-8")


def run(config: Path, folder: Path) -> None:
    """One attempt, in a child: resume and end the process."""
    try:
        search(load_config(config, output=str(folder)), resume=True, overwrite=False, notify=lambda event: None)
    except MdmTuneError as error:
        print(error, file=sys.stderr)
        os._exit(1)
    os._exit(0)


def finished(journal: Path) -> dict[int, float]:
    """Values of finished trials, read from the journal line by line without this package: by line."""
    found: dict[int, float] = {}
    for number, line in enumerate(journal.read_bytes().splitlines() if journal.exists() else ()):
        try:
            record = json.loads(line)
        except ValueError:
            continue  # the torn tail
        if record.get("op_code") == 4 and "task" in record.get("user_attrs", {}):
            found[number] = record["value"]
    return found


def readable(folder: Path) -> None:
    """Every file that has its final name is whole."""
    for path in folder.glob("*.json"):
        json.loads(path.read_text("utf-8"))
    for path in folder.glob("*.yaml"):
        yaml.safe_load(path.read_text("utf-8"))
