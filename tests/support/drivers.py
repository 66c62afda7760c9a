"""What tests of drivers share: a record of one that is elsewhere, and processes that drive until they are killed."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage

from mdm_tune.search.driver import Driver, SearchName, _events, _latest_claim, _record, _write, driving
from mdm_tune.search.storage import open_storage

RUN = SearchName.plain("run")
FAR: dict[str, Any] = {"host": "node7", "machine": "7" * 32, "boot": "7", "space": "pid:[4026531836]"}


def claimed_by(storage: BaseStorage, run: str, **changes: Any) -> Driver:
    """Write that another driver, like this process but for the changes, has taken a run and has not left it."""
    driver = replace(Driver.here(), **changes)
    record = _record(f"claim of {driver.pid} on {driver.host}", _latest_claim(_events(storage, run), run)[0])
    _write(storage, run, {**record, "driver": vars(driver)})
    return driver


def drive(where: Path | str, told: Path, run: str = "run") -> None:
    """Drive a run until this process is killed."""
    with driving(open_storage(where), SearchName.plain(run)) as state:
        state.once("begun", lambda: {"pid": os.getpid()})
        told.write_text("driving")
        time.sleep(600)


def wait_for(told: Path) -> None:
    while not (told.exists() and told.read_text() == "driving"):
        time.sleep(0.005)
