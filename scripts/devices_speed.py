"""How well replicas on Ray are kept busy, and what a piece costs: a table and a plot.

    python scripts/devices_speed.py --page docs/devices-speed.md

One law's exact predictions, as if each denoiser row took 50 ms in batches of 8: the replica computes them, in a
millisecond, and sleeps for the rest. So 64 replicas fit on a machine of two cores, and what is seen is how they are
kept busy and what the driver costs. Efficiency is T1 / (n * Tn): T1 is what one replica takes, its rows times 50 ms
where it was not measured, and Tn what n take. "At most" is what replicas without any delay would reach, since
pieces wait for those that they depend on. Every cell is the whole thing: trials with their proposals, records and
races; a profile with the choice of its points; a confirmation with its metric, intervals and records.

Sizes: batches of 8 rows, 8 steps, 128 tune, 256 choose and 512 report examples, three finalists, four baselines; up to
four replicas 32, 32 and 64 examples, which would take too long otherwise. Cells that --raw holds are kept, so that a
run that was stopped goes on; remove the file to measure anew. It takes about 40 minutes on two idle cores and 16 GiB.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from pages import with_dark_colours, write_part
from torch import Tensor

from mdm_tune.config.file import SearchConfig
from mdm_tune.config.sampler import SamplerConfig
from mdm_tune.core.types import Direction
from mdm_tune.datasets.splits import Split, Use, law_dataset
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.filling import PoolFiller
from mdm_tune.evaluation.scores import Cost
from mdm_tune.evaluation.settings import Sampler
from mdm_tune.run.measuring import measure_profile
from mdm_tune.sampling import replicas as module
from mdm_tune.sampling.cluster import local_ray
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.pieces import Pool, Task, UnmaskArguments, divide_unmask, predict
from mdm_tune.sampling.replicas import Replicas
from mdm_tune.sampling.unmasking import CountPlan, Unmasked
from mdm_tune.schedules.curves import Beta, parse_schedule
from mdm_tune.search.budget import compared
from mdm_tune.search.driver import DriverState, SearchName, driving
from mdm_tune.search.finalists import Study, Trial
from mdm_tune.search.proposals import BetaSpace
from mdm_tune.search.storage import open_storage
from mdm_tune.search.stored_scores import StoredScores
from mdm_tune.search.tuning import tune

LAW = MarkovChain.sticky(3, 0.2, 24)
ROW, BATCH, STEPS = 0.05, 8, 8
STEP = 8  # replicas that are started at a time
SIZES: dict[Use, int] = {"tune": 128, "choose": 256, "report": 512}
SMALL: dict[Use, int] = {"tune": 32, "choose": 32, "report": 64}  # where few replicas would take too long
SMALL_UP_TO = 4
REPEATS = {1: 1, 2: 1, 4: 1, 8: 1, 16: 2, 32: 2, 64: 3}
WIDE_FROM = 16  # fewer replicas have enough of 16 trials at a time
BASELINES = ("linear", "squared-sine", "sine", "maskgit-cosine")
KINDS = {
    "confirmation": "a confirmation",
    "profile": "a profile",
    "trials": "trials, `together: 16`",
    "wide": "trials, `together: 64`",
}


class Sleeper:
    """The law, each row of a call as slow as it is said to be; row: seconds."""

    vocab_size, mask_id = LAW.vocab_size, LAW.mask_id

    def __init__(self, row: float) -> None:
        self.row = row

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        end = time.monotonic() + self.row * len(tokens)
        found = LAW(tokens, wanted)
        if (left := end - time.monotonic()) > 0:
            time.sleep(left)
        return found


def sleeper(row: float, device: str) -> Sleeper:
    torch.set_num_threads(1)
    return Sleeper(row)


@dataclass(frozen=True)
class Surprise:
    """Nats of a drawn row under the law; diversity: the share of neighbours that differ."""

    name: str = "surprise"
    label: str = "surprise"
    direction: Direction = "minimize"
    needs_originals: bool = False
    bounds: None = None

    def values(self, result: Unmasked, split: Split) -> NDArray[np.float64]:
        return -LAW.log_prob(result.tokens).double().numpy()

    def diversity(self, tokens: Tensor, split: Split) -> dict[str, NDArray[np.float64]]:
        return {"changes": (tokens[:, 1:] != tokens[:, :-1]).double().mean(1).numpy()}

    def ceiling(self, split: Split) -> None:
        return None


def evaluator_of(pool: Pool, sizes: dict[Use, int]) -> Evaluator:
    sampler = Sampler(SamplerConfig(steps=(1,), order="confidence", batch=BATCH))
    dataset = law_dataset(LAW, sizes, root=0)
    return Evaluator(Sleeper(0.0), LAW.length, sampler, Surprise(), dataset, fill_with=PoolFiller(pool))


@contextmanager
def state_of() -> Iterator[DriverState]:
    """A run in a journal of its own."""
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(Path(folder) / "study.journal")
        with driving(storage, SearchName.plain("speed")) as state:
            yield state


def trials(pool: Pool, sizes: dict[Use, int], together: int) -> int:
    """Linear and two batches; gives the denoiser rows."""
    settings = SearchConfig(
        strategy="gp", trials=1 + 2 * together, finalists=3, baselines=BASELINES, together=together, auto_stop=False
    )
    with state_of() as state:
        found = tune(evaluator_of(pool, sizes), BetaSpace(settings, STEPS, 0), state.ledger("trials"))
    return sum(trial.cost.denoiser_rows for trial in found.trials)


def confirmation(pool: Pool, sizes: dict[Use, int]) -> int:
    """Three finalists and four baselines, with the samples at many steps that diversity is compared with."""
    evaluator = evaluator_of(pool, sizes)
    betas = [Beta(0.5, 1.5), Beta(1.5, 0.5), Beta(2.0, 0.7)]
    listed = [
        Trial(
            number=number,
            policy=beta,
            key=evaluator.setting(beta, STEPS).key,
            value=float(number),
            fresh=True,
            cost=Cost(),
        )
        for number, beta in enumerate(betas)
    ]
    study = Study(evaluator, listed, {name: parse_schedule(name) for name in BASELINES})
    with state_of() as state:
        return compared(StoredScores(evaluator, state), [study], STEPS, len(betas)).cost.denoiser_rows


def profile(pool: Pool, sizes: dict[Use, int]) -> int:
    """All examples of the tune split, and as many points as the law has or 32."""
    split = law_dataset(LAW, sizes, root=0).splits["tune"]
    return measure_profile(
        Sleeper(0.0),
        split.start,
        split.originals,
        split.seeds,
        examples=len(split.ids),
        points=32,
        batch=BATCH,
        predictor=partial(predict, pool),
    ).denoiser_rows


WORK: dict[str, Callable[[Pool, dict[Use, int]], int]] = {
    "trials": partial(trials, together=16),
    "wide": partial(trials, together=64),
    "profile": profile,
    "confirmation": confirmation,
}


class Raw:
    """What was measured, kept in a file after every cell."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cells: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}

    def lacks(self, name: str, wanted: int) -> bool:
        return len(self.cells.get(name, [])) < wanted

    def add(self, name: str, value: Any) -> None:
        self.cells.setdefault(name, []).append(value)
        self.path.write_text(json.dumps(self.cells, indent=1), "utf-8")
        print(name, value if not name.startswith("pieces") else "", flush=True)


def measure_sleeping(raw: Raw, counts: Sequence[int], kinds: Sequence[str]) -> None:
    """Each kind of work with more and more of the replicas, smallest numbers first."""
    module.PATIENCE = 1800.0  # many processes on few cores take long to start
    with local_ray(max(counts)), Replicas(partial(sleeper, ROW), ("cpu",) * min(STEP, *counts)) as pool:
        for count in sorted(counts):
            while pool.copies < count:
                for _ in range(min(STEP, count - pool.copies)):
                    pool._add("cpu", 1, num_cpus=1)
                pool.wait_until_ready()
            pool.wait_until_ready()
            sizes = sizes_of(count)
            for kind in kinds:
                while raw.lacks(f"{kind} {count}", repeats(kind, count)):
                    began = time.monotonic()
                    rows = WORK[kind](pool, sizes)
                    raw.add(f"{kind} {count}", [time.monotonic() - began, rows])
            if raw.lacks(f"memory {count}", 1):
                raw.add(f"memory {count}", median(pool.run_on_each(private)))


class Counting(Sleeper):
    """Takes no time, and counts its rows."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.rows = 0

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        self.rows += len(tokens)
        return super().__call__(tokens, wanted)


class Counted:
    """This process as a pool. deals: by call the rows of each piece."""

    vocab_size, mask_id, copies = LAW.vocab_size, LAW.mask_id, 1

    def __init__(self) -> None:
        self.denoiser = Counting()
        self.deals: list[list[int]] = []

    def results(self, tasks: Iterable[Task]) -> Iterator[Any]:
        self.deals.append(deal := [])
        for task in tasks:
            before = self.denoiser.rows
            answer = task(self.denoiser, "cpu")
            deal.append(self.denoiser.rows - before)
            yield answer

    def working_batches(self, batch: int) -> dict[str, int]:
        return {}


def measure_pieces(raw: Raw, kinds: Sequence[str]) -> None:
    """The pieces of each kind of work in their order, and which of them wait for others."""
    for kind in kinds:
        for sizes in (SMALL, SIZES):
            name = f"pieces {kind} {sizes['report']}"
            if raw.lacks(name, 1):
                WORK[kind](pool := Counted(), sizes)
                raw.add(name, pool.deals)


def bound(raw: Raw, kind: str, count: int) -> float:
    """The efficiency of so many replicas that lose no time, each piece given to the one that is first free."""
    (deals,) = raw.cells[f"pieces {kind} {sizes_of(count)['report']}"]
    seconds = 0
    for deal in deals:
        free = [0] * count
        for rows in deal:
            heapq.heapreplace(free, free[0] + rows)
        seconds += max(free)
    return sum(map(sum, deals)) / (count * seconds)


def sizes_of(count: int) -> dict[Use, int]:
    return SMALL if count <= SMALL_UP_TO else SIZES


def repeats(kind: str, count: int) -> int:
    return 0 if kind == "wide" and count < WIDE_FROM else REPEATS.get(count, 1)


def private(denoiser: object, device: str) -> float:
    """MiB that this process has for itself."""
    text = Path("/proc/self/smaps_rollup").read_text("utf-8")
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_")) / 1024


def measure_calls(raw: Raw, pieces: int = 400) -> None:
    """What a piece costs beside its work: one idle replica that sends back the tokens of a piece as they are."""
    tokens = torch.full((pieces * BATCH, LAW.length), LAW.mask_id)
    counts = torch.full((STEPS,), LAW.length // STEPS).expand(len(tokens), 1, -1)
    seeds = np.arange(len(tokens), dtype=np.uint64)
    with local_ray(1), Replicas(partial(sleeper, 0.0), ("cpu",)) as pool:
        pool.wait_until_ready()
        plan = CountPlan(counts)
        given = UnmaskArguments(tokens=tokens, plan=plan, seeds=seeds, drawing=Drawing("confidence"), batch=BATCH)
        tasks = divide_unmask(pool, given).tasks
        empty = [partial(unworked, piece=task) for task in tasks]
        list(pool.results(empty[:40]))
        for _ in range(6):
            began, used = time.monotonic(), time.process_time()
            list(pool.results(empty))
            streamed, driver = time.monotonic() - began, time.process_time() - used
            alone = []
            for task in empty[:100]:
                began = time.monotonic()
                list(pool.results([task]))
                alone.append(time.monotonic() - began)
            raw.add("call", [streamed / pieces, driver / pieces, median(alone)])


def unworked(denoiser: object, device: str, *, piece: Any) -> Any:
    return piece.keywords["arrays"]["tokens"]


def efficiencies(raw: Raw, kind: str, count: int) -> list[float]:
    return [rows * ROW / (count * seconds) for seconds, rows in raw.cells.get(f"{kind} {count}", [])]


def table(raw: Raw, counts: Sequence[int], kinds: Sequence[str]) -> list[str]:
    lines = [
        "| replicas | " + " | ".join(KINDS[kind] for kind in kinds) + " | MiB of its own, each |",
        "|---" * (len(kinds) + 2) + "|",
    ]
    for count in counts:
        cells = []
        for kind in kinds:
            found = efficiencies(raw, kind, count)
            spread = f" ({min(found):.2f} to {max(found):.2f}, {len(found)} runs)" if len(found) > 1 else ""
            most = f", at most {bound(raw, kind, count):.2f}"
            cells.append(f"{median(found):.2f}{spread}{most}" if found else "")
        cells += [f"{each:.0f}" for each in raw.cells.get(f"memory {count}", [])[:1]] or [""]
        lines.append(f"| {count} | {' | '.join(cells)} |")
    return lines


def calls(raw: Raw) -> str:
    streamed, driver, alone = (1000 * np.array(each) for each in zip(*raw.cells["call"], strict=True))
    runs = f"{min(streamed):.1f} to {max(streamed):.1f}, {len(streamed)} runs of 400"
    return (
        f"A piece of {BATCH} rows, {STEPS} steps and {LAW.length} tokens that an idle replica sends back without work "
        f"takes **{median(streamed):.1f} ms** where pieces follow each other ({runs}), {median(driver):.1f} ms of them "
        f"the driver's, and {median(alone):.1f} ms where the driver waits for it alone."
    )


def plot(raw: Raw, counts: Sequence[int], kinds: Sequence[str], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for kind, marker in zip(kinds, "osD^", strict=False):
        known = [count for count in counts if efficiencies(raw, kind, count)]
        values = [efficiencies(raw, kind, count) for count in known]
        middle = [median(each) for each in values]
        spread = [
            [m - min(v) for m, v in zip(middle, values, strict=True)],
            [max(v) - m for m, v in zip(middle, values, strict=True)],
        ]
        axes.errorbar(known, middle, spread, marker=marker, capsize=3, label=KINDS[kind].replace("`", ""))
    axes.set(xscale="log", xlabel="replicas", ylabel="efficiency T1 / (n Tn)", ylim=(0, 1.05))
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
    path.write_text(with_dark_colours(path.read_text("utf-8")), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="1,2,4,8,16,32,64", help="numbers of replicas")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--raw", type=Path, default=Path("build/devices-speed.json"))
    parser.add_argument("--no-calls", action="store_true", help="leave out what a piece costs")
    parser.add_argument("--page", type=Path, help="a page that gets the numbers, and the plot beside it")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # replicas inherit it
    torch.set_num_threads(1)
    counts, kinds = sorted({int(each) for each in options.counts.split(",")}), options.kinds.split(",")
    options.raw.parent.mkdir(parents=True, exist_ok=True)
    raw = Raw(options.raw)
    if not options.no_calls and raw.lacks("call", 6):
        measure_calls(raw)
    measure_pieces(raw, kinds)
    if any(raw.lacks(f"{kind} {count}", repeats(kind, count)) for kind in kinds for count in counts):
        measure_sleeping(raw, counts, kinds)
    lines = table(raw, counts, kinds)
    print("\n".join([*lines, "", calls(raw)]))
    if options.page is not None:
        write_part(options.page, "efficiency", "\n".join(lines))
        write_part(options.page, "call", calls(raw))
        plot(raw, counts, kinds, options.page.with_suffix(".svg"))


if __name__ == "__main__":
    main()
