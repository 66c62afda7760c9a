"""What crosses between a program and its tests."""

from __future__ import annotations

import datetime
import decimal
import fractions
import json
import math
import os
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdm_tune.benchmarks.execution_wire import DEEPEST, MOST, Coder, Lost, Pipe, Unsendable


def crossed(value: Any, answers: bool = True) -> Any:
    """The value as the other side gets it, by way of JSON."""
    one = Coder(lambda other: ["h", 7], lambda number: ("held", number), answers)
    two = Coder(lambda other: ["h", 7], lambda number: ("held", number), not answers)
    return two.decoded(json.loads(json.dumps(one.encoded(value))))


def same(a: Any, b: Any) -> bool:
    """Equal in value and in class all the way down, with NaN equal to itself and -0.0 not to 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list | tuple | deque):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    return bool(a == b)


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.fractions() | st.dates()
)


HASHABLE = st.recursive(SCALARS.filter(lambda x: x == x), lambda inner: st.tuples(inner, inner), max_leaves=4)


VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_plain_values_arrive_as_they_were(value: Any) -> None:
    assert same(crossed(value), value)


@pytest.mark.parametrize(
    "value",
    [
        10**5000,
        -(2**64),
        2**64 - 1,
        -0.0,
        float("nan"),
        float("-inf"),
        complex(-0.0, math.inf),
        bytearray(b"\0\xff"),
        frozenset({1, (2, "x")}),
        range(3, 99, 7),
        deque([1, [2]]),
        OrderedDict([("b", 1), ("a", 2)]),
        {True: 1, 2.0: [()]},
        decimal.Decimal("1.10"),
        fractions.Fraction(1, 3),
        datetime.datetime(2020, 2, 29, 1, 2, 3, 4),
        datetime.time(23, 59),
        datetime.timedelta(-1, 2, 3),
        "\ud800 and \U0001f600",
        int,
        list,
    ],
    ids=lambda value: type(value).__name__,
)
def test_less_usual_values_arrive_as_they_were(value: Any) -> None:
    assert same(crossed(value), value)


def test_an_object_of_a_subclass_arrives_as_what_it_is_built_on() -> None:
    class Number(int):
        def __eq__(self, other: object) -> bool:
            return True

        def __index__(self) -> int:
            return 99

        __int__ = __index__

        def __hash__(self) -> int:
            return 0

    class Many(list):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            return iter([99])

    color = IntEnum("color", {"red": 3})
    point = namedtuple("point", "x y")
    for given_, plain in [
        (Number(5), 5),
        (Many([1, 2]), [1, 2]),
        (color.red, 3),
        (point(1, 2), (1, 2)),
        (Counter("aab"), {"a": 2, "b": 1}),
        (defaultdict(int, a=1), {"a": 1}),
        ({"a": 1}.keys(), {"a": 1}.keys()),
        ({"a": 1}.items(), {"a": 1}.items()),
    ]:
        assert same(crossed(given_), plain), given_
    assert list(crossed({"a": 1, "b": 1}.values())) == [1, 1]


def test_functions_of_python_go_to_the_program_and_never_come_from_it() -> None:
    assert crossed(len, answers=False) is len and crossed(len, answers=True) == ("held", 7)
    assert crossed(object()) == ("held", 7)
    tests = Coder(lambda other: None, lambda number: None, answers=False)
    for coded in (["y", "eval"], ["y", "BaseException"], ["y", "__import__"]):
        with pytest.raises(Lost):
            tests.decoded(coded)


@pytest.mark.parametrize(
    "coded",
    [
        [],
        {},
        ["z"],
        ["s", ["l"]],
        ["d", 1],
        ["i", "x"],
        ["b", 5],
        ["r", 1, 2, 0],
        ["F", 1, 0],
        ["D", "x"],
        ["h"],
        [["l"]],
    ],
)
def test_what_is_no_value_is_not_taken_for_one(coded: Any) -> None:
    with pytest.raises(Lost, match="no value"):
        Coder(lambda other: None, lambda number: None, answers=False).decoded(coded)


def test_depth_and_number_of_values_are_bounded() -> None:
    nested: Any = []
    for _ in range(DEEPEST):
        nested = [nested]
    assert same(crossed(nested), nested)
    for large in ([nested], [0] * (MOST + 1)):
        with pytest.raises(Unsendable, match="cannot be passed on"):
            crossed(large)


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0", b"\0\0\0\5[]", b"\0\0\0\2x]", b"\xff\xff\xff\xff", b"\0\0\0\2\xff\xff"]
)
def test_what_is_no_message_ends_it(data: bytes) -> None:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    with pytest.raises(Lost):
        Pipe(reading, -1).receive()
    os.close(reading)
