"""Our tokens beside those of peers' own samplers with exported schedules, on small models made from a seed.

    python scripts/compare_exports.py --llada LLADA --fast-dllm FAST_DLLM --dinfer DINFER --dllm DLLM \\
        --output tests/journeys/exported.json

Each folder is a checkout of the peer. Dream's sampler is the copy in dllm. Nothing is fetched, and nothing of theirs is
kept but the tokens. Everything is float32 at temperature 0; random weights give no ties. Each format runs in a process
of its own, because the peers' modules have the same names. The recorded tokens are what the tests compare with.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mdm_tune.config.sampler import SamplerConfig
from mdm_tune.evaluation.settings import Sampler
from mdm_tune.exports.peer_tools import module_of, packages, stand_in
from mdm_tune.exports.policy import read_policy
from mdm_tune.exports.registry import FORMATS
from mdm_tune.sampling.unmasking import CountPlan, unmask
from scripts.compare_peers import PROMPT, ROWS, SYMBOLS, AsPeer, compared, network, prompts

SCHEDULES = [  # schedule, tokens, block length, steps
    ("beta:0.7,1.2", 24, 24, 6),
    ("squared-sine", 32, 32, 8),
    ("beta:0.4,0.9", 24, 8, 9),
    ("counts:9,0,5,6,4", 24, 24, 5),
    ("counts:3,5,8,2,3,3", 24, 8, 6),
]
PEERS = ("llada", "fast-dllm", "dinfer", "dllm", "dream")
Case = dict[str, Any]


def cases() -> list[Case]:
    """Each schedule in each format that can express it."""
    found = []
    for peer in PEERS:
        for seed, (schedule, tokens, block, steps) in enumerate(SCHEDULES):
            equal = not schedule.startswith("counts") or block == tokens
            if {"none": block == tokens, "equal": equal, "any": True}[FORMATS[peer].blocks]:
                common = {"schedule": schedule, "tokens": tokens, "block_length": block, "steps": steps}
                found.append({"peer": peer, "seed": 200 + seed, **common})
    return found


def described(case: Case) -> str:
    return f"{case['peer']}, {case['schedule']}, {case['tokens']} tokens in blocks of {case['block_length']}"


def ours(case: Case) -> Tensor:
    """What this package draws, (rows, prompt + tokens)."""
    model, prompt = network(case["seed"]), prompts(case["seed"], len(SYMBOLS))
    policy = read_policy(case["schedule"], case["steps"], case["tokens"], case["block_length"])
    sampler = Sampler(SamplerConfig(steps=(1,), order="confidence", temperature=0.0, batch=ROWS))
    start = torch.cat([prompt, torch.full((ROWS, case["tokens"]), model.mask_id)], dim=1)
    counts = torch.tensor([policy.padded] * ROWS)
    blocks = ((start == model.mask_id).cumsum(1) - 1) // case["block_length"] if policy.blocks > 1 else None
    seeds = np.arange(ROWS, dtype=np.uint64)
    plan = CountPlan(counts)
    return unmask(model, start, plan, seeds=seeds, drawing=sampler.drawing, blocks=blocks).tokens


def theirs(case: Case, folder: Path, exported: Path) -> Tensor:
    """What the peer's own sampler draws with the exported file."""
    model, prompt = network(case["seed"]), prompts(case["seed"], len(SYMBOLS))
    policy = read_policy(case["schedule"], case["steps"], case["tokens"], case["block_length"])
    ((name, text),) = FORMATS[case["peer"]].export(policy).files.items()
    (exported / name).write_text(text, encoding="utf-8")
    make = {"llada": of_llada, "fast-dllm": of_fast_dllm, "dinfer": of_dinfer, "dllm": of_dllm, "dream": of_dream}
    tokens: Tensor = make[case["peer"]](folder, exported / name, AsPeer(model), prompt.clone(), case, model.mask_id)
    return tokens


def sizes_of(case: Case, module: Any) -> dict[str, int]:
    return {"steps": module.STEPS, "gen_length": case["tokens"], "block_length": case["block_length"]}


def of_llada(folder: Path, file: Path, model: nn.Module, prompt: Tensor, case: Case, mask: int) -> Tensor:
    peer, exported = module_of(folder / "generate.py", "generate"), module_of(file, "exported")
    exported.install(peer)
    everything = torch.ones_like(prompt)
    found: Tensor = peer.generate(model, prompt, everything, mask_id=mask, **sizes_of(case, exported))
    return found


def of_fast_dllm(folder: Path, file: Path, model: nn.Module, prompt: Tensor, case: Case, mask: int) -> Tensor:
    stand_in("model.modeling_llada", always=True)
    peer, exported = module_of(folder / "llada" / "generate.py", "generate"), module_of(file, "exported")
    exported.install(peer)
    rows = [peer.generate(model, row[None], mask_id=mask, **sizes_of(case, exported))[0] for row in prompt]
    return torch.cat(rows)


def of_dinfer(folder: Path, file: Path, model: nn.Module, prompt: Tensor, case: Case, mask: int) -> Tensor:
    packages(folder / "python", "dinfer", "dinfer.decoding")
    uniform = importlib.import_module("dinfer.decoding.generate_uniform")
    utils = importlib.import_module("dinfer.decoding.utils")
    decoder = module_of(file, "exported").CountsDecoder(mask_id=mask, eos_id=-1)
    llm = uniform.BlockWiseDiffusionLLM(model, decoder, utils.BlockIteratorFactory())
    sizes = {"gen_length": case["tokens"], "block_length": case["block_length"]}
    return torch.cat([llm.generate(row[None], **sizes) for row in prompt])


def of_dllm(folder: Path, file: Path, model: nn.Module, prompt: Tensor, case: Case, mask: int) -> Tensor:
    sys.path.insert(0, str(folder))
    packages(folder, "dllm", "dllm.core", "dllm.core.samplers")
    peer, exported = importlib.import_module("dllm.core.samplers.mdlm"), module_of(file, "exported")
    tokenizer = SimpleNamespace(mask_token_id=mask, bos_token_id=0, eos_token_id=1)
    sampler = peer.MDLMSampler(model=model, tokenizer=tokenizer, scheduler=exported.MdmTuneAlphaScheduler())
    sizes = {"max_new_tokens": case["tokens"], "block_size": case["block_length"], "steps": exported.STEPS}
    found: Tensor = sampler.sample(list(prompt), peer.MDLMSamplerConfig(**sizes))
    return found


def of_dream(folder: Path, file: Path, model: nn.Module, prompt: Tensor, case: Case, mask: int) -> Tensor:
    place = folder / "dllm" / "pipelines" / "dream" / "models" / "generation_utils.py"
    peer, exported = module_of(place, "generation_utils"), module_of(file, "exported")
    made = type("Model", (AsPeer, peer.DreamGenerationMixin), {})(model.model, shifted=True)
    exported.install(made)
    settings = peer.DreamGenerationConfig(
        steps=exported.STEPS, alg="maskgit_plus", max_length=PROMPT + case["tokens"], mask_token_id=mask
    )
    found: Tensor = made._sample(prompt, None, settings, lambda _, x, __: x, lambda _, __, logits: logits)
    return found


def one_peer(name: str, folder: Path, output: Path) -> bool:
    """Run the cases of one peer in this process, and write them with the peer's tokens."""
    kept, equal = [], True
    with tempfile.TemporaryDirectory() as exported:
        for case in (case for case in cases() if case["peer"] == name):
            drawn = theirs(case, folder, Path(exported))
            equal = compared(described(case), drawn, ours(case)) and equal
            kept.append({**case, "drawn": drawn[:, PROMPT:].tolist()})
    output.write_text(json.dumps(kept), encoding="utf-8")
    return equal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("llada", "fast-dllm", "dinfer", "dllm"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--output", type=Path, help="where the peers' tokens are recorded")
    parser.add_argument("--only", choices=PEERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    folders = {"llada": given.llada, "fast-dllm": given.fast_dllm, "dinfer": given.dinfer, "dllm": given.dllm}
    folders["dream"] = given.dllm
    if given.only is not None:
        return 0 if one_peer(given.only, folders[given.only], given.output) else 1
    kept, failed = [], False
    with tempfile.TemporaryDirectory() as folder:
        for name in PEERS:
            output = Path(folder, f"{name}.json")
            words = [sys.executable, "-m", "scripts.compare_exports", *sys.argv[1:]]
            done = subprocess.run([*words, "--output", str(output), "--only", name], check=False)
            failed = failed or done.returncode != 0
            kept += json.loads(output.read_text("utf-8"))
    if given.output is not None:
        given.output.write_text(json.dumps(kept) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
