"""The tables of docs/antibody.md: schedules of AntiBERTy in random order, priced on antibodies and judged by samples.

    python scripts/fetch_antiberty.py && pip install anarcism==1.0.1
    python scripts/antibody_table.py --work build/antibody --output docs/antibody.md

Schedules are chosen on the tune split of each kind of domains, and priced on its report split. Then sequences of the
report split's lengths are drawn from nothing but masks with five of these schedules, and judged by anarcism. About
30,000 denoiser rows, 20 to 60 minutes on one core; the same command goes on where it was. The tables replace what
stands between the markers <!-- tables --> in the output.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from antibody_judge import RECOGNISED, Domain, identity, nearest, numbered
from numpy.typing import NDArray
from pages import write_part

from mdm_tune.config.file import load_config
from mdm_tune.core.seeding import derive_seed, noise
from mdm_tune.core.statistics import Estimate, estimate
from mdm_tune.metrics.quality import SHARE
from mdm_tune.run.build import Run, open_run
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.measuring import measure_profile
from mdm_tune.run.profiles import Profiles
from mdm_tune.schedules.curves import Beta, Linear, Schedule, Sine, SquaredSine
from mdm_tune.schedules.pricing import count_weights
from mdm_tune.schedules.profile import Profile

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "configs" / "antibody.yaml"
USES = ("tune", "choose", "report")
READS = f"dataset.path={{{', '.join(f'{use}: antibody/reads/{use}.jsonl' for use in USES)}}}"
KINDS = {
    "hiv": ("Antibodies against HIV, heavy and light chains", ()),
    "reads": ("Sequencing reads of heavy chains", (READS, "dataset.tune=64", "dataset.choose=60", "profile.points=24")),
}
STEPS = (4, 8, 16, 32, 64)
NAMES = ("linear", "squared-sine", "sine", "best Beta", "optimum")
DRAWN = (("linear", 8), ("best Beta", 8), ("linear", 16), ("best Beta", 16), ("linear", 32))
COMPARED = ((1, 0), (1, 2), (1, 4), (3, 4))  # by place among the drawn
COPIES = 3  # samples of each length
HIDDEN = 0.15  # of the tokens, as BERT was trained
RESAMPLES, PAIRS = 2000, 2000
Values = NDArray[np.float64]


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What a file holds as JSON; made and written where there is none."""
    if not path.is_file():
        tell(f"making {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(make()), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Kind:
    """One kind of domains: the run, its schedules by name and steps, and the profile of its report split."""

    run: Run
    schedules: dict[tuple[str, int], Schedule]
    report: Profile

    def prices(self, schedule: Schedule, steps: int) -> Values:
        """NELBO (examples,) of the report split, nats per sequence."""
        counts = self.run.evaluator.setting(schedule, steps).counts
        assert counts is not None  # fixed counts
        return self.report.prices(count_weights(counts, self.report.length))


def kind_of(run: Run, work: Path) -> Kind:
    """Choose schedules on the tune split and measure the report split."""
    profiles = Profiles(run, RunFolder(work), lambda event: None, STEPS)
    schedules: dict[tuple[str, int], Schedule] = {}
    for steps in STEPS:
        found = (Linear(), SquaredSine(), Sine(), profiles.chooser.best_beta(steps), profiles.optimum(steps))
        schedules |= {(name, steps): schedule for name, schedule in zip(NAMES, found, strict=True)}

    def measured() -> Any:
        evaluator, split = run.evaluator, run.evaluator.split("report")
        return measure_profile(
            evaluator.denoiser,
            split.start,
            split.originals,
            split.seeds,
            examples=len(split.ids),
            points=run.config.profile.points,
            length=evaluator.length,
            batch=evaluator.sampler.section.batch,
        ).to_record()

    return Kind(run, schedules, Profile.from_record(kept(work / "report.json", measured)))


def steps_of_linear(kind: Kind, prices: Values) -> str:
    """The fewest steps at which linear costs no more than these prices, with its bootstrap interval over examples."""
    most = kind.report.length
    linear = np.stack([kind.prices(Linear(), steps) for steps in range(1, most + 1)])
    drawn = np.random.default_rng(0).integers(len(prices), size=(RESAMPLES, len(prices)))

    def fewest(rows: NDArray[np.int64]) -> int:
        enough = np.flatnonzero(linear[:, rows].mean(1) <= prices[rows].mean())
        return int(enough[0]) + 1 if len(enough) else most + 1

    low, high = np.percentile([fewest(rows) for rows in drawn], [2.5, 97.5], method="nearest")
    found, *ends = (
        f"{int(steps)}" if steps <= most else f"over {most}" for steps in (fewest(np.arange(len(prices))), low, high)
    )
    return f"{found} [{', '.join(ends)}]"


def cell(found: Estimate, digits: int, sign: str = "") -> str:
    assert found.ci is not None
    low, high = found.ci
    return f"{found.value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def priced(kind: Kind) -> list[str]:
    """The table of prices on the report split."""
    lines = ["| steps | " + " | ".join(NAMES) + " | best Beta minus linear | linear needs |", "|---" * 8 + "|"]
    for steps in STEPS:
        prices = {name: kind.prices(kind.schedules[name, steps], steps) for name in NAMES}
        beta = kind.schedules["best Beta", steps]
        assert isinstance(beta, Beta)
        cells = [cell(estimate(prices[name]), 1) for name in NAMES]
        cells[3] += f" at ({beta.a:.2g}, {beta.b:.2g})"
        gain = cell(estimate(prices["best Beta"] - prices["linear"]), 1, "+")
        lines.append(f"| {steps} | {' | '.join(cells)} | {gain} | {steps_of_linear(kind, prices['best Beta'])} |")
    limit = estimate(kind.report.prices(np.ones(kind.report.length)))
    lines.append(f"\nOne token a step: {cell(limit, 1)}.")
    tuned = kind.prices(kind.schedules["best Beta", 8], 8)
    against = [
        f"{cell(estimate(tuned - kind.prices(Linear(), more)), 1, '+')} nats against linear at {more}"
        for more in (16, 24, 32)
    ]
    return [*lines, f"The best Beta at 8 steps: {', '.join(against)}."]


def accuracy(run: Run) -> str:
    """Share of hidden amino acids that are the most likely ones, 15 % of each report sequence hidden at random."""
    split, denoiser = run.evaluator.split("report"), run.evaluator.denoiser
    keys = torch.from_numpy(noise(split.seeds, "accuracy", 0, split.start.shape[1])).masked_fill(~split.hidden, 2.0)
    wanted = keys.argsort(1).argsort(1) < (HIDDEN * split.hidden.sum(1)).round()[:, None]
    tokens = torch.where(split.hidden & ~wanted, split.originals, split.start)
    right = []
    with torch.inference_mode():
        for row, mine, told in zip(tokens, wanted, split.originals, strict=True):
            best = denoiser(row[None], mine[None]).argmax(1)
            right.append(float((best == told[mine]).double().mean()))
    return cell(estimate(np.array(right)), 3)


def draw(kind: Kind, schedule: Schedule, steps: int) -> list[str]:
    """COPIES sequences of the length of each report sequence; the same noise for every schedule."""
    run, split = kind.run, kind.run.evaluator.split("report")
    found: list[str] = []
    for copy in range(COPIES):
        seeds = np.array([derive_seed(run.config.seed, "drawn", copy, name) for name in split.ids], dtype=np.uint64)
        result = run.evaluator.fill([run.evaluator.setting(schedule, steps)], split.start, seeds)
        assert run.dataset is not None
        found += run.dataset.completions(result.tokens, split)
    return found


@dataclass(frozen=True)
class Judged:
    """What anarcism says of some sequences."""

    sequences: Sequence[str]
    domains: Sequence[Domain | None]

    def values(self, real: Sequence[Domain]) -> dict[str, Values]:
        """One number a sequence; what has no domain at all, of however few bits, counts as 0."""
        own = set(self.sequences)
        others = [domain for domain in real if domain.sequence not in own]
        columns: dict[str, Callable[[Domain], float]] = {
            "recognised": lambda domain: float(domain.score >= RECOGNISED),
            "whole, with both cysteines and the tryptophan": lambda domain: float(
                domain.score >= RECOGNISED and domain.whole()
            ),
            "score, bits": lambda domain: domain.score,
            "identity to the nearest germline V gene": lambda domain: domain.germline,
            "identity to the nearest real domain": lambda domain: nearest(domain, others),
        }
        return {
            name: np.array([0.0 if domain is None else value(domain) for domain in self.domains])
            for name, value in columns.items()
        }

    def alike(self) -> float:
        """Mean identity of two of the recognised."""
        found = [domain for domain in self.domains if domain is not None and domain.score >= RECOGNISED]
        pairs: Any = np.random.default_rng(0).integers(len(found), size=(PAIRS, 2)) if len(found) > 1 else []
        return float(np.mean([identity(found[one], found[other]) for one, other in pairs if one != other] or [np.nan]))


def judged(drawn: dict[tuple[str, int], list[str]], data: Sequence[str], real: Sequence[str]) -> list[str]:
    """The table of samples, then the differences to the tuned ones, paired by length and noise."""
    domains = [domain for domain in map(numbered, real) if domain is not None]
    everything = {**drawn, ("the data itself", 0): list(data)}
    found = {
        key: Judged(texts, [numbered(text) or numbered(text, 0.0) for text in texts])
        for key, texts in everything.items()
    }
    values = {key: each.values(domains) for key, each in found.items()}
    columns = list(next(iter(values.values())))
    digits = {column: 1 if "bits" in column else 3 for column in columns}
    bounds = {column: None if "bits" in column else SHARE for column in columns}
    head = "| " + " | ".join(columns)
    lines = [f"| schedule | steps | n | distinct {head} | identity of two |", "|---" * (len(columns) + 5) + "|"]
    for (name, steps), each in found.items():
        cells = [
            cell(estimate(values[name, steps][column], bounds=bounds[column]), digits[column]) for column in columns
        ]
        counts = f"{len(each.sequences)} | {len(set(each.sequences))}"
        lines.append(f"| {name} | {steps or ''} | {counts} | {' | '.join(cells)} | {each.alike():.3f} |")
    lines += ["", f"| difference {head} |", "|---" * (len(columns) + 1) + "|"]
    for first, second in COMPARED:
        one, other = DRAWN[first], DRAWN[second]
        less = [estimate(values[one][column] - values[other][column]) for column in columns]
        shown = [cell(each, digits[column], "+") for each, column in zip(less, columns, strict=True)]
        lines.append(f"| {one[0]} at {one[1]} minus {other[0]} at {other[1]} | {' | '.join(shown)} |")
    return lines


def sequences(run: Run, uses: Sequence[str]) -> list[str]:
    assert run.dataset is not None
    return [
        str(example.answer) for use, split in run.dataset.splits.items() if use in uses for example in split.examples
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for profiles and samples, made once")
    parser.add_argument("--output", type=Path, required=True, help="the Markdown file with the markers")
    options = parser.parse_args()
    lines: list[str] = []
    kinds: dict[str, Kind] = {}
    with ExitStack() as stack:
        for name, (title, overrides) in KINDS.items():
            work = options.work / name
            run = stack.enter_context(open_run(load_config(CONFIG, overrides, output=str(work))))
            kinds[name] = kind = kind_of(run, work)
            rows = f"{len(run.evaluator.split('report').ids)} report sequences"
            long = f"{kind.report.length} amino acids in the mean of all uses"
            lines += [f"**{title}**: NELBO, nats per sequence; {rows}, {long}.", "", *priced(kind), ""]
            right = kept(work / "accuracy.json", lambda run=run: accuracy(run))  # type: ignore[misc]
            lines += [f"With 15 % hidden the most likely amino acid is the true one in {right}.", ""]
        hiv, reads = kinds["hiv"], kinds["reads"]
        tuned = hiv.schedules["best Beta", 8]
        lent = estimate(reads.prices(tuned, 8) - reads.prices(reads.schedules["best Beta", 8], 8))
        lines += [
            f"The best Beta of the former at 8 steps, on the latter, minus its own: {cell(lent, 1, '+')} nats.",
            "",
        ]
        drawn = {}
        for key in DRAWN:
            path = options.work / "drawn" / f"{key[0].replace(' ', '-').lower()}-{key[1]}.json"
            drawn[key] = kept(path, lambda key=key: draw(hiv, hiv.schedules[key], key[1]))  # type: ignore[misc]
        real = [text for kind in kinds.values() for text in sequences(kind.run, USES)]
        lines += ["**Drawn from nothing but masks**", "", *judged(drawn, sequences(hiv.run, ("report",)), real)]
    write_part(options.output, "tables", "\n".join(lines))


if __name__ == "__main__":
    main()
