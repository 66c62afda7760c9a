from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mdm_tune.metrics.reference_models import ReferenceModel, load_reference
from tests.support.reference_texts import LETTERS, WINDOW


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of two small layers with random weights, and a tokenizer of letters that knows ``ab`` as one token."""
    from tokenizers import Tokenizer, models
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("gpt2")
    tokens = ["<s>", "<unk>", *LETTERS, "ab"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    letters = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")], unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=letters, bos_token="<s>", unk_token="<unk>").save_pretrained(path)
    shape = {"vocab_size": len(tokens), "n_positions": WINDOW, "n_embd": 16, "n_layer": 2, "n_head": 2}
    config = GPT2Config(**shape, initializer_range=0.5, bos_token_id=0, eos_token_id=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> ReferenceModel:
    return load_reference(str(folder), field="metrics.generative_nll.model", batch=3, device="cpu")
