"""scripts/benchmark_sampling.py: what its record and its page say, without the peers."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # the scripts import one another by name

import benchmark_page as pages
import benchmark_sampling
from benchmark_plots import PLOTS
from benchmark_samplers import SIZES, Case, Network, Peers, Timed, ours

CASE = Case(27, 64, 1, 4, "confidence", 0, peers=("LLaDA", "plain"))
FIELDS = ("vocabulary", "length", "rows", "steps", "order", "temperature", "top_p", "trunk", "spread", "kept")


def record(ratio: float, **changes: Any) -> dict[str, Any]:
    """A record in which LLaDA takes so many times our time, 2 seconds a row."""
    case = {field: getattr(CASE, field) for field in FIELDS} | changes
    own = [2.0 * case["rows"]] * 3
    return {
        "name": Case(**case).name,
        "case": case,
        "commit": "abc",
        "cpu": {"ours": own, "LLaDA": [ratio * each for each in own]},
        "seconds": {"ours": own, "LLaDA": own},
        "loop": [0.2 * case["rows"]] * 3,
        "share": [0.1] * 3,
        "calls": 4,
        "equal": {"LLaDA": 63},
        "memory": {"ours": 10.0, "LLaDA": 40.0},
    }


def test_the_smallest_case_is_measured_and_written_to_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, page = tmp_path / "record.json", tmp_path / "page.md"
    given = ["--quick", "--only", CASE.name, "--turns", "3", "--record", str(kept), "--page", str(page)]
    command = [sys.executable, str(benchmark_sampling.__file__), *given]
    first = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    found = json.loads(kept.read_text("utf-8"))
    assert list(found) == [CASE.name]
    case = found[CASE.name]
    assert set(case["cpu"]) == set(case["seconds"]) == set(case["memory"]) == {"ours", "plain"}
    assert all(len(values) == 3 and min(values) > 0 for values in case["cpu"].values())
    assert len(case["loop"]) == len(case["share"]) == 3 and min(case["loop"]) > 0
    assert all(0 < share < 1 for share in case["share"])
    assert case["calls"] == 4 and case["equal"]["plain"] == 64
    assert all(memory > 0 for memory in case["memory"].values())
    assert CASE.name in first.stdout
    text = page.read_text("utf-8")
    assert f'--only "{CASE.name}" --enough 4 --page PAGE' in text and "| plain | 27 | 0 | 1 |" in text
    assert not any((tmp_path / name).exists() for name in PLOTS)
    monkeypatch.setattr(benchmark_sampling, "measure", None)  # the record has the case
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    page.unlink()
    assert benchmark_sampling.main(given) == 0
    assert page.read_text("utf-8") == text
    pages.write_page(page, [case], quick=True)
    whole = page.read_text("utf-8")
    assert "It was measured with `--quick`: 1 case." in whole and "Nothing was run on a GPU" in whole
    assert all((tmp_path / name).read_text("utf-8").startswith("<?xml") for name in PLOTS)


def test_our_tokens_are_those_of_the_plain_loop_at_temperature_0() -> None:
    case = Case(3000, 32, 3, 5, "confidence", 0)
    network = Network(case.trunk, case.vocabulary)
    drawn = ours(case, Timed(network))()
    assert (drawn == Peers(None, None, None, None).makers["plain"](case, network)()).all()
    assert (drawn < case.vocabulary).all()


def test_the_network_follows_from_its_seed_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    one, two, other = Network("1M", 5), Network("1M", 5), Network("1M", 5, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.words, other.words)
    assert 0.9e6 < sum(weight.numel() for weight in one.trunk.parameters()) < 1.1e6


def test_a_sampler_that_fails_or_is_killed_ends_nothing_else() -> None:
    def fails() -> dict[str, Any]:
        raise ValueError("no such rule")

    def ends() -> dict[str, Any]:
        os._exit(9)

    assert benchmark_sampling.apart(fails)["failed"] == "ValueError: no such rule"
    assert "ended with 9" in benchmark_sampling.apart(ends)["failed"]


@pytest.mark.parametrize(("ratio", "told"), [(0.9, True), (0.96, False), (1.2, False)])
def test_a_page_says_where_a_peer_is_faster(ratio: float, told: bool) -> None:
    text = pages.slower([record(ratio), record(2.0, rows=4)])
    assert ("In 1 of 2 comparisons" in text) is told
    assert ("in 1 of them the whole interval says so" in text) is told
    assert ("| LLaDA | 0.90 [0.90, 0.90] | 10.0 % |" in text) is told
    assert ("In none of 2 comparisons" in text) is not told


def test_the_interval_of_a_median_is_the_narrowest_that_keeps_its_level() -> None:
    """The median lies outside if at most so many of n fair coins show the same side."""
    for count in (1, 2, 5, 6, 8, 9, 15, 60):
        low, high = pages.interval([float(value) for value in reversed(range(count))])
        assert low + high == count - 1
        tail = [sum(math.comb(count, k) for k in range(int(low) + more)) / 2**count for more in (1, 2)]
        assert (count < 6 and low == 0) or tail[0] <= 0.025 < tail[1]


def test_cases_have_names_of_their_own_and_the_quick_form_is_a_part() -> None:
    found = list(benchmark_sampling.cases())
    assert len({(case.name, case.peers) for case in found}) == len(found)
    assert 0 < sum(case.quick for case in found) < len(found)
    assert {case.order for case in found} == {"confidence", "random", "entropy", "ancestral"}
    assert {1, 64} <= {case.rows for case in found} and {4, 64} <= {case.steps for case in found}
    assert {64, 1024} <= {case.length for case in found} and {*SIZES} <= {case.trunk for case in found}


def test_a_page_compares_kept_memory_with_memory_that_is_returned() -> None:
    text = pages.kept([record(2.0), record(1.5, kept=True), record(3.0, rows=4)])
    assert "| 27 | 64 | 1 | 4 | confidence | 0 | 1M | 1.00 | LLaDA | 2.00 [2.00, 2.00] | 1.50 [1.50, 1.50] |" in text
    assert len(text.splitlines()) == 3


def test_medians_shares_and_slopes() -> None:
    records = [record(1.5), record(2.0, rows=4), record(3.0, rows=16)]
    assert "| LLaDA | 27 | 0 | 3 | 2.00 [1.50, 3.00] | 4.00 [4.00, 4.00] |" in pages.summary(records)
    assert "| 27 | 64 | 1 | 4 | confidence | 0 | 1M | 10.0 % | 50.00 |" in pages.shares(records)
    assert "| further row | 27 | 64 | 1 to 16 | 4 | confidence | 0 | 1M | 2e+03 |" in pages.slopes(records)
    assert "| LLaDA | 3 | 189 of 1,344 |" in pages.equal_tokens(records)
