"""The ``model`` section of a config: one frozen pydantic model per type, and what all sections share."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mdm_tune import config_rules as rules

__all__ = ["ExactLaw", "FromList", "InputPath", "ModelConfig", "PositiveFloat", "Section", "Size", "Text"]

FromList = BeforeValidator(rules.as_tuple)
Size = Annotated[int, Field(ge=1, le=65_536)]  # arrays of this length are made
PositiveFloat = Annotated[float, Field(gt=0.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Law = Annotated[tuple[Probability, ...], FromList, AfterValidator(rules.sums_to_one)]
Matrix = Annotated[tuple[Law, ...], FromList, Field(min_length=1)]
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
InputPath = Annotated[Text, AfterValidator(rules.input_path)]


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


ExactLaw = MarkovConfig | RepeatedBitConfig | ParityConfig | TableConfig | MixtureConfig
ModelConfig = TransformerConfig | ExactLaw
