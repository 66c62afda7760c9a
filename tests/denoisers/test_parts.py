"""Denoisers in two parts: the same logits as in one call, whatever wraps them, and bounded memory.

Covers: base.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.config.models import CustomConfig
from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.guard import ForeignFailure
from mdm_tune.denoisers import asking
from mdm_tune.denoisers.asking import Asked, BatchedDenoiser
from mdm_tune.denoisers.base import Denoiser, LinearHead, linear_head_of, parts_of
from mdm_tune.denoisers.custom import load_custom
from mdm_tune.denoisers.guarded import GuardedDenoiser
from mdm_tune.denoisers.guidance import Guided
from mdm_tune.denoisers.huggingface import HuggingFace
from mdm_tune.denoisers.lengths import EqualLengths
from mdm_tune.denoisers.transformer import Transformer, TransformerConfig
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.unmasking import unmask
from tests.support.helpers import plan, same_plan, seeds
from tests.support.tiny_models import bert, foreign, load, randomised

CONFIG = TransformerConfig(symbols="abcde", length=12, width=16, depth=2, heads=2)
PROMPT = 3


def network() -> Transformer:
    model = Transformer(CONFIG).eval().requires_grad_(False)
    randomised(model, 1, 0.5)
    return model


def rows(mask_id: int, *, padded: bool = True) -> Tensor:
    """Four rows with a prompt, all different, two of them shorter."""
    tokens = torch.full((4, 12), mask_id)
    tokens[:, :PROMPT] = torch.tensor([[0, 1, 2], [1, 1, 2], [0, 1, 3], [2, 2, 2]])
    tokens[0, 6] = 3
    if padded:
        tokens[1, -4:], tokens[3, -2:] = -1, -1
    return tokens


def in_parts(denoiser: Denoiser, tokens: Tensor, wanted: Tensor, size: int = 3) -> Tensor:
    parts = parts_of(denoiser)
    assert parts is not None
    with torch.inference_mode():
        states = parts.states(tokens, *wanted.nonzero(as_tuple=True))
        return torch.cat([parts.head(some) for some in states.split(size)])


WRAPPED: dict[str, Callable[[Transformer], Denoiser]] = {
    "plain": lambda model: model,
    "equal lengths": EqualLengths,
    "guarded": lambda model: GuardedDenoiser(model, "x"),
    "guided": lambda model: Guided(model, 1.5, CONFIG.length - PROMPT),
    "not guided": lambda model: Guided(model, 0.0, CONFIG.length - PROMPT),
    "all": lambda model: Guided(EqualLengths(GuardedDenoiser(model, "x")), 0.5, CONFIG.length - PROMPT),
}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", WRAPPED)
def test_both_parts_together_are_the_denoiser(name: str, padded: bool) -> None:
    denoiser, tokens = WRAPPED[name](network()), rows(5, padded=padded)
    wanted = (tokens == 5) & (torch.arange(12) % 3 != 1)
    with torch.inference_mode():
        expected = denoiser(tokens, wanted)
    torch.testing.assert_close(in_parts(denoiser, tokens, wanted), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", ["2d", "4d", "ignored", "bare"])
def test_checkpoints_with_a_head_have_two_parts(form: str, tmp_path: Path) -> None:
    foreign(tmp_path / "model", form)
    fields = {"attention_mask": "4d"} if form == "4d" else {}
    denoiser = load(tmp_path / "model", trust_code=True, **fields).denoiser
    tokens = rows(23)
    wanted = tokens == 23
    with torch.inference_mode():
        expected = denoiser(tokens, wanted)
    assert bool(torch.isneginf(expected[:, 23]).all())
    torch.testing.assert_close(in_parts(denoiser, tokens, wanted), expected, rtol=0, atol=1e-5)


def test_bert_has_two_parts_and_its_trunk_runs_the_head_at_one_position(tmp_path: Path) -> None:
    bert(tmp_path)
    denoiser = load(tmp_path).denoiser
    assert isinstance(denoiser, HuggingFace) and denoiser.head_module is not None
    seen: list[int] = []
    hook = denoiser.head_module.register_forward_hook(
        lambda module, inputs, output: seen.append(output.shape[:-1].numel())
    )
    tokens = rows(denoiser.mask_id)
    found = in_parts(denoiser, tokens, tokens == denoiser.mask_id, size=10)
    hook.remove()
    assert len(found) == sum(seen[1:]) and seen[0] == 1 and max(seen) == 10


@pytest.mark.parametrize("form", ["timed", "tied"])
def test_a_head_that_needs_more_than_its_states_is_no_part(form: str, tmp_path: Path) -> None:
    foreign(tmp_path / "model", form)
    assert (
        parts_of(load(tmp_path / "model", trust_code=True, **({"time": "sigma"} if form == "timed" else {})).denoiser)
        is None
    )


def test_logits_that_are_changed_after_the_head_make_it_no_part(tmp_path: Path) -> None:
    """The head is found, so that it runs at wanted positions only; what it returns is not the answer."""
    foreign(tmp_path / "model", "bare")
    denoiser = load(tmp_path / "model", trust_code=True).denoiser
    assert isinstance(denoiser, HuggingFace) and denoiser.parts is not None
    forward = denoiser.model.forward
    denoiser.model.forward = lambda *arguments, **named: 0.5 * forward(*arguments, **named)
    denoiser.head_is_last = False
    tokens = rows(denoiser.mask_id, padded=False)
    assert denoiser.find_head(tokens) and denoiser.head_module is not None and denoiser.parts is None


@pytest.mark.parametrize("name", [name for name in WRAPPED if name not in ("guided", "all")])
def test_a_linear_head_gives_what_the_head_gives(name: str) -> None:
    """Whatever wraps the denoiser; guidance combines two predictions, so that it has none."""
    denoiser, tokens = WRAPPED[name](network()), rows(5)
    parts, (row, column) = parts_of(denoiser), (tokens == 5).nonzero(as_tuple=True)
    head = linear_head_of(parts)
    assert parts is not None and head is not None and head.vocab_size == 5
    with torch.inference_mode():
        states = parts.states(tokens, row, column)
        torch.testing.assert_close(head.all_logits(states), parts.head(states), rtol=0, atol=1e-5)
        out = torch.empty(len(states), 2)
        torch.testing.assert_close(head.logits(states, slice(1, 3), out), parts.head(states)[:, 1:3], rtol=0, atol=1e-5)
    for name in ("guided", "all"):
        assert linear_head_of(parts_of(WRAPPED[name](network()))) is None
    assert linear_head_of(None) is None


@pytest.mark.parametrize("form", ["2d", "4d", "bare"])
def test_checkpoints_state_a_linear_head(form: str, tmp_path: Path) -> None:
    """With the tokens that are never predicted; not if something is done to the head or its result, or for BERT."""
    foreign(tmp_path / "model", form)
    fields = {"attention_mask": "4d"} if form == "4d" else {}
    denoiser = load(tmp_path / "model", trust_code=True, **fields).denoiser
    parts, tokens = parts_of(denoiser), rows(23)
    head = linear_head_of(parts)
    assert isinstance(denoiser, HuggingFace | EqualLengths) and parts is not None and head is not None
    with torch.inference_mode():
        states = parts.states(tokens, *(tokens == 23).nonzero(as_tuple=True))
        expected = parts.head(states)
        assert bool(torch.isneginf(expected[:, 23]).all())
        torch.testing.assert_close(head.all_logits(states), expected, rtol=0, atol=1e-5)
    inner = denoiser if isinstance(denoiser, HuggingFace) else denoiser.inner
    assert isinstance(inner, HuggingFace) and inner.head_module is not None
    module = inner.head_module
    hook = module.register_forward_hook(lambda *given: None)
    assert linear_head_of(parts) is None
    hook.remove()
    assert linear_head_of(parts) is not None
    module.forward = module.forward  # as accelerate does
    assert linear_head_of(parts) is None


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_checkpoint_of_many_tokens_is_sampled_in_slices(temperature: float, tmp_path: Path) -> None:
    """With the tokens that whole rows of logits give; the head itself runs at one position of each call."""
    foreign(tmp_path / "model", vocab=3000, mask=2999)
    denoiser = load(tmp_path / "model", trust_code=True).denoiser
    assert isinstance(denoiser, HuggingFace) and denoiser.head_module is not None
    tokens, drawing = rows(2999), Drawing("confidence", temperature=temperature)
    sizes: list[int] = []

    def filled() -> Tensor:
        sizes.clear()
        hidden = (tokens == 2999).sum(1).tolist()
        found = unmask(denoiser, tokens, plan(*([[4, size - 4]] for size in hidden)), seeds=seeds(4), drawing=drawing)
        return found.tokens

    unhooked = filled()
    hook = denoiser.head_module.register_forward_hook(
        lambda module, inputs, output: sizes.append(output.shape[:-1].numel())
    )
    assert torch.equal(filled(), unhooked) and max(sizes) > 1
    hook.remove()
    forward = denoiser.model.forward
    seen: list[tuple[int, ...]] = []

    def watched(*arguments: object, **named: object) -> object:
        output = forward(*arguments, **named)
        seen.append(tuple(output.logits.shape))
        return output

    denoiser.model.forward = watched
    assert torch.equal(filled(), unhooked) and seen == [(1, 1, 3000)] * 2


def test_a_head_of_several_layers_is_not_linear(tmp_path: Path) -> None:
    bert(tmp_path)
    parts = parts_of(load(tmp_path).denoiser)
    assert parts is not None and linear_head_of(parts) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((torch.zeros(3),), r"must be a dense float tensor \(vocab_size, width\), got \(3,\) torch.float32; give"),
        ((torch.zeros(3, 2, dtype=torch.int64),), r"got \(3, 2\) torch.int64; give the weight"),
        ((torch.zeros(3, 0),), r"got \(3, 0\) torch.float32; give the weight"),
        ((torch.zeros(3, 2).to_sparse(),), r"got \(3, 2\) torch.float32, not dense; give the weight"),
        ((torch.nn.Linear(2, 3),), "got Linear; give the weight"),
        ((torch.zeros(3, 2), torch.zeros(2)), r"must be a tensor \(3,\) torch.float32, as its weight, got \(2,\)"),
        ((torch.zeros(3, 2), torch.zeros(3).half()), r"as its weight, got \(3,\) torch.float16; leave it out"),
        ((torch.zeros(3, 2), [0.0] * 3), "as its weight, got list; leave it out"),
        (
            (torch.zeros(3, 2), None, torch.zeros(3)),
            r"must be a tensor \(k,\) int64 on the CPU, got \(3,\) torch.float32",
        ),
        ((torch.zeros(3, 2), None, [1]), "on the CPU, got list; give torch.tensor"),
        (
            (torch.zeros(3, 2), None, torch.tensor([2, 1])),
            r"must ascend in \[0, 3\), each once, got \[2, 1\]; give ids",
        ),
        ((torch.zeros(3, 2), None, torch.tensor([1, 3])), r"each once, got \[1, 3\]; give ids of the vocabulary"),
    ],
)
def test_a_linear_head_whose_shapes_do_not_fit_is_refused(given: tuple[Any, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        LinearHead(*given)


class Halves:
    """A denoiser whose parts are called; its one call is not allowed. fails: the call of the head that lacks memory."""

    def __init__(self, model: Transformer, fails: int = 0) -> None:
        self.model, self.fails, self.heads = model, fails, 0
        self.vocab_size, self.mask_id, self.parts = model.vocab_size, model.mask_id, self

    def states(self, tokens: Tensor, row: Tensor, column: Tensor) -> Tensor:
        return self.model.states(tokens, row, column)

    def head(self, states: Tensor) -> Tensor:
        self.heads += 1
        if self.heads == self.fails:
            raise RuntimeError("CUDA out of memory.")
        logits: Tensor = self.model.head(states)
        return logits

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        raise AssertionError("it has parts")


class OnePart:
    def __init__(self, model: Transformer) -> None:
        self.model, self.vocab_size, self.mask_id = model, model.vocab_size, model.mask_id

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        logits: Tensor = self.model(tokens, wanted)
        return logits


def few_positions(monkeypatch: pytest.MonkeyPatch, positions: int = 4) -> None:
    for name, value in (("HEAD", 1), ("HEAD_POSITIONS", positions), ("HEAD_POSITIONS_WIDE", positions)):
        monkeypatch.setattr(asking, name, value)


@pytest.mark.parametrize("order", ["random", "confidence"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_unmasking_in_parts_draws_the_same_at_the_same_cost(
    order: str, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_positions(monkeypatch)
    tokens = torch.full((4, 12), 5)
    tokens[:, :PROMPT] = torch.tensor([[0, 1, 2], [0, 1, 2], [0, 1, 3], [2, 2, 2]])  # the first two alike
    plan, drawing = same_plan([2, 3, 4], 4), Drawing(order, temperature=temperature)  # type: ignore[arg-type]
    found, expected = (
        unmask(denoiser, tokens, plan, seeds=seeds(4), drawing=drawing)
        for denoiser in (Halves(network()), OnePart(network()))
    )
    assert torch.equal(found.tokens, expected.tokens)
    assert (found.denoiser_rows, found.denoiser_tokens) == (expected.denoiser_rows, expected.denoiser_tokens)


def test_a_head_that_lacks_memory_halves_the_batch_and_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    few_positions(monkeypatch)
    tokens = rows(5, padded=False)
    wanted = tokens == 5
    halves = Halves(network(), fails=2)
    asker = BatchedDenoiser(halves, 4)
    found = torch.full((4, 12, 5), torch.nan)
    row, column = wanted.nonzero(as_tuple=True)
    for some, logits in asker(Asked.of(tokens.numpy(), wanted.numpy()), np.arange(4), "here"):
        found[row[some], column[some]] = logits
    assert asker.batch == 2 and asker.denoiser_rows == 4 and asker.denoiser_tokens == 48
    torch.testing.assert_close(found[wanted], network()(tokens, wanted), rtol=0, atol=1e-5)


def test_states_and_logits_of_own_code_are_checked() -> None:
    def broken(**changed: object) -> GuardedDenoiser:
        model = network()
        parts = SimpleNamespace(states=model.states, head=model.head)
        vars(parts).update(changed)
        return GuardedDenoiser(SimpleNamespace(vocab_size=5, mask_id=5, parts=parts), "my.py:build")  # type: ignore[arg-type]

    tokens = rows(5)
    cases: list[tuple[dict[str, object], str]] = [
        (
            {"states": lambda *given: torch.zeros(1, 16)},
            r"parts.states must return one hidden state per wanted position",
        ),
        ({"states": lambda *given: None}, "got NoneType"),
        ({"head": lambda states: torch.zeros(2, 2)}, r"expected \(3, 5\) and got \(2, 2\)"),
        ({"head": lambda states: 1 / 0}, "ZeroDivisionError"),
    ]
    for changed, said in cases:
        with pytest.raises(ForeignFailure, match=f"my.py:build failed: .*{said}"):
            in_parts(broken(**changed), tokens, tokens == 5)
    assert linear_head_of(parts_of(broken(linear="yes"))) is None
    with pytest.raises(ForeignFailure, match=r"parts\.linear must have one row of weights per token, 5 of them, got 4"):
        linear_head_of(parts_of(broken(linear=LinearHead(torch.zeros(4, 16)))))


def test_a_linear_head_of_own_code_must_forbid_the_mask() -> None:
    model = network()
    parts = SimpleNamespace(states=model.states, head=model.head, linear=LinearHead(model.head.weight, model.head.bias))
    guarded = GuardedDenoiser(SimpleNamespace(vocab_size=5, mask_id=3, parts=parts), "my.py:build")  # type: ignore[arg-type]
    with pytest.raises(ForeignFailure, match=r"parts\.linear must forbid the mask, token 3"):
        linear_head_of(parts_of(guarded))
    with pytest.raises(
        RunError, match=r"parts\.linear must forbid the mask, token 3, got \[\] as its forbidden tokens;"
    ):
        _ = BatchedDenoiser(guarded.inner, 4).linear_head
    parts.linear = LinearHead(model.head.weight, model.head.bias, torch.tensor([3]))
    assert linear_head_of(parts_of(guarded)) is parts.linear


def test_another_thing_of_that_name_is_no_part() -> None:
    model = SimpleNamespace(vocab_size=5, mask_id=5, parts=["wheel", "axle"])
    assert parts_of(GuardedDenoiser(model, "x")) is None  # type: ignore[arg-type]
    assert parts_of(OnePart(network())) is None


OWN = """
from mdm_tune.denoisers.transformer import Transformer, TransformerConfig
from tests.support.tiny_models import randomised


class Own(Transformer):
    def trunk(self, tokens, row, column, padding):
        return super().trunk(tokens, row, column, padding)

    @property
    def parts(self):
        return Parts(self)


class Parts:
    def __init__(self, model):
        self.model = model

    def states(self, tokens, row, column):
        return self.model.states(tokens, row, column) * SCALE

    def head(self, states):
        return self.model.head(states)

    @property
    def linear(self):
        weight = self.model.head.weight
        return LINEAR


def build():
    model = Own(TransformerConfig(symbols="abcde", length=12, width=16, depth=2, heads=2))
    randomised(model, 1, 0.5)
    return model
"""


@pytest.mark.parametrize(
    ("scale", "linear", "said"),
    [
        ("1", "None", ""),
        ("1", "mdm_tune.LinearHead(weight, self.model.head.bias)", ""),
        ("2", "None", r"predict the same in two parts \(parts.states"),
        ("(1 / 0)", "None", r"run in two parts \(parts.states, parts.head\), got an error: ZeroDivisionError"),
        (
            "1",
            "mdm_tune.LinearHead(2 * weight)",
            r"predict the same with the linear map that it states \(parts.linear\)",
        ),
        ("1", "mdm_tune.LinearHead(weight[:, 1:])", "have states that fit parts.linear, got RuntimeError"),
        ("1", "mdm_tune.LinearHead(weight * float('nan'))", r"predict the same with .* \(parts.linear\), got NaN"),
        (
            "1",
            "mdm_tune.LinearHead(weight, self.model.head.bias, torch.tensor([4]))",
            r"(predict the same|forbid the same tokens) with the linear map that it states",
        ),
    ],
)
def test_the_parts_of_own_code_are_compared_when_it_is_loaded(
    scale: str, linear: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(
        "import mdm_tune, torch\n" + OWN.replace("SCALE", scale).replace("LINEAR", linear), encoding="utf-8"
    )
    config = CustomConfig(type="custom", target=f"{tmp_path / 'own.py'}:build")
    if not said:
        parts = parts_of(load_custom(config, trust_code=True).denoiser)
        assert parts is not None and (linear_head_of(parts) is None) == (linear == "None")
        return
    with pytest.raises(InputError, match=f"check 'parts' failed: a denoiser must {said}"):
        load_custom(config, trust_code=True)
