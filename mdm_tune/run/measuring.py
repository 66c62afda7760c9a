"""Measuring the information profile of a denoiser on examples: the same examples and nested random masks at every m."""

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
AT_A_TIME = 4  # points that the adaptive mode adds before it looks again
SAME = 1e-9  # nats: predictions this close in every example are one prediction


@dataclass(frozen=True)
class UntilPrecise:
    """Measure until the price of the best schedule is known to ``tolerance``, relative to that price.

    best: from a profile the weights (length,) of the best schedule for each budget, as ``pricing`` counts them.
    """

    tolerance: float
    best: Callable[[Profile], Sequence[Floats]]


@dataclass(frozen=True)
class PointMeasured:
    """One more number of visible tokens was measured. loss: nats per token, its mean over ``examples``."""

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
    ask: Predictor | None = None,
    groups: Groups | None = None,
    named: Callable[[int], str] = "example {}".format,
    why: Callable[[int], str] = "token {}".format,
) -> Profile:
    """Measure the information profile of a denoiser on the first ``examples`` rows.

    Each point is a number m of visible tokens. It costs one denoiser row per example and averages over all hidden
    positions (with blocks: of the block being filled, later blocks masked). m visible means the first m positions of
    a row's random order, so that the masks are nested.

    Points are placed by halving the interval whose corner points span the largest rectangle: for a curve that never
    rises the rectangle bounds the error between them, and the points become as dense as the steps of the best
    schedule, in proportion to the root of the slope. Intervals that would come next in any case, for a curve that never
    rises, are halved at once, so that many devices have work.

    Args:
        denoiser: what predicts the tokens.
        start: (rows, length) int64; ``mask_id`` where hidden, -1 at padding, anything else is prompt and stays visible.
        originals: (rows, length); the tokens to predict.
        seeds: (rows,); each gives the random order of a row's hidden positions.
        examples: rows to measure on, at least 2; with ``adaptive`` those to begin with.
        points: numbers of visible tokens to measure, at least 2; with ``adaptive`` those to begin with.
        length: tokens of the curve, where rows have different numbers of hidden positions; a row shows the same share
            of its own. None for their mean.
        block_length: positions of a block; None for one block.
        end_tokens: from the first of them in its original on, a row's hidden positions are counted apart as the end of
            its text.
        batch: denoiser rows of a call.
        adaptive: add the points of the best schedule itself, and double the examples up to all rows, until its price is
            known to the tolerance.
        notify: receives each point.
        ask: how predictions are obtained where it is not by this process's own denoiser.
        groups: a name for each row, where some are no independent examples.
        named: what messages call a row.
        why: what messages call a token that has probability 0.

    Returns:
        The profile, with its cost.

    Raises:
        InputError: there are fewer rows than examples; examples or points are fewer than 2; blocks do not divide the
            hidden positions, or these differ between rows; a token has probability 0; the predictions do not depend on
            what is visible.
        RunError: the denoiser fails.
    """
    began = time.monotonic()
    if not 2 <= examples <= len(start):
        raise InputError(f"profile.examples must be from 2 to the {len(start)} examples there are, got {examples}")
    if points < 2:
        raise InputError(f"profile.points must be at least 2, the two ends of the curve, got {points}; give more")
    ruler = _Measurement(denoiser, start, originals, seeds, length, block_length, end_tokens, batch, notify, ask)
    ruler.begin(examples, middle=points > 2)
    while len(ruler.points) < points and (places := ruler.widest()):
        ruler.add(places[: points - len(ruler.points)])
    ruler.groups, ruler.named, ruler.why = groups, named, why
    reached = None if adaptive is None else _refine(ruler, adaptive)
    known = reached is not None and math.isfinite(reached)  # of too few examples there is no interval
    return ruler.profile(time.monotonic() - began, reached if known else None)


def _refine(ruler: _Measurement, adaptive: UntilPrecise) -> float:
    """Add points and examples until the tolerance is met or both are used up; returns what was reached."""
    while True:
        profile = ruler.profile(0.0, None)
        worst, noisiest, wanted, by_noise = 0.0, 0.0, np.zeros(profile.length), True
        for weights in adaptive.best(profile):
            found, between = profile.price(weights), weights * profile.bracket * profile.scale
            price = max(abs(found.value), 1e-12)
            noise_part = _reach(profile, weights, found) / price
            noisiest = max(noisiest, noise_part)
            if noise_part + between.sum() / price >= worst:
                worst, wanted = noise_part + float(between.sum()) / price, between
                by_noise = noise_part * price >= between.sum()
        places = [int(m) for m in np.argsort(-wanted, kind="stable")[:AT_A_TIME] if wanted[m] > 0]
        hopeless = ruler.complete and (not places or noisiest > adaptive.tolerance)
        if worst <= adaptive.tolerance or hopeless:
            return worst
        if not ruler.complete and (by_noise or not places):
            ruler.extend(2 * ruler.examples)
        else:
            ruler.add(places)


def _reach(profile: Profile, weights: Floats, found: Estimate) -> float:
    """Half an interval of a price; Student's where there are too few examples for one that is shown."""
    from scipy.special import stdtrit

    if found.ci is not None:
        return found.ci[1] - found.value
    error = float(standard_errors(profile.prices(weights)[:, None] - found.value, profile.groups)[0])
    return float(stdtrit(max(1, (found.count or 2) - 1), 0.975)) * error


class _Measurement:
    """What has been measured so far at ``points``: losses and entropies (2, examples) of the first rows."""

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
        ask: Predictor | None,
    ) -> None:
        self.ask: Predictor = ask or partial(_asked, denoiser)
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
        # Rank of each hidden position in its row's own random order, blocks in ascending order; a prompt comes never.
        block = torch.zeros_like(start) if one_block else (hidden.cumsum(1) - 1) // self.block_length
        key = torch.from_numpy(noise(seeds, "position", 0, start.shape[1])).to(start.device) + block
        self.rank = key.masked_fill(~hidden, torch.inf).argsort(dim=1).argsort(dim=1)
        self.hidden = hidden
        ends = hidden & torch.isin(originals, torch.tensor(list(end_tokens), dtype=originals.dtype))
        self.ending = (hidden & (ends.cumsum(1) > 0)).cpu().numpy()
        self.apart: dict[int, Floats] = {}  # sums of losses and how many, of content and of ends (2, 2)
        self.examples = 0
        self.points: dict[int, Floats] = {}  # by number of visible tokens

    @property
    def complete(self) -> bool:
        """Whether every example there is has been used."""
        return self.examples == len(self.start)

    def begin(self, examples: int, *, middle: bool) -> None:
        """Measure the ends of every block, with the middle of a single one, which always comes next.

        Raises InputError where in no block the last hidden position is predicted otherwise with the rest visible.
        """
        self.examples = examples
        rows, others = slice(0, examples), self.block_length - 1
        firsts = range(0, self.length, self.block_length)
        places = [place for first in firsts for place in ((first, first + others) if others > 0 else (first,))]
        if middle and len(firsts) == 1 and others > 1:
            places.append(others // 2)
        blind: dict[int, Floats] = {}
        alike = others > 0
        for place, found in self._measured(places, rows):
            if place in firsts:
                blind[place] = found
            elif place - others in firsts:
                alike = alike and _alike(blind.pop(place - others)[0], found[0])
        if alike:
            raise InputError(
                f"the denoiser ignores its mask token: in all {examples} examples it predicts the last hidden position "
                f"alike whether the {others} others are masked or visible; check that {self.mask_id} is the mask id "
                "that the checkpoint was trained with and that it is a masked diffusion model (if its positions are "
                "independent by nature, every schedule costs the same and there is nothing to tune)"
            )

    def extend(self, examples: int) -> None:
        """Measure every point on more examples, up to all."""
        rows = slice(self.examples, min(examples, len(self.start)))
        self.examples = rows.stop
        for _ in self._measured(list(self.points), rows):
            pass

    def add(self, places: Sequence[int]) -> None:
        """Measure more points on the examples in use."""
        for _ in self._measured(places, slice(0, self.examples)):
            pass

    def widest(self) -> list[int]:
        """The middles of the intervals with the largest rectangles between their ends, the largest first.

        As many as are larger than any half of the others can be where the curve never rises.
        """
        found = []
        for left, right in itertools.pairwise(sorted(self.points)):
            if right - left > 1 and left // self.block_length == right // self.block_length:
                drop = abs(self._loss(left) - self._loss(right))
                found.append(((right - left) * drop, right - left, -left, drop))
        places, largest = list[int](), 0.0  # of the halves of those that were taken; neighbours have no middle
        for area, width, at, drop in sorted(found, reverse=True):
            if places and area <= largest:
                break
            places.append((width - 2 * at) // 2)
            largest = max(largest, (width + 1) // 2 * drop if width > 2 else 0.0)
        return places

    def profile(self, seconds: float, precision: float | None) -> Profile:
        """What is known now."""
        places = sorted(self.points)
        sizes = self.sizes[: self.examples].cpu().numpy()
        losses, entropies = np.stack([self.points[place] for place in places], axis=2)
        return Profile(
            length=self.length,
            block_length=self.block_length,
            vocab_size=self.vocab_size,
            revealed=np.array(places, dtype=np.int64),
            values=losses,
            exact=False,
            denoiser_rows=self.denoiser_rows,
            denoiser_tokens=self.denoiser_tokens,
            seconds=seconds,
            precision=precision,
            entropies=entropies,
            content_and_ends=self._apart(places),
            sizes=None if (sizes == self.length).all() else sizes,
            groups=None if self.groups is None else tuple(self.groups[: self.examples]),
        )

    def _loss(self, place: int) -> float:
        """Nats per token at a point, every token of every example alike: what the profile has there."""
        losses = self.points[place][0]
        sizes = self.sizes[: len(losses)].double().cpu().numpy()
        return float(losses @ sizes / sizes.sum())

    def _apart(self, places: Sequence[int]) -> Floats | None:
        if not self.ending.any():
            return None
        total, count = np.stack([self.apart[place] for place in places]).transpose(2, 0, 1)
        means: Floats = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        return means

    def _keep(self, place: int, found: Floats, rows: slice) -> None:
        """Add the means over hidden positions (2, rows)."""
        old = self.points.get(place, np.empty((2, 0)))
        self.points[place] = np.concatenate([old, np.nanmean(found, axis=2)], axis=1)
        known = ~np.isnan(found[0])
        parts = [known & ~self.ending[rows], known & self.ending[rows]]
        sums = np.array([[found[0][part].sum(), part.sum()] for part in parts])
        self.apart[place] = self.apart.get(place, np.zeros((2, 2))) + sums
        self.notify(
            PointMeasured(
                revealed=place,
                loss=self._loss(place),
                examples=self.examples,
                points=len(self.points),
                denoiser_rows=self.denoiser_rows,
            )
        )

    def _measured(self, places: Sequence[int], rows: slice) -> Iterator[tuple[int, Floats]]:
        """Each place with loss and entropy (2, rows, length) at its positions to predict, NaN elsewhere, in nats.

        Means are kept and told. The places are measured together, where devices are free for that.
        """
        asked: deque[PredictionRequest] = deque()

        def questions() -> Iterator[PredictionRequest]:
            for place in places:
                asked.append(self._question(place, rows))
                yield asked[-1]

        for place, found in zip(places, self.ask(questions(), batch=self.batch), strict=True):
            self.denoiser_rows += found.denoiser_rows
            self.denoiser_tokens += found.denoiser_tokens
            question = asked.popleft()
            if np.isinf(found.losses).any():
                row, at = np.argwhere(np.isinf(found.losses))[0].tolist()
                raise InputError(
                    f"the loss is infinite for {self.named(int(question.names[row]))} at position {at} "
                    f"{question.where}: the model gives probability 0 to "
                    f"{self.why(int(question.originals[row, at]))}; use data that it can produce"
                )
            both = np.stack([found.losses, found.entropies])
            self._keep(place, both, rows)
            yield place, both

    def _question(self, visible: int, rows: slice) -> PredictionRequest:
        """What is asked where so many tokens are visible."""
        sizes, rank = self.sizes[rows], self.rank[rows]
        shown = torch.from_numpy(own_visible_count(visible, sizes.cpu().numpy(), self.length)).to(sizes.device)
        stop = sizes if self.block_length == self.length else (shown // self.block_length + 1) * self.block_length
        seen = self.hidden[rows] & (rank < shown[:, None])
        wanted = self.hidden[rows] & (rank >= shown[:, None]) & (rank < stop[:, None])
        tokens = torch.where(seen, self.originals[rows], self.start[rows])
        told = self.originals[rows][wanted]
        if bool(((told < 0) | (told >= self.vocab_size)).any()):
            raise InputError(f"the tokens to predict must be in [0, {self.vocab_size}), got {told.tolist()[:8]}")
        names = torch.arange(len(self.start), device=tokens.device)[rows]
        return PredictionRequest(
            tokens=tokens,
            wanted=wanted,
            originals=self.originals[rows],
            names=names,
            where=f"with {quantity(visible, 'token')} visible",
        )


def _asked(denoiser: Denoiser, questions: Iterable[PredictionRequest], *, batch: int) -> Iterator[Predicted]:
    return (predictions(denoiser, question, batch=batch) for question in questions)


def _alike(blind: Floats, seeing: Floats) -> bool:
    """Whether losses (rows, length) agree wherever both are known."""
    both = ~np.isnan(blind) & ~np.isnan(seeing)
    return bool((np.abs(blind[both] - seeing[both]) <= SAME).all())
