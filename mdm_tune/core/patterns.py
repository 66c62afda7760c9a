"""Regular expressions of the user's own: compiled within bounds, and searched for a bounded time.

The library ``regex`` reads patterns as ``re`` does and, unlike it, can stop a search that explodes.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator

import regex

from mdm_tune.core.messages import shown

__all__ = ["Pattern"]

LONGEST = 1000  # characters of a pattern
REPEATS = 10_000  # that the counted repeats {m,n} of a pattern multiply to: the library writes each of them out
SECONDS = 5.0  # for one text; a pattern that does not explode takes microseconds
COUNTED = re.compile(r"\{([0-9]*),?([0-9]*)\}")


class Pattern:
    """A pattern with one group; raises ValueError that says the rule, the pattern and the remedy."""

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > LONGEST:
            raise ValueError(f"must have at most {LONGEST:,} characters, got {len(text):,}; write a shorter pattern")
        counts = [int(most or least or 1) for least, most in COUNTED.findall(text)]
        if math.prod(max(1, count) for count in counts) > REPEATS:
            raise ValueError(
                f"must have counted repeats that multiply to at most {REPEATS:,}, got {shown(text)}; write * or +, or "
                "smaller numbers"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what a later version of Python may read in another way
                groups = re.compile(text).groups
                self._compiled = regex.compile(text)
        except (re.error, regex.error) as error:
            raise ValueError(f"must be a regular expression, got {shown(text)}: {error}; correct it") from None
        except (RecursionError, OverflowError, MemoryError):
            raise ValueError(
                f"must be a regular expression of fewer nested groups, got {shown(text)}; write it flatter"
            ) from None
        if groups != 1:
            raise ValueError(
                f"must have one group ( ), the part that is compared, got {groups} in {shown(text)}; write other "
                "groups as (?: )"
            )

    def found(self, text: str) -> Iterator[str]:
        """What the group holds at each place in a text, from left to right; raises TimeoutError after ``SECONDS``."""
        for each in self._compiled.finditer(text, timeout=SECONDS):
            if each[1] is not None:
                yield each[1]
