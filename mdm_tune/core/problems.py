"""Reading a config's YAML and ``--set``, and the messages of its problems: path, rule, value, remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import PATH_LENGTH, SHOWN_LENGTH, cut, quantity, shown, shown_path, without_password
from mdm_tune.core.other_names import hint_for
from mdm_tune.core.plain_yaml import read_yaml_file, unquoted_words, yaml_value
from mdm_tune.core.reading import DEEPEST

__all__ = [
    "Location",
    "field_problems",
    "problems_text",
    "read_yaml",
    "shown",
    "with_nested_value",
    "with_override",
    "without_password",
    "word_problems",
]

EXAMPLES = {  # example values for required keys; `TYPE.key` is a key of a section of this type
    "model": "{type: markov, length: 32, flip: 0.05}",
    "sampler": "{steps: [4, 8]}",
    "objective": "{metric: order_kl}",
    "steps": "[4, 8]",
    "metric": "nelbo",
    "path": "package:text",
    "length": "32",
    "sequences": "{aaaaa: 1, bbbbb: 1}",
    "weights": "[0.5, 0.5]",
    "components": "[[[0.9, 0.1]], [[0.2, 0.8]]]",
    "tune": "128",
    "choose": "256",
    "report": "512",
    "task": "gsm8k",
    "generation_length": "256",
    "huggingface.path": "GSAI-ML/LLaDA-8B-Instruct",
    "jsonl.path": "questions.jsonl",
    "csv.path": "questions.csv",
    "lines.path": "texts.txt",
    "datasets.path": "openai/gsm8k",
    "humaneval.path": "HumanEval.jsonl.gz",
    "mbpp.path": "mbpp.jsonl",
}
BOUNDS = {  # rule and remedy of pydantic's comparisons
    "greater_than_equal": ("at least {ge}", "give {ge} or more"),
    "greater_than": ("above {gt}", "give a number above {gt}"),
    "less_than_equal": ("at most {le}", "give {le} or less"),
    "less_than": ("below {lt}", "give a smaller number"),
    "finite_number": ("a finite number", "give an ordinary number"),
    "too_short": ("a list of at least {min_length}", "add an entry"),
    "string_too_short": ("text that is not empty", "give it a value"),
    "too_long": ("a list of at most {max_length}", "remove entries"),
    "string_pattern_mismatch": ("text without a null character", "remove it"),
    "string_unicode": ("text in UTF-8", "remove the bytes that are no text"),
    "string_too_long": ("text of at most {max_length} characters", "shorten it"),
}
UNIONS = ("model", "dataset")  # sections with types: pydantic adds the type's name to the location of an error
SWITCHES = ("search.warm_start",)  # settings for which `off` is a value
LISTED = 20  # problems of a config that are shown
SCHEDULE_LISTS = (("evaluate", "schedules"), ("search", "baselines"))

Location = tuple[int | str, ...]


def read_yaml(path: Path) -> dict[Any, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: the file cannot be read, is no plain YAML, or holds no mapping.
    """
    document = read_yaml_file(path, "the YAML file of a run")
    if document is None:
        raise InputError(
            f"{shown_path(path)}: the config is empty; it needs at least the sections model, sampler and objective"
        )
    if not isinstance(document, dict):
        raise InputError(
            f"{shown_path(path)}: a config must be a mapping of sections, got {shown(document)}; write `model:` first"
        )
    return document


def with_override(document: Mapping[Any, Any], override: str) -> dict[Any, Any]:
    """A copy of a config with one setting changed.

    Args:
        document: the config.
        override: ``section.key=value``, with the value in YAML.

    Raises:
        InputError: the override has another form, or a key on the path holds no mapping.
    """
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys) or len(keys) > DEEPEST:
        raise InputError(
            f"--set: must be section.key=value, got {shown(override)}; write it like --set search.trials=5"
        )
    return with_nested_value(document, keys, yaml_value(text, f"--set {cut(path.strip())}"))


def with_nested_value(document: Mapping[Any, Any], keys: Sequence[str], value: Any, above: str = "") -> dict[Any, Any]:
    """A copy of ``document`` with ``value`` at the nested ``keys``; missing mappings are added.

    Args:
        document: the mapping, which is not changed.
        keys: the path, from the outermost key inwards.
        value: the new value.
        above: the path of ``document`` itself with a dot at its end, for messages.

    Raises:
        InputError: a key on the path holds no mapping.
    """
    key, below = keys[0], keys[1:]
    if not below:
        return {**document, key: value}
    inner, path = document.get(key), f"{above}{key}"
    if inner is not None and not isinstance(inner, Mapping):
        raise InputError(f"{path}: must be a mapping to set a key in it, got {shown(inner)}; set {path} as a whole")
    return {**document, key: with_nested_value(inner or {}, below, value, f"{path}.")}


def field_problems(
    error: ValidationError,
    keys: Mapping[Location, Sequence[str]],
    labels: Mapping[str, str],
    examples: Mapping[str, str] = EXAMPLES,
) -> list[tuple[str, str]]:
    """Every problem in a pydantic error.

    Args:
        error: the error.
        keys: the legal keys of each section, by pydantic location.
        labels: the names of flags, by the paths that they set.
        examples: example values for missing keys.

    Returns:
        The dotted path and the line of the message for each problem. From the 21st problem on the line is empty.
    """
    problems = []
    for number, detail in enumerate(error.errors(include_url=False)):
        location, kind = detail["loc"], detail["type"]
        if kind == "union_tag_not_found" and not isinstance(detail["input"], Mapping):
            kind = "model_type"  # no mapping, and so without a key `type`
        path = dotted(location) + (".type" if kind in ("union_tag_invalid", "union_tag_not_found") else "")
        line = ""
        if number < LISTED:
            text = problem_text(kind, detail["input"], detail.get("ctx", {}), location, keys, examples)
            line = f"{labels.get(path, path)}: {text or cut(detail['msg'], 200)}"
        problems.append((path, line))
    return problems


def word_problems(document: Mapping[Any, Any], known: set[str]) -> list[tuple[str, str]]:
    """The path and a message for every yes, no, on and off without quotes.

    Args:
        document: the config.
        known: paths that have a problem of their own; they are left out.
    """
    rule = "is true or false to some readers of YAML and text to others; put it in quotes"
    return [
        (path, f"{cut(path, PATH_LENGTH)}: {word} {rule}")
        for path, word in unquoted_words(document)
        if path not in known and path not in SWITCHES
    ]


def problems_text(path: Path, problems: Sequence[str]) -> str:
    """The message for a config with several problems: their number, and one line for each of the first 20."""
    head = f"{shown_path(path)}: {quantity(len(problems), 'problem')} in the config"
    lines = [line for line in problems if line][:LISTED]
    more = len(problems) - len(lines)
    return "\n  ".join([head, *lines, *([f"and {more:,} more"] if more else [])])


def dotted(location: Location) -> str:
    """A pydantic location as a path like ``model.transition[1]``, without the type's name that pydantic adds."""
    if not location:  # the rule concerns the whole config
        return ""
    parts = location[:1] + location[2:] if location[0] in UNIONS else location
    is_key = parts[-1] == "[key]"
    path = ""
    for part in parts[:-1] if is_key else parts:
        if isinstance(part, int) and path and not is_key:
            path += f"[{part}]"
        else:
            text = cut(part) if isinstance(part, str) and part.isprintable() else shown(part)
            path += f".{text}" if path else text
    return cut(path, PATH_LENGTH)


def problem_text(
    kind: str,
    value: object,
    context: Mapping[str, Any],
    location: Location,
    keys: Mapping[Location, Sequence[str]],
    examples: Mapping[str, str] = EXAMPLES,
) -> str:
    """Rule, value and remedy of one pydantic error.

    Args:
        kind: pydantic's type of the error, such as "missing".
        value: the value that was received.
        context: pydantic's context of the error, such as a bound.
        location: pydantic's location.
        keys: the legal keys of each section, by pydantic location.
        examples: example values for missing keys.

    Returns:
        The text; empty for a kind that the models of this package never cause.
    """
    if kind == "value_error":
        return str(context["error"])
    if kind in ("extra_forbidden", "invalid_key"):
        return unknown_key(location[-1], location[:-1], keys)
    if kind in ("missing", "union_tag_not_found"):
        types = ", ".join(str(place[1]) for place in keys if place[:1] == location and len(place) == 2)
        example = examples.get(".".join(map(str, location[1:]))) or examples.get(str(location[-1]))
        entry = f"`{location[-1]}: {example}`" if example else f"`{location[-1]}`"
        return f"is required and missing; add {f'one of: {types}' if kind != 'missing' else entry}"
    if kind in ("literal_error", "union_tag_invalid"):
        legal = re.findall(r"'([^']*)'", context.get("expected") or context["expected_tags"])
        legal = [name for name in legal if " " not in name]  # without the words that stand for names of plugins
        got = value["type"] if isinstance(value, dict) and kind == "union_tag_invalid" else value
        return f"must be one of {', '.join(legal)}, got {shown(got)}; {suggestion(got, legal)}choose one of them"
    if kind in BOUNDS:
        rule, remedy = (text.format(**context) for text in BOUNDS[kind])
    elif kind in ("int_type", "float_type"):
        rule, remedy = ("a whole number" if kind == "int_type" else "a number"), number_remedy(value)
    elif kind == "string_type":
        rule, remedy = "text", "put it in quotes" if isinstance(value, int | float) else "give text"
        if location[:2] in SCHEDULE_LISTS:
            remedy = 'put a schedule that contains a comma in quotes, "beta:0.9,0.3"'
    elif kind == "bool_type":
        rule, remedy = "true or false", "write one of them, without quotes"
    elif kind == "tuple_type":
        rule, remedy = "a list", list_remedy(value)
    elif kind in ("dict_type", "model_type", "model_attributes_type"):
        rule, remedy = "a mapping", "write `key: value` lines below it, or leave an optional section out"
    else:
        return ""
    return f"must be {rule}, got {shown(value)}; {remedy}"


def list_remedy(value: object) -> str:
    """How to write a value as a list; YAML reads ``4, 8`` without brackets as text."""
    bare = isinstance(value, int | float) or (isinstance(value, str) and re.fullmatch(r"[\d\s,.]+", value))
    if bare or isinstance(value, str):
        return f"write it as [{value if bare else shown(value)}]"
    return "write it as [4, 8]"


def unknown_key(key: object, here: Location, keys: Mapping[Location, Sequence[str]]) -> str:
    """The message for a key that the section does not have.

    Args:
        key: the key.
        here: the location of the section.
        keys: the legal keys of every section, by location.
    """
    legal = keys.get(here, ())
    remask = isinstance(key, str) and "remask" in key[:SHOWN_LENGTH]
    note = "; true remasking (hiding a revealed token again) is not supported" if remask else ""
    hint = hint_for(key, here, keys) or suggestion(key, legal)
    return f"unknown key{note}; {hint}legal keys here: {', '.join(legal)}"


def suggestion(word: object, legal: Iterable[str]) -> str:
    """``did you mean 'trials'? `` if ``word`` resembles one of the legal words, else an empty text."""
    short = isinstance(word, str) and len(word) <= SHOWN_LENGTH  # a long text takes long to compare
    matches = difflib.get_close_matches(str(word), list(legal), n=1) if short else []
    return f"did you mean '{matches[0]}'? " if matches else ""


def number_remedy(value: object) -> str:
    """How to write a value as a number."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return "YAML reads a number like 1e-3 as text, so write it with a point and a sign, 1.0e-3"
    if isinstance(value, str) and re.fullmatch(r"[-+.\d]+", value):
        return "write it without quotes"
    if isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    return "write digits"
