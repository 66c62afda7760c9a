"""The ``search`` command between config and terminal: begun or resumed, driven by one process, written down."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from mdm_tune.commands.events import (
    BudgetsListed,
    BudgetStarted,
    Note,
    Notify,
    RunEvent,
    SearchStarted,
    Warnings,
    as_notes,
    memory_notes,
    report_loaded,
)
from mdm_tune.commands.profile import profile_notes, winner_notes
from mdm_tune.config.file import Config, resolved, to_yaml
from mdm_tune.core.errors import InputError
from mdm_tune.core.files import write_text
from mdm_tune.core.messages import quantity
from mdm_tune.core.permissions import Permissions
from mdm_tune.evaluation.evaluator import Cost
from mdm_tune.run.build import Run, check_baselines, open_run
from mdm_tune.run.example_records import example_records, reported_records
from mdm_tune.run.folder import RunFolder, versions
from mdm_tune.run.profiles import Profiles, ProfileUse, profiles_of
from mdm_tune.run.schedule_records import ScheduleFileRecord
from mdm_tune.run.search_limits import Timetable
from mdm_tune.run.search_records import SearchResult
from mdm_tune.run.search_state import SearchState, search_state_of
from mdm_tune.sampling.devices import Devices
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.budget import search_budget
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.driver import DriverState
from mdm_tune.search.events import AllValuesEqual
from mdm_tune.search.space import outlook_of
from mdm_tune.search.stored_scores import StoredScores

__all__ = ["search"]

Record = dict[str, Any]

LIMITS = ("trials", "rows", "timeout", "auto_stop")  # of a search, which may change before it is resumed
MAY_CHANGE = ("moment", "output", "evaluate", "search.storage", "search.name", *(f"search.{name}" for name in LIMITS))


def search(
    config: Config,
    *,
    resume: bool,
    overwrite: bool,
    notify: Notify,
    take_over: bool = False,
    devices: Devices = ("cpu",),
    allow: Permissions = Permissions(),
    since: float | None = None,
) -> SearchResult:
    """Tune every budget of the config and write the run folder. A finished search is answered from its folder.

    Args:
        config: the whole config; ``output`` names the run folder.
        resume: continue the search that folder or storage hold.
        overwrite: replace it.
        notify: called with every event, in this process.
        take_over: drive a search although another process has not left it, where it cannot be seen from here whether
            that process still runs.
        devices: where the rows are filled.
        allow: whether code from outside the package, and code that a model writes, may run.
        since: when the command began, in seconds of the monotonic clock; None for now.

    Returns:
        What is printed and written to ``search.json``.

    Raises:
        InputError: another process drives the search, folder or storage hold a search and neither flag is set, or the
            search to be resumed came from another config, model, data or version.
        RunError: the storage fails, or another process takes the search over.
    """
    folder, since = RunFolder(config.output), time.monotonic() if since is None else since
    notify = warned = Warnings(notify)
    # A database that cannot be used is said before a model is loaded, and so is a process that drives the search.
    place = search_state_of(config)
    place.refuse_second(take_over=take_over)
    if resume and not folder.has(folder.moment):
        _take_moment(folder, place)
    with open_run(config, devices, allow, as_notes(notify)) as run:
        report_loaded(run, notify, config.sampler.steps)
        check_baselines(run, config.sampler.steps)
        # After all that may be wrong with the input: what is refused should not become another refusal.
        if folder.holds_search and not (resume or overwrite):
            place.refuse_second(take_over=take_over)  # which may have begun while the model was loaded
            raise InputError(
                f"output: {folder.path} already holds a search; add --resume to go on with it, --overwrite to start "
                "again, or give another folder with --output"
            )
        used = versions(config.model.type)
        identity: Record = {"config": resolved(config), "fingerprints": run.fingerprints, "versions": used}
        if run.model.clock is not None and run.model.clock.used:
            identity["moment"] = run.model.clock.now.isoformat()
        if folder.holds_search and not overwrite and (found := _finished(folder, identity, notify)) is not None:
            return found

        def note(text: str) -> None:
            notify(Note(text))

        with place.driven(resume=resume, overwrite=overwrite, take_over=take_over, notify=note) as state:
            refuse_changes(state.once("run", lambda: identity), identity, "this storage")
            folder.write_moment(run.model.clock)
            folder.result.unlink(missing_ok=True)  # by other limits; should this run be stopped, it is no answer
            folder.write_json(folder.identity.name, identity)
            write_text(folder.config, to_yaml(config))
            notify(SearchStarted())
            sharing, profiles = profiles_of(run, folder, notify, keep=state.once)
            timetable = Timetable(sharing, config.search.timeout, began=since)
            budgets = _budgets(sharing, profiles, state, timetable, notify)
            for text in memory_notes(sharing):
                notify(text)
            if (late := timetable.late) is not None:
                over = f"{config.search.timeout:g} s were given, and the search ended {late:.0f} s later"
                why = "what compares schedules on unseen examples is never cut"
                notify(Note(f"search.timeout: {over}: {why}", "late"))
            state.check()
            return _write_result(sharing, folder, budgets, [*profiles.values()], late, warned)


def _take_moment(folder: RunFolder, place: SearchState) -> None:
    """Keep the time at which the search in a storage had its prompts rendered, where this folder knows none."""
    begun = place.made("run")
    if begun is not None and isinstance(begun.get("moment"), str):
        folder.open()
        folder.write_json(folder.moment.name, {"now": begun["moment"]})


def _finished(folder: RunFolder, identity: Record, notify: Notify) -> SearchResult | None:
    """The result in the folder where it answers this search; None where the search has to go on.

    Raises InputError where the search in the folder is another one, or what says so is damaged. A damaged result is
    made again from the journal.
    """
    if folder.has(folder.journal) and not folder.has(folder.identity):
        return None  # it was stopped before it had written down what it is; its journal knows what it has
    before = folder.read(folder.identity)
    refuse_changes(before, identity, "this folder")
    limits = [each.get("config", {}).get("search", {}) for each in (before, identity)]
    if any(limits[0].get(name) != limits[1][name] for name in LIMITS) or not folder.has(folder.result):
        return None
    try:
        return _read_result(folder)
    except InputError as error:
        if not folder.has(folder.journal):
            raise
        notify(Note(f"{error}; now it is made again from {folder.journal.name}"))
        return None


def _read_result(folder: RunFolder) -> SearchResult:
    """The result in the folder; raises InputError where it is none."""
    try:
        result = SearchResult.from_json(folder.read(folder.result))
    except (TypeError, ValueError):
        result = None
    if result is None or not result.budgets:
        raise InputError(f"{folder.result} holds no result of a search; restore it, or start again with --overwrite")
    return result


def _budgets(
    run: Run, profiles: Mapping[int, Profiles], state: DriverState, timetable: Timetable, notify: Notify
) -> list[Budget]:
    """Tune and confirm every budget, in the config's order. profiles: by block length."""
    for each in profiles.values():
        if each.uses:
            _begin_with_profile(each, notify)
    scores, steps = StoredScores(run.evaluator, state), run.config.sampler.steps
    search, most = run.config.search, run.config.search.trials * len(run.evaluator.block_lengths)
    if search.finalists > most:
        notify(Note(f"search.finalists is {search.finalists}, and {most} trials have no more finalists than that"))
    notify(BudgetsListed(tuple(outlook_of(run.evaluator, steps, search))))
    budgets: list[Budget] = []
    for place, budget in enumerate(steps):
        winners = [found.schedule for found in budgets if isinstance(found.schedule, Beta)]
        guides = {size: each.guide(budget, winners) for size, each in profiles.items()}
        notify(BudgetStarted(budget))

        def tell(event: RunEvent, place: int = place) -> None:
            notify(Note(event.text, "alike") if isinstance(event, AllValuesEqual) else event)
            if (text := timetable.warning(place, event)) is not None:
                notify(Note(text))

        in_time = partial(timetable.trials_of, place)
        found = search_budget(
            scores, budget, search, tell, guides, seed=run.config.seed, budgets=steps, in_time=in_time
        )
        if found.trials > most:
            notify(
                Note(f"{found.trials} trials were finished before, more than search.trials ({most}): all of them count")
            )
        doubts = list(winner_notes(profiles, found.winner))
        for note in doubts:
            notify(note)
        if found.alike:
            alike = ", ".join(found.alike)
            notify(Note(f"at {quantity(budget, 'step')} {found.winner.setting.label} has the same counts as {alike}"))
        codes = dict.fromkeys(note.code for note in doubts if note.code is not None)
        budgets.append(replace(found, codes=tuple(codes)))
    return budgets


def _write_result(
    run: Run,
    folder: RunFolder,
    budgets: Sequence[Budget],
    profiles: Sequence[Profiles],
    late: float | None,
    warned: Warnings,
) -> SearchResult:
    folder.write_schedule(ScheduleFileRecord.of_search(run, budgets, warned.records).to_json())
    reported = [
        scores for budget in budgets for scores in {each.setting.label: each for each in budget.reported}.values()
    ]
    if not run.evaluator.exact:
        folder.write_lines("search-scores.jsonl", (each.to_json() for each in example_records(run, reported)))
    spent = sum((each.cost for each in profiles), Cost()) if any(each.uses for each in profiles) else None
    result = SearchResult.of(
        run,
        folder,
        budgets,
        spent,
        reported=tuple(reported_records(run, reported)),
        warnings=warned.records,
        seconds_late=late,
    )
    folder.write_json(folder.result.name, result.to_json())
    return result


def _begin_with_profile(profiles: Profiles, notify: Notify) -> None:
    """Measure or take the profile and say what to know about it; a warm start that fails is done without."""
    try:
        for note in profile_notes(profiles):
            notify(note)
        if ProfileUse.OBJECTIVE in profiles.uses:
            profiles.prepare_choice()
    except InputError as error:
        if profiles.uses.needed:
            raise
        profiles.without_start = True
        notify(Note(f"the search does not start from an information profile: {error}", "no-warm-start"))


def refuse_changes(before: Record, now: Record, where: str) -> None:
    """Raise InputError naming what differs between the search that was begun and this one."""
    old, new = _flat(before), _flat(now)
    changed = [
        f"{path.removeprefix('config.')}: was {old.get(path)!r}, is {new.get(path)!r}"
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path) and not _may_change(path.removeprefix("config."))
    ]
    if changed:
        raise InputError(
            f"the search in {where} was made with other settings, so it cannot go on:\n  "
            + "\n  ".join(changed)
            + "\nrestore them, start again with --overwrite, or give another "
            + ("folder with --output" if where == "this folder" else "name with search.name")
        )


def _may_change(path: str) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in MAY_CHANGE)


def _flat(record: Record, prefix: str = "") -> dict[str, Any]:
    """Leaves by their dotted path; lists count as leaves."""
    leaves: dict[str, Any] = {}
    for key, value in record.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves
