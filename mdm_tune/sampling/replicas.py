"""Replicas of one denoiser as Ray actors. Pieces of rows go to free replicas, and results return in order."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakSet

from mdm_tune.core.errors import InputError, MissingInput, RunError
from mdm_tune.core.messages import cut, quantity
from mdm_tune.denoisers.asking import working_batch
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.sampling.actors import Actor, BuildDenoiser, FailedTask
from mdm_tune.sampling.cluster import first_line, joined_cluster, local_ray, require_ray
from mdm_tune.sampling.cluster_health import REMEDY, ClusterWatch, ReplicaWait
from mdm_tune.sampling.devices import Devices, RayDevices, available_cpus
from mdm_tune.sampling.pieces import Task
from mdm_tune.sampling.prefetch import prefetched
from mdm_tune.version import package_versions

__all__ = ["Replicas"]

QUEUE_DEPTH = 2  # pieces that a replica has at a time: the current one and the next, so that it never waits
MAX_WAITING = 16  # results per replica that may wait to be used, and as many that wait for an earlier one
POLL = 1.0  # seconds between two checks whether the cluster has grown; results are noticed at once
PATIENCE = 120.0  # seconds without any replica after which a run ends
ROOM_REMEDY = "free memory or disk space for Ray's objects, or lower sampler.batch"
MAX_DEATHS = 4  # replicas that may die over one piece; then the piece counts as the cause


class Replicas:
    """Copies of one denoiser that work on pieces of rows at the same time. A ``Pool``, and a context manager.

    The results are those of one process: the noise of a piece does not depend on where it runs, and a piece is not
    divided further. If a replica dies, alone or with its node, other replicas receive its pieces, and Ray starts it
    again. If ``RayDevices`` has no count, nodes that join later get replicas, too. An error of a piece is raised here,
    that of the first piece first.

    Entering raises the errors of ``make``, and InputError for a cluster that cannot be used: none at the address, too
    few GPUs, or other versions of packages on a node. ``results`` raises RunError if no replica is left, or if one
    piece ended several of them.

    Args:
        make: Builds the denoiser on the device of the given name. It is sent to the replicas, so it must be picklable:
            a function of a module, or a ``functools.partial`` of one.
        devices: One device name per replica on this machine; these replicas share its CPUs. Or ``RayDevices`` for
            replicas on a cluster, by default one per GPU, or one per CPU if the cluster has no GPU.
        on_cpus: Whether to use the CPUs of a cluster that has GPUs.
        say: Receives a sentence while a cluster has no room for replicas. During a run it is called from another
            thread.
    """

    def __init__(
        self,
        make: BuildDenoiser,
        devices: Devices,
        *,
        on_cpus: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.make, self.devices, self.on_cpus, self.say = make, devices, on_cpus, say
        self._stack = ExitStack()
        self._replicas: list[_Replica] = []
        self._lock, self._active = threading.RLock(), WeakSet[Generator[Any, None, None]]()
        self._resource, self._last_growth = "CPU", 0.0
        self._watch: ClusterWatch | None = None

    @property
    def copies(self) -> int:
        """The number of replicas, including those that are being started."""
        return len(self._replicas)

    @property
    def vocab_size(self) -> int:
        return self._sizes[0]

    @property
    def mask_id(self) -> int:
        return self._sizes[1]

    @property
    def _sizes(self) -> tuple[int, int]:
        """Vocabulary size and mask id of the denoiser, from the first replica that was ready."""
        self._check_running()
        return next(replica.denoiser for replica in self._replicas if replica.denoiser is not None)

    def _check_running(self) -> None:
        if not self._replicas:
            raise RunError("no replica runs: they do so inside a with block; enter a new one")

    def __enter__(self) -> Replicas:
        require_ray()
        self._check_make()
        try:
            if isinstance(self.devices, RayDevices):
                self._join_cluster(self._stack.enter_context(joined_cluster(self.devices.address)), self.devices)
            else:
                self._stack.enter_context(local_ray(len(self.devices)))
                threads = max(1, available_cpus() // len(self.devices))
                for device in self.devices:
                    self._add(device, threads, num_cpus=1)
            self._watch = ClusterWatch()
            self.wait_until_ready(1)
        except BaseException:
            self.stop()
            raise
        return self

    def _check_make(self) -> None:
        from ray import cloudpickle

        try:
            cloudpickle.dumps(self.make)
        except Exception as error:  # an object may raise anything
            raise InputError(
                f"Replicas: make is sent to each replica and cannot be pickled ({cut(error)}); give a function that "
                "builds the denoiser where it is called, and let it open files and take locks there"
            ) from None

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the replicas at once. They have nothing to save."""
        import ray

        try:
            for generator in list(self._active):
                generator.close()
            if ray.is_initialized():
                for replica in self._replicas:
                    with suppress(Exception):  # its creation may fail meanwhile
                        ray.kill(replica.actor)
        finally:
            self._replicas.clear()
            self._stack.close()

    def results(self, tasks: Iterable[Task]) -> Iterator[Any]:
        """Run tasks, and yield their results in order; see ``pieces.Pool``.

        A thread of its own creates and sends tasks, so that replicas work while results are used by a slow metric.
        """
        self._check_running()
        results = prefetched(self._run_tasks(tasks), MAX_WAITING * self.copies)
        self._active.add(results)
        return results

    def _run_tasks(self, tasks: Iterable[Task]) -> Generator[Any, None, None]:
        queue = _TaskQueue(iter(tasks), MAX_WAITING * self.copies)
        wait = self._new_wait()
        try:
            while not queue.over:
                with self._lock:  # other calls run in threads of their own
                    self._add_for_new_nodes()
                    self._send_tasks(queue)
                    if queue.over:
                        return
                    self._receive_results()
                    any_has_node = any(replica.has_node for replica in self._replicas)
                if wait.over(working=any_has_node):
                    raise RunError(
                        f"no replica of the model is left, and none came back in {PATIENCE:.0f} s; what was finished "
                        "is kept: see that the cluster has room again, and go on with --resume"
                    )
                queue.check()
                yield from queue.ready_results()
        finally:
            queue.closed = True  # results that arrive later are dropped

    def _send_tasks(self, queue: _TaskQueue) -> None:
        """Send a task to each replica that has none, and the next one in advance while there are many.

        The last tasks are not sent in advance: they go to replicas that become free, and never wait behind a slow task.
        """
        ready = [replica for replica in self._replicas if replica.ready]
        for depth in range(QUEUE_DEPTH):
            for replica in ready:
                if len(replica.sent) > depth:
                    continue
                if depth and not queue.has_more_than(len(ready)):
                    return
                place = queue.next()
                if place is None:
                    return
                replica.send(queue, place)

    def working_batches(self, batch: int) -> Mapping[str, int]:
        """``asking.working_batch`` of each ready replica, by its name in messages."""
        return self._results_by_replica(partial(_batch_of_replica, batch=batch))

    def run_on_each(self, task: Task) -> list[Any]:
        """Run one task on each ready replica, and return the results."""
        return [*self._results_by_replica(task).values()]

    def _results_by_replica(self, task: Task) -> dict[str, Any]:
        """Run one task on each ready replica, and return the results by name, without replicas that die meanwhile."""
        import ray
        from ray.exceptions import RayError

        sent = [(replica, replica.actor.run.remote(task)) for replica in self._replicas if replica.ready]
        results = {}
        for replica, ref in sent:
            try:
                results[replica.name] = ray.get(ref)
            except RayError as error:
                with self._lock:
                    if replica.ready:  # otherwise another thread has handled it
                        replica._handle_death(ref, error)
        return results

    def _join_cluster(self, resources: Mapping[str, float], devices: RayDevices) -> None:
        """Add the requested number of replicas, or one per GPU, or one per CPU if there is no GPU."""
        self._resource = "GPU" if resources.get("GPU", 0) >= 1 and not self.on_cpus else "CPU"
        available = int(resources.get(self._resource, 0))
        count = available if devices.count is None else devices.count
        if available < 1:
            raise InputError("--devices: the cluster has 0 CPUs, and replicas need at least 1; add nodes")
        if available < count:
            raise InputError(
                f"--devices: the cluster has {quantity(available, self._resource)}, too few for "
                f"{quantity(count, 'replica')}; give ray:{available} or fewer, or add nodes"
            )
        for _ in range(count):
            self._add_to_cluster()

    def _add_to_cluster(self) -> None:
        if self._resource == "GPU":
            self._add("cuda:0", None, num_cpus=0, num_gpus=1)  # Ray shows each replica its own GPU alone
        else:
            self._add("cpu", 1, num_cpus=1)

    def _add_for_new_nodes(self) -> None:
        """Add a replica per GPU or CPU of nodes that have joined the cluster."""
        if not isinstance(self.devices, RayDevices) or self.devices.count is not None:
            return
        if time.monotonic() - self._last_growth < POLL or not self._head_answers():
            return
        import ray

        self._last_growth = time.monotonic()
        for _ in range(len(self._replicas), int(ray.cluster_resources().get(self._resource, 0))):
            self._add_to_cluster()

    def _head_answers(self) -> bool:
        return self._watch is None or self._watch.check()

    def _add(self, device: str, threads: int | None, **resources: float) -> None:
        number = len(self._replicas) + 1
        name, on_cluster = f"replica {number} on {device}", isinstance(self.devices, RayDevices)
        replica = _Replica(
            name=name, make=self.make, device=device, threads=threads, resources=resources, on_cluster=on_cluster
        )
        self._replicas.append(replica)

    def wait_until_ready(self, count: int | None = None) -> None:
        """Wait until ``count`` replicas, by default all, have built their denoisers.

        Raises the errors of building a denoiser, and RunError if there is no room for them for ``PATIENCE`` seconds.
        """
        wait, wanted = self._new_wait(), self.copies if count is None else count
        while sum(replica.ready for replica in self._replicas) < wanted:
            with self._lock:
                self._receive_results()
            all_have_nodes = sum(replica.has_node for replica in self._replicas) >= wanted
            if wait.over(working=all_have_nodes):
                raise RunError(
                    f"no room for {wanted} of {self.copies} replicas of the model in {PATIENCE:.0f} s; see with "
                    "`ray status` whether the cluster is busy with other work, or run with fewer devices"
                )

    def _new_wait(self) -> ReplicaWait:
        return ReplicaWait(PATIENCE, self.say if isinstance(self.devices, RayDevices) else None)

    def _receive_results(self) -> None:
        """Receive results, and wait for at least one. Raises RunError if the cluster is gone."""
        import ray

        self._head_answers()
        by_ref = {ref: replica for replica in self._replicas for ref in replica.pending}
        ready, _ = ray.wait([*by_ref], timeout=POLL, num_returns=1) if by_ref else ([], [])
        if not by_ref:
            time.sleep(0.05)
        for ref in ready:
            by_ref[ref].receive(ref)
        if self._replicas and all(replica.build_failures >= MAX_DEATHS for replica in self._replicas):
            last = self._replicas[-1]
            raise RunError(
                f"{last.name} ended {MAX_DEATHS} times while it built the model, as did all others; the last error "
                f"was: {cut(last.last_build_failure)}; usually the memory does not suffice for so many replicas"
            )


class _TaskQueue:
    """The tasks and results of one call. Tasks are created when they are needed.

    At most ``room`` results wait for an earlier one, so that a replica that hangs does not fill the memory.

    Attributes:
        tasks: Tasks without a result, by their place in the order.
        returned: Places of tasks that were sent to replicas which died.
        results: Results that wait to be used, by place.
        deaths: Number of replicas that died over a task, by place.
        closed: Whether results are no longer needed.
    """

    def __init__(self, tasks: Iterator[Task], room: int) -> None:
        self._room = room
        self._source, self._created = tasks, deque[Task]()
        self._sent_count, self._yielded_count = 0, 0
        self._exhausted = False
        self.tasks: dict[int, Task] = {}
        self.returned: list[int] = []
        self.results: dict[int, Any] = {}
        self.deaths: Counter[int] = Counter()
        self.last_death = ""
        self.closed = False

    @property
    def over(self) -> bool:
        """Whether all results were used."""
        return self._exhausted and not self._created and self._yielded_count == self._sent_count

    def next(self) -> int | None:
        """The place of the next task to send; None if there is none, or a task has failed."""
        if self.returned:
            self.returned.sort()
            return self.returned.pop(0)
        if not self.has_more_than(0):
            return None
        self.tasks[self._sent_count] = self._created.popleft()
        self._sent_count += 1
        return self._sent_count - 1

    def has_more_than(self, count: int) -> bool:
        """Whether more than ``count`` tasks wait to be sent. Creates ``count`` + 1 tasks if necessary."""
        if len(self.results) >= self._room or any(isinstance(result, FailedTask) for result in self.results.values()):
            return len(self.returned) > count
        while not self._exhausted and len(self.returned) + len(self._created) <= count:
            task = next(self._source, None)
            if task is None:
                self._exhausted = True
            else:
                self._created.append(task)
        return len(self.returned) + len(self._created) > count

    def add_result(self, place: int, result: Any) -> None:
        """Store the result of a task."""
        del self.tasks[place]
        self.results[place] = result

    def add_death(self, place: int, reason: str) -> None:
        """Count a replica that died while it worked on a task; reason: its name and error."""
        self.deaths[place] += 1
        self.last_death = reason

    def check(self) -> None:
        """Raise RunError if one task ended too many replicas."""
        if max(self.deaths.values(), default=0) >= MAX_DEATHS:
            raise RunError(
                f"{MAX_DEATHS} replicas ended while they worked on the same rows, the last one {self.last_death}; "
                "usually the memory does not suffice. What was finished is kept: run the command again, a search with "
                "--resume, with fewer replicas on a device; a smaller sampler.batch needs --overwrite, a new search"
            )

    def ready_results(self) -> Iterator[Any]:
        """Yield the results that are next in order. Raises the error of a failed task."""
        while self._yielded_count in self.results:
            result = self.results.pop(self._yielded_count)
            if isinstance(result, FailedTask):
                raise result.error
            self._yielded_count += 1
            yield result


@dataclass
class _Replica:
    """The driver's view of one actor. Ray first finds a node for it; then it builds the denoiser.

    Attributes:
        has_node: Whether Ray has found a node.
        denoiser: Vocabulary size and mask id; None until the denoiser is built for the first time.
        sent: The tasks that it has, in order, as queue and place by Ray reference.
        node_ref, build_ref: References of the pending request for a node, and of the pending build.
        build_failures: Deaths in a row while it built the denoiser; after ``MAX_DEATHS`` it is no longer used.
    """

    name: str
    make: BuildDenoiser
    device: str
    threads: int | None
    resources: Mapping[str, float]
    on_cluster: bool
    actor: Any = field(init=False)
    has_node: bool = False
    ready: bool = False
    denoiser: tuple[int, int] | None = None
    sent: dict[Any, tuple[_TaskQueue, int]] = field(default_factory=dict)
    node_ref: Any = None
    build_ref: Any = None
    build_failures: int = 0
    last_build_failure: str = ""

    def __post_init__(self) -> None:
        import ray

        kind = ray.remote(Actor).options(max_restarts=-1, **self.resources)
        self.actor = kind.remote(self.name, self.make, self.device, self.threads, package_versions("transformers"))
        self._request_node()

    @property
    def pending(self) -> list[Any]:
        return [*self.sent, *(ref for ref in (self.node_ref, self.build_ref) if ref is not None)]

    def send(self, queue: _TaskQueue, place: int) -> None:
        from ray.exceptions import RayError

        try:
            ref = self.actor.run.remote(queue.tasks[place])
        except (RayError, OSError) as error:  # Ray has no room in memory or on disk
            raise RunError(f"rows could not be sent to {self.name} ({first_line(error)}); {ROOM_REMEDY}") from error
        self.sent[ref] = queue, place

    def receive(self, ref: Any) -> None:
        """Handle a finished reference: a node, a built denoiser, a task's result, or the death of the replica."""
        import ray
        from ray.exceptions import ObjectStoreFullError, OutOfDiskError, RayError, RayTaskError

        if ref not in self.pending:  # already returned to its queue
            return
        try:
            result = ray.get(ref)
        except RayTaskError as error:
            reason = f"{self.name} failed: {first_line(error.cause or error)}"
            full = isinstance(error.cause, ObjectStoreFullError | OutOfDiskError)  # Ray has no room for the result
            raise RunError(f"{reason}; {ROOM_REMEDY}" if full else reason) from error
        except RayError as error:
            self._handle_death(ref, error)
            return
        if ref is self.node_ref:
            self.node_ref, self.has_node = None, True
            self.build_ref = self.actor.ready.remote()
            return
        if ref is self.build_ref:
            if isinstance(result, FailedTask):
                raise self._with_remedy(result.error)
            self.build_ref, self.ready, self.denoiser, self.build_failures = None, True, result, 0
            return
        queue, place = self.sent.pop(ref)
        if not queue.closed:
            queue.add_result(place, result)

    def _with_remedy(self, error: Exception) -> Exception:
        """The error of building, with a remedy if a node of a cluster lacks a file that the driver has read."""
        if not isinstance(error, MissingInput) or not self.on_cluster:
            return error
        error.args = (f"{error}; every node needs the same files under the same paths, as on a shared file system",)
        return error

    def _handle_death(self, ref: Any, error: Exception) -> None:
        """Return the tasks of the dead replica to their queues, and request a node again. It died at the first task."""
        reason = first_line(error)
        if ref is self.node_ref:  # Ray repeats the request, so this failure is final
            if "creation task" not in str(error):  # Ray's name for an error at the start of a process
                raise RunError(f"Ray has given up {self.name} ({cut(reason)}); {REMEDY}")
            raise InputError(
                f"--devices: {self.name} cannot be started ({_last_line(error)}); install the same packages on every "
                "node, mdm-tune and those of the model's code among them"
            )
        if ref is self.build_ref:
            self.build_failures, self.last_build_failure = self.build_failures + 1, reason
        tasks, self.sent = [*self.sent.values()], {}
        for number, (queue, place) in enumerate(tasks):
            queue.returned.append(place)
            if number == 0:
                queue.add_death(place, f"{self.name} ({reason})")
        self._request_node()

    def _request_node(self) -> None:
        """Request a node, repeatedly until there is one."""
        self.has_node, self.ready, self.build_ref, self.node_ref = False, False, None, None
        if self.build_failures < MAX_DEATHS:
            self.node_ref = self.actor.node.options(max_task_retries=-1).remote()


def _last_line(error: object) -> str:
    return str(error).strip().rpartition("\n")[2][:200]


def _batch_of_replica(denoiser: Denoiser, device: str, *, batch: int) -> int:
    return working_batch(denoiser, batch)
