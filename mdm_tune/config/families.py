"""The table of published masked diffusion models: how each family is loaded and called. No other file names a model.

Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from packaging.version import Version

from mdm_tune.core.errors import InputError

__all__ = [
    "FAMILIES",
    "AttentionMask",
    "AutoClass",
    "Family",
    "FamilyName",
    "Sampling",
    "Side",
    "Time",
    "base_version",
    "family_of_name",
    "family_of_type",
    "refuse_unsupported",
    "version_problem",
    "with_fields",
]

AttentionMask = Literal["none", "2d", "4d"]
AutoClass = Literal["masked-lm", "causal-lm", "model"]
FamilyName = Literal[
    "llada",
    "llada-1.5",
    "dream",
    "mdlm",
    "diffullama",
    "dplm",
    "esm",
    "bert",
    "roberta",
    "modernbert",
    "generic",
]
Side = Literal["left", "right"]
Time = Literal["none", "sigma"]


@dataclass(frozen=True)
class Sampling:
    """The sampling settings of a family's authors.

    Attributes:
        order: ranks the positions to reveal.
        temperature: of tokens, at least 0.
        top_p: the probability of the nucleus, above 0 and up to 1.
        tempered_scores: whether positions are ranked by the distribution from which tokens are drawn, after temperature
            and nucleus.
    """

    order: str
    temperature: float
    top_p: float = 1.0
    tempered_scores: bool = False


@dataclass(frozen=True)
class Family:
    """How the checkpoints of a family are loaded and called.

    Attributes:
        name: the name in a config.
        model_types: values of ``model_type`` in config.json that belong to the family.
        auto_class: the class of transformers that loads a checkpoint; None if config.json names it.
        mask_token_id: used if neither tokenizer nor config.json has a mask; ``last`` is the last id of the vocabulary.
        shift_logits: whether the output at i - 1 predicts position i.
        time: ``sigma`` passes the noise level -log(1 - (1 - 1e-3) * masked share) of MDLM's log-linear schedule
            (arXiv:2406.07524) as ``timesteps``.
        attention_mask: ``2d`` (rows, length), ``4d`` (rows, 1, length, length), or ``none`` for models without one. The
            rows of a call must then have equal lengths.
        position_ids: whether position ids are passed.
        position_offset: whether positions start after the padding id.
        padding: the side on which rows are padded.
        never: tokens, as text or id, that are never produced.
        end_tokens: tokens that end a text.
        split: ``characters`` reads every character as a token.
        tokenizer: the tokenizer of checkpoints that come without one.
        sampling: the sampling settings of the authors.
        transformers: the oldest version of transformers that the checkpoints' code supports, and the first that is too
            new.
        mask_fixed_in: the revision that respects the attention mask, if others ignore it.
    """

    name: str
    model_types: tuple[str, ...] = ()
    auto_class: AutoClass | None = None
    mask_token_id: int | Literal["last"] | None = None
    shift_logits: bool = False
    time: Time = "none"
    attention_mask: AttentionMask = "2d"
    position_ids: bool = False
    position_offset: bool = False
    padding: Side = "right"
    never: tuple[int | str, ...] = ()
    end_tokens: tuple[int | str, ...] = ()
    split: Literal["characters"] | None = None
    tokenizer: str | None = None
    sampling: Sampling | None = None
    transformers: tuple[str | None, str | None] = (None, None)
    mask_fixed_in: str = ""


NEWEST_PUBLISHED = "4.46"  # the newest transformers for which the code of LLaDA, Dream and MDLM was published

LLADA = Family(
    "llada",
    model_types=("llada",),
    mask_token_id=126336,
    padding="left",
    end_tokens=(126081, 126348),  # <|endoftext|> and <|eot_id|>
    sampling=Sampling("confidence", 0.0),
    transformers=("4.38", "5"),
    mask_fixed_in="the modelling files of GSAI-ML/LLaDA-8B-Base and GSAI-ML/LLaDA-8B-Instruct since October 2025",
)
ESM = Family(
    "esm",
    model_types=("esm",),
    auto_class="masked-lm",
    position_offset=True,
    never=("<cls>", "<pad>", "<eos>", "<unk>"),
    split="characters",
)
FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        LLADA,
        replace(LLADA, name="llada-1.5", model_types=()),
        Family(
            "dream",
            model_types=("Dream",),
            auto_class="model",
            mask_token_id=151666,
            shift_logits=True,
            attention_mask="4d",
            position_ids=True,
            padding="left",
            end_tokens=(151643, 151645),  # <|endoftext|> and <|im_end|>
            sampling=Sampling("entropy", 0.1, 0.9, tempered_scores=True),
            transformers=(NEWEST_PUBLISHED, "5"),
        ),
        Family(
            "mdlm",
            model_types=("mdlm",),
            auto_class="masked-lm",
            mask_token_id="last",
            time="sigma",
            attention_mask="none",
            end_tokens=("<|endoftext|>",),
            tokenizer="gpt2",
            sampling=Sampling("random", 1.0),
            transformers=("4.38", "5"),
        ),
        Family(
            "diffullama",
            auto_class="causal-lm",
            mask_token_id=811,
            shift_logits=True,
            attention_mask="4d",
            position_ids=True,
            padding="left",
            end_tokens=("</s>",),
            sampling=Sampling("random", 0.9, 0.9),
        ),
        replace(ESM, name="dplm", model_types=(), never=("<cls>", "<pad>", "<eos>", "<unk>", "X")),
        ESM,
        Family("bert", model_types=("bert",), auto_class="masked-lm", never=("[PAD]", "[CLS]", "[SEP]")),
        Family(
            "roberta",
            model_types=("roberta", "xlm-roberta", "camembert"),
            auto_class="masked-lm",
            position_offset=True,
            never=("<s>", "<pad>", "</s>"),
        ),
        Family(
            "modernbert",
            model_types=("modernbert",),
            auto_class="masked-lm",
            never=("[PAD]", "[CLS]", "[SEP]"),
            transformers=("4.48", None),
        ),
        Family("generic"),
    )
}
assert set(FAMILIES) == set(get_args(FamilyName))  # a Literal cannot be computed, so the list is written twice

UNIFORM = "it replaces tokens by random ones (uniform corruption) and has no mask whose reveal could be scheduled"
REFUSED = {  # by model_type
    "diffusion_gemma": UNIFORM,
    "diffusion_gemma_text": UNIFORM,
    "duo": UNIFORM,
    "udlm": UNIFORM,
}


PUBLISHED = {  # beginnings of names on the Hub, the longer of two that fit first
    "GSAI-ML/LLaDA-1.5": "llada-1.5",
    "GSAI-ML/LLaDA-8B": "llada",
    "Dream-org/Dream-": "dream",
    "kuleshov-group/mdlm-": "mdlm",
    "diffusionfamily/diffullama": "diffullama",
    "airkingbd/dplm_": "dplm",
    "facebook/esm2_": "esm",
}


def family_of_name(name: str) -> str | None:
    """The name of the family of a published checkpoint, by its name on the Hub; None for an unknown one."""
    return next((family for begin, family in PUBLISHED.items() if name.startswith(begin)), None)


def family_of_type(model_type: str) -> Family:
    """The family of a ``model_type`` in config.json; ``generic`` for an unknown one."""
    return next((family for family in FAMILIES.values() if model_type in family.model_types), FAMILIES["generic"])


def with_fields(family: Family, fields: Mapping[str, Any]) -> Family:
    """The family with some fields replaced; a field that is None keeps the family's value."""
    return replace(family, **{name: value for name, value in fields.items() if value is not None})


def refuse_unsupported(config: Mapping[str, Any], path: str) -> None:
    """Raise InputError if the config.json of a checkpoint says that it is no masked diffusion model.

    Args:
        config: the content of config.json.
        path: of the checkpoint, for messages.
    """
    kind = str(config.get("model_type", ""))
    reason = REFUSED.get(kind.lower())
    if reason is None and config.get("is_encoder_decoder"):
        reason = "it is an encoder-decoder model, which writes from left to right"
    if reason is not None:
        raise InputError(
            f"model.path: must be a masked diffusion model, got {path} of type {kind!r}: {reason}; give another model"
        )


def version_problem(family: Family, version: str) -> str | None:
    """Why a family's checkpoints may fail with this version of transformers, with a remedy; None if they work."""
    oldest, too_new = family.transformers
    if oldest is not None and base_version(version) < base_version(oldest):
        return f"family {family.name} needs transformers {oldest} or newer, this is {version}; upgrade transformers"
    if too_new is not None and base_version(version) >= base_version(too_new):
        supported = NEWEST_PUBLISHED if oldest in (None, NEWEST_PUBLISHED) else f"{oldest} to {NEWEST_PUBLISHED}"
        return (
            f"the published code of family {family.name} needs transformers {supported}, this is {version}; "
            f"use an environment of its own with transformers=={NEWEST_PUBLISHED}.3"
        )
    return None


def base_version(version: str) -> Version:
    """The version without its development suffix: 5.23.0 for 5.23.0.dev1, which already has the API of 5.23."""
    return Version(Version(version).base_version)
