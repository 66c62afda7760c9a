"""How fast our sampler is beside LLaDA's, Dream's, dllm's, MDLM's and a plain loop: a record, a page and two plots.

    python scripts/benchmark_sampling.py --llada LLADA --dream DREAM --dllm DLLM --mdlm MDLM --page PAGE
    python scripts/benchmark_sampling.py --llada LLADA --quick
    python scripts/benchmark_sampling.py --list
    python scripts/benchmark_sampling.py --llada LLADA --only "V32000 L64 B1 K4"

LLADA is a checkout of LLaDA, with generate.py; DREAM a folder that holds Dream's generation_utils.py; DLLM a checkout
of dllm; MDLM one of MDLM, with diffusion.py. Each may be left out. Nothing is downloaded.

The networks have random weights made from a seed. In one process and one thread, the samplers of a case take turns, and
CPU time is compared, so that other work on the machine does not count. Peak memory is measured in a process of its own
for each sampler. What the record (--record) has is kept, so that a run that was stopped goes on; remove the file to
measure anew. All cases take about 40 minutes of one core, --quick takes 3; the largest need 7 GiB.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import torch
from benchmark_page import write_page, write_part
from benchmark_samplers import SIZES, AnyNetwork, Call, Case, InParts, Network, Peers, TextNetwork, Timed, ours
from pages import commit

from mdm_tune.core.memory import keep_freed_memory

SHORT = 5.0  # CPU seconds of a turn below which the first turn warms up and is not counted
M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
ENOUGH, QUICK_ENOUGH = 20.0, 4.0  # the defaults of --enough
Record = dict[str, Any]
Answer = dict[str, Any]


def cases() -> Iterator[Case]:
    """All cases, those of the quick form among them."""
    alike, few = ("LLaDA", "dllm", "plain"), ("LLaDA", "plain")
    for vocabulary in (27, 32_000, 126_464):
        for steps in (4, 16):
            for temperature in (0, 1):
                for order in ("confidence", "random"):
                    if order == "confidence" or steps == 16 or temperature == 1:
                        peers = alike if order == "confidence" else few
                        yield Case(vocabulary, 64, 1, steps, order, temperature, peers=peers, quick=steps == 4)
    for temperature in (0, 1):
        for vocabulary, rows in ((27, 4), (27, 16), (27, 64), (32_000, 4), (32_000, 16), (32_000, 64), (126_464, 8)):
            quick = (vocabulary, rows) in ((27, 16), (32_000, 4))
            yield Case(vocabulary, 64, rows, 4, "confidence", temperature, quick=quick)
        for vocabulary in (27, 32_000):
            for length, steps in ((256, 16), (1024, 16), (64, 64)):
                yield Case(vocabulary, length, 1, steps, "confidence", temperature)
        yield Case(126_464, 256, 1, 4, "confidence", temperature)
        for trunk in ("1M", "10M", "100M"):
            yield Case(32_000, 128, 1, 4, "confidence", temperature, trunk=trunk)
    yield Case(126_464, 64, 1, 4, "confidence", 0, trunk="100M")
    text = TextNetwork()
    for rows in (1, 64):
        yield Case(text.vocabulary, text.model.config.length - 8, rows, 16, "confidence", 1, trunk="text")
    for rows, steps in ((1, 4), (4, 4), (1, 16)):
        quick = rows * steps == 4
        yield Case(151_936, 64, rows, steps, "entropy", 0.1, top_p=0.9, peers=("Dream", "dllm"), quick=quick)
    yield Case(151_936, 32, 1, 4, "entropy", 0.1, top_p=0.9, peers=("Dream",), quick=True, spread=0.5)
    yield Case(32_000, 64, 1, 16, "entropy", 0, peers=("Dream",))
    for vocabulary, length, rows, steps in (
        (27, 64, 1, 16),
        (27, 64, 16, 16),
        (27, 1024, 1, 64),
        (32_000, 64, 1, 4),
        (32_000, 64, 1, 16),
        (32_000, 128, 8, 4),
        (126_464, 64, 1, 4),
    ):
        quick = rows == 1 and (vocabulary, length, steps) in ((27, 64, 16), (32_000, 64, 4))
        yield Case(vocabulary, length, rows, steps, "ancestral", 1, peers=("MDLM",), quick=quick)
    # Where freed memory is kept, temporary arrays cost less, in the network and in the peers' loops.
    for temperature in (0, 1):
        for vocabulary, rows in ((27, 64), (32_000, 4), (126_464, 1)):
            yield Case(vocabulary, 64, rows, 4, "confidence", temperature, kept=True)
    yield Case(text.vocabulary, text.model.config.length - 8, 64, 16, "confidence", 1, trunk="text", kept=True)


class Samplers:
    """Our sampler and its peers on one network, by name, and ours with a clock around the denoiser."""

    def __init__(self, case: Case, network: AnyNetwork, peers: Peers) -> None:
        self.calls: dict[str, Call] = {"ours": ours(case, InParts(network))}
        self.denoiser = Timed(network)
        self.timed = ours(case, self.denoiser)
        for name in peers.of(case):
            self.calls[name] = peers.makers[name](case, network)


def network_of(case: Case) -> AnyNetwork:
    """The network that a case is measured on."""
    return TextNetwork() if case.trunk == "text" else Network(case.trunk, case.vocabulary, spread=case.spread)


def take_turns(case: Case, network: AnyNetwork, peers: Peers, turns: int, enough: float) -> Answer:
    """CPU seconds and seconds of every sampler, turn by turn, and how many tokens are equal.

    Args:
        turns: at most.
        enough: CPU seconds after which no turn begins, if there are three.
    """
    torch.manual_seed(0)
    if case.kept:
        assert keep_freed_memory(), "another C library than glibc, or a variable MALLOC_... is set"
    samplers = Samplers(case, network, peers)
    names = list(samplers.calls)
    cpu: dict[str, list[float]] = {name: [] for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    loop: list[float] = []
    share: list[float] = []
    drawn = {}
    warm = used = 0.0
    while len(loop) < turns and (len(loop) < 3 or used < enough):
        before = time.process_time()
        measured = {}
        first = len(loop) % len(names)
        for name in (*names[first:], *names[:first]):
            began, clock = time.process_time(), time.monotonic()
            drawn[name] = samplers.calls[name]()
            measured[name] = time.process_time() - began, time.monotonic() - clock
        samplers.denoiser.seconds, samplers.denoiser.calls = 0.0, 0
        began = time.process_time()
        samplers.timed()
        whole = time.process_time() - began
        turn = time.process_time() - before
        if not warm and turn < SHORT:
            warm = turn
            continue
        warm = warm or turn
        used += turn
        loop.append(whole - samplers.denoiser.seconds)
        share.append(loop[-1] / whole)
        for name, (processor, clock) in measured.items():
            cpu[name].append(processor)
            seconds[name].append(clock)
    same = names[1:] if case.comparable else []
    equal = {name: int((drawn[name] == drawn["ours"])[:, -case.length :].sum()) for name in same}
    calls = samplers.denoiser.calls
    return {"cpu": cpu, "seconds": seconds, "loop": loop, "share": share, "calls": calls, "equal": equal}


def status(field: str) -> int:
    """KiB of this process that /proc says, such as VmRSS or VmHWM."""
    text = Path("/proc/self/status").read_text("utf-8")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{field}:"))


def peak_memory(case: Case, network: AnyNetwork, peers: Peers, name: str) -> Answer:
    """MiB of a call of one sampler at its peak, beyond what the process had before: of its second call, and its first.

    The first one also loads code, and the buffers that libraries keep.
    """
    torch.manual_seed(0)
    # Freed blocks go back to the system at once. What the allocator keeps would count otherwise, and depends on chance.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 16)
    call = Samplers(case, network, peers).calls[name]
    with torch.inference_mode():
        network.everywhere(torch.zeros(1, 2, dtype=torch.int64))  # libraries take their buffers
    peaks = []
    for _ in range(2):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        before = status("VmRSS")
        call()
        peaks.append((status("VmHWM") - before) / 1024)
    return {"memory": peaks[1], "first": peaks[0]}


def apart(work: Callable[[], Answer]) -> Answer:
    """What the work returns, done in a process of its own, so that one that fails or is killed ends nothing else."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        began = time.process_time()
        try:
            found = work()
        except Exception as error:
            found = {"failed": f"{type(error).__name__}: {error}"[:200]}
        sender.send(found | {"used": time.process_time() - began})

    process = context.Process(target=child)
    process.start()
    sender.close()
    try:
        found: Answer = receiver.recv()
    except EOFError:
        process.join()
        found = {"failed": f"its process ended with {process.exitcode}, probably for lack of memory"}
    process.join()
    return found


def measure(case: Case, network: AnyNetwork, peers: Peers, turns: int, enough: float, old: Record) -> Record:
    """All that is known of a case, as it is kept in the record; what the old record has is not measured again."""
    names, found = ("ours", *peers.of(case)), dict(old)
    if not set(old.get("cpu", {})) >= set(names):
        found = apart(partial(take_turns, case, network, peers, turns, enough))
    missing = [name for name in names if found.get("memory", {}).get(name) is None]
    memory = {name: apart(partial(peak_memory, case, network, peers, name)) for name in missing}
    return {
        **found,
        "name": case.name,
        "case": {field: getattr(case, field) for field in Case.__dataclass_fields__ if field not in ("peers", "quick")},
        "commit": commit(),
        "memory": found.get("memory", {}) | {name: each.get("memory") for name, each in memory.items()},
        "first": found.get("first", {}) | {name: each.get("first") for name, each in memory.items()},
        "used": found.get("used", 0.0) + sum(each.get("used", 0.0) for each in memory.values()),
    }


def shown(record: Record) -> str:
    """A line of what was measured."""
    if "failed" in record:
        return f"{record['name']}: {record['failed']}"
    ratios = {
        name: sorted(theirs / mine for theirs, mine in zip(values, record["cpu"]["ours"], strict=True))
        for name, values in record["cpu"].items()
        if name != "ours"
    }
    own = sorted(record["cpu"]["ours"])
    parts = [f"{record['name']}: ours {own[len(own) // 2]:.3f} s"]
    for name, values in ratios.items():
        parts.append(f"{name} {values[len(values) // 2]:.2f} [{values[0]:.2f}, {values[-1]:.2f}]")
    memory = ", ".join(f"{name} {value or 0:.0f}" for name, value in record["memory"].items())
    return "; ".join([*parts, f"MiB {memory}"])


def chosen(options: argparse.Namespace, peers: Peers) -> list[Case]:
    """The cases that are asked for and have something to compare, each network's cases one after the other."""
    found = {case.name: case for case in cases() if peers.of(case)}
    wanted = [
        case
        for case in found.values()
        if (case.quick or not options.quick) and all(part in f" {case.name} " for part in options.only)
    ]
    trunks = ["text", *SIZES]
    return sorted(wanted, key=lambda case: (trunks.index(case.trunk), case.vocabulary))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, holds in (
        ("llada", "generate.py"),
        ("dream", "generation_utils.py"),
        ("dllm", "the folder dllm"),
        ("mdlm", "diffusion.py"),
    ):
        parser.add_argument(f"--{name}", type=Path, help=f"a folder that holds {holds}")
    parser.add_argument("--quick", action="store_true", help="a few of the cases")
    parser.add_argument("--only", action="append", default=[], help="cases whose names contain this; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and measure nothing")
    parser.add_argument("--turns", type=int, default=60, help="turns of a case at most")
    parser.add_argument("--enough", type=float, help="CPU seconds after which a case has turns enough, if it has three")
    parser.add_argument("--record", type=Path, default=Path("build/benchmark-sampling.json"))
    parser.add_argument("--page", type=Path, help="the page to write, with its plots beside it")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")  # the peers use names that torch has deprecated
    torch.set_num_threads(1)
    peers = Peers(options.llada, options.dream, options.dllm, options.mdlm)
    wanted = chosen(options, peers)
    if options.list:
        print("\n".join(case.name for case in wanted))
        return 0
    records: dict[str, Record] = json.loads(options.record.read_text("utf-8")) if options.record.exists() else {}
    options.record.parent.mkdir(parents=True, exist_ok=True)
    enough = options.enough or (QUICK_ENOUGH if options.quick else ENOUGH)
    network: AnyNetwork | None = None
    of: tuple[object, ...] = ()
    for case in wanted:
        names, old = {"ours", *peers.of(case)}, records.get(case.name, {})
        if all(set(old.get(kind, {})) >= names for kind in ("cpu", "memory")):
            continue
        key = case.trunk, case.vocabulary, case.spread
        if network is None or of != key:
            network, of = None, key  # the last one's memory is needed
            network = network_of(case)
        records[case.name] = measure(case, network, peers, options.turns, enough, old)
        options.record.write_text(json.dumps(records, indent=1) + "\n", "utf-8")
        print(shown(records[case.name]), flush=True)
    found = [records[case.name] for case in wanted]
    print(f"{sum(record['used'] for record in found):.0f} s of CPU time for {len(found)} cases")
    if options.page is not None and options.only:
        arguments = [f'--only "{part}"' for part in options.only] + [f"--enough {enough:g}"]
        write_part(options.page, found, part=", ".join(options.only), options=" ".join(arguments))
    elif options.page is not None:
        write_page(options.page, found, quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
