"""``list``: what a configuration or a flag can name, with the plugins of other installed packages."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, get_args

from mdm_tune.config.families import FAMILIES
from mdm_tune.config.file import DatasetConfig, ModelConfig
from mdm_tune.config.plugins import DATASETS, METRICS, MODELS, PLUGIN, type_name
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown
from mdm_tune.core.plugins import PluginKind, installed_plugins

__all__ = ["KINDS", "listing", "listing_lines"]

ABOUT_METRICS: Mapping[str, str] = {  # docs/commands.md has more about each
    "kl": "divergence of samples from an exact law, by enumeration",
    "tv": "total variation of samples from an exact law, by enumeration",
    "order_kl": "KL averaged over orders, for exact laws in random order",
    "nelbo": "bound on the -log likelihood of held-out data, in random order",
    "path_nll": "-log likelihood of held-out data along the path of the sampler",
    "agreement": "share of answers equal to the model's own at one token per step",
    "spelling": "share of characters in words of the vocabulary, for type text",
    "exact_match": "share of answers that equal the reference",
    "regex": "share of answers whose pattern equals that of the reference",
    "generative_nll": "-log likelihood of answers under another model",
    "custom": "a Python function of yours",
    "task": "the score of a benchmark",
}
SCHEDULES: Mapping[str, str] = {
    "linear": "equal shares at every step",
    "sine": "sin(pi/2 t)",
    "squared-sine": "sin^2(pi/2 t)",
    "maskgit-cosine": "1 - cos(pi/2 t)",
    "llada": "the counts of LLaDA for equal steps",
    "dream": "the counts of Dream for equal steps",
    "dllm": "the counts of dllm for equal steps",
    "beta:0.9,0.3": "sin^2(pi/2 BetaCDF(t; a, b)), with any two numbers a and b",
    "shift:0.3": "S t / (1 + (S - 1) t), with any number S; OmniVoice's",
    "counts:3,5,9,15": "tokens of each step",
    "alphas:0,0.2,1": "revealed shares at the ends of the steps",
    "optimum": "the best of all schedules on the information profile",
    "threshold:0.9": "adaptive policy: every token above this confidence",
    "entropy-bound:0.5": "adaptive policy: tokens whose entropies sum to at most this",
    "quota:linear@0.9": "adaptive policy: the counts of a schedule, and more above this confidence",
    "cap:linear@0.9": "adaptive policy: at most the counts of a schedule, of what is above this confidence",
    "klass:0.01@0.9": "adaptive policy: above this confidence and changing by less than this KL divergence",
}
MOST = 500  # tasks that are listed

Entry = dict[str, Any]


def listing(kind: str, word: str | None = None) -> dict[str, Any]:
    """List what a config can name.

    Args:
        kind: One of ``KINDS``.
        word: A part of the name, in either case; None for all. Tasks need one.

    Returns:
        ``kind`` and ``entries``, each with a ``name``.

    Raises:
        InputError: If the kind is unknown, if a list of tasks is wanted without a word, or if nothing matches.
    """
    if kind not in KINDS:
        raise InputError(f"list: WHAT must be one of {', '.join(KINDS)}, got {shown(kind)}; choose one of them")
    if kind == "tasks" and not word:
        raise InputError("list tasks: there are thousands, got no WORD; give a part of the name, such as gsm")
    entries = [entry for entry in KINDS[kind]() if (word or "").lower() in entry["name"].lower()]
    if not entries:
        raise InputError(f"list {kind}: no name has {shown(word)} in it; give a part of a name")
    return {"kind": kind, "entries": entries}


def listing_lines(result: Mapping[str, Any]) -> list[str]:
    """One line per entry: the name, and what it is."""
    entries = result["entries"][:MOST]
    width = max(len(entry["name"]) for entry in entries)
    lines = [f"{entry['name']:<{width}}  {entry['about']}".rstrip() for entry in entries]
    more = len(result["entries"]) - len(entries)
    return [*lines, *([f"and {more:,} more: give a longer word"] if more else [])]


def _families() -> list[Entry]:
    entries = []
    for family in FAMILIES.values():
        own = family.sampling
        order = None if own is None else own.order
        types = ", ".join(family.model_types)
        parts = [f"model types {types}" if types else "", "" if own is None else f"order {order}"]
        parts += [] if own is None else [f"temperature {own.temperature:g}"]
        about = "; ".join(part for part in parts if part)
        entries.append(
            {
                "name": family.name,
                "about": about,
                "model_types": list(family.model_types),
                "order": order,
                "temperature": None if own is None else own.temperature,
                "shift_logits": family.shift_logits,
                "attention_mask": family.attention_mask,
            }
        )
    return entries


def _metrics() -> list[Entry]:
    own = [{"name": name, "about": ABOUT_METRICS[name]} for name in METRICS]
    return [*own, *_plugins("metrics", METRICS)]


def _denoisers() -> list[Entry]:
    return [*_types(ModelConfig), *_plugins("denoisers", MODELS)]


def _datasets() -> list[Entry]:
    return [*_types(DatasetConfig), *_plugins("datasets", DATASETS)]


def _exports() -> list[Entry]:
    from mdm_tune.exports.registry import FORMATS

    own = [{"name": name, "about": f"for {known.target}"} for name, known in FORMATS.items()]
    return [*own, *_plugins("exports", FORMATS)]


def _types(union: Any) -> list[Entry]:
    """The types of a section, each with the first line of its docstring."""
    sections = {type_name(section): (inspect.getdoc(section) or "").partition("\n")[0] for section in get_args(union)}
    return [{"name": name, "about": about.replace("``", "`")} for name, about in sections.items() if name != PLUGIN]


def _plugins(kind: PluginKind, built_in: Collection[str]) -> list[Entry]:
    """The plugins of a kind, by the metadata of their packages: none of them is imported."""
    found = installed_plugins(kind)
    names = [plugin.name for plugin in found]
    entries = []
    for plugin in found:
        about = f"plugin of {plugin.origin}, needs --trust-code"
        if plugin.name in built_in or names.count(plugin.name) > 1:
            why = "built in" if plugin.name in built_in else "that of several packages"
            about = f"plugin of {plugin.origin}, refused: its name is {why}"
        entries.append({"name": plugin.name, "about": about, "package": plugin.package, "target": plugin.target})
    return entries


def _schedules() -> list[Entry]:
    return [{"name": name, "about": about} for name, about in SCHEDULES.items()]


def _tasks() -> list[Entry]:
    from mdm_tune.benchmarks.harness import task_names

    return [{"name": name, "about": kind} for name, kind in task_names()]


KINDS: Mapping[str, Callable[[], list[Entry]]] = {
    "families": _families,
    "metrics": _metrics,
    "schedules": _schedules,
    "tasks": _tasks,
    "denoisers": _denoisers,
    "datasets": _datasets,
    "exports": _exports,
}
