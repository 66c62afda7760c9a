"""Plugins: denoisers, metrics, data sets and export formats that other installed packages add by an entry point.

A plugin is found by the metadata of its package, which runs none of its code. It is imported only where a config or a
flag names it and the command line allows foreign code.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.guard import calling
from mdm_tune.core.messages import cut, listed, shown
from mdm_tune.core.trust import require_trust

__all__ = ["KINDS", "Plugin", "PluginKind", "check_plugin_name", "installed_plugins", "load_plugin", "plugin_named"]

PluginKind = Literal["denoisers", "metrics", "datasets", "exports"]
KINDS: tuple[PluginKind, ...] = ("denoisers", "metrics", "datasets", "exports")
GROUP = "mdm_tune."  # and the kind: the group of the entry points


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A plugin of an installed package.

    Attributes:
        kind: What it adds.
        name: Its name in a config or on the command line.
        target: The object, as ``module:attribute``.
        package: Name of the package.
        version: Version of the package.
    """

    kind: PluginKind
    name: str
    target: str
    package: str
    version: str

    @property
    def origin(self) -> str:
        """The package and its version."""
        return f"{cut(self.package)} {cut(self.version)}"

    @property
    def file(self) -> Path:
        """The file of its module; the plugin must be loaded."""
        return Path(getattr(sys.modules[self.target.partition(":")[0]], "__file__", None) or self.target)

    def fingerprint(self, *more: str) -> str:
        """Sixteen hex digits of the package, its version, the plugin's module, and ``more``; it must be loaded."""
        source = self.file.read_bytes() if self.file.is_file() else b""
        return short_digest(source, self.package, self.version, self.target, *more)


def installed_plugins(kind: PluginKind) -> tuple[Plugin, ...]:
    """The plugins of a kind that installed packages have, sorted by name. None of them is imported."""
    return tuple(plugin for plugin in _found(tuple(sys.path)) if plugin.kind == kind)


def plugin_named(kind: PluginKind, name: str) -> Plugin | None:
    """The first plugin of this kind and name; None if no installed package has one."""
    return next((plugin for plugin in installed_plugins(kind) if plugin.name == name), None)


def check_plugin_name(kind: PluginKind, name: str, built_in: Collection[str], field: str) -> None:
    """Raise InputError if a name stands for more than one thing.

    Args:
        kind: The kind.
        name: A name that the user gave.
        built_in: The names of this kind that this package has.
        field: The path of the setting, or the flag.
    """
    found = [plugin for plugin in installed_plugins(kind) if plugin.name == name]
    if found and name in built_in:
        raise InputError(
            f"{field}: a plugin must not have a built-in name, got {shown(name)} of the package {found[0].origin}; "
            "uninstall that package, or ask its authors to rename the plugin"
        )
    if len(found) > 1:
        raise InputError(
            f"{field}: a plugin's name must be unique, got {shown(name)} of the packages "
            f"{listed(plugin.origin for plugin in found)}; uninstall all but one"
        )


def load_plugin(plugin: Plugin, field: str, trust_code: bool) -> Any:
    """Import a plugin.

    Args:
        plugin: The plugin.
        field: The path of the setting, or the flag.
        trust_code: Whether --trust-code was given.

    Raises:
        InputError: If foreign code is not allowed, or if the plugin cannot be imported.
    """
    what = f"{field}: {plugin.name} of the package {plugin.origin}"
    require_trust(trust_code, what)
    remedy = "correct or reinstall that package, or uninstall it"
    with calling(what, remedy, verb="cannot be imported", loading=True):
        return metadata.EntryPoint(plugin.name, plugin.target, GROUP + plugin.kind).load()


@lru_cache(maxsize=8)
def _found(path: tuple[str, ...]) -> tuple[Plugin, ...]:
    """All plugins on a module search path; a package that the path has twice counts where it comes first."""
    seen: set[str] = set()
    found: list[Plugin] = []
    for distribution in metadata.distributions(path=list(path)):
        with suppress(Exception):  # metadata of packages that have nothing to do with this one may be broken
            if (own := [*_plugins_of(distribution)]) and own[0].package.lower().replace("_", "-") not in seen:
                seen.add(own[0].package.lower().replace("_", "-"))
                found += own
    return tuple(sorted(found, key=lambda plugin: (plugin.kind, plugin.name, plugin.package)))


def _plugins_of(distribution: metadata.Distribution) -> Iterator[Plugin]:
    for point in distribution.entry_points:
        for kind in KINDS:
            if point.group == GROUP + kind:
                yield Plugin(
                    kind=kind,
                    name=point.name,
                    target=point.value,
                    package=distribution.metadata["Name"],
                    version=distribution.version,
                )
