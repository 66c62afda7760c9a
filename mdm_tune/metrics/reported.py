"""Metrics of answers that are reported beside the objective, and MAUVE, which has one value for all answers."""

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

from mdm_tune.config.data import AgreementConfig, ExactMatchConfig, MetricsConfig, ReferenceModelConfig
from mdm_tune.config.plugins import METRICS
from mdm_tune.core.errors import InputError
from mdm_tune.core.statistics import Bounds, Groups, estimate
from mdm_tune.core.trust import load_target
from mdm_tune.core.types import Direction
from mdm_tune.datasets.splits import Dataset, Split
from mdm_tune.metrics.agreement import agreement
from mdm_tune.metrics.answers import (
    AnswerMetric,
    custom_metric,
    exact_match,
    filled_in,
    generative_nll,
    regex_match,
)
from mdm_tune.metrics.plugin_metrics import plugin_metric
from mdm_tune.metrics.reference_models import ReferenceModel, load_reference

__all__ = ["Figure", "Mauve", "figures", "mauve_metric", "text_metrics"]

Values = NDArray[np.float64]
FIRST_SEED = 25  # the default of the package mauve-text


@dataclass(frozen=True)
class Figure:
    """A mean and its range.

    Attributes:
        name: Name in records.
        label: Name for a reader, with the unit.
        direction: Whether higher or lower values are better.
        value: The mean.
        range: The 95 % interval; None for too few examples. For seeds of k-means, the smallest and the largest value,
            which do not describe other samples.
        over: What the mean is over.
        count: How many values the mean has.
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
    """How close all answers together are to the references, from 0 to 1, by the package ``mauve-text``.

    Prompts are part of both texts. The value depends on the number of examples and on the embedding model: compare it
    for equal ones only. Few examples make it high.

    Attributes:
        dataset: The data set; each example has a reference.
        model: The model that embeds the texts.
        seeds: Runs of k-means.
        name: Name in the config and in records.
        label: Name for a reader.
        direction: Higher values are better.

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
        """Compute MAUVE once per run of k-means.

        Args:
            tokens: (n, length) int64, the filled-in examples.
            split: The split whose examples the rows are.

        Returns:
            (seeds,) float64, from 0 to 1.
        """
        if split.fingerprint not in self._references:
            self._references[split.fingerprint] = self._embeddings(split.originals, split)
        references, answers = self._references[split.fingerprint], self._embeddings(tokens, split)
        return np.array([self._mauve(references, answers, FIRST_SEED + run) for run in range(self.seeds)])

    def _embeddings(self, tokens: Tensor, split: Split) -> NDArray[np.float32]:
        """The embeddings (n, width) of the filled-in examples."""
        return self.model.embeddings(["".join(texts) for texts in filled_in(self.dataset, tokens, split)])

    @staticmethod
    def _mauve(references: NDArray[np.float32], answers: NDArray[np.float32], seed: int) -> float:
        from mauve import compute_mauve

        with _error_stream_discarded():
            return float(compute_mauve(p_features=references, q_features=answers, seed=seed).mauve)


def mauve_metric(dataset: Dataset, model: ReferenceModel, seeds: int = 5) -> Mauve:
    """Build the metric MAUVE.

    Args:
        dataset: The data set; each example needs a reference.
        model: The model that embeds the texts.
        seeds: Runs of k-means.

    Raises:
        InputError: If the package mauve-text is not installed, or if an example has no reference.
    """
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
    """Build the metrics of answers that a config needs.

    Args:
        config: The section ``metrics``.
        objective: Name of the objective. ``exact_match``, or a plugin, is built for it even if the section lacks it.
        dataset: The data set.
        trust_code: Whether a user's function and code of a checkpoint may run.

    Returns:
        The metrics by name. A reference model that two metrics use is loaded once.

    Raises:
        InputError: If something cannot be loaded, or if a metric does not fit the data.
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

    metrics: dict[str, AnswerMetric | Mauve] = {}
    if config.exact_match is not None or objective == "exact_match":
        metrics["exact_match"] = exact_match(dataset, (config.exact_match or ExactMatchConfig()).ignore)
    if (regex := config.regex) is not None:
        metrics["regex"] = regex_match(dataset, regex.pattern, regex.match, regex.reference, regex.ignore)
    if config.agreement is not None or objective == "agreement":
        metrics["agreement"] = agreement(dataset, whole=(config.agreement or AgreementConfig()).whole)
    if (custom := config.custom) is not None:
        function = load_target(custom.target, trust_code, "metrics.custom.target")
        file, _, name = custom.target.rpartition(":")
        metrics["custom"] = custom_metric(dataset, function, custom.direction, name, Path(file))
    named = dict.fromkeys(config.plugins, "metrics.plugins")
    if objective not in METRICS:
        named = {objective: "objective.metric", **named}
    for name, setting in named.items():
        metrics[name] = plugin_metric(dataset, name, trust_code, setting)
    if (nll := config.generative_nll) is not None:
        metrics["generative_nll"] = generative_nll(dataset, reference(nll, "generative_nll"), nll.with_prompt)
    if (mauve := config.mauve) is not None:
        metrics["mauve"] = mauve_metric(dataset, reference(mauve, "mauve"), mauve.seeds)
    return metrics


def figures(metric: AnswerMetric | Mauve, tokens: Tensor, split: Split) -> list[Figure]:
    """Compute the figures of a metric: one, and the token entropy beside the generative NLL.

    Args:
        metric: The metric.
        tokens: (n, length) int64, the filled-in examples.
        split: The split whose examples the rows are.

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
    result = [_figure(metric.name, metric.label, metric.direction, values, "examples", metric.bounds, split.shared)]
    if metric.name == "generative_nll":
        entropy = metric.diversity(tokens, split)["token_entropy"]
        label = "entropy of the answers' tokens, nats"
        result.append(_figure("token_entropy", label, "maximize", entropy, "batches of examples"))
    return result


def _figure(
    name: str,
    label: str,
    direction: Direction,
    values: Values,
    over: Literal["examples", "batches of examples"],
    bounds: Bounds | None = None,
    groups: Groups | None = None,
) -> Figure:
    mean = estimate(values, bounds=bounds, groups=groups)
    return Figure(
        name=name, label=label, direction=direction, value=mean.value, range=mean.ci, over=over, count=len(values)
    )


@contextmanager
def _error_stream_discarded() -> Iterator[None]:
    """Discard the error stream of the process: the C++ code of k-means writes a warning there for every clustering."""
    error_stream = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(error_stream, 2)
        os.close(error_stream)
