"""What compiled layers, bfloat16, sorted lengths and larger batches change on the CPU: CPU time and quality.

    python scripts/model_speed.py --part compile    # or bfloat16, lengths, batch

Each part prints a table. The variants of a part run in one process with one thread and take turns; a ratio is the
median over the turns, with the smallest and the largest. docs/models.md and docs/decisions.md show the numbers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mdm_tune.config.file import load_config
from mdm_tune.config.models import TransformerModelConfig
from mdm_tune.core.files import bundled
from mdm_tune.core.statistics import estimate
from mdm_tune.denoisers.loading import load_model
from mdm_tune.denoisers.transformer import Transformer, TransformerConfig, save_transformer
from mdm_tune.run.build import build
from mdm_tune.run.schedule_names import settings_of
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.pieces import LocalPool, UnmaskArguments, divide_unmask, longest_first, results_of
from mdm_tune.sampling.plans import CountPlan
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Linear

CONFIG = Path(__file__).parent.parent / "configs" / "text.yaml"
TURNS = 5
WIDE = TransformerConfig(
    symbols="".join(map(chr, range(0x4E00, 0x4E00 + 1000))), length=128, width=384, depth=6, heads=8
)


def by_turns(variants: Mapping[str, Callable[[], object]], turns: int = TURNS) -> dict[str, list[float]]:
    """CPU seconds of each variant in each turn, after one call of each that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(turns + 1):
        for name, call in variants.items():
            start = time.process_time()
            call()
            if turn:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratio(seconds: Mapping[str, list[float]], first: str, second: str) -> str:
    """The CPU time of the first variant divided by that of the second."""
    ratios = sorted(one / two for one, two in zip(seconds[first], seconds[second], strict=True))
    return f"{ratios[len(ratios) // 2]:.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"


def folders(work: Path) -> dict[str, str]:
    """The bundled text model (1.2 million parameters) and a model of 11 million with random weights."""
    model = Transformer(WIDE)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                weight.normal_(0.0, 0.02, generator=generator)
    save_transformer(model, work / "11M")
    return {"text, 1.2M": "package:text", "11M": str(work / "11M")}


def loaded(path: str, **fields: object) -> Transformer:
    config = TransformerModelConfig.model_validate({"type": "transformer", "path": path, **fields})
    model = load_model(config).denoiser
    assert isinstance(model, Transformer)
    return model


def rows_of(model: Transformer, rows: int) -> tuple[Tensor, Tensor]:
    """Rows of full length, half of their positions hidden."""
    generator = torch.Generator().manual_seed(rows)
    tokens = torch.randint(model.vocab_size, (rows, model.length), generator=generator)
    wanted = torch.rand(tokens.shape, generator=generator) < 0.5
    return tokens.masked_fill(wanted, model.mask_id), wanted


def loading(path: str, cache: Path, compiled: bool) -> float:
    """CPU seconds of a process, with its children, that loads the model."""
    code = (
        "import os, sys, torch; torch.set_num_threads(1)\n"
        "from mdm_tune.config.models import TransformerModelConfig\n"
        "from mdm_tune.denoisers.loading import load_model\n"
        f"load_model(TransformerModelConfig(type='transformer', path={path!r}, compile={compiled}))\n"
    )
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(cache)})
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def compile_part(work: Path) -> None:
    print("| model | rows of a call | eager / compiled | saved per call, ms | calls until it pays: first time, later |")
    print("|---|---|---|---|---|")
    for name, path in folders(work).items():
        cache = work / f"cache-{len(name)}"
        plain = loading(path, cache, compiled=False)
        first, later = (loading(path, cache, compiled=True) - plain for _ in range(2))
        eager, compiled = loaded(path), loaded(path, compile=True)
        for rows in (1, 8, 64):
            call = rows_of(eager, rows)
            with torch.inference_mode():
                seconds = by_turns({"eager": partial(eager, *call), "compiled": partial(compiled, *call)})
                different = float((eager(*call) - compiled(*call)).abs().max())
            saved = float(np.median(np.array(seconds["eager"]) - np.array(seconds["compiled"])))
            pays = f"{first / saved:,.0f}, {later / saved:,.0f}" if saved > 0 else "never"
            print(f"| {name} | {rows} | {ratio(seconds, 'eager', 'compiled')} | {1000 * saved:.1f} | {pays} |")
            print(f"largest difference of a logit: {different:.1e}", file=sys.stderr)
        print(f"{name}: compiling took {first:.1f} CPU s the first time, {later:.1f} with a cache", flush=True)


def bfloat16_part(work: Path) -> None:
    print("| model | rows of a call | float32 / bfloat16 |\n|---|---|---|")
    for name, path in folders(work).items():
        exact, rounded = loaded(path), loaded(path, dtype="bfloat16")
        for rows in (1, 8, 64):
            call = rows_of(exact, rows)
            with torch.inference_mode():
                seconds = by_turns({"float32": partial(exact, *call), "bfloat16": partial(rounded, *call)})
            print(f"| {name} | {rows} | {ratio(seconds, 'float32', 'bfloat16')} |", flush=True)
    values = []
    for dtype in ("float32", "bfloat16"):
        run = build(load_config(CONFIG, [f"model.dtype={dtype}"]))
        setting = next(settings_of(run.evaluator, ["linear"], [16]))
        scores = run.evaluator.score(setting, "report")
        assert scores.values is not None
        values.append(scores.values)
        print(f"spelling, linear, 16 steps, {dtype}: {scores.estimate.value:.4f} {scores.estimate.ci}", flush=True)
    difference = estimate(values[1] - values[0])
    print(f"bfloat16 minus float32, {len(values[0])} examples: {difference.value:+.4f} {difference.ci}")


def mixed_rows(model: Transformer, count: int) -> Tensor:
    """Prompts of 4 to 48 characters of the plays on the left, 16 positions to fill on the right."""
    text = bundled("package:text").joinpath("tune.txt").read_text(encoding="utf-8")
    ids = torch.tensor([model.symbols.index(letter) for letter in text if letter in model.symbols])
    generator = np.random.default_rng(0)
    tokens = torch.full((count, model.length), -1)
    tokens[:, -16:] = model.mask_id
    for row in range(count):
        length, first = int(generator.integers(4, 49)), int(generator.integers(len(ids) - 48))
        tokens[row, 48 - length : 48] = ids[first : first + length]
    return tokens


def lengths_part(work: Path) -> None:
    print("| rows of a call | padding of the calls, as read / sorted | CPU time, as read / sorted |\n|---|---|---|")
    model = loaded("package:text")
    tokens, steps = mixed_rows(model, 256), 4
    counts = torch.tensor(to_counts(Linear(), steps, 16, "one-per-step")).expand(len(tokens), 1, -1)
    given = UnmaskArguments(
        tokens=tokens,
        plan=CountPlan(counts),
        seeds=np.arange(len(tokens), dtype=np.uint64),
        drawing=Drawing(order="confidence"),
    )
    order, pool = longest_first(tokens), LocalPool(model)
    lengths = (tokens >= 0).sum(1)
    for batch in (8, 32, 128):
        calls = {
            "read": UnmaskArguments(**{**vars(given), "batch": batch}),
            "sorted": UnmaskArguments(**{**vars(given.reordered(order)), "batch": batch}),
        }

        def fill(name: str, calls: dict[str, UnmaskArguments] = calls) -> Tensor:
            return next(results_of(pool, [divide_unmask(pool, calls[name])])).tokens

        padding = []
        for sizes in (lengths, lengths[order]):
            places = sum(len(part) * int(part.max()) for part in sizes.split(batch))
            padding.append(f"{1 - int(sizes.sum()) / places:.0%}")
        seconds = by_turns({"read": lambda: fill("read"), "sorted": lambda: fill("sorted")}, 3)
        same = torch.equal(fill("read")[order], fill("sorted"))
        print(f"| {batch} | {' / '.join(padding)} | {ratio(seconds, 'read', 'sorted')} |", flush=True)
        print(f"same tokens: {same}", file=sys.stderr)
    print(f"lengths: {int(lengths.min())} to {int(lengths.max())}, mean {float(lengths.double().mean()):.0f}")


def batch_part(work: Path) -> None:
    print("| model | rows of a call | rows per CPU second, relative to 64 |\n|---|---|---|")
    for name, path in folders(work).items():
        model = loaded(path)
        rows = rows_of(model, 256)

        def run(size: int, model: Transformer = model, rows: tuple[Tensor, Tensor] = rows) -> None:
            for part in zip(*(tensor.split(size) for tensor in rows), strict=True):
                model(*part)

        sizes = (1, 4, 16, 64, 256)
        with torch.inference_mode():
            seconds = by_turns({str(size): partial(run, size) for size in sizes}, 3)
        for size in sizes:
            print(f"| {name} | {size} | {ratio(seconds, '64', str(size))} |", flush=True)


def main() -> None:
    parts = {"compile": compile_part, "bfloat16": bfloat16_part, "lengths": lengths_part, "batch": batch_part}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=parts, required=True)
    part = parser.parse_args().part
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        parts[part](Path(folder))


if __name__ == "__main__":
    main()
