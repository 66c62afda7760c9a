from __future__ import annotations

import random

from mdm_tune.exports.nearest import differing, largest_difference, loss_text
from tests.support.exports import composition


def test_three_thousand_losses_are_those_of_a_count_position_by_position() -> None:
    state = random.Random(0)
    for _ in range(3000):
        length = state.randint(1, 60)
        counts, others = (composition(state, length, state.randint(1, length), 0) for _ in range(2))
        steps = [[step for step, count in enumerate(part) for _ in range(count)] for part in (counts, others)]
        assert differing(counts, others) == sum(one != other for one, other in zip(*steps, strict=True))
        shares = [
            abs(sum(counts[:step]) - sum(others[:step])) / length for step in range(max(len(counts), len(others)) + 1)
        ]
        assert largest_difference(counts, others) == max(shares)


def test_the_loss_in_words() -> None:
    assert loss_text((2, 2), (2, 2)) == ()
    assert loss_text((3, 1), (2, 2), 2) == (
        "2 of 8 positions are revealed at another step, and the revealed share differs by up to 25.0 %: 2 steps per "
        "block, not 2.",
    )
