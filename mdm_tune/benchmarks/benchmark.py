"""A benchmark, whichever kind it is of: its examples, and its score as the objective."""

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
    """Examples of three uses together with the score of their answers, higher or lower being better."""

    @property
    def name(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def direction(self) -> Direction: ...
    @property
    def bounds(self) -> Bounds | None:
        """Of the value of every answer, where it has any."""
        ...

    @property
    def until(self) -> tuple[str, ...]:
        """Texts that end an answer, whatever the example."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, each a sentence."""
        ...

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits of what scores an answer; the examples are not in it."""
        ...

    def examples(self, use: Use) -> tuple[Example, ...]:
        """The examples of one use."""
        ...

    def scores(self, examples: Sequence[Example], completions: Sequence[str]) -> NDArray[np.float64]:
        """One value (n,) for each answer, whose mean is the number of the benchmark."""
        ...


def load_benchmark(config: BenchmarkConfig, codec: Codec, root: int, allow: Permissions) -> Benchmark:
    """The benchmark of a ``dataset`` section; raises InputError as the functions below do."""
    if isinstance(config, LmEvalDatasetConfig):
        return load_harness_benchmark(config, codec, root, allow.trust_code)
    assert isinstance(config, CodeDatasetConfig)
    return load_code_task(config, codec, root, allow.run_generated_code)


def benchmark_metrics(benchmark: Benchmark, dataset: Dataset) -> dict[str, AnswerMetric]:
    """By name ``task``, what the benchmark makes of each answer, and where answers are programs the shares of them that
    failed, timed out, ran out of memory or were refused, which are run once for all of these.
    """

    def score(tokens: Tensor, split: Split) -> Values:
        return benchmark.scores(split.examples, dataset.completions(tokens, split))

    label = f"{benchmark.metric} of {benchmark.name}"
    found = {
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
            share = _share(benchmark, dataset, verdict)
            found[name] = AnswerMetric(
                name=name, label=label, direction="minimize", dataset=dataset, score=share, bounds=SHARE
            )
    return found


def _share(benchmark: CodeTask, dataset: Dataset, verdict: Verdict) -> Callable[[Tensor, Split], Values]:
    def score(tokens: Tensor, split: Split) -> Values:
        outcomes = benchmark.outcomes(split.examples, dataset.completions(tokens, split))
        return np.array([float(each.verdict == verdict) for each in outcomes])

    return score
