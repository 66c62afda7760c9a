"""Time steps in Dream's arithmetic, which is derived here again in float32."""

from __future__ import annotations

import sys
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
import torch

from mdm_tune.exports.dream import Dream, times_of_alphas, times_of_counts
from tests.support.exports import alphas_policies, alphas_policy, close, count_policies, counts_policy, module_of_text


def dream_counts(times: torch.Tensor, masked: int) -> list[int]:
    """A step from t to s reveals the whole part of m (1 - s/t), the last step all that are left."""
    counts: list[int] = []
    for share in (1 - times[1:] / times[:-1]).numpy():
        left = np.float32(2 * masked) / np.float32(2)  # the mean over two rows
        counts.append(int(left * share) if len(counts) < len(times) - 2 else int(left))
        masked -= counts[-1]
    return counts


def exported_times(policy) -> torch.Tensor:  # type: ignore[no-untyped-def]
    (text,) = Dream().export(policy).files.values()
    module = module_of_text(text)
    assert policy.length == module.LENGTH and policy.steps == module.STEPS
    return module._Torch().linspace(1, 1e-3, module.STEPS + 1, device=torch.device("cpu"))


def test_three_thousand_counts_survive_the_floor_of_dream() -> None:
    for policy in count_policies("none", longest=1024):
        times = torch.tensor(times_of_counts(policy.flat_counts), dtype=torch.float32)
        assert dream_counts(times, policy.length) == list(policy.flat_counts)
        assert times[0] == 1 and bool((times.diff() <= 0).all()) and times[-1] > 0


def test_counts_survive_in_the_exported_file() -> None:
    for policy in count_policies("none", number=300, seed=1):
        assert dream_counts(exported_times(policy), policy.length) == list(policy.flat_counts)


def test_a_long_sequence_and_long_schedules_survive() -> None:
    for counts in ((1,) * 4096, (65_536 - 4095, *(1,) * 4095), (0,) * 2000 + (7,) + (0,) * 2000):
        times = torch.tensor(times_of_counts(counts), dtype=torch.float32)
        assert dream_counts(times, sum(counts)) == list(counts)


def test_three_thousand_alphas_give_their_probabilities_in_float32() -> None:
    for policy in alphas_policies():
        assert policy.alphas is not None
        times = torch.tensor(times_of_alphas(policy.alphas), dtype=torch.float32)
        chances = [*(1 - times[1:] / times[:-1]).tolist()[:-1], 1.0]  # the last step reveals all
        wanted = [1.0 if after == 1 else (after - before) / (1 - before) for before, after in pairwise(policy.alphas)]
        assert close(chances, wanted, 3e-7)


def test_a_step_that_reveals_all_has_probability_one() -> None:
    times = torch.tensor(times_of_alphas((0.0, 0.5, 1.0, 1.0, 1.0)), dtype=torch.float32)
    assert (1 - times[1:] / times[:-1]).tolist() == [0.5, 1, 0, 0]


def test_only_linspace_is_replaced_and_only_in_the_module_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = ModuleType("peer_of_dream")
    exec(
        "import torch\nclass Model:\n    def _sample(self): return torch.linspace(1, 0, 5), torch.ones(2)",
        peer.__dict__,
    )
    monkeypatch.setitem(sys.modules, "peer_of_dream", peer)
    (text,) = Dream().export(counts_policy((4, 2, 1, 1))).files.values()
    module = module_of_text(text)
    model = peer.Model()
    module.install(model)
    times, ones = model._sample()
    assert dream_counts(times, 8) == [4, 2, 1, 1] and ones.tolist() == [1, 1]
    assert torch.linspace(0, 1, 3).tolist() == [0, 0.5, 1]
    with pytest.raises(ValueError, match="has 4 steps, got 6; give steps=4"):
        peer.torch.linspace(1, 0, 7)
    module.uninstall(model)
    assert peer.torch is torch


def test_the_order_is_named_as_in_dream_and_what_it_lacks_is_said() -> None:
    for order, named, losses in (
        ("margin", "topk_margin", 1),
        ("entropy", "entropy", 1),
        ("random", "maskgit_plus", 2),
    ):
        made = Dream().export(counts_policy((3, 1), sampler={"order": order}))
        assert f'alg="{named}"' in "\n".join(made.where) and len(made.lost) == losses
    assert "2 calls, not 1" in Dream().export(counts_policy((4, 0))).lost[-1]
    made = Dream().export(alphas_policy((0.0, 0.5, 1.0)))
    assert 'alg="origin"' in "\n".join(made.where) and made.lost == ()
