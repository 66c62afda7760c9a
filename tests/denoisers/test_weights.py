"""No tensor that a prediction would need is dropped, and heads that it does not need pass."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mdm_tune.core.errors import InputError
from mdm_tune.denoisers import weights
from mdm_tune.denoisers.transformer import Transformer, TransformerConfig, load_transformer, save_transformer
from mdm_tune.denoisers.weights import check_weights
from mdm_tune.metrics.reference_models import load_reference
from tests.support.tiny_models import bert, load, saved, transformers, word_tokenizer

EXTRA = torch.ones(32, 32)
ADAPTER = "bert.encoder.layer.0.attention.self.query.lora_A.default.weight"
DISTANCES = "bert.encoder.layer.0.attention.self.distance_embedding.weight"


def with_tensors(folder: Path, **tensors: Tensor) -> dict[str, Tensor]:
    """The checkpoint with more tensors in its file; returns all."""
    path = folder / "model.safetensors"
    every = {**load_file(path), **tensors}
    save_file(every, path, metadata={"format": "pt"})
    return every


def as_form(folder: Path, every: dict[str, Tensor], form: str) -> None:
    """The same tensors in another kind of file."""
    path = folder / "model.safetensors"
    if form == "safetensors":
        return
    path.unlink()
    if form == "bin":
        torch.save(every, folder / "pytorch_model.bin")
        return
    names, kind = sorted(every), "safetensors" if form == "shards" else "bin"
    parts = {
        f"{'model' if kind == 'safetensors' else 'pytorch_model'}-0000{n + 1}-of-00002.{kind}": names[n::2]
        for n in (0, 1)
    }
    for file, mine in parts.items():
        tensors = {name: every[name] for name in mine}
        if kind == "bin":
            torch.save(tensors, folder / file)
        else:
            save_file(tensors, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": {name: file for file, mine in parts.items() for name in mine}}
    first = "model.safetensors" if kind == "safetensors" else "pytorch_model.bin"
    (folder / f"{first}.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("form", ["safetensors", "bin", "shards", "bin shards"])
def test_fewer_layers_than_the_file_has(form: str, tmp_path: Path) -> None:
    bert(tmp_path, num_hidden_layers=3)
    as_form(tmp_path, load_file(tmp_path / "model.safetensors"), form)
    load(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 2}))
    said = r"does not use 16 tensors of the file.*bert\.encoder\.layer\.2\..*and 13 more; correct the number of layers"
    with pytest.raises(InputError, match=said):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        (DISTANCES, torch.ones(127, 16), "distance_embedding.*correct config.json, install the version of transf"),
        (ADAPTER, EXTRA, "lora_A.*merge the adapter into the weights"),
        ("cls.predictions.transform.dense.lora_B.weight", EXTRA, "lora_B.*merge the adapter"),
        ("cls.predictions.transform.dense.scale", EXTRA, r"dense\.scale"),
        ("bert.encoder.layer.0.adapter.down.weight", EXTRA, "adapter"),
        ("bert.embeddings.segment.weight", EXTRA, r"embeddings\.segment"),
        ("bert.encoder.final_norm.weight", torch.ones(32), "final_norm"),
    ],
)
def test_what_a_prediction_would_need_is_refused(name: str, tensor: Tensor, said: str, tmp_path: Path) -> None:
    bert(tmp_path)
    with_tensors(tmp_path, **{name: tensor})
    with pytest.raises(InputError, match=f"BertForMaskedLM does not use 1 tensors of the file.*{said}"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("bert.pooler.dense.weight", torch.ones(32, 32)),
        ("bert.pooler.dense.bias", torch.ones(32)),
        ("cls.seq_relationship.weight", torch.ones(2, 32)),
        ("classifier.weight", torch.ones(2, 32)),
        ("qa_outputs.bias", torch.ones(2)),
        ("bert.embeddings.position_ids", torch.arange(64)[None]),
        ("bert.embeddings.some_index", torch.arange(64)),
        ("cls.predictions.copy", None),
    ],
)
def test_what_no_prediction_needs_passes_without_a_word(name: str, tensor: Tensor | None, tmp_path: Path) -> None:
    bert(tmp_path)
    before = load(tmp_path)
    embedding = load_file(tmp_path / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    with_tensors(tmp_path, **{name: embedding.clone() if tensor is None else tensor})
    after = load(tmp_path)
    assert after.notes == before.notes and after.fingerprint == before.fingerprint


def test_a_head_that_nobody_knows_is_named(tmp_path: Path) -> None:
    """As AntiBERTy's, which guess species and chain."""
    bert(tmp_path)
    with_tensors(tmp_path, **{"cls.species.weight": torch.ones(6, 32), "cls.chain.weight": torch.zeros(2, 32)})
    said = [note for note in load(tmp_path).notes if "does not use" in note]
    assert len(said) == 1 and "2 tensors of other heads: cls.chain.weight, cls.species.weight" in said[0]


def test_an_adapter_beside_the_weights_is_not_forgotten(tmp_path: Path) -> None:
    bert(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"(adapter|peft)"):
        load(tmp_path)


def test_absolute_places_beside_rotary_ones_pass(tmp_path: Path) -> None:
    """Published ESM-2 files hold the table of both kinds."""
    words = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPK", "<mask>"]
    word_tokenizer(tmp_path, words, unk_token="<unk>", pad_token="<pad>", mask_token="<mask>")
    sizes = {"vocab_size": 17, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    more = {"intermediate_size": 32, "max_position_embeddings": 32, "pad_token_id": 1, "mask_token_id": 16}
    config = transformers.EsmConfig(**sizes, **more, position_embedding_type="rotary", token_dropout=False)
    saved(transformers.EsmForMaskedLM(config), tmp_path)
    with_tensors(tmp_path, **{"esm.embeddings.position_embeddings.weight": torch.ones(32, 32)})
    load(tmp_path)


def test_a_class_that_reports_nothing_is_compared_by_names(tmp_path: Path) -> None:
    class Own(nn.Linear):
        base_model_prefix = ""

    save_file(
        {"weight": torch.ones(2, 2), "bias": torch.ones(2), "more": torch.ones(3)}, tmp_path / "model.safetensors"
    )
    with pytest.raises(InputError, match=r"does not use 1 tensors of the file.*more"):
        check_weights(Own(2, 2), None, tmp_path, "model.path: x")


def test_a_reference_model_with_more_layers_than_it_uses(tmp_path: Path) -> None:
    words = ["<unk>", "<end>", *(f"w{number}" for number in range(8))]
    word_tokenizer(tmp_path, words, unk_token="<unk>", eos_token="<end>")
    sizes = {"vocab_size": 10, "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 16}
    saved(transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=1, eos_token_id=1)), tmp_path)
    names = load_file(tmp_path / "model.safetensors")
    masks = {
        f"{name.removesuffix('c_attn.weight')}bias": torch.ones(1, 1, 16, 16) for name in names if "c_attn.w" in name
    }
    assert len(masks) == 3
    with_tensors(tmp_path, **masks)  # as files of older versions hold them
    load_reference(str(tmp_path), field="metrics.generative_nll.model", device="cpu")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"n_layer": 2}))
    with pytest.raises(InputError, match=r"metrics\.generative_nll\.model: .*does not use .*h\.2\..*number of layers"):
        load_reference(str(tmp_path), field="metrics.generative_nll.model", device="cpu")


@pytest.mark.parametrize("change", ["more", "fewer"])
def test_our_own_format_holds_the_same_tensors(change: str, tmp_path: Path) -> None:
    save_transformer(Transformer(TransformerConfig(symbols="ab", length=4, width=8, depth=1, heads=2)), tmp_path)
    path = tmp_path / "model.safetensors"
    every = load_file(path)
    if change == "more":
        every["blocks.1.qkv.weight"] = torch.ones(24, 8)
    else:
        del every["norm"]
    save_file(every, path)
    with pytest.raises(InputError, match=r"does not fit config\.json: 1 tensors differ"):
        load_transformer(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocab.txt", "more.py"])
def test_what_is_no_regular_file_is_never_opened(name: str, tmp_path: Path) -> None:
    bert(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} in .* is no regular file"):
        load(tmp_path)
    with pytest.raises(InputError, match=f"{name} in .* is no regular file"):
        load_reference(str(tmp_path), field="f")


def test_a_pipe_in_our_own_format(tmp_path: Path) -> None:
    save_transformer(Transformer(TransformerConfig(symbols="ab", length=4, width=8, depth=1, heads=2)), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_transformer(tmp_path)


def test_files_are_read_by_name(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2), "b": 3}, tmp_path / "pytorch_model.bin")
    assert weights.names_in(tmp_path) == {"a"}
    save_file({"c": torch.ones(2)}, tmp_path / "model.safetensors")
    assert weights.names_in(tmp_path) == {"c"}
