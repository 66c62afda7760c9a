"""The text of a configuration with comments: what was seen, and what could not be known."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mdm_tune.config.sampler import family_sampling
from mdm_tune.config.schema import schema_path
from mdm_tune.start.facts import TaskFacts
from mdm_tune.start.models import ModelFacts
from mdm_tune.start.sizes import Sizes

__all__ = ["comments_of", "config_sections", "config_text", "example_line"]

PLAIN = re.compile(r"[A-Za-z/~][\w./-]*(:[\w.-]+)?")
WORDS = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}
COLUMNS = 116
ABOUT = {
    "likelihood": "the likelihood of the data",
    "own answers": "of the model's own answers at one token per step",
}
LOGITS = 2**31  # bytes of the logits of a batch
Sections = dict[str, Any]


def config_sections(model: ModelFacts, task: TaskFacts, sizes: Sizes, steps: list[int], output: str) -> Sections:
    """The sections of a config as data.

    Args:
        model: The model.
        task: The task.
        sizes: The sizes of the splits.
        steps: The step budgets.
        output: The run folder.
    """
    family = None if model.family is None else model.family.name
    draws: dict[str, Any] = {}
    metric = task.metric
    own = None if family is None else family_sampling(family, model.folder or Path(), {}, None)
    if metric == "spelling":
        draws = {"order": "confidence", "temperature": 1.0}
    elif metric == "likelihood":
        metric = "path_nll" if own and own.get("order") else "nelbo"
        draws = {} if metric == "nelbo" or family is None else family_sampling(family, Path(), {}, metric)
        draws = draws or {"order": "random"}
    else:
        draws = own or {"order": "confidence", "temperature": 0.0}
    objective: dict[str, Any] = {"metric": metric}
    if metric == "own answers":  # path_nll ranks schedules best, and has no meaning in random order
        ranked = draws.get("order", "random") != "random"
        draws = {"order": draws["order"], "temperature": 0.0} if ranked else draws
        objective = {"metric": "path_nll", "answers": "model"} if ranked else {"metric": "agreement"}
    report: int | str = "all" if task.official else sizes.report
    dataset = task.dataset | {"tune": sizes.tune, "choose": sizes.choose, "report": report}
    sections: Sections = {
        "model": model.section,
        "dataset": dataset,
        "sampler": {**draws, "steps": steps, "batch": _batch(model.vocabulary, model.length, task.tokens)},
        "objective": objective,
    }
    if task.metrics is not None:
        sections["metrics"] = task.metrics
    return {**sections, "output": output}


def config_text(sections: Sections, comments: Mapping[str, str], head: list[str], unknown: list[str]) -> str:
    """The YAML text of a config.

    Args:
        sections: The result of ``config_sections``.
        comments: A comment by the dotted path of a setting.
        head: Lines of the comment at the top.
        unknown: What could not be known, as sentences.
    """
    lines = [f"# yaml-language-server: $schema={schema_path()}"]
    lines += _wrapped(head)
    if unknown:
        lines += ["# Not known:", *(line for text in unknown for line in _wrapped([text], "# - ", "#   "))]
    for name, section in sections.items():
        if not isinstance(section, dict):
            lines.append(f"{name}: {_value(section)}")
            continue
        lines.append(f"{name}:")
        for key, value in section.items():
            comment = comments.get(f"{name}.{key}", "")
            lines.append(f"  {key}: {_value(value)}" + (f" # {comment}" if comment else ""))
    return "\n".join(lines) + "\n"


def comments_of(task: TaskFacts, *, asked: bool, gain: float) -> dict[str, str]:
    """The comments of the settings, by their dotted paths.

    Args:
        task: The task.
        asked: Whether the user named the budgets.
        gain: The gain that the report split shows.
    """
    unit = " of the answers" if task.right_or_wrong else " standard deviations of the difference"
    if math.isfinite(gain):
        amount = f"{100 * gain:.1f} %" if task.right_or_wrong else f"{gain:.2g}"
        shown = f"shows a gain of about {amount}{unit} (80 % power)"
    else:
        shown = "too few to show any gain"
    if task.right_or_wrong and math.isfinite(gain):
        shown += ", if schedules differ on one in five"
    official, separate = task.official, task.reported is not None and not task.official
    shown = f"of {task.reported:,}; {shown}" if separate else shown
    parts = {
        "dataset.tune": f"of {task.available:,}" if task.available is not None else "how many there are is not known",
        "dataset.report": shown if not official or task.reported else "the official test documents",
        "sampler.steps": "" if asked else "an eighth and a quarter of the tokens: with few steps a schedule matters",
        "objective.metric": ABOUT.get(task.metric, ""),
    }
    return {path: text for path, text in parts.items() if text}


def example_line(text: str | None) -> str | None:
    """A rendered prompt as one line, cut; None if there is none."""
    if text is None:
        return None
    whole = json.dumps(text, ensure_ascii=False)
    return whole if len(whole) <= COLUMNS else f"{whole[:60]} ... {whole[-50:]}"


def _batch(vocabulary: int | None, length: int | None, tokens: int | None) -> int:
    """Rows whose logits take at most 2 GiB, a power of two; 16 if the model is unknown."""
    if vocabulary is None:
        return 16
    rows: int = LOGITS // (4 * vocabulary * max(1, tokens or length or 256))
    return max(1, min(128, 1 << max(0, rows.bit_length() - 1)))


def _wrapped(texts: list[str], first: str = "# ", rest: str = "# ") -> Iterator[str]:
    for text in texts:
        yield from textwrap.wrap(
            text, COLUMNS, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
        )


def _value(value: Any) -> str:
    """A value of YAML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        plain = PLAIN.fullmatch(value) and value.lower() not in WORDS
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)
