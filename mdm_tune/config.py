"""The YAML file of a run as frozen models: every default in one place, every problem reported at once.

Relative input paths are resolved against the YAML file's folder; ``package:NAME`` names bundled data. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mdm_tune import config_rules as rules
from mdm_tune.config_errors import Location, field_problems, placed, read_yaml, with_override
from mdm_tune.errors import InputError

__all__ = ["Config", "DatasetConfig", "ModelConfig", "load_config", "resolved", "to_yaml"]

LARGEST = 2**31 - 1  # anything above is a slip of the keyboard
FLAGS = {"seed": "--seed", "output": "--output", "search.trials": "--trials"}

FromList = BeforeValidator(rules.as_tuple)
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
SplitSize = Annotated[int, Field(le=LARGEST), AfterValidator(rules.large_enough)]
Size = Annotated[int, Field(ge=1, le=65_536)]  # arrays of this length are made
Steps = Annotated[tuple[Size, ...], FromList, Field(min_length=1), AfterValidator(rules.distinct)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Range = Annotated[tuple[PositiveFloat, PositiveFloat], BeforeValidator(rules.as_pair), AfterValidator(rules.increasing)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Law = Annotated[tuple[Probability, ...], FromList, AfterValidator(rules.sums_to_one)]
Matrix = Annotated[tuple[Law, ...], FromList, Field(min_length=1)]
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
InputPath = Annotated[Text, AfterValidator(rules.input_path)]
Baseline = Annotated[str, AfterValidator(rules.schedule_name)]
ScheduleText = Annotated[Text, AfterValidator(rules.schedule_or_path)]


class Section(BaseModel):
    """What all sections share: no unknown keys, no silent conversions, no NaN, no change after loading."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class TransformerConfig(Section):
    """A checkpoint of this package's own transformer."""

    type: Literal["transformer"]
    path: InputPath


class MarkovConfig(Section):
    """A Markov chain: ``flip`` is the probability to leave a symbol, spread evenly over the others, or ``transition``
    gives every row. Without ``start`` the first symbol is uniform."""

    type: Literal["markov"]
    length: Size
    symbols: Annotated[int, Field(ge=2, le=4096)] = 2
    flip: Probability | None = None
    transition: Annotated[Matrix, AfterValidator(rules.square)] | None = None
    start: Annotated[Law, AfterValidator(rules.one_per_symbol)] | None = None

    @model_validator(mode="before")
    @classmethod
    def count_symbols(cls, data: Any) -> Any:
        """A transition matrix says by itself how many symbols there are."""
        if isinstance(data, dict) and "symbols" not in data and isinstance(data.get("transition"), list):
            return {**data, "symbols": max(2, len(data["transition"]))}
        return data

    @model_validator(mode="after")
    def has_one_law(self) -> Self:
        if (self.flip is None) == (self.transition is None):
            got = "neither" if self.flip is None else "both"
            raise ValueError(f"must have either flip or transition, got {got}; keep exactly one of them")
        return self


class RepeatedBitConfig(Section):
    """One fair bit, repeated over the whole length."""

    type: Literal["repeated-bit"]
    length: Size


class ParityConfig(Section):
    """Uniform over the bit strings of even parity."""

    type: Literal["parity"]
    length: Annotated[int, Field(ge=2, le=65_536)]


class TableConfig(Section):
    """Every legal string with its positive weight (or a list of equally likely strings), all of one length."""

    type: Literal["table"]
    sequences: Annotated[
        dict[Text, PositiveFloat], BeforeValidator(rules.equal_weights), AfterValidator(rules.one_length)
    ]

    @property
    def symbols(self) -> str:
        """The sorted distinct characters; a character's place is its token."""
        return "".join(sorted(set("".join(self.sequences))))

    @property
    def probabilities(self) -> dict[str, float]:
        """The weights divided by their sum."""
        largest = max(self.sequences.values())  # divided out first, so that no sum of large weights overflows
        scaled = {text: weight / largest for text, weight in self.sequences.items()}
        total = sum(scaled.values())
        return {text: weight / total for text, weight in scaled.items()}


class MixtureConfig(Section):
    """A mixture of product laws: ``components[k][l][v]`` is the probability of symbol v at position l."""

    type: Literal["mixture"]
    weights: Law
    components: Annotated[tuple[Matrix, ...], FromList, Field(min_length=1), AfterValidator(rules.one_shape)]


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


class SamplerConfig(Section):
    """How tokens are revealed; ``batch`` is the largest number of rows in one denoiser call."""

    order: Literal["random", "confidence", "top-probability", "margin", "entropy"] = "random"
    reveal: Literal["fixed", "bernoulli"] = "fixed"
    temperature: Annotated[float, Field(ge=0.0)] = 1.0
    steps: Steps
    counts: Literal["one-per-step", "cumulative"] = "one-per-step"
    batch: Positive = 128


class ObjectiveConfig(Section):
    """What a schedule is judged by."""

    metric: Literal["kl", "tv", "order_kl", "spelling", "nelbo", "path_nll"]


class SpaceConfig(Section):
    """The box in which Beta(a, b) is searched."""

    a: Range = (0.1, 10.0)
    b: Range = (0.1, 10.0)


class SearchConfig(Section):
    """How the schedule is searched; ``trials`` is per budget, and a grid visits all of its 100 points without it."""

    strategy: Literal["gp", "tpe", "qmc", "grid"] = "gp"
    trials: Positive = 25
    space: SpaceConfig = SpaceConfig()
    finalists: Positive = 4
    baselines: Annotated[
        tuple[Baseline, ...],
        FromList,
        AfterValidator(rules.distinct_schedules),
        AfterValidator(rules.holds_linear),
    ] = ("linear", "squared-sine", "sine")

    @model_validator(mode="before")
    @classmethod
    def visit_whole_grid(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("strategy") == "grid":
            return {"trials": 100, **data}
        return data


class EvaluateConfig(Section):
    """Which schedules are compared at which budgets; without ``steps`` the budgets are those of the sampler."""

    schedules: Annotated[
        tuple[ScheduleText, ...], FromList, Field(min_length=1), AfterValidator(rules.distinct_schedules)
    ] = ("linear", "squared-sine", "sine", "maskgit-cosine")
    steps: Steps | None = None


ExactLaw = MarkovConfig | RepeatedBitConfig | ParityConfig | TableConfig | MixtureConfig
ModelConfig = TransformerConfig | ExactLaw
DatasetConfig = TextDatasetConfig | LawDatasetConfig


class Config(Section):
    """A whole run. ``load_config`` makes one from a file."""

    model: Annotated[ModelConfig, Field(discriminator="type")]
    dataset: Annotated[DatasetConfig, Field(discriminator="type")] | None = None
    sampler: SamplerConfig
    objective: ObjectiveConfig
    search: SearchConfig = SearchConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    output: Text

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
    document = {"output": f"runs/{path.stem}", **read_yaml(path)}
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
            document = placed(document, key.split("."), value)
    try:
        config = Config.model_validate(document, context={"folder": path.absolute().parent})
    except ValidationError as error:
        found = field_problems(error, legal_keys(), {key: FLAGS[key] for key in given})
        problems += [line for _, line in found]
        problems += conflicts_in(document, {place for place, _ in found})
    except InputError as error:
        problems += str(error).splitlines()
    if problems:
        lines = "\n  ".join(problems)
        raise InputError(f"{path}: {len(problems)} problem{'s' * (len(problems) > 1)} in the config\n  {lines}")
    return config


def resolved(config: Config) -> dict[str, Any]:
    """The complete config with all defaults, in types that YAML and JSON know."""
    return config.model_dump(mode="json")


def to_yaml(config: Config) -> str:
    """YAML text that loads back to an equal config, from any folder."""
    return yaml.safe_dump(resolved(config), sort_keys=False, allow_unicode=True)


def conflicts_in(document: Mapping[Any, Any], wrong: set[str]) -> list[str]:
    """Contradictions between settings, as far as they are known: those at the ``wrong`` paths are not."""
    values: dict[str, Any] = {}
    for path in rules.JUDGED:
        name, key = path.split(".")
        section = document.get(name)
        default = SamplerConfig.model_fields[key].default if name == "sampler" else None
        values[path] = section.get(key, default) if isinstance(section, dict) and path not in wrong else None
    if document.get("dataset") is None:
        values["dataset.type"] = "none"
    return list(rules.conflicts(values, [type_name(law) for law in get_args(ExactLaw)]))


def type_name(section: type[Section]) -> str:
    return str(get_args(section.model_fields["type"].annotation)[0])


def legal_keys() -> dict[Location, list[str]]:
    """The keys of every section, by pydantic location: in ``model`` and ``dataset`` they depend on the type."""
    sections: dict[Location, type[Section]] = {
        (): Config,
        ("sampler",): SamplerConfig,
        ("objective",): ObjectiveConfig,
        ("search",): SearchConfig,
        ("search", "space"): SpaceConfig,
        ("evaluate",): EvaluateConfig,
    }
    sections |= {("model", type_name(kind)): kind for kind in get_args(ModelConfig)}
    sections |= {("dataset", type_name(kind)): kind for kind in get_args(DatasetConfig)}
    return {location: list(section.model_fields) for location, section in sections.items()}
