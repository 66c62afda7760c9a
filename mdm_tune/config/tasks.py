"""The ``dataset`` sections for benchmarks: tasks of lm-evaluation-harness, and programs that are run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainValidator, ValidationInfo, model_validator

from mdm_tune.config import validators
from mdm_tune.config.data import SplitSize, report_size
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
    """A number of examples of the task itself, or another task with a number of its examples."""
    if isinstance(value, Mapping):
        return another_task(value, info)
    if isinstance(value, bool) or not isinstance(value, int) or value > LARGEST:
        raise ValueError(
            f"must be a whole number or another task, got {shown(value)}; write digits, or {{task: NAME, examples: 64}}"
        )
    return validators.large_enough(value)


def another_task(value: Mapping[Any, Any], info: ValidationInfo) -> dict[str, str | int]:
    legal = ("task", "examples", "path")
    if unknown := [key for key in value if key not in legal]:
        raise ValueError(f"has the keys {', '.join(legal)}, got {shown(unknown[0])}; remove it")
    task, examples, path = (value.get(key) for key in legal)
    if not isinstance(task, str) or not task:
        raise ValueError(f"names another task, got {shown(task)}; write it as {{task: mbpp, examples: 128}}")
    if isinstance(examples, bool) or not isinstance(examples, int) or examples > LARGEST:
        raise ValueError(
            f"says how many examples of {task} tune, got {shown(examples)}; write it as {{task: {task}, examples: 128}}"
        )
    found: dict[str, str | int] = {"task": task, "examples": validators.large_enough(examples)}
    if path is not None:
        if not isinstance(path, str) or not path or "\0" in path:
            raise ValueError(f"names the file of {task}, got {shown(path)}; give its path as text")
        found["path"] = validators.input_path(path, info)
    return found


Tune = Annotated[int | dict[str, str | int], PlainValidator(tune_from)]
ReportSize = Annotated[int | Literal["all"], PlainValidator(report_size)]


class BenchmarkConfig(Section):
    """What benchmarks have in common.

    tune: how many documents the search scores, of the task's training and validation documents, or those of another
    task. choose: how many of the same decide among finalists. report: ``all`` official test documents, or the first so
    many of each task. folds: for a task with test documents only, these are dealt into so many parts; part number
    ``fold`` is reported and the others tune. generation_length: tokens of an answer. chat: the prompt in the model's
    chat template, after ``system``. prefix: text before each prompt, such as a begin token."""

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
        """The other task that tunes, with examples and perhaps path."""
        return None if isinstance(self.tune, int) else self.tune

    @property
    def tune_size(self) -> int:
        return self.tune if isinstance(self.tune, int) else int(self.tune["examples"])


class LmEvalDatasetConfig(BenchmarkConfig):
    """A task or group of lm-evaluation-harness, with its own prompts, filters and metric.

    shots, metric, filter: in place of the task's own. multiturn: in a chat each shot is a turn of its own.
    include_path: a folder with tasks in the harness's format, which run code and therefore need --trust-code."""

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
                f"tune names a task of the harness, which knows its documents, got path {shown(self.other['path'])}; "
                "leave it out"
            )
        return self


class CodeDatasetConfig(BenchmarkConfig):
    """Problems in a local file whose answers are programs; they run only with --run-generated-code.

    path: JSON lines, also compressed (.gz). seconds: of CPU time for a program. memory: MiB. workers: programs at a
    time, without it one per CPU."""

    path: InputPath
    seconds: Annotated[float, Field(ge=1.0, le=600.0)] = 3.0
    memory: Annotated[int, Field(ge=64, le=65_536)] = 1024
    workers: Annotated[int, Field(ge=1, le=256)] | None = None

    @model_validator(mode="after")
    def knows_the_other(self) -> Self:
        if self.other is not None and (self.other["task"] not in ("humaneval", "mbpp") or "path" not in self.other):
            raise ValueError(
                "tune names a task whose answers are programs, and its file, got "
                f"{', '.join(f'{key} {value}' for key, value in self.other.items())}; write "
                "{task: mbpp, path: mbpp.jsonl, examples: 128}"
            )
        return self


class HumanEvalDatasetConfig(CodeDatasetConfig):
    """HumanEval: complete a function; all 164 problems are test documents."""

    type: Literal["humaneval"]


class MbppDatasetConfig(CodeDatasetConfig):
    """MBPP: write a function that passes three asserts, after solved problems; 500 test documents."""

    type: Literal["mbpp"]
    shots: Annotated[int, Field(ge=0, le=3)] = 3


BenchmarkDatasetConfig = LmEvalDatasetConfig | HumanEvalDatasetConfig | MbppDatasetConfig
