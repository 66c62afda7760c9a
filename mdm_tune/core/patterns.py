"""The user's regular expressions: compiled within bounds, and searched for a bounded time.

The library ``regex`` has the syntax of ``re`` and, unlike it, a time limit for searches.
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
REPEATS = 10_000  # the largest product of the counted repeats {m,n}; the library compiles a copy for each repeat
SECONDS = 5.0  # for one text; a pattern without exponential backtracking takes microseconds
COUNTED = re.compile(r"\{([0-9]*),?([0-9]*)\}")


class Pattern:
    """A regular expression with one group.

    Args:
        text: the pattern.

    Raises:
        ValueError: the pattern is invalid, too long, or has not exactly one group; the message has rule and remedy.
    """

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
                warnings.simplefilter("ignore")  # Python warns of syntax that a later version may change
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

    def group_texts(self, text: str) -> Iterator[str]:
        """The text of the group in every match, from left to right.

        Raises:
            TimeoutError: the search takes longer than ``SECONDS``.
        """
        for match in self._compiled.finditer(text, timeout=SECONDS):
            if match[1] is not None:
                yield match[1]
