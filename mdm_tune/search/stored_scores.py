"""Scores of settings on unseen examples, each kept in the storage as it is measured, so that it is measured once."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from mdm_tune.datasets.splits import Split, Use
from mdm_tune.evaluation.evaluator import Cost, Evaluator, Measurement, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.search.driver import DriverState

__all__ = ["ScoreRequest", "StoredScores"]

Record = dict[str, Any]


@dataclass(frozen=True)
class ScoreRequest:
    """A setting that is to be scored on the first ``examples`` of a split, or on all of it."""

    setting: Setting
    use: Use
    examples: int | None = None


class StoredScores:
    """Scores settings on a split; what is in the storage costs nothing more."""

    def __init__(self, evaluator: Evaluator, state: DriverState) -> None:
        self.evaluator, self.state = evaluator, state
        self.counted: set[str] = set()  # tasks whose cost was reported

    def score(
        self,
        settings: Sequence[Setting],
        use: Use,
        notify: Callable[[Setting, int], None] = lambda setting, place: None,
        examples: int | None = None,
    ) -> list[Scores]:
        """Scores in the order of the settings, on the first ``examples`` of the split or all of it.

        notify: told of every setting that is about to be measured, and of its place.
        """
        if self.evaluator.exact:
            return [self.evaluator.score(setting, use) for setting in settings]
        wanted = [ScoreRequest(setting, use, examples) for setting in settings]
        self.prepare(wanted, lambda place: notify(settings[place], place))
        kept, results = self.state.made.finished(), []
        for each in wanted:
            task, split = self._task(each), self._split(each)
            scores = self._from_record(kept[task].record["made"], each.setting, split)
            results.append(replace(scores, cost=Cost()) if task in self.counted else scores)
            self.counted.add(task)
        return results

    def prepare(self, wanted: Sequence[ScoreRequest], notify: Callable[[int], None] = lambda place: None) -> None:
        """Measure what the storage lacks, in this order, and keep each as soon as it and those before it are there.

        Rows of the later ones are filled where devices are free, so that what is prepared together fills more of them.
        notify: told the place of each that is about to be measured.
        """
        if self.evaluator.exact:
            return
        kept, lacking = self.state.made.finished(), dict[str, int]()
        for place, each in enumerate(wanted):
            if (task := self._task(each)) not in kept:
                lacking.setdefault(task, place)
        measured = self.evaluator.measure_each(
            [Measurement(wanted[place].setting, self._split(wanted[place])) for place in lacking.values()]
        )
        for task, place in lacking.items():
            notify(place)
            self.state.once(task, lambda: _to_record(next(measured)))

    def _split(self, wanted: ScoreRequest) -> Split:
        split = self.evaluator.split(wanted.use)
        return split if wanted.examples is None else split.first(wanted.examples)

    def _task(self, wanted: ScoreRequest) -> str:
        """The name under which the scores are kept."""
        key = " ".join(f"{part:.17g}" for part in wanted.setting.key)
        return f"{wanted.use} {len(self._split(wanted).ids)} {key}"

    def _from_record(self, record: Record, setting: Setting, split: Split) -> Scores:
        values = np.array(record["values"])
        flat = np.frombuffer(zlib.decompress(base64.b64decode(record["tokens"])), dtype="<i4").astype(np.int64)
        rows, tokens, seconds = record["cost"]
        return Scores(
            setting=setting,
            estimate=self.evaluator.estimated(values, split),
            nfe=record["nfe"],
            cost=Cost(rows, tokens, seconds),
            use=split.use,
            values=values,
            tokens=torch.from_numpy(flat.reshape(len(values), -1)),
            diversity={name: np.array(figures) for name, figures in record["diversity"].items()},
            calls=None if record["calls"] is None else np.array(record["calls"]),
            groups=split.shared,
            bounds=None if isinstance(self.evaluator.metric, ExactMetric) else self.evaluator.metric.bounds,
        )


def _to_record(scores: Scores) -> Record:
    assert scores.values is not None and scores.tokens is not None  # measured on examples
    tokens = scores.tokens.cpu().numpy().astype("<i4")
    return {
        "nfe": scores.nfe,
        "cost": [scores.cost.denoiser_rows, scores.cost.denoiser_tokens, scores.cost.seconds],
        "values": scores.values.tolist(),
        "tokens": base64.b64encode(zlib.compress(tokens.tobytes())).decode("ascii"),
        "diversity": {name: values.tolist() for name, values in scores.diversity.items()},
        "calls": None if scores.calls is None else scores.calls.tolist(),
    }
