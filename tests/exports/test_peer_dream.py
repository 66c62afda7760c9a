"""Runs of a stand-in for Dream's sampler, which is written for the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm_tune.exports.dream import Dream
from mdm_tune.exports.peer_dream import probabilities
from tests.exports.test_peer_process import exported
from tests.support.exports import alphas_policy, counts_policy

DREAM = """
import torch
class DreamGenerationMixin:
    def _sample(self, ids, attention_mask, settings, generation_tokens_hook_func, generation_logits_hook_func):
        x = torch.nn.functional.pad(ids, (0, settings.max_length - ids.shape[1]), value=settings.mask_token_id)
        times = torch.linspace(1, settings.eps, settings.steps + 1, device=x.device)
        for i in range(settings.steps):
            hidden, last = x == settings.mask_token_id, i == settings.steps - 1
            logits = self(x).logits
            share = 1 - times[i + 1] / times[i]
            if settings.alg == "origin":
                chosen = torch.rand(int(hidden.sum())) < (1 if last else share {change})
                x[hidden] = torch.where(chosen, 0, settings.mask_token_id)
            else:
                mean = hidden.sum() / len(x)
                number = int(mean) if last else int(mean * (share {change}))
                confidence = logits.softmax(-1).amax(-1).masked_fill(~hidden, -1)
                x.scatter_(1, confidence.topk(number).indices, 0)
        return x
"""


@pytest.mark.parametrize(("change", "equal"), [("", True), ("* 0.5", False)])
def test_the_counts_of_dream_are_seen_as_they_are_realised(tmp_path: Path, change: str, equal: bool) -> None:
    policy = counts_policy((0, 5, 0, 2, 1))
    files = exported(Dream(), policy, tmp_path / "made")
    (tmp_path / "generation_utils.py").write_text(DREAM.replace("{change}", change), "utf-8")
    made = Dream().verify(policy, files, tmp_path)
    assert made.equal == equal and made.wanted == (5, 2, 1) and sum(made.realised) == 8


@pytest.mark.parametrize(("change", "equal"), [("", True), ("* 0.999", False)])
def test_the_probabilities_of_dream_are_compared(tmp_path: Path, change: str, equal: bool) -> None:
    policy = alphas_policy((0.0, 0.25, 0.25, 1.0, 1.0), 16)
    files = exported(Dream(), policy, tmp_path / "made")
    folder = tmp_path / "dream" / "model"
    folder.mkdir(parents=True)
    (folder / "generation_utils.py").write_text(DREAM.replace("{change}", change), "utf-8")
    made = Dream().verify(policy, files, tmp_path)
    assert made.equal == equal and made.wanted == (0.25, 0.0, 1.0)


def test_probabilities_end_with_the_step_that_reveals_all() -> None:
    assert probabilities({"alphas": [0.0, 0.5, 0.75, 1.0, 1.0]}) == [0.5, 0.5, 1.0]
