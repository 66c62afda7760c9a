"""The rules of the settings of a config in words: the bounds of its schema, and what its validators ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import AfterValidator, PlainValidator
from pydantic.fields import FieldInfo

from mdm_tune.config.models import Section
from mdm_tune.config.validators import COLDEST, HOTTEST
from mdm_tune.schedules.curves import LARGEST, SMALLEST

__all__ = ["ASKED", "rules_of", "sections_by_name", "validator_rules", "validators_of"]

ASKED = {  # by the name of the validator; empty where the schema or the type says it
    "_metric_name": "a metric of `mdm-tune list metrics`",
    "_plugin_metrics": "names of plugins, or mappings with a name and options",
    "answers_or_path": "`reference`, `model` or a file",
    "check": "a name of `mdm-tune list`, with `--trust-code`",
    "data_or_name": "a folder, a file or a name on the Hub",
    "distinct": "no entry twice",
    "distinct_schedules": "no schedule twice",
    "field_template": "a field, or a template with `{field}`",
    "folder_or_name": "a folder, or a name on the Hub",
    "hole_template": "a template with at least one `[[field]]`",
    "holds_linear": "`linear` among them",
    "increasing": f"the first below the second, from {SMALLEST:g} to {LARGEST:g}",
    "input_path": "a path, from the folder of the file, or `package:NAME`",
    "large_enough": "",
    "one_length": "strings of one length",
    "one_per_symbol": "one entry for each symbol",
    "one_shape": "one matrix (length x symbols) for each weight, all of one shape",
    "path_with_home": "",
    "paths_per_use": "",
    "plain_options": "text, numbers, true, false, lists and mappings",
    "report_size": "",
    "run_name": "1 to 100 letters, digits, `.`, `-` or `_`",
    "schedule_name": "each a name of a schedule",
    "schedule_or_path": "each a name of a schedule or an adaptive policy, or a schedule file",
    "square": "one row and one column for each symbol",
    "storage_url": "a URL, such as `sqlite:////path/to/file.db`",
    "sums_to_one": "each row sums to 1",
    "target": "`FILE.py:NAME`",
    "text_per_use": "",
    "tune_from": "",
    "usable_pattern": "exactly one group",
    "usable_temperature": f"0, or from {COLDEST:g} to {HOTTEST:g}",
}
NO_NUL = "^[^\\x00]*$"  # the rule of every text, which says nothing to a reader


def sections_by_name() -> dict[str, type[Section]]:
    """All sections of a config, by the names that its schema gives them."""

    def below(section: type[Section]) -> Iterator[type[Section]]:
        for inner in section.__subclasses__():
            yield inner
            yield from below(inner)

    return {section.__name__: section for section in below(Section)}


def validators_of(field: FieldInfo) -> list[str]:
    """The names of the functions that check a setting, those of its entries too."""

    def found(parts: tuple[Any, ...]) -> Iterator[str]:
        for part in parts:
            if isinstance(part, AfterValidator | PlainValidator):
                yield getattr(part.func, "__name__", "")
            yield from found(getattr(part, "__metadata__", ()))
            yield from found(tuple(each for each in get_args(part) if each is not part))

    return list(dict.fromkeys([*found((field.annotation,)), *found(tuple(field.metadata))]))


def validator_rules(field: FieldInfo) -> list[str]:
    """What the validators of a setting ask for."""
    return [ASKED[name] for name in validators_of(field) if ASKED[name]]


def rules_of(part: Mapping[str, Any]) -> list[str]:
    """The bounds of a setting in its schema."""
    found: list[str] = []
    for option in part.get("anyOf") or part.get("oneOf") or [part]:
        found += bounds(option, "minimum", "maximum", "")
        found += bounds(option, "minItems", "maxItems", " entries")
        for inner in (option.get("items"), *option.get("prefixItems", ())[:1]):
            found += [f"each {rule}" for rule in rules_of(inner)] if inner else []
    return list(dict.fromkeys(found))


def bounds(option: Mapping[str, Any], least: str, most: str, unit: str) -> list[str]:
    """The bounds of one kind, such as ``from 1 to 64``."""

    def shown(key: str) -> str | None:
        value = option.get(key)
        return None if value is None else f"{value:,.10g}" if isinstance(value, float) else f"{value:,}"

    low, high = shown(least), shown(most)
    above, below = shown(f"exclusive{least.capitalize()}"), shown(f"exclusive{most.capitalize()}")
    if low is not None and low == high:
        return []  # a pair, as its type says
    if low is not None and high is not None:
        return [f"from {low} to {high}{unit}"]
    given = (("at least", low), ("above", above), ("at most", high), ("below", below))
    told = [f"{word} {value}{unit}" for word, value in given if value is not None]
    return [" and ".join(told)] if told else []
