"""Enumerated samplers against plain recursion with exact fractions, published values and the sampler itself."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.denoisers.analytic import Law, MarkovChain, Mixture, Parity, RepeatedBit, Table
from mdm_tune.metrics import exact as module
from mdm_tune.metrics.exact import Enumeration, kl, target_distribution, tv
from mdm_tune.sampling.drawing import ORDERS, Drawing, Order
from mdm_tune.sampling.unmasking import CountPlan, Plan, RevealPlan, unmask
from mdm_tune.schedules.counts import alpha_grid
from mdm_tune.schedules.curves import Linear, Sine, SquaredSine
from mdm_tune.schedules.pricing import ancestral_order_kl, optima, order_kl
from tests.support.recursion import Number, State, bayes, bernoulli, hidden, recursion, table_of

COUNTS = {3: ([3], [1, 1, 1], [2, 1], [1, 0, 2]), 4: ([4], [2, 2], [1, 3], [1, 2, 1])}
GRIDS = ([0, 1], [0, 0.3, 1], [0, 0.2, 0.2, 0.7, 1], [0, 0.5, 1, 1])


class Arbitrary:
    """Conditionals that belong to no law, a mask id apart from the tokens, and single-precision answers."""

    vocab_size, mask_id = 3, 9

    def __init__(self) -> None:
        self.logits = torch.from_numpy(np.random.default_rng(5).normal(size=(10**3, 3, 3))).float()
        self.logits[::7, 1, 2] = -torch.inf
        self.calls = 0

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        self.calls += 1
        return self.logits[(tokens * torch.tensor([100, 10, 1])).sum(1)][wanted]

    def posterior(self, state: State) -> dict[int, list[Number]]:
        tokens = torch.tensor([[self.mask_id if token is None else token for token in state]])
        probability = self(tokens, tokens == self.mask_id).double().softmax(1).tolist()
        return dict(zip(hidden(state), probability, strict=True))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
@pytest.mark.parametrize(
    ("length", "vocab", "equal"), [(3, 2, False), (4, 2, True), (3, 3, False), (3, 3, True), (4, 3, False)]
)
def test_fixed_counts_by_recursion(length: int, vocab: int, equal: bool, temperature: float, order: Order) -> None:
    law = table_of(length + 10 * vocab, length, vocab, equal=equal)
    enumeration = Enumeration(law, length, temperature, order)
    for counts in COUNTS[length]:
        positive = [count for count in counts if count]
        expected = recursion(bayes(law), length, vocab, temperature, order, positive)
        actual = enumeration.fixed(counts)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)
        assert actual.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
@pytest.mark.parametrize(("length", "vocab"), [(3, 2), (4, 2), (3, 3)])
def test_ancestral_by_its_coins(length: int, vocab: int, temperature: float) -> None:
    law = table_of(length * vocab, length, vocab)
    enumeration = Enumeration(law, length, temperature)
    for alphas in GRIDS:
        actual = enumeration.ancestral(alphas)
        expected = bernoulli(bayes(law), length, vocab, temperature, alphas)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)
        assert actual.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_any_denoiser_and_asked_only_once(order: Order) -> None:
    denoiser = Arbitrary()
    enumeration = Enumeration(denoiser, 3, 1.3, order)
    calls = denoiser.calls
    results = [enumeration.fixed(counts) for counts in COUNTS[3]]
    assert denoiser.calls == calls == 1
    for counts, actual in zip(COUNTS[3], results, strict=True):
        expected = recursion(denoiser.posterior, 3, 3, 1.3, order, [count for count in counts if count])
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_sampler_draws_from_it(order: Order, temperature: float) -> None:
    """Pearson's test, false-alarm rate 1e-6 for each of the 12 cases (ancestral included); the seeds are fixed."""
    law = table_of(77, 4, 2)
    rows = 20_000
    enumeration = Enumeration(law, 4, temperature, order)
    plans: list[tuple[Plan, np.ndarray]] = [
        (CountPlan(torch.tensor(counts).expand(rows, 1, 2)), enumeration.fixed(counts)) for counts in ([2, 2], [1, 3])
    ]
    if order == "random":
        alphas = [0.0, 0.4, 0.7, 1.0]
        reveal = RevealPlan(torch.tensor(alphas, dtype=torch.float64).expand(rows, 4))
        plans.append((reveal, enumeration.ancestral(alphas)))
    for plan, expected in plans:
        start = torch.full((rows, 4), law.mask_id)
        seeds = np.arange(rows, dtype=np.uint64)
        drawn = unmask(law, start, plan, seeds=seeds, drawing=Drawing(order, temperature)).tokens
        seen = np.bincount((drawn * torch.tensor([8, 4, 2, 1])).sum(1).numpy(), minlength=16)
        assert seen[expected == 0].sum() == 0
        possible = expected > 0
        assert chisquare(seen[possible], expected[possible] * rows).pvalue > 1e-6


@pytest.mark.parametrize(
    ("chosen", "linear", "squared_sine", "sine"),
    [((0, 5), 0.51935, 0.49132, 0.87125), ((2, 3), 0.12433, 0.13658, 0.11799)],
)
def test_values_of_the_toy(chosen: tuple[int, int], linear: float, squared_sine: float, sine: float) -> None:
    """Five positions, two symbols, three steps; legal by the number of a's. Source: arXiv:2509.13866, Figure 4."""
    names = ["".join(x) for x in itertools.product("ab", repeat=5)]
    legal = tuple(name for name in names if name.count("a") in chosen)
    law = Table(legal, (1.0,) * len(legal))
    enumeration, target = Enumeration(law, 5), target_distribution(law)
    for schedule, expected in ((Linear(), linear), (SquaredSine(), squared_sine), (Sine(), sine)):
        assert kl(target, enumeration.ancestral(alpha_grid(schedule, 3))) == pytest.approx(expected, abs=1e-5)


LAWS: list[Law] = [
    table_of(1, 4, 3),
    RepeatedBit(5),
    Parity(5),
    MarkovChain.sticky(2, 0.05, 6),
    Mixture([0.4, 0.6], np.random.default_rng(2).dirichlet([1, 1], (2, 5))),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_order_kl_bounds_the_kl_of_the_sampler(law: Law) -> None:
    profile, entropy, target = law.profile(), law.entropy(), target_distribution(law)
    enumeration = Enumeration(law, law.length)
    plans = ([law.length], [1, law.length - 1], [law.length - 2, 2], optima(profile, 3).counts(3))
    slack = [order_kl(profile, entropy, counts) - kl(target, enumeration.fixed(counts)) for counts in plans]
    slack += [ancestral_order_kl(profile, entropy, a) - kl(target, enumeration.ancestral(a)) for a in GRIDS]
    assert min(slack) > -1e-12
    assert max(slack) > 0.005
    # One step has only one order, so there the bound is an equality.
    assert abs(slack[0]) < 1e-12


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_one_token_per_step_loses_nothing_unless_it_looks_at_what_it_drew(law: Law) -> None:
    target = target_distribution(law)
    for order in ORDERS:
        result = Enumeration(law, law.length, order=order).fixed([1] * law.length)
        if order != "confidence":
            np.testing.assert_allclose(result, target, atol=1e-12)
            assert kl(target, result) < 1e-12


def test_confidence_is_another_law_than_random_and_top_probability_at_temperature_zero() -> None:
    law = table_of(1, 4, 3)
    target = target_distribution(law)
    assert tv(target, Enumeration(law, 4, order="confidence").fixed([1] * 4)) > 0.05
    greedy = [Enumeration(law, 4, 0.0, order) for order in ("confidence", "top-probability")]
    for counts in COUNTS[4]:
        first, second = (enumeration.fixed(counts) for enumeration in greedy)
        np.testing.assert_array_equal(first, second)
        assert sorted(first)[-2:] == [0.0, 1.0]


def test_parity_and_repeated_bit_have_closed_divergences() -> None:
    """Drawn without looking, s bits agree with chance 2^(1-s), and the last two of parity are right half the time."""
    bit, parity = RepeatedBit(5), Parity(5)
    repeated, even = Enumeration(bit, 5), Enumeration(parity, 5)
    assert kl(target_distribution(bit), repeated.fixed([1, 4])) == pytest.approx(0, abs=1e-12)
    assert kl(target_distribution(bit), repeated.fixed([5])) == pytest.approx(4 * math.log(2))
    assert tv(target_distribution(bit), repeated.fixed([5])) == pytest.approx(1 - 2 / 32)
    for counts, expected in (([4, 1], 0.0), ([3, 2], math.log(2)), ([5], math.log(2))):
        assert kl(target_distribution(parity), even.fixed(counts)) == pytest.approx(expected, abs=1e-12)


def test_target_is_in_lexicographic_order() -> None:
    law = Table(("aab", "cba"), (1.0, 3.0))
    target = target_distribution(law)
    assert target.shape == (27,)
    assert target[int("001", 3)] == pytest.approx(0.25)
    assert target[int("210", 3)] == pytest.approx(0.75)
    assert target.sum() == pytest.approx(1)


def test_divergences() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    assert kl(p, q) == pytest.approx(math.log(2))
    assert kl(q, p) == math.inf
    assert kl(p, p) == 0.0
    assert tv(p, q) == tv(q, p) == pytest.approx(0.5)
    for divergence in (kl, tv):
        with pytest.raises(InputError, match="same sequences"):
            divergence(p, q[:2])


def test_what_cannot_be_enumerated_is_refused() -> None:
    for law in (Parity(11), MarkovChain.sticky(300, 0.5, 2), RepeatedBit(500)):
        with pytest.raises(InputError, match="a shorter law, or metric order_kl"):
            Enumeration(law, law.length)
    with pytest.raises(InputError, match="shorter law"):
        target_distribution(Parity(25))
    with pytest.raises(InputError, match="at least one position"):
        Enumeration(Parity(3), 0)
    with pytest.raises(InputError, match="one of random, confidence"):
        Enumeration(Parity(3), 3, order="left-to-right")  # type: ignore[arg-type]
    for temperature in (-0.1, math.inf, math.nan):
        with pytest.raises(InputError, match="temperature"):
            Enumeration(Parity(3), 3, temperature)
    with pytest.raises(InputError, match="order must be 'random'"):
        Enumeration(Parity(3), 3, order="margin").ancestral([0, 1])
    with pytest.raises(InputError, match="increase from 0 to 1"):
        Enumeration(Parity(3), 3).ancestral([0, 0.5])
    with pytest.raises(InputError, match="sum to the 3 masked"):
        Enumeration(Parity(3), 3).fixed([1, 1])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_broken_denoisers_fail_the_run(bad: float) -> None:
    class Broken(Arbitrary):
        def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
            logits = super().__call__(tokens, wanted)
            logits[3] = bad
            return logits

    class Flat(Arbitrary):
        def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
            return super().__call__(tokens, wanted)[:, :2]

    with pytest.raises(RunError, match="no finite logit"):
        Enumeration(Broken(), 3)
    with pytest.raises(RunError, match=r"expected \(\d+, 3\) and got .*correct the denoiser"):
        Enumeration(Flat(), 3)


def test_everything_exported_exists() -> None:
    assert all(hasattr(module, name) for name in module.__all__)
