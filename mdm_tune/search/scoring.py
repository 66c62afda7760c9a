"""The values of a batch of candidates on the tune split: computed, priced by a profile, or raced on examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.statistics import Groups, grouped
from mdm_tune.core.types import Direction, sign_of
from mdm_tune.evaluation.evaluator import Cost, Evaluator
from mdm_tune.evaluation.settings import Setting
from mdm_tune.search.racing import carried, hopeless, whole_look_sizes

__all__ = ["CandidateScore", "InTime", "least_rows", "noise_of_best", "price_settings", "race"]

Values = NDArray[np.float64]
InTime = Callable[[float, float], bool]  # whether there is time for so many denoiser calls and so many more seconds


@dataclass(frozen=True)
class CandidateScore:
    """What a trial is told. values: on all examples; None where none were used or the candidate was dropped.

    dropped: the number of examples after which it was dropped, else None. cut: for want of rows or time, so that with
    more of them it may be scored again.
    """

    value: float
    values: Values | None = None
    dropped: int | None = None
    cut: bool = False


def price_settings(
    evaluator: Evaluator, settings: Mapping[int, Setting], by_profile: Callable[[Setting], float] | None
) -> tuple[dict[int, CandidateScore], Cost]:
    """Values that need no examples: from the profile, or computed exactly; settings by trial number."""
    if by_profile is not None:
        return {number: CandidateScore(by_profile(setting)) for number, setting in settings.items()}, Cost()
    scores = {number: evaluator.score(setting, "tune") for number, setting in settings.items()}
    cost = sum((each.cost for each in scores.values()), Cost())
    return {number: CandidateScore(each.estimate.value) for number, each in scores.items()}, cost


def least_rows(evaluator: Evaluator, settings: Sequence[Setting], *, racing: bool) -> float:
    """Denoiser rows, at most, of a race of these candidates in which all but one are dropped at the first look.

    Without races, of scoring them all.
    """
    split = evaluator.split("tune").shuffled()
    total = len(split.ids)
    first = whole_look_sizes(split.ends)[0] if racing else total
    return first * sum(setting.nfe for setting in settings) + (total - first) * max(s.nfe for s in settings)


def race(
    evaluator: Evaluator,
    settings: Mapping[int, Setting],
    incumbent: Values | None,
    rows: float,
    report: Callable[[int, int, float], None],
    *,
    racing: bool = True,
    in_time: InTime | None = None,
) -> tuple[dict[int, CandidateScore], Cost]:
    """Score candidates on more and more examples of the tune split, and drop those that cannot beat the incumbent.

    settings: by trial number. incumbent (examples,): its values, None for no race. rows: what a race may spend; where
    it is too little for all, the better candidates go on, and ``least_rows`` suffice to score one to the end. in_time:
    the same for time, looked at whenever a denoiser batch of examples is done; then even the best may be dropped. None
    for no limit. racing: False drops nobody but where time runs out. report(number, examples, value) is told of every
    look that a candidate survives. A dropped candidate's value is the incumbent's mean plus the mean paired difference:
    its own mean on a few examples says more of the examples than of the schedule. Examples of one group count as one,
    and looks are at whole groups.
    """
    split = evaluator.split("tune").shuffled()
    total, ends, groups = len(split.ids), split.ends, split.shared
    sign = sign_of(evaluator.metric.direction)
    racing = racing and incumbent is not None
    running, values, cost, calls = dict(settings), dict[int, Values](), Cost(), 0.0
    found: dict[int, CandidateScore] = {}

    def drop(number: int, cut: bool = False) -> None:
        assert incumbent is not None
        differences = sign * (values[number] - incumbent[: len(values[number])])
        found[number] = CandidateScore(
            value=sign * carried(sign * float(incumbent.mean()), differences),
            values=None,
            dropped=len(differences),
            cut=cut,
        )
        del running[number]

    def affordable(needed: float) -> bool:
        # Identical rows are computed once, so that a call costs less than a row, and the less the more there are.
        left = (rows - cost.denoiser_rows) * (calls / cost.denoiser_rows if cost.denoiser_rows else 1.0)
        return (not racing or needed <= left) and (in_time is None or in_time(needed, 0.0))

    done = 0
    for look in whole_look_sizes(ends) if racing else (total,):
        while done < look and running:
            if incumbent is not None and values:
                better = sorted(running, key=lambda number: -sign * values[number].mean())
                for number in better[_affordable(evaluator, [running[n] for n in better], look, affordable) :]:
                    drop(number, cut=True)
            if not running:
                break
            part = look - done if in_time is None else _part(evaluator, len(running))
            done = min(look, done + part)
            calls += _calls(evaluator, running.values(), done)
            drawn, spent = evaluator.together([*running.values()], "tune", done)
            values |= dict(zip(running, drawn, strict=True))
            cost += spent
        for number in list(running) if racing else []:
            assert incumbent is not None
            differences = sign * (values[number] - incumbent[:look])
            if hopeless(grouped(differences, groups and groups[:look]), len(ends)):
                drop(number)
            else:
                report(number, look, float(values[number].mean()))
    for number in running:
        found[number] = CandidateScore(float(values[number].mean()), values[number])
    return dict(sorted(found.items())), cost


def _part(evaluator: Evaluator, candidates: int) -> int:
    """Examples whose rows fill one denoiser batch of every process."""
    return max(1, evaluator.sampler.section.batch * evaluator.pool.copies // candidates)


def _affordable(
    evaluator: Evaluator, settings: Sequence[Setting], look: int, affordable: Callable[[float], bool]
) -> int:
    """How many of these candidates, the best first, can be scored up to a look, and the best of them to the end."""
    total = len(evaluator.split("tune").ids)
    for count in range(len(settings), 0, -1):
        last = (total - look) * settings[0].nfe
        if affordable(_calls(evaluator, settings[:count], look) + last):
            return count
    return 0


def _calls(evaluator: Evaluator, settings: Iterable[Setting], look: int) -> float:
    """Denoiser calls, summed over examples, that candidates lack up to a look."""
    return sum(setting.nfe * max(0, look - evaluator.answered(setting, "tune")) for setting in settings)


def noise_of_best(values: Mapping[int, Values], direction: Direction, groups: Groups | None = None) -> float | None:
    """The standard error of the paired difference between the two best trials; None before there are two.

    values: on all examples, by the number of each fully scored trial. groups: of the examples, as in ``estimate``; None
    too where there are not two.
    """
    best = sorted(values.items(), key=lambda pair: (-sign_of(direction) * float(pair[1].mean()), pair[0]))[:2]
    if len(best) < 2:
        return None
    differences = grouped(best[0][1] - best[1][1], groups)
    if len(differences) < 2:
        return None
    return float(differences.std(ddof=1) / np.sqrt(len(differences)))
