"""What a metric of another package must state."""

from __future__ import annotations

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.metrics.plugin_metrics import metric_function


class Good:
    direction, bounds, label = "minimize", (0, 2), "letters"

    def __call__(self, answer: str, record: object) -> int:
        return len(answer)


def test_a_class_is_called_and_its_attributes_are_read() -> None:
    function, *stated = metric_function(Good, "x")
    assert function("ab", {}) == 2 and stated == ["minimize", (0.0, 2.0), "letters"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"direction": "up"}, "must have the attribute direction"),
        ({"bounds": (1, 1)}, "bounds of two numbers"),
        ({"bounds": 3}, "bounds of two numbers"),
        ({"bounds": (0, float("nan"))}, "bounds of two numbers"),
    ],
)
def test_wrong_attributes(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        metric_function(type("Wrong", (Good,), changed), "x")
    with pytest.raises(InputError, match=r"must be a function \(answer, record\), got 3"):
        metric_function(3, "x")
