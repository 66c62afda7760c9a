"""Exact laws against brute force: Bayes' rule over all sequences, entropies over all sets, formulas at full length.

Covers: base, law.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, hypergeom

from mdm_tune.core.errors import InputError
from mdm_tune.denoisers import analytic
from mdm_tune.denoisers.analytic import Law, MarkovChain, Mixture, Parity, RepeatedBit, Table
from mdm_tune.denoisers.base import Denoiser
from tests.support.laws import LAWS, contexts, dirichlet, joint, subset_entropy


@LAWS
def test_posterior_is_bayes_rule_and_uniform_where_the_context_is_impossible(law: Law) -> None:
    table = joint(law)
    tokens = contexts(law)
    answer = iter(law(tokens, tokens == law.mask_id).exp().tolist())
    impossible = 0
    for context in tokens.tolist():
        fits = {x: p for x, p in table.items() if all(c in (law.mask_id, t) for c, t in zip(context, x, strict=True))}
        total = sum(fits.values())
        for at in (at for at, c in enumerate(context) if c == law.mask_id):
            expected = [sum(p for x, p in fits.items() if x[at] == token) for token in range(law.vocab_size)]
            if total == 0:
                impossible += 1
                expected, total_or_one = [1 / law.vocab_size] * law.vocab_size, 1.0
            else:
                total_or_one = total
            np.testing.assert_allclose(next(answer), np.array(expected) / total_or_one, atol=1e-14)
    assert next(answer, None) is None
    if 0.0 in table.values() and law.length > 2:
        assert impossible or isinstance(law, Parity)


@LAWS
def test_log_prob_is_the_formula(law: Law) -> None:
    table = joint(law)
    assert sum(table.values()) == pytest.approx(1, abs=1e-14)
    actual = law.log_prob(torch.tensor(list(table)))
    assert actual.dtype == torch.float64
    np.testing.assert_allclose(actual.exp(), list(table.values()), rtol=1e-13)


@LAWS
def test_entropy_and_profile_by_brute_force(law: Law) -> None:
    everything = range(law.length)
    assert law.entropy() == pytest.approx(subset_entropy(law, tuple(everything)), abs=1e-13)
    expected = []
    for m in everything:
        conditional = [
            subset_entropy(law, (*seen, at)) - subset_entropy(law, seen)
            for at in everything
            for seen in itertools.combinations([other for other in everything if other != at], m)
        ]
        expected.append(sum(conditional) / len(conditional))
    np.testing.assert_allclose(law.profile(), expected, atol=1e-13)
    assert (law.profile() >= 0).all()


@LAWS
def test_profile_in_blocks_by_brute_force(law: Law) -> None:
    """Block b given all earlier blocks and k others of the block; the sum is the entropy for every block length."""
    for size in (size for size in range(1, law.length + 1) if law.length % size == 0):
        expected = []
        for start in range(0, law.length, size):
            inside, earlier = range(start, start + size), tuple(range(start))
            for k in range(size):
                conditional = [
                    subset_entropy(law, (*earlier, *seen, at)) - subset_entropy(law, (*earlier, *seen))
                    for at in inside
                    for seen in itertools.combinations([other for other in inside if other != at], k)
                ]
                expected.append(sum(conditional) / len(conditional))
        found = law.profile(size)
        assert found.shape == (law.length,) and (found >= 0).all()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        assert found.sum() == pytest.approx(law.entropy(), abs=1e-12)
    np.testing.assert_array_equal(law.profile(law.length), law.profile())
    for bad in (0, -1, law.length + 1, 2 * law.length):
        with pytest.raises(InputError, match=f"must divide the length {law.length}, got {bad}"):
            law.profile(bad)


@LAWS
def test_contract_of_a_denoiser(law: Law) -> None:
    assert isinstance(law, Denoiser)
    assert law.mask_id == law.vocab_size == len(set(law.symbols)) == len(law.symbols)
    tokens = contexts(law)
    everywhere = torch.ones_like(tokens, dtype=torch.bool)
    answer = law(tokens, everywhere)
    assert answer.dtype == torch.float64
    assert not bool(answer.isnan().any())
    visible = tokens.flatten() != law.mask_id
    assert answer[visible].argmax(1).tolist() == tokens.flatten()[visible].tolist()
    assert bool((answer[visible].max(1).values == 0).all())
    assert int(answer[visible].isneginf().sum()) == int(visible.sum()) * (law.vocab_size - 1)
    one_by_one = torch.cat([law(row[None], everywhere[:1]) for row in tokens])
    assert torch.equal(answer, one_by_one)
    assert law(tokens[:0], everywhere[:0]).shape == (0, law.vocab_size)
    assert law(tokens, ~everywhere).shape == (0, law.vocab_size)


@LAWS
def test_bad_tokens_are_refused(law: Law) -> None:
    tokens = torch.zeros(2, law.length, dtype=torch.int64)
    wanted = torch.zeros_like(tokens, dtype=torch.bool)
    padded, too_large = tokens.clone(), tokens.clone()
    padded[1, -1], too_large[0, 0] = -1, law.mask_id + 1
    for bad, told in (
        (padded, "padding"),
        (too_large, "at most"),
        (tokens[:, :-1], "positions?,"),
        (tokens[0], "positions?,"),
    ):
        with pytest.raises(InputError, match=told):
            law(bad, wanted)
        with pytest.raises(InputError, match=told):
            law.log_prob(bad)
    with pytest.raises(InputError, match="at most"):
        law.log_prob(torch.full_like(tokens, law.mask_id))
    with pytest.raises(InputError, match="shape"):
        law(tokens, wanted[:1])


@LAWS
def test_samples_follow_the_law(law: Law) -> None:
    """Pearson's test at a false-alarm rate of 1e-6 for each of the nine laws; the seed is fixed."""
    table = {x: p for x, p in joint(law).items() if p > 0}
    drawn = law.sample(4000, 11)
    assert drawn.shape == (4000, law.length)
    assert drawn.dtype == torch.int64
    seen = dict.fromkeys(table, 0)
    for row in drawn.tolist():
        seen[tuple(row)] += 1  # an impossible sequence is a KeyError
    if len(table) > 1:
        assert chisquare(list(seen.values()), np.array(list(table.values())) * 4000).pvalue > 1e-6


@LAWS
def test_samples_depend_on_the_seed_alone(law: Law) -> None:
    state = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    assert torch.equal(law.sample(50, 3), law.sample(50, 3))
    assert torch.equal(law.sample(50, 3)[:20], law.sample(20, 3))
    assert law.length == 1 or not torch.equal(law.sample(50, 3), law.sample(50, 4))
    assert law.sample(0, 0).shape == (0, law.length)
    assert torch.equal(state[0], torch.get_rng_state())
    assert state[1] == str(np.random.get_state())  # noqa: NPY002
    for count, seed in ((-1, 0), (1, -1)):
        with pytest.raises(InputError, match="at least 0"):
            law.sample(count, seed)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), vocab=st.integers(2, 3), length=st.integers(1, 4))
def test_chain_and_mixture_agree_with_the_table_of_their_sequences(seed: int, vocab: int, length: int) -> None:
    chain = MarkovChain(dirichlet(seed, vocab, vocab), dirichlet(seed + 1, vocab), length)
    mixture = Mixture(dirichlet(seed, 2), dirichlet(seed + 1, 2, length, vocab))
    for law in (chain, mixture):
        table = joint(law)
        names = tuple("".join(law.symbols[i] for i in x) for x in table)
        twin = Table(names, tuple(table.values()))
        tokens = contexts(law)
        hidden = tokens == law.mask_id
        np.testing.assert_allclose(law(tokens, hidden).exp(), twin(tokens, hidden).exp(), atol=1e-12)
        np.testing.assert_allclose(law.profile(), twin.profile(), atol=1e-12)


def test_long_chain_is_fast_and_consistent() -> None:
    """Length 256, 8 symbols: nearest visible neighbours against the matrix powers, and batch invariance to the bit."""
    rng = np.random.default_rng(0)
    chain = MarkovChain(dirichlet(5, 8, 8), dirichlet(6, 8), 256)
    tokens = chain.sample(64, 1)
    tokens[torch.from_numpy(rng.random((64, 256)) < 0.9)] = chain.mask_id
    hidden = tokens == chain.mask_id
    answer = chain(tokens, hidden)
    at = 0
    for row in tokens[:4].tolist():
        for position in (i for i, token in enumerate(row) if token == chain.mask_id):
            left = max((i for i in range(position) if row[i] != chain.mask_id), default=None)
            right = min((i for i in range(position, 256) if row[i] != chain.mask_id), default=None)
            forward = np.eye(8)[row[left]] if left is not None else chain.start
            weight = forward @ np.linalg.matrix_power(chain.transition, position - (left or 0))
            if right is not None:
                weight = weight * np.linalg.matrix_power(chain.transition, right - position)[:, row[right]]
            np.testing.assert_allclose(answer[at].exp(), weight / weight.sum(), rtol=1e-10)
            at += 1
    parts = [chain(tokens[i : i + 7], hidden[i : i + 7]) for i in range(0, 64, 7)]
    assert torch.equal(torch.cat(parts), answer)


def test_batches_change_nothing_for_large_mixtures_and_tables() -> None:
    rng = np.random.default_rng(1)
    mixture = Mixture(dirichlet(7, 5), dirichlet(8, 5, 70, 9))
    names = tuple({"".join(rng.choice(list("abcd"), 9)) for _ in range(700)})
    for law in (mixture, Table(names, tuple(rng.random(len(names)).tolist()))):
        tokens = law.sample(33, 2)
        tokens[torch.from_numpy(rng.random(tuple(tokens.shape)) < 0.5)] = law.mask_id
        hidden = tokens == law.mask_id
        parts = [law(tokens[i : i + 4], hidden[i : i + 4]) for i in range(0, 33, 4)]
        assert torch.equal(torch.cat(parts), law(tokens, hidden))


@pytest.mark.parametrize("stationary", [True, False])
def test_profile_of_a_long_chain_by_its_two_nearest_neighbours(stationary: bool) -> None:
    """Independent route: entropy given both neighbours, times the chance that these are the nearest of m visible."""
    length, vocab = 22, 3
    transition, start = dirichlet(9, vocab, vocab), dirichlet(10, vocab)
    if stationary:
        start = np.linalg.matrix_power(transition, 200)[0]
    chain = MarkovChain(transition, start, length)
    power = [np.linalg.matrix_power(transition, d) for d in range(length)]

    def conditional_entropy(left: int, at: int, right: int) -> float:
        before = (start @ power[left])[:, None] * power[at - left] if left >= 0 else (start @ power[at])[None, :]
        after = power[right - at] if right < length else np.ones((vocab, 1))
        p = before[:, :, None] * after[None]
        return float(-(p * np.log(p / p.sum(1, keepdims=True))).sum())

    table = {
        (left, at, right): conditional_entropy(left, at, right)
        for at in range(length)
        for left in range(-1, at)
        for right in range(at + 1, length + 1)
    }
    for m in (0, 1, 2, 7, 13, 20, 21):
        value = 0.0
        for (left, _, right), entropy in table.items():
            ends = (left >= 0) + (right < length)
            between = right - left - 2
            # m of length - 1 visible: both ends are, nothing between them is, the rest lies outside.
            outside = length - 1 - ends - between
            if 0 <= m - ends <= outside:
                both = hypergeom.pmf(ends, length - 1, ends, m) if ends else 1.0
                value += both * hypergeom.pmf(0, length - 1 - ends, between, m - ends) * entropy
        assert chain.profile()[m] == pytest.approx(value / length, abs=1e-11)


@pytest.mark.parametrize("stationary", [True, False])
def test_profile_of_a_long_chain_in_blocks(stationary: bool) -> None:
    """Length 64 in blocks of 8: every set within a block, its entropies from the chain rule over matrix powers."""
    vocab, size, length = 3, 8, 64
    transition, start = dirichlet(12, vocab, vocab), dirichlet(13, vocab)
    if stationary:
        start = np.linalg.matrix_power(transition, 200)[0]
    chain = MarkovChain(transition, start, length)
    marginal = [start @ np.linalg.matrix_power(transition, at) for at in range(length)]

    @functools.cache
    def given(before: int, at: int) -> float:
        """H(X_at | X_before), and H(X_at) at before = -1."""
        if before < 0:
            return float(-(marginal[at] * np.log(marginal[at])).sum())
        power = np.linalg.matrix_power(transition, at - before)
        return float(-(marginal[before] @ (power * np.log(power)).sum(axis=1)))

    def entropy(positions: tuple[int, ...]) -> float:
        return sum(given(before, at) for before, at in itertools.pairwise((-1, *positions)))

    found = chain.profile(size)
    for block in range(0, length, size):
        earlier = (block - 1,) if block else ()  # a chain forgets what lies before its last visible token
        inside = range(block, block + size)
        means = []
        for k in range(size + 1):
            sets = list(itertools.combinations(inside, k))
            means.append(sum(entropy((*earlier, *chosen)) for chosen in sets) / len(sets))
        np.testing.assert_allclose(found[block : block + size], np.diff(means), rtol=0, atol=1e-12)
    assert found.sum() == pytest.approx(chain.entropy(), abs=1e-11)
    with pytest.raises(InputError, match="choose a divisor"):
        chain.profile(7)


def test_closed_forms_in_blocks() -> None:
    bit, parity = RepeatedBit(100), Parity(100)
    assert bit.profile(10).tolist() == [math.log(2)] + [0.0] * 99
    np.testing.assert_allclose(parity.profile(10), [math.log(2)] * 99 + [0.0], atol=1e-13)
    wide = Table(tuple(format(i, "016b") for i in range(1025)), (1.0,) * 1025)  # too much work without blocks
    assert wide.profile(4).sum() == pytest.approx(wide.entropy(), abs=1e-12)


def test_closed_forms_at_full_length() -> None:
    chain = MarkovChain.sticky(8, 0.1, 256)
    h = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1 / 7))
    assert chain.entropy() == pytest.approx(math.log(8) + 255 * h, rel=1e-13)
    profile = chain.profile()
    assert profile[0] == pytest.approx(math.log(8), abs=1e-12)
    assert profile.sum() == pytest.approx(chain.entropy(), abs=1e-10)
    assert (np.diff(profile) < 1e-12).all()
    # All others visible: an end has one neighbour, an inner position two, so H(X2 | X1, X3) = 2 h - H(X3 | X1).
    two = np.linalg.matrix_power(chain.transition, 2)[0]
    assert profile[-1] == pytest.approx((2 * h + 254 * (2 * h + float((two * np.log(two)).sum()))) / 256, abs=1e-11)
    assert RepeatedBit(100).profile().tolist() == [math.log(2)] + [0.0] * 99
    np.testing.assert_allclose(Parity(100).profile(), [math.log(2)] * 99 + [0.0], atol=1e-13)
    assert Parity(100).entropy() == pytest.approx(99 * math.log(2))


def test_whole_weights_of_a_table_add_up_without_rounding() -> None:
    """1 + 2 = 3 of 10, where 0.1 + 0.2 is not 0.3."""
    table = Table(("abb", "aba", "bab", "bbb"), (1.0, 2.0, 3.0, 4.0))
    tokens = torch.full((1, 3), table.mask_id)
    answer = table(tokens, tokens == table.mask_id)
    assert torch.equal(answer[0], answer[1])
    assert not torch.equal(answer[0], answer[2])


def test_decimals_that_almost_sum_to_one_are_scaled() -> None:
    third = [0.3333333333] * 3
    chain = MarkovChain([third] * 3, third, 6)
    mixture = Mixture([0.3333333333, 0.6666666666], [[third] * 6, [third] * 6])
    for law in (chain, mixture):
        assert law.log_prob(torch.zeros(1, 6, dtype=torch.int64)).item() == pytest.approx(-6 * math.log(3), abs=1e-14)
        assert law.entropy() == pytest.approx(6 * math.log(3), abs=1e-14)


def test_symbols() -> None:
    assert Table(("xay", "yya"), (1, 2)).symbols == "axy"
    assert MarkovChain.sticky(3, 0.5, 2).symbols == "012"
    many = MarkovChain.sticky(300, 0.5, 2).symbols
    assert len(set(many)) == 300
    assert many.startswith("0123456789abc")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Table((), ()), "distinct"),
        (lambda: Table(("",), (1.0,)), "distinct"),
        (lambda: Table(("ab", "a"), (1.0, 1.0)), "one length"),
        (lambda: Table(("ab", "ab"), (1.0, 1.0)), "distinct"),
        (lambda: Table(("ab", "ba"), (1.0,)), "one positive weight"),
        (lambda: Table(("ab", "ba"), (1.0, 0.0)), "one positive weight"),
        (lambda: Table(("ab", "ba"), (1.0, math.nan)), "one positive weight"),
        (lambda: RepeatedBit(0), "at least 1"),
        (lambda: Parity(-1), "at least 1"),
        (lambda: MarkovChain.sticky(2, 0.1, 0), "at least 1"),
        (lambda: MarkovChain.sticky(1, 0.1, 4), "2 symbols"),
        (lambda: MarkovChain.sticky(2, 1.1, 4), "flip"),
        (lambda: MarkovChain([[0.5, 0.4], [0.5, 0.5]], [0.5, 0.5], 4), "sum to 1"),
        (lambda: MarkovChain([[1.5, -0.5], [0.5, 0.5]], [0.5, 0.5], 4), "negative"),
        (lambda: MarkovChain([[math.nan, 0.5], [0.5, 0.5]], [0.5, 0.5], 4), "negative"),
        (lambda: MarkovChain([[0.5, 0.5], [0.5, 0.5]], [1.0], 4), "vocab_size"),
        (lambda: MarkovChain([0.5, 0.5], [0.5, 0.5], 4), "2 axes"),
        (lambda: Mixture([0.5, 0.5], [[[0.5, 0.5]]]), "one weight per component"),
        (lambda: Mixture([1.0], [[[0.5, 0.4]]]), "sum to 1"),
    ],
)
def test_bad_laws_are_refused(make: Callable[[], Law], told: str) -> None:
    with pytest.raises(InputError, match=told):
        make()


def test_what_cannot_be_enumerated_is_refused_with_a_remedy() -> None:
    long_table = Table(("a" * 17, "b" * 17), (1.0, 1.0))
    wide_table = Table(tuple(format(i, "016b") for i in range(1025)), (1.0,) * 1025)
    mixture = Mixture([1.0], np.full((1, 17, 2), 0.5))
    for ask in (long_table.profile, wide_table.profile, mixture.profile, mixture.entropy):
        with pytest.raises(InputError, match="use a shorter law"):
            ask()
    assert wide_table.entropy() == pytest.approx(math.log(1025))
    assert mixture.log_prob(torch.zeros(1, 17, dtype=torch.int64)).item() == pytest.approx(-17 * math.log(2))


def test_everything_exported_exists() -> None:
    assert all(hasattr(analytic, name) for name in analytic.__all__)
