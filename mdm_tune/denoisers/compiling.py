"""Compile the layers of a network with ``torch.compile``."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import replace

import torch
from torch import Tensor, nn

from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.guard import error_text
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.loaded import LoadedModel

__all__ = ["as_compiled", "check_compiler", "compile_denoiser", "layers_of"]

FALSE = "or set model.compile to false"


def check_compiler(device: str) -> None:
    """Check that ``torch.compile`` finds what it needs, before a model is loaded.

    Args:
        device: Name of the device.

    Raises:
        InputError: If there is no C++ compiler for the CPU, or no Triton for a GPU.
    """
    if device.startswith("cpu"):
        name = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
        if shutil.which(name) is None:
            raise InputError(
                f"model.compile: needs a C++ compiler on the CPU, got none at {name!r}; install one, name it in the "
                f"environment variable CXX, {FALSE}"
            )
    elif importlib.util.find_spec("triton") is None:
        raise InputError(
            f"model.compile: needs the package triton on device {device}, got none; install the one of your PyTorch, "
            f"{FALSE}"
        )


def layers_of(module: nn.Module) -> list[nn.Module]:
    """The layers of a network: the members of its outermost lists of modules of one class."""
    found: list[nn.Module] = []
    for child in module.children():
        inside = list(child.children())
        repeated = isinstance(child, nn.ModuleList) and len(set(map(type, inside))) == 1
        found += inside if repeated else layers_of(child)
    return found


def compile_denoiser(denoiser: Denoiser, module: nn.Module, rows: Tensor, where: str, *, whole: bool = False) -> None:
    """Compile the layers of a denoiser's network in place, and call it once with two rows and once with one.

    The layers see only the shape (rows, length), never which positions are wanted, and all layers of a kind share
    their code. Numbers of rows and lengths are symbols of that code, so that others do not compile it again. A call of
    one row, or with padding, has code of its own.

    Args:
        denoiser: The denoiser.
        module: Its network.
        rows: (2, length) int64, rows that the denoiser accepts, on its device.
        where: Name of the model in messages.
        whole: Whether a network without such layers is compiled as a whole.

    Raises:
        InputError: If there is nothing to compile, or if a call fails.
    """
    layers = layers_of(module) or ([module] if whole else [])
    if not layers:
        raise InputError(
            f"{where}: model.compile needs layers of one class in an nn.ModuleList, got none in "
            f"{type(module).__name__}; set model.compile to false"
        )
    for layer in layers:
        layer.compile(dynamic=True)
    try:
        with torch.inference_mode():
            for some in (rows, rows[:1]):
                denoiser(some, some == denoiser.mask_id)
    except Exception as error:  # the compiler, and the network's own code, may raise anything
        raise InputError(
            f"{where}: torch.compile fails on the first call ({error_text(error)}); set model.compile to false"
        ) from None


def as_compiled(model: LoadedModel) -> LoadedModel:
    """The model with a note that it is compiled, and with another fingerprint: its logits may differ in last digits."""
    note = "the layers of the model are compiled (model.compile), so that logits may differ in their last digits"
    return replace(
        model,
        notes=(*model.notes, note),
        doubts=(*model.doubts, note),
        fingerprint=short_digest(model.fingerprint, "compiled"),
    )
