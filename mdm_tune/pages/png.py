"""SVG to PNG by resvg, which an optional package brings."""

from __future__ import annotations

from functools import cache

from mdm_tune.core.errors import InputError

__all__ = ["to_png"]

MOST = 10_000
PROBE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="40" height="20" fill="#fff"/>'
    '<text x="2" y="15" font-family="sans-serif" font-size="14">{}</text></svg>'
)


def to_png(svg: str, width: int) -> bytes:
    """Draw an SVG file.

    Args:
        svg: one element ``svg`` with ``width`` and ``height``.
        width: of the image in pixels, from 1 to 10,000; the height follows.

    Returns:
        A PNG file.

    Raises:
        InputError: the package is not installed, the machine has no font, or the width is not in its range.
    """
    if not 1 <= width <= MOST:
        raise InputError(f"a PNG image is from 1 to {MOST:,} pixels wide, got {width}; give such a width")
    try:
        import resvg_py
    except ImportError:
        raise InputError(
            "PNG figures need the package resvg-py, which is not installed: install it by "
            "pip install 'mdm-tune[report]'"
        ) from None
    if not _has_fonts():
        raise InputError(
            "PNG figures need a font, and this machine has none: install one, such as Debian's fonts-dejavu-core"
        )
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=width))


@cache
def _has_fonts() -> bool:
    """Whether a text is drawn at all. Without fonts resvg leaves texts out and says nothing."""
    import resvg_py

    empty, full = (bytes(resvg_py.svg_to_bytes(svg_string=PROBE.format(each))) for each in ("", "figure"))
    return empty != full
