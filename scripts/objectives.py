"""Which objective ranks schedules and policies as the true score does, and what a choice by it loses.

    python scripts/objectives.py --work build/objectives --output docs/objectives.md

The scores are measured once and kept under --work (objective_scores.py). Choices are then made on 10 sets of prompts.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from objective_scores import POINTS, Measured, Problem, chain, kept, strings, task, text
from scipy import stats

Values = NDArray[np.float64]

SEEDS = 10
PROFILE, PATH = "profile of own answers", "path_nll of own answers"
OWN = ("agreement", "agreement, whole", PATH, PROFILE)  # objectives that need own answers
SIZES = (1, 4)  # prompts of a choice, as a multiple of a tenth of the pool


@dataclass(frozen=True)
class Choice:
    """What an objective says on the sets of prompts. Arrays have one entry per set.

    Attributes:
        rows: Denoiser rows of one choice.
        spearman: Rank correlation with the truth.
        kendall: The same, Kendall's tau-b.
        regret: The best truth minus that of the choice; ties are broken at random.
    """

    rows: float
    spearman: Values
    kendall: Values
    regret: Values


def sets_of(pool: int, size: int) -> Iterator[NDArray[np.int64]]:
    """Ten sets of prompts; they share none where the pool is large enough."""
    rng = np.random.default_rng(0)
    order = rng.permutation(pool)
    for seed in range(SEEDS):
        disjoint = size * SEEDS <= pool
        yield order[seed * size : (seed + 1) * size] if disjoint else rng.permutation(pool)[:size]


def choice(measured: Measured, objective: str, size: int, lines: slice) -> Choice:
    """What an objective says about the schedules and policies of these lines, on sets of so many prompts."""
    values, truth = measured.objectives[objective][lines], measured.truth[lines]
    found = []
    for rows in sets_of(values.shape[1], size):
        mean = values[:, rows].mean(1)
        best = np.isclose(mean, mean.max(), rtol=0, atol=1e-12)
        constant = np.ptp(mean) < 1e-12
        ranks = (0.0, 0.0) if constant else (stats.spearmanr(mean, truth)[0], stats.kendalltau(mean, truth)[0])
        found.append((*ranks, truth.max() - truth[best].mean()))
    spearman, kendall, regret = np.array(found).T
    calls = float(measured.calls[lines].sum()) * size
    cost = size * POINTS if objective == PROFILE else calls
    own = size * measured.fill if objective in OWN else 0
    return Choice(rows=cost + own, spearman=spearman, kendall=kendall, regret=regret)


def interval(values: Values, digits: int = 2) -> str:
    """The mean over the sets with its 95 % t interval."""
    mean = float(values.mean())
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def mean_alone(values: Values, digits: int = 2) -> str:
    """The mean over sets that share prompts, which therefore show no interval."""
    return f"{float(values.mean()):.{digits}f}"


def tables(name: str, measured: Measured) -> Iterator[str]:
    """The section of a problem."""
    truth, pool = measured.truth, next(iter(measured.objectives.values())).shape[1]
    policies = len(measured.names) - measured.counts
    calls = measured.calls[measured.counts :]
    linear = truth.max() - truth[measured.names.index("linear")]
    yield f"## {name}"
    yield ""
    yield (
        f"{ABOUT[name]} Truth: {measured.judged}. {measured.counts} schedules"
        + (f" and {policies} policies" if policies else "")
        + f" at {measured.steps} calls, with true values from {truth.min():.3f} to {truth.max():.3f}. The best "
        f"is `{measured.names[int(truth.argmax())]}`; linear is {linear:.3f} below it."
        + (f" On the pool, policies make {calls.min():.1f} to {calls.max():.1f} calls." if policies else "")
    )
    yield ""
    parts = [("schedules", slice(0, measured.counts))] + ([("all", slice(None))] if policies else [])
    yield "| objective | prompts | among | rows | Spearman | Kendall | regret |"
    yield "|---|---|---|---|---|---|---|"
    for part, lines in parts:
        for objective, values in measured.objectives.items():
            if np.isnan(values[lines]).any():
                continue
            for times in SIZES:
                size = times * pool // SEEDS
                said = choice(measured, objective, size, lines)
                shown = interval if times == 1 else mean_alone
                cells = shown(said.spearman), shown(said.kendall), shown(said.regret, 3)
                yield f"| {LABELS[objective]} | {size} | {part} | {said.rows:,.0f} | {' | '.join(cells)} |"
    yield ""
    if "score" in measured.objectives:
        yield from against_score(measured, pool, slice(0, measured.counts))


def against_score(measured: Measured, pool: int, lines: slice) -> Iterator[str]:
    """What the sets say about each objective against the score, on the same prompts."""
    size = pool // SEEDS
    score = choice(measured, "score", size, lines)
    parts = []
    for objective, values in measured.objectives.items():
        if objective != "score" and not np.isnan(values[lines]).any():
            said = choice(measured, objective, size, lines)
            parts.append(f"{LABELS[objective]} {interval(said.regret - score.regret, 3)}")
    what = f"Regret minus that of the score on the same {size} prompts, among schedules (below 0 is better)"
    yield f"{what}: {'; '.join(parts)}."
    yield ""


LABELS = {
    "score": "the score itself",
    "agreement": "`agreement`, tokens",
    "agreement, whole": "`agreement`, whole answers",
    PATH: "`path_nll` of own answers",
    PROFILE: "profile of own answers",
}
ABOUT = {
    "strings": (
        "An exact law: 1,024 random strings of 23 bits, all equally likely. A prompt shows 7 bits, about 8 strings go "
        "on from it, and an answer counts as right if it is one of them. Order `confidence`, temperature 0."
    ),
    "chain": (
        "An exact law: a Markov chain of 10 bits without prompts. Order `top-probability`, temperature 1. An adaptive "
        "plan has no exact KL here, so only schedules compete."
    ),
    "text": (
        "The bundled text model: 32 characters of a window are shown, and 32 are filled in. Order `confidence`, "
        "temperature 0."
    ),
    "task": (
        "The bundled task model, which calculates from left to right (configs/arithmetic.yaml), with answers of 32 "
        "tokens that end in end tokens. Order `confidence`, temperature 0."
    ),
}

HEADER = """\
# Objectives that need no references

A search needs an objective. A score of right answers needs references, and a 0-or-1 score on 128 prompts says little.
`agreement` and `path_nll` of the [model's own answers](metrics.md#agreement) need no references. This page measures
how well they rank schedules and policies, and what a choice by them loses.

- **A search by them finds schedules as good as a search by the score**, on the task model and on the law of strings
  ([below](#searches)).
- **A choice among schedules by `path_nll` of own answers loses about as little as one by the score.** On the task model
  it loses nothing on each of the ten sets of 16 prompts, and the score 0.041 ± 0.052. On the law of strings it loses
  0.003 ± 0.012 more than the score. On the chain it has the highest rank correlation, 0.69 ± 0.08 with 128 prompts and
  0.95 with 512. It does not rank adaptive policies.
- **Whole answers equal to the model's own rank as the score does where own answers are right.** On the task model both
  make the same choices, among adaptive policies too; `agreement` takes no references, and 16 % more rows among
  schedules, 14 % more among all candidates. On the law of strings about eight answers are right and `agreement` accepts
  one: its correlation is 0.87, that of the score 0.98. If no whole answer is equal, as on the text model, it says
  nothing.
- **The share of equal tokens misleads.** Among schedules its correlation with the truth is 0.12 ± 0.11 on the chain
  and -0.20 ± 0.12 on the law of strings, where a choice by it loses half of all answers. So `agreement` counts whole
  answers by default.
- **On the text model the truth itself is no good judge, so its table decides nothing.** At temperature 0 spelling is
  best where answers are mostly spaces, which hardly misspell a word. Likelihoods and equal tokens do not follow it. See
  also [policies.md](policies.md).
- **A profile of own answers does not rank schedules in order of confidence**: its correlation is -0.44 on the task
  model, and 0.44 on the law of strings.

Therefore `init` proposes `path_nll` of own answers where no field has answers, `agreement` in random order, and the
score where there are references.

## How it was measured

Each problem has a pool of prompts, on which schedules and policies are scored by every objective, and a truth: an
exact value, or the score on other prompts. A choice looks at a set of prompts and takes the best by the objective. Ten
choices are made, on ten sets. Those of the smaller size share no prompt; those of the larger do, and show no interval.
*Spearman* and *Kendall* are rank correlations of the objective with the truth over the candidates. *Regret* is the
truth of the best candidate minus that of the choice. Values are means over the ten sets with 95 % t intervals, which do
not hold the error of the truth itself. *Rows* are denoiser rows of one choice, own answers included.

Candidates are Beta(a, b) over the box of `search.space`, hand-made schedules, and adaptive policies whose threshold or
bound makes as many calls as linear. `path_nll` and the profile price counts, so they do not rank adaptive policies. A
profile knows nothing of the order; it is measured at {points} points.

`python scripts/objectives.py --work build/objectives --output docs/objectives.md` makes this page.

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--problem", action="append", help="one of those of the page; all by default")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    problems: dict[str, Callable[[], Problem]] = {"task": task, "text": text, "strings": strings, "chain": chain}
    lines = [HEADER.format(points=POINTS)]
    for name in options.problem or problems:
        make = problems[name]
        lines += tables(name, kept(options.work / f"{name}.npz", make))
    page = "\n".join(lines).rstrip() + "\n"
    before = options.output.read_text("utf-8") if options.output.exists() else ""
    _, begin, searches = before.partition("\n## Searches\n")  # of objective_searches.py
    options.output.write_text(page + begin + searches, "utf-8")


if __name__ == "__main__":
    main()
