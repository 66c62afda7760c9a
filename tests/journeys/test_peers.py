"""Our tokens are those that LLaDA's and Dream's own samplers drew, with their counts, and the counts are theirs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mdm_tune.core.errors import InputError
from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Linear, parse_schedule
from scripts.compare_peers import PROMPT, SYMBOLS, described, network, ours, prompts
from tests.support.helpers import sampler_of

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "peers.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", RECORDED, ids=described)
def test_tokens_are_the_peers(case: dict[str, Any]) -> None:
    model = network(case["seed"])
    drawn = ours(model, prompts(case["seed"], len(SYMBOLS)), case)
    assert drawn[:, PROMPT:].tolist() == case["drawn"]


def test_the_record_covers_blocks_remainders_guidance_and_every_rule() -> None:
    assert {case["rule"] for case in RECORDED} == {"low_confidence", "maskgit_plus", "topk_margin", "entropy"}
    llada = [case for case in RECORDED if case["peer"] == "llada"]
    assert any(case["block_length"] and case["guidance"] for case in llada)
    assert any(case["tokens"] % case["steps"] for case in llada if case["block_length"] is None)


@pytest.mark.parametrize(
    ("name", "steps", "length", "counts"),
    [
        ("llada", 4, 10, (3, 3, 2, 2)),
        ("dream", 4, 10, (2, 2, 2, 4)),
        ("dream", 8, 32, (3, 4, 4, 4, 4, 4, 4, 5)),
        ("llada", 8, 32, (4,) * 8),
        ("llada", 5, 3, (1, 1, 1, 0, 0)),
        ("dllm", 4, 10, (2, 3, 2, 3)),  # 2.5 becomes 2, 8/3 3, 2.5 2
        ("dllm", 3, 1, (0, 0, 1)),
    ],
)
def test_counts_by_hand(name: str, steps: int, length: int, counts: tuple[int, ...]) -> None:
    assert to_counts(parse_schedule(name), steps, length, "one-per-step") == counts
    assert to_counts(parse_schedule(name), steps, length, "cumulative") == counts


def test_dreams_counts_are_those_of_its_float32_arithmetic() -> None:
    """Against the rule itself in torch; with more steps than tokens the first ones reveal nothing."""
    for steps in (1, 2, 3, 7, 16, 24, 50, 128):
        times = torch.linspace(1, 1e-3, steps + 1)
        for length in (1, 2, 10, 16, 31, 64, 100, 256):
            left, expected = length, []
            for i in range(steps):
                share = 1 - times[i + 1] / times[i]
                expected.append(int(torch.tensor(left) / 1 * share) if i < steps - 1 else left)
                left -= expected[-1]
            assert to_counts(Linear("dream"), steps, length) == tuple(expected)
    assert to_counts(Linear("dream"), 32, 16)[:17] == (0,) * 17


def test_dllms_counts_are_those_of_its_float32_arithmetic() -> None:
    """Against the rule itself in torch: the share that stays hidden is (1 - alpha(s)) / (1 - alpha(t))."""
    for steps in (1, 2, 3, 7, 16, 24, 50, 128):
        hidden = [1 - (1 - torch.as_tensor(i / steps, dtype=torch.float32)) for i in range(steps, -1, -1)]
        for length in (1, 2, 10, 16, 31, 64, 100, 256):
            left, expected = length, []
            for t, s in itertools.pairwise(hidden):
                reveal = torch.tensor(left, dtype=torch.float64) * (1 - (s / t).item())
                expected.append(int(torch.round(reveal)))
                left -= expected[-1]
            assert left == 0 and to_counts(Linear("dllm"), steps, length) == tuple(expected)


def test_llada_shares_the_steps_among_blocks_and_puts_the_rest_first() -> None:
    sampler = sampler_of("confidence", batch=8)
    assert Setting.of(Linear("llada"), 9, 24, sampler, block_length=8).counts == (3, 3, 2) * 3


@pytest.mark.parametrize("name", ["llada", "dream", "dllm"])
def test_peers_counts_mean_nothing_to_ancestral_reveal(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} means counts"):
        Setting.of(parse_schedule(name), 4, 8, sampler_of(reveal="bernoulli", batch=8))


def test_names_lead_back() -> None:
    for name in ("linear", "llada", "dream", "dllm"):
        assert parse_schedule(name).name == name
    assert len({Linear(), Linear("llada"), Linear("dream"), Linear("dllm")}) == 4
