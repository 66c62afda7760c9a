"""The hostile programs under each protection that this machine has; scripts/hostile_programs.py runs all under all."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from mdm_tune.benchmarks.execution_probe import protection
from mdm_tune.benchmarks.execution_process import Job, run_job
from tests.benchmarks.test_execution import layers_of
from tests.support.hostile import running
from tests.support.hostile.forgeries import TESTS, WORD

ROOT = Path(__file__).parents[2]


def test_there_are_many_and_each_has_its_own_text() -> None:
    assert running.COUNT >= 163
    for texts in (running.FORGERIES.values(), running.ESCAPES.values(), [text for text, _ in running.ENDINGS.values()]):
        assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("mode", running.MODES)
def test_no_pass_is_forged(mode: str) -> None:
    layers = layers_of(mode)
    assert running.forged(layers) == []
    honest = Job(f"def answer(n): return {WORD!r}", TESTS, names=("answer",))
    assert run_job(honest, layers=layers)[0].verdict == "passed"  # these tests can be passed


@pytest.mark.parametrize("mode", running.MODES)
def test_nothing_outside_is_reached(mode: str) -> None:
    layers = layers_of(mode)
    assert running.escaped(layers, running.kinds_of(protection(layers).lost)) == []


def test_attempts_that_are_not_held_would_be_seen() -> None:
    """Without any protection several of each kind get through, so that the test above says something."""
    (said, changed) = running.escaped(())
    for kind in ("processes", "reading"):
        assert f"{kind}: " in said
    assert changed.startswith("changed: ")


def test_programs_that_take_too_much_end_as_they_should() -> None:
    assert running.ended_otherwise(layers_of("all")) == []


@pytest.mark.parametrize("mode", [name for name in running.MODES if name != "all"])
def test_programs_that_leave_a_lot_behind_end_as_they_should(mode: str) -> None:
    names = ["nested folders", "many files", "folder with no rights", "fork bomb", "shared answer", "floods errors"]
    assert running.ended_otherwise(layers_of(mode), names) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run the tests as another user")
def test_the_same_holds_for_a_user_without_rights() -> None:
    python = running.python_for("nobody")
    if python is None:
        pytest.skip("there is no Python 3.11 or newer that nobody may run")
    command = [python, str(ROOT / "scripts" / "hostile_programs.py"), "--json", "--part", "escaped,some"]
    done = subprocess.run(command, **running.as_("nobody"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(done.stdout)
    held = {name: each for name, each in record.items() if "skipped" not in each}
    assert set(record) == set(running.MODES) and held, record
    for name, each in held.items():
        assert each["escaped"] == each["some"] == [], name
