"""The exact distribution of the sequences that a K-step sampler draws, for laws small enough to enumerate.

The partial sequences are the states of a Markov chain. For each number of revealed positions, one sparse matrix moves
probability between the states. A schedule is a product of such matrices with a vector.
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
MAX_TRANSITIONS = 1 << 24  # most moves between states; building them takes about 1 GB
BATCH = 1024  # states per denoiser call


@final
class Enumeration:
    """Every partial sequence of a small denoiser, built once and used for any schedule.

    A state is a number in base vocab_size + 1, first position first; the digit vocab_size stands for "hidden".

    Args:
        denoiser: Takes rows of ``length``; 0 to vocab_size - 1 are tokens.
        length: Positions of a sequence, at least 1.
        temperature: Temperature of the drawn tokens, at least 0; 0 is argmax.
        order: As in ``unmask``. For ``confidence``, the candidates are drawn anew at every step. Ties go to the lowest
            position.

    Raises:
        InputError: If (2 vocab_size + 1)^length, or vocab_size * length times the number of states, is above
            ``MAX_TRANSITIONS``; if the order is unknown or the temperature is out of range.
        RunError: If the denoiser returns NaN or no finite logit.
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
        self._log_p = self._log_probabilities(denoiser)
        self._token_p = _tempered(self._log_p, temperature)
        self._moves: dict[int, csr_array] = {}

    def fixed(self, counts: ArrayLike) -> Floats:
        """Compute the distribution of the sequences for fixed counts.

        Args:
            counts: (steps,) positions that each step reveals, at least 0; they sum to length.

        Returns:
            (vocab_size^length,) probabilities, sequences in lexicographic order.

        Raises:
            InputError: If the counts are out of range.
        """
        probability = self._start()
        for count in checked_counts(counts, self.length).tolist():
            probability = self._move_matrix(count) @ probability if count else probability
        return np.asarray(probability[self._complete])

    def ancestral(self, alphas: ArrayLike) -> Floats:
        """Compute the distribution of the sequences for ancestral reveal.

        All positions are equally likely to be revealed, so this is random order with binomial counts.

        Args:
            alphas: (steps + 1,) mask schedule at the ends of the steps, ascending from 0 to 1.

        Returns:
            (vocab_size^length,) probabilities, sequences in lexicographic order.

        Raises:
            InputError: If the order is not random, or if the alphas are out of range.
        """
        if self.order != "random":
            raise InputError(f"ancestral reveal picks its positions itself: order must be 'random', got {self.order!r}")
        probability = self._start()
        for low, high in itertools.pairwise(checked_alphas(alphas).tolist()):
            if high > low:
                share = _binomial(self.length, (high - low) / (1 - low))
                probability = sum(
                    (
                        self._move_matrix(count) @ (probability * share[self._masked, count])
                        for count in range(1, self.length + 1)
                    ),
                    start=probability * share[self._masked, 0],
                )
        return np.asarray(probability[self._complete])

    def _start(self) -> Floats:
        """Probability (states,) before the first step: all of it in the state without a revealed position."""
        probability = np.zeros(len(self._states))
        probability[-1] = 1.0  # every digit stands for "hidden"
        return probability

    def _log_probabilities(self, denoiser: Denoiser) -> Floats:
        """Log probabilities (states, length, vocab_size) at hidden positions, 0 elsewhere."""
        tokens = torch.from_numpy(np.where(self._hidden, denoiser.mask_id, self._states))
        hidden = torch.from_numpy(self._hidden)
        parts = []
        for part, wanted in zip(tokens.split(BATCH), hidden.split(BATCH), strict=True):
            with torch.inference_mode():
                logits = denoiser(part, wanted)
            try:
                logits = checked_logits(logits, (int(wanted.sum()), self.vocab_size), part.device)
            except UnusableOutput as error:
                raise RunError(f"a denoiser must return logits, {error}; correct the denoiser") from None
            parts.append(logits.double().log_softmax(1).cpu().numpy())
        log_p = np.zeros((*self._states.shape, self.vocab_size))
        log_p[self._hidden] = np.concatenate(parts)
        if np.isnan(log_p).any():
            raise RunError("the denoiser returned NaN, +inf or no finite logit: check the checkpoint and its dtype")
        return log_p

    def _move_matrix(self, count: int) -> csr_array:
        """The matrix (to, from) of a step that reveals ``count`` positions; stored for the next schedule."""
        if count not in self._moves:
            by_order = {"random": self._random_moves, "confidence": self._confidence_moves}
            moves = by_order.get(self.order, self._prediction_moves)
            source, target, probability = map(np.concatenate, zip(*moves(count), strict=True))
            possible = probability > 0
            entries = (probability[possible], (target[possible], source[possible]))
            self._moves[count] = csr_array(entries, shape=(len(self._states), len(self._states)))
        return self._moves[count]

    def _random_moves(self, count: int) -> Iterator[Moves]:
        for positions in itertools.combinations(range(self.length), count):
            states = np.flatnonzero(self._hidden[:, positions].all(axis=1))
            yield self._filling_moves(states, positions, 1 / comb(self._masked[states], count))

    def _prediction_moves(self, count: int) -> Iterator[Moves]:
        """Moves of the orders that use predictions alone: one set of positions per state."""
        states = np.flatnonzero(self._masked >= count)
        rows = torch.from_numpy(self._log_p[states].reshape(-1, self.vocab_size))
        scores = order_score(self.order, rows, rows.argmax(1)).view(len(states), self.length)
        chosen = _top_positions(scores, self._hidden[states], count)
        for pattern in np.unique(chosen, axis=0):
            alike = states[(chosen == pattern).all(axis=1)]
            yield self._filling_moves(alike, np.flatnonzero(pattern), np.ones(len(alike)))

    def _confidence_moves(self, count: int) -> Iterator[Moves]:
        """Moves over all combinations of candidates at the hidden positions; unrevealed candidates are dropped."""
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
            revealed = _top_positions(scores, self._hidden[state], count)[:, positions]
            change = (token - self.vocab_size) * self._place[positions]
            yield state, state + (change * revealed).sum(axis=1), probability

    def _filling_moves(self, states: Integers, positions: Sequence[int] | Integers, share: Floats) -> Moves:
        """The moves that draw tokens at these positions, which are hidden in all these states.

        share: (states,) probability that these positions are chosen.
        """
        target, probability = states[:, None], share[:, None]
        for position in positions:
            change = (np.arange(self.vocab_size) - self.vocab_size) * self._place[position]
            target = (target[:, :, None] + change).reshape(len(states), -1)
            probability = (probability[:, :, None] * self._token_p[states, None, position]).reshape(len(states), -1)
        return np.repeat(states, target.shape[1]), target.ravel(), probability.ravel()


def target_distribution(law: Law) -> Floats:
    """Compute the probability (vocab_size^length,) of every sequence, in lexicographic order.

    Raises:
        InputError: If there are more than ``MAX_TRANSITIONS`` sequences.
    """
    number = law.vocab_size**law.length
    if number > MAX_TRANSITIONS:
        raise InputError(f"enumeration lists at most {MAX_TRANSITIONS} sequences, got {number}: use a shorter law")
    place = law.vocab_size ** np.arange(law.length)[::-1]
    parts = torch.arange(number).split(1 << 16)
    tokens = (part[:, None] // torch.from_numpy(place.copy()) % law.vocab_size for part in parts)
    return np.concatenate([law.log_prob(part).exp().numpy() for part in tokens])


def kl(target: Floats, sampled: Floats) -> float:
    """Compute KL(target || sampled) in nats; inf if sampled gives probability 0 to a possible target sequence.

    Raises:
        InputError: If the shapes differ.
    """
    _check_shapes(target, sampled)
    return max(0.0, float(rel_entr(target, sampled).sum()))


def tv(target: Floats, sampled: Floats) -> float:
    """Compute the total variation distance, in [0, 1].

    Raises:
        InputError: If the shapes differ.
    """
    _check_shapes(target, sampled)
    return float(np.abs(target - sampled).sum() / 2)


def _check_shapes(target: Floats, sampled: Floats) -> None:
    if target.shape != sampled.shape:
        raise InputError(f"two distributions must list the same sequences, got {target.shape} and {sampled.shape}")


def _top_positions(scores: Tensor, hidden: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """The ``count`` positions that the sampler chooses in each row."""
    row, column = hidden.nonzero()
    best = top(scores.numpy()[row, column], row, np.full(len(hidden), count))
    chosen = np.zeros_like(hidden)
    chosen[row[best], column[best]] = True
    return chosen


def _tempered(log_p: Floats, temperature: float) -> Floats:
    """Probabilities of the drawn token; at temperature 0 all on the argmax, the first of equal ones."""
    if temperature == 0:
        return np.asarray(np.eye(log_p.shape[-1])[log_p.argmax(axis=-1)])
    # The best token's log probability is subtracted first, so that a tiny temperature does not overflow.
    return np.asarray(softmax((log_p - log_p.max(axis=-1, keepdims=True)) / temperature, axis=-1))


def _binomial(length: int, rate: float) -> Floats:
    """Probabilities (length + 1, length + 1): entry [m, s] that s of m positions are revealed at this rate."""
    masked, count = np.arange(length + 1)[:, None], np.arange(length + 1)
    return np.asarray(comb(masked, count) * rate**count * (1 - rate) ** np.maximum(masked - count, 0))
