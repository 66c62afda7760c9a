"""Names of schedules and numbers of the page, in a form that people read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import PurePath

from mdm_tune.core.errors import InputError
from mdm_tune.core.numerals import shortest
from mdm_tune.pages.chart_frame import KINDS, Role
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.labels import Label

__all__ = [
    "FIGURES",
    "RULES",
    "and_listed",
    "cut_text",
    "figure_name",
    "kind_of",
    "large",
    "role_of",
    "rounded_count",
    "short_name",
    "short_names",
    "time_text",
    "without_value",
]

LONGEST = 48  # characters of a name
WRITTEN = 12  # digits of a number that a person may have written
FIGURES = {  # of diversity, as records call them, and what they are
    "token_entropy": "the entropy of the tokens of a batch, in nats",
    "distinct_tokens": "the share of distinct runs of three tokens among all of a batch",
    "answer_length": "the characters of a sample",
    "distinct_words": "the share of distinct words among the known words",
}
RULES = {  # what each kind of policy reveals at a step
    "counts": "as many tokens as its counts say, known in advance: those that come first in the order of the sampler",
    "threshold": "every token whose confidence is at least the number",
    "entropy-bound": "the surest tokens, one after the other, until the entropies of those taken sum to more than the "
    "number, in nats",
    "quota": "at least as many tokens as its schedule does with the number of steps after #, and every other one whose "
    "confidence exceeds the number after @",
    "cap": "at most as many tokens as its schedule does with the number of steps after #, and only those whose "
    "confidence exceeds the number after @",
    "klass": "every token whose confidence exceeds the number after @ and whose prediction moved, at the last two "
    "calls, by less than the number before @ (a KL divergence in nats)",
}


def short_name(label: str) -> str:
    """The label of a schedule or an adaptive policy in a few words.

    Parameters a and b of more than 12 digits are shown in three. A file is shown without its folders.
    """
    parsed = Label.read(label)
    name, (kind, _, numbers) = parsed.name, parsed.name.partition(":")
    if name.endswith((".yaml", ".yml")):
        path = PurePath(name)
        name = f"tuned ({path.parent.name})" if path.name == "schedule.yaml" and path.parent.name else path.name
    elif kind == "beta":
        with suppress(ValueError):
            name = f"Beta({', '.join(_brief(float(number)) for number in numbers.split(','))})"
    elif kind in ("counts", "alphas") and len(name) > LONGEST:
        name = f"{kind} ({numbers.count(',') + 1} numbers)"
    return cut_text(str(Label(name, parsed.blocks)), LONGEST)


def _brief(number: float) -> str:
    """A number that a person may have written as it is, and one that a search proposed in three digits."""
    whole = f"{number:.{WRITTEN}g}"
    return whole if float(whole) == number else f"{number:.3g}"


def short_names(labels: Iterable[str]) -> dict[str, str]:
    """The short names by label. Names that would be the same stay whole, cut in the middle."""
    known = list(dict.fromkeys(labels))
    short = {label: short_name(label) for label in known}
    doubled = {name for name in short.values() if list(short.values()).count(name) > 1}
    return {label: cut_text(label, 2 * LONGEST) if name in doubled else name for label, name in short.items()}


def role_of(label: str) -> Role:
    """Which colour a schedule has in figures: tuned, linear, adaptive or other."""
    name = Label.read(label).name
    if name == "linear":
        return "linear"
    if kind_of(name):
        return "adaptive"
    return "tuned" if name.endswith((".yaml", ".yml")) or name == "tuned" else "other"


def kind_of(label: str) -> str:
    """The kind of an adaptive policy; empty for a schedule."""
    kind = re.split("[:@]", Label.read(label).name)[0]
    return kind if kind in KINDS else ""


def cut_text(text: str, longest: int) -> str:
    """The text with its middle left out if it is longer."""
    if len(text) <= longest:
        return text
    head = (longest - 1) * 2 // 3
    return f"{text[:head]}\u2026{text[len(text) - (longest - 1 - head) :]}"


def figure_name(name: str) -> str:
    """A figure of diversity in words. What records call distinct tokens are runs of three, and not all texts answer."""
    return {"distinct_tokens": "distinct trigrams", "answer_length": "sample length"}.get(name, name.replace("_", " "))


def without_value(label: str) -> str:
    """The name of an adaptive policy without its value, as it is given where the value is set for a budget."""
    parsed = Label.read(label)
    plan = None
    with suppress(InputError):
        plan = parse_adaptive(parsed.name)
    if plan is None:
        return label
    own = plan.schedule if plan.schedule is not None else None if plan.kl is None else shortest(plan.kl)
    return str(Label(plan.kind if own is None else f"{plan.kind}:{own}", parsed.blocks))


def and_listed(words: Sequence[str]) -> str:
    """The words with commas, and "and" before the last one."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def large(number: float) -> str:
    """A whole number with spaces between thousands, as in 92\u202f599."""
    return f"{round(number):,}".replace(",", "\u202f")


def rounded_count(number: int) -> str:
    """A large count in three digits, as in 1.71 million; one below 10,000 in all its digits."""
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return large(number) if number < 10**4 else large(float(f"{number:.3g}"))


def time_text(seconds: float) -> str:
    """Seconds as a person says them."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
