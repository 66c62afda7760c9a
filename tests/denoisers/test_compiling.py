"""Compiled layers: the same predictions, one compilation for all shapes, and refusals before anything is paid."""

from __future__ import annotations

import shutil
from functools import partialmethod
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mdm_tune.config.models import TransformerModelConfig
from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.compiling import check_compiler, compile_denoiser, layers_of
from mdm_tune.denoisers.loading import load_model
from mdm_tune.denoisers.transformer import Transformer, TransformerConfig, save_transformer
from mdm_tune.sampling.unmasking import unmask
from tests.support.helpers import same_plan, seeds
from tests.support.tiny_models import randomised

SIZES = TransformerConfig(symbols="abcde", length=12, width=16, depth=2, heads=2)
SHAPES = [(2, 12), (1, 12), (7, 5), (1, 3), (3, 12), (16, 9)]


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """``torch.compile`` traces the code and runs it without generating code: no C++ compiler is needed."""
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    monkeypatch.setattr("mdm_tune.denoisers.loading.check_compiler", lambda device: None)
    torch.compiler.reset()


def saved_model(folder: Path) -> TransformerModelConfig:
    model = Transformer(SIZES)
    randomised(model, spread=0.5)
    save_transformer(model, folder)
    return TransformerModelConfig(type="transformer", path=str(folder))


def rows(shape: tuple[int, int], padded: bool = False) -> tuple[Tensor, Tensor]:
    tokens = torch.randint(6, shape, generator=torch.Generator().manual_seed(sum(shape)))
    tokens[:, 0] = 5
    if padded:
        tokens[0, -2:] = -1
    return tokens, tokens == 5


def compared(config: TransformerModelConfig) -> None:
    """The compiled model answers as the other one does, for all shapes, and samples the same tokens in any batch."""
    plain, compiled = load_model(config), load_model(config.model_copy(update={"compile": True}))
    with torch.inference_mode():
        for shape in SHAPES:
            for padded in (False, True):
                call = rows(shape, padded and shape[0] > 1)
                assert torch.allclose(compiled.denoiser(*call), plain.denoiser(*call), atol=1e-5)
    start = torch.full((6, 12), 5)
    plan = same_plan([3, 3, 3, 3], 6)
    one, two, three = (
        unmask(model.denoiser, start, plan, seeds=seeds(6), batch=batch).tokens
        for model, batch in ((plain, 6), (compiled, 6), (compiled, 1))
    )
    assert torch.equal(one, two) and torch.equal(two, three)
    assert compiled.fingerprint != plain.fingerprint
    assert plain.notes == () and compiled.doubts == compiled.notes
    assert "compiled (model.compile)" in compiled.notes[0]


@pytest.mark.usefixtures("without_compiler")
def test_a_compiled_model_predicts_the_same(tmp_path: Path) -> None:
    compared(saved_model(tmp_path))


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler g++")
@pytest.mark.filterwarnings("ignore")  # those of the compiler
def test_generated_code_predicts_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    # The compiler imports setuptools, which cannot replace a distutils that another test of this process has imported.
    monkeypatch.setenv("SETUPTOOLS_USE_DISTUTILS", "stdlib")
    torch.compiler.reset()
    compared(saved_model(tmp_path / "model"))


def test_other_shapes_are_not_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """All layers, numbers of rows above one, lengths and wanted positions share one compilation."""
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=backend))
    torch.compiler.reset()
    model = Transformer(SIZES).eval().requires_grad_(False)
    compile_denoiser(model, model, torch.full((2, 8), 5), "the model")
    assert len(graphs) == 2  # several rows, and one row
    with torch.inference_mode():
        for shape in SHAPES:
            tokens, _ = rows(shape)
            for wanted in (tokens == 5, tokens >= 0):
                model(tokens, wanted)
        assert len(graphs) == 2
        for shape in SHAPES[2:3] + SHAPES[4:]:
            model(*rows(shape, padded=True))
    assert len(graphs) == 3


def test_the_layers_are_the_outermost_lists_of_one_class() -> None:
    inner = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    layers = nn.ModuleList([nn.Sequential(inner), nn.Sequential(inner)])
    assert layers_of(nn.Sequential(nn.Linear(2, 2), layers)) == [*layers]
    assert layers_of(nn.ModuleDict({"mixed": nn.ModuleList([nn.Linear(2, 2), nn.ReLU()])})) == []
    assert layers_of(nn.Linear(2, 2)) == []


class Uncompilable(nn.Module):
    """A network whose call fails."""

    vocab_size, mask_id = 2, 2

    def forward(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        raise ValueError("no such kernel")


@pytest.mark.usefixtures("without_compiler")
def test_what_cannot_be_compiled_is_refused() -> None:
    model, start = Uncompilable(), torch.full((2, 3), 2)
    with pytest.raises(InputError, match=r"it: model\.compile needs layers of one class.*set model\.compile to false"):
        compile_denoiser(model, model, start, "it")
    with pytest.raises(InputError, match=r"it: torch\.compile fails on the first call \(.*no such kernel.*\); set "):
        compile_denoiser(model, model, start, "it", whole=True)


def test_a_missing_compiler_is_told_before_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"needs a C\+\+ compiler on the CPU, got none at 'no-such-compiler'; install"):
        load_model(TransformerModelConfig(type="transformer", path="/no/such/folder", compile=True))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs the package triton on device cuda:0, got none"):
        check_compiler("cuda:0")


def test_a_model_on_several_devices_is_not_compiled() -> None:
    config = TransformerModelConfig(type="transformer", path="package:text", compile=True)
    with pytest.raises(InputError, match="compiles a model on one device, got one that is spread over 2"):
        load_model(config, free={"cuda:0": 1, "cuda:1": 1})
