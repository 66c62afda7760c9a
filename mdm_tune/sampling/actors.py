"""The Ray actor of a replica: it builds a denoiser in its own process and runs tasks with it."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mdm_tune.core.errors import InputError, MissingInput, RunError
from mdm_tune.core.guard import ForeignFailure
from mdm_tune.core.memory import keep_freed_memory
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.sampling.pieces import Task
from mdm_tune.version import package_versions

__all__ = ["Actor", "BuildDenoiser", "FailedTask"]

BuildDenoiser = Callable[[str], Denoiser]


@dataclass(frozen=True)
class FailedTask:
    """The result of a task that raised an error."""

    error: Exception


class Actor:
    """A replica in its own process. It builds the denoiser on request, then runs one task after the other.

    Args:
        name: Name in messages.
        make: Builds the denoiser on the device of the given name.
        device: Name of the device.
        threads: Most CPU threads; None leaves PyTorch's default.
        versions: The driver's versions of packages, which must be the same here.
    """

    def __init__(
        self, name: str, make: BuildDenoiser, device: str, threads: int | None, versions: Mapping[str, str]
    ) -> None:
        self.name, self.make, self.device, self.threads, self.versions = name, make, device, threads, versions
        self.denoiser: Denoiser | None = None

    def node(self) -> str:
        """The address of its node. The call returns once Ray has found room for the actor."""
        return _node()

    def ready(self) -> tuple[int, int] | FailedTask:
        """Build the denoiser, and return its vocabulary size and mask id."""
        try:
            self._check_versions()
            if self.denoiser is None:
                keep_freed_memory()  # the process is this actor's own
                if self.threads is not None:
                    torch.set_num_threads(min(self.threads, torch.get_num_threads()))  # the user may have set fewer
                if self.device.startswith("cuda"):
                    torch.cuda.set_device(self.device)  # foreign kernels run on the current device
                self.denoiser = self.make(self.device)
        except Exception as error:  # building may raise anything; the driver raises it again
            return FailedTask(_picklable_error(error, self.name))
        return self.denoiser.vocab_size, self.denoiser.mask_id

    def run(self, task: Task) -> Any:
        """Run a task, and return its result or the error that it raised."""
        if self.denoiser is None:  # Ray restarted an idle replica, and the driver has not noticed
            built = self.ready()
            if isinstance(built, FailedTask):
                return built
        assert self.denoiser is not None
        try:
            return task(self.denoiser, self.device)
        except Exception as error:
            return FailedTask(_picklable_error(error, self.name))

    def _check_versions(self) -> None:
        installed = package_versions("transformers")
        differing = [
            f"{name} {installed.get(name)} (on the driver {version})"
            for name, version in self.versions.items()
            if installed.get(name) != version
        ]
        if differing:
            raise InputError(
                f"--devices: a node of the cluster has other versions of packages: {', '.join(differing)}; install "
                "the same on every node, since results could differ"
            )


def _node() -> str:
    import ray

    return str(ray.util.get_node_ip_address())


def _picklable_error(error: Exception, name: str) -> Exception:
    """The error with the replica's node and traceback; as RuntimeError with their text if it cannot be pickled."""
    place, readable = f"{name}, node {_node()}", error
    if type(error) in (InputError, MissingInput, RunError):
        readable = type(error)(f"{error} (in {place})")
    elif isinstance(error, ForeignFailure):
        readable = ForeignFailure(
            error.what, error.error, error.remedy, f"{error.place} in {place}".strip(), error.verb
        )
    readable.add_note(f"{place}:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(readable))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(readable)))
    return readable
