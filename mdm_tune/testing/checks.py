"""How a conformance suite says what is wrong."""

from __future__ import annotations

from mdm_tune.core.guard import safe_repr

__all__ = ["require"]


def require(kept: bool, rule: str, got: object = None) -> None:
    """Raise AssertionError unless a rule is kept, also where Python skips assert statements.

    Args:
        kept: Whether it is kept.
        rule: The rule.
        got: What was received; None to leave it out.
    """
    if not kept:
        raise AssertionError(rule if got is None else f"{rule}, got {safe_repr(got, 200)}")
