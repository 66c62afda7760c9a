"""The table of families, its recognition by config.json, and what is refused."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest

from mdm_tune.config.families import FAMILIES, Family, family_of_type, refuse_unsupported, version_problem, with_fields
from mdm_tune.config.models import HuggingFaceConfig
from mdm_tune.core.errors import InputError
from mdm_tune.sampling.drawing import ORDERS


def test_published_numbers() -> None:
    llada, dream, mdlm = FAMILIES["llada"], FAMILIES["dream"], FAMILIES["mdlm"]
    assert (llada.mask_token_id, llada.end_tokens) == (126336, (126081, 126348))
    assert (llada.shift_logits, llada.attention_mask, llada.padding) == (False, "2d", "left")
    assert (dream.mask_token_id, dream.end_tokens) == (151666, (151643, 151645))
    assert (dream.shift_logits, dream.attention_mask, dream.position_ids) == (True, "4d", True)
    assert (mdlm.mask_token_id, mdlm.time, mdlm.attention_mask, mdlm.tokenizer) == ("last", "sigma", "none", "gpt2")
    assert FAMILIES["diffullama"].shift_logits and FAMILIES["diffullama"].attention_mask == "4d"
    same = ("mask_token_id", "end_tokens", "sampling", "transformers", "padding")
    assert all(getattr(FAMILIES["llada-1.5"], name) == getattr(llada, name) for name in same)


def test_sampling_as_the_authors_do() -> None:
    llada, dream = FAMILIES["llada"].sampling, FAMILIES["dream"].sampling
    assert llada is not None and (llada.order, llada.temperature, llada.top_p) == ("confidence", 0.0, 1.0)
    assert dream is not None and (dream.order, dream.temperature, dream.top_p) == ("entropy", 0.1, 0.9)
    assert all(family.sampling is None or family.sampling.order in ORDERS for family in FAMILIES.values())
    assert FAMILIES["bert"].sampling is None


@pytest.mark.parametrize(
    ("model_type", "family"),
    [
        ("llada", "llada"),
        ("Dream", "dream"),
        ("mdlm", "mdlm"),
        ("esm", "esm"),
        ("bert", "bert"),
        ("roberta", "roberta"),
        ("xlm-roberta", "roberta"),
        ("modernbert", "modernbert"),
        ("my-own", "generic"),
        ("", "generic"),
    ],
)
def test_model_types(model_type: str, family: str) -> None:
    assert family_of_type(model_type) == FAMILIES[family]


def test_no_model_type_belongs_to_two_families() -> None:
    kinds = [kind for family in FAMILIES.values() for kind in family.model_types]
    assert len(kinds) == len(set(kinds)) and all(name == family.name for name, family in FAMILIES.items())


def test_every_field_of_the_config_is_one_of_the_table() -> None:
    config = HuggingFaceConfig(type="huggingface", path="/x", mask_token_id=7, never=("a", 3), time="sigma")
    over = config.over_family()
    known = {field.name for field in fields(Family)}
    assert set(over) <= known and known - set(over) == {
        "name",
        "model_types",
        "tokenizer",
        "sampling",
        "transformers",
        "mask_fixed_in",
    }
    found = with_fields(FAMILIES["dream"], over)
    assert (found.mask_token_id, found.never, found.time) == (7, ("a", 3), "sigma")
    assert (found.shift_logits, found.padding, found.end_tokens) == (True, "left", (151643, 151645))
    assert not with_fields(FAMILIES["dream"], {"shift_logits": False}).shift_logits
    assert with_fields(FAMILIES["esm"], {"never": ()}).never == ()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "diffusion_gemma"}, "uniform corruption"),
        ({"model_type": "DUO"}, "uniform corruption"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "encoder-decoder"),
    ],
)
def test_what_is_no_masked_diffusion(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=rf"model\.path: must be a masked diffusion model, got /m of type .*{reason}"):
        refuse_unsupported(config, "/m")
    refuse_unsupported({"model_type": "bert", "is_encoder_decoder": False}, "/m")


@pytest.mark.parametrize(
    ("family", "version", "said"),
    [
        ("llada", "5.0.0", "needs transformers 4.38 to 4.46, this is 5.0.0; .*transformers==4.46.3"),
        ("dream", "5.23.0.dev1", "needs transformers 4.46, this is 5.23.0.dev1"),
        ("modernbert", "4.46.3", "needs transformers 4.48 or newer, this is 4.46.3"),
        ("llada", "4.37.2", "needs transformers 4.38 or newer"),
    ],
)
def test_a_version_that_does_not_fit_is_explained(family: str, version: str, said: str) -> None:
    problem = version_problem(FAMILIES[family], version)
    assert problem is not None and re.search(said, problem)


@pytest.mark.parametrize(
    ("family", "version"), [("llada", "4.46.3"), ("dream", "4.57.1"), ("bert", "5.23.0"), ("modernbert", "5.1")]
)
def test_a_version_that_fits(family: str, version: str) -> None:
    assert version_problem(FAMILIES[family], version) is None
