"""What the how-to pages of the site leave open: tables and instructions, made from the package's own tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping

__all__ = ["INSERTS"]

INSERTS: Mapping[str, Callable[[str], str]] = {}
