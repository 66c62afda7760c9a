"""What is reported of answers beside the objective, and MAUVE, which has one value for all answers together."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.config.data import ExactMatchConfig, MetricsConfig, ReferenceModelConfig
from mdm_tune.core.errors import InputError
from mdm_tune.core.statistics import Bounds, Groups, estimate
from mdm_tune.core.trust import load_target
from mdm_tune.core.types import Direction
from mdm_tune.datasets.splits import Dataset, Split
from mdm_tune.metrics.answers import (
    AnswerMetric,
    custom_metric,
    exact_match,
    filled_in,
    generative_nll,
    regex_match,
)
from mdm_tune.metrics.reference_models import ReferenceModel, load_reference

__all__ = ["Figure", "Mauve", "figures", "mauve_metric", "text_metrics"]

Values = NDArray[np.float64]
FIRST_SEED = 25  # the package's own


@dataclass(frozen=True)
class Figure:
    """A mean and its range.

    over: what was averaged. The range is a 95 % interval, None of too few examples; over seeds of k-means it is all
    that they gave, and says nothing about other samples.
    """

    name: str
    label: str
    direction: Direction
    value: float
    range: tuple[float, float] | None
    over: Literal["examples", "batches of examples", "seeds of k-means"]
    count: int


@dataclass(frozen=True)
class Mauve:
    """How close the answers as a whole are to the references, from 0 to 1, by the package ``mauve-text``.

    Prompts are part of both texts. The value depends on the number of examples and on the embedding model, so that only
    equal ones compare, and few examples make it high. seeds: runs of k-means.

    Source: arXiv:2102.01454.
    """

    dataset: Dataset
    model: ReferenceModel
    seeds: int = 5
    name: str = "mauve"
    label: str = "MAUVE"
    direction: Direction = "maximize"
    _references: dict[str, NDArray[np.float32]] = field(default_factory=dict, compare=False, repr=False)

    def score(self, tokens: Tensor, split: Split) -> Values:
        """One value (seeds,) per run of k-means, of tokens (n, length), the examples of the split."""
        if split.fingerprint not in self._references:
            self._references[split.fingerprint] = self._embedded(split.originals, split)
        references, answers = self._references[split.fingerprint], self._embedded(tokens, split)
        return np.array([self._once(references, answers, FIRST_SEED + run) for run in range(self.seeds)])

    def _embedded(self, tokens: Tensor, split: Split) -> NDArray[np.float32]:
        return self.model.embeddings(["".join(texts) for texts in filled_in(self.dataset, tokens, split)])

    @staticmethod
    def _once(references: NDArray[np.float32], answers: NDArray[np.float32], seed: int) -> float:
        from mauve import compute_mauve

        with _silent():
            return float(compute_mauve(p_features=references, q_features=answers, seed=seed).mauve)


def mauve_metric(dataset: Dataset, model: ReferenceModel, seeds: int = 5) -> Mauve:
    """MAUVE on a data set; raises InputError without the package, and for examples without a reference."""
    if importlib.util.find_spec("mauve") is None:
        raise InputError(
            "metrics.mauve: needs the package mauve-text (licence GPLv3), which is not installed; pip install "
            "'mdm-tune[mauve]'"
        )
    for split in dataset.splits.values():
        for example in split.examples:
            if any(hole.answer is None for hole in example.holes):
                raise InputError(
                    f"metrics.mauve: compares answers with references, and {example.named} has none; set "
                    "dataset.answer, or leave mauve out"
                )
    return Mauve(dataset, model, seeds)


def text_metrics(
    config: MetricsConfig, objective: str, dataset: Dataset, trust_code: bool
) -> dict[str, AnswerMetric | Mauve]:
    """By name, the metrics that the config lists and the one that ``objective`` names, if it is for text.

    A reference model that two of them name is loaded once. Raises InputError for whatever cannot be loaded or has no
    meaning for these data.
    """
    loaded: dict[tuple[object, ...], ReferenceModel] = {}

    def reference(options: ReferenceModelConfig, name: str) -> ReferenceModel:
        key = (options.model, options.revision, options.dtype, options.device, options.batch)
        if key not in loaded:
            loaded[key] = load_reference(
                options.model,
                field=f"metrics.{name}.model",
                revision=options.revision,
                dtype=options.dtype,
                device=options.device,
                batch=options.batch,
                trust_code=trust_code,
            )
        return loaded[key]

    found: dict[str, AnswerMetric | Mauve] = {}
    if config.exact_match is not None or objective == "exact_match":
        found["exact_match"] = exact_match(dataset, (config.exact_match or ExactMatchConfig()).ignore)
    if (regex := config.regex) is not None:
        found["regex"] = regex_match(dataset, regex.pattern, regex.match, regex.reference, regex.ignore)
    if (custom := config.custom) is not None:
        function = load_target(custom.target, trust_code, "metrics.custom.target")
        file, _, name = custom.target.rpartition(":")
        found["custom"] = custom_metric(dataset, function, custom.direction, name, Path(file))
    if (likely := config.generative_nll) is not None:
        found["generative_nll"] = generative_nll(dataset, reference(likely, "generative_nll"), likely.with_prompt)
    if (alike := config.mauve) is not None:
        found["mauve"] = mauve_metric(dataset, reference(alike, "mauve"), alike.seeds)
    return found


def figures(metric: AnswerMetric | Mauve, tokens: Tensor, split: Split) -> list[Figure]:
    """What a metric says of tokens (n, length), the examples of the split; generative NLL never without token entropy.

    Source: arXiv:2409.02908, which shows samples of low generative perplexity that have lost their entropy.
    """
    values = metric.score(tokens, split)
    if isinstance(metric, Mauve):
        ends = float(values.min()), float(values.max())
        mean = float(values.mean())
        return [
            Figure(
                name=metric.name,
                label=metric.label,
                direction=metric.direction,
                value=mean,
                range=ends,
                over="seeds of k-means",
                count=len(values),
            )
        ]
    found = [_estimated(metric.name, metric.label, metric.direction, values, "examples", metric.bounds, split.shared)]
    if metric.name == "generative_nll":
        entropy = metric.diversity(tokens, split)["token_entropy"]
        label = "entropy of the answers' tokens, nats"
        found.append(_estimated("token_entropy", label, "maximize", entropy, "batches of examples"))
    return found


def _estimated(
    name: str,
    label: str,
    direction: Direction,
    values: Values,
    over: Literal["examples", "batches of examples"],
    bounds: Bounds | None = None,
    groups: Groups | None = None,
) -> Figure:
    found = estimate(values, bounds=bounds, groups=groups)
    return Figure(
        name=name, label=label, direction=direction, value=found.value, range=found.ci, over=over, count=len(values)
    )


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing on the error stream: k-means is C++ code that warns there of every clustering that MAUVE asks it for."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
