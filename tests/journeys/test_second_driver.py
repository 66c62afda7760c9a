"""A second search command on the same run: refused before it changes anything, or it takes over what is dead."""

from __future__ import annotations

import json
import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import BaseStorage
from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.commands import events
from mdm_tune.commands.search import search
from mdm_tune.config.file import load_config
from mdm_tune.core.errors import RunError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.search.driver import SearchName, _events, driving
from mdm_tune.search.events import TrialDone
from mdm_tune.search.storage import open_storage
from tests.support.drivers import FAR, claimed_by, drive, wait_for
from tests.support.processes import start

SECTIONS: dict[str, Any] = {
    "model": {"type": "markov", "length": 16, "flip": 0.1},
    "dataset": {"type": "law", "tune": 16, "choose": 8, "report": 8},
    "sampler": {"steps": [3], "order": "margin"},
    "objective": {"metric": "path_nll"},
    "search": {"strategy": "tpe", "trials": 8, "together": 3, "finalists": 1, "baselines": ["linear"]},
}
FLAGS = pytest.mark.parametrize("flags", [[], ["--resume"], ["--overwrite"]], ids=["begin", "resume", "overwrite"])
DAMAGED = b'{"op_code":99}\n'


class Search:
    """One search by its config, and what a command says of it."""

    def __init__(self, folder: Path, storage: str | None = None, output: str = "run") -> None:
        section = {**SECTIONS["search"], **({} if storage is None else {"storage": storage, "name": "one"})}
        self.file, self.output = folder / f"{output}.yaml", folder / output
        self.file.write_text(yaml_text({**SECTIONS, "search": section}), encoding="utf-8")
        self.where: Path | str = storage or self.output / "study.journal"
        self.run = "search" if storage is None else "one"

    def storage(self) -> BaseStorage:
        self.output.mkdir(exist_ok=True)
        return open_storage(self.where)

    def here(self, **more: Any) -> dict[str, Any]:
        """Run it in this process, without the command line."""
        config = load_config(self.file, output=str(self.output))
        return search(config, **{"resume": True, "overwrite": False, "notify": lambda event: None, **more}).to_json()

    def command(self, *flags: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["search", str(self.file), "--output", str(self.output), "--json", *flags])
        return done.exit_code, done.stdout if done.exit_code == 0 else re.sub(r"\s+", " ", done.stderr)

    def stopped(self, after: int = 3) -> None:
        """Stop it after a trial, as by Ctrl-C."""

        def stop(event: Any) -> None:
            if isinstance(event, TrialDone) and event.number == after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.here(notify=stop)
        assert "left" in list(_events(self.storage(), self.run))[-1]

    def content(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.output.iterdir()) if path.is_file()}


@pytest.fixture
def one(tmp_path: Path) -> Search:
    return Search(tmp_path)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an undisturbed search finds."""
    return Search(tmp_path_factory.mktemp("quiet")).here()


def same(found: dict[str, Any], quiet: dict[str, Any]) -> bool:
    return bool(found["budgets"] == quiet["budgets"] and found["denoiser_rows"] == quiet["denoiser_rows"])


@FLAGS
@pytest.mark.parametrize("state", ["new", "stopped", "finished", "damaged"])
def test_a_second_command_in_the_same_folder_is_refused_and_changes_nothing(
    one: Search, flags: list[str], state: str
) -> None:
    if state in ("stopped", "damaged"):
        one.stopped()
    elif state == "finished":
        one.here()
    with driving(one.storage(), SearchName.plain("search")) as first:
        first.once("first", dict)
        if state == "damaged":
            journal = one.output / "study.journal"
            lines = journal.read_bytes().splitlines(keepends=True)
            journal.write_bytes(b"".join([*lines[:2], DAMAGED, *lines[2:]]))
        (one.output / "study.journal.torn-1").write_text("a copy")
        before = one.content()
        code, said = one.command(*flags)
        who = rf"error: the search in \S+run is driven by process {os.getpid()} on \S+ since 20[-0-9]+ [:0-9+-]+; "
        assert code == 2 and re.search(who + "wait for it, end it, or give another --output", said), said
        assert one.content() == before
        if state != "damaged":
            first.once("second", dict)


@FLAGS
def test_a_second_command_with_the_same_storage_is_refused(tmp_path: Path, database: str, flags: list[str]) -> None:
    """Whatever its folder is."""
    one, two = Search(tmp_path, database), Search(tmp_path, database, "other")
    with driving(one.storage(), SearchName.plain("one")) as first:
        first.once("first", dict)
        for each in (one, two):
            code, said = each.command(*flags)
            assert code == 2 and f"the search one of search.storage is driven by process {os.getpid()} on " in said
            assert "or give another search.name" in said
        assert not two.output.exists() and one.content() == {}
        first.once("second", dict)


def test_another_name_in_the_same_storage_is_another_search(tmp_path: Path, database: str) -> None:
    one, two = Search(tmp_path, database), Search(tmp_path, database, "other")
    with driving(one.storage(), SearchName.plain("one")):
        code, said = two.command("--set", "search.name=two", "--trials", "1")
        assert code == 0, said


def test_a_search_with_a_storage_leaves_a_search_in_its_folder_alone(tmp_path: Path, database: str) -> None:
    one, two = Search(tmp_path), Search(tmp_path, database)
    with driving(one.storage(), SearchName.plain("search")):
        before = one.content()
        code, said = two.command("--overwrite")
        assert code == 2 and "the search in " in said and one.content() == before


def test_a_running_search_is_not_disturbed(one: Search, quiet: dict[str, Any]) -> None:
    """In the middle of its trials others are started."""
    refused: list[tuple[int, str]] = []

    def disturb(event: Any) -> None:
        if isinstance(event, TrialDone) and event.number in (0, 4):
            refused.extend(one.command(*flags) for flags in ([], ["--resume"], ["--overwrite"]))

    assert same(one.here(notify=disturb), quiet)
    assert [code for code, _ in refused] == [2] * 6 and all("driven by process" in said for _, said in refused)
    code, said = one.command("--resume")
    assert code == 0 and same(json.loads(said), quiet)


@FLAGS
def test_a_search_that_began_while_the_model_was_loaded_is_named(
    one: Search, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as first:

        def begin(*given: Any) -> None:
            first.enter_context(driving(one.storage(), SearchName.plain("search")))

        monkeypatch.setattr(events, "check_baselines", begin)
        code, said = one.command(*flags)
        assert code == 2 and f"is driven by process {os.getpid()} on" in said


def test_a_killed_driver_is_passed_over_without_a_word(one: Search, quiet: dict[str, Any], tmp_path: Path) -> None:
    one.stopped()
    process = start(drive, one.where, tmp_path / "told", "search")
    wait_for(tmp_path / "told")
    for flags in ([], ["--resume"], ["--overwrite"], ["--resume", "--take-over"]):
        code, said = one.command(*flags)
        assert code == 2 and f"driven by process {process.pid} on" in said
    process.kill()
    process.join()
    code, said = one.command("--resume")
    assert code == 0 and same(json.loads(said), quiet)


@pytest.mark.parametrize("flag", ["--resume", "--overwrite"])
@pytest.mark.parametrize("shared", [False, True], ids=["journal", "sqlite"])
def test_a_driver_of_another_machine_is_taken_over_when_asked(
    tmp_path: Path, database: str, quiet: dict[str, Any], flag: str, shared: bool
) -> None:
    one = Search(tmp_path, database if shared else None)
    one.stopped()
    far = claimed_by(one.storage(), one.run, **FAR)
    before = one.content()
    code, said = one.command(flag)
    assert code == 2 and f"is driven by process {far.pid} on node7 since {far.since}, and from here it cannot" in said
    assert said.strip().endswith("add --take-over") and one.content() == before
    code, said = one.command(flag, "--take-over")
    assert code == 0 and same(json.loads(said), quiet)
    code, said = one.command("--resume")
    assert code == 0 and same(json.loads(said), quiet)


def test_an_ousted_search_fails_and_writes_no_result(one: Search, quiet: dict[str, Any]) -> None:
    """The other one goes on where it was stopped."""

    def oust(event: Any) -> None:
        if isinstance(event, TrialDone) and event.number == 3:
            claimed_by(one.storage(), "search", **FAR)

    with pytest.raises(RunError, match=r"the search in .* was taken over by process .* on node7 since "):
        one.here(notify=oust)
    assert not (one.output / "search.json").exists() and not (one.output / "schedule.yaml").exists()
    assert same(one.here(take_over=True), quiet)


def test_a_search_that_is_ousted_at_its_end_writes_no_result(one: Search) -> None:
    def oust(event: Any) -> None:
        if type(event).__name__ == "Comparison" and event.use == "report":
            ousted.append(1)

    ousted: list[int] = []
    one.here(notify=oust)
    (one.output / "search.json").unlink()

    def at_once(event: Any) -> None:
        if type(event).__name__ == "BudgetStarted":  # nothing is lacking any more
            claimed_by(one.storage(), "search", **FAR)

    with pytest.raises(RunError, match="was taken over"):
        one.here(notify=at_once)
    assert ousted and not (one.output / "search.json").exists()


def test_overwriting_a_damaged_journal_begins_anew(one: Search, quiet: dict[str, Any]) -> None:
    one.stopped()
    journal = one.output / "study.journal"
    journal.write_bytes(DAMAGED + journal.read_bytes())
    code, said = one.command("--resume")
    assert code == 2 and "is damaged" in said
    code, said = one.command("--overwrite")
    assert code == 0 and same(json.loads(said), quiet)


def test_a_search_that_may_not_begin_is_nobodys(one: Search) -> None:
    """What is wrong with the input is said before anybody drives."""
    code, said = one.command("--set", "search.baselines=[linear, 'counts:1,2']")
    assert code == 2 and "counts:1,2" in said and not one.output.exists()
    code, said = one.command("--take-over")  # nobody is there
    assert code == 0
