"""Drawing from predictions over a large vocabulary, with few passes over the logits.

The tokens and scores are those of the definition in ``drawing``; only the rounding of single terms differs. One
exponential per logit gives the weights, their sums over blocks find the block of a token, and the distribution function
is computed inside that block alone. All sums are float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from mdm_tune.core.types import Order

__all__ = ["Nucleus", "Scratch", "Softmax", "first_best", "powers", "reached"]

BLOCK = 512  # tokens of a block
NEAR = 64.0  # logits up to this size need no shift before their exponentials
LOG2_E = math.log2(math.e)
COLDEST = 1e-3  # temperature down to which float32 has the numbers that are needed
DIGIT = 11  # bits of a logit that one pass looks at
_CPU = torch.device("cpu")
EDGE = 64  # most probable tokens in which a nucleus is looked for


def reached(top_p: float) -> float:
    """The sum of probabilities that counts as top_p: a little less, because sums are rounded, and above 0."""
    return top_p - min(1e-12, top_p / 2)


class Scratch:
    """Buffers that are used for one piece after another: new memory costs as much as a pass over it."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def like(self, logits: Tensor, use: str = "weights", dtype: torch.dtype = torch.float64) -> Tensor:
        """A tensor of the shape and device of the logits; its values are those of the last tensor for this use."""
        return self.of(logits.shape, use, dtype, logits.device)

    def of(self, shape: Sequence[int], use: str, dtype: torch.dtype, device: torch.device = _CPU) -> Tensor:
        """A tensor of this shape, as ``like``."""
        kept, size = self._kept.get(use), math.prod(shape) * dtype.itemsize
        if kept is None or kept.numel() < size or kept.device != device:
            kept = self._kept[use] = torch.empty(size, dtype=torch.uint8, device=device)
        return kept[:size].view(dtype).view(shape)


class Softmax:
    """The softmax of logits at a temperature above 0.

    The weights lie in the scratch buffer: use them before the next ``Softmax`` with the same buffer.

    Args:
        logits: (n, vocab) of any floating type.
        best: (n,) the largest logit of each row, finite.
        single: whether the weights are float32, which takes half the time. They are measured from the best token, so
            that the relative error of -log p is below 1e-6, also for a token that is nearly certain. A token of less
            than 2^-149 times the weight of the best one has none, which is far below what a uniform number of 52 bits
            can tell. For logits of at most 32 bits and temperatures from ``COLDEST`` on.
    """

    def __init__(
        self, logits: Tensor, best: Tensor, temperature: float, scratch: Scratch, *, single: bool = False
    ) -> None:
        self.logits, self.best, self.temperature = logits, best.double(), temperature
        self.scratch = scratch
        far = single or temperature != 1 or logits.device.type != "cpu" or bool((best.abs() > NEAR).any())
        self.shift = self.best if far else None
        if single:
            below = torch.sub(logits, best.float()[:, None], out=scratch.like(logits, dtype=torch.float32))
            self.weights = below.mul_(LOG2_E / temperature).exp2_()
        else:
            self.weights = powers(_exponents(logits, self.shift, temperature, scratch.like(logits)))
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
        exponents = _exponents(self.logits, self.shift, self.temperature, self.scratch.like(self.logits, "index"))
        return _minus_entropy(exponents, self.weights, self.total)

    def draw(self, uniform: Tensor) -> Tensor:
        """Tokens (n,) at which the distribution function passes uniform (n,)."""
        # u <= 1 - 2^-53 keeps u * total below the total, so that the block has some weight.
        return _passing(self.weights, self._sums, uniform * self.total)

    def _log_weight(self, logits: Tensor) -> Tensor:
        """Logarithms of weights, of logits (n,) or (n, k)."""
        if self.shift is None:
            return logits
        return (logits - self.shift.view(-1, *[1] * (logits.ndim - 1))) / self.temperature


class Nucleus:
    """The smallest set of most probable tokens whose probability reaches top_p; ties go to the lower id.

    On the CPU it is looked for among the most probable tokens first, and in the whole vocabulary for the rows where it
    is larger than these or where a tie lies at its edge. On another device that choice would wait for the device, so
    that all rows are looked for in the whole vocabulary. The weights of ``law`` may be overwritten.

    Args:
        law: the softmax.
        top_p: in (0, 1).
        choose: whether rows choose; by default on the CPU alone.
    """

    def __init__(self, law: Softmax, top_p: float, *, choose: bool | None = None) -> None:
        self._few: _Few | None = None
        self._many: _Many | None = None
        self._rows: Tensor | None = None  # those in which it has many tokens; None where all have
        if choose if choose is not None else law.logits.device.type == "cpu":
            self._few = _Few(law, top_p)
            self._rows = self._few.unsure.nonzero().squeeze(1)
            if len(self._rows) == 0:
                return
            if len(self._rows) == len(law.logits):
                self._few, self._rows = None, None
        self._many = _Many(law, top_p, self._rows)

    def draw(self, uniform: Tensor) -> Tensor:
        """Tokens (n,) at which the distribution function of the nucleus passes uniform (n,)."""
        return self._read(lambda part, rows: part.draw(uniform if rows is None else uniform[rows]))

    def score(self, order: Order, tokens: Tensor) -> Tensor:
        """What the order ranks by (n,), read from the probabilities inside the nucleus."""
        return self._read(lambda part, rows: part.score(order, tokens if rows is None else tokens[rows]))

    def _read(self, read: Callable[[_Few | _Many, Tensor | None], Tensor]) -> Tensor:
        parts = [(part, rows) for part, rows in ((self._few, None), (self._many, self._rows)) if part is not None]
        values = read(*parts[0])
        for part, rows in parts[1:]:
            values[rows] = read(part, rows)
        return values


class _Few:
    """Nuclei of few tokens; ``unsure`` (n,) marks the rows that need a search in the whole vocabulary."""

    def __init__(self, law: Softmax, top_p: float) -> None:
        self._vocab = law.logits.shape[1]
        size = min(EDGE, self._vocab)
        values, ids = law.logits.topk(size, dim=1)
        weights = law._log_weight(values.double()).exp()
        inside = _before(weights) / law.total[:, None] < reached(top_p)
        count = inside.sum(1)
        edge = (count - 1).clamp(min=0)[:, None]
        tied = values.gather(1, edge) == values.gather(1, (edge + 1).clamp(max=size - 1))
        self.unsure = (count == size) | tied.squeeze(1)
        self._ids, order = ids.masked_fill(~inside, self._vocab).sort(dim=1)
        self._weights = weights.masked_fill(~inside, 0.0).gather(1, order)

    def draw(self, uniform: Tensor) -> Tensor:
        sums = self._weights.cumsum(1)
        place = torch.searchsorted(sums, (uniform * sums[:, -1])[:, None], right=True)
        # Where logits are not a number the search ends anywhere; the token is at least one of the vocabulary.
        tokens = self._ids.gather(1, place.clamp(max=sums.shape[1] - 1)).squeeze(1)
        return tokens.clamp(max=self._vocab - 1)

    def score(self, order: Order, tokens: Tensor) -> Tensor:
        p = self._weights / self._weights.sum(1, keepdim=True)
        if order == "confidence":
            return (p * (self._ids == tokens[:, None])).sum(1).log()
        if order == "top-probability":
            return p.amax(1).log()
        if order == "margin":
            two = p.topk(2, dim=1).values
            return two[:, 0] - two[:, 1]
        minus_entropy: Tensor = torch.special.xlogy(p, p).sum(1)
        return minus_entropy


class _Many:
    """Nuclei of any number of tokens: the weights of the softmax, and 0 outside.

    Args:
        law: the softmax; its weights are overwritten where ``rows`` is None.
        top_p: in (0, 1).
        rows: (k,) the rows that are looked at; None for all.
    """

    def __init__(self, law: Softmax, top_p: float, rows: Tensor | None) -> None:
        logits, weights, total, best, shift = law.logits, law.weights, law.total, law.best, law.shift
        if rows is not None:
            logits, weights, total, best = logits[rows], weights[rows], total[rows], best[rows]
            shift = None if shift is None else shift[rows]
        self._scratch, self._exponents = law.scratch, partial(_exponents, logits, shift, law.temperature)
        distance = _distance(logits, best.to(logits.dtype), self._scratch)
        index = self._scratch.like(logits, "index", torch.int64)
        reach = reached(top_p) * total
        bits = min(8 * logits.element_size(), 63)
        edge, before, weight = _edge(distance, weights, reach[:, None], index, bits)
        tied = distance == edge
        count = tied.sum(1)
        # Of equal tokens, those are inside before which the nucleus has not reached top_p.
        wanted = ((reach - before) / (weight / count)).ceil().clamp(min=1)
        outside = distance > edge
        if rows is None or bool((wanted < count).any()):
            ties = self._scratch.like(logits, "index").copy_(tied)
            last = _passing(ties, _block_sums(ties), torch.minimum(wanted, count) - 0.5)
            outside |= tied & (torch.arange(logits.shape[1], device=logits.device) > last[:, None])
        self._weights = weights.masked_fill_(outside, 0.0)
        self._sums = _block_sums(self._weights)
        self._total = self._sums[:, -1]

    def draw(self, uniform: Tensor) -> Tensor:
        return _passing(self._weights, self._sums, uniform * self._total)

    def score(self, order: Order, tokens: Tensor) -> Tensor:
        if order == "confidence":
            return (self._weights.gather(1, tokens[:, None]).squeeze(1) / self._total).log()
        if order == "top-probability":
            return (self._weights.amax(1) / self._total).log()
        if order == "margin":
            two = self._weights.topk(2, dim=1).values / self._total[:, None]
            return two[:, 0] - two[:, 1]
        return _minus_entropy(self._exponents(self._scratch.like(self._weights, "index")), self._weights, self._total)


def _distance(logits: Tensor, best: Tensor, scratch: Scratch) -> Tensor:
    """How far each logit (n, vocab) lies below the best one (n,), as integers (n, vocab) of the same order.

    They count the numbers of the type between the two, those of float64 between 0 and the difference.
    """
    if logits.dtype == torch.float64:
        # A limit that no weight reaches, so that sums of integers stay in their range.
        below = torch.sub(best[:, None], logits, out=scratch.like(logits, "distance"))
        return below.clamp_(max=1e200).view(torch.int64)
    integer = {2: torch.int16, 4: torch.int32}[logits.element_size()]

    def ranked(values: Tensor, sign: Tensor) -> Tensor:
        """Integers in the order of the values, which are overwritten: the bits, reversed where the sign is set."""
        bits = values.add_(0.0).view(integer)  # no -0.0
        torch.bitwise_right_shift(bits, 8 * bits.element_size() - 1, out=sign)
        bits ^= sign.bitwise_and_(torch.iinfo(integer).max)
        return bits

    top = ranked(best[:, None].clone(), torch.empty_like(best[:, None], dtype=integer)).long()
    values = scratch.like(logits, "index", logits.dtype).copy_(logits)
    ranks = ranked(values, scratch.like(logits, "distance", integer))
    return torch.sub(top, ranks, out=scratch.like(logits, "distance", torch.int64))


def _edge(distance: Tensor, weights: Tensor, reach: Tensor, index: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """The largest distance at which the tokens before it weigh less than ``reach`` (n, 1).

    The weights of buckets of distances are summed, and the bucket in which ``reach`` is passed is divided again: as
    many times for all logits of a type, so that no result is waited for.

    Args:
        distance: (n, vocab) int64, at least 0.
        weights: (n, vocab) float64.
        reach: (n, 1).
        index: (n, vocab) int64, a buffer.
        bits: the number of bits of the distances.

    Returns:
        The distance (n, 1), the weight (n,) of the tokens before it, and that of the tokens at it.
    """
    edge = torch.zeros_like(distance[:, :1])
    for shift in reversed(range(0, bits, DIGIT)):
        # The first bucket holds what comes before, the last one what comes after.
        torch.sub(distance, edge - (1 << shift), out=index)
        index.bitwise_right_shift_(shift).clamp_(0, (1 << DIGIT) + 1)
        buckets = weights.new_zeros(len(weights), (1 << DIGIT) + 2).scatter_add_(1, index, weights)
        sums = buckets.cumsum(1)
        bucket = (sums[:, :-1] < reach).sum(1, keepdim=True).clamp(1, 1 << DIGIT)
        edge += (bucket - 1) << shift
    return edge, sums.gather(1, bucket - 1).squeeze(1), buckets.gather(1, bucket).squeeze(1)


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


def _passing(weights: Tensor, sums: Tensor, target: Tensor) -> Tensor:
    """The first tokens (n,) up to which weights (n, vocab) sum to more than target (n,); sums are those of blocks."""
    vocab = weights.shape[1]
    # Where weights are not a number the search ends anywhere; the token is at least one of the vocabulary.
    block = torch.searchsorted(sums, target[:, None], right=True).clamp(max=sums.shape[1] - 1)
    before = sums.gather(1, (block - 1).clamp(min=0)).masked_fill(block == 0, 0.0)
    place = block * BLOCK + torch.arange(BLOCK, device=weights.device)
    inside = weights.gather(1, place.clamp(max=vocab - 1)).masked_fill(place >= vocab, 0.0).double().cumsum(1)
    place_inside = torch.searchsorted(inside, target[:, None] - before, right=True)
    # Rounding may leave the target behind the block's last token of some weight.
    last = (inside < inside[:, -1:]).sum(1, keepdim=True)
    token: Tensor = (block * BLOCK + torch.minimum(place_inside, last)).squeeze(1)
    return token.clamp(max=vocab - 1)


def powers(exponents: Tensor) -> Tensor:
    """The exponentials of float64 numbers up to ``NEAR``, in their place.

    As powers of 2, which torch computes in a third of the time. The relative error of exp(x) grows by at most
    |x| / 2^52, which is 1e-14 at ``NEAR``.
    """
    return exponents.mul_(LOG2_E).exp2_()


def _exponents(logits: Tensor, shift: Tensor | None, temperature: float, out: Tensor) -> Tensor:
    """The numbers (n, vocab) whose exponentials are the weights, written to ``out``.

    They are measured from the shift (n,) of each row. Without one, the temperature is 1.
    """
    out.copy_(logits)
    if shift is not None:
        out.sub_(shift[:, None])
        if temperature != 1:
            out.div_(temperature)
    return out


def _minus_entropy(exponents: Tensor, weights: Tensor, total: Tensor) -> Tensor:
    """Minus the entropies (n,) in nats of weights (n, vocab) with sums total (n,); overwrites the exponents."""
    # A token without weight adds nothing, also one of exponent -inf, for which the product is not a number.
    return exponents.mul_(weights).nansum(1) / total - total.log()


def _block_sums(weights: Tensor) -> Tensor:
    """Running sums (n, blocks) of the weights of blocks."""
    whole = weights.shape[1] // BLOCK * BLOCK
    sums = weights[:, :whole].unflatten(1, (-1, BLOCK)).sum(2, dtype=torch.float64)
    if whole < weights.shape[1]:
        sums = torch.cat([sums, weights[:, whole:].sum(1, keepdim=True, dtype=torch.float64)], dim=1)
    running: Tensor = sums.cumsum(1)
    return running


def _before(p: Tensor) -> Tensor:
    """For each entry (n, k) the sum of those before it."""
    sums = p.cumsum(1).roll(1, dims=1)
    sums[:, 0] = 0.0
    return sums
