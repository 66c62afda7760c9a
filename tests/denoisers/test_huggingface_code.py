"""Checkpoints that bring their own code, in the conventions of LLaDA, Dream and MDLM, and what is wrong with some.

Covers: vocabulary.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import dynamic_module_utils

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.denoisers import checkpoint
from mdm_tune.denoisers.asking import Asked, BatchedDenoiser
from mdm_tune.denoisers.huggingface import HuggingFace
from mdm_tune.denoisers.lengths import EqualLengths
from tests.support.tiny_models import Tiny, bert, foreign, load, word_tokenizer

MASK = 23
TOKENS = torch.tensor([[-1, -1, 5, MASK, 7, MASK], [MASK, 10, MASK, 12, 13, MASK]])
WANTED = TOKENS == MASK


@pytest.fixture(scope="module", autouse=True)
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A place of its own for the copies that transformers makes of a checkpoint's code."""
    place = str(tmp_path_factory.mktemp("modules"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", place)
        yield


def expected(network: Tiny, *, shift: bool = False, sigma: bool = False) -> Tensor:
    """The network's own logits at the hidden positions, each row alone and without padding."""
    found = []
    for padded in TOKENS:
        row = padded[padded >= 0][None]
        hidden = (row == MASK)[0]
        time = None
        if sigma:  # of the log-linear schedule, where 1 - exp(-sigma) is 0.999 times the masked share
            time = torch.tensor([-math.log(1 - 0.999 * float(hidden.double().mean()))])
        with torch.no_grad():
            logits = network(row, torch.ones(1, row.shape[1], row.shape[1], dtype=torch.bool), time)[0]
        found.append((torch.cat([logits[:1], logits[:-1]]) if shift else logits)[hidden])
    return torch.cat(found)


def close(given: Tensor, wanted: Tensor) -> bool:
    finite = torch.isfinite(given)
    return bool(finite.sum() == finite.shape[0] * 23) and torch.allclose(given[finite], wanted[finite], atol=2e-5)


def test_the_convention_of_llada(tmp_path: Path) -> None:
    network = foreign(tmp_path / "llada_a", kind="llada")
    loaded = load(tmp_path / "llada_a", trust_code=True, family="llada")
    assert isinstance(loaded.denoiser, HuggingFace) and loaded.denoiser.head_module is not None and loaded.notes == ()
    assert close(loaded.denoiser(TOKENS, WANTED), expected(network))
    assert loaded.codec.end_tokens == ()  # those of the published vocabulary are none of this one


def test_the_convention_of_dream(tmp_path: Path) -> None:
    network = foreign(tmp_path / "dream_a", "4d")
    loaded = load(tmp_path / "dream_a", trust_code=True, family="dream", end_tokens=["<end>"])
    assert isinstance(loaded.denoiser, HuggingFace) and loaded.notes == ()
    assert close(loaded.denoiser(TOKENS, WANTED), expected(network, shift=True))
    assert not close(loaded.denoiser(TOKENS, WANTED), expected(network))
    assert loaded.codec.end_tokens == (2,)


def test_the_convention_of_mdlm(tmp_path: Path) -> None:
    """The mask is the last of the vocabulary, sigma follows from the masked share, and rows share a call by length."""
    network = foreign(tmp_path / "mdlm_a", "none", mask=None)
    loaded = load(tmp_path / "mdlm_a", trust_code=True, family="mdlm")
    assert loaded.denoiser.mask_id == MASK and isinstance(loaded.denoiser, EqualLengths)
    assert close(loaded.denoiser(TOKENS, WANTED), expected(network, sigma=True))
    assert not close(loaded.denoiser(TOKENS, WANTED), expected(network))
    (note,) = loaded.notes
    assert "only rows of equal length share a call" in note


def test_a_head_that_depends_on_the_time_of_each_row(tmp_path: Path) -> None:
    """As MDLM's does: with the hidden states of all rows in one it would see the time of the first row only."""
    foreign(tmp_path / "timed_a", "timed", mask=None)
    denoiser = load(tmp_path / "timed_a", trust_code=True, family="mdlm").denoiser
    assert isinstance(denoiser, EqualLengths) and isinstance(denoiser.inner, HuggingFace)
    assert denoiser.inner.head_module is None
    tokens = torch.tensor([[3, MASK, 5, 6, 7, 8], [MASK, MASK, 5, MASK, MASK, 8]])
    together = denoiser(tokens, tokens == MASK)
    alone = torch.cat([denoiser(row, row == MASK) for row in tokens.split(1)])
    assert torch.allclose(together.exp(), alone.exp(), rtol=1e-4)


def test_any_other_family_is_given_by_its_fields(tmp_path: Path) -> None:
    network = foreign(tmp_path / "own_a", "4d", mask=None)
    fields = {"attention_mask": "4d", "shift_logits": True, "time": "sigma", "mask_token_id": MASK, "padding": "left"}
    loaded = load(tmp_path / "own_a", trust_code=True, family="generic", **fields)
    assert close(loaded.denoiser(TOKENS, WANTED), expected(network, shift=True, sigma=True))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_that_ignores_its_attention_mask(dtype: str, tmp_path: Path) -> None:
    network = foreign(tmp_path / f"old_{dtype}", "ignored")
    loaded = load(tmp_path / f"old_{dtype}", trust_code=True, family="llada", dtype=dtype)
    assert isinstance(loaded.denoiser, EqualLengths)
    (note,) = loaded.notes
    assert "does not handle padding" in note and "since October 2025" in note
    answer = loaded.denoiser(TOKENS, WANTED)
    assert answer.dtype == getattr(torch, dtype)
    if dtype == "float32":
        assert close(answer, expected(network))


def test_a_tied_head_gives_all_logits(tmp_path: Path) -> None:
    """It is no module of its own, so that the model computes them everywhere, in its own type."""
    foreign(tmp_path / "tied_a", "tied")
    denoiser = load(tmp_path / "tied_a", trust_code=True, dtype="bfloat16").denoiser
    assert isinstance(denoiser, HuggingFace) and denoiser.head_module is None
    assert denoiser(TOKENS, WANTED).dtype == torch.bfloat16


def test_bare_logits_are_taken(tmp_path: Path) -> None:
    network = foreign(tmp_path / "bare_a", "bare")
    denoiser = load(tmp_path / "bare_a", trust_code=True).denoiser
    assert isinstance(denoiser, HuggingFace) and close(denoiser(TOKENS, WANTED), expected(network))


def test_code_runs_only_where_it_is_trusted(tmp_path: Path) -> None:
    foreign(tmp_path / "code_a")
    (tmp_path / "code_a" / "modeling_tiny.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit(3)")
    with pytest.raises(InputError, match=r"runs code from outside this package.*give --trust-code"):
        load(tmp_path / "code_a", family="llada")
    assert not (tmp_path / "ran").exists()


def test_a_model_of_the_library_needs_no_trust(tmp_path: Path) -> None:
    """Its config.json may name code too: without trust the library's own class is taken."""
    bert(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoModelForMaskedLM": "absent.Model"}}))
    assert load(tmp_path / "model").denoiser.vocab_size == 25


def test_a_failing_model_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign(tmp_path / "broken_a", "broken")
    with pytest.raises(
        InputError,
        match=r"fails on its first call \(RuntimeError: cannot run here \(modeling_tiny.py, line \d+\)\); check the",
    ):
        load(tmp_path / "broken_a", trust_code=True, family="generic")
    monkeypatch.setattr(checkpoint.metadata, "version", lambda name: "5.1.0")
    with pytest.raises(InputError, match=r"cannot run here .*\); the published code of family llada needs"):
        load(tmp_path / "broken_a", trust_code=True, family="llada")


def test_code_that_does_not_load_is_explained_by_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign(tmp_path / "loading_a")
    code = tmp_path / "loading_a" / "modeling_tiny.py"
    code.write_text(code.read_text().replace("super().__init__(config)", "raise KeyError('default')"))
    for version, said in (
        ("5.23.0", "needs transformers 4.46, this is 5.23.0"),
        ("4.46.3", "check the files"),
    ):
        monkeypatch.setattr(checkpoint.metadata, "version", {"transformers": version}.get)
        with pytest.raises(
            InputError, match=f"cannot be loaded: KeyError: 'default' .modeling_tiny.py, line \\d+.; .*{said}"
        ):
            load(tmp_path / "loading_a", trust_code=True, family="dream")


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("nan", "check 'finite' failed: .* got nan as a largest logit"),
        ("4d", "check 'causal' failed: .* causal without model.attention_mask: 4d"),
    ],
)
def test_checks_are_named(form: str, said: str, tmp_path: Path) -> None:
    foreign(tmp_path / f"bad_{form}", form)
    with pytest.raises(InputError, match=said):
        load(tmp_path / f"bad_{form}", trust_code=True, family="generic")


def test_a_mask_outside_the_vocabulary_is_refused(tmp_path: Path) -> None:
    foreign(tmp_path / "mask_a", mask=None)
    with pytest.raises(InputError, match=r"neither the tokenizer nor config\.json of .* names one"):
        load(tmp_path / "mask_a", trust_code=True)
    with pytest.raises(
        InputError, match=r"model\.mask_token_id: must be one of the 24 tokens of the model, got 126336"
    ):
        load(tmp_path / "mask_a", trust_code=True, family="llada")


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    foreign(tmp_path / "vocabulary_a")
    words = ["<unk>", *(f"v{number}" for number in range(30))]
    word_tokenizer(tmp_path / "other", words, unk_token="<unk>")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "other" / name).replace(tmp_path / "vocabulary_a" / name)
    with pytest.raises(
        InputError, match=r"the model knows 24 tokens, and the tokenizer of .* has 31: they do not belong"
    ):
        load(tmp_path / "vocabulary_a", trust_code=True)


def test_a_model_without_logits_is_refused(tmp_path: Path) -> None:
    foreign(tmp_path / "headless_a")
    code = tmp_path / "headless_a" / "modeling_tiny.py"
    code.write_text(code.read_text().replace("return MaskedLMOutput(logits=logits)", "return (hidden,)"))
    with pytest.raises(InputError, match=r"must return logits \(rows, length, 24\), got \(2, 12, 16\)"):
        load(tmp_path / "headless_a", trust_code=True)


@pytest.mark.parametrize(
    ("late", "said"),
    [
        ("raise ValueError('boom')", r"ValueError: boom \(modeling_tiny\.py, line \d+\)"),
        ("raise SystemExit(0)", r"it ended the process by sys\.exit\(0\) \(modeling_tiny\.py, line \d+\)"),
        ("return None", "AttributeError|TypeError"),
        ("return (torch.ones(rows, length, 7),)", r"it must return float logits, expected \(\d+, 24\) and got"),
        ("return (torch.ones(rows, length, 24).long(),)", "got .* torch.int64"),
    ],
)
def test_code_of_a_checkpoint_that_fails_later(late: str, said: str, tmp_path: Path) -> None:
    folder = tmp_path / f"late_{abs(hash(late))}"
    foreign(folder)
    code = folder / "modeling_tiny.py"
    first = "        rows, length = input_ids.shape\n"
    code.write_text(code.read_text().replace(first, f"{first}        if rows > 2:\n            {late}\n"))
    denoiser = load(folder, trust_code=True).denoiser
    assert isinstance(denoiser, HuggingFace)
    denoiser.head_module, denoiser.head_is_last = None, False
    rows = torch.tensor([[3, MASK, 5], [4, MASK, 5], [5, MASK, 5], [6, MASK, 5]])
    asked = Asked.of(rows.numpy(), (rows == MASK).numpy())
    with pytest.raises(RunError, match=rf"model\.path: .* failed on rows 0 to 3 at step 7: .*({said})"):
        list(BatchedDenoiser(denoiser, 8)(asked, torch.arange(4).numpy(), "at step 7"))
