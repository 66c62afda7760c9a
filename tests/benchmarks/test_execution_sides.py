"""What crosses between tests and the program that they test, and what the tests make of it."""

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

from mdm_tune.benchmarks.execution import Job, Limits, Outcome, run_programs
from mdm_tune.benchmarks.execution_wire import DEEPEST, MOST, Coder, Lost, Pipe, Unsendable

SHORT = Limits(seconds=2.0)


def outcome(program: str, tests: str, *names: str, **more: Any) -> Outcome:
    return run_programs([Job(program, tests, names=names or ("f",), **more)], allowed=True, limits=SHORT)[0]


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


# --- tests that call a program --------------------------------------------------------------------

NODES = """
class Node:
    def __init__(self, data): self.data, self.left, self.right = data, None, None
    def __str__(self): return f'Node({self.data})'
def depth(node): return 0 if node is None else 1 + max(depth(node.left), depth(node.right))
def sum(a, b): return f'{a} and {b}'
def squares(n): return (k * k for k in range(n))
def fails(kind): raise kind('why')
def kind_of(x): return type(x).__name__
def change(x): x.append(1); return len(x)
class Bag(list): extra = 5
LIMIT = 7
import math
"""
HELD = [
    "root = Node(1)\nroot.left = Node(2)\nroot.left.left = Node(3)\nassert depth(root) == 3 and root.left.data == 2",
    "assert str(Node(5)) == 'Node(5)' and Node(5).right is None and Node(1) != Node(1)",
    "node = Node(1)\nnode.left = node\nassert node.left == node and node.left is not None",
    "assert sum(2, 3) == '2 and 3'",  # the program's, not Python's
    "assert list(squares(4)) == [0, 1, 4, 9] and 9 in squares(4) and max(squares(3)) == 4",
    "assert LIMIT == 7 and abs(LIMIT - 7.5) < 1",
    "assert kind_of((1,)) == 'tuple' and kind_of(1.0) == 'float' and kind_of(int) == 'type'",
    "assert kind_of(x={1: [2]}) == 'dict'",
    "try:\n    fails(ValueError)\nexcept ValueError as error:\n    assert str(error) == 'why'\nelse:\n    assert False",
    "try:\n    fails(KeyError)\nexcept LookupError:\n    pass",
    "values = [3]\nassert change(values) == 2 and values == [3]",  # the program has a copy
    "assert math.isclose(LIMIT, 7.0)",  # a module that both have is the tests' own
    "def check(candidate):\n    assert candidate(Node(1)) == 1\ncheck(depth)",
    "import collections\nassert collections.Counter('aa') == {'a': 2}",
]
NOT_HELD = {
    "assert squares(2) == [0, 1]": "AssertionError: ",  # a generator is no list
    "assert depth(lambda: 1) == 1": "Unsendable: the tests pass on a function",
    "fails(SystemExit)": "SystemExit: why",
    "try:\n    fails(SystemExit)\nexcept Exception:\n    pass": "SystemExit: why",
    "fails(ZeroDivisionError)": "ZeroDivisionError: why",
    "missing(1)": "NameError: name 'missing' is not defined",
    "statistics.mean([1])": "NameError: name 'statistics' is not defined",  # the program has not imported it
    "Node(1) < Node(2)": "TypeError: ",
}


def test_tests_see_the_programs_names_and_objects() -> None:
    names = ("Node", "depth", "sum", "squares", "fails", "kind_of", "change", "LIMIT")
    imports = {"math": "import math", "statistics": "import statistics"}
    tests = [*HELD, *NOT_HELD]
    jobs = [Job(NODES, each, names=names, imports=imports) for each in tests]
    found = dict(zip(tests, run_programs(jobs, allowed=True, limits=SHORT, workers=2), strict=True))
    assert {each: found[each] for each in HELD if found[each] != Outcome("passed")} == {}
    for each, detail in NOT_HELD.items():
        assert found[each].verdict == "failed" and found[each].detail.startswith(detail), (each, found[each])


def test_helpers_of_the_tests_are_not_the_programs() -> None:
    """A program that brings a helper of its own, which says yes to everything, is tested with the tests' one."""
    program = "def helper(x): return 0\ndef f(x): return 0"
    before = "def helper(x): return x + 1\ndef f(x): ..."
    assert outcome(program, "assert helper(f(1)) == 0", before=before).verdict == "failed"
    assert outcome(program, "assert helper(f(1)) == 1", before=before).verdict == "passed"
    assert outcome("def set(x): return 0\ndef f(x): return 0", "assert set([f(1)]) == set([5])").verdict == "failed"


def test_an_error_that_the_kernel_caused_is_a_refusal_whoever_catches_it() -> None:
    program = "import os\ndef f():\n    try: os.fork()\n    except OSError as error: raise ValueError('no') from error"
    found = outcome(program, "f()")
    assert found.verdict == "refused" and found.detail.startswith("PermissionError: [Errno 1]")
    assert outcome("def f(): return 1", "f()\nraise ValueError").verdict == "failed"


def test_a_program_that_ends_when_called_does_not_pass_though_the_tests_catch_all() -> None:
    tests = "try:\n    f()\nexcept BaseException:\n    pass"
    assert outcome("import os\ndef f(): os._exit(0)", tests) == Outcome(
        "failed", "it ended with exit code 0 before its last test"
    )
