from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.code_problems import problem
from tests.support.local_tasks import make_tasks


@pytest.fixture(scope="module")
def mbpp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Problems of all four splits of MBPP, few of each."""
    numbers = [*range(1, 11), *range(11, 27), *range(511, 515), *range(601, 625)]
    file = tmp_path_factory.mktemp("mbpp") / "mbpp.jsonl"
    file.write_text("\n".join(json.dumps(problem(number)) for number in numbers) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tasks(tmp_path_factory.mktemp("tasks"))
