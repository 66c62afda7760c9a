"""Colours of figures and pages: one set for a light and one for a dark background, and the colours of heat maps.

Figures name a colour by its role, ``@tuned`` for example. ``resolved`` replaces these names by the colours of a theme,
or by custom properties, so that a page can change its theme. The tests compute every contrast.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

__all__ = ["DARK", "LIGHT", "Theme", "colour_at", "contrast", "custom_properties", "dark_rules", "resolved"]

Floats = NDArray[np.float64]
Theme = Literal["page", "light", "dark", "system"]

# Hues that stay apart for readers who see red and green alike: blue, orange, bluish green, pink, yellow, light blue.
# Those of the kinds of adaptive policies (adaptive, quota, cap, entropy, klass) were searched for: as far as possible
# from each other and from tuned, linear, first and second, with the contrast of text.
LIGHT = {
    "paper": "#ffffff",
    "panel": "#f4f6f8",
    "ink": "#1b1f24",
    "soft": "#57606a",
    "grid": "#e1e4e8",
    "axis": "#848d97",
    "tuned": "#0063a6",
    "linear": "#4a525c",
    "adaptive": "#b64400",
    "first": "#00755a",
    "second": "#9b3f7c",
    "third": "#7a6000",
    "fourth": "#3a68c9",
    "quota": "#5d0cc0",
    "cap": "#05373f",
    "entropy": "#7b3b11",
    "klass": "#6d002e",
    "loss": "#b3261e",
}
DARK = {
    "paper": "#14171c",
    "panel": "#1d2229",
    "ink": "#e8ebef",
    "soft": "#a3adb9",
    "grid": "#2d343d",
    "axis": "#77818d",
    "tuned": "#62b8f5",
    "linear": "#c0c7d0",
    "adaptive": "#ff9d57",
    "first": "#45cfa3",
    "second": "#ee9ccd",
    "third": "#e5cf62",
    "fourth": "#9db4ff",
    "quota": "#a671e5",
    "cap": "#3e9793",
    "entropy": "#f8f996",
    "klass": "#f44a75",
    "loss": "#ff8a80",
}
# Corners of the heat map in OKLab as lightness, chroma and hue in degrees: dark blue, teal, green, light yellow.
CORNERS = ((0.29, 0.11, 285.0), (0.42, 0.09, 250.0), (0.56, 0.09, 200.0), (0.72, 0.13, 155.0), (0.92, 0.17, 105.0))


def resolved(text: str, theme: Theme) -> str:
    """Replace the names of colours in attributes, such as ``fill="@tuned"``.

    Args:
        text: elements of a figure.
        theme: ``page`` for ``var(--chart-tuned)``, else the colours of that theme; those of ``system`` are light, and
            ``dark_rules`` change them.

    Raises:
        ValueError: the theme is none of these.
        KeyError: a name is no colour.
    """
    if theme not in get_args(Theme):
        raise ValueError(f"A theme is one of {', '.join(get_args(Theme))}, not {theme!r}.")
    colours = DARK if theme == "dark" else LIGHT

    def one(match: re.Match[str]) -> str:
        name = match[1]
        return f'="var(--chart-{name})"' if theme == "page" and colours[name] else f'="{colours[name]}"'

    return re.sub(r'="@([a-z]+)"', one, text)


def custom_properties(theme: Literal["light", "dark"]) -> str:
    """The declarations, such as ``--chart-tuned:#0063a6;``, that figures with the theme ``page`` use."""
    colours = DARK if theme == "dark" else LIGHT
    return "".join(f"--chart-{name}:{colour};" for name, colour in colours.items())


def dark_rules() -> str:
    """A style sheet that gives a figure in light colours the dark ones where the reader prefers them.

    In an ``<img>`` a browser takes the colour scheme of the page around it. Programs without style sheets show the
    light colours.
    """
    rules = "".join(
        f'[{kind}="{colour}"]{{{kind}:{DARK[name]}}}' for name, colour in LIGHT.items() for kind in ("fill", "stroke")
    )
    return f"@media(prefers-color-scheme:dark){{{rules}}}"


def colour_at(share: float) -> str:
    """The colour of a heat map for a share from 0, the worst value, to 1, the best one.

    The steps between equally distant shares look equally large: they are equally far apart in OKLab. Lightness and the
    axis from blue to yellow both rise, so that the order remains visible without red and green, and in grey.

    Source: B. Ottosson, "A perceptual color space for image processing", 2020.
    """
    places, path = _heat_path()
    lab = [float(np.interp(min(max(share, 0.0), 1.0), places, path[:, axis])) for axis in range(3)]
    return "#" + "".join(f"{round(float(each) * 255):02x}" for each in _display(np.array(lab)))


@cache
def _heat_path() -> tuple[Floats, Floats]:
    """The colours of the heat map in OKLab (N, 3), and how far along it each of them lies, from 0 to 1."""
    corners, fine = np.array(CORNERS), np.linspace(0, len(CORNERS) - 1, 257)
    light, chroma, hue = (np.interp(fine, np.arange(len(corners)), corners[:, axis]) for axis in range(3))
    angle = np.radians(hue)
    path = np.stack([light, chroma * np.cos(angle), chroma * np.sin(angle)], axis=1)
    lengths = np.linalg.norm(np.diff(path, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(lengths) / lengths.sum()]), path


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours such as ``#0063a6``, from 1 to 21. Source: WCAG 2.2, contrast ratio."""
    lights = sorted((_luminance(first), _luminance(second)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(colour: str) -> float:
    channels = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _display(lab: Floats) -> Floats:
    """OKLab as sRGB channels from 0 to 1."""
    cones = (
        np.array(
            [
                [1, 0.3963377774, 0.2158037573],
                [1, -0.1055613458, -0.0638541728],
                [1, -0.0894841775, -1.2914855480],
            ]
        )
        @ lab
    ) ** 3
    linear = (
        np.array(
            [
                [4.0767416621, -3.3077115913, 0.2309699292],
                [-1.2684380046, 2.6097574011, -0.3413193965],
                [-0.0041960863, -0.7034186147, 1.7076147010],
            ]
        )
        @ cones
    )
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
