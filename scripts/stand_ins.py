"""What stand-ins truly lose, where the truth is known: the table of docs/search.md.

    python scripts/stand_ins.py --work build/stand-ins --page docs/search.md     # some minutes on one core

Searches on the chain of configs/markov.yaml with three objectives:

- ``nelbo`` in random order, priced by a profile. The truth is exact: differences of the NELBO are those of the KL.
- ``path_nll`` in order of the largest probability, by samples. The truth is measured on unseen strings, the same for
  all schedules.
- ``order_kl``, exact. The stated loss is the truth, so this row only shows how much may be rounded.

A search that is in --work is not run again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pages import commit, show_part
from scipy import stats

import mdm_tune
from mdm_tune.config.file import load_config
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.run.build import build
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Schedule, parse_schedule
from mdm_tune.schedules.pricing import order_kl

CONFIG = Path(__file__).parent.parent / "configs" / "markov.yaml"
STEPS = (4, 8, 16)
TRIALS, EXAMPLES, REPORT, UNSEEN = 20, 128, 256, 4096
OBJECTIVES = {
    "nelbo": ("objective.metric=nelbo",),
    "path_nll": ("objective.metric=path_nll", "sampler.order=top-probability"),
    "order_kl": (),
}
HEAD = (
    "| objective | steps | gain over linear | rounder named | digits 1, 2, 3 | its loss: mean, worst | above its bound "
    "| baselines named | their loss: mean, worst | as stated | no worse, left out |"
)


def data(others: int, report: int) -> str:
    """The setting of the data."""
    return f"dataset={{type: law, tune: {others}, choose: {others}, report: {report}}}"


def settings(objective: str, report: int) -> list[str]:
    """The settings of a search or of its truth."""
    sampled = [] if objective == "order_kl" else [data(EXAMPLES if report == REPORT else 8, report)]
    return [*OBJECTIVES[objective], *sampled, f"search.trials={TRIALS}", f"sampler.steps={list(STEPS)}"]


class Truth:
    """The KL of each schedule in nats, but for a constant."""

    def __init__(self, objective: str) -> None:
        self.sampled = objective == "path_nll"
        self.evaluator = build(load_config(CONFIG, settings(objective, UNSEEN), seed=1000)).evaluator
        law = self.evaluator.denoiser
        assert isinstance(law, MarkovChain)
        self.curve, self.entropy, self.length = law.profile(law.length), law.entropy(), law.length
        self.known: dict[tuple[int, ...], float] = {}

    def of(self, schedule: Schedule, steps: int) -> float:
        """The KL, or by samples the mean negative log likelihood along the path."""
        counts = to_counts(schedule, steps, self.length)
        if counts not in self.known:
            if self.sampled:
                scores = self.evaluator.score(self.evaluator.setting(schedule, steps), "report")
                self.known[counts] = scores.estimate.value
            else:
                self.known[counts] = order_kl(self.curve, self.entropy, counts)
        return self.known[counts]


def searched(work: Path, objective: str, seed: int) -> Mapping[str, Any]:
    """The result of a search; it is run if it is not there."""
    path = work / f"{objective}-{seed}"
    if not (path / "search.json").exists():
        config = load_config(CONFIG, settings(objective, REPORT), seed=seed, output=str(path))
        mdm_tune.search(config, overwrite=True)
    found: Mapping[str, Any] = json.loads((path / "search.json").read_text("utf-8"))
    return found


def winner_of(budget: Mapping[str, Any]) -> Schedule:
    """The schedule that a search returned."""
    made = budget["schedule"]
    return parse_schedule(made["type"] if made["a"] is None else f"beta:{made['a']!r},{made['b']!r}")


def digits_of(name: str) -> int:
    """The significant digits of the longer parameter of a name such as ``beta:0.7,0.41``."""
    return max(len(number.replace(".", "").strip("0")) for number in name.removeprefix("beta:").split(","))


def row(objective: str, truth: Truth, steps: int, budgets: list[Mapping[str, Any]]) -> str:
    """One row of the table."""
    gains, rounder, above, digits = [], list[float](), 0, list[int]()
    named, stated, missed, no_worse = list[float](), 0, 0, 0
    for budget in budgets:
        winner, found = truth.of(winner_of(budget), steps), budget["stand_ins"]
        gains.append(truth.of(parse_schedule("linear"), steps) - winner)
        if found["rounder"] is not None:
            schedule = found["rounder"]["schedule"]
            rounder.append(truth.of(parse_schedule(schedule), steps) - winner)
            above += rounder[-1] > found["rounder"]["most"] + 1e-9
            digits.append(digits_of(schedule))
        for name in budget["baselines"]:
            loss = truth.of(parse_schedule(name), steps) - winner
            if name in found["baselines"]:
                low, high = found["baselines"][name]["ci_familywise"] or [loss - 1e-9, loss + 1e-9]
                named.append(loss)
                stated += low <= loss <= high
            elif name != budget["schedule"]["type"] and loss <= -1e-9:
                missed += 1
            no_worse += loss <= -1e-9
    counted = ", ".join(str(digits.count(number)) for number in (1, 2, 3))
    compared = len(budgets) * len(budgets[0]["baselines"])
    return (
        f"| `{objective}` | {steps} | {np.mean(gains):.2f} | {len(rounder)} of {len(budgets)} | {counted} | "
        f"{losses(rounder)} | {share(above, len(rounder))} | {len(named)} of {compared} "
        f"| {losses(named)} | {share(stated, len(named))} | {share(missed, no_worse)} |"
    )


def losses(values: list[float]) -> str:
    """The mean and the largest of losses."""
    return f"{np.mean(values):.3f}, {np.max(values):.3f}" if values else "none"


def share(count: int, whole: int) -> str:
    """A count with the 95 % interval of its share (Clopper and Pearson)."""
    if not whole:
        return "none"
    low, high = stats.binomtest(count, whole).proportion_ci(0.95)
    return f"{count} of {whole} [{100 * low:.0f} %, {100 * high:.0f} %]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where searches are kept")
    parser.add_argument("--searches", type=int, default=20, help="their number for each objective")
    parser.add_argument("--page", type=Path, help="the page; the table is printed without it")
    args = parser.parse_args()
    lines = [HEAD, f"|{'---|' * (HEAD.count('|') - 1)}"]
    for objective in OBJECTIVES:
        truth = Truth(objective)
        results = [searched(args.work, objective, seed) for seed in range(args.searches)]
        for place, steps in enumerate(STEPS):
            lines.append(row(objective, truth, steps, [result["budgets"][place] for result in results]))
    lines += [
        "",
        f"{args.searches} searches of each objective, {TRIALS} trials, {EXAMPLES} tune and choose and {REPORT} report "
        f"examples. Losses are true losses against the winner in nats; negative is better. The truth of `path_nll` is "
        f"the mean over {UNSEEN:,} unseen strings, that of the others is exact. Shares have 95 % intervals. Code at "
        f"commit {commit()}.",
    ]
    show_part(args.page, "stand-ins", "\n".join(lines))


if __name__ == "__main__":
    main()
