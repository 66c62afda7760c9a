"""Drawing from predictions over a large vocabulary, with few passes over the logits.

The tokens and scores are those of the definition in ``drawing``; only the rounding of single terms differs. One
exponential per logit gives the weights, their sums over blocks find the block of a token, and the distribution function
is computed inside that block alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mdm_tune.core.types import Order

__all__ = ["Nucleus", "Scratch", "Softmax", "first_best"]

BLOCK = 512  # tokens of a block
NEAR = 300.0  # logits up to this size need no shift before a float64 exponential
EDGE = 64  # most probable tokens in which a nucleus is looked for
ROUNDING = 1e-12  # a sum of probabilities this close to top_p has reached it


class Scratch:
    """A float64 buffer that is used for one piece after another: new memory costs as much as a pass over it."""

    def __init__(self) -> None:
        self._kept = torch.empty(0, dtype=torch.float64)

    def like(self, logits: Tensor) -> Tensor:
        """A tensor of the shape and device of the logits; its values are those of the last use."""
        if self._kept.numel() < logits.numel() or self._kept.device != logits.device:
            self._kept = torch.empty(logits.numel(), dtype=torch.float64, device=logits.device)
        return self._kept[: logits.numel()].view(logits.shape)


class Softmax:
    """The softmax of logits at a temperature above 0.

    The weights lie in the scratch buffer: use them before the next ``Softmax`` with the same buffer.

    Args:
        logits: (n, vocab) of any floating type.
        best: (n,) the largest logit of each row, finite.
    """

    def __init__(self, logits: Tensor, best: Tensor, temperature: float, scratch: Scratch) -> None:
        self.logits, self.best, self.temperature = logits, best.double(), temperature
        self.weights = scratch.like(logits).copy_(logits)
        self.shift = torch.zeros_like(self.best)
        if temperature != 1 or logits.device.type != "cpu" or bool((best.abs() > NEAR).any()):
            # Measured from the best token, so that no temperature is too small to divide by.
            self.shift = self.best
            self.weights.sub_(self.shift[:, None])
            if temperature != 1:
                self.weights.div_(temperature)
        self.weights.exp_()
        self._sums = _block_sums(self.weights)
        self.total = self._sums[:, -1]
        self.log_total = self.total.log()

    def log_prob(self, tokens: Tensor) -> Tensor:
        """Log probabilities (n,) of tokens (n,)."""
        return self._log_weight(self.logits.gather(1, tokens[:, None]).squeeze(1).double()) - self.log_total

    def score(self, order: Order, tokens: Tensor) -> Tensor:
        """What the order ranks by (n,); tokens (n,) are those drawn."""
        if order == "confidence":
            return self.log_prob(tokens)
        if order == "top-probability":
            return self._log_weight(self.best) - self.log_total
        if order == "margin":
            two = self._log_weight(self.logits.topk(2, dim=1).values.double()) - self.log_total[:, None]
            return two[:, 0].exp() - two[:, 1].exp()
        inner: Tensor = torch.special.xlogy(self.weights, self.weights).sum(1)
        return inner / self.total - self.log_total

    def draw(self, uniform: Tensor) -> Tensor:
        """Tokens (n,) at which the distribution function passes uniform (n,)."""
        # u <= 1 - 2^-53 keeps u * total below the total, so that the block has some weight.
        target = uniform * self.total
        block = torch.searchsorted(self._sums, target[:, None], right=True)
        before = self._sums.gather(1, (block - 1).clamp(min=0)).masked_fill(block == 0, 0.0)
        place = block * BLOCK + torch.arange(BLOCK, device=uniform.device)
        vocab = self.weights.shape[1]
        inside = self.weights.gather(1, place.clamp(max=vocab - 1)).masked_fill(place >= vocab, 0.0).cumsum(1)
        place_inside = torch.searchsorted(inside, target[:, None] - before, right=True)
        # Rounding may leave the target behind the block's last token of some weight.
        last = (inside < inside[:, -1:]).sum(1, keepdim=True)
        return (block * BLOCK + torch.minimum(place_inside, last)).squeeze(1)

    def _log_weight(self, logits: Tensor) -> Tensor:
        """Logarithms of weights, of logits (n,) or (n, k)."""
        shift = self.shift.view(-1, *[1] * (logits.ndim - 1))
        return (logits - shift) / self.temperature


class Nucleus:
    """The smallest set of most probable tokens whose probability reaches top_p; ties go to the lower id.

    It is looked for among the most probable tokens, and in the whole vocabulary where it is larger than these or where
    a tie lies at its edge.
    """

    def __init__(self, law: Softmax, top_p: float) -> None:
        self._law = law
        size = min(EDGE, law.logits.shape[1])
        values, ids = law.logits.topk(size, dim=1)
        weights = law._log_weight(values.double()).exp()
        inside = _before(weights / law.total[:, None]) < top_p - ROUNDING
        count = inside.sum(1)
        edge = (count - 1).clamp(min=0)[:, None]
        tied = values.gather(1, edge) == values.gather(1, (edge + 1).clamp(max=size - 1))
        unsure = (count == size) | tied.squeeze(1)
        ids, order = ids.masked_fill(~inside, law.logits.shape[1]).sort(dim=1)
        self.ids, self.weights = ids, weights.masked_fill(~inside, 0.0).gather(1, order)
        if bool(unsure.any()):
            self._search_everywhere(unsure.nonzero().squeeze(1), top_p)

    def _search_everywhere(self, rows: Tensor, top_p: float) -> None:
        weights = self._law.weights[rows]
        order = self._law.logits[rows].argsort(dim=1, descending=True, stable=True)
        outside = _before(weights.gather(1, order) / self._law.total[rows, None]) >= top_p - ROUNDING
        width = int((~outside).sum(1).max())
        ids, again = order[:, :width].masked_fill(outside[:, :width], weights.shape[1]).sort(dim=1)
        inside = weights.gather(1, order[:, :width]).masked_fill(outside[:, :width], 0.0).gather(1, again)
        wider = width - self.ids.shape[1]
        if wider > 0:
            self.ids = torch.nn.functional.pad(self.ids, (0, wider), value=weights.shape[1])
            self.weights = torch.nn.functional.pad(self.weights, (0, wider))
        self.ids[rows], self.weights[rows] = weights.shape[1], 0.0
        self.ids[rows, :width], self.weights[rows, :width] = ids, inside

    def draw(self, uniform: Tensor) -> Tensor:
        """Tokens (n,) at which the distribution function of the nucleus passes uniform (n,)."""
        sums = self.weights.cumsum(1)
        place = torch.searchsorted(sums, (uniform * sums[:, -1])[:, None], right=True)
        tokens: Tensor = self.ids.gather(1, place).squeeze(1)
        return tokens

    def score(self, order: Order, tokens: Tensor) -> Tensor:
        """What the order ranks by (n,), read from the probabilities inside the nucleus."""
        p = self.weights / self.weights.sum(1, keepdim=True)
        if order == "confidence":
            return p.gather(1, (self.ids == tokens[:, None]).int().argmax(1, keepdim=True)).squeeze(1).log()
        if order == "top-probability":
            return p.amax(1).log()
        if order == "margin":
            two = p.topk(2, dim=1).values
            return two[:, 0] - two[:, 1]
        minus_entropy: Tensor = torch.special.xlogy(p, p).sum(1)
        return minus_entropy


def first_best(logits: Tensor, best: Tensor) -> Tensor:
    """The first token (n,) of the largest logit ``best`` (n,) of each row."""
    vocab = logits.shape[1]
    if vocab <= 4 * BLOCK:
        return logits.argmax(1)
    whole = vocab // BLOCK * BLOCK
    tops = logits[:, :whole].unflatten(1, (-1, BLOCK)).amax(2)
    if whole < vocab:
        tops = torch.cat([tops, logits[:, whole:].amax(1, keepdim=True)], dim=1)
    block = (tops == best[:, None]).int().argmax(1, keepdim=True)
    place = block * BLOCK + torch.arange(BLOCK, device=logits.device)
    inside = logits.gather(1, place.clamp(max=vocab - 1)) == best[:, None]
    first: Tensor = block.squeeze(1) * BLOCK + inside.int().argmax(1)
    return first


def _block_sums(weights: Tensor) -> Tensor:
    """Running sums (n, blocks) of the weights of blocks."""
    whole = weights.shape[1] // BLOCK * BLOCK
    sums = weights[:, :whole].unflatten(1, (-1, BLOCK)).sum(2)
    if whole < weights.shape[1]:
        sums = torch.cat([sums, weights[:, whole:].sum(1, keepdim=True)], dim=1)
    running: Tensor = sums.cumsum(1)
    return running


def _before(p: Tensor) -> Tensor:
    """For each entry (n, k) the sum of those before it."""
    sums = p.cumsum(1).roll(1, dims=1)
    sums[:, 0] = 0.0
    return sums
