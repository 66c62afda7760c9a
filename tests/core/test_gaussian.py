"""The process against a brute-force conditional distribution, its fit against Optuna's and finite differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from optuna._gp.gp import fit_kernel_params
from optuna._gp.prior import DEFAULT_MINIMUM_NOISE_VAR, default_log_prior
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from mdm_tune.core import gaussian
from mdm_tune.core.gaussian import Process, fit
from tests.support.smooth import trials

Floats = NDArray[np.float64]

POINTS = np.random.default_rng(1).random((6, 2))
VALUES = np.random.default_rng(2).normal(size=6)
SCALES = np.array([1.0, 1.0, 4.0, 1.0, 2.0, 8.0])
LENGTHS = (0.3, 0.7)
PROCESS = Process(
    points=POINTS,
    values=VALUES,
    scales=SCALES,
    rates=np.array(LENGTHS) ** -2,
    variance=2.0,
    noise=0.1,
    running=np.empty((0, 2)),
)
PLACES = np.array([[0.1, 0.9], [0.5, 0.5], [0.95, 0.2]])


def covariance(first: Floats, second: Floats) -> Floats:
    """The formula of the kernel with variance 2, pair by pair."""
    found = np.empty((len(first), len(second)))
    for i, j in np.ndindex(found.shape):
        r = math.sqrt(5) * math.hypot(*((first[i] - second[j]) / LENGTHS))
        found[i, j] = 2.0 * (1 + r + r**2 / 3) * math.exp(-r)
    return found


def test_mean_and_deviation_are_those_of_the_conditional_distribution() -> None:
    across = covariance(PLACES, POINTS) @ np.linalg.inv(covariance(POINTS, POINTS) + np.diag(0.1 * SCALES))
    mean, _, deviation = PROCESS.at(PLACES)
    assert mean == pytest.approx(across @ VALUES, rel=1e-9)
    conditional = covariance(PLACES, PLACES) - across @ covariance(POINTS, PLACES)
    assert deviation**2 == pytest.approx(conditional.diagonal(), rel=1e-9)


def test_the_likely_mean_is_the_one_with_the_largest_density() -> None:
    seen = covariance(POINTS, POINTS) + np.diag(0.1 * SCALES)
    means = PROCESS.likely_mean + np.array([-1e-3, 0.0, 1e-3])
    assert np.argmax([multivariate_normal(np.full(6, mean), seen).logpdf(VALUES) for mean in means]) == 1


def test_the_cost_is_the_posterior_density_and_its_slopes_are_its_derivatives() -> None:
    """The density up to a constant: of a normal distribution, and of the priors, as Optuna has them."""
    squares = ((POINTS.T[:, :, None] - POINTS.T[:, None]) ** 2).reshape(2, -1)
    logs = np.log([*PROCESS.rates, 2.0, 0.1 - 1e-6])

    def cost(at: Floats) -> float:
        return gaussian._cost(at, squares, VALUES, SCALES)[0]

    rates, variance, noise = PROCESS.rates, 2.0, 0.1
    seen = multivariate_normal(np.zeros(6), covariance(POINTS, POINTS) + np.diag(noise * SCALES)).logpdf(VALUES)
    prior = -0.1 * (1 / rates + rates).sum() + math.log(variance) - variance + 0.1 * math.log(noise) - 30 * noise
    assert cost(logs) == pytest.approx(-seen - prior - 3 * math.log(2 * math.pi), rel=1e-9)
    slopes = gaussian._cost(logs, squares, VALUES, SCALES)[1]
    assert slopes == pytest.approx(approx_fprime(logs, cost, 1e-7), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("count", [3, 12, 60])
def test_the_fit_is_that_of_optuna(axes: int, exact: bool, count: int) -> None:
    """Both end where the slopes are below 0.01."""
    points, values = trials(count, axes, noise=0.0 if exact else 0.3)
    process = fit(points, values, exact=exact)
    expected = fit_kernel_params(
        X=points,
        Y=values,
        is_categorical=np.zeros(axes, dtype=bool),
        log_prior=default_log_prior,
        minimum_noise=DEFAULT_MINIMUM_NOISE_VAR,
        deterministic_objective=exact,
    )
    np.testing.assert_allclose(process.rates, expected.inverse_squared_lengthscales, rtol=1e-3)
    assert process.variance == pytest.approx(float(expected.kernel_scale), rel=1e-3)
    assert process.noise == pytest.approx(float(expected.noise_var), rel=1e-3)


def test_a_fit_that_fails_leaves_the_parameters_where_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Optuna, so that a search goes on."""

    def fails(*arguments: object) -> object:
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(gaussian, "_cost", fails)
    process = fit(*trials(9), exact=False)
    assert (process.rates.tolist(), process.variance, process.noise) == ([1.0, 1.0], 1.0, 1.0 + 1e-6)


@pytest.mark.parametrize("logs", [(800.0, 0.0), (-800.0, 0.0), (0.0, 800.0), (0.0, -800.0)])
def test_a_step_that_is_too_far_ends_the_fit_where_it_began(
    logs: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def far(cost: Any, start: Floats, *arguments: Any, **options: Any) -> Any:
        cost(np.array([logs[0], 0.0, logs[1], 0.0]), *arguments[0])
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(gaussian, "minimize", far)
    assert fit(*trials(9), exact=False).rates.tolist() == [1.0, 1.0]
