"""The package's transformer in bfloat16: close to float32, and a note that says that it differs."""

from __future__ import annotations

import pytest
import torch

from mdm_tune.config.models import TransformerModelConfig
from mdm_tune.denoisers.loading import load_model
from mdm_tune.denoisers.precision import bfloat16_is_fast, bfloat16_notes

CONFIG = TransformerModelConfig(type="transformer", path="package:text")


def test_bfloat16_is_close_and_never_silent() -> None:
    exact, rounded = load_model(CONFIG), load_model(CONFIG.model_copy(update={"dtype": "bfloat16"}))
    tokens = torch.randint(28, (4, 64), generator=torch.Generator().manual_seed(0))
    tokens[:, :4] = 27
    tokens[0, -9:] = -1
    one, two = (model.denoiser(tokens, tokens == 27) for model in (exact, rounded))
    assert one.dtype == torch.float32 and two.dtype == torch.bfloat16
    difference = (one.softmax(1) - two.float().softmax(1)).abs().sum(1) / 2
    assert 0 < float(difference.max()) < 0.05
    assert exact.fingerprint != rounded.fingerprint
    assert exact.notes == () and rounded.notes == rounded.doubts == bfloat16_notes("cpu")
    assert "values differ from those in float32" in rounded.notes[0]


@pytest.mark.parametrize("tiles", [True, False])
def test_the_note_says_where_it_is_slow(tiles: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: tiles, raising=False)
    assert bfloat16_is_fast("cpu") is tiles
    assert ("slower" in bfloat16_notes("cpu")[0]) is not tiles


@pytest.mark.parametrize(("capability", "fast"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_gpus(capability: tuple[int, int], fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    assert bfloat16_is_fast("cuda:0") is fast
