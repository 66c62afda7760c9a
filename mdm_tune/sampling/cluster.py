"""The Ray that replicas run on: one of this machine, started and ended here, or a cluster that is there already."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mdm_tune.errors import InputError

__all__ = ["Resources", "connected", "require_ray", "started"]

STORE = 256 * 2**20  # bytes of shared memory for arrays that are under way; rows are small, and Ray spills to disk
LONGEST = 40  # characters of a folder for Ray: a socket's name has at most 107, and Ray adds up to 65
QUIET = {  # of Ray's own processes and workers
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # replicas name their GPU themselves
    "RAY_memory_monitor_refresh_ms": "0",  # it would kill replicas while other programs use the memory
}

Resources = dict[str, float]


def require_ray() -> None:
    """Raise InputError where Ray is not installed; nothing is imported."""
    if importlib.util.find_spec("ray") is None:
        raise InputError(
            "--devices: several devices need Ray, which is not installed; run pip install 'mdm-tune[ray]', or give one "
            "device"
        )


@contextmanager
def started(cpus: int) -> Iterator[None]:
    """A Ray of this machine for the time of the block, with this many CPUs to give away.

    It has no dashboard, reports nothing and prints nothing. One that this process has started before is used as it is.
    """
    require_ray()
    ray = _quiet()
    if ray.is_initialized():
        yield
        return
    folder = _folder()
    try:
        with _own_signals():
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=STORE,
                _temp_dir=folder,
                **_silence(),
            )
        _drop_messages()
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _folder() -> str:
    """A new folder for Ray's sockets and logs: in /tmp where the usual place makes the name of a socket too long."""
    folder = tempfile.mkdtemp(prefix="mdm-tune-ray-")
    if len(folder) <= LONGEST or not os.access("/tmp", os.W_OK):
        return folder
    Path(folder).rmdir()
    return tempfile.mkdtemp(prefix="mdm-tune-ray-", dir="/tmp")


@contextmanager
def connected(address: str | None) -> Iterator[Resources]:
    """The cluster at an address for the time of the block; gives its resources, such as {"GPU": 8.0, "CPU": 64.0}.

    address: HOST:PORT, or ``auto`` for the cluster that this machine belongs to; None for the one in ``RAY_ADDRESS``.

    Raises InputError where no address is given, and where no cluster answers there.
    """
    require_ray()
    ray = _quiet()
    if ray.is_initialized():
        yield dict(ray.cluster_resources())
        return
    where = address or os.environ.get("RAY_ADDRESS")
    if not where:
        raise InputError(
            "--devices ray: no cluster is named; give --ray-address HOST:PORT, or auto for the cluster that this "
            "machine belongs to, or set RAY_ADDRESS"
        )
    if where.startswith("ray://"):
        raise InputError(
            f"--ray-address: the command must run on a machine of the cluster, got {where[:80]!r}, which is for "
            "clients outside; run it there, for example as a Ray job, and give auto"
        )
    try:
        with _own_signals():
            ray.init(address=where, **_silence())
    except Exception as error:  # whatever Ray raises, by kind of failure
        reason = str(error).strip().partition("\n")[0][:200]
        raise InputError(
            f"--ray-address: no Ray cluster answers at {where[:80]!r} ({reason}); check the address and that "
            "`ray status` shows the cluster, or start one with `ray start --head`"
        ) from None
    _drop_messages()
    try:
        yield dict(ray.cluster_resources())
    finally:
        ray.shutdown()


def _quiet() -> Any:
    """The ray module, imported after its environment was set, with its loggers at errors only."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


def _silence() -> dict[str, Any]:
    return {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}


def _drop_messages() -> None:
    """Stop Ray from printing on stdout that a worker has died, which the run answers or reports by itself."""
    with suppress(ImportError):  # not part of Ray's public interface: where it has moved, the messages stay
        import ray._private.worker as private

        private.print_to_stdstream = lambda data, ignore_prefix: None


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's answer to SIGTERM, which Ray replaces where it is started from the main thread."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    with suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, before)
