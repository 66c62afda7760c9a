"""What the ready configurations would cost, by the arithmetic of ``--dry-run`` and published numbers of documents."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mdm_tune.commands.dry_run import _phases
from mdm_tune.config.file import Config
from mdm_tune.config.tasks import BenchmarkConfig
from mdm_tune.datasets.splits import Split
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Cost
from mdm_tune.evaluation.settings import Sampler
from mdm_tune.run.build import Run

OFFICIAL = {  # documents of the test split, as their authors publish them
    "gsm8k": 1319,
    "gsm8k_cot": 1319,
    "minerva_math": 5000,
    "hendrycks_math": 5000,
    "bbh": 6511,
    "humaneval": 164,
    "mbpp": 500,
}


def sizes(config: Config) -> dict[str, int]:
    """Examples of each use."""
    own: Any = config.dataset
    if not isinstance(own, BenchmarkConfig):
        return {use: getattr(own, use) for use in ("tune", "choose", "report")}
    official = OFFICIAL[getattr(own, "task", own.type)]
    if own.folds is not None:
        official = math.ceil((official - (own.fold or 0)) / own.folds)
    return {"tune": own.tune_size, "choose": own.choose, "report": official if own.report == "all" else own.report}


def stand_in(config: Config) -> Run:
    """A run with a config's numbers of examples and positions, and neither model nor data."""
    own: Any = config.dataset
    length = getattr(own, "generation_length", None) or 1024
    splits = {use: _split(use, count, length) for use, count in sizes(config).items()}
    chosen = config.sampler
    sampler, blocks = Sampler(chosen, end_tokens=(1,)), tuple(chosen.block_length or ())[:1]
    dataset: Any = SimpleNamespace(splits=splits, length=length)
    metric: Any = _Metric(config.objective.metric)
    denoiser: Any = SimpleNamespace(mask_id=0)
    evaluator = Evaluator(denoiser, length, sampler, metric, dataset, blocks)
    model: Any = SimpleNamespace(denoiser=None)
    return Run(config, model, evaluator)


def rows(config: Config) -> dict[str, int]:
    """Denoiser rows of each phase of a search, at most."""
    return {each.phase: each.cost.denoiser_rows for each in _phases(stand_in(config), Cost(1, 1, 1.0))}


def _split(use: Any, count: int, length: int) -> Split:
    """Rows of masked positions alone."""
    none = torch.zeros(1, 1, dtype=torch.int64).expand(count, length)
    return Split(
        use=use,
        ids=tuple(map(str, range(count))),
        originals=none,
        start=none,
        seeds=np.zeros(count, dtype=np.uint64),
        mask_id=0,
    )


class _Metric:
    """What the arithmetic asks of a metric."""

    def __init__(self, name: str) -> None:
        self.name, self.needs_originals = name, name in ("nelbo", "path_nll")

    def diversity(self, tokens: Tensor, split: Split) -> dict[str, Any]:
        return {} if self.needs_originals else {"token_entropy": np.zeros(1)}
