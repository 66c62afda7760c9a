from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def pages() -> None:
    """Make whole pages here."""
