"""HumanEval and MBPP as examples and an objective; the answers are run by ``execution``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mdm_tune.benchmarks.code_problems import FENCE, HUMANEVAL, KINDS, MBPP, MBPP_SHOTS, Kind, read_problems
from mdm_tune.benchmarks.execution import Job, Limits, Outcome, Protection, require_permission, run_programs
from mdm_tune.benchmarks.splitting import Document, DocumentSplits, Use, fold_of, split_documents
from mdm_tune.benchmarks.task_benchmark import before_stop
from mdm_tune.config.tasks import CodeDatasetConfig, MbppDatasetConfig
from mdm_tune.config.templates import Hole
from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.permissions import GeneratedCode
from mdm_tune.core.statistics import Bounds
from mdm_tune.core.text import Codec, chat_prompt
from mdm_tune.core.types import Direction
from mdm_tune.datasets.examples import Example, group_of
from mdm_tune.datasets.specials import plain_places
from mdm_tune.metrics.quality import SHARE

__all__ = ["CodeTask", "load_code_task"]

TESTED = "in a process that the program cannot reach"
SHOTS_OF_OTHER = 3  # of MBPP, where it tunes another task


@dataclass(frozen=True)
class CodeTask:
    """Problems whose answers are run, 1 for each that passes.

    allowed: whether the command line says so; protection: what holds the programs on this machine.
    """

    name: str
    until: tuple[str, ...]
    notes: tuple[str, ...]
    limits: Limits
    allowed: GeneratedCode
    protection: Protection
    workers: int | None
    _examples: Mapping[Use, tuple[Example, ...]]
    _kinds: Mapping[str, Kind]
    _known: dict[tuple[str, str], Outcome] = field(default_factory=dict, compare=False, repr=False)
    metric: str = "pass@1"
    direction: Direction = "maximize"
    bounds: Bounds | None = SHARE

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with the ends of answers and with what a program may use."""
        told = [TESTED, self.name, self.until, self.limits.seconds, self.limits.memory, self.limits.file]
        return short_digest(json.dumps(told))

    def examples(self, use: Use) -> tuple[Example, ...]:
        """The examples of one use; an id is task/split/number."""
        return self._examples[use]

    def outcomes(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Outcome]:
        """What became of each answer; one that was run before is not run again.

        Raises InputError where running programs is not allowed.
        """
        pairs = list(zip((example.id for example in examples), completions, strict=True))
        by_id = {example.id: example for example in examples}
        new = list(dict.fromkeys(pair for pair in pairs if pair not in self._known))
        programs = [self._job(by_id[name], completion) for name, completion in new]
        self._known.update(
            zip(
                new,
                run_programs(programs, allowed=self.allowed, limits=self.limits, workers=self.workers),
                strict=True,
            )
        )
        return [self._known[pair] for pair in pairs]

    def scores(self, examples: Sequence[Example], completions: Sequence[str]) -> NDArray[np.float64]:
        """1 (n,) for each answer that passes its tests, else 0."""
        return np.array([float(each.verdict == "passed") for each in self.outcomes(examples, completions)])

    def _job(self, example: Example, completion: str) -> Job:
        kind = self._kinds[example.id.partition("/")[0]]
        return kind.job(example.record, before_stop(completion, (*kind.stops, *self.until)))


def load_code_task(config: CodeDatasetConfig, codec: Codec, root: int, run_generated_code: GeneratedCode) -> CodeTask:
    """The benchmark that a ``dataset`` section of type humaneval or mbpp describes.

    MBPP tunes and chooses on its training and validation problems. HumanEval has test problems only: it tunes on MBPP,
    or on the other folds of itself.

    Raises InputError where ``run_generated_code`` does not allow what this machine needs, for a file that cannot be
    read or lacks a field, and for too few problems.
    """
    protection = require_permission(run_generated_code, f"dataset.type: {config.type}")
    kind = KINDS[config.type]
    documents = read_problems(kind, Path(config.path))
    official = [each for each in documents if each.id.split("/")[1] == "test"]
    report = official if config.report == "all" else official[: config.report]
    other, tunable, name = kind, documents, config.type
    if config.other is not None:
        name = str(config.other["task"])
        other = KINDS[name]
        tunable = read_problems(other, Path(str(config.other["path"])))
    shots = {kind.name: config.shots if isinstance(config, MbppDatasetConfig) else 0}
    shots.setdefault(other.name, SHOTS_OF_OTHER if other is MBPP else 0)
    if config.folds is not None and config.fold is not None:
        report, inside = fold_of(report, config.type, config.folds, config.fold)
        pools = [inside]
    else:
        pools = _pools(tunable, config.other is not None)
    hand = split_documents(
        report,
        pools,
        tune=config.tune_size,
        choose=config.choose,
        without=set() if config.folds is not None else {mark for each in official for mark in each.marks},
        name=name,
        root=root,
        folds=config.folds,
    )
    makers = {each.name: _maker(each, config, codec, shots[each.name], documents + tunable) for each in (kind, other)}
    dealt: dict[Use, tuple[Document, ...]] = {"tune": hand.tune, "choose": hand.choose, "report": hand.report}
    return CodeTask(
        name=config.type,
        until=(FENCE,) if config.chat else tuple(stop for stop in kind.stops if stop in other.stops),
        notes=(_what_is_what(config, hand, name), protection.sentence),
        limits=Limits(config.seconds, config.memory),
        allowed=run_generated_code,
        protection=protection,
        workers=config.workers,
        _examples={use: tuple(makers[each.task](each) for each in listed) for use, listed in dealt.items()},
        _kinds={kind.name: kind, other.name: other},
    )


def _pools(documents: Sequence[Document], whole: bool) -> list[list[Document]]:
    """What may tune: training and validation problems; of another benchmark its test problems too, where needed."""
    parts: dict[str, list[Document]] = {}
    for each in documents:
        parts.setdefault(each.id.split("/")[1], []).append(each)
    own = parts.get("train", []) + parts.get("validation", [])
    if not whole and all(each.task == HUMANEVAL.name for each in documents):
        raise InputError(
            "dataset.tune: HumanEval has test problems only, and these are reported; tune on another task by "
            "dataset.tune: {task: mbpp, path: mbpp.jsonl, examples: 128}, or on folds by dataset.folds: 5 and "
            "dataset.fold: 0"
        )
    return [own, own + parts.get("test", [])] if whole else [own]


def _maker(
    kind: Kind, config: CodeDatasetConfig, codec: Codec, shots: int, documents: Sequence[Document]
) -> Callable[[Document], Example]:
    """From a document to an example."""
    solved = {each.fields["task_id"]: each.fields for each in documents if each.task == MBPP.name}
    try:
        shown = [solved[number] for number in MBPP_SHOTS[:shots]]
    except KeyError as error:
        raise InputError(
            f"dataset.path: {kind.name} shows problem {error} solved, and the file lacks it; give the whole file, or "
            "set dataset.shots to 0"
        ) from None
    before = config.prefix or ""

    def example(document: Document) -> Example:
        if config.chat:
            messages, begun = kind.messages(document.fields, shown)
            system = [] if config.system is None else [{"role": "system", "content": config.system}]
            prompt = chat_prompt(codec, [*system, *messages]) + begun
        else:
            prompt = kind.prompt(document.fields, shown)
        end = FENCE if config.chat else kind.stops[0] if kind is MBPP else ""
        pieces = (before + prompt, Hole(kind.reference(document.fields) + end))
        plain = plain_places(codec, pieces, [document.fields, *shown])
        group = group_of(kind.prompt(document.fields, ()))
        return Example(
            id=document.id,
            pieces=pieces,
            record=dict(document.fields),
            source=document.source,
            plain=plain,
            group=group,
        )

    return example


def _what_is_what(config: CodeDatasetConfig, hand: DocumentSplits, name: str) -> str:
    where = "test problems"
    if config.folds is not None:
        where = f"test problems, fold {config.fold} of {config.folds},"
    return (
        f"{config.type}: pass@1, one answer to each problem; reported on {len(hand.report)} {where} tuned on "
        f"{len(hand.tune)} and chosen on {len(hand.choose)} of {hand.available} problems of {name} that are neither "
        "reported nor shown solved"
    )
