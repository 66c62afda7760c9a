"""Workers on this machine: more processes of the same search, which find their work in its storage."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TextIO

from mdm_tune.commands.events import Note, RunEvent
from mdm_tune.commands.search_run import search
from mdm_tune.config.file import Config
from mdm_tune.errors import InputError, MdmTuneError
from mdm_tune.permissions import Permissions
from mdm_tune.sampling.devices import available_cpus
from mdm_tune.search.confirmation import Comparing
from mdm_tune.search.tuning import TrialDone
from mdm_tune.showing import printable, redacted

__all__ = ["Team", "shared_out"]

STOPPING = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 60.0  # seconds that workers get to write down the result that they all have


def shared_out(devices: Sequence[str], workers: int) -> list[tuple[str, ...]]:
    """The devices of each worker, dealt out in turn; where only the CPU is used, all workers use it.

    Raises InputError for fewer than one worker, and for more workers than devices where there are several.
    """
    if workers < 1:
        raise InputError(f"--workers must be at least 1, got {workers}; give 1 or leave it out")
    if tuple(devices) == ("cpu",):
        return [("cpu",)] * workers
    if workers > len(devices):
        raise InputError(
            f"--workers: each worker needs a device of its own, got {workers} workers for {len(devices)} devices "
            f"({', '.join(devices)}); give at most {len(devices)}"
        )
    return [tuple(devices[place::workers]) for place in range(workers)]


class Team:
    """The other workers of a search, one process per entry of devices; used as a context manager.

    since: when the command began, see ``search``; the workers' time began then too.
    They begin with ``start`` and end with this process. What one of them says lies in ``worker-N.log`` of the run
    folder; one that fails leaves its work to the others.
    """

    def __init__(
        self,
        config: Config,
        devices: Sequence[Sequence[str]],
        allow: Permissions = Permissions(),
        since: float | None = None,
    ) -> None:
        self.config, self.devices, self.allow = config, [tuple(names) for names in devices], allow
        self.since = since
        self.processes: list[multiprocessing.process.BaseProcess] = []

    def start(self) -> None:
        """Start the workers; the search must have begun, since they resume it."""
        every = 1 + len(self.devices)
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cpus() // every)))  # the workers inherit it
        context = multiprocessing.get_context("spawn")  # the threads of PyTorch do not survive a fork
        resource_tracker.ensure_running()  # when it starts by itself, it lets the signals through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # inherited, from the first instruction on
        try:
            for number, names in enumerate(self.devices, start=2):
                process = context.Process(
                    target=_work, args=(self.config, names, self.allow, number, self.since), name=f"worker {number}"
                )
                process.start()
                self.processes.append(process)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __enter__(self) -> Team:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        end = time.monotonic() + (PATIENCE if kind is None else 0.0)
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
            process.kill()
            process.join()

    @property
    def failed(self) -> list[str]:
        """The names of workers that ended with an error."""
        return [process.name for process in self.processes if process.exitcode not in (0, None)]


def _work(config: Config, devices: tuple[str, ...], allow: Permissions, number: int, since: float | None) -> None:
    """The life of a worker: resume the search, say everything into its log, end with its parent."""
    for each in STOPPING:
        signal.signal(each, signal.SIG_IGN)  # the parent is told, and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with (Path(config.output) / f"worker-{number}.log").open("w", encoding="utf-8", buffering=1) as log:
        try:
            search(
                config,
                resume=True,
                overwrite=False,
                notify=lambda event: _log(log, event),
                devices=devices,
                allow=allow,
                since=since,
            )
        except MdmTuneError as error:
            _write(log, f"error: {error}")
            sys.exit(1)


def _log(log: TextIO, event: RunEvent) -> None:
    match event:
        case Note():
            _write(log, f"note: {event.said}")
        case TrialDone():
            _write(log, f"trial {event.number + 1} of {event.trials}: {event.schedule.name} {event.value:.6g}")
        case Comparing():
            _write(log, f"{event.use}: {event.setting.label} at {event.setting.steps} steps")


def _write(log: TextIO, line: str) -> None:
    """One line for a reader in a terminal, as all that is said."""
    log.write(printable(redacted(line)) + "\n")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
