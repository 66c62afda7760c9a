"""What a profile says of a budget: every schedule, the best of the family, the best of all, and energies.

Covers: profile_records.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mdm_tune
from mdm_tune.schedules.counts import alpha_grid, beta_grids, counts_of_grids, to_counts
from mdm_tune.schedules.curves import Beta, Linear, MaskgitCosine, Sine, SquaredSine
from mdm_tune.schedules.pricing import ancestral_nelbo, nelbo, price_counts
from tests.commands.test_profile import CHAIN, KEYS, MARKOV, answer, call


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return answer("profile", MARKOV, "--output", str(tmp_path_factory.mktemp("profile") / "exact"))


def test_an_exact_law_is_priced_without_a_denoiser(exact: dict[str, Any]) -> None:
    assert exact.keys() == KEYS
    assert exact["cross_entropy"] == CHAIN.profile().tolist()
    assert exact["revealed"] == list(range(32)) and set(exact["stderr"]) == {0.0}
    assert (exact["length"], exact["block_length"], exact["exact"], exact["examples"]) == (32, 32, True, None)
    assert (exact["denoiser_rows"], exact["denoiser_tokens"]) == (0, 0)
    assert exact["one_token_per_step"] == {
        "nelbo": pytest.approx(CHAIN.entropy()),
        "ci": None,
        "no_interval": "exact",
    }
    assert (exact["worse_than_uniform"], exact["rises"], exact["precision"], exact["reused"]) == (None, [], None, False)


def test_the_markov_chain_has_its_known_values(exact: dict[str, Any]) -> None:
    """KL in nats at 4 and 8 steps, computed beforehand: linear 2.7861 and 1.0884, optimum 1.7164 and 0.6218."""
    four, eight = exact["budgets"]
    assert [four["steps"], eight["steps"]] == [4, 8]
    assert four["optimum"]["counts"] == [3, 5, 9, 15]
    assert eight["optimum"]["counts"] == eight["beta"]["counts"] == [1, 2, 2, 3, 4, 5, 6, 9]
    for budget, values in ((four, (2.7861, 2.3934, 1.7164)), (eight, (1.0884, 1.0244, 0.6218))):
        for name, kl in zip(("linear", "squared-sine", "optimum"), values, strict=True):
            assert budget[name]["nelbo"] - CHAIN.entropy() == pytest.approx(kl, abs=1e-4)
            assert budget[name]["ci"] is None and budget[name]["alphas"] is None


def test_every_schedule_costs_what_its_counts_cost(exact: dict[str, Any]) -> None:
    curve = CHAIN.profile()
    schedules = {"linear": Linear(), "squared-sine": SquaredSine(), "sine": Sine(), "maskgit-cosine": MaskgitCosine()}
    for budget in exact["budgets"]:
        more = {"linear_steps_for_same_nelbo", "linear_steps_range", "gain_expected", "block_steps"}
        assert set(budget) == {"steps", *schedules, "beta", "optimum", "gap", *more}
        assert (budget["gain_expected"], budget["linear_steps_range"], budget["block_steps"]) == (True, None, None)
        linear = nelbo(curve, to_counts(Linear(), budget["steps"], 32))
        beta = Beta(budget["beta"]["a"], budget["beta"]["b"])
        for name, schedule in {**schedules, "beta": beta}.items():
            found = budget[name]
            assert tuple(found["counts"]) == to_counts(schedule, budget["steps"], 32)
            assert found["nelbo"] == pytest.approx(nelbo(curve, found["counts"]), abs=1e-12)
            assert found["minus_linear"]["nelbo"] == pytest.approx(found["nelbo"] - linear, abs=1e-12)
        lost, least = budget["beta"]["nelbo"], budget["optimum"]["nelbo"]
        assert budget["gap"]["nelbo"] == pytest.approx(lost - least, abs=1e-12)
        assert budget["gap"]["excess_ratio"] == pytest.approx((lost - CHAIN.entropy()) / (least - CHAIN.entropy()))
        assert exact["optimum_nelbo"][budget["steps"] - 1] == pytest.approx(least, abs=1e-12)
        needed = budget["linear_steps_for_same_nelbo"]
        assert nelbo(curve, to_counts(Linear(), needed, 32)) <= lost
        assert nelbo(curve, to_counts(Linear(), needed - 1, 32)) > lost
    assert exact["optimum_nelbo"] == sorted(exact["optimum_nelbo"], reverse=True)
    assert len(exact["optimum_nelbo"]) == 32


def test_what_the_family_leaves_behind_is_said(tmp_path: Path) -> None:
    """In this box the best Beta is no optimum; the box is scanned again here, point by point."""
    box = ("--set", "search.space={a: [0.5, 1.0], b: [0.5, 1.0]}")
    (budget,) = answer("profile", MARKOV, "--steps", "4", *box, "--output", str(tmp_path / "run"))["budgets"]
    a, b = (axis.ravel() for axis in np.meshgrid(np.linspace(0.5, 1, 101), np.linspace(0.5, 1, 101)))
    prices = price_counts(CHAIN.profile(), counts_of_grids(beta_grids(a, b, 4), 32, "one-per-step"))
    assert budget["beta"]["nelbo"] == pytest.approx(prices.min(), abs=1e-12)
    assert 0.5 <= budget["beta"]["a"] <= 1 and 0.5 <= budget["beta"]["b"] <= 1
    assert budget["gap"]["nelbo"] == pytest.approx(prices.min() - budget["optimum"]["nelbo"]) and prices.min() > 8.57
    assert budget["gap"]["excess_ratio"] > 1.001


def test_ancestral_reveal_has_alphas(tmp_path: Path) -> None:
    output = ("--output", str(tmp_path / "run"))
    record = answer("profile", MARKOV, "--set", "sampler.reveal=bernoulli", "--steps", "4", *output)
    (budget,) = record["budgets"]
    assert record["optimum_nelbo"] is None
    for name, schedule in (("linear", Linear()), ("beta", Beta(budget["beta"]["a"], budget["beta"]["b"]))):
        assert budget[name]["counts"] is None
        assert budget[name]["alphas"] == pytest.approx(alpha_grid(schedule, 4).tolist())
    for name in ("linear", "squared-sine", "sine", "beta", "optimum"):
        assert budget[name]["nelbo"] == pytest.approx(ancestral_nelbo(CHAIN.profile(), budget[name]["alphas"]))
    order = [budget[name]["nelbo"] for name in ("optimum", "beta", "linear")]
    assert order == sorted(order) and order[0] < order[2] - 0.5
    assert mdm_tune.load_schedule(record["files"]["optimum"]).budget(4).alphas == tuple(budget["optimum"]["alphas"])


def test_the_energy_of_each_schedule_is_told() -> None:
    """Against the closed form of two Betas, Gauss-Legendre for the sine, and the theorems on 32 tokens of 2 symbols."""
    record = answer("profile", MARKOV)
    for budget in record["budgets"]:
        assert budget["linear"]["energy"] == {"linear": pytest.approx(1), "squared-sine": None}
        assert budget["squared-sine"]["energy"] == {"linear": pytest.approx(math.pi**2 / 8), "squared-sine": 1}
        a, b = budget["beta"]["a"], budget["beta"]["b"]
        expected = beta_function(0.5, 0.5) * beta_function(2 * a - 0.5, 2 * b - 0.5) / beta_function(a, b) ** 2
        assert budget["beta"]["energy"]["linear"] == pytest.approx(expected, rel=1e-12)
        assert budget["optimum"]["energy"]["linear"] > 1
    sine = record["budgets"][0]["sine"]["energy"]
    assert sine == {"linear": pytest.approx(sine_energy(), rel=1e-8), "squared-sine": None}
    assert record["energies"] == {
        "least_geodesic": pytest.approx(32 * math.pi**2 / 4),
        "log2_conditional_over_geodesic": 31,
        "log2_kinetic_over_conditional": pytest.approx(31 * math.log2(3 / 2)),
    }
    shown = call("profile", MARKOV).stderr
    assert re.search(r"any   squared-sine +1\.2337 +1\.0000", shown)
    assert shown.count("any   linear") == 1 and re.search(r"8   best Beta: \(0\.7\d+, 0\.4\d+\) .* infinite", shown)


def beta_function(a: float, b: float) -> float:
    return math.gamma(a) * math.gamma(b) / math.gamma(a + b)


def sine_energy() -> float:
    """int u'^2 / gamma' dt for alpha = sin(pi t/2) under linear's gamma, with t = sin^2(x) and 60 nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    x, weights = (nodes + 1) * np.pi / 4, weights * np.pi / 4
    t, half = np.sin(x) ** 2, np.sin(x) * np.cos(x)  # half: sqrt(t (1 - t)), and half of dt/dx
    alpha, slope = np.sin(np.pi * t / 2), np.pi / 2 * np.cos(np.pi * t / 2)
    return float(weights @ (2 * half**2 * slope**2 / (np.pi * alpha * (1 - alpha))))
