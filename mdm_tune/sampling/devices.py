"""Which devices a command uses: the text of ``--devices``, and what there is. Imports torch only to count GPUs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity

__all__ = ["Devices", "RayDevices", "available_cpus", "devices_for", "in_words", "parse_devices"]

REPLICAS = re.compile(r"cpu(?::(-?[0-9]{1,9}))?")
GPU = re.compile(r"cuda:([0-9]{1,9})")
RAY = re.compile(r"ray(?::(-?[0-9]{1,9}))?")
MOST = 100_000  # replicas on a cluster: more is a slip


@dataclass(frozen=True)
class RayDevices:
    """Replicas on a Ray cluster. count: None for one on each GPU, those of nodes that join later included.

    address: HOST:PORT or ``auto``; None for the one in ``RAY_ADDRESS``.
    """

    count: int | None = None
    address: str | None = None


Devices = tuple[str, ...] | RayDevices


def devices_for(model: object, text: str | None, ray_address: str | None = None) -> Devices:
    """The devices of a command: those of its flag, else the model section's own, else every GPU for a checkpoint.

    model: the section; one without a key ``device`` is small, and runs on the CPU. ray_address: of the cluster that
    ``ray`` means. Raises InputError as ``parse_devices``, and for an address without ``ray``.
    """
    found = _devices_for(model, text)
    if isinstance(found, RayDevices):
        return replace(found, address=ray_address)
    if ray_address is not None:
        raise InputError(
            f"--ray-address: is for --devices ray, got --devices {text or ','.join(found)}; give --devices ray, or "
            "leave the address out"
        )
    return found


def in_words(devices: Devices) -> list[str]:
    """What a record says of the devices: their names, or ``ray`` and how many."""
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
    """One device name per replica of the denoiser, or replicas on a Ray cluster.

    ``cpu`` is one replica on the CPU and ``cpu:N`` is N of them; ``cuda:I`` is the CUDA device number I from 0, several
    are joined by commas; ``all`` is every CUDA device, or ``cpu`` where there is none. ``ray`` is every GPU of a
    cluster, and ``ray:N`` is N replicas there.

    Raises InputError for anything else, for a CUDA device that does not exist or is named twice, for more replicas
    than CPUs that this process may use, and for ``ray`` beside other devices.
    """
    names = [name.strip() for name in text.split(",")]
    clusters = [match for name in names if (match := RAY.fullmatch(name))]
    if clusters and len(names) > 1:
        raise InputError(
            f"devices: ray stands for a whole cluster and goes with no other device, got {text[:60]!r}; give ray alone"
        )
    if clusters:
        count = None if clusters[0][1] is None else int(clusters[0][1])
        if count is not None and not 1 <= count <= MOST:
            raise InputError(
                f"devices: ray:N is N replicas on the cluster, 1 to {MOST:,}, got ray:{count}; give ray for every "
                "GPU, or for example ray:8"
            )
        return RayDevices(count)
    if names == ["all"]:
        return tuple(f"cuda:{number}" for number in range(_gpus())) or ("cpu",)
    if len(names) == 1 and (match := REPLICAS.fullmatch(names[0])):
        return ("cpu",) * _replicas(int(match[1] or 1))
    found = [GPU.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) < len(names):
        raise InputError(
            "devices must be cpu, cpu:N for N replicas on the CPU, cuda:I or several of these joined by commas, all, "
            f"ray or ray:N, got {text!r}; give for example cpu:2 or cuda:0,cuda:1"
        )
    if twice := [number for number in numbers if numbers.count(number) > 1]:
        raise InputError(f"devices must not repeat, got cuda:{twice[0]} twice in {text!r}; give each once")
    there = _gpus()
    if (highest := max(numbers)) >= there:
        known = ", ".join(f"cuda:{number}" for number in range(there))
        has = f"{quantity(there, 'CUDA device')}" if there else "no CUDA device, or a PyTorch without CUDA"
        raise InputError(f"devices: cuda:{highest} does not exist, this machine has {has}; give {known or 'cpu'}")
    return tuple(f"cuda:{number}" for number in numbers)


def available_cpus() -> int:
    """How many CPUs this process may use: those it is bound to, where the system can tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _replicas(count: int) -> int:
    if count < 1:
        raise InputError(f"devices: cpu:N is N replicas on the CPU, at least 1, got cpu:{count}; give cpu or cpu:2")
    if count > (most := available_cpus()):
        raise InputError(
            f"devices: cpu:{count} is more replicas than the {quantity(most, 'CPU')} that this process may use; "
            f"give at most cpu:{most}"
        )
    return count


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
