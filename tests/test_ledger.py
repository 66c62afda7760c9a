"""Every task of a ledger is held by one living worker at a time and finished once, in a journal and in a database."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from optuna import load_study
from optuna.storages import BaseStorage
from optuna.trial import TrialState, create_trial

from mdm_tune.search import ledger as ledger_module
from mdm_tune.search.ledger import Claim, Entry, Ledger, Worker
from mdm_tune.search.sealing import digest
from mdm_tune.search.storage import open_storage
from tests.processes import crew, start

BOX = {"a": (0.1, 10.0), "b": (0.1, 10.0)}


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables, which take a while to make."""
    file = tmp_path_factory.mktemp("database") / "study.db"
    open_storage(f"sqlite:///{file}")
    return file


@pytest.fixture(params=["journal", "sqlite"])
def where(request: pytest.FixtureRequest, tmp_path: Path, empty_database: Path) -> Path | str:
    if request.param == "journal":
        return tmp_path / "study.journal"
    return f"sqlite:///{shutil.copy(empty_database, tmp_path / 'study.db')}"


class Machines:
    """Opens ledgers of workers that may be on other machines, with one clock that the test turns."""

    def __init__(self, where: Path | str, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> None:
        self.where, self.monkeypatch, self.stack, self.now = where, monkeypatch, stack, 0.0

    def worker(self, machine: str | None = None, renew: float = 1e6) -> tuple[Worker, BaseStorage]:
        storage = open_storage(self.where)
        with self.monkeypatch.context() as patch:
            if machine is not None:
                patch.setattr(ledger_module, "_machine", lambda: machine)
            worker = Worker(storage, "run", lease=60.0, renew=renew, clock=lambda: self.now)
        self.stack.enter_context(worker)
        return worker, storage

    def ledger(self, machine: str | None = None) -> Ledger:
        worker, storage = self.worker(machine)
        return Ledger(storage, "run/8", worker)


JOURNAL = pytest.mark.parametrize("where", ["journal"], indirect=True)  # for what is the same in all storages


@pytest.fixture
def machines(where: Path | str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    with ExitStack() as stack:
        yield Machines(where, monkeypatch, stack)


@pytest.fixture
def ledger(machines: Machines) -> Ledger:
    return machines.ledger()


def taken(ledger: Ledger, task: str, *rest: Any) -> Claim:
    claim = ledger.claim(task, *rest)
    assert claim is not None
    return claim


def states(where: Path | str) -> Counter[str]:
    study = load_study(study_name="run/8", storage=open_storage(where))
    return Counter(trial.state.name for trial in study.get_trials(deepcopy=False))


def test_a_task_is_claimed_finished_and_read_by_another_process(ledger: Ledger, machines: Machines) -> None:
    claim = taken(ledger, "one", {"a": 0.1 + 0.2, "b": 1e-7}, BOX)  # b lies outside the box
    assert (claim.task, claim.params) == ("one", {"a": 0.1 + 0.2, "b": 1e-7})
    other = machines.ledger()
    for book in (ledger, other):
        assert book.held() == {"one": Entry("one", {"a": 0.1 + 0.2, "b": 1e-7}, None, {})}
        assert book.finished() == {} and book.claim("one") is None
    record = {"key": [0.1 + 0.2, 1e-300, math.inf], "cost": [3, 4.5], "text": "ü\n\"'\\", "none": None, "fresh": True}
    claim.finish(-1 / 3, record)
    for book in (ledger, other, machines.ledger()):
        assert book.finished() == {"one": Entry("one", {"a": 0.1 + 0.2, "b": 1e-7}, -1 / 3, record)}
        assert book.held() == {} and book.claim("one") is None


def test_params_outside_and_inside_the_box_may_follow_each_other(ledger: Ledger) -> None:
    for number, value in enumerate((50.0, 0.5, 0.001, 10.0)):
        taken(ledger, str(number), {"a": value}, BOX).finish(0.0, {})
    assert [entry.params for entry in ledger.finished().values()] == [{"a": v} for v in (50.0, 0.5, 0.001, 10.0)]


@pytest.mark.parametrize("value", [math.inf, -math.inf, 0, 1e-320])
def test_any_value_but_nan(ledger: Ledger, value: float) -> None:
    taken(ledger, "one").finish(value, {})
    assert ledger.finished()["one"].value == value


def test_a_large_record(ledger: Ledger, machines: Machines) -> None:
    record = {"values": [math.sqrt(i) for i in range(50_000)], "text": '"\\' * 30_000}
    began = time.monotonic()
    taken(ledger, "one").finish(1.0, record)
    assert machines.ledger().finished()["one"].record == record
    assert time.monotonic() - began < 10


@JOURNAL
def test_no_attribute_is_too_long_for_mysql(machines: Machines, where: Path | str) -> None:
    book = machines.ledger()
    taken(book, "one").finish(1.0, {"text": '"\\ü' * 30_000})
    (trial,) = load_study(study_name="run/8", storage=open_storage(where)).trials
    assert max(len(ledger_module.json.dumps(value)) for value in trial.user_attrs.values()) < 2**16


def test_finished_tasks_come_in_the_order_of_their_claims(ledger: Ledger) -> None:
    claims = [taken(ledger, task) for task in "cab"]
    assert list(ledger.held()) == [*"cab"]
    for claim in reversed(claims):
        claim.finish(1.0, {})
    assert list(ledger.finished()) == [*"cab"]


def test_a_released_task_is_free_again(ledger: Ledger, machines: Machines, where: Path | str) -> None:
    claim = taken(ledger, "one")
    claim.release()
    assert ledger.held() == {} and ledger.finished() == {}
    taken(machines.ledger(), "one").finish(2.0, {})
    claim.finish(1.0, {})
    claim.report(0, 1.0)
    claim.release()
    assert ledger.finished()["one"].value == 2.0
    assert states(where) == {"FAIL": 1, "COMPLETE": 1}


def test_reports_are_intermediate_values(ledger: Ledger, where: Path | str) -> None:
    claim = taken(ledger, "one")
    for step in (8, 64):
        claim.report(step, step / 3)
    claim.finish(1.0, {})
    (trial,) = load_study(study_name="run/8", storage=open_storage(where)).trials
    assert trial.intermediate_values == {8: 8 / 3, 64: 64 / 3}


def test_notes_and_direction_stay(ledger: Ledger, machines: Machines, where: Path | str) -> None:
    ledger.note("points", [[0.5, 2.0]])
    assert machines.ledger().notes == ledger.notes == {"points": [[0.5, 2.0]]}
    worker, storage = machines.worker()
    Ledger(storage, "up", worker, "maximize").note("x", 1)
    assert load_study(study_name="up", storage=open_storage(where)).direction.name == "MAXIMIZE"
    assert Ledger(storage, "up", worker, "maximize").notes == {"x": 1}


@JOURNAL
def test_of_two_finished_trials_of_a_task_the_first_counts(ledger: Ledger, where: Path | str) -> None:
    storage, attrs = open_storage(where), {"task": "one", "worker": "x", "record.0": "{}"}
    for value in (1.0, 2.0):
        trial = create_trial(value=value, user_attrs={**attrs, "sum": digest("one", {}, value, "{}")})
        storage.create_new_trial(storage.get_study_id_from_name("run/8"), template_trial=trial)
    assert [entry.value for entry in ledger.finished().values()] == [1.0]


@JOURNAL
def test_trials_without_a_task_are_not_the_ledgers(ledger: Ledger, where: Path | str) -> None:
    study = load_study(study_name="run/8", storage=open_storage(where))
    study.tell(study.ask(), 1.0)
    study.ask()
    assert ledger.finished() == ledger.held() == {}
    taken(ledger, "0").finish(2.0, {})
    assert [*ledger.finished()] == ["0"]


# Who lives


def abandon(where: Path | str, ready: Path | None = None) -> None:
    storage = open_storage(where)
    worker = Worker(storage, "run").__enter__()
    taken(Ledger(storage, "run/8", worker), "one").report(0, 1.0)
    if ready is None:
        os._exit(0)
    ready.touch()
    time.sleep(60)


def test_the_task_of_a_killed_process_is_free_at_once(ledger: Ledger, where: Path | str, tmp_path: Path) -> None:
    process = start(abandon, where, tmp_path / "ready")
    while not (tmp_path / "ready").exists():
        time.sleep(0.005)
    assert [*ledger.held()] == ["one"] and ledger.claim("one") is None
    process.kill()
    process.join()
    assert ledger.held() == {}
    taken(ledger, "one").finish(2.0, {})
    assert states(where) == {"FAIL": 1, "COMPLETE": 1}


@JOURNAL
def test_a_dead_process_that_nobody_has_waited_for_is_dead(machines: Machines, where: Path | str) -> None:
    book, (stranger, storage) = machines.ledger(), machines.worker()
    with subprocess.Popen(["sleep", "60"]) as process:
        started = ledger_module._started(process.pid)
        stranger.id = "/".join([ledger_module._machine(), str(process.pid), str(started), "12345678"])
        assert Ledger(storage, "run/8", stranger).claim("one") is not None
        assert book.claim("one") is None
        process.kill()
        deadline = time.monotonic() + 10
        while book.held() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "Z"
        assert book.held() == {} and book.claim("one") is not None


@JOURNAL
def test_a_process_number_that_another_process_has_now_is_dead(machines: Machines) -> None:
    book, (stranger, storage) = machines.ledger(), machines.worker()
    stranger.id = "/".join([ledger_module._machine(), str(os.getppid()), "1", "12345678"])
    assert Ledger(storage, "run/8", stranger).claim("one") is not None
    assert book.held() == {} and book.claim("one") is not None


@JOURNAL
def test_a_worker_that_left_holds_nothing_though_its_process_lives(machines: Machines, where: Path | str) -> None:
    book, storage = machines.ledger(), open_storage(where)
    with Worker(storage, "run") as worker:
        left = Ledger(storage, "run/8", worker)
        assert left.claim("one") is not None
        assert book.claim("one") is None
    assert left.held() == book.held() == {}
    assert book.claim("one") is not None


@JOURNAL
def test_a_worker_of_another_machine_lives_while_its_counter_changes(machines: Machines) -> None:
    book = machines.ledger()
    far, storage = machines.worker("far")
    assert Ledger(storage, "run/8", far).claim("one") is not None
    for count in range(1, 4):
        assert book.claim("one") is None
        machines.now += 59
        assert [*book.held()] == ["one"]
        far._count(count)
        machines.now += 59  # only what this worker sees counts, not when it was written
        assert [*book.held()] == ["one"]
    machines.now += 60
    assert [*book.held()] == ["one"]
    machines.now += 1
    assert book.held() == {} and book.claim("one") is not None


@JOURNAL
def test_a_worker_of_another_container_is_judged_by_its_counter(machines: Machines) -> None:
    book = machines.ledger()
    machine, _, space = ledger_module._machine().rpartition("/")
    assert space == str(Path("/proc/self/ns/pid").readlink())
    far, storage = machines.worker(f"{machine}/pid:[1]")
    assert Ledger(storage, "run/8", far).claim("one") is not None
    assert [*book.held()] == ["one"]
    machines.now += 61
    assert book.held() == {}


def test_what_a_slow_worker_finishes_after_its_task_was_taken_over_is_dropped(
    machines: Machines, where: Path | str
) -> None:
    book = machines.ledger()
    slow_book = machines.ledger("far")
    slow = taken(slow_book, "one")
    assert book.claim("one") is None
    machines.now += 61
    claim = taken(book, "one")
    slow.report(3, 3.0)
    slow.finish(1.0, {"who": "slow"})
    assert book.finished() == slow_book.finished() == {} and [*book.held()] == ["one"]
    claim.finish(2.0, {"who": "quick"})
    slow.finish(1.0, {"who": "slow"})
    assert {task: entry.record for task, entry in slow_book.finished().items()} == {"one": {"who": "quick"}}
    assert states(where) == {"FAIL": 1, "COMPLETE": 1}


def test_a_worker_taken_for_dead_that_finishes_first_has_finished(
    machines: Machines, where: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = machines.ledger()
    slow = taken(machines.ledger("far"), "one")
    assert book.claim("one") is None
    machines.now += 61
    living = book._worker.living

    def finish_meanwhile(workers: Any) -> set[str]:
        alive = living(workers)
        slow.finish(1.0, {})
        return alive

    monkeypatch.setattr(book._worker, "living", finish_meanwhile)
    assert book.claim("one") is None
    assert book.finished()["one"].value == 1.0 and states(where) == {"COMPLETE": 1}


# Who comes first


def interleaved(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch, before: Callable[[], None] | None, after: Any
) -> None:
    """Let another worker act between the steps of a claim that uses ``storage``."""
    create = storage.create_new_trial

    def create_new_trial(*arguments: Any, **named: Any) -> int:
        if before is not None:
            before()
        trial: int = create(*arguments, **named)
        if after is not None:
            after()
        return trial

    monkeypatch.setattr(storage, "create_new_trial", create_new_trial)


def test_the_first_of_two_claims_at_the_same_moment_gets_the_task(
    machines: Machines, where: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = machines.ledger()
    worker, storage = machines.worker()
    book, got = Ledger(storage, "run/8", worker), []
    interleaved(storage, monkeypatch, lambda: got.append(other.claim("early")), lambda: got.append(other.claim("late")))
    assert book.claim("early") is None and got[0] is not None
    assert book.claim("late") is None  # the other took it during the claim before
    monkeypatch.undo()
    interleaved(storage, monkeypatch, None, lambda: got.append(other.claim("new")))
    assert book.claim("new") is not None and got[-1] is None
    assert [*book.held()] == [*other.held()] == ["early", "late", "new"]
    assert states(where) == {"RUNNING": 3, "FAIL": 1}


def test_a_task_finished_between_the_steps_of_a_claim_is_not_repeated(
    machines: Machines, where: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = machines.ledger()
    worker, storage = machines.worker()
    interleaved(storage, monkeypatch, lambda: taken(other, "one").finish(1.0, {}), None)
    assert Ledger(storage, "run/8", worker).claim("one") is None
    assert states(where) == {"COMPLETE": 1, "FAIL": 1}


@JOURNAL
def test_two_who_find_the_same_orphan_do_not_both_go_without(
    machines: Machines, where: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(abandon, where).join()
    other = machines.ledger()
    worker, storage = machines.worker()
    change = storage.set_trial_state_values

    def set_trial_state_values(trial: int, state: TrialState, *values: Any) -> bool:
        monkeypatch.undo()
        taken(other, "one").release()
        return change(trial, state, *values)

    monkeypatch.setattr(storage, "set_trial_state_values", set_trial_state_values)
    assert Ledger(storage, "run/8", worker).claim("one") is not None
    assert states(where) == {"FAIL": 2, "RUNNING": 1}


def share(barrier: threading.Barrier, where: Path | str, number: int, tasks: int, log: Path) -> None:
    barrier.wait()
    storage = open_storage(where)
    lines = []
    with Worker(storage, "run") as worker:
        book = Ledger(storage, "run/8", worker)
        barrier.wait()
        for task in range(tasks):
            claim = book.claim(str(task), {"a": task + 1.0}, BOX)
            if claim is not None:
                claim.report(0, number)
                claim.finish(task / 7, {"who": number})
                lines.append(str(task))
    log.write_text(" ".join(lines))


def test_two_processes_share_the_tasks(where: Path | str, machines: Machines, tmp_path: Path) -> None:
    logs, tasks = [tmp_path / "0", tmp_path / "1"], 60 if isinstance(where, Path) else 12
    crew(share, [(where, number, tasks, log) for number, log in enumerate(logs)])
    finished = machines.ledger().finished()
    assert {task: (entry.params, entry.value) for task, entry in finished.items()} == {
        str(task): ({"a": task + 1.0}, task / 7) for task in range(tasks)
    }
    for number, log in enumerate(logs):
        told = log.read_text().split()
        assert told or not isinstance(where, Path)  # SQLite may make one of two wait to the end
        assert sorted(told) == sorted(t for t, entry in finished.items() if entry.record == {"who": number})
    assert states(where)["COMPLETE"] == tasks and states(where)["RUNNING"] == 0


# The lease


@JOURNAL
def test_a_worker_counts_while_it_is_at_work_and_says_when_it_leaves(where: Path | str) -> None:
    def counter() -> Any:
        return load_study(study_name="run/workers", storage=open_storage(where)).user_attrs.get(worker.id)

    worker = Worker(open_storage(where), "run", lease=0.2)
    assert counter() is None
    with worker:
        deadline = time.monotonic() + 10
        while counter() < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert counter() >= 3
    assert counter() == ledger_module.ENDED
    time.sleep(0.15)
    assert counter() == ledger_module.ENDED
    assert "lease" not in {thread.name for thread in threading.enumerate()}


def test_a_lease_outlives_a_storage_that_fails_for_a_while(
    where: Path | str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    storage, failed = open_storage(where), threading.Event()

    def fail(*arguments: Any) -> None:
        failed.set()
        raise RuntimeError("away")

    with Worker(storage, "run", renew=0.01) as worker:
        with monkeypatch.context() as patch:
            patch.setattr(storage, "set_study_user_attr", fail)
            assert failed.wait(10)
        deadline = time.monotonic() + 10
        while not (count := storage.get_study_user_attrs(worker._study)[worker.id]) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert count > 0
        monkeypatch.setattr(storage, "set_study_user_attr", fail)
    assert capfd.readouterr() == ("", "")


@JOURNAL
def test_each_worker_has_its_own_id(where: Path | str) -> None:
    storage = open_storage(where)
    one, two = Worker(storage, "run"), Worker(storage, "run")
    assert one.id != two.id
    machine, pid, started, _ = one.id.rsplit("/", 3)
    assert machine == ledger_module._machine() and int(pid) == os.getpid()
    assert started == Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    assert one.living([one.id, two.id]) == {one.id, two.id} and one.living([]) == set()


@JOURNAL
def test_where_processes_cannot_be_looked_up_only_counters_tell(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "Path", lambda text: Path("/no") / text.lstrip("/"))
    book, (gone, storage) = machines.ledger(), machines.worker()
    with subprocess.Popen(["true"]) as process:
        pass
    gone.id = "/".join([gone.id.rsplit("/", 3)[0], str(process.pid), "None", "12345678"])
    left = Ledger(storage, "run/8", gone)
    assert left.claim("one") is not None
    assert [*book.held()] == ["one"]
    machines.now += 61
    assert book.held() == {} and [*left.held()] == ["one"]
