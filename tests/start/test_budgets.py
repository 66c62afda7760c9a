from __future__ import annotations

import re
from itertools import product

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Beta
from mdm_tune.start.budgets import check_budgets_of, default_steps

GRID = [Beta(a, b) for a, b in product((0.1, 0.5, 1.0, 3.0, 10.0), repeat=2)]


def vectors(steps: int, tokens: int) -> int:
    return len({tuple(to_counts(beta, steps, tokens)) for beta in GRID})


def test_proposed_budgets() -> None:
    assert default_steps(256) == [32, 64] and default_steps(None) == [32, 64]
    assert default_steps(12) == [2, 3] and default_steps(4) == [2]


@pytest.mark.parametrize("tokens", [3, 4, 8])
def test_what_is_refused_has_one_count_vector_and_what_is_proposed_has_several(tokens: int) -> None:
    """The number of count vectors by brute force over a grid of schedules."""
    for steps in range(1, tokens + 1):
        alone = vectors(steps, tokens) == 1
        assert alone == (steps in (1, tokens))
        if alone:
            with pytest.raises(InputError, match="so every mask schedule is the same"):
                check_budgets_of([steps], tokens, tokens, prompts=True)
        else:
            assert check_budgets_of([steps], tokens, tokens, prompts=True) == []
    assert all(vectors(steps, tokens) > 1 for steps in default_steps(tokens))
    assert vectors(1, 2) == vectors(2, 2) == 1  # fewer than three tokens


def test_more_steps_than_tokens() -> None:
    with pytest.raises(InputError, match=r"below the number of tokens to fill in \(8\).*got 9; give 2 to 7 steps$"):
        check_budgets_of([4, 9], 8, 8, prompts=False)
    with pytest.raises(InputError, match="or more tokens with --length"):
        check_budgets_of([9], 8, 8, prompts=True)


def test_too_few_tokens() -> None:
    with pytest.raises(InputError, match=r"at least 3 tokens must be filled in.*got at most 2"):
        check_budgets_of([2], 2, 2, prompts=False)


def test_a_budget_among_others_is_a_warning() -> None:
    (text,) = check_budgets_of([4, 8, 1], 8, 8, prompts=True)
    assert re.match("at 1 step all tokens are revealed at once and at 8 steps each step reveals one token", text)
    assert check_budgets_of([4, 300], None, None, prompts=True) == []
    with pytest.raises(InputError, match="give 2 steps or more"):
        check_budgets_of([1], None, None, prompts=True)


def test_a_budget_that_is_too_large_for_half_of_the_examples() -> None:
    (text,) = check_budgets_of([2, 6], 6, 20, prompts=True)
    assert "half of the examples have at most 6 tokens: with 6 steps" in text
