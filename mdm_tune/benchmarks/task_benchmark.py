"""A task of lm-evaluation-harness as examples and an objective: what tunes and reports, what an answer is worth."""

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

TRIED = 50  # references whose score says whether they are answers as the task wants them
ACCEPTED = 0.9  # the share of them that the task's own metric must call right


@dataclass(frozen=True)
class HarnessBenchmark:
    """A task or group of lm-evaluation-harness. weights: of the tasks of a group in which these count alike."""

    name: str
    metric: str
    filter: str
    direction: Direction
    until: tuple[str, ...]
    notes: tuple[str, ...]
    _examples: Mapping[Use, tuple[Example, ...]]
    _leaves: Mapping[str, tuple[HarnessTask, NamedTasks]]
    _weights: Mapping[Use, Mapping[str, float]]

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with the metric, the filter, the ends of answers and the tasks' own rules."""
        told = [
            self.metric,
            self.filter,
            self.direction,
            *self.until,
            *(leaf.rules for leaf, _ in self._leaves.values()),
        ]
        return short_digest(json.dumps(told))

    @property
    def bounds(self) -> Bounds | None:
        """Of the value of every answer, weights included; None where the metric is not known to be a share."""
        return bounds_of(self.metric, (weight for by in self._weights.values() for weight in by.values()))

    def examples(self, use: Use) -> tuple[Example, ...]:
        """The examples of one use; an id is task/split/number of the document."""
        return self._examples[use]

    def score(self, example: Example, completion: str) -> float:
        """What the task's own filter and metric say of one answer, which is cut where the task ends one.

        Raises RunError where the task's code fails on it.
        """
        leaf, found = self._leaves[_task_of(example)]
        value = leaf.score(example.record, before_stop(completion, leaf.until), found.metric, found.filter)
        return float(value)  # type: ignore[arg-type]  # checked when the task was found

    def scores(self, examples: Sequence[Example], completions: Sequence[str]) -> NDArray[np.float64]:
        """One value (n,) per answer; where the tasks of a group count alike, times the weight of the example's task.

        The mean over all examples of a use is then the group's number as the harness aggregates it.
        """
        pairs = zip(examples, completions, strict=True)
        return np.array([self.score(*pair) * self._weight(pair[0]) for pair in pairs], dtype=np.float64)

    def _weight(self, example: Example) -> float:
        return next((by[example.id] for by in self._weights.values() if example.id in by), 1.0)


def load_harness_benchmark(
    config: LmEvalDatasetConfig, codec: Codec, root: int, trust_code: bool = False
) -> HarnessBenchmark:
    """The task that a ``dataset`` section of type lm-eval describes, its documents dealt and its prompts rendered.

    Report: the official test documents with the very prompts of the harness. Tune and choose: validation documents
    where there are enough, else training documents too, less every document that a prompt shows solved or that is also
    a test document; with ``folds`` the test documents of the other folds; or another task's documents.

    Raises InputError for whatever cannot be found or loaded, for too few documents, and for a task that has nothing to
    tune on.
    """
    what = f"dataset.task: {config.task}"
    with (
        silent(),
        without_consent_prompts(trust_code, what),
        calling(what, "correct the task, or choose another", loading=True),
    ):
        return _loaded(config, codec, root, trust_code)


def _loaded(config: LmEvalDatasetConfig, codec: Codec, root: int, trust_code: bool) -> HarnessBenchmark:
    found = _find(config, config.task, codec, trust_code, own=True)
    first = None if config.report == "all" else config.report
    official = {each.id: (leaf, each) for leaf in found.leaves for each in leaf.official[:first]}
    prompts = {name: leaf.prompt(each) for name, (leaf, each) in official.items()}
    name = config.task if config.other is None else str(config.other["task"])
    source = found if config.other is None else _find(config, name, codec, trust_code, own=False)
    if source.direction != found.direction:
        raise InputError(
            f"dataset.tune: {source.metric} of task {name} and {found.metric} of {config.task} must both be better "
            "higher or both lower, got one of each; set dataset.metric, or tune on another task"
        )
    hand = _dealt(config, found, source, [each for _, each in official.values()], name, root)
    leaves = {leaf.name: (leaf, each) for each in (found, source) for leaf in each.leaves}
    dealt: dict[Use, tuple[Document, ...]] = {"tune": hand.tune, "choose": hand.choose, "report": hand.report}
    for use in ("tune", "choose"):
        prompts |= {each.id: leaves[each.task][0].prompt(each) for each in dealt[use]}
    keeps = _references_are_answers(hand.tune, leaves)
    before = config.prefix or ""

    def example(each: Document) -> Example:
        leaf = leaves[each.task][0]
        pieces = (before + prompts[each.id], Hole(leaf.reference(each) if keeps else None))
        plain = plain_places(codec, pieces, [each.fields, *leaf.solved[each.id]])
        return Example(each.id, pieces, dict(each.fields), plain=plain, group=group_of(leaf.asked(each.fields)))

    examples = {use: tuple(map(example, documents)) for use, documents in dealt.items()}
    return HarnessBenchmark(
        name=config.task,
        metric=found.metric,
        filter=found.filter,
        direction=found.direction,
        until=_common([leaf.until for leaf, _ in leaves.values()]),
        notes=(_what_is_what(config, hand, found, name), *_about_references(keeps)),
        _examples=examples,
        _leaves=leaves,
        _weights={use: _equal_weights(listed) for use, listed in examples.items() if not found.by_size},
    )


def before_stop(text: str, until: Sequence[str]) -> str:
    """The text before the first of the texts that end it."""
    return text[: min((place for stop in until if (place := text.find(stop)) >= 0), default=len(text))]


def _find(config: LmEvalDatasetConfig, name: str, codec: Codec, trust_code: bool, own: bool) -> NamedTasks:
    """own: the reported task, to which the config's metric, filter and shots belong."""
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


def _dealt(
    config: LmEvalDatasetConfig, found: NamedTasks, source: NamedTasks, official: list[Document], name: str, root: int
) -> DocumentSplits:
    """Who tunes, chooses and reports; shots of tune prompts come from documents that do none of this."""
    report, pools = official, _by_kind(source)
    barred = _marks(each for leaf in found.leaves for each in leaf.official)
    if config.folds is not None and config.fold is not None:
        report, others = fold_of(official, config.task, config.folds, config.fold)
        pools, barred = [others], _marks(report)
    elif source is found and not any(leaf.pools for leaf in source.leaves):
        raise InputError(
            f"dataset.task: {name} has test documents only, and these are reported; tune on another task, such as "
            "dataset.tune: {task: NAME, examples: 128}, or on folds of the test documents by dataset.folds: 5 and "
            "dataset.fold: 0"
        )
    reported = {each.id for each in report}
    shown = {mark for leaf in found.leaves for name, marks in leaf.shown.items() if name in reported for mark in marks}
    same = source is found and config.folds is None  # elsewhere a few documents become shots, so that others are left
    pools_of_shots = [
        leaf.show_only(
            lambda marks: bool(marks & shown) if same else not marks & barred, None if same else 2 * leaf.shots + 1
        )
        for leaf in source.leaves
    ]
    return split_documents(
        report,
        pools,
        tune=config.tune_size,
        choose=config.choose,
        without=barred.union(shown, *pools_of_shots),
        name=name,
        root=root,
        folds=config.folds,
    )


def _marks(documents: Iterable[Document]) -> set[str]:
    return {mark for document in documents for mark in document.marks}


def _by_kind(source: NamedTasks) -> list[list[Document]]:
    """The validation documents of all tasks, then the training documents; of a task with neither the official ones."""
    most = max(len(leaf.pools) for leaf in source.leaves)
    kinds: list[list[Document]] = [[] for _ in range(max(most, 1))]
    for leaf in source.leaves:
        for place, pool in enumerate(leaf.pools or [leaf.official]):
            kinds[place] += pool
    return kinds


def _references_are_answers(tune: Sequence[Document], leaves: Mapping[str, tuple[HarnessTask, NamedTasks]]) -> bool:
    """Whether the task's own metric calls its own references right; some tasks only hold the last word of an answer."""
    values = []
    for document in tune[:TRIED]:
        leaf, found = leaves[document.task]
        value = leaf.score(document.fields, leaf.reference(document), found.metric, found.filter)
        right = float(value)  # type: ignore[arg-type]
        values.append(right if sign_of(found.direction) > 0 else 1 - right)
    return float(np.mean(values)) >= ACCEPTED


def _about_references(keeps: bool) -> list[str]:
    if keeps:
        return []
    return [
        "the task's references are not answers that its own metric accepts, so examples have none: a profile needs "
        "profile.answers: model"
    ]


def _what_is_what(config: LmEvalDatasetConfig, hand: DocumentSplits, found: NamedTasks, name: str) -> str:
    tasks = f" of {len(found.leaves)} tasks" if len(found.leaves) > 1 else ""
    where = "official documents"
    if config.folds is not None:
        where = f"official documents, fold {config.fold} of {config.folds}"
    return (
        f"{config.task}: {found.metric} after filter {found.filter}, {quantity(found.leaves[0].shots, 'shot')}; "
        "reported on "
        f"{len(hand.report):,} {where}{tasks}, tuned on {len(hand.tune)} and chosen on {len(hand.choose)} of "
        f"{quantity(hand.available, 'document')} of {name} that are neither reported nor shown solved"
    )


def _common(each: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The texts that all tasks stop at."""
    return tuple(stop for stop in each[0] if all(stop in other for other in each[1:]))


def _equal_weights(examples: Sequence[Example]) -> dict[str, float]:
    sizes = Counter(map(_task_of, examples))
    return {example.id: len(examples) / len(sizes) / sizes[_task_of(example)] for example in examples}


def _task_of(example: Example) -> str:
    return example.id.rsplit("/", 2)[0]
