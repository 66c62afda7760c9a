"""A task of lm-evaluation-harness as examples and an objective: the documents of each use, and the scores."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mdm_tune.benchmarks.harness import NamedTasks, bounds_of, find_task, silent
from mdm_tune.benchmarks.single_task import HarnessTask
from mdm_tune.benchmarks.splitting import Document, DocumentSplits, Use, fold_of, split_documents
from mdm_tune.config.tasks import LmEvalDatasetConfig
from mdm_tune.config.templates import Hole
from mdm_tune.core.consent import without_consent_prompts
from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.guard import calling
from mdm_tune.core.messages import quantity
from mdm_tune.core.statistics import Bounds
from mdm_tune.core.text import Codec, chat_prompt
from mdm_tune.core.types import Direction, sign_of
from mdm_tune.datasets.examples import Example, group_of
from mdm_tune.datasets.specials import plain_places

__all__ = ["HarnessBenchmark", "before_stop", "load_harness_benchmark"]

TRIED = 50  # references that are scored to see whether they are answers that the task accepts
ACCEPTED = 0.9  # the share of them that the task's own metric must accept


@dataclass(frozen=True)
class HarnessBenchmark:
    """A task or group of lm-evaluation-harness.

    Attributes:
        name: Name of the task or group.
        metric: Name of the metric.
        filter: Name of the filter that an answer passes first.
        direction: Whether higher or lower values are better.
        until: Texts that end an answer in all tasks.
        notes: Sentences for the user.
    """

    name: str
    metric: str
    filter: str
    direction: Direction
    until: tuple[str, ...]
    notes: tuple[str, ...]
    _examples: Mapping[Use, tuple[Example, ...]]
    _tasks: Mapping[str, tuple[HarnessTask, NamedTasks]]
    _weights: Mapping[Use, Mapping[str, float]]  # by id of the example, for a group whose tasks have equal weights

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with the metric, the filter, the ends of answers and the tasks' own rules."""
        task_rules = (task.rules for task, _ in self._tasks.values())
        return short_digest(json.dumps([self.metric, self.filter, self.direction, *self.until, *task_rules]))

    @property
    def bounds(self) -> Bounds | None:
        """The bounds of an answer's weighted value; None if the metric is not known to be a share."""
        return bounds_of(self.metric, (weight for weights in self._weights.values() for weight in weights.values()))

    def examples(self, use: Use) -> tuple[Example, ...]:
        """The examples of one use. An id is task/split/number of the document."""
        return self._examples[use]

    def score(self, example: Example, completion: str) -> float:
        """Compute the task's metric of one answer, which is cut at the first text that ends it.

        Raises:
            RunError: If the task's code fails.
        """
        task, named = self._tasks[_task_of(example)]
        value = task.score(example.record, before_stop(completion, task.until), named.metric, named.filter)
        return float(value)  # type: ignore[arg-type]  # checked when the task was found

    def scores(self, examples: Sequence[Example], completions: Sequence[str]) -> NDArray[np.float64]:
        """Return one value (n,) per answer, times the weight of its task if the tasks of a group have equal weights.

        The mean over all examples of a use is the number that the harness reports.
        """
        pairs = zip(examples, completions, strict=True)
        return np.array([self.score(*pair) * self._weight(pair[0]) for pair in pairs], dtype=np.float64)

    def _weight(self, example: Example) -> float:
        return next((weights[example.id] for weights in self._weights.values() if example.id in weights), 1.0)


def load_harness_benchmark(
    config: LmEvalDatasetConfig, codec: Codec, root: int, trust_code: bool = False
) -> HarnessBenchmark:
    """Load the task that a ``dataset`` section of type lm-eval describes, split its documents and make the prompts.

    ``report`` has the official test documents, with the prompts of the harness. ``tune`` and ``choose`` have validation
    documents, and training documents too if there are too few. Documents that a prompt shows solved and copies of test
    documents are left out. With ``folds``, ``tune`` and ``choose`` have the test documents of the other folds. They may
    also have the documents of another task.

    Args:
        config: The section.
        codec: Converts between texts and tokens.
        root: Root of the seeds.
        trust_code: Whether code of the task may run.

    Raises:
        InputError: If something cannot be found or loaded, if there are too few documents, or if the task has no
            documents to tune on.
    """
    what = f"dataset.task: {config.task}"
    with (
        silent(),
        without_consent_prompts(trust_code, what),
        calling(what, "correct the task, or choose another", loading=True),
    ):
        return _load(config, codec, root, trust_code)


def _load(config: LmEvalDatasetConfig, codec: Codec, root: int, trust_code: bool) -> HarnessBenchmark:
    reported = _find(config, config.task, codec, trust_code, own=True)
    first = None if config.report == "all" else config.report
    official = [(task, document) for task in reported.tasks for document in task.official[:first]]
    prompts = {document.id: task.prompt(document) for task, document in official}
    name = config.task if config.other is None else str(config.other["task"])
    source = reported if config.other is None else _find(config, name, codec, trust_code, own=False)
    if source.direction != reported.direction:
        raise InputError(
            f"dataset.tune: {source.metric} of task {name} and {reported.metric} of {config.task} must both be better "
            "higher or both lower, got one of each; set dataset.metric, or tune on another task"
        )
    splits = _split(config, reported, source, [document for _, document in official], name, root)
    tasks = {task.name: (task, named) for named in (reported, source) for task in named.tasks}
    by_use: dict[Use, tuple[Document, ...]] = {"tune": splits.tune, "choose": splits.choose, "report": splits.report}
    for use in ("tune", "choose"):
        prompts |= {document.id: tasks[document.task][0].prompt(document) for document in by_use[use]}
    accepted = _references_are_accepted(splits.tune, tasks)
    prefix = config.prefix or ""

    def example(document: Document) -> Example:
        task = tasks[document.task][0]
        pieces = (prefix + prompts[document.id], Hole(task.reference(document) if accepted else None))
        return Example(
            id=document.id,
            pieces=pieces,
            record=dict(document.fields),
            plain=plain_places(codec, pieces, [document.fields, *task.shot_fields[document.id]]),
            group=group_of(task.question(document.fields)),
        )

    examples = {use: tuple(map(example, documents)) for use, documents in by_use.items()}
    return HarnessBenchmark(
        name=config.task,
        metric=reported.metric,
        filter=reported.filter,
        direction=reported.direction,
        until=_common_stops([task.until for task, _ in tasks.values()]),
        notes=(_splits_note(config, splits, reported, name), *_references_note(accepted)),
        _examples=examples,
        _tasks=tasks,
        _weights={use: _equal_weights(of_use) for use, of_use in examples.items() if not reported.by_size},
    )


def before_stop(text: str, until: Sequence[str]) -> str:
    """Return the text before the first of the texts that end it."""
    return text[: min((start for stop in until if (start := text.find(stop)) >= 0), default=len(text))]


def _find(config: LmEvalDatasetConfig, name: str, codec: Codec, trust_code: bool, own: bool) -> NamedTasks:
    """The tasks of a name. own: whether it is the reported task, to which the config's metric, filter, shots apply."""
    return find_task(
        name,
        include_path=config.include_path,
        trust_code=trust_code,
        shots=config.shots if own else None,
        metric=config.metric if own else None,
        filter=config.filter if own else None,
        chat=partial(chat_prompt, codec) if config.chat else None,
        system=config.system,
        multiturn=config.multiturn,
    )


def _split(
    config: LmEvalDatasetConfig,
    reported: NamedTasks,
    source: NamedTasks,
    official: list[Document],
    name: str,
    root: int,
) -> DocumentSplits:
    """The documents of each use. The shots of prompts to tune on come from documents without a use."""
    report, pools = official, _tuning_pools(source)
    excluded = _keys(document for task in reported.tasks for document in task.official)
    if config.folds is not None and config.fold is not None:
        report, others = fold_of(official, config.task, config.folds, config.fold)
        pools, excluded = [others], _keys(report)
    elif source is reported and not any(task.pools for task in source.tasks):
        raise InputError(
            f"dataset.task: {name} has test documents only, and these are reported; tune on another task, such as "
            "dataset.tune: {task: NAME, examples: 128}, or on folds of the test documents by dataset.folds: 5 and "
            "dataset.fold: 0"
        )
    shots = {key for task in reported.tasks for document in report for key in task.shot_keys.get(document.id, ())}
    if source is reported and config.folds is None:  # the shots of the reported prompts serve again
        shot_pools = [task.restrict_shots(lambda keys: bool(keys & shots)) for task in source.tasks]
    else:  # few documents become shots, so that the others can be used to tune
        shot_pools = [
            task.restrict_shots(lambda keys: not keys & excluded, at_most=2 * task.shots + 1) for task in source.tasks
        ]
    return split_documents(
        report,
        pools,
        tune=config.tune_size,
        choose=config.choose,
        without=excluded.union(shots, *shot_pools),
        name=name,
        root=root,
        folds=config.folds,
    )


def _keys(documents: Iterable[Document]) -> set[str]:
    return {key for document in documents for key in document.keys}


def _tuning_pools(source: NamedTasks) -> list[list[Document]]:
    """The validation documents of all tasks, then the training documents. A task with neither has its official ones."""
    most = max(len(task.pools) for task in source.tasks)
    pools: list[list[Document]] = [[] for _ in range(max(most, 1))]
    for task in source.tasks:
        for pool, documents in zip(pools, task.pools or [task.official], strict=False):
            pool.extend(documents)
    return pools


def _references_are_accepted(tune: Sequence[Document], tasks: Mapping[str, tuple[HarnessTask, NamedTasks]]) -> bool:
    """Whether the task's metric accepts its own references. Some references are only the last word of an answer."""
    values = []
    for document in tune[:TRIED]:
        task, named = tasks[document.task]
        score = task.score(document.fields, task.reference(document), named.metric, named.filter)
        value = float(score)  # type: ignore[arg-type]
        values.append(value if sign_of(named.direction) > 0 else 1 - value)
    return float(np.mean(values)) >= ACCEPTED


def _references_note(accepted: bool) -> list[str]:
    """A note for the user if the references are not accepted, else none."""
    if accepted:
        return []
    return [
        "the task's references are not answers that its own metric accepts, so examples have none: a profile needs "
        "profile.answers: model"
    ]


def _splits_note(config: LmEvalDatasetConfig, splits: DocumentSplits, reported: NamedTasks, name: str) -> str:
    tasks = f" of {len(reported.tasks)} tasks" if len(reported.tasks) > 1 else ""
    where = "official documents"
    if config.folds is not None:
        where = f"official documents, fold {config.fold} of {config.folds}"
    return (
        f"{config.task}: {reported.metric} after filter {reported.filter}, "
        f"{quantity(reported.tasks[0].shots, 'shot')}; reported on {len(splits.report):,} {where}{tasks}, "
        f"tuned on {len(splits.tune)} and chosen on {len(splits.choose)} of {quantity(splits.available, 'document')} "
        f"of {name} that are neither reported nor shown solved"
    )


def _common_stops(stops: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The texts that end an answer in all tasks. stops: those of each task."""
    return tuple(stop for stop in stops[0] if all(stop in others for others in stops[1:]))


def _equal_weights(examples: Sequence[Example]) -> dict[str, float]:
    """Weights by the id of an example that give each task the same weight; their mean is 1."""
    sizes = Counter(map(_task_of, examples))
    return {example.id: len(examples) / len(sizes) / sizes[_task_of(example)] for example in examples}


def _task_of(example: Example) -> str:
    return example.id.rsplit("/", 2)[0]
