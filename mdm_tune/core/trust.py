"""Code from outside the package: loaded from a file, and only where the command line says so."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError, MissingInput
from mdm_tune.core.guard import calling
from mdm_tune.core.messages import shown_path

__all__ = ["load_target", "options_text", "require_trust"]


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
        raise MissingInput(f"{field}: there is no file {path}; correct the path, which starts at the config's folder")
    found = getattr(_module(path, field), name, None)
    if found is None:
        raise InputError(f"{field}: {path} has no {name!r}; define it there, or correct the name behind the colon")
    if not callable(found):
        raise InputError(f"{field}: {name!r} in {path} must be a function, got {type(found).__name__}; name a function")
    loaded: Callable[..., Any] = found
    return loaded


def _module(path: Path, field: str) -> ModuleType:
    name = f"mdm_tune_target_{short_digest(str(path))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the suffix is .py
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[name] = module  # before it runs: dataclasses look their module up
    try:
        what = f"{field}: {shown_path(path)}"
        with calling(what, "correct the file", file=path, verb="cannot be imported", loading=True):
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def options_text(options: object) -> str:
    """Options of the user's own as text, the same for equal ones, whatever kinds of keys and values they have."""
    return json.dumps(_sortable(options), sort_keys=True, default=str)


def _sortable(value: object) -> object:
    """Mappings with keys of text only, since keys of several kinds have no order."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else f"{type(key).__name__} {key}": _sortable(value[key]) for key in value}
    return [_sortable(each) for each in value] if isinstance(value, list | tuple) else value
