"""Short digests: records keep them to detect that a model, a data set or a setting has changed."""

from __future__ import annotations

import hashlib
import json

__all__ = ["content_digest", "short_digest"]


def short_digest(*parts: str | bytes) -> str:
    """The first sixteen hex digits of SHA-256 of the joined parts; text is encoded as UTF-8."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()[:16]


def content_digest(content: object) -> str:
    """Sixteen hex digits of BLAKE2b of a JSON value; examples and groups are named by them."""
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=8).hexdigest()
