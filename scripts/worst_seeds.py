"""Where the worst seeds of a raced search on one chain come from, and what helps at the same denoiser rows.

    python scripts/worst_seeds.py --work build/worst --page docs/search.md     # 12 s a seed, 3 s an unsearched one

The problem is ``chain-random`` of docs/rows.md with its tune examples: 512 a seed, NELBO along sampled paths, judged by
the exact KL. A search may spend a tenth of the rows of the paper's grid, its profile's included. In random order a
sampled value is a sum of losses that are all in one table of examples x visible tokens x positions, so that whatever
could be tried is known too; the script compares the table with the sampler. Each seed is one file in --work; those that
are there are not run again. The tables of the page, between its marks, are made of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pages import show_part
from problems import BOX, EXAMPLES, GRID, Memo, Problem, problems
from rows_to_optimum import PROFILED, Way, profile, search

from mdm_tune.core.seeding import derive_seed
from mdm_tune.datasets.splits import Use, law_dataset
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.settings import Key, Setting
from mdm_tune.schedules.counts import beta_grids, counts_of_grids
from mdm_tune.schedules.curves import Beta, Linear, SquaredSine
from mdm_tune.schedules.pricing import count_weights
from mdm_tune.search.finalists import Lineup, Study, Trial

NAME, SHARE, LIMIT = "chain-random", 0.1, 0.08
CHOOSE, FINALISTS = 256, 5
LEADERS, KEPT = 3, 0.25  # so many of the best trials meet on fresh examples, for this share of the rows
AXIS = 64  # points an axis of the scan of the box
TABLES = {
    "where the regret comes from": {
        "returned": f"what a search by samples returns: {FINALISTS} finalists by tune and {CHOOSE} choose examples",
        "choose": "the same, by choose examples alone",
        "scored": "the best fully scored trial",
        "tried": "the best of all that was tried, on all tune examples",
        "truly": "the truly best of what was tried",
    },
    "what else the same rows buy": {
        "no races": "no races, fewer trials",
        "fresh alone": f"a quarter of the rows kept for the {LEADERS} best trials on fresh examples: by these alone",
        "fresh and raced": "the same, by fresh and tune examples together",
        "twice": f"{2 * EXAMPLES:,} tune examples, raced, fewer trials",
        "own": "fresh examples for every trial, no races",
        "steady": "the start's own best unless a trial is better by two standard errors",
        "dense": f"a start from the profile of {EXAMPLES} examples, trials for the rest",
        "dense steady": "the same, its own best unless a trial is better by two standard errors",
    },
}
Floats = NDArray[np.float64]
Found = dict[str, float]


class Losses:
    """Every loss along the random orders of a split's examples, from which follow the values of all schedules."""

    def __init__(self, evaluator: Evaluator, use: Use) -> None:
        split = evaluator.split(use)
        count, length = split.start.shape
        order = np.zeros((count, length), dtype=np.int64)

        def show(step: Any) -> None:
            order[:, step.number] = step.revealed.int().argmax(1).numpy()

        one_by_one = evaluator.setting(Linear(), length)
        evaluator.fill([one_by_one], split.start, split.seeds, split.originals, on_step=show)
        rank, known = torch.from_numpy(order.argsort(1)), split.originals
        self.sums = np.zeros((count, length, length + 1))  # of the losses of the first positions, so many visible
        for visible in range(length):
            hidden = rank >= visible
            logs = evaluator.denoiser(torch.where(hidden, split.start, known), hidden).double().log_softmax(1)
            losses = torch.zeros((count, length), dtype=torch.float64)
            losses[hidden] = -logs.gather(1, known[hidden][:, None]).squeeze(1)
            self.sums[:, visible, 1:] = np.take_along_axis(losses.numpy(), order, 1).cumsum(1)
        checked = evaluator.setting(Beta(0.7, 0.4), 8)
        drawn = evaluator.measure_on(checked, split).values
        if drawn is None or not np.allclose(drawn, self.of(checked.key)):
            raise SystemExit("the table of losses is not what the sampler scores; the sampler's orders have changed")

    def of(self, key: Key) -> Floats:
        """The values (examples,) that the sampler gives to these counts."""
        stops = np.cumsum(np.array(key, dtype=np.int64))
        starts = np.concatenate([[0], stops[:-1]])
        found: Floats = (self.sums[:, starts, stops] - self.sums[:, starts, starts]).sum(1)
        return found


@dataclass(frozen=True, eq=False)
class Tabled(Memo):
    """An evaluator whose tune values come from a function of the counts."""

    values: Callable[[Key], Floats] = lambda key: np.empty(0)

    def drawn(self, setting: Setting, use: Use, first: int, stop: int) -> Iterator[Floats]:
        yield self.values(setting.key)[first:stop]


class Bench:
    """One seed: its examples (tune, choose and as many fresh ones as tune), and searches on them."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem, self.seed, self.model = problem, seed, problem.evaluator(seed)
        sizes: dict[Use, int] = {"tune": EXAMPLES, "choose": CHOOSE, "report": EXAMPLES}
        self.scored = self.evaluator(sizes, lambda key: np.empty(0))
        if not torch.equal(self.scored.split("tune").originals, self.model.split("tune").originals):
            raise SystemExit("the tune examples are not those of docs/rows.md; the data set of a law has changed")
        grid = np.stack(np.meshgrid(GRID, GRID), axis=-1).reshape(-1, 2)
        keys = self.model.beta_keys(grid[:, 0], grid[:, 1], problem.steps)
        self.rows = round(SHARE * EXAMPLES * sum(map(len, keys)))

    @cached_property
    def tune(self) -> Losses:
        return Losses(self.scored, "tune")

    @cached_property
    def choose(self) -> Losses:
        return Losses(self.scored, "choose")

    @cached_property
    def fresh(self) -> Losses:
        return Losses(self.scored, "report")

    @cached_property
    def few(self) -> tuple[list[Beta], int]:
        """The best schedules on a profile of the usual number of examples, and its rows."""
        return profile(self.problem, self.model)

    @cached_property
    def dense(self) -> tuple[list[Beta], int]:
        """The same on a profile of all examples."""
        return profile(self.problem, self.model, EXAMPLES)

    def evaluator(self, sizes: dict[Use, int], values: Callable[[Key], Floats]) -> Tabled:
        model, dataset = self.model, law_dataset(self.model.denoiser, sizes, 1000 + self.seed)  # type: ignore[arg-type]
        return Tabled(model.denoiser, model.length, model.sampler, model.metric, dataset, values=values)

    def search(
        self, way: Way, start: Sequence[Beta], rows: int, values: Callable[[Key], Floats], tune: int
    ) -> list[Trial]:
        """The trials of a search on so many tune examples that have these values."""
        evaluator = self.evaluator({"tune": tune}, values)
        return list(search(self.problem, evaluator, self.seed, way, start, rows))

    def regret(self, key: Key) -> float:
        whole = tuple(int(each) for each in key)
        return self.problem.regret(Setting(name="", steps=self.problem.steps, length=self.model.length, counts=whole))

    def returned(self, trials: Sequence[Trial], *, pooled: bool = True) -> Key:
        """What a search returns: finalists told apart by tune and choose examples together, or by choose alone."""
        study = Study(self.scored, trials, {"linear": Linear(), "squared-sine": SquaredSine()})
        lineup = Lineup.of([study], self.problem.steps, FINALISTS)
        split = self.scored.split("choose")
        scores = [
            self.scored.scored(each.setting, self.choose.of(each.setting.key), split) for each in lineup.candidates
        ]
        judged = lineup if pooled else Lineup([study], lineup.candidates, [])
        return judged.winner(scores).setting.key


def best(keys: Sequence[Key], value: Callable[[Key], float]) -> Key:
    return min(dict.fromkeys(keys), key=value)


def whole(trials: Sequence[Trial]) -> list[Key]:
    """The counts that were scored on all examples, the best value first."""
    full = sorted((t for t in trials if not t.dropped), key=lambda t: (t.value, t.number))
    return list(dict.fromkeys(t.key for t in full))


def steady(bench: Bench, first: Beta, found: Key) -> Key:
    """The start's best schedule, unless what was found is better by two standard errors of the paired difference."""
    key = bench.model.setting(first, bench.problem.steps).key
    gain = bench.tune.of(key) - bench.tune.of(found)
    return found if gain.mean() > 2 * gain.std(ddof=1) / EXAMPLES**0.5 else key


def decomposed(bench: Bench, start: Sequence[Beta], spent: int) -> Found:
    """One search, by where its regret comes from; ``spent``: rows of its start."""
    trials = bench.search(Way("raced", warm=bool(start)), start, bench.rows - spent, bench.tune.of, EXAMPLES)
    tried = [trial.key for trial in trials]
    kept = {"steady": bench.regret(steady(bench, start[0], whole(trials)[0]))} if start else {}
    return kept | {
        "returned": bench.regret(bench.returned(trials)),
        "choose": bench.regret(bench.returned(trials, pooled=False)),
        "scored": bench.regret(whole(trials)[0]),
        "tried": bench.regret(best(tried, lambda key: bench.tune.of(key).mean())),
        "truly": min(map(bench.regret, tried)),
    }


def confirmed(bench: Bench, start: Sequence[Beta], spent: int) -> Found:
    """A quarter of the rows kept for the best trials, on examples that they were not raced on."""
    limit = round((1 - KEPT) * bench.rows) - spent
    trials = bench.search(Way("three quarters", warm=bool(start)), start, limit, bench.tune.of, EXAMPLES)
    leaders = whole(trials)[:LEADERS]
    left = bench.rows - spent - sum(trial.cost.denoiser_rows for trial in trials)
    count = min(EXAMPLES, left // sum(map(len, leaders)))
    fresh = {key: bench.fresh.of(key)[:count] for key in leaders}
    return {
        "fresh alone": bench.regret(best(leaders, lambda key: fresh[key].mean())),
        "fresh and raced": bench.regret(best(leaders, lambda key: bench.tune.of(key).sum() + fresh[key].sum())),
    }


def doubled(bench: Bench, start: Sequence[Beta], spent: int) -> Found:
    """Twice the examples, and so fewer trials."""

    def twice(key: Key) -> Floats:
        return np.concatenate([bench.tune.of(key), bench.fresh.of(key)])

    trials = bench.search(Way("twice", warm=bool(start)), start, bench.rows - spent, twice, 2 * EXAMPLES)
    return {"twice": bench.regret(whole(trials)[0])}


def unraced(bench: Bench, start: Sequence[Beta], spent: int) -> Found:
    """No races, on common examples and on others for every trial; one at a time, for four cost more than is left."""
    model = bench.model

    def own(key: Key) -> Floats:
        root = derive_seed(bench.seed, "own", *map(str, key))
        dataset = law_dataset(model.denoiser, {"tune": EXAMPLES}, root)  # type: ignore[arg-type]
        counts = tuple(int(each) for each in key)
        setting = Setting(name="", steps=bench.problem.steps, length=model.length, counts=counts)
        values = model.measure_on(setting, dataset.splits["tune"]).values
        assert values is not None
        return values

    way, found = Way("no races", racing=False, warm=bool(start), together=1), {}
    for name, values in (("no races", bench.tune.of), ("own", own)):
        found[name] = bench.regret(whole(bench.search(way, start, bench.rows - spent, values, EXAMPLES))[0])
    return found


def box(problem: Problem, evaluator: Evaluator) -> list[Key]:
    """All count vectors that a scan of the box meets."""
    axis = np.geomspace(*BOX, AXIS)
    a, b = (points.ravel() for points in np.meshgrid(axis, axis))
    pool = np.unique(counts_of_grids(beta_grids(a, b, problem.steps), evaluator.length, "one-per-step"), axis=0)
    return [tuple(count for count in row if count) for row in pool.tolist()]


def noise(bench: Bench, one: Key, other: Key) -> float:
    """The standard error of the difference of two schedules on the tune examples, relative to the other's KL."""
    law: Any = bench.model.denoiser
    kl = float(count_weights([int(each) for each in other], bench.model.length) @ law.profile()) - law.entropy()
    return float((bench.tune.of(one) - bench.tune.of(other)).std(ddof=1) / EXAMPLES**0.5 / kl)


def unsearched(bench: Bench, keys: Sequence[Key]) -> dict[str, Found]:
    """Regrets of what needs no search, rows, and the noise; ``keys``: all count vectors of the box."""
    (few, spent), (dense, dear), steps = bench.few, bench.dense, bench.problem.steps
    scanned, true = best(keys, lambda key: float(bench.tune.of(key).mean())), best(keys, bench.regret)
    alone = {name: bench.model.setting(each[0], steps).key for name, each in (("few", few), ("all", dense))}
    rows: Found = {"search": bench.rows, "few": spent, "all": dear, "box": len(keys), "vector": steps * EXAMPLES}
    return {
        "alone": {name: bench.regret(key) for name, key in (alone | {"scan": scanned}).items()},
        "rows": rows,
        "noise": {"truly": noise(bench, scanned, true)},
    }


def run(bench: Bench, keys: Sequence[Key]) -> dict[str, Found]:
    """Regrets of one seed: of the cold search, the warm one and what needs no search; rows, and the noise."""
    found: dict[str, Found] = {}
    for name, start, before in (("cold", [], 0), ("warm", *bench.few)):
        found[name] = {}
        for part in (decomposed, confirmed, doubled, unraced):
            found[name] |= part(bench, start, before)
    more = decomposed(bench, *bench.dense)
    found["warm"] |= {"dense": more["returned"], "dense steady": more["steady"]}
    return found | unsearched(bench, keys)


def told(records: Sequence[dict[str, Found]], part: str, name: str) -> str:
    """Regrets over the seeds: median, 90 % and worst; how many seeds where some records lack it."""
    values = np.array([record[part][name] for record in records if name in record[part]])
    if not len(values):
        return ""
    fewer = f", {len(values)} seeds" if len(values) < len(records) else ""
    above = (values > LIMIT).mean()
    return f"{np.median(values):.1%}, {np.quantile(values, 0.9):.1%}, {values.max():.1%} ({above:.0%}{fewer})"


def page(records: Sequence[dict[str, Found]], more: Sequence[dict[str, Found]]) -> str:
    """The tables between the marks; ``more``: seeds on which nothing was searched."""
    cheap = [*records, *more]
    rows = records[0]["rows"]
    noises = [record["noise"]["truly"] for record in cheap if record["noise"]["truly"] > 0]
    lines = [
        f"{len(records)} seeds of `{NAME}`, {rows['search']:,.0f} denoiser rows each, {EXAMPLES} tune examples. "
        "The cells hold the regret, as in the table\nabove: median, 90 % quantile, worst seed, and in brackets the "
        f"share of seeds above {LIMIT:.0%}. The noise of the tune\nexamples is large: the standard error of the paired "
        "difference between the best schedule of a scan of the box and\nthe truly best one is "
        f"{np.quantile(noises, 0.1):.1%} to {np.quantile(noises, 0.9):.1%} of the KL (80 % of the seeds).",
    ]
    for title, parts in TABLES.items():
        lines += ["", f"| {title} | cold | warm |", "|---|---|---|"]
        for name, label in parts.items():
            lines.append(f"| {label} | {told(records, 'cold', name)} | {told(records, 'warm', name)} |")
    lines += ["", f"| without a search, {len(cheap)} seeds | denoiser rows | regret |", "|---|---|---|"]
    for name, label, spent in (
        ("few", f"profile of {PROFILED} examples, its best Beta", f"{rows['few']:,.0f}"),
        ("all", f"profile of {EXAMPLES} examples, its best Beta", f"{rows['all']:,.0f}"),
        (
            "scan",
            f"all {rows['box']:,.0f} count vectors of the box, the best on the tune examples",
            f"{rows['box'] * rows['vector']:,.0f}",
        ),
    ):
        lines.append(f"| {label} | {spent} | {told(cheap, 'alone', name)} |")
    return "\n".join(lines)


def kept(
    file: Path,
    problem: Problem,
    seed: int,
    keys: Sequence[Key],
    make: Callable[[Bench, Sequence[Key]], dict[str, Found]],
) -> dict[str, Found]:
    """What a file holds; made first where it is not there."""
    if not file.is_file():
        file.write_text(json.dumps(make(Bench(problem, seed), keys)), "utf-8")
        print(file.name, file=sys.stderr, flush=True)
    found: dict[str, Found] = json.loads(file.read_text("utf-8"))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for what each seed gave")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--unsearched", type=int, default=100, help="seeds of the table of what needs no search")
    parser.add_argument("--page", type=Path, help="a page with the marks between which the tables stand")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    problem = problems(options.work)[NAME]()
    keys = box(problem, problem.evaluator(0))
    records = [kept(options.work / f"worst-{seed}.json", problem, seed, keys, run) for seed in range(options.seeds)]
    rest = range(options.seeds, options.unsearched)
    more = [kept(options.work / f"unsearched-{seed}.json", problem, seed, keys, unsearched) for seed in rest]
    text = page(records, more)
    show_part(options.page, "worst", text)


if __name__ == "__main__":
    main()
