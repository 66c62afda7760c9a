"""Checks of a denoiser from outside the package, run on a few rows when it is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.guard import ForeignFailure, calling, error_text, safe_repr
from mdm_tune.denoisers.base import Denoiser, Parts, linear_head_of
from mdm_tune.denoisers.lengths import EqualLengths
from mdm_tune.denoisers.outputs import UnusableOutput, checked_logits

__all__ = ["ExaminedDenoiser", "check_denoiser", "check_parts"]

EXACT = 1e-3  # tolerance in float32, as a share of the effect of visible tokens
HALF = 0.25  # the same in bfloat16 and float16
HALF_NOISE = 0.02  # total variation that rounding in these types may add
LARGEST = 2**31 - 1  # largest vocabulary size and id
NOTHING = 1e-9  # a total variation up to this counts as zero


def check_denoiser(
    examined: ExaminedDenoiser,
    rows: Tensor,
    body: slice,
    *,
    padding: Callable[[], bool] = lambda: True,
    padding_fix: str = "",
) -> tuple[Denoiser, list[str]]:
    """Check a denoiser, and wrap it in ``EqualLengths`` if padding changes its predictions.

    Args:
        examined: The denoiser.
        rows: (2, length) int64, whole texts without a mask.
        body: Columns that may be hidden, at least three.
        padding: Returns whether padding may be harmless. It is called after all other checks.
        padding_fix: Which revisions of the denoiser handle padding, for the note.

    Returns:
        The denoiser, and notes for the user.

    Raises:
        InputError: If a check fails. It names the first one of: call, shape, finite, mask, deterministic, visible
            tokens, causal, independent.
    """
    everything = _column_mask(rows, slice(body.start, body.stop))
    hidden = examined.masked(rows, everything)
    if not torch.equal(examined(hidden, everything), examined(hidden, everything)):
        rule = "return equal results for equal calls"
        raise examined.failed("deterministic", rule, "two different results; switch dropout off")
    effect = _effect_of_visible(examined, rows, body)
    half_precision = examined.dtype in (torch.bfloat16, torch.float16)
    allowed = HALF * effect + HALF_NOISE if half_precision else EXACT * effect + NOTHING
    half = _column_mask(rows, slice(body.start, body.stop, 2))
    half[1, body.start + 1] = True  # so that the number of masks differs between the rows, too
    context = examined.masked(rows, half)
    in_batch = examined(context, half)
    one_by_one = torch.cat([examined(context[row : row + 1], half[row : row + 1]) for row in range(2)])
    one_position = examined(context, _column_mask(rows, slice(body.start, body.start + 1)))
    difference = max(_distance(in_batch, one_by_one), _distance(in_batch[[0, int(half[0].sum())]], one_position))
    if difference > allowed:
        raise examined.failed(
            "independent",
            "predict each row and position alike, whatever else is in the same call",
            f"predictions that differ by {difference:.2g} in total variation",
        )
    if padding() and _handles_padding(examined, context, half, body, allowed + 4 * difference):
        return examined.denoiser, []
    remedy = f"; these handle it: {padding_fix}" if padding_fix else ""
    return EqualLengths(examined.denoiser), [
        f"{examined.where} does not handle padding, so that only rows of equal length share a call{remedy}"
    ]


def check_parts(examined: ExaminedDenoiser, parts: Parts, rows: Tensor) -> None:
    """Check that the two parts of a denoiser together give what the denoiser gives.

    Args:
        examined: The denoiser, which has passed ``check_denoiser``.
        parts: Its parts.
        rows: (2, length) int64, whole texts without a mask.

    Raises:
        InputError: If they give something else; it names the check ``parts``.
    """
    wanted = _column_mask(rows, slice(0, rows.shape[1], 2))
    tokens = examined.masked(rows, wanted)
    expected, (row, column) = examined(tokens, wanted), wanted.cpu().nonzero(as_tuple=True)
    try:
        with torch.inference_mode():
            states = parts.states(tokens.cpu(), row, column)
            logits = torch.cat([parts.head(some) for some in (states[:1], states[1:])])
            head = linear_head_of(parts)
            linear = logits if head is None else head.all_logits(states)
    except ForeignFailure as error:
        raise examined.failed(
            "parts", "run in two parts (parts.states, parts.head)", f"an error: {error.error}"
        ) from error
    except RuntimeError as error:  # torch, of states that do not fit the weights
        raise examined.failed("parts", "have states that fit parts.linear", error_text(error)) from error
    allowed = HALF_NOISE if examined.dtype in (torch.bfloat16, torch.float16) else EXACT
    for result, rule in (
        (logits, "in two parts (parts.states, then parts.head for some positions at a time)"),
        (linear, "with the linear map that it states (parts.linear)"),
    ):
        found = result.to(expected.device).double().log_softmax(1)
        difference = _distance(found, expected)
        if not difference <= allowed:
            problem = f"predictions that differ by {difference:.2g} in total variation, of which {allowed:g} is allowed"
            problem = "NaN" if math.isnan(difference) else problem
            raise examined.failed("parts", f"predict the same {rule}", problem)
        if not torch.equal(found.isneginf(), expected.isneginf()):
            raise examined.failed("parts", f"forbid the same tokens {rule}", "others")


class ExaminedDenoiser:
    """A denoiser whose every result is checked.

    Args:
        denoiser: The denoiser.
        where: Its name in messages.
        file: The file with its code.

    Raises:
        InputError: If it lacks an attribute of a denoiser.
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

    def failed(self, check: str, rule: str, received: str) -> InputError:
        """The error for a failed check: the rule that a denoiser must follow, and what it did."""
        problem = f"check {check!r} failed: a denoiser must {rule}, got {received}"
        return InputError(f"{self.where}: {problem}; correct the model")

    def masked(self, rows: Tensor, hidden: Tensor) -> Tensor:
        """Rows (rows, length) with the mask at the hidden positions."""
        return rows.masked_fill(hidden, self.denoiser.mask_id)

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Log probabilities (wanted.sum(), vocab_size) in float64."""
        try:
            with torch.inference_mode(), calling(self.where, file=self.file):
                result: Any = self.denoiser(tokens.clone(), wanted.clone())
        except ForeignFailure as error:
            raise self.failed("call", f"accept {tuple(tokens.shape)} tokens", error.error) from error
        expected = (int(wanted.sum()), self.denoiser.vocab_size)
        try:
            logits = checked_logits(result, expected, tokens.device)
        except UnusableOutput as error:
            rule = f"return float logits {expected}, one row per wanted position"
            raise self.failed("shape", rule, str(error).partition(" and got ")[2]) from None
        self.dtype = logits.dtype
        best = logits.amax(1) if len(logits) else logits.new_zeros(1)
        if not bool(torch.isfinite(best).all()):
            raise self.failed(
                "finite",
                "give every position a finite logit and neither NaN nor +inf",
                f"{float(best[~torch.isfinite(best)][0])} as a largest logit",
            )
        mask = self.denoiser.mask_id
        if mask < self.denoiser.vocab_size and bool((logits[:, mask] > -torch.inf).any()):
            raise self.failed("mask", f"never predict the mask, token {mask} (its logit is -inf)", "another logit")
        return logits.double().log_softmax(1)


def _column_mask(rows: Tensor, columns: slice) -> Tensor:
    """True in these columns of every row."""
    mask = torch.zeros_like(rows, dtype=torch.bool)
    mask[:, columns] = True
    return mask


def _effect_of_visible(examined: ExaminedDenoiser, rows: Tensor, body: slice) -> float:
    """The largest change of a prediction, in total variation, when tokens before or after it become visible."""
    middle = (body.start + body.stop) // 2
    wanted = _column_mask(rows, slice(middle, middle + 1))
    before, after = _column_mask(rows, slice(body.start, middle)), _column_mask(rows, slice(middle + 1, body.stop))
    neither, earlier, later, both = (
        examined(examined.masked(rows, hidden | wanted), wanted) for hidden in (before | after, after, before, wanted)
    )
    of_earlier = max(_distance(neither, earlier), _distance(later, both))
    of_later = max(_distance(neither, later), _distance(earlier, both))
    if max(of_earlier, of_later) <= NOTHING:
        raise examined.failed(
            "visible tokens", "use visible tokens for its predictions elsewhere", "predictions that never change"
        )
    if of_later <= EXACT * of_earlier:
        raise examined.failed(
            "causal",
            "use the tokens after a hidden position too",
            "predictions that depend only on those before it: a decoder-only model, or one whose attention is "
            "causal without model.attention_mask: 4d",
        )
    return max(of_earlier, of_later)


def _handles_padding(examined: ExaminedDenoiser, context: Tensor, wanted: Tensor, body: slice, allowed: float) -> bool:
    """Whether predictions for a text stay the same with padding before or after it, in a call with a longer text."""
    remaining = torch.ones(context.shape[1], dtype=torch.bool)
    remaining[body.start + 1 : (body.start + body.stop) // 2 + 1] = False
    short, wanted_short = context[:1, remaining], wanted[:1, remaining]
    blank = torch.full_like(context[:1, ~remaining], -1)
    not_wanted = torch.zeros_like(blank, dtype=torch.bool)
    try:
        alone = examined(short, wanted_short)
        for direction in (1, -1):
            tokens = torch.cat([blank, short][::direction], dim=1)
            wanted_both = torch.cat([not_wanted, wanted_short][::direction], dim=1)
            beside = examined(torch.cat([tokens, context[1:]]), torch.cat([wanted_both, torch.zeros_like(wanted_both)]))
            if _distance(alone, beside) > allowed:
                return False
    except InputError:
        return False
    return True


def _distance(first: Tensor, second: Tensor) -> float:
    """The largest total variation between two sets of predictions, over their rows."""
    return float(0.5 * (first.exp() - second.exp()).abs().sum(1).max())
