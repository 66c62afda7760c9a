"""The page and the plots that scripts/benchmark_sampling.py makes of its record."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from benchmark_plots import Record, draw_plots, ratios
from scipy.stats import binom

from mdm_tune.core.messages import quantity

PEERS = ("LLaDA", "Dream", "dllm", "MDLM", "plain")
LITTLE = 2.0  # MiB that are told from chance
SPREAD = 3.0  # standard deviation of the logits that is not named in the tables
SLOWER = 0.95  # a ratio below this is a case in which a peer is faster by more than 5 %
UNITS = {"rows": (1, "further row"), "length": (100, "100 further positions"), "steps": (1, "further step")}
UNITS["vocabulary"] = (1000, "1,000 further tokens")

RATIOS = """\
- **Ratios** are CPU time of the other sampler divided by ours: above 1, ours is faster. The table shows the median over
  the turns and, in brackets, its 95 % interval, by order statistics. With fewer than 6 turns there is none, and the
  smallest and the largest ratio of a turn stand there. In round brackets is the median ratio of seconds. There are at
  least 3 turns, and more where they are short."""

PAGE = """# How fast sampling is

This page compares the time and the memory of `mdm_tune.unmask` with those of other samplers, on the same networks:

- LLaDA: its `generate`;
- Dream: its `_sample` with the rule `entropy`, at temperature 0.1 and top-p 0.9, as its model card recommends;
- dllm: its `MDLMSampler` and `DreamSampler`;
- MDLM: its ancestral loop `ddpm_cache`;
- plain: a loop of 20 lines in float32, with `softmax`, `multinomial` and `topk`.

`python scripts/benchmark_sampling.py --llada LLADA --dream DREAM --dllm DLLM --mdlm MDLM --page docs/sampling-speed.md`
writes this page. It downloads nothing: the arguments are folders with the code of the other projects, and each of them
may be left out. `--quick` measures a part of the cases in 3 minutes. `--only TEXT` measures the cases whose name
contains the text, and writes a page of these.

{form} Nothing was run on a GPU. The cases with 27 tokens were also measured at another time, with more turns:
[how fast sampling is: V27](sampling-speed-27.md).

## How it was measured

- **Networks.** The trunk is a transformer encoder of torch with about 1, 10 or 100 million parameters (1M, 10M, 100M).
  The head is a matrix of hidden size times vocabulary. All weights are random, from a seed. `text` is the text model
  that the package contains.
- **Predictions.** The logits have a standard deviation of 3, or the spread that a table names. With top-p, our time
  depends on it: 64 tokens or fewer that reach top-p are found faster than more. Flat predictions are the slow case.
- **Head.** Our denoiser applies the head only where a prediction is needed. It also states that its head is one linear
  map (`LinearHead`), as checkpoints of Hugging Face have it. A large vocabulary is then computed a slice at a time,
  unless top-p is used. Other samplers get the logits of all positions, as their own models compute them. This is part
  of what is compared.
- **Time.** All samplers of a case run in one process with one thread, and take turns. The machine also did other work.
  Therefore CPU time is compared, and seconds are only shown beside it. Work that shares the caches still disturbs CPU
  time. Freed memory is returned to the system, except where a table says that it is kept.
{ratios}
- **Memory** is the peak of the process in the second call of a sampler, above what the process used before that call.
  Each sampler is measured in a process of its own, in which freed memory goes back to the system at once. It includes
  the activations and the logits of the network.
  {first}
- **Rows** begin with 8 visible tokens that differ from row to row. Ancestral sampling begins with masks alone.
- **The mask** is not in the logits, except for MDLM, which needs it there.
- **Machine**: {machine}. Commit: {commits}.

## Results

{summary}

{slower}

![CPU time of other samplers divided by ours, by vocabulary](sampling-speed.svg)

## Memory from the system

Memory that the system gives to a process is cleared page by page. By default the C library returns large freed arrays,
so that every call pays for new ones. Two things follow from this, and both are part of the ratios above:

- Samplers with large temporary arrays lose time. On a GPU, where torch keeps freed memory, they would not.
- A network loses time too. How much, depends on where small objects happen to lie in memory. This chance decides which
  sampler is faster where the network is nearly all of the time, as with 27 tokens and 64 rows.

In the last column below, all samplers of the process keep freed memory, up to 256 MiB per array. The commands of
mdm-tune do this. A program of your own gets the same with the environment variables `MALLOC_MMAP_THRESHOLD_` and
`MALLOC_TRIM_THRESHOLD_`, both set to 268435456.

{kept}

## Time

{time}

## Memory

MiB at the peak, above the model. In brackets: the memory of the other sampler divided by ours, where the other one
needs 2 MiB or more. With 27 tokens nearly all of it is the network's own.

{memory}

![Peak memory by the number of rows](sampling-memory.svg)

## Share of the loop

This is the part of our CPU time that is spent outside the denoiser. The rest is the network.
With a small vocabulary it is the fixed cost of a step: checks, random numbers and the choice of positions. If another
sampler is faster in a small case, this is the reason. These are some dozens of short operations. After a network, whose
weights fill the caches of the processor, they take several times as long as by themselves, and longer again if other
work uses the caches too. So a share holds for one machine and its load. It is measured in calls of their own, in which
a clock is read four times per step. The clock is a part of it.

{share}

## What one more costs

These are slopes of CPU time (least squares) over cases that differ in one size only.

{slopes}

## Equal tokens

At temperature 0 the samplers of LLaDA, dllm and Dream follow the same rule as ours, and all counts are equal. The
networks compute a row of logits by itself in ours and together with others elsewhere, so that last digits differ.
Tokens that are nearly equally probable can then change, and with them what follows.

{equal}
"""


PART = """# How fast sampling is: {part}

These are the cases of [How fast sampling is](sampling-speed.md) whose names contain {part}; that page says how they are
measured. They were measured at another time. The command is

    python scripts/benchmark_sampling.py --llada LLADA --dream DREAM --dllm DLLM --mdlm MDLM {options} --page PAGE

{ratios}
- **Machine**: {machine}. Commit: {commits}.

{summary}

{slower}

## Memory from the system

In the last column all samplers of the process keep freed memory, as the commands of mdm-tune do.

{kept}

## Time

{time}

## Share of the loop

{share}
"""


def write_part(page: Path, records: Sequence[Record], *, part: str, options: str) -> None:
    """Write a page of some cases.

    Args:
        page: where.
        records: of the cases, in the order of the tables.
        part: what the names of the cases contain.
        options: of the command that measured them.
    """
    page.write_text(PART.format(part=part, options=options, **common(records)), "utf-8")


def write_page(page: Path, records: Sequence[Record], *, quick: bool) -> None:
    """Write the page and its two plots.

    Args:
        page: where; the plots go beside it.
        records: of the cases, in the order of the tables.
        quick: whether these are the cases of the quick form.
    """
    good = compared(records)
    failed = [f"{record['name']} ({record['failed']})" for record in records if "failed" in record]
    count = quantity(len(records) - len(failed), "case")
    form = f"It was measured with `--quick`: {count}." if quick else f"It has {count}."
    if failed:
        form += f" These cases failed: {'; '.join(failed)}."
    text = PAGE.format(
        form=form,
        first=first_calls(good),
        memory=memories(good),
        slopes=slopes(good),
        equal=equal_tokens(good),
        **common(records),
    )
    page.write_text(text, "utf-8")
    draw_plots(page, good)


def compared(records: Sequence[Record]) -> list[Record]:
    """The cases that were measured, without those that keep freed memory."""
    return [record for record in records if "failed" not in record and not record["case"]["kept"]]


def common(records: Sequence[Record]) -> dict[str, str]:
    """What both pages say."""
    measured, good = [record for record in records if "failed" not in record], compared(records)
    return {
        "ratios": RATIOS,
        "machine": f"{processor()}, torch {torch.__version__}",
        "commits": ", ".join(sorted({record["commit"] for record in measured})),
        "summary": summary(good),
        "slower": slower(good),
        "kept": kept(measured),
        "time": times(good),
        "share": shares(good),
    }


def processor() -> str:
    """The name of the processor."""
    path = Path("/proc/cpuinfo")
    names = [
        line.split(":")[1].strip() for line in path.read_text("utf-8").splitlines() if line.startswith("model name")
    ]
    return names[0] if names else platform.processor()


def spread(values: Sequence[float]) -> str:
    """The median, with the range of several values."""
    return f"{median(values):.2f}" + (f" [{min(values):.2f}, {max(values):.2f}]" if len(values) > 1 else "")


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a median, between two of the values; with fewer than 6 the smallest and the largest one."""
    ordered = sorted(values)
    outside = max(0, int(binom.ppf(0.025, len(ordered), 0.5)) - 1)  # values at each end
    return ordered[outside], ordered[-1 - outside]


def turns(values: Sequence[float]) -> str:
    """The median over turns, with its interval."""
    low, high = interval(values)
    return f"{median(values):.2f} [{low:.2f}, {high:.2f}]"


def both(record: Record, name: str) -> str:
    """The ratio of CPU time with its interval, and that of seconds."""
    return f"{turns(ratios(record, name))} ({median(ratios(record, name, 'seconds')):.2f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    if not rows:
        return "Nothing was measured."
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def sizes(record: Record) -> list[str]:
    """The columns that say which case it is."""
    case = record["case"]
    numbers = [f"{case[name]:,}" for name in ("vocabulary", "length", "rows", "steps")]
    drawn = f"{case['temperature']:g}" + (f", top-p {case['top_p']:g}" if case["top_p"] < 1 else "")
    flat = f", spread {case['spread']:g}" if case["spread"] != SPREAD else ""
    return [*numbers, case["order"], drawn, case["trunk"] + flat]


SIZES = ("vocabulary", "length", "rows", "steps", "order", "temperature", "trunk")


def present(records: Sequence[Record]) -> list[str]:
    """The peers that were measured."""
    return [name for name in PEERS if any(name in record["cpu"] for record in records)]


def summary(records: Sequence[Record]) -> str:
    """Medians over cases, for each peer, vocabulary and temperature."""
    groups: dict[tuple[str, int, float], list[Record]] = {}
    for name in present(records):
        for record in records:
            if name in record["cpu"] and record["case"]["trunk"] != "text":
                case = record["case"]
                groups.setdefault((name, case["vocabulary"], case["temperature"]), []).append(record)
    rows = []
    for (name, vocabulary, temperature), some in groups.items():
        speed = [median(ratios(record, name)) for record in some]
        memory = [ratio for record in some if (ratio := memory_ratio(record, name)) is not None]
        rows.append(
            [
                name,
                f"{vocabulary:,}",
                f"{temperature:g}",
                str(len(some)),
                spread(speed),
                spread(memory) if memory else "",
            ]
        )
    head = ("peer", "vocabulary", "temperature", "cases", "CPU time, peer / ours", "memory, peer / ours")
    return table(head, rows) + "\n\nThis is the median over the cases, with the smallest and the largest case."


def slower(records: Sequence[Record]) -> str:
    """The cases in which a peer is faster by more than 5 %."""
    pairs = [(record, name) for record in records for name in PEERS if name in record["cpu"]]
    known = sorted((median(ratios(record, name)), number) for number, (record, name) in enumerate(pairs))
    behind = [pairs[number] for ratio, number in known if ratio < SLOWER]
    if not behind:
        return f"In none of {len(pairs)} comparisons is another sampler faster by more than 5 %."
    rows = [
        [*sizes(record), name, turns(ratios(record, name)), f"{100 * median(record['share']):.1f} %"]
        for record, name in behind
    ]
    sure = sum(interval(ratios(record, name))[1] < SLOWER for record, name in behind)
    text = (
        f"**In {len(behind)} of {len(pairs)} comparisons another sampler is faster than ours by more than 5 %**; in "
        f"{sure} of them the whole interval says so:"
    )
    text = f"{text}\n\n{table([*SIZES, 'peer', 'CPU time, peer / ours', 'our loop'], rows)}"
    return f"{text}\n\n" + (
        "*our loop* is the part of our time that is not the network's: the most that another loop could save. The\n"
        "rest of a difference is the network's own time, which [depends on the memory](#memory-from-the-system)."
    )


def kept(records: Sequence[Record]) -> str:
    """Time with freed memory returned and kept, for the cases that were measured both ways."""
    returned = {record["name"]: record for record in records if not record["case"]["kept"]}
    rows = []
    for record in records:
        other = returned.get(record["name"].removesuffix(" kept"))
        if other is record or other is None:
            continue
        own = f"{median(record['cpu']['ours']) / median(other['cpu']['ours']):.2f}"
        names = [name for name in PEERS if name in record["cpu"] and name in other["cpu"]]
        rows += [[*sizes(record), own, name, turns(ratios(other, name)), turns(ratios(record, name))] for name in names]
    head = (*SIZES, "our time, kept / returned", "peer", "peer / ours, returned", "peer / ours, kept")
    return table(head, rows)


def times(records: Sequence[Record]) -> str:
    """CPU time of ours and the ratio of each peer, for every case."""
    peers, rows = present(records), []
    for record in records:
        own = f"{median(record['cpu']['ours']):.3f} ({median(record['seconds']['ours']):.3f})"
        cells = [both(record, name) if name in record["cpu"] else "" for name in peers]
        rows.append([*sizes(record), own, *cells])
    return table([*SIZES, "ours, CPU s (s)", *(f"{name} / ours" for name in peers)], rows)


def memory_ratio(record: Record, name: str) -> float | None:
    """Peak memory of a peer divided by ours; None if the peer needs too little to tell it from chance."""
    ours, theirs = record["memory"]["ours"], record["memory"].get(name)
    return float(theirs / ours) if ours and theirs and theirs >= LITTLE else None


def first_calls(records: Sequence[Record]) -> str:
    """How much more memory the first call needs than the second."""
    ranges = {}
    for name in ("ours", "LLaDA", "plain"):
        pairs = [(record.get("first", {}).get(name), record["memory"].get(name)) for record in records]
        more = sorted(first - second for first, second in pairs if first is not None and second is not None)
        if more:
            ranges[name] = f"{more[len(more) // 2]:.0f} MiB [{more[0]:.0f}, {more[-1]:.0f}]"
    named = ", ".join(f"{each} ({name})" for name, each in ranges.items())
    return (
        "A first call also loads code of libraries, and the buffers that they keep. Its peak is higher by\n"
        f"  {named}: the median over the cases, the least and the most."
    )


def memories(records: Sequence[Record]) -> str:
    """Peak memory for every case."""
    peers, rows = present(records), []
    for record in records:
        memory = record["memory"]
        if not memory["ours"]:
            continue
        cells = [
            f"{memory[name]:,.1f}{'' if (ratio := memory_ratio(record, name)) is None else f' ({ratio:.1f})'}"
            if memory.get(name)
            else ""
            for name in peers
        ]
        rows.append([*sizes(record), f"{memory['ours']:,.1f}", *cells])
    return table([*SIZES, "ours", *peers], rows)


def shares(records: Sequence[Record]) -> str:
    """Share of the loop, and its time per denoiser call."""
    rows = [
        [
            *sizes(record),
            f"{100 * median(record['share']):.1f} %",
            f"{1000 * median(record['loop']) / record['case']['steps']:.2f}",
        ]
        for record in sorted(records, key=lambda record: (record["case"]["vocabulary"], record["name"]))
    ]
    return table([*SIZES, "share", "ms per call"], rows)


def slopes(records: Sequence[Record]) -> str:
    """CPU milliseconds for one more of each size, ours and those of LLaDA and the plain loop."""
    rows = []
    for field, (unit, words) in UNITS.items():
        groups: dict[str, list[Record]] = {}
        for record in records:
            rest = {name: value for name, value in record["case"].items() if name != field}
            groups.setdefault(str(sorted(rest.items())), []).append(record)
        for group in groups.values():
            values = sorted(record["case"][field] for record in group)
            if len(values) < 2 or any(
                "LLaDA" not in record["cpu"] and "plain" not in record["cpu"] for record in group
            ):
                continue
            cells = [slope_of(group, field, unit, name) for name in ("ours", "LLaDA", "plain")]
            own = dict(zip(SIZES, sizes(group[0]), strict=True))
            own[field] = " to ".join(f"{value:,}" for value in (values[0], values[-1]))
            rows.append([words, *own.values(), *cells])
    return table(["one more", *SIZES, "ours, ms", "LLaDA, ms", "plain, ms"], rows)


def slope_of(group: Sequence[Record], field: str, unit: int, name: str) -> str:
    """The slope of a sampler's time; nothing where it was not measured."""
    if any(name not in record["cpu"] for record in group):
        return ""
    x = [record["case"][field] / unit for record in group]
    return f"{1000 * np.polyfit(x, [median(record['cpu'][name]) for record in group], 1)[0]:.3g}"


def equal_tokens(records: Sequence[Record]) -> str:
    """How many tokens are equal, for each peer."""
    rows = []
    for name in PEERS:
        some = [record for record in records if name in record["equal"]]
        if some:
            count = sum(record["equal"][name] for record in some)
            total = sum(record["case"]["rows"] * record["case"]["length"] for record in some)
            rows.append([name, str(len(some)), f"{count:,} of {total:,}"])
    return table(("peer", "cases", "tokens equal"), rows)
