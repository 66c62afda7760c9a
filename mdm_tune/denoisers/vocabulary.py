"""The size of a checkpoint's vocabulary and the id of its mask, checked against module and tokenizer."""

from __future__ import annotations

from typing import Any

from torch import nn

from mdm_tune.config.families import Family
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity, shown
from mdm_tune.denoisers.checkpoint import Checkpoint

__all__ = ["mask_id_of", "vocab_size_of"]


def vocab_size_of(checkpoint: Checkpoint, model: nn.Module, tokenizer: Any) -> int:
    """The number of tokens that the model knows: rows of the embedding, or ``vocab_size`` if that is smaller.

    Raises InputError if neither is known, or if the tokenizer has more tokens.
    """
    try:
        rows: int | None = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    except (AttributeError, NotImplementedError):  # a module may embed tokens in its own way
        rows = None
    sizes = [number for number in (rows, checkpoint.whole_number("vocab_size")) if isinstance(number, int)]
    if not sizes:
        raise InputError(f"model.path: config.json of {checkpoint.name} must have vocab_size; add it there")
    size = min(sizes)
    needed = int(tokenizer.vocab_size)
    if needed > size:
        raise InputError(
            f"model.tokenizer: the model knows {quantity(size, 'token')}, and the tokenizer of {checkpoint.name} "
            f"has {needed}: "
            "they do not belong together; give the model's own tokenizer"
        )
    return size


def mask_id_of(requested: int | None, checkpoint: Checkpoint, family: Family, tokenizer: Any, vocab_size: int) -> int:
    """The id of the mask, from the first of these that has one: YAML file, tokenizer, config.json, family.

    Args:
        requested: The id in the YAML file.
        checkpoint: The checkpoint.
        family: Its family, whose published checkpoints may have a known mask id.
        tokenizer: Its tokenizer.
        vocab_size: Number of tokens.

    Raises:
        InputError: If there is no mask id, or it is no id of the vocabulary.
    """
    published = vocab_size - 1 if family.mask_token_id == "last" else family.mask_token_id
    for mask_id in (requested, tokenizer.mask_token_id, checkpoint.config.get("mask_token_id"), published):
        if mask_id is not None:
            break
    else:
        raise InputError(
            "model.mask_token_id: a masked diffusion model has a mask token, but neither the tokenizer nor config.json "
            f"of {checkpoint.name} names one; set model.mask_token_id if it was trained with one, or give another model"
        )
    if not isinstance(mask_id, int) or isinstance(mask_id, bool) or not 0 <= mask_id < vocab_size:
        raise InputError(
            f"model.mask_token_id: must be one of the {vocab_size} tokens of the model, got {shown(mask_id)}; set the "
            f"id that {checkpoint.name} was trained with"
        )
    return mask_id
