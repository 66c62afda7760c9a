"""HumanEval and MBPP as examples and an objective. ``execution`` runs the answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mdm_tune.benchmarks.code_problems import FENCE, HUMANEVAL, KINDS, MBPP, MBPP_SHOTS, ProblemKind, read_problems
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

TESTED = "in a process that the program cannot reach"  # part of the fingerprint
SHOTS_OF_OTHER = 3  # shots of MBPP if another task is reported


@dataclass(frozen=True)
class CodeTask:
    """Problems whose answers are programs; the score of an answer is 1 if its tests pass, else 0.

    Attributes:
        name: Name of the task.
        until: Texts that end an answer.
        notes: Sentences for the user.
        limits: What one program may use.
        allowed: Whether the command line permits generated code.
        protection: Which limits on programs hold on this machine.
        workers: Programs that run at a time; None is one per CPU.
        metric: Name of the score.
        direction: Higher scores are better.
        bounds: From 0 to 1.
    """

    name: str
    until: tuple[str, ...]
    notes: tuple[str, ...]
    limits: Limits
    allowed: GeneratedCode
    protection: Protection
    workers: int | None
    _examples: Mapping[Use, tuple[Example, ...]]
    _kinds: Mapping[str, ProblemKind]
    _outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict, compare=False, repr=False)
    metric: str = "pass@1"
    direction: Direction = "maximize"
    bounds: Bounds | None = SHARE

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with the ends of answers and with the limits of a program."""
        rules = [TESTED, self.name, self.until, self.limits.seconds, self.limits.memory, self.limits.file]
        return short_digest(json.dumps(rules))

    def examples(self, use: Use) -> tuple[Example, ...]:
        """The examples of one use. An id is task/split/number."""
        return self._examples[use]

    def outcomes(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Outcome]:
        """Run the answers that have not been run before, and return the outcomes of all.

        Raises:
            InputError: If the command line does not permit generated code.
        """
        pairs = list(zip((example.id for example in examples), completions, strict=True))
        by_id = {example.id: example for example in examples}
        new = list(dict.fromkeys(pair for pair in pairs if pair not in self._outcomes))
        programs = [self._job(by_id[name], completion) for name, completion in new]
        outcomes = run_programs(programs, allowed=self.allowed, limits=self.limits, workers=self.workers)
        self._outcomes.update(zip(new, outcomes, strict=True))
        return [self._outcomes[pair] for pair in pairs]

    def scores(self, examples: Sequence[Example], completions: Sequence[str]) -> NDArray[np.float64]:
        """Return (n,): 1 for each answer that passes its tests, else 0."""
        return np.array([float(outcome.verdict == "passed") for outcome in self.outcomes(examples, completions)])

    def _job(self, example: Example, completion: str) -> Job:
        kind = self._kinds[example.id.partition("/")[0]]
        return kind.job(example.record, before_stop(completion, (*kind.stops, *self.until)))


def load_code_task(config: CodeDatasetConfig, codec: Codec, root: int, run_generated_code: GeneratedCode) -> CodeTask:
    """Load the benchmark that a ``dataset`` section of type humaneval or mbpp describes.

    MBPP is tuned on its training and validation problems. HumanEval has test problems only: it is tuned on MBPP or on
    other folds of HumanEval.

    Args:
        config: The section.
        codec: Converts between texts and tokens.
        root: Root of the seeds.
        run_generated_code: What the command line permits.

    Raises:
        InputError: If ``run_generated_code`` does not permit what this machine needs, if a file cannot be read or lacks
            a field, or if there are too few problems.
    """
    protection = require_permission(run_generated_code, f"dataset.type: {config.type}")
    kind = KINDS[config.type]
    documents = read_problems(kind, Path(config.path))
    official = [document for document in documents if document.id.split("/")[1] == "test"]
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
        pools = _tuning_pools(tunable, config.other is not None)
    splits = split_documents(
        report,
        pools,
        tune=config.tune_size,
        choose=config.choose,
        without=set() if config.folds is not None else {key for document in official for key in document.keys},
        name=name,
        root=root,
        folds=config.folds,
    )
    makers = {
        task.name: _example_maker(task, config, codec, shots[task.name], documents + tunable) for task in (kind, other)
    }
    by_use: dict[Use, tuple[Document, ...]] = {"tune": splits.tune, "choose": splits.choose, "report": splits.report}
    return CodeTask(
        name=config.type,
        until=(FENCE,) if config.chat else tuple(stop for stop in kind.stops if stop in other.stops),
        notes=(_splits_note(config, splits, name), protection.sentence),
        limits=Limits(config.seconds, config.memory),
        allowed=run_generated_code,
        protection=protection,
        workers=config.workers,
        _examples={
            use: tuple(makers[document.task](document) for document in chosen) for use, chosen in by_use.items()
        },
        _kinds={kind.name: kind, other.name: other},
    )


def _tuning_pools(documents: Sequence[Document], other: bool) -> list[list[Document]]:
    """The problems to tune on: training and validation problems, and for another benchmark than the reported one, as a
    second choice, its test problems too.
    """
    by_split: dict[str, list[Document]] = {}
    for document in documents:
        by_split.setdefault(document.id.split("/")[1], []).append(document)
    first = by_split.get("train", []) + by_split.get("validation", [])
    if not other and all(document.task == HUMANEVAL.name for document in documents):
        raise InputError(
            "dataset.tune: HumanEval has test problems only, and these are reported; tune on another task by "
            "dataset.tune: {task: mbpp, path: mbpp.jsonl, examples: 128}, or on folds by dataset.folds: 5 and "
            "dataset.fold: 0"
        )
    return [first, first + by_split.get("test", [])] if other else [first]


def _example_maker(
    kind: ProblemKind, config: CodeDatasetConfig, codec: Codec, shots: int, documents: Sequence[Document]
) -> Callable[[Document], Example]:
    """A function that makes an example of a document, with the shots in its prompt."""
    by_number = {document.fields["task_id"]: document.fields for document in documents if document.task == MBPP.name}
    try:
        shown = [by_number[number] for number in MBPP_SHOTS[:shots]]
    except KeyError as error:
        raise InputError(
            f"dataset.path: {kind.name} shows problem {error} solved, and the file lacks it; give the whole file, or "
            "set dataset.shots to 0"
        ) from None
    prefix = config.prefix or ""

    def example(document: Document) -> Example:
        if config.chat:
            messages, beginning = kind.messages(document.fields, shown)
            system = [] if config.system is None else [{"role": "system", "content": config.system}]
            prompt = chat_prompt(codec, [*system, *messages]) + beginning
        else:
            prompt = kind.prompt(document.fields, shown)
        end = FENCE if config.chat else kind.stops[0] if kind is MBPP else ""
        pieces = (prefix + prompt, Hole(kind.reference(document.fields) + end))
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


def _splits_note(config: CodeDatasetConfig, splits: DocumentSplits, name: str) -> str:
    where = "test problems"
    if config.folds is not None:
        where = f"test problems, fold {config.fold} of {config.folds},"
    return (
        f"{config.type}: pass@1, one answer to each problem; reported on {len(splits.report)} {where} tuned on "
        f"{len(splits.tune)} and chosen on {len(splits.choose)} of {splits.available} problems of {name} that are "
        "neither reported nor shown solved"
    )
