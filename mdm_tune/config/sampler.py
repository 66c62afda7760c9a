"""The ``sampler`` section of a config: when positions are revealed, how tokens are drawn, and where an answer ends."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from mdm_tune.config import validators
from mdm_tune.config.families import FAMILIES, Family, family_of_type
from mdm_tune.config.models import FromList, Options, Section, Size, Target
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import listed
from mdm_tune.core.reading import CONFIG_BYTES, read_json
from mdm_tune.core.types import Order
from mdm_tune.schedules.counts import CountRule

__all__ = ["SamplerConfig", "Steps", "family_sampling", "fitting_sampling", "with_family_defaults"]

LARGEST_BATCH = 1_048_576  # rows; more than fit on any device
TUNED_FOR = (  # the settings for which a schedule is tuned, in the order of a schedule file
    *("order", "temperature", "top_p", "confidence_temperature", "tempered_scores"),
    *("end_drawn", "end_confident", "stop_at_end", "guidance", "reveal", "counts", "block_steps", "options"),
)


def known_order(value: object) -> object:
    """This package's name of an order that is given by its name in LLaDA or Dream."""
    return validators.ALIASES.get(value, value) if isinstance(value, str) else value


Several = Field(min_length=1, max_length=validators.SEVERAL)  # every entry is searched or compared separately
Steps = Annotated[tuple[Size, ...], FromList, Several, AfterValidator(validators.distinct)]
TOKENS = {"type": "integer", "minimum": 1, "maximum": 65_536}
BlockLengths = Annotated[
    tuple[Size, ...],
    BeforeValidator(validators.one_or_several),
    Several,
    AfterValidator(validators.distinct),
    WithJsonSchema({"anyOf": [TOKENS, {"type": "array", "items": TOKENS, "minItems": 1}]}),
]
Temperature = Annotated[float, Field(ge=0.0), AfterValidator(validators.usable_temperature)]
ORDERS = [*get_args(Order), *validators.ALIASES]
KnownOrder = Annotated[Order, BeforeValidator(known_order), WithJsonSchema({"enum": ORDERS})]


class SamplerConfig(Section):
    """How positions are revealed and how tokens are drawn.

    Attributes:
        type: ``builtin``, or ``external`` for generation code of the user.
        target: the user's function, as ``FILE.py:NAME``.
        options: keyword arguments of the user's function.
        order: ranks the positions to reveal.
        reveal: ``fixed`` reveals counts; ``bernoulli`` is ancestral sampling.
        temperature: of tokens; 0 for the most probable token.
        top_p: the probability of the nucleus from which tokens are drawn.
        confidence_temperature: of positions; 0 reveals those with the highest rank.
        tempered_scores: whether positions are ranked by the distribution from which tokens are drawn, as in Dream.
        guidance: the scale of classifier-free guidance by the prompt; 0 for none.
        end_drawn: whether tokens that end a text may be drawn.
        end_confident: whether tokens that end a text count as confident.
        stop_at_end: whether an answer ends at the first token that ends a text.
        steps: the budgets, of all blocks together.
        counts: how a schedule is rounded to counts; see ``counts.to_counts``.
        batch: rows of a denoiser call at most.
        block_length: tokens of a block; blocks are filled from left to right. Several lengths are compared at equal
            steps. None for one block.
        block_steps: whether all blocks have equally many steps, or the numbers that are best on the information
            profile.
    """

    type: Literal["builtin", "external"] = "builtin"
    target: Target | None = None
    options: Options = Field(default_factory=dict)
    order: KnownOrder = "random"
    reveal: Literal["fixed", "bernoulli"] = "fixed"
    temperature: Temperature = 1.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    confidence_temperature: Temperature = 0.0
    tempered_scores: bool = False
    guidance: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    end_drawn: bool = True
    end_confident: bool = True
    stop_at_end: bool = False
    steps: Steps
    counts: CountRule = "one-per-step"
    batch: Annotated[int, Field(ge=1, le=LARGEST_BATCH)] = 128
    block_length: BlockLengths | None = None
    block_steps: Literal["equal", "tuned"] = "equal"

    @model_validator(mode="after")
    def names_its_code(self) -> Self:
        if self.options and self.target is None:
            raise ValueError(f"options are those of target, got {listed(sorted(self.options))} without one; add target")
        if (self.type == "external") != (self.target is not None):
            raise ValueError(
                "target goes with type: external, a function in a file such as my_generate.py:generate, got "
                f"{'type builtin' if self.target else 'none'}; give both or neither"
            )
        return self

    @property
    def described(self) -> str:
        """A short description of the sampler for people."""
        if self.target is not None:
            return f"drawn by {Path(self.target).name}"
        return f"order {self.order}, reveal {self.reveal}, temperature {self.temperature:g}"

    @property
    def record(self) -> dict[str, Any]:
        """The settings for which a schedule is tuned, without the block length, and with only the name of the code."""
        section = self.model_dump(mode="json")
        target = None if self.target is None else Path(self.target).name
        return {**{name: section[name] for name in TUNED_FOR}, "target": target}


def family_sampling(family: object, folder: Path, section: Mapping[str, Any], metric: object) -> dict[str, Any]:
    """The sampling settings of a family's authors that fit the rest of the config.

    There are none if the authors state none, if external code draws tokens, or for the metric nelbo. For path_nll only
    the order and a temperature of 0 fit.

    Args:
        family: the name of the family; None to derive it from the checkpoint's config.json.
        folder: the folder of the checkpoint, if it is local.
        section: the sampler section as the user wrote it.
        metric: the objective.

    Returns:
        Keys of the sampler section whose values differ from the defaults.
    """
    if section.get("type") == "external" or metric == "nelbo":
        return {}
    model_type = None
    with suppress(InputError, AttributeError):  # loading the checkpoint reports what is wrong with it
        model_type = read_json(folder / "config.json", CONFIG_BYTES).get("model_type")
    known = FAMILIES.get(family) if isinstance(family, str) else None
    if family is None:
        known = family_of_type(str(model_type))
    return {} if known is None else fitting_sampling(known, section, metric)


def fitting_sampling(family: Family, section: Mapping[str, Any], metric: object = None) -> dict[str, Any]:
    """The settings of a family's authors that fit a sampler section and a metric; see ``family_sampling``."""
    if family.sampling is None:
        return {}
    settings, default = asdict(family.sampling), SamplerConfig.model_fields
    if section.get("reveal") == "bernoulli" or section.get("order") == "random":  # no ranking of positions
        settings = {name: settings[name] for name in ("temperature", "top_p")}
    if metric == "path_nll":
        settings = {
            name: value for name, value in settings.items() if name == "order" or (name, value) == ("temperature", 0)
        }
    return {name: value for name, value in settings.items() if value != default[name].default}


def with_family_defaults(document: dict[Any, Any], folder: Path) -> tuple[dict[Any, Any], tuple[str, ...]]:
    """Add the sampling settings of the model's family that the user did not set.

    Args:
        document: the config as the user wrote it.
        folder: the folder of the YAML file.

    Returns:
        The config with these settings, and the settings as text, such as ``temperature 0``.
    """
    model, sampler = document.get("model"), document.get("sampler")
    if not isinstance(model, dict) or not isinstance(sampler, dict) or model.get("type") != "huggingface":
        return document, ()
    objective = document.get("objective")
    metric = objective.get("metric") if isinstance(objective, dict) else None
    settings = family_sampling(model.get("family"), folder / str(model.get("path")), sampler, metric)
    added = {name: value for name, value in settings.items() if name not in sampler}
    return {**document, "sampler": {**added, **sampler}}, tuple(f"{name} {value}" for name, value in added.items())
