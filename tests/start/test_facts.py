"""How long answers are guessed to be."""

from __future__ import annotations

import pytest

from mdm_tune.start.facts import guessed_length


@pytest.mark.parametrize(
    ("tokens", "prompt", "length"),
    [(None, None, 256), (None, 40, 256), (4096, None, 256), (64, None, 32), (64, 32, 32), (300, 40, 256), (64, 70, -6)],
)
def test_a_guessed_answer_fits_beside_the_longest_prompt(tokens: int | None, prompt: int | None, length: int) -> None:
    assert guessed_length(tokens, prompt) == length
