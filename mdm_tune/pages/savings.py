"""What a policy saves against linear at more steps, in the words of the page and of the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mdm_tune.core.interval_text import interval_text

__all__ = ["beside_linear", "calls_saved"]


def beside_linear(pair: Mapping[str, Any]) -> str:
    """What the test of a pair shows: that the policy is better than linear at more steps, or as good.

    Args:
        pair: As in the record of a search.
    """
    return "is better than" if pair.get("better") else "is as good as"


def calls_saved(pair: Mapping[str, Any]) -> str:
    """How many times as many calls linear makes, with the interval or the reason that there is none.

    Args:
        pair: As in the record of a search; records of earlier versions say nothing of an interval.
    """
    ratio, ends = float(pair["ratio"]), pair.get("ratio_ci")
    if ends is not None:
        return f"linear makes {interval_text(ratio, (float(ends[0]), float(ends[1])))} times as many denoiser calls"
    if pair.get("calls_vary") is None:
        why = "without an interval"
    else:
        why = (
            "no interval: too few examples, or one ratio for all"
            if pair["calls_vary"]
            else "the same for every example"
        )
    return f"linear makes {ratio:.1f} times as many denoiser calls ({why})"
