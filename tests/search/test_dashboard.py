"""What a person sees of a search's studies: through Optuna, and through optuna-dashboard where it is installed."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from mdm_tune.search.ledger import Ledger
from mdm_tune.search.storage import open_storage

BOX = {"a": (0.1, 10.0), "b": (0.1, 10.0)}
NAME = "search/steps-16"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal with a complete trial and a dropped one."""
    path = tmp_path / "study.journal"
    ledger = Ledger(open_storage(path), NAME, "maximize", value_name="spelling")
    shown: dict[str, str | float] = {"state": "complete", "denoiser rows": 32}
    ledger.write("0", 0.5, {"x": 1}, {"a": 0.5, "b": 0.5}, BOX, {8: 0.4}, shown)
    dropped: dict[str, str | float] = {"state": "dropped", "denoiser rows": 4}
    ledger.write("1", 0.9, {"x": 2}, {"a": 2.0, "b": 1.0}, BOX, {}, dropped, pruned=True)
    return path


def test_a_dropped_trial_is_pruned_and_read_like_any_other(journal: Path) -> None:
    finished = Ledger(open_storage(journal), NAME, "maximize").finished()
    assert [(entry.task, entry.value, entry.record) for entry in finished.values()] == [
        ("0", 0.5, {"x": 1}),
        ("1", 0.9, {"x": 2}),
    ]


def test_the_value_has_the_name_of_the_metric(journal: Path) -> None:
    assert optuna.load_study(study_name=NAME, storage=open_storage(journal)).metric_names == ["spelling"]


def test_a_journal_without_names_goes_on_and_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    for name in (None, "spelling", "another"):  # as an earlier version wrote it, then resumed twice
        ledger = Ledger(open_storage(path), NAME, "maximize", value_name=name)
        ledger.write(str(name), 0.5, {}, {"a": 0.5}, BOX)
        assert (name is None) == (optuna.load_study(study_name=NAME, storage=open_storage(path)).metric_names is None)
    ledger = Ledger(open_storage(path), NAME, "maximize")
    assert list(ledger.finished()) == ["None", "spelling", "another"]
    study = optuna.load_study(study_name=NAME, storage=open_storage(path))
    assert study.metric_names == ["spelling"] and path.read_text("utf-8").count('"op_code":3') == 1


def test_optuna_dashboard_shows_the_studies(journal: Path) -> None:
    dashboard = pytest.importorskip(
        "optuna_dashboard", reason="optuna-dashboard is not installed: pip install 'mdm-tune[dashboard]'"
    )
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    app = dashboard.wsgi(JournalStorage(JournalFileBackend(str(journal))))  # as the command opens it

    def get(path: str) -> dict[str, Any]:
        answers: list[str] = []
        request = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "x", "SERVER_PORT": "80"}
        streams = {"wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr, "wsgi.url_scheme": "http"}
        body = b"".join(app({**request, **streams}, lambda status, headers, error=None: answers.append(status)))
        assert answers == ["200 OK"]
        record: dict[str, Any] = json.loads(body)
        return record

    (summary,) = get("/api/studies")["study_summaries"]
    assert (summary["study_name"], summary["directions"]) == (NAME, ["maximize"])
    study = get(f"/api/studies/{summary['study_id']}")
    seen = [
        (
            trial["state"],
            {param["name"]: float(param["param_external_value"]) for param in trial["params"]},
            {each["key"]: each["value"] for each in trial["user_attrs"]}["state"],
        )
        for trial in study["trials"]
    ]
    assert seen == [
        ("Complete", {"a": 0.5, "b": 0.5}, "complete"),
        ("Pruned", {"a": 2.0, "b": 1.0}, "dropped"),
    ]
    assert study["trials"][0]["values"] in ([0.5], ["0.5"])
    assert [trial["number"] for trial in study["best_trials"]] == [0]  # not the better estimate of the dropped one
    assert all(space["distribution"]["log"] for space in study["union_search_space"])
