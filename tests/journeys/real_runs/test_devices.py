"""Which devices hold a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mdm_tune.config.file import load_config
from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.loading import place_replicas
from mdm_tune.run.build import open_run
from tests.support.real_runs import LIKELIHOOD, config


@pytest.mark.parametrize(
    ("room", "devices", "expected"),
    [
        ({"cuda:0": 10**9, "cuda:1": 10**9}, ("cuda:0", "cuda:1"), (("cuda:0", "cuda:1"), None)),
        (
            {"cuda:0": 90_000, "cuda:1": 90_000},
            ("cuda:0", "cuda:1"),
            (("cuda:0",), {"cuda:0": 90_000, "cuda:1": 90_000}),
        ),
        ({}, ("cpu", "cpu"), (("cpu", "cpu"), None)),
    ],
)
def test_replicas_are_one_per_gpu_unless_none_holds_the_model(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: Any, devices: Any, expected: Any
) -> None:
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (room[device], 10**12))
    chosen = load_config(Path(config(place, tmp_path, LIKELIHOOD, model={"device_map": "auto"}))).model
    assert place_replicas(chosen, devices) == expected


def test_a_model_that_fits_on_no_gpu_is_refused_before_it_is_loaded(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (90_000, 10**12))
    loaded = load_config(Path(config(place, tmp_path, LIKELIHOOD)))
    with pytest.raises(InputError, match=r"set model\.device_map to auto"), open_run(loaded, ("cuda:0", "cuda:1")):
        pass
