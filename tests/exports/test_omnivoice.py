"""The counts of OmniVoice, from its formulas in torch's float32."""

from __future__ import annotations

import json
import math
import random

import torch

from mdm_tune.exports.nearest import differing
from mdm_tune.exports.omnivoice import OmniVoice, nearest_shift, shifted_counts
from tests.support.exports import composition, counts_policy


def omnivoice_counts(length: int, steps: int, shift: float) -> tuple[int, ...]:
    times = torch.linspace(0.0, 1.0, steps + 1)
    times = shift * times / (1 + (shift - 1) * times)
    left, counts = length, []
    for step, (before, after) in enumerate(zip(times.tolist(), times.tolist()[1:], strict=False)):
        counts.append(left if step == steps - 1 else min(math.ceil(length * (after - before)), left))
        left -= counts[-1]
    return tuple(counts)


def test_three_thousand_shifts_give_the_counts_of_the_formula() -> None:
    state = random.Random(1)
    for place in range(3000):
        steps = state.randint(1, 64)
        length = state.randint(steps, 1500)
        shift = 1.0 if place % 8 == 0 else float(f"{10 ** state.uniform(-2, 2):.3g}")
        assert shifted_counts(length, steps, shift) == omnivoice_counts(length, steps, shift)


def test_counts_of_a_shift_find_a_shift_with_the_same_counts() -> None:
    for shift in (0.1, 0.5, 1.0, 3.0):
        counts = shifted_counts(400, 16, shift)
        assert differing(counts, shifted_counts(400, 16, nearest_shift(counts))) == 0


def test_the_stated_loss_is_that_of_the_stated_shift() -> None:
    state = random.Random(2)
    for _ in range(20):
        length = state.randint(4, 80)
        counts = composition(state, length, state.randint(1, min(length, 8)), 1)
        made = OmniVoice().export(counts_policy(counts))
        fields = json.loads(made.files["generation_config.json"])
        assert fields["num_step"] == len(counts)
        others = omnivoice_counts(length, len(counts), fields["t_shift"])
        steps = [[step for step, count in enumerate(part) for _ in range(count)] for part in (counts, others)]
        wrong = sum(one != other for one, other in zip(*steps, strict=True))
        assert made.lost[0].startswith(f"{wrong} of {length} positions") if wrong else "positions" not in made.lost[0]
        # No shift of a coarse list is better.
        for shift in (0.05, 0.1, 0.3, 1.0, 3.0, 10.0):
            assert wrong <= differing(counts, omnivoice_counts(length, len(counts), shift))
