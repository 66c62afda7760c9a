"""Peers' code runs in a fork of the process of the tests, which has loaded torch already."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest
import torch
import transformers  # noqa: F401 - some peers import it

from mdm_tune.exports import peer_process, peer_runs


@pytest.fixture
def new_interpreter() -> None:
    """For tests in which a peer's code runs as the command runs it."""


@pytest.fixture(autouse=True)
def forked_peers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork where the command starts a new interpreter, unless a test asks for ``new_interpreter``."""
    if "new_interpreter" in request.fixturenames or not hasattr(os, "fork"):
        return

    def ended(asked: Path, answered: Path) -> tuple[int, str]:
        errors = answered.with_name("stderr.txt")
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), errors.read_text("utf-8")
        code = 1
        try:
            monkeypatch.undo()  # modules that a test replaces in this process are not those of the peer
            torch.set_num_threads(1)  # threads do not survive a fork
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT, 0o600), 2)
            peer_runs.main(str(asked), str(answered))
            code = 0
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)

    monkeypatch.setattr(peer_process, "_ended", ended)
