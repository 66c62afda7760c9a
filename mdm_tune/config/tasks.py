"""The ``dataset`` sections for benchmarks: tasks of lm-evaluation-harness, and tasks whose answers are programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema, model_validator

from mdm_tune.config import validators
from mdm_tune.config.data import SIZE, TEXT, ReportSize, SplitSize
from mdm_tune.config.models import InputPath, Section, Size, Text
from mdm_tune.core.problems import shown

__all__ = [
    "BenchmarkConfig",
    "BenchmarkDatasetConfig",
    "CodeDatasetConfig",
    "HumanEvalDatasetConfig",
    "LmEvalDatasetConfig",
    "MbppDatasetConfig",
]

LARGEST = 10_000_000  # examples, as in other data sets


def tune_from(value: object, info: ValidationInfo) -> int | dict[str, str | int]:
    """A number of examples of the task, or the name of another task and a number of its examples."""
    if isinstance(value, Mapping):
        return another_task(value, info)
    if isinstance(value, bool) or not isinstance(value, int) or value > LARGEST:
        raise ValueError(
            f"must be a whole number or another task, got {shown(value)}; write digits, or {{task: NAME, examples: 64}}"
        )
    return validators.large_enough(value)


def another_task(value: Mapping[Any, Any], info: ValidationInfo) -> dict[str, str | int]:
    """The mapping that names another task, with its path resolved; raises ValueError if it is invalid."""
    legal = ("task", "examples", "path")
    if unknown := [key for key in value if key not in legal]:
        raise ValueError(f"must have only the keys {', '.join(legal)}, got {shown(unknown[0])}; remove it")
    task, examples, path = (value.get(key) for key in legal)
    if not isinstance(task, str) or not task:
        raise ValueError(f"must name another task, got {shown(task)}; write it as {{task: mbpp, examples: 128}}")
    if isinstance(examples, bool) or not isinstance(examples, int) or examples > LARGEST:
        raise ValueError(
            f"must have a number of examples of {task}, got {shown(examples)}; write it as "
            f"{{task: {task}, examples: 128}}"
        )
    source: dict[str, str | int] = {"task": task, "examples": validators.large_enough(examples)}
    if path is not None:
        if not isinstance(path, str) or not path or "\0" in path:
            raise ValueError(f"must name the file of {task}, got {shown(path)}; give its path as text")
        source["path"] = validators.input_path(path, info)
    return source


ANOTHER_TASK = {
    "type": "object",
    "properties": {"task": TEXT, "examples": SIZE, "path": TEXT},
    "required": ["task", "examples"],
    "additionalProperties": False,
}
Tune = Annotated[int | dict[str, str | int], PlainValidator(tune_from), WithJsonSchema({"anyOf": [SIZE, ANOTHER_TASK]})]


class BenchmarkConfig(Section):
    """The settings that all benchmarks share.

    Attributes:
        type: the kind of benchmark.
        tune: number of documents for the search, from the task's training and validation documents, or another task
            with a number of its documents.
        choose: number of documents for the choice among finalists, from the same source.
        report: ``all`` official test documents, or a number of the first ones of each task.
        folds: for a task with test documents only, the number of parts into which they are divided.
        fold: the part that is reported, from 0 to folds - 1; the other parts are used for tuning.
        generation_length: tokens of an answer.
        chat: whether the prompt is written in the model's chat template.
        system: the system message of a chat.
        prefix: text before each prompt, such as a begin token.
    """

    type: str
    tune: Tune
    choose: SplitSize
    report: ReportSize = "all"
    folds: Annotated[int, Field(ge=2, le=100)] | None = None
    fold: Annotated[int, Field(ge=0, le=99)] | None = None
    generation_length: Size
    chat: bool = False
    system: Text | None = None
    prefix: Text | None = None

    @model_validator(mode="after")
    def goes_together(self) -> Self:
        if (self.folds is None) != (self.fold is None) or (self.fold or 0) >= (self.folds or 1):
            raise ValueError(
                f"folds and fold go together, the second counting from 0, got {shown(self.folds)} and "
                f"{shown(self.fold)}; write folds: 5 and fold: 0"
            )
        if self.folds is not None and not isinstance(self.tune, int):
            raise ValueError(
                f"folds tune on the task itself, got tune from {shown(self.tune['task'])}; leave one of them out"
            )
        if self.system is not None and not self.chat:
            raise ValueError(
                f"system goes with chat: true, got {shown(self.system)} without; add chat, or leave it out"
            )
        return self

    @property
    def other(self) -> dict[str, str | int] | None:
        """The other task for tuning: its ``task``, ``examples`` and, optionally, ``path``; None if there is none."""
        return None if isinstance(self.tune, int) else self.tune

    @property
    def tune_size(self) -> int:
        return self.tune if isinstance(self.tune, int) else int(self.tune["examples"])


class LmEvalDatasetConfig(BenchmarkConfig):
    """A task or group of lm-evaluation-harness, with its own prompts, filters and metric.

    Attributes:
        task: the name of the task or group.
        include_path: a folder with tasks in the harness's format; such tasks run code and need --trust-code.
        shots: number of solved examples; None for the task's own.
        multiturn: whether each solved example is a separate turn of a chat.
        metric: None for the task's own.
        filter: None for the task's own.
    """

    type: Literal["lm-eval"]
    task: Text
    include_path: InputPath | None = None
    shots: Annotated[int, Field(ge=0, le=1000)] | None = None
    multiturn: bool = True
    metric: Text | None = None
    filter: Text | None = None

    @model_validator(mode="after")
    def has_no_path(self) -> Self:
        if self.other is not None and "path" in self.other:
            raise ValueError(
                f"tune must name a task of the harness without a path, because the harness loads the documents, got "
                f"path {shown(self.other['path'])}; leave it out"
            )
        return self


class CodeDatasetConfig(BenchmarkConfig):
    """Problems whose answers are programs, from a local file. Programs run only with --run-generated-code.

    Attributes:
        path: a file of JSON lines, which may be compressed (.gz).
        seconds: CPU time of a program at most.
        memory: MiB of a program at most.
        workers: programs that run at the same time; None for one per CPU.
    """

    path: InputPath
    seconds: Annotated[float, Field(ge=1.0, le=600.0)] = 3.0
    memory: Annotated[int, Field(ge=64, le=65_536)] = 1024
    workers: Annotated[int, Field(ge=1, le=256)] | None = None

    @model_validator(mode="after")
    def knows_the_other(self) -> Self:
        if self.other is not None and (self.other["task"] not in ("humaneval", "mbpp") or "path" not in self.other):
            raise ValueError(
                "tune must name a task whose answers are programs, and its file, got "
                f"{', '.join(f'{key} {value}' for key, value in self.other.items())}; write "
                "{task: mbpp, path: mbpp.jsonl, examples: 128}"
            )
        return self


class HumanEvalDatasetConfig(CodeDatasetConfig):
    """HumanEval: complete a function. All 164 problems are test documents."""

    type: Literal["humaneval"]


class MbppDatasetConfig(CodeDatasetConfig):
    """MBPP: write a function that passes three asserts, after some solved problems. It has 500 test documents.

    Attributes:
        shots: number of solved problems before each problem.
    """

    type: Literal["mbpp"]
    shots: Annotated[int, Field(ge=0, le=3)] = 3


BenchmarkDatasetConfig = LmEvalDatasetConfig | HumanEvalDatasetConfig | MbppDatasetConfig
