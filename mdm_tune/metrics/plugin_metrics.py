"""A metric of answers that another installed package adds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

from mdm_tune.core.errors import InputError
from mdm_tune.core.guard import calling, finite_number, safe_repr
from mdm_tune.core.messages import cut
from mdm_tune.core.plugins import load_plugin, plugin_named
from mdm_tune.core.statistics import Bounds
from mdm_tune.core.types import Direction
from mdm_tune.datasets.splits import Dataset
from mdm_tune.metrics.answers import AnswerMetric, custom_metric

__all__ = ["metric_function", "plugin_metric"]


def plugin_metric(dataset: Dataset, name: str, trust_code: bool, field: str) -> AnswerMetric:
    """Build the metric of a plugin.

    Args:
        dataset: The data set.
        name: Name of the plugin.
        trust_code: Whether foreign code may run.
        field: The path of the setting that names it.

    Raises:
        InputError: If foreign code is not allowed, the plugin cannot be imported, or it is no metric.
    """
    plugin = plugin_named("metrics", name)
    assert plugin is not None  # the config refuses other names
    loaded = load_plugin(plugin, field, trust_code)
    where = f"{field}: {name} of {plugin.origin}"
    with calling(where, "correct that package", file=plugin.file, loading=True):
        function, direction, bounds, label = metric_function(loaded, where)
    made = custom_metric(dataset, function, direction, name, plugin.file, bounds)
    return replace(made, name=name, label=label or name)


def metric_function(metric: Any, where: str) -> tuple[Any, Direction, Bounds | None, str]:
    """Check what a plugin states about its metric.

    Args:
        metric: The function; a class is called without arguments first. Its attribute ``direction`` is "maximize" or
            "minimize". It may have ``bounds``, the smallest and the largest value, and ``label``, a name for a reader.
        where: Its name in messages.

    Returns:
        The function, the direction, the bounds or None, and the label or an empty text.

    Raises:
        InputError: If an attribute is missing or wrong.
    """
    function = metric() if isinstance(metric, type) else metric
    if not callable(function):
        raise InputError(f"{where} must be a function (answer, record), got {safe_repr(function)}; correct it")
    direction: Any = getattr(function, "direction", None)
    if direction not in get_args(Direction):
        raise InputError(
            f'{where} must have the attribute direction, "maximize" or "minimize", got {safe_repr(direction)}; add it'
        )
    bounds: Any = getattr(function, "bounds", None)
    if bounds is not None:
        ends = [finite_number(end) for end in bounds] if isinstance(bounds, tuple | list) else []
        if len(ends) != 2 or ends[0] is None or ends[1] is None or not ends[0] < ends[1]:
            raise InputError(
                f"{where} must have bounds of two numbers, the smallest and the largest value, got "
                f"{safe_repr(bounds)}; correct them, or leave them out"
            )
        bounds = (ends[0], ends[1])
    label = getattr(function, "label", "")
    return function, direction, bounds, cut(label, 100) if isinstance(label, str) else ""
