"""Score a batch of candidates on the tune split: exactly, by a profile, or in a race on examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.statistics import Groups, grouped
from mdm_tune.core.types import Direction, sign_of
from mdm_tune.datasets.splits import Split
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Cost
from mdm_tune.evaluation.settings import Setting
from mdm_tune.search.racing import carried, hopeless, whole_look_sizes

__all__ = ["CandidateScore", "InTime", "can_hardly_win", "least_rows", "noise_of_best", "price_settings", "race"]

Values = NDArray[np.float64]
InTime = Callable[[float, float], bool]  # whether there is time for this many denoiser calls and further seconds


@dataclass(frozen=True)
class CandidateScore:
    """The score of a candidate.

    Attributes:
        value: The value; if the candidate was dropped, the value that ``carried`` estimates.
        values: (examples,) the values; None without examples and for a dropped candidate.
        dropped: The examples after which the candidate was dropped; None if it was not.
        cut: Whether it was dropped for lack of rows or time, so that a search with more of them scores it again.
    """

    value: float
    values: Values | None = None
    dropped: int | None = None
    cut: bool = False


def price_settings(
    evaluator: Evaluator, settings: Mapping[int, Setting], by_profile: Callable[[Setting], float] | None
) -> tuple[dict[int, CandidateScore], Cost]:
    """Compute values that need no examples.

    Args:
        evaluator: The evaluator; its metric is exact unless there is a profile.
        settings: Settings by trial number.
        by_profile: The price of a setting by the profile; None to compute exact values.

    Returns:
        The scores by trial number, and the cost.
    """
    if by_profile is not None:
        return {number: CandidateScore(by_profile(setting)) for number, setting in settings.items()}, Cost()
    scores = {number: evaluator.score(setting, "tune") for number, setting in settings.items()}
    cost = sum((score.cost for score in scores.values()), Cost())
    return {number: CandidateScore(score.estimate.value) for number, score in scores.items()}, cost


def least_rows(evaluator: Evaluator, settings: Sequence[Setting], *, racing: bool) -> float:
    """The most denoiser rows of a race in which all candidates but one are dropped at the first look.

    Args:
        evaluator: The evaluator.
        settings: The candidates.
        racing: False for the rows that score all candidates on all examples.
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
    """Score candidates on more and more examples of the tune split, and drop those that can hardly beat the incumbent.

    The value of a dropped candidate is the incumbent's mean plus the mean paired difference (``carried``). Examples of
    one group count as one, and each look is at whole groups.

    Args:
        evaluator: The evaluator.
        settings: The candidates by trial number.
        incumbent: (examples,) the values of the best trial so far; None for no race.
        rows: Denoiser rows that the race may use. If they do not suffice for all candidates, the better ones continue.
            ``least_rows`` suffice to score one candidate on all examples.
        report: Called with number, examples and value at each look that a candidate survives.
        racing: False to drop candidates only if time runs out.
        in_time: Whether there is time for more denoiser calls, checked after each denoiser batch of examples. If there
            is not, even the best candidate may be dropped. None for no limit.

    Returns:
        The scores by trial number, and the cost.
    """
    split = evaluator.split("tune").shuffled()
    total = len(split.ids)
    sign = sign_of(evaluator.metric.direction)
    racing = racing and incumbent is not None
    running, values, cost, calls = dict(settings), dict[int, Values](), Cost(), 0.0
    scores: dict[int, CandidateScore] = {}

    def drop(number: int, cut: bool = False) -> None:
        assert incumbent is not None
        differences = sign * (values[number] - incumbent[: len(values[number])])
        scores[number] = CandidateScore(
            value=sign * carried(sign * float(incumbent.mean()), differences),
            values=None,
            dropped=len(differences),
            cut=cut,
        )
        del running[number]

    def affordable(needed: float) -> bool:
        # Identical rows are computed once, so a call costs less than a row. The ratio so far estimates how much less.
        left = (rows - cost.denoiser_rows) * (calls / cost.denoiser_rows if cost.denoiser_rows else 1.0)
        return (not racing or needed <= left) and (in_time is None or in_time(needed, 0.0))

    done = 0
    for look in whole_look_sizes(split.ends) if racing else (total,):
        while done < look and running:
            if incumbent is not None and values:
                by_value = sorted(running, key=lambda number: -sign * values[number].mean())
                continuing = _affordable_count(evaluator, [running[number] for number in by_value], look, affordable)
                for number in by_value[continuing:]:
                    drop(number, cut=True)
            if not running:
                break
            part = look - done if in_time is None else _batch_examples(evaluator, len(running))
            done = min(look, done + part)
            calls += _calls(evaluator, running.values(), done)
            scored, scoring_cost = evaluator.together([*running.values()], "tune", done)
            values |= dict(zip(running, scored, strict=True))
            cost += scoring_cost
        for number in list(running) if racing else []:
            assert incumbent is not None
            if can_hardly_win(split, values[number], incumbent, sign):
                drop(number)
            else:
                report(number, look, float(values[number].mean()))
    for number in running:
        scores[number] = CandidateScore(float(values[number].mean()), values[number])
    return dict(sorted(scores.items())), cost


def can_hardly_win(split: Split, values: Values, incumbent: Values, sign: int) -> bool:
    """Whether a race drops a candidate by its values on the first examples, see ``hopeless``.

    Args:
        split: The shuffled tune split.
        values: (n,) the candidate's values on the first n examples.
        incumbent: (examples,) the values of the best trial so far.
        sign: 1 if larger values are better, else -1.
    """
    count, groups = len(values), split.shared
    return hopeless(grouped(sign * (values - incumbent[:count]), groups and groups[:count]), len(split.ends))


def _batch_examples(evaluator: Evaluator, candidates: int) -> int:
    """The number of examples whose rows fill one denoiser batch in every process."""
    return max(1, evaluator.sampler.section.batch * evaluator.pool.copies // candidates)


def _affordable_count(
    evaluator: Evaluator, settings: Sequence[Setting], look: int, affordable: Callable[[float], bool]
) -> int:
    """How many candidates, best first, can be scored up to a look such that the best can be scored to the end."""
    total = len(evaluator.split("tune").ids)
    for count in range(len(settings), 0, -1):
        calls_to_end = (total - look) * settings[0].nfe
        if affordable(_calls(evaluator, settings[:count], look) + calls_to_end):
            return count
    return 0


def _calls(evaluator: Evaluator, settings: Iterable[Setting], look: int) -> float:
    """The denoiser calls, summed over examples, that scoring candidates up to a look still needs."""
    return sum(setting.nfe * max(0, look - evaluator.answered(setting, "tune")) for setting in settings)


def noise_of_best(values: Mapping[int, Values], direction: Direction, groups: Groups | None = None) -> float | None:
    """The standard error of the paired difference between the two best trials.

    Args:
        values: (examples,) values of each trial that was scored on all examples, by its number.
        direction: The metric's direction.
        groups: The group of each example; None if all are independent.

    Returns:
        The standard error; None with fewer than two trials or two independent examples.
    """
    best = sorted(values.items(), key=lambda pair: (-sign_of(direction) * float(pair[1].mean()), pair[0]))[:2]
    if len(best) < 2:
        return None
    differences = grouped(best[0][1] - best[1][1], groups)
    if len(differences) < 2:
        return None
    return float(differences.std(ddof=1) / np.sqrt(len(differences)))
