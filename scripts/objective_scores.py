"""What objectives say about many schedules and policies, and how good these truly are: the data of objectives.py.

Each problem has a pool of tune examples, on which objectives are computed, and others that give the truth, or an exact
truth. Schedules and policies make equally many calls, or nearly so.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.config.file import load_config
from mdm_tune.config.sampler import SamplerConfig
from mdm_tune.core.files import bundled
from mdm_tune.core.statistics import Bounds
from mdm_tune.core.text import Symbols
from mdm_tune.datasets.splits import Dataset, Split, Use, law_dataset, text_dataset
from mdm_tune.denoisers.analytic import MarkovChain, Table
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.transformer import load_transformer
from mdm_tune.evaluation import adaptive
from mdm_tune.evaluation.adaptive import AdaptiveRequest, calibrated
from mdm_tune.evaluation.evaluator import Evaluator, Measurement
from mdm_tune.evaluation.settings import Key, Sampler, Setting
from mdm_tune.metrics.agreement import agreement
from mdm_tune.metrics.answers import AnswerMetric
from mdm_tune.metrics.quality import ExactMetric, Spelling, divergence
from mdm_tune.run.build import build
from mdm_tune.run.measuring import measure_profile
from mdm_tune.sampling.unmasking import Unmasked
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.curves import Beta, parse_schedule
from mdm_tune.schedules.pricing import count_weights

Values = NDArray[np.float64]

LATTICE = np.geomspace(0.1, 10.0, 14)
SCHEDULES = 33  # of the lattice and the named ones, with different counts
NAMED = ("linear", "sine", "squared-sine", "maskgit-cosine", "shift:0.3", "shift:3")
QUOTAS = ("linear", "squared-sine", "maskgit-cosine", "beta:0.25,0.63", "beta:1.58,0.63")
POLICIES = ("threshold", "entropy-bound", *(f"quota:{name}" for name in QUOTAS))
POINTS = 32  # of a profile
TASK = Path(__file__).parent.parent / "configs" / "arithmetic.yaml"


@dataclass(frozen=True)
class Scorer:
    """A metric of samples, made of a function of tokens (n, length) and their split."""

    score: Callable[[Tensor, Split], Values]
    name: str = "score"
    label: str = "score"
    direction: Any = "maximize"
    needs_originals: bool = False
    bounds: Bounds | None = None

    def values(self, result: Unmasked, split: Split) -> Values:
        return self.score(result.tokens, split)

    def diversity(self, tokens: Tensor, split: Split) -> dict[str, Values]:
        return {}

    def ceiling(self, split: Split) -> None:
        return None


@dataclass(frozen=True)
class Problem:
    """A model with examples and a score.

    Attributes:
        evaluator: Scores by the true score; its tune split is the pool, its report split gives the truth.
        steps: The budget.
        judged: The true score, in words.
        exact: The exact true value of counts, larger is better; None if the report split gives it.
        policies: Whether adaptive policies compete.
        few: Prompts on which the values of adaptive policies are found.
    """

    evaluator: Evaluator
    steps: int
    judged: str
    exact: Callable[[tuple[int, ...]], float] | None = None
    policies: bool = True
    few: int = 24


@dataclass
class Measured:
    """What was measured. Arrays have one line per schedule or policy.

    Attributes:
        names: Schedules first, then policies.
        counts: The number of schedules.
        truth: (n,) larger is better.
        truth_values: (n, examples) whose mean is the truth; (n, 0) if the truth is exact.
        calls: (n,) mean calls on the pool.
        objectives: (n, pool) values by objective, larger is better; nan for what cannot be computed.
        fill: Tokens to fill in each example, which are the rows of an own answer.
    """

    names: list[str]
    counts: int
    truth: Values
    truth_values: Values
    calls: Values
    objectives: dict[str, Values] = field(default_factory=dict)
    fill: int = 0
    steps: int = 0
    judged: str = ""


def with_prompts(split: Split, visible: int) -> Split:
    """The split, with the first positions of every row visible."""
    shown = torch.arange(split.start.shape[1]) < visible
    return replace(split, start=torch.where(shown, split.originals, split.start))


def evaluator_of(
    model: Denoiser, dataset: Dataset, score: Callable[[Tensor, Split], Values], length: int, **options: Any
) -> Evaluator:
    sampler = Sampler(SamplerConfig(**{"steps": (1,), "batch": 64, **options}))
    return Evaluator(model, length, sampler, Scorer(score), dataset)


def strings() -> Problem:
    """1 where a prompt of 7 bits is completed to one of 1,024 random strings of 23 bits, judged on all prompts."""
    numbers = np.random.default_rng(5).choice(2**23, 1024, replace=False)
    names = tuple(f"{number:023b}".replace("0", "a").replace("1", "b") for number in numbers.tolist())
    law = Table(names, (1.0,) * len(names))
    sizes: dict[Use, int] = {"tune": 1280, "choose": 8, "report": 2}
    splits = {use: with_prompts(split, 7) for use, split in law_dataset(law, sizes, 1).splits.items()}
    every = torch.tensor([["ab".index(letter) for letter in name] for name in names])
    prompts, weights = every[:, :7].unique(dim=0, return_counts=True)
    filler = torch.zeros(len(prompts), 16, dtype=torch.int64)
    whole = law_dataset(law, {"tune": 2, "choose": 2, "report": len(prompts)}, 2).splits["report"]
    splits["report"] = with_prompts(replace(whole, originals=torch.cat([prompts, filler], 1)), 7)
    share = weights.double().numpy() / float(weights.double().mean())

    def legal(tokens: Tensor, split: Split) -> Values:
        found: Values = torch.isfinite(law.log_prob(tokens)).double().numpy()
        return found * share if split.use == "report" else found

    data = Dataset(splits, Symbols(law.symbols))
    evaluator = evaluator_of(law, data, legal, 16, order="confidence", temperature=0.0, batch=4096)
    return Problem(evaluator, 4, "share of prompts completed to a string of the law, exactly: all prompts by weight")


def chain() -> Problem:
    """A Markov chain of 10 bits at temperature 1 in order of the largest probability, judged by the exact KL."""
    law = MarkovChain([[0.9, 0.1], [0.25, 0.75]], [0.5, 0.5], 10)
    metric = divergence(law, "kl", "top-probability", 1.0)
    data = law_dataset(law, {"tune": 1280, "choose": 8, "report": 8}, 3)
    nothing = lambda tokens, split: -law.log_prob(tokens).numpy() * 0.0  # noqa: E731
    evaluator = evaluator_of(law, data, nothing, 10, order="top-probability", temperature=1.0, batch=4096)
    exact = lambda counts: -metric.fixed(counts, 10)  # noqa: E731
    return Problem(evaluator, 5, "minus the exact KL of target and samples", exact, policies=False)


def text() -> Problem:
    """The bundled text model: 32 characters are shown and 32 filled in, judged by spelling on 192 windows."""
    model = load_transformer(bundled("package:text"))
    sizes: dict[Use, int] = {"tune": 160, "choose": 8, "report": 192}
    data = text_dataset(bundled("package:text"), model.symbols, model.length, sizes, 0)
    data = replace(data, splits={use: with_prompts(split, 32) for use, split in data.splits.items()})
    spelling = Spelling(data)
    evaluator = evaluator_of(model, data, spelling._shares, 32, order="confidence", temperature=0.0)
    return Problem(evaluator, 4, "share of characters in known words, 192 unseen windows")


def task() -> Problem:
    """The bundled task model as its config samples it, judged by exact_match on 256 unseen problems."""
    sizes = ("dataset.tune=160", "dataset.choose=8", "dataset.report=256")
    run = build(load_config(TASK, sizes))
    metric = run.evaluator.metric
    assert isinstance(metric, AnswerMetric)
    evaluator = replace(run.evaluator, metric=Scorer(metric.score))
    return Problem(evaluator, 6, "share of right answers, 256 unseen problems")


def settings_of(problem: Problem) -> dict[str, Setting]:
    """The schedules with different counts, by name."""
    found: dict[Key, tuple[str, Setting]] = {}
    betas = {f"beta:{a:.2g},{b:.2g}": Beta(float(a), float(b)) for a in LATTICE for b in LATTICE}
    for name, schedule in [*((name, parse_schedule(name)) for name in NAMED), *betas.items()]:
        setting = problem.evaluator.setting(schedule, problem.steps, name)
        if setting.nfe == problem.steps:
            found.setdefault(setting.key, (name, setting))
    if problem.exact is not None:  # small: other count vectors as well
        rng, length = np.random.default_rng(0), problem.evaluator.length
        while len(found) < 3 * SCHEDULES:
            ends = sorted(rng.choice(np.arange(1, length), problem.steps - 1, replace=False).tolist())
            counts = np.diff([0, *ends, length]).tolist()
            name = f"counts:{','.join(map(str, counts))}"
            setting = problem.evaluator.setting(parse_schedule(name), problem.steps, name)
            found.setdefault(setting.key, (name, setting))
    named, others = [*found.values()][: len(NAMED)], [*found.values()][len(NAMED) :]
    most = SCHEDULES + (0 if problem.policies else len(POLICIES)) - len(named)
    return dict([*named, *(others[place * len(others) // most] for place in range(min(most, len(others))))])


def scores_of(problem: Problem, use: Use, settings: dict[str, Setting]) -> tuple[Values, Tensor, Values]:
    """Values (n, examples), tokens (n, examples, length) and mean calls (n,) of every schedule and policy.

    Schedules share their batches, so that the first step, which is the same for all, is computed once.
    """
    evaluator, split = problem.evaluator, problem.evaluator.split(use)
    assert not isinstance(evaluator.metric, ExactMetric)
    listed = [*settings.values()]
    counted = [setting for setting in listed if setting.counts is not None]
    result = evaluator.fill(counted, split.start, split.seeds)
    tokens = [*result.tokens.view(len(counted), len(split.ids), -1)]
    calls = result.nfe.view(len(counted), -1).double().mean(1).tolist()
    for scores in evaluator.measure_each([Measurement(each, split) for each in listed[len(counted) :]]):
        assert scores.tokens is not None
        tokens.append(scores.tokens)
        calls.append(scores.nfe)
    metric = evaluator.metric
    assert isinstance(metric, Scorer)
    return np.stack([metric.score(each, split) for each in tokens]), torch.stack(tokens), np.array(calls)


def policies_of(problem: Problem) -> dict[str, Setting]:
    """The adaptive policies, each with the value that makes as many calls as linear on a few prompts."""
    evaluator = problem.evaluator
    if not problem.policies:
        return {}
    plans = [plan for name in POLICIES if (plan := parse_adaptive(name)) is not None]
    at = lambda name, steps: evaluator.setting(parse_schedule(name), steps)  # noqa: E731
    steps = problem.steps
    requests = [AdaptiveRequest(evaluator=evaluator, plan=plan, steps=steps, setting_at=at) for plan in plans]
    adaptive.PILOT = problem.few
    return {name: wanted.setting for name, (wanted, _) in zip(POLICIES, calibrated(requests, "tune"), strict=True)}


def table(problem: Problem) -> Measured:
    """Measure everything."""
    evaluator, settings = problem.evaluator, settings_of(problem)
    candidates = settings | policies_of(problem)
    pool = evaluator.split("tune")
    values, tokens, calls = scores_of(problem, "tune", candidates)
    own = replace(pool, originals=evaluator.one_by_one(pool).tokens)
    assert evaluator.dataset is not None
    found = {"score": values} if problem.exact is None else {}
    for name, whole in (("agreement", False), ("agreement, whole", True)):
        metric = agreement(evaluator.dataset, whole=whole)
        found[name] = np.stack([metric.score(each, own) for each in tokens])
    found["path_nll of own answers"] = np.full_like(values, np.nan)
    found["profile of own answers"] = np.full_like(values, np.nan)
    listed = [*settings.values()]
    paths = evaluator.fill(listed, own.start, own.seeds, own.originals).nll
    assert paths is not None
    found["path_nll of own answers"][: len(listed)] = -paths.view(len(listed), -1).numpy()
    profile = measure_profile(
        evaluator.denoiser, own.start, own.originals, own.seeds, examples=len(own.ids), points=POINTS, batch=64
    )
    prices = [profile.prices(count_weights(setting.counts or (), profile.length)) for setting in listed]
    found["profile of own answers"][: len(listed)] = -np.stack(prices)
    truths = np.empty((len(candidates), 0))
    if problem.exact is None:
        truths, _, _ = scores_of(problem, "report", candidates)
        truth = truths.mean(1)
    else:
        truth = np.array([problem.exact(setting.counts or ()) for setting in listed])
    return Measured(
        names=[*candidates],
        counts=len(settings),
        truth=truth,
        truth_values=truths,
        calls=calls,
        objectives=found,
        fill=int(pool.hidden[0].sum()),
        steps=problem.steps,
        judged=problem.judged,
    )


def kept(file: Path, make: Callable[[], Problem]) -> Measured:
    """The stored table, or one that is measured and stored."""
    if not file.is_file():
        made = table(make())
        arrays = {f"objective {name}": values for name, values in made.objectives.items()}
        np.savez(
            file,
            names=np.array(made.names),
            facts=np.array([made.counts, made.fill, made.steps]),
            judged=np.array(made.judged),
            truth=made.truth,
            truth_values=made.truth_values,
            calls=made.calls,
            **arrays,  # type: ignore[arg-type]
        )
    read = np.load(file)
    counts, fill, steps = read["facts"].tolist()
    return Measured(
        names=read["names"].tolist(),
        counts=counts,
        truth=read["truth"],
        truth_values=read["truth_values"],
        calls=read["calls"],
        objectives={
            name.removeprefix("objective "): read[name] for name in read.files if name.startswith("objective ")
        },
        fill=fill,
        steps=steps,
        judged=str(read["judged"]),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--problem", choices=("strings", "chain", "task", "text"), required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    kept(options.work / f"{options.problem}.npz", globals()[options.problem])
