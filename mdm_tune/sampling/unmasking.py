"""The one unmasking loop: a plan says how many positions each step reveals, an order says which.

Time runs from every token masked (t = 0) to data (t = 1). The loop never sees a schedule, only the plan made from it.
The rows lie on the CPU. The denoiser's device predicts and draws, and what it has drawn is copied once per step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.core.seeding import StepNoise, noise
from mdm_tune.denoisers.asking import Asked, BatchedDenoiser, Entries, all_finite, check_best, numbers_of
from mdm_tune.denoisers.base import Denoiser, LinearHead, to_device
from mdm_tune.sampling.drawing import PLAIN, Drawing, Scratch, confidence, draw, scattered, without
from mdm_tune.sampling.plans import CountPlan, Found, KlassPlan, Plan, RevealPlan, check_plan, step_rule_of
from mdm_tune.sampling.slices import draw_in_slices, takes_slices
from mdm_tune.sampling.stability import Stability

__all__ = ["CountPlan", "Plan", "RevealPlan", "Step", "Unmasked", "check_call", "unmask"]

Booleans = NDArray[np.bool_]
Integers = NDArray[np.int64]

_NONE = np.zeros(0)
TOGETHER = 16  # steps whose predictions are checked at a time, which costs as much as to check those of one


@dataclass(frozen=True)
class Step:
    """One step, as ``on_step`` receives it.

    Attributes:
        number: The step, from 0.
        tokens: (rows, length) int64 on the CPU, after the step.
        revealed: (rows, length) bool on the CPU, True at the positions that the step revealed.
        confidence: (rows, length) float64 on the CPU: at the revealed positions a probability, a margin, or minus an
            entropy, as ``drawing.confidence`` has it for the order. It is 0 elsewhere, and where a position was filled
            in behind an end token. None in random order.
    """

    number: int
    tokens: Tensor
    revealed: Tensor
    confidence: Tensor | None = None


@dataclass(frozen=True)
class Unmasked:
    """The filled rows and their cost. The tensors lie on the CPU.

    Attributes:
        tokens: (rows, length) int64.
        nll: (rows,) float64, -log probability of the reference in nats; None without a reference.
        nfe: (rows,) int64, denoiser calls that each row waited for.
        denoiser_rows: Sequence forwards; identical rows of a step count once.
        denoiser_tokens: Positions of these forwards, without padding.
        impossible: (rows,) int64, the position of the first reference token with probability 0, or -1; None without a
            reference.
        revealed: (rows, calls) int64, the tokens that each call of a row revealed, 0 after its last one. Tokens that
            were filled in behind an end token are not among them. None if it is not known.
    """

    tokens: Tensor
    nll: Tensor | None
    nfe: Tensor
    denoiser_rows: int
    denoiser_tokens: int
    impossible: Tensor | None = None
    revealed: Tensor | None = None


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
    names: Integers | None = None,
    device: torch.device | None = None,
    most_calls: float = math.inf,
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
        names: (rows,) int64, the number of each row in messages; None numbers them from 0.
        device: Where the denoiser is; None is where the tokens lie.
        most_calls: The rows stop, full or not, after the step with which they have made more calls than this in all.

    Raises:
        InputError: If plan, order and tokens do not fit together.
        RunError: If the denoiser returns NaN, +inf, a row without a finite logit, or a wrong shape.
    """
    device = tokens.device if device is None else device
    tokens, plan = tokens.cpu(), type(plan)(*(tensor.cpu() for tensor in vars(plan).values()))
    blocks, reference = (None if tensor is None else tensor.cpu() for tensor in (blocks, reference))
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
    originals = None if reference is None else reference.numpy()
    batched = BatchedDenoiser(denoiser, batch, device, padded=bool((tokens.numpy() < 0).any()))
    named = np.arange(len(tokens)) if names is None else names
    scratch = Scratch()
    stability = Stability(tokens.shape, device, scratch) if isinstance(plan, KlassPlan) else None
    state = _State(batched, tokens.numpy(), seeds, drawing, originals, named, scratch, stability)
    once = partial(noise, seeds, "position", 0, tokens.shape[1])
    rule = step_rule_of(plan, drawing, state.generated, blocks, once)
    number, inference, gradients = 0, torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    with torch.inference_mode():  # around all steps, because to begin and end it takes long
        while state.calls <= most_calls and (wanted := rule.wanted(hidden := state.hidden)) is not None:
            found = state.predict(number, wanted)
            picked = slice(0) if found is None else rule.chosen(found)
            if found is not None:
                state.reveal(found, picked)
            if drawing.stop_at_end:
                state.stop()
            if on_step is not None:
                state.check()
                with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
                    on_step(state.shown(number, hidden, found, picked))
            number += 1
    return state.result()


class _State:
    """The rows while they are being filled. ``predict`` calls the denoiser, ``reveal`` writes tokens.

    The arrays are numpy's, whose operations take a fraction of the time that torch's do where a row is short.
    """

    def __init__(
        self,
        batched: BatchedDenoiser,
        tokens: Integers,
        seeds: NDArray[np.uint64],
        drawing: Drawing,
        reference: Integers | None,
        names: Integers,
        scratch: Scratch,
        stability: Stability | None,
    ) -> None:
        self.batched, self.drawing = batched, drawing
        # The head, if predictions are drawn from without a row of logits.
        head, whole = batched.linear_head, reference is not None or stability is not None
        self.head = None if whole or not takes_slices(drawing, head) else head
        self.reference, self.names, self.stability = reference, names, stability
        self.tokens, self.mask_id, self.scratch = tokens.copy(), batched.denoiser.mask_id, scratch
        self.generated = self.hidden
        self.draws = drawing.temperature > 0 and reference is None
        # If every position is drawn once, its noise does not depend on the step, and schedules share more of it. A
        # candidate that is ranked by its drawn token and not revealed must be drawn again. The steps of a row are
        # numbered by its own calls: steps that reveal nothing (padding to the longest plan of a batch) change nothing.
        length, again = tokens.shape[1], drawing.order == "confidence" or not drawing.end_confident
        self.token_noise = StepNoise(seeds, "token", length) if self.draws and again else None
        self.token_noise_once = noise(seeds, "token", 0, length) if self.draws and not again else None
        self.order_noise = StepNoise(seeds, "order", length) if drawing.confidence_temperature > 0 else None
        rows = len(tokens)
        self.nll, self.nfe, self.impossible = np.zeros(rows), np.zeros(rows, dtype=np.int64), np.full(rows, -1)
        self.calls = 0  # the sum of nfe
        self.unchecked: list[tuple[Tensor, Integers, str]] = []  # as for ``_check_later``
        self.call_of = np.zeros(tokens.shape, dtype=np.int64)  # which of its row's calls revealed a position, from 1

    @property
    def hidden(self) -> Booleans:
        """The positions (rows, length) that are still masked."""
        hidden: Booleans = self.tokens == self.mask_id
        return hidden

    def predict(self, step: int, wanted: Booleans) -> Found | None:
        """Draw a token at every wanted position, and rank it; identical rows are computed once.

        None if nothing is wanted.
        """
        asked, names = Asked.of(self.tokens, wanted), self.names
        row, column = asked.row, asked.column
        if len(row) == 0:
            return None
        uniform = self.token_noise_once if self.token_noise is None else self.token_noise.at(self.nfe)
        shuffle = None if self.order_noise is None else self.order_noise.at(self.nfe)
        active = None if len(wanted) == 1 else np.logical_or.reduce(wanted, axis=1)
        if active is None or active.all():
            self.nfe += 1
            self.calls += len(wanted)
        else:
            self.nfe += active
            self.calls += int(np.count_nonzero(active))
            asked, names = Asked.of(self.tokens[active], wanted[active]), names[active]
        where = f"at step {step + 1}"
        if self.stability is not None:
            self.stability.begin(wanted)
        numbers = None if uniform is None else torch.from_numpy(uniform[row, column])
        target = None if self.reference is None else torch.from_numpy(self.reference[row, column])
        parts: list[Entries] = []
        pieces: list[Sequence[Tensor]] = []
        if self.head is not None:
            for some, states, picked in self.batched.before_head(asked, names, where):
                parts.append(some)
                pieces.append(self._draw_in_slices(self.head, states, picked, some, numbers))
                del states
        else:
            for some, logits in self.batched(asked, names, where):
                parts.append(some)
                change = None if self.stability is None else partial(self.stability.change, row[some], column[some])
                pieces.append(self._draw(logits, some, numbers, target, change))
                del logits  # before the next ones are computed
        best, best_drawn, drawn, scores, log_prob, changes = _columns(pieces, numbers_of(parts, len(row)))
        self._check_later(best, row, where)
        if not self.drawing.end_drawn:
            self._check_later(best_drawn, row, f"besides the end tokens, which are never drawn, {where}")
        ranking = unscattered = _NONE if self.drawing.order == "random" else scores.numpy()
        if shuffle is not None:
            ranking = scattered(self.drawing, scores, torch.from_numpy(shuffle[row, column])).numpy()
        return Found(
            row=row,
            column=column,
            tokens=(drawn if target is None else target).numpy(),
            scores=ranking,
            unscattered=unscattered,
            log_prob=_NONE if target is None else log_prob.numpy(),
            changes=_NONE if self.stability is None else changes.numpy(),
        )

    def _check_later(self, best: Tensor, row: Integers, where: str) -> None:
        """Check the largest logits (n,) of these rows (n,) together with those of later steps."""
        self.unchecked.append((best, row, where))
        if len(self.unchecked) >= TOGETHER:
            self.check()

    def check(self) -> None:
        """Raise RunError if one of the predictions since the last check cannot be used."""
        unchecked, self.unchecked = self.unchecked, []
        if unchecked and not all_finite(torch.cat([best for best, _, _ in unchecked])):
            for best, row, where in unchecked:
                check_best(best, self.names[row], where)

    def _draw(
        self,
        logits: Tensor,
        some: Entries,
        uniform: Tensor | None,
        target: Tensor | None,
        change: Callable[[Tensor, Tensor], Tensor] | None,
    ) -> Sequence[Tensor]:
        """For each of n predictions: its largest logit, that of tokens which may be drawn, and what was drawn.

        Args:
            logits: (n, vocab).
            some: Which of the wanted positions they predict.
            uniform: The noise of every wanted position; None if nothing is drawn at random.
            target: The reference token of every wanted position; None without a reference.
            change: How much predictions have changed, from their logits and largest logits; None if nobody asks.

        Returns:
            Six tensors (n,): the two largest logits, the token, its score, the target's log probability, and how much
            the prediction has changed. What is not computed has any value.
        """
        best = best_drawn = logits.amax(1)
        if not self.drawing.end_drawn:
            logits = without(logits, self.drawing.end_tokens)
            best_drawn = logits.amax(1)
        device = self.batched.device
        uniform = None if uniform is None else to_device(uniform[some], device)
        target = None if target is None else to_device(target[some], device)
        drawn = draw(self.drawing, logits, best_drawn, uniform, target=target, scratch=self.scratch)
        scores = best if drawn.scores is None else drawn.scores
        log_prob = best if drawn.log_prob is None else drawn.log_prob
        changes = best if change is None else change(logits, best_drawn)
        return best, best_drawn, drawn.tokens, scores, log_prob, changes

    def _draw_in_slices(
        self, head: LinearHead, states: Tensor, picked: Tensor | None, some: Entries, uniform: Tensor | None
    ) -> Sequence[Tensor]:
        """What ``_draw`` returns, from hidden states (k, width); picked (n,) says which of them each position has."""
        uniform = None if uniform is None else uniform[some]
        best, drawn = draw_in_slices(self.drawing, head, states, uniform, picked=picked, scratch=self.scratch)
        return best, best, drawn.tokens, best if drawn.scores is None else drawn.scores, best, best

    def reveal(self, found: Found, picked: Integers | slice) -> None:
        """Write some of the tokens that were found."""
        row, column = found.row[picked], found.column[picked]
        self.tokens[row, column] = found.tokens[picked]
        self.call_of[row, column] = self.nfe[row]
        if self.reference is not None:
            log_prob = np.zeros(self.tokens.shape)
            log_prob[row, column] = found.log_prob[picked]
            self.nll -= log_prob.sum(axis=1)
            bad = np.isneginf(log_prob)
            self.impossible = np.where(bad.any(axis=1) & (self.impossible < 0), bad.argmax(axis=1), self.impossible)

    def _revealed(self) -> Integers:
        """The tokens (rows, calls) that each call of a row revealed."""
        rows, calls = len(self.nfe), 1 + int(self.nfe.max(initial=0))  # call 0 stands for positions of the prompt
        cells = self.call_of + calls * np.arange(rows)[:, None]
        return np.bincount(cells.ravel(), minlength=rows * calls).reshape(rows, calls)[:, 1:]

    def shown(self, number: int, hidden: Booleans, found: Found | None, picked: Integers | slice) -> Step:
        """The step for ``on_step``; hidden (rows, length) before it. Nothing that it holds is used by the state."""
        sure = None
        if self.drawing.order != "random":
            sure = torch.zeros(hidden.shape, dtype=torch.float64)
            if found is not None:
                scores = torch.from_numpy(found.unscattered[picked])
                sure[found.row[picked], found.column[picked]] = confidence(self.drawing.order, scores)
        tokens, shown = torch.from_numpy(self.tokens.copy()), torch.from_numpy(hidden & ~self.hidden)
        return Step(number, tokens, shown, confidence=sure)

    def result(self) -> Unmasked:
        """The rows as they are, with what they cost. Raises RunError as ``check`` does."""
        self.check()
        nll, impossible = (
            None if self.reference is None else torch.from_numpy(array) for array in (self.nll, self.impossible)
        )
        return Unmasked(
            tokens=torch.from_numpy(self.tokens),
            nll=nll,
            nfe=torch.from_numpy(self.nfe),
            denoiser_rows=self.batched.denoiser_rows,
            denoiser_tokens=self.batched.denoiser_tokens,
            impossible=impossible,
            revealed=torch.from_numpy(self._revealed()),
        )

    def stop(self) -> None:
        """Fill the rows whose text has ended with the end token."""
        hidden = self.hidden
        final = self.generated & (hidden.cumsum(axis=1) == 0)
        ended = final & np.isin(self.tokens, self.drawing.end_tokens)
        token = np.take_along_axis(self.tokens, ended.argmax(axis=1)[:, None], axis=1)
        self.tokens = np.where(hidden & ended.any(axis=1, keepdims=True), token, self.tokens)


def _on_cpu(columns: Sequence[Tensor]) -> Sequence[Tensor]:
    """The columns (n,) that ``_State._draw`` returns, copied to the CPU at once."""
    if columns[0].is_cpu:
        return columns
    copied = torch.stack([column.double() for column in columns]).cpu()  # ids of tokens are far below 2^53
    return [*copied[:2], copied[2].long(), *copied[3:]]


def _columns(pieces: Sequence[Sequence[Tensor]], numbers: Integers | None) -> Sequence[Tensor]:
    """The columns (n,) that ``_State._draw`` returns, for all wanted positions in order, copied to the CPU at once.

    Args:
        pieces: The columns of each piece.
        numbers: The wanted position of each of their entries; None if they are in order.
    """
    columns = _on_cpu(pieces[0] if len(pieces) == 1 else [torch.cat(parts) for parts in zip(*pieces, strict=True)])
    if numbers is None:
        return columns
    return [column.new_empty(numbers.max() + 1).index_copy_(0, torch.from_numpy(numbers), column) for column in columns]


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
        if argument is not None and argument.dtype != torch.int64:
            raise InputError(f"{name} must be int64, got {argument.dtype}; convert it with .long()")
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
