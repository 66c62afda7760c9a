"""Plans whose steps follow from the predictions: their exact law, their cost, and what they do not depend on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.plans import AdaptivePlan, CapPlan, EntropyBoundPlan, QuotaPlan, ThresholdPlan
from mdm_tune.sampling.unmasking import CountPlan, Step, Unmasked, unmask
from tests.sampling.test_unmasking import small_transformer
from tests.support.helpers import CountingDenoiser, FunctionDenoiser, TableDenoiser, fit, plan, random_law, seeds, tally
from tests.support.unmasking import Rule, Unmasking, by_bound, by_cap, by_quota, by_threshold

LEVEL = 1e-4  # of each fit: a sound sampler fails one of the about 25 below with probability 3e-3
SAMPLES = 10_000
LAW = random_law(4, 3, seed=37)
M = 3
FREE = (None,) * 4
BLOCKS = [0, 1, 0, 1]


def each(value: float, rows: int) -> Tensor:
    return torch.full((rows,), value, dtype=torch.float64)


def quota(counts: list[list[int]], threshold: float, rows: int) -> QuotaPlan:
    return QuotaPlan(plan(*[counts] * rows).counts, each(threshold, rows))


def cap(counts: list[list[int]], threshold: float, rows: int) -> CapPlan:
    return CapPlan(plan(*[counts] * rows).counts, each(threshold, rows))


Case = tuple[Drawing, Callable[[int], AdaptivePlan], Rule, list[int] | None]
CASES: dict[str, Case] = {
    "threshold, confidence": (Drawing("confidence"), lambda n: ThresholdPlan(each(0.6, n)), by_threshold(0.6), None),
    "threshold, cool": (Drawing("confidence", 0.5), lambda n: ThresholdPlan(each(0.6, n)), by_threshold(0.6), None),
    "threshold, margin": (Drawing("margin"), lambda n: ThresholdPlan(each(0.3, n)), by_threshold(0.3), None),
    "threshold, blocks": (
        Drawing("top-probability"),
        lambda n: ThresholdPlan(each(0.55, n)),
        by_threshold(0.55),
        BLOCKS,
    ),
    "bound": (Drawing("entropy"), lambda n: EntropyBoundPlan(each(0.8, n)), by_bound(0.8), None),
    "bound, blocks": (Drawing("entropy"), lambda n: EntropyBoundPlan(each(0.8, n)), by_bound(0.8), BLOCKS),
    "quota": (Drawing("confidence"), lambda n: quota([[1, 0, 2, 1]], 0.5, n), by_quota([[1, 2, 1]], 0.5), None),
    "quota, blocks": (
        Drawing("top-probability"),
        lambda n: quota([[0, 1, 1], [1, 1, 0]], 0.7, n),
        by_quota([[1, 1], [1, 1]], 0.7),
        BLOCKS,
    ),
    "cap": (Drawing("confidence"), lambda n: cap([[1, 0, 3]], 0.4, n), by_cap([[1, 3]], 0.4), None),
}


def sampled(drawing: Drawing, a_plan: AdaptivePlan, blocks: list[int] | None, rows: int = SAMPLES) -> Unmasked:
    place = None if blocks is None else torch.tensor(blocks).expand(rows, -1)
    start = torch.full((rows, 4), M)
    return unmask(TableDenoiser(LAW), start, a_plan, seeds=seeds(rows), drawing=drawing, blocks=place, batch=1000)


def outcomes(result: Unmasked) -> dict[tuple[int, ...], int]:
    return tally(torch.cat([result.tokens, result.nfe[:, None]], dim=1))


@pytest.mark.parametrize("name", CASES)
def test_the_law_of_tokens_and_calls(name: str) -> None:
    drawing, made, rule, blocks = CASES[name]
    law = Unmasking(LAW, drawing.order, drawing.temperature).law(rule, FREE, blocks)
    assert math.isclose(math.fsum(law.values()), 1.0, abs_tol=1e-12)
    result = sampled(drawing, made(SAMPLES), blocks)
    assert fit(outcomes(result), law) > LEVEL
    assert result.nfe.unique().numel() > 1  # else a plan of fixed counts would do
    for extreme in (-math.inf, math.inf):  # a block at once, one position per step
        wrong = Unmasking(LAW, drawing.order, drawing.temperature).law(by_threshold(extreme), FREE, blocks)
        assert fit(outcomes(result), wrong) < LEVEL


@pytest.mark.parametrize("name", CASES)
def test_rows_do_not_depend_on_their_batch_and_have_their_own_parameters(name: str) -> None:
    drawing, made, _, _ = CASES[name]
    model, rows, length = small_transformer(), 24, 12
    rng = np.random.default_rng(0)
    tokens = torch.from_numpy(rng.integers(0, 7, (rows, length)))
    tokens[torch.from_numpy(rng.random((rows, length)) < 0.8)] = 7
    tokens[3] = 7
    tokens[5] = 2  # nothing to do
    tokens[::4, -1] = -1
    blocks = torch.from_numpy(rng.integers(0, 3, (rows, length)))
    hidden = tokens == 7
    values = torch.from_numpy(rng.random(rows) * 0.8 + 0.1)
    kind = type(made(1))
    options: dict[str, Tensor] = {"bound" if kind is EntropyBoundPlan else "threshold": values}
    if kind in (QuotaPlan, CapPlan):
        counts = torch.zeros(rows, 3, 5, dtype=torch.int64)
        for block in range(3):
            inside = (hidden & (blocks == block)).sum(1)
            counts[:, block, 1], counts[:, block, 3] = inside // 2, inside - inside // 2
        options["counts"] = counts

    def run(part: list[int], batch: int) -> Unmasked:
        some = kind(**{key: value[part] for key, value in options.items()})
        key = seeds(rows)[part]
        return unmask(model, tokens[part], some, seeds=key, drawing=drawing, blocks=blocks[part], batch=batch)

    counting = CountingDenoiser(model)
    whole = unmask(counting, tokens, kind(**options), seeds=seeds(rows), drawing=drawing, blocks=blocks)
    assert bool((whole.tokens != 7).all()) and torch.equal(whole.tokens[~hidden], tokens[~hidden])
    assert (whole.denoiser_rows, whole.denoiser_tokens) == (counting.rows, counting.tokens)
    assert int(whole.nfe[5]) == 0 and whole.nfe.unique().numel() > 3
    for part in (list(range(rows)), [7, 3, 5], [3], rng.permutation(rows).tolist()):
        for batch in (1, 5):
            again = run(part, batch)
            assert torch.equal(again.tokens, whole.tokens[part]) and torch.equal(again.nfe, whole.nfe[part])


def spread(logits: Tensor) -> FunctionDenoiser:
    """Logits (length, vocab) that depend on the position alone."""
    return FunctionDenoiser(logits.shape[1], lambda tokens, wanted: logits.expand(len(tokens), -1, -1)[wanted])


def revealed(denoiser: Any, a_plan: AdaptivePlan, length: int, drawing: Drawing, **options: Any) -> list[list[int]]:
    """The positions that each step of the only row reveals."""
    steps: list[Step] = []
    start = torch.full((1, length), denoiser.mask_id)
    unmask(denoiser, start, a_plan, seeds=seeds(1), drawing=drawing, on_step=steps.append, **options)
    return [step.revealed[0].nonzero().flatten().tolist() for step in steps]


P = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.9, 0.1], [0.5, 0.5], [1.0, 0.0], [0.9, 0.1]], dtype=torch.float64)
GREEDY = Drawing("confidence", 0.0)


@pytest.mark.parametrize(
    ("threshold", "steps"),
    [
        (0.9, [[0, 2, 4, 5], [1], [3]]),  # 0.9 reaches 0.9
        (0.91, [[4], [0], [2], [5], [1], [3]]),
        (1.0, [[4], [0], [2], [5], [1], [3]]),
        (0.6, [[0, 1, 2, 4, 5], [3]]),
        (0.5, [[0, 1, 2, 3, 4, 5]]),
        (0.0, [[0, 1, 2, 3, 4, 5]]),
        (7.0, [[4], [0], [2], [5], [1], [3]]),
    ],
)
def test_threshold_and_its_ties(threshold: float, steps: list[list[int]]) -> None:
    assert revealed(spread(P.log()), ThresholdPlan(each(threshold, 1)), 6, GREEDY) == steps


def test_blocks_are_filled_one_after_the_other() -> None:
    blocks = torch.tensor([[5, 5, 2, 2, 5, 2]])
    found = revealed(spread(P.log()), ThresholdPlan(each(0.8, 1)), 6, GREEDY, blocks=blocks)
    assert found == [[2, 5], [3], [0, 4], [1]]


def test_entropy_bound_and_its_ties() -> None:
    """Entropies ln 2, ln 2, 0, ln 2, 0: at least one, and all of none; the largest of those taken is free."""
    half, sure = [0.5, 0.5], [0.0, 1.0]
    denoiser = spread(torch.tensor([half, half, sure, half, sure], dtype=torch.float64).log())
    for bound, steps in [
        (0.0, [[0, 2, 4], [1], [3]]),
        (0.69, [[0, 2, 4], [1], [3]]),
        (math.log(2), [[0, 1, 2, 4], [3]]),
        (2 * math.log(2), [[0, 1, 2, 3, 4]]),
    ]:
        assert revealed(denoiser, EntropyBoundPlan(each(bound, 1)), 5, Drawing("entropy")) == steps


def test_quota_takes_more_where_confident_and_leaves_steps_out() -> None:
    for threshold, steps in [
        (0.95, [[0, 4], [2, 5], [1], [3]]),  # one above, fewer than 2; then the quota's best
        (0.9, [[0, 4], [2, 5], [1], [3]]),  # 0.9 does not exceed 0.9
        (0.89, [[0, 2, 4, 5], [1, 3]]),  # four above at once, then none is, and the quota is 2
        (0.59, [[0, 1, 2, 4, 5], [3]]),
        (0.0, [[0, 1, 2, 3, 4, 5]]),
    ]:
        counts = [[2, 0, 2, 1, 1]]
        assert revealed(spread(P.log()), quota(counts, threshold, 1), 6, GREEDY) == steps


def test_cap_takes_less_where_not_confident_and_goes_on_after_its_last_step() -> None:
    for counts, threshold, steps in [
        ([[0, 2, 4]], 0.0, [[0, 4], [1, 2, 3, 5]]),  # the counts
        ([[2, 2, 2]], 0.5, [[0, 4], [2, 5], [1], [3]]),  # 0.5 does not exceed 0.5
        ([[2, 2, 2]], 0.4, [[0, 4], [2, 5], [1, 3]]),
        ([[1, 5]], 0.89, [[4], [0, 2, 5], [1], [3]]),
        ([[4, 1, 1]], 0.95, [[4], [0], [2], [5], [1], [3]]),
        ([[6]], 0.5, [[0, 1, 2, 4, 5], [3]]),
        ([[1, 1, 1, 1, 2]], 1.0, [[4], [0], [2], [5], [1], [3]]),
        ([[5, 1]], 0.6, [[0, 2, 4, 5], [1], [3]]),  # the second count holds at the third step
    ]:
        assert revealed(spread(P.log()), cap(counts, threshold, 1), 6, GREEDY) == steps


@pytest.mark.parametrize("order", ["confidence", "margin"])
def test_a_cap_of_threshold_zero_is_its_counts_and_of_one_a_token_per_step(order: Any) -> None:
    """Also where a confidence is 0, as the margin of two equal probabilities is."""
    counts, rows = plan(*[[[1, 0], [0, 2]]] * 60).counts, torch.full((60, 3), M)
    options: dict[str, Any] = {
        "seeds": seeds(60),
        "drawing": Drawing(order, end_tokens=(1,), end_confident=False),
        "blocks": torch.tensor([0, 1, 1]).expand(60, -1),
    }
    model = TableDenoiser(random_law(3, 3, 5))
    fixed, free, held = (
        unmask(model, rows, a_plan, **options)
        for a_plan in (CountPlan(counts), CapPlan(counts, each(0.0, 60)), CapPlan(counts, each(1.0, 60)))
    )
    assert torch.equal(fixed.tokens, free.tokens) and torch.equal(fixed.nfe, free.nfe)
    assert fixed.denoiser_rows == free.denoiser_rows and held.nfe.tolist() == [3] * 60


@pytest.mark.parametrize("order", ["confidence", "margin", "top-probability"])
def test_a_quota_that_nothing_exceeds_is_its_counts(order: Any) -> None:
    counts = plan(*[[[1, 0], [1, 1]]] * 200).counts
    blocks = torch.tensor([0, 1, 1]).expand(200, -1)
    found = [
        unmask(
            TableDenoiser(random_law(3, 3, 5)),
            torch.full((200, 3), M),
            a_plan,
            seeds=seeds(200),
            drawing=Drawing(order),
            blocks=blocks,
        )
        for a_plan in (CountPlan(counts), QuotaPlan(counts, each(1.0, 200)))
    ]
    assert torch.equal(found[0].tokens, found[1].tokens) and torch.equal(found[0].nfe, found[1].nfe)
    assert found[0].denoiser_rows == found[1].denoiser_rows


def test_a_reference_is_priced_along_an_adaptive_path() -> None:
    """-log q sums to one over all sequences, as for fixed counts, and is the price of the path that is taken."""
    reference = torch.cartesian_prod(*[torch.arange(3)] * 4)
    for a_plan, order in [(ThresholdPlan(each(0.3, 81)), "margin"), (EntropyBoundPlan(each(0.8, 81)), "entropy")]:
        result = unmask(
            TableDenoiser(LAW),
            torch.full((81, 4), M),
            a_plan,
            seeds=seeds(81),
            drawing=Drawing(order),  # type: ignore[arg-type]
            reference=reference,
        )
        assert result.nll is not None and result.nfe.unique().numel() > 1
        assert abs(float(torch.exp(-result.nll).sum()) - 1) < 1e-12
        rule = by_threshold(0.3) if order == "margin" else by_bound(0.8)
        law = Unmasking(LAW, order).law(rule, FREE)
        for row, nll, nfe in zip(reference.tolist(), result.nll.tolist(), result.nfe.tolist(), strict=True):
            assert math.isclose(law[(*row, nfe)], math.exp(-nll), rel_tol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_rows_stop_after_the_step_with_which_they_have_made_more_than_the_most_calls(name: str) -> None:
    """The steps until then are those of a run to the end."""
    drawing, made, _, blocks = CASES[name]
    place = None if blocks is None else torch.tensor(blocks).expand(50, -1)
    states: list[Tensor] = []

    def run(most: float) -> Unmasked:
        denoiser, start = CountingDenoiser(TableDenoiser(LAW)), torch.full((50, 4), M)
        states.clear()
        result = unmask(
            denoiser,
            start,
            made(50),
            seeds=seeds(50),
            drawing=drawing,
            blocks=place,
            on_step=lambda step: states.append(step.tokens),
            most_calls=most,
        )
        assert result.denoiser_rows == denoiser.rows
        return result

    whole = run(math.inf)
    calls, after = whole.nfe, [*states]
    for most in (-1.0, 0.0, 49.0, 50.0, 70.5, float(calls.sum()) - 1, float(calls.sum())):
        result = run(most)
        steps = next((end for end in range(6) if int(calls.clamp(max=end).sum()) > most), int(calls.max()))
        assert result.nfe.tolist() == calls.clamp(max=steps).tolist() and len(states) == steps
        assert result.tokens.tolist() == (after[steps - 1] if steps else torch.full((50, 4), M)).tolist()


def test_nothing_to_do_costs_nothing() -> None:
    for a_plan in (ThresholdPlan(each(0.5, 1)), QuotaPlan(torch.zeros(1, 1, 0, dtype=torch.int64), each(0.5, 1))):
        full = unmask(TableDenoiser(LAW), torch.zeros(1, 4, dtype=torch.int64), a_plan, seeds=seeds(1), drawing=GREEDY)
        assert (int(full.nfe), full.denoiser_rows) == (0, 0)


@pytest.mark.parametrize(
    ("a_plan", "drawing", "message"),
    [
        (ThresholdPlan(each(0.5, 2)), Drawing(), "a threshold needs the order 'confidence' or .*, got 'random'"),
        (ThresholdPlan(each(0.5, 2)), Drawing("entropy"), "a threshold needs the order"),
        (EntropyBoundPlan(each(0.5, 2)), Drawing("margin"), "a bound needs the order 'entropy', got 'margin'"),
        (ThresholdPlan(each(0.5, 3)), GREEDY, r"threshold must be \(2,\), one number per row"),
        (ThresholdPlan(each(-0.1, 2)), GREEDY, "threshold must be .* at least 0"),
        (ThresholdPlan(each(math.nan, 2)), GREEDY, "threshold must be .* finite"),
        (EntropyBoundPlan(each(math.inf, 2)), Drawing("entropy"), "bound must be .* finite"),
        (cap([[1, 2]], 0.5, 2), GREEDY, r"must sum to its masked positions, got \[3\] for \[4\]"),
        (cap([[1, 3]], 0.5, 2), Drawing("entropy"), "a threshold needs the order"),
        (quota([[1, 2]], 0.5, 2), GREEDY, r"must sum to its masked positions, got \[3\] for \[4\]"),
        (
            ThresholdPlan(each(0.5, 2)),
            Drawing("confidence", confidence_temperature=0.5),
            "confidence_temperature must be 0, got 0.5",
        ),
    ],
)
def test_refused(a_plan: AdaptivePlan, drawing: Drawing, message: str) -> None:
    with pytest.raises(InputError, match=message):
        unmask(TableDenoiser(LAW), torch.full((2, 4), M), a_plan, seeds=seeds(2), drawing=drawing)
