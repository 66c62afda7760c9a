"""A model section as a live denoiser."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.analytic import MarkovChain, Mixture, Parity, RepeatedBit, Table
from mdm_tune.denoisers.loading import load_model
from tests.run.test_build import built


@pytest.mark.parametrize(
    ("model", "kind", "length"),
    [
        ({"type": "table", "sequences": {"ab": 1, "ba": 3}}, Table, 2),
        ({"type": "repeated-bit", "length": 4}, RepeatedBit, 4),
        ({"type": "parity", "length": 5}, Parity, 5),
        ({"type": "markov", "length": 4, "flip": 0.1, "symbols": 3}, MarkovChain, 4),
        ({"type": "markov", "length": 4, "transition": [[0.9, 0.1], [0.2, 0.8]], "start": [1, 0]}, MarkovChain, 4),
        ({"type": "mixture", "weights": [0.5, 0.5], "components": [[[1, 0], [1, 0]], [[0, 1], [0, 1]]]}, Mixture, 2),
    ],
)
def test_exact_laws(tmp_path: Path, model: dict[str, object], kind: type, length: int) -> None:
    run = built(tmp_path, model=model)
    assert isinstance(run.model.denoiser, kind)
    assert run.model.length == run.evaluator.length == length
    total = torch.cartesian_prod(*[torch.arange(run.model.denoiser.vocab_size)] * length).view(-1, length)
    assert run.model.denoiser.log_prob(total).exp().sum().item() == pytest.approx(1.0)


def test_table_weights_and_chain_starts_arrive(tmp_path: Path) -> None:
    run = built(tmp_path, model={"type": "table", "sequences": {"ab": 1, "ba": 3}})
    assert run.model.denoiser.log_prob(torch.tensor([[0, 1], [1, 0]])).exp().tolist() == pytest.approx([0.25, 0.75])
    chain = {"type": "markov", "length": 3, "flip": 0.25, "start": [1.0, 0.0]}
    run = built(tmp_path, model=chain)
    assert run.model.denoiser.log_prob(torch.tensor([[0, 0, 1], [1, 0, 0]])).exp().tolist() == pytest.approx(
        [0.1875, 0.0]
    )


def test_only_a_section_is_loaded() -> None:
    with pytest.raises(InputError, match="takes the section model of a config, got 'GSAI-ML/LLaDA-8B-Base'"):
        load_model("GSAI-ML/LLaDA-8B-Base")  # type: ignore[arg-type]
