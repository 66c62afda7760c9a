"""What a replica does in its own process, on any node of a cluster: build a denoiser, and work on pieces with it."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mdm_tune.core.errors import InputError, MissingInput, RunError
from mdm_tune.core.guard import ForeignFailure
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.sampling.pieces import Task
from mdm_tune.version import package_versions

__all__ = ["Actor", "FailedTask", "Make"]

Make = Callable[[str], Denoiser]


@dataclass(frozen=True)
class FailedTask:
    """An answer that is an error."""

    error: Exception


class Actor:
    """A replica: builds the denoiser once it is asked to, then answers one task after the other."""

    def __init__(self, name: str, make: Make, device: str, threads: int | None, versions: Mapping[str, str]) -> None:
        self.name, self.make, self.device, self.threads, self.versions = name, make, device, threads, versions
        self.denoiser: Denoiser | None = None

    def node(self) -> str:
        """The node that it runs on; answered as soon as there is room for it."""
        return _node()

    def ready(self) -> tuple[int, int] | FailedTask:
        """Vocabulary size and mask id, once the denoiser is built."""
        try:
            self._check_versions()
            if self.denoiser is None:
                if self.threads is not None:
                    torch.set_num_threads(min(self.threads, torch.get_num_threads()))  # fewer where the user said so
                if self.device.startswith("cuda"):
                    torch.cuda.set_device(self.device)  # kernels of others run on the current device
                self.denoiser = self.make(self.device)
        except Exception as error:  # the driver has built the same before
            return FailedTask(_portable(error, self.name))
        return self.denoiser.vocab_size, self.denoiser.mask_id

    def run(self, task: Task) -> Any:
        """The answer to a task, or the error that it raised."""
        if self.denoiser is None:  # started again while nothing was asked of it, so that nobody saw that it had died
            built = self.ready()
            if isinstance(built, FailedTask):
                return built
        assert self.denoiser is not None
        try:
            return task(self.denoiser, self.device)
        except Exception as error:
            return FailedTask(_portable(error, self.name))

    def _check_versions(self) -> None:
        here = package_versions("transformers")
        differ = {name: had for name, had in self.versions.items() if here.get(name) != had}
        other = [f"{name} {here.get(name)} (on the driver {had})" for name, had in differ.items()]
        if other:
            raise InputError(
                f"--devices: a node of the cluster has other versions of packages: {', '.join(other)}; install "
                "the same on every node, since results could differ"
            )


def _node() -> str:
    import ray

    return str(ray.util.get_node_ip_address())


def _portable(error: Exception, name: str) -> Exception:
    """The error with the replica's node and traceback, or the text of both where it does not survive pickling."""
    where, known = f"{name}, node {_node()}", error
    if type(error) in (InputError, MissingInput, RunError):
        known = type(error)(f"{error} (in {where})")
    elif isinstance(error, ForeignFailure):
        known = ForeignFailure(error.what, error.error, error.remedy, f"{error.place} in {where}".strip(), error.verb)
    known.add_note(f"{where}:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(known))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(known)))
    return known
