"""How busy several replicas are with the pieces of a phase, and how much longer it takes since they wait."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from mdm_tune.datasets.splits import Use
from mdm_tune.run.build import Run
from mdm_tune.run.dry_run_records import BusyRecord
from mdm_tune.run.profiles import example_count
from mdm_tune.run.search_limits import most_scored
from mdm_tune.search.budget import reference_of
from mdm_tune.search.racing import whole_look_sizes

__all__ = ["FULL", "busy_record", "busy_share", "waiting_factor"]

FULL = 0.9  # least share of busy replicas that counts as filled
MOST = 64  # most trials of a batch, as in a config


def busy_share(pieces: Iterable[int], copies: int) -> float:
    """The mean share of replicas that are busy.

    Args:
        pieces: The pieces of each group. A group starts once the last piece of the group before is done. Every piece
            takes equally long.
        copies: The number of replicas.

    Returns:
        A number from 0 to 1.
    """
    groups = [number for number in pieces if number]
    rounds = sum(math.ceil(number / copies) for number in groups)
    return sum(groups) / (rounds * copies) if rounds else 1.0


def waiting_factor(run: Run, phase: str) -> float:
    """The time of a phase, relative to its time if every replica always had work; at least 1."""
    copies = run.evaluator.pool.copies
    if copies == 1 or run.evaluator.exact:
        return 1.0
    groups = {"profile": _profile_pieces, "tune": _trial_pieces}.get(phase, _comparison_pieces)(run)
    return 1 / busy_share(groups, copies)


def busy_record(run: Run) -> BusyRecord | None:
    """How busy the first look of a batch of trials keeps the replicas, and which ``together`` would fill them.

    None if there is one replica, or if trials need no denoiser.
    """
    copies, together = run.evaluator.pool.copies, _together(run)
    if copies == 1 or run.evaluator.exact or run.priced_by_profile:
        return None
    filling = (number for number in range(together, MOST + 1) if busy_share([_first_look(run, number)], copies) >= FULL)
    return BusyRecord(
        replicas=copies,
        together=together,
        pieces=_first_look(run, together),
        busy=round(busy_share([_first_look(run, together)], copies), 3),
        together_to_fill=next(filling, None),
    )


def _together(run: Run) -> int:
    """The trials of a batch. Linear, the first trial, is not part of one."""
    return max(1, min(run.config.search.together, run.config.search.trials - 1))


def _pieces(run: Run, rows: int) -> int:
    """The pieces of this number of rows."""
    return math.ceil(rows / run.evaluator.sampler.section.batch)


def _looks(run: Run) -> list[int]:
    """The examples that each look of a race adds to the one before."""
    ends = run.evaluator.split("tune").shuffled().ends
    looks = whole_look_sizes(ends) if run.config.search.racing else (ends[-1],)
    return [stop - start for start, stop in itertools.pairwise((0, *looks))]


def _first_look(run: Run, together: int) -> int:
    """The pieces of the first look of a batch of trials."""
    return _pieces(run, together * _looks(run)[0])


def _trial_pieces(run: Run) -> list[int]:
    """The pieces of linear, then of each look of each batch, if no trial is dropped."""
    together, looks = _together(run), _looks(run)
    batches = math.ceil((run.config.search.trials - 1) / together)
    return [_pieces(run, sum(looks))] + [_pieces(run, together * look) for look in looks] * batches


def _comparison_pieces(run: Run) -> list[int]:
    """The pieces of a comparison for each budget: first all but the winner, then the winner on the report split."""

    def split_pieces(use: Use) -> int:
        return _pieces(run, len(run.evaluator.split(use).ids))

    budgets = run.config.sampler.steps
    first = most_scored(run, "choose") * split_pieces("choose")
    first += (most_scored(run, "report") - 1) * split_pieces("report")
    if (reference := reference_of(run.evaluator, budgets)) is not None:
        first += _pieces(run, reference[1])
    return [first, split_pieces("report")] * len(budgets)


def _profile_pieces(run: Run) -> list[int]:
    """The pieces of the points of a profile: the two ends with the middle, then two, four and so on by halving."""
    pieces, left = _pieces(run, example_count(run)), run.config.profile.points - 3
    groups, points = [3 * pieces], 2
    while left > 0:
        groups.append(min(points, left) * pieces)
        left, points = left - points, 2 * points
    return groups
