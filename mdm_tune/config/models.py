"""The ``model`` section of a config, with one frozen pydantic model per type, and the base of all sections."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from mdm_tune.config import validators
from mdm_tune.config.families import AttentionMask, AutoClass, FamilyName, Side, Time
from mdm_tune.config.plugins import MODELS, plugin_type
from mdm_tune.core.problems import shown
from mdm_tune.core.reading import expanded

__all__ = [
    "OVER_FAMILY",
    "CustomConfig",
    "ExactLaw",
    "FromList",
    "HuggingFaceConfig",
    "InputPath",
    "ModelConfig",
    "Options",
    "PluginModelConfig",
    "PositiveFloat",
    "Section",
    "Size",
    "Target",
    "Text",
]

CHAIN_NUMBERS = 2**26  # two arrays of half a GiB
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")  # the rules of the Hugging Face Hub
FromList = BeforeValidator(validators.list_as_tuple)
Size = Annotated[int, Field(ge=1, le=65_536)]  # the code allocates arrays of this length
LawLength = Annotated[int, Field(ge=1, le=4096)]  # an exact profile needs a few matrices of length x length numbers
Options = Annotated[dict[str, Any], AfterValidator(validators.plain_options)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Law = Annotated[tuple[Probability, ...], FromList, AfterValidator(validators.sums_to_one)]
Matrix = Annotated[tuple[Law, ...], FromList, Field(min_length=1)]
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
InputPath = Annotated[Text, AfterValidator(validators.input_path)]


def folder_or_name(text: str, info: ValidationInfo) -> str:
    """An absolute path for a folder, relative to the YAML file; a name on the Hugging Face Hub stays as it is."""
    folder: Path = (info.context or {}).get("folder", Path.cwd())
    if validators.path_exists(folder / text, folder=True) or not HUB_NAME.fullmatch(text):
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
    """The base of all sections: no unknown keys, no implicit conversions, no NaN, and no change after loading."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class TransformerModelConfig(Section):
    """A checkpoint of this package's own transformer.

    Attributes:
        path: a folder.
        dtype: of the weights.
        compile: whether the layers are compiled with ``torch.compile``.
    """

    type: Literal["transformer"]
    path: InputPath
    dtype: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False


class HuggingFaceConfig(Section):
    """A checkpoint of the Hugging Face libraries.

    The fields after ``length`` replace those of the model's family; see ``families.Family``.

    Attributes:
        path: a folder, or a name on the Hub.
        family: the model's family; None to derive it from the model type in config.json.
        revision: of the checkpoint on the Hub.
        tokenizer: a folder or a name on the Hub; None for the checkpoint's own.
        dtype: of the weights; ``auto`` for that of the checkpoint.
        compile: whether the layers are compiled with ``torch.compile``.
        device: None for --devices, or without that flag for all GPUs, or for the CPU if there is none.
        device_map: ``auto`` spreads one model over several devices.
        length: the longest sequence that is used, in tokens; None for the model's own limit.
    """

    type: Literal["huggingface"]
    path: FolderOrName
    family: FamilyName | None = None
    revision: Text | None = None
    tokenizer: FolderOrName | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    compile: bool = False
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
        """The fields that replace those of the family; None for a field that keeps the family's value."""
        return self.model_dump(include=OVER_FAMILY)


OVER_FAMILY = set(HuggingFaceConfig.model_fields) - {
    *("type", "path", "family", "revision", "tokenizer", "dtype", "compile", "device", "device_map", "length")
}


class CustomConfig(Section):
    """A denoiser that a function of the user returns.

    Attributes:
        target: the function, as ``FILE.py:NAME``.
        options: the keyword arguments of the function.
        compile: whether the denoiser, an ``nn.Module``, is compiled with ``torch.compile``.
        device: as for ``huggingface``.
        length: the longest sequence that is used, in tokens; None for the attribute ``length`` of the denoiser.
    """

    type: Literal["custom"]
    target: Target
    options: Options = {}
    compile: bool = False
    device: Text | None = None
    length: Size | None = None


class MarkovConfig(Section):
    """A Markov chain.

    Attributes:
        length: tokens of a sequence.
        symbols: the number of symbols; the rows of ``transition`` by default.
        flip: the probability of another symbol than the last one, spread evenly over the others.
        transition: the transition matrix (symbols, symbols), in place of ``flip``.
        start: the distribution of the first symbol (symbols,); uniform by default.
    """

    type: Literal["markov"]
    length: LawLength
    symbols: Annotated[int, Field(ge=2, le=4096)] = 2
    flip: Probability | None = None
    transition: Annotated[Matrix, AfterValidator(validators.square)] | None = None
    start: Annotated[Law, AfterValidator(validators.one_per_symbol)] | None = None

    @model_validator(mode="before")
    @classmethod
    def count_symbols(cls, data: Any) -> Any:
        """Take the number of symbols from the transition matrix if it is not given."""
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
    """One fair bit that is repeated over the whole length.

    Attributes:
        length: tokens of a sequence.
    """

    type: Literal["repeated-bit"]
    length: LawLength


class ParityConfig(Section):
    """The uniform law over the bit strings of even parity.

    Attributes:
        length: tokens of a sequence.
    """

    type: Literal["parity"]
    length: Annotated[int, Field(ge=2, le=4096)]


class TableConfig(Section):
    """A law over strings of one length, given by a weight for each string, or by a list of equally likely strings.

    Attributes:
        sequences: strings with their weights, or a list of strings.
    """

    type: Literal["table"]
    sequences: Annotated[
        dict[Text, PositiveFloat],
        BeforeValidator(validators.equal_weights),
        AfterValidator(validators.one_length),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 0}},
                    {"type": "array", "items": {"type": "string", "minLength": 1}},
                ]
            }
        ),
    ]

    @property
    def symbols(self) -> str:
        """The distinct characters, sorted; the index of a character is its token id."""
        return "".join(sorted(set("".join(self.sequences))))

    @property
    def probabilities(self) -> dict[str, float]:
        """The weights divided by their sum."""
        largest = max(self.sequences.values())  # dividing by it first keeps the sum of large weights from overflowing
        scaled = {text: weight / largest for text, weight in self.sequences.items()}
        total = sum(scaled.values())
        return {text: weight / total for text, weight in scaled.items()}


class MixtureConfig(Section):
    """A mixture of product laws: ``components[k][l][v]`` is the probability of symbol v at position l.

    Attributes:
        weights: the probability of each product law.
        components: of each product law, the probability of each symbol at each position.
    """

    type: Literal["mixture"]
    weights: Law
    components: Annotated[tuple[Matrix, ...], FromList, Field(min_length=1), AfterValidator(validators.one_shape)]


ExactLaw = MarkovConfig | RepeatedBitConfig | ParityConfig | TableConfig | MixtureConfig
if TYPE_CHECKING:
    PluginType = str
else:
    PluginType = plugin_type("denoisers", MODELS)


class PluginModelConfig(Section):
    """A denoiser that a function of another installed package returns.

    Attributes:
        type: the name of the plugin.
        options: the keyword arguments of the function.
        compile: as for ``custom``.
        device: as for ``huggingface``.
        length: as for ``custom``.
    """

    type: PluginType
    options: Options = {}
    compile: bool = False
    device: Text | None = None
    length: Size | None = None


ModelConfig = TransformerModelConfig | HuggingFaceConfig | CustomConfig | ExactLaw | PluginModelConfig
