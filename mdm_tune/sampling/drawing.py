"""From logits to one drawn token, and from predictions to the positions that are revealed first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.types import Order

__all__ = [
    "ORDERS",
    "PLAIN",
    "Drawing",
    "Order",
    "confidence",
    "draw",
    "draw_tokens",
    "order_score",
    "scattered",
    "top",
]

ORDERS: tuple[Order, ...] = get_args(Order)
ROUNDING = 1e-12  # a sum of probabilities this close to top_p has reached it


@dataclass(frozen=True)
class Drawing:
    """How tokens are drawn and which positions go first.

    order: ``random``, ``confidence`` (probability of the drawn token), or by the predictions alone
    ``top-probability``, ``margin``, ``entropy``; ties go to the lowest position. temperature: of the drawn tokens, 0 is
    argmax. top_p in (0, 1]: tokens are drawn from the smallest set of most probable ones whose probability reaches it,
    at that temperature; ties go to the lower id. confidence_temperature: 0 reveals the best positions; above it,
    positions are drawn without replacement in proportion to exp(score / confidence_temperature), where the score of
    ``confidence`` and ``top-probability`` is a probability. tempered_scores: read the order's scores from what tokens
    are drawn from, after temperature and top_p, as Dream does; False reads them from the prediction itself, as LLaDA
    does. end_tokens: the ids that end a text. end_drawn: False never draws them. end_confident: False reads the scores
    without them, and reveals a drawn end token only after everything else. stop_at_end: a row is finished once an end
    token and every position before it are revealed; what is still hidden then becomes that token.

    Raises InputError for a value out of its range, and for values that have no meaning together.
    Source: top-p is arXiv:1904.09751, the rules for the end of a text are those of arXiv:2502.09992, Appendix B.4.
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
        asked = [name for name, given in ranking.items() if given]
        if asked and self.order == "random":
            raise InputError(
                f"{asked[0]} needs an order that ranks positions, got order 'random'; set the order to 'confidence', "
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
        """What makes end tokens special, in words; empty where nothing does."""
        given = {
            "end_drawn = False": not self.end_drawn,
            "end_confident = False": not self.end_confident,
            "stop_at_end = True": self.stop_at_end,
        }
        return [name for name, asked in given.items() if asked]


PLAIN = Drawing()


def draw(drawing: Drawing, log_p: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (n,) and what their positions are ranked by (n,), larger first; -inf is revealed last.

    log_p (n, vocab) float64 log probabilities, without end tokens already where these are never drawn; uniform (n,).
    """
    tokens = draw_tokens(log_p, uniform, drawing.temperature, drawing.top_p)
    if drawing.tempered_scores:
        log_p = _tempered(log_p, drawing.temperature or 1.0, drawing.top_p).log_softmax(1)
    if drawing.end_confident:
        return tokens, order_score(drawing.order, log_p, tokens)
    ends = torch.tensor(drawing.end_tokens, device=log_p.device)
    scores = order_score(drawing.order, log_p.index_fill(1, ends, -torch.inf).log_softmax(1), tokens)
    return tokens, scores.masked_fill(torch.isin(tokens, ends), -torch.inf)


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
    return token.squeeze(1)


def _tempered(log_p: Tensor, temperature: float, top_p: float) -> Tensor:
    """Log probabilities (n, vocab) at a temperature above 0, those outside the nucleus -inf; not normalised again."""
    if temperature != 1:
        # Measured from the best token, so that no temperature is too small to divide by.
        log_p = ((log_p - log_p.amax(1, keepdim=True)) / temperature).log_softmax(1)
    if top_p == 1:
        return log_p
    ranked, order = log_p.sort(dim=1, descending=True, stable=True)
    reached = ranked.exp().cumsum(1).roll(1, dims=1)
    reached[:, 0] = 0.0
    outside = reached >= top_p - ROUNDING
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


def top(scores: Tensor, candidates: Tensor, count: Tensor) -> Tensor:
    """The ``count`` (rows,) candidates (rows, length) of highest score per row, ties to the lowest position."""
    # A candidate's -inf still comes before whatever is no candidate.
    scores = scores.clamp(min=torch.finfo(scores.dtype).min).masked_fill(~candidates, -torch.inf)
    ranked = scores.sort(dim=1, descending=True, stable=True).indices
    rank = torch.empty_like(ranked).scatter_(
        1, ranked, torch.arange(scores.shape[1], device=scores.device).expand_as(ranked)
    )
    return candidates & (rank < count[:, None])
