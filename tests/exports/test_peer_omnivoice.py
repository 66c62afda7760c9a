"""Runs of a stand-in for OmniVoice, which is written for the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm_tune.exports.omnivoice import OmniVoice
from tests.exports.test_peer_process import exported
from tests.support.exports import counts_policy

PEER = """
import math, torch, torchaudio
from dataclasses import dataclass, fields
from transformers import PreTrainedModel
from omnivoice.utils.audio import load_audio
@dataclass
class OmniVoiceGenerationConfig:
    num_step: int = 32
    t_shift: float = 0.1
    @classmethod
    def from_dict(cls, given):
        return cls(**{field.name: given[field.name] for field in fields(cls)})
@dataclass
class GenerationTask:
    batch_size: int
    target_lens: list
    texts: list
    langs: list
    instructs: list
    ref_texts: list
    ref_audio_tokens: list
    ref_rms: list
class OmniVoice(PreTrainedModel):
    def _predict_tokens_with_scoring(self, logits):
        return logits[..., :-1].argmax(-1), logits.amax(-1)  # never the mask
    def _generate_iterative(self, task, settings):
        inputs = self._prepare_inference_inputs(task.texts[0], task.target_lens[0])["input_ids"]
        times = torch.linspace(0, 1, settings.num_step + 1)
        times = settings.t_shift * times / (1 + (settings.t_shift - 1) * times)
        for step, share in enumerate(times.double().diff().tolist()):
            logits = self(input_ids=inputs).logits
            hidden = inputs[0] == self.config.audio_mask_id
            number = math.ceil(task.target_lens[0] * share) {change}
            left = int(hidden.sum()) if step == settings.num_step - 1 else min(number, int(hidden.sum()))
            tokens, score = self._predict_tokens_with_scoring(logits[0])
            place = score.masked_fill(~hidden, -torch.inf)[0].topk(left).indices
            inputs[0, 0, place] = tokens[0, place]
        return [inputs[0]]
"""


@pytest.mark.parametrize(("change", "equal"), [("", True), ("+ 1", False)])
def test_the_counts_of_omnivoice_are_seen(tmp_path: Path, change: str, equal: bool) -> None:
    folder = tmp_path / "omnivoice" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise ImportError('needs what is not installed')", "utf-8")
    (folder / "omnivoice.py").write_text(PEER.replace("{change}", change), "utf-8")
    policy = counts_policy((9, 6, 5, 4, 3, 2, 2, 1))
    made = OmniVoice().verify(policy, exported(OmniVoice(), policy, tmp_path / "made"), tmp_path)
    assert made.equal == equal and sum(made.wanted) == sum(made.realised) == 32
