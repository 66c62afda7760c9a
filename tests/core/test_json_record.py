"""Records as JSON objects, and back."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import pytest

from mdm_tune.core.json_record import Beside, JsonRecord


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Inner(JsonRecord):
    value: float
    ci: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Extra(JsonRecord):
    note: str


@dataclass(frozen=True, kw_only=True)
class Outer(JsonRecord):
    name: str
    inner: Beside[Inner]
    colour: Colour
    kind: Literal["a", "b"] | None
    parts: tuple[Inner, ...]
    by_name: dict[str, Inner]
    done: bool
    extra: Beside[Extra | None]


INNER = Inner(value=1.5, ci=(1.0, math.inf))
OUTER = Outer(
    name="x",
    inner=Inner(value=math.inf, ci=None),
    colour=Colour.BLUE,
    kind="b",
    parts=(INNER, Inner(value=2, ci=None)),
    by_name={"one": INNER},
    done=True,
    extra=None,
)
JSON: dict[str, Any] = {
    "name": "x",
    "value": None,
    "ci": None,
    "colour": "blue",
    "kind": "b",
    "parts": [{"value": 1.5, "ci": [1.0, None]}, {"value": 2, "ci": None}],
    "by_name": {"one": {"value": 1.5, "ci": [1.0, None]}},
    "done": True,
}


def test_a_record_is_an_object_with_its_fields_in_their_order() -> None:
    assert list(OUTER.to_json().items()) == list(JSON.items())
    assert json.loads(json.dumps(OUTER.to_json(), allow_nan=False)) == JSON


def test_what_was_written_is_read_back() -> None:
    assert Outer.from_json(JSON) == OUTER
    more = Outer.from_json({**JSON, "note": "seen", "unknown": 1})
    assert more.extra == Extra(note="seen") and more.to_json() == {**JSON, "note": "seen"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, "name must be"),
        ({"name": None}, "name must be"),
        ({"done": 1}, "done must be"),
        ({"colour": "green"}, "'green' is not a valid Colour"),
        ({"kind": "c"}, "kind must be"),
        ({"parts": {}}, "parts must be"),
        ({"parts": [{"value": 1.0}]}, "Inner lacks ci"),
        ({"by_name": {"one": {"value": 1.0, "ci": [1.0]}}}, "ci must be|shorter"),
        ({"value": True}, "value must be"),
        ({"ci": [1.0, "2"]}, "ci must be"),
    ],
)
def test_other_keys_and_types_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Outer.from_json({**JSON, **changes})


@pytest.mark.parametrize("value", [None, [], "x", {}])
def test_what_is_no_object_or_empty_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"Outer (must be an object|lacks name)"):
        Outer.from_json(value)
