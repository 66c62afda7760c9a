"""From logits to one drawn token, and from predictions to the positions that are revealed first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.types import Order
from mdm_tune.sampling.large_vocabulary import COLDEST, Nucleus, Scratch, Softmax, first_best, reached

__all__ = [
    "ORDERS",
    "PLAIN",
    "Drawing",
    "Drawn",
    "Order",
    "Scratch",
    "confidence",
    "draw",
    "draw_tokens",
    "in_rows",
    "order_score",
    "scattered",
    "top",
    "without",
]

ORDERS: tuple[Order, ...] = get_args(Order)
LARGE = 2048  # tokens of a vocabulary from which fewer passes over the logits pay for more operations


@dataclass(frozen=True)
class Drawing:
    """How tokens are drawn, and which positions are revealed first.

    Attributes:
        order: ``random``; ``confidence``, the probability of the drawn token; or, by the predictions alone,
            ``top-probability``, ``margin`` or ``entropy``. Ties go to the lowest position.
        temperature: Of the drawn tokens, at least 0; 0 is argmax.
        top_p: In (0, 1]. Tokens are drawn from the smallest set of most probable tokens whose probability, at that
            temperature, reaches it. Ties go to the lower id.
        confidence_temperature: At 0 the best positions are revealed. Above 0 positions are drawn without replacement
            in proportion to exp(score / confidence_temperature); the score of ``confidence`` and ``top-probability``
            is a probability.
        end_tokens: The ids that end a text.
        end_drawn: If False, end tokens are never drawn.
        end_confident: If False, scores leave end tokens out, and a drawn end token is revealed after all others.
        stop_at_end: If True, a row is finished once an end token and every position before it are revealed. Positions
            that are still hidden become that token.
        tempered_scores: If True, scores are read after temperature and top_p, as Dream does. If False, they are read
            from the prediction itself, as LLaDA does.

    Raises:
        InputError: If a value is out of its range, or values have no meaning together.

    Source: top-p is arXiv:1904.09751. The rules for the end of a text are those of arXiv:2502.09992, Appendix B.4.
    """

    order: Order = "random"
    temperature: float = 1.0
    top_p: float = 1.0
    confidence_temperature: float = 0.0
    end_tokens: tuple[int, ...] = ()
    end_drawn: bool = True
    end_confident: bool = True
    stop_at_end: bool = False
    tempered_scores: bool = False

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise InputError(f"order must be one of {', '.join(ORDERS)}, got {self.order!r}")
        for name, value in (
            ("temperature", self.temperature),
            ("confidence_temperature", self.confidence_temperature),
        ):
            if not 0 <= value < math.inf:
                raise InputError(f"{name} must be at least 0 and finite, got {value}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must be above 0 and at most 1, got {self.top_p}")
        ranking = {
            "confidence_temperature above 0": self.confidence_temperature > 0,
            "end_confident = False": not self.end_confident,
            "tempered_scores = True": self.tempered_scores,
        }
        on = [name for name, is_on in ranking.items() if is_on]
        if on and self.order == "random":
            raise InputError(
                f"{on[0]} needs an order that ranks positions, got order 'random'; set the order to 'confidence', "
                "or leave it out"
            )
        if self.ends and not self.end_tokens:
            raise InputError(
                f"{self.ends[0]} needs end_tokens, the ids that end a text, got none; give them, those of a Hugging "
                "Face model as model.end_tokens"
            )
        if self.stop_at_end and not self.end_drawn:
            raise InputError(
                "stop_at_end = True waits for an end token, got end_drawn = False, which draws none; drop one of them"
            )

    @property
    def ends(self) -> list[str]:
        """The end-of-text rules that are on."""
        rules = {
            "end_drawn = False": not self.end_drawn,
            "end_confident = False": not self.end_confident,
            "stop_at_end = True": self.stop_at_end,
        }
        return [name for name, is_on in rules.items() if is_on]


PLAIN = Drawing()


@dataclass(frozen=True)
class Drawn:
    """One token for each position of a piece of predictions.

    Attributes:
        tokens: (n,) int64.
        scores: (n,) float64, the score of each position, larger first; -inf is revealed last. None in random order.
        log_prob: (n,) float64, log probability of the target at temperature and top_p 1; None without a target.
    """

    tokens: Tensor
    scores: Tensor | None
    log_prob: Tensor | None = None


def draw(
    drawing: Drawing,
    logits: Tensor,
    best: Tensor,
    uniform: Tensor | None,
    *,
    target: Tensor | None = None,
    scratch: Scratch | None = None,
) -> Drawn:
    """Draw a token from each prediction, and rank its position.

    A prediction is the softmax of its logits, computed in float64 without cutting its tail. A single uniform per token
    costs the same for every vocabulary and, unlike float32 Gumbel noise, loses no rare token (arXiv:2409.02908). For a
    large vocabulary the exponentials of single tokens are float32, and their sums float64, where this is all that is
    asked: without a target, top-p, tempered scores or entropies.

    Args:
        drawing: how tokens are drawn and positions ranked.
        logits: (n, vocab) of any floating type; those of tokens that are never drawn are -inf.
        best: (n,) the largest logit of each row, which must be finite.
        uniform: (n,) float64 in (0, 1); None where temperature is 0.
        target: (n,) int64, tokens whose log probability is wanted.
        scratch: a buffer that several calls share.
    """
    temperature, order = drawing.temperature, drawing.order
    nucleus = drawing.top_p < 1 and temperature > 0
    if order == "random" and temperature == 0 and target is None:
        return Drawn(tokens=first_best(logits, best), scores=None)
    scores_of_nucleus = drawing.tempered_scores and drawing.top_p < 1 and temperature == 0
    if logits.shape[1] < LARGE or not drawing.end_confident or scores_of_nucleus:
        return _draw_plainly(drawing, logits.log_softmax(1, torch.float64), uniform, target)
    scratch = Scratch() if scratch is None else scratch
    ranks = order != "random" and not drawing.tempered_scores
    draws = uniform is not None and temperature > 0
    single = (
        logits.dtype != torch.float64
        and target is None
        and order != "entropy"
        and not (nucleus or drawing.tempered_scores or 0 < temperature < COLDEST)
    )
    prediction, log_prob, score = None, None, None
    if target is not None or ranks or (draws and temperature == 1):
        prediction = Softmax(logits, best, 1.0, scratch, single=single)
        log_prob = None if target is None else prediction.log_prob(target)
        if ranks and order == "entropy":  # before its weights are overwritten
            score = prediction.score(order, best)
    tokens = first_best(logits, best) if temperature == 0 or target is None else target
    if draws or drawing.tempered_scores:
        tempered = prediction if temperature == 1 and prediction is not None else None
        tempered = tempered or Softmax(logits, best, temperature or 1.0, scratch, single=single)
        law = Nucleus(tempered, drawing.top_p) if nucleus else tempered
        tokens = law.draw(uniform) if draws and uniform is not None else tokens
        score = law.score(order, tokens) if drawing.tempered_scores else score
    if ranks and score is None and prediction is not None:
        score = prediction.score(order, tokens)
    return Drawn(tokens=tokens, scores=None if score is None else score.round(decimals=12), log_prob=log_prob)


def _draw_plainly(drawing: Drawing, log_p: Tensor, uniform: Tensor | None, target: Tensor | None) -> Drawn:
    """What ``draw`` stands for, from log probabilities (n, vocab) float64; as fast where the vocabulary is small."""
    log_prob = None if target is None else log_p.gather(1, target[:, None]).squeeze(1)
    if uniform is None:  # the temperature is 0, or the target takes the place of what would be drawn
        greatest, tokens = log_p.max(1)
    else:
        greatest, tokens = None, draw_tokens(log_p, uniform, drawing.temperature, drawing.top_p)
    if drawing.order == "random":
        return Drawn(tokens=tokens, scores=None, log_prob=log_prob)
    if drawing.tempered_scores:
        log_p, greatest = _tempered(log_p, drawing.temperature or 1.0, drawing.top_p).log_softmax(1), None
    if drawing.end_confident and greatest is not None and drawing.order in ("confidence", "top-probability"):
        return Drawn(tokens=tokens, scores=greatest.round(decimals=12), log_prob=log_prob)
    if drawing.end_confident:
        return Drawn(tokens=tokens, scores=order_score(drawing.order, log_p, tokens), log_prob=log_prob)
    scores = order_score(drawing.order, without(log_p, drawing.end_tokens).log_softmax(1), tokens)
    for end in drawing.end_tokens:
        scores = scores.masked_fill(tokens == end, -torch.inf)
    return Drawn(tokens=tokens, scores=scores, log_prob=log_prob)


def without(logits: Tensor, tokens: Sequence[int]) -> Tensor:
    """A copy of logits (n, vocab) in which these tokens are impossible."""
    copy = logits.clone()
    for token in tokens:
        copy[:, token] = -torch.inf
    return copy


def draw_tokens(log_p: Tensor, uniform: Tensor, temperature: float, top_p: float = 1.0) -> Tensor:
    """One token per row of log_p (n, vocab) by inverting its float64 distribution function at uniform (n,).

    A single uniform per token costs the same for every vocabulary and, unlike float32 Gumbel noise, cuts no tail
    (arXiv:2409.02908).
    """
    if temperature == 0:
        return log_p.argmax(1)
    cumulative = _tempered(log_p, temperature, top_p).exp().cumsum(1)
    # u <= 1 - 2^-53 keeps u * total below the total, so the search ends on a token that has some probability.
    target = uniform * cumulative[:, -1]
    token: Tensor = torch.searchsorted(cumulative, target[:, None], right=True)
    return token.squeeze(1).clamp_(max=log_p.shape[1] - 1)  # it is larger only if the row holds NaN


def _tempered(log_p: Tensor, temperature: float, top_p: float) -> Tensor:
    """Log probabilities (n, vocab) at a temperature above 0, those outside the nucleus -inf; not normalised again."""
    if temperature != 1:
        # Measured from the best token, so that no temperature is too small to divide by.
        log_p = ((log_p - log_p.amax(1, keepdim=True)) / temperature).log_softmax(1)
    if top_p == 1:
        return log_p
    ranked, order = log_p.sort(dim=1, descending=True, stable=True)
    before = ranked.exp().cumsum(1).roll(1, dims=1)
    before[:, 0] = 0.0
    outside = before >= reached(top_p)
    return log_p.masked_fill(torch.empty_like(outside).scatter_(1, order, outside), -torch.inf)


def order_score(order: Order, log_p: Tensor, chosen: Tensor) -> Tensor:
    """What the order ranks by (n,), larger first: from log probabilities (n, vocab) and the drawn tokens (n,).

    Rounded to 1e-12, because equal predictions at two positions differ in the last bits, and ties are to go to the
    lowest position.
    """
    if order == "confidence":
        score = log_p.gather(1, chosen[:, None]).squeeze(1)
    elif order == "top-probability":
        score = log_p.amax(1)
    elif order == "margin":
        best = log_p.topk(min(2, log_p.shape[1]), dim=1).values.exp()
        score = best[:, 0] - best[:, 1:].sum(1)
    elif order == "entropy":
        score = torch.special.xlogy(log_p.exp(), log_p.exp()).sum(1)
    else:
        score = torch.zeros_like(log_p[:, 0])
    return score.round(decimals=12)


def confidence(order: Order, scores: Tensor) -> Tensor:
    """Scores on the scale of other systems: a probability, the margin of two, or minus an entropy in nats.

    Rounded to 1e-9, so that a probability of 0.9 reaches a threshold of 0.9.
    """
    return (scores.exp() if order in ("confidence", "top-probability") else scores).round(decimals=9)


def scattered(drawing: Drawing, scores: Tensor, uniform: Tensor) -> Tensor:
    """Scores (n,) whose largest are positions drawn without replacement in proportion to exp(score / temperature).

    uniform (n,); -inf stays last. Source: the Gumbel-top-k trick, arXiv:1903.06059.
    """
    gumbel = -torch.log(-torch.log(uniform))
    noisy = confidence(drawing.order, scores) + drawing.confidence_temperature * gumbel
    return noisy.masked_fill(scores == -torch.inf, -torch.inf)


def top(scores: NDArray[np.float64], row: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of the positions of highest score in each row, ties to the lowest number.

    Args:
        scores: (n,).
        row: (n,) the row of each position, ascending.
        count: (rows,) how many of them to choose; a row that has fewer gives all.
    """
    if len(count) == 1:  # needs no table
        return (-scores).argsort(kind="stable")[: count[0]]
    table, first = in_rows(-scores, row, len(count))
    chosen = np.arange(table.shape[1]) < np.minimum(count, np.diff(first))[:, None]
    return np.asarray((first[:-1, None] + table.argsort(axis=1, kind="stable"))[chosen])


def in_rows(
    values: NDArray[np.float64], row: NDArray[np.int64], rows: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A list as a table.

    Args:
        values: (n,).
        row: (n,) the row of each, ascending.
        rows: The number of rows.

    Returns:
        The table (rows, most), NaN behind the values of a row; and (rows + 1,) the number of the first value of each
        row, and n.
    """
    first = row.searchsorted(np.arange(rows + 1))
    table = np.full((rows, np.diff(first).max(initial=0)), np.nan)
    table[row, np.arange(len(row)) - first[row]] = values
    return table, first
