"""Loading of the user's functions from files, which only the command line can allow."""

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
    """Raise InputError unless foreign code is allowed; ``what`` names the setting, such as "model.target: FILE"."""
    if not trust_code:
        raise InputError(
            f"{what} runs code from outside this package, which a config cannot allow by itself; read that code, and "
            "give --trust-code if you trust it"
        )


def load_target(target: str, trust_code: bool, field: str = "target") -> Callable[..., Any]:
    """The function that ``FILE.py:NAME`` names.

    The file is run once per process. Its folder is added to the end of the module search path, so that the file can
    import its neighbours.

    Args:
        target: ``FILE.py:NAME``.
        trust_code: whether --trust-code was given.
        field: the path of the setting, for messages.

    Raises:
        InputError: foreign code is not allowed, the file is missing or fails, or it has no such function.
    """
    file, _, name = target.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise InputError(f"{field}: must be FILE.py:NAME, got {target!r}; write it like my_model.py:build")
    require_trust(trust_code, f"{field}: {target}")
    path = Path(file).absolute()
    if not path.is_file():
        raise MissingInput(f"{field}: there is no file {path}; correct the path, which starts at the config's folder")
    value = getattr(_imported_module(path, field), name, None)
    if value is None:
        raise InputError(f"{field}: {path} has no {name!r}; define it there, or correct the name behind the colon")
    if not callable(value):
        raise InputError(f"{field}: {name!r} in {path} must be a function, got {type(value).__name__}; name a function")
    function: Callable[..., Any] = value
    return function


def _imported_module(path: Path, field: str) -> ModuleType:
    name = f"mdm_tune_target_{short_digest(str(path))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the suffix is .py
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[name] = module  # before it runs, because dataclasses look up their module
    try:
        what = f"{field}: {shown_path(path)}"
        with calling(what, "correct the file", file=path, verb="cannot be imported", loading=True):
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def options_text(options: object) -> str:
    """The user's options as text; equal options give equal text, whatever the types of their keys and values."""
    return json.dumps(_with_text_keys(options), sort_keys=True, default=str)


def _with_text_keys(value: object) -> object:
    """The value with text as keys of all mappings, because keys of several types cannot be sorted."""
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else f"{type(key).__name__} {key}": _with_text_keys(inner)
            for key, inner in value.items()
        }
    return [_with_text_keys(inner) for inner in value] if isinstance(value, list | tuple) else value
