"""A check of a denoiser's output that is cheap enough for every call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mdm_tune.denoisers.base import FLOATS

__all__ = ["UnusableOutput", "checked_logits"]


class UnusableOutput(Exception):
    """An output that is no logits. The text says what was expected and received, and is written to follow a comma."""


def checked_logits(output: Any, expected: tuple[int, int], device: torch.device) -> Tensor:
    """Check a denoiser's output, and return it as logits on the device, without a gradient.

    Args:
        output: What the denoiser returned.
        expected: The shape (wanted positions, vocab_size).
        device: Where the logits are needed.

    Raises:
        UnusableOutput: If it is no dense tensor of that shape in float64, float32, bfloat16 or float16.
    """
    if not isinstance(output, Tensor):
        raise UnusableOutput(f"expected {expected} and got {type(output).__name__}")
    if output.layout is not torch.strided or output.is_nested or output.is_quantized or output.is_meta:
        kind = "quantized" if output.is_quantized else "without values" if output.is_meta else "sparse or nested"
        raise UnusableOutput(f"expected a dense tensor {expected} and got one that is {kind}")
    if output.shape != expected or output.dtype not in FLOATS:
        raise UnusableOutput(f"expected {expected} and got {tuple(output.shape)} {output.dtype}")
    logits = output.detach() if output.requires_grad else output  # foreign code may switch gradients on
    return logits if logits.device == device else logits.to(device)
