from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.test_cli import MARKOV, QUICK, call


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("runs") / "markov"
    result = call("search", MARKOV, *QUICK, "--output", str(folder), "--json", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return folder, json.loads(result.stdout)
