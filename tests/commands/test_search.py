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
from mdm_tune.search.events import TrialDone
from tests.test_cli import CONFIGS, MARKOV, QUICK, call, refused

SECTIONS: dict[str, Any] = {
    "model": {"type": "markov", "length": 8, "flip": 0.1},
    "sampler": {"steps": [3]},
    "objective": {"metric": "order_kl"},
    "search": {"strategy": "qmc", "trials": 4, "finalists": 1, "baselines": ["linear"], "warm_start": "off"},
}


def config(folder: Path, output: str = "run", *overrides: str, seed: int | None = None) -> Config:
    (folder / "c.yaml").write_text(yaml_text(SECTIONS), encoding="utf-8")
    return load_config(folder / "c.yaml", overrides, output=str(folder / output), seed=seed)


def go(
    chosen: Config, *, resume: bool = False, overwrite: bool = False, **more: Any
) -> tuple[dict[str, Any], list[TrialDone]]:
    """The result, and the trials that this call ran."""
    events: list[RunEvent] = []
    result = search(chosen, resume=resume, overwrite=overwrite, notify=events.append, **more)
    return result.to_json(), [event for event in events if isinstance(event, TrialDone)]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# A storage that others use too


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
    record = search(chosen, resume=False, overwrite=False, notify=tell, since=begun).to_json()
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
    again = search(config(tmp_path), resume=True, overwrite=False, notify=heard.append).to_json()
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
    result = search(chosen, resume=True, overwrite=False, notify=lambda event: said.append(getattr(event, "text", "")))
    assert result.trials == 4
    assert "4 trials were finished before, more than search.trials (2): all of them count" in said
    chosen = config(tmp_path, "other", "search.finalists=9")
    search(chosen, resume=False, overwrite=False, notify=lambda event: said.append(getattr(event, "text", "")))
    assert "search.finalists is 9, and 4 trials have no more finalists than that" in said


def test_search_json_has_the_stated_shape(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, record = searched
    assert [budget["steps"] for budget in record["budgets"]] == [4, 8]
    assert record["trials"] == 12
    assert record["files"] == {"schedule": str(folder / "schedule.yaml"), "run": str(folder)}
    budget = record["budgets"][1]
    assert set(budget) >= {
        *("steps", "schedule", "counts", "alphas", "nfe", "metric", "value", "ci", "n"),
        *("baselines", "gain_over_linear", "beats_linear", "flags"),
    }
    assert sum(budget["counts"]) == 32 and len(budget["counts"]) == budget["nfe"] == 8
    assert budget["alphas"] is None and budget["ci"] is None
    assert budget["baselines"]["linear"]["value"] == pytest.approx(1.0884, abs=1e-4)
    assert budget["gain_over_linear"]["value"] == pytest.approx(1.0884 - budget["value"], abs=1e-4)


def test_the_schedule_file_says_what_the_json_says(searched: tuple[Path, dict[str, Any]]) -> None:
    import mdm_tune

    folder, record = searched
    loaded = mdm_tune.load_schedule(folder)
    for budget in record["budgets"]:
        assert list(loaded.budget(budget["steps"]).counts or ()) == budget["counts"]
    text = (folder / "schedule.yaml").read_text(encoding="utf-8")
    assert "revealed_share_after_step" in text and "fingerprints" in text and "versions" in text


def test_human_output_ends_with_counts_to_paste(tmp_path: Path) -> None:
    result = call("search", MARKOV, *QUICK, "--set", "sampler.steps=[4]", "--output", str(tmp_path / "run"))
    assert result.exit_code == 0
    match = re.fullmatch(r"counts = (\[[\d, ]+\])  # 4 steps.*\n", result.stdout)
    assert match and sum(json.loads(match[1])) == 32
    for text in ("trial   1/6", "squared-sine", "better than linear by", "schedule file", "mdm-tune evaluate"):
        assert text in result.stderr


def test_a_folder_with_a_search_is_not_touched_without_being_told(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, record = searched
    before = {path: path.read_bytes() for path in folder.iterdir()}
    message = refused("search", MARKOV, *QUICK, "--output", str(folder))
    assert "already holds a search; add --resume to go on with it, --overwrite to start again" in message
    assert before == {path: path.read_bytes() for path in folder.iterdir()}
    again = call("search", MARKOV, *QUICK, "--output", str(folder), "--json", "--resume")
    assert json.loads(again.stdout) == record


def test_resume_refuses_another_search_and_shows_the_difference(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = searched
    message = refused(
        "search", MARKOV, *QUICK, "--output", str(folder), "--resume", "--set", "model.flip=0.2", "--seed", "3"
    )
    assert "model.flip: was 0.05, is 0.2" in message and "seed: was 0, is 3" in message


def test_resume_with_more_trials_goes_on(tmp_path: Path) -> None:
    common = ("--set", "search.strategy=tpe", "--set", "sampler.steps=[8]", "--json")
    call("search", MARKOV, *common, "--trials", "4", "--output", str(tmp_path / "a"))
    more = call("search", MARKOV, *common, "--trials", "7", "--output", str(tmp_path / "a"), "--resume")
    whole = call("search", MARKOV, *common, "--trials", "7", "--output", str(tmp_path / "b"))
    first, second = json.loads(more.stdout), json.loads(whole.stdout)
    assert first["budgets"] == second["budgets"] and first["trials"] == 7


def test_a_stopped_resumption_with_more_trials_goes_on(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop_at_the_sixth(event: RunEvent) -> None:
        if isinstance(event, TrialDone) and event.number == 5:
            raise Stop

    def config(trials: int) -> Config:
        overrides = ["search.strategy=tpe", "sampler.steps=[8]"]
        return load_config(Path(MARKOV), overrides, trials=trials, output=str(tmp_path / "run"))

    first = search(config(3), resume=False, overwrite=False, notify=lambda event: None)
    with pytest.raises(Stop):
        search(config(9), resume=True, overwrite=False, notify=stop_at_the_sixth)
    resumed = search(config(9), resume=True, overwrite=False, notify=lambda event: None)
    assert (first.trials, resumed.trials) == (3, 9)


@pytest.mark.parametrize(("name", "reach"), [("toy-extremes", 0.336), ("toy-middle", 0.1085), ("markov", 0.63)])
def test_the_cheap_configurations_reach_what_they_promise(tmp_path: Path, name: str, reach: float) -> None:
    result = call("search", str(CONFIGS / f"{name}.yaml"), "--output", str(tmp_path / "run"), "--json", "--quiet")
    budget = json.loads(result.stdout)["budgets"][-1]
    assert budget["value"] <= reach
    assert budget["beats_linear"]


def test_overwrite_replaces(tmp_path: Path) -> None:
    common = ("search", MARKOV, "--set", "sampler.steps=[4]", "--set", "search.strategy=qmc", "--trials", "3", "--json")
    one = call(*common, "--output", str(tmp_path / "run"))
    two = call(*common, "--output", str(tmp_path / "run"), "--overwrite", "--seed", "9")
    assert one.exit_code == two.exit_code == 0
    assert json.loads(two.stdout)["trials"] == 3
