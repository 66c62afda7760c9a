"""Step budgets: those that are proposed, and those at which there is nothing to tune."""

from __future__ import annotations

from collections.abc import Sequence

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import listed, quantity
from mdm_tune.start.facts import UNKNOWN_LENGTH

__all__ = ["check_budgets_of", "default_steps"]

FEWEST_TOKENS = 3  # in two steps they are revealed as 1 + 2 or 2 + 1; two tokens have one way for each budget


def default_steps(tokens: int | None) -> list[int]:
    """An eighth and a quarter of the tokens to fill in, at least 2 steps.

    Args:
        tokens: The usual number of tokens; None if it is unknown.
    """
    count = UNKNOWN_LENGTH if tokens is None else tokens
    return sorted({max(2, count // 8), max(2, count // 4)})


def check_budgets_of(steps: Sequence[int], tokens: int | None, longest: int | None, *, prompts: bool) -> list[str]:
    """Check that there is something to tune at the budgets.

    At 1 step all tokens are revealed at once, and with as many steps as tokens each step reveals one. Every mask
    schedule is the same there.

    Args:
        steps: The budgets.
        tokens: The usual number of tokens to fill in; None if it is unknown.
        longest: The most tokens to fill in; None if they are unknown.
        prompts: Whether ``--length`` sets the number of tokens.

    Returns:
        Sentences about budgets at which nothing, or little, can be tuned.

    Raises:
        InputError: If a budget has more steps than tokens, or if nothing can be tuned at any budget.
    """
    more = ", or more tokens with --length" if prompts else ""
    if longest is not None and longest < FEWEST_TOKENS:
        raise InputError(
            f"TASK: at least {FEWEST_TOKENS} tokens must be filled in, because with fewer every mask schedule is the "
            f"same, got at most {longest}; give longer answers or texts{more}"
        )
    legal = "2 steps or more" if longest is None else f"2 to {longest - 1} steps"
    if longest is not None and max(steps) > longest:
        raise InputError(
            f"--steps must be below the number of tokens to fill in ({longest}), because each step reveals at least "
            f"one token, got {max(steps)}; give {legal}{more}"
        )
    same = [number for number in steps if number in (1, longest)]
    if same:
        ways = {1: "at 1 step all tokens are revealed at once"}
        ways |= {} if longest is None else {longest: f"at {longest} steps each step reveals one token"}
        text = " and ".join(ways[number] for number in sorted(same))
        if len(same) == len(steps):
            raise InputError(
                f"--steps must leave something to tune, got {listed(steps)}: {text}, so every mask schedule is the "
                f"same; give {legal}{more}"
            )
        return [f"{text}: nothing can be tuned there, so leave it out unless you want its value (sampler.steps)"]
    if tokens is not None and (few := [number for number in steps if number >= tokens]):
        return [
            f"half of the examples have at most {quantity(tokens, 'token')}: with {listed(few)} steps every mask "
            "schedule is the same for them (sampler.steps)"
        ]
    return []
