"""What every denoiser from outside the package must hold, tried on a few rows when it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.guard import ForeignFailure, calling, safe_repr
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.lengths import EqualLengths
from mdm_tune.denoisers.outputs import UnusableOutput, checked_logits

__all__ = ["Examined", "check_denoiser"]

EXACT = 1e-3  # of the effect of visible tokens: what float32 rounding may amount to
HALF = 0.25  # the same for bfloat16 and float16
HALF_NOISE = 0.02  # and what their rounding may be beside it, in total variation
LARGEST = 2**31 - 1  # of vocabularies and ids
NOTHING = 1e-9  # a total variation that is none


def check_denoiser(
    examined: Examined,
    rows: Tensor,
    body: slice,
    *,
    padding: Callable[[], bool] = lambda: True,
    mended: str = "",
) -> tuple[Denoiser, list[str]]:
    """The denoiser, given rows of one length at a time where padding disturbs it, and what a user should know.

    rows (2, length) int64: whole texts without a mask. body: their columns that may be hidden, at least three. padding:
    whether it may be harmless, asked last. mended: which revision of the denoiser knows padding.

    Raises InputError that names the first check that fails: call, shape, finite, mask, deterministic, visible tokens,
    causal, independent.
    """
    ask = examined
    everything = _columns(rows, slice(body.start, body.stop))
    if not torch.equal(ask(ask.masked(rows, everything), everything), ask(ask.masked(rows, everything), everything)):
        raise ask.failed("deterministic", "give equal answers to equal calls", "two different ones; switch dropout off")
    effect = _of_visible(ask, rows, body)
    allowed = HALF * effect + HALF_NOISE if ask.dtype in (torch.bfloat16, torch.float16) else EXACT * effect + NOTHING
    half = _columns(rows, slice(body.start, body.stop, 2))
    half[1, body.start + 1] = True  # so that not even the number of masks is the same in both rows
    context = ask.masked(rows, half)
    together = ask(context, half)
    alone = torch.cat([ask(context[row : row + 1], half[row : row + 1]) for row in range(2)])
    only = ask(context, _columns(rows, slice(body.start, body.start + 1)))
    apart = max(_distance(together, alone), _distance(together[[0, int(half[0].sum())]], only))
    if apart > allowed:
        raise ask.failed(
            "independent",
            "answer each row and position alike, whatever else is asked in the same call",
            f"answers that differ by {apart:.2g} in total variation",
        )
    if padding() and _knows_padding(ask, context, half, body, allowed + 4 * apart):
        return ask.denoiser, []
    how = f"; what mends it: {mended}" if mended else ""
    return EqualLengths(ask.denoiser), [
        f"{ask.where} does not know padding, so that only rows of equal length share a call{how}"
    ]


class Examined:
    """A denoiser whose every answer is looked at.

    where: what it is, for messages. file: where its code is. Raises InputError where it lacks the attributes of a
    denoiser.
    """

    def __init__(self, denoiser: Denoiser, where: str, file: Path | None = None) -> None:
        self.denoiser, self.where, self.file = denoiser, where, file
        self.dtype = torch.float32
        for name, least in (("vocab_size", 1), ("mask_id", 0)):
            with calling(where, "correct it", file=file, place=f"in {name}", loading=True):
                value = getattr(denoiser, name, None)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LARGEST:
                raise self.failed(
                    "attributes", f"have a whole number {name} from {least} to {LARGEST}", safe_repr(value)
                )
        if not callable(denoiser):
            raise self.failed("attributes", "be callable with (tokens, wanted)", type(denoiser).__name__)

    def failed(self, check: str, rule: str, got: str) -> InputError:
        return InputError(f"{self.where}: check {check!r} failed: a denoiser must {rule}, got {got}; mend the model")

    def masked(self, rows: Tensor, hidden: Tensor) -> Tensor:
        return rows.masked_fill(hidden, self.denoiser.mask_id)

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Log probabilities (wanted.sum(), vocab_size) in float64."""
        try:
            with torch.inference_mode(), calling(self.where, file=self.file):
                given: Any = self.denoiser(tokens.clone(), wanted.clone())
        except ForeignFailure as error:
            raise self.failed("call", f"answer {tuple(tokens.shape)} tokens", error.error) from error
        expected = (int(wanted.sum()), self.denoiser.vocab_size)
        try:
            answer = checked_logits(given, expected, tokens.device)
        except UnusableOutput as error:
            rule = f"return float logits {expected}, one row per wanted position"
            raise self.failed("shape", rule, str(error).partition(" and got ")[2]) from None
        self.dtype = answer.dtype
        best = answer.amax(1) if len(answer) else answer.new_zeros(1)
        if not bool(torch.isfinite(best).all()):
            raise self.failed(
                "finite",
                "give every position a finite logit and neither NaN nor +inf",
                f"{float(best[~torch.isfinite(best)][0])} as a largest logit",
            )
        mask = self.denoiser.mask_id
        if mask < self.denoiser.vocab_size and bool((answer[:, mask] > -torch.inf).any()):
            raise self.failed("mask", f"never predict the mask, token {mask} (its logit is -inf)", "another logit")
        return answer.double().log_softmax(1)


def _columns(rows: Tensor, columns: slice) -> Tensor:
    """True in these columns of every row."""
    found = torch.zeros_like(rows, dtype=torch.bool)
    found[:, columns] = True
    return found


def _of_visible(ask: Examined, rows: Tensor, body: slice) -> float:
    """How much visible tokens change the prediction between them, in total variation."""
    middle = (body.start + body.stop) // 2
    wanted = _columns(rows, slice(middle, middle + 1))
    before, after = _columns(rows, slice(body.start, middle)), _columns(rows, slice(middle + 1, body.stop))
    neither, earlier, later, both = (
        ask(ask.masked(rows, hidden | wanted), wanted) for hidden in (before | after, after, before, wanted)
    )
    of_earlier = max(_distance(neither, earlier), _distance(later, both))
    of_later = max(_distance(neither, later), _distance(earlier, both))
    if max(of_earlier, of_later) <= NOTHING:
        raise ask.failed(
            "visible tokens", "let what is visible change what it predicts elsewhere", "predictions that never change"
        )
    if of_later <= EXACT * of_earlier:
        raise ask.failed(
            "causal",
            "look at the tokens behind a hidden one too",
            "predictions that follow from those before it alone: a decoder-only model, or one whose attention is "
            "causal without model.attention_mask: 4d",
        )
    return max(of_earlier, of_later)


def _knows_padding(ask: Examined, context: Tensor, wanted: Tensor, body: slice, allowed: float) -> bool:
    """Whether a text answers alike with padding before or behind it, beside a longer one."""
    kept = torch.ones(context.shape[1], dtype=torch.bool)
    kept[body.start + 1 : (body.start + body.stop) // 2 + 1] = False
    short, asked = context[:1, kept], wanted[:1, kept]
    blank = torch.full_like(context[:1, ~kept], -1)
    unasked = torch.zeros_like(blank, dtype=torch.bool)
    try:
        alone = ask(short, asked)
        for order in (1, -1):
            tokens = torch.cat([blank, short][::order], dim=1)
            where = torch.cat([unasked, asked][::order], dim=1)
            beside = ask(torch.cat([tokens, context[1:]]), torch.cat([where, torch.zeros_like(where)]))
            if _distance(alone, beside) > allowed:
                return False
    except InputError:
        return False
    return True


def _distance(first: Tensor, second: Tensor) -> float:
    """The largest total variation between two predictions, row by row."""
    return float(0.5 * (first.exp() - second.exp()).abs().sum(1).max())
