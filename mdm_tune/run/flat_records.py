"""The record of a budget's flat part: the schedules that cannot be told apart from the winner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from mdm_tune.core.json_record import JsonRecord
from mdm_tune.run.build import Run
from mdm_tune.run.profiles import Profiles
from mdm_tune.schedules.flat import FlatPart
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.flat import flat_of_profile, flat_of_trials

__all__ = ["FlatGrid", "FlatRecord", "NearestRecord", "flat_of"]


@dataclass(frozen=True, kw_only=True)
class NearestRecord(JsonRecord):
    """The hand-made schedule that is nearest to a flat part, and the flat a and b nearest to it.

    Attributes:
        schedule: Its name.
        a, b: The parameters.
        within: Whether the hand-made schedule is in the flat part.
    """

    schedule: str
    a: float
    b: float
    within: bool


@dataclass(frozen=True, kw_only=True)
class FlatGrid(JsonRecord):
    """The flat part on a grid that is evenly spread in log scale.

    Attributes:
        a: (A,) the values of a.
        b: (B,) the values of b.
        inside: (A,) texts of B characters, "1" where the schedule is in the flat part and "0" elsewhere.
    """

    a: tuple[float, ...]
    b: tuple[float, ...]
    inside: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FlatRecord(JsonRecord):
    """The schedules Beta(a, b) that cannot be told apart from a budget's winner on the tune examples.

    A schedule belongs to them if the 95 % interval of its value minus the winner's reaches 0 or lies on the better
    side. The interval is that of each schedule by itself.

    Attributes:
        source: Where the interval comes from: a Gaussian process on the trials, or the profile that prices them.
        than: What schedules are compared with: the winner, or the best Beta(a, b) if the winner is not in the family.
        share: Their share of the box, by area in log scale.
        a, b: The smallest and the largest value.
        any_a, any_b: A rectangle of which all schedules belong to them; None if there is none.
        named: The hand-made schedules among them.
        nearest: The hand-made schedule that is nearest.
        at_edge: Whether they reach the edge of the box.
        text: The same in words.
        grid: The same point by point.
    """

    source: Literal["trials", "profile"]
    than: Literal["winner", "best of the family"]
    share: float
    a: tuple[float, float]
    b: tuple[float, float]
    any_a: tuple[float, float] | None
    any_b: tuple[float, float] | None
    named: tuple[str, ...]
    nearest: NearestRecord
    at_edge: bool
    text: str
    grid: FlatGrid | None = None

    @classmethod
    def of(cls, flat: FlatPart, *, grid: bool = True) -> Self:
        """The record of a flat part, with its grid if that is wanted."""
        (name, (a, b)), inside = flat.nearest, flat.inside.astype(int).tolist()
        return cls(
            source=flat.source,
            than="winner" if flat.of_winner else "best of the family",
            share=round(flat.share, 4),
            a=_digits(flat.a),
            b=_digits(flat.b),
            any_a=None if flat.any_a is None else _digits(flat.any_a),
            any_b=None if flat.any_b is None else _digits(flat.any_b),
            named=flat.named,
            nearest=NearestRecord(schedule=name, a=_digit(a), b=_digit(b), within=name in flat.named),
            at_edge=flat.at_edge,
            text=flat.text,
            grid=FlatGrid(
                a=tuple(map(_digit, flat.grid.a.tolist())),
                b=tuple(map(_digit, flat.grid.b.tolist())),
                inside=tuple("".join(map(str, row)) for row in inside),
            )
            if grid
            else None,
        )


def flat_of(run: Run, budget: Budget, profiles: Mapping[int, Profiles]) -> FlatPart | None:
    """The flat part of a budget, by the profile where it prices the trials, otherwise by the trials.

    Args:
        run: The run.
        budget: The budget that was tuned and compared.
        profiles: By block length.

    Returns:
        The flat part; None if nothing was tuned, or if there are too few trials or examples.
    """
    size = budget.winner.setting.block_length
    at_size = run.evaluator.in_blocks(size if size in run.evaluator.block_lengths else run.evaluator.block_length)
    of_size = [
        study for study in budget.studies if (study.kind, study.block_length) == ("counts", at_size.block_length)
    ]
    trials = [trial for study in of_size for trial in study.trials]
    if not trials:
        return None
    if run.priced_by_profile:
        return flat_of_profile(at_size, profiles[at_size.block_length].chooser, budget.policy, budget.steps)
    return flat_of_trials(at_size, trials, budget.policy, run.config.search.space)


def _digit(value: float) -> float:
    return float(f"{value:.5g}")


def _digits(ends: tuple[float, float]) -> tuple[float, float]:
    return _digit(ends[0]), _digit(ends[1])
