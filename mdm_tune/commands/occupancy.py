"""How busy pieces keep several replicas: how many there are at a time, and what waiting for the last one costs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from mdm_tune.datasets.splits import Use
from mdm_tune.run.build import Run
from mdm_tune.run.dry_run_records import BusyRecord
from mdm_tune.run.profiles import example_count
from mdm_tune.run.search_limits import schedules_of
from mdm_tune.search.budget import reference_of
from mdm_tune.search.racing import whole_look_sizes

__all__ = ["FULL", "busy", "busy_record", "stretch"]

FULL = 0.9  # share of the replicas that are busy from which they count as filled
MOST = 64  # candidates of a batch of trials, as in a config


def busy(pieces: Iterable[int], copies: int) -> float:
    """The share of the replicas that work, on average, until such numbers of pieces, one after the other, are done.

    Every piece takes equally long, and each number waits for the last piece of the one before.
    """
    found = [number for number in pieces if number]
    rounds = sum(math.ceil(number / copies) for number in found)
    return sum(found) / (rounds * copies) if rounds else 1.0


def stretch(run: Run, phase: str) -> float:
    """How many times as long a phase takes as it would if every replica always had work."""
    copies = run.evaluator.pool.copies
    if copies == 1 or run.evaluator.exact:
        return 1.0
    deals = {"profile": _profile, "tune": _trials}.get(phase, _comparison)(run)
    return 1 / busy(deals, copies)


def busy_record(run: Run) -> BusyRecord | None:
    """What share of the replicas the first look of a batch of trials keeps busy, and which ``together`` fills them.

    None where one device is used, and where trials need no denoiser.
    """
    copies, together = run.evaluator.pool.copies, _together(run)
    if copies == 1 or run.evaluator.exact or run.priced_by_profile:
        return None
    filling = (each for each in range(together, MOST + 1) if busy([_first_look(run, each)], copies) >= FULL)
    return BusyRecord(
        replicas=copies,
        together=together,
        pieces=_first_look(run, together),
        busy=round(busy([_first_look(run, together)], copies), 3),
        together_to_fill=next(filling, None),
    )


def _together(run: Run) -> int:
    """Candidates of a batch of trials; linear, the first, is alone."""
    return max(1, min(run.config.search.together, run.config.search.trials - 1))


def _pieces(run: Run, rows: int) -> int:
    return math.ceil(rows / run.evaluator.sampler.section.batch)


def _looks(run: Run) -> list[int]:
    """The examples that each look of a race adds."""
    ends = run.evaluator.split("tune").shuffled().ends
    looks = whole_look_sizes(ends) if run.config.search.racing else (ends[-1],)
    return [stop - start for start, stop in itertools.pairwise((0, *looks))]


def _first_look(run: Run, together: int) -> int:
    return _pieces(run, together * _looks(run)[0])


def _trials(run: Run) -> list[int]:
    """Linear and then batches, of which nobody is dropped."""
    together, looks = _together(run), _looks(run)
    batches = math.ceil((run.config.search.trials - 1) / together)
    return [_pieces(run, sum(looks))] + [_pieces(run, together * look) for look in looks] * batches


def _comparison(run: Run) -> list[int]:
    """All that is known beforehand, and then the winner on the report split."""

    def whole(use: Use) -> int:
        return _pieces(run, len(run.evaluator.split(use).ids))

    budgets = run.config.sampler.steps
    first = schedules_of(run, "choose") * whole("choose") + (schedules_of(run, "report") - 1) * whole("report")
    if (many := reference_of(run.evaluator, budgets)) is not None:
        first += _pieces(run, many[1])
    return [first, whole("report")] * len(budgets)


def _profile(run: Run) -> list[int]:
    """The two ends with the middle, and then points by twos, fours and so on, as halving allows."""
    each, left = _pieces(run, example_count(run)), run.config.profile.points - 3
    found, number = [3 * each], 2
    while left > 0:
        found.append(min(number, left) * each)
        left, number = left - number, 2 * number
    return found
