"""Digests against hashlib on the bytes themselves: records of earlier runs hold them, so that none may change."""

from __future__ import annotations

import hashlib

from mdm_tune.core.digests import content_digest, short_digest


def test_a_short_digest_is_that_of_the_parts_together() -> None:
    whole = hashlib.sha256(b"one\x00two\xc3\xa9").hexdigest()
    assert short_digest(b"one\x00", "twoé") == short_digest("one\x00twoé") == whole[:16]
    assert short_digest() == hashlib.sha256().hexdigest()[:16]


def test_content_is_digested_as_json() -> None:
    assert content_digest(["a", ["b"]]) == hashlib.blake2b(b'["a", ["b"]]', digest_size=8).hexdigest()
    assert content_digest(("a",)) == content_digest(["a"])  # JSON has no tuples
