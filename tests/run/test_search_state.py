"""Where a search keeps its state, and which search a folder or a storage holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mdm_tune.commands import search as search_run
from mdm_tune.commands.events import RunEvent
from mdm_tune.commands.search import search
from mdm_tune.config.file import Config
from mdm_tune.core.errors import InputError
from mdm_tune.search.events import TrialDone
from tests.commands.test_search import config, content, go

DATA = {"type": "law", "tune": 16, "choose": 8, "report": 8}


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
