"""Replicas of one denoiser, a process and a device each, that share the rows of every call among them."""

from __future__ import annotations

import atexit
import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.denoisers.asking import working_batch
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.errors import RunError
from mdm_tune.profile.predicting import Predicted, predictions
from mdm_tune.sampling.devices import available_cpus
from mdm_tune.sampling.drawing import PLAIN, Drawing
from mdm_tune.sampling.unmasking import Plan, Unmasked, check_call, unmask

__all__ = ["Replicas"]

Array = NDArray[Any]
Make = Callable[[str], Denoiser]
Task = Callable[[Denoiser, str], Any]  # of a replica's denoiser and device; pickled, as its answer is
STOPPING = (signal.SIGINT, signal.SIGTERM)
POLL = 1.0  # seconds between two looks at whether a silent replica lives; the end of its pipe mostly says so at once


class Replicas:
    """Copies of one denoiser that fill and predict rows together; used as a context manager.

    make: builds the denoiser on the device of the given name; it is sent to the processes, so that it must be picklable
    (a function of a module, or a ``functools.partial`` of one). devices: one name per replica; replicas divide the CPUs
    that this process may use among them.

    The rows of a call are dealt out in order, equally many to each replica, and a row meets the noise that it meets in
    one process. So the results are those of one process wherever they do not depend on the batch: exactly for exact
    laws, and but for the rounding of matrix products of another shape for networks. Only the cost can be larger: rows
    that are identical are computed once per replica, not once, such as the all-masked row of a first step.

    Entering raises whatever ``make`` raises. Every call raises what its rows raise in one process, and RunError where a
    replica dies or none runs. Ctrl-C reaches this process alone, and no replica outlives it.
    """

    def __init__(self, make: Make, devices: Sequence[str]) -> None:
        self.make, self.devices = make, tuple(devices)
        self.running: list[_Replica] = []

    @property
    def names(self) -> list[str]:
        """What messages call the replicas."""
        count = len(self.devices)
        return [f"replica {number} of {count} on {device}" for number, device in enumerate(self.devices, start=1)]

    def __enter__(self) -> Replicas:
        count = len(self.devices)
        threads = max(1, available_cpus() // count)
        atexit.register(self.stop)  # comes before multiprocessing waits for its processes, which ignore SIGTERM
        try:
            resource_tracker.ensure_running()  # when it starts by itself, it lets the signals through again
            before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # inherited, from the first instruction on
            try:
                for name, device in zip(self.names, self.devices, strict=True):
                    self.running.append(_Replica(name, self.make, device, threads))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._vocab_size, self._mask_id = self._ask([_identify] * count)[0]
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the processes, whatever they are doing; they have nothing to save."""
        for replica in self.running:
            replica.process.kill()
        for replica in self.running:
            replica.connection.close()
            replica.process.join()
        self.running.clear()
        atexit.unregister(self.stop)

    def unmask(
        self,
        tokens: Tensor,
        plan: Plan,
        *,
        seeds: NDArray[np.uint64],
        drawing: Drawing = PLAIN,
        blocks: Tensor | None = None,
        batch: int = 128,
        reference: Tensor | None = None,
    ) -> Unmasked:
        """``sampling.unmask`` without ``on_step``; batch: rows per call of each replica. Results are on the CPU."""
        self._check_running()
        check_call(
            tokens,
            plan,
            seeds=seeds,
            drawing=drawing,
            blocks=blocks,
            batch=batch,
            reference=reference,
            vocab_size=self._vocab_size,
            mask_id=self._mask_id,
        )
        tensors = {"tokens": tokens, "blocks": blocks, "reference": reference, **vars(plan)}
        fill = partial(_unmask, kind=type(plan), drawing=drawing, batch=batch)
        parts = self._ask(
            [
                partial(fill, arrays=_packed(tensors, rows), seeds=seeds[rows], first_row=rows.start)
                for rows in self._shards(len(tokens))
            ]
        )
        filled, nlls, nfes, impossible, denoiser_rows, denoiser_tokens = zip(*parts, strict=True)
        nll, bad = (None if reference is None else torch.from_numpy(np.concatenate(x)) for x in (nlls, impossible))
        done, nfe = (torch.from_numpy(np.concatenate(each)) for each in (filled, nfes))
        return Unmasked(done, nll, nfe, sum(denoiser_rows), sum(denoiser_tokens), bad)

    def predictions(
        self, tokens: Tensor, wanted: Tensor, originals: Tensor, *, names: Tensor, batch: int, where: str
    ) -> Predicted:
        """``predicting.predictions``; batch: rows per call of each replica."""
        self._check_running()
        tensors = {"tokens": tokens, "wanted": wanted, "originals": originals, "names": names}
        predict = partial(_predictions, batch=batch, where=where)
        parts: list[Predicted] = self._ask(
            [partial(predict, arrays=_packed(tensors, rows)) for rows in self._shards(len(tokens))]
        )
        return Predicted(
            np.concatenate([part.losses for part in parts]),
            np.concatenate([part.entropies for part in parts]),
            sum(part.denoiser_rows for part in parts),
            sum(part.denoiser_tokens for part in parts),
        )

    def working_batches(self, batch: int) -> list[int]:
        """``asking.working_batch`` of each replica, in the order of the devices."""
        self._check_running()
        return self._ask([partial(_working_batch, batch=batch)] * len(self.running))

    def _shards(self, rows: int) -> list[slice]:
        """Rows in order, as equally many per replica as can be, and no empty shard but for no rows at all."""
        stops = [rows * number // len(self.devices) for number in range(len(self.devices) + 1)]
        shards = [slice(first, stop) for first, stop in itertools.pairwise(stops) if stop > first]
        return shards or [slice(0, 0)]

    def _check_running(self) -> None:
        if not self.running:
            raise RunError("no replica runs: they do so inside a with block, until one of them dies; enter a new one")

    def _ask(self, tasks: Sequence[Task]) -> list[Any]:
        """The answers to one task for each of the first replicas; raises the first error once all have answered."""
        busy = self.running[: len(tasks)]
        try:
            for replica, task in zip(busy, tasks, strict=True):
                replica.send(task)
            answers = _collect(busy)
        except BaseException:  # what is still under way would be taken for the answer to the next task
            self.stop()
            raise
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


class _Replica:
    """This process's end of one replica."""

    def __init__(self, name: str, make: Make, device: str, threads: int) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")  # neither CUDA nor the threads of PyTorch survive a fork
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, name, make, device, threads), daemon=True)
        self.process.start()
        theirs.close()

    def send(self, task: Task) -> None:
        try:
            self.connection.send(task)
        except OSError:
            raise self._death() from None

    def receive(self) -> Any:
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            raise self._death() from None

    def finished(self) -> bool:
        """Whether there is something to receive: an answer or the news of a death."""
        alive = self.process.is_alive()  # first, since the last words of a process come before its end
        return self.connection.poll() or not alive

    def _death(self) -> RunError:
        self.process.join(POLL)
        code = self.process.exitcode
        how = "stopped answering" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was ended by signal {-code} ({signal.strsignal(-code)})"
        return RunError(
            f"{self.name} {how}; signal 9 mostly means that the machine ran out of memory. What was finished is kept: "
            "run the command again, a search with --resume, with fewer devices; a smaller sampler.batch makes "
            "another search, which needs --overwrite"
        )


def _collect(busy: Sequence[_Replica]) -> list[Any]:
    """One answer from each, in order."""
    answers: dict[str, Any] = {}
    while waiting := [replica for replica in busy if replica.name not in answers]:
        wait([replica.connection for replica in waiting], POLL)
        answers |= {replica.name: replica.receive() for replica in waiting if replica.finished()}
    return [answers[replica.name] for replica in busy]


def _serve(connection: Connection[Any, Any], name: str, make: Make, device: str, threads: int) -> None:
    """The life of a replica: build the denoiser, then answer one task after the other until the pipe ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    denoiser: Denoiser | None = None
    while True:
        try:
            task: Task = connection.recv()
        except (EOFError, OSError):
            return
        try:
            denoiser = _built(make, device, threads) if denoiser is None else denoiser
            answer = task(denoiser, device)
        except Exception as error:
            answer = _portable(error, name)
        try:
            connection.send(answer)
        except OSError:
            return


def _built(make: Make, device: str, threads: int) -> Denoiser:
    torch.set_num_threads(min(threads, torch.get_num_threads()))  # fewer where the user asked for fewer
    if device.startswith("cuda"):
        torch.cuda.set_device(device)  # kernels of others may run on the current device, whatever their tensors say
    return make(device)


def _end_with_parent() -> None:
    """End this process as soon as its parent has, in the middle of whatever it does."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _portable(error: Exception, name: str) -> Exception:
    """The error with the replica's traceback, or the text of both where it does not survive pickling."""
    error.add_note(f"{name}:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def _identify(denoiser: Denoiser, device: str) -> tuple[int, int]:
    return denoiser.vocab_size, denoiser.mask_id


def _working_batch(denoiser: Denoiser, device: str, *, batch: int) -> int:
    return working_batch(denoiser, batch)


def _unmask(
    denoiser: Denoiser, device: str, *, arrays: Mapping[str, Array], kind: type[Plan], **options: Any
) -> tuple[Any, ...]:
    """The fields of ``Unmasked`` for one shard, as arrays."""
    tensors = _unpacked(arrays, device)
    plan = kind(**{field.name: tensors.pop(field.name) for field in fields(kind)})
    found = unmask(denoiser, tensors.pop("tokens"), plan, **tensors, **options)
    nll, bad = (None if each is None else each.cpu().numpy() for each in (found.nll, found.impossible))
    return found.tokens.cpu().numpy(), nll, found.nfe.cpu().numpy(), bad, found.denoiser_rows, found.denoiser_tokens


def _predictions(denoiser: Denoiser, device: str, *, arrays: Mapping[str, Array], **options: Any) -> Predicted:
    return predictions(denoiser, **_unpacked(arrays, device), **options)


def _packed(tensors: Mapping[str, Tensor | None], rows: slice) -> dict[str, Array]:
    """These rows of what is given, as arrays: a tensor would take shared memory, of which containers have little."""
    return {name: tensor[rows].cpu().numpy() for name, tensor in tensors.items() if tensor is not None}


def _unpacked(arrays: Mapping[str, Array], device: str) -> dict[str, Any]:
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
