"""The templates of pages: how a page gets its style, its script and its numbers. What is no template is escaped."""

from __future__ import annotations

import math
import unicodedata
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from mdm_tune.core.interval_text import interval_text
from mdm_tune.core.messages import quantity
from mdm_tune.core.numerals import significant
from mdm_tune.core.statistics import Estimate
from mdm_tune.pages.charts import Figure, custom_properties
from mdm_tune.pages.names import cut_text, figure_name, large, short_name, time_text
from mdm_tune.pages.run_views import GainView
from mdm_tune.pages.sentences import verdict_text
from mdm_tune.pages.stacked import labelled
from mdm_tune.pages.svg import BREAKS
from mdm_tune.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["MOST_BYTES", "rendered", "visible"]

MOST_BYTES = 600_000  # of a page
KEPT = "\n\t"


def rendered(template: str, **values: Any) -> str:
    """A page as text.

    Args:
        template: name of the template.
        values: what it shows.
    """
    folder = resources.files("mdm_tune.pages") / "templates"
    common = {
        "version": __version__,
        "css": _safe((folder / "page.css").read_text("utf-8")),
        "js": _safe((folder / "page.js").read_text("utf-8")),
        "light": _safe(custom_properties("light")),
        "dark": _safe(custom_properties("dark")),
        "refresh": None,
    }
    return labelled(_environment().get_template(template).render(**common | values)) + "\n"


def visible(text: str) -> str:
    """The text with a picture of each control character, which HTML cannot hold, except line ends and tabs."""
    return "".join(
        character
        if character in KEPT or unicodedata.category(character) not in ("Cc", "Cs", "Cn")
        else chr(0x2400 + ord(character))
        if ord(character) < 32
        else "\ufffd"
        for character in text.replace("\r\n", "\n")
    )


def _safe(text: str) -> Any:
    """Text that the template does not escape: the package's own style and script, and figures."""
    from markupsafe import Markup

    return Markup(text)


@cache
def _environment() -> Environment:
    """The templates, with escaping in all of them. Names that do not exist are errors."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mdm_tune.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters |= {
        "full": _full,
        "digits": significant,
        "quantity": quantity,
        "short": lambda estimate, least=0: _value_text(estimate, least).split(" ")[0].replace("infinite", "not finite"),
        "low": lambda estimate, least=0: _ends(estimate, least)[0],
        "high": lambda estimate, least=0: _ends(estimate, least)[1],
        "minus": lambda text: text.replace("-", "\u2212"),
        "signed": lambda gain, least=0: _signed(gain, least).replace("-", "\u2212"),
        "interval": lambda gain, least=0: _interval(gain, least).replace("-", "\u2212"),
        "verdict": verdict_text,
        "name": short_name,
        "large": large,
        "breakable": _breakable,
        "duration": time_text,
        "cut": cut_text,
        "figure": figure_name,
        "wide": lambda figure: _drawn(figure, compact=False),
        "compact": lambda figure: _drawn(figure, compact=True),
    }
    environment.tests["finite"] = math.isfinite
    return environment


def _breakable(name: str) -> Any:
    """A name that stays together where it can, and else is broken at ``BREAKS``."""
    from markupsafe import Markup, escape

    parts = (escape(visible(part)) for part in BREAKS.split(name))
    return Markup('<span class="nm">{}</span>').format(Markup("<wbr>").join(parts))


def _drawn(figure: Figure, *, compact: bool) -> Any:
    return _safe(figure.svg(compact=compact))


def _full(number: float | None) -> str:
    """A number in all digits, as JSON has it; empty if it is not finite."""
    return repr(number) if number is not None and math.isfinite(number) else ""


def _value_text(estimate: Estimate, least: int) -> str:
    """The value with its interval, in at least so many decimals."""
    return estimate.text if estimate.ci is None else interval_text(estimate.value, estimate.ci, least=least)


def _ends(estimate: Estimate, least: int) -> tuple[str, str]:
    """The ends of the interval, with the decimals of the value."""
    low, _, high = _value_text(estimate, least).partition("[")[2].rstrip("]").partition(", ")
    return low, high


def _signed(gain: GainView, least: int) -> str:
    text = _gain_text(gain, least).partition(" ")[0].replace("infinite", "not finite")
    return text if text.startswith("-") or not math.isfinite(gain.value) else f"+{text}"


def _interval(gain: GainView, least: int) -> str:
    """The corrected interval in brackets; why there is none; empty for exact values."""
    text = _gain_text(gain, least).partition(" ")[2]
    return text.strip()


def _gain_text(gain: GainView, least: int) -> str:
    return interval_text(gain.value, gain.familywise or gain.own, gain.reason, least=least)
