"""What an export format of another package must have, and what it may return."""

from __future__ import annotations

from typing import Any

import pytest

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.exports.base import Exported
from mdm_tune.exports.plain import Plain
from mdm_tune.exports.plugin_formats import checked_format
from tests.support.exports import counts_policy

POLICY = counts_policy((1, 3))


class Good:
    name, target, verified, exact, blocks = "good", "a program", "", True, "any"
    kinds = frozenset({"counts"})

    def export(self, policy: Any) -> Any:
        return Exported(files={"a.txt": policy.provenance("good")[0]}, where=("Read it.",))


def test_a_good_format_and_one_of_ours() -> None:
    made = checked_format(Good, "good", "x").export(POLICY)
    assert list(made.files) == ["a.txt"]
    ours = checked_format(Plain("json"), "json", "x")
    assert ours.export(POLICY) == Plain("json").export(POLICY) and not hasattr(ours, "verify")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"target": None}, "the text target"),
        ({"name": "other"}, "the name of its entry point, good"),
        ({"exact": 1}, "exact, true or false"),
        ({"kinds": {"curves"}}, "kinds out of counts"),
        ({"blocks": "some"}, "blocks, one of none"),
        ({"export": None}, "a method export"),
    ],
)
def test_wrong_attributes(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"x: an export format must have {message}"):
        checked_format(type("Wrong", (Good,), changed), "good", "x")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, "return an Exported"),
        (Exported(files={}, where=()), "return an Exported with at least one file"),
        (Exported(files={"../a": "b"}, where=()), "name its files without a folder"),
        (Exported(files={"a": 1}, where=()), "return text for 'a'"),  # type: ignore[dict-item]
        (Exported(files={"a": "b"}, where=()), "begin each file with the lines of policy.provenance"),
    ],
)
def test_wrong_results(made: Any, message: str) -> None:
    wrong = type("Wrong", (Good,), {"export": lambda self, policy: made})
    with pytest.raises(RunError, match=message):
        checked_format(wrong, "good", "x").export(POLICY)


def test_a_failing_export_and_a_wrong_verification() -> None:
    def fail(self: Any, policy: Any) -> Any:
        raise KeyError("x")

    with pytest.raises(RunError, match="x failed: KeyError"):
        checked_format(type("Failing", (Good,), {"export": fail}), "good", "x").export(POLICY)
    wrong = checked_format(type("Wrong", (Good,), {"verify": lambda self, *rest: 3}), "good", "x")
    with pytest.raises(RunError, match="return a Realised from verify, got 3"):
        wrong.verify(POLICY, None, None)  # type: ignore[attr-defined]
