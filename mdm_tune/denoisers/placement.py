"""Which devices hold a model: one replica each, or one model over several where none holds it alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mdm_tune.core.errors import InputError

__all__ = ["groups_of_devices", "spread"]

ROOM = 1.2  # activations beside the weights


def groups_of_devices(
    weight_bytes: int, free: Mapping[str, int], device_map: Literal["auto"] | None
) -> tuple[tuple[str, ...], ...]:
    """The devices of each replica: one each, or all of them for a single replica where none holds the model alone.

    weight_bytes: of the weights. free: bytes of memory that are free on each device, in order. device_map: ``auto``
    allows a replica to lie on several.

    Raises InputError where the model fits on no device alone and may not, or cannot, lie on all of them.
    """
    needed = int(weight_bytes * ROOM)
    if all(room >= needed for room in free.values()):
        return tuple((device,) for device in free)
    got = ", ".join(f"{room / 1e9:.1f} GB on {device}" for device, room in free.items())
    rule = f"--devices: the model needs {needed / 1e9:.1f} GB of a device's free memory, got {got}"
    if max(free.values()) >= needed:
        roomy = ",".join(device for device, room in free.items() if room >= needed)
        raise InputError(f"{rule}; give --devices {roomy}")
    if device_map is None:
        raise InputError(f"{rule}; set model.device_map to auto to spread its layers, or a smaller model.dtype")
    if sum(free.values()) < needed:
        raise InputError(f"{rule}, too little even together; give more devices, or a smaller model.dtype")
    return (tuple(free),)


def spread(model: Any, free: Mapping[str, int]) -> Any:
    """The module with its layers laid over several devices, each filled up to the bytes in ``free``."""
    try:
        from accelerate import dispatch_model, infer_auto_device_map
    except ImportError as error:
        raise InputError(
            f"model.device_map: auto needs the extra hf, but {error}; install it with pip install 'mdm-tune[hf]'"
        ) from None
    room = {int(name.partition(":")[2]) if ":" in name else name: int(size / ROOM) for name, size in free.items()}
    whole = getattr(model, "_no_split_modules", None) or []
    return dispatch_model(model, infer_auto_device_map(model, max_memory=room, no_split_module_classes=list(whole)))
