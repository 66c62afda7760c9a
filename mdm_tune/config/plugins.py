"""Names of plugins in a config: sections whose type is that of a plugin, and metrics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Annotated, Any, Union, get_args

from pydantic import AfterValidator, BeforeValidator, Discriminator, PlainValidator, Tag, WithJsonSchema

from mdm_tune.config import validators
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, listed, shown
from mdm_tune.core.plugins import PluginKind, check_plugin_name, installed_plugins, plugin_named
from mdm_tune.core.problems import suggestion

__all__ = [
    "DATASETS",
    "METRICS",
    "MODELS",
    "PLUGIN",
    "MetricName",
    "PluginMetrics",
    "by_type",
    "name_conflicts",
    "plugin_type",
    "type_name",
]

PLUGIN = "the name of an installed plugin"  # stands for all of them where types are listed
MODELS = ("transformer", "huggingface", "custom", "markov", "repeated-bit", "parity", "table", "mixture")
DATASETS = ("text", "law", "jsonl", "csv", "lines", "datasets", "lm-eval", "humaneval", "mbpp")
METRICS = (
    "kl",
    "tv",
    "order_kl",
    "nelbo",
    "path_nll",
    "agreement",
    "spelling",
    "exact_match",
    "regex",
    "generative_nll",
    "custom",
    "task",
)


def type_name(section: Any) -> str:
    """The value of ``type`` for which a section stands; ``PLUGIN`` for that of plugins."""
    return str((get_args(section.model_fields["type"].annotation) or (PLUGIN,))[0])


def by_type(union: Any, kind: PluginKind) -> Any:
    """The union of sections, chosen by their key ``type``; the names of plugins choose the section of plugins."""
    return Annotated[
        Union[tuple(Annotated[section, Tag(type_name(section))] for section in get_args(union))],  # noqa: UP007
        Discriminator(_tag_of(union, kind)),
    ]


def _tag_of(union: Any, kind: PluginKind) -> Callable[[Any], str | None]:
    built_in = {type_name(section) for section in get_args(union)} - {PLUGIN}

    def tag(section: Any) -> str | None:
        if not isinstance(section, Mapping) and not hasattr(section, "type"):
            return None
        if isinstance(section, Mapping) and "type" not in section:
            return None
        name = section["type"] if isinstance(section, Mapping) else section.type
        if isinstance(name, str) and name not in built_in and plugin_named(kind, name) is not None:
            return PLUGIN
        return name if isinstance(name, str) and name != PLUGIN else cut(name)

    return tag


def plugin_type(kind: PluginKind, built_in: Collection[str]) -> Any:
    """The type of ``type`` in the section of plugins: the name of one that is installed."""

    def check(name: str) -> str:
        if plugin_named(kind, name) is None:
            raise ValueError(f"must be {PLUGIN}, got {shown(name)}; {_installed(kind)}")
        return name

    schema = {"type": "string", "not": {"enum": sorted(built_in)}}
    return Annotated[str, AfterValidator(check), WithJsonSchema(schema)]


def _metric_name(name: object) -> str:
    if isinstance(name, str) and (name in METRICS or plugin_named("metrics", name) is not None):
        return name
    legal = [*METRICS, *(plugin.name for plugin in installed_plugins("metrics"))]
    raise ValueError(f"must be one of {listed(legal)}, got {shown(name)}; {suggestion(name, legal)}choose one of them")


def _plugin_metrics(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name in METRICS or plugin_named("metrics", name) is None:
            raise ValueError(f"must hold names of installed plugins, got {shown(name)}; {_installed('metrics')}")
        try:
            check_plugin_name("metrics", name, METRICS, "metrics.plugins")
        except InputError as error:
            raise ValueError(str(error)) from None
    return tuple(dict.fromkeys(names))


def _installed(kind: PluginKind) -> str:
    names = [plugin.name for plugin in installed_plugins(kind)]
    return f"installed are {listed(names)}" if names else f"no installed package has plugins for {kind}"


MetricName = Annotated[
    str,
    PlainValidator(_metric_name),
    WithJsonSchema({"anyOf": [{"enum": list(METRICS)}, {"type": "string", "minLength": 1}]}),
]
PluginMetrics = Annotated[
    tuple[str, ...],
    BeforeValidator(validators.list_as_tuple),
    AfterValidator(_plugin_metrics),
    WithJsonSchema({"type": "array", "items": {"type": "string", "minLength": 1}}),
]


def name_conflicts(
    values: Mapping[str, Any], built_in: Mapping[str, tuple[PluginKind, Collection[str]]]
) -> Iterator[str]:
    """The messages of names that stand for several things.

    Args:
        values: The settings by their path; None for an invalid one.
        built_in: The kind of plugin and the built-in names of each path.
    """
    for path, (kind, names) in built_in.items():
        if isinstance(name := values[path], str):
            try:
                check_plugin_name(kind, name, names, path)
            except InputError as error:
                yield str(error)
