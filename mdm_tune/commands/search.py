"""The ``search`` command: it begins or resumes a search, drives it in one process, and writes the run folder."""

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
    report_budgets,
    report_loaded,
)
from mdm_tune.commands.live_page import LivePage
from mdm_tune.commands.profile import profile_notes, winner_notes
from mdm_tune.commands.progress import Following
from mdm_tune.commands.report_page import write_page
from mdm_tune.commands.report_reading import PAGE
from mdm_tune.commands.schedule_notes import same_counts
from mdm_tune.commands.search_frontier import few_for_frontier, frontier_of_search
from mdm_tune.commands.search_plan import SearchPlan
from mdm_tune.commands.tracking import Tracking
from mdm_tune.config.file import Config, resolved, to_yaml
from mdm_tune.core.errors import InputError
from mdm_tune.core.files import write_text
from mdm_tune.core.messages import listed
from mdm_tune.core.permissions import Permissions
from mdm_tune.evaluation.scores import Cost
from mdm_tune.run.build import Run, open_run
from mdm_tune.run.description import RunDescription
from mdm_tune.run.example_records import example_records, reported_records
from mdm_tune.run.folder import RunFolder, versions
from mdm_tune.run.frontier_records import PolicyFrontierRecord
from mdm_tune.run.own_answers import one_token_rows, own_uses, prepare_own_answers, with_own_answers
from mdm_tune.run.profiles import Profiles, ProfileUse, profile_rows, profiles_of
from mdm_tune.run.schedule_records import ScheduleFileRecord
from mdm_tune.run.search_details import detailed_result
from mdm_tune.run.search_limits import Timetable
from mdm_tune.run.search_records import SearchResult
from mdm_tune.run.search_state import SearchState, search_state_of
from mdm_tune.run.shared_records import SharedRecord
from mdm_tune.run.stand_ins import stand_ins_of, with_stand_ins
from mdm_tune.sampling.devices import Devices
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.budget import search_budget
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.driver import DriverState
from mdm_tune.search.events import AllValuesEqual
from mdm_tune.search.policies import check_policies
from mdm_tune.search.shared import SharedSearch, search_shared
from mdm_tune.search.space import outlook_of
from mdm_tune.search.stored_scores import StoredScores

__all__ = ["search"]

Record = dict[str, Any]

LIMITS = ("trials", "rows", "timeout", "auto_stop")  # options that may change when a search is resumed
MAY_CHANGE = (
    "moment",
    "output",
    "evaluate",
    "search.storage",
    "search.name",
    "search.track",
    *(f"search.{name}" for name in LIMITS),
)


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
    """Tune every budget of the config and write the run folder. The result of a finished search is read from it.

    Args:
        config: The config of the run; ``output`` names the run folder.
        resume: Continue the search in the folder or the storage.
        overwrite: Replace the search in the folder or the storage.
        notify: Called with every event, in this process.
        take_over: Drive the search even if another process has a claim on it, of which this machine cannot see
            whether it still runs.
        devices: Where the rows are filled.
        allow: Whether foreign code, and code that a model writes, may run.
        since: When the command began, in seconds of the monotonic clock; None for now.

    Returns:
        The result, as it is written to ``search.json``.

    Raises:
        InputError: If another process drives the search; if the folder or the storage holds a search and neither
            ``resume`` nor ``overwrite`` is set; or if the search to resume has another config, model, data or version.
        RunError: If the storage fails, or another process takes the search over.
    """
    folder, since = RunFolder(config.output), time.monotonic() if since is None else since
    live = LivePage(folder, notify, allow)
    notify = tracking = Tracking(config.search.track, warned := Warnings(following := Following(live)))
    # An unusable database, or another process that drives the search, is reported before a model is loaded.
    search_state = search_state_of(config)
    search_state.refuse_second(take_over=take_over)
    if resume and not folder.has(folder.moment):
        _restore_moment(folder, search_state)
    with open_run(config, devices, allow, as_notes(notify)) as run:
        report_loaded(run, notify)
        report_budgets(run, notify)
        check_policies(run.evaluator, config.search, config.sampler.steps)
        for warning in few_for_frontier(run):
            notify(warning)
        # Wrong input is reported first, so that the user does not add --resume only to get another error.
        if folder.holds_search and not (resume or overwrite):
            search_state.refuse_second(take_over=take_over)  # it may have begun while the model was loaded
            raise InputError(
                f"output: {folder.path} already holds a search; add --resume to go on with it, --overwrite to start "
                "again, or give another folder with --output"
            )
        identity: Record = {
            "config": resolved(config),
            "fingerprints": run.fingerprints,
            "versions": versions(config.model.type),
        }
        if run.model.clock is not None and run.model.clock.used:
            identity["moment"] = run.model.clock.now.isoformat()
        if folder.holds_search and not overwrite and (finished := _finished(folder, identity, notify)) is not None:
            return finished

        def note(text: str) -> None:
            notify(Note(text))

        with live, search_state.driven(resume=resume, overwrite=overwrite, take_over=take_over, notify=note) as state:
            refuse_changes(state.once("run", lambda: identity), identity, "this storage")
            folder.write_moment(run.model.clock)
            folder.result.unlink(missing_ok=True)  # a result of other limits would be wrong if this run is stopped
            folder.write_json(folder.identity.name, identity)
            write_text(folder.config, to_yaml(config))
            notify(SearchStarted())
            with tracking.running(folder, identity, state.once):
                followed, about = following.begin(_plan(run, folder), run), RunDescription.of(run, allow)
                result = _tuned(followed, folder, state, (warned, live), notify, about, since=since)
                tracking.conclude(result)
            return result


def _tuned(
    run: Run,
    folder: RunFolder,
    state: DriverState,
    heard: tuple[Warnings, LivePage],
    notify: Notify,
    about: RunDescription,
    *,
    since: float,
) -> SearchResult:
    """Tune the budgets and write the result, while this process drives the search."""
    warned, live = heard
    run = with_own_answers(run, folder, state.once)
    prepare_own_answers(run)
    sharing, profiles = profiles_of(run, folder, notify, keep=state.once)
    timeout = run.config.search.timeout
    timetable = Timetable(sharing, timeout, began=since)
    scores = StoredScores(sharing.evaluator, state)
    shared = _shared(sharing, profiles, scores, timetable, notify, live) if run.config.search.shared else None
    if shared is None:
        budgets = _budgets(sharing, profiles, scores, timetable, notify, live)
    else:
        budgets = [budget.own for budget in shared.budgets]
    frontier = frontier_of_search(sharing, scores, budgets, notify) if run.config.search.frontier else None
    for text in memory_notes(sharing):
        notify(text)
    if (late := timetable.late) is not None:
        overrun = f"{timeout:g} s were given, and the search ended {late:.0f} s later"
        notify(Note(f"search.timeout: {overrun}: what compares schedules on unseen examples is never cut", "late"))
    state.check()
    return _write_result(sharing, folder, budgets, profiles, late, warned, about, shared, frontier)


def _plan(run: Run, folder: RunFolder) -> SearchPlan:
    """The plan of a search, with the rows of the profile if it is measured now."""
    profiles, rows = Profiles(run, folder, lambda event: None), 0
    if profiles.uses and profiles.measured and not folder.has(folder.profile("tune", profiles.suffix)):
        sizes = run.evaluator.block_lengths
        rows = sum(profile_rows(run, use, size) for size in sizes for use in profiles.uses.splits)
    return SearchPlan(run, rows, one_token_rows(run, own_uses(run)))


def _restore_moment(folder: RunFolder, search_state: SearchState) -> None:
    """Write to the folder the time with which the search in a storage rendered its prompts, if it has one."""
    identity = search_state.made("run")
    if identity is not None and isinstance(identity.get("moment"), str):
        folder.open()
        folder.write_json(folder.moment.name, {"now": identity["moment"]})


def _finished(folder: RunFolder, identity: Record, notify: Notify) -> SearchResult | None:
    """The result in the folder if it is the one of this search; None if the search has to go on.

    A damaged result is made again from the journal.

    Raises:
        InputError: If the folder holds another search, or its identity is damaged.
    """
    if folder.has(folder.journal) and not folder.has(folder.identity):
        return None  # it was stopped before it wrote its identity; the journal has all of it
    before = folder.read(folder.identity)
    refuse_changes(before, identity, "this folder")
    old, new = (record.get("config", {}).get("search", {}) for record in (before, identity))
    if any(old.get(name) != new[name] for name in LIMITS) or not folder.has(folder.result):
        return None
    try:
        result = _read_result(folder)
        if not folder.has(folder.path / PAGE):  # it was removed, or the search is one of an earlier version
            write_page(folder, notify)
        return result
    except InputError as error:
        if not folder.has(folder.journal):
            raise
        notify(Note(f"{error}; now it is made again from {folder.journal.name}"))
        return None


def _read_result(folder: RunFolder) -> SearchResult:
    """Read the result in the folder.

    Raises:
        InputError: If the file holds no result of a search.
    """
    record = folder.read(folder.result)
    try:
        result = SearchResult.from_json(record)
    except (TypeError, ValueError):
        result = None
    if result is None or not result.budgets:
        raise InputError(f"{folder.result} holds no result of a search; restore it, or start again with --overwrite")
    return result


def _budgets(
    run: Run,
    profiles: Mapping[int, Profiles],
    scores: StoredScores,
    timetable: Timetable,
    notify: Notify,
    live: LivePage,
) -> list[Budget]:
    """Tune every budget and compare its winner on unseen examples, in the order of the config.

    Args:
        run: The run, with the shares of the profiles.
        profiles: By block length.
        scores: Scores settings in the storage of the search, which this process drives.
        timetable: The time limits of the search.
        notify: Called with every event.
        live: The page, which shows each budget as soon as it is finished.
    """
    live.check, live.run = scores.state.check, run
    for profile in profiles.values():
        if profile.uses:
            _prepare_profile(profile, notify)
    steps = run.config.sampler.steps
    search, most = run.config.search, run.config.search.trials * len(run.evaluator.block_lengths)
    if search.finalists > most:
        notify(Note(f"search.finalists is {search.finalists}, and {most} trials have no more finalists than that"))
    notify(BudgetsListed(tuple(outlook_of(run.evaluator, steps, search))))
    budgets: list[Budget] = []
    for index, budget in enumerate(steps):
        winners = [earlier.policy for earlier in budgets if isinstance(earlier.policy, Beta)]
        guides = {size: profile.guide(budget, winners) for size, profile in profiles.items()}
        notify(BudgetStarted(budget))
        report = partial(_report, notify, timetable, index)
        in_time = partial(timetable.trials_of, index)
        result = search_budget(
            scores, budget, search, report, guides, seed=run.config.seed, budgets=steps, in_time=in_time
        )
        if result.trials > most:
            notify(
                Note(
                    f"{result.trials} trials were finished before, more than search.trials ({most}): all of them count"
                )
            )
        budgets.append(_noted(run, profiles, result, notify))
        live.finished(budgets[-1])
    return budgets


def _report(notify: Notify, timetable: Timetable, place: int, event: RunEvent) -> None:
    """Report an event of a budget; then a warning, if the search is about to end too late."""
    notify(Note(event.text, "alike") if isinstance(event, AllValuesEqual) else event)
    if (text := timetable.warning(place, event)) is not None:
        notify(Note(text))


def _noted(run: Run, profiles: Mapping[int, Profiles], result: Budget, notify: Notify) -> Budget:
    """The outcome of a budget with its stand-ins, and with the warnings about its winner, which are reported."""
    warnings = list(winner_notes(profiles, result.winner))
    for note in warnings:
        notify(note)
    for note in same_counts(run.evaluator, result.winner.setting, result.alike):
        notify(note)
    codes = dict.fromkeys(note.code for note in warnings if note.code is not None)
    (stand_ins,) = stand_ins_of(run, [result], profiles)
    return replace(result, codes=tuple(codes), stand_ins=stand_ins)


def _shared(
    run: Run,
    profiles: Mapping[int, Profiles],
    scores: StoredScores,
    timetable: Timetable,
    notify: Notify,
    live: LivePage,
) -> SharedSearch:
    """Tune one schedule for all budgets; the arguments are those of ``_budgets``."""
    live.check, live.run = scores.state.check, run
    (profile,) = profiles.values()
    if profile.uses:
        _prepare_profile(profile, notify)
    steps, search = run.config.sampler.steps, run.config.search
    notify(BudgetsListed(tuple(outlook_of(run.evaluator, steps, search))))
    notify(Note(f"one schedule for all budgets: each trial is scored at {listed(steps)} steps"))

    def finished(budget: Budget) -> Budget:
        noted = _noted(run, profiles, budget, notify)
        live.finished(noted)
        return noted

    found = search_shared(
        scores,
        steps,
        search,
        partial(_report, notify, timetable, 0),
        {budget: profile.guide(budget, []) for budget in steps},
        seed=run.config.seed,
        in_time=timetable.trials_of(0, len(steps) - 1),  # as the last of the searches, which has all of the time
        started=lambda budget: notify(BudgetStarted(budget)),
        finished=finished,
    )
    return with_stand_ins(run, found, profiles)


def _write_result(
    run: Run,
    folder: RunFolder,
    budgets: Sequence[Budget],
    profiles: Mapping[int, Profiles],
    late: float | None,
    warned: Warnings,
    about: RunDescription,
    shared: SharedSearch | None,
    frontier: tuple[PolicyFrontierRecord, Cost] | None,
) -> SearchResult:
    """Write the schedule file, the scores of examples, the result and its page; returns the result."""
    folder.write_schedule(ScheduleFileRecord.of_search(run, budgets, warned.records, shared).to_json())
    reported = [
        scores
        for budget in budgets
        for scores in {reported.setting.label: reported for reported in budget.reported}.values()
    ]
    if not run.evaluator.exact:
        folder.write_lines("search-scores.jsonl", (example.to_json() for example in example_records(run, reported)))
    profiled = any(profile.uses for profile in profiles.values())
    spent = sum((profile.cost for profile in profiles.values()), Cost()) if profiled else None
    result = SearchResult.of(
        run,
        folder,
        budgets,
        spent,
        reported=tuple(reported_records(run, reported)),
        warnings=warned.records,
        seconds_late=late,
        frontier=frontier,
    )
    result = detailed_result(result, run, budgets, profiles, about)
    if shared is not None:
        result = replace(result, shared=SharedRecord.of(run, shared), trials=len(shared.trials))
    folder.write_json(folder.result.name, result.to_json())
    write_page(folder, warned.notify)
    return result


def _prepare_profile(profiles: Profiles, notify: Notify) -> None:
    """Measure the profile or read it, and report the notes about it. A warm start that fails is left out."""
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
    """Check that a search has the settings with which it began.

    Args:
        before: The identity of the search that was begun.
        now: The identity of this search.
        where: ``this folder`` or ``this storage``, for the message.

    Raises:
        InputError: If the identities differ in what may not change.
    """
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
    """Whether an option, as a dotted path, may differ when a search is resumed."""
    return any(path == name or path.startswith(f"{name}.") for name in MAY_CHANGE)


def _flat(record: Record, prefix: str = "") -> dict[str, Any]:
    """The values of a nested record by dotted path. Lists are values."""
    values: dict[str, Any] = {}
    for key, value in record.items():
        values |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return values
