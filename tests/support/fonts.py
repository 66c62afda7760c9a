"""What a test of PNG figures needs of the machine."""

from __future__ import annotations

import pytest

from mdm_tune.pages import png


def needs_png() -> None:
    """Skip the test where the package resvg-py or every font is missing; the rest of the suite needs neither."""
    pytest.importorskip("resvg_py")
    if not png._has_fonts():
        pytest.skip("no font is installed: apt-get install fonts-dejavu-core")
