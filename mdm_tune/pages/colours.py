"""Colours of figures and pages: one set for a light and one for a dark background, and the colours of heat maps.

Figures name a colour by its role, ``@tuned`` for example. ``resolved`` replaces these names by the colours of a theme,
or by custom properties, so that a page can change its theme. The tests compute every contrast.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

__all__ = ["DARK", "LIGHT", "Theme", "colour_at", "contrast", "custom_properties", "resolved"]

Floats = NDArray[np.float64]
Theme = Literal["page", "light", "dark"]

# Hues that stay apart for readers who see red and green alike: blue, orange, bluish green, pink, yellow, light blue.
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
    "loss": "#ff8a80",
}
# The ends of the heat map in OKLab (lightness, green to red, blue to yellow): from dark blue over grey to light yellow.
WORST, BEST = (0.30, 0.02, -0.115), (0.92, -0.02, 0.155)


def resolved(text: str, theme: Theme) -> str:
    """Replace the names of colours in attributes, such as ``fill="@tuned"``.

    Args:
        text: elements of a figure.
        theme: ``page`` for ``var(--chart-tuned)``, else the colours of that theme.

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


def colour_at(share: float) -> str:
    """The colour of a heat map for a share from 0, the worst value, to 1, the best one.

    The steps between equally distant shares look equally large: the colours lie on a straight line in OKLab. Lightness
    and the axis from blue to yellow both rise, so that the order remains visible without red and green, and in grey.

    Source: B. Ottosson, "A perceptual color space for image processing", 2020.
    """
    share = min(max(share, 0.0), 1.0)
    lab = np.array(WORST) * (1 - share) + np.array(BEST) * share
    return "#" + "".join(f"{round(float(each) * 255):02x}" for each in _display(lab))


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
