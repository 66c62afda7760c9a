"""Our tokens beside those of LLaDA's and Dream's own samplers, token for token, on small models made from a seed.

    python scripts/compare_peers.py --llada LLADA --dream DREAM --output tests/journeys/peers.json
    python scripts/compare_peers.py --llada LLADA --llada-model MODEL      (with transformers 4.46)

LLADA is a checkout of LLaDA, with generate.py; DREAM a folder that holds Dream's generation_utils.py; MODEL one that
holds modeling_llada.py and configuration_llada.py. Nothing is fetched, and nothing of theirs is kept but the tokens.

Everything is float32 at temperature 0. The peers' torch.topk leaves the order of ties open, ours goes to the lowest
position; random weights give no ties. The recorded tokens are what the tests compare with.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mdm_tune.config.sampler import SamplerConfig
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.guidance import Guided
from mdm_tune.denoisers.transformer import Transformer, TransformerConfig
from mdm_tune.evaluation.settings import Sampler, Setting, plan_of
from mdm_tune.sampling.unmasking import CountPlan, unmask
from mdm_tune.schedules.curves import Linear

SYMBOLS = "".join(chr(97 + i) for i in range(26)) + "ABCDEF"
ROWS, PROMPT = 8, 5
LLADA_CASES = [  # generated tokens, block length, steps, guidance
    (24, 24, 6, 0.0),
    (24, 24, 7, 0.0),
    (24, 24, 24, 0.0),
    (24, 8, 9, 0.0),
    (24, 8, 15, 0.0),
    (30, 10, 12, 0.0),
    (24, 24, 5, 1.5),
    (24, 8, 9, 0.5),
    (32, 8, 12, 2.0),
]
DREAM_CASES = [  # generated tokens, steps, rule
    (tokens, steps, rule)
    for tokens, steps in ((24, 5), (24, 7), (32, 8), (16, 24))
    for rule in ("maskgit_plus", "topk_margin", "entropy")
]
ORDERS = {"low_confidence": "confidence", "maskgit_plus": "confidence", "topk_margin": "margin", "entropy": "entropy"}
Case = dict[str, Any]


def network(seed: int) -> Transformer:
    """A small bidirectional transformer with weights large enough that its predictions differ everywhere."""
    model = Transformer(TransformerConfig(symbols=SYMBOLS, length=64, width=32, depth=2, heads=4))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0.0, 2.0 / weight.shape[-1] ** 0.5, generator=generator)
    return model.eval().requires_grad_(False)


def prompts(seed: int, vocabulary: int) -> Tensor:
    return torch.randint(vocabulary, (ROWS, PROMPT), generator=torch.Generator().manual_seed(seed + 1000))


def ours(denoiser: Denoiser, prompt: Tensor, case: Case) -> Tensor:
    """What this package draws with the peer's own counts."""
    length = case["tokens"]
    block = case["block_length"]
    order: Any = ORDERS[case["rule"]]
    sampler = Sampler(SamplerConfig(steps=(1,), order=order, temperature=0.0, batch=ROWS))
    schedule = Linear("llada" if case["peer"] == "llada" else "dream")
    setting = Setting.of(schedule, case["steps"], length, sampler, block_length=block or length)
    hidden = torch.full((len(prompt), length), denoiser.mask_id)
    start = torch.cat([prompt, hidden], dim=1)
    plan = plan_of([setting], torch.full((len(prompt),), length), sampler)
    assert isinstance(plan, CountPlan)
    blocks = None if block is None else ((start == denoiser.mask_id).cumsum(1) - 1) // block
    return unmask(
        Guided(denoiser, case["guidance"], length) if case["guidance"] else denoiser,
        start,
        plan,
        seeds=np.arange(len(prompt), dtype=np.uint64),
        drawing=sampler.drawing,
        blocks=blocks,
    ).tokens


class AsPeer(nn.Module):
    """The network in the form that the peers call; ``shifted``: position i is predicted by the output at i - 1."""

    def __init__(self, model: Transformer, shifted: bool = False) -> None:
        super().__init__()
        self.model, self.shifted = model, shifted
        self.device = torch.device("cpu")

    def forward(self, tokens: Tensor, attention_mask: object = None, positions: object = None) -> SimpleNamespace:
        logits = self.model(tokens, torch.ones_like(tokens, dtype=torch.bool)).view(*tokens.shape, -1)
        if self.shifted:
            logits = torch.cat([logits[:, 1:], logits[:, -1:]], dim=1)
        return SimpleNamespace(logits=logits)


class WithoutMask(nn.Module):
    """The peer's model with the mask as good as excluded: its sampler counts it in the softmax, ours never draws it.

    A trained model gives it next to nothing; one with random weights gives it as much as any other token.
    """

    def __init__(self, model: nn.Module, mask_id: int) -> None:
        super().__init__()
        self.model, self.mask_id = model, mask_id
        self.device = torch.device("cpu")

    def forward(self, tokens: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        logits = self.model(tokens, attention_mask=attention_mask).logits
        logits[..., self.mask_id] = -1e4  # finite, because their guidance subtracts it from itself
        return SimpleNamespace(logits=logits)


def imported(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def llada_tokens(generate: Any, model: nn.Module, mask_id: int, prompt: Tensor, case: Case) -> Tensor:
    found: Tensor = generate(
        model,
        prompt,
        attention_mask=torch.ones_like(prompt),  # without it their guidance fails
        steps=case["steps"],
        gen_length=case["tokens"],
        block_length=case["block_length"] or case["tokens"],
        temperature=0.0,
        cfg_scale=case["guidance"],
        remasking=case["rule"],
        mask_id=mask_id,
    )
    return found


def llada_cases() -> Iterator[Case]:
    for seed, (tokens, block, steps, guidance) in enumerate(LLADA_CASES):
        yield {
            "peer": "llada",
            "seed": seed,
            "tokens": tokens,
            "block_length": None if block == tokens else block,
            "steps": steps,
            "guidance": guidance,
            "rule": "low_confidence",
        }


def dream_cases() -> Iterator[Case]:
    for seed, (tokens, steps, rule) in enumerate(DREAM_CASES):
        common = {"peer": "dream", "block_length": None, "guidance": 0.0}
        yield {**common, "seed": 100 + seed, "tokens": tokens, "steps": steps, "rule": rule}


def dream_tokens(utilities: ModuleType, model: nn.Module, mask_id: int, prompt: Tensor, case: Case) -> Tensor:
    """Their sampling method, called on a network of ours."""

    class Sampler(AsPeer, utilities.DreamGenerationMixin):  # type: ignore[name-defined,misc]
        pass

    keep = lambda step, tokens, logits: tokens  # noqa: E731
    settings = utilities.DreamGenerationConfig(
        steps=case["steps"],
        alg=case["rule"],
        temperature=0.0,
        max_length=PROMPT + case["tokens"],
        mask_token_id=mask_id,
    )
    peer: Any = Sampler(model, shifted=True)  # type: ignore[arg-type]
    found: Tensor = peer._sample(prompt, None, settings, keep, lambda step, x, logits: logits)
    return found


def compared(name: str, theirs: Tensor, mine: Tensor) -> bool:
    drawn = theirs[:, PROMPT:] == mine[:, PROMPT:]
    print(f"{name}: {int(drawn.sum())} of {drawn.numel()} tokens equal, {int(drawn.all(1).sum())} of {len(drawn)} rows")
    return bool(drawn.all())


def described(case: Case) -> str:
    blocks = "" if case["block_length"] is None else f", blocks of {case['block_length']}"
    guided = f", guidance {case['guidance']}" if case["guidance"] else ""
    return f"{case['peer']} {case['rule']}, {case['tokens']} tokens in {case['steps']} steps{blocks}{guided}"


def on_seeded_networks(generate: Any, utilities: ModuleType | None) -> tuple[list[Case], bool]:
    """Every case with the peer's tokens, and whether all of ours are the same."""
    kept, equal = [], True
    for case in [*llada_cases(), *(dream_cases() if utilities is not None else ())]:
        model = network(case["seed"])
        prompt = prompts(case["seed"], len(SYMBOLS))
        if case["peer"] == "llada":
            theirs = llada_tokens(generate, AsPeer(model), model.mask_id, prompt.clone(), case)
        else:
            assert utilities is not None
            theirs = dream_tokens(utilities, model, model.mask_id, prompt.clone(), case)
        equal = compared(described(case), theirs, ours(model, prompt, case)) and equal
        kept.append({**case, "drawn": theirs[:, PROMPT:].tolist()})
    return kept, equal


def on_the_llada_model(generate: Any, code: Path) -> bool:
    """Their modelling file at a small size, loaded by our Hugging Face denoiser, against their own generate."""
    from transformers import AutoModel, PreTrainedTokenizerFast

    from mdm_tune.config.models import HuggingFaceConfig
    from mdm_tune.denoisers.huggingface import load_huggingface

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("modeling_llada.py", "configuration_llada.py"):
            text = (code / file).read_text(encoding="utf-8")
            (folder / file).write_text(text.replace('init_device = "cuda"', 'init_device = "cpu"'), encoding="utf-8")
        sizes = {"d_model": 64, "n_heads": 4, "n_layers": 2, "mlp_hidden_size": 128, "max_sequence_length": 64}
        words = {"vocab_size": 128, "embedding_size": 128, "eos_token_id": 1, "pad_token_id": 1, "mask_token_id": 127}
        kinds = {"block_type": "llama", "activation_type": "silu", "layer_norm_type": "rms", "rope": True}
        rest = {"include_bias": False, "weight_tying": False, "alibi": False, "flash_attention": False}
        auto = {
            "AutoConfig": "configuration_llada.LLaDAConfig",
            "AutoModel": "modeling_llada.LLaDAModelLM",
            "AutoModelForCausalLM": "modeling_llada.LLaDAModelLM",
        }
        config = {"model_type": "llada", "auto_map": auto, "init_device": "cpu", "use_cache": False}
        (folder / "config.json").write_text(json.dumps(config | sizes | words | kinds | rest))
        tokenizer(folder, PreTrainedTokenizerFast)
        from transformers import AutoConfig

        settings = AutoConfig.from_pretrained(folder, trust_remote_code=True)
        torch.manual_seed(0)  # their constructor draws from the global generator
        made = AutoModel.from_config(settings, trust_remote_code=True)  # type: ignore[no-untyped-call]
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in made.parameters():
                if weight.ndim > 1:
                    weight.normal_(0.0, 2.0 / weight.shape[-1] ** 0.5, generator=generator)
        made.save_pretrained(folder, safe_serialization=True)
        model = AutoModel.from_pretrained(folder, trust_remote_code=True, torch_dtype=torch.float32).eval()
        loaded = load_huggingface(
            HuggingFaceConfig(type="huggingface", path=str(folder), family="llada", mask_token_id=127, dtype="float32"),
            trust_code=True,
        )
        for note in loaded.notes:
            print(f"note: {note}")
        equal = True
        for case in llada_cases():
            prompt = prompts(case["seed"], 100) + 2
            theirs = llada_tokens(generate, WithoutMask(model, 127), 127, prompt.clone(), case)
            mine = ours(loaded.denoiser, prompt, case)
            equal = compared(f"modeling_llada.py, {described(case)}", theirs, mine) and equal
        return equal


def tokenizer(folder: Path, kind: Any) -> None:
    """One word per token, so that a checkpoint has what a loader looks for."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<unk>", "<end>", *(f"w{number}" for number in range(2, 127)), "<mask>"]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    kind(tokenizer_object=made, unk_token="<unk>", eos_token="<end>", pad_token="<end>").save_pretrained(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llada", type=Path, required=True, help="holds generate.py")
    parser.add_argument("--dream", type=Path, help="holds generation_utils.py")
    parser.add_argument("--llada-model", type=Path, help="holds modeling_llada.py; needs transformers 4.46")
    parser.add_argument("--output", type=Path, help="where the peers' tokens are recorded")
    given = parser.parse_args()
    generate = imported(given.llada / "generate.py", "peer_llada").generate
    if given.llada_model is not None:
        return 0 if on_the_llada_model(generate, given.llada_model) else 1
    utilities = None if given.dream is None else imported(given.dream / "generation_utils.py", "peer_dream")
    kept, equal = on_seeded_networks(generate, utilities)
    if given.output is not None:
        given.output.write_text(json.dumps(kept) + "\n", encoding="utf-8")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
