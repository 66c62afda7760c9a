"""Which devices hold a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.huggingface import HuggingFace
from mdm_tune.denoisers.placement import groups_of_devices, spread
from tests.support.tiny_models import (
    bert,
    load,
)

GB = 10**9


ONE = (("cuda:0",), ("cuda:1",))


BOTH = (("cuda:0", "cuda:1"),)


@pytest.mark.parametrize(
    ("weights", "free", "device_map", "groups"),
    [
        (16, (80, 80), None, ONE),
        (16, (80, 80), "auto", ONE),  # layers over cards only where one card cannot hold it
        (100, (80, 80), "auto", BOTH),
        (50, (60, 60), None, ONE),  # 50 GB and a fifth for activations
    ],
)
def test_where_a_model_lies(weights: int, free: tuple[int, int], device_map: Any, groups: Any) -> None:
    room = {f"cuda:{number}": size * GB for number, size in enumerate(free)}
    assert groups_of_devices(weights * GB, room, device_map) == groups


@pytest.mark.parametrize(
    ("weights", "free", "device_map", "said"),
    [
        (
            100,
            (80, 80),
            None,
            "needs 120.0 GB .* got 80.0 GB on cuda:0, 80.0 GB on cuda:1; set model.device_map to auto",
        ),
        (140, (80, 80), "auto", "too little even together; give more devices"),
        (50, (59, 61), "auto", "; give --devices cuda:1"),
    ],
)
def test_where_a_model_does_not_fit(weights: int, free: tuple[int, int], device_map: Any, said: str) -> None:
    room = {f"cuda:{number}": size * GB for number, size in enumerate(free)}
    with pytest.raises(InputError, match=said):
        groups_of_devices(weights * GB, room, device_map)


def test_layers_laid_over_devices_answer_alike(tmp_path: Path) -> None:
    """On one device here, through the hooks that carry hidden states from one to the next."""
    bert(tmp_path)
    whole = load(tmp_path, dtype="float32").denoiser
    assert isinstance(whole, HuggingFace)
    tokens = torch.tensor([[2, 4, 9, 4, 3]])
    expected = whole(tokens, tokens == 4)
    whole.model = spread(whole.model, {"cpu": GB})
    assert torch.equal(whole(tokens, tokens == 4), expected)


def test_spreading_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(InputError, match=r"model\.device_map: auto needs the extra hf"):
        spread(torch.nn.Linear(1, 1), {"cpu": GB})
