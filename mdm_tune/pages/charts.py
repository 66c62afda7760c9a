"""The figures of the page: one function for each kind, each of which returns a ``Figure``."""

from mdm_tune.pages.chart_dots import Gain, Verdict, dots, open_verdict
from mdm_tune.pages.chart_frame import Axis, Better, Look, Role
from mdm_tune.pages.chart_landscape import Landscape, Place, Trial, landscape
from mdm_tune.pages.chart_lines import Mark, Series, lines, numbers_of
from mdm_tune.pages.chart_steps import Counts, steps
from mdm_tune.pages.colours import Theme, custom_properties
from mdm_tune.pages.figure import Figure

__all__ = [
    "Axis",
    "Better",
    "Counts",
    "Figure",
    "Gain",
    "Landscape",
    "Look",
    "Mark",
    "Place",
    "Role",
    "Series",
    "Theme",
    "Trial",
    "Verdict",
    "custom_properties",
    "dots",
    "landscape",
    "lines",
    "numbers_of",
    "open_verdict",
    "steps",
]
