"""The number of an adaptive policy at which it makes as many calls as a budget has."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.evaluation.adaptive import value_at_cost
from mdm_tune.evaluation.cost_matching import Match, Scale, Stage, match_in_stages
from mdm_tune.evaluation.filling import Rows
from mdm_tune.evaluation.settings import Setting
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.plans import AdaptivePlan, EntropyBoundPlan, ThresholdPlan
from mdm_tune.schedules.adaptive_names import parse_adaptive
from tests.sampling.test_plans import each, sampled

CallsAt = Callable[[float, Any], Any]  # of a value and the numbers of rows


def mean_nfe(made: Callable[[Tensor], AdaptivePlan], order: Any, rows: int, value: float) -> float:
    return float(sampled(Drawing(order), made(each(value, rows)), None, rows).nfe.double().mean())


@pytest.mark.parametrize(
    ("made", "order", "plan", "high"),
    [(ThresholdPlan, "confidence", "threshold", 1.0), (EntropyBoundPlan, "entropy", "entropy-bound", 4.0)],
)
def test_a_match_is_the_best_of_a_grid(made: Any, order: Any, plan: str, high: float) -> None:
    """A threshold costs more the higher it is, an entropy bound less. Calls above the target count as twice as far."""
    nfe_of = partial(mean_nfe, made, order, 500)
    match, _ = staged(lambda value, examples: nfe_of(value), plan, 2.0)
    grid = [nfe_of(value) - 2.0 for value in np.linspace(0, high, 21)]
    best = min(2 * off if off > 0.04 else abs(off) for off in grid)
    assert match.calls == nfe_of(match.value) and abs(match.calls - 2.0) <= max(0.04, best + 1e-9)


def staged(
    calls_at: Callable[[float, int], float], plan: str, target: float, guess: float | None = None
) -> tuple[Match, list[tuple[float, int]]]:
    """What ``match_in_stages`` finds where it is answered by a function, and what it asked."""
    named = parse_adaptive(plan)
    assert named is not None
    stages = (Stage(16, 8, 0.05), Stage(64, 3, 0.02))
    asking = match_in_stages(lambda examples: target, stages, Scale(named), guess)
    asked = [next(asking)]
    while True:
        try:
            asked.append(asking.send(calls_at(*asked[-1])))
        except StopIteration as end:
            return end.value, asked


@pytest.mark.parametrize("plan", ["threshold", "quota:linear", "entropy-bound"])
@pytest.mark.parametrize("target", [2.0, 5.0, 13.0, 31.0])
@pytest.mark.parametrize("guess", [None, 0.3, 0.999])
def test_stages_meet_the_calls_of_a_smooth_plan(plan: str, target: float, guess: float | None) -> None:
    """The calls grow from 1 to 32 with the place on the scale; the few examples of the first stage are off by 7 %."""
    bold = plan == "entropy-bound"

    def calls_at(value: float, examples: int) -> float:
        caution = (1 / (1 + value)) if bold else value
        return float(1 + 31 * caution**6) * (1.07 if examples == 16 else 1.0)

    match, asked = staged(calls_at, plan, target, guess)
    assert match.reached and abs(match.calls - target) <= 0.05 * target
    assert match.calls == calls_at(match.value, 64)
    assert [examples for _, examples in asked] == sorted(examples for _, examples in asked)
    assert len(asked) <= 11 and sum(examples == 64 for _, examples in asked) <= 3


def test_of_calls_that_jump_the_smaller_is_taken() -> None:
    """The calls are 6 below a threshold of 0.8 and 8.4 above: 6.3 is met by 6, and 7.2 by neither within a tenth."""

    def calls_at(value: float, examples: int) -> float:
        return 6.0 if value < 0.8 else 8.4

    low, _ = staged(calls_at, "threshold", 6.3)
    assert low.reached and low.calls == 6.0 and low.value < 0.8
    neither, _ = staged(calls_at, "threshold", 7.2)
    assert not neither.reached and neither.calls == 6.0 and set(neither.tried.values()) <= {6.0, 8.4}


@pytest.mark.parametrize(("calls", "target"), [(4.0, 8.0), (16.0, 8.0)])
def test_calls_out_of_reach_are_not_met(calls: float, target: float) -> None:
    match, asked = staged(lambda value, examples: calls, "threshold", target)
    assert not match.reached and match.calls == calls
    end, side = (1.0, "most") if calls < target else (0.0, "least")
    assert end in {value for value, _ in asked}
    assert (match.unreachable(9) or "").startswith(f"cannot make 8 calls at 9 steps: it makes at {side} {calls:g} (at ")


def test_what_is_known_of_one_side_is_no_limit_unless_an_end_was_tried() -> None:
    found = Match(value=0.7, calls=6.0, target=8.0, reached=False, tried={0.7: 6.0}, sure=False)
    assert found.unreachable(8) == "cannot make 8 calls at 8 steps: it makes for example 6 (at 0.7)"
    assert "at most 6 (at 0.7)" in (replace(found, sure=True).unreachable(8) or "")
    near = replace(found, tried={0.99999893: 6.0, 0.99999895: 9.0})
    between = "from 6 (at 0.99999893) to 9 (at 0.99999895)"  # the values can be told apart
    assert (near.unreachable(8) or "").endswith(f": no value that was tried is {between}")
    assert (replace(near, sure=True).unreachable(8) or "").endswith(f": its calls jump {between}")
    assert replace(found, reached=True).unreachable(8) is None


@dataclass
class Filled:
    """Rows that ``value_at_cost`` asks for, answered by a function of a value and the numbers of rows.

    Attributes:
        value: What was found.
        asked: The value and the numbers of the rows of each request; a value of None means linear.
        calls: The mean calls that its rows made.
    """

    value: float
    asked: list[tuple[float | None, list[int]]]
    calls: list[float]

    @property
    def fills(self) -> int:
        return sum(len(rows) for _, rows in self.asked)


def filled(calls_at: CallsAt, name: str, steps: int, rows: int = 64, linear: Any = ...) -> Filled:
    """What evaluate and generate find; linear: its calls, None to have them measured."""
    plan = parse_adaptive(name)
    assert plan is not None
    start, numbers = torch.zeros(rows, 1, dtype=torch.int64), np.arange(rows, dtype=np.uint64)

    def rows_at(value: float) -> Rows:
        setting = Setting.of_adaptive(plan.at(value, steps), steps, 32)
        return Rows([setting], start, numbers)

    known = np.full(rows, float(steps)) if linear is ... else linear
    counts = Rows([Setting("linear", steps, steps, counts=(1,) * steps)], start, numbers)
    sweep, asked, made = value_at_cost(counts, known, rows_at, plan), [], []
    try:
        wanted, _ = next(sweep)
        while True:
            adaptive, seeds = wanted.settings[0].adaptive, wanted.seeds.astype(np.int64)
            asked.append((None if adaptive is None else adaptive.value, seeds.tolist()))
            calls = np.full(len(seeds), 0.9 * steps) if adaptive is None else calls_at(adaptive.value or 0.0, seeds)
            calls = stopped(np.asarray(calls, dtype=np.float64), wanted.most_calls)
            made.append(float(calls.mean()))
            wanted, _ = sweep.send(calls)
    except StopIteration as end:
        return Filled(end.value.value, asked, made)


def stopped(calls: Any, most: float) -> Any:
    """The calls of rows that stop after the step with which they have made more than ``most`` in all."""
    if calls.sum() <= most:
        return calls
    ends = np.arange(1.0, calls.max() + 1)
    return np.minimum(calls, next(end for end in ends if np.minimum(calls, end).sum() > most))


def scale_of(name: str) -> Scale:
    plan = parse_adaptive(name)
    assert plan is not None
    return Scale(plan)


def spread(mean: float, seeds: Any) -> Any:
    """Calls of rows that differ by a tenth, with this mean over all 64 of them."""
    return mean * (1 + 0.1 * np.sin(2 * np.pi * (7 * seeds % 64) / 64))


@pytest.mark.parametrize("name", ["threshold", "entropy-bound", "quota:linear", "cap:linear", "klass"])
@pytest.mark.parametrize("place", [0.4, 3.0, 6.3, 9.0])
def test_values_at_the_ends_of_the_scale_are_found(name: str, place: float) -> None:
    """The calls are linear in the place, so that the inverse is known: to 1e-9 of a threshold of 1 or of no bound."""
    scale = scale_of(name)

    def calls_at(value: float, seeds: Any) -> Any:
        return spread(1.0 + 9.0 * max(0.0, scale.place(value) + 2) / (place + 2), seeds)

    found = filled(calls_at, name, 10)
    assert abs(scale.place(found.value) - place) <= 0.01 * 10 * (place + 2) / 9 + 1e-9
    assert 10**-place == pytest.approx(found.value if name == "entropy-bound" else 1 - found.value, rel=0.35)
    pairs = [(value, row) for value, rows in found.asked for row in rows]
    assert len(set(pairs)) == len(pairs) == found.fills <= 12 * 16 + 5 * 64  # no row is filled twice with a value


def test_a_value_that_is_far_too_cautious_is_left_early() -> None:
    """As with the bundled text: 63 calls at the threshold that is tried first, and few only near 0.1."""
    scale = scale_of("threshold")

    def calls_at(value: float, seeds: Any) -> Any:
        return spread(1.0 + 62.0 * (1.0 - math.exp(-((scale.place(value) / 0.12) ** 2))), seeds)

    for steps in (6, 12):
        found = filled(calls_at, "threshold", steps)
        assert float(np.mean(calls_at(found.value, np.arange(64)))) == pytest.approx(steps, rel=0.011)
        assert found.asked[0][0] == 0.9 and max(found.calls) <= 1.5 * steps + 1  # and not 63
        assert sum(mean * len(rows) for mean, (_, rows) in zip(found.calls, found.asked, strict=True)) < 340 * steps


@pytest.mark.parametrize(
    ("calls", "step"),
    [
        ((9.25, 9.11), math.log(8 / 9.11) / 0.35),  # a step for 14 % fewer made 1.5 %: at most half as steep
        ((9.25, 9.25), math.log(8 / 9.25) / 0.7),  # a plateau, of which a longer step may be too long
        ((10.0, 8.6), math.log(8 / 8.6) / (math.log(8.6 / 10) / (math.log(8 / 10) / 0.7))),  # the slope they show
        ((7.99, 7.99), 0.01 / 0.7),  # no shorter step, since the calls of both sides are wanted
    ],
)
def test_a_step_is_as_long_as_the_slope_says(calls: tuple[float, float], step: float) -> None:
    """The second step, while one side is unknown; it is twice as long."""
    scale = scale_of("entropy-bound")
    search = match_in_stages(lambda examples: 8.0, [Stage(64, 5, 0.0001)], scale, 2.5)
    places = [scale.place(next(search)[0])]
    places += [scale.place(search.send(made)[0]) for made in calls]
    assert places[2] - places[1] == pytest.approx(2 * step, rel=0.02, abs=1e-4)


def test_a_slope_is_not_read_from_a_tiny_change() -> None:
    """On all examples the calls are 3 % off; the next value is off by less than the rows' jumps could be."""
    scale = scale_of("threshold")

    def calls_at(value: float, examples: int) -> float:
        smooth = 8.0 * math.exp(13.0 * (scale.place(value) - 0.11))
        return smooth if examples == 16 else 0.97 * smooth + 0.02 * math.sin(3000 * scale.place(value))

    match, asked = staged(calls_at, "threshold", 8.0)
    assert match.calls == pytest.approx(8.0, rel=0.02)
    assert sum(examples == 64 for _, examples in asked) <= 2


def test_a_plateau_is_left() -> None:
    """Three calls up to a threshold of 1 - 1e-4, then up to 12 at 1 - 1e-7."""
    scale = scale_of("threshold")

    def calls_at(value: float, seeds: Any) -> Any:
        return spread(3.0 + 3.0 * min(3.0, max(0.0, scale.place(value) - 4)), seeds)

    for steps in (3, 6, 9, 12):
        found = filled(calls_at, "threshold", steps)
        assert float(np.mean(calls_at(found.value, np.arange(64)))) == pytest.approx(steps, rel=0.011)


@pytest.mark.parametrize("name", ["threshold", "quota:linear"])
def test_calls_that_rise_steeply_do_not_jump(name: str) -> None:
    """From 13.7 to 27.9 calls within a twentieth of a decade near 1 - 1e-6, on 16 examples in 8 tries and more."""
    scale, where = scale_of(name), 5.97

    def calls_at(value: float, examples: int) -> float:
        share = min(1.0, max(0.0, (scale.place(value) - where) / 0.05))
        return 5.0 + min(8.7, 2.2 * scale.place(value)) + 14.2 * share

    for target in (16.0, 20.0, 24.0):
        match, asked = staged(calls_at, name, target)
        assert match.reached and match.calls == pytest.approx(target, rel=0.1)
        assert where < scale.place(match.value) < where + 0.05 and sum(n == 16 for _, n in asked) <= 16


def test_calls_that_fall_in_places_are_met() -> None:
    """They rise on the whole, but fall by a fifth between thresholds of 0.9 and 0.95."""
    scale = scale_of("threshold")

    def calls_at(value: float, seeds: Any) -> Any:
        return spread((2.0 + 3.0 * scale.place(value)) * (0.8 if 0.9 < value < 0.95 else 1.0), seeds)

    for steps in (3, 4, 5, 6, 8, 20):
        found = filled(calls_at, "threshold", steps)
        assert float(np.mean(calls_at(found.value, np.arange(64)))) == pytest.approx(steps, rel=0.05)


@pytest.mark.parametrize(
    ("name", "calls_at", "message"),
    [
        (
            "threshold",
            lambda place: 2.4 if place < 1.3 else 9.7,
            r"threshold cannot make 8 calls at 8 steps: its calls jump from 2\.4 \(at 0\.9[45]\d*\) to 9\.7 "
            r"\(at 0\.9[45]\d*\); choose another number of steps, or give a value, as in threshold:0\.9",
        ),
        (
            "threshold",
            lambda place: 2.4 if place < 1.3 else 60.0,
            r"threshold cannot make 8 calls at 8 steps: its calls jump from 2\.4 \(at 0\.9\d*\) to more than 12 "
            r"\(at 0\.9[45]\d*\); choose",
        ),
        ("cap:linear", lambda place: 2.0, r"cannot make 8 calls at 8 steps: it makes at most 2 \(at .* as in cap:lin"),
        ("entropy-bound", lambda place: 20.0, r"cannot make 8 calls at 8 steps: it makes at least 20 \(at 64\)"),
        ("klass", lambda place: 9.0 + place, r"it makes at least 9 \(at 0\); .* or a larger KL .* as in klass:0\.1$"),
        ("quota:linear", lambda place: 20.0 - place, "cannot make 8 calls"),  # they fall as caution grows
    ],
)
def test_a_budget_out_of_reach_is_refused(name: str, calls_at: Callable[[float], float], message: str) -> None:
    scale = scale_of(name)
    with pytest.raises(InputError, match=message):
        filled(lambda value, seeds: np.full(len(seeds), calls_at(scale.place(value))), name, 8)


def test_a_single_row_must_only_come_within_one_call() -> None:
    """One prompt makes 3 calls or 5, more than a tenth off 4. With 16 prompts that all jump, this is refused."""

    def calls_at(value: float, seeds: Any) -> Any:
        return np.where(value < 0.95, 3.0, 5.0) + 0.0 * seeds

    assert filled(calls_at, "threshold", 4, rows=1).value < 0.95
    with pytest.raises(InputError, match=r"jump from 3 .* to 5"):
        filled(calls_at, "threshold", 4, rows=16)


def test_rows_of_linear_are_filled_only_where_answers_may_end_early() -> None:
    def calls_at(value: float, seeds: Any) -> Any:
        return spread(2.0 - 8.0 * math.log10(max(1e-12, 1 - value)), seeds)

    known, measured = filled(calls_at, "threshold", 10), filled(calls_at, "threshold", 10, linear=None)
    assert known.asked[0][0] is not None and measured.asked[0] == (None, [*range(64)])
    for found, target in ((known, 10), (measured, 9)):
        assert float(np.mean(calls_at(found.value, np.arange(64)))) == pytest.approx(target, rel=0.011)


@pytest.mark.parametrize("plan", ["threshold", "entropy-bound", "cap:linear", "klass"])
def test_a_scale_and_its_places_are_inverse(plan: str) -> None:
    named = parse_adaptive(plan)
    assert named is not None
    scale = Scale(named)
    low, high = scale.ends
    places = np.linspace(low, high, 60)
    values = [scale.value(place) for place in places]
    cautious = np.diff(values) <= 0 if plan == "entropy-bound" else np.diff(values) >= 0
    assert cautious.all() and values[-1] == (0.0 if plan == "entropy-bound" else 1.0)
    for value in values:
        assert scale.value(scale.place(value)) == pytest.approx(value, rel=1e-3, abs=1e-6)
        assert named.at(value).value == pytest.approx(value, rel=1e-3, abs=1e-6)
