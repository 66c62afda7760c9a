"""How much faster several replicas on the CPU fill rows than one, all on one Ray, and the memory that each takes.

    python scripts/replicas_speed.py --replicas 2 --page docs/devices-speed.md

All fill the same rows in turns, and the ratio is that of the times of a turn, so that what else the machine does hits
all. Processes that know nothing of each other, and have their part of the rows beforehand, show what the machine gives:
cores that share a host, or caches, do not double with their number. Weights are counted as mapped from the checkpoint,
as ``load_transformer`` leaves them, and as copied. Reads /proc, so that it needs Linux.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import torch
from pages import write_part

from mdm_tune.core.files import bundled
from mdm_tune.core.statistics import estimate
from mdm_tune.denoisers.transformer import Transformer, load_transformer
from mdm_tune.sampling.cluster import local_ray
from mdm_tune.sampling.devices import parse_devices
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.pieces import LocalPool, Pool
from mdm_tune.sampling.pieces import fill_rows as filled
from mdm_tune.sampling.replicas import Replicas
from mdm_tune.sampling.unmasking import CountPlan, Unmasked

MIB = 1024


def mapped(folder: Path, device: str) -> Transformer:
    return load_transformer(folder).to(device)


def copied(folder: Path, device: str) -> Transformer:
    """The same with weights of its own, in place of the mapped file."""
    model = load_transformer(folder)
    for weight in model.parameters():
        weight.data = weight.data.clone()
    return model


def fill(replicas: Pool, model: Transformer, rows: int, steps: int, batch: int) -> Unmasked:
    """So many rows in order of confidence, all positions masked at the start."""
    counts = [model.length // steps + (step < model.length % steps) for step in range(steps)]
    return filled(
        replicas,
        torch.full((rows, model.length), model.mask_id),
        CountPlan(torch.tensor(counts).expand(rows, 1, -1)),
        seeds=np.arange(rows, dtype=np.uint64),
        drawing=Drawing("confidence"),
        batch=batch,
    )


@cache
def alone(folder: Path) -> Transformer:
    """The model of a process that works apart."""
    torch.set_num_threads(1)
    return mapped(folder, "cpu")


def apart(folder: Path, rows: int, steps: int, batch: int) -> int:
    """Rows filled in this process, without Ray."""
    return fill(LocalPool(alone(folder)), alone(folder), rows, steps, batch).denoiser_rows


def process(denoiser: object, device: str) -> int:
    return os.getpid()


def memory(pid: int, name: str) -> Counter[str]:
    """KiB of a process: private and shared in all, and of the file called ``name``."""
    found: Counter[str] = Counter()
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text("utf-8").splitlines():
        key, *rest = line.split()
        if "-" in key and not key.endswith(":"):
            inside = bool(rest) and rest[-1].endswith(name)
        elif key.startswith(("Private_", "Shared_")):
            kind = key.partition("_")[0].lower()
            found[kind] += int(rest[0])
            found[f"{kind} weights"] += int(rest[0]) * inside
    return found


def speeds(folder: Path, devices: tuple[str, ...], options: argparse.Namespace) -> list[str]:
    """Markdown: sequences per second of one replica and of all, and the ratio."""
    model = load_transformer(folder)
    seconds: dict[str, list[float]] = {"one": [], "all": [], "apart": []}
    found: dict[str, Unmasked] = {}
    count, rows, steps, batch = len(devices), options.rows, options.steps, options.batch
    with (
        Replicas(partial(mapped, folder), devices[:1]) as one,
        Replicas(partial(mapped, folder), devices) as every,
        ProcessPoolExecutor(count, get_context("spawn")) as others,
    ):
        pools = {"one": one, "all": every}

        def run(name: str, rows: int, steps: int) -> None:
            if name == "apart":
                list(others.map(partial(apart, folder, steps=steps, batch=batch), [rows // count] * count))
            else:
                found[name] = fill(pools[name], model, rows, steps, batch)

        for pool in pools.values():
            pool.wait_until_ready()
        for name in seconds:
            run(name, 64 * count, 2)
        for turn in range(options.repeats):
            for name in list(seconds)[:: 1 if turn % 2 else -1]:
                began = time.perf_counter()
                run(name, rows, steps)
                seconds[name].append(time.perf_counter() - began)
    same = float((found["one"].tokens == found["all"].tokens).all(1).double().mean())
    speed = {name: f"{rows / median(times):.2f}" for name, times in seconds.items()}
    return [
        "| | sequences per second, median | denoiser rows |",
        "|---|---|---|",
        f"| one replica | {speed['one']} | {found['one'].denoiser_rows:,} |",
        f"| {count} replicas | {speed['all']} | {found['all'].denoiser_rows:,} |",
        f"| {count} processes apart | {speed['apart']} | |",
        "",
        f"{count} replicas are {ratio(seconds, 'one', 'all')} times as fast as one, {count} processes apart "
        f"{ratio(seconds, 'one', 'apart')} times, and replicas {ratio(seconds, 'apart', 'all')} times as fast as "
        f"processes apart (geometric means of {options.repeats} turns, with 95 % intervals). {same:.1%} of the "
        "sequences are the same tokens.",
    ]


def ratio(seconds: dict[str, list[float]], slow: str, fast: str) -> str:
    """How many times as fast, with its interval; without one of so few turns that there is none."""
    found = estimate(np.log(np.array(seconds[slow]) / np.array(seconds[fast])))
    if found.ci is None:
        return f"{np.exp(found.value):.2f}"
    return f"{np.exp(found.value):.2f} [{np.exp(found.ci[0]):.2f}, {np.exp(found.ci[1]):.2f}]"


def memories(folder: Path, devices: tuple[str, ...], batch: int) -> list[str]:
    """Markdown: MiB per replica, mean over replicas, while all of them live."""
    model = load_transformer(folder)
    size = (folder / "model.safetensors").stat().st_size / MIB**2
    lines = [
        f"Checkpoint of {size:.1f} MiB. MiB per replica:",
        "",
        "| weights | private | shared | private, of the checkpoint's mapping | shared, of the checkpoint's mapping |",
        "|---|---|---|---|---|",
    ]
    for make in (copied, mapped):
        with Replicas(partial(make, folder), devices) as pool:
            pool.wait_until_ready()
            fill(pool, model, 2 * len(devices), 2, batch)
            found = [memory(pid, "model.safetensors") for pid in pool.run_on_each(process)]
        cells = [
            f"{sum(each[kind] for each in found) / len(found) / MIB:.1f}"
            for kind in ("private", "shared", "private weights", "shared weights")
        ]
        lines.append(f"| {make.__name__} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="package:text", help="a folder written by save_transformer")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=10, help="turns of each; 0 for the memory alone")
    parser.add_argument("--page", type=Path, help="a page that gets the tables")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # replicas inherit it and take no more
    devices, folder = parse_devices(f"cpu:{options.replicas}"), bundled(options.model)
    assert isinstance(devices, tuple)
    with local_ray(1 + len(devices)):  # one Ray for all that is compared
        lines = speeds(folder, devices, options) if options.repeats else []
        if lines:
            lines = [
                f"{options.rows} rows, {options.steps} steps, order `confidence`, one thread a replica.",
                "",
                *lines,
                "",
            ]
        text = "\n".join([*lines, *memories(folder, devices, options.batch)]) + "\n"
    print(text, end="")
    if options.page is not None:
        write_part(options.page, "two replicas", text)


if __name__ == "__main__":
    main()
