"""Drawing from predictions that are computed a slice of the vocabulary at a time, so that no row of logits exists.

For a denoiser whose head is one linear map, on the CPU. A slice of logits stays in the processor's cache. What is kept
of it are the largest logit and the sum of the exponentials of each block of tokens. Tokens and scores are those of
``drawing.draw``; only the rounding of single terms differs.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mdm_tune.core.types import Order
from mdm_tune.denoisers.base import LinearHead
from mdm_tune.sampling.drawing import LARGE, Drawing, Drawn
from mdm_tune.sampling.large_vocabulary import BLOCK, COLDEST, LOG2_E, Scratch, powers

__all__ = ["draw_in_slices", "takes_slices"]

SLICE = 1 << 18  # logits of a slice: 1 MiB in float32
WIDTH = 2048  # tokens of a slice at least; the products of narrower ones with the states take longer
PART = 64  # tokens whose sum a draw needs: their logits are computed a second time
ENTRIES = 256  # drawn tokens at a time, each of which has running sums over the vocabulary


def takes_slices(drawing: Drawing, head: LinearHead | None) -> bool:
    """Whether ``draw_in_slices`` can draw: a linear head of many tokens, and nothing that needs a row of logits.

    A row is needed for top-p, the rules of end tokens, scores at a temperature of their own, and float64.
    """
    if head is None or head.vocab_size < LARGE or head.weight.dtype == torch.float64:
        return False
    cold, draws = 0 < drawing.temperature < COLDEST, drawing.temperature > 0
    tempered = drawing.tempered_scores and (drawing.top_p < 1 or drawing.temperature not in (0, 1))
    ends = not drawing.end_drawn or not drawing.end_confident
    return not (cold or tempered or ends or (draws and drawing.top_p < 1))


def draw_in_slices(
    drawing: Drawing,
    head: LinearHead,
    states: Tensor,
    uniform: Tensor | None,
    *,
    picked: Tensor | None = None,
    scratch: Scratch | None = None,
) -> tuple[Tensor, Drawn]:
    """Draw a token from each prediction, and rank its position, as ``drawing.draw`` does.

    Args:
        drawing: how tokens are drawn and positions ranked, one that ``takes_slices`` accepts.
        head: from hidden states to logits.
        states: (k, width) hidden states of different predictions.
        uniform: (n,) float64 in (0, 1); None where temperature is 0.
        picked: (n,) int64, which of the states each drawn token is predicted by; None is one token for each.
        scratch: buffers that several calls share.

    Returns:
        The largest logit (n,) of each prediction, NaN if one of its logits is NaN, and what is drawn.
    """
    scratch = Scratch() if scratch is None else scratch
    temperature, order = drawing.temperature, drawing.order
    draws = uniform is not None and temperature > 0
    laws = _laws(order, temperature, head, len(states), draws=draws)
    tops = torch.empty(len(states), -(-head.vocab_size // BLOCK))
    greatest = None if draws and order != "margin" else _Greatest(len(states), second=order == "margin")
    # An entropy needs two arrays of float64 besides.
    width = max(WIDTH, SLICE // len(states)) // (2 if order == "entropy" else 1)
    for blocks, logits in _slices(head, states, max(1, width // BLOCK) * BLOCK, scratch):
        top = logits.amax(2)
        tops[:, blocks] = top
        if greatest is not None:
            greatest.add(blocks.start, logits, top)
        if laws:
            logits.sub_(top.masked_fill(top == -torch.inf, 0.0)[:, :, None])  # no token of the block is possible
        for number, law in enumerate(laws.values(), 1):
            law.add(blocks, logits, scratch, last=number == len(laws))
    best = tops.amax(1)
    for law in laws.values():
        law.finish(tops, best)
    score = None if order == "random" else _picked(laws[1.0].score(order, best, greatest), picked)
    if not draws:
        assert greatest is not None
        tokens = _picked(greatest.tokens, picked)
    else:
        assert uniform is not None
        tokens, log_p = _draw(laws[temperature], laws.get(1.0), head, states, best, uniform, picked)
        score = log_p if order == "confidence" else score
    return _picked(best, picked), Drawn(tokens=tokens, scores=None if score is None else score.round(decimals=12))


def _picked(values: Tensor, picked: Tensor | None) -> Tensor:
    return values if picked is None else values[picked]


def _laws(order: Order, temperature: float, head: LinearHead, states: int, *, draws: bool) -> dict[float, _Law]:
    """The sums that are needed, by their temperature."""
    laws: dict[float, _Law] = {}
    if order != "random":
        part = PART if draws and (temperature == 1 or order == "confidence") else BLOCK
        laws[1.0] = _Law(1.0, states, head, part, entropy=order == "entropy")
    if draws and temperature not in laws:
        laws[temperature] = _Law(temperature, states, head, PART)
    return laws


def _slices(head: LinearHead, states: Tensor, width: int, scratch: Scratch) -> Iterator[tuple[slice, Tensor]]:
    """Yield which blocks, and their logits (k, blocks, BLOCK) float32, -inf behind the last token; overwrite them."""
    vocab, count = head.vocab_size, len(states)
    for start in range(0, vocab, width):
        stop = min(start + width, vocab)
        blocks = slice(start // BLOCK, -(-stop // BLOCK))
        shape = (count, blocks.stop - blocks.start, BLOCK)
        logits = scratch.of(shape, "logits", torch.float32)
        own = logits if states.dtype == torch.float32 else scratch.of(shape, "own logits", states.dtype)
        flat = own.flatten(1)
        flat[:, stop - start :] = -torch.inf
        head.logits(states, slice(start, stop), flat[:, : stop - start])
        if own is not logits:
            logits.copy_(own)
        yield blocks, logits


class _Greatest:
    """The first token (k,) of the largest logit of each prediction; ``second``: also the second largest logit."""

    def __init__(self, count: int, *, second: bool) -> None:
        self.tokens, self.best = torch.zeros(count, dtype=torch.int64), torch.full((count,), -torch.inf)
        self.second = torch.full((count,), -torch.inf) if second else None

    def add(self, first: int, logits: Tensor, top: Tensor) -> None:
        """Take the blocks from ``first`` on into account: logits (k, blocks, BLOCK), and the largest of each block."""
        best, block = top.max(1)
        inside = logits[torch.arange(len(block)), block]
        tokens = (first + block) * BLOCK + (inside == best[:, None]).int().argmax(1)
        if self.second is not None:
            others = top.scatter(1, block[:, None], -torch.inf).amax(1)
            second = torch.maximum(inside.topk(2, dim=1).values[:, 1], others)
            lower = torch.minimum(best, self.best)
            self.second = torch.maximum(torch.maximum(second, self.second), lower)
        self.tokens = torch.where(best > self.best, tokens, self.tokens)
        self.best = torch.maximum(best, self.best)


class _Law:
    """Sums of the exponentials of logits over parts of the vocabulary, at a temperature.

    The exponentials of single tokens are float32, and measured from the largest logit of their block; the sums are
    float64. With ``entropy`` all is float64.

    Attributes:
        sums: (k, parts) the sum of each part, after ``finish`` measured from the largest logit of the vocabulary.
        total: (k,) their sum.
    """

    def __init__(self, temperature: float, count: int, head: LinearHead, part: int, *, entropy: bool = False) -> None:
        self.temperature, self.per_block = temperature, BLOCK // part
        blocks = -(-head.vocab_size // BLOCK)
        self.sums = torch.empty(count, blocks, self.per_block, dtype=torch.float64)
        # The sums of weight times exponent, of each block.
        self.moments = torch.empty(count, blocks, dtype=torch.float64) if entropy else None

    def add(self, blocks: slice, below: Tensor, scratch: Scratch, *, last: bool) -> None:
        """Take blocks into account whose logits (k, blocks, BLOCK) are measured from the largest of each block.

        last: whether the logits may be overwritten.
        """
        if self.moments is None:
            weights = below if last else scratch.of(below.shape, "weights", torch.float32)
            torch.mul(below, LOG2_E / self.temperature, out=weights).exp2_()
        else:
            exponents = scratch.of(below.shape, "index", torch.float64).copy_(below)
            weights = powers(scratch.of(below.shape, "weights", torch.float64).copy_(exponents))
            self.moments[:, blocks] = exponents.mul_(weights).nansum(2)
        self.sums[:, blocks] = weights.unflatten(2, (self.per_block, -1)).sum(3, dtype=torch.float64)

    def finish(self, tops: Tensor, best: Tensor) -> None:
        """Measure all from the largest logit (k,) of the vocabulary; tops (k, blocks) are those of the blocks."""
        distance = (tops.double() - best.double()[:, None]) / self.temperature
        share = distance.exp()
        if self.moments is not None:
            of_blocks = self.moments + torch.nan_to_num(distance * self.sums.sum(2), nan=0.0)
            self.moments = of_blocks.mul_(share)
        self.sums = self.sums.mul_(share[:, :, None]).flatten(1)
        self.total = self.sums.sum(1)

    def score(self, order: Order, best: Tensor, greatest: _Greatest | None) -> Tensor:
        """What an order ranks by (k,) that asks for no drawn token, or for the most probable one."""
        if order in ("confidence", "top-probability"):
            return -self.total.log()
        if order == "margin":
            assert greatest is not None and greatest.second is not None
            return (1 - (greatest.second.double() - best.double()).exp()) / self.total
        assert self.moments is not None
        return self.moments.nansum(1) / self.total - self.total.log()


def _draw(
    law: _Law,
    scored: _Law | None,
    head: LinearHead,
    states: Tensor,
    best: Tensor,
    uniform: Tensor,
    picked: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The tokens (n,) at which the distribution function passes uniform (n,), and their log probabilities if scored."""
    running = law.sums.cumsum(1)

    def some(rows: Tensor | slice, uniform: Tensor) -> tuple[Tensor, Tensor]:
        part, place, logits = _found(running[rows], law.temperature, head, states[rows], best[rows], uniform)
        tokens = (part * PART + place).squeeze(1)
        if scored is None or scored.per_block != BLOCK // PART:
            return tokens, tokens
        # From the sums of the slices, so that no token is more probable than 1, and of equal logits.
        share = scored.sums[rows].gather(1, part).log() + logits.double().log_softmax(1).gather(1, place)
        return tokens, share.squeeze(1) - scored.total[rows].log()

    if picked is None:
        return some(slice(None), uniform)
    pairs = [some(*of) for of in zip(picked.split(ENTRIES), uniform.split(ENTRIES), strict=True)]
    tokens, log_p = (torch.cat(columns) for columns in zip(*pairs, strict=True))
    return tokens, log_p


def _found(
    running: Tensor, temperature: float, head: LinearHead, states: Tensor, best: Tensor, uniform: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Where running sums (n, parts) pass uniform (n,): a part (n, 1), a place in it (n, 1), its logits (n, PART)."""
    vocab = head.vocab_size
    # u <= 1 - 2^-53 keeps u * total below the total, so that the part has some weight.
    target = (uniform * running[:, -1])[:, None]
    # Where logits are not a number the search ends anywhere; the token is at least one of the vocabulary.
    part = torch.searchsorted(running, target, right=True).clamp(max=(vocab - 1) // PART)
    before = running.gather(1, (part - 1).clamp(min=0)).masked_fill(part == 0, 0.0)
    logits = torch.full((len(uniform), PART), -torch.inf, dtype=states.dtype)
    for row, first in enumerate((part.squeeze(1) * PART).tolist()):
        stop = min(first + PART, vocab)
        head.logits(states[row : row + 1], slice(first, stop), logits[row : row + 1, : stop - first])
    inside = ((logits.double() - best.double()[:, None]) / temperature).exp().cumsum(1)
    place = torch.searchsorted(inside, target - before, right=True)
    # These logits may differ from those of the slice in their last digits, which may leave the target behind them.
    last = (inside < inside[:, -1:]).sum(1, keepdim=True)
    return part, torch.minimum(place, last), logits
