"""The samplers that scripts/benchmark_sampling.py measures, on networks whose weights are made from a seed.

Each peer is imported from a local checkout and called as its users call it, on the same trunk and head as ours. Our
denoiser applies the head at the wanted positions alone, and a slice of a large vocabulary at a time; the peers' models
apply it at all positions, as theirs do.
"""

from __future__ import annotations

import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from compare_peers import imported
from torch import Tensor, nn
from torch.nn import functional as F

from mdm_tune.core.files import bundled
from mdm_tune.denoisers.base import LinearHead
from mdm_tune.denoisers.transformer import Transformer, load_transformer
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.unmasking import CountPlan, Plan, RevealPlan, unmask
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Linear

PROMPT = 8  # tokens before those that are drawn; other ones in each row
SIZES = {"1M": (128, 5, 4), "10M": (256, 13, 4), "100M": (768, 14, 12)}  # width, depth, heads of the trunk
Call = Callable[[], Tensor]


@dataclass(frozen=True)
class Case:
    """One setting at which samplers are compared.

    Attributes:
        vocabulary: tokens that can be drawn.
        length: positions to fill.
        rows: sequences that are filled at once.
        order: ``confidence``, ``random`` or ``entropy``; ``ancestral`` is ancestral reveal in random order.
        trunk: a name of ``SIZES``, or ``text`` for the bundled text model.
        peers: names of the samplers beside ours.
        quick: whether the quick form measures it.
        spread: standard deviation of the logits; the smaller, the flatter are the predictions.
        kept: whether the process keeps freed memory, as the commands of mdm-tune do.
    """

    vocabulary: int
    length: int
    rows: int
    steps: int
    order: str
    temperature: float
    trunk: str = "1M"
    top_p: float = 1.0
    peers: tuple[str, ...] = ("LLaDA", "plain")
    quick: bool = False
    spread: float = 3.0
    kept: bool = False

    @property
    def name(self) -> str:
        """What tells the case from all others, for ``--only`` and the record."""
        drawn = f"T{self.temperature:g}" + (f" p{self.top_p:g}" if self.top_p < 1 else "")
        trunk = self.trunk + (f" flat{self.spread:g}" if self.spread != Case.spread else "")
        trunk += " kept" if self.kept else ""
        return f"V{self.vocabulary} L{self.length} B{self.rows} K{self.steps} {self.order} {drawn} {trunk}"

    @property
    def comparable(self) -> bool:
        """Whether a peer of the same rule should draw the same tokens."""
        return self.temperature == 0 and self.order in ("confidence", "entropy")


class Network(nn.Module):
    """A transformer encoder with a table of words that is its head too; one more word stands for the mask."""

    def __init__(self, trunk: str, vocabulary: int, *, spread: float = Case.spread, seed: int = 0) -> None:
        super().__init__()
        width, depth, heads = SIZES[trunk]
        self.vocabulary, self.scale = vocabulary, width**0.5 / spread
        with torch.device("meta"):
            layer = nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.trunk = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
            self.words = nn.Parameter(torch.empty(vocabulary + 1, width))
            self.places = nn.Parameter(torch.empty(1024 + PROMPT, width))
        self.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.ndim > 1:
                    weight.normal_(0.0, weight.shape[-1] ** -0.5, generator=generator)
                else:
                    weight.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
            self.words.mul_(spread)
            self.places.mul_(width**0.5)
        self.eval().requires_grad_(False)

    def hidden(self, tokens: Tensor) -> Tensor:
        """The trunk's output (rows, length, width)."""
        x = self.words[tokens] * self.scale + self.places[: tokens.shape[1]]
        found: Tensor = self.trunk(x)
        return found

    def states(self, tokens: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Hidden states (n, width) at these positions."""
        return self.hidden(tokens)[row, column]

    def head(self, states: Tensor) -> Tensor:
        """Logits (n, vocabulary)."""
        return F.linear(states, self.words[: self.vocabulary])

    @property
    def linear(self) -> LinearHead:
        """The head, as one linear map."""
        return LinearHead(self.words[: self.vocabulary])

    def everywhere(self, tokens: Tensor, *, shifted: bool = False, with_mask: bool = False) -> Tensor:
        """Logits (rows, length, vocabulary); shifted: those of position i at i - 1, as Dream's model has them."""
        hidden = self.hidden(tokens)
        if shifted:
            hidden = torch.cat([hidden[:, 1:], hidden[:, -1:]], dim=1)
        return F.linear(hidden, self.words if with_mask else self.words[: self.vocabulary])


class TextNetwork:
    """The bundled text model, in the form of ``Network``."""

    def __init__(self) -> None:
        self.model: Transformer = load_transformer(bundled("package:text"))
        self.vocabulary, self.linear = self.model.vocab_size, self.model.linear

    def states(self, tokens: Tensor, row: Tensor, column: Tensor) -> Tensor:
        return self.model.states(tokens, row, column)

    def head(self, states: Tensor) -> Tensor:
        found: Tensor = self.model.head(states)
        return found

    def everywhere(self, tokens: Tensor, *, shifted: bool = False, with_mask: bool = False) -> Tensor:
        assert not (shifted or with_mask)
        found: Tensor = self.model(tokens, torch.ones_like(tokens, dtype=torch.bool))
        return found.view(*tokens.shape, -1)


AnyNetwork = Network | TextNetwork


class InParts:
    """The network as our denoiser, in two parts."""

    def __init__(self, network: AnyNetwork) -> None:
        self.network, self.vocab_size, self.mask_id = network, network.vocabulary, network.vocabulary
        self.parts, self.states, self.head, self.linear = self, network.states, network.head, network.linear

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        return self.head(self.states(tokens, *wanted.nonzero(as_tuple=True)))


class Timed(InParts):
    """The same, with a count of its calls and their CPU time, which to read takes time too."""

    def __init__(self, network: AnyNetwork) -> None:
        super().__init__(network)
        self.seconds, self.calls = 0.0, 0
        self.states, self.head, self.linear = self._states, self._head, self._TimedHead(self, network.linear)

    def _states(self, tokens: Tensor, row: Tensor, column: Tensor) -> Tensor:
        self.calls += 1
        return self._timed(self.network.states, tokens, row, column)

    def _head(self, states: Tensor) -> Tensor:
        return self._timed(self.network.head, states)

    class _TimedHead(LinearHead):
        """The linear head, whose time counts too."""

        def __init__(self, timed: Timed, head: LinearHead) -> None:
            super().__init__(head.weight, head.bias, head.forbidden)
            object.__setattr__(self, "timed", timed)

        def logits(self, states: Tensor, tokens: slice, out: Tensor) -> Tensor:
            return self.timed._timed(super().logits, states, tokens, out)  # type: ignore[attr-defined,no-any-return]

    def _timed(self, work: Callable[..., Tensor], *arguments: Any) -> Tensor:
        began = time.process_time()
        found = work(*arguments)
        self.seconds += time.process_time() - began
        return found


class AsPeer(nn.Module):
    """The network in the form that the peers call."""

    def __init__(self, network: AnyNetwork, *, shifted: bool = False) -> None:
        super().__init__()
        self.network, self.shifted, self.device = network, shifted, torch.device("cpu")

    def forward(self, tokens: Tensor, attention_mask: object = None, positions: object = None) -> SimpleNamespace:
        return SimpleNamespace(logits=self.network.everywhere(tokens, shifted=self.shifted))


class Peers:
    """The peers' modules, from folders that may be None.

    Args:
        llada: holds ``generate.py``.
        dream: holds ``generation_utils.py``.
        dllm: holds the folder ``dllm``.
        mdlm: holds ``diffusion.py`` and ``noise_schedule.py``.
    """

    def __init__(self, llada: Path | None, dream: Path | None, dllm: Path | None, mdlm: Path | None) -> None:
        self.makers: dict[str, Callable[[Case, AnyNetwork], Call]] = {}
        if llada is not None:
            generate = imported(llada / "generate.py", "peer_llada").generate
            self.makers["LLaDA"] = lambda case, network: _llada(generate, case, network)
        if dream is not None:
            utilities = imported(dream / "generation_utils.py", "peer_dream")
            self.makers["Dream"] = lambda case, network: _dream(utilities, case, network)
        if dllm is not None:
            samplers, dreams = _dllm_modules(dllm)
            self.makers["dllm"] = lambda case, network: _dllm(samplers, dreams, case, network)
        if mdlm is not None:
            diffusion = _mdlm_module(mdlm)
            self.makers["MDLM"] = lambda case, network: _mdlm(diffusion, case, network)
        self.makers["plain"] = _plain

    def of(self, case: Case) -> list[str]:
        """The samplers beside ours that the case compares and that are there."""
        return [name for name in case.peers if name in self.makers]


def prompts(case: Case) -> Tensor:
    """Visible tokens (rows, PROMPT) before the positions to fill; none for ancestral reveal, as MDLM has none."""
    size = 0 if case.order == "ancestral" else PROMPT
    generator = torch.Generator().manual_seed(1)
    return torch.randint(min(case.vocabulary, 1000), (case.rows, size), generator=generator)


def start(case: Case) -> Tensor:
    """The prompts and the masked positions."""
    return torch.cat([prompts(case), torch.full((case.rows, case.length), case.vocabulary)], dim=1)


def ours(case: Case, denoiser: InParts) -> Call:
    """A call of ``mdm_tune.unmask``, with the peers' own counts."""
    dream = case.order == "entropy"
    drawing = Drawing(
        order="random" if case.order == "ancestral" else case.order,  # type: ignore[arg-type]
        temperature=case.temperature,
        top_p=case.top_p,
        tempered_scores=dream,
    )
    plan: Plan
    if case.order == "ancestral":
        plan = RevealPlan(torch.linspace(0, 1, case.steps + 1, dtype=torch.float64).expand(case.rows, -1))
    else:
        counts = to_counts(Linear("dream" if dream else "llada"), case.steps, case.length)
        plan = CountPlan(torch.tensor(counts).expand(case.rows, 1, -1))
    tokens, seeds = start(case), np.arange(case.rows, dtype=np.uint64)
    return lambda: unmask(denoiser, tokens, plan, seeds=seeds, drawing=drawing).tokens


def _plain(case: Case, network: AnyNetwork) -> Call:
    """What one would write first: float32, all positions, ``multinomial`` and ``topk``."""
    counts = to_counts(Linear("llada"), case.steps, case.length)

    @torch.no_grad()
    def call() -> Tensor:
        tokens = start(case)
        for count in counts:
            hidden = tokens == case.vocabulary
            logits = network.everywhere(tokens)
            p = logits.softmax(-1)
            if case.temperature == 0:
                drawn = logits.argmax(-1)
            else:
                tempered = p if case.temperature == 1 else (logits / case.temperature).softmax(-1)
                drawn = tempered.flatten(0, 1).multinomial(1).view(tokens.shape)
            if case.order == "confidence":
                scores = p.gather(-1, drawn[..., None]).squeeze(-1)
            else:
                scores = torch.rand(tokens.shape)
            best = scores.masked_fill(~hidden, -torch.inf).topk(count, dim=1).indices
            tokens.scatter_(1, best, drawn.gather(1, best))
        return tokens

    return call


def _llada(generate: Any, case: Case, network: AnyNetwork) -> Call:
    model, prompt = AsPeer(network), prompts(case)
    settings = {
        "steps": case.steps,
        "gen_length": case.length,
        "block_length": case.length,
        "temperature": float(case.temperature),
        "remasking": "low_confidence" if case.order == "confidence" else "random",
        "mask_id": case.vocabulary,
    }
    return lambda: generate(model, prompt, **settings)


def _dream(utilities: ModuleType, case: Case, network: AnyNetwork) -> Call:
    """Their own loop over their own rule."""

    class Sampler(AsPeer, utilities.DreamGenerationMixin):  # type: ignore[name-defined,misc]
        pass

    model: Any = Sampler(network, shifted=True)
    prompt = prompts(case)
    settings = utilities.DreamGenerationConfig(
        steps=case.steps,
        alg=case.order,
        temperature=case.temperature,
        top_p=case.top_p if case.top_p < 1 else None,
        max_length=PROMPT + case.length,
        mask_token_id=case.vocabulary,
    )

    @torch.no_grad()
    def call() -> Tensor:
        found: Tensor = model._sample(
            prompt, None, settings, lambda step, tokens, logits: tokens, lambda step, tokens, logits: logits
        )
        return found

    return call


def _dllm_modules(folder: Path) -> tuple[ModuleType, ModuleType]:
    """Their samplers, without the packages around them, which import training libraries."""
    for name in ("dllm", "dllm.core", "dllm.pipelines", "dllm.pipelines.dream", "dllm.pipelines.dream.models"):
        package = ModuleType(name)
        package.__path__ = [str(folder / name.replace(".", "/"))]
        sys.modules[name] = package
    import importlib

    return importlib.import_module("dllm.core.samplers.mdlm"), importlib.import_module("dllm.pipelines.dream.sampler")


def _dllm(samplers: ModuleType, dreams: ModuleType, case: Case, network: AnyNetwork) -> Call:
    words = SimpleNamespace(mask_token_id=case.vocabulary, bos_token_id=0, eos_token_id=0)
    inputs = list(prompts(case))
    if case.order == "entropy":
        sampler = dreams.DreamSampler(model=AsPeer(network, shifted=True), tokenizer=words)
        config = dreams.DreamSamplerConfig(
            max_new_tokens=case.length,
            steps=case.steps,
            alg="entropy",
            temperature=case.temperature,
            top_p=case.top_p,
            top_k=None,
        )
    else:
        sampler = samplers.MDLMSampler(model=AsPeer(network), tokenizer=words)
        config = samplers.MDLMSamplerConfig(
            max_new_tokens=case.length,
            block_size=case.length,
            steps=case.steps,
            temperature=float(case.temperature),
            remasking="low_confidence" if case.order == "confidence" else "random",
        )
    return lambda: sampler.sample(inputs, config)


def _mdlm_module(folder: Path) -> ModuleType:
    """Their module, with empty ones in place of the training libraries and networks that it imports."""

    class Module(nn.Module):
        device = torch.device("cpu")

    def empty(name: str, **contents: object) -> ModuleType:
        module = ModuleType(name)
        module.__dict__.update(contents)
        return module

    metric = types.SimpleNamespace(MeanMetric=object)
    stubs = {
        "lightning": empty("lightning", LightningModule=Module),
        "torchmetrics": empty("torchmetrics", aggregation=metric),
        "hydra": empty("hydra"),
        **{name: empty(name) for name in ("hydra.utils", "dataloader", "models", "utils")},
    }
    with patch.dict(sys.modules, stubs):
        imported(folder / "noise_schedule.py", "noise_schedule")
        return imported(folder / "diffusion.py", "peer_mdlm")


def _mdlm(diffusion: ModuleType, case: Case, network: AnyNetwork) -> Call:
    """Their loop ``ddpm_cache`` with its last step, at the settings of their config."""

    class Loop(diffusion.Diffusion):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.config = SimpleNamespace(
                loader=SimpleNamespace(eval_batch_size=case.rows),
                model=SimpleNamespace(length=case.length),
                sampling=SimpleNamespace(steps=case.steps, noise_removal=True),
                noise=SimpleNamespace(type="loglinear"),
            )
            self.parameterization, self.sampler, self.time_conditioning = "subs", "ddpm_cache", False
            self.mask_index, self.neg_infinity = case.vocabulary, -1000000.0
            self.noise = diffusion.noise_schedule.LogLinearNoise()

        def backbone(self, tokens: Tensor, sigma: Tensor) -> Tensor:
            return network.everywhere(tokens, with_mask=True)

    call: Call = Loop()._sample
    return call
