"""Processes of a test: forked from a server that has imported the slow libraries, so that one starts in hundredths."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["mdm_tune.search.driver", "mdm_tune.search.storage", "optuna.storages._rdb.models", "tests.support.processes"]
)


def start(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a function of a module in a process of its own."""
    process = _CONTEXT.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def crew(work: Callable[..., None], each: Sequence[tuple[Any, ...]]) -> None:
    """Run a function at the same moment in a process per entry of ``each``, its arguments after the barrier."""
    barrier = _CONTEXT.Barrier(len(each), timeout=20)
    processes = [start(work, barrier, *arguments) for arguments in each]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(each)
