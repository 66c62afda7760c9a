"""The ``dataset`` sections for examples of text and the ``metrics`` section: one frozen pydantic model each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema, model_validator

from mdm_tune.config import validators
from mdm_tune.config.models import FolderOrName, FromList, Options, Section, Size, Target, Text, folder_or_name
from mdm_tune.config.plugins import DATASETS, PluginMetrics, plugin_type
from mdm_tune.config.templates import check_template
from mdm_tune.core.errors import InputError
from mdm_tune.core.patterns import Pattern
from mdm_tune.core.problems import shown
from mdm_tune.core.reading import expanded
from mdm_tune.core.types import Direction, Dtype, Ignored, Match

__all__ = [
    "AgreementConfig",
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
    "PluginDatasetConfig",
    "RegexConfig",
    "ReportSize",
    "SplitSize",
]

LARGEST = 10_000_000  # examples of a use; the token rows of more would not fit into memory
USES = ("tune", "choose", "report")
SOURCES = (*USES, "shots")
DATA_SUFFIXES = (".parquet", ".json", ".jsonl", ".csv", ".arrow")


def report_size(value: object) -> object:
    """A number of examples, or ``all`` for all examples that the other uses leave."""
    if value == "all":
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value > LARGEST:
        raise ValueError(f"must be a whole number or all, got {shown(value)}; write digits, or all")
    return validators.large_enough(value)


def text_per_use(value: object) -> str | dict[str, str]:
    """One text for all uses, or a mapping with a text for tune, choose and report, and optionally for shots."""
    texts = list(value.values()) if isinstance(value, dict) else [value]
    if not all(isinstance(text, str) and text and "\0" not in text for text in texts):
        raise ValueError(
            f"must be text, or text for each of tune, choose and report, got {shown(value)}; write it as "
            "{tune: a, choose: a, report: b}"
        )
    if isinstance(value, dict) and not set(USES) <= set(value) <= set(SOURCES):
        got = ", ".join(map(str, value)) or "nothing"
        raise ValueError(f"must name tune, choose and report, and may name shots, got {got}; complete it")
    assert isinstance(value, str | dict)
    return value


def paths_per_use(value: object, info: ValidationInfo) -> str | dict[str, str]:
    """Absolute paths, resolved against the YAML file's folder."""
    texts = text_per_use(value)
    if isinstance(texts, str):
        return validators.input_path(texts, info)
    return {use: validators.input_path(text, info) for use, text in texts.items()}


def data_or_name(text: str, info: ValidationInfo) -> str:
    """An absolute path for a folder or a data file; a name on the Hugging Face Hub stays as it is."""
    folder: Path = (info.context or {}).get("folder", Path.cwd())
    path = folder / expanded(text)
    return str(path) if validators.path_exists(path) or path.suffix in DATA_SUFFIXES else folder_or_name(text, info)


def usable_pattern(text: str) -> str:
    Pattern(text)
    return text


def field_template(text: str) -> str:
    return valid_template(text, holes=False)


def hole_template(text: str) -> str:
    return valid_template(text, holes=True)


def valid_template(text: str, *, holes: bool) -> str:
    try:
        check_template(text, holes=holes)
    except InputError as error:
        raise ValueError(str(error)) from None
    return text


TEXT = {"type": "string", "minLength": 1}
SIZE = {"type": "integer", "minimum": validators.SMALLEST_SPLIT, "maximum": LARGEST}
PER_USE = {
    "anyOf": [
        TEXT,
        {
            "type": "object",
            "properties": dict.fromkeys(SOURCES, TEXT),
            "required": list(USES),
            "additionalProperties": False,
        },
    ]
}
SplitSize = Annotated[int, Field(le=LARGEST), AfterValidator(validators.large_enough), WithJsonSchema(SIZE)]
ReportSize = Annotated[
    int | Literal["all"], PlainValidator(report_size), WithJsonSchema({"anyOf": [SIZE, {"const": "all"}]})
]
Files = Annotated[str | dict[str, str], PlainValidator(paths_per_use), WithJsonSchema(PER_USE)]
TextPerUse = Annotated[str | dict[str, str], PlainValidator(text_per_use), WithJsonSchema(PER_USE)]
DataOrName = Annotated[Text, AfterValidator(data_or_name)]
FieldTemplate = Annotated[Text, AfterValidator(field_template)]
HoleTemplate = Annotated[Text, AfterValidator(hole_template)]
Texts = Annotated[tuple[Text, ...], FromList]
Ignore = Annotated[tuple[Ignored, ...], FromList, AfterValidator(validators.distinct)]


class ExamplesConfig(Section):
    """Records with named fields, from which examples are made by exactly one of prompt, text and template.

    Attributes:
        type: the kind of data set.
        tune: number of examples for the search.
        choose: number of examples for the choice among finalists.
        report: number of examples for the reported values; ``all`` takes all that the others leave.
        prompt: the visible text before the answer: a field, or a template such as "{question}\\nAnswer:".
        answer: the reference answer: a field or a template.
        text: a text that is filled in as a whole: a field or a template.
        template: text with holes, "{before} [[answer]] {after}".
        chat: whether the prompt is a user's message in the model's chat template.
        system: the system message of a chat.
        shots: number of solved examples before each prompt; they are the first ones of their source.
        separator: the text between shots.
        generation_length: tokens of an answer.
        stop: texts that end an answer.
        id: the field that names an example; None to name examples by their content.
        group: the field whose value examples of one group share; None to group examples that show the same text.
        special_tokens: how a special token of the tokenizer, such as [MASK], is handled in the text of a record:
            ``refuse`` it, or read it as ordinary ``text``. Templates may always hold special tokens.
    """

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
        kinds = [name for name in ("prompt", "text", "template") if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError(
                f"must have exactly one of prompt, text and template, got {' and '.join(kinds) or 'none'}; prompt is "
                "for questions with answers, text for whole texts, template for texts with holes"
            )
        if kinds == ["prompt"] and self.answer is None and self.generation_length is None:
            raise ValueError("prompt needs answer or generation_length, got neither; add generation_length: 128")
        if kinds == ["template"] and self.generation_length is not None:
            raise ValueError(
                f"generation_length goes with prompt or text, got {self.generation_length} with template; give a "
                "hole's own tokens, as in [[answer:12]]"
            )
        prompt_only = {"answer": self.answer, "chat": self.chat or None, "shots": self.shots or None}
        if kinds != ["prompt"] and (extra := [name for name, value in prompt_only.items() if value is not None]):
            raise ValueError(f"{extra[0]} goes with prompt, got {kinds[0]}; leave {extra[0]} out, or give a prompt")
        if self.system is not None and not self.chat:
            raise ValueError(
                f"system goes with chat: true, got {shown(self.system)} without; add chat, or leave it out"
            )
        if self.shots and self.answer is None:
            raise ValueError(f"shots are solved examples and need answer, got {self.shots} without; add answer")
        return self


class FilesConfig(ExamplesConfig):
    """One file for all uses, or one for each. Uses of the same file receive random parts of it.

    Attributes:
        path: the file, or a mapping with a file for each of tune, choose and report.
    """

    path: Files


class JsonlDatasetConfig(FilesConfig):
    """One JSON object per line."""

    type: Literal["jsonl"]


class CsvDatasetConfig(FilesConfig):
    """Comma-separated values below a line of field names; the separator is a tab if the file's name ends in .tsv."""

    type: Literal["csv"]


class LinesDatasetConfig(FilesConfig):
    """Plain text. Each line, or each paragraph between blank lines, is a record with one field called text.

    Attributes:
        per: what a record is.
    """

    type: Literal["lines"]
    per: Literal["line", "paragraph"] = "line"

    @model_validator(mode="before")
    @classmethod
    def fill_in_the_lines(cls, data: Any) -> Any:
        if isinstance(data, dict) and not {"prompt", "text", "template"} & set(data):
            return {**data, "text": "text"}
        return data


class HubDatasetConfig(ExamplesConfig):
    """A data set of the library ``datasets``: a folder that it saved, files, or a name on the Hub.

    Attributes:
        path: a folder, a file, or a name on the Hub.
        name: the configuration of the data set on the Hub.
        split: the split, or a mapping with a split for each of tune, choose and report.
        revision: of the data set on the Hub.
    """

    type: Literal["datasets"]
    path: DataOrName
    name: Text | None = None
    split: TextPerUse | None = None
    revision: Text | None = None


if TYPE_CHECKING:
    PluginType = str
else:
    PluginType = plugin_type("datasets", DATASETS)


class PluginDatasetConfig(ExamplesConfig):
    """Records that a function of another installed package returns.

    Attributes:
        type: the name of the plugin.
        options: the keyword arguments of the function.
    """

    type: PluginType
    options: Options = Field(default_factory=dict)


class ExactMatchConfig(Section):
    """1 if an answer equals the reference, apart from what is ignored; else 0.

    Attributes:
        ignore: what is removed from both texts before they are compared.
    """

    ignore: Ignore = ("spaces",)


class RegexConfig(Section):
    """1 if the group of a pattern in an answer equals the field ``reference``, or the group in the reference answer.

    Attributes:
        pattern: a regular expression with one group.
        match: which match of the pattern counts.
        reference: the field or template that the group is compared with; None for the group in the reference
            answer.
        ignore: what is removed from both texts before they are compared.
    """

    pattern: Annotated[Text, AfterValidator(usable_pattern)]
    match: Match = "last"
    reference: FieldTemplate | None = None
    ignore: Ignore = ("spaces",)


class AgreementConfig(Section):
    """The share of an answer that equals the model's own answer at one token per step. It needs no reference.

    Attributes:
        whole: whether an answer counts as 1 if all of it is equal, else 0; false for the share of its tokens.
    """

    whole: bool = True


class ReferenceModelConfig(Section):
    """A causal language model of ``transformers`` that scores answers: a folder or a name on the Hub.

    Attributes:
        model: a folder, or a name on the Hub.
        revision: of the model on the Hub.
        dtype: of the weights.
        device: of the model; ``auto`` for a GPU if there is one.
        batch: texts that are scored together.
    """

    model: FolderOrName
    revision: Text | None = None
    dtype: Dtype = "float32"
    device: Text = "auto"
    batch: Annotated[int, Field(ge=1, le=65_536)] = 8


class GenerativeNllConfig(ReferenceModelConfig):
    """The negative log-likelihood of an answer under a reference model.

    Attributes:
        with_prompt: whether the model sees the text before the answer.
    """

    with_prompt: bool = True


class MauveConfig(ReferenceModelConfig):
    """MAUVE, the similarity of the distributions of answers and of references.

    Attributes:
        seeds: runs of k-means; the spread of their values is shown.
    """

    seeds: Annotated[int, Field(ge=2, le=100)] = 5


class CustomMetricConfig(Section):
    """A function (answer, record) -> number in a Python file, "metric.py:score"; runs only with --trust-code.

    Attributes:
        target: the function, as ``FILE.py:NAME``.
        direction: whether a higher or a lower number is better.
    """

    target: Target
    direction: Direction


class MetricsConfig(Section):
    """The options of the metrics for text. All metrics of this section are reported; ``objective.metric`` is tuned.

    Attributes:
        exact_match: compares whole answers.
        regex: compares what a pattern finds.
        agreement: compares with the model's own answer at one token per step.
        generative_nll: scores answers by another model.
        mauve: compares the distributions of answers and references.
        custom: scores answers by a function of the user.
        plugins: metrics of other installed packages, by name.
    """

    exact_match: ExactMatchConfig | None = None
    regex: RegexConfig | None = None
    agreement: AgreementConfig | None = None
    generative_nll: GenerativeNllConfig | None = None
    mauve: MauveConfig | None = None
    custom: CustomMetricConfig | None = None
    plugins: PluginMetrics = ()
