"""Every order and both plans have exactly the law that an independent enumeration gives them."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chisquare
from torch import Tensor

from mdm_tune.core import seeding
from mdm_tune.core.seeding import noise
from mdm_tune.sampling.drawing import ORDERS, Drawing, Order
from mdm_tune.sampling.unmasking import RevealPlan, Step, unmask
from tests.support.enumeration import Enumeration, Law, total_variation
from tests.support.helpers import TableDenoiser, even_counts, fit, random_law, same_plan, seeds, tally

# A sound sampler fails one assertion of LEVEL with probability 1e-4, and the about 50 of this file with 5e-3. What
# differs from the truth by CLEAR in total variation must fail, at 20,000 samples with a chi-square of 280 or more.
LEVEL = 1e-4
CLEAR = 0.06
SAMPLES = 20_000
# Positions, tokens, counts and seed. The last law was picked because all five orders differ on it by CLEAR or more.
LAWS = {"4 bits": (4, 2, [1, 2, 1], 24), "3 letters": (3, 3, [1, 1, 1], 33), "4 letters": (4, 3, [1, 2, 1], 37)}
ALPHAS = [0.0, 0.3, 0.35, 0.8, 1.0]


@functools.cache
def law_named(name: str) -> tuple[NDArray[np.float64], Enumeration]:
    length, vocab_size, _, seed = LAWS[name]
    table = random_law(length, vocab_size, seed)
    return table, Enumeration(table)


@functools.cache
def fixed(name: str, counts: tuple[int, ...], order: str, temperature: float) -> Law:
    return law_named(name)[1].fixed(counts, order, temperature)


def masked(denoiser: TableDenoiser, rows: int = SAMPLES) -> Tensor:
    return torch.full((rows, denoiser.table.ndim), denoiser.mask_id)


def sampled(name: str, order: Order, temperature: float) -> dict[tuple[int, ...], int]:
    return draw(law_named(name)[0], LAWS[name][2], order, temperature)


def draw(table: NDArray[np.float64], counts: list[int], order: Order, temperature: float) -> dict[tuple[int, ...], int]:
    denoiser = TableDenoiser(table)
    result = unmask(
        denoiser,
        masked(denoiser),
        same_plan(counts, SAMPLES),
        seeds=seeds(SAMPLES),
        drawing=Drawing(order, temperature),
        batch=1000,
    )
    return tally(result.tokens)


CASES = [
    *itertools.product(LAWS, ORDERS, [1.0]),
    *itertools.product(["3 letters"], ORDERS, [0.5, 2.0]),
    ("4 letters", "confidence", 2.0),
]


@pytest.mark.parametrize(("name", "order", "temperature"), CASES)
def test_fixed_counts(name: str, order: Order, temperature: float) -> None:
    counts = tuple(LAWS[name][2])
    truth = fixed(name, counts, order, temperature)
    assert math.isclose(math.fsum(truth.values()), 1.0, abs_tol=1e-12)
    observed = sampled(name, order, temperature)
    assert fit(observed, truth) > LEVEL
    wrong = [fixed(name, counts, other, temperature) for other in ORDERS if other != order]
    if name == "4 letters" and temperature == 1:
        assert all(total_variation(truth, law) > CLEAR for law in wrong)
    wrong += [fixed(name, counts, order, other) for other in (0.5, 1.0, 2.0) if other != temperature]
    wrong += [fixed(name, tuple(even_counts(len(next(iter(truth))), 2)), order, temperature)]
    clear = [law for law in wrong if total_variation(truth, law) > CLEAR]
    assert len(clear) >= 2
    assert all(fit(observed, law) < LEVEL for law in clear)


def test_confidence_is_read_at_temperature_one() -> None:
    # Ranking by the probability at the drawing temperature is another law, and this law of three letters can tell.
    table = random_law(3, 3, seed=12)
    truth, wrong = (Enumeration(table).fixed([1, 1, 1], "confidence", 2.0, score) for score in (1.0, 2.0))
    assert total_variation(truth, wrong) > 0.1
    observed = draw(table, [1, 1, 1], "confidence", 2.0)
    assert fit(observed, truth) > LEVEL
    assert fit(observed, wrong) < LEVEL


@pytest.mark.parametrize("name", ["4 bits", "3 letters"])
def test_a_confidence_candidate_that_is_not_revealed_must_be_drawn_anew(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Noise keyed by position alone, as random order may have it, is a different law here.
    def keyed_by_position(
        seeds: NDArray[np.uint64], purpose: str, step: int | NDArray[np.int64], length: int
    ) -> NDArray[np.float64]:
        return noise(seeds, purpose, 0, length)

    monkeypatch.setattr(seeding, "noise", keyed_by_position)
    truth = fixed(name, tuple(LAWS[name][2]), "confidence", 1.0)
    assert fit(sampled(name, "confidence", 1.0), truth) < 1e-12
    # The orders that draw each position once do not mind.
    for order in ("random", "margin"):
        assert fit(sampled(name, order, 1.0), fixed(name, tuple(LAWS[name][2]), order, 1.0)) > LEVEL


@pytest.mark.parametrize(("name", "temperature"), [*itertools.product(LAWS, [1.0]), ("3 letters", 0.5)])
def test_ancestral_reveal(name: str, temperature: float) -> None:
    table, enumeration = law_named(name)
    denoiser = TableDenoiser(table)
    plan = RevealPlan(torch.tensor(ALPHAS, dtype=torch.float64).expand(SAMPLES, -1))
    drawing = Drawing(temperature=temperature)
    result = unmask(denoiser, masked(denoiser), plan, seeds=seeds(SAMPLES), drawing=drawing, batch=1000)
    observed = tally(result.tokens)
    truth = enumeration.ancestral(ALPHAS, temperature)
    assert math.isclose(math.fsum(truth.values()), 1.0, abs_tol=1e-12)
    assert fit(observed, truth) > LEVEL
    wrong = [
        enumeration.ancestral([0.0, 1.0], temperature),
        enumeration.ancestral(ALPHAS, 2.0),
        fixed(name, (1,) * table.ndim, "random", temperature),
    ]
    clear = [law for law in wrong if total_variation(truth, law) > CLEAR]
    assert clear
    assert all(fit(observed, law) < LEVEL for law in clear)


def test_random_order_is_a_uniform_permutation() -> None:
    denoiser = TableDenoiser(random_law(4, 2, seed=0))
    when = torch.zeros(SAMPLES, 4, dtype=torch.int64)

    def note(step: Step) -> None:
        when[step.revealed] = step.number

    unmask(denoiser, masked(denoiser), same_plan([1, 1, 1, 1], SAMPLES), seeds=seeds(SAMPLES), on_step=note)
    found = tally(when)
    assert len(found) == 24
    assert chisquare(list(found.values())).pvalue > LEVEL


def test_number_and_place_of_ancestral_reveals() -> None:
    # Each position is revealed at step i with probability alpha_{i+1} - alpha_i, independently of the others.
    denoiser = TableDenoiser(random_law(3, 2, seed=0))
    when = torch.full((SAMPLES, 3), -1)

    def note(step: Step) -> None:
        when[step.revealed] = step.number

    plan = RevealPlan(torch.tensor(ALPHAS, dtype=torch.float64).expand(SAMPLES, -1))
    unmask(denoiser, masked(denoiser), plan, seeds=seeds(SAMPLES), on_step=note)
    shares = np.diff(ALPHAS)
    law = {steps: float(np.prod(shares[list(steps)])) for steps in itertools.product(range(4), repeat=3)}
    assert fit(tally(when), law) > LEVEL


def test_enumeration_gives_the_published_toy() -> None:
    # arXiv:2509.13866, Fig. 4: five symbols, three steps, legal = {aaaaa, bbbbb}; KL(target || sampled) in nats.
    table = np.zeros((2,) * 5)
    table[0, 0, 0, 0, 0] = table[1, 1, 1, 1, 1] = 0.5
    enumeration = Enumeration(table)
    times = [0.0, 1 / 3, 2 / 3, 1.0]
    for alphas, divergence in [
        (times, 0.51935),
        ([math.sin(math.pi * t / 2) ** 2 for t in times], 0.49132),
        ([0.0, *(math.sin(math.pi * t / 2) for t in times[1:])], 0.87125),
    ]:
        law = enumeration.ancestral(alphas)
        found = sum(0.5 * math.log(0.5 / law[outcome]) for outcome in ((0,) * 5, (1,) * 5))
        assert math.isclose(found, divergence, abs_tol=5e-6)


def test_the_fit_test_itself() -> None:
    law: Law = {(0,): 0.5, (1,): 0.3, (2,): 0.1998, (3,): 0.0002}
    assert fit({(0,): 5000, (1,): 3000, (2,): 1998, (3,): 2}, law) > 0.99
    assert fit({(0,): 5200, (1,): 2800, (2,): 1998, (3,): 2}, law) < LEVEL
    assert fit({(0,): 5000, (1,): 3000, (2,): 1999, (4,): 1}, law) == 0.0
