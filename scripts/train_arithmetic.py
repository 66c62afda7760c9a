"""Train the bundled task model: a masked diffusion model that calculates from left to right.

    python scripts/train_arithmetic.py --work build/arithmetic
    python scripts/train_arithmetic.py --work build/arithmetic --export mdm_tune/data/arithmetic

The first command is resumable: it goes on from the last saved step. The second one writes the bundle from the saved
state: checkpoint, model card and the problems of the held-out uses. scripts/arithmetic.py makes the problems.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from arithmetic import END, GENERATION, PROMPT, SYMBOLS, distinct, problems, write_splits
from arithmetic_card import BUDGETS, model_card, scores
from torch import Tensor
from torch.nn import functional as F

from mdm_tune.denoisers.transformer import Transformer, TransformerConfig, save_transformer

CONFIG = TransformerConfig(symbols=SYMBOLS, length=PROMPT + GENERATION, width=96, depth=4, heads=4, end=END)
BATCH = 64
WARMUP = 50
COOLDOWN = 0.5  # share of the steps over which the learning rate falls linearly to zero
AVERAGE = 0.99  # of the weights that are kept at each step; the average is what is exported
MUON, ADAM = 0.02, 3e-3  # peaks of the learning rates


def encode(pairs: list[tuple[str, str]]) -> Tensor:
    """The rows (n, 64) of problems: prompt, answer and end tokens."""
    texts = [prompt + answer.ljust(GENERATION, END) for prompt, answer in pairs]
    return torch.tensor([[SYMBOLS.index(character) for character in text] for text in texts])


def masks(rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What is masked in each row, and which of it counts: two times (n, 64) bool, False in the prompt.

    A third of the rows each:

    - a uniform number of masks at random places;
    - a state of decoding in order of confidence: the beginning of the answer is visible, in half of these rows also
      spaces and end tokens, and in half of them a random part of the rest. Of the results, only the first two that are
      masked count: the later ones can hardly be known;
    - every second result is masked, or two of three, and a random part of the spaces and end tokens. Most of these
      results follow from a visible one before them, so that these rows teach the operations.
    """
    count = len(rows)

    def uniform(columns: int = 1) -> Tensor:
        return torch.rand(count, columns, generator=generator)

    place = torch.arange(GENERATION)
    results = rows[:, PROMPT:] < 10
    anywhere = uniform(GENERATION).argsort(1).argsort(1) < (uniform() * GENERATION).floor() + 1
    later = place >= (uniform() * GENERATION).floor()
    later &= uniform(GENERATION) >= uniform() * (uniform() < 0.5)
    later &= results | (uniform() < 0.5)
    next_two = later & (~results | ((later & results).cumsum(1) <= 2))
    number, first = place // 2, (uniform() * 6).floor().long()
    pattern = torch.where(uniform() < 0.5, (number + first) % 2 == 0, (number + first) % 3 > 0)
    apart = torch.where(results, pattern, uniform(GENERATION) < uniform())
    kind = uniform()
    hidden = torch.where(kind < 1 / 3, anywhere, torch.where(kind < 2 / 3, later, apart))
    counted = torch.where((kind >= 1 / 3) & (kind < 2 / 3), next_two, hidden)
    prompt = torch.zeros(count, PROMPT, dtype=torch.bool)
    return torch.cat([prompt, hidden], dim=1), torch.cat([prompt, counted], dim=1)


def start_heads(model: Transformer) -> None:
    """Let one head of each layer look 32 characters back, where the number of a result is, and the others near by."""
    offset = torch.arange(2 * CONFIG.length - 1) - CONFIG.length + 1.0
    near, wide = -0.5 * offset.abs(), -0.05 * offset.abs()
    heads = torch.stack([near, near - 4.0 * (offset > 0), -0.7 * (offset + PROMPT).abs(), wide])
    with torch.no_grad():
        for block in model.blocks:
            block.get_parameter("bias").copy_(heads)


def optimizers(model: Transformer) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for everything else."""
    inside = [p for name, p in model.named_parameters() if name.startswith("blocks") and name.endswith("weight")]
    others = [p for name, p in model.named_parameters() if not (name.startswith("blocks") and name.endswith("weight"))]
    return [
        torch.optim.Muon(inside, lr=MUON, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=ADAM, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate(step: int, steps: int) -> float:
    """The learning rate's share of its peak: linear warm-up, plateau, linear fall to zero."""
    return min(1.0, (step + 1) / WARMUP, (steps - step) / (COOLDOWN * steps))


def loss_of(model: Transformer, step: int) -> Tensor:
    """The mean cross-entropy over the masked positions that count, in the problems of a step."""
    rows = encode(list(islice(problems("train", 1_000_000 + step), BATCH)))
    hidden, counted = masks(rows, torch.Generator().manual_seed(1_000_000 + step))
    logits = model(rows.masked_fill(hidden, model.mask_id), counted)
    return F.cross_entropy(logits, rows[counted])


def train(args: argparse.Namespace) -> None:
    model, average = Transformer(CONFIG), Transformer(CONFIG)
    start_heads(model)
    average.load_state_dict(model.state_dict())
    optimisers = optimizers(model)
    state: dict[str, Any] = {"step": 0, "seconds": 0.0, "curve": []}
    saved = args.work / "state.pt"
    if saved.is_file():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state.pop("model"))
        average.load_state_dict(state.pop("average"))
        for optimiser, values in zip(optimisers, state.pop("optimisers"), strict=True):
            optimiser.load_state_dict(values)
    args.work.mkdir(parents=True, exist_ok=True)
    watched = distinct("tune", 64)
    mark = time.monotonic()
    while state["step"] < args.steps:
        step = state["step"]
        loss = loss_of(model, step)
        loss.backward()
        for optimiser, peak in zip(optimisers, (MUON, ADAM), strict=True):
            optimiser.param_groups[0]["lr"] = peak * rate(step, args.steps)
            optimiser.step()
            optimiser.zero_grad()
        kept = min(AVERAGE, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, weight in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(weight, 1 - kept)
        state["step"] = step + 1
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            found = scores(average, watched, BUDGETS)
            state["seconds"] += time.monotonic() - mark
            mark = time.monotonic()
            state["curve"].append([step + 1, loss.item(), *(sum(found[steps]) / len(watched) for steps in BUDGETS)])
            print(f"{state['curve'][-1]}  {state['seconds']:.0f} s", flush=True)
            record = {"model": model.state_dict(), "average": average.state_dict()}
            torch.save(
                {**state, **record, "optimisers": [o.state_dict() for o in optimisers]}, saved.with_suffix(".tmp")
            )
            saved.with_suffix(".tmp").replace(saved)


def export(args: argparse.Namespace) -> None:
    state = torch.load(args.work / "state.pt", weights_only=True)
    model = Transformer(CONFIG)
    model.load_state_dict(state["average"])
    model.eval()
    card = {
        "data": "problems of scripts/arithmetic.py",
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": state["step"],
        "batch": BATCH,
        "seconds": round(state["seconds"]),
        "curve_step_loss_and_exact_match_at_4_8_16_and_32_steps": state["curve"],
    }
    save_transformer(model, args.export, card)
    write_splits(args.export)
    (args.export / "README.md").write_text(model_card(model, card, distinct("report", args.report)), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where the resumable state is kept")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--every", type=int, default=250, help="steps between scores and saves")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report", type=int, default=1024, help="problems for the scores of the model card")
    parser.add_argument("--export", type=Path, help="write the bundle here instead of training")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.export:
        export(args)
    else:
        train(args)


if __name__ == "__main__":
    main()
