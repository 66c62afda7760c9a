"""What a denoiser answers, looked at in every call: cheap enough for the inner loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["UnusableOutput", "checked_logits"]

FLOATS = frozenset((torch.float64, torch.float32, torch.bfloat16, torch.float16))


class UnusableOutput(Exception):
    """An answer that is no logits: what was expected and what came, ready to follow a comma."""


def checked_logits(answer: Any, expected: tuple[int, int], device: torch.device) -> Tensor:
    """The logits of this shape in an answer, on the device and without a gradient.

    Raises Unusable for anything but a dense tensor of float64, float32, bfloat16 or float16 with that shape.
    """
    if not isinstance(answer, Tensor):
        raise UnusableOutput(f"expected {expected} and got {type(answer).__name__}")
    if answer.layout is not torch.strided or answer.is_nested or answer.is_quantized or answer.is_meta:
        kind = "quantized" if answer.is_quantized else "without values" if answer.is_meta else "sparse or nested"
        raise UnusableOutput(f"expected a dense tensor {expected} and got one that is {kind}")
    if answer.shape != expected or answer.dtype not in FLOATS:
        raise UnusableOutput(f"expected {expected} and got {tuple(answer.shape)} {answer.dtype}")
    logits = answer.detach() if answer.requires_grad else answer  # of code that switches gradients on by itself
    return logits if logits.device == device else logits.to(device)
