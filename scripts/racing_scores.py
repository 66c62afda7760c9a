"""Scores of many schedules on many examples with common noise: what the rules of racing are compared on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from problems import Legal

from mdm_tune.config.sampler import SamplerConfig
from mdm_tune.core.files import bundled
from mdm_tune.core.types import sign_of
from mdm_tune.datasets.splits import Dataset, Use, law_dataset, text_dataset
from mdm_tune.denoisers.analytic import MarkovChain, Table
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.law import Law
from mdm_tune.denoisers.transformer import load_transformer
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.settings import Sampler, Setting
from mdm_tune.metrics.quality import PathLikelihood, SampleMetric, Spelling
from mdm_tune.sampling.drawing import Order
from mdm_tune.schedules.curves import Beta

Values = NDArray[np.float64]

BOX = (0.1, 10.0)
EXAMPLES, SCHEDULES = 4096, 60
TEXT_EXAMPLES, TEXT_SCHEDULES = 256, 24


@dataclass(frozen=True)
class Problem:
    """Scores of one objective. sampler and metric make them; steps is the budget; law None for the text model."""

    law: Law | None
    order: Order
    temperature: float
    metric: str
    steps: int


def strings(length: int, numbers: NDArray[np.int64]) -> Table:
    """The strings of a and b that spell ``numbers`` in binary, all equally likely."""
    names = tuple(f"{number:0{length}b}".replace("0", "a").replace("1", "b") for number in numbers.tolist())
    return Table(names, (1.0,) * len(names))


CHAIN = MarkovChain.sticky(2, 0.05, 32)
FEW = strings(8, np.flatnonzero([number.bit_count() in (5, 6) for number in range(256)]))
RARE = strings(16, np.random.default_rng(5).choice(2**16, 128, replace=False))
PROBLEMS = {
    "chain confidence path_nll": Problem(law=CHAIN, order="confidence", temperature=0.0, metric="path_nll", steps=8),
    "chain random nelbo": Problem(law=CHAIN, order="random", temperature=1.0, metric="nelbo", steps=8),
    "few random legal": Problem(law=FEW, order="random", temperature=1.0, metric="legal", steps=4),
    "few confidence legal": Problem(law=FEW, order="confidence", temperature=1.0, metric="legal", steps=4),
    "few margin legal": Problem(law=FEW, order="margin", temperature=1.0, metric="legal", steps=4),
    "rare random legal": Problem(law=RARE, order="random", temperature=1.0, metric="legal", steps=2),
    "text confidence spelling": Problem(law=None, order="confidence", temperature=1.0, metric="spelling", steps=8),
}
# Dense scores of the same schedules on the same examples: order confidence has none above temperature 0, so that of
# top-probability stands in.
GUIDES = {
    "few random legal": Problem(law=FEW, order="random", temperature=1.0, metric="nelbo", steps=4),
    "few confidence legal": Problem(law=FEW, order="top-probability", temperature=1.0, metric="path_nll", steps=4),
    "few margin legal": Problem(law=FEW, order="margin", temperature=1.0, metric="path_nll", steps=4),
    "rare random legal": Problem(law=RARE, order="random", temperature=1.0, metric="nelbo", steps=2),
    "text confidence spelling": Problem(law=None, order="top-probability", temperature=1.0, metric="path_nll", steps=8),
}


def evaluator(problem: Problem) -> Evaluator:
    """With all examples as its tune split."""
    denoiser: Denoiser
    data: Dataset
    if problem.law is None:
        model = load_transformer(bundled("package:text"))
        sizes: dict[Use, int] = {"tune": TEXT_EXAMPLES, "choose": 8, "report": 8}
        data = text_dataset(bundled("package:text"), model.symbols, model.length, sizes, 0)
        denoiser, length, batch = model, model.length, 64
    else:
        data = law_dataset(problem.law, {"tune": EXAMPLES, "choose": 8, "report": 8}, 7)
        denoiser, length, batch = problem.law, problem.law.length, 4096
    metric: SampleMetric
    if problem.metric == "legal":
        assert isinstance(problem.law, Table)
        metric = Legal(problem.law)
    elif problem.metric == "spelling":
        metric = Spelling(data)
    else:
        metric = PathLikelihood("nelbo" if problem.metric == "nelbo" else "path_nll", problem.order)
    sampler = Sampler(SamplerConfig(steps=(1,), order=problem.order, temperature=problem.temperature, batch=batch))
    return Evaluator(denoiser, length, sampler, metric, data)


def candidates(judge: Evaluator, steps: int, number: int) -> list[Setting]:
    """Up to ``number`` schedules Beta(a, b) with distinct counts, (a, b) log-uniform in the search's box."""
    points = np.exp(np.random.default_rng(0).uniform(np.log(BOX[0]), np.log(BOX[1]), (2000, 2)))
    found = {s.key: s for a, b in points for s in [judge.setting(Beta(float(a), float(b)), steps)]}
    return list(found.values())[:number]


def scores(problem: Problem, file: Path) -> Values:
    """(schedules, examples), larger is better; likelihoods less the data's own, so that 0 is perfect. Kept in file."""
    if not file.is_file():
        judge = evaluator(problem)
        split = judge.split("tune")
        number = TEXT_SCHEDULES if problem.law is None else SCHEDULES
        found = [judge.measure_on(setting, split).values for setting in candidates(judge, problem.steps, number)]
        values = np.array(found)
        if sign_of(judge.metric.direction) < 0:
            values = -values if problem.law is None else -problem.law.log_prob(split.originals).numpy().mean() - values
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, values=values)
    return np.asarray(np.load(file)["values"])
