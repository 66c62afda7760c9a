"""The samplers of other projects and ours on the same small networks, and what each of them did at every call.

scripts/peer_parity.py compares the results. Each peer is imported from a local checkout. Weights come from a seed.
"""

from __future__ import annotations

import importlib
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from compare_peers import imported
from peer_networks import PROMPT, Network
from torch import Tensor, nn
from torch.nn import functional as F

from mdm_tune.denoisers.guidance import Guided
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.plans import CountPlan, KlassPlan, Plan, RevealPlan, ThresholdPlan
from mdm_tune.sampling.unmasking import Step, unmask
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Linear

FORBIDDEN = -1e4  # logit of a token that a peer shall not draw; finite, because their guidance subtracts it from itself
ORDERS = {
    "low_confidence": "confidence",
    "threshold": "confidence",
    "klass": "confidence",
    "maskgit_plus": "confidence",
    "topk_margin": "margin",
    "entropy": "entropy",
    "random": "random",
    "origin": "random",
}


@dataclass(frozen=True)
class Case:
    """One setting of one peer.

    Attributes:
        peer: ``LLaDA``, ``Dream``, ``dllm`` (its ``MDLMSampler``), ``dllm Dream``, ``Fast-dLLM``, ``KLASS`` (its code
            for LLaDA) or ``KLASS Dream``.
        rule: a key of ``ORDERS``, as the peer calls it.
        length: positions to fill.
        block: positions per block.
        steps: of all blocks together.
        vocabulary: columns of the logits.
        inside: whether one column is the mask's; otherwise the mask's id is the first one beyond them.
        counted: whether the peer sees the mask's own logit.
        seed: of weights and prompts.
        padded: whether the prompts have different lengths.
        alike: whether all rows have one prompt.
        cache: Fast-dLLM's ``prefix`` or ``dual``.
        trained: steps of training before the comparison.
        stable: whether the peer's ``torch.topk`` gives ties to the lowest position, as ours does.
    """

    peer: str
    rule: str
    length: int
    block: int
    steps: int
    vocabulary: int = 27
    inside: bool = False
    counted: bool = False
    seed: int = 0
    rows: int = 1
    guidance: float = 0.0
    threshold: float = 0.0
    kl: float = 0.0
    temperature: float = 0.0
    top_p: float = 1.0
    alg_temp: float = 0.0
    padded: bool = False
    alike: bool = False
    cache: str = ""
    layers: int = 2
    dtype: torch.dtype = torch.float32
    trained: int = 0
    stable: bool = False

    @property
    def mask_id(self) -> int:
        return 2 * self.vocabulary // 3 if self.inside else self.vocabulary

    @property
    def replayed(self) -> bool:
        """Whether ours takes over the peer's drawn tokens, and only the order is compared."""
        return self.temperature > 0


class Ours:
    """The network as a denoiser of this package; the mask is never drawn, as for every model that the package loads."""

    def __init__(self, network: Network, case: Case) -> None:
        self.network, self.dtype = network, case.dtype
        self.vocab_size, self.mask_id, self.calls = case.vocabulary, case.mask_id, 0

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = self.network(tokens, torch.arange(tokens.shape[1]))[wanted].to(self.dtype)
        if self.mask_id < self.vocab_size:
            logits[:, self.mask_id] = -torch.inf
        return logits


def denoiser_of(case: Case, network: Network) -> Ours | Guided:
    """The denoiser with the guidance of the case."""
    denoiser = Ours(network, case)
    return Guided(denoiser, case.guidance, case.length) if case.guidance else denoiser


class EndlessError(Exception):
    """The peer's loop does not end."""


class Asked(nn.Module):
    """The network in the form that a peer calls, which remembers all calls.

    Attributes:
        states: the tokens (rows, length) of each call, without those of the branch without prompt.
        mask_share: sum and number of the mask's own probabilities at masked positions.
    """

    def __init__(self, network: Network, case: Case, *, shifted: bool) -> None:
        super().__init__()
        self.network, self.case, self.shifted = network, case, shifted
        self.device = torch.device("cpu")
        self.states: list[Tensor] = []
        self.mask_share = [0.0, 0]

    def forward(
        self,
        tokens: Tensor,
        attention_mask: object = None,
        positions: object = None,
        *,
        past_key_values: list[tuple[Tensor, Tensor]] | None = None,
        use_cache: bool = False,
        replace_position: Tensor | None = None,
    ) -> SimpleNamespace:
        at = torch.arange(tokens.shape[1])
        if replace_position is not None:
            at = replace_position[0].nonzero().squeeze(1)
        elif past_key_values is not None:
            at = at + past_key_values[0][0].shape[2]
        self._remember(tokens, at, whole=past_key_values is None)
        if isinstance(attention_mask, Tensor):
            tokens = tokens.masked_fill(attention_mask == 0, -1)
        logits = self.network(tokens, at, past_key_values, replace_position).to(self.case.dtype)
        if self.case.inside and not self.case.counted:
            logits[..., self.case.mask_id] = FORBIDDEN
        elif self.case.inside:
            shares = logits.softmax(-1)[..., self.case.mask_id][tokens == self.case.mask_id]
            self.mask_share = [self.mask_share[0] + float(shares.sum()), self.mask_share[1] + shares.numel()]
        if self.shifted:
            logits = torch.cat([logits[:, 1:], logits[:, -1:]], dim=1)
        return SimpleNamespace(logits=logits, past_key_values=self.network.kept)

    def _remember(self, tokens: Tensor, at: Tensor, *, whole: bool) -> None:
        if len(self.states) > 100 + 2 * self.case.length:
            raise EndlessError
        rows = tokens[: self.case.rows]
        self.states.append(rows.clone() if whole else self.states[-1].index_copy(1, at, rows))


@dataclass(frozen=True)
class Trace:
    """What a sampler did.

    Attributes:
        tokens: (rows, length) at the end.
        step_of: (rows, length) the step of its row, among those that reveal something, that revealed a position; -1
            where none did.
        steps: (rows,) steps that revealed something.
        calls: of the model; a guided call counts once.
        empty: calls that revealed nothing in any row.
        ended: whether the sampler came to its end.
        mask_share: mean probability of the mask's own logit at masked positions; NaN where there is none.
    """

    tokens: Tensor
    step_of: Tensor
    steps: Tensor
    calls: int
    empty: int
    ended: bool = True
    mask_share: float = math.nan

    @staticmethod
    def of(states: list[Tensor], mask_id: int, **more: Any) -> Trace:
        """From the tokens before each call and after the last."""
        step_of, empty = torch.full_like(states[0], -1), 0
        steps = torch.zeros(len(step_of), dtype=torch.int64)
        for before, after in itertools.pairwise(states):
            shown = (before == mask_id) & (after != mask_id)
            step_of = torch.where(shown, steps[:, None], step_of)
            steps = steps + shown.any(1)
            empty += not bool(shown.any())
        return Trace(states[-1], step_of, steps, len(states) - 1, empty, **more)


def prompts(case: Case) -> list[Tensor]:
    """Visible tokens of each row, never the mask."""
    generator = torch.Generator().manual_seed(case.seed + 1000)
    size = (1 if case.alike else case.rows, PROMPT)
    drawn = torch.randint(case.vocabulary - case.inside, size, generator=generator).expand(case.rows, -1)
    drawn = drawn + (drawn >= case.mask_id).long()
    return [row[: PROMPT - number % 3 if case.padded else PROMPT] for number, row in enumerate(drawn)]


def start(case: Case) -> Tensor:
    """Prompts and masked positions; -1 at padding, which LLaDA puts before the prompt and dllm at the end."""
    rows = [torch.cat([prompt, torch.full((case.length,), case.mask_id)]) for prompt in prompts(case)]
    size = max(len(row) for row in rows)
    sides = [(size - len(row), 0) if case.peer == "LLaDA" else (0, size - len(row)) for row in rows]
    return torch.stack([F.pad(row, side, value=-1) for row, side in zip(rows, sides, strict=True)])


def plan_of(case: Case) -> Plan:
    """The peer's counts by the names that this package gives them."""
    if case.rule == "threshold":
        return ThresholdPlan(torch.full((case.rows,), case.threshold, dtype=torch.float64))
    if case.rule == "klass":
        threshold, kl = (torch.full((case.rows,), value, dtype=torch.float64) for value in (case.threshold, case.kl))
        return KlassPlan(threshold, kl)
    if case.rule == "origin":
        alphas = 1 - torch.linspace(1, 1e-3, case.steps + 1, dtype=torch.float64)
        alphas[-1] = 1
        return RevealPlan(alphas.expand(case.rows, -1))
    names = {"LLaDA": "llada", "Fast-dLLM": "llada", "Dream": "dream"}
    schedule = Linear(names.get(case.peer, "dllm"))  # type: ignore[arg-type]
    blocks = math.ceil(case.length / case.block)
    widths = [min(case.block, case.length - number * case.block) for number in range(blocks)]
    counts = [to_counts(schedule, math.ceil(case.steps / blocks), width) for width in widths]
    return CountPlan(torch.tensor(counts).expand(case.rows, -1, -1))


def drawing_of(case: Case) -> Drawing:
    """How the peer draws and ranks."""
    return Drawing(
        order=ORDERS[case.rule],  # type: ignore[arg-type]
        temperature=case.temperature,
        top_p=case.top_p,
        confidence_temperature=case.alg_temp,
        tempered_scores="Dream" in case.peer and ORDERS[case.rule] != "random",
    )


def ours(case: Case, network: Network, reference: Tensor | None = None) -> Trace:
    """This package's sampler, with the tokens of a reference where there is one."""
    tokens, states = start(case), []
    hidden = tokens == case.mask_id

    def on_step(step: Step) -> None:
        states.append(step.tokens)

    denoiser = denoiser_of(case, network)
    unmask(
        denoiser,
        tokens,
        plan_of(case),
        seeds=np.arange(case.rows, dtype=np.uint64),
        drawing=drawing_of(case),
        blocks=None if case.rule == "origin" else (hidden.long().cumsum(1) - 1) // case.block,
        batch=max(case.rows, 1),
        reference=reference,
        on_step=on_step,
    )
    inner = denoiser.denoiser if isinstance(denoiser, Guided) else denoiser
    assert isinstance(inner, Ours)
    return replace(Trace.of([tokens, *states], case.mask_id), calls=inner.calls // (2 if case.guidance else 1), empty=0)


class Peers:
    """The peers' modules, from folders that may be None.

    Args:
        llada: holds ``generate.py``.
        dream: holds Dream's ``generation_utils.py``.
        dllm: holds the folder ``dllm``.
        fast: holds Fast-dLLM's ``llada/generate.py``.
    """

    def __init__(self, llada: Path | None, dream: Path | None, dllm: Path | None, fast: Path | None) -> None:
        self.callers: dict[str, Callable[[Case, Asked], Tensor]] = {}
        if llada is not None:
            generate = imported(llada / "generate.py", "peer_llada").generate
            self.callers["LLaDA"] = lambda case, asked: _llada(generate, case, asked)
        if dream is not None:
            utilities = imported(dream / "generation_utils.py", "peer_dream")
            self.callers["Dream"] = lambda case, asked: _dream(utilities, case, asked)
        if dllm is not None:
            samplers, dreams = dllm_modules(dllm)
            self.callers["dllm"] = lambda case, asked: _dllm(samplers, case, asked)
            self.callers["dllm Dream"] = lambda case, asked: _dllm_dream(dreams, case, asked)
        if fast is not None:
            stub = ModuleType("model.modeling_llada")
            stub.LLaDAModelLM = None  # type: ignore[attr-defined]
            with patch.dict(sys.modules, {"model": ModuleType("model"), "model.modeling_llada": stub}):
                fast_module = imported(fast / "llada" / "generate.py", "peer_fast")
            self.callers["Fast-dLLM"] = lambda case, asked: _fast(fast_module, case, asked)

    def trace(self, case: Case, network: Network, mine: Trace | None) -> Trace:
        """The peer's run. Where positions are random, it gets the coins with which ours reveals them (``mine``)."""
        asked = Asked(network, case, shifted="Dream" in case.peer)
        ended = True
        with torch.no_grad(), _coins(case, asked, mine), _stable(case):
            try:
                tokens = self.callers[case.peer](case, asked)
            except (EndlessError, IndexError):  # Fast-dLLM, where the mask itself was drawn
                ended, tokens = False, asked.states[-1]
        total, number = asked.mask_share
        share = total / number if number else math.nan
        return Trace.of([*asked.states, tokens], case.mask_id, ended=ended, mask_share=share)


@contextmanager
def _coins(case: Case, asked: Asked, mine: Trace | None) -> Iterator[None]:
    """Uniform numbers that reveal the positions which ours revealed, in place of the peer's own."""
    if mine is None or ORDERS[case.rule] != "random":
        yield
        return

    def rand(*shape: Any, **options: object) -> Tensor:
        if case.rule == "random":  # the peer reveals the positions with the largest numbers
            return -mine.step_of.double()
        hidden = asked.states[-1] == case.mask_id
        # Below the probability of its step at the positions that are revealed, and above it elsewhere.
        step = _numbered(case, mine)
        return torch.where(step == len(asked.states) - 1, 0.0, 1.0)[hidden]

    with patch.object(torch, "rand", rand):
        yield


@contextmanager
def _stable(case: Case) -> Iterator[None]:
    """``torch.topk`` with ties to the lowest position, where the case asks for it."""

    def topk(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
        best, order = values.sort(dim=-1, descending=True, stable=True)
        return best[..., : int(k)], order[..., : int(k)]

    if not case.stable:
        yield
        return
    with patch.object(torch, "topk", topk):
        yield


def _numbered(case: Case, mine: Trace) -> Tensor:
    """The number of the step (rows, length), empty ones counted, at which ours reveals a position of ``origin``."""
    from mdm_tune.core.seeding import noise

    plan = plan_of(case)
    assert isinstance(plan, RevealPlan)
    once = torch.from_numpy(noise(np.arange(case.rows, dtype=np.uint64), "position", 0, mine.tokens.shape[1]))
    return torch.searchsorted(plan.alphas[:, 1:].contiguous(), once, right=True)


def dllm_modules(folder: Path) -> tuple[ModuleType, ModuleType]:
    """dllm's samplers, without the packages around them, which import training libraries."""
    for name in ("dllm", "dllm.core", "dllm.pipelines", "dllm.pipelines.dream", "dllm.pipelines.dream.models"):
        package = ModuleType(name)
        package.__path__ = [str(folder / name.replace(".", "/"))]
        sys.modules[name] = package
    return importlib.import_module("dllm.core.samplers.mdlm"), importlib.import_module("dllm.pipelines.dream.sampler")


def _llada(generate: Any, case: Case, asked: Asked) -> Tensor:
    tokens = start(case)[:, : -case.length]
    found: Tensor = generate(
        asked,
        tokens.clamp(min=0),
        attention_mask=(tokens >= 0).long(),  # without it their guidance fails
        steps=case.steps,
        gen_length=case.length,
        block_length=case.block,
        temperature=case.temperature,
        cfg_scale=case.guidance,
        remasking=case.rule,
        mask_id=case.mask_id,
    )
    return found


def _dream(utilities: Any, case: Case, asked: Asked) -> Tensor:
    settings = utilities.DreamGenerationConfig(
        steps=case.steps,
        alg=case.rule,
        temperature=case.temperature,
        top_p=case.top_p if case.top_p < 1 else None,
        alg_temp=case.alg_temp or None,
        max_length=PROMPT + case.length,
        mask_token_id=case.mask_id,
    )

    class Sampler(utilities.DreamGenerationMixin):  # type: ignore[misc]
        device = torch.device("cpu")

        def __call__(self, *given: Any) -> SimpleNamespace:
            found: SimpleNamespace = asked(*given)
            return found

    prompt, keep = torch.stack(prompts(case)), lambda step, tokens, logits: tokens
    found: Tensor = Sampler()._sample(prompt, None, settings, keep, lambda step, tokens, logits: logits)
    return found


def _words(case: Case) -> SimpleNamespace:
    return SimpleNamespace(mask_token_id=case.mask_id, bos_token_id=0, eos_token_id=0)


def _dllm(samplers: Any, case: Case, asked: Asked) -> Tensor:
    config = samplers.MDLMSamplerConfig(
        max_new_tokens=case.length,
        block_size=case.block,
        steps=case.steps,
        temperature=case.temperature,
        remasking=case.rule,
        cfg_scale=case.guidance,
    )
    found: Tensor = samplers.MDLMSampler(model=asked, tokenizer=_words(case)).sample(prompts(case), config)
    return found


def _dllm_dream(dreams: Any, case: Case, asked: Asked) -> Tensor:
    config = dreams.DreamSamplerConfig(
        max_new_tokens=case.length,
        steps=case.steps,
        alg=case.rule,
        temperature=case.temperature,
        top_p=case.top_p,
        top_k=None,
        alg_temp=case.alg_temp,
    )
    found: Tensor = dreams.DreamSampler(model=asked, tokenizer=_words(case)).sample(prompts(case), config)
    return found


def _fast(module: Any, case: Case, asked: Asked) -> Tensor:
    names = {"": "generate", "prefix": "generate_with_prefix_cache", "dual": "generate_with_dual_cache"}
    found, calls = getattr(module, names[case.cache])(
        asked,
        torch.stack(prompts(case)),
        steps=case.steps,
        gen_length=case.length,
        block_length=case.block,
        temperature=case.temperature,
        remasking="low_confidence" if case.rule == "threshold" else case.rule,
        mask_id=case.mask_id,
        threshold=case.threshold if case.rule == "threshold" else None,
    )
    assert calls == len(asked.states)  # their own count of calls
    tokens: Tensor = found
    return tokens
