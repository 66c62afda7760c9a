from __future__ import annotations

import math

import numpy as np
import pytest

from mdm_tune.pages.colours import DARK, LIGHT, colour_at, contrast, custom_properties, resolved

KINDS = {"adaptive", "quota", "cap", "entropy", "klass"}
TEXT = {"ink", "soft", "tuned", "linear", "first", "second", "third", "fourth", "loss"} | KINDS


def channels(colour: str) -> np.ndarray:
    """Linear light of red, green and blue."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return np.array([each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in shares])


def oklab(colour: str) -> np.ndarray:
    """The published matrices, in the other direction than in the module."""
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    ) @ channels(colour)
    return np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    ) @ np.cbrt(cones)


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#ffffff", "#777777") == pytest.approx(4.478, abs=1e-3)  # the known grey just below 4.5
    assert contrast("#0063a6", "#0063a6") == 1


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_and_marks_have_contrast(theme: dict[str, str]) -> None:
    for name in TEXT:
        for ground in ("paper", "panel"):
            assert contrast(theme[name], theme[ground]) >= 4.5, (name, ground)
    assert contrast(theme["axis"], theme["paper"]) >= 3
    assert LIGHT.keys() == DARK.keys()


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_no_two_series_have_nearly_one_colour(theme: dict[str, str]) -> None:
    """Also for readers without red receptors, by the matrix of Vienot, Brettel and Mollon 1999 on linear light."""
    blind = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    names = ["tuned", "linear", "first", "second", *sorted(KINDS)]
    for matrix in (np.eye(3), blind):
        seen = {}
        for name in names:
            light = np.clip(matrix @ channels(theme[name]), 0, 1)
            shares = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
            seen[name] = oklab("#" + "".join(f"{round(each * 255):02x}" for each in shares))
        pairs = [(first, second) for first in names for second in names if first < second]
        distances = {pair: math.dist(seen[pair[0]], seen[pair[1]]) for pair in pairs}
        assert min(distances.values()) > 0.04, min(distances.items(), key=lambda each: each[1])


def test_equal_steps_of_the_heat_map_look_equal_and_get_lighter() -> None:
    seen = np.array([oklab(colour_at(share)) for share in np.linspace(0, 1, 12)])
    steps = np.linalg.norm(np.diff(seen, axis=0), axis=1)
    assert steps.min() > 0.9 * steps.mean() and steps.max() < 1.1 * steps.mean()
    assert (np.diff(seen[:, 0]) > 0.03).all() and (np.diff(seen[:, 2]) > 0).all()
    assert colour_at(-1) == colour_at(0) and colour_at(2) == colour_at(1)


def test_names_of_colours_become_colours_or_custom_properties() -> None:
    drawn = '<text fill="@ink" stroke="@paper">fill=&quot;@ink&quot;</text>'
    assert resolved(drawn, "page").startswith(
        '<text fill="var(--chart-ink)" stroke="var(--chart-paper)">fill=&quot;@ink'
    )
    assert resolved(drawn, "light").startswith(f'<text fill="{LIGHT["ink"]}"')
    assert resolved(drawn, "dark").startswith(f'<text fill="{DARK["ink"]}"')
    assert f"--chart-ink:{DARK['ink']};" in custom_properties("dark")
    with pytest.raises(KeyError):
        resolved('<text fill="@unknown"/>', "page")
    with pytest.raises(ValueError, match="not 'sepia'"):
        resolved(drawn, "sepia")  # type: ignore[arg-type]
