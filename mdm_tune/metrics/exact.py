"""The exact distribution of what a K-step sampler produces, for laws small enough to enumerate.

No sampling noise: the partial sequences are the states of a Markov chain, one sparse matrix per number of revealed
positions moves probability between them, and a schedule is a product of such matrices with a vector.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.special import comb, rel_entr, softmax
from torch import Tensor

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.messages import quantity
from mdm_tune.denoisers.analytic import Law
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.outputs import UnusableOutput, checked_logits
from mdm_tune.sampling.drawing import ORDERS, Order, order_score, top
from mdm_tune.schedules.pricing import checked_alphas, checked_counts

__all__ = ["MAX_TRANSITIONS", "Enumeration", "kl", "target_distribution", "tv"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Moves = tuple[Integers, Integers, Floats]  # from state, to state, probability
MAX_TRANSITIONS = 1 << 24  # moves between states that may have to be held; about 1 GB with what building them takes
BATCH = 1024  # states per denoiser call


@final
class Enumeration:
    """Every partial sequence of a small denoiser, built once and then asked for any schedule.

    A state is a number in base vocab_size + 1, first position first; the digit vocab_size stands for "hidden".
    denoiser: takes rows of ``length``, 0 to vocab_size - 1 are tokens. temperature: of the drawn tokens, 0 is argmax.
    order: as in ``unmask``; for ``confidence`` the candidates are drawn anew at every step. Ties go to the lowest
    position.

    Raises InputError above ``MAX_TRANSITIONS`` moves, (2 vocab_size + 1)^length of them or vocab_size * length per
    state, and on an unknown order or a bad temperature. RunError if the denoiser returns NaN or no finite logit.
    """

    def __init__(self, denoiser: Denoiser, length: int, temperature: float = 1.0, order: Order = "random") -> None:
        vocab = denoiser.vocab_size
        work = max((2 * vocab + 1) ** length, (vocab + 1) ** length * vocab * length)
        if length < 1 or work > MAX_TRANSITIONS:
            raise InputError(
                f"enumeration takes at least one position and at most {MAX_TRANSITIONS} moves between states, "
                f"got length {length} with {quantity(vocab, 'token')}: use a shorter law, or metric order_kl in "
                "random order"
            )
        if order not in ORDERS:
            raise InputError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
        if not 0 <= temperature < math.inf:
            raise InputError(f"temperature must be at least 0 and finite, got {temperature}")
        self.length, self.vocab_size, self.order = length, vocab, order
        self._place = (vocab + 1) ** np.arange(length, dtype=np.int64)[::-1]
        self._states = np.arange((vocab + 1) ** length)[:, None] // self._place % (vocab + 1)
        self._hidden = self._states == vocab
        self._masked = self._hidden.sum(axis=1)
        self._complete = np.flatnonzero(self._masked == 0)
        self._log_p = self._ask(denoiser)
        self._token_p = _tempered(self._log_p, temperature)
        self._moves: dict[int, csr_array] = {}

    def fixed(self, counts: ArrayLike) -> Floats:
        """Distribution (vocab_size^length,) of sequences in lexicographic order when step i reveals ``counts[i]``.

        Raises InputError unless the counts are at least 0 and sum to length.
        """
        at = self._start()
        for count in checked_counts(counts, self.length).tolist():
            at = self._move(count) @ at if count else at
        return np.asarray(at[self._complete])

    def ancestral(self, alphas: ArrayLike) -> Floats:
        """Distribution (vocab_size^length,) of ancestral reveal on a grid of the mask schedule (steps + 1,), 0 up to 1.

        Given how many positions a step reveals, which ones is uniform; so it is random order with binomial counts.
        Raises InputError on another order than random and on a bad grid.
        """
        if self.order != "random":
            raise InputError(f"ancestral reveal picks its positions itself: order must be 'random', got {self.order!r}")
        at = self._start()
        for low, high in itertools.pairwise(checked_alphas(alphas).tolist()):
            if high > low:
                share = _binomial(self.length, (high - low) / (1 - low))
                at = sum(
                    (self._move(count) @ (at * share[self._masked, count]) for count in range(1, self.length + 1)),
                    start=at * share[self._masked, 0],
                )
        return np.asarray(at[self._complete])

    def _start(self) -> Floats:
        at = np.zeros(len(self._states))
        at[-1] = 1.0  # every digit stands for "hidden"
        return at

    def _ask(self, denoiser: Denoiser) -> Floats:
        """Log probabilities (states, length, vocab_size) at hidden positions, 0 elsewhere."""
        tokens = torch.from_numpy(np.where(self._hidden, denoiser.mask_id, self._states))
        hidden = torch.from_numpy(self._hidden)
        answers = []
        for part, wanted in zip(tokens.split(BATCH), hidden.split(BATCH), strict=True):
            with torch.inference_mode():
                logits = denoiser(part, wanted)
            try:
                logits = checked_logits(logits, (int(wanted.sum()), self.vocab_size), part.device)
            except UnusableOutput as error:
                raise RunError(f"a denoiser must return logits, {error}; correct the denoiser") from None
            answers.append(logits.double().log_softmax(1).cpu().numpy())
        log_p = np.zeros((*self._states.shape, self.vocab_size))
        log_p[self._hidden] = np.concatenate(answers)
        if np.isnan(log_p).any():
            raise RunError("the denoiser returned NaN, +inf or no finite logit: check the checkpoint and its dtype")
        return log_p

    def _move(self, count: int) -> csr_array:
        """The matrix (to, from) of revealing ``count`` positions at once; kept for the next schedule."""
        if count not in self._moves:
            moves = {"random": self._random, "confidence": self._confidence}.get(self.order, self._context)
            source, target, probability = map(np.concatenate, zip(*moves(count), strict=True))
            possible = probability > 0
            entries = (probability[possible], (target[possible], source[possible]))
            self._moves[count] = csr_array(entries, shape=(len(self._states), len(self._states)))
        return self._moves[count]

    def _random(self, count: int) -> Iterator[Moves]:
        for positions in itertools.combinations(range(self.length), count):
            states = np.flatnonzero(self._hidden[:, positions].all(axis=1))
            yield self._fill(states, positions, 1 / comb(self._masked[states], count))

    def _context(self, count: int) -> Iterator[Moves]:
        """The orders that look at predictions alone: one set of positions per state."""
        states = np.flatnonzero(self._masked >= count)
        rows = torch.from_numpy(self._log_p[states].reshape(-1, self.vocab_size))
        scores = order_score(self.order, rows, rows.argmax(1)).view(len(states), self.length)
        chosen = _top(scores, self._hidden[states], count)
        for pattern in np.unique(chosen, axis=0):
            mine = states[(chosen == pattern).all(axis=1)]
            yield self._fill(mine, np.flatnonzero(pattern), np.ones(len(mine)))

    def _confidence(self, count: int) -> Iterator[Moves]:
        """All combinations of candidates at the hidden positions; those that are not revealed are forgotten."""
        for pattern in np.unique(self._hidden[self._masked >= count], axis=0):
            positions = np.flatnonzero(pattern)
            states = np.flatnonzero((self._hidden == pattern).all(axis=1))
            drawn = np.indices((self.vocab_size,) * len(positions)).reshape(len(positions), -1).T
            state, token = np.repeat(states, len(drawn)), np.tile(drawn, (len(states), 1))
            probability = self._token_p[state[:, None], positions, token].prod(axis=1)
            state, token, probability = (part[probability > 0] for part in (state, token, probability))
            rows = torch.from_numpy(self._log_p[state[:, None], positions].reshape(-1, self.vocab_size))
            scores = torch.zeros(len(state), self.length, dtype=torch.float64)
            scores[:, positions] = order_score(self.order, rows, torch.from_numpy(token.ravel())).view(token.shape)
            revealed = _top(scores, self._hidden[state], count)[:, positions]
            change = (token - self.vocab_size) * self._place[positions]
            yield state, state + (change * revealed).sum(axis=1), probability

    def _fill(self, states: Integers, positions: Sequence[int] | Integers, share: Floats) -> Moves:
        """Every way to draw tokens at these positions, hidden in all these states; share (states,) weighs a state."""
        target, probability = states[:, None], share[:, None]
        for position in positions:
            change = (np.arange(self.vocab_size) - self.vocab_size) * self._place[position]
            target = (target[:, :, None] + change).reshape(len(states), -1)
            probability = (probability[:, :, None] * self._token_p[states, None, position]).reshape(len(states), -1)
        return np.repeat(states, target.shape[1]), target.ravel(), probability.ravel()


def target_distribution(law: Law) -> Floats:
    """Probability (vocab_size^length,) of every sequence in lexicographic order.

    Raises InputError above ``MAX_TRANSITIONS`` sequences.
    """
    number = law.vocab_size**law.length
    if number > MAX_TRANSITIONS:
        raise InputError(f"enumeration lists at most {MAX_TRANSITIONS} sequences, got {number}: use a shorter law")
    place = law.vocab_size ** np.arange(law.length)[::-1]
    parts = torch.arange(number).split(1 << 16)
    tokens = (part[:, None] // torch.from_numpy(place.copy()) % law.vocab_size for part in parts)
    return np.concatenate([law.log_prob(part).exp().numpy() for part in tokens])


def kl(target: Floats, sampled: Floats) -> float:
    """KL(target || sampled) of two distributions of one shape, in nats; inf where sampled misses a target sequence.

    Raises InputError on different shapes.
    """
    _check_shapes(target, sampled)
    return max(0.0, float(rel_entr(target, sampled).sum()))


def tv(target: Floats, sampled: Floats) -> float:
    """Total variation distance of two distributions of one shape, in [0, 1]. Raises InputError on different shapes."""
    _check_shapes(target, sampled)
    return float(np.abs(target - sampled).sum() / 2)


def _check_shapes(target: Floats, sampled: Floats) -> None:
    if target.shape != sampled.shape:
        raise InputError(f"two distributions must list the same sequences, got {target.shape} and {sampled.shape}")


def _top(scores: Tensor, hidden: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """The sampler's choice of ``count`` positions per row."""
    return np.asarray(top(scores, torch.from_numpy(hidden), torch.full((len(hidden),), count)).numpy())


def _tempered(log_p: Floats, temperature: float) -> Floats:
    """Probabilities of the drawn token; at temperature 0 the argmax, of equals the first."""
    if temperature == 0:
        return np.asarray(np.eye(log_p.shape[-1])[log_p.argmax(axis=-1)])
    # Measured from the best token, so that no temperature is too small to divide by.
    return np.asarray(softmax((log_p - log_p.max(axis=-1, keepdims=True)) / temperature, axis=-1))


def _binomial(length: int, rate: float) -> Floats:
    """Entry [m, s]: the probability that s of m positions are revealed at this rate."""
    masked, count = np.arange(length + 1)[:, None], np.arange(length + 1)
    return np.asarray(comb(masked, count) * rate**count * (1 - rate) ** np.maximum(masked - count, 0))
