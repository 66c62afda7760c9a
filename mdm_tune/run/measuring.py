"""Measures the information profile of a denoiser: the same examples with nested random masks at every point."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.core.seeding import noise
from mdm_tune.core.statistics import Estimate
from mdm_tune.denoisers.asking import Predicted, PredictionRequest, Predictor, predictions
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.schedules.profile import Profile, own_visible_count
from mdm_tune.schedules.profile_intervals import Groups, standard_errors

__all__ = ["PointMeasured", "UntilPrecise", "measure_profile"]

Floats = NDArray[np.float64]
ADDED_POINTS = 4  # points that the adaptive mode adds before it computes the precision again
SAME = 1e-9  # nats: losses that differ by less are equal


@dataclass(frozen=True)
class UntilPrecise:
    """The precision at which measuring stops.

    Attributes:
        tolerance: Largest error of the price of the best schedule, as a share of that price.
        best: Returns, for a profile, the weights (length,) of the best schedule of each budget, see ``pricing``.
    """

    tolerance: float
    best: Callable[[Profile], Sequence[Floats]]


@dataclass(frozen=True)
class PointMeasured:
    """The event that a point was measured.

    Attributes:
        revealed: Number of visible tokens.
        loss: Mean loss, nats per token.
        examples: Examples of the mean.
        points: Points measured so far.
        denoiser_rows: Denoiser rows so far.
    """

    revealed: int
    loss: float
    examples: int
    points: int
    denoiser_rows: int


def measure_profile(
    denoiser: Denoiser,
    start: Tensor,
    originals: Tensor,
    seeds: NDArray[np.uint64],
    *,
    examples: int,
    points: int,
    length: int | None = None,
    block_length: int | None = None,
    end_tokens: Sequence[int] = (),
    batch: int = 128,
    adaptive: UntilPrecise | None = None,
    notify: Callable[[PointMeasured], None] = lambda event: None,
    predictor: Predictor | None = None,
    groups: Groups | None = None,
    named: Callable[[int], str] = "example {}".format,
    why: Callable[[int], str] = "token {}".format,
) -> Profile:
    """Measure the information profile of a denoiser on the first ``examples`` rows.

    A point is a number m of visible tokens: the first m positions of a row's random order, so that masks are nested.
    A point costs one denoiser row per example. Its loss is the mean over all hidden positions; with blocks, over those
    of the block that is being filled, while later blocks are masked.

    The next point halves the interval whose ends span the largest rectangle. If the curve never rises, the rectangle
    bounds the interpolation error, and the points become as dense as the steps of the best schedule: in proportion to
    the square root of the slope. Intervals that would follow in any case are halved in the same pass, so that several
    devices have work.

    Args:
        denoiser: The denoiser; only its vocabulary and mask are used if there is a ``predictor``.
        start: (rows, length) int64; ``mask_id`` at hidden positions, -1 at padding, visible prompt tokens elsewhere.
        originals: (rows, length) int64, the tokens to predict.
        seeds: (rows,) seed of the random order of each row's hidden positions.
        examples: Rows to measure on, at least 2; with ``adaptive``, the rows at the beginning.
        points: Points to measure, at least 2; with ``adaptive``, the points at the beginning.
        length: Tokens of the curve if rows have different numbers of hidden positions; a row then shows the same share
            of its own positions. None for their mean.
        block_length: Positions of a block; None for one block.
        end_tokens: The first of these tokens in a row's original begins the end of its text, whose losses are also
            reported separately.
        batch: Most denoiser rows per call.
        adaptive: Add points of the best schedule, and double the examples up to all rows, until its price has the
            requested precision. None for a fixed number of points and examples.
        notify: Receives each point.
        predictor: Computes the predictions, such as replicas; None for ``denoiser`` in this process.
        groups: (rows,) names; rows with the same name are not independent. None if all rows are independent.
        named: Returns the name of a row for messages.
        why: Describes, for messages, a token with probability 0.

    Returns:
        The profile, with its cost.

    Raises:
        InputError: If there are fewer rows than examples, or fewer than 2 examples or points; if blocks do not divide
            the hidden positions, or rows differ in their number; if a token has probability 0; if the predictions do
            not depend on the visible tokens.
        RunError: If the denoiser fails.
    """
    began = time.monotonic()
    if start.ndim != 2 or originals.shape != start.shape or len(seeds) != len(start):
        raise InputError(
            f"start and originals must be (rows, length) and seeds (rows,), got {tuple(start.shape)}, "
            f"{tuple(originals.shape)} and {len(seeds)}"
        )
    if not 2 <= examples <= len(start):
        raise InputError(f"profile.examples must be from 2 to the {len(start)} examples there are, got {examples}")
    if points < 2:
        raise InputError(f"profile.points must be at least 2, the two ends of the curve, got {points}; give more")
    measurement = _Measurement(
        denoiser, start, originals, seeds, length, block_length, end_tokens, batch, notify, predictor
    )
    measurement.begin(examples, middle=points > 2)
    while len(measurement.points) < points and (middles := measurement.widest_middles()):
        measurement.add(middles[: points - len(measurement.points)])
    measurement.groups, measurement.named, measurement.why = groups, named, why
    precision = None if adaptive is None else _refine(measurement, adaptive)
    known = precision is not None and math.isfinite(precision)  # too few examples give no interval
    return measurement.profile(time.monotonic() - began, precision if known else None)


def _refine(measurement: _Measurement, adaptive: UntilPrecise) -> float:
    """Add points and examples until the tolerance is met or both are used up. Returns the relative error."""
    while True:
        profile = measurement.profile(0.0, None)
        largest_error, largest_noise, errors_between, by_noise = 0.0, 0.0, np.zeros(profile.length), True
        for weights in adaptive.best(profile):
            nelbo, between = profile.price(weights), weights * profile.bracket * profile.scale
            price = max(abs(nelbo.value), 1e-12)
            noise_part = _half_interval(profile, weights, nelbo) / price
            largest_noise = max(largest_noise, noise_part)
            if noise_part + between.sum() / price >= largest_error:
                largest_error, errors_between = noise_part + float(between.sum()) / price, between
                by_noise = noise_part * price >= between.sum()
        candidates = np.argsort(-errors_between, kind="stable")[:ADDED_POINTS]
        new_points = [int(m) for m in candidates if errors_between[m] > 0]
        out_of_reach = measurement.complete and (not new_points or largest_noise > adaptive.tolerance)
        if largest_error <= adaptive.tolerance or out_of_reach:
            return largest_error
        if not measurement.complete and (by_noise or not new_points):
            measurement.extend(2 * measurement.examples)
        else:
            measurement.add(new_points)


def _half_interval(profile: Profile, weights: Floats, nelbo: Estimate) -> float:
    """Half the width of a price's interval.

    With too few examples for an interval that is reported, it is computed with Student's t.
    """
    from scipy.special import stdtrit

    if nelbo.ci is not None:
        return nelbo.ci[1] - nelbo.value
    error = float(standard_errors(profile.prices(weights)[:, None] - nelbo.value, profile.groups)[0])
    return float(stdtrit(max(1, (nelbo.count or 2) - 1), 0.975)) * error


class _Measurement:
    """The points that have been measured so far.

    Attributes:
        points: By number of visible tokens, the mean loss and mean entropy (2, examples) of each row.
        examples: Rows in use, the first ones.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        start: Tensor,
        originals: Tensor,
        seeds: NDArray[np.uint64],
        length: int | None,
        block_length: int | None,
        end_tokens: Sequence[int],
        batch: int,
        notify: Callable[[PointMeasured], None],
        predictor: Predictor | None,
    ) -> None:
        self.predictor: Predictor = predictor or partial(_predictions_here, denoiser)
        self.batch, self.start, self.originals, self.notify = batch, start, originals, notify
        self.denoiser_rows, self.denoiser_tokens = 0, 0
        self.vocab_size, self.mask_id = denoiser.vocab_size, denoiser.mask_id
        hidden = start == denoiser.mask_id
        self.sizes = hidden.sum(1)
        if bool((self.sizes == 0).any()):
            row = int((self.sizes == 0).nonzero()[0, 0])
            raise InputError(f"example {row} has no masked position, so that there is nothing to predict; remove it")
        self.groups: Groups | None = None
        self.named: Callable[[int], str] = "example {}".format
        self.why: Callable[[int], str] = "token {}".format
        self.length = round(float(self.sizes.double().mean())) if length is None else length
        self.block_length = self.length if block_length is None else block_length
        if self.block_length < 1:
            raise InputError(f"block_length must be at least 1, got {block_length}; leave it out for one block")
        one_block = self.block_length == self.length
        if not one_block and (bool((self.sizes != self.length).any()) or self.length % self.block_length):
            raise InputError(
                f"blocks need equally many masked positions in every example, a multiple of the block length "
                f"{self.block_length}, got {int(self.sizes.min())} to {int(self.sizes.max())}; choose another block "
                "length"
            )
        # Rank of each hidden position in its row's random order, blocks in ascending order. Prompts come last.
        block = torch.zeros_like(start) if one_block else (hidden.cumsum(1) - 1) // self.block_length
        key = torch.from_numpy(noise(seeds, "position", 0, start.shape[1])).to(start.device) + block
        self.rank = key.masked_fill(~hidden, torch.inf).argsort(dim=1).argsort(dim=1)
        self.hidden = hidden
        ends = hidden & torch.isin(originals, torch.tensor(list(end_tokens), dtype=originals.dtype))
        self.ending = (hidden & (ends.cumsum(1) > 0)).cpu().numpy()
        # By number of visible tokens: rows for content and ends of text, columns for the sum and the number of losses.
        self.sums_of_parts: dict[int, Floats] = {}
        self.examples = 0
        self.points: dict[int, Floats] = {}

    @property
    def complete(self) -> bool:
        """Whether all examples are in use."""
        return self.examples == len(self.start)

    def begin(self, examples: int, *, middle: bool) -> None:
        """Measure the first and the last point of every block.

        With a single block, ``middle`` adds its middle, which always comes next.

        Raises InputError if in no block the prediction of the last hidden position depends on the other positions.
        """
        self.examples = examples
        rows, others = slice(0, examples), self.block_length - 1
        firsts = range(0, self.length, self.block_length)
        points = [point for first in firsts for point in ((first, first + others) if others > 0 else (first,))]
        if middle and len(firsts) == 1 and others > 1:
            points.append(others // 2)
        losses_at_first: dict[int, Floats] = {}
        ignores_context = others > 0
        for point, (losses, _) in self._measure(points, rows):
            if point in firsts:
                losses_at_first[point] = losses
            elif point - others in firsts:
                ignores_context = ignores_context and _equal_losses(losses_at_first.pop(point - others), losses)
        if ignores_context:
            raise InputError(
                f"the denoiser ignores its mask token: in all {examples} examples it predicts the last hidden position "
                f"alike whether the {others} others are masked or visible; check that {self.mask_id} is the mask id "
                "that the checkpoint was trained with and that it is a masked diffusion model (if its positions are "
                "independent by nature, every schedule costs the same and there is nothing to tune)"
            )

    def extend(self, examples: int) -> None:
        """Measure all points on more examples, up to ``examples`` or all."""
        rows = slice(self.examples, min(examples, len(self.start)))
        self.examples = rows.stop
        for _ in self._measure(list(self.points), rows):
            pass

    def add(self, points: Sequence[int]) -> None:
        """Measure more points on the examples in use."""
        for _ in self._measure(points, slice(0, self.examples)):
            pass

    def widest_middles(self) -> list[int]:
        """The middles of the intervals with the largest rectangles between their ends, the largest first.

        It ends at the first interval whose rectangle may be smaller than that of a half of an earlier interval. The
        halves are bounded for a curve that never rises.
        """
        intervals = []
        for left, right in itertools.pairwise(sorted(self.points)):
            if right - left > 1 and left // self.block_length == right // self.block_length:
                drop = abs(self._loss(left) - self._loss(right))
                intervals.append(((right - left) * drop, right - left, -left, drop))
        middles, largest_half = list[int](), 0.0
        for area, width, minus_left, drop in sorted(intervals, reverse=True):
            if middles and area <= largest_half:
                break
            middles.append((width - 2 * minus_left) // 2)
            half = (width + 1) // 2 * drop if width > 2 else 0.0  # an interval of width 1 has no middle
            largest_half = max(largest_half, half)
        return middles

    def profile(self, seconds: float, precision: float | None) -> Profile:
        """The profile of all points so far."""
        points = sorted(self.points)
        sizes = self.sizes[: self.examples].cpu().numpy()
        losses, entropies = np.stack([self.points[point] for point in points], axis=2)
        return Profile(
            length=self.length,
            block_length=self.block_length,
            vocab_size=self.vocab_size,
            revealed=np.array(points, dtype=np.int64),
            values=losses,
            exact=False,
            denoiser_rows=self.denoiser_rows,
            denoiser_tokens=self.denoiser_tokens,
            seconds=seconds,
            precision=precision,
            entropies=entropies,
            content_and_ends=self._content_and_ends(points),
            sizes=None if (sizes == self.length).all() else sizes,
            groups=None if self.groups is None else tuple(self.groups[: self.examples]),
        )

    def _loss(self, point: int) -> float:
        """Mean loss at a point, nats per token; every token of every example has the same weight."""
        losses = self.points[point][0]
        sizes = self.sizes[: len(losses)].double().cpu().numpy()
        return float(losses @ sizes / sizes.sum())

    def _content_and_ends(self, points: Sequence[int]) -> Floats | None:
        """Mean losses (points, 2) of content and of ends of text; None if no text ends."""
        if not self.ending.any():
            return None
        total, count = np.stack([self.sums_of_parts[point] for point in points]).transpose(2, 0, 1)
        means: Floats = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        return means

    def _add_rows(self, point: int, losses_and_entropies: Floats, rows: slice) -> None:
        """Store the means over predicted positions of (2, rows, length) and report the point."""
        earlier, losses = self.points.get(point, np.empty((2, 0))), losses_and_entropies[0]
        self.points[point] = np.concatenate([earlier, np.nanmean(losses_and_entropies, axis=2)], axis=1)
        known = ~np.isnan(losses)
        parts = [known & ~self.ending[rows], known & self.ending[rows]]
        sums = np.array([[losses[part].sum(), part.sum()] for part in parts])
        self.sums_of_parts[point] = self.sums_of_parts.get(point, np.zeros((2, 2))) + sums
        self.notify(
            PointMeasured(
                revealed=point,
                loss=self._loss(point),
                examples=self.examples,
                points=len(self.points),
                denoiser_rows=self.denoiser_rows,
            )
        )

    def _measure(self, points: Sequence[int], rows: slice) -> Iterator[tuple[int, Floats]]:
        """Measure points on rows, store and report them, and yield each point with its losses and entropies.

        Both are (2, rows, length), in nats; NaN except at predicted positions. Several points are measured at a time if
        devices are free.
        """
        pending: deque[PredictionRequest] = deque()

        def requests() -> Iterator[PredictionRequest]:
            for point in points:
                pending.append(self._request(point, rows))
                yield pending[-1]

        for point, predicted in zip(points, self.predictor(requests(), batch=self.batch), strict=True):
            self.denoiser_rows += predicted.denoiser_rows
            self.denoiser_tokens += predicted.denoiser_tokens
            request = pending.popleft()
            if np.isinf(predicted.losses).any():
                row, at = np.argwhere(np.isinf(predicted.losses))[0].tolist()
                raise InputError(
                    f"the loss is infinite for {self.named(int(request.names[row]))} at position {at} "
                    f"{request.where}: the model gives probability 0 to "
                    f"{self.why(int(request.originals[row, at]))}; use data that it can produce"
                )
            losses_and_entropies = np.stack([predicted.losses, predicted.entropies])
            self._add_rows(point, losses_and_entropies, rows)
            yield point, losses_and_entropies

    def _request(self, visible: int, rows: slice) -> PredictionRequest:
        """The request for predictions with ``visible`` visible tokens."""
        sizes, rank = self.sizes[rows], self.rank[rows]
        shown = torch.from_numpy(own_visible_count(visible, sizes.cpu().numpy(), self.length)).to(sizes.device)
        stop = sizes if self.block_length == self.length else (shown // self.block_length + 1) * self.block_length
        seen = self.hidden[rows] & (rank < shown[:, None])
        wanted = self.hidden[rows] & (rank >= shown[:, None]) & (rank < stop[:, None])
        tokens = torch.where(seen, self.originals[rows], self.start[rows])
        targets = self.originals[rows][wanted]
        if bool(((targets < 0) | (targets >= self.vocab_size)).any()):
            raise InputError(f"the tokens to predict must be in [0, {self.vocab_size}), got {targets.tolist()[:8]}")
        names = torch.arange(len(self.start), device=tokens.device)[rows]
        return PredictionRequest(
            tokens=tokens,
            wanted=wanted,
            originals=self.originals[rows],
            names=names,
            where=f"with {quantity(visible, 'token')} visible",
        )


def _predictions_here(denoiser: Denoiser, requests: Iterable[PredictionRequest], *, batch: int) -> Iterator[Predicted]:
    """A ``Predictor`` that calls ``denoiser`` in this process."""
    return (predictions(denoiser, request, batch=batch) for request in requests)


def _equal_losses(losses: Floats, other: Floats) -> bool:
    """Whether losses (rows, length) agree wherever both are known."""
    known = ~np.isnan(losses) & ~np.isnan(other)
    return bool((np.abs(losses[known] - other[known]) <= SAME).all())
