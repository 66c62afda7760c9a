"""What is written into a ledger is read as it was written, in a journal and in a database, and is there once or not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from optuna import load_study
from optuna.storages import InMemoryStorage
from optuna.trial import create_trial

from mdm_tune.search import ledger as ledger_module
from mdm_tune.search.checksums import digest
from mdm_tune.search.ledger import Ledger, LedgerEntry, study_of
from mdm_tune.search.storage import open_storage

BOX = {"a": (0.1, 10.0), "b": (0.1, 10.0)}


JOURNAL = pytest.mark.parametrize("where", ["journal"], indirect=True)  # for what is the same in all storages


def opened(where: Path | str, **more: Any) -> Ledger:
    """The ledger as another process sees it."""
    return Ledger(open_storage(where), "run/8", **more)


def test_an_entry_is_read_by_another_process_as_it_was_written(where: Path | str) -> None:
    ledger, params = opened(where), {"a": 0.1 + 0.2, "b": 1e-7}  # b lies outside the box
    record = {"key": [0.1 + 0.2, 1e-300, math.inf], "cost": [3, 4.5], "text": "ü\n\"'\\", "none": None, "fresh": True}
    assert ledger.finished() == opened(where).finished() == {}
    ledger.write("one", -1 / 3, record, params, BOX)
    for each in (ledger, opened(where)):
        assert each.finished() == {"one": LedgerEntry(task="one", params=params, value=-1 / 3, record=record)}


def test_a_ledger_that_is_only_read_is_not_made(where: Path | str) -> None:
    ledger = opened(where)
    assert (ledger.finished(), ledger.notes) == ({}, {})
    assert open_storage(where).get_all_studies() == []


def test_params_outside_and_inside_the_box_may_follow_each_other(where: Path | str) -> None:
    ledger = opened(where)
    for number, value in enumerate((50.0, 0.5, 0.001, 10.0)):
        ledger.write(str(number), 0.0, {}, {"a": value}, BOX)
    assert [entry.params for entry in ledger.finished().values()] == [{"a": v} for v in (50.0, 0.5, 0.001, 10.0)]


@pytest.mark.parametrize("value", [math.inf, -math.inf, 0, 1e-320])
def test_any_value_but_nan(where: Path | str, value: float) -> None:
    opened(where).write("one", value, {})
    assert opened(where).finished()["one"].value == value


def test_a_large_record(where: Path | str) -> None:
    record = {"values": [math.sqrt(i) for i in range(50_000)], "text": '"\\' * 30_000}
    opened(where).write("one", 1.0, record)
    assert opened(where).finished()["one"].record == record


@JOURNAL
def test_no_attribute_is_too_long_for_mysql(where: Path | str) -> None:
    opened(where).write("one", 1.0, {"text": '"\\ü' * 30_000})
    (trial,) = load_study(study_name="run/8", storage=open_storage(where)).trials
    assert max(len(ledger_module.json.dumps(value)) for value in trial.user_attrs.values()) < 2**16


def test_an_entry_is_one_write(where: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a process that is killed leaves it whole or not at all: in a journal it is one line."""
    ledger, written = opened(where), list[str]()
    ledger.write("zero", 0.0, {})
    for name in ("create_new_study", "create_new_trial", "set_trial_user_attr", "set_study_user_attr"):
        method = getattr(type(ledger._storage), name)

        def count(*arguments: Any, name: str = name, method: Any = method, **named: Any) -> Any:
            written.append(name)
            return method(*arguments, **named)

        monkeypatch.setattr(type(ledger._storage), name, count)
    lines = where.read_bytes().count(b"\n") if isinstance(where, Path) else 0
    ledger.write("one", 1.0, {"text": "x" * 100_000}, {"a": 1.0}, BOX, {8: 0.5})
    assert written == ["create_new_trial"]
    assert not isinstance(where, Path) or where.read_bytes().count(b"\n") == lines + 1


def test_entries_come_in_the_order_in_which_they_were_written(where: Path | str) -> None:
    for task in "cab":
        opened(where).write(task, 1.0, {})
    assert list(opened(where).finished()) == [*"cab"]


def test_looks_are_intermediate_values_of_a_complete_trial(where: Path | str) -> None:
    opened(where).write("one", 1.0, {}, {"a": 2.0}, BOX, {8: 8 / 3, 64: 64 / 3})
    (trial,) = load_study(study_name="run/8", storage=open_storage(where)).trials
    assert trial.intermediate_values == {8: 8 / 3, 64: 64 / 3}
    assert (trial.state.name, trial.value, trial.params) == ("COMPLETE", 1.0, {"a": 2.0})


def test_notes_and_direction_stay(where: Path | str) -> None:
    ledger = opened(where)
    ledger.note("points", [[0.5, 2.0]])
    assert opened(where).notes == ledger.notes == {"points": [[0.5, 2.0]]}
    Ledger(open_storage(where), "up", "maximize").note("x", 1)
    assert load_study(study_name="up", storage=open_storage(where)).direction.name == "MAXIMIZE"
    assert Ledger(open_storage(where), "up", "maximize").notes == {"x": 1}


def test_what_is_made_once_is_kept(where: Path | str) -> None:
    made = list[int]()

    def make() -> dict[str, Any]:
        made.append(1)
        return {"by": len(made), "pair": (1, 2)}

    assert opened(where).once("task", make) == opened(where).once("task", make) == {"by": 1, "pair": [1, 2]}
    assert len(made) == 1


def test_what_could_not_be_made_is_made_by_the_next() -> None:
    ledger = Ledger(InMemoryStorage(), "run/made")
    with pytest.raises(ZeroDivisionError):
        ledger.once("task", lambda: {"by": 1 // 0})
    assert ledger.once("task", lambda: {"by": 2}) == {"by": 2}


@JOURNAL
def test_of_two_entries_of_a_task_the_first_counts(where: Path | str) -> None:
    storage = open_storage(where)
    for value in (1.0, 2.0):
        attrs = {"task": "one", "record.0": "{}", "sum": digest("one", {}, value, "{}")}
        trial = create_trial(value=value, user_attrs=attrs)
        storage.create_new_trial(study_of(storage, "run/8"), template_trial=trial)
    assert [entry.value for entry in opened(where).finished().values()] == [1.0]


@JOURNAL
def test_trials_without_a_task_are_not_the_ledgers(where: Path | str) -> None:
    opened(where).write("0", 2.0, {})
    study = load_study(study_name="run/8", storage=open_storage(where))
    study.tell(study.ask(), 1.0)
    study.ask()
    assert [*opened(where).finished()] == ["0"]


def test_a_guard_that_raises_keeps_everything_as_it_is(where: Path | str) -> None:
    guarded = opened(where, guard=lambda: 1 // 0)
    for write in (lambda: guarded.write("one", 1.0, {}), lambda: guarded.note("x", 1)):
        with pytest.raises(ZeroDivisionError):
            write()
    assert open_storage(where).get_all_studies() == []
    opened(where).write("one", 1.0, {})
    assert [*guarded.finished()] == ["one"]  # reading is free


@JOURNAL
def test_a_study_made_by_another_process_at_the_same_moment_is_used(
    where: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(where)
    create = storage.create_new_study

    def late(*arguments: Any) -> int:
        opened(where).write("one", 1.0, {})
        return create(*arguments)

    monkeypatch.setattr(storage, "create_new_study", late)
    ledger = Ledger(storage, "run/8")
    ledger.write("two", 2.0, {})
    assert [*ledger.finished()] == ["one", "two"]
