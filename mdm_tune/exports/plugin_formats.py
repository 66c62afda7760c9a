"""An export format that another installed package adds. What it returns is checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.guard import calling, safe_repr
from mdm_tune.core.plugins import Plugin, load_plugin
from mdm_tune.exports.base import BlockRule, Exported, ExportFormat, Realised
from mdm_tune.exports.policy import Kind, Policy

__all__ = ["checked_format", "plugin_format"]

FIRST = 2000  # characters in which the command looks for it before it replaces a file
TEXTS = ("name", "target", "verified")


def plugin_format(plugin: Plugin, trust_code: bool) -> ExportFormat:
    """The export format of a plugin.

    Raises:
        InputError: If foreign code is not allowed, the plugin cannot be imported, or it is no export format.
    """
    loaded = load_plugin(plugin, "--to", trust_code)
    where = f"--to {plugin.name} of {plugin.origin}"
    with calling(where, "correct that package", file=plugin.file, loading=True):
        return checked_format(loaded, plugin.name, where, plugin.file)


def checked_format(given: Any, name: str, where: str, file: Path | None = None) -> ExportFormat:
    """An export format from outside of this package, with its attributes checked.

    Args:
        given: An ``ExportFormat``; a class is called without arguments first.
        name: The name that it must have.
        where: Its name in messages.
        file: The file with its code.

    Returns:
        A format whose results are checked. It has ``verify`` if the given one has it.

    Raises:
        InputError: If an attribute is missing or wrong.
    """
    inner = given() if isinstance(given, type) else given
    values = {key: getattr(inner, key, None) for key in (*TEXTS, "exact", "kinds", "blocks")}
    kinds = values["kinds"]
    known = set(get_args(Kind))
    rules = {
        **{f"the text {key}": isinstance(values[key], str) for key in TEXTS},
        f"the name of its entry point, {name}": values["name"] == name,
        "exact, true or false": isinstance(values["exact"], bool),
        f"kinds out of {', '.join(get_args(Kind))}": isinstance(kinds, set | frozenset) and kinds <= known,
        f"blocks, one of {', '.join(get_args(BlockRule))}": values["blocks"] in get_args(BlockRule),
        "a method export": callable(getattr(inner, "export", None)),
    }
    if wrong := [rule for rule, kept in rules.items() if not kept]:
        raise InputError(f"{where}: an export format must have {wrong[0]}, got {safe_repr(values)}; correct it")
    kind = _VerifiableFormat if callable(getattr(inner, "verify", None)) else _Format
    return kind(inner, where, file)


class _Format:
    """A format of a plugin, whose errors are explained and whose results are checked."""

    def __init__(self, inner: Any, where: str, file: Path | None) -> None:
        self.inner, self.where, self.file = inner, where, file
        self.name: str = inner.name
        self.target: str = inner.target
        self.verified: str = inner.verified
        self.exact: bool = inner.exact
        self.kinds: frozenset[Kind] = frozenset(inner.kinds)
        self.blocks: BlockRule = inner.blocks

    def export(self, policy: Policy) -> Exported:
        """See ``ExportFormat``. Raises RunError if the plugin fails or returns something else."""
        with calling(self.where, "correct that package", file=self.file):
            made: Any = self.inner.export(policy)
        if not isinstance(made, Exported) or not isinstance(made.files, Mapping) or not made.files:
            raise self._error("return an Exported with at least one file", safe_repr(made))
        for name, text in made.files.items():
            if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name or "\0" in name:
                raise self._error("name its files without a folder", safe_repr(name))
            if not isinstance(text, str):
                raise self._error(f"return text for {safe_repr(name)}", safe_repr(text))
            if policy.provenance(self.name)[0] not in text[:FIRST]:
                raise self._error("begin each file with the lines of policy.provenance(name)", safe_repr(name))
        for lines in (made.where, made.lost):
            if not isinstance(lines, tuple | list) or not all(isinstance(line, str) for line in lines):
                raise self._error("return where and lost as tuples of lines", safe_repr(lines))
        return made

    def _error(self, rule: str, got: str) -> RunError:
        return RunError(f"{self.where}: an export format must {rule}, got {got}; correct that package")


class _VerifiableFormat(_Format):
    """The same for a format whose target can be run on what was exported."""

    def verify(self, policy: Policy, exported: Path, peer: Path) -> Realised:
        """See ``Verifiable``. Raises RunError if the plugin fails or returns something else."""
        with calling(self.where, "correct that package", file=self.file):
            realised: Any = self.inner.verify(policy, exported, peer)
        if not isinstance(realised, Realised):
            raise self._error("return a Realised from verify", safe_repr(realised))
        return realised
