"""What a search logs to an experiment tracker. No failure of the tracker ends the search."""

from __future__ import annotations

import math
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from mdm_tune.commands.events import BudgetStarted, Note, Notify, RunEvent
from mdm_tune.commands.trackers import Beginning, Row, Tracker, check_installed, open_tracker
from mdm_tune.core.messages import shown
from mdm_tune.core.redaction import redacted
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.search_records import BudgetRecord, SearchResult
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.events import StudyStarted, TrialDone

__all__ = ["Tracking", "summary_of", "trial_row"]

Once = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]
Ends = tuple[float, float] | None
T = TypeVar("T")


class Tracking:
    """Passes events on, and logs the trials among them to a tracker, if there is one.

    After the tracker has failed once, nothing more is logged.

    Args:
        library: ``wandb``, ``tensorboard`` or ``trackio``; None for no tracker.
        notify: Called with every event, and with a warning if the tracker fails.

    Raises:
        InputError: If the library is not installed.
    """

    def __init__(self, library: str | None, notify: Notify) -> None:
        self._library, self._notify = library, notify
        self._tracker: Tracker | None = None
        self._study = StudyStarted(None)
        if library is not None:
            check_installed(library)

    def __call__(self, event: RunEvent) -> None:
        match event:
            case BudgetStarted():
                self._study = StudyStarted(None)
            case StudyStarted():
                self._study = event
            case TrialDone():
                row = trial_row(event, self._study)
                self._use(lambda tracker: tracker.log(row, event.number))
        self._notify(event)

    @contextmanager
    def running(self, folder: RunFolder, identity: Mapping[str, Any], once: Once) -> Iterator[None]:
        """Begin the tracker's run, or continue that of a resumed search; end it with the ``with`` block.

        Args:
            folder: The run folder, after which the tracker's run is named.
            identity: Config, versions and fingerprints.
            once: As ``DriverState.once``; it keeps the id of the tracker's run.
        """
        if self._library is None:
            yield
            return
        fresh = uuid.uuid4().hex[:12]
        kept = str(once(f"track {self._library}", lambda: {"id": fresh})["id"])
        beginning = Beginning(
            folder=folder,
            name=folder.path.absolute().name,
            id=kept,
            resumed=kept != fresh,
            config=redacted(dict(identity)),
        )
        self._tracker = self._attempt(lambda: open_tracker(str(self._library), beginning))
        if self._tracker is not None:
            again = "continues the run" if beginning.resumed else "logs this search"
            self._notify(Note(f"search.track: {self._library} {again} in {self._tracker.place}"))
        failed = True
        try:
            yield
            failed = False
        finally:
            self._use(lambda tracker: tracker.finish(failed=failed))
            self._tracker = None

    def conclude(self, result: SearchResult) -> None:
        """Log the result and the table of all trials."""
        trials = [row for budget in result.budgets for row in _table(budget)]
        self._use(lambda tracker: tracker.conclude(summary_of(result), trials))

    def _use(self, action: Callable[[Tracker], None]) -> None:
        """Call a function of the tracker, if there is one that works."""
        tracker = self._tracker
        if tracker is None:
            return

        def act() -> bool:
            action(tracker)
            return True

        if not self._attempt(act):
            self._tracker = None

    def _attempt(self, action: Callable[[], T]) -> T | None:
        """The value of a function; None, after a warning for the user, if it raises."""
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                value = action()
        except Exception as error:  # a tracker may raise anything
            reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            self._notify(
                Note(
                    f"search.track: {self._library} failed ({shown(redacted(reason))}), and nothing more is logged; "
                    "the search goes on",
                    "tracker",
                )
            )
            return None
        for text in dict.fromkeys(str(warning.message) for warning in said if _matters(warning)):
            self._notify(Note(f"search.track: {self._library}: {redacted(text)}"))
        return value


def _matters(warning: warnings.WarningMessage) -> bool:
    """Whether a library's warning is meant for its user, not for its developers."""
    return not issubclass(warning.category, (DeprecationWarning, PendingDeprecationWarning, FutureWarning))


def trial_row(event: TrialDone, study: StudyStarted) -> Row:
    """What is logged of a trial, with names that begin as those of the study in the journal.

    Args:
        event: The finished trial.
        study: The study of the trial.
    """
    row: dict[str, float | str | None] = {
        "trial": event.number,
        **(event.policy.parameters if isinstance(event.policy, Beta) else {"policy": event.policy.name}),
        "calls": event.calls,
        "value": event.value,
        **_ends("value", event.ci),
        "best": event.best,
        "examples": event.examples,
        "rows": event.rows,
        "dropped": int(event.dropped is not None),
        "state": event.state,
    }
    kind = None if study.kind == "counts" else study.kind
    return _named(_group(event.setting.steps, study.block_length, kind), row)


def summary_of(result: SearchResult) -> Row:
    """What is logged of a result: of each budget its winner, baselines and gain, and the cost of the search."""
    summary: dict[str, float | str] = {}
    for budget in result.budgets:
        summary |= _named(f"result-{_group(budget.steps, None)}", _outcome(budget))
    cost = {"trials": result.trials, "denoiser_rows": result.cost.denoiser_rows, "seconds": result.cost.seconds}
    return {**summary, **_named("result", cost)}


def _outcome(budget: BudgetRecord) -> dict[str, float | str | None]:
    quality, gain = budget.quality, budget.quality.gain_over_linear
    row: dict[str, float | str | None] = {
        "winner": budget.schedule.text,
        "winner_a": budget.schedule.a,
        "winner_b": budget.schedule.b,
        "metric": f"{quality.metric} ({quality.direction})",
        "value": quality.estimate.value,
        **_ends("value", quality.estimate.ci),
        "gain_over_linear": gain.value,
        **_ends("gain_over_linear", gain.ci),
        **_ends("gain_over_linear_corrected", gain.familywise),
        "gain_is_shown": int(gain.shown),
        "beats_linear": int(quality.beats_linear),
        "calls": quality.calls.nfe,
    }
    for name, estimate in quality.baselines.items():
        row |= {f"baseline_{name}": estimate.value, **_ends(f"baseline_{name}", estimate.ci)}
    return row


def _table(budget: BudgetRecord) -> Iterator[Row]:
    """The trials of a budget, with those of earlier commands."""
    for point in budget.details.trial_points:
        state = "out of rows or time" if point.cut else "dropped" if point.dropped else "complete"
        yield {
            "steps": budget.steps,
            "block_length": point.block_length or "",
            "trial": point.number,
            "kind": point.kind,
            "a": "" if point.a is None else point.a,
            "b": "" if point.b is None else point.b,
            "policy": point.policy or "",
            "value": "" if point.value is None else point.value,
            "examples": "" if point.examples is None else point.examples,
            "state": state if point.fresh else "scored before",
        }


def _group(steps: int, block_length: int | None, kind: str | None = None) -> str:
    blocks = "" if block_length is None else f"-blocks-{block_length}"
    return f"steps-{steps}{blocks}" + ("" if kind is None else f"-{kind}")


def _named(group: str, row: Mapping[str, float | str | None]) -> dict[str, float | str]:
    """A row with full names, without what is missing or not finite."""
    return {
        f"{group}/{key}": value
        for key, value in row.items()
        if value is not None and (isinstance(value, str) or math.isfinite(value))
    }


def _ends(name: str, ends: Ends) -> dict[str, float | str | None]:
    return {} if ends is None else {f"{name}_low": ends[0], f"{name}_high": ends[1]}
