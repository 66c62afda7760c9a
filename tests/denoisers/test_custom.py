"""A user's own denoiser: loaded by its file and name where that is trusted, and every failing check named.

Covers: checks, loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mdm_tune.config.models import CustomConfig
from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.custom import load_custom
from mdm_tune.denoisers.lengths import EqualLengths
from mdm_tune.denoisers.loaded import LoadedModel
from tests.support.helpers import TableDenoiser, random_law

GOOD = """
import numpy as np
import torch
from tests.support.helpers import TableDenoiser, random_law


class Law(TableDenoiser):
    length, symbols = 4, "abc"


def build(seed=0, spread=1.5):
    return Law(random_law(4, 3, seed, spread))
"""

MODULE = """
import torch

class Net(torch.nn.Module):
    vocab_size, mask_id, length, symbols = 3, 3, 6, "abc"

    def __init__(self):
        super().__init__()
        weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
        self.weight, self.drop = torch.nn.Parameter(weight), torch.nn.Dropout(0.5)

    def forward(self, tokens, wanted):
        seen = self.drop(self.weight[tokens]).sum(1, keepdim=True).expand(*tokens.shape, 3)
        return seen[wanted]

def build():
    return Net()
"""


def written(tmp_path: Path, body: str, name: str = "model.py") -> str:
    (tmp_path / name).write_text(body, encoding="utf-8")
    return f"{tmp_path / name}:build"


def load(target: str, *, trust_code: bool = True, **fields: Any) -> LoadedModel:
    return load_custom(CustomConfig(type="custom", target=target, **fields), trust_code=trust_code)


def test_a_denoiser_from_a_file(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, GOOD), options={"seed": 5})
    law = TableDenoiser(random_law(4, 3, 5))
    tokens = torch.tensor([[3, 1, 3, 0]])
    assert torch.equal(loaded.denoiser(tokens, tokens == 3), law(tokens, tokens == 3))
    assert loaded.length == 4 and loaded.codec.encode("cab") == [2, 0, 1]
    assert len(loaded.fingerprint) == 16
    assert loaded.fingerprint != load(f"{tmp_path / 'model.py'}:build", options={"seed": 6}).fingerprint


def test_rows_of_impossible_texts_are_not_asked(tmp_path: Path) -> None:
    """All letters are equal, so that most rows have no probability and no answer."""
    body = GOOD.replace(
        "random_law(4, 3, seed, spread)",
        "np.fromfunction(lambda *i: i[0] * 0.0 + (sum(abs(a - i[0]) for a in i) == 0) / 3, (3,) * 4)",
    )
    assert load(written(tmp_path, body)).length == 4


def test_code_runs_only_where_it_is_trusted(tmp_path: Path) -> None:
    target = written(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')\n{GOOD}")
    with pytest.raises(InputError, match=r"model\.target: .*runs code from outside this package.*give --trust-code"):
        load(target, trust_code=False)
    assert not (tmp_path / "ran").exists()


def test_the_device_and_neighbours_arrive(tmp_path: Path) -> None:
    written(tmp_path, "LETTERS = 'xyz'\n", "neighbour_of_model.py")
    body = GOOD.replace("import numpy", "from neighbour_of_model import LETTERS\nimport numpy")
    body = body.replace('"abc"', "LETTERS").replace(
        "spread=1.5):", "spread=1.5, device=None):\n    assert device == 'cpu'"
    )
    assert load(written(tmp_path, body)).codec.decode([0, 2]) == "xz"


def test_a_module_is_put_into_evaluation_mode(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, MODULE))
    assert isinstance(loaded.denoiser, EqualLengths)  # the id -1 at padding is a token like others to this network
    assert not loaded.denoiser.inner.training  # type: ignore[attr-defined]
    (note,) = loaded.notes
    assert "only rows of equal length share a call" in note and loaded.doubts == ()  # nothing to do about it


def test_a_module_is_compiled_and_anything_else_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module without a list of layers is compiled as a whole."""
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, dynamic: compiled.append((module, dynamic)))
    load(written(tmp_path, MODULE))
    assert compiled == []
    loaded = load(written(tmp_path, MODULE), compile=True)
    assert compiled == [(loaded.denoiser.inner.inner, True)]  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"model\.compile needs a denoiser that is an nn\.Module, got Law; set model"):
        load(written(tmp_path, GOOD, "other.py"), compile=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("return Law(", "return len("),
            "must return a denoiser with a whole number length, at least 3 and at most 65536, got None",
        ),
        (('length, symbols = 4, "abc"', 'symbols = "abc"'), "must return a denoiser with a whole number length"),
        (
            ('length, symbols = 4, "abc"', "length = 4"),
            "with symbols, one character per token, or a codec, got neither",
        ),
        (('symbols = 4, "abc"', "codec = 4, 7"), "got a codec without end_tokens, encode"),
        (("return Law(", "1 / 0\n    return Law("), r"failed with model\.options .*ZeroDivisionError.* \(line 12\)"),
    ],
)
def test_what_the_function_returns(change: tuple[str, str], said: str, tmp_path: Path) -> None:
    assert change[0] in GOOD
    with pytest.raises(InputError, match=said):
        load(written(tmp_path, GOOD.replace(*change)))


def test_options_that_the_function_lacks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"failed with model\.options \['sed'\]: TypeError: .*unexpected keyword"):
        load(written(tmp_path, GOOD), options={"sed": 1})


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        ("attributes", None),
        ("call", "raise ValueError('no')"),
        ("shape", "return answer[:, :-1]"),
        ("shape", "return answer.long()"),
        ("shape", "return answer.numpy()"),
        ("finite", "return answer + float('nan')"),
        ("finite", "return answer - torch.inf"),
        ("mask", "self.vocab_size = 4; return torch.cat([answer, answer[:, :1]], 1)"),
        ("deterministic", "return answer + torch.randn(answer.shape, generator=NOISE)"),
        ("visible tokens", "return torch.zeros_like(answer)"),
        ("independent", "return answer + len(tokens) * answer.roll(1, 1)"),
        ("independent", "return answer + int(wanted.sum(1).max()) * answer.roll(1, 1)"),
    ],
)
def test_checks_are_named(check: str, answer: str | None, tmp_path: Path) -> None:
    if answer is None:
        body = GOOD.replace(
            "    length, symbols",
            "    vocab_size = property(lambda self: '3', lambda self, value: None)\n    length, symbols",
        )
    else:
        head = "    def __call__(self, tokens, wanted):\n        answer = super().__call__(tokens, wanted)\n"
        method = f"{head}        {answer}\n"
        body = GOOD.replace("\ndef build", f"{method}\ndef build")
        body = body.replace("class Law", "NOISE = torch.Generator()\n\nclass Law")
    with pytest.raises(InputError, match=f"check '{check}' failed: a denoiser must"):
        load(written(tmp_path, body))


def test_a_left_to_right_model_is_named_causal(tmp_path: Path) -> None:
    method = """    def __call__(self, tokens, wanted):
        place = torch.arange(4)
        rows = [super(Law, self).__call__(t.masked_fill(place > at, 3)[None], (place == at)[None]) for t, at in
                ((tokens[r], a) for r, a in wanted.nonzero().tolist())]
        return torch.cat(rows)
"""
    with pytest.raises(InputError, match="check 'causal' failed"):
        load(written(tmp_path, GOOD.replace("\ndef build", f"{method}\ndef build")))


@pytest.mark.parametrize(
    ("symbols", "said"),
    [
        ('"abcd"', "must have at most as many symbols as tokens, got 4 symbols and vocab_size 3"),
        ('"aba"', "symbols must be different characters, got 'a' twice"),
        ('["a", "b"]', "symbols must be text, one character per token"),
    ],
)
def test_symbols_fit_the_vocabulary(symbols: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        load(written(tmp_path, GOOD.replace('"abc"', symbols)))
