"""The acquisition functions against Optuna's, and the points that they lead to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from optuna._gp.acqf import LogEI, qLogEI
from optuna._gp.gp import GPRegressor
from optuna._gp.optim_mixed import optimize_acqf_mixed
from optuna._gp.qmc import sample_from_normal_sobol
from optuna._gp.search_space import SearchSpace
from optuna.distributions import FloatDistribution
from scipy.integrate import quad
from scipy.stats import norm

from mdm_tune.core.gaussian import Process, fit
from mdm_tune.search import improvement
from mdm_tune.search.improvement import highest_point, log_improvement, sobol, standardized
from tests.support.smooth import trials

Floats = NDArray[np.float64]


def optunas(process: Process) -> GPRegressor:
    """Optuna's process with the same parameters."""
    found = GPRegressor(
        is_categorical=torch.zeros(process.points.shape[1], dtype=torch.bool),
        X_train=torch.from_numpy(process.points),
        y_train=torch.from_numpy(process.values),
        inverse_squared_lengthscales=torch.from_numpy(process.rates),
        kernel_scale=torch.tensor(process.variance, dtype=torch.float64),
        noise_var=torch.tensor(process.noise, dtype=torch.float64),
    )
    found._cache_matrix()
    return found


def optunas_acquisition(process: Process, seed: int) -> LogEI | qLogEI:
    """Optuna's acquisition function of the process."""
    names = {f"{axis}": FloatDistribution(0, 1) for axis in range(process.points.shape[1])}
    common: dict[str, Any] = {"gpr": optunas(process), "search_space": SearchSpace(dict(names))}
    common["threshold"] = float(process.values.max())
    if not len(process.running):
        return LogEI(**common)
    return qLogEI(**common, n_qmc_samples=128, qmc_seed=seed, normalized_params_of_running_trials=process.running)


@pytest.mark.parametrize("values", [[0.0] * 12, [0.0] * 11 + [1e-9], [-1e12] + [1.0] * 11, [1.0, -1.0] * 6])
@pytest.mark.parametrize("exact", [False, True])
def test_strange_values_are_no_trouble(values: list[float], exact: bool) -> None:
    """pytest turns every warning into an error."""
    points = np.vstack([np.full((6, 2), 0.5), np.random.default_rng(0).random((6, 2))])  # six times the same point
    process = fit(points, standardized(np.array(values)), exact=exact)
    found = highest_point(replace(process, running=np.array([[0.0, 1.0], [0.5, 0.5]])), np.random.default_rng(0))
    assert ((found >= 0) & (found <= 1)).all()
    assert np.isfinite(improvement.possible_gain(points, np.array(values), np.random.default_rng(0)))


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("running", [0, 1, 5])
@pytest.mark.parametrize("exact", [False, True])
def test_the_acquisition_function_is_that_of_optuna(axes: int, running: int, exact: bool) -> None:
    points, values = trials(30, axes, noise=0.0 if exact else 0.3)
    rng = np.random.default_rng(1)
    process = replace(fit(points, values, exact=exact), running=rng.random((running, axes)))
    places = np.vstack([rng.random((200, axes)), points + 1e-3])
    normals = sample_from_normal_sobol(dim=running + 1, n_samples=128, seed=7).numpy()
    expected = optunas_acquisition(process, 7).eval_acqf_no_grad(places)
    np.testing.assert_allclose(log_improvement(process, normals)(places), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("lead", [-30.0, -6.0, -1.0, -0.0, 0.5, 4.0])
def test_the_expected_improvement_is_its_integral(lead: float) -> None:
    """Of exp(-x lead) times itself, which is no small number."""
    expected = quad(lambda x: x * np.exp(-0.5 * x**2 + x * lead), 0, 60, epsabs=0, epsrel=1e-10)[0]
    assert improvement._log_expected(np.array([lead]))[0] == pytest.approx(
        np.log(expected) + norm.logpdf(lead), rel=1e-9
    )


def test_an_improvement_that_no_float_can_hold_still_has_an_order() -> None:
    found = improvement._log_expected(np.array([-1e9, -1e6, -1e3, 0.0, 1e3]))
    assert (np.diff(found) > 0).all() and np.isfinite(found).all()


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("running", [0, 3])
def test_the_point_is_as_good_as_that_of_optuna_by_gradients(exact: bool, running: int) -> None:
    """Values are logarithms. Optuna follows the gradients from the best 10 of 2,048 points."""
    for seed, count in enumerate((8, 30, 80)):
        points, values = trials(count, noise=0.0 if exact else 0.3, seed=seed)
        process = replace(fit(points, values, exact=exact), running=np.random.default_rng(seed).random((running, 2)))
        found = highest_point(process, np.random.default_rng(seed))
        acquisition = optunas_acquisition(process, seed)
        theirs, _ = optimize_acqf_mixed(acquisition, rng=np.random.RandomState(seed))
        ours, others = acquisition.eval_acqf_no_grad(np.stack([found, theirs]))
        assert ours > others - 0.02


def test_points_near_the_best_trials_find_a_peak_between_points_of_the_box(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is 0.002 wide. A point of the box would lie on it in one of 80,000 draws of one point."""
    points, values = trials(20)
    peak = points[np.argmax(values)] + [0.004, -0.003]

    def peaked(process: Process, normals: Floats) -> Any:
        return lambda places: -np.minimum(1, np.abs(places - peak).max(axis=1) / 0.002)

    monkeypatch.setattr(improvement, "log_improvement", peaked)
    found = highest_point(fit(points, values, exact=True), np.random.default_rng(0))
    assert np.abs(found - peak).max() < 0.001


def test_a_sobol_sequence_has_a_point_in_each_binary_box() -> None:
    unit = sobol(64, 2, np.random.default_rng(0))
    for bits in range(7):
        assert len({*map(tuple, np.floor(unit * [2**bits, 2 ** (6 - bits)]).tolist())}) == 64
    assert (unit > 0).all() and (unit < 1).all()
    assert not np.array_equal(unit, sobol(64, 2, np.random.default_rng(1)))


def test_infinite_values_count_as_the_nearest_finite_ones() -> None:
    found = standardized(np.array([1.0, 3.0, -np.inf, np.inf]))
    np.testing.assert_allclose(found, [-1, 1, -1, 1])
    np.testing.assert_allclose(standardized(np.array([5.0, 7.0])), [-1, 1])
    np.testing.assert_allclose(standardized(np.array([2.0, 2.0, np.inf])), 0)


def test_points_that_run_at_nearly_one_place_are_no_trouble() -> None:
    process = fit(*trials(20), exact=True)
    close = np.full((4, 2), 0.3) + 1e-9 * np.arange(4)[:, None]
    assert np.isfinite(highest_point(replace(process, running=close), np.random.default_rng(0))).all()
