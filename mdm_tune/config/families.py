"""How published masked diffusion models want to be asked: one table, so that nothing else knows a model by its name.

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
    "merged",
    "recognised",
    "refuse",
    "release",
    "version_problem",
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
    """How the authors of a family draw from it: the order, the temperature of tokens and the nucleus.

    tempered_scores: whether positions are ranked by what tokens are drawn from.
    """

    order: str
    temperature: float
    top_p: float = 1.0
    tempered_scores: bool = False


@dataclass(frozen=True)
class Family:
    """What a denoiser has to know of a kind of checkpoint.

    model_types: the ``model_type`` of config.json by which it is recognised. auto_class: how transformers loads it;
    None leaves that to config.json. mask_token_id: where neither tokenizer nor config.json has one; ``last`` is the
    last of the vocabulary. shift_logits: position i is predicted by the output at i - 1. time: ``sigma`` is the noise
    level -log(1 - (1 - 1e-3) * masked share) that MDLM's log-linear schedule has there (arXiv:2406.07524), passed as
    ``timesteps``. attention_mask: ``2d`` (rows, length), ``4d`` (rows, 1, length, length), or ``none`` for models that
    take none, whose rows of one call must be equally long. position_ids: whether they are passed. position_offset:
    positions start behind the padding id. padding: the side that rows are padded on. never: tokens, as text or id, that
    are not produced. end_tokens: tokens that end a text. split: ``characters`` reads every character as a token.
    tokenizer: the one that a checkpoint without any was trained with. sampling: the authors' own settings.
    transformers: the oldest version that the code of its checkpoints was written for, and the first one too new.
    mended: which revision honours the attention mask where others do not.
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
    mended: str = ""


WRITTEN = "4.46"  # the newest transformers that the code of LLaDA, Dream and MDLM was published for

LLADA = Family(
    "llada",
    model_types=("llada",),
    mask_token_id=126336,
    padding="left",
    end_tokens=(126081, 126348),  # <|endoftext|> and <|eot_id|>
    sampling=Sampling("confidence", 0.0),
    transformers=("4.38", "5"),
    mended="the modelling files of GSAI-ML/LLaDA-8B-Base and GSAI-ML/LLaDA-8B-Instruct since October 2025",
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
            transformers=(WRITTEN, "5"),
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
assert set(FAMILIES) == set(get_args(FamilyName))  # two spellings of one list: types are not computed

UNIFORM = "it replaces tokens by random ones (uniform corruption) and has no mask whose reveal could be scheduled"
REFUSED = {  # by model_type
    "diffusion_gemma": UNIFORM,
    "diffusion_gemma_text": UNIFORM,
    "duo": UNIFORM,
    "udlm": UNIFORM,
}


def recognised(model_type: str) -> Family:
    """The family whose checkpoints say ``model_type`` in their config.json; ``generic`` where there is none."""
    return next((family for family in FAMILIES.values() if model_type in family.model_types), FAMILIES["generic"])


def merged(family: Family, fields: Mapping[str, Any]) -> Family:
    """The family with the fields that the user gave in place of its own; None means not given."""
    return replace(family, **{name: value for name, value in fields.items() if value is not None})


def refuse(config: Mapping[str, Any], path: str) -> None:
    """Raise InputError for a checkpoint that by its config.json is no masked diffusion model."""
    kind = str(config.get("model_type", ""))
    reason = REFUSED.get(kind.lower())
    if reason is None and config.get("is_encoder_decoder"):
        reason = "it is an encoder-decoder model, which writes from left to right"
    if reason is not None:
        raise InputError(
            f"model.path: must be a masked diffusion model, got {path} of type {kind!r}: {reason}; give another model"
        )


def version_problem(family: Family, version: str) -> str | None:
    """Why the checkpoints of a family may fail with this version of transformers, and what to install."""
    oldest, too_new = family.transformers
    if oldest is not None and release(version) < release(oldest):
        return f"family {family.name} needs transformers {oldest} or newer, this is {version}; upgrade transformers"
    if too_new is not None and release(version) >= release(too_new):
        written = WRITTEN if oldest in (None, WRITTEN) else f"{oldest} to {WRITTEN}"
        return (
            f"the published code of family {family.name} was written for transformers {written} and this is {version}; "
            f"use an environment of its own with transformers=={WRITTEN}.3"
        )
    return None


def release(version: str) -> Version:
    """The version that this is or is to become: 5.23.0 for 5.23.0.dev1, which has the names of 5.23 already."""
    return Version(Version(version).base_version)
