"""Which devices hold a model: one replica on each, or one model spread over several devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mdm_tune.core.errors import InputError

__all__ = ["groups_of_devices", "spread"]

HEADROOM = 1.2  # needed memory over the bytes of the weights, for activations


def groups_of_devices(
    weight_bytes: int, free: Mapping[str, int], device_map: Literal["auto"] | None
) -> tuple[tuple[str, ...], ...]:
    """Choose the devices of each replica: one device each, or all devices for a single replica.

    Args:
        weight_bytes: Bytes of the weights.
        free: Free bytes of memory on each device, in order.
        device_map: ``auto`` allows one replica to be spread over several devices.

    Returns:
        One tuple of devices per replica.

    Raises:
        InputError: If the model fits on no device alone and may not, or cannot, be spread over all of them.
    """
    needed = int(weight_bytes * HEADROOM)
    if all(bytes_free >= needed for bytes_free in free.values()):
        return tuple((device,) for device in free)
    available = ", ".join(f"{bytes_free / 1e9:.1f} GB on {device}" for device, bytes_free in free.items())
    problem = f"--devices: the model needs {needed / 1e9:.1f} GB of a device's free memory, got {available}"
    if max(free.values()) >= needed:
        roomy = ",".join(device for device, bytes_free in free.items() if bytes_free >= needed)
        raise InputError(f"{problem}; give --devices {roomy}")
    if device_map is None:
        raise InputError(f"{problem}; set model.device_map to auto to spread its layers, or a smaller model.dtype")
    if sum(free.values()) < needed:
        raise InputError(f"{problem}, too little even together; give more devices, or a smaller model.dtype")
    return (tuple(free),)


def spread(model: Any, free: Mapping[str, int]) -> Any:
    """Spread the layers of a module over several devices, each filled up to the bytes in ``free``.

    Raises InputError if accelerate is not installed.
    """
    try:
        from accelerate import dispatch_model, infer_auto_device_map
    except ImportError as error:
        raise InputError(
            f"model.device_map: auto needs the extra hf, but {error}; install it with pip install 'mdm-tune[hf]'"
        ) from None
    budget = {int(name.partition(":")[2]) if ":" in name else name: int(size / HEADROOM) for name, size in free.items()}
    unsplit = getattr(model, "_no_split_modules", None) or []
    return dispatch_model(model, infer_auto_device_map(model, max_memory=budget, no_split_module_classes=list(unsplit)))
