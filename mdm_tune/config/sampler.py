"""The ``sampler`` section of a config: what is revealed when, how tokens are drawn, and where an answer ends."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mdm_tune.config import validators
from mdm_tune.config.families import FAMILIES, recognised
from mdm_tune.config.models import FromList, Options, Section, Size, Target
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import listed
from mdm_tune.core.reading import CONFIG_BYTES, read_json
from mdm_tune.core.types import Order
from mdm_tune.schedules.counts import CountRule

__all__ = ["SamplerConfig", "Steps", "family_sampling", "with_family_defaults"]

LARGEST_BATCH = 1_048_576  # rows: more than a device holds
TUNED_FOR = (  # the keys that say what a schedule was tuned for, in the order of a schedule file
    *("order", "temperature", "top_p", "confidence_temperature", "tempered_scores"),
    *("end_drawn", "end_confident", "stop_at_end", "guidance", "reveal", "counts", "block_steps", "options"),
)


def known_order(value: object) -> object:
    """The orders' names in LLaDA and Dream are understood too."""
    return validators.ALIASES.get(value, value) if isinstance(value, str) else value


Several = Field(min_length=1, max_length=validators.SEVERAL)  # each is searched or compared by itself
Steps = Annotated[tuple[Size, ...], FromList, Several, AfterValidator(validators.distinct)]
BlockLengths = Annotated[
    tuple[Size, ...], BeforeValidator(validators.one_or_several), Several, AfterValidator(validators.distinct)
]
Temperature = Annotated[float, Field(ge=0.0), AfterValidator(validators.usable_temperature)]
KnownOrder = Annotated[Order, BeforeValidator(known_order)]


class SamplerConfig(Section):
    """How tokens are revealed; ``batch`` is the largest number of rows in one denoiser call.

    type: ``builtin``, or ``external`` for generate code of the user's own, which ``target`` names and which is called
    with ``options``. With
    ``block_length`` blocks of so many positions are filled from left to right, and ``steps`` are those of all blocks
    together; several lengths are compared at equal steps. block_steps: whether blocks share the steps equally, or as
    the information profile finds best. top_p: the nucleus that tokens are drawn from.
    confidence_temperature: 0 reveals the best positions, more draws them. tempered_scores: positions are ranked by what
    tokens are drawn from, as in Dream. guidance: of the prompt (classifier-free); 0 is none. end_drawn: whether tokens
    that end a text may be drawn; end_confident: whether they count as confident; stop_at_end: end an answer there."""

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
        """Who decides what is revealed, in a few words."""
        if self.target is not None:
            return f"drawn by {Path(self.target).name}"
        return f"order {self.order}, reveal {self.reveal}, temperature {self.temperature:g}"

    @property
    def record(self) -> dict[str, Any]:
        """What a schedule is tuned for but its blocks, the same in whatever folder the user's own code lies."""
        written = self.model_dump(mode="json")
        target = None if self.target is None else Path(self.target).name
        return {**{name: written[name] for name in TUNED_FOR}, "target": target}


def family_sampling(family: object, folder: Path, given: Mapping[str, Any], metric: object) -> dict[str, Any]:
    """How the authors of a family draw from it, as keys of this section, as far as the rest of the config draws so.

    {} where the family is unknown, its authors do not say, code of the user's own draws, or the data's own tokens are
    priced as predicted; then only an order that follows from the predictions is the authors'.

    family: its name, else it is recognised by the checkpoint's own config.json, where that lies in ``folder``. given:
    the section as it is. metric: the objective's.
    """
    if given.get("type") == "external" or metric == "nelbo":
        return {}
    kind = None
    with suppress(InputError, AttributeError):  # loading the checkpoint says what is wrong with it
        kind = read_json(folder / "config.json", CONFIG_BYTES).get("model_type")
    known = FAMILIES.get(family) if isinstance(family, str) else recognised(str(kind)) if family is None else None
    if known is None or known.sampling is None:
        return {}
    own, default = asdict(known.sampling), SamplerConfig.model_fields
    if given.get("reveal") == "bernoulli" or given.get("order") == "random":  # nothing ranks positions
        own = {name: own[name] for name in ("temperature", "top_p")}
    if metric == "path_nll":
        own = {name: value for name, value in own.items() if name == "order" or (name, value) == ("temperature", 0)}
    return {name: value for name, value in own.items() if value != default[name].default}


def with_family_defaults(document: dict[Any, Any], folder: Path) -> tuple[dict[Any, Any], tuple[str, ...]]:
    """The document with the sampling settings of the model's family where it gives none, and what these are."""
    model, sampler = document.get("model"), document.get("sampler")
    if not isinstance(model, dict) or not isinstance(sampler, dict) or model.get("type") != "huggingface":
        return document, ()
    objective = document.get("objective")
    metric = objective.get("metric") if isinstance(objective, dict) else None
    own = family_sampling(model.get("family"), folder / str(model.get("path")), sampler, metric)
    added = {name: value for name, value in own.items() if name not in sampler}
    return {**document, "sampler": {**added, **sampler}}, tuple(f"{name} {value}" for name, value in added.items())
