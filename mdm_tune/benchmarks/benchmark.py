"""A benchmark of either kind, programs or tasks of lm-evaluation-harness: its examples, and its score as a metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.benchmarks.code_tasks import CodeTask, load_code_task
from mdm_tune.benchmarks.execution import VERDICTS, Verdict
from mdm_tune.benchmarks.splitting import Use
from mdm_tune.benchmarks.task_benchmark import load_harness_benchmark
from mdm_tune.config.tasks import BenchmarkConfig, CodeDatasetConfig, LmEvalDatasetConfig
from mdm_tune.core.permissions import Permissions
from mdm_tune.core.statistics import Bounds
from mdm_tune.core.text import Codec
from mdm_tune.core.types import Direction
from mdm_tune.datasets.examples import Example
from mdm_tune.datasets.splits import Dataset, Split
from mdm_tune.metrics.answers import AnswerMetric
from mdm_tune.metrics.quality import SHARE

__all__ = ["Benchmark", "benchmark_metrics", "load_benchmark"]

Values = NDArray[np.float64]


class Benchmark(Protocol):
    """Examples of three uses, and a score for their answers.

    Attributes:
        name: Name of the task.
        metric: Name of the score.
        direction: Whether higher or lower scores are better.
    """

    @property
    def name(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def direction(self) -> Direction: ...
    @property
    def bounds(self) -> Bounds | None:
        """Smallest and largest possible value of an answer; None if there are none."""
        ...

    @property
    def until(self) -> tuple[str, ...]:
        """Texts that end an answer in every example."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user, such as which documents are used."""
        ...

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that depend on the scoring rules and not on the examples."""
        ...

    def examples(self, use: Use) -> tuple[Example, ...]:
        """The examples of one use."""
        ...

    def scores(self, examples: Sequence[Example], completions: Sequence[str]) -> NDArray[np.float64]:
        """Return one value (n,) per answer; their mean is the benchmark's number."""
        ...


def load_benchmark(config: BenchmarkConfig, codec: Codec, root: int, allow: Permissions) -> Benchmark:
    """Load the benchmark that a ``dataset`` section describes.

    Args:
        config: The section.
        codec: Converts between texts and tokens.
        root: Root of the seeds.
        allow: What the command line permits.

    Raises:
        InputError: As ``load_harness_benchmark`` and ``load_code_task``.
    """
    if isinstance(config, LmEvalDatasetConfig):
        return load_harness_benchmark(config, codec, root, allow.trust_code)
    assert isinstance(config, CodeDatasetConfig)
    return load_code_task(config, codec, root, allow.run_generated_code)


def benchmark_metrics(benchmark: Benchmark, dataset: Dataset) -> dict[str, AnswerMetric]:
    """Build the metrics of a benchmark.

    Args:
        benchmark: The benchmark.
        dataset: The data set made of its examples.

    Returns:
        The benchmark's score by the name ``task``. If answers are programs, also the share of programs with each
        verdict except ``passed``. A program runs once for all these metrics.
    """

    def score(tokens: Tensor, split: Split) -> Values:
        return benchmark.scores(split.examples, dataset.completions(tokens, split))

    label = f"{benchmark.metric} of {benchmark.name}"
    metrics = {
        "task": AnswerMetric(
            name="task",
            label=label,
            direction=benchmark.direction,
            dataset=dataset,
            score=score,
            bounds=benchmark.bounds,
        )
    }
    if isinstance(benchmark, CodeTask):
        for verdict in VERDICTS[1:]:
            name = verdict.replace(" ", "_")
            label = f"share of programs: {verdict}"
            has_verdict = _verdict_score(benchmark, dataset, verdict)
            metrics[name] = AnswerMetric(
                name=name, label=label, direction="minimize", dataset=dataset, score=has_verdict, bounds=SHARE
            )
    return metrics


def _verdict_score(benchmark: CodeTask, dataset: Dataset, verdict: Verdict) -> Callable[[Tensor, Split], Values]:
    """A metric's ``score``: 1 for each program with this verdict, else 0."""

    def score(tokens: Tensor, split: Split) -> Values:
        outcomes = benchmark.outcomes(split.examples, dataset.completions(tokens, split))
        return np.array([float(outcome.verdict == verdict) for outcome in outcomes])

    return score
