"""The figures of the page: one function for each kind, each of which returns a ``Figure``."""

from mdm_tune.pages.chart_frame import Axis, Role
from mdm_tune.pages.chart_lines import Mark, Series, lines
from mdm_tune.pages.colours import Theme, custom_properties
from mdm_tune.pages.figure import Figure

__all__ = ["Axis", "Figure", "Mark", "Role", "Series", "Theme", "custom_properties", "lines"]
