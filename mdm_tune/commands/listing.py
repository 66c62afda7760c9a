"""``list``: the families of checkpoints, the metrics, the schedules, and the tasks of lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from mdm_tune.config.families import FAMILIES
from mdm_tune.config.file import ObjectiveConfig
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown

__all__ = ["KINDS", "listing", "listing_lines"]

METRICS: Mapping[str, str] = {  # README has more about each
    "kl": "divergence of samples from an exact law, by enumeration",
    "tv": "total variation of samples from an exact law, by enumeration",
    "order_kl": "KL averaged over orders, for exact laws in random order",
    "nelbo": "bound on the -log likelihood of held-out data, in random order",
    "path_nll": "-log likelihood of held-out data along the path of the sampler",
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
    "counts:3,5,9,15": "tokens of each step",
    "alphas:0,0.2,1": "revealed shares at the ends of the steps",
    "optimum": "the best of all schedules on the information profile",
    "threshold:0.9": "adaptive, for evaluate: every token above this confidence",
    "entropy-bound:0.5": "adaptive, for evaluate: tokens whose entropies sum to at most this",
    "quota:linear@0.9": "adaptive, for evaluate: the counts of a schedule, and more above this confidence",
}
MOST = 500  # tasks that are listed

Entry = dict[str, Any]


def listing(kind: str, word: str | None = None) -> dict[str, Any]:
    """List what a config can name.

    Args:
        kind: families, metrics, schedules or tasks.
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
    names = get_args(ObjectiveConfig.model_fields["metric"].annotation)
    return [{"name": name, "about": METRICS[name]} for name in names]


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
}
