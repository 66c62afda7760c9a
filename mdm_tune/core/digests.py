"""Short digests, by which records tell whether what they rest on is still the same."""

from __future__ import annotations

import hashlib
import json

__all__ = ["content_digest", "short_digest"]


def short_digest(*parts: str | bytes) -> str:
    """Sixteen hex digits of SHA-256 of the parts, one after the other; a text counts as its UTF-8."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() if isinstance(part, str) else part)
    return whole.hexdigest()[:16]


def content_digest(content: object) -> str:
    """Sixteen hex digits of BLAKE2b of what JSON can hold, by which examples and groups are named."""
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=8).hexdigest()
