"""Replicas of one denoiser as Ray actors: pieces of rows go to whichever replica is free, and come back in order."""

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
from mdm_tune.sampling.actors import Actor, FailedTask, Make
from mdm_tune.sampling.cluster import connected, require_ray, started
from mdm_tune.sampling.cluster_health import REMEDY, ClusterWatch, ReplicaWait
from mdm_tune.sampling.devices import Devices, RayDevices, available_cpus
from mdm_tune.sampling.pieces import Task
from mdm_tune.sampling.prefetch import prefetched
from mdm_tune.version import package_versions

__all__ = ["Replicas"]

DEPTH = 2  # pieces that a replica has at a time: one that it works on, and the next, so that it never waits
WAITING = 16  # answers for each replica that may wait until they are used, and as many for one before them
POLL = 1.0  # seconds between two looks at whether the cluster has grown; answers are noticed at once
PATIENCE = 120.0  # seconds without any replica after which a run ends
DEATHS = 4  # replicas that die over one piece before the piece is taken for the cause


class Replicas:
    """Copies of one denoiser that work on pieces of rows at the same time; used as a context manager.

    make: builds the denoiser on the device of the given name; it is sent to the replicas, so that it must be picklable
    (a function of a module, or a ``functools.partial`` of one). devices: one name for each replica of this machine,
    whose CPUs they divide among them; or ``RayDevices``, as many replicas as a cluster's GPUs (its CPUs, where it has
    no GPU) or the number that these say. on_cpus: use its CPUs, whatever it has. say: is given a sentence where a
    cluster has no room for any replica and is waited for; from a thread of its own while a run goes on.

    The results are those of one process: a piece meets the same noise wherever it is filled, and is filled as a whole.
    A replica that dies, with its node or alone, gives its pieces back to the others and is started again by Ray; on a
    cluster whose replicas are not counted, nodes that join later get replicas too. What a piece raises is raised here,
    that of the first piece first.

    Entering raises what ``make`` raises, and InputError for a cluster that cannot be used: none at the address, too few
    GPUs, other versions of packages on a node. Dealing raises RunError where no replica is left, and where one piece
    ended several of them.
    """

    def __init__(
        self, make: Make, devices: Devices, *, on_cpus: bool = False, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self.make, self.devices, self.on_cpus, self.say = make, devices, on_cpus, say
        self._stack = ExitStack()
        self._replicas: list[_Replica] = []
        self._lock, self._open = threading.RLock(), WeakSet[Generator[Any, None, None]]()
        self._resource, self._looked = "CPU", 0.0
        self._watch: ClusterWatch | None = None

    @property
    def copies(self) -> int:
        """Replicas that there are, those that are being started included."""
        return len(self._replicas)

    @property
    def vocab_size(self) -> int:
        return self._known[0]

    @property
    def mask_id(self) -> int:
        return self._known[1]

    @property
    def _known(self) -> tuple[int, int]:
        """Vocabulary size and mask id, as the first replica that was ready said."""
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
                self._join_cluster(self._stack.enter_context(connected(self.devices.address)), self.devices)
            else:
                self._stack.enter_context(started(len(self.devices)))
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
        except Exception as error:  # whatever an object says to it
            raise InputError(
                f"Replicas: make is sent to each replica and cannot be pickled ({cut(error)}); give a function that "
                "builds the denoiser where it is called, and let it open files and take locks there"
            ) from None

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the replicas, whatever they are doing; they have nothing to save."""
        import ray

        try:
            for dealing in list(self._open):
                dealing.close()
            if ray.is_initialized():
                for replica in self._replicas:
                    with suppress(Exception):  # one whose creation fails meanwhile
                        ray.kill(replica.actor)
        finally:
            self._replicas.clear()
            self._stack.close()

    def deal(self, tasks: Iterable[Task]) -> Iterator[Any]:
        """The answers in the order of the tasks; see ``pieces.Pool``.

        Pieces are made and dealt in a thread of its own, so that the replicas have work while the answers are used, for
        example by a metric that takes long.
        """
        self._check_running()
        found = prefetched(self._dealt(tasks), WAITING * self.copies)
        self._open.add(found)
        return found

    def _dealt(self, tasks: Iterable[Task]) -> Generator[Any, None, None]:
        dealing = _Dealing(iter(tasks), WAITING * self.copies)
        wait = self._patience()
        try:
            while not dealing.over:
                with self._lock:  # other calls deal in threads of their own
                    self._grow()
                    self._hand_out(dealing)
                    if dealing.over:
                        return
                    self._wait()
                    working = any(replica.placed for replica in self._replicas)
                if wait.over(working=working):
                    raise RunError(
                        f"no replica of the model is left, and none came back in {PATIENCE:.0f} s; what was finished "
                        "is kept: see that the cluster has room again, and go on with --resume"
                    )
                dealing.check()
                yield from dealing.in_order()
        finally:
            dealing.closed = True  # what is still under way for it is dropped when it comes

    def _hand_out(self, dealing: _Dealing) -> None:
        """Give a piece to each replica that has none, and the next one in advance while there are many.

        The last pieces go to whoever is free first: in advance they could wait behind one that takes long.
        """
        ready = [replica for replica in self._replicas if replica.ready]
        for held in range(DEPTH):
            for replica in ready:
                if len(replica.given) > held:
                    continue
                if held and not dealing.has_more_than(len(ready)):
                    return
                place = dealing.next()
                if place is None:
                    return
                replica.give(dealing, place)

    def working_batches(self, batch: int) -> Mapping[str, int]:
        """``asking.working_batch`` of each replica that runs, by its name in messages."""
        return self._asked(partial(_working_batch, batch=batch))

    def ask_each(self, task: Task) -> list[Any]:
        """The answer of each replica that runs to one task."""
        return [*self._asked(task).values()]

    def _asked(self, task: Task) -> dict[str, Any]:
        """Answers by the names of replicas; without those that die meanwhile."""
        import ray
        from ray.exceptions import RayError

        asked = [(replica, replica.actor.run.remote(task)) for replica in self._replicas if replica.ready]
        found = {}
        for replica, ref in asked:
            try:
                found[replica.name] = ray.get(ref)
            except RayError as error:
                with self._lock:
                    if replica.ready:  # else a call that deals has seen it
                        replica._died(ref, error)
        return found

    def _join_cluster(self, resources: Mapping[str, float], devices: RayDevices) -> None:
        """Begin with a replica for each GPU, or CPU where there is no GPU, or with the number that was requested."""
        self._resource = "GPU" if resources.get("GPU", 0) >= 1 and not self.on_cpus else "CPU"
        there = int(resources.get(self._resource, 0))
        wanted = there if devices.count is None else devices.count
        if there < 1:
            raise InputError("--devices: the cluster has 0 CPUs, and replicas need at least 1; add nodes")
        if there < wanted:
            raise InputError(
                f"--devices: the cluster has {quantity(there, self._resource)}, too few for "
                f"{quantity(wanted, 'replica')}; give ray:{there} or fewer, or add nodes"
            )
        for _ in range(wanted):
            self._add_to_cluster()

    def _add_to_cluster(self) -> None:
        if self._resource == "GPU":
            self._add("cuda:0", None, num_cpus=0, num_gpus=1)  # Ray shows each replica its own GPU alone
        else:
            self._add("cpu", 1, num_cpus=1)

    def _grow(self) -> None:
        """Give nodes that have joined the cluster a replica for each GPU or CPU."""
        if not isinstance(self.devices, RayDevices) or self.devices.count is not None:
            return
        if time.monotonic() - self._looked < POLL or not self._there():
            return
        import ray

        self._looked = time.monotonic()
        for _ in range(len(self._replicas), int(ray.cluster_resources().get(self._resource, 0))):
            self._add_to_cluster()

    def _there(self) -> bool:
        return self._watch is None or self._watch.look()

    def _add(self, device: str, threads: int | None, **resources: float) -> None:
        number = len(self._replicas) + 1
        name, on_cluster = f"replica {number} on {device}", isinstance(self.devices, RayDevices)
        self._replicas.append(
            _Replica(
                name=name, make=self.make, device=device, threads=threads, resources=resources, on_cluster=on_cluster
            )
        )

    def wait_until_ready(self, count: int | None = None) -> None:
        """Wait until so many replicas, all unless a count is given, have built their denoisers.

        Raises what building a denoiser raises, and RunError where there is no room for so many for two minutes.
        """
        wait, wanted = self._patience(), self.copies if count is None else count
        while sum(replica.ready for replica in self._replicas) < wanted:
            with self._lock:
                self._wait()
            placed = sum(replica.placed for replica in self._replicas) >= wanted  # building takes as long as it takes
            if wait.over(working=placed):
                raise RunError(
                    f"no room for {wanted} of {self.copies} replicas of the model in {PATIENCE:.0f} s; see with "
                    "`ray status` whether the cluster is busy with other work, or run with fewer devices"
                )

    def _patience(self) -> ReplicaWait:
        return ReplicaWait(PATIENCE, self.say if isinstance(self.devices, RayDevices) else None)

    def _wait(self) -> None:
        """Take the answers that have come, waiting for the first; raises RunError where the cluster is gone."""
        import ray

        self._there()
        by_ref = {ref: replica for replica in self._replicas for ref in replica.pending}
        ready, _ = ray.wait([*by_ref], timeout=POLL, num_returns=1) if by_ref else ([], [])
        if not by_ref:
            time.sleep(0.05)
        for ref in ready:
            by_ref[ref].take(ref)
        if self._replicas and all(replica.falls >= DEATHS for replica in self._replicas):
            last = self._replicas[-1]
            raise RunError(
                f"{last.name} ended {DEATHS} times while it built the model, as all others did, the last time so: "
                f"{cut(last.last_fall)}; mostly the memory does not suffice for so many replicas"
            )


class _Dealing:
    """The tasks of one call: which are under way, and the answers that have come. Tasks are made when they are needed.

    room: answers that may wait for one before them, so that a replica that hangs does not fill the memory with them.
    tasks: those that are not answered yet, by their place. back: places of tasks that a dead replica had. closed: set
    when nobody waits for answers any more.
    """

    def __init__(self, tasks: Iterator[Task], room: int) -> None:
        self._room = room
        self._source, self._made = tasks, deque[Task]()
        self._given, self._returned = 0, 0
        self._exhausted = False
        self.tasks: dict[int, Task] = {}
        self.back: list[int] = []
        self.answers: dict[int, Any] = {}
        self.deaths: Counter[int] = Counter()
        self.last_death = ""
        self.closed = False

    @property
    def over(self) -> bool:
        """Whether every answer was returned."""
        return self._exhausted and not self._made and self._returned == self._given

    def next(self) -> int | None:
        """The place of the next task to be given out; None where there is none, or one before it has failed."""
        if self.back:
            self.back.sort()
            return self.back.pop(0)
        if not self.has_more_than(0):
            return None
        self.tasks[self._given] = self._made.popleft()
        self._given += 1
        return self._given - 1

    def has_more_than(self, count: int) -> bool:
        """Whether more tasks are to be given out; so many and one more are made for that."""
        if len(self.answers) >= self._room or any(isinstance(answer, FailedTask) for answer in self.answers.values()):
            return len(self.back) > count
        while not self._exhausted and len(self.back) + len(self._made) <= count:
            task = next(self._source, None)
            if task is None:
                self._exhausted = True
            else:
                self._made.append(task)
        return len(self.back) + len(self._made) > count

    def answered(self, place: int, answer: Any) -> None:
        """An answer has come."""
        del self.tasks[place]
        self.answers[place] = answer

    def died(self, place: int, reason: str) -> None:
        """A replica died while it worked on the task at this place."""
        self.deaths[place] += 1
        self.last_death = reason

    def check(self) -> None:
        """Raise RunError where one task ended too many replicas."""
        if max(self.deaths.values(), default=0) >= DEATHS:
            raise RunError(
                f"{DEATHS} replicas ended while they worked on the same rows, the last one {self.last_death}; mostly "
                "the memory does not suffice. What was finished is kept: run the command again, a search with "
                "--resume, with fewer replicas on a device; a smaller sampler.batch makes another search, which needs "
                "--overwrite"
            )

    def in_order(self) -> Iterator[Any]:
        """The answers that come next in order and are there; raises the one that is an error."""
        while self._returned in self.answers:
            answer = self.answers.pop(self._returned)
            if isinstance(answer, FailedTask):
                raise answer.error
            self._returned += 1
            yield answer


@dataclass
class _Replica:
    """This process's end of one actor, for which first a place is found and then the denoiser is built.

    given: by reference the tasks that it has, in their order, as places in their dealings. falls: times that it died
    while it built. One that does so again and again is left alone. on_cluster: on one that was there before.
    """

    name: str
    make: Make
    device: str
    threads: int | None
    resources: Mapping[str, float]
    on_cluster: bool
    actor: Any = field(init=False)
    placed: bool = False
    ready: bool = False
    denoiser: tuple[int, int] | None = None
    given: dict[Any, tuple[_Dealing, int]] = field(default_factory=dict)
    placing: Any = None
    building: Any = None
    falls: int = 0
    last_fall: str = ""

    def __post_init__(self) -> None:
        import ray

        kind = ray.remote(Actor).options(max_restarts=-1, **self.resources)
        self.actor = kind.remote(self.name, self.make, self.device, self.threads, package_versions("transformers"))
        self._place()

    @property
    def pending(self) -> list[Any]:
        return [*self.given, *(ref for ref in (self.placing, self.building) if ref is not None)]

    def give(self, dealing: _Dealing, place: int) -> None:
        from ray.exceptions import RayError

        try:
            ref = self.actor.run.remote(dealing.tasks[place])
        except (RayError, OSError) as error:  # Ray has no room for it, in memory or on disk
            raise RunError(
                f"rows could not be sent to {self.name} ({_first_line(error)}); make room where Ray keeps its "
                "objects, or lower sampler.batch"
            ) from error
        self.given[ref] = dealing, place

    def take(self, ref: Any) -> None:
        """An answer; where the replica has died, its tasks go back and it is built again."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        if ref not in self.pending:  # given back already
            return
        try:
            answer = ray.get(ref)
        except RayTaskError as error:
            raise RunError(f"{self.name} failed: {_first_line(error.cause or error)}") from error
        except RayError as error:
            self._died(ref, error)
            return
        if ref is self.placing:
            self.placing, self.placed = None, True
            self.building = self.actor.ready.remote()
            return
        if ref is self.building:
            if isinstance(answer, FailedTask):
                raise self._explained(answer.error)
            self.building, self.ready, self.denoiser, self.falls = None, True, answer, 0
            return
        dealing, place = self.given.pop(ref)
        if not dealing.closed:
            dealing.answered(place, answer)

    def _explained(self, error: Exception) -> Exception:
        """What building raised, with what to do where a node of a cluster lacks a file that the driver has read."""
        if not isinstance(error, MissingInput) or not self.on_cluster:
            return error
        error.args = (f"{error}; every node needs the same files under the same paths, as on a shared file system",)
        return error

    def _died(self, ref: Any, error: Exception) -> None:
        """Give back the tasks of the replica, which has died at the first of them, and wait for the next one."""
        reason = _first_line(error)
        if ref is self.placing:  # it asks until there is an answer, so that there will never be one
            if "creation task" not in str(error):  # as Ray calls what the beginning of a process raises
                raise RunError(f"Ray has given up {self.name} ({cut(reason)}); {REMEDY}")
            raise InputError(
                f"--devices: {self.name} cannot be started ({_last_line(error)}); install the same packages on every "
                "node, mdm-tune and those of the model's code among them"
            )
        if ref is self.building:
            self.falls, self.last_fall = self.falls + 1, reason
        tasks, self.given = [*self.given.values()], {}
        for number, (dealing, place) in enumerate(tasks):
            dealing.back.append(place)
            if number == 0:
                dealing.died(place, f"{self.name} ({reason})")
        self._place()

    def _place(self) -> None:
        """Ask for a place until there is one."""
        self.placed, self.ready, self.building, self.placing = False, False, None, None
        if self.falls < DEATHS:
            self.placing = self.actor.node.options(max_task_retries=-1).remote()


def _first_line(error: object) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _last_line(error: object) -> str:
    return str(error).strip().rpartition("\n")[2][:200]


def _working_batch(denoiser: Denoiser, device: str, *, batch: int) -> int:
    return working_batch(denoiser, batch)
