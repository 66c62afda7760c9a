"""Schedules against mpmath, and the strings that name them."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
from numpy.typing import NDArray

from mdm_tune.core.errors import InputError
from mdm_tune.schedules.counts import alpha_grid, to_counts
from mdm_tune.schedules.curves import (
    Alphas,
    Beta,
    Counts,
    Linear,
    MaskgitCosine,
    Schedule,
    Shift,
    Sine,
    SquaredSine,
    parse_schedule,
)
from tests.support.curves import ALL, ALPHAS, COUNTS, PLAIN, SHIFTS


def mp_gamma(a: float, b: float, t: mpmath.mpf) -> mpmath.mpf:
    """I_t(a, b) by the hypergeometric series on the side where it has no cancellation."""
    a, b, t = (mpmath.mpf(float(x)) if not isinstance(x, mpmath.mpf) else x for x in (a, b, t))
    if t > 0.5:
        return 1 - mp_gamma(b, a, 1 - t)
    return t**a * mpmath.hyp2f1(a, 1 - b, a + 1, t) / (a * mpmath.beta(a, b))


def mp_alpha(schedule: Schedule, t: mpmath.mpf) -> mpmath.mpf:
    """alpha_t from its definition, written a second time."""
    half = mpmath.pi / 2
    formulas: dict[str, Callable[[], mpmath.mpf]] = {
        "linear": lambda: t,
        "sine": lambda: mpmath.sin(half * t),
        "squared-sine": lambda: mpmath.sin(half * t) ** 2,
        "maskgit-cosine": lambda: 1 - mpmath.cos(half * t),
    }
    if isinstance(schedule, Beta):
        return mpmath.sin(half * mp_gamma(schedule.a, schedule.b, t)) ** 2
    if isinstance(schedule, Shift):
        shift = mpmath.mpf(schedule.shift)
        return shift * t / (1 + (shift - 1) * t)
    if isinstance(schedule, Counts):
        place = t * len(schedule.counts)
        index = min(int(place), len(schedule.counts) - 1)
        done = sum(schedule.counts[:index]) + (place - index) * schedule.counts[index]
        return done / sum(schedule.counts)
    if isinstance(schedule, Alphas):
        knots = [mpmath.mpf(alpha) for alpha in schedule.alphas]
        place = t * (len(knots) - 1)
        index = min(int(place), len(knots) - 2)
        return knots[index] + (place - index) * (knots[index + 1] - knots[index])
    return formulas[schedule.name]()


def beta_points() -> NDArray[np.float64]:
    """Rows (a, b, t): every pair of the corners with t over the range and near both ends, and 2000 random rows."""
    rng = np.random.default_rng(0)
    corners = [0.05, 0.1, 0.5, 1.0, 3.7, 20.0]
    times = [1e-12, 1e-8, 1e-4, 0.01, 0.2, 0.5, 0.8, 0.99, 1 - 1e-6, 1 - 2.0**-53, 1.0]
    fixed = np.array(list(itertools.product(corners, corners, times)))
    pairs = np.exp(rng.uniform(math.log(0.05), math.log(20), (2000, 2)))
    logs = rng.uniform(math.log(1e-12), 0, 2000)
    drawn = np.choose(np.arange(2000) % 3, [np.exp(logs), -np.expm1(logs), rng.uniform(size=2000)])
    return np.vstack([fixed, np.column_stack([pairs, drawn])])


@pytest.mark.parametrize("side", ["alpha", "remaining"])
def test_beta_agrees_with_mpmath_everywhere(side: str) -> None:
    worst = 0.0
    with mpmath.workdps(40):
        for a, b, t in beta_points():
            schedule = Beta(a, b)
            if side == "alpha":
                got, want = schedule.alpha(t), mp_alpha(schedule, mpmath.mpf(t))
            else:  # 1 - alpha(1 - u; a, b) = alpha(u; b, a), which the next test holds on its own
                got, want = schedule.remaining(t), mp_alpha(Beta(b, a), mpmath.mpf(t))
            if want > 1e-300:
                worst = max(worst, float(abs(mpmath.mpf(float(got)) / want - 1)))
    assert worst < 1e-12


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: s.name)
def test_remaining_is_one_minus_alpha_without_cancellation(schedule: Schedule) -> None:
    with mpmath.workdps(600):
        for u in [1e-12, 3e-7, 0.01, 0.3, 0.5, 0.9, 1 - 1e-6]:
            want = 1 - mp_alpha(schedule, 1 - mpmath.mpf(u))
            if want > 1e-300:
                assert abs(mpmath.mpf(float(schedule.remaining(u))) / want - 1) < 1e-12
            else:
                assert schedule.remaining(u) == pytest.approx(0, abs=1e-299)
    times = np.linspace(0, 1, 65)
    np.testing.assert_allclose(schedule.alpha(times) + schedule.remaining(1 - times), 1, rtol=0, atol=1e-15)
    # A share of tokens that is a free number loses its last bits in 1 - (1 - alpha), and a shift in 1 / (1 / S).
    atol = 2e-16 if isinstance(schedule, Alphas | Shift) else 0
    np.testing.assert_allclose(schedule.dual().dual().alpha(times), schedule.alpha(times), rtol=0, atol=atol)


@pytest.mark.parametrize("schedule", [*PLAIN, *SHIFTS, *COUNTS, *ALPHAS], ids=lambda s: s.name)
def test_the_other_schedules_agree_with_mpmath(schedule: Schedule) -> None:
    with mpmath.workdps(40):
        for t in [1e-12, 1e-6, 0.01, 0.3, 0.49, 0.51, 0.8, 0.999, 1 - 1e-12]:
            want = float(mp_alpha(schedule, mpmath.mpf(t)))
            assert float(schedule.alpha(t)) == pytest.approx(want, rel=1e-13, abs=1e-300)


def test_beta_rates_agree_with_mpmath_everywhere() -> None:
    worst = 0.0
    with mpmath.workdps(40):
        for a, b, t in beta_points()[::3]:
            if t == 1:
                continue  # the limits have their own test
            x, y, exact = mpmath.mpf(a), mpmath.mpf(b), mpmath.mpf(t)
            rate = exact ** (x - 1) * (1 - exact) ** (y - 1) / mpmath.beta(x, y)
            roots = mpmath.sin(mpmath.pi / 2 * mp_gamma(a, b, exact)) * mpmath.sin(
                mpmath.pi / 2 * mp_gamma(b, a, 1 - exact)
            )
            point = Beta(a, b).at(t)
            for got, want in ((point.d_gamma, rate), (point.d_alpha, mpmath.pi * roots * rate)):
                if want > 1e-150:
                    worst = max(worst, float(abs(mpmath.mpf(float(got)) / want - 1)))
    assert worst < 1e-11


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: s.name)
def test_gamma_and_rates_agree_with_mpmath(schedule: Schedule) -> None:
    def mp_interpolation(t: mpmath.mpf) -> mpmath.mpf:
        return mpmath.asin(mpmath.sqrt(mp_alpha(schedule, t))) * 2 / mpmath.pi

    with mpmath.workdps(60):
        for t in [1e-9, 1e-3, 0.1, 0.31, 0.55, 0.77, 0.95, 0.9991, 1 - 2.0**-30]:
            point, exact = schedule.at(t), mpmath.mpf(t)
            moving = is_moving(schedule, t)
            assert float(point.gamma) == pytest.approx(float(mp_interpolation(exact)), rel=1e-12)
            for got, function in ((point.d_alpha, mp_alpha_of(schedule)), (point.d_gamma, mp_interpolation)):
                want = float(mpmath.diff(function, exact, h=mpmath.mpf(10) ** -30)) if moving else 0.0
                assert float(got) == pytest.approx(want, rel=1e-11, abs=1e-25)


def is_moving(schedule: Schedule, t: float) -> bool:
    """Whether the piece of a polyline on which t lies reveals anything."""
    if isinstance(schedule, Counts | Alphas):
        rises = schedule.counts if isinstance(schedule, Counts) else np.diff(schedule.alphas)
        return bool(rises[int(t * len(rises))] > 0)
    return True


def mp_alpha_of(schedule: Schedule) -> Callable[[mpmath.mpf], mpmath.mpf]:
    return lambda t: mp_alpha(schedule, t)


SQRT_HALF = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("schedule", "d_alpha", "d_gamma"),
    [
        (Linear(), (1, 1), (math.inf, math.inf)),
        (Sine(), (math.pi / 2, 0), (math.inf, SQRT_HALF)),
        (SquaredSine(), (0, 0), (1, 1)),
        (MaskgitCosine(), (0, math.pi / 2), (SQRT_HALF, math.inf)),
        (Counts((3, 5)), (0.75, 1.25), (math.inf, math.inf)),
        (Counts((0, 5, 0)), (0, 0), (0, 0)),
        (Alphas((0, 0.25, 1)), (0.5, 1.5), (math.inf, math.inf)),
        (Alphas((0, 0, 1, 1)), (0, 0), (0, 0)),
        (Beta(0.5, 0.5), (1, 1), (math.inf, math.inf)),
        (Beta(0.5, 1), (math.pi**2 / 4, 0), (math.inf, 0.5)),  # B(1/2, 1) = 2
        (Beta(1, 1), (0, 0), (1, 1)),
        (Beta(0.3, 2), (math.inf, 0), (math.inf, 0)),
        (Beta(1, 0.4), (0, math.inf), (0.4, math.inf)),
        (Beta(3, 1), (0, 0), (0, 3)),
    ],
    ids=lambda value: value.name if isinstance(value, Schedule) else "",
)
def test_rates_at_the_ends_are_the_limits(
    schedule: Schedule, d_alpha: tuple[float, float], d_gamma: tuple[float, float]
) -> None:
    point = schedule.at([0.0, 1.0])
    np.testing.assert_array_equal(point.alpha, [0, 1])
    np.testing.assert_array_equal(point.gamma, [0, 1])
    np.testing.assert_allclose(point.d_alpha, d_alpha, rtol=1e-14, atol=0)
    np.testing.assert_allclose(point.d_gamma, d_gamma, rtol=1e-14, atol=0)


def test_counts_rates_at_a_knot_are_those_of_the_right_piece() -> None:
    point = Counts((0, 2, 0, 6)).at([0.25, 0.5, 0.75])
    np.testing.assert_array_equal(point.alpha, [0, 0.25, 0.25])
    np.testing.assert_allclose(point.d_alpha, [1, 0, 3])
    np.testing.assert_allclose(point.d_gamma, [math.inf, 0, 3 / (math.pi * math.sqrt(3) / 4)])


def test_the_family_contains_linear_and_squared_sine() -> None:
    """Source: arXiv:2509.13866, Proposition 3.7."""
    times = np.linspace(0, 1, 1001)
    for member, named in ((Beta(0.5, 0.5), Linear()), (Beta(1, 1), SquaredSine())):
        left, right = member.at(times), named.at(times)
        np.testing.assert_allclose(left.alpha, right.alpha, rtol=2e-14, atol=0)
        np.testing.assert_allclose(left.gamma, right.gamma, rtol=2e-14, atol=0)
        np.testing.assert_allclose(left.d_gamma, right.d_gamma, rtol=2e-14)
        np.testing.assert_allclose(left.d_alpha, right.d_alpha, rtol=2e-14, atol=1e-15)
    np.testing.assert_allclose(Linear().alpha(times), times, rtol=0)


@pytest.mark.parametrize(("a", "b"), [(0.05, 3.0), (0.3, 0.3), (0.9, 0.3), (1.0, 1.0), (4.0, 0.7)])
def test_tails_are_powers(a: float, b: float) -> None:
    for side, exponent in ((Beta(a, b).alpha, 2 * a), (Beta(a, b).remaining, 2 * b)):
        near, nearer = side(1e-12 if exponent > 1 else 1e-200), side(1e-13 if exponent > 1 else 1e-201)
        assert math.log10(near / nearer) == pytest.approx(exponent, rel=1e-9)


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: s.name)
def test_results_have_the_shape_of_t(schedule: Schedule) -> None:
    for shape in ((), (3,), (2, 3), (0,)):
        times = np.full(shape, 0.25)
        point = schedule.at(times)
        values = (point.alpha, point.d_alpha, point.gamma, point.d_gamma)
        for value in (*values, schedule.alpha(times), schedule.remaining(times)):
            assert isinstance(value, np.ndarray)
            assert value.shape == shape and value.dtype == np.float64
        point.gamma[...] = 7.0
        assert (times == 0.25).all()


@pytest.mark.parametrize("t", [-1e-300, 1.0000000000000002, math.nan, math.inf])
def test_times_outside_are_refused(t: float) -> None:
    for method in (Linear().at, Beta(1, 2).alpha, Sine().remaining):
        with pytest.raises(InputError, match=r"\[0, 1\]"):
            method([0.5, t])


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, 1e-7, 1e7])
def test_beta_refuses_bad_parameters(bad: float) -> None:
    with pytest.raises(InputError, match="<= a <="):
        Beta(bad, 1)
    with pytest.raises(InputError, match="<= b <="):
        Beta(1, bad)


def test_beta_is_finite_at_the_limits_of_its_parameters() -> None:
    times = np.linspace(0, 1, 501)[1:-1]
    for a, b in itertools.product([1e-6, 1.0, 1e6], repeat=2):
        point = Beta(a, b).at(times)
        for value in (point.alpha, point.d_alpha, point.gamma, point.d_gamma):
            assert np.isfinite(value).all()
    assert Beta(1e6, 1e6).alpha(0.5) == pytest.approx(0.5, rel=1e-9)


@pytest.mark.parametrize("bad", [(), (0, 0), (3, -1), (1.5, 2), ("3",), 7])
def test_counts_refuses_bad_counts(bad: object) -> None:
    with pytest.raises(InputError, match="Counts must be"):
        Counts(bad)  # type: ignore[arg-type]


def test_counts_takes_any_sequence_of_integers() -> None:
    assert Counts(np.array([3, 5])) == Counts((3, 5))  # type: ignore[arg-type]
    assert hash(Counts([3, 5])) == hash(Counts((3, 5)))  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: s.name)
def test_names_round_trip(schedule: Schedule) -> None:
    assert parse_schedule(schedule.name) == schedule
    assert parse_schedule(f"  {schedule.name}\n") == schedule


@pytest.mark.parametrize(
    "bad", [(), (0,), (1,), (0, 0.5), (0.1, 1), (0, 0.6, 0.5, 1), (0, math.nan, 1), (0, 2, 1), (-0.5, 1), (0, 1, 1.5)]
)
def test_alphas_refuses_what_is_no_grid(bad: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="Alphas must go from 0 up to 1 and never down, not"):
        Alphas(bad)


def test_alphas_takes_any_sequence_of_numbers() -> None:
    given = np.array([0, 0.25, 1])
    assert Alphas(given) == Alphas((0, 0.25, 1))  # type: ignore[arg-type]
    assert hash(Alphas(given)) == hash(Alphas((0, 0.25, 1)))  # type: ignore[arg-type]
    assert type(Alphas(given).alphas[1]) is float  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", ALPHAS, ids=lambda s: s.name)
def test_alphas_are_hit_exactly_on_their_own_grid(schedule: Alphas) -> None:
    steps = len(schedule.alphas) - 1
    np.testing.assert_array_equal(alpha_grid(schedule, steps), schedule.alphas)
    np.testing.assert_array_equal(alpha_grid(schedule, 2 * steps)[::2], schedule.alphas)
    middle = (np.array(schedule.alphas[1:]) + schedule.alphas[:-1]) / 2
    np.testing.assert_allclose(alpha_grid(schedule, 2 * steps)[1::2], middle, rtol=1e-14)


def test_alphas_of_equal_shares_are_counts_and_their_dual_runs_backwards() -> None:
    times = np.linspace(0, 1, 33)
    np.testing.assert_allclose(Alphas((0, 0.25, 1)).alpha(times), Counts((1, 3)).alpha(times), rtol=1e-15)
    assert Alphas((0, 0.25, 0.5, 1)).dual() == Alphas((0, 0.5, 0.75, 1))
    assert Alphas((0, 0.25, 1)).name == "alphas:0.0,0.25,1.0"


def test_names_are_the_documented_strings() -> None:
    assert [s.name for s in PLAIN] == ["linear", "sine", "squared-sine", "maskgit-cosine"]
    assert Beta(0.9, 0.3).name == "beta:0.9,0.3"
    assert Beta(np.float64(0.1) * 3, 1).name == "beta:0.30000000000000004,1.0"
    assert Counts((3, 5, 9, 15)).name == "counts:3,5,9,15"
    assert parse_schedule("beta: 2, 1e-1") == Beta(2.0, 0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("liner", "Did you mean linear"),
        ("LINEAR", "Did you mean linear"),
        ("squared_sine", "Did you mean squared-sine"),
        ("bets:1,2", "Did you mean beta"),
        ("linear:3", "Unknown schedule"),
        ("zzz", r"Unknown schedule 'zzz'. A schedule is one of: linear, sine,.*counts:3,5,9,15"),
        ("", "Unknown schedule"),
        ("beta", "beta:0.9,0.3"),
        ("beta:1", "beta:0.9,0.3"),
        ("beta:1,2,3", "beta:0.9,0.3"),
        ("beta:a,b", "beta:0.9,0.3"),
        ("beta:0,1", "<= a <="),
        ("beta:1,-2", "<= b <="),
        ("beta:nan,1", "written in digits and a point"),
        ("beta:1,inf", "written in digits and a point"),
        ("counts:", "counts:3,5,9,15"),
        ("counts:1.5,2", "counts:3,5,9,15"),
        ("counts:3,-1", "Counts must be 0 or more"),
        ("counts:0,0", "at least one of them positive"),
        ("alphas", "Invalid numbers in the schedule 'alphas': .* A schedule is one of: .*alphas:"),
        ("alphas:", "Invalid numbers in the schedule"),
        ("alphas:0,half,1", "Invalid numbers in the schedule"),
        ("alphas:0,0.5", r"go from 0 up to 1 and never down, not \[0.0, 0.5\]"),
        ("alphas:0,0.5,0.4,1", "never down"),
        ("alphas:0,nan,1", "written in digits and a point"),
        ("alpha:0,1", "Did you mean alphas"),
    ],
)
def test_bad_strings_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_schedule(text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: parse_schedule(3), "named by a text, not 3"),  # type: ignore[arg-type]
        (lambda: Beta("a", 1), "<= a <= .*, not 'a'"),  # type: ignore[arg-type]
        (lambda: Beta(1, True), "<= b <= .*, not true"),
        (lambda: Linear("best"), "counts_of must be one of ours, llada, dream, dllm, not 'best'"),  # type: ignore[arg-type]
        (lambda: Alphas(("a", 1)), "Alphas must be numbers from 0 up to 1, not"),  # type: ignore[arg-type]
        (lambda: Alphas(3), "Alphas must be numbers from 0 up to 1, not 3"),  # type: ignore[arg-type]
        (lambda: Linear().at("a"), r"Times must be numbers in \[0, 1\], not 'a'"),
        (lambda: to_counts("linear", 2, 8), "must be a mask schedule, not 'linear'. Use parse_schedule"),  # type: ignore[arg-type]
        (lambda: alpha_grid(3, 2), "must be a mask schedule, not 3"),  # type: ignore[arg-type]
    ],
)
def test_values_of_other_types_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
    assert Beta(np.float64(0.5), np.int64(1)) == Beta(0.5, 1)


def test_import_and_parse_load_neither_scipy_nor_torch() -> None:
    code = (
        "import sys; from mdm_tune.schedules.curves import parse_schedule as p; p('beta:1,2'); p('counts:1,2');"
        "print({'scipy', 'torch', 'optuna', 'matplotlib'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "name",
    [
        *("beta:1_0,1", "beta:\u0661,1", "beta:nan,1", "beta:1,inf", "beta:1\t,1", "beta:1", "beta:1,2,3", "beta:"),
        *("counts:1_0", "counts:\u00b2,1", "counts:", "counts:1,,2", "counts:1.0,2", "counts:010", "counts:1e3"),
        *("counts:99999999999999999999", "counts:65537", "counts:" + "1," * 70_000 + "1", "alphas:0,nan,1", "alphas:"),
    ],
)
def test_numbers_of_schedules_are_read_in_one_way(name: str) -> None:
    with pytest.raises(InputError, match=r"^Invalid numbers in the schedule ") as caught:
        parse_schedule(name)
    assert len(str(caught.value)) < 500


def test_plain_numbers_of_schedules_are_read() -> None:
    assert parse_schedule("beta:0.9, 0.3") == Beta(0.9, 0.3)
    assert parse_schedule("counts:" + ",".join("1" * 4096)) == Counts((1,) * 4096)


@pytest.mark.parametrize("shift", [0, -1.0, 1e-7, 2e6, math.inf, math.nan, True, "0.3", None])
def test_a_shift_outside_its_range(shift: object) -> None:
    with pytest.raises(InputError, match="Shift needs a number from 1e-06 to 1e"):
        Shift(shift)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["shift:", "shift:x", "shift:1,2", "shift:nan"])
def test_a_shift_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InputError, match="Invalid numbers in the schedule"):
        parse_schedule(text)


def test_a_shift_of_one_is_linear() -> None:
    times = np.linspace(0, 1, 33)
    np.testing.assert_allclose(Shift(1).alpha(times), times, rtol=0, atol=1e-16)
    assert to_counts(parse_schedule("shift:1"), 5, 32) == to_counts(Linear(), 5, 32)
