"""The rules that the values of a config obey: alone (pydantic validators) and together (``conflicts``)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationInfo

from mdm_tune.config_errors import shown
from mdm_tune.errors import InputError
from mdm_tune.schedules import LARGEST, SMALLEST, parse_schedule

__all__ = [
    "JUDGED",
    "OPTIMUM",
    "as_pair",
    "as_tuple",
    "conflicts",
    "distinct",
    "distinct_schedules",
    "equal_weights",
    "holds_linear",
    "increasing",
    "input_path",
    "large_enough",
    "one_length",
    "one_per_symbol",
    "one_shape",
    "schedule_name",
    "schedule_or_path",
    "square",
    "sums_to_one",
]

SMALLEST_SPLIT = 8
SUM_TOLERANCE = 1e-6  # 0.333333 is how people write a third
ROUNDING = 1e-12  # a row this close to 1 is kept as it is, so that a row that was divided once is not divided again
JUDGED = (
    "model.type",
    "dataset.type",
    "sampler.order",
    "sampler.reveal",
    "sampler.temperature",
    "sampler.block_length",
    "objective.metric",
    "dataset.tune",
    "profile.examples",
)
OPTIMUM = "optimum"  # the best of all schedules on the information profile
CONTEXT_ORDERS = "top-probability, margin, entropy"

Row = tuple[float, ...]
Matrix = tuple[Row, ...]


def as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def as_pair(value: object) -> object:
    if isinstance(value, list) and len(value) != 2:
        raise ValueError(f"must be two numbers [lowest, highest], got {shown(value)}; write it as [0.1, 10.0]")
    return as_tuple(value)


def increasing(bounds: tuple[float, float]) -> tuple[float, float]:
    if not SMALLEST <= bounds[0] < bounds[1] <= LARGEST:
        raise ValueError(
            f"must be two numbers [lowest, highest] with {SMALLEST:g} <= lowest < highest <= {LARGEST:g}, "
            f"got {shown(bounds)}; write it as [0.1, 10.0]"
        )
    return bounds


def distinct(entries: tuple[Any, ...]) -> tuple[Any, ...]:
    seen = set()
    for entry in entries:
        if entry in seen:
            raise ValueError(f"must not repeat an entry, got {shown(entry)} twice; remove one")
        seen.add(entry)
    return entries


def sums_to_one(row: Row) -> Row:
    """A row of probabilities, divided by its sum where that is 1 only up to the digits that a person writes."""
    total = math.fsum(row)
    if abs(total - 1.0) > SUM_TOLERANCE:
        raise ValueError(f"must sum to 1, got {shown(row)} with sum {total:.6g}; divide each entry by the sum")
    return row if abs(total - 1.0) <= ROUNDING else tuple(entry / total for entry in row)


def square(rows: Matrix, info: ValidationInfo) -> Matrix:
    """A transition matrix with one row and one column per symbol."""
    symbols = info.data.get("symbols")
    lengths = [len(row) for row in rows]
    if symbols is not None and {len(rows), *lengths} != {symbols}:
        raise ValueError(
            f"must be {symbols} x {symbols}, one row and one column per symbol, got {len(rows)} rows of lengths "
            f"{shown(lengths)}; complete it, or change model.symbols"
        )
    return rows


def one_per_symbol(start: Row, info: ValidationInfo) -> Row:
    symbols = info.data.get("symbols")
    if symbols is not None and len(start) != symbols:
        raise ValueError(f"must have one entry per symbol ({symbols}), got {len(start)}; complete it")
    return start


def one_shape(components: tuple[Matrix, ...], info: ValidationInfo) -> tuple[Matrix, ...]:
    """The components of a mixture: one matrix (length x symbols) per weight."""
    weights = info.data.get("weights")
    if weights is not None and len(weights) != len(components):
        raise ValueError(f"must have one entry per weight ({len(weights)}), got {len(components)}; complete it")
    shapes = [(len(rows), sorted({len(row) for row in rows})) for rows in components]
    if any(shape != shapes[0] or len(shape[1]) != 1 for shape in shapes):
        got = ", ".join(f"{length} x {' and '.join(map(str, widths))}" for length, widths in shapes)
        raise ValueError(f"must all have one shape, length x symbols, got {got}; make all rows equally long")
    return components


def equal_weights(value: object) -> object:
    """A list of strings becomes a table in which each weighs the same."""
    if not isinstance(value, list):
        return value
    for text in value:
        if not isinstance(text, str):
            raise ValueError(f"must hold texts, got {shown(text)}; put each string in quotes")
    return dict.fromkeys(distinct(tuple(value)), 1.0)


def one_length(sequences: dict[str, float]) -> dict[str, float]:
    lengths = sorted({len(text) for text in sequences})
    if len(lengths) != 1:
        got = f"lengths {', '.join(map(str, lengths))}" if lengths else "none"
        raise ValueError(f"must hold strings of one common length, at least one, got {got}; make them equally long")
    return sequences


def large_enough(size: int) -> int:
    if size < SMALLEST_SPLIT:
        raise ValueError(
            f"must be at least {SMALLEST_SPLIT}, because fewer examples are too few for an interval, "
            f"got {size}; give {SMALLEST_SPLIT} or more"
        )
    return size


def input_path(text: str, info: ValidationInfo) -> str:
    """An absolute path, resolved against the YAML file's folder; ``package:NAME`` is kept."""
    if text.startswith("package:"):
        if not re.fullmatch(r"package:[\w-]+", text):
            raise ValueError(f"package: must be followed by a name, got {shown(text)}; write it as package:text")
        return text
    folder: Path = (info.context or {}).get("folder", Path.cwd())
    return str(folder / text)


def schedule_name(text: str) -> str:
    if text.strip() == OPTIMUM:
        return OPTIMUM
    try:
        parse_schedule(text)
    except InputError as error:
        raise ValueError(f"{error} Or {OPTIMUM}.") from None
    return text.strip()


def is_file(text: str) -> bool:
    return text.endswith((".yaml", ".yml"))


def schedule_or_path(text: str, info: ValidationInfo) -> str:
    return input_path(text, info) if is_file(text) else schedule_name(text)


def distinct_schedules(texts: tuple[str, ...]) -> tuple[str, ...]:
    """``beta:1,1`` and ``beta:1.0,1.0`` are one schedule: compared twice it would beat itself by nothing."""
    seen: list[object] = []
    for text in texts:
        schedule = text if is_file(text) or text == OPTIMUM else parse_schedule(text)
        if schedule in seen:
            first = texts[seen.index(schedule)]
            raise ValueError(f"must not repeat a schedule, got {shown(first)} and {shown(text)}; remove one")
        seen.append(schedule)
    return texts


def holds_linear(baselines: tuple[str, ...]) -> tuple[str, ...]:
    if "linear" not in baselines:
        raise ValueError(f"must hold linear, because gains are measured against it, got {shown(baselines)}; add linear")
    return baselines


def conflicts(values: Mapping[str, Any], exact_laws: Sequence[str]) -> Iterator[str]:
    """One line per pair of settings that contradict each other.

    values: the settings at the paths ``JUDGED``, None where one is not known because it is itself wrong;
    ``dataset.type`` is ``none`` without a dataset. exact_laws: the model types whose law is known exactly.
    """
    order, reveal, metric = values["sampler.order"], values["sampler.reveal"], values["objective.metric"]
    if reveal == "bernoulli" and order not in ("random", None):
        yield (
            f"sampler.order: reveal bernoulli needs order random, because ancestral reveal picks its positions "
            f"by itself, got {shown(order)}; set sampler.order to random, or sampler.reveal to fixed"
        )
    if metric == "path_nll":
        yield from path_nll_conflicts(values)
    elif metric in ("nelbo", "order_kl"):
        yield from random_order_conflicts(values)
    elif metric == "spelling":
        yield from spelling_conflicts(values)
    yield from source_conflicts(values, exact_laws)
    yield from block_conflicts(values)
    examples, tune = values["profile.examples"], values["dataset.tune"]
    if isinstance(examples, int) and isinstance(tune, int) and examples > tune:
        yield (
            f"profile.examples: must be at most dataset.tune, whose examples the profile is measured on ({tune}), got "
            f"{examples}; lower it or raise dataset.tune"
        )


def block_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    size, metric = values["sampler.block_length"], values["objective.metric"]
    if size is None:
        return
    if values["sampler.reveal"] == "bernoulli":
        yield (
            f"sampler.block_length: blocks need reveal fixed, because ancestral reveal picks its positions by itself, "
            f"got {shown(size)} with reveal 'bernoulli'; set sampler.reveal to fixed, or leave block_length out"
        )
    if metric in ("kl", "tv"):
        yield (
            f"sampler.block_length: metric {metric} is computed for one block only, got {shown(size)}; set "
            "objective.metric to order_kl, nelbo or path_nll, or leave block_length out"
        )


def spelling_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    if values["sampler.temperature"] == 0 and values["sampler.order"] not in ("random", None):
        yield (
            f"sampler.temperature: metric spelling needs samples that differ, and at temperature 0 order "
            f"{shown(values['sampler.order'])} fills every example with the same text, got 0; set a temperature above 0"
        )


def path_nll_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    order, temperature = values["sampler.order"], values["sampler.temperature"]
    if values["sampler.reveal"] == "bernoulli":
        yield (
            "sampler.reveal: metric path_nll needs reveal fixed, got 'bernoulli'; set sampler.reveal to fixed, "
            "or objective.metric to nelbo"
        )
    if order == "random":
        yield (
            f"sampler.order: metric path_nll needs an order that follows from the predictions ({CONTEXT_ORDERS}), "
            f"got 'random'; set one of these, or objective.metric to nelbo"
        )
    if temperature is None:
        return
    if order == "confidence" and temperature != 0:
        yield (
            f"sampler.order: metric path_nll is not defined where the order looks at the drawn token: 'confidence' "
            f"at temperature {shown(temperature)}; use {CONTEXT_ORDERS}, or set sampler.temperature to 0"
        )
    elif temperature not in (0, 1):
        yield (
            f"sampler.temperature: metric path_nll prices tokens at temperature 1, so it must be 1, or 0 to score "
            f"the order alone, got {shown(temperature)}; set 1 or 0"
        )


def random_order_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    order, temperature, metric = values["sampler.order"], values["sampler.temperature"], values["objective.metric"]
    if order not in ("random", None):
        other = "path_nll" if metric == "nelbo" else "kl"
        yield (
            f"sampler.order: metric {metric} needs order random, got {shown(order)}; set sampler.order to random, "
            f"or objective.metric to {other}"
        )
    if temperature not in (1, None):
        yield (
            f"sampler.temperature: metric {metric} prices tokens at temperature 1, got {shown(temperature)}; "
            f"set sampler.temperature to 1.0"
        )


def source_conflicts(values: Mapping[str, Any], exact_laws: Sequence[str]) -> Iterator[str]:
    """What the metric and the dataset ask of the model and of each other."""
    metric, model, dataset = values["objective.metric"], values["model.type"], values["dataset.type"]
    known_law = model is None or model in exact_laws
    laws = ", ".join(exact_laws)
    if metric in ("kl", "tv", "order_kl") and not known_law:
        yield (
            f"objective.metric: {metric} needs a model whose law is known exactly ({laws}), got {shown(model)}; "
            f"set objective.metric to spelling, nelbo or path_nll"
        )
    if metric == "spelling" and dataset not in ("text", None):
        got = "no dataset" if dataset == "none" else shown(dataset)
        yield f"objective.metric: spelling needs a dataset of type text, got {got}; add one with type: text"
    if metric in ("nelbo", "path_nll") and dataset == "none":
        yield (
            f"objective.metric: {metric} is measured on examples, got no dataset; add a dataset section of type "
            f"text, or law if the model is an exact law"
        )
    if dataset == "law" and not known_law:
        yield (
            f"dataset.type: law draws its examples from an exact model ({laws}), got model {shown(model)}; "
            f"set dataset.type to text"
        )
