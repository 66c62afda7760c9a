"""Scores of settings on unseen examples, stored as soon as they are measured, so that each is measured once."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from mdm_tune.datasets.splits import Split, Use
from mdm_tune.evaluation.evaluator import Evaluator, Measurement
from mdm_tune.evaluation.scores import Cost, Reveals, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.search.driver import DriverState

__all__ = ["ScoreRequest", "StoredScores"]

Record = dict[str, Any]


@dataclass(frozen=True)
class ScoreRequest:
    """A setting to score on a split.

    Attributes:
        setting: The setting.
        use: The split.
        examples: The number of first examples; None for the whole split.
    """

    setting: Setting
    use: Use
    examples: int | None = None


class StoredScores:
    """Scores settings on a split, and stores the scores. Stored scores are not measured again.

    Attributes:
        evaluator: The evaluator.
        state: The storage.
        counted: Tasks whose cost was reported; their scores have no cost from then on.
    """

    def __init__(self, evaluator: Evaluator, state: DriverState) -> None:
        self.evaluator, self.state = evaluator, state
        self.counted: set[str] = set()

    def score(
        self,
        settings: Sequence[Setting],
        use: Use,
        notify: Callable[[Setting, int], None] = lambda setting, place: None,
        examples: int | None = None,
        *,
        count: bool = True,
    ) -> list[Scores]:
        """Score settings.

        Args:
            settings: The settings.
            use: The split.
            notify: Called with a setting and its place before it is measured.
            examples: The number of first examples; None for the whole split.
            count: Whether the costs are reported now, so that scores that are asked for later have none.

        Returns:
            The scores in the order of the settings.
        """
        if self.evaluator.exact:
            return [self.evaluator.score(setting, use) for setting in settings]
        requests = [ScoreRequest(setting, use, examples) for setting in settings]
        self.prepare(requests, lambda place: notify(settings[place], place))
        finished, results = self.state.made.finished(), []
        for request in requests:
            task, split = self._task(request), self._split(request)
            scores = self._from_record(finished[task].record["made"], request.setting, split)
            results.append(replace(scores, cost=Cost()) if task in self.counted else scores)
            self.counted |= {task} if count else set()
        return results

    def prepare(self, requests: Sequence[ScoreRequest], notify: Callable[[int], None] = lambda place: None) -> None:
        """Measure the scores that the storage lacks, and store each in order as soon as it is ready.

        Free devices already fill the rows of later requests, so it is faster to prepare requests together.

        Args:
            requests: The settings and splits.
            notify: Called with the place of a request before it is measured.
        """
        if self.evaluator.exact:
            return
        finished, lacking = self.state.made.finished(), dict[str, int]()
        for place, request in enumerate(requests):
            if (task := self._task(request)) not in finished:
                lacking.setdefault(task, place)
        measured = self.evaluator.measure_each(
            [Measurement(requests[place].setting, self._split(requests[place])) for place in lacking.values()]
        )
        for task, place in lacking.items():
            notify(place)
            self.state.once(task, lambda: _to_record(next(measured)))

    def _split(self, request: ScoreRequest) -> Split:
        split = self.evaluator.split(request.use)
        return split if request.examples is None else split.first(request.examples)

    def _task(self, request: ScoreRequest) -> str:
        """The name under which the scores are stored."""
        key = " ".join(part if isinstance(part, str) else f"{part:.17g}" for part in request.setting.key)
        return f"{request.use} {len(self._split(request).ids)} {key}"

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
            reveals=None if not record.get("reveals") else Reveals.from_json(record["reveals"]),
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
        "reveals": None if scores.reveals is None else scores.reveals.to_json(),
    }
