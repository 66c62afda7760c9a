"""Opening checkpoints: what is missing, unreachable or too large is said with its remedy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mdm_tune.config.families import FAMILIES
from mdm_tune.core.errors import InputError
from mdm_tune.denoisers import checkpoint
from mdm_tune.denoisers.checkpoint import open_checkpoint
from tests.support.tiny_models import (
    RESIDUES,
    bert,
    foreign,
    load,
    residue_vocabulary,
    saved,
    transformers,
    word_tokenizer,
)


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"type: huggingface needs the extra hf.*pip install 'mdm-tune\[hf\]'"):
        load(tmp_path)


def test_an_unreachable_hub_says_what_to_place_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*given: Any, **options: Any) -> str:
        raise OSError("cannot reach the Hub\nmore of it")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    said = (
        r"'org/name' is no local folder, and the Hugging Face Hub did not provide it \(cannot reach the Hub\)\. .*"
        r"hf download org/name --local-dir FOLDER.*config\.json, \*\.safetensors.*set model\.path to FOLDER"
    )
    with pytest.raises(InputError, match=said):
        open_checkpoint("org/name", None, False)
    with pytest.raises(InputError, match=r"there is no folder /absent/model; correct the path"):
        open_checkpoint("/absent/model", None, False)


def test_a_tokenizer_of_the_hub_comes_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def download(name: str, *, allow_patterns: list[str], **options: Any) -> str:
        asked.append(allow_patterns)
        raise OSError("cannot reach the Hub")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    bert(tmp_path)
    said = (
        r"model\.tokenizer: 'gpt2' is no local folder.*FOLDER here \(the tokenizer's files and.*set model\.tokenizer to"
    )
    with pytest.raises(InputError, match=said):
        load(tmp_path, tokenizer="gpt2")
    (patterns,) = asked
    assert "*.json" in patterns and not any("safetensors" in pattern or "bin" in pattern for pattern in patterns)


def test_a_revision_belongs_to_the_hub(tmp_path: Path) -> None:
    bert(tmp_path)
    with pytest.raises(
        InputError, match=r"model\.revision: applies only to a name on the Hub, got 'v2' with the folder"
    ):
        load(tmp_path, revision="v2")


def test_what_the_model_would_swallow_is_refused(tmp_path: Path) -> None:
    bert(tmp_path)
    load(tmp_path, position_ids=True)
    with pytest.raises(InputError, match=r"model\.time: is passed as timesteps, which BertForMaskedLM does not accept"):
        load(tmp_path, time="sigma")


def test_a_checkpoint_of_the_hub_is_brought_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whole, at the revision that was asked for; the older form of weights only where there is no other."""
    asked: list[dict[str, Any]] = []

    def download(name: str, **options: Any) -> str:
        asked.append(options)
        return str(tmp_path / name)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    bert(tmp_path / "org" / "new")
    assert open_checkpoint("org/new", "v2", False).folder == tmp_path / "org" / "new"
    assert len(asked) == 1 and asked[0]["revision"] == "v2" and "*.safetensors" in asked[0]["allow_patterns"]
    residue_vocabulary(tmp_path / "org" / "old")
    (tmp_path / "org" / "old" / "config.json").write_text("{}")
    open_checkpoint("org/old", None, False)
    assert "pytorch_model*.bin" not in asked[1]["allow_patterns"]
    assert "pytorch_model*.bin" in asked[2]["allow_patterns"]


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "config.json: No such file"), ("{", "config.json is not JSON"), ("[]", "must be a mapping, got")],
)
def test_a_folder_without_a_config(text: str | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=said):
        open_checkpoint(str(tmp_path), None, False)


def test_decoder_only_models_are_refused(tmp_path: Path) -> None:
    words = ["<unk>", "<pad>", "<s>", "</s>", "<mask>", *(f"w{number}" for number in range(5, 25))]
    word_tokenizer(tmp_path, words, unk_token="<unk>", pad_token="<pad>")
    sizes = {"vocab_size": 25, "n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 2, "eos_token_id": 3}
    saved(transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)), tmp_path)
    with pytest.raises(InputError, match=r"of type 'gpt2', a decoder-only model.*model\.attention_mask: 4d"):
        load(tmp_path)
    with pytest.raises(InputError, match=r"check 'causal' failed: .* use the tokens after a hidden position"):
        load(tmp_path, auto_class="causal-lm", mask_token_id=4, attention_mask="none")


def test_uniform_corruption_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "diffusion_gemma"}')
    with pytest.raises(InputError, match="uniform corruption"):
        load(tmp_path)


def test_missing_weights_are_no_random_ones(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    bert(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "predictions.transform" not in name}
    assert len(kept) < len(weights)
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"are missing, such as cls\.predictions\.transform.*would be random"):
        load(tmp_path)


def test_weights_that_do_not_load(tmp_path: Path) -> None:
    bert(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match=r"cannot be loaded: .*; check the files and the section model"):
        load(tmp_path)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    bert(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(InputError, match=r"model\."):
        load(tmp_path)


def test_a_tokenizer_of_its_own_folder(tmp_path: Path) -> None:
    bert(tmp_path / "model")
    residue_vocabulary(tmp_path / "words")
    (tmp_path / "model" / "vocab.txt").unlink()
    (tmp_path / "words" / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    loaded = load(tmp_path / "model", tokenizer=str(tmp_path / "words"), split="characters")
    assert loaded.codec.encode("CA") == [6, 5]
    residue_vocabulary(tmp_path / "model", RESIDUES[::-1])  # what is asked for comes before what lies there
    assert load(tmp_path / "model", split="characters").codec.encode("CA") == [23, 24]
    loaded = load(tmp_path / "model", tokenizer=str(tmp_path / "words"), split="characters")
    assert loaded.codec.encode("CA") == [6, 5]


def test_loading_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bert(tmp_path)
    capfd.readouterr()
    said = transformers.utils.logging
    before = said.get_verbosity(), said.is_progress_bar_enabled()
    load(tmp_path)
    assert capfd.readouterr() == ("", "")
    assert (said.get_verbosity(), said.is_progress_bar_enabled()) == before


def test_weight_bytes(tmp_path: Path) -> None:
    model = bert(tmp_path)
    numbers = sum(weight.numel() for weight in model.parameters())
    found = open_checkpoint(str(tmp_path), None, False)
    assert found.weight_bytes("float32") == pytest.approx(4 * numbers, rel=0.2)
    assert found.weight_bytes("auto") == found.weight_bytes("float32") == 2 * found.weight_bytes("bfloat16")


def test_lengths_that_models_reach(tmp_path: Path) -> None:
    def longest(family: str, **config: int) -> int:
        (tmp_path / "config.json").write_text(json.dumps(config))
        return open_checkpoint(str(tmp_path), None, False).longest(FAMILIES[family])

    assert longest("bert", max_position_embeddings=512) == 512
    assert longest("roberta", max_position_embeddings=514, pad_token_id=1) == 512
    assert longest("llada", max_sequence_length=4096) == 4096
    assert longest("mdlm", model_length=1024) == 1024
    assert longest("generic") == longest("bert", max_position_embeddings=10**6) == 65_536


def test_foreign_code_needs_trust_before_anything_is_loaded(tmp_path: Path) -> None:
    foreign(tmp_path / "model")
    with pytest.raises(InputError, match="give --trust-code"):
        open_checkpoint(str(tmp_path / "model"), None, False)
    assert open_checkpoint(str(tmp_path / "model"), None, True).model_type == "tiny-code"
    assert checkpoint.mismatch(FAMILIES["bert"]) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vocab_size": True}, "vocab_size|found element of type bool"),
        ({"vocab_size": -3}, "negative dimension"),
        ({"pad_token_id": "a"}, "Validation error for field 'pad_token_id': |'<' not supported between"),
        ({"pad_token_id": 10**30}, "Padding_idx"),
        ({"auto_map": "x"}, r"auto_map of config\.json in .* must be a mapping, got 'x'"),
        ({"model_type": ["bert"]}, "cannot be loaded|no tokenizer can be loaded"),
        ({"dtype": 7, "torch_dtype": 7}, "cannot be loaded|can be loaded from"),  # the second is for transformers 4
        (
            {"num_hidden_layers": 10**9},
            r"num_hidden_layers of config\.json in .* must be at most 10000, got 1000000000",
        ),
        ({"num_hidden_layers": -1}, "correct the number of layers"),
        ({"hidden_size": 0}, "cannot be loaded"),
        ({"num_attention_heads": 0}, "cannot be loaded"),
        ({"intermediate_size": 17}, r"6 tensors have other sizes .*, \(48,\) in the file and \(17,\) by config\.json"),
        ({"hidden_act": "zzz"}, "cannot be loaded"),
    ],
)
def test_a_config_that_is_damaged(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    bert(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=said) as failed:
        load(tmp_path)
    assert ";" in str(failed.value) and "\n" not in str(failed.value)


@pytest.mark.parametrize("text", [b"[" * 100_000, bytes(range(256)), b"7"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_files_that_hold_no_mapping(name: str, text: bytes, tmp_path: Path) -> None:
    bert(tmp_path)
    (tmp_path / name).write_bytes(text)
    with pytest.raises(InputError, match=r"^model\.(path|tokenizer): .*; "):
        load(tmp_path)
