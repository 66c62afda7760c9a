"""What crosses between tests and the program that they test, and what the tests make of it."""

from __future__ import annotations

from typing import Any

from mdm_tune.benchmarks.execution import Job, Limits, Outcome, run_programs

SHORT = Limits(seconds=2.0)


def outcome(program: str, tests: str, *names: str, **more: Any) -> Outcome:
    return run_programs([Job(program, tests, names=names or ("f",), **more)], allowed=True, limits=SHORT)[0]


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
