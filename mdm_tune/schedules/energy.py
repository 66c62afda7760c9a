"""The three energies of a mask schedule under an interpolation schedule, in closed form or by quadrature.

Each one is the energy of one token, ``path_energy``, times a factor that does not depend on the schedule. Therefore
they have the same minimiser.
Source: arXiv:2509.13866, Definitions 2.1 to 2.3 and Theorems 3.1, 3.2 and 3.6.
"""

from __future__ import annotations

import math
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import quad_vec
from scipy.special import betaincinv, betaln

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity, shown
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
    check_schedule,
)

__all__ = [
    "LEAST_ENERGY",
    "beta_energy",
    "conditional_kinetic_energy",
    "conditional_ratio",
    "geodesic_energy",
    "kinetic_energy",
    "kinetic_ratio",
    "landscape",
    "log2_ratios",
    "path_energy",
]

Array = NDArray[np.float64]

LEAST_ENERGY = math.pi**2 / 4  # the energy of one token of any schedule that is optimal for its interpolation schedule
NEAR = 1e-20  # for smaller t every schedule is a power law in t, up to rounding
ROUNDING = 1e-12  # knots closer than this, in log t, are merged
QUANTILES = [1e-15, 1e-4, 0.01, 0.5, 0.99, 1 - 1e-4, 1 - 1e-15]  # of a Beta law: its bulk and its tails
PRECISION, SLACK = 1e-10, 1e-13  # relative and absolute tolerance of the quadrature


def path_energy(mask: Schedule, interpolation: Schedule) -> float:
    """The energy of one token, int alpha'^2 / (4 alpha (1 - alpha) gamma') dt.

    It equals (pi^2/4) int u'^2/gamma' dt with u = (2/pi) arcsin(sqrt(alpha)). The minimum, pi^2/4, is reached only for
    u = gamma. The relative accuracy is 1e-8; it is exact up to rounding if both schedules are Beta, linear or squared
    sine.

    Source: arXiv:2509.13866, Definition 2.3 and Condition 3.4.

    Args:
        mask: the schedule whose alpha is used.
        interpolation: the schedule whose gamma is used.

    Returns:
        The energy; inf if the integral diverges.

    Raises:
        InputError: an argument is no schedule.
    """
    check_schedule(mask)
    check_schedule(interpolation)
    first, second = _beta_parameters(mask), _beta_parameters(interpolation)
    if first is not None and second is not None:
        return LEAST_ENERGY * beta_energy(*first, *second)
    if _support(mask) != _support(interpolation) or _is_constant_while_moving(interpolation, mask):
        return math.inf
    # A common change of time leaves the energy as it is.
    mask, interpolation = _moving_part(mask), _moving_part(interpolation)
    return LEAST_ENERGY * (_first_half(mask, interpolation) + _first_half(mask.dual(), interpolation.dual()))


def beta_energy(a: float, b: float, c: float, d: float) -> float:
    """int u'^2/gamma' dt for u = I_t(a, b) and gamma = I_t(c, d): the energy in multiples of its minimum pi^2/4.

    It is B(c, d) B(2a - c, 2b - d) / B(a, b)^2 if 2a > c and 2b > d, else inf. It is 1 at (a, b) = (c, d) and larger
    elsewhere. It equals one plus the chi-square divergence of the two Beta laws.

    Args:
        a: of the mask schedule, above 0.
        b: of the mask schedule, above 0.
        c: of the interpolation schedule, from 1e-6 to 1e6.
        d: of the interpolation schedule, from 1e-6 to 1e6.

    Raises:
        InputError: a number is outside its range.
    """
    return float(landscape([a], [b], c, d)[0, 0])


def landscape(a_grid: ArrayLike, b_grid: ArrayLike, c: float, d: float) -> Array:
    """``beta_energy`` for all pairs of a and b. Source: arXiv:2509.13866, Figure 2.

    Args:
        a_grid: (A,), above 0.
        b_grid: (B,), above 0.
        c: of the interpolation schedule, from 1e-6 to 1e6.
        d: of the interpolation schedule, from 1e-6 to 1e6.

    Returns:
        (A, B).

    Raises:
        InputError: a number is outside its range.
    """
    gamma = Beta(c, d)
    a = np.asarray(a_grid, dtype=np.float64)[:, None]
    b = np.asarray(b_grid, dtype=np.float64)[None, :]
    for key, values in (("a", a), ("b", b)):
        if not (np.isfinite(values) & (values > 0)).all():
            raise InputError(f"Beta needs {key} > 0, not {values.ravel().tolist()}: try values from 0.1 to 10.")
    left, right = 2 * a - gamma.a, 2 * b - gamma.b
    with np.errstate(all="ignore"):
        log_energy = betaln(gamma.a, gamma.b) + betaln(left, right) - 2 * betaln(a, b)
        return np.where((left > 0) & (right > 0), np.exp(log_energy), np.inf)


def geodesic_energy(mask: Schedule, interpolation: Schedule, *, vocab: int, length: int) -> float:
    """The geodesic energy E_g, which is length times ``path_energy``.

    E_g = int 1/gamma'_t sum_tokens || d/dt sqrt(p_t(.|x1)) ||^2 dt.
    Source: arXiv:2509.13866, Definition 2.3.

    Args:
        mask: the schedule whose alpha is used.
        interpolation: the schedule whose gamma is used.
        vocab: symbols of the vocabulary, at least 1; E_g does not depend on it.
        length: tokens of a sequence, at least 1.

    Returns:
        The energy; inf if the integral diverges.

    Raises:
        InputError: vocab or length is no whole number of at least 1.
    """
    _check_size(vocab, length)
    return length * path_energy(mask, interpolation)


def conditional_kinetic_energy(mask: Schedule, interpolation: Schedule, *, vocab: int, length: int) -> float:
    """The conditional kinetic energy E_c. The factor 1/4 makes the three energies equal for one token.

    E_c = 1/4 int 1/gamma'_t E_x1 sum_z sum_x p_t(z|x1)/p_t(x|x1) Q_t(z, x|x1)^2 dt.
    Source: arXiv:2509.13866, Definition 2.2.

    Args:
        mask: the schedule whose alpha is used.
        interpolation: the schedule whose gamma is used.
        vocab: symbols of the vocabulary, at least 1; E_c does not depend on it.
        length: tokens of a sequence, at least 1.

    Returns:
        The energy; inf if the integral diverges.

    Raises:
        InputError: vocab or length is no whole number of at least 1, or 2^(length-1) is too large for a float.
    """
    ratio = conditional_ratio(length)
    return ratio * geodesic_energy(mask, interpolation, vocab=vocab, length=length)


def kinetic_energy(mask: Schedule, interpolation: Schedule, *, vocab: int, length: int) -> float:
    """The kinetic energy E_k, for any data law without zeros. The factor 1/4 is that of E_c.

    E_k = 1/4 int 1/gamma'_t sum_z sum_x p_t(z)/p_t(x) Q_t(z, x)^2 dt.
    Source: arXiv:2509.13866, Definition 2.1.

    Args:
        mask: the schedule whose alpha is used.
        interpolation: the schedule whose gamma is used.
        vocab: symbols of the vocabulary, at least 1.
        length: tokens of a sequence, at least 1.

    Returns:
        The energy; inf if the integral diverges.

    Raises:
        InputError: vocab or length is no whole number of at least 1, or the energy's factor is too large for a float.
    """
    ratio = kinetic_ratio(vocab, length)
    return ratio * conditional_kinetic_energy(mask, interpolation, vocab=vocab, length=length)


def kinetic_ratio(vocab: int, length: int) -> float:
    """E_k / E_c = ((vocab + 1)/2)^(length - 1), for any schedule and any data law without zeros.

    Source: arXiv:2509.13866, Theorem 3.1.

    Args:
        vocab: symbols of the vocabulary, at least 1.
        length: tokens of a sequence, at least 1.

    Raises:
        InputError: vocab or length is no whole number of at least 1, or the ratio is too large for a float.
    """
    _check_size(vocab, length)
    return _power((vocab + 1) / 2, length)


def conditional_ratio(length: int) -> float:
    """E_c / E_g = 2^(length - 1), for any schedule. Source: arXiv:2509.13866, Theorem 3.2.

    Args:
        length: tokens of a sequence, at least 1.

    Raises:
        InputError: length is below 1, or the ratio is too large for a float.
    """
    _check_size(1, length)
    return _power(2.0, length)


def log2_ratios(vocab: int, length: int) -> tuple[float, float]:
    """log2 of E_c / E_g and of E_k / E_c, which never overflow. Source: arXiv:2509.13866, Theorems 3.1 and 3.2.

    Args:
        vocab: symbols of the vocabulary, at least 1.
        length: tokens of a sequence, at least 1.

    Raises:
        InputError: vocab or length is no whole number of at least 1.
    """
    _check_size(vocab, length)
    return length - 1.0, (length - 1) * math.log2((vocab + 1) / 2)


def _power(base: float, length: int) -> float:
    try:
        return base ** (length - 1)
    except OverflowError:
        raise InputError(
            f"The energies of {quantity(length, 'token')} differ by {base:g}^{length - 1}, which is too large for a "
            "float: compare schedules by path_energy, from which all three differ by a factor only."
        ) from None


def _check_size(vocab: int, length: int) -> None:
    for key, value in (("vocab", vocab), ("length", length)):
        if not isinstance(value, Integral) or value < 1:
            raise InputError(f"{key} must be at least 1, a whole number, not {shown(value)}.")


def _beta_parameters(schedule: Schedule) -> tuple[float, float] | None:
    match schedule:
        case Beta(a, b):
            return a, b
        case Linear():
            return 0.5, 0.5
        case SquaredSine():
            return 1.0, 1.0
    return None


def _corners(schedule: Schedule) -> Array | None:
    """alpha at the knots (K + 1,) of a piecewise linear schedule; None for other schedules."""
    match schedule:
        case Counts(counts):
            return np.cumsum([0, *counts]) / sum(counts)
        case Alphas(alphas):
            return np.asarray(alphas)
    return None


def _exponent(schedule: Schedule) -> float:
    """The exponent p of gamma_t ~ (t - s)^p near the time s at which the schedule leaves 0."""
    match schedule:
        case Beta(a, _):
            return a
        case SquaredSine() | MaskgitCosine():
            return 1.0
        case Linear() | Sine() | Shift() | Counts() | Alphas():
            return 0.5
    raise TypeError(f"no exponent is known for {schedule!r}")


def _support(schedule: Schedule) -> tuple[float, float]:
    """The times at which the schedule leaves 0 and reaches 1."""
    if (corners := _corners(schedule)) is None:
        return 0.0, 1.0
    steps, moving = len(corners) - 1, np.flatnonzero(np.diff(corners))
    return float(moving[0] / steps), float((moving[-1] + 1) / steps)


def _moving_part(schedule: Schedule) -> Schedule:
    """The schedule without the steps before it leaves 0 and after it reaches 1, stretched to [0, 1]."""
    if (corners := _corners(schedule)) is None:
        return schedule
    moving = np.flatnonzero(np.diff(corners))
    return Alphas(tuple(corners[moving[0] : moving[-1] + 2].tolist()))


def _is_constant_while_moving(interpolation: Schedule, mask: Schedule) -> bool:
    """Whether gamma is constant on a piece on which the mask schedule increases."""
    if (corners := _corners(interpolation)) is None:
        return False
    constant = np.diff(corners) == 0
    return bool((np.diff(mask.alpha(_knots(interpolation)))[constant] > 0).any())


def _knots(schedule: Schedule) -> Array:
    """Times that the quadrature must not miss: corners, and the bulk of a steep Beta schedule."""
    if (corners := _corners(schedule)) is not None:
        return np.arange(len(corners)) / (len(corners) - 1)
    first, second = _beta_parameters(schedule) or (1.0, 1.0)
    return np.array(betaincinv(first, second, QUANTILES))


def _first_half(mask: Schedule, interpolation: Schedule) -> float:
    """int_0^{1/2} u'^2/gamma' dt, for two schedules that leave 0 at time 0.

    The integration variable is log t, in which a power law has no singularity. All pieces between knots are integrated
    in one call.
    """
    tail = 2 * _exponent(mask) - _exponent(interpolation)  # u'^2/gamma' ~ t^(tail - 1) near 0
    if tail <= 0:
        return math.inf

    def density(log_t: Array) -> Array:
        t = np.exp(log_t)
        speed, weight = mask.at(t).d_gamma, interpolation.at(t).d_gamma
        return t * np.divide(speed * speed, weight, out=np.zeros_like(t), where=speed > 0)

    knots = np.concatenate([_knots(mask), _knots(interpolation)])
    edges = np.log(np.unique([NEAR, *knots[(knots > NEAR) & (knots < 0.5)], 0.5]))
    left, widths = edges[:-1], np.diff(edges)
    left, widths = left[widths > ROUNDING], widths[widths > ROUNDING]
    parts, _ = quad_vec(lambda x: widths * density(left + x * widths), 0, 1, epsabs=SLACK, epsrel=PRECISION)
    return float(density(edges[:1])[0] / tail + math.fsum(parts))
