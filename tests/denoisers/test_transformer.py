"""The bundled network as a denoiser, and its checkpoints: what is written is read back, anything else is refused."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.files import bundled
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.transformer import Transformer, TransformerConfig, load_transformer, save_transformer

SYMBOLS = "abcdefé\n"
MASK = len(SYMBOLS)
CONFIG = TransformerConfig(symbols=SYMBOLS, length=10, width=16, depth=2, heads=2)


def trained(seed: int = 0) -> Transformer:
    """Random weights in every tensor, standing in for training."""
    model = Transformer(CONFIG)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.3)
    return model.eval().requires_grad_(False)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_transformer(trained(), tmp_path / "model", {"data": "letters", "steps": 3})
    return tmp_path / "model"


def rows() -> Tensor:
    return torch.tensor([[0, MASK, 2, MASK, 4, 5, MASK, 7], [MASK, 1, 1, 3, 3, MASK, 0, 6]])


def test_save_and_load_is_bit_identical(saved: Path) -> None:
    model, again = trained(), load_transformer(saved)
    assert again.config == CONFIG
    weights = dict(again.named_parameters())
    assert weights.keys() == dict(model.named_parameters()).keys()
    for name, weight in model.named_parameters():
        assert torch.equal(weight, weights[name])
    assert torch.equal(model(rows(), rows() == MASK), again(rows(), rows() == MASK))
    assert not again.training
    assert not any(weight.requires_grad for weight in again.parameters())
    record = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    assert record["training"] == {"data": "letters", "steps": 3}
    assert record["symbols"] == SYMBOLS


def test_saving_a_loaded_model_writes_the_same_weights(saved: Path, tmp_path: Path) -> None:
    save_transformer(load_transformer(saved), tmp_path / "again" / "deeper")
    again = tmp_path / "again" / "deeper" / "model.safetensors"
    assert again.read_bytes() == (saved / "model.safetensors").read_bytes()


def test_weights_stay_in_the_file() -> None:
    """They lie where the system has mapped the file, so that processes share them."""
    folder = bundled("package:text")
    weights = list(load_transformer(folder).parameters())
    maps = [line.split() for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()]
    ranges = [line[0].split("-") for line in maps if line[-1] == str((folder / "model.safetensors").resolve())]
    inside = [any(int(low, 16) <= weight.data_ptr() < int(high, 16) for low, high in ranges) for weight in weights]
    assert inside and all(inside)


@pytest.mark.parametrize("name", ["text", "arithmetic"])
def test_bundled_weights_are_compared_with_their_digest(name: str, tmp_path: Path) -> None:
    """A changed byte in the middle of the weights is legal safetensors, and only the digest shows it."""
    shutil.copytree(bundled(f"package:{name}"), tmp_path / "model")
    load_transformer(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(
        InputError, match=rf"is damaged or was changed: .*, got '{found}'; install the package again, or"
    ):
        load_transformer(tmp_path / "model")
    edit(tmp_path / "model", sha256_of_weights=found)
    load_transformer(tmp_path / "model")


def test_saving_over_a_checkpoint_leaves_its_loaded_model_alone(saved: Path) -> None:
    model, expected = load_transformer(saved), trained()
    save_transformer(trained(1), saved)
    assert torch.equal(load_transformer(saved).head.weight, trained(1).head.weight)
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), expected.parameters(), strict=True))
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]


def test_half_precision_weights_are_read_as_float32(saved: Path) -> None:
    path = saved / "model.safetensors"
    save_file({name: weight.to(torch.bfloat16) for name, weight in load_file(path).items()}, path)
    model = load_transformer(saved)
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    assert torch.equal(model.head.weight, trained().head.weight.to(torch.bfloat16).float())


def test_it_is_a_denoiser_that_never_predicts_the_mask() -> None:
    model = trained()
    assert isinstance(model, Denoiser)
    assert (model.vocab_size, model.mask_id, model.length) == (len(SYMBOLS), MASK, 10)
    assert model(rows(), rows() == MASK).shape == (5, len(SYMBOLS))


def test_only_wanted_positions_reach_the_head() -> None:
    model = trained()
    seen: list[torch.Size] = []
    model.head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    wanted = torch.zeros_like(rows(), dtype=torch.bool)
    wanted[0, 6] = wanted[1, 0] = wanted[1, 5] = True
    some = model(rows(), wanted)
    everywhere = model(rows(), torch.ones_like(wanted))
    assert seen == [(3, len(SYMBOLS)), (16, len(SYMBOLS))]
    torch.testing.assert_close(some, everywhere.view(2, 8, -1)[wanted], rtol=0, atol=1e-5)
    assert model(rows(), torch.zeros_like(wanted)).shape == (0, len(SYMBOLS))


@pytest.mark.parametrize("left", [0, 2])
def test_padded_rows_get_what_they_get_alone(left: int) -> None:
    model = trained()
    rng = torch.Generator().manual_seed(0)
    lengths = [8, 3, 1, 6]
    batch = torch.full((4, 10), -1)
    alone = []
    for row, length in enumerate(lengths):
        tokens = torch.randint(0, MASK + 1, (1, length), generator=rng)
        batch[row, left : left + length] = tokens
        alone.append(model(tokens, torch.ones_like(tokens, dtype=torch.bool)))
    together = model(batch, batch >= 0)
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


def test_columns_of_padding_alone_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding between the tokens of different rows keeps its place."""
    model, lengths = trained(), []
    embed = model.embed.forward
    monkeypatch.setattr(model.embed, "forward", lambda tokens: (lengths.append(tokens.shape[1]), embed(tokens))[1])
    tokens = torch.full((2, 10), -1)
    tokens[0, 1:3], tokens[1, 5:8] = torch.tensor([MASK, 4]), torch.tensor([MASK, 1, 2])
    together = model(tokens, tokens == MASK)
    alone = [model(tokens[row : row + 1], tokens[row : row + 1] == MASK) for row in range(2)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)
    assert model(torch.full((1, 4), -1), torch.zeros(1, 4, dtype=torch.bool)).shape == (0, len(SYMBOLS))
    assert lengths == [7, 2, 3, 1]


def test_every_visible_token_and_place_matters() -> None:
    model = trained()
    tokens = rows()[:1]
    before = model(tokens, tokens == MASK)
    for position in (0, 2, 4, 5, 7):
        changed = tokens.clone()
        changed[0, position] = (changed[0, position] + 1) % len(SYMBOLS)
        assert float((model(changed, tokens == MASK) - before).abs().amax(1).min()) > 1e-4
    swapped = tokens[:, [0, 1, 4, 3, 2, 5, 6, 7]]
    assert float((model(swapped, swapped == MASK) - before).abs().max()) > 1e-4


def test_rows_do_not_see_each_other() -> None:
    model = trained()
    tokens = rows()
    other = tokens.clone()
    other[1] = 0
    wanted = tokens == MASK
    wanted[1] = False
    torch.testing.assert_close(model(tokens, wanted), model(other, wanted), rtol=0, atol=1e-5)


def test_a_row_that_is_too_long_is_refused() -> None:
    model = trained()
    fits = torch.full((1, 10), MASK)
    assert model(fits, fits == MASK).shape == (10, len(SYMBOLS))
    tokens = torch.full((1, 11), MASK)
    with pytest.raises(InputError, match="at most 10 tokens, got a row of 11"):
        model(tokens, tokens == MASK)


def test_initial_weights_come_from_the_seed_alone() -> None:
    first, second = Transformer(CONFIG), trained()
    second.reset_parameters(0)
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
    second.reset_parameters(1)
    assert not torch.equal(first.embed.weight, second.embed.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 0}, "length must be a whole number from 1 to 65536, got 0"),
        ({"width": -4}, "width must be a whole number from 1 to 65536, got -4"),
        ({"depth": 1.5}, r"depth must be a whole number from 1 to 65536, got 1\.5"),
        ({"heads": True}, "heads must be a whole number from 1 to 65536, got true"),
        ({"depth": 65_537}, "depth must be a whole number from 1 to 65536, got 65537"),
        ({"heads": 3}, "width must be a multiple of heads, got 16 and 3"),
        ({"symbols": ""}, "symbols must be distinct characters, at least one, got ''"),
        ({"symbols": "aba"}, "symbols must be distinct characters"),
        ({"symbols": ["a", "b"]}, "symbols must be distinct characters"),
        ({"end": "x"}, "end must be one of the symbols .*, or empty, got 'x'"),
        ({"end": "ab"}, "end must be one of the symbols .*, or empty, got 'ab'"),
        ({"end": 3}, "end must be one of the symbols .*, or empty, got 3"),
    ],
)
def test_impossible_sizes_are_refused(saved: Path, change: dict[str, Any], message: str) -> None:
    sizes: dict[str, Any] = {"symbols": SYMBOLS, "length": 10, "width": 16, "depth": 2, "heads": 2}
    with pytest.raises(InputError, match=message):
        TransformerConfig(**{**sizes, **change})
    edit(saved, **change)
    with pytest.raises(InputError, match=rf"config\.json.*{message}"):
        load_transformer(saved)


def edit(folder: Path, **change: Any) -> None:
    path = folder / "config.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**record, **change}), encoding="utf-8")


def test_the_symbol_that_ends_a_text_is_kept(saved: Path) -> None:
    assert load_transformer(saved).end_tokens == ()
    edit(saved, end="é")
    assert load_transformer(saved).end_tokens == (6,)
    record = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    del record["end"]  # as in files that were written before there was one
    (saved / "config.json").write_text(json.dumps(record), encoding="utf-8")
    assert load_transformer(saved).end_tokens == ()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(InputError, match=f"no checkpoint at .*: {name} is missing") as error:
        load_transformer(saved)
    assert str(saved) in str(error.value)
    (saved / name).mkdir()
    with pytest.raises(InputError, match=f"{name} is missing"):
        load_transformer(saved)
    shutil.rmtree(saved)
    with pytest.raises(InputError, match=r"config\.json is missing"):
        load_transformer(saved)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"3", b'"text"', b'{"length": 3}', b"\xff\xfe\x00", b"a: b"],
)
def test_config_that_is_no_description(saved: Path, text: bytes) -> None:
    (saved / "config.json").write_bytes(text)
    with pytest.raises(InputError, match=r"config\.json.*; save [^;]*$") as raised:
        load_transformer(saved)
    assert str(raised.value).count("; save") == 1


@pytest.mark.parametrize("value", ["mdm-tune-transformer-2", None, 1])
def test_other_format(saved: Path, value: Any) -> None:
    edit(saved, format=value)
    with pytest.raises(InputError, match=r"config\.json: format must be 'mdm-tune-transformer-1', got"):
        load_transformer(saved)


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_truncated_weights(saved: Path, keep: float) -> None:
    path = saved / "model.safetensors"
    whole = path.read_bytes()
    size = int(keep * len(whole)) if isinstance(keep, float) else keep
    path.write_bytes(whole[:size])
    with pytest.raises(InputError, match=r"model\.safetensors is truncated or not a safetensors file"):
        load_transformer(saved)


def test_loading_never_unpickles(saved: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    trap = Trap(witness)
    for payload in (pickle.dumps(trap), pickle.dumps({"head.weight": trap})):
        (saved / "model.safetensors").write_bytes(payload)
        with pytest.raises(InputError, match="not a safetensors file"):
            load_transformer(saved)
    torch.save({"head.weight": trap}, saved / "model.safetensors")
    with pytest.raises(InputError, match="not a safetensors file"):
        load_transformer(saved)
    assert not witness.exists()
    pickle.loads(pickle.dumps(trap))  # the trap would have sprung
    assert witness.exists()


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.witness,)


@pytest.mark.parametrize(
    ("change", "tensor"),
    [
        ({"length": 11}, r"blocks\.0\.bias"),
        ({"depth": 1}, r"blocks\.1\."),
        ({"depth": 3}, r"blocks\.2\."),
        ({"width": 32}, r"blocks\.0\."),
        ({"symbols": SYMBOLS + "x"}, r"embed\.weight"),
    ],
)
def test_sizes_that_do_not_fit_the_weights(saved: Path, change: dict[str, Any], tensor: str) -> None:
    edit(saved, **change)
    with pytest.raises(InputError, match=rf"model\.safetensors does not fit config\.json.*the first is {tensor}"):
        load_transformer(saved)


@pytest.mark.parametrize("add", [True, False])
def test_weights_with_a_tensor_too_many_or_too_few(saved: Path, add: bool) -> None:
    path = saved / "model.safetensors"
    weights = load_file(path)
    if add:
        weights["extra"] = torch.zeros(2)
        expected = r"the first is extra \(expected None, got \(2,\)\)"
    else:
        del weights["norm"]
        expected = r"the first is norm \(expected \(16,\), got None\)"
    save_file(weights, path)
    with pytest.raises(
        InputError, match=rf"model\.safetensors does not fit config\.json: 1 tensors differ, {expected}"
    ):
        load_transformer(saved)


def test_building_a_model_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    Transformer(TransformerConfig(symbols="ab", length=4, width=8, depth=1, heads=2))
    assert torch.equal(before, torch.get_rng_state())


def test_loading_draws_nothing_from_the_global_generator_and_loads_no_compiler() -> None:
    """torch's compiler takes longer to load than all else that a command does before its first denoiser call."""
    program = (
        "import sys, torch; from mdm_tune.core.files import bundled; from mdm_tune.denoisers import transformer; "
        "before = torch.get_rng_state(); transformer.load_transformer(bundled('package:text')); "
        "assert torch.equal(before, torch.get_rng_state()); "
        "print(*({'torch._dynamo', 'sympy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
