"""The one unmasking loop: a plan says how many positions each step reveals, an order says which.

Time runs from every token masked (t = 0) to data (t = 1). The loop never sees a schedule, only the plan made from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.core.seeding import noise
from mdm_tune.denoisers.asking import BatchedDenoiser, best_logits
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.sampling.drawing import PLAIN, Drawing, Scratch, draw, scattered
from mdm_tune.sampling.plans import CountPlan, Plan, RevealPlan, check_plan, step_rule_of

__all__ = ["CountPlan", "Plan", "RevealPlan", "Step", "Unmasked", "check_call", "unmask"]


@dataclass(frozen=True)
class Step:
    """One step, as ``on_step`` receives it.

    Attributes:
        number: The step, from 0.
        tokens: (rows, length) int64, after the step.
        revealed: (rows, length) bool, True at the positions that the step revealed.
    """

    number: int
    tokens: Tensor
    revealed: Tensor


@dataclass(frozen=True)
class Unmasked:
    """The filled rows and their cost.

    Attributes:
        tokens: (rows, length) int64.
        nll: (rows,) float64, -log probability of the reference in nats; None without a reference.
        nfe: (rows,) int64, denoiser calls that each row waited for.
        denoiser_rows: Sequence forwards; identical rows of a step count once.
        denoiser_tokens: Positions of these forwards, without padding.
        impossible: (rows,) int64, the position of the first reference token with probability 0, or -1; None without a
            reference.
    """

    tokens: Tensor
    nll: Tensor | None
    nfe: Tensor
    denoiser_rows: int
    denoiser_tokens: int
    impossible: Tensor | None = None


def unmask(
    denoiser: Denoiser,
    tokens: Tensor,
    plan: Plan,
    *,
    seeds: NDArray[np.uint64],
    drawing: Drawing = PLAIN,
    blocks: Tensor | None = None,
    batch: int = 128,
    reference: Tensor | None = None,
    on_step: Callable[[Step], None] | None = None,
    first_row: int = 0,
) -> Unmasked:
    """Fill the masked positions of every row in the steps of its plan.

    Args:
        denoiser: The model.
        tokens: (rows, length) int64, ``mask_id`` where hidden and -1 at padding. Other tokens are prompt and never
            change.
        plan: How many positions each step reveals.
        seeds: (rows,) uint64, the source of all randomness of a row.
        drawing: How tokens are drawn, and which positions are revealed first.
        blocks: (rows, length) int64, the block of each masked position. Blocks are filled in ascending order. None is
            one block.
        batch: Most rows per denoiser call.
        reference: (rows, length) int64, tokens to reveal instead of drawn ones. Their -log probability at temperature
            1 and top_p 1 is added up. For orders that depend on the predictions alone the sum is -log q(reference);
            for random order and ancestral reveal it is an unbiased estimate of the NELBO.
        on_step: Called after each step.
        first_row: The number of the first row in messages.

    Raises:
        InputError: If plan, order and tokens do not fit together.
        RunError: If the denoiser returns NaN, +inf, a row without a finite logit, or a wrong shape.
    """
    check_call(
        tokens,
        plan,
        seeds=seeds,
        drawing=drawing,
        blocks=blocks,
        batch=batch,
        reference=reference,
        vocab_size=denoiser.vocab_size,
        mask_id=denoiser.mask_id,
    )
    state = _State(denoiser, tokens, seeds, drawing, batch, reference, first_row)
    once = torch.from_numpy(noise(seeds, "position", 0, tokens.shape[1])).to(tokens.device)
    rule = step_rule_of(plan, drawing, state.hidden, blocks, once)
    number = 0
    while (wanted := rule.wanted(hidden := state.hidden)) is not None:
        state.predict(number, wanted)
        state.reveal(rule.chosen(wanted, state.scores))
        if drawing.stop_at_end:
            state.stop()
        if on_step is not None:
            on_step(Step(number, state.tokens, hidden & ~state.hidden))
        number += 1
    nll, impossible = (state.nll, state.impossible) if reference is not None else (None, None)
    return Unmasked(
        tokens=state.tokens,
        nll=nll,
        nfe=state.nfe,
        denoiser_rows=state.batched.denoiser_rows,
        denoiser_tokens=state.batched.denoiser_tokens,
        impossible=impossible,
    )


class _State:
    """The rows while they are being filled. ``predict`` calls the denoiser, ``reveal`` writes tokens."""

    def __init__(
        self,
        denoiser: Denoiser,
        tokens: Tensor,
        seeds: NDArray[np.uint64],
        drawing: Drawing,
        batch: int,
        reference: Tensor | None,
        first_row: int,
    ) -> None:
        rows, length = tokens.shape
        self.seeds, self.drawing, self.mask_id = seeds, drawing, denoiser.mask_id
        self.reference, self.first_row, self.batched = reference, first_row, BatchedDenoiser(denoiser, batch)
        self.tokens = tokens.clone()
        self.generated = self.hidden
        self.ends = torch.tensor(drawing.end_tokens, dtype=torch.int64, device=tokens.device)
        self.drawn, self.scratch = torch.zeros_like(tokens), Scratch()
        self.draws = drawing.temperature > 0 and reference is None
        self.log_prob = torch.zeros(rows, length, dtype=torch.float64, device=tokens.device)
        self.scores = torch.zeros_like(self.log_prob)
        self.nll = torch.zeros(rows, dtype=torch.float64, device=tokens.device)
        self.impossible = torch.full((rows,), -1, device=tokens.device)
        self.nfe = torch.zeros(rows, dtype=torch.int64, device=tokens.device)

    @property
    def hidden(self) -> Tensor:
        """The positions (rows, length) that are still masked."""
        return self.tokens == self.mask_id

    def predict(self, step: int, wanted: Tensor) -> None:
        """Draw a token, its log probability and score at every wanted position; identical rows are computed once."""
        busy = wanted.any(1)
        active = busy.nonzero().squeeze(1)
        if len(active) == 0:
            return
        self.nfe += busy
        whole = len(active) == len(wanted)  # no row has to be picked
        tokens, wanted_here, calls = self.tokens, wanted, self.nfe
        if not whole:
            tokens, wanted_here, calls = tokens[active], wanted[active], calls[active]
        # If every position is drawn once, its noise does not depend on the step, and schedules share more of it. A
        # candidate that is ranked by its drawn token and not revealed must be drawn again. The steps of a row are
        # numbered by its own calls: steps that reveal nothing (padding to the longest plan of a batch) change nothing.
        address = calls.cpu().numpy() - 1
        ranked_by_token = self.drawing.order == "confidence" or not self.drawing.end_confident
        seeds = self.seeds if whole else self.seeds[active.cpu().numpy()]
        uniform = self._noise("token", seeds, address if ranked_by_token else 0) if self.draws else None
        shuffle = self._noise("order", seeds, address) if self.drawing.confidence_temperature > 0 else None
        names = active + self.first_row if self.first_row else active
        for mine, at, predicted in self.batched(tokens, wanted_here, names, f"at step {step + 1}"):
            rows, logits = mine if whole else active[mine], predicted
            best = best_logits(logits, names[mine], f"at step {step + 1}")
            if not self.drawing.end_drawn:
                where = f"besides the end tokens, which are never drawn, at step {step + 1}"
                logits = logits.index_fill(1, self.ends, -torch.inf)
                best = best_logits(logits, names[mine], where)
            target = None if self.reference is None else self.reference[rows, at]
            uniform_here = None if uniform is None else uniform[mine, at]
            drawn = draw(self.drawing, logits, best, uniform_here, target=target, scratch=self.scratch)
            if drawn.scores is not None:
                scores = drawn.scores
                scores = scores if shuffle is None else scattered(self.drawing, scores, shuffle[mine, at])
                self.scores[rows, at] = scores
            self.drawn[rows, at] = drawn.tokens if target is None else target
            if drawn.log_prob is not None:
                self.log_prob[rows, at] = drawn.log_prob

    def reveal(self, positions: Tensor) -> None:
        """Write the drawn tokens at these positions (rows, length)."""
        self.tokens = torch.where(positions, self.drawn, self.tokens)
        if self.reference is not None:
            self.nll -= torch.where(positions, self.log_prob, 0.0).sum(1)
            bad = positions & torch.isneginf(self.log_prob)
            self.impossible = torch.where(bad.any(1) & (self.impossible < 0), bad.int().argmax(1), self.impossible)

    def stop(self) -> None:
        """Fill the rows whose text has ended with the end token."""
        hidden = self.hidden
        final = self.generated & (hidden.cumsum(1) == 0)
        ended = final & torch.isin(self.tokens, self.ends)
        token = self.tokens.gather(1, ended.int().argmax(1, keepdim=True))
        self.tokens = torch.where(hidden & ended.any(1, keepdim=True), token, self.tokens)

    def _noise(self, purpose: str, seeds: NDArray[np.uint64], step: int | NDArray[np.int64]) -> Tensor:
        """Uniforms (n, length) for rows of these seeds (n,)."""
        return torch.from_numpy(noise(seeds, purpose, step, self.tokens.shape[1])).to(self.tokens.device)


def check_call(
    tokens: Tensor,
    plan: Plan,
    *,
    seeds: NDArray[np.uint64],
    drawing: Drawing,
    blocks: Tensor | None,
    batch: int,
    reference: Tensor | None,
    vocab_size: int,
    mask_id: int,
) -> None:
    """Raise InputError if the arguments of ``unmask`` are wrong."""
    for name, argument in (("tokens", tokens), ("blocks", blocks), ("reference", reference)):
        if argument is not None and (argument.ndim != 2 or argument.shape != tokens.shape):
            raise InputError(
                f"{name} must be (rows, length) like tokens {tuple(tokens.shape)}, got {tuple(argument.shape)}"
            )
    if batch < 1:
        raise InputError(f"batch must be at least 1, got {batch}")
    if len(seeds) != len(tokens):
        raise InputError(f"there must be one seed per row, got {len(seeds)} for {quantity(len(tokens), 'row')}")
    hidden = tokens == mask_id
    if reference is not None:
        _check_reference(reference[hidden], drawing, vocab_size)
    if not all(0 <= token < vocab_size and token != mask_id for token in drawing.end_tokens):
        raise InputError(
            f"end_tokens must be in [0, {vocab_size}) and not the mask {mask_id}, got {drawing.end_tokens}"
        )
    if drawing.stop_at_end and bool((hidden.int().diff(dim=1) > 0).sum(1).add(hidden[:, :1].any(1)).gt(1).any()):
        raise InputError(
            "stop_at_end ends a row at its first end token, so the masked positions of a row must lie side by side, "
            "got some with visible tokens between them; set stop_at_end to False"
        )
    check_plan(plan, drawing, hidden, blocks)


def _check_reference(hidden_tokens: Tensor, drawing: Drawing, vocab_size: int) -> None:
    if drawing.order == "confidence" and drawing.temperature > 0:
        raise InputError(
            "the likelihood of a reference is not defined for order 'confidence' at a temperature above 0, because "
            f"that order looks at the drawn tokens; got {drawing.temperature}: use 0 or order 'top-probability'"
        )
    if drawing.confidence_temperature > 0 or drawing.ends:
        cause = (drawing.ends or [f"confidence_temperature = {drawing.confidence_temperature}"])[0]
        raise InputError(
            f"the likelihood of a reference is that of its tokens as predicted, in an order that follows from the "
            f"predictions; got {cause}: leave it out"
        )
    if bool(((hidden_tokens < 0) | (hidden_tokens >= vocab_size)).any()):
        raise InputError(f"reference tokens must be in [0, {vocab_size}), got {hidden_tokens.tolist()[:8]}")
