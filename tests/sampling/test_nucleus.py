"""Top-p, positions drawn by their confidence, and scores read after temperature and top-p."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mdm_tune.core import seeding
from mdm_tune.core.errors import InputError
from mdm_tune.core.seeding import noise
from mdm_tune.sampling.drawing import Drawing, draw_tokens, scattered
from mdm_tune.sampling.unmasking import RevealPlan, Step, Unmasked, unmask
from tests.sampling.test_unmasking import mixed, small_transformer
from tests.support.enumeration import Law, total_variation
from tests.support.helpers import FunctionDenoiser, TableDenoiser, fit, random_law, same_plan, seeds, tally
from tests.support.unmasking import Unmasking, by_chance, by_counts

LEVEL = 1e-4  # of each fit: a sound sampler fails one of the about 20 below with probability 2e-3
CLEAR = 0.06  # a total variation that must be seen in this many samples
SAMPLES = 20_000
LAW = random_law(4, 3, seed=37)
M = 3
COUNTS = [1, 2, 1]


def kept(p: list[float], top_p: float, temperature: float = 1.0) -> list[int]:
    """The tokens that can be drawn, found by drawing at the middle of very many equal parts."""
    log_p = torch.tensor(p, dtype=torch.float64).log()
    uniform = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    return sorted(set(draw_tokens(log_p.expand(4000, -1), uniform, temperature, top_p).tolist()))


@pytest.mark.parametrize(
    ("p", "top_p", "tokens"),
    [
        ([0.5, 0.4, 0.1], 0.5, [0]),
        ([0.5, 0.4, 0.1], 0.51, [0, 1]),
        ([0.5, 0.4, 0.1], 0.9, [0, 1]),  # 0.9 reaches 0.9
        ([0.5, 0.4, 0.1], 0.91, [0, 1, 2]),
        ([0.1, 0.3, 0.6], 1e-9, [2]),  # the best is always kept
        ([0.1, 0.3, 0.6], 1e-12, [2]),  # as little as rounding may take away
        ([0.1, 0.3, 0.6], 5e-324, [2]),  # the smallest number above 0
        ([0.2, 0.3, 0.2, 0.3], 0.55, [1, 3]),
        ([0.2, 0.3, 0.2, 0.3], 0.7, [0, 1, 3]),  # ties to the lower id
        ([0.25, 0.25, 0.25, 0.25], 0.5, [0, 1]),
        ([0.25, 0.25, 0.25, 0.25], 1.0, [0, 1, 2, 3]),
        ([0.0, 1.0, 0.0], 0.999, [1]),
    ],
)
def test_the_nucleus(p: list[float], top_p: float, tokens: list[int]) -> None:
    assert kept(p, top_p) == tokens


def test_the_nucleus_is_cut_at_the_temperature_used() -> None:
    p = [0.5, 0.3, 0.2]  # at 0.5 it is 0.66, 0.24, 0.11 and at 2 it is 0.42, 0.32, 0.26
    assert kept(p, 0.65) == [0, 1] and kept(p, 0.65, 0.5) == [0] and kept(p, 0.8, 2.0) == [0, 1, 2]
    assert kept(p, 0.8) == [0, 1]


def test_the_nucleus_of_random_predictions() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        p = rng.dirichlet(np.full(7, 0.5)) + 0.01
        p /= p.sum()
        top_p = rng.uniform(0.05, 1.0)
        best = sorted(range(7), key=lambda token: -p[token])
        size = next(n for n in range(1, 8) if p[best[:n]].sum() >= top_p - 1e-12)
        assert kept(p.tolist(), top_p) == sorted(best[:size])


def test_a_drawn_token_has_its_share_of_the_nucleus() -> None:
    p = torch.tensor([0.3, 0.05, 0.4, 0.25], dtype=torch.float64)
    uniform = torch.from_numpy(np.random.default_rng(1).random(SAMPLES))
    drawn = draw_tokens(p.log().expand(SAMPLES, -1), uniform, 1.0, 0.9)
    assert fit(tally(drawn[:, None]), {(0,): 0.3 / 0.95, (2,): 0.4 / 0.95, (3,): 0.25 / 0.95}) > LEVEL


def observed(drawing: Drawing, table: Any = LAW, counts: Sequence[int] = COUNTS) -> dict[tuple[int, ...], int]:
    start, a_plan = torch.full((SAMPLES, table.ndim), M), same_plan(counts, SAMPLES)
    key = seeds(SAMPLES)
    return tally(unmask(TableDenoiser(table), start, a_plan, seeds=key, drawing=drawing, batch=1000).tokens)


def exact(
    order: str, temperature: float, table: Any = LAW, counts: Sequence[int] = COUNTS, share: float = 0.0, **options: Any
) -> Law:
    """The law of tokens; share: the confidence temperature."""
    rule = by_chance([counts], share) if share else by_counts([counts])
    calls = Unmasking(table, order, temperature, **options).law(rule, (None,) * table.ndim)
    return {outcome[:-1]: probability for outcome, probability in calls.items()}


@pytest.mark.parametrize(
    ("order", "temperature"),
    [("confidence", 1.0), ("confidence", 0.5), ("margin", 1.0), ("entropy", 2.0), ("top-probability", 1.0)],
)
def test_the_law_of_samples_with_top_p(order: Any, temperature: float) -> None:
    found = observed(Drawing(order, temperature, top_p=0.7))
    assert fit(found, exact(order, temperature, top_p=0.7)) > LEVEL
    for wrong in (exact(order, temperature), exact(order, temperature, top_p=0.4)):
        assert fit(found, wrong) < LEVEL


@pytest.mark.parametrize("order", ["confidence", "margin", "entropy", "top-probability"])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_the_law_of_positions_drawn_by_their_confidence(order: Any, share: float) -> None:
    found = observed(Drawing(order, confidence_temperature=share))
    law = exact(order, 1.0, share=share)
    assert fit(found, law) > LEVEL
    for other in (0.0, 0.03, 0.1, 1.0):
        wrong = exact(order, 1.0, share=other)
        if total_variation(law, wrong) > CLEAR:
            assert fit(found, wrong) < LEVEL
    assert total_variation(law, exact(order, 1.0)) > CLEAR


def test_positions_are_drawn_anew_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that is kept for the next step gives another law where confidence follows the context closely."""

    def kept(seeds: NDArray[np.uint64], purpose: str, step: Any, length: int) -> NDArray[np.float64]:
        return noise(seeds, purpose, 0 if purpose == "order" else step, length)

    table = random_law(4, 2, seed=8, spread=3.0)
    law = exact("confidence", 1.0, table, share=0.3)
    drawing = Drawing("confidence", confidence_temperature=0.3)
    start, a_plan = torch.full((SAMPLES, 4), 2), same_plan(COUNTS, SAMPLES)
    for way, sound in ((noise, True), (kept, False)):
        monkeypatch.setattr(seeding, "noise", way)
        result = unmask(TableDenoiser(table), start, a_plan, seeds=seeds(SAMPLES), drawing=drawing, batch=1000)
        assert (fit(tally(result.tokens), law) > LEVEL) == sound


def test_a_position_that_comes_last_does_so_however_it_is_drawn() -> None:
    uniform = torch.from_numpy(np.random.default_rng(0).random(1000))
    scores = torch.zeros(1000, dtype=torch.float64)
    scores[::2] = -torch.inf
    for order in ("confidence", "entropy"):
        found = scattered(Drawing(order, confidence_temperature=5.0), scores, uniform)  # type: ignore[arg-type]
        assert bool((found[::2] == -torch.inf).all()) and bool(torch.isfinite(found[1::2]).all())


@pytest.mark.parametrize(
    ("order", "top_p", "seed"),
    [("confidence", 0.8, 2), ("entropy", 0.6, 22), ("top-probability", 0.6, 22), ("margin", 0.6, 2)],
)
def test_scores_after_temperature_and_top_p(order: Any, top_p: float, seed: int) -> None:
    """On these laws of three letters, scores that are read earlier, or before top-p alone, give another law."""
    table, counts = random_law(3, 3, seed), [1, 1, 1]
    found = observed(Drawing(order, 2.0, top_p=top_p, tempered_scores=True), table, counts)
    assert fit(found, exact(order, 2.0, table, counts, top_p=top_p, tempered_scores=True)) > LEVEL
    assert fit(found, exact(order, 2.0, table, counts, top_p=top_p)) < LEVEL
    assert fit(found, exact(order, 2.0, table, counts, tempered_scores=True)) < LEVEL


def test_tempered_scores_at_temperature_zero_are_cut_as_predicted() -> None:
    """As Dream does: the first is surer before the cut (0.6 against 0.55), the second after it (0.67 against 0.69)."""
    p = torch.tensor([[0.6, 0.3, 0.1], [0.55, 0.25, 0.2]], dtype=torch.float64)
    denoiser = FunctionDenoiser(3, lambda tokens, wanted: p.log().expand(len(tokens), 2, 3)[wanted])
    start, a_plan = torch.full((1, 2), 3), same_plan([1, 1], 1)
    for tempered in (False, True):
        drawing = Drawing("confidence", 0.0, top_p=0.8, tempered_scores=tempered)
        steps: list[Step] = []
        unmask(denoiser, start, a_plan, seeds=seeds(1), drawing=drawing, on_step=steps.append)
        assert steps[0].revealed.tolist() == [[not tempered, tempered]]


def test_ancestral_reveal_draws_from_the_nucleus() -> None:
    alphas = torch.tensor([[0.0, 0.3, 1.0]], dtype=torch.float64).expand(200, -1)
    p = torch.tensor([0.1, 0.5, 0.4], dtype=torch.float64)
    denoiser = FunctionDenoiser(3, lambda tokens, wanted: p.log().expand(int(wanted.sum()), 3))
    start = torch.full((200, 5), 3)
    result = unmask(denoiser, start, RevealPlan(alphas), seeds=seeds(200), drawing=Drawing(top_p=0.9))
    assert set(result.tokens.flatten().tolist()) == {1, 2}


DRAWINGS = [
    Drawing("confidence", 0.7, top_p=0.8, confidence_temperature=0.3),
    Drawing("entropy", 0.7, top_p=0.8, confidence_temperature=0.3, tempered_scores=True),
    Drawing("random", top_p=0.6),
    Drawing("confidence", end_tokens=(2, 5), end_confident=False),
    Drawing("margin", end_tokens=(2, 5), end_drawn=False, end_confident=False),
]


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_tokens_do_not_depend_on_the_batch(drawing: Drawing) -> None:
    batch, model = mixed(24, 12, 7, blocks=2, seed=4), small_transformer()

    def run(rows: list[int], size: int) -> Unmasked:
        part = batch.pick(rows)
        return unmask(
            model,
            part.tokens,
            part.plan("count"),
            seeds=part.seeds,
            drawing=drawing,
            blocks=part.blocks,
            batch=size,
        )

    whole = run(list(range(24)), 128)
    for rows in (list(range(24)), [7, 3, 5], np.random.default_rng(0).permutation(24).tolist()):
        for size in (1, 5):
            again = run(rows, size)
            assert torch.equal(again.tokens, whole.tokens[rows]) and torch.equal(again.nfe, whole.nfe[rows])


def test_steps_that_reveal_nothing_shift_no_noise() -> None:
    drawing = Drawing("margin", confidence_temperature=0.5)
    start = torch.full((30, 4), M)
    dense, sparse = (
        unmask(TableDenoiser(LAW), start, same_plan(counts, 30), seeds=seeds(30), drawing=drawing).tokens
        for counts in ([1, 2, 1], [0, 1, 0, 2, 0, 1])
    )
    assert torch.equal(dense, sparse)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0.0"),
        ({"top_p": 1.1}, "top_p must be .*, got 1.1"),
        ({"top_p": math.nan}, "top_p must be .*, got nan"),
        ({"confidence_temperature": 0.5, "order": "random"}, "confidence_temperature above 0 needs an order"),
        ({"tempered_scores": True, "order": "random"}, "tempered_scores = True needs an order that ranks"),
    ],
)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Drawing(**{"order": "confidence", **options})


def test_positions_drawn_by_chance_have_no_likelihood() -> None:
    start = torch.full((1, 4), M)
    with pytest.raises(InputError, match=r"likelihood of a reference .* got confidence_temperature = 0\.5"):
        unmask(
            TableDenoiser(LAW),
            start,
            same_plan([4], 1),
            seeds=seeds(1),
            drawing=Drawing("margin", confidence_temperature=0.5),
            reference=torch.zeros_like(start),
        )


def test_top_p_prices_nothing() -> None:
    """A reference is priced as predicted, whatever tokens would have been drawn."""
    reference = torch.tensor(list(itertools.product(range(3), repeat=4)))
    start, a_plan = torch.full_like(reference, M), same_plan([2, 2], 81)
    found = [
        unmask(TableDenoiser(LAW), start, a_plan, seeds=seeds(81), drawing=drawing, reference=reference).nll
        for drawing in (Drawing("margin"), Drawing("margin", top_p=0.3))
    ]
    assert found[0] is not None and found[1] is not None and torch.equal(found[0], found[1])
