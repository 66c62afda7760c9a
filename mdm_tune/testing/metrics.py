"""The conformance suite of metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from mdm_tune.core.guard import finite_number
from mdm_tune.core.types import sign_of
from mdm_tune.metrics.plugin_metrics import metric_function
from mdm_tune.testing.checks import require

__all__ = ["MetricConformance"]


class MetricConformance:
    """What a metric of answers must do. Inherit it in a class of tests and override ``build`` and ``cases``.

    Attributes:
        tolerance: The largest difference from an expected value.
    """

    tolerance = 1e-9

    def build(self) -> Callable[[str, dict[str, Any]], object]:
        """Return the metric: what the entry point names."""
        raise NotImplementedError("override build: it returns the metric")

    def cases(self) -> Sequence[tuple[str, Mapping[str, Any], float]]:
        """Return answers with their records and the values that were found by hand, the best one first."""
        raise NotImplementedError("override cases: it returns (answer, record, value), the best one first")

    def test_the_direction_and_the_bounds_are_stated(self) -> None:
        """``direction``, and ``bounds`` if it has any."""
        metric_function(self.build(), "the metric")

    def test_each_example_has_the_value_found_by_hand(self) -> None:
        """A finite number within the bounds."""
        function, _, bounds, _ = metric_function(self.build(), "the metric")
        for answer, record, expected in self.cases():
            returned = function(answer, deepcopy(dict(record)))
            value = finite_number(returned)
            require(value is not None, f"the value of {answer!r} must be a finite number", returned)
            assert value is not None  # mypy
            require(abs(value - expected) <= self.tolerance, f"the value of {answer!r} must be {expected}", value)
            if bounds is not None:
                require(bounds[0] <= value <= bounds[1], f"the value of {answer!r} must lie in {bounds}", value)

    def test_the_direction_is_right(self) -> None:
        """The first case is better than the last one."""
        _, direction, _, _ = metric_function(self.build(), "the metric")
        values = [expected for _, _, expected in self.cases()]
        require(len(values) >= 2 and values[0] != values[-1], "cases must have a best and a worse one", values)
        require(
            sign_of(direction) * (values[0] - values[-1]) > 0, f"{direction} must make the first case better", values
        )

    def test_a_value_depends_on_its_example_alone(self) -> None:
        """Not on earlier calls, nor on their order."""
        function, *_ = metric_function(self.build(), "the metric")
        cases = self.cases()
        forward = [function(answer, deepcopy(dict(record))) for answer, record, _ in cases]
        backward = [function(answer, deepcopy(dict(record))) for answer, record, _ in reversed(cases)]
        require(forward == backward[::-1], "a value must depend on its example alone", (forward, backward[::-1]))

    def test_the_record_is_not_changed(self) -> None:
        """It is the same after a call."""
        function, *_ = metric_function(self.build(), "the metric")
        for answer, record, _ in self.cases():
            given = deepcopy(dict(record))
            function(answer, given)
            require(given == dict(record), "a call must not change the record", given)
