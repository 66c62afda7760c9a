"""The bounds of numbers that are given as flags and are not part of a config."""

from __future__ import annotations

from collections.abc import Sequence

from mdm_tune.config.validators import SEVERAL
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown
from mdm_tune.schedules.curves import LONGEST

__all__ = ["check_budgets", "check_count", "check_length"]


def check_budgets(steps: Sequence[int], flag: str = "--steps") -> None:
    """Raise InputError if the numbers of steps in a flag break a rule that a config has for them."""
    if len(steps) > SEVERAL:
        raise InputError(f"{flag}: at most {SEVERAL} budgets are compared, got {len(steps):,}; give fewer")
    for number in steps:
        if not 1 <= number <= LONGEST:
            remedy = "give 1 or more" if number < 1 else "give no more steps than there are tokens"
            raise InputError(
                f"{flag} must be from 1 to {LONGEST}, the tokens of the longest sequence, got {shown(number)}; {remedy}"
            )
    if len(set(steps)) < len(steps):
        raise InputError(f"{flag} must not repeat, got {shown(list(steps))}; give each budget once")


def check_count(flag: str, number: int, most: int, why: str) -> None:
    """Check the number of a flag.

    Args:
        flag: its name, for messages.
        number: its value.
        most: the largest legal value.
        why: the reason for ``most``, as a clause.

    Raises:
        InputError: the number is below 1 or above ``most``.
    """
    if not 1 <= number <= most:
        rule = f"must be at least 1, got {shown(number)}; give 1 or leave it out"
        if number > 1:
            rule = f"must be at most {most:,}, {why}, got {shown(number)}; give fewer"
        raise InputError(f"{flag} {rule}")


def check_length(flag: str, number: int) -> None:
    """Raise InputError if a number of tokens in a flag is below 1 or above that of the longest sequence."""
    check_count(flag, number, LONGEST, "the tokens of the longest sequence")
