"""One process at a time drives a search: a second is refused, a dead one is seen to be dead, an ousted one stops."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import BaseStorage, InMemoryStorage

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.search import driver as module
from mdm_tune.search.driver import Driver, SearchName, begin_anew, driving, holds_run, refuse_second_in, remove_run
from mdm_tune.search.storage import open_storage
from tests.support.drivers import FAR, RUN, claimed_by, drive, wait_for
from tests.support.processes import crew, start


def taken(storage: BaseStorage, **more: Any) -> None:
    """Drive for a moment."""
    with driving(storage, RUN, **more) as state:
        state.check()


def trials(where: Path | str, study: str) -> list[Any]:
    storage = open_storage(where)
    return storage.get_all_trials(storage.get_study_id_from_name(study))


# Who lives


def test_a_second_driver_is_refused_and_told_who_drives(where: Path | str) -> None:
    here = Driver.here()
    with driving(open_storage(where), RUN) as state:
        state.once("one", lambda: {"by": 1})
        for take_over in (False, True):  # one that is seen to live is not taken over
            with pytest.raises(InputError) as caught:
                taken(open_storage(where), take_over=take_over)
            who = f"the search run is driven by process {os.getpid()} on {here.host} since 20"
            assert str(caught.value).startswith(who) and "\n" not in str(caught.value)
            assert str(caught.value).endswith("; wait for it, end it, or give another name")
        assert state.once("one", dict) == {"by": 1}  # who drives is not disturbed
        state.once("two", dict)
    taken(open_storage(where))  # it has left


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_a_driver_that_fails_or_is_interrupted_has_left(where: Path | str, error: type[BaseException]) -> None:
    with pytest.raises(error), driving(open_storage(where), RUN):
        raise error
    assert trials(where, "run/drivers")[-1].user_attrs["left"]
    taken(open_storage(where))


def test_runs_of_other_names_have_drivers_of_their_own(where: Path | str) -> None:
    with driving(open_storage(where), RUN), driving(open_storage(where), SearchName.plain("run.two")) as state:
        state.check()


def test_a_killed_driver_is_seen_to_be_dead(where: Path | str, tmp_path: Path) -> None:
    process = start(drive, where, tmp_path / "told")
    wait_for(tmp_path / "told")
    with pytest.raises(InputError, match=rf"is driven by process {process.pid} on "):
        taken(open_storage(where))
    process.kill()
    process.join()
    with driving(open_storage(where), RUN) as state:
        assert state.once("begun", dict) == {"pid": process.pid}


def test_a_dead_process_that_nobody_has_waited_for_is_dead() -> None:
    storage = InMemoryStorage()
    with subprocess.Popen(["sleep", "600"]) as process:
        claimed_by(storage, "run", pid=process.pid, started=module._start_ticks(process.pid))
        with pytest.raises(InputError, match=f"process {process.pid} on"):
            taken(storage)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
        assert Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "Z"
        taken(storage)


def test_a_process_number_that_another_process_has_now_is_dead() -> None:
    storage = InMemoryStorage()
    claimed_by(storage, "run", pid=os.getppid(), started="1")
    taken(storage)


def test_a_driver_of_this_process_that_could_not_say_that_it_left_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = InMemoryStorage()
    with monkeypatch.context() as patch, driving(storage, RUN):
        patch.setattr(module, "_events", None)  # the storage is away when the block ends
    study = storage.get_study_id_from_name("run/drivers")
    assert len(storage.get_all_trials(study)) == 1
    taken(storage)


@pytest.mark.parametrize(
    "changes",
    [
        FAR,
        {"host": "node7"},  # the same container image, or a copy of a machine
        {"space": "pid:[1]"},  # another container, or this one before it was started again
        {"boot": "7", "machine": "7" * 32},  # another machine of that name
        {"boot": "7", "machine": ""},
        {"boot": "7", "space": "pid:[1]"},  # a container of another machine, which may share its machine's id
        {"boot": ""},  # where the kernel says nothing
        {"started": ""},
        {"pid": -1},
    ],
)
def test_a_driver_of_which_nothing_can_be_seen_is_only_taken_over_when_asked(changes: dict[str, Any]) -> None:
    storage = InMemoryStorage()
    driver = claimed_by(storage, "run", **changes)
    with pytest.raises(InputError) as caught:
        taken(storage)
    assert str(caught.value) == (
        f"the search run is driven by process {driver.pid} on {driver.host} since {driver.since}, and from here it "
        "cannot be seen whether that still runs; if it does not, add --take-over"
    )
    taken(storage, take_over=True)
    taken(storage)


def test_a_driver_from_before_this_machine_was_started_again_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_machine_ids", lambda: ("here", "1" * 32, "1", module.FIRST_SPACE))
    storage = InMemoryStorage()
    claimed_by(storage, "run", boot="0")
    taken(storage)


def test_where_processes_cannot_be_looked_up_nothing_is_known_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Path", lambda text: Path("/no") / text.lstrip("/"))
    driver = Driver.here()
    assert (driver.boot, driver.started) == ("", "") and driver.runs is None


def test_this_process_runs_and_is_told_from_others() -> None:
    driver = Driver.here()
    assert driver.runs and driver.pid == os.getpid()
    assert driver.started == Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    assert Driver.read(vars(driver)) == driver
    assert replace(driver, pid=2**31).runs is False
    assert Driver.read({**vars(driver), "more": 1}) == driver  # what a later version may write
    for damaged in ({**vars(driver), "pid": "1"}, {**vars(driver), "host": None}, {}, None, "x", 3):
        assert Driver.read(damaged) is None


def test_a_claim_whose_record_cannot_be_read_is_not_passed_over() -> None:
    storage = InMemoryStorage()
    module._write(storage, "run", {"claim": "x", "after": "", "driver": {"pid": "?"}})
    with pytest.raises(InputError, match="is driven by a process whose record cannot be read, and from here"):
        taken(storage)
    taken(storage, take_over=True)


# Who comes first


def begin(barrier: threading.Barrier, where: Path | str, log: Path) -> None:
    storage = open_storage(where)
    barrier.wait()
    try:
        with driving(storage, RUN) as state:
            state.once("mine", lambda: {"pid": os.getpid()})
            log.write_text("drove")
            barrier.wait()  # it does not leave before all have tried
    except InputError as error:
        log.write_text(str(error))
        barrier.wait()


@pytest.mark.parametrize("dead", [False, True], ids=["new", "after-a-dead-one"])
def test_of_processes_that_begin_at_the_same_moment_one_drives(where: Path | str, tmp_path: Path, dead: bool) -> None:
    if dead:
        claimed_by(open_storage(where), "run", pid=os.getppid(), started="1")
    logs = [tmp_path / f"log-{number}" for number in range(4)]
    crew(begin, [(where, log) for log in logs])
    told = [log.read_text() for log in logs]
    assert told.count("drove") == 1
    refused = [text for text in told if text != "drove"]
    assert all(text.startswith("the search run is driven by process ") and " on " in text for text in refused)
    assert len({text.split(" since ")[0] for text in refused}) == 1  # all name the one that drives
    assert len(trials(where, "run/made")) == 1


def test_threads_that_begin_at_the_same_moment(where: Path | str) -> None:
    barrier, storages = threading.Barrier(4, timeout=20), [open_storage(where) for _ in range(4)]

    def work(storage: BaseStorage) -> bool:
        barrier.wait()
        try:
            with driving(storage, RUN):
                barrier.wait()
                return True
        except InputError:
            barrier.wait()
            return False

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, storages)) == 1


def turns(left: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Every order in which processes can take so many steps each."""
    if not any(left):
        yield ()
    for who, count in enumerate(left):
        if count:
            for rest in turns((*left[:who], count - 1, *left[who + 1 :])):
                yield (who, *rest)


@pytest.mark.parametrize("before", [[], [{"drivers": "run", "claim": "old", "after": ""}]], ids=["new", "after-a-dead"])
def test_whatever_the_order_of_looks_and_claims_one_drives(before: list[Any]) -> None:
    """All 1,680 of three processes, each of which looks, claims where nobody else drives, and looks again."""
    orders = list(turns((3, 3, 3)))
    assert len(orders) == len(set(orders)) == 1680
    for order in orders:
        events, step, seen, drives = list(before), [0, 0, 0], ["", "", ""], set[int]()
        for who in order:
            latest, _ = module._latest_claim(events, "run")
            if step[who] == 0:
                seen[who] = latest if latest in ("", "old") else "refused"
            elif step[who] == 1 and seen[who] != "refused":
                events.append({"drivers": "run", "claim": f"{who}", "after": seen[who]})
            elif step[who] == 2 and latest == f"{who}":
                drives.add(who)
            step[who] += 1
        assert len(drives) == 1, order


def meanwhile(monkeypatch: pytest.MonkeyPatch, storage: BaseStorage, act: Any) -> None:
    """Let another act between the look of a process and its claim."""
    create = storage.create_new_trial

    def late(*arguments: Any, **named: Any) -> int:
        monkeypatch.setattr(storage, "create_new_trial", create)
        act()
        return int(create(*arguments, **named))

    monkeypatch.setattr(storage, "create_new_trial", late)


def test_a_claim_that_comes_second_does_not_count(where: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, other = open_storage(where), driving(open_storage(where), RUN)
    states = list[module.DriverState]()
    meanwhile(monkeypatch, storage, lambda: states.append(other.__enter__()))
    with pytest.raises(InputError, match=rf"process {os.getpid()} on .*, which began at the same moment; wait"):
        taken(storage)
    states[0].once("x", dict)
    other.__exit__(None, None, None)
    taken(storage)


def test_a_claim_beside_one_that_has_left_again_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was faster may have changed what the second had looked at."""
    storage = InMemoryStorage()
    meanwhile(monkeypatch, storage, lambda: taken(storage))
    with pytest.raises(InputError, match="driven by another process, which has left, which began at the same moment"):
        taken(storage)


# What an ousted driver does


def test_after_a_takeover_the_next_write_of_the_old_driver_fails_and_changes_nothing(where: Path | str) -> None:
    storage = open_storage(where)
    with driving(storage, RUN) as old:
        ledger = old.ledger("steps-8")
        ledger.write("0", 1.0, {"by": "old"})
        new = claimed_by(open_storage(where), "run", **FAR)
        before = [len(trials(where, name)) for name in ("run/drivers", "run/steps-8")]
        for write in (
            lambda: ledger.write("1", 1.0, {}),
            lambda: ledger.note("ended", 1),
            lambda: old.once("x", dict),
            lambda: old.ledger("steps-16").write("0", 1.0, {}),
            old.check,
        ):
            with pytest.raises(RunError) as caught:
                write()
            assert str(caught.value) == (
                f"the search run was taken over by process {new.pid} on node7 since {new.since}; this process writes "
                "nothing more, and what it had finished is kept"
            )
        assert [*ledger.finished()] == ["0"]
    assert [len(trials(where, name)) for name in ("run/drivers", "run/steps-8")] == before  # nor has it left
    assert sorted(study.study_name for study in open_storage(where).get_all_studies()) == ["run/drivers", "run/steps-8"]
    with pytest.raises(InputError, match=r"driven by process .* on node7"):
        taken(open_storage(where))


def test_a_driver_stays_ousted_when_the_other_has_left() -> None:
    storage = InMemoryStorage()
    with driving(storage, RUN) as old:
        claimed_by(storage, "run", **FAR)
        taken(storage, take_over=True)
        with pytest.raises(RunError, match="was taken over by another process, which has left; this process writes"):
            old.once("x", dict)


def test_a_run_that_is_removed_keeps_who_drives_it() -> None:
    storage = InMemoryStorage()
    with driving(storage, SearchName.plain("run.two")) as state:
        state.once("x", dict)
    with driving(storage, RUN) as old:
        assert not holds_run(storage, "run")  # a claim alone is nothing yet
        old.once("x", dict)
        old.ledger("steps-8").write("0", 1.0, {})
        assert holds_run(storage, "run") and not holds_run(storage, "ru")
        remove_run(storage, "run")
        assert not holds_run(storage, "run") and holds_run(storage, "run.two")
        old.check()
        with pytest.raises(InputError):
            taken(storage)


def test_an_ousted_driver_whose_run_was_removed_is_told_so(where: Path | str) -> None:
    """By --overwrite of another: what it reads is gone."""
    with driving(open_storage(where), RUN) as old:
        old.once("x", dict)
        assert [*old.made.finished()] == ["x"]
        storage = open_storage(where)
        claimed_by(storage, "run", **FAR)
        remove_run(storage, "run")
        with pytest.raises(RunError, match=r"was taken over by process \d+ on node7"):
            old.once("y", dict)


def test_each_session_leaves_two_small_entries(tmp_path: Path) -> None:
    """Who drove is a line of a journal, and that it left another, so that a search may be begun again for years."""
    journal = tmp_path / "study.journal"
    for _ in range(3):
        taken(open_storage(journal))
    assert len(trials(journal, "run/drivers")) == 6
    size = journal.stat().st_size
    taken(open_storage(journal))
    assert journal.stat().st_size - size < 2000


# A journal that is begun anew


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "study.journal"
    with driving(open_storage(path), RUN) as state:
        state.once("old", dict)
    yield path
    assert [each.name for each in tmp_path.iterdir()] == ["study.journal"]


def damage(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"\0\xff damaged\n", *lines[1:]]))
    with pytest.raises(InputError, match="is damaged"):
        open_storage(path)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_journal_is_begun_anew_by_its_driver(journal: Path, damaged: bool) -> None:
    if damaged:
        damage(journal)
    claim = begin_anew(journal, RUN)
    with driving(open_storage(journal), RUN, claim=claim) as state:
        assert state.made.finished() == {}
        state.once("new", dict)
        with pytest.raises(InputError, match="is driven by process"):
            begin_anew(journal, RUN)
        assert [*state.made.finished()] == ["new"]
    with driving(open_storage(journal), RUN) as state:
        assert [*state.made.finished()] == ["new"]


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("far", [False, True])
def test_a_journal_that_somebody_drives_is_left_as_it_is(journal: Path, damaged: bool, far: bool) -> None:
    """Also one that is damaged, before anything is opened."""
    claimed_by(open_storage(journal), "run", **(FAR if far else {"pid": 1, "started": module._start_ticks(1)}))
    if damaged:
        damage(journal)
    before = journal.read_bytes()
    for refused in (refuse_second_in, begin_anew):
        with pytest.raises(InputError, match="is driven by process"):
            refused(journal, RUN)
    assert journal.read_bytes() == before
    if far:
        begin_anew(journal, RUN, take_over=True)
        assert journal.read_bytes() != before


def test_the_driver_of_a_journal_that_was_replaced_stops(journal: Path) -> None:
    with driving(open_storage(journal), RUN) as old:
        old.once("x", dict)
        lines = [line for line in journal.read_bytes().splitlines(keepends=True) if b'"claim"' not in line]
        journal.write_bytes(b"".join(lines))  # nobody can be seen to drive it
        begin_anew(journal, RUN)
        with pytest.raises(RunError, match=r"study\.journal cannot be"):
            old.once("y", dict)
    with driving(open_storage(journal), RUN, take_over=True) as state:
        assert state.made.finished() == {}


def anew(barrier: threading.Barrier, path: Path, log: Path) -> None:
    barrier.wait()
    try:
        claim = begin_anew(path, RUN)
        with driving(open_storage(path), RUN, claim=claim) as state:
            state.once("mine", dict)
            log.write_text("drove")
            barrier.wait()
    except InputError:
        barrier.wait()


def test_of_processes_that_begin_a_journal_anew_at_the_same_moment_one_drives(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    taken(open_storage(path))
    logs = [tmp_path / f"log-{number}" for number in range(4)]
    crew(anew, [(path, log) for log in logs])
    assert sum(log.exists() for log in logs) == 1
