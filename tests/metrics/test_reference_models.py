"""A causal language model that texts are judged by: its losses and embeddings."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.metrics.reference_models import ReferenceModel, load_reference
from tests.support.reference_texts import LETTERS, WINDOW, direct, embedded, ids


def test_the_loss_of_texts_is_the_model_s_own(model: ReferenceModel) -> None:
    texts = [("", "cat sat"), ("Q: x", "yes"), ("", "d"), ("dog ", "on the mat"), ("Q", "u")]
    expected = [direct(model, [0, *ids(model, given)], ids(model, text)) for given, text in texts]
    assert len({round(value, 3) for value in expected}) == 5
    np.testing.assert_allclose(model.nll(texts), expected, rtol=1e-5)


def test_given_text_and_answer_are_tokenised_as_one(model: ReferenceModel) -> None:
    assert ids(model, "xab") == [ids(model, "x")[0], len(LETTERS) + 2]
    merged = model.nll([("xa", "b"), ("xa", "bc")])
    x, ab, c = ids(model, "xabc")
    np.testing.assert_allclose(merged, [direct(model, [0, x], [ab]), direct(model, [0, x, ab], [c])], rtol=1e-5)


def test_saying_nothing_costs_a_uniform_guess(model: ReferenceModel) -> None:
    assert model.vocab_size == len(LETTERS) + 3
    assert model.nll([("Q", ""), ("", "")]).tolist() == [math.log(model.vocab_size)] * 2
    assert model.nll([]).tolist() == []


def test_rows_longer_than_the_context_are_cut(model: ReferenceModel) -> None:
    """The given text loses its left, an answer that is too long by itself its right."""
    given, text = "abcdefghijklmnopqr", "stuvwxyz"
    long = "zyxwvutsrqponmlkjihgfedcb"
    expected = [
        direct(model, [0, *ids(model, given)][-(WINDOW - 8) :], ids(model, text)),
        direct(model, ids(model, "r"), ids(model, long)[: WINDOW - 1]),
    ]
    np.testing.assert_allclose(model.nll([(given, text), (given, long)]), expected, rtol=1e-5)


def test_a_model_without_start_token_scores_no_first_token(folder: Path) -> None:
    bare = load_reference(str(folder), field="f")
    bare.tokenizer.bos_token = None
    tokens = ids(bare, "cat")
    np.testing.assert_allclose(bare.nll([("", "cat")]), [direct(bare, tokens[:1], tokens[1:])], rtol=1e-5)
    assert bare.nll([("", "c")]).tolist() == [math.log(bare.vocab_size)]


def test_a_loss_that_is_not_finite_fails(folder: Path) -> None:
    broken = load_reference(str(folder), field="f")
    broken.model.transformer.ln_f.bias[:] = math.nan
    with pytest.raises(RunError, match="gives no finite loss for 'cat'"):
        broken.nll([("", "cat")])


def test_models_that_are_no_reference(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError, match=r"metrics\.mauve\.model: no/where cannot be loaded .*run `hf download no/where"
    ):
        load_reference("no/where", field="metrics.mauve.model")
    with pytest.raises(InputError, match=r"cannot be loaded .*; check the files and the settings"):
        load_reference(str(tmp_path), field="f")
    with pytest.raises(InputError, match=r"cannot be loaded .*; check the files and the settings"):
        load_reference(str(folder), field="f", device="nonsense")
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForMaskedLM(BertConfig(vocab_size=80, **size, initializer_range=0.5)).save_pretrained(tmp_path / "bert")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match="must be a causal language model, but it looks at later tokens"):
        load_reference(str(tmp_path / "bert"), field="f")
    shutil.copytree(folder, tmp_path / "short")
    shape = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "short" / "config.json").write_text(json.dumps({**shape, "n_layer": 3}), encoding="utf-8")
    with pytest.raises(InputError, match=r"those of GPT2LMHeadModel, but 12 are missing, such as transformer\.h\.2\."):
        load_reference(str(tmp_path / "short"), field="f")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"needs the library transformers, .* pip install 'mdm-tune\[hf\]'"):
        load_reference(str(folder), field="f")


def test_embeddings_are_last_hidden_states(model: ReferenceModel) -> None:
    texts = ["cat", "a dog", "z", "bird on a tree"]
    np.testing.assert_allclose(model.embeddings(texts), embedded(model, texts), rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        start = model.model.transformer(torch.tensor([[0]])).last_hidden_state[0, 0].numpy()
    np.testing.assert_allclose(model.embeddings(["cat", ""])[1], start, rtol=1e-5, atol=1e-6)
    long = "abcdefghijklmnopqrstuvwxyz"
    np.testing.assert_allclose(model.embeddings([long]), embedded(model, [long[: WINDOW + 1]]), rtol=1e-5, atol=1e-6)
