"""Weights in bfloat16, and whether the hardware multiplies them fast."""

from __future__ import annotations

import torch

__all__ = ["bfloat16_is_fast", "bfloat16_notes"]


def bfloat16_is_fast(device: str) -> bool:
    """Whether the device multiplies matrices in bfloat16 faster than in float32.

    GPUs from compute capability 8.0 on do. Of the processors, those with matrix tiles (AMX) do: measured with the
    vector instructions avx512_bf16 alone, bfloat16 was slower than float32.

    Args:
        device: Name of the device.
    """
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device)[0] >= 8
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


def bfloat16_notes(device: str) -> tuple[str, ...]:
    """What a result says about a model whose weights were rounded to bfloat16 on a device."""
    speed = "" if bfloat16_is_fast(device) else f", and device {device} is usually slower in it than in float32"
    return (f"the weights are rounded to bfloat16 (model.dtype): values differ from those in float32{speed}",)
