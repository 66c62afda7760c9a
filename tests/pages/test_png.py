from __future__ import annotations

import struct
import sys

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.pages import png
from mdm_tune.pages.figure import Drawing, Figure
from mdm_tune.pages.svg import element
from tests.support.fonts import needs_png

FIGURE = Figure(
    "Title", "Seen.", lambda layout: Drawing(100, element("rect", width=layout.width, height=100, fill="@ink"))
)


def test_a_png_has_the_width_that_is_asked_for() -> None:
    needs_png()
    made = FIGURE.png(300, "dark")
    assert made.startswith(b"\x89PNG\r\n")
    width, height = struct.unpack(">II", made[16:24])
    assert width == 300 and abs(height - 300 * (100 + 32 + 16 * 1.3 + 6) / 712) < 2
    assert FIGURE.png(300, "page") == FIGURE.png(300, "light") != made


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(InputError, match=r"resvg-py, which is not installed.*mdm-tune\[report\]"):
        FIGURE.png()


def test_a_machine_without_fonts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resvg_py")
    monkeypatch.setattr(png, "_has_fonts", lambda: False)
    with pytest.raises(InputError, match="has none"):
        FIGURE.png()


@pytest.mark.parametrize("width", [0, 10_001])
def test_a_width_has_a_range(width: int) -> None:
    with pytest.raises(InputError, match="from 1 to 10,000"):
        FIGURE.png(width)
