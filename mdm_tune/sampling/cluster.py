"""The Ray that replicas run on: one of this machine, started and ended here, or a cluster that is there already."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import disk_usage, rmtree
from typing import Any

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.messages import cut, shown, system_reason
from mdm_tune.core.scratch import locked_folder, remove_stale_folders
from mdm_tune.sampling import ray_cleanup
from mdm_tune.sampling.cluster_health import message_if_ended

__all__ = ["Resources", "connected", "require_ray", "started"]

PREFIX = "mdm-tune-ray-"  # of folders for Ray
SHORT = Path("/tmp")  # for such a folder where the usual place makes the name of a socket too long
LONGEST = 40  # characters of a folder for Ray: a socket's name has at most 107, and Ray adds up to 65
ROOM = 4 * 2**20  # bytes for its logs and sockets; without them it tries for half a minute and does not say why
STORE = 256 * 2**20  # bytes of shared memory for arrays that are under way; rows are small, and Ray spills to disk
QUIET = {  # of Ray's own processes and workers
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # replicas name their GPU themselves
    "RAY_worker_niceness": "0",  # replicas do the command's work; 15 would let every other program go first
    "RAY_memory_monitor_refresh_ms": "0",  # it would kill replicas while other programs use the memory
}
OF_DRIVER = {  # of this process alone, and not of a Ray that it starts
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",  # cluster_health.py speaks before Ray ends the process
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # it would write a line each second meanwhile
}
ADDRESS = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^\s:/\[\]@]+)):(?P<port>[0-9]{1,5})")
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)  # of HTTP/2, with empty settings
ANSWER = 5.0  # seconds for a cluster to answer; Ray itself tries for a minute and a half, and writes to the terminal

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

    It has no dashboard, reports nothing and prints nothing. No process and no file of it outlives this process, however
    this ends. One that this process has started before is used as it is.

    Raises RunError where it cannot be started.
    """
    require_ray()
    with _environment(QUIET):
        ray = _quiet()
        if ray.is_initialized():
            yield
            return
        with _environment(_own_token()), ExitStack() as stack:
            try:
                if disk_usage(_place()).free < ROOM:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                folder = stack.enter_context(_kept_folder())
            except OSError as error:
                raise _not_started(system_reason(error), _place()) from error
            _forget_authentication()
            with _started(ray, cpus, folder):
                yield


@contextmanager
def _started(ray: Any, cpus: int, folder: Path) -> Iterator[None]:
    try:
        with _own_signals():
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=STORE,
                _temp_dir=str(folder),
                **_silence(),
            )
    except Exception as error:  # whatever Ray raises, by kind of failure
        ray.shutdown()
        reason = system_reason(error) if isinstance(error, OSError) else _reason(error)
        raise _not_started(reason, folder.parent) from error
    try:
        _drop_messages()
        yield
    finally:
        ray.shutdown()


def _not_started(reason: str, parent: Path) -> RunError:
    return RunError(
        f"--devices: Ray could not be started on this machine ({cut(reason)}); see that {parent} has room and that the "
        "machine allows more processes, or give one device"
    )


def _place() -> Path:
    """Where folders for Ray are made."""
    usual = Path(tempfile.gettempdir())
    return usual if len(str(usual / PREFIX)) + 8 <= LONGEST or not os.access(SHORT, os.W_OK) else SHORT


@contextmanager
def _kept_folder() -> Iterator[Path]:
    """A new folder for Ray's sockets and logs. It goes at the end, with every process that uses it but this one."""
    parent = _place()
    remove_stale_folders(parent, PREFIX, ray_cleanup.end)
    folder, lock = locked_folder(PREFIX, parent)
    with lock:
        command = [sys.executable, "-I", "-S", ray_cleanup.__file__, str(folder), str(os.getpid())]
        nowhere = subprocess.DEVNULL
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, start_new_session=True
            )
        except OSError:
            rmtree(folder, ignore_errors=True)
            raise
        with process:  # leaving closes its standard input and waits for it
            yield folder


@contextmanager
def connected(address: str | None) -> Iterator[Resources]:
    """The cluster at an address for the time of the block; gives its resources, such as {"GPU": 8.0, "CPU": 64.0}.

    address: HOST:PORT, or ``auto`` for the cluster that this machine belongs to; None for the one in ``RAY_ADDRESS``.

    Raises InputError where no address is given, where no cluster answers there, and for one of another Ray or Python.
    """
    require_ray()
    with _environment(QUIET), _connected(_quiet(), address) as resources:
        yield resources


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[Resources]:
    if ray.is_initialized():
        yield dict(ray.cluster_resources())
        return
    given = "--ray-address" if address else "RAY_ADDRESS"
    asked = address or os.environ.get("RAY_ADDRESS")
    where = _found(given, asked)
    # Ray starts a cluster on a machine with a token so that it asks for that. One that does not ask for it works with
    # no process that does.
    with_token = {"RAY_AUTH_MODE": "token"} if asked == "auto" and _has_token() else {}
    lost = (
        f"error: the cluster at {shown(where)} went away while this command was joining it; see that it is up, and run "
        "the command again, a search with --resume"
    )
    said: list[str] = []
    try:
        with _environment(OF_DRIVER | with_token):
            _forget_authentication()
            with message_if_ended(lost), _own_signals(), _hushed(said):
                ray.init(address=where, **_silence())
    except Exception as error:  # whatever Ray raises, by kind of failure
        ray.shutdown()
        if "Unauthenticated" in "".join(said):
            raise InputError(
                f"{given}: the cluster at {shown(where)} asks for a token; set RAY_AUTH_MODE=token, and "
                "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token to the token of the machine that started it"
            ) from None
        if "ersion mismatch" in str(error):
            raise InputError(
                f"{given}: the cluster at {shown(where)} runs another Ray or Python ({_versions(str(error))}); use "
                "the same on every node and here"
            ) from None
        raise _no_cluster(given, where, _reason(error)) from None
    try:
        _drop_messages()
        yield dict(ray.cluster_resources())
    finally:
        ray.shutdown()


def _found(given: str, where: str | None) -> str:
    """The address HOST:PORT of a cluster that answers; ``auto`` stays where Ray has to look for it."""
    if not where:
        raise InputError(
            "--devices ray: no cluster is named; give --ray-address HOST:PORT, or auto for the cluster that this "
            "machine belongs to, or set RAY_ADDRESS"
        )
    if where == "auto":
        try:
            from ray._private.services import canonicalize_bootstrap_address_or_die as ray_finds
        except ImportError:  # not part of Ray's public interface: where it has moved, Ray looks while it connects
            return where
        try:
            where = str(ray_finds("auto"))
        except Exception as error:  # none, or several
            raise _no_cluster(given, "auto", _reason(error)) from None
    match = ADDRESS.fullmatch(where)
    if match is None:
        kind = {"ray": "for clients outside the cluster", "http": "the dashboard's", "https": "the dashboard's"}
        scheme, separator, _ = where.partition("://")
        which = f", which is {kind[scheme]}" if separator and scheme in kind else ""
        raise InputError(
            f"{given}: must be HOST:PORT, such as 10.0.0.1:6379, or auto, got {shown(where)}{which}; run the command "
            "on a machine of the cluster, for example as a Ray job, and give auto"
        )
    if reason := _silent(match["six"] or match["host"], int(match["port"])):
        raise _no_cluster(given, where, reason)
    return where


def _silent(host: str, port: int) -> str:
    """Why no cluster can be at a port; "" where one may be: it speaks HTTP/2, as all of Ray's servers do."""
    try:
        with socket.create_connection((host, port), timeout=ANSWER) as line:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return ""  # it would wait for a greeting of TLS
            line.settimeout(ANSWER)
            line.sendall(GREETING)
            answer = line.recv(9)
    except TimeoutError:
        return f"no answer in {ANSWER:.0f} s"
    except OSError as error:
        return system_reason(error)
    except (OverflowError, UnicodeError) as error:  # a port or a name that no machine has
        return _reason(error)
    return "" if answer[3:4] == b"\x04" else "something else answers there"  # settings come first


def _no_cluster(given: str, where: str, reason: str) -> InputError:
    return InputError(
        f"{given}: no Ray cluster answers at {shown(where)} ({cut(reason)}); check the address and that `ray status` "
        "shows the cluster, or start one with `ray start --head`"
    )


def _reason(error: Exception) -> str:
    """The first line of an error, or its kind."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def _versions(said: str) -> str:
    """Ray's own two paragraphs on versions in one line."""
    return cut(" ".join(said.split()), 300)


def _quiet() -> Any:
    """The ray module, with its loggers at errors only; to be imported after its environment was set."""
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Variables for the time of the block; one that the user has set stays as it is."""
    new = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


def _own_token() -> dict[str, str]:
    """What keeps others away from a Ray of this machine; without it Ray writes a token of its own into the home."""
    if "RAY_AUTH_TOKEN_PATH" in os.environ:
        return {"RAY_AUTH_MODE": "token"}
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _has_token() -> bool:
    """Whether this machine has a token for clusters."""
    given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    try:
        return bool(given) or (Path.home() / ".ray" / "auth_token").is_file()
    except (OSError, RuntimeError):  # no home
        return False


def _forget_authentication() -> None:
    """Let Ray read its variables and its token again, which it keeps for the life of a process."""
    with suppress(ImportError, AttributeError):  # not part of Ray's public interface
        from ray import _raylet

        private: Any = _raylet
        private.Config.initialize("")
        private.AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _hushed(said: list[str]) -> Iterator[None]:
    """Keep from the terminal what native code writes while it connects; at the end it is added to ``said``."""
    try:
        kept = os.dup(2)
    except OSError:  # closed
        yield
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said.append(file.read().decode(errors="replace"))


def _silence() -> dict[str, Any]:
    return {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}


def _drop_messages() -> None:
    """Stop Ray from printing on stdout that a worker has died, which the run answers or reports by itself."""
    with suppress(ImportError):  # not part of Ray's public interface: where it has moved, the messages stay
        import ray._private.worker as private

        private.print_to_stdstream = lambda data, ignore_prefix: None


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's answer to SIGTERM, which Ray would replace where it is started from the main thread."""
    before = signal.getsignal(signal.SIGTERM)
    private: Any = None
    with suppress(ImportError):  # not part of Ray's public interface: where it has moved, its answer stays for a moment
        import ray._private.utils as private
    theirs = getattr(private, "set_sigterm_handler", None)
    try:
        if theirs is not None:
            private.set_sigterm_handler = lambda handler: None
        yield
    finally:
        if theirs is not None:
            private.set_sigterm_handler = theirs
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, before)
