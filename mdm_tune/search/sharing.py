"""Where the workers of one run meet: what one of them has made, the others take from the storage."""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mdm_tune.datasets.splits import Split, Use
from mdm_tune.evaluation import Cost, Evaluator, Scores
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.search.ledger import Ledger, Worker
from mdm_tune.search.storage import Storage
from mdm_tune.settings import Setting

__all__ = ["Desk", "Judge", "holds_run", "made_of", "remove_run"]

Record = dict[str, Any]
POLL = 0.2  # seconds between looks at what other workers do


class Desk:
    """The storage of one run, as one worker sees it. run: the name that all its workers give."""

    def __init__(self, storage: Storage, run: str, worker: Worker) -> None:
        self.storage, self.run, self.worker = storage, run, worker
        self.made = self.ledger("made")

    def ledger(self, name: str, direction: Any = "minimize") -> Ledger:
        """One of the run's ledgers."""
        return Ledger(self.storage, f"{self.run}/{name}", self.worker, direction)

    def once(self, task: str, make: Callable[[], Record]) -> Record:
        """What ``make`` returns, made by one worker and kept."""
        return self.each({task: make})[task]

    def each(self, makers: Mapping[str, Callable[[], Record]]) -> dict[str, Record]:
        """What each maker returns, by task: made by the worker that is first free, and kept.

        Records hold what JSON knows. A worker with nothing left to begin waits for those that the others are at.
        """
        while True:
            finished = self.made.finished()
            lacking = [task for task in makers if task not in finished]
            if not lacking:
                return {task: finished[task].record["made"] for task in makers}
            held = self.made.held()
            free = [task for task in lacking if task not in held]
            claim = next((claim for task in free if (claim := self.made.claim(task)) is not None), None)
            if claim is None:
                time.sleep(POLL)
                continue
            try:
                claim.finish(0.0, {"made": makers[claim.task]()})
            except BaseException:
                claim.release()
                raise


def holds_run(storage: Storage, run: str) -> bool:
    """Whether somebody began a run of this name."""
    return any(study.study_name.startswith(f"{run}/") for study in storage.get_all_studies())


def made_of(storage: Storage, run: str, task: str) -> Record | None:
    """What a worker of a run has made under this name; None where nobody has."""
    if not holds_run(storage, run):
        return None
    with Worker(storage, run) as worker:
        entry = Desk(storage, run, worker).made.finished().get(task)
    return None if entry is None else dict(entry.record["made"])


def remove_run(storage: Storage, run: str) -> None:
    """Delete all ledgers of a run."""
    for study in storage.get_all_studies():
        if study.study_name.startswith(f"{run}/"):
            storage.delete_study(storage.get_study_id_from_name(study.study_name))


class Judge:
    """Scores settings on a split, each by one worker; what is in the storage costs nothing more.

    notify: told of every setting that this worker is about to score.
    """

    def __init__(self, evaluator: Evaluator, desk: Desk) -> None:
        self.evaluator, self.desk = evaluator, desk
        self.counted: set[str] = set()  # tasks whose cost was reported

    def score(
        self,
        settings: Sequence[Setting],
        use: Use,
        notify: Callable[[Setting, int], None] = lambda setting, place: None,
        examples: int | None = None,
    ) -> list[Scores]:
        """Scores in the order of the settings, on the first ``examples`` of the split or all of it."""
        if self.evaluator.exact:
            return [self.evaluator.score(setting, use) for setting in settings]
        split = self.evaluator.split(use)
        split = split if examples is None else split.first(examples)
        tasks = [f"{use} {len(split.ids)} {' '.join(f'{part:.17g}' for part in setting.key)}" for setting in settings]
        makers: dict[str, Callable[[], Record]] = {}
        for place, (task, setting) in enumerate(zip(tasks, settings, strict=True)):

            def make(place: int = place, setting: Setting = setting) -> Record:
                notify(setting, place)
                return _to_record(self.evaluator.measure_on(setting, split))

            makers.setdefault(task, make)
        found = self.desk.each(makers)
        results = []
        for task, setting in zip(tasks, settings, strict=True):
            scores = self._from_record(found[task], setting, split)
            results.append(replace(scores, cost=Cost()) if task in self.counted else scores)
            self.counted.add(task)
        return results

    def _from_record(self, record: Record, setting: Setting, split: Split) -> Scores:
        values = np.array(record["values"])
        flat = np.frombuffer(zlib.decompress(base64.b64decode(record["tokens"])), dtype="<i4").astype(np.int64)
        rows, tokens, seconds = record["cost"]
        return Scores(
            setting,
            self.evaluator.estimated(values, split),
            record["nfe"],
            Cost(rows, tokens, seconds),
            split.use,
            values,
            torch.from_numpy(flat.reshape(len(values), -1)),
            {name: np.array(figures) for name, figures in record["diversity"].items()},
            None if record["calls"] is None else np.array(record["calls"]),
            split.shared,
            None if isinstance(self.evaluator.metric, ExactMetric) else self.evaluator.metric.bounds,
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
