"""The search command in its folder and its storage: begun, resumed, refused, overwritten."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage

from mdm_tune.commands import search as search_run
from mdm_tune.commands.events import Note, RunEvent
from mdm_tune.commands.search import search
from mdm_tune.config.file import Config, load_config
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.run.records import Record
from mdm_tune.search.events import TrialDone

SECTIONS: dict[str, Any] = {
    "model": {"type": "markov", "length": 8, "flip": 0.1},
    "sampler": {"steps": [3]},
    "objective": {"metric": "order_kl"},
    "search": {"strategy": "qmc", "trials": 4, "finalists": 1, "baselines": ["linear"], "warm_start": "off"},
}
DATA = {"type": "law", "tune": 16, "choose": 8, "report": 8}


def config(folder: Path, output: str = "run", *overrides: str, seed: int | None = None) -> Config:
    (folder / "c.yaml").write_text(yaml_text(SECTIONS), encoding="utf-8")
    return load_config(folder / "c.yaml", overrides, output=str(folder / output), seed=seed)


def go(chosen: Config, *, resume: bool = False, overwrite: bool = False, **more: Any) -> tuple[Record, list[TrialDone]]:
    """The result, and the trials that this call ran."""
    events: list[RunEvent] = []
    record = search(chosen, resume=resume, overwrite=overwrite, notify=events.append, **more)
    return record, [event for event in events if isinstance(event, TrialDone)]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


CHANGES: dict[str, tuple[str, str]] = {
    "model.flip=0.2": ("model.flip: was 0.1, is 0.2", "fingerprints.model: was"),
    "search.space.a=[0.2, 5.0]": ("search.space.a: was [0.1, 10.0], is [0.2, 5.0]", "search.space.a"),
    "search.together=2": ("search.together: was 4, is 2", "search.together"),
    "sampler.steps=[3, 4]": ("sampler.steps: was [3], is [3, 4]", "sampler.steps"),
    "seed=7": ("seed: was 0, is 7", "seed"),
}


@pytest.mark.parametrize("stopped", [False, True], ids=["finished", "stopped"])
@pytest.mark.parametrize("change", CHANGES)
def test_another_search_in_the_folder_is_refused_with_the_difference(
    tmp_path: Path, change: str, stopped: bool
) -> None:
    go(config(tmp_path))
    if stopped:
        (tmp_path / "run" / "search.json").unlink()
    before = content(tmp_path / "run")
    with pytest.raises(InputError, match="the search in this folder was made with other settings") as caught:
        go(config(tmp_path, "run", change), resume=True)
    for part in CHANGES[change]:
        assert part in str(caught.value)
    assert "--overwrite" in str(caught.value) and "--output" in str(caught.value)
    assert content(tmp_path / "run") == before
    record, trials = go(config(tmp_path, "run", change), overwrite=True)
    assert len(trials) == record["trials"] >= 4


def test_another_version_or_other_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sampled(report: int) -> Config:
        return config(tmp_path, "run", "objective.metric=nelbo", f"dataset={json.dumps({**DATA, 'report': report})}")

    go(sampled(8))
    with pytest.raises(InputError, match=r"dataset.report: was 8, is 9(?s:.*)fingerprints.dataset: was '\w+', is"):
        go(sampled(9), resume=True)
    found = search_run.versions("markov")
    assert found.keys() == {"mdm-tune", "python", "torch", "optuna", "numpy", "scipy"}
    monkeypatch.setattr(search_run, "versions", lambda model: {**found, "optuna": "1.2.3"})
    with pytest.raises(InputError, match=rf"versions.optuna: was '{found['optuna']}', is '1.2.3'"):
        go(sampled(8), resume=True)


def test_limits_and_what_comes_after_the_search_may_change(tmp_path: Path) -> None:
    record, trials = go(config(tmp_path))
    again, none = go(config(tmp_path, "run", "evaluate.schedules=[sine]"), resume=True)
    assert again == record and none == []
    more = ["search.trials=6", "search.rows=99", "search.timeout=60", "search.auto_stop=false"]
    longer, others = go(config(tmp_path, "run", *more), resume=True)
    assert [trial.number for trial in trials] == [0, 1, 2, 3] and [trial.number for trial in others] == [4, 5]
    assert longer["trials"] == 6
    whole, _ = go(config(tmp_path, "whole", *more))
    assert {**longer, "seconds": 0, "files": 0} == {**whole, "seconds": 0, "files": 0}
    fewer, none = go(config(tmp_path), resume=True)
    assert none == [] and fewer["trials"] == 6  # what was tried is not forgotten


def test_a_moved_folder_goes_on(tmp_path: Path) -> None:
    go(config(tmp_path, "old"))
    (tmp_path / "old").rename(tmp_path / "new")
    longer, trials = go(config(tmp_path, "new", "search.trials=5"), resume=True)
    assert [trial.number for trial in trials] == [4] and longer["trials"] == 5


# A storage that others use too


@pytest.fixture
def shared(database: str) -> str:
    return f"search.storage={database}"


NAME = "search.name=one"


def test_a_run_in_a_shared_storage_goes_on_in_another_folder(tmp_path: Path, shared: str) -> None:
    record, trials = go(config(tmp_path, "here", shared, NAME))
    assert len(trials) == 4 and not (tmp_path / "here" / "study.journal").exists()
    with pytest.raises(InputError, match=r"search.storage: it already holds a run called one; add --resume to go on"):
        go(config(tmp_path, "there", shared, NAME))
    joined, none = go(config(tmp_path, "there", shared, NAME), resume=True)
    assert none == [] and joined["budgets"] == record["budgets"]
    for name in ("schedule.yaml", "search.json", "run.json", "config.yaml"):
        assert (tmp_path / "there" / name).is_file()
    longer, more = go(config(tmp_path, "there", shared, NAME, "search.trials=5"), resume=True)
    assert [trial.number for trial in more] == [4] and longer["trials"] == 5


@pytest.mark.parametrize("change", CHANGES)
def test_another_search_of_the_same_name_is_refused_with_the_difference(
    tmp_path: Path, shared: str, change: str
) -> None:
    go(config(tmp_path, "here", shared, NAME))
    with pytest.raises(InputError, match="the search in this storage was made with other settings") as caught:
        go(config(tmp_path, "there", shared, NAME, change), resume=True)
    for part in CHANGES[change]:
        assert part in str(caught.value)
    assert "name with search.name" in str(caught.value)


def test_overwriting_clears_the_run_of_that_name_alone(tmp_path: Path, shared: str) -> None:
    go(config(tmp_path, "one", shared))  # named after its folder
    go(config(tmp_path, "two", shared, "seed=5"))
    _, trials = go(config(tmp_path, "one", shared, "seed=3"), overwrite=True)
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    _, none = go(config(tmp_path, "elsewhere", shared, "search.name=two", "seed=5"), resume=True)
    assert none == []


def test_a_search_goes_on_in_another_folder_with_what_was_made(tmp_path: Path, shared: str) -> None:
    """The trials of one process and of another; the profile and the scores are taken from the storage."""
    more = [shared, NAME, "objective.metric=path_nll", f"dataset={json.dumps(DATA)}", "sampler.order=margin"]
    more += ["search.warm_start=profile", "search.trials=7", "search.strategy=tpe", "profile.points=3"]

    class Stop(Exception):
        pass

    def stop(event: RunEvent) -> None:
        if isinstance(event, TrialDone) and event.number == 4:
            raise Stop

    with pytest.raises(Stop):
        search(config(tmp_path, "here", *more), resume=False, overwrite=False, notify=stop)
    there, rest = go(config(tmp_path, "there", *more), resume=True)
    assert [trial.number for trial in rest] == [5, 6]
    here, none = go(config(tmp_path, "here", *more), resume=True)
    assert none == [] and here["budgets"] == there["budgets"]
    quiet, _ = go(config(tmp_path, "quiet", *more[2:]))
    assert quiet["budgets"] == there["budgets"] and quiet["denoiser_rows"] == there["denoiser_rows"]


ADDRESS = "search.storage=postgresql://me:hunter2@127.0.0.1:1/db"


def test_a_storage_that_cannot_be_reached_is_named_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_run, "open_run", None)
    with pytest.raises(InputError) as caught:
        go(config(tmp_path, "run", ADDRESS))
    assert "127.0.0.1" in str(caught.value) and "hunter2" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_no_file_of_a_run_holds_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = InMemoryStorage()
    monkeypatch.setattr("mdm_tune.run.search_state.open_storage", lambda address: storage)
    go(config(tmp_path, "run", ADDRESS))
    files = list((tmp_path / "run").iterdir())
    assert {"config.yaml", "run.json", "search.json", "schedule.yaml"} <= {path.name for path in files}
    assert all("hunter2" not in path.read_text(encoding="utf-8") for path in files)
    kept = [storage.get_study_user_attrs(study._study_id) for study in storage.get_all_studies()]
    kept += [
        trial.user_attrs for study in storage.get_all_studies() for trial in storage.get_all_trials(study._study_id)
    ]
    assert kept and "hunter2" not in repr(kept)


def test_the_timeout_counts_from_when_the_command_began(tmp_path: Path) -> None:
    begun, notes = time.monotonic() - 100, list[str]()

    def tell(event: RunEvent) -> None:
        notes.extend([event.text] if isinstance(event, Note) else [])

    chosen = config(tmp_path, "run", "search.timeout=40")
    record = search(chosen, resume=False, overwrite=False, notify=tell, since=begun)
    assert record["trials"] == 1 and record["budgets"][0]["ended"] == "the time for trials is used up"
    assert record["seconds_late"] >= 60 and json.loads((tmp_path / "run" / "search.json").read_text()) == record
    assert re.fullmatch(r"search.timeout: 40 s were given, and the search ended \d+ s later: .*", notes[-1])
    again, _ = go(config(tmp_path, "run"), resume=True)
    assert again["trials"] == 4 and again["seconds_late"] is None


def test_a_torn_journal_is_mended_and_said(tmp_path: Path) -> None:
    go(config(tmp_path))
    (tmp_path / "run" / "search.json").unlink()
    with (tmp_path / "run" / "study.journal").open("ab") as file:
        file.write(b'{"op_code":')
    notes: list[str] = []
    search(
        config(tmp_path),
        resume=True,
        overwrite=False,
        notify=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
    )
    assert any("cut a damaged end off" in note for note in notes)


DEEP = "[" * 100_000


@pytest.mark.parametrize("content", ["", "{}", "[1]", DEEP, '{"budgets": []}', '{"budgets": [{}], "confidence": 1'])
def test_a_damaged_result_is_made_again_from_the_journal(tmp_path: Path, content: str) -> None:
    record, _ = go(config(tmp_path))
    (tmp_path / "run" / "search.json").write_text(content)
    heard: list[RunEvent] = []
    again = search(config(tmp_path), resume=True, overwrite=False, notify=heard.append)
    assert {**again, "seconds": 0} == {**record, "seconds": 0}
    assert not any(isinstance(event, TrialDone) for event in heard)
    (said,) = [event.text for event in heard if isinstance(event, Note)]
    assert "search.json" in said and said.endswith("now it is made again from study.journal")
    assert json.loads((tmp_path / "run" / "search.json").read_text()) == again


@pytest.mark.parametrize("content", ["", "[1]", DEEP, "{}", '{"config": 3}'])
def test_a_damaged_identity_is_refused_and_nothing_is_lost(tmp_path: Path, content: str) -> None:
    go(config(tmp_path))
    (tmp_path / "run" / "run.json").write_text(content)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(InputError, match=r"(run\.json|the search in this folder was made with other settings)"):
        go(config(tmp_path), resume=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_search_that_was_stopped_before_it_said_what_it_is_goes_on(tmp_path: Path) -> None:
    record, _ = go(config(tmp_path))
    for name in ("run.json", "search.json"):
        (tmp_path / "run" / name).unlink()
    with pytest.raises(InputError, match="the search in this storage was made with other settings"):
        go(config(tmp_path, "run", "seed=7"), resume=True)
    again, none = go(config(tmp_path), resume=True)
    assert none == [] and again["budgets"] == record["budgets"]


def test_what_is_wrong_with_the_input_comes_before_what_the_folder_holds(tmp_path: Path) -> None:
    go(config(tmp_path))
    with pytest.raises(InputError, match=r"search\.baselines: counts:1,2 "):
        go(config(tmp_path, "run", "search.baselines=[linear, 'counts:1,2']"))
    with pytest.raises(InputError, match="already holds a search"):
        go(config(tmp_path))


def test_fewer_trials_than_are_finished_and_more_finalists_than_trials_are_said(tmp_path: Path) -> None:
    go(config(tmp_path))
    said: list[str] = []
    chosen = config(tmp_path, "run", "search.trials=2", "search.finalists=1")
    record = search(chosen, resume=True, overwrite=False, notify=lambda event: said.append(getattr(event, "text", "")))
    assert record["trials"] == 4
    assert "4 trials were finished before, more than search.trials (2): all of them count" in said
    chosen = config(tmp_path, "other", "search.finalists=9")
    search(chosen, resume=False, overwrite=False, notify=lambda event: said.append(getattr(event, "text", "")))
    assert "search.finalists is 9, and 4 trials have no more finalists than that" in said
