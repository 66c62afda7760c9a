"""The state of a search, in the journal of its folder or in a storage, and the one process that drives it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdm_tune.config.file import Config
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown_path
from mdm_tune.run.folder import RunFolder
from mdm_tune.search.driver import (
    DriverState,
    SearchName,
    begin_anew,
    driving,
    holds_run,
    refuse_second,
    refuse_second_in,
    remove_run,
)
from mdm_tune.search.ledger import Ledger, check_ledger_name
from mdm_tune.search.storage import Storage, open_storage, storage_errors

__all__ = ["SearchState", "drives", "search_state_of"]


@dataclass(frozen=True)
class SearchState:
    """Where the state of a search is stored.

    Attributes:
        folder: The run folder.
        search: Name of the search in its journal or storage.
        storage: The open storage; None for the journal of the folder.
        address: Address of the storage; None for the journal.
    """

    folder: RunFolder
    search: SearchName
    storage: Storage | None = None
    address: str | None = None

    @property
    def where(self) -> Path | str:
        """The address of the storage, or the path of the journal."""
        return self.address or self.folder.journal

    def refuse_second(self, *, take_over: bool) -> None:
        """Raise InputError if another process drives this search or one in the same folder. Nothing is written."""
        if self.folder.has(self.folder.journal):
            refuse_second_in(self.folder.journal, _journal_name(self.folder), take_over=take_over)
        if self.storage is not None:
            with storage_errors(self.where):
                refuse_second(self.storage, self.search, take_over=take_over)

    def made(self, task: str) -> dict[str, Any] | None:
        """The record that the storage has for a task; None if it has none, and for a journal."""
        if self.storage is None:
            return None
        with storage_errors(self.where):
            entry = Ledger(self.storage, f"{self.search.run}/made").finished().get(task)
        return None if entry is None else dict(entry.record["made"])

    @contextmanager
    def driven(
        self, *, resume: bool, overwrite: bool, take_over: bool, notify: Callable[[str], None]
    ) -> Iterator[DriverState]:
        """Drive the search until the block ends.

        Args:
            resume: Whether a run in the storage may go on.
            overwrite: Remove what the search has stored so far.
            take_over: Drive the search even if another process does.
            notify: Receives a sentence if a journal was repaired, or if the search waits for another process.

        Raises:
            InputError: If another process drives the search, if the storage holds a run of this name and neither
                ``resume`` nor ``overwrite`` is set, or if the stored state is damaged. Nothing is changed then.
        """
        with storage_errors(self.where):
            self.refuse_second(take_over=take_over)
            if self.storage is not None and not (resume or overwrite) and holds_run(self.storage, self.search.run):
                raise InputError(
                    f"search.storage: it already holds a run called {self.search.run}; add --resume to go on with it, "
                    "--overwrite to start again, or give another search.name"
                )
            self.folder.open()
            with self._claimed_state(overwrite, take_over, notify) as state:
                yield state

    @contextmanager
    def _claimed_state(self, overwrite: bool, take_over: bool, notify: Callable[[str], None]) -> Iterator[DriverState]:
        journal, claim = self.folder.journal, None
        if self.storage is not None:
            storage = self.storage
        else:
            if overwrite and self.folder.has(journal):
                claim = begin_anew(journal, self.search, take_over=take_over)
            storage = open_storage(journal, notify)
        if not overwrite:
            check_ledger_name(storage, self.search.run)  # a damaged state is refused before anything is written
        with driving(storage, self.search, take_over=take_over, claim=claim) as state:
            if overwrite:
                remove_run(storage, self.search.run)
                self.folder.clear_search(journal=self.storage is not None)
            yield state


def search_state_of(config: Config) -> SearchState:
    """The state of a config's search, with its storage open. Raises InputError if the storage cannot be used."""
    folder, address = RunFolder(config.output), config.search.storage
    if address is None:
        return SearchState(folder, _journal_name(folder))
    name = config.search.name or Path(config.output).absolute().name
    search = SearchName(name, f"the search {name} of search.storage", "another search.name")
    return SearchState(folder=folder, search=search, storage=open_storage(address), address=address)


def drives(folder: RunFolder) -> bool:
    """Whether a process drives the search in a folder's journal, or may drive it. The journal is only read."""
    try:
        refuse_second_in(folder.journal, _journal_name(folder), take_over=False)
    except InputError:
        return True
    return False


def _journal_name(folder: RunFolder) -> SearchName:
    """The name of the search in a folder's journal. It is always the same, so that the folder can be moved."""
    return SearchName("search", f"the search in {shown_path(folder.path)}", "another --output")
