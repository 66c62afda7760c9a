"""The YAML file of a run as frozen models: every default in one place, every problem reported at once.

Relative input paths are resolved against the YAML file's folder; ``package:NAME`` names bundled data. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationError, model_validator

from mdm_tune.config import validators
from mdm_tune.config.conflicts import JUDGED, conflicts
from mdm_tune.config.data import (
    CsvDatasetConfig,
    HubDatasetConfig,
    JsonlDatasetConfig,
    LinesDatasetConfig,
    MetricsConfig,
    SplitSize,
)
from mdm_tune.config.models import (
    ExactLaw,
    FromList,
    InputPath,
    ModelConfig,
    PositiveFloat,
    Section,
    Text,
)
from mdm_tune.config.sampler import SamplerConfig, Steps, with_family_defaults
from mdm_tune.config.tasks import BenchmarkDatasetConfig
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.core.problems import (
    Location,
    field_problems,
    problems_text,
    read_yaml,
    with_nested_value,
    with_override,
    without_password,
    word_problems,
)
from mdm_tune.core.redaction import redacted
from mdm_tune.schedules.curves import Beta

__all__ = [
    "Config",
    "DatasetConfig",
    "ModelConfig",
    "SearchConfig",
    "SpaceConfig",
    "conflicts_in",
    "load_config",
    "resolved",
    "to_yaml",
]

LARGEST = 10_000_000  # examples, as in the dataset section
MOST_ROWS = 10**12  # of the denoiser: years of work
TRIALS = 10_000  # of a budget: beyond it a proposal takes longer than a trial
DECADE = 3.2e8  # seconds
FLAGS = {"seed": "--seed", "output": "--output", "search.trials": "--trials"}


def on_or_off(value: object) -> object:
    """YAML reads an unquoted ``off`` as false."""
    return {True: "auto", False: "off"}[value] if isinstance(value, bool) else value


Schedules = Field(min_length=1, max_length=validators.SEVERAL)  # each is compared on all examples
Range = Annotated[
    tuple[PositiveFloat, PositiveFloat], BeforeValidator(validators.as_pair), AfterValidator(validators.increasing)
]
Baseline = Annotated[str, AfterValidator(validators.schedule_name)]
WarmStart = Annotated[Literal["auto", "profile", "off"], BeforeValidator(on_or_off)]
ScheduleText = Annotated[Text, AfterValidator(validators.schedule_or_path)]


class TextDatasetConfig(Section):
    """Windows of text files: examples for the search, for the choice of finalists and for the report."""

    type: Literal["text"]
    path: InputPath
    tune: SplitSize
    choose: SplitSize
    report: SplitSize


class LawDatasetConfig(Section):
    """Examples drawn from the model's own exact law."""

    type: Literal["law"]
    tune: SplitSize
    choose: SplitSize
    report: SplitSize


class ObjectiveConfig(Section):
    """What a schedule is judged by; ``task``: the metric of the benchmark that the dataset section names."""

    metric: Literal[
        "kl",
        "tv",
        "order_kl",
        "nelbo",
        "path_nll",
        "spelling",
        "exact_match",
        "regex",
        "generative_nll",
        "custom",
        "task",
    ]


class ProfileConfig(Section):
    """How the information profile is measured; an exact law's is computed.

    answers: ``reference``, the data's own, ``model``, drawn from the model once for each example, or a file of JSON
    lines with id and answer.
    examples: of the tune split; without it 128, 512 for nelbo, or all if fewer. points: numbers of visible tokens.
    tolerance: add points and examples until the price of the best schedule is known this well, relative to it.
    monotone: look for the best schedule on a curve that never rises."""

    answers: Annotated[Text, AfterValidator(validators.answers_or_path)] = "reference"
    examples: Annotated[int, Field(ge=2, le=LARGEST)] | None = None
    points: Annotated[int, Field(ge=2, le=65_536)] = 32
    tolerance: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    monotone: bool = True


class SpaceConfig(Section):
    """The box in which Beta(a, b) is searched."""

    a: Range = (0.1, 10.0)
    b: Range = (0.1, 10.0)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The ends of each parameter's range."""
        return {"a": self.a, "b": self.b}

    def __contains__(self, schedule: Beta) -> bool:
        """Whether a starting point lies in the box."""
        return self.a[0] <= schedule.a <= self.a[1] and self.b[0] <= schedule.b <= self.b[1]


class SearchConfig(Section):
    """How the schedule is searched; ``trials`` is per budget, and a grid visits all of its 100 points without it.

    warm_start: begin with the winners of earlier budgets and, in random order (``auto``) or always (``profile``), with
    the best schedules on the information profile. racing: drop candidates that cannot win. together: candidates that
    share denoiser batches. auto_stop: end a budget's trials where what more of them could gain is less than the
    noise. rows: denoiser rows of each budget's trials at most, their pilot, the profile and the comparison on unseen
    examples not included. timeout: seconds after which a command shall have ended; only trials are cut for it.
    storage: where trials are kept, an Optuna URL; without it a journal in the run folder. name: of the run in the
    storage, which one process at a time drives; without it the name of the run folder. diversity_loss: the share of a
    diversity figure that a winner may lose. margin: the share of linear's value that counts as the same quality."""

    strategy: Literal["gp", "tpe", "qmc", "grid"] = "gp"
    trials: Annotated[int, Field(ge=1, le=TRIALS)] = 25
    space: SpaceConfig = SpaceConfig()
    finalists: Annotated[int, Field(ge=1, le=100)] = 4
    warm_start: WarmStart = "auto"
    racing: bool = True
    together: Annotated[int, Field(ge=1, le=64)] = 4
    auto_stop: bool = True
    rows: Annotated[int, Field(ge=1, le=MOST_ROWS)] | None = None
    timeout: Annotated[float, Field(gt=0.0, le=DECADE)] | None = None
    storage: Annotated[Text, AfterValidator(validators.storage_url)] | None = None
    name: Annotated[Text, AfterValidator(validators.run_name)] | None = None
    diversity_loss: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.01
    baselines: Annotated[
        tuple[Baseline, ...],
        FromList,
        Schedules,
        AfterValidator(validators.distinct_schedules),
        AfterValidator(validators.holds_linear),
    ] = ("linear", "squared-sine", "sine", "maskgit-cosine")

    @model_validator(mode="before")
    @classmethod
    def visit_whole_grid(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("strategy") == "grid":
            return {"trials": 100, **data}
        return data

    @property
    def limits(self) -> str:
        """What may change before a search is resumed, as text: it says when trials end, not which there are."""
        found = {"trials": self.trials, "rows": self.rows, "timeout": self.timeout, "auto_stop": self.auto_stop}
        return json.dumps(found, sort_keys=True)


class EvaluateConfig(Section):
    """Which schedules are compared at which budgets; without ``steps`` the budgets are those of the sampler."""

    schedules: Annotated[
        tuple[ScheduleText, ...], FromList, Schedules, AfterValidator(validators.distinct_schedules)
    ] = (
        "linear",
        "squared-sine",
        "sine",
        "maskgit-cosine",
    )
    steps: Steps | None = None


DatasetConfig = (
    TextDatasetConfig
    | LawDatasetConfig
    | JsonlDatasetConfig
    | CsvDatasetConfig
    | LinesDatasetConfig
    | HubDatasetConfig
    | BenchmarkDatasetConfig
)


class Config(Section):
    """A whole run. ``load_config`` makes one from a file."""

    model: Annotated[ModelConfig, Field(discriminator="type")]
    dataset: Annotated[DatasetConfig, Field(discriminator="type")] | None = None
    sampler: SamplerConfig
    objective: ObjectiveConfig
    metrics: MetricsConfig = MetricsConfig()
    profile: ProfileConfig = ProfileConfig()
    search: SearchConfig = SearchConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    output: Annotated[Text, AfterValidator(validators.own_path)]

    _taken: tuple[str, ...] = PrivateAttr(default=())

    @property
    def taken(self) -> tuple[str, ...]:
        """Settings that nobody gave and that are those of the model's family, such as ``temperature 0``."""
        return self._taken

    @model_validator(mode="after")
    def is_consistent(self) -> Self:
        problems = conflicts_in(self.model_dump(), set())
        if problems:
            raise InputError("\n".join(problems))
        return self


def load_config(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    seed: int | None = None,
    output: str | None = None,
    trials: int | None = None,
) -> Config:
    """The config in the YAML file at ``path``, with ``section.key=value`` overrides and then the flags applied.

    Relative paths, those of overrides too, are resolved against the file's folder; ``output`` is kept as given.
    Raises InputError with one line per problem, all of them at once.
    """
    document = {"output": f"runs/{path.stem}", **read_yaml(path := validators.given_path(path))}
    problems: list[str] = []
    flags = {"seed": seed, "output": output, "search.trials": trials}
    given = {key: value for key, value in flags.items() if value is not None}
    for override in overrides:
        try:
            document = with_override(document, override)
        except InputError as error:
            problems.append(str(error))
    for key, value in given.items():
        with suppress(InputError):  # the section is no mapping, which the validation below reports
            document = with_nested_value(document, key.split("."), value)
    folder = path.absolute().parent
    document, taken = with_family_defaults(document, folder)
    try:
        config = Config.model_validate(document, context={"folder": folder})
        config._taken = taken
    except ValidationError as error:
        found = field_problems(error, legal_keys(), {key: FLAGS[key] for key in given})
        problems += [line for _, line in found]
        wrong = {place for place, _ in found}
        problems += [*(line for _, line in word_problems(document, wrong)), *conflicts_in(document, wrong)]
    except InputError as error:
        problems += [*(line for _, line in word_problems(document, set())), *str(error).splitlines()]
    else:
        problems += [line for _, line in word_problems(document, set())]
    if problems:
        raise InputError(problems_text(path, problems))
    return config


def resolved(config: Config) -> dict[str, Any]:
    """The complete config with all defaults, in types that YAML and JSON know; without any password."""
    found = config.model_dump(mode="json")
    if found["search"]["storage"] is not None:
        found["search"]["storage"] = without_password(found["search"]["storage"])
    return redacted(found)


def to_yaml(config: Config) -> str:
    """YAML text that loads back to an equal config, from any folder."""
    return yaml_text(resolved(config), allow_unicode=True)


def conflicts_in(document: Mapping[Any, Any], wrong: set[str]) -> list[str]:
    """Contradictions between settings, as far as they are known: those at the ``wrong`` paths are not."""
    values: dict[str, Any] = {}
    known_wrong = {each.partition("[")[0] for each in wrong} | {".".join(each.split(".")[:2]) for each in wrong}
    for path in JUDGED:
        name, key = path.split(".")
        section = document.get(name)
        default = SamplerConfig.model_fields[key].default if name == "sampler" else None
        values[path] = section.get(key, default) if isinstance(section, dict) and path not in known_wrong else None
    if document.get("dataset") is None:
        values["dataset.type"] = "none"
    return list(conflicts(values, [type_name(law) for law in get_args(ExactLaw)]))


def type_name(section: type[Section]) -> str:
    return str(get_args(section.model_fields["type"].annotation)[0])


def legal_keys() -> dict[Location, list[str]]:
    """The keys of every section, by pydantic location: in ``model`` and ``dataset`` they depend on the type."""
    sections: dict[Location, type[Section]] = {
        (): Config,
        ("sampler",): SamplerConfig,
        ("objective",): ObjectiveConfig,
        ("metrics",): MetricsConfig,
        ("profile",): ProfileConfig,
        ("search",): SearchConfig,
        ("search", "space"): SpaceConfig,
        ("evaluate",): EvaluateConfig,
    }
    options = {name: get_args(field.annotation)[0] for name, field in MetricsConfig.model_fields.items()}
    sections |= {("metrics", name): kind for name, kind in options.items()}
    sections |= {("model", type_name(kind)): kind for kind in get_args(ModelConfig)}
    sections |= {("dataset", type_name(kind)): kind for kind in get_args(DatasetConfig)}
    return {location: list(section.model_fields) for location, section in sections.items()}
