"""The devices of a command, from the text of ``--devices`` and the machine. Imports torch only to count GPUs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity

__all__ = ["Devices", "RayDevices", "available_cpus", "device_names", "devices_for", "parse_devices"]

REPLICAS = re.compile(r"cpu(?::(-?[0-9]{1,9}))?")
GPU = re.compile(r"cuda:([0-9]{1,9})")
RAY = re.compile(r"ray(?::(-?[0-9]{1,9}))?")
MAX_REPLICAS = 100_000  # most replicas on a cluster: a larger number is a typing error


@dataclass(frozen=True)
class RayDevices:
    """Replicas on a Ray cluster.

    Attributes:
        count: Number of replicas; None is one per GPU, also on nodes that join later.
        address: HOST:PORT or ``auto``; None is the address in ``RAY_ADDRESS``.
    """

    count: int | None = None
    address: str | None = None


Devices = tuple[str, ...] | RayDevices


def devices_for(model: object, text: str | None, ray_address: str | None = None) -> Devices:
    """The devices of a command: those of its flag, else those of the model section, else every GPU for a checkpoint.

    Args:
        model: The model section. Models without a key ``device`` are small, and run on the CPU.
        text: The text of ``--devices``; None without the flag.
        ray_address: Address of the cluster for ``ray``.

    Raises:
        InputError: As ``parse_devices``, and for an address without ``ray``.
    """
    devices = _devices_for(model, text)
    if isinstance(devices, RayDevices):
        return replace(devices, address=ray_address)
    if ray_address is not None:
        raise InputError(
            f"--ray-address: works only with --devices ray, got --devices {text or ','.join(devices)}; give "
            "--devices ray, or leave the address out"
        )
    return devices


def device_names(devices: Devices) -> list[str]:
    """The names of the devices for a record; on a cluster ``ray``, or ``ray:N`` for N replicas."""
    if isinstance(devices, RayDevices):
        return ["ray" if devices.count is None else f"ray:{devices.count}"]
    return list(devices)


def _devices_for(model: object, text: str | None) -> Devices:
    if text is not None:
        return parse_devices(text)
    if not hasattr(model, "device"):
        return ("cpu",)
    try:
        return parse_devices(model.device or "all")
    except InputError as error:
        raise InputError(f"model.device: {error}") from None


def parse_devices(text: str) -> Devices:
    """Parse the text of ``--devices``.

    ``cpu`` is one replica on the CPU, ``cpu:N`` are N of them. ``cuda:I`` is CUDA device number I, counted from 0;
    several are joined by commas. ``all`` is every CUDA device, or ``cpu`` if there is none. ``ray`` is every GPU of a
    cluster, ``ray:N`` are N replicas on it.

    Args:
        text: The text.

    Returns:
        One device name per replica, or ``RayDevices``.

    Raises:
        InputError: If the text has another form, a CUDA device does not exist or is named twice, there are more
            replicas than CPUs that this process may use, or ``ray`` is combined with other devices.
    """
    names = [name.strip() for name in text.split(",")]
    clusters = [match for name in names if (match := RAY.fullmatch(name))]
    if clusters and len(names) > 1:
        raise InputError(
            f"devices: ray is a whole cluster and cannot be combined with other devices, got {text[:60]!r}; give ray "
            "alone"
        )
    if clusters:
        count = None if clusters[0][1] is None else int(clusters[0][1])
        if count is not None and not 1 <= count <= MAX_REPLICAS:
            raise InputError(
                f"devices: ray:N is N replicas on the cluster, 1 to {MAX_REPLICAS:,}, got ray:{count}; give ray for "
                "every GPU, or for example ray:8"
            )
        return RayDevices(count)
    if names == ["all"]:
        return tuple(f"cuda:{number}" for number in range(_gpu_count())) or ("cpu",)
    if len(names) == 1 and (match := REPLICAS.fullmatch(names[0])):
        return ("cpu",) * _cpu_replicas(int(match[1] or 1))
    matches = [GPU.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in matches if match]
    if len(numbers) < len(names):
        raise InputError(
            "devices must be cpu, cpu:N for N replicas on the CPU, cuda:I or several of these joined by commas, all, "
            f"ray or ray:N, got {text!r}; give for example cpu:2 or cuda:0,cuda:1"
        )
    if repeated := [number for number in numbers if numbers.count(number) > 1]:
        raise InputError(f"devices must not repeat, got cuda:{repeated[0]} twice in {text!r}; give each once")
    gpu_count = _gpu_count()
    if (highest := max(numbers)) >= gpu_count:
        existing = ", ".join(f"cuda:{number}" for number in range(gpu_count))
        available = (
            f"{quantity(gpu_count, 'CUDA device')}" if gpu_count else "no CUDA device, or a PyTorch without CUDA"
        )
        raise InputError(
            f"devices: cuda:{highest} does not exist, this machine has {available}; give {existing or 'cpu'}"
        )
    return tuple(f"cuda:{number}" for number in numbers)


def available_cpus() -> int:
    """The number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_replicas(count: int) -> int:
    if count < 1:
        raise InputError(f"devices: cpu:N is N replicas on the CPU, at least 1, got cpu:{count}; give cpu or cpu:2")
    if count > (most := available_cpus()):
        raise InputError(
            f"devices: cpu:{count} is more replicas than the {quantity(most, 'CPU')} that this process may use; "
            f"give at most cpu:{most}"
        )
    return count


def _gpu_count() -> int:
    import torch

    return torch.cuda.device_count()
