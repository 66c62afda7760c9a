"""What a search logs to an experiment tracker, read back by the trackers' own libraries.

Covers: trackers.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mdm_tune.commands import search as search_module
from mdm_tune.commands import tracking as tracking_module
from mdm_tune.commands.dry_run import dry_run
from mdm_tune.commands.events import Note, RunEvent
from mdm_tune.commands.search import search
from mdm_tune.commands.trackers import MODULES, Beginning, Row
from mdm_tune.commands.tracking import Tracking
from mdm_tune.config.file import Config, load_config, resolved
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.run.folder import RunFolder, versions
from mdm_tune.run.search_records import SearchResult
from mdm_tune.search.events import TrialDone
from tests.test_cli import MARKOV

SECTIONS: dict[str, Any] = {
    "model": {"type": "markov", "length": 8, "flip": 0.1},
    "sampler": {"steps": [3, 4]},
    "objective": {"metric": "order_kl"},
    "search": {"strategy": "qmc", "trials": 3, "finalists": 1, "baselines": ["linear", "sine"], "warm_start": "off"},
}
BLOCK = 32_768  # bytes of a block of LevelDB


def config(folder: Path, *overrides: str) -> Config:
    (folder / "c.yaml").write_text(yaml_text(SECTIONS), encoding="utf-8")
    return load_config(folder / "c.yaml", overrides, output=str(folder / "gsm8k"))


def searched(chosen: Config, *, resume: bool = False) -> tuple[SearchResult, list[RunEvent]]:
    events: list[RunEvent] = []
    return search(chosen, resume=resume, overwrite=False, notify=events.append), events


def notes(events: Sequence[RunEvent]) -> list[Note]:
    return [event for event in events if isinstance(event, Note) and event.text.startswith("search.track")]


Done = tuple[SearchResult, list[RunEvent]]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The result and the events of a search without a tracker."""
    return searched(config(tmp_path_factory.mktemp("done")))


def tracked(library: str, folder: Path, done: Done, kept: dict[str, Any] | None = None) -> list[Note]:
    """Log the events and the result of a search, and return the notes about it.

    Args:
        library: The tracker.
        folder: Where the run folder is made.
        done: The search.
        kept: What its storage keeps; the same for a resumed search.
    """
    result, events = done
    storage = {} if kept is None else kept
    heard: list[RunEvent] = []
    run = RunFolder(folder / "gsm8k")
    run.open()
    identity = {"config": resolved(config(folder)), "versions": versions("markov"), "secret": "https://me:hunter2@host"}
    tracking = Tracking(library, heard.append)
    with tracking.running(run, identity, lambda task, make: storage.setdefault(task, make())):
        for event in events:
            tracking(event)
        tracking.conclude(result)
    assert [event for event in heard if event in events] == events
    return notes(heard)


def trials_of(done: Done, steps: int) -> list[TrialDone]:
    return [event for event in done[1] if isinstance(event, TrialDone) and event.setting.steps == steps]


class Recorder:
    """A tracker that keeps what it is given, and fails where it is told to."""

    place = "memory"

    def __init__(self, beginning: Beginning, fails: str = "") -> None:
        self.beginning, self.fails = beginning, fails
        self.rows: list[tuple[int, Row]] = []
        self.summary: Row = {}
        self.trials: Sequence[Row] = ()
        self.failed: bool | None = None
        self._do("open")

    def _do(self, name: str) -> None:
        if name == self.fails:
            raise OSError(f"no {name} at https://me:hunter2@host\nsecond line")

    def log(self, row: Row, step: int) -> None:
        self._do("log")
        self.rows.append((step, row))

    def conclude(self, summary: Row, trials: Sequence[Row]) -> None:
        self._do("conclude")
        self.summary, self.trials = summary, trials

    def finish(self, *, failed: bool) -> None:
        self.failed = failed
        self._do("finish")


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """The recorders that searches open in place of wandb, in order."""
    found: list[Recorder] = []

    def opened(name: str, beginning: Beginning) -> Recorder:
        assert name == "wandb"
        found.append(Recorder(beginning))
        return found[-1]

    monkeypatch.setattr(tracking_module, "check_installed", lambda name: None)
    monkeypatch.setattr(tracking_module, "open_tracker", opened)
    return found


def test_trials_and_result_are_logged_and_a_resumed_search_continues_the_run(
    tmp_path: Path, recorders: list[Recorder]
) -> None:
    chosen = config(tmp_path, "search.track=wandb", "sampler.steps=[3]")
    result, events = searched(chosen)
    (first,) = recorders
    assert first.beginning.name == "gsm8k" and not first.beginning.resumed and first.failed is False
    assert {"config", "versions", "fingerprints"} <= set(first.beginning.config)
    trials = [event for event in events if isinstance(event, TrialDone)]
    assert [step for step, _ in first.rows] == [event.number for event in trials] and len(trials) == result.trials
    for event, (_, row) in zip(trials, first.rows, strict=True):
        group = f"steps-{event.setting.steps}"
        wanted = {"trial": event.number, "a": event.policy.a, "b": event.policy.b, "value": event.value}
        wanted |= {"best": event.best, "rows": 0, "dropped": 0, "state": event.state}
        assert row == {f"{group}/{key}": value for key, value in wanted.items()}
    (three,) = result.budgets
    summary = first.summary
    assert summary["result-steps-3/winner"] == three.schedule.text
    assert summary["result-steps-3/gain_over_linear"] == three.quality.gain_over_linear.value
    assert summary["result-steps-3/baseline_sine"] == three.quality.baselines["sine"].value
    assert summary["result/trials"] == result.trials == len(first.trials)
    assert [row["a"] for row in first.trials[:3]] == [event.policy.a for event in trials[:3]]
    assert [note.code for note in notes(events)] == [None]

    # With more trials the same run goes on. Without a tracker, or with another, the search goes on too.
    more, later = searched(config(tmp_path, "search.track=wandb", "sampler.steps=[3]", "search.trials=4"), resume=True)
    _, second = recorders
    assert second.beginning.resumed and second.beginning.id == first.beginning.id
    assert len(second.rows) == 1 and len(second.trials) == more.trials == 4
    assert "continues the run" in notes(later)[0].text
    _, silent = searched(config(tmp_path, "sampler.steps=[3]", "search.trials=5"), resume=True)
    assert len(recorders) == 2 and notes(silent) == []


@pytest.mark.parametrize("fails", ["open", "log", "conclude", "finish"])
def test_a_failure_of_the_tracker_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: Done, fails: str
) -> None:
    monkeypatch.setattr(tracking_module, "check_installed", lambda name: None)
    monkeypatch.setattr(tracking_module, "open_tracker", lambda name, beginning: Recorder(beginning, fails))
    (said,) = [note for note in tracked("trackio", tmp_path, done) if note.code == "tracker"]
    assert f"trackio failed ('no {fails} at https://me:***@host')" in said.text


def test_a_search_ends_well_when_its_tracker_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: Done) -> None:
    monkeypatch.setattr(tracking_module, "check_installed", lambda name: None)
    monkeypatch.setattr(tracking_module, "open_tracker", lambda name, beginning: Recorder(beginning, "log"))
    result, _ = searched(config(tmp_path, "search.track=wandb"))
    assert [budget.schedule for budget in result.budgets] == [budget.schedule for budget in done[0].budgets]
    assert [warning.code for warning in result.warnings] == ["tracker"]


def test_a_search_that_fails_ends_the_run_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorders: list[Recorder]
) -> None:
    monkeypatch.setattr(search_module, "_budgets", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        searched(config(tmp_path, "search.track=wandb"))
    assert recorders[0].failed is True


def test_a_warning_of_a_library_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: Done) -> None:
    class Loud(Recorder):
        def conclude(self, summary: Row, trials: Sequence[Row]) -> None:
            warnings.warn("the server is slow", UserWarning, stacklevel=2)
            warnings.warn("an old name", DeprecationWarning, stacklevel=2)

    monkeypatch.setattr(tracking_module, "check_installed", lambda name: None)
    monkeypatch.setattr(tracking_module, "open_tracker", lambda name, beginning: Loud(beginning))
    said = tracked("wandb", tmp_path, done)
    assert [note.text for note in said][1:] == ["search.track: wandb: the server is slow"]


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("broken", [None, ModuleType("a folder of this name")])
def test_a_missing_library_is_named_before_anything_is_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, broken: ModuleType | None
) -> None:
    monkeypatch.setitem(sys.modules, MODULES[name][0], broken)
    monkeypatch.setattr(search_module, "open_run", None)
    chosen = config(tmp_path, f"search.track={name}")
    needed = rf"search\.track: {name} needs the package {name}, .* run: pip install 'mdm-tune\[{name}\]'"
    for command in (lambda: searched(chosen), lambda: dry_run(chosen)):
        with pytest.raises(InputError, match=needed):
            command()
    assert not (tmp_path / "gsm8k").exists()


def test_without_a_tracker_no_library_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, done: Done) -> None:
    assert load_config(MARKOV).search.track is None
    monkeypatch.setattr(tracking_module, "check_installed", None)
    tracking = Tracking(None, lambda event: None)
    with tracking.running(RunFolder(tmp_path), {}, lambda task, make: 1 / 0):  # type: ignore[arg-type, return-value]
        tracking(done[1][0])
    assert list(tmp_path.iterdir()) == []


# The libraries themselves


def test_tensorboard_reads_what_was_logged(tmp_path: Path, done: Done) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'mdm-tune[tensorboard]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    tracked("tensorboard", tmp_path, done)
    result, trials = done[0], trials_of(done, 3)
    (folder,) = (tmp_path / "gsm8k" / "tensorboard").iterdir()
    read = EventAccumulator(str(folder))
    read.Reload()
    for key, wanted in {
        "a": [trial.policy.a for trial in trials],
        "value": [trial.value for trial in trials],
    }.items():
        points = read.Scalars(f"steps-3/{key}")
        assert [point.step for point in points] == [trial.number for trial in trials]
        assert [point.value for point in points] == pytest.approx(wanted, rel=1e-6)  # it keeps float32
    gain = result.budgets[1].quality.gain_over_linear.value
    assert read.Scalars("result-steps-4/gain_over_linear")[0].value == pytest.approx(gain, rel=1e-6, abs=1e-12)
    texts = {
        tag: read.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode() for tag in ("config", "trials")
    }
    assert "metric: order_kl" in texts["config"] and "run: gsm8k" in texts["config"]
    assert texts["trials"].count("\n") == 1 + result.trials


def test_wandb_keeps_an_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: Done) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: pip install 'mdm-tune[wandb]'")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)  # without login and mode it stays offline and asks nobody
    said = tracked("wandb", tmp_path, done)
    (folder,) = (tmp_path / "gsm8k" / "wandb").glob("offline-run-*")
    assert [note.text for note in said] == [
        f"search.track: wandb logs this search in {folder}; to send it: wandb sync {folder}"
    ]
    history, summary, configured, run = [], {}, {}, None
    for record in offline_records(next(folder.glob("run-*.wandb"))):
        if record.WhichOneof("record_type") == "history":
            history.append(items(record.history.item))
        elif record.WhichOneof("record_type") == "summary":
            summary |= items(record.summary.update)
        elif record.WhichOneof("record_type") == "run":
            run = record.run
            configured |= items(record.run.config.update)
    assert run is not None and (run.display_name, run.project) == ("gsm8k", "mdm-tune")
    assert configured["config"]["objective"]["metric"] == "order_kl" and "versions" in configured
    rows = [row for row in history if "steps-3/a" in row]
    assert [row["steps-3/value"] for row in rows] == [trial.value for trial in trials_of(done, 3)]
    assert rows[0]["steps-3/state"] == "complete" and [row["steps-3/trial"] for row in rows] == [0, 1, 2]
    assert summary["result-steps-3/winner"] == done[0].budgets[0].schedule.text
    assert b"hunter2" not in next(folder.glob("run-*.wandb")).read_bytes()
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert not names & {"wandb-metadata.json", "output.log"}


def items(updates: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in updates}


def offline_records(path: Path) -> Iterator[Any]:
    """The records of an offline run: its file is a log of LevelDB after a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    content, place, data = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        left = BLOCK - place % BLOCK
        if left < 7:  # no header begins in the last bytes of a block
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)  # after a checksum
        data += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            yield record
            data = b""


def test_trackio_keeps_the_run_in_its_local_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: Done
) -> None:
    utils = pytest.importorskip("trackio.utils", reason="trackio is not installed: pip install 'mdm-tune[trackio]'")
    for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRACKIO_PROJECT", f"mdm-tune-test-{tmp_path.name}")
    kept: dict[str, Any] = {}
    first, again = (tracked("trackio", tmp_path, done, kept) for _ in range(2))
    assert f"trackio show --project mdm-tune-test-{tmp_path.name}" in first[0].text
    assert "continues the run" in again[0].text
    (database,) = Path(utils.TRACKIO_DIR).glob(f"mdm-tune-test-{tmp_path.name}*.db")
    rows = metrics(database)
    values = [trial.value for trial in trials_of(done, 3)]
    assert [row["steps-3/value"] for row in rows if "steps-3/value" in row] == values * 2
    assert rows[-1]["result-steps-3/winner"] == done[0].budgets[0].schedule.text
    assert run_names(database) == [("gsm8k",)]
    database.unlink()


def metrics(database: Path) -> list[dict[str, Any]]:
    with sqlite3.connect(database) as connection:
        return [json.loads(row) for (row,) in connection.execute("select metrics from metrics order by id")]


def run_names(database: Path) -> list[Any]:
    with sqlite3.connect(database) as connection:
        return [*connection.execute("select distinct run_name from metrics")]
