"""Checkpoints of transformers as denoisers: the numbers are those of calling the model by hand.

Covers: lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.huggingface import HuggingFace
from mdm_tune.denoisers.lengths import EqualLengths
from mdm_tune.sampling.unmasking import unmask
from tests.support.helpers import same_plan, seeds
from tests.support.tiny_models import (
    BERT_MASK,
    RESIDUES,
    SPECIAL,
    bert,
    load,
    needs_transformers,
    saved,
    transformers,
    word_tokenizer,
)

Make = Callable[[Path], Any]
LETTERS = [*"ABDEFGHIJKLMNOPQRSTU"]
TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}


def roberta(folder: Path) -> Any:
    words = ["<s>", "<pad>", "</s>", "<unk>", *LETTERS, "<mask>"]
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    word_tokenizer(folder, words, ("<s>", "</s>"), mask_token="<mask>", **special)
    config = transformers.RobertaConfig(
        vocab_size=len(words),
        **TINY,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    return saved(transformers.RobertaForMaskedLM(config), folder)


def esm(folder: Path) -> Any:
    words = ["<cls>", "<pad>", "<eos>", "<unk>", *RESIDUES, "X", "<mask>"]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    config = transformers.EsmConfig(
        vocab_size=len(words),
        **TINY,
        position_embedding_type="rotary",
        token_dropout=True,
        pad_token_id=1,
        mask_token_id=len(words) - 1,
    )
    return saved(transformers.EsmForMaskedLM(config), folder)


def modernbert(folder: Path) -> Any:
    words = [*SPECIAL, *LETTERS]
    special = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    word_tokenizer(folder, words, ("[CLS]", "[SEP]"), **special)
    config = transformers.ModernBertConfig(
        vocab_size=len(words),
        **TINY,
        local_attention=8,
        pad_token_id=0,
        cls_token_id=2,
        sep_token_id=3,
        bos_token_id=2,
        eos_token_id=3,
    )
    return saved(transformers.ModernBertForMaskedLM(config), folder)


def llama(folder: Path) -> Any:
    words = ["<unk>", "<s>", "</s>", "<mask>", *LETTERS]
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "mask_token": "<mask>"}
    word_tokenizer(folder, words, **special)
    config = transformers.LlamaConfig(
        vocab_size=len(words),
        **TINY,
    )
    return saved(transformers.LlamaForCausalLM(config), folder)


FAMILIES = [
    pytest.param(bert, "bert", id="bert"),
    pytest.param(roberta, "roberta", id="roberta"),
    pytest.param(esm, "esm", id="esm"),
    pytest.param(esm, "dplm", id="dplm"),
    pytest.param(modernbert, "modernbert", id="modernbert", marks=needs_transformers("4.48")),
    pytest.param(llama, "diffullama", id="diffullama"),
]


def rows(denoiser: Denoiser, frame: tuple[list[int], list[int]]) -> tuple[Tensor, Tensor]:
    """Two framed rows, five and eight tokens inside, some hidden; the shorter padded on the left."""
    mask, (before, after) = denoiser.mask_id, frame
    short = [*before, 5, mask, 7, mask, 9, *after]
    long = [*before, mask, 11, 12, mask, mask, 15, 16, 17, *after]
    tokens = torch.tensor([[-1] * (len(long) - len(short)) + short, long])
    return tokens, tokens == mask


def by_hand(model: nn.Module, row: Tensor, hidden: Tensor, family: str) -> Tensor:
    """The model's logits at the hidden places of one row without padding."""
    row = row[None]
    if family == "diffullama":  # everything sees everything, and each place is predicted by the one before it
        everything = torch.ones(1, 1, row.shape[1], row.shape[1], dtype=torch.bool)
        logits = model(input_ids=row, attention_mask=everything).logits
        return torch.cat([logits[:, :1], logits[:, :-1]], dim=1)[0][hidden]
    found: Tensor = model(input_ids=row, attention_mask=torch.ones_like(row)).logits[0][hidden]
    return found


@pytest.mark.parametrize(("make", "family"), FAMILIES)
def test_logits_are_the_models_own(make: Make, family: str, tmp_path: Path) -> None:
    model = make(tmp_path / "model")
    loaded = load(tmp_path / "model", family=family, dtype="float32")
    denoiser = loaded.denoiser
    assert isinstance(denoiser, HuggingFace) and denoiser.head_module is not None and loaded.notes == ()
    tokens, wanted = rows(denoiser, loaded.codec.framed([]))
    answer = denoiser(tokens, wanted)
    assert answer.shape == (int(wanted.sum()), denoiser.vocab_size)
    start = 0
    for row, hidden in zip(tokens, wanted, strict=True):
        expected = by_hand(model, row[row >= 0], hidden[row >= 0], family)
        given = answer[start : start + len(expected)]
        allowed = torch.isfinite(given)
        assert (given == -torch.inf).equal(~allowed) and not bool(allowed[:, denoiser.mask_id].any())
        assert torch.allclose(given[allowed], expected[allowed], atol=2e-5)
        assert 20 <= int(allowed[0].sum()) < denoiser.vocab_size
        start += len(expected)
    assert start == len(answer)


@pytest.mark.parametrize(("make", "family"), FAMILIES)
def test_compiled_layers_give_the_same_logits(
    make: Make, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their code is traced and not generated, so that no C++ compiler is needed."""
    compiled = []

    def compile_traced(module: nn.Module, dynamic: bool) -> None:
        compiled.append(module)
        module._compiled_call_impl = torch.compile(module._call_impl, dynamic=dynamic, backend="eager")

    monkeypatch.setattr(nn.Module, "compile", compile_traced)
    torch.compiler.reset()
    make(tmp_path / "model")
    plain = load(tmp_path / "model", family=family, dtype="float32")
    loaded = load(tmp_path / "model", family=family, dtype="float32", compile=True)
    assert len(compiled) == 2 and loaded.fingerprint == plain.fingerprint  # load_model gives it another one
    tokens, wanted = rows(plain.denoiser, plain.codec.framed([]))
    with torch.inference_mode():
        assert torch.allclose(loaded.denoiser(tokens, wanted), plain.denoiser(tokens, wanted), atol=1e-5)


@pytest.mark.parametrize(("make", "family"), FAMILIES)
def test_padding_and_company_change_nothing(make: Make, family: str, tmp_path: Path) -> None:
    make(tmp_path / "model")
    loaded = load(tmp_path / "model", family=family, dtype="float32")
    tokens, wanted = rows(loaded.denoiser, loaded.codec.framed([]))
    left = loaded.denoiser(tokens, wanted)
    behind = tokens.clone(), wanted.clone()
    behind[0][0], behind[1][0] = tokens[0].roll(-3), wanted[0].roll(-3)
    assert bool((behind[0][0, -3:] == -1).all())
    assert torch.allclose(left.exp(), loaded.denoiser(*behind).exp(), atol=1e-5)
    alone = [loaded.denoiser(tokens[i : i + 1], wanted[i : i + 1]) for i in range(2)]
    assert torch.allclose(left.exp(), torch.cat(alone).exp(), atol=1e-5)
    swapped = loaded.denoiser(tokens.flip(0), wanted.flip(0))
    assert torch.allclose(left.exp(), swapped.roll(int(wanted[0].sum()), 0).exp(), atol=1e-5)


def test_only_wanted_positions_enter_the_head(tmp_path: Path) -> None:
    bert(tmp_path / "model")
    denoiser = load(tmp_path / "model", dtype="float32").denoiser
    assert isinstance(denoiser, HuggingFace)
    tokens, _ = rows(denoiser, ([2], [3]))
    some = torch.zeros_like(tokens, dtype=torch.bool)
    some[0, 5] = some[1, 1] = some[1, 4] = True
    entered = []
    decoder = denoiser.model.get_output_embeddings()  # type: ignore[operator]
    decoder.register_forward_hook(lambda module, given, answer: entered.append(answer.shape))
    gathered = denoiser(tokens, some)
    assert entered == [(1, 3, 25)]
    denoiser.head_module, denoiser.head_is_last = None, False
    assert torch.allclose(gathered.exp(), denoiser(tokens, some).exp(), atol=1e-6)
    assert entered[1] == (2, 10, 25)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_half(dtype: str, tmp_path: Path) -> None:
    bert(tmp_path / "model")
    whole = load(tmp_path / "model", dtype="float32").denoiser
    loaded = load(tmp_path / "model", dtype=dtype)
    tokens, wanted = rows(whole, loaded.codec.framed([]))
    answer = loaded.denoiser(tokens, wanted)
    assert answer.dtype == getattr(torch, dtype)
    assert torch.allclose(answer.float().softmax(1), whole(tokens, wanted).softmax(1), atol=0.05)
    assert loaded.fingerprint != load(tmp_path / "model", dtype="float32").fingerprint


def test_auto_is_the_type_of_the_file(tmp_path: Path) -> None:
    model = bert(tmp_path / "model").to(torch.bfloat16)
    model.config.torch_dtype = torch.bfloat16
    model.save_pretrained(tmp_path / "model")
    denoiser = load(tmp_path / "model").denoiser
    assert isinstance(denoiser, HuggingFace) and next(denoiser.model.parameters()).dtype == torch.bfloat16


def test_a_model_can_be_sampled_and_scored(tmp_path: Path) -> None:
    bert(tmp_path / "model")
    loaded = load(tmp_path / "model", split="characters", never=SPECIAL)
    start = torch.tensor([[2, *[BERT_MASK] * 8, 3]] * 3)
    drawn = unmask(loaded.denoiser, start, same_plan([2, 3, 3], 3), seeds=seeds(3)).tokens
    assert drawn[:, 0].tolist() == [2] * 3 and drawn[:, -1].tolist() == [3] * 3
    texts = [loaded.codec.decode(row.tolist()) for row in drawn]
    assert all(len(text) == 8 and set(text) <= set(RESIDUES) for text in texts)
    assert torch.tensor([loaded.codec.encode(text) for text in texts]).equal(drawn[:, 1:-1])
    scored = unmask(loaded.denoiser, start, same_plan([8], 3), seeds=seeds(3), reference=drawn)
    assert scored.nll is not None and bool(torch.isfinite(scored.nll).all())


def test_an_empty_question_is_answered(tmp_path: Path) -> None:
    bert(tmp_path / "model")
    denoiser = load(tmp_path / "model").denoiser
    nothing = torch.zeros(2, 5, dtype=torch.bool)
    assert denoiser(torch.full((2, 5), 6), nothing).shape == (0, 25)
    assert EqualLengths(denoiser)(torch.tensor([[6, -1], [6, 7]]), nothing[:, :2]).shape == (0, 25)


def test_a_row_longer_than_the_model_is_refused(tmp_path: Path) -> None:
    bert(tmp_path / "model")
    roberta(tmp_path / "other")
    loaded = load(tmp_path / "model")
    long = torch.full((1, 65), BERT_MASK)
    with pytest.raises(InputError, match="takes at most 64 tokens, got a row of 65"):
        loaded.denoiser(long, long == BERT_MASK)
    assert loaded.length == 64 and load(tmp_path / "model", length=9).length == 9
    assert load(tmp_path / "other").length == 38  # its positions start behind the padding id 1
    with pytest.raises(InputError, match=r"model\.length: must be at most the 64 tokens of the model, got 65"):
        load(tmp_path / "model", length=65)


def test_fields_of_the_config_stand_in_for_the_familys(tmp_path: Path) -> None:
    bert(tmp_path / "model")
    loaded = load(tmp_path / "model", never=["A", 6], end_tokens=["D", 8], mask_token_id=24)
    assert loaded.codec.end_tokens == (7, 8) and loaded.denoiser.mask_id == 24
    hidden = torch.tensor([[2, 24, 9, 3]])
    answer = loaded.denoiser(hidden, hidden == 24)
    gone = (answer[0] == -torch.inf).nonzero().flatten().tolist()
    assert gone == [5, 6, 24]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"end_tokens": ["[SEP]"]}, r"got '\[SEP\]' \(3\), which model\.never forbids \(of family bert: '\[PAD\]', "),
        ({"end_tokens": ["A"], "never": ["C", "A"]}, r"got 'A' \(5\), which model\.never forbids"),
        ({"end_tokens": ["[MASK]"]}, r"model\.end_tokens: .* got '\[MASK\]' \(4\), which is the mask"),
    ],
)
def test_an_end_token_that_is_never_produced_is_refused(fields: dict[str, Any], said: str, tmp_path: Path) -> None:
    bert(tmp_path / "model")
    with pytest.raises(InputError, match=said):
        load(tmp_path / "model", **fields)
    assert load(tmp_path / "model", end_tokens=["[SEP]"], never=["[PAD]"]).codec.end_tokens == (3,)


@pytest.mark.parametrize(("mask", "role"), [(1, "unk_token"), (0, "pad_token"), (3, "sep_token")])
def test_a_mask_with_another_meaning_deserves_a_note(mask: int, role: str, tmp_path: Path) -> None:
    bert(tmp_path / "model")
    notes = load(tmp_path / "model", mask_token_id=mask, never=[]).notes
    assert any(f"the mask, token {mask} ('{SPECIAL[mask]}'), is also the tokenizer's {role}" in note for note in notes)
    assert not any("is also" in note for note in load(tmp_path / "model").notes)


def test_the_family_is_told_where_it_was_guessed(tmp_path: Path) -> None:
    bert(tmp_path / "model")
    (note,) = load(tmp_path / "model").notes
    assert "is read as family bert, by model type 'bert'" in note
    assert load(tmp_path / "model", family="bert").notes == ()


def test_fingerprints_follow_the_weights(tmp_path: Path) -> None:
    model = bert(tmp_path / "model")
    first = load(tmp_path / "model").fingerprint
    assert first == load(tmp_path / "model").fingerprint and len(first) == 16
    with torch.no_grad():
        model.get_output_embeddings().bias[3] += 0.5
    model.save_pretrained(tmp_path / "model")
    assert load(tmp_path / "model").fingerprint != first
