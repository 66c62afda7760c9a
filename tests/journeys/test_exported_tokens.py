"""Our tokens are those that peers' own samplers drew with exported schedules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.compare_exports import PEERS, cases, described, ours
from scripts.compare_peers import PROMPT

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "exported.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", RECORDED, ids=described)
def test_tokens_are_the_peers(case: dict[str, Any]) -> None:
    assert ours(case)[:, PROMPT:].tolist() == case["drawn"]


def test_the_record_is_of_the_cases_of_the_script() -> None:
    assert [{key: value for key, value in case.items() if key != "drawn"} for case in RECORDED] == cases()
    assert {case["peer"] for case in RECORDED} == set(PEERS)
    assert any("0" in case["schedule"].split(",") for case in RECORDED)  # a step that reveals nothing
