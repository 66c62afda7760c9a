"""Checkpoints small enough to be made for a test, with tokenizers written by hand."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mdm_tune.config.models import HuggingFaceConfig
from mdm_tune.denoisers.huggingface import load_huggingface
from mdm_tune.denoisers.loaded import LoadedModel

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what its import says of other packages
    import transformers

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BERT_MASK = 4


def needs_transformers(oldest: str) -> pytest.MarkDecorator:
    """For what older versions of transformers do not have at all."""
    there = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    wanted = tuple(int(part) for part in oldest.split("."))
    return pytest.mark.skipif(there < wanted, reason=f"transformers {transformers.__version__} lacks it")


def load(folder: Path, *, trust_code: bool = False, **fields: Any) -> LoadedModel:
    """The denoiser in a folder."""
    return load_huggingface(HuggingFaceConfig(type="huggingface", path=str(folder), **fields), trust_code=trust_code)


def randomised(model: nn.Module, seed: int = 0, spread: float = 0.2) -> nn.Module:
    """The module with other weights, far enough apart that its predictions differ from token to token."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0.0, spread, generator=generator)
    return model.eval().requires_grad_(False)


def saved(model: Any, folder: Path) -> Any:
    """The model, written with fresh weights, in evaluation mode."""
    randomised(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
    return model


def residue_vocabulary(folder: Path, residues: str = RESIDUES) -> None:
    """A vocab.txt of BERT's kind: five special tokens and one letter per residue."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *residues]) + "\n", encoding="utf-8")


def bert(folder: Path, **sizes: Any) -> Any:
    residue_vocabulary(folder)
    tiny = {
        "vocab_size": 25,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
    }
    return saved(transformers.BertForMaskedLM(transformers.BertConfig(**tiny | sizes)), folder)


def word_tokenizer(folder: Path, words: list[str], frame: tuple[str, str] | None = None, **special: str) -> None:
    """A fast tokenizer that splits at spaces and knows these words; frame: tokens around each text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    ids = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=special.get("unk_token", words[0])))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if frame is not None:
        first, last = frame
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}", special_tokens=[(first, ids[first]), (last, ids[last])]
        )
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


class Tiny(nn.Module):
    """The network of TINY_CODE, for a test to call by itself."""

    def __init__(self, vocab: int = 24, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.time = nn.Linear(1, width)
        self.head = nn.Linear(width, vocab)

    def forward(self, ids: Tensor, allowed: Tensor, sigma: Tensor | None = None) -> Tensor:
        """Logits of ids (rows, length), where position i may look at j if allowed[row, i, j]."""
        x = self.embed(ids)
        if sigma is not None:
            x = x + self.time(sigma[:, None, None])
        place = torch.arange(ids.shape[1])
        distance = (place[:, None] - place[None, :]).clamp(-4, 4) * 0.2
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        scores = (q @ k.transpose(1, 2)) / 4 + distance
        scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
        answer: Tensor = self.head(x + scores.softmax(-1) @ v)
        return answer


TINY_CODE = """
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput


class TinyConfig(PretrainedConfig):
    model_type = "tiny-code"

    def __init__(self, vocab_size=24, width=16, form="2d", **kwargs):
        self.vocab_size, self.width, self.form = vocab_size, width, form
        super().__init__(**kwargs)


class TimedHead(nn.Linear):
    def forward(self, hidden, time):
        return super().forward(hidden * (1 + time[:, None, None]))


class TinyModel(PreTrainedModel):
    config_class = TinyConfig
    base_model_prefix = "tiny"

    def __init__(self, config):
        super().__init__(config)
        vocab, width = config.vocab_size, config.width
        self.embed = nn.Embedding(vocab, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.time = nn.Linear(1, width)
        self.head = (TimedHead if config.form == "timed" else nn.Linear)(width, vocab)
        self.post_init()

    def forward(self, input_ids, timesteps=None, attention_mask=None, position_ids=None, use_cache=True):
        rows, length = input_ids.shape
        x = self.embed(input_ids)
        if timesteps is not None:
            x = x + self.time(timesteps.to(x.dtype)[:, None, None])
        allowed = torch.ones(rows, length, length, dtype=torch.bool, device=x.device)
        form = self.config.form
        if form == "broken":
            raise RuntimeError("cannot run here")
        if form == "4d":
            assert not use_cache
            allowed = allowed.tril() if attention_mask is None else attention_mask[:, 0]
        elif form != "ignored" and attention_mask is not None:
            allowed = allowed & attention_mask[:, None, :].bool()
        place = torch.arange(length, device=x.device)
        if position_ids is not None:
            assert position_ids.shape == input_ids.shape
        distance = (place[:, None] - place[None, :]).clamp(-4, 4) * 0.2
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        scores = (q @ k.transpose(1, 2)) / 4 + distance.to(q.dtype)
        scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
        hidden = x + scores.softmax(-1) @ v
        if form == "tied":
            return (nn.functional.linear(hidden, self.embed.weight),)
        logits = self.head(hidden, timesteps.to(hidden.dtype)) if form == "timed" else self.head(hidden)
        if form == "nan":
            logits = logits * float("nan")
        if form == "bare":
            return logits
        return MaskedLMOutput(logits=logits)
"""


def foreign(
    folder: Path,
    form: str = "2d",
    *,
    kind: str = "tiny-code",
    mask: int | None = 23,
    seed: int = 0,
    vocab: int = 24,
) -> Tiny:
    """A checkpoint that brings its own code, and the same network to compare it with.

    Its tokens are <pad>, <unk>, <end>, w3, w4 ... form: how it takes its attention mask, or what is wrong.
    """
    folder.mkdir(parents=True)
    words = ["<pad>", "<unk>", "<end>", *(f"w{number}" for number in range(3, vocab))]
    word_tokenizer(folder, words, unk_token="<unk>", pad_token="<pad>")
    (folder / "modeling_tiny.py").write_text(TINY_CODE.replace('"tiny-code"', repr(kind)), encoding="utf-8")
    config: dict[str, Any] = {
        "model_type": kind,
        "vocab_size": vocab,
        "form": form,
        "pad_token_id": 0,
        "auto_map": {"AutoConfig": "modeling_tiny.TinyConfig", "AutoModel": "modeling_tiny.TinyModel"},
    }
    config["auto_map"] |= dict.fromkeys(("AutoModelForMaskedLM", "AutoModelForCausalLM"), "modeling_tiny.TinyModel")
    (folder / "config.json").write_text(json.dumps(config | ({} if mask is None else {"mask_token_id": mask})))
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # its biases too
        network = Tiny(vocab)
    randomised(network, seed, 0.7)
    save_file(dict(network.state_dict()), folder / "model.safetensors", metadata={"format": "pt"})
    return network
