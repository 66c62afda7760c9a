"""From logits to one drawn token, and from predictions to the positions that are revealed first."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from mdm_tune.errors import RunError

__all__ = ["ORDERS", "Order", "draw_tokens", "log_probabilities", "order_score", "top"]

Order = Literal["random", "confidence", "top-probability", "margin", "entropy"]
ORDERS: tuple[Order, ...] = get_args(Order)


def log_probabilities(logits: Tensor, rows: Tensor, where: str) -> Tensor:
    """Float64 log probabilities (n, vocab); rows (n,) and ``where`` are for the message that names a bad one."""
    best = logits.amax(1)  # NaN anywhere makes it NaN, a row without a finite logit makes it -inf
    bad = ~torch.isfinite(best)
    if bool(bad.any()):
        row = int(rows[bad.nonzero()[0, 0]])
        kind = {"nan": "NaN", "inf": "+inf", "-inf": "no finite logit"}[str(float(best[bad][0]))]
        raise RunError(
            f"the denoiser returned {kind} for row {row} {where}; each wanted position needs at least one "
            "finite logit and neither NaN nor +inf: check the checkpoint and its dtype"
        )
    return logits.double().log_softmax(1)


def draw_tokens(log_p: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """One token per row of log_p (n, vocab) by inverting its float64 distribution function at uniform (n,).

    A single uniform per token costs the same for every vocabulary and, unlike float32 Gumbel noise, cuts no tail
    (arXiv:2409.02908).
    """
    if temperature == 0:
        return log_p.argmax(1)
    if temperature != 1:
        # Measured from the best token, so that no temperature is too small to divide by.
        log_p = ((log_p - log_p.amax(1, keepdim=True)) / temperature).log_softmax(1)
    cumulative = log_p.exp().cumsum(1)
    # u <= 1 - 2^-53 keeps u * total below the total, so the search ends on a token that has some probability.
    target = uniform * cumulative[:, -1]
    token: Tensor = torch.searchsorted(cumulative, target[:, None], right=True)
    return token.squeeze(1)


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


def top(scores: Tensor, candidates: Tensor, count: Tensor) -> Tensor:
    """The ``count`` (rows,) candidates (rows, length) of highest score per row, ties to the lowest position."""
    ranked = scores.masked_fill(~candidates, -torch.inf).sort(dim=1, descending=True, stable=True).indices
    rank = torch.empty_like(ranked).scatter_(
        1, ranked, torch.arange(scores.shape[1], device=scores.device).expand_as(ranked)
    )
    return candidates & (rank < count[:, None])
