"""The size of a checkpoint's vocabulary and the id of its mask, whatever its config.json says."""

from __future__ import annotations

from typing import Any

from torch import nn

from mdm_tune.config.families import Family
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity, shown
from mdm_tune.denoisers.checkpoint import Checkpoint

__all__ = ["mask_id_of", "vocab_size_of"]


def vocab_size_of(checkpoint: Checkpoint, model: nn.Module, tokenizer: Any) -> int:
    """Rows of the embedding, of which the tokenizer must not need more."""
    try:
        rows: int | None = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    except (AttributeError, NotImplementedError):  # a module with an embedding of its own kind
        rows = None
    known = [number for number in (rows, checkpoint.whole("vocab_size")) if isinstance(number, int)]
    if not known:
        raise InputError(f"model.path: config.json of {checkpoint.name} must say its vocab_size; add it there")
    size = min(known)
    needed = int(tokenizer.vocab_size)
    if needed > size:
        raise InputError(
            f"model.tokenizer: the model knows {quantity(size, 'token')}, and the tokenizer of {checkpoint.name} "
            f"has {needed}: "
            "they do not belong together; give the model's own tokenizer"
        )
    return size


def mask_id_of(given: int | None, checkpoint: Checkpoint, family: Family, tokenizer: Any, vocab_size: int) -> int:
    """The id of the mask: from the YAML file, the tokenizer, config.json or the family, the first that has one."""
    published = vocab_size - 1 if family.mask_token_id == "last" else family.mask_token_id
    for found in (given, tokenizer.mask_token_id, checkpoint.config.get("mask_token_id"), published):
        if found is not None:
            break
    else:
        raise InputError(
            "model.mask_token_id: a masked diffusion model has a mask token, but neither the tokenizer nor config.json "
            f"of {checkpoint.name} names one; set model.mask_token_id if it was trained with one, or give another model"
        )
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < vocab_size:
        raise InputError(
            f"model.mask_token_id: must be one of the {vocab_size} tokens of the model, got {shown(found)}; set the "
            f"id that {checkpoint.name} was trained with"
        )
    return found
