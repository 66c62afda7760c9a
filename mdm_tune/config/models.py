"""The ``model`` section of a config: one frozen pydantic model per type, and what all sections share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from mdm_tune.config import validators
from mdm_tune.config.families import AttentionMask, AutoClass, FamilyName, Side, Time
from mdm_tune.core.problems import shown
from mdm_tune.core.reading import expanded

__all__ = [
    "CustomConfig",
    "ExactLaw",
    "FromList",
    "HuggingFaceConfig",
    "InputPath",
    "ModelConfig",
    "Options",
    "PositiveFloat",
    "Section",
    "Size",
    "Target",
    "Text",
]

CHAIN_NUMBERS = 2**26  # half a GiB, twice
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")  # the Hub's own limits
FromList = BeforeValidator(validators.list_as_tuple)
Size = Annotated[int, Field(ge=1, le=65_536)]  # arrays of this length are made
LawLength = Annotated[int, Field(ge=1, le=4096)]  # an exact profile holds a few matrices of length x length numbers
Options = Annotated[dict[str, Any], AfterValidator(validators.plain_options)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Law = Annotated[tuple[Probability, ...], FromList, AfterValidator(validators.sums_to_one)]
Matrix = Annotated[tuple[Law, ...], FromList, Field(min_length=1)]
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
InputPath = Annotated[Text, AfterValidator(validators.input_path)]


def folder_or_name(text: str, info: ValidationInfo) -> str:
    """A folder beside the YAML file becomes an absolute path; what may be a name on the Hugging Face Hub is kept."""
    folder: Path = (info.context or {}).get("folder", Path.cwd())
    if validators.is_there(folder / text, folder=True) or not HUB_NAME.fullmatch(text):
        return str(folder / expanded(text))
    return text


def target(text: str, info: ValidationInfo) -> str:
    """``FILE.py:NAME`` with an absolute path, resolved against the YAML file's folder."""
    file, _, name = text.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise ValueError(
            f"must be FILE.py:NAME, a function in a file, got {shown(text)}; write it like my_model.py:build"
        )
    folder: Path = (info.context or {}).get("folder", Path.cwd())
    return f"{folder / expanded(file)}:{name}"


Target = Annotated[Text, AfterValidator(target)]
Token = Annotated[int, Field(ge=0)] | Text
FolderOrName = Annotated[Text, AfterValidator(folder_or_name)]


class Section(BaseModel):
    """What all sections share: no unknown keys, no silent conversions, no NaN, no change after loading."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class TransformerModelConfig(Section):
    """A checkpoint of this package's own transformer."""

    type: Literal["transformer"]
    path: InputPath


class HuggingFaceConfig(Section):
    """A checkpoint of the Hugging Face libraries: a folder, or a name on the Hub.

    Without ``family`` it is known by the model type in its config.json; the fields below ``length`` stand in for the
    family's own. device: what --devices says where it is not given; without either, every GPU, or the CPU. length: the
    longest sequence that is used, in tokens."""

    type: Literal["huggingface"]
    path: FolderOrName
    family: FamilyName | None = None
    revision: Text | None = None
    tokenizer: FolderOrName | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: Text | None = None
    device_map: Literal["auto"] | None = None
    length: Size | None = None
    auto_class: AutoClass | None = None
    mask_token_id: Annotated[int, Field(ge=0)] | None = None
    shift_logits: bool | None = None
    time: Time | None = None
    attention_mask: AttentionMask | None = None
    position_ids: bool | None = None
    position_offset: bool | None = None
    padding: Side | None = None
    never: Annotated[tuple[Token, ...], FromList] | None = None
    end_tokens: Annotated[tuple[Token, ...], FromList] | None = None
    split: Literal["characters"] | None = None

    def over_family(self) -> dict[str, Any]:
        """The fields that stand in for the family's own, None where they do not."""
        own = {"type", "path", "family", "revision", "tokenizer", "dtype", "device", "device_map", "length"}
        return self.model_dump(exclude=own)


class CustomConfig(Section):
    """A denoiser that a function of the user's own returns.

    target: ``FILE.py:NAME``. options: what the function is called with. device: as for ``huggingface``. length: the
    longest sequence that is used, in tokens; without it the denoiser's own attribute."""

    type: Literal["custom"]
    target: Target
    options: Options = {}
    device: Text | None = None
    length: Size | None = None


class MarkovConfig(Section):
    """A Markov chain: ``flip`` is the probability to leave a symbol, spread evenly over the others, or ``transition``
    gives every row. Without ``start`` the first symbol is uniform."""

    type: Literal["markov"]
    length: LawLength
    symbols: Annotated[int, Field(ge=2, le=4096)] = 2
    flip: Probability | None = None
    transition: Annotated[Matrix, AfterValidator(validators.square)] | None = None
    start: Annotated[Law, AfterValidator(validators.one_per_symbol)] | None = None

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
        if (needed := self.length * self.symbols**2) > CHAIN_NUMBERS:
            raise ValueError(
                f"length x symbols x symbols must be at most {CHAIN_NUMBERS:,}, because the chain keeps every power of "
                f"its transition, got {needed:,}; lower length or symbols"
            )
        return self


class RepeatedBitConfig(Section):
    """One fair bit, repeated over the whole length."""

    type: Literal["repeated-bit"]
    length: LawLength


class ParityConfig(Section):
    """Uniform over the bit strings of even parity."""

    type: Literal["parity"]
    length: Annotated[int, Field(ge=2, le=4096)]


class TableConfig(Section):
    """Every legal string with its positive weight (or a list of equally likely strings), all of one length."""

    type: Literal["table"]
    sequences: Annotated[
        dict[Text, PositiveFloat], BeforeValidator(validators.equal_weights), AfterValidator(validators.one_length)
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
    components: Annotated[tuple[Matrix, ...], FromList, Field(min_length=1), AfterValidator(validators.one_shape)]


ExactLaw = MarkovConfig | RepeatedBitConfig | ParityConfig | TableConfig | MixtureConfig
ModelConfig = TransformerModelConfig | HuggingFaceConfig | CustomConfig | ExactLaw
