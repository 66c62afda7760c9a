"""Ray for replicas: a local Ray that is started and ended here, or a cluster that runs already."""

from __future__ import annotations

import atexit
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

__all__ = ["Resources", "first_line", "joined_cluster", "local_ray", "require_ray"]

PREFIX = "mdm-tune-ray-"  # first part of the names of Ray's folders
SHORT_ROOT = Path("/tmp")  # used if the default place makes the name of a socket too long
MAX_FOLDER_LENGTH = 40  # characters: a socket's name may have 107, and Ray adds up to 65
MIN_FREE_BYTES = 4 * 2**20  # for logs and sockets; with less, Ray tries for half a minute and gives no reason
OBJECT_STORE_BYTES = 256 * 2**20  # shared memory for arrays in transit; rows are small, and Ray spills to disk
RAY_ENVIRONMENT = {  # for Ray's own processes and workers
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # replicas choose their GPU themselves
    "RAY_worker_niceness": "0",  # replicas do the command's work; 15 would put them behind every other program
    "RAY_memory_monitor_refresh_ms": "0",  # the monitor would kill replicas if other programs use the memory
}
DRIVER_ENVIRONMENT = {  # for this process, and not for a Ray that it starts
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",  # cluster_health.py raises before Ray ends the process
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # otherwise Ray writes a line each second meanwhile
}
ADDRESS = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^\s:/\[\]@]+)):(?P<port>[0-9]{1,5})")
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)  # HTTP/2 with empty settings
ANSWER_SECONDS = 5.0  # for a cluster to answer; Ray itself tries for 90 seconds, and writes to the terminal

Resources = dict[str, float]


def require_ray() -> None:
    """Raise InputError if Ray is not installed. Nothing is imported."""
    if importlib.util.find_spec("ray") is None:
        raise InputError(
            "--devices: several devices need Ray, which is not installed; run pip install 'mdm-tune[ray]', or give one "
            "device"
        )


@contextmanager
def local_ray(cpus: int) -> Iterator[None]:
    """Run a local Ray inside the block.

    It has no dashboard, reports nothing and prints nothing. Its processes and files are removed when this process ends,
    in whatever way. If this process already runs Ray, that Ray is used.

    Args:
        cpus: Number of CPUs that Ray assigns to actors.

    Raises:
        RunError: If Ray cannot be started.
    """
    require_ray()
    with _environment_defaults(RAY_ENVIRONMENT):
        ray = _import_ray()
        if ray.is_initialized():
            yield
            return
        with _environment_defaults(_token_environment()), ExitStack() as stack:
            try:
                if disk_usage(_folder_root()).free < MIN_FREE_BYTES:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                folder = stack.enter_context(_ray_folder())
            except OSError as error:
                raise _start_error(system_reason(error), _folder_root()) from error
            _reset_authentication()
            with _run_local_ray(ray, cpus, folder):
                yield


@contextmanager
def _run_local_ray(ray: Any, cpus: int, folder: Path) -> Iterator[None]:
    try:
        with _keep_sigterm_handler():
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(folder),
                **_quiet_options(),
            )
    except Exception as error:  # whatever Ray raises, by kind of failure
        ray.shutdown()
        reason = system_reason(error) if isinstance(error, OSError) else first_line(error)
        raise _start_error(reason, folder.parent) from error
    try:
        _silence_worker_messages()
        yield
    finally:
        ray.shutdown()


def _start_error(reason: str, parent: Path) -> RunError:
    return RunError(
        f"--devices: Ray could not be started on this machine ({cut(reason)}); see that {parent} has room and that the "
        "machine allows more processes, or give one device"
    )


def _folder_root() -> Path:
    """The folder in which Ray's folders are created."""
    default = Path(tempfile.gettempdir())
    return (
        default
        if len(str(default / PREFIX)) + 8 <= MAX_FOLDER_LENGTH or not os.access(SHORT_ROOT, os.W_OK)
        else SHORT_ROOT
    )


def _remove_used_folders() -> None:
    """Remove what Ray in this process has written since its folder was removed."""
    for folder in _used_folders:
        rmtree(folder, ignore_errors=True)


_used_folders: list[Path] = []
atexit.register(_remove_used_folders)  # before Ray is imported, so that Ray's own end comes first


@contextmanager
def _ray_folder() -> Iterator[Path]:
    """Create a folder for Ray's sockets and logs. At the end it is removed, and all other processes that use it end."""
    parent = _folder_root()
    remove_stale_folders(parent, PREFIX, ray_cleanup.end)
    folder, lock = locked_folder(PREFIX, parent)
    with lock:
        command = [sys.executable, "-I", "-S", ray_cleanup.__file__, str(folder), str(os.getpid())]
        null = subprocess.DEVNULL
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True)
        except BaseException:  # also Ctrl-C, since nothing else would remove the folder
            rmtree(folder, ignore_errors=True)
            raise
        _used_folders.append(folder)
        with process:  # the end of the block closes its standard input and waits for it
            yield folder


@contextmanager
def joined_cluster(address: str | None) -> Iterator[Resources]:
    """Join a cluster inside the block.

    Args:
        address: HOST:PORT, or ``auto`` for the cluster of this machine; None is the address in ``RAY_ADDRESS``.

    Yields:
        The resources of the cluster, such as {"GPU": 8.0, "CPU": 64.0}.

    Raises:
        InputError: If there is no address, no cluster answers there, or the cluster has another version of Ray or
            Python.
    """
    require_ray()
    with _environment_defaults(RAY_ENVIRONMENT), _joined_cluster(_import_ray(), address) as resources:
        yield resources


@contextmanager
def _joined_cluster(ray: Any, requested_address: str | None) -> Iterator[Resources]:
    if ray.is_initialized():
        yield dict(ray.cluster_resources())
        return
    option = "--ray-address" if requested_address else "RAY_ADDRESS"
    requested = requested_address or os.environ.get("RAY_ADDRESS")
    address = _resolved_address(option, requested)
    # On a machine with a token, Ray starts clusters that require it. A cluster without a token rejects processes that
    # send one.
    with_token = {"RAY_AUTH_MODE": "token"} if requested == "auto" and _has_token() else {}
    gone_message = (
        f"error: the cluster at {shown(address)} went away while this command was joining it; check that it runs, "
        "and run the command again, a search with --resume"
    )
    native_output: list[str] = []
    try:
        with _environment_defaults(DRIVER_ENVIRONMENT | with_token):
            _reset_authentication()
            with message_if_ended(gone_message), _keep_sigterm_handler(), _captured_stderr(native_output):
                ray.init(address=address, **_quiet_options())
    except Exception as error:  # whatever Ray raises, by kind of failure
        ray.shutdown()
        if "Unauthenticated" in "".join(native_output):
            raise InputError(
                f"{option}: the cluster at {shown(address)} asks for a token; set RAY_AUTH_MODE=token, and "
                "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token to the token of the machine that started it"
            ) from None
        if "ersion mismatch" in str(error):
            raise InputError(
                f"{option}: the cluster at {shown(address)} runs another Ray or Python ({_on_one_line(str(error))}); "
                "use the same on every node and here"
            ) from None
        raise _no_cluster_error(option, address, first_line(error)) from None
    try:
        _silence_worker_messages()
        yield dict(ray.cluster_resources())
    finally:
        ray.shutdown()


def _resolved_address(option: str, address: str | None) -> str:
    """The address HOST:PORT of a cluster that answers; ``auto`` if Ray must find it. Else InputError."""
    if not address:
        raise InputError(
            "--devices ray: no cluster is named; give --ray-address HOST:PORT, or auto for the cluster that this "
            "machine belongs to, or set RAY_ADDRESS"
        )
    if address == "auto":
        try:
            from ray._private.services import canonicalize_bootstrap_address_or_die as ray_finds
        except ImportError:  # a private function, which may move: then Ray finds the cluster while it connects
            return address
        try:
            address = str(ray_finds("auto"))
        except Exception as error:  # no cluster, or several
            raise _no_cluster_error(option, "auto", first_line(error)) from None
    match = ADDRESS.fullmatch(address)
    if match is None:
        wrong_kinds = {"ray": "for clients outside the cluster", "http": "the dashboard's", "https": "the dashboard's"}
        scheme, separator, _ = address.partition("://")
        hint = f", which is {wrong_kinds[scheme]}" if separator and scheme in wrong_kinds else ""
        raise InputError(
            f"{option}: must be HOST:PORT, such as 10.0.0.1:6379, or auto, got {shown(address)}{hint}; run the command "
            "on a machine of the cluster, for example as a Ray job, and give auto"
        )
    if reason := _why_no_answer(match["six"] or match["host"], int(match["port"])):
        raise _no_cluster_error(option, address, reason)
    return address


def _why_no_answer(host: str, port: int) -> str:
    """Why there is no cluster at a port; "" if there may be one: it speaks HTTP/2, as all of Ray's servers do."""
    try:
        with socket.create_connection((host, port), timeout=ANSWER_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return ""  # the server would wait for a TLS greeting
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(GREETING)
            answer = connection.recv(9)
    except TimeoutError:
        return f"no answer in {ANSWER_SECONDS:.0f} s"
    except OSError as error:
        return system_reason(error)
    except (OverflowError, UnicodeError) as error:  # an impossible port or name
        return first_line(error)
    return "" if answer[3:4] == b"\x04" else "something else answers there"  # an HTTP/2 server sends settings first


def _no_cluster_error(option: str, address: str, reason: str) -> InputError:
    return InputError(
        f"{option}: no Ray cluster answers at {shown(address)} ({cut(reason)}); check the address and that `ray "
        "status` shows the cluster, or start one with `ray start --head`"
    )


def first_line(error: object) -> str:
    """The first line of an error's text, or the name of its class."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def _on_one_line(text: str) -> str:
    """A text on one line, cut to 300 characters."""
    return cut(" ".join(text.split()), 300)


def _import_ray() -> Any:
    """Import ray, with its loggers at errors only. Its environment must be set before."""
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


@contextmanager
def _environment_defaults(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables inside the block. A variable that the user has set stays as it is."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _token_environment() -> dict[str, str]:
    """Variables that protect a local Ray from other users. Without them Ray writes a token to the home folder."""
    if "RAY_AUTH_TOKEN_PATH" in os.environ:
        return {"RAY_AUTH_MODE": "token"}
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _has_token() -> bool:
    """Whether this machine has a token for clusters."""
    names = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    try:
        return bool(names) or (Path.home() / ".ray" / "auth_token").is_file()
    except (OSError, RuntimeError):  # no home
        return False


def _reset_authentication() -> None:
    """Make Ray read its variables and its token again; it caches them for the life of a process."""
    with suppress(ImportError, AttributeError):  # a private module, which may move
        from ray import _raylet

        private: Any = _raylet
        private.Config.initialize("")
        private.AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _captured_stderr(output: list[str]) -> Iterator[None]:
    """Capture what native code writes to stderr inside the block, and append it to ``output``."""
    try:
        original = os.dup(2)
    except OSError:  # closed
        yield
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)
            file.seek(0)
            output.append(file.read().decode(errors="replace"))


def _quiet_options() -> dict[str, Any]:
    return {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}


def _silence_worker_messages() -> None:
    """Stop Ray from printing on stdout that a worker has died, which the run handles or reports itself."""
    with suppress(ImportError):  # a private module, which may move: then the messages stay
        import ray._private.worker as private

        private.print_to_stdstream = lambda data, ignore_prefix: None


@contextmanager
def _keep_sigterm_handler() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, which Ray replaces if it is started from the main thread."""
    handler = signal.getsignal(signal.SIGTERM)
    private: Any = None
    with suppress(ImportError):  # a private module, which may move: then Ray's handler is set for a moment
        import ray._private.utils as private
    ray_setter = getattr(private, "set_sigterm_handler", None)
    try:
        if ray_setter is not None:
            private.set_sigterm_handler = lambda handler: None
        yield
    finally:
        if ray_setter is not None:
            private.set_sigterm_handler = ray_setter
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, handler)
