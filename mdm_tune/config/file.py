"""The YAML file of a run as frozen models. All defaults are here, and all problems are reported at once.

Relative input paths are resolved against the YAML file's folder; ``package:NAME`` names bundled data. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from mdm_tune.config import validators
from mdm_tune.config.conflicts import CHECKED_PATHS, conflicts
from mdm_tune.config.data import (
    CsvDatasetConfig,
    HubDatasetConfig,
    JsonlDatasetConfig,
    LinesDatasetConfig,
    MetricsConfig,
    PluginDatasetConfig,
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
from mdm_tune.config.plugins import DATASETS, METRICS, MODELS, MetricName, by_type, name_conflicts, type_name
from mdm_tune.config.sampler import SamplerConfig, Steps, with_family_defaults
from mdm_tune.config.tasks import BenchmarkDatasetConfig
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.core.plugins import PluginKind
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
    "PolicyKind",
    "SearchConfig",
    "SpaceConfig",
    "conflicts_in",
    "load_config",
    "resolved",
    "to_yaml",
]

LARGEST = 10_000_000  # examples, as in the dataset section
MOST_ROWS = 10**12  # denoiser rows, which take years to compute
TRIALS = 10_000  # of a budget; with more trials a proposal takes longer than a trial
DECADE = 3.2e8  # seconds
FLAGS = {"seed": "--seed", "output": "--output", "search.trials": "--trials"}


def on_or_off(value: object) -> object:
    """``auto`` for true and ``off`` for false, because YAML 1.1 reads an unquoted ``off`` as false."""
    return {True: "auto", False: "off"}[value] if isinstance(value, bool) else value


PolicyKind = Literal["counts", "threshold", "quota", "cap", "entropy-bound", "klass"]
Schedules = Field(min_length=1, max_length=validators.SEVERAL)  # every schedule is compared on all examples
Range = Annotated[
    tuple[PositiveFloat, PositiveFloat], BeforeValidator(validators.as_pair), AfterValidator(validators.increasing)
]
Baseline = Annotated[str, AfterValidator(validators.schedule_name)]
WarmStart = Annotated[
    Literal["auto", "profile", "off"],
    BeforeValidator(on_or_off),
    WithJsonSchema({"enum": ["auto", "profile", "off", True, False]}),
]
ScheduleText = Annotated[Text, AfterValidator(validators.schedule_or_path)]


class TextDatasetConfig(Section):
    """Windows of text files: examples for the search, for the choice among finalists and for the report.

    Attributes:
        path: the folder of ``tune.txt``, ``choose.txt``, ``report.txt`` and ``words.txt``, or ``package:text``.
        tune: number of examples for the search.
        choose: number of examples for the choice among finalists.
        report: number of examples for the reported values.
    """

    type: Literal["text"]
    path: InputPath
    tune: SplitSize
    choose: SplitSize
    report: SplitSize


class LawDatasetConfig(Section):
    """Examples drawn from the model's own exact law.

    Attributes:
        tune: number of examples for the search.
        choose: number of examples for the choice among finalists.
        report: number of examples for the reported values.
    """

    type: Literal["law"]
    tune: SplitSize
    choose: SplitSize
    report: SplitSize


class ObjectiveConfig(Section):
    """The metric that is tuned.

    Attributes:
        metric: its name, or that of a plugin; ``task`` is the metric of the benchmark in the dataset section.
        answers: the answers that path_nll prices: ``reference`` for those of the data, ``model`` for the model's own at
            one token per step.
    """

    metric: MetricName
    answers: Literal["reference", "model"] = "reference"


class ProfileConfig(Section):
    """How the information profile is measured. The profile of an exact law is computed.

    Attributes:
        answers: ``reference`` for those of the data, ``model`` for one answer of the model to each example, or a file
            of JSON lines with id and answer.
        examples: of the tune split; None for 512 with nelbo and 128 otherwise, or for all if there are fewer.
        points: numbers of visible tokens at which the profile is measured.
        tolerance: add points and examples until the relative error of the best schedule's NELBO is below this.
        monotone: whether the best schedule is computed on a fitted curve that never rises.
    """

    answers: Annotated[Text, AfterValidator(validators.answers_or_path)] = "reference"
    examples: Annotated[int, Field(ge=2, le=LARGEST)] | None = None
    points: Annotated[int, Field(ge=2, le=65_536)] = 32
    tolerance: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    monotone: bool = True


class SpaceConfig(Section):
    """The box in which Beta(a, b) is searched.

    Attributes:
        a: the lowest and the highest a.
        b: the lowest and the highest b.
    """

    a: Range = (0.1, 10.0)
    b: Range = (0.1, 10.0)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The range of each parameter, by its name."""
        return {"a": self.a, "b": self.b}

    def __contains__(self, schedule: Beta) -> bool:
        """Whether a schedule lies in the box."""
        return self.a[0] <= schedule.a <= self.a[1] and self.b[0] <= schedule.b <= self.b[1]


class SearchConfig(Section):
    """How the schedule is searched.

    Attributes:
        policies: what is tuned: ``counts`` of schedules Beta(a, b), and adaptive policies, each at the calls of linear.
        strategy: proposes the trials.
        trials: of each budget, shared by the policies; a grid has 100 by default, which is all of its points. With
            ``shared`` each trial is scored at all budgets.
        space: the box of a and b.
        finalists: trials that are compared on the choose split.
        warm_start: which schedules are tried first: the winners of earlier budgets, and the best schedules on the
            information profile (for random order with ``auto``, for every order with ``profile``); ``off`` for none.
        racing: whether candidates that cannot win are dropped early.
        together: candidates that share denoiser batches.
        auto_stop: whether the trials of a budget end once the possible gain of more trials is smaller than the noise.
        shared: whether one (a, b) is searched for all budgets, by the mean of the metric over the budgets.
        rows: denoiser rows of each budget's trials at most, without the pilot, the profile and the comparison on unseen
            examples; None for no limit.
        timeout: seconds after which the command must have ended; only trials are stopped for it. None for no limit.
        storage: the Optuna URL of the storage of trials; None for a journal in the run folder.
        name: the name of the run in the storage; None for the name of the run folder. Only one process at a time can
            use it.
        diversity_loss: the relative loss of diversity that a winner may have.
        margin: the relative difference to linear's value that counts as the same quality.
        frontier: whether the best of each policy at each budget is also compared with one token per step, which is then
            measured on the report split.
        baselines: schedules that the winner is compared with.
        track: the library that logs trials and result, each an extra of the same name; None for none.
    """

    policies: Annotated[tuple[PolicyKind, ...], FromList, Field(min_length=1), AfterValidator(validators.distinct)] = (
        "counts",
    )
    strategy: Literal["gp", "tpe", "qmc", "grid"] = "gp"
    trials: Annotated[int, Field(ge=1, le=TRIALS)] = 25
    space: SpaceConfig = SpaceConfig()
    finalists: Annotated[int, Field(ge=1, le=100)] = 4
    warm_start: WarmStart = "auto"
    racing: bool = True
    together: Annotated[int, Field(ge=1, le=64)] = 4
    auto_stop: bool = True
    shared: bool = False
    rows: Annotated[int, Field(ge=1, le=MOST_ROWS)] | None = None
    timeout: Annotated[float, Field(gt=0.0, le=DECADE)] | None = None
    storage: Annotated[Text, AfterValidator(validators.storage_url)] | None = None
    name: Annotated[Text, AfterValidator(validators.run_name)] | None = None
    diversity_loss: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.01
    frontier: bool = False
    baselines: Annotated[
        tuple[Baseline, ...],
        FromList,
        Schedules,
        AfterValidator(validators.distinct_schedules),
        AfterValidator(validators.holds_linear),
    ] = ("linear", "squared-sine", "sine", "maskgit-cosine")
    track: Literal["wandb", "tensorboard", "trackio"] | None = None

    @model_validator(mode="before")
    @classmethod
    def visit_whole_grid(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("strategy") == "grid":
            return {"trials": 100, **data}
        return data

    @property
    def limits(self) -> str:
        """The settings that may change when a search is resumed, as JSON: they say when trials end."""
        limits = {"trials": self.trials, "rows": self.rows, "timeout": self.timeout, "auto_stop": self.auto_stop}
        return json.dumps(limits, sort_keys=True)


class EvaluateConfig(Section):
    """The schedules and budgets that are compared; without ``steps`` the budgets are those of the sampler.

    Attributes:
        schedules: names of schedules and of adaptive policies, and schedule files.
        steps: the budgets; None for those of the sampler.
        frontier: whether linear is also measured at one token per step, and the cheapest policy that is as good, up to
            ``search.margin``, is named.
    """

    schedules: Annotated[
        tuple[ScheduleText, ...], FromList, Schedules, AfterValidator(validators.distinct_schedules)
    ] = (
        "linear",
        "squared-sine",
        "sine",
        "maskgit-cosine",
    )
    steps: Steps | None = None
    frontier: bool = False


DatasetConfig = (
    TextDatasetConfig
    | LawDatasetConfig
    | JsonlDatasetConfig
    | CsvDatasetConfig
    | LinesDatasetConfig
    | HubDatasetConfig
    | BenchmarkDatasetConfig
    | PluginDatasetConfig
)
if TYPE_CHECKING:
    ModelSection = ModelConfig
    DatasetSection = DatasetConfig
else:
    ModelSection = by_type(ModelConfig, "denoisers")
    DatasetSection = by_type(DatasetConfig, "datasets")


class Config(Section):
    """The config of a run. ``load_config`` reads it from a file."""

    model: ModelSection
    dataset: DatasetSection | None = None
    sampler: SamplerConfig
    objective: ObjectiveConfig
    metrics: MetricsConfig = MetricsConfig()
    profile: ProfileConfig = ProfileConfig()
    search: SearchConfig = SearchConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    output: Annotated[Text, AfterValidator(validators.path_with_home)]

    _family_settings: tuple[str, ...] = PrivateAttr(default=())

    @property
    def family_settings(self) -> tuple[str, ...]:
        """The sampler settings that the model's family provides, such as ``temperature 0``."""
        return self._family_settings

    @model_validator(mode="after")
    def is_consistent(self) -> Self:
        problems = conflicts_in(self.model_dump(), set())
        if problems:
            raise InputError("\n".join(problems))
        return self

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """The config of a mapping, with the options of pydantic's ``model_validate``.

        Raises:
            InputError: settings contradict each other.
            ValidationError: a key or a value is wrong.
        """
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raised = [(problem.get("ctx") or {}).get("error") for problem in error.errors()]
            if isinstance(raised[0], InputError):  # pydantic wraps it, because it is a ValueError
                raise raised[0] from None
            raise


def load_config(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    seed: int | None = None,
    output: str | None = None,
    trials: int | None = None,
) -> Config:
    """Read the config of a run.

    Relative paths are resolved against the file's folder, also in overrides. ``output`` is relative to the current
    folder.

    Args:
        path: the YAML file.
        overrides: settings as ``section.key=value``, which replace those of the file.
        seed: replaces the seed of file and overrides; None to keep it.
        output: replaces the run folder; None to keep it.
        trials: replaces ``search.trials``; None to keep it.

    Raises:
        InputError: the config has problems; the message has one line for each of them.
    """
    if not isinstance(path, str | Path):
        raise InputError(f"the config must be the path of a YAML file, got {shown(path)}; give one")
    path = validators.path_of_flag(Path(path))
    document = {"output": f"runs/{path.stem}", **read_yaml(path)}
    problems: list[str] = []
    options = {"seed": seed, "output": output, "search.trials": trials}
    flags = {key: value for key, value in options.items() if value is not None}
    for override in overrides:
        try:
            document = with_override(document, override)
        except InputError as error:
            problems.append(str(error))
    for key, value in flags.items():
        with suppress(InputError):  # the section is no mapping, which the validation below reports
            document = with_nested_value(document, key.split("."), value)
    folder = path.absolute().parent
    document, family_settings = with_family_defaults(document, folder)
    try:
        config = Config.model_validate(document, context={"folder": folder})
        config._family_settings = family_settings
    except ValidationError as error:
        invalid = field_problems(error, legal_keys(), {key: FLAGS[key] for key in flags})
        problems += [line for _, line in invalid]
        wrong = {setting for setting, _ in invalid}
        problems += [*(line for _, line in word_problems(document, wrong)), *conflicts_in(document, wrong)]
    except InputError as error:
        problems += [*(line for _, line in word_problems(document, set())), *str(error).splitlines()]
    else:
        problems += [line for _, line in word_problems(document, set())]
    if problems:
        raise InputError(problems_text(path, problems))
    return config


def resolved(config: Config) -> dict[str, Any]:
    """The complete config with all defaults, as a JSON object without passwords."""
    document = config.model_dump(mode="json")
    if document["search"]["storage"] is not None:
        document["search"]["storage"] = without_password(document["search"]["storage"])
    return redacted(document)


def to_yaml(config: Config) -> str:
    """The config as YAML. Loading it from any folder gives an equal config."""
    return yaml_text(resolved(config), allow_unicode=True)


def conflicts_in(document: Mapping[Any, Any], wrong: set[str]) -> list[str]:
    """The messages of settings that contradict each other.

    Args:
        document: the config.
        wrong: paths of invalid settings, which are left out of the comparison.
    """
    values: dict[str, Any] = {}
    known_wrong = {path.partition("[")[0] for path in wrong} | {".".join(path.split(".")[:2]) for path in wrong}
    for path in CHECKED_PATHS:
        name, key = path.split(".")
        section = document.get(name)
        default = SamplerConfig.model_fields[key].default if name == "sampler" else None
        values[path] = section.get(key, default) if isinstance(section, dict) and path not in known_wrong else None
    if document.get("dataset") is None:
        values["dataset.type"] = "none"
    named: Mapping[str, tuple[PluginKind, Collection[str]]] = {
        "model.type": ("denoisers", MODELS),
        "dataset.type": ("datasets", DATASETS),
        "objective.metric": ("metrics", METRICS),
    }
    return [*name_conflicts(values, named), *conflicts(values, [type_name(law) for law in get_args(ExactLaw)])]


def legal_keys() -> dict[Location, list[str]]:
    """The legal keys of every section, by pydantic location; in ``model`` and ``dataset`` they depend on the type."""
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
    options = {name: get_args(field.annotation)[:1] for name, field in MetricsConfig.model_fields.items()}
    sections |= {("metrics", name): kind[0] for name, kind in options.items() if name != "plugins"}
    sections |= {("model", type_name(kind)): kind for kind in get_args(ModelConfig)}
    sections |= {("dataset", type_name(kind)): kind for kind in get_args(DatasetConfig)}
    return {location: list(section.model_fields) for location, section in sections.items()}
