"""What a search costs beside the denoiser and the metric: seconds by part, and how they grow with the trials.

    python scripts/benchmark_overhead.py                            # the tables, on stdout
    python scripts/benchmark_overhead.py --page docs/overhead.md
    python scripts/benchmark_overhead.py --record overhead.json     # goes on with the measurements in the file
    python scripts/benchmark_overhead.py --only journal --profile overhead.prof

A case is a search of the bundled text, on the path of the command line, in a process of its own. Its denoiser looks up
pairs of characters in a table, so that it costs next to nothing. Functions of the package are wrapped by clocks.
"""

from __future__ import annotations

import argparse
import compileall
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from part_clock import IMPORTS, REST, PartClock

Record = dict[str, Any]

ROOT = Path(__file__).parent.parent
DENOISER, METRIC, LOOP = "denoiser", "metric", "unmasking loop"
PAGES = "page while the search runs"
NOT_OVERHEAD = (DENOISER, METRIC, LOOP)
GOAL = 5.0  # seconds per 100 trials
TRIAL_SECONDS = (1, 10)  # for the share of a run
CLOCKS = (("CPU", "cpu"), ("wall clock", "wall"))

# The parts of a search by the functions that they consist of, in the order of the table.
PARTS: dict[str, tuple[str, ...]] = {
    IMPORTS: (),
    "loading of model and data": ("run.build:build",),
    "proposals": ("search.proposals:propose_points",),
    "rule that ends the trials": ("search.stopping:settled", "search.stopping:all_values_equal"),
    "schedules and counts": (
        "search.space:reachable_counts",
        "search.space:given_points",
        "evaluation.evaluator:Evaluator.setting",
        "evaluation.settings:plan_of",
    ),
    "races": ("search.scoring:race", "search.scoring:price_settings", "search.scoring:least_rows"),
    "storage": (
        "search.driver:DriverState.check",
        "search.driver:DriverState.once",
        "search.driver:_claim_search",
        "search.ledger:Ledger.finished",
        "search.ledger:Ledger.note",
        "search.ledger:Ledger.notes",
        "search.ledger:Ledger.write",
        "search.ledger:check_ledger_name",
        "search.storage:open_storage",
        "search.stored_scores:_to_record",
        "search.stored_scores:StoredScores._from_record",
    ),
    "power simulation": ("search.power:smallest_gain",),
    "statistics": (
        "core.statistics:estimate",
        "evaluation.scores:paired_difference",
        "search.budget:pilot",
        "search.budget:compared",
        "search.gains:diversity_of",
        "search.gains:gain_of",
    ),
    PAGES: ("commands.live_page:LivePage._write",),
    "result files": ("commands.search:_write_result",),
    "terminal": ("terminal.console:Screen.on_event", "terminal.console:Screen.search_result"),
    REST: (),
    LOOP: ("evaluation.filling:PoolFiller.fill_each",),
    METRIC: (
        "evaluation.evaluator:Evaluator._exact_scores",
        "metrics.quality:Spelling.ceiling",
        "metrics.quality:Spelling.diversity",
        "metrics.quality:Spelling.values",
    ),
    DENOISER: (),
}


PAGE = """# What a search costs beside the model

A search also proposes trials, stores them, computes intervals and writes files. This page shows what that costs: the
overhead of a whole `mdm-tune search`, from the start of the command to its end, without the denoiser, the metric and
the unmasking loop. [sampling-speed.md](sampling-speed.md) has the loop. An overhead of {goal} s per 100 trials is 5 %
of a run whose 100 trials take one second each.

`python scripts/benchmark_overhead.py --page docs/overhead.md` writes this page. `--only NAME` runs one case, and
`--profile FILE` also writes a profile for `pstats`.

## How it was measured

- **The search** is that of the command line with `configs/text.yaml`, in one process with one thread. Its
  progress and its tables go to a pipe.
- **The denoiser** is a table of pairs of characters in the place of the checkpoint. It costs little, and schedules
  differ under it, so that races drop candidates as usual.
- **Parts.** The functions of a part are wrapped by clocks. A part that runs inside another one counts by itself only.
  "Imports" are all import statements from the start on. "All else" is the time outside all parts.
- **The rule that ends the trials** is asked as usual, and its answer is ignored, so that all trials are run.
- **The page** of a running search is written once a minute at most. The clock for this is one second per trial, so that
  it is written as often as in a run whose trials take a second each. A run of longer trials has more pages.
- **Byte code** of the package is there before the first run, as after an installation.
- **CPU time** is compared, since the machine also did other work: seconds of the wall clock are mostly waiting. Other
  work makes CPU time larger too, because processes share caches and cores. Each case was run {repeats}, in a
  process of its own. The tables show medians, and in brackets the smallest and the largest value.
- **Machine**: {processor}; {versions}. Commit: {commit}.

The cases:

{cases}

## Results

{findings}

What one should know about the parts:

- **Proposals** come from a Gaussian process (`search.strategy: gp`, the default), which is fitted once per batch of
  trials. With four trials at a time a proposal also averages over what the running ones may give. It costs more with
  more finished trials.
- **TPE** proposes for a part of this. Where a trial takes less than a second, `search.strategy: tpe` can be worth
  it; [strategies.md](strategies.md) shows how often each strategy comes close to the best schedule.
- **The rule that ends the trials** (`search.auto_stop`) fits a Gaussian process once per batch of trials, whatever the
  strategy.
- **Imports** are paid once per command, however many trials there are. Most of it is torch.
- **The storage** takes more time in a database, where a trial is a transaction of many statements, than in the journal,
  where it is one line.
- **The power simulation** is paid once or twice per budget.

## Seconds by part

{parts}

## Growth

CPU milliseconds of overhead per trial, in the quarters of the trials of the first budget:

{growth}
"""


@dataclass(frozen=True)
class Case:
    """A search.

    Attributes:
        name: its name in the tables.
        what: what it is, for a reader.
        sets: options of its config.
        trials: trials of each budget.
        config: the config that they are set in.
    """

    name: str
    what: str
    sets: tuple[str, ...] = ()
    trials: int = 100
    config: str = "text"


LARGE = ("dataset.tune=512", "dataset.choose=512", "dataset.report=512")
CASES = (
    Case("journal", "one budget; 128 examples to tune on, 256 to choose, 512 to report; all else as by default"),
    Case("SQLite", "the same, stored in an SQLite file", ("search.storage=sqlite:///{folder}/search.db",)),
    Case("four budgets", "4, 8, 16 and 32 steps, 25 trials each", ("sampler.steps=[4,8,16,32]",), trials=25),
    Case("512 examples", "512 examples for each use", LARGE),
    Case("no race", "512 examples for each use; every trial is scored on all", (*LARGE, "search.racing=false")),
    Case("one by one", "one trial at a time in place of four", ("search.together=1",)),
    Case("TPE", "proposals of TPE in place of a Gaussian process", ("search.strategy=tpe",)),
    Case("exact", "a Markov chain of 32 symbols, whose values are computed", ("sampler.steps=[8]",), config="markov"),
    Case("400 trials", "as journal, with 400 trials", trials=400),
)
TINY = Case("tiny", "a few trials, for the tests", ("dataset.tune=16", "dataset.choose=16", "dataset.report=32"), 9)


class PairTable:
    """A denoiser that adds up log probabilities of the pairs of characters that a hidden one forms with its neighbours.

    Attributes:
        vocab_size: the number of characters.
        mask_id: the id of the mask, ``vocab_size``.
    """

    def __init__(self, text: str, symbols: str) -> None:
        import torch

        self.vocab_size = self.mask_id = size = len(symbols)
        place = torch.tensor([symbols.index(symbol) for symbol in text if symbol in symbols])
        pairs = torch.bincount(place[:-1] * size + place[1:], minlength=size * size).view(size, size) + 0.1
        unknown = torch.zeros(1, size)  # what a hidden neighbour says
        self.before = torch.cat([(pairs / pairs.sum(1, keepdim=True)).log(), (pairs.sum(0) / pairs.sum()).log()[None]])
        self.after = torch.cat([(pairs / pairs.sum(1, keepdim=True)).log().T, unknown])

    def __call__(self, tokens: Any, wanted: Any) -> Any:
        import torch

        edge = torch.full((len(tokens), 1), self.mask_id)
        before = torch.cat([edge, tokens[:, :-1]], 1)[wanted]
        after = torch.cat([tokens[:, 1:], edge], 1)[wanted]
        return self.before[before] + self.after[after]


def measure(case: Case, folder: Path, profile: Path | None = None) -> Record:
    """Run a search with clocks around its parts.

    Args:
        case: the search.
        folder: an empty folder, for its files.
        profile: where the profile of cProfile is written; None for none.

    Returns:
        ``cpu`` and ``wall``, seconds by part; ``marks``, the overhead so far after each trial as number, CPU and wall
        seconds; ``trials``, how many were finished.
    """
    import cProfile

    clock, profiler, marks = PartClock(), cProfile.Profile(), list[tuple[int, float, float]]()
    if profile is not None:
        profiler.enable()
    with clock.part(IMPORTS):
        from mdm_tune import cli
        from mdm_tune.core.memory import collecting_later

        with collecting_later():  # as the command does
            from mdm_tune.commands import dry_run, search  # noqa: F401
    put_clocks(clock, marks)
    sets = [part for text in case.sets for part in ("--set", text.format(folder=folder))]
    config, output = ROOT / "configs" / f"{case.config}.yaml", folder / "run"
    words = ["search", str(config), *sets, "--trials", str(case.trials), "--output", str(output)]
    with clock.timing_imports():
        cli.app(words, standalone_mode=False)
    clock.update()
    if profile is not None:
        profiler.disable()
        profiler.dump_stats(profile)
    found = json.loads((output / "search.json").read_text("utf-8"))
    return {"name": case.name, "cpu": clock.cpu, "wall": clock.wall, "marks": marks, "trials": found["trials"]}


def put_clocks(clock: PartClock, marks: list[tuple[int, float, float]]) -> None:
    """Wrap the functions of ``PARTS``, replace the checkpoint by the table, and note the overhead after each trial."""
    from dataclasses import replace
    from types import SimpleNamespace
    from unittest.mock import patch

    from mdm_tune.commands import live_page
    from mdm_tune.denoisers.loading import load_model
    from mdm_tune.denoisers.transformer import Transformer
    from mdm_tune.run import build
    from mdm_tune.search import stopping, tuning
    from mdm_tune.search.events import TrialDone
    from mdm_tune.terminal.console import Screen

    for part, names in PARTS.items():
        for name in names:
            clock.time_function(f"mdm_tune.{name}", part)
    settled, on_event = stopping.settled, Screen.on_event  # as the clock wraps them

    class Table(PairTable):
        __call__ = clock.timed(PairTable.__call__, DENOISER)

    def load_table(config: Any, *args: Any) -> Any:
        model = load_model(config, *args)
        if config.type != "transformer":
            return model
        text = (ROOT / "mdm_tune" / "data" / "text" / "tune.txt").read_text("utf-8")
        assert isinstance(model.denoiser, Transformer)
        return replace(model, denoiser=Table(text, model.denoiser.symbols))

    def never(*args: Any) -> bool:
        settled(*args)
        return False

    def marked(screen: Screen, event: Any) -> None:
        on_event(screen, event)
        if isinstance(event, TrialDone):
            clock.update()
            marks.append((event.number, overhead(clock.cpu), overhead(clock.wall)))

    for owner, name, new in (
        (build, "load_model", load_table),
        (tuning, "settled", never),
        (Screen, "on_event", marked),
        (live_page, "time", SimpleNamespace(monotonic=lambda: float(len(marks)))),
    ):
        patch.object(owner, name, new).start()  # fails where no such name is used any more


def overhead(spent: dict[str, float]) -> float:
    """The seconds outside the denoiser, the metric and the unmasking loop."""
    return sum(seconds for part, seconds in spent.items() if part not in NOT_OVERHEAD)


def in_process_of_its_own(case: Case, profile: Path | None = None) -> Record:
    """``measure`` in a new process."""
    with tempfile.TemporaryDirectory(prefix="mdm-tune-overhead-") as folder:
        command = [sys.executable, __file__, "--only", case.name, "--inside", folder]
        command += [] if profile is None else ["--profile", str(profile)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the case {case.name} failed:\n{done.stderr}")
        record: Record = json.loads(done.stdout.splitlines()[-1])
    return record


def growth(record: Record, parts: int = 4) -> list[float]:
    """CPU milliseconds of overhead per trial, in equal parts of the trials of the first budget, without its first."""
    marks, trials = record["marks"], list[tuple[int, float]]()
    for number, cpu, _ in marks:
        if trials and number <= trials[-1][0]:
            break  # the next budget
        trials.append((number, cpu))
    ends = [round(1 + (len(trials) - 2) * place / parts) for place in range(parts + 1)]
    return [
        1e3 * (trials[stop][1] - trials[start][1]) / max(1, stop - start) for start, stop in itertools.pairwise(ends)
    ]


def per_hundred(records: Sequence[Record], part: str, clock: str = "cpu") -> float:
    """The median over the records of a part's seconds per 100 trials."""
    return float(median(100 * record[clock].get(part, 0.0) / record["trials"] for record in records))


def overheads(records: Sequence[Record], clock: str = "cpu") -> list[float]:
    """Seconds of overhead per 100 trials, of each record."""
    return [100 * overhead(record[clock]) / record["trials"] for record in records]


def share(records: Sequence[Record], trial_seconds: float) -> float:
    """The overhead in percent of a run whose trials take so long. A page is written after the same time."""
    seconds = median(overheads(records)) + per_hundred(records, PAGES) * (trial_seconds - 1)
    return 100 * seconds / (100 * trial_seconds + seconds)


def spread(values: Sequence[float]) -> str:
    """The median, with the range of several values."""
    return f"{median(values):.1f}" + (f" [{min(values):.1f}, {max(values):.1f}]" if len(values) > 1 else "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def parts_table(groups: dict[str, list[Record]]) -> str:
    """CPU seconds per 100 trials by part and case, and the sums."""
    rows = [[part, *(f"{per_hundred(some, part):.2f}" for some in groups.values())] for part in PARTS]
    first = rows[: len(PARTS) - len(NOT_OVERHEAD)]
    sums = [
        [f"**overhead, {name}**", *(spread(overheads(some, clock)) for some in groups.values())]
        for name, clock in CLOCKS
    ]
    shares = [
        [f"share of a run of 100 trials of {each} s", *(f"{share(some, each):.1f} %" for some in groups.values())]
        for each in TRIAL_SECONDS
    ]
    return table(["CPU seconds per 100 trials", *groups], [*first, *sums, *shares, *rows[len(first) :]])


def growth_table(groups: dict[str, list[Record]]) -> str:
    """CPU milliseconds of overhead per trial in each quarter of the trials, by case."""
    rows = []
    for name, records in groups.items():
        quarters = [median(each) for each in zip(*map(growth, records), strict=True)]
        rows.append([name, *(f"{each:.0f}" for each in quarters)])
    return table(["case", "first quarter", "second", "third", "fourth"], rows)


def findings(groups: dict[str, list[Record]]) -> str:
    """What the numbers say, in sentences."""
    within = [name for name, records in groups.items() if median(overheads(records)) <= GOAL]
    beyond = [name for name in groups if name not in within]
    found = [f"- An overhead of {GOAL:g} s per 100 trials or less: {', '.join(within) or 'in no case'}."]
    found += [f"- More than that: {', '.join(beyond)}."] if beyond else []
    for name, records in groups.items():
        sums = median(overheads(records))
        by_part = {part: per_hundred(records, part) for part in PARTS if part not in NOT_OVERHEAD}
        largest = sorted(by_part, key=lambda part: -by_part[part])[:2]
        rest = sums - sum(by_part[part] for part in largest)
        shown = " and ".join(f"{part} {by_part[part]:.1f} s" for part in largest)
        found.append(f"- {name}: {sums:.1f} s, of which {shown}; the rest is {rest:.1f} s.")
    return "\n".join(found)


def page_of(groups: dict[str, list[Record]]) -> str:
    """The page."""
    import optuna
    import torch

    from mdm_tune.core.messages import quantity

    cases = "\n".join(f"- **{case.name}**: {case.what}." for case in CASES if case.name in groups)
    counts = [len(records) for records in groups.values()]
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return PAGE.format(
        goal=f"{GOAL:g}",
        cases=cases,
        repeats=" or ".join(quantity(count, "time") for count in sorted({*counts})),
        processor=processor(),
        versions=f"torch {torch.__version__}, optuna {optuna.__version__}",
        commit=subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "unknown",
        findings=findings(groups),
        parts=parts_table(groups),
        growth=growth_table(groups),
    )


def processor() -> str:
    """The name of the processor."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[case.name for case in (*CASES, TINY)])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    cases = [case for case in (*CASES, TINY) if (case.name in options.only if options.only else case is not TINY)]
    if options.inside is not None:
        print(json.dumps(measure(cases[0], options.inside, options.profile)))
        return 0
    compileall.compile_dir(ROOT / "mdm_tune", quiet=2)
    kept = options.record is not None and options.record.exists()
    known: dict[str, list[Record]] = json.loads(options.record.read_text("utf-8")) if kept else {}
    groups = {case.name: known.get(case.name, []) for case in cases}
    for repeat in range(options.repeats):
        for case in cases:
            if len(groups[case.name]) <= repeat:
                print(f"{case.name}, {repeat + 1} of {options.repeats}", file=sys.stderr)
                groups[case.name].append(in_process_of_its_own(case, options.profile))
                if options.record is not None:
                    options.record.write_text(json.dumps({**known, **groups}), "utf-8")
    if options.page is None:
        print(parts_table(groups), growth_table(groups), findings(groups), sep="\n\n")
    else:
        options.page.write_text(page_of(groups), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
