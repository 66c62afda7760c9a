"""Where a search keeps its state, the journal of its folder or a given storage, and how a process gets to drive it."""

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

__all__ = ["SearchState", "search_state_of"]


@dataclass(frozen=True)
class SearchState:
    """storage: open, and its address; None for the journal of the folder."""

    folder: RunFolder
    search: SearchName
    storage: Storage | None = None
    address: str | None = None

    @property
    def where(self) -> Path | str:
        return self.address or self.folder.journal

    def refuse_second(self, *, take_over: bool) -> None:
        """Raise InputError where another process drives the search, or one in the same folder; nothing is written."""
        if self.folder.has(self.folder.journal):
            refuse_second_in(self.folder.journal, _of_folder(self.folder), take_over=take_over)
        if self.storage is not None:
            with storage_errors(self.where):
                refuse_second(self.storage, self.search, take_over=take_over)

    def made(self, task: str) -> dict[str, Any] | None:
        """What the storage holds under this name; None where there is nothing, and of a journal."""
        if self.storage is None:
            return None
        with storage_errors(self.where):
            entry = Ledger(self.storage, f"{self.search.run}/made").finished().get(task)
        return None if entry is None else dict(entry.record["made"])

    @contextmanager
    def driven(
        self, *, resume: bool, overwrite: bool, take_over: bool, notify: Callable[[str], None]
    ) -> Iterator[DriverState]:
        """Drive the search for the time of the block, with nothing of it left where it is to be overwritten.

        Raises InputError where another process drives it, where a storage that others use too holds a run of this name
        and neither flag is set, and where what it holds is damaged; nothing is changed then.
        """
        with storage_errors(self.where):
            self.refuse_second(take_over=take_over)
            if self.storage is not None and not (resume or overwrite) and holds_run(self.storage, self.search.run):
                raise InputError(
                    f"search.storage: it already holds a run called {self.search.run}; add --resume to go on with it, "
                    "--overwrite to start again, or give another search.name"
                )
            self.folder.open()
            with self._claimed(overwrite, take_over, notify) as state:
                yield state

    @contextmanager
    def _claimed(self, overwrite: bool, take_over: bool, notify: Callable[[str], None]) -> Iterator[DriverState]:
        journal, claim = self.folder.journal, None
        if self.storage is not None:
            storage = self.storage
        else:
            if overwrite and self.folder.has(journal):
                claim = begin_anew(journal, self.search, take_over=take_over)
            storage = open_storage(journal, notify)
        if not overwrite:
            check_ledger_name(storage, self.search.run)  # what is damaged is refused before anything is written
        with driving(storage, self.search, take_over=take_over, claim=claim) as state:
            if overwrite:
                remove_run(storage, self.search.run)
                self.folder.clear_search(journal=self.storage is not None)
            yield state


def search_state_of(config: Config) -> SearchState:
    """The place of a config's search, with its storage open; raises InputError where that cannot be used."""
    folder, address = RunFolder(config.output), config.search.storage
    if address is None:
        return SearchState(folder, _of_folder(folder))
    name = config.search.name or Path(config.output).absolute().name
    named = SearchName(name, f"the search {name} of search.storage", "another search.name")
    return SearchState(folder=folder, search=named, storage=open_storage(address), address=address)


def _of_folder(folder: RunFolder) -> SearchName:
    """A folder's own journal holds one run, wherever the folder is moved."""
    return SearchName("search", f"the search in {shown_path(folder.path)}", "another --output")
