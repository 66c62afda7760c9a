"""Enumerations for tables and JSON: why trials ended early, and what the comparison with linear shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

__all__ = ["Ended", "Ending", "Outcome", "Saving"]


class Ending(Enum):
    """Why the trials of a budget ended before ``search.trials``. The value is a sentence with numbers in braces."""

    NOTHING_TO_TUNE = "nothing to tune: all schedules of the box have the same counts"
    EXHAUSTED = "every count vector that a scan of the box finds was scored"
    ALL_EQUAL = "every example scores {value:g} with all {schedules} schedules that were tried; {remedy}"
    SETTLED = "what more trials could gain is less than the noise"
    TIME = "the time for trials is used up"
    ROWS = "the {rows:,} denoiser rows for trials are used up"
    BY_BLOCKS = "trials in blocks of {reasons}"  # the reasons differ between block lengths
    BY_KIND = "trials of {reasons}"  # the reasons differ between kinds of policy

    @property
    def early(self) -> bool:
        """Whether requested trials are missing. With nothing to tune, none are needed."""
        return self is not Ending.NOTHING_TO_TUNE


@dataclass(frozen=True)
class Ended:
    """Why the trials of a budget ended early.

    Attributes:
        ending: The reason.
        text: The sentence, with its numbers.
    """

    ending: Ending
    text: str

    @classmethod
    def of(cls, ending: Ending, **numbers: object) -> Ended:
        """Build the sentence of an ending.

        Args:
            ending: The reason.
            numbers: A value for each name in braces.
        """
        return cls(ending, ending.value.format(**numbers))

    @classmethod
    def from_json(cls, text: object) -> Ended:
        """Read the result of ``to_json``. Raises ValueError if it is the sentence of no ending."""
        for ending in Ending:
            parts = map(re.escape, re.split(r"\{.*?\}", ending.value))
            if isinstance(text, str) and re.fullmatch(".+".join(parts), text, re.DOTALL):
                return cls(ending, text)
        raise ValueError(f"{text!r} is no reason for the end of trials")

    def to_json(self) -> str:
        """The sentence."""
        return self.text


class Outcome(Enum):
    """What the comparison with linear on the report split shows of a budget's policy."""

    BETTER = "better"
    LESS_DIVERSE = "better, but less diverse"  # so that the gain does not count
    MORE_CALLS = "better, but at more denoiser calls"  # than linear made, so that the gain does not count
    UNCORRECTED = "better by itself alone"  # not with the other budgets of the search
    TOO_FEW_DIFFER = "too few examples differ"  # for a claim, though the intervals lie above 0
    NO_GAIN = "no gain"
    WORSE = "worse"  # than linear, which is returned in its place
    UNTESTED = "untested"  # too few examples for an interval


class Saving(Enum):
    """Whether a tuned policy is shown to be no worse than linear at a larger budget, which saves steps."""

    SHOWN = "shown"
    NOT_SHOWN = "not shown"
    UNTESTED = "untested"  # too few examples for an interval
