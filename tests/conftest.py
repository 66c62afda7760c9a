from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from mdm_tune.pages import run_page
from tests.support.page_runs import text_run

__all__ = ["text_run"]

sys.path.append(str(Path(__file__).parents[1] / "scripts"))  # the scripts import one another by name

# The same examples on every run, here and in CI; no deadline, because a shared machine's speed is not a property.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pages of runs empty: they take a third of a second each. Tests of pages have another fixture."""
    monkeypatch.setattr(run_page, "page_of", lambda view, detail: "")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables, which take a while to make."""
    from mdm_tune.search.storage import open_storage

    file = tmp_path_factory.mktemp("database") / "study.db"
    open_storage(f"sqlite:///{file}")
    return file


@pytest.fixture
def database(tmp_path: Path, empty_database: Path) -> str:
    """The address of a database of its own."""
    return f"sqlite:///{shutil.copy(empty_database, tmp_path / 'study.db')}"


@pytest.fixture(params=["journal", "sqlite"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A journal and a database."""
    found: Path | str = tmp_path / "study.journal"
    return found if request.param == "journal" else str(request.getfixturevalue("database"))
