"""The command sample."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.test_cli import MARKOV, call


def test_sample_is_reproducible_and_a_prefix_of_a_longer_run(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = searched
    few = call("sample", MARKOV, "--output", str(folder), "--number", "3", "--steps", "8")
    many = call("sample", MARKOV, "--output", str(folder), "--number", "5", "--steps", "8", "--set", "sampler.batch=2")
    assert few.exit_code == 0
    assert few.stdout.splitlines() == many.stdout.splitlines()[:3]
    assert all(re.fullmatch("[01]{32}", line) for line in few.stdout.splitlines())
    other = call("sample", MARKOV, "--output", str(folder), "--number", "3", "--steps", "8", "--seed", "1")
    assert other.stdout != few.stdout
    record = json.loads(call("sample", MARKOV, "--json", "--schedule", "linear", "--output", str(folder)).stdout)
    assert len(record["samples"]) == 8 and record["counts"] == [8] * 4 and record["nfe"] == 4
    assert record["samples"][0]["text"] == "".join(map(str, record["samples"][0]["tokens"]))
