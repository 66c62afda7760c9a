"""How honest and how useful the flat part is, where the truth is known: the table of docs/search.md.

    python scripts/flat_part.py --work build/flat --page docs/search.md     # about six minutes on one core

Searches on the chain of configs/markov.yaml in order of the largest probability, for the likelihood of drawn strings
along the path (``path_nll``). The flat part comes from the Gaussian process on the trials. The truth of every schedule
is measured on 1,024 unseen strings, the same for all. A search that is in --work is not run again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pages import commit, show_part
from scipy import stats

import mdm_tune
from mdm_tune.config.file import load_config
from mdm_tune.core.statistics import estimate
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.run.build import build
from mdm_tune.schedules.curves import Beta
from mdm_tune.schedules.flat import EXACTLY_NAMED

CONFIG = Path(__file__).parent.parent / "configs" / "markov.yaml"
STEPS = (4, 8)
TRIALS, EXAMPLES, UNSEEN = 20, 128, 1024
SETTINGS = ("objective.metric=path_nll", "sampler.order=top-probability", f"search.trials={TRIALS}")
HEAD = (
    "| steps | share of the box | holds the best point | better points that it leaves out | KL of the winner | "
    "mean KL inside | mean KL outside | least KL |"
)
Values = NDArray[np.float64]


class Truth:
    """The negative log likelihood of unseen strings along the path, less its mean: an estimate of the KL, in nats."""

    def __init__(self) -> None:
        self.evaluator = build(load_config(CONFIG, [*SETTINGS, data(8, UNSEEN)], seed=1000)).evaluator
        law = self.evaluator.denoiser
        assert isinstance(law, MarkovChain)
        self.entropy = law.entropy()
        self.known: dict[tuple[int, ...], float] = {}

    def values(self, pairs: Values, steps: int) -> Values:
        """The KL (n,) of each pair (a, b) of ``pairs`` (n, 2)."""
        counts = self.evaluator.beta_counts(pairs[:, 0], pairs[:, 1], steps)
        found = np.empty(len(pairs))
        for place, (pair, key) in enumerate(zip(pairs.tolist(), map(tuple, counts.tolist()), strict=True)):
            if key not in self.known:
                scores = self.evaluator.score(self.evaluator.setting(Beta(*pair), steps), "report")
                self.known[key] = scores.estimate.value - self.entropy
            found[place] = self.known[key]
        return found


def data(others: int, report: int) -> str:
    """The setting of the data."""
    return f"dataset={{type: law, tune: {others}, choose: {others}, report: {report}}}"


def searched(work: Path, seed: int) -> Mapping[str, Any]:
    """The result of a search; it is run if it is not there."""
    path = work / f"seed-{seed}"
    if not (path / "search.json").exists():
        settings = [*SETTINGS, data(EXAMPLES, EXAMPLES), f"sampler.steps={list(STEPS)}"]
        mdm_tune.search(load_config(CONFIG, settings, seed=seed, output=str(path)), overwrite=True)
    found: Mapping[str, Any] = json.loads((path / "search.json").read_text("utf-8"))
    return found


def place_of(schedule: Mapping[str, Any]) -> tuple[float, float] | None:
    """a and b of what a search returned; None outside the family."""
    if schedule.get("a") is not None:
        return schedule["a"], schedule["b"]
    return EXACTLY_NAMED.get(str(schedule["type"]))


def judged(truth: Truth, budget: Mapping[str, Any]) -> dict[str, float] | None:
    """What is true of a flat part; None if there is none, or if the winner is outside the family."""
    flat, place = budget["flat"], place_of(budget["schedule"])
    if flat is None or place is None:
        return None
    grid = flat["grid"]
    inside = np.array([letter == "1" for row in grid["inside"] for letter in row])
    pairs = np.array([(a, b) for a in grid["a"] for b in grid["b"]])
    values = truth.values(pairs, budget["steps"])
    (winner,) = truth.values(np.array([place]), budget["steps"])
    better = values < winner - 1e-9
    return {
        "share": 100 * float(inside.mean()),
        "holds": float(inside[values <= values.min() + 1e-9].any()),
        "left out": 100 * float((better & ~inside).sum() / max(1, better.sum())),
        "winner": float(winner),
        "inside": float(values[inside].mean()),
        "outside": float(values[~inside].mean()) if not inside.all() else float("nan"),
        "least": float(values.min()),
    }


def row(steps: int, found: list[dict[str, float]]) -> str:
    """One row of the table."""

    def mean(key: str, unit: str = "", digits: int = 2) -> str:
        values = np.array([each[key] for each in found])
        values = values[np.isfinite(values)]
        ends = estimate(values).ci
        assert ends is not None
        return f"{values.mean():.{digits}f}{unit} [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"

    held = int(sum(each["holds"] for each in found))
    low, high = stats.binomtest(held, len(found)).proportion_ci(0.95)  # Clopper and Pearson
    return (
        f"| {steps} | {mean('share', ' %', 0)} | {held} of {len(found)} [{100 * low:.0f} %, {100 * high:.0f} %] | "
        f"{mean('left out', ' %', 1)} | {mean('winner')} | {mean('inside')} | {mean('outside')} | "
        f"{found[0]['least']:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where searches are kept")
    parser.add_argument("--searches", type=int, default=20, help="their number, at least 10")
    parser.add_argument("--page", type=Path, help="the page; the table is printed without it")
    args = parser.parse_args()
    truth, lines = Truth(), [HEAD, f"|{'---|' * (HEAD.count('|') - 1)}"]
    results = [searched(args.work, seed) for seed in range(args.searches)]
    for number, steps in enumerate(STEPS):
        found = [judged(truth, result["budgets"][number]) for result in results]
        lines.append(row(steps, [each for each in found if each is not None]))
    lines += [
        "",
        f"{args.searches} searches with {TRIALS} trials on {EXAMPLES} tune examples; those whose winner is sine or "
        f"maskgit-cosine are left out. KL along the path in nats, means over searches with 95 % intervals. Code at "
        f"commit {commit()}.",
    ]
    show_part(args.page, "flat", "\n".join(lines))


if __name__ == "__main__":
    main()
