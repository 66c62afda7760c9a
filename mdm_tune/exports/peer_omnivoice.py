"""A run of OmniVoice's generation on exported settings."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mdm_tune.exports.omnivoice import shifted_counts
from mdm_tune.exports.peer_tools import (
    MASK,
    VOCABULARY,
    Answer,
    Request,
    found,
    module_of,
    packages,
    revealed_counts,
    stand_in,
)

__all__ = ["omnivoice"]

LIBRARIES = (  # of audio and of texts, which the order of the tokens does not need
    "torchaudio",
    "omnivoice.utils.audio",
    "omnivoice.utils.duration",
    "omnivoice.utils.lang_map",
    "omnivoice.utils.text",
    "omnivoice.utils.voice_design",
)


def omnivoice(request: Request) -> Answer:
    """``OmniVoice._generate_iterative`` with one codebook and random logits, and the file as it reads it."""
    import torch

    file = found(request, "omnivoice/models/omnivoice.py")
    packages(Path(request["peer"]), "omnivoice", "omnivoice.utils")
    for name in LIBRARIES:
        stand_in(name, always=True)
    peer = module_of(file, "omnivoice_model")
    fields = json.loads(Path(request["file"]).read_text("utf-8"))
    settings = peer.OmniVoiceGenerationConfig.from_dict(fields)
    length, masks = request["length"], []
    logits = torch.randn(1, 1, length, VOCABULARY + 1, generator=torch.Generator().manual_seed(0))

    class Model:
        config = SimpleNamespace(audio_mask_id=MASK, num_audio_codebook=1)
        device = torch.device("cpu")
        _predict_tokens_with_scoring = peer.OmniVoice._predict_tokens_with_scoring

        def _prepare_inference_inputs(self, *_: Any) -> dict[str, Any]:
            hidden = torch.full((1, 1, length), MASK)
            return {"input_ids": hidden, "audio_mask": torch.ones(1, length, dtype=torch.bool)}

        def __call__(self, input_ids: Any, **_: Any) -> Any:
            masks.append(int((input_ids[0] == MASK).sum()))
            return SimpleNamespace(logits=logits.expand(len(input_ids), -1, -1, -1))

    one = {key: [None] for key in ("texts", "langs", "instructs", "ref_texts", "ref_audio_tokens", "ref_rms")}
    task = peer.GenerationTask(batch_size=1, target_lens=[length], **one)
    (tokens,) = peer.OmniVoice._generate_iterative(Model(), task, settings)
    wanted = shifted_counts(length, fields["num_step"], fields["t_shift"])
    return {
        "wanted": [count for count in wanted if count],
        "realised": revealed_counts(masks, int((tokens == MASK).sum())),
        "ran": f"_generate_iterative() of {file.relative_to(request['peer'])}",
    }
