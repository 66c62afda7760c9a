"""The one unmasking loop: a plan says how many positions each step reveals, an order says which.

Time runs from every token masked (t = 0) to data (t = 1). The loop never sees a schedule, only the plan made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.denoisers.asking import Asker
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.drawing import ORDERS, Order, draw_tokens, order_score, top
from mdm_tune.errors import InputError
from mdm_tune.seeding import noise

__all__ = ["CountPlan", "Plan", "RevealPlan", "Step", "Unmasked", "check_call", "unmask"]


@dataclass(frozen=True)
class CountPlan:
    """Fixed counts: step i of block b reveals ``counts[row, b, i]`` positions of that block.

    counts (rows, blocks, steps) int64, each at least 0; every block's counts sum to its masked positions.
    """

    counts: Tensor


@dataclass(frozen=True)
class RevealPlan:
    """Ancestral (bernoulli) reveal on a grid of the mask schedule.

    alphas (rows, steps + 1) float64, from 0 up to 1; a masked position is revealed at step i with probability
    (alpha_{i+1} - alpha_i) / (1 - alpha_i), independently of all others.
    """

    alphas: Tensor


Plan = CountPlan | RevealPlan


@dataclass(frozen=True)
class Step:
    """What ``on_step`` is shown: the step's number from 0, tokens and newly revealed positions, both (rows, length)."""

    number: int
    tokens: Tensor
    revealed: Tensor


@dataclass(frozen=True)
class Unmasked:
    """Tokens and what they cost.

    tokens (rows, length) int64. nll (rows,) float64: -log probability of the reference, in nats; None without one.
    nfe (rows,) int64: denoiser calls that the row waited for. denoiser_rows: sequence forwards, identical rows of a
    step counted once. denoiser_tokens: their positions, padding left out.
    """

    tokens: Tensor
    nll: Tensor | None
    nfe: Tensor
    denoiser_rows: int
    denoiser_tokens: int


def unmask(
    denoiser: Denoiser,
    tokens: Tensor,
    plan: Plan,
    *,
    seeds: NDArray[np.uint64],
    order: Order = "random",
    temperature: float = 1.0,
    blocks: Tensor | None = None,
    batch: int = 128,
    reference: Tensor | None = None,
    on_step: Callable[[Step], None] | None = None,
    first_row: int = 0,
) -> Unmasked:
    """Fill the masked positions of every row in the steps of its plan.

    tokens (rows, length) int64: ``mask_id`` where hidden, -1 at padding, anything else is prompt and never changes.
    seeds (rows,) uint64: all randomness of a row. order: ``random``, ``confidence`` (probability of the drawn token),
    or by the predictions alone ``top-probability``, ``margin``, ``entropy``; all are read at temperature 1, and ties go
    to the lowest position. temperature: of the drawn tokens, 0 is argmax. blocks (rows, length) int64: the block of
    each masked position, filled in ascending order; None is one block. batch: rows per denoiser call at most.
    reference (rows, length): reveal these tokens in place of drawn ones and add up their -log probability at
    temperature 1; that is -log q(reference) for the orders that look at predictions alone, and an unbiased estimate of
    the NELBO for random order and ancestral reveal. first_row: the number of the first row in messages, where these
    rows are part of more.

    Raises InputError when plan, order and tokens do not fit together, RunError when the denoiser returns NaN, +inf, a
    row without a finite logit, or a wrong shape.
    """
    check_call(
        tokens,
        plan,
        seeds=seeds,
        order=order,
        temperature=temperature,
        blocks=blocks,
        batch=batch,
        reference=reference,
        vocab_size=denoiser.vocab_size,
        mask_id=denoiser.mask_id,
    )
    state = _State(denoiser, tokens, seeds, order, temperature, batch, reference, first_row)
    hidden = tokens == denoiser.mask_id
    once = torch.from_numpy(noise(seeds, "position", 0, tokens.shape[1])).to(tokens.device)
    for number, (inside, count) in enumerate(_steps(plan, hidden, blocks, once)):
        hidden = state.tokens == denoiser.mask_id
        if isinstance(plan, RevealPlan):
            revealed = hidden & inside
            state.predict(number, revealed)
        elif order == "random":
            revealed = top(-once, hidden & inside, count)
            state.predict(number, revealed)
        else:
            candidates = hidden & inside & (count > 0)[:, None]
            state.predict(number, candidates)
            revealed = top(state.scores, candidates, count)
        state.reveal(revealed)
        if on_step is not None:
            on_step(Step(number, state.tokens, revealed))
    nll = state.nll if reference is not None else None
    return Unmasked(state.tokens, nll, state.nfe, state.ask.denoiser_rows, state.ask.denoiser_tokens)


def _steps(plan: Plan, hidden: Tensor, blocks: Tensor | None, once: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Per step the positions that may be revealed (rows, length) and how many (rows,); all of them for a RevealPlan.

    One uniform per position, revealed at the first step whose alpha exceeds it, is the ancestral law exactly.
    """
    if isinstance(plan, RevealPlan):
        for alpha in plan.alphas.to(once.device).T[1:]:
            inside = once < alpha[:, None]
            yield inside, inside.sum(1)
        return
    counts = plan.counts.to(once.device)
    for block in range(counts.shape[1]):
        inside = hidden if blocks is None else hidden & (blocks == block)
        for step in range(counts.shape[2]):
            yield inside, counts[:, block, step]


class _State:
    """The rows while they are being filled. ``predict`` asks the denoiser, ``reveal`` writes tokens."""

    def __init__(
        self,
        denoiser: Denoiser,
        tokens: Tensor,
        seeds: NDArray[np.uint64],
        order: Order,
        temperature: float,
        batch: int,
        reference: Tensor | None,
        first_row: int,
    ) -> None:
        rows, length = tokens.shape
        self.seeds, self.order, self.temperature = seeds, order, temperature
        self.reference, self.first_row, self.ask = reference, first_row, Asker(denoiser, batch)
        self.tokens = tokens.clone()
        self.drawn = torch.zeros_like(tokens)
        self.log_prob = torch.zeros(rows, length, dtype=torch.float64, device=tokens.device)
        self.scores = torch.zeros_like(self.log_prob)
        self.nll = torch.zeros(rows, dtype=torch.float64, device=tokens.device)
        self.nfe = torch.zeros(rows, dtype=torch.int64, device=tokens.device)

    def predict(self, step: int, wanted: Tensor) -> None:
        """Draw a token, its log probability and score at every wanted position; identical rows are computed once."""
        active = wanted.any(1).nonzero().squeeze(1)
        if len(active) == 0:
            return
        self.nfe[active] += 1
        # Where every position is drawn once, its noise need not know the step, and schedules share more of it. A
        # confidence candidate that was drawn and not revealed must be drawn anew. The row's own calls number its
        # steps, so that steps which reveal nothing (padding to the longest plan of the batch) change nothing.
        address = self.nfe[active].cpu().numpy() - 1 if self.order == "confidence" else 0
        uniforms = noise(self.seeds[active.cpu().numpy()], "token", address, self.tokens.shape[1])
        draw = torch.from_numpy(uniforms).to(self.tokens.device)
        names = active + self.first_row
        for mine, at, log_p in self.ask(self.tokens[active], wanted[active], names, f"at step {step}"):
            rows = active[mine]
            chosen = draw_tokens(log_p, draw[mine, at], self.temperature)
            target = chosen if self.reference is None else self.reference[rows, at]
            self.drawn[rows, at] = target
            self.log_prob[rows, at] = log_p.gather(1, target[:, None]).squeeze(1)
            self.scores[rows, at] = order_score(self.order, log_p, chosen)

    def reveal(self, positions: Tensor) -> None:
        """Write the drawn tokens at these positions (rows, length)."""
        self.tokens = torch.where(positions, self.drawn, self.tokens)
        self.nll -= torch.where(positions, self.log_prob, 0.0).sum(1)


def check_call(
    tokens: Tensor,
    plan: Plan,
    *,
    seeds: NDArray[np.uint64],
    order: Order,
    temperature: float,
    blocks: Tensor | None,
    batch: int,
    reference: Tensor | None,
    vocab_size: int,
    mask_id: int,
) -> None:
    """Raise InputError for everything about a call of ``unmask`` that can be wrong before the first denoiser call."""
    for name, given in (("tokens", tokens), ("blocks", blocks), ("reference", reference)):
        if given is not None and (given.ndim != 2 or given.shape != tokens.shape):
            raise InputError(
                f"{name} must be (rows, length) like tokens {tuple(tokens.shape)}, got {tuple(given.shape)}"
            )
    rows, hidden = len(tokens), tokens == mask_id
    if order not in ORDERS:
        raise InputError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
    if not 0 <= temperature < float("inf"):
        raise InputError(f"temperature must be at least 0 and finite, got {temperature}")
    if batch < 1:
        raise InputError(f"batch must be at least 1, got {batch}")
    if len(seeds) != rows:
        raise InputError(f"there must be one seed per row, got {len(seeds)} for {rows} rows")
    if reference is not None and order == "confidence" and temperature > 0:
        raise InputError(
            "the likelihood of a reference is not defined for order 'confidence' at a temperature above 0, because "
            f"that order looks at the drawn tokens; got {temperature}: use 0 or order 'top-probability'"
        )
    if reference is not None:
        told = reference[hidden]
        if bool(((told < 0) | (told >= vocab_size)).any()):
            raise InputError(f"reference tokens must be in [0, {vocab_size}), got {told.tolist()[:8]}")
    if isinstance(plan, RevealPlan):
        if order != "random" or blocks is not None:
            raise InputError(
                f"ancestral reveal picks its own positions: order must be 'random' without blocks, got {order!r}"
            )
        alphas = plan.alphas
        good = alphas.ndim == 2 and alphas.shape[0] == rows and alphas.shape[1] >= 2
        if not good or bool((alphas[:, 0] != 0).any() | (alphas[:, -1] != 1).any() | ~(alphas.diff(dim=1) >= 0).all()):
            raise InputError(f"alphas must be (rows, steps + 1) and increase from 0 to 1 in every row, got {alphas}")
        return
    counts = plan.counts
    whole = counts.ndim == 3 and counts.dtype == torch.int64 and counts.shape[0] == rows and counts.shape[1] > 0
    if not whole or bool((counts < 0).any()):
        raise InputError(
            f"counts must be (rows, blocks, steps) int64 and not negative, got {tuple(counts.shape)} {counts.dtype} "
            f"for {rows} rows"
        )
    inside = [hidden if blocks is None else hidden & (blocks == block) for block in range(counts.shape[1])]
    masked = torch.stack([block.sum(1) for block in inside], dim=1)
    total = counts.sum(2).to(masked.device)
    if bool((total != masked).any()) or bool((masked.sum(1) != hidden.sum(1)).any()):
        row = int(((total != masked).any(1) | (masked.sum(1) != hidden.sum(1))).nonzero()[0, 0])
        raise InputError(
            f"the counts of each block must sum to its masked positions, got {total[row].tolist()} for "
            f"{masked[row].tolist()} in row {row} with {int(hidden[row].sum())} masked positions"
        )
