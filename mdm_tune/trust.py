"""Code from outside the package: loaded from a file, and only where the command line says so."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from mdm_tune.errors import InputError

__all__ = ["load_target", "require_trust"]


def require_trust(trust_code: bool, what: str) -> None:
    """Raise InputError where ``what``, such as "model.target: FILE", runs code that no flag allows."""
    if not trust_code:
        raise InputError(
            f"{what} runs code from outside this package, which a config cannot allow by itself; read that code, and "
            "give --trust-code if you trust it"
        )


def load_target(target: str, trust_code: bool, field: str = "target") -> Callable[..., Any]:
    """The function that ``FILE.py:NAME`` names, from a file that is run once in a process.

    field: the path of the setting, for messages. The file's folder joins the end of the module search path, so that it
    can import its neighbours.

    Raises InputError without ``trust_code``, for a file that is missing or fails, and for a name that it lacks or that
    is no function.
    """
    file, _, name = target.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise InputError(f"{field}: must be FILE.py:NAME, got {target!r}; write it like my_model.py:build")
    require_trust(trust_code, f"{field}: {target}")
    path = Path(file).absolute()
    if not path.is_file():
        raise InputError(f"{field}: there is no file {path}; correct the path, which starts at the config's folder")
    found = getattr(_module(path, field), name, None)
    if found is None:
        raise InputError(f"{field}: {path} has no {name!r}; define it there, or correct the name behind the colon")
    if not callable(found):
        raise InputError(f"{field}: {name!r} in {path} must be a function, got {type(found).__name__}; name a function")
    loaded: Callable[..., Any] = found
    return loaded


def _module(path: Path, field: str) -> ModuleType:
    name = f"mdm_tune_target_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the suffix is .py
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[name] = module  # before it runs: dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(f"{field}: {path} cannot be imported: {described(error, path)}; correct the file") from None
    return module


def described(error: BaseException, path: Path) -> str:
    """An error's kind, text and the last line of the file at ``path`` that it passed through."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {error}{where}"
