"""The rules for single values of a config, as pydantic validators."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationInfo

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, quantity
from mdm_tune.core.problems import shown
from mdm_tune.core.reading import expanded
from mdm_tune.core.statistics import FEWEST
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.curves import LARGEST, SMALLEST, parse_schedule
from mdm_tune.schedules.policy_names import parse_policy

__all__ = [
    "ALIASES",
    "OPTIMUM",
    "answers_or_path",
    "as_pair",
    "distinct",
    "distinct_schedules",
    "equal_weights",
    "holds_linear",
    "increasing",
    "input_path",
    "large_enough",
    "list_as_tuple",
    "one_length",
    "one_per_symbol",
    "one_shape",
    "path_exists",
    "path_of_flag",
    "path_with_home",
    "plain_options",
    "run_name",
    "schedule_name",
    "schedule_or_path",
    "square",
    "storage_url",
    "sums_to_one",
    "usable_temperature",
]

SMALLEST_SPLIT = 8
SUM_TOLERANCE = 1e-6  # people write 0.333333 for a third
ROUNDING = 1e-12  # a row whose sum is this close to 1 is not divided, so that dividing it twice changes nothing
# The names of this package's orders in LLaDA and Dream.
ALIASES = {"low_confidence": "confidence", "maskgit_plus": "confidence", "topk_margin": "margin"}
OPTIMUM = "optimum"  # the best of all schedules on the information profile

SEVERAL = 100  # budgets or schedules in one list
OPTIONS = 10_000  # values in the options of the user's code
COLDEST, HOTTEST = 1e-4, 1e4
HALF = re.compile("[\ud800-\udfff]")

Row = tuple[float, ...]
Matrix = tuple[Row, ...]


def list_as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def plain_options(options: dict[str, Any]) -> dict[str, Any]:
    """Options of the user's code: mappings with text as keys, lists, and values that JSON can hold."""
    level: list[tuple[str, object]] = [("options", options)]
    count = 0
    while level:
        count += len(level)
        if count > OPTIONS:
            raise ValueError(f"must hold at most {OPTIONS:,} values, got more; let your code read a file")
        inside: list[tuple[str, object]] = []
        for path, value in level:
            if isinstance(value, dict):
                inside += [(f"{path}.{key}", inner) for key, inner in value.items()]
                _raise_if_any(path, [key for key in value if not isinstance(key, str) or not key], "have keys of text")
                _raise_if_any(path, [key for key in value if HALF.search(key)], "have keys in UTF-8")
            elif isinstance(value, list | tuple):
                inside += [(f"{path}[{index}]", inner) for index, inner in enumerate(value)]
            elif isinstance(value, float):
                _raise_if_any(path, [] if math.isfinite(value) else [value], "be a finite number")
            elif isinstance(value, str):
                _raise_if_any(path, [value] if HALF.search(value) else [], "be text in UTF-8")
            else:
                plain = value is None or isinstance(value, bool | int)
                _raise_if_any(path, [] if plain else [value], "be text, a number, true, false, a list or a mapping")
        level = inside
    return options


def _raise_if_any(path: str, wrong: Sequence[object], rule: str) -> None:
    if wrong:
        raise ValueError(f"{cut(path)} must {rule}, got {shown(wrong[0])}; correct it")


def usable_temperature(value: float) -> float:
    """0, or a temperature that neither makes logits overflow nor makes all tokens equally likely."""
    if value != 0 and not COLDEST <= value <= HOTTEST:
        raise ValueError(
            f"must be 0, or from {COLDEST:g} to {HOTTEST:g}, because smaller values act like 0 and larger ones make "
            f"all tokens equally likely, got {shown(value)}; give 0 or 1.0"
        )
    return value


def one_or_several(value: object) -> object:
    return list_as_tuple(value if isinstance(value, list | tuple) else [value])


def as_pair(value: object) -> object:
    if isinstance(value, list) and len(value) != 2:
        raise ValueError(f"must be two numbers [lowest, highest], got {shown(value)}; write it as [0.1, 10.0]")
    return list_as_tuple(value)


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
    """A row of probabilities. A sum that differs from 1 by rounding of written digits is divided out."""
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
            f"must be {symbols} x {symbols}, one row and one column per symbol, got {quantity(len(rows), 'row')} "
            f"of lengths {shown(lengths)}; complete it, or change model.symbols"
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
    """A table with equal weights for a list of strings."""
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
            f"must be at least {SMALLEST_SPLIT}, because fewer examples say next to nothing about others, got {size}; "
            f"give {FEWEST} or more, which an interval needs"
        )
    return size


def input_path(text: str, info: ValidationInfo) -> str:
    """An absolute path, resolved against the YAML file's folder; ``package:NAME`` stays as it is."""
    if text.startswith("package:"):
        if not re.fullmatch(r"package:[\w-]+", text):
            raise ValueError(f"package: must be followed by a name, got {shown(text)}; write it as package:text")
        return text
    folder: Path = (info.context or {}).get("folder", Path.cwd())
    return str(folder / expanded(text))


def path_with_home(text: str) -> str:
    """A path with ``~`` replaced by the user's home; a relative path stays relative."""
    return expanded(text)


def path_of_flag(path: Path) -> Path:
    """A path of the command line, with ``~`` replaced; raises InputError for the home of a user who does not exist."""
    try:
        return Path(expanded(str(path)))
    except ValueError as error:
        raise InputError(f"{shown(str(path))}: {error}") from None


def path_exists(path: Path, *, folder: bool = False) -> bool:
    """Whether a file or folder exists; with ``folder``, whether a folder exists. False for an impossible path."""
    try:
        return path.is_dir() if folder else path.exists()
    except OSError:
        return False


def answers_or_path(text: str, info: ValidationInfo) -> str:
    """``reference``, ``model``, or any other text as an input path."""
    return text if text in ("reference", "model") else input_path(text, info)


def storage_url(text: str) -> str:
    if "://" not in text:
        raise ValueError(
            "must be a URL that Optuna knows, such as sqlite:////path/to/file.db, "
            "postgresql+psycopg://user@host/database or redis://host, got text without ://; leave it out for a "
            "journal in the run folder"
        )
    if text.startswith("sqlite:///~"):
        return f"sqlite:///{expanded(text.removeprefix('sqlite:///'))}"
    return text


def run_name(text: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,100}", text):
        raise ValueError(
            f"must be 1 to 100 letters, digits, '.', '-' or '_', got {shown(text)}; it names the run in the storage"
        )
    return text


def schedule_name(text: str) -> str:
    if text.strip() == OPTIMUM:
        return OPTIMUM
    try:
        parse_schedule(text)
    except InputError as error:
        raise ValueError(f"{error} Or {OPTIMUM}.") from None
    return text.strip()


def is_schedule_path(text: str) -> bool:
    return text.endswith((".yaml", ".yml"))


def schedule_or_path(text: str, info: ValidationInfo) -> str:
    """The name of a schedule, the path of a schedule file, or the name of an adaptive policy."""
    try:
        plan = parse_adaptive(text)
        if plan is None and not is_schedule_path(text) and text.strip() != OPTIMUM:
            parse_policy(text, f"{OPTIMUM}, the best of all on the profile, or a file that ends in .yaml")
    except InputError as error:
        raise ValueError(str(error)) from None
    if plan is None:
        return input_path(text, info) if is_schedule_path(text) else text.strip()
    if plan.schedule is None:
        return text
    return plan.with_schedule(schedule_or_path(plan.schedule, info)).name


def distinct_schedules(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Texts that name different schedules; ``beta:1,1`` and ``beta:1.0,1.0`` name the same one."""
    seen: list[object] = []
    for text in texts:
        is_text = is_schedule_path(text) or text == OPTIMUM or parse_adaptive(text) is not None
        schedule = text if is_text else parse_schedule(text)
        if schedule in seen:
            first = texts[seen.index(schedule)]
            raise ValueError(f"must not repeat a schedule, got {shown(first)} and {shown(text)}; remove one")
        seen.append(schedule)
    return texts


def holds_linear(baselines: tuple[str, ...]) -> tuple[str, ...]:
    if "linear" not in baselines:
        raise ValueError(f"must hold linear, because gains are measured against it, got {shown(baselines)}; add linear")
    return baselines
