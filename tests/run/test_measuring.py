"""The measured profile against exact profiles, enumeration and hand calculation; its masks, its cost, its refusals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm
from torch import Tensor

from mdm_tune.denoisers.analytic import Law, MarkovChain, Mixture, Parity, RepeatedBit
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.evaluation.profile_choice import prices_of
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run import measuring as module
from mdm_tune.run.measuring import PointMeasured, measure_profile
from mdm_tune.schedules.profile import Profile
from tests.support.helpers import CountingDenoiser, FunctionDenoiser, sampler_of, seeds
from tests.support.laws import dirichlet, subset_entropy
from tests.support.recursion import table_of

FALSE_ALARM = 1e-4  # of each statistical test as a whole; the seeds are fixed


def start_of(denoiser: Denoiser, originals: Tensor, prompt: tuple[int, ...] = ()) -> Tensor:
    start = torch.full_like(originals, denoiser.mask_id)
    start[:, list(prompt)] = originals[:, list(prompt)]
    return start


def measured(
    law: Law, examples: int, points: int, block_length: int | None = None, prompt: tuple[int, ...] = ()
) -> Profile:
    originals = law.sample(examples, 5)
    start = start_of(law, originals, prompt)
    return measure_profile(
        law, start, originals, seeds(examples), examples=examples, points=points, block_length=block_length
    )


def check_against(profile: Profile, exact: np.ndarray) -> None:
    """z-scores of all nodes; a node at which all examples agree must be right to rounding."""
    off = profile.mean - exact[profile.revealed]
    sure = profile.stderr < 1e-12
    np.testing.assert_allclose(off[sure], 0, atol=1e-12)
    z = np.abs(off[~sure] / profile.stderr[~sure])
    assert z.size == 0 or z.max() < norm.isf(FALSE_ALARM / 2 / z.size)


LAWS = [
    (table_of(1, 4, 3), None),
    (table_of(2, 4, 3), 2),
    (table_of(3, 6, 2), 3),
    (table_of(4, 4, 2), 1),
    (table_of(5, 4, 3), 4),
    (MarkovChain(dirichlet(1, 3, 3), dirichlet(2, 3), 12), None),
    (MarkovChain(dirichlet(1, 3, 3), dirichlet(2, 3), 12), 4),
    (MarkovChain.sticky(2, 0.05, 32), None),
    (Mixture(dirichlet(3, 3), dirichlet(4, 3, 6, 2)), 2),
    (Parity(6), None),
    (RepeatedBit(6), 3),
]


@pytest.mark.parametrize(("law", "block_length"), LAWS, ids=lambda value: getattr(type(value), "__name__", None))
def test_the_measured_profile_is_that_of_the_law(law: Law, block_length: int | None) -> None:
    profile = measured(law, 1500, law.length, block_length)
    assert profile.revealed.tolist() == list(range(law.length))
    assert (profile.length, profile.block_length) == (law.length, block_length or law.length)
    assert profile.values.shape == (1500, law.length) and not profile.exact and profile.precision is None
    check_against(profile, law.profile(block_length))
    # A law is calibrated: what it expects to lose is what it loses, on average.
    assert profile.entropies is not None and profile.entropies.shape == profile.values.shape
    check_against(replace(profile, values=profile.entropies), law.profile(block_length))


@pytest.mark.parametrize("block_length", [None, 8])
def test_the_steady_curve_is_closer_to_the_law(block_length: int | None) -> None:
    """Summed squared errors over 10 draws of 64 examples."""
    law = MarkovChain.sticky(2, 0.05, 32)
    exact, error = law.profile(block_length), np.zeros(2)
    for seed in range(10):
        originals = law.sample(64, seed)
        noise_of = seeds(64, 64 * seed)
        profile = measure_profile(
            law, start_of(law, originals), originals, noise_of, examples=64, points=32, block_length=block_length
        )
        error += [((curve - exact) ** 2).sum() for curve in (profile.smoothed, profile.curve)]
    assert error[0] < 0.8 * error[1]


def own(m: int, size: int, length: int) -> int:
    """What a row of another length shows at node m: the same share, and all but one of its tokens at the last node."""
    return size - 1 if m == length - 1 else min(round(m * size / length), size - 1)


def test_entropies_are_those_of_the_predictions() -> None:
    """Whatever the data are: by hand for a loss that depends on how many tokens are visible."""
    sizes = [4, 8, 12]
    profile = measure_profile(loss_by_visible(lambda v: 2 / (1 + v)), *padded(sizes), seeds(3), examples=3, points=8)
    assert profile.entropies is not None
    for row, size in enumerate(sizes):
        for m in range(8):
            p = math.exp(-2 / (1 + own(m, size, 8)))
            expected = -(p * math.log(p) + (1 - p) * math.log(1 - p))
            assert profile.entropies[row, m] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("prompt", "block_length"), [((0, 3), None), ((2,), None), ((1, 4), 2), ((5,), 1)])
def test_a_prompt_stays_visible(prompt: tuple[int, ...], block_length: int | None) -> None:
    """Against entropies given the prompt, over all sets of the hidden positions; blocks divide the hidden ones."""
    law = table_of(6, 6, 2)
    hidden = [at for at in range(6) if at not in prompt]
    size = block_length or len(hidden)
    exact = []
    for first in range(0, len(hidden), size):
        known, inside = (*prompt, *hidden[:first]), hidden[first : first + size]
        for k in range(size):
            pairs = [(at, seen) for at in inside for seen in itertools.combinations(set(inside) - {at}, k)]
            gains = [subset_entropy(law, (*known, *s, at)) - subset_entropy(law, (*known, *s)) for at, s in pairs]
            exact.append(sum(gains) / len(gains))
    profile = measured(law, 2000, 6, block_length, prompt)
    assert profile.length == len(hidden) and profile.revealed.tolist() == list(range(len(hidden)))
    check_against(profile, np.array(exact))


def loss_by_visible(loss: Callable[[Tensor], Tensor]) -> FunctionDenoiser:
    """Token 0 costs loss(v) nats wherever v tokens of the row are visible, prompt included, padding not."""

    def logits(tokens: Tensor, wanted: Tensor) -> Tensor:
        visible = ((tokens >= 0) & (tokens < 2)).sum(1)
        log_p = -loss(visible[wanted.nonzero()[:, 0]].double())
        return torch.stack([log_p, torch.log1p(-log_p.exp())], dim=1)

    return FunctionDenoiser(2, logits)


def padded(sizes: list[int], prompt: int = 0) -> tuple[Tensor, Tensor]:
    """(start, originals): rows of zeros with ``prompt`` visible tokens and so many hidden ones, then padding."""
    start = torch.full((len(sizes), prompt + max(sizes)), -1)
    for row, size in enumerate(sizes):
        start[row, :prompt], start[row, prompt : prompt + size] = 0, 2
    return start, torch.where(start == 2, 0, start)


def test_nats_per_token_are_those_of_the_tokens_whatever_their_rows() -> None:
    """Every token weighs the same, and neither the length of the curve nor the rows' mean scales anything."""
    sizes, prompt, told = [4, 8, 12, 1, 15], 3, {}
    start, originals = padded(sizes, prompt)

    def keep(event: PointMeasured) -> None:
        told[event.revealed] = event.loss

    for length in (8, 5, 20):
        found = measure_profile(
            loss_by_visible(lambda v: 2 / (1 + v)),
            *(start, originals, seeds(5)),
            examples=5,
            points=length,
            length=length,
            notify=keep,
        )
        assert found.length == length and found.revealed.tolist() == list(range(length))
        losses = np.array([[2 / (1 + prompt + own(m, size, length)) for m in range(length)] for size in sizes])
        np.testing.assert_allclose(found.values, losses, atol=1e-12)
        mean = np.array(sizes) @ losses / sum(sizes)
        np.testing.assert_allclose(found.mean, mean, atol=1e-12)
        np.testing.assert_allclose(found.curve, mean, atol=1e-12)
        assert [told[m] for m in range(length)] == pytest.approx(found.mean.tolist(), abs=1e-12)  # the live lines
        residuals = np.array(sizes)[:, None] * (losses - mean) / np.mean(sizes)
        np.testing.assert_allclose(found.stderr, residuals.std(axis=0, ddof=1) / math.sqrt(5), atol=1e-12)


def test_rows_of_different_length_are_priced_by_their_own_counts() -> None:
    """Each row is filled by counts of its own length; its price is the sum of their losses, token by token."""
    sizes = [4, 8, 12, 16, 8, 12, 3, 16]
    start, originals = padded(sizes)
    profile = measure_profile(
        loss_by_visible(lambda v: 2 / (1 + v)), start, originals, seeds(8), examples=8, points=16, length=16
    )
    sampler = sampler_of(batch=4)
    for counts in ((5, 5, 6), (1, 2, 3, 4, 6), (1,) * 16, (16,)):
        setting = Setting(name="x", steps=len(counts), length=16, counts=counts)
        expected = []
        for size in sizes:
            cumulative = 0
            expected.append(0.0)
            for count in setting.counts_for(size, "one-per-step"):
                expected[-1] += count * 2 / (1 + cumulative)
                cumulative += count
        assert prices_of(profile, setting, sampler) == pytest.approx(expected)
    assert profile.prices_by_size(np.ones) == pytest.approx([sum(2 / (1 + v) for v in range(size)) for size in sizes])
    assert profile.scale == pytest.approx(np.mean(sizes) / 16)


def identified(length: int, rows: int, prompt: bool) -> tuple[CountingDenoiser, Tensor, Tensor]:
    """Rows told apart by position 0, which holds the row's number; the prediction depends on what is visible."""

    def logits(tokens: Tensor, wanted: Tensor) -> Tensor:
        visible = ((tokens >= 0) & (tokens < rows)).sum(1)[wanted.nonzero()[:, 0]]
        return torch.arange(rows) * (visible[:, None] + 1) * 1e-3

    originals = torch.arange(rows)[:, None].repeat(1, length)
    denoiser = FunctionDenoiser(rows, logits)
    return CountingDenoiser(denoiser), start_of(denoiser, originals, (0,) if prompt else ()), originals


@pytest.mark.parametrize("block_length", [None, 8, 4, 1])
def test_masks_are_nested_and_later_blocks_stay_masked(block_length: int | None) -> None:
    length, size, rows = 17, block_length or 16, 6
    counting, start, originals = identified(length, rows, prompt=True)
    measure_profile(counting, start, originals, seeds(rows), examples=rows, points=16, block_length=block_length)
    masks: dict[int, dict[int, set[int]]] = {row: {} for row in range(rows)}
    for tokens, wanted in counting.calls:
        for row, asked in zip(tokens.tolist(), wanted.tolist(), strict=True):
            visible = {at for at in range(1, length) if row[at] != rows}
            assert row[0] < rows and all(row[at] == row[0] for at in visible)  # the prompt is there, tokens are its own
            assert masks[row[0]].setdefault(len(visible), visible) == visible
            block = len(visible) // size
            inside = set(range(1 + block * size, 1 + (block + 1) * size))
            assert set(range(1, 1 + block * size)) <= visible <= set(range(1, 1 + (block + 1) * size))
            assert {at for at, want in enumerate(asked) if want} == inside - visible
    orders = set()
    for by_size in masks.values():
        assert sorted(by_size) == list(range(16))
        assert all(by_size[m] < by_size[m + 1] for m in range(15))
        orders.add(tuple(min(by_size[m + 1] - by_size[m]) for m in range(15)))
    assert len(orders) == (1 if block_length == 1 else rows)  # each row has an order of its own


def test_masks_are_uniform() -> None:
    """How often each of 5 hidden positions is the first and the last to be seen, over 1000 neighbouring seeds."""
    counting, start, originals = identified(6, 1000, prompt=True)
    measure_profile(counting, start, originals, seeds(1000), examples=1000, points=5, batch=5000)
    for visible, expected in ((1, 0.2), (4, 0.8)):
        tokens = next(tokens for tokens, _ in counting.calls if int((tokens[0, 1:] != 1000).sum()) == visible)
        count = (tokens[:, 1:] != 1000).sum(0).numpy()
        chance = binom(1000, expected)
        assert np.minimum(chance.cdf(count), chance.sf(count - 1)).min() > FALSE_ALARM / 20


@pytest.mark.parametrize("prompt", [False, True])
def test_cost_is_what_the_denoiser_saw(prompt: bool) -> None:
    """Distinct rows alone are asked: without a prompt all are the same row as long as nothing is visible."""
    examples, points = 12, 6
    counting, start, originals = identified(20, examples, prompt)
    events: list[PointMeasured] = []
    profile = measure_profile(
        counting, start, originals, seeds(examples), examples=examples, points=points, notify=events.append
    )
    assert profile.denoiser_rows == counting.rows and profile.denoiser_tokens == counting.tokens == 20 * counting.rows
    blank = [tokens for tokens, _ in counting.calls if not bool((tokens[:, 1:] != examples).any())]
    assert blank and all(len(tokens) == (examples if prompt else 1) for tokens in blank)
    assert all(len(tokens.unique(dim=0)) == len(tokens) for tokens, _ in counting.calls)
    once = points * examples if prompt else 1 + (points - 1) * examples
    assert profile.denoiser_rows == once
    assert profile.seconds > 0
    # Every point is told once, when it is measured.
    assert sorted(event.revealed for event in events) == profile.revealed.tolist()
    assert [event.points for event in events] == list(range(1, points + 1))
    losses = {event.revealed: event.loss for event in events}
    assert [losses[m] for m in profile.revealed.tolist()] == pytest.approx(profile.mean.tolist())
    assert all(event.examples == examples for event in events)


def test_padding_costs_nothing() -> None:
    counting = CountingDenoiser(loss_by_visible(lambda v: 2 / (1 + v)))
    profile = measure_profile(counting, *padded([4, 9, 2]), seeds(3), examples=3, points=3)
    assert profile.denoiser_tokens == counting.tokens < 9 * profile.denoiser_rows
    assert profile.denoiser_rows == counting.rows


def test_the_batch_changes_nothing() -> None:
    law = MarkovChain.sticky(2, 0.1, 16)
    originals = law.sample(40, 1)
    args = (law, start_of(law, originals), originals, seeds(40))
    found = [measure_profile(*args, examples=40, points=7, batch=batch) for batch in (1, 7, 40, 128)]
    for profile in found[1:]:
        np.testing.assert_array_equal(profile.values, found[0].values)
        np.testing.assert_array_equal(profile.revealed, found[0].revealed)
        assert profile.denoiser_rows == found[0].denoiser_rows


def test_the_first_examples_do_not_depend_on_the_others() -> None:
    law = MarkovChain.sticky(2, 0.1, 16)
    originals = law.sample(40, 1)
    few = measure_profile(law, start_of(law, originals[:10]), originals[:10], seeds(10), examples=10, points=6)
    many = measure_profile(law, start_of(law, originals), originals, seeds(40), examples=10, points=6)
    np.testing.assert_array_equal(many.values, few.values)
    assert many.revealed.tolist() == few.revealed.tolist() and many.denoiser_rows == few.denoiser_rows
    every = measure_profile(law, start_of(law, originals), originals, seeds(40), examples=40, points=16)
    common = np.searchsorted(every.revealed, few.revealed)
    np.testing.assert_array_equal(every.values[:10, common], few.values)


def test_one_hidden_position_needs_no_look() -> None:
    profile = measured(RepeatedBit(1), 4, 2)
    assert profile.revealed.tolist() == [0] and profile.curve == pytest.approx([math.log(2)])


def test_everything_exported_exists() -> None:
    assert all(hasattr(module, name) for name in module.__all__)
