"""The ``dataset`` sections for examples of text and the ``metrics`` section: one frozen pydantic model each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo, model_validator

from mdm_tune.config import validators
from mdm_tune.config.models import FolderOrName, FromList, Section, Size, Target, Text, folder_or_name
from mdm_tune.config.templates import check_template
from mdm_tune.core.errors import InputError
from mdm_tune.core.patterns import Pattern
from mdm_tune.core.problems import shown
from mdm_tune.core.reading import expanded
from mdm_tune.core.types import Direction, Dtype, Ignored, Match

__all__ = [
    "CsvDatasetConfig",
    "CustomMetricConfig",
    "ExactMatchConfig",
    "ExamplesConfig",
    "FilesConfig",
    "GenerativeNllConfig",
    "HubDatasetConfig",
    "JsonlDatasetConfig",
    "LinesDatasetConfig",
    "MauveConfig",
    "MetricsConfig",
    "RegexConfig",
    "SplitSize",
]

LARGEST = 10_000_000  # examples of a use; more would not fit into memory as rows of tokens
USES = ("tune", "choose", "report")
PLACES = (*USES, "shots")
DATA_SUFFIXES = (".parquet", ".json", ".jsonl", ".csv", ".arrow")


def report_size(value: object) -> object:
    """A number of examples, or ``all``: whatever the other uses leave."""
    if value == "all":
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value > LARGEST:
        raise ValueError(f"must be a whole number or all, got {shown(value)}; write digits, or all")
    return validators.large_enough(value)


def one_or_each(value: object) -> str | dict[str, str]:
    """One text for all uses, or a mapping with one for each of tune, choose and report, and perhaps for the shots."""
    texts = list(value.values()) if isinstance(value, dict) else [value]
    if not all(isinstance(text, str) and text and "\0" not in text for text in texts):
        raise ValueError(
            f"must be text, or text for each of tune, choose and report, got {shown(value)}; write it as "
            "{tune: a, choose: a, report: b}"
        )
    if isinstance(value, dict) and not set(USES) <= set(value) <= set(PLACES):
        got = ", ".join(map(str, value)) or "nothing"
        raise ValueError(f"must name tune, choose and report, and may name shots, got {got}; complete it")
    assert isinstance(value, str | dict)
    return value


def files(value: object, info: ValidationInfo) -> str | dict[str, str]:
    """Absolute paths, resolved against the YAML file's folder."""
    found = one_or_each(value)
    if isinstance(found, str):
        return validators.input_path(found, info)
    return {use: validators.input_path(text, info) for use, text in found.items()}


def data_or_name(text: str, info: ValidationInfo) -> str:
    """As ``folder_or_name``, and a file of data becomes an absolute path too."""
    folder: Path = (info.context or {}).get("folder", Path.cwd())
    path = folder / expanded(text)
    return str(path) if validators.is_there(path) or path.suffix in DATA_SUFFIXES else folder_or_name(text, info)


def usable_pattern(text: str) -> str:
    Pattern(text)
    return text


def field_template(text: str) -> str:
    return checked_template(text, holes=False)


def hole_template(text: str) -> str:
    return checked_template(text, holes=True)


def checked_template(text: str, *, holes: bool) -> str:
    try:
        check_template(text, holes=holes)
    except InputError as error:
        raise ValueError(str(error)) from None
    return text


SplitSize = Annotated[int, Field(le=LARGEST), AfterValidator(validators.large_enough)]
ReportSize = Annotated[int | Literal["all"], PlainValidator(report_size)]
Files = Annotated[str | dict[str, str], PlainValidator(files)]
OneOrEach = Annotated[str | dict[str, str], PlainValidator(one_or_each)]
DataOrName = Annotated[Text, AfterValidator(data_or_name)]
FieldTemplate = Annotated[Text, AfterValidator(field_template)]
HoleTemplate = Annotated[Text, AfterValidator(hole_template)]
Texts = Annotated[tuple[Text, ...], FromList]
Ignore = Annotated[tuple[Ignored, ...], FromList, AfterValidator(validators.distinct)]


class ExamplesConfig(Section):
    """Records with named fields, made into examples; exactly one of prompt, text and template says how.

    tune, choose, report: numbers of examples; ``report: all`` takes what the others leave. prompt: what is visible
    before the answer, a field or a template such as "{question}\\nAnswer:"; answer: the reference, likewise. text:
    all of it is filled in. template: text with holes, "{before} [[answer]] {after}". chat: the prompt is a user's
    message in the model's chat template, after ``system``. shots: solved examples before each prompt, the first ones
    of their source. separator: between shots. generation_length: tokens to fill in. stop: texts that end an answer.
    id: the field that names an example; without it examples are named by their content. group: the field by which
    examples are no independent ones; without it those that show the same text. special_tokens: what becomes of
    a special token of the tokenizer, such as [MASK], in the text of a record: refuse, or text, letter by letter; what
    the templates here and the chat template say is never data."""

    type: str
    tune: SplitSize
    choose: SplitSize
    report: ReportSize
    prompt: FieldTemplate | None = None
    answer: FieldTemplate | None = None
    text: FieldTemplate | None = None
    template: HoleTemplate | None = None
    chat: bool = False
    system: Text | None = None
    shots: Annotated[int, Field(ge=0, le=1000)] = 0
    separator: Text = "\n\n"
    generation_length: Size | None = None
    stop: Texts = ()
    id: Text | None = None
    group: FieldTemplate | None = None
    special_tokens: Literal["refuse", "text"] = "refuse"

    @model_validator(mode="after")
    def is_one_kind(self) -> Self:
        given = [name for name in ("prompt", "text", "template") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"must have exactly one of prompt, text and template, got {' and '.join(given) or 'none'}; prompt is "
                "for questions with answers, text for whole texts, template for texts with holes"
            )
        if given == ["prompt"] and self.answer is None and self.generation_length is None:
            raise ValueError("prompt needs answer or generation_length, got neither; add generation_length: 128")
        if given == ["template"] and self.generation_length is not None:
            raise ValueError(
                f"generation_length goes with prompt or text, got {self.generation_length} with template; give a "
                "hole's own tokens, as in [[answer:12]]"
            )
        alone = {"answer": self.answer, "chat": self.chat or None, "shots": self.shots or None}
        if given != ["prompt"] and (extra := [name for name, value in alone.items() if value is not None]):
            raise ValueError(f"{extra[0]} goes with prompt, got {given[0]}; leave {extra[0]} out, or give a prompt")
        if self.system is not None and not self.chat:
            raise ValueError(
                f"system goes with chat: true, got {shown(self.system)} without; add chat, or leave it out"
            )
        if self.shots and self.answer is None:
            raise ValueError(f"shots are solved examples and need answer, got {self.shots} without; add answer")
        return self


class FilesConfig(ExamplesConfig):
    """Files, one for all uses or one for each; uses of the same file share it out at random."""

    path: Files


class JsonlDatasetConfig(FilesConfig):
    """One JSON object per line."""

    type: Literal["jsonl"]


class CsvDatasetConfig(FilesConfig):
    """Comma-separated values under a line of field names; tabs where the file's name ends in .tsv."""

    type: Literal["csv"]


class LinesDatasetConfig(FilesConfig):
    """Plain text; each line, or each paragraph between blank lines, is a record with one field called text."""

    type: Literal["lines"]
    per: Literal["line", "paragraph"] = "line"

    @model_validator(mode="before")
    @classmethod
    def fill_in_the_lines(cls, data: Any) -> Any:
        if isinstance(data, dict) and not {"prompt", "text", "template"} & set(data):
            return {**data, "text": "text"}
        return data


class HubDatasetConfig(ExamplesConfig):
    """A set of the library ``datasets``: a folder that it saved, files that it reads, or a name on the Hub."""

    type: Literal["datasets"]
    path: DataOrName
    name: Text | None = None
    split: OneOrEach | None = None
    revision: Text | None = None


class ExactMatchConfig(Section):
    """Whether an answer equals the reference, apart from what is ignored."""

    ignore: Ignore = ("spaces",)


class RegexConfig(Section):
    """Whether the group that a pattern finds in an answer equals a field, or what it finds in the reference."""

    pattern: Annotated[Text, AfterValidator(usable_pattern)]
    match: Match = "last"
    reference: FieldTemplate | None = None
    ignore: Ignore = ("spaces",)


class ReferenceModelConfig(Section):
    """A causal language model of ``transformers``, a folder or a name on the Hub, that answers are judged by."""

    model: FolderOrName
    revision: Text | None = None
    dtype: Dtype = "float32"
    device: Text = "auto"
    batch: Annotated[int, Field(ge=1, le=65_536)] = 8


class GenerativeNllConfig(ReferenceModelConfig):
    """What the reference model makes of an answer; with_prompt: given the text before it."""

    with_prompt: bool = True


class MauveConfig(ReferenceModelConfig):
    """How far the answers as a whole are from the references; seeds: runs of k-means, whose spread is shown."""

    seeds: Annotated[int, Field(ge=2, le=100)] = 5


class CustomMetricConfig(Section):
    """A function (answer, record) -> number in a Python file, "metric.py:score"; runs only with --trust-code."""

    target: Target
    direction: Direction


class MetricsConfig(Section):
    """The options of the metrics for text. All that stand here are reported; ``objective.metric`` names one to tune."""

    exact_match: ExactMatchConfig | None = None
    regex: RegexConfig | None = None
    generative_nll: GenerativeNllConfig | None = None
    mauve: MauveConfig | None = None
    custom: CustomMetricConfig | None = None
