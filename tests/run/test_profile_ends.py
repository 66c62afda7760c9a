"""Content and what follows the end of a text are told apart in a profile."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.run.measuring import measure_profile
from mdm_tune.schedules.profile import Profile

END, MASK = 3, 4
ANSWERS = torch.tensor([[-1, 0, 1, 2, END, END], [2, 1, 0, 1, 2, 0], [0, 0, 1, END, 2, 1]])
START = torch.where(torch.arange(6) < 2, ANSWERS, MASK)


class ByToken:
    """Predicts every token with its own probability, the same everywhere but for the number of visible tokens."""

    vocab_size, mask_id = 4, MASK

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        seen = (tokens != MASK).sum(1)[wanted.nonzero()[:, 0]]
        return torch.log(torch.tensor([0.4, 0.3, 0.2, 0.1])) * (1 + 0.1 * seen[:, None])


def profile() -> Profile:
    return measure_profile(
        ByToken(), START, ANSWERS, np.arange(3, dtype=np.uint64), examples=3, points=4, end_tokens=[END]
    )


def test_each_part_is_the_mean_over_its_own_positions() -> None:
    """With nothing visible all hidden positions are predicted: seven of content, five from an end token on."""
    found = profile()
    assert found.content_and_ends is not None and found.content_and_ends.shape == (len(found.revealed), 2)
    told: dict[bool, list[float]] = {False: [], True: []}
    for row in range(3):
        visible = (START[row] != MASK).sum()
        share = torch.log(torch.tensor([0.4, 0.3, 0.2, 0.1])) * (1 + 0.1 * visible)
        losses = -share.log_softmax(0)
        ended = False
        for token in ANSWERS[row, 2:].tolist():
            ended = ended or token == END
            told[ended].append(float(losses[token]))
    assert (len(told[False]), len(told[True])) == (7, 5)
    assert found.content_and_ends[0] == pytest.approx([np.mean(told[False]), np.mean(told[True])], abs=1e-6)


def test_a_part_that_was_nowhere_predicted_is_not_a_number_and_survives_the_file() -> None:
    found = profile()
    again = Profile.from_record(found.to_record())
    assert found.content_and_ends is not None and again.content_and_ends is not None
    assert np.array_equal(found.content_and_ends, again.content_and_ends, equal_nan=True)
    blank = np.full((len(found.revealed), 2), np.nan)
    record = {**found.to_record(), "apart": [[None, None]] * len(found.revealed)}
    kept = Profile.from_record(record).content_and_ends
    assert kept is not None and np.array_equal(kept, blank, equal_nan=True)


def test_texts_without_an_end_have_one_part() -> None:
    seeds = np.arange(3, dtype=np.uint64)
    assert measure_profile(ByToken(), START, ANSWERS.clamp(max=2), seeds, examples=3, points=4).content_and_ends is None
