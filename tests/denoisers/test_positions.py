"""The longest row is what the positions reach, whatever config.json states, and finding it out costs little."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.huggingface import HuggingFace
from mdm_tune.denoisers.loaded import LoadedModel
from mdm_tune.denoisers.positions import LONG, longest_row
from tests.support.tiny_models import bert, load, saved, transformers, word_tokenizer

CPU = torch.device("cpu")
SIZES = {
    "vocab_size": 25,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *(f"w{number}" for number in range(20))]


def made(name: str, folder: Path, **more: Any) -> None:
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
    word_tokenizer(folder, WORDS, **special)
    config = getattr(transformers, f"{name}Config")(**SIZES | more)
    saved(getattr(transformers, f"{name}ForMaskedLM")(config), folder)


def answers(loaded: LoadedModel, length: int) -> bool:
    assert isinstance(loaded.denoiser, HuggingFace)
    tokens = torch.full((1, length), 6)
    tokens[0, 1] = 4
    with torch.inference_mode():
        return loaded.denoiser(tokens, tokens == 4).isfinite().any().item() is True


@pytest.mark.parametrize(
    ("name", "more", "longest"),
    [
        ("MPNet", {"pad_token_id": 1}, 38),
        ("MPNet", {"pad_token_id": 5}, 38),  # its code counts from 1 in any case
        ("Roberta", {"pad_token_id": 1}, 38),
        ("Camembert", {"pad_token_id": 1}, 38),
        ("XLMRoberta", {"pad_token_id": 1}, 38),
        ("Bert", {}, 40),
        ("Electra", {"embedding_size": 32}, 40),
    ],
)
def test_rows_at_the_limit_are_answered(name: str, more: dict[str, Any], longest: int, tmp_path: Path) -> None:
    made(name, tmp_path, **more)
    loaded = load(tmp_path)
    assert loaded.length == longest
    assert answers(loaded, longest)
    said = [note for note in loaded.notes if "do not reach" in note]
    assert len(said) == (name == "MPNet")
    if said:
        assert f"rows of at most {longest} tokens: its positions do not reach 40" in said[0]
    with pytest.raises(InputError, match=rf"model\.length: must be at most the {longest} tokens"):
        load(tmp_path, length=longest + 1)
    assert load(tmp_path, length=longest).length == longest
    with pytest.raises(InputError, match=f"takes at most {longest} tokens, got a row of {longest + 1}"):
        answers(loaded, longest + 1)


class Own(nn.Module):
    """A module with positions of some kind; asked keeps the lengths of its rows."""

    def __init__(self, table: int, offset: int = 0, kind: str = "table") -> None:
        super().__init__()
        self.pos_emb = nn.Embedding(table, 2) if kind in ("table", "distances") else nn.Identity()
        self.weight = nn.Parameter(torch.ones(table, 2))
        self.offset, self.kind, self.size = offset, kind, table
        self.asked: list[int] = []

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        self.asked.append(length)
        place = torch.arange(length) + self.offset
        if self.kind == "table":
            return torch.as_tensor(self.pos_emb(place))
        if self.kind == "distances":
            return torch.as_tensor(self.pos_emb(place[:, None] - place[None, :] + self.size // 2))
        return self.weight[place]  # fails beyond its rows, unseen by a hook


@pytest.mark.parametrize(
    ("table", "offset", "kind", "stated", "expected"),
    [
        (64, 0, "table", 64, 64),
        (64, 0, "table", 50, 50),
        (64, 3, "table", 64, 61),
        (64, 0, "table", 65_536, 64),
        (8_192, 2, "table", 8_192, 8_190),
        (63, 0, "distances", 64, 32),
        (64, 4, "unseen", 64, 60),
        (64, 0, "unseen", 64, 64),
    ],
)
def test_the_limit_by_arithmetic(table: int, offset: int, kind: str, stated: int, expected: int) -> None:
    module = Own(table, offset, kind)
    assert longest_row(module, module, 0, stated, CPU) == expected
    if kind != "unseen":
        assert max(module.asked) <= LONG  # no long row was computed
    else:
        assert len(module.asked) <= 3 + stated.bit_length()


def test_a_long_row_is_not_tried_where_that_costs_much() -> None:
    module = Own(8_192, kind="unseen")
    assert longest_row(module, module, 0, 8_192, CPU) == 8_192
    assert max(module.asked) <= LONG


def test_a_config_that_states_no_place(tmp_path: Path) -> None:
    bert(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    for stated in (0, -5, 2):
        path.write_text(json.dumps(config | {"max_position_embeddings": stated}))
        with pytest.raises(InputError, match=rf"how many positions the model has, at least 3, got {stated}; correct"):
            load(tmp_path)
