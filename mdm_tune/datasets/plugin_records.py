"""The records of a data set that another installed package adds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from mdm_tune.config.data import LARGEST, SOURCES, USES, PluginDatasetConfig
from mdm_tune.core.errors import InputError
from mdm_tune.core.guard import calling, safe_repr
from mdm_tune.core.plugins import load_plugin, plugin_named
from mdm_tune.datasets.sources import Source

__all__ = ["plugin_sources", "sources_of"]


def plugin_sources(config: PluginDatasetConfig, trust_code: bool) -> dict[str, Source]:
    """Call the function of a plugin with the options of the section.

    The function returns records, which are mappings from names of fields to values, or records for each of ``tune``,
    ``choose`` and ``report``, and for ``shots`` if it has any.

    Args:
        config: The dataset section.
        trust_code: Whether foreign code may run.

    Returns:
        The source of each use. All uses have the same one unless the function tells them apart.

    Raises:
        InputError: If foreign code is not allowed, the function fails, or it returns something else.
    """
    plugin = plugin_named("datasets", config.type)
    assert plugin is not None  # the config refuses other names
    build = load_plugin(plugin, "dataset.type", trust_code)
    where = f"dataset.type: {plugin.name} of {plugin.origin}"
    place = f"with dataset.options [{', '.join(map(safe_repr, sorted(config.options)))}]"
    with calling(where, "correct that package, or the options", file=plugin.file, place=place, loading=True):
        return sources_of(build(**config.options), plugin.name, where)


def sources_of(returned: object, name: str, where: str) -> dict[str, Source]:
    """The source of each use, from what the function of a data set returned.

    Args:
        returned: Records, or records for each use.
        name: Name of the data set.
        where: Its name in messages.

    Raises:
        InputError: If it is something else.
    """
    if not isinstance(returned, Mapping):
        return dict.fromkeys(USES, Source(name, _checked_records(returned, where)))
    records = {use: _checked_records(some, f"{where}, {safe_repr(use)}") for use, some in returned.items()}
    if not set(USES) <= set(records) <= set(SOURCES):
        raise InputError(
            f"{where} must return records, or a mapping with records for tune, choose and report, and for shots if it "
            f"has any, got the keys {safe_repr(list(records))}; correct that package"
        )
    return {use: Source(f"{name} ({use})", some) for use, some in records.items()}


def _checked_records(returned: object, where: str) -> list[dict[str, Any]]:
    """The records that foreign code returned, as a list.

    Args:
        returned: What it returned.
        where: Its name in messages.

    Raises:
        InputError: If it is no series of mappings with text as keys, or has too many of them.
    """
    if isinstance(returned, str | bytes) or not isinstance(returned, Iterable):
        raise InputError(f"{where} must return records, a list of mappings, got {safe_repr(returned)}; correct it")
    records = []
    for number, record in enumerate(islice(returned, LARGEST + 1)):
        if not isinstance(record, Mapping) or not all(isinstance(key, str) for key in record):
            raise InputError(
                f"{where} must return records, mappings from names of fields to values, got {safe_repr(record)} as row "
                f"{number}; correct it"
            )
        records.append(dict(record))
    if len(records) > LARGEST:
        raise InputError(f"{where} must return at most {LARGEST:,} records, got more; correct it")
    return records
