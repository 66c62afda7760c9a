"""The arguments of a function beside the flags that a message of its command names."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

from mdm_tune.core.errors import MdmTuneError

__all__ = ["argument_of", "with_arguments"]

Given = ParamSpec("Given")
Result = TypeVar("Result")
FLAG = re.compile(r"(?<![\w-])(--[a-z][a-z-]*)(?:=(\w+))?")
OTHER_NAMES = {"--schedule": "schedules", "--show-differences": "differences"}  # where the argument has another name
OF_CONFIG = {"--set": "overrides=[...]", "--seed": "seed=...", "--output": "output=...", "--trials": "trials=..."}


def with_arguments(command: Callable[Given, Result]) -> Callable[Given, Result]:
    """A function of a command whose errors also name its arguments, as ``in Python, --resume is resume=True``."""
    parameters = inspect.signature(command).parameters

    @functools.wraps(command)
    def called(*arguments: Given.args, **named: Given.kwargs) -> Result:
        try:
            return command(*arguments, **named)
        except MdmTuneError as error:
            text = str(error)
            said = [f"{flag} is {name}" for flag, name in _arguments_in(text, parameters).items()]
            if said:
                start = "\nIn Python, " if "\n" in text else "; in Python, "
                error.args = (f"{text}{start}{' and '.join(said)}",)
            raise

    return called


def argument_of(flag: str, parameters: Mapping[str, inspect.Parameter], value: str | None = None) -> str | None:
    """The argument for a flag, such as ``resume=True``.

    Args:
        flag: Such as ``--resume``.
        parameters: Those of the function, by name.
        value: What follows the flag after ``=``; None if nothing does.

    Returns:
        The argument; a call of ``load_config`` for what belongs to the config; None for flags of the terminal alone.
    """
    own = flag[2:].replace("-", "_")
    name = own if own in parameters else OTHER_NAMES.get(flag)
    if name is None or name not in parameters:
        return f"load_config(path, {OF_CONFIG[flag]})" if flag in OF_CONFIG and "config" in parameters else None
    if value is not None:
        return f"{name}={value!r}"
    return f"{name}=True" if parameters[name].default is False else f"{name}=..."


def _arguments_in(text: str, parameters: Mapping[str, inspect.Parameter]) -> dict[str, str]:
    """The arguments by the flags that a text names, in its order."""
    found = {}
    for flag, value in FLAG.findall(text):
        if (argument := argument_of(flag, parameters, value or None)) is not None:
            found[f"{flag}={value}" if value else flag] = argument
    return found
