"""Ctrl-C and SIGTERM end a command with 130 from its first instruction on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.test_start import CONFIG, run

# A command in a process of its own that gets a signal when a module begins to be loaded for the first time: before its
# first instruction (find_spec) or when it asks for something inside. argv: the module, the signal, the command.
CHILD = """
import os, sys
target, number, sys.argv = sys.argv[1], int(sys.argv[2]), ["mdm-tune", *sys.argv[3:]]
class Finder:
    def find_spec(self, name, path=None, where=None):
        if name == target:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), number)
finder = Finder()
import mdm_tune.__main__ as entry
sys.meta_path.insert(0, finder)
entry.main()
"""


NATIVE = """
import os, sys
number, sys.argv = int(sys.argv[1]), ["mdm-tune", *sys.argv[2:]]
import builtins
from mdm_tune.core import signals
raises = signals.raise_on_signals
def then_imports():
    raises()
    import numpy
    class Loader:
        def create_module(self, spec): return None
        def exec_module(self, module):
            try:
                os.kill(os.getpid(), number)
                for _ in range(1000): pass  # where the exception would come
            except BaseException:
                raise ImportError("an extension module failed to import")  # as NumPy's own answer in C
    class Finder:
        def find_spec(self, name, path=None, where=None):
            from importlib.machinery import ModuleSpec
            return ModuleSpec(name, Loader()) if name == "extension" else None
    sys.meta_path.insert(0, Finder())
    import extension
    import time
    time.sleep(30)
    print("not interrupted")
import mdm_tune.cli, mdm_tune.commands.flags
mdm_tune.commands.flags.raise_on_signals = then_imports
mdm_tune.cli.main()
"""


SWALLOWED = """
import os, sys
from mdm_tune.core import signals
number, raises = int(sys.argv.pop()), signals.raise_on_signals
def then_swallows():
    raises()
    try:
        os.kill(os.getpid(), number)
        for _ in range(1000): pass
    except KeyboardInterrupt as error:
        if MODE == "else":
            raise RuntimeError("code of others made another error of it") from error
import mdm_tune.cli, mdm_tune.commands.flags
mdm_tune.commands.flags.raise_on_signals = then_swallows
mdm_tune.cli.main()
"""


FORKING = """
import logging, os, subprocess, sys, time
from mdm_tune.core import signals
number, lock = int(sys.argv[1]), logging._lock
class Signalling:  # Python gives the lock of logging back after a fork, and drops whatever that raises
    def acquire(self): lock.acquire()
    def _at_fork_reinit(self): lock._at_fork_reinit()
    def release(self):
        os.kill(os.getpid(), number)
        for _ in range(1000): pass  # where the exception would come
        lock.release()
signals.raise_on_signals()
logging._lock = Signalling()
try:
    subprocess.run(["true"], preexec_fn=lambda: None)
    logging._lock = lock
    time.sleep(30)
except KeyboardInterrupt:
    print("interrupted")
"""


def check_interrupted(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 130, done.stderr
    assert "interrupted" in done.stderr and "Traceback" not in done.stderr and "Error" not in done.stderr


@pytest.mark.parametrize(
    ("module", "number"),
    [
        ("mdm_tune.cli", signal.SIGINT),
        ("typer", signal.SIGTERM),
        ("rich.console", signal.SIGINT),
        ("mdm_tune.commands.evaluate", signal.SIGTERM),
        ("numpy._core._multiarray_umath", signal.SIGTERM),  # its failure is an ImportError
        ("torch._C", signal.SIGINT),
        ("pydantic_core", signal.SIGTERM),
    ],
)
def test_a_signal_in_any_import_of_the_start_ends_the_command(
    module: str, number: signal.Signals, tmp_path: Path
) -> None:
    done = run(CHILD, module, str(int(number)), "evaluate", CONFIG, "--output", str(tmp_path / "run"))
    check_interrupted(done)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_later_import_waits_for_its_end(number: signal.Signals, tmp_path: Path) -> None:
    done = run(NATIVE, str(int(number)), "search", CONFIG, "--output", str(tmp_path / "run"))
    check_interrupted(done)
    assert "resume with: mdm-tune search" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("mode", ["else", "nothing"])
def test_a_signal_that_code_of_others_catches_still_ends_the_command(mode: str, tmp_path: Path) -> None:
    code = f"MODE = {mode!r}\n{SWALLOWED}"
    done = run(code, "search", CONFIG, "--output", str(tmp_path / "run"), str(int(signal.SIGINT)))
    check_interrupted(done)


def test_a_command_started_with_ctrl_c_ignored_keeps_ignoring_it() -> None:
    code = "import signal; signal.signal(2, signal.SIG_IGN); import mdm_tune.__main__; print(signal.getsignal(2).name)"
    assert run(code).stdout == "SIG_IGN\n"


def test_what_a_spawned_process_loads_changes_no_signal() -> None:
    code = "import multiprocessing.spawn, signal; import mdm_tune.__main__; print(signal.getsignal(15).name)"
    assert run(code).stdout == "SIG_DFL\n"


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="logging has no function of its own around a fork")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_another_process_is_made_is_not_lost(number: int) -> None:
    """As Ray's processes are, with a function that runs in them before the program."""
    done = run(FORKING, str(int(number)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
