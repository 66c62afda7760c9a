"""A subset of YAML that every YAML reader understands in the same way: mappings, lists and plain values.

Tags, aliases and merge keys are refused. So are values that YAML 1.1 and YAML 1.2 read differently, such as 010, 1_000,
0x10, 1:20, 1e-3 and dates. ``yaml_value`` reads all that ``yaml_text`` writes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, shown, shown_path
from mdm_tune.core.reading import DEEPEST, WRITTEN_BYTES, read_text

__all__ = ["UnquotedWord", "read_yaml_file", "unquoted_words", "yaml_text", "yaml_value"]

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast
Base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

DIGITS = 40  # of a number; the largest number of a config, the seed, has 19
NULLS = {"", "~", "null", "Null", "NULL"}
BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
WORDS = re.compile("yes|no|on|off", re.IGNORECASE)
WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
POINT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")
INFINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
BEGINS = re.compile(r"[-+.]?[0-9]|[=<]$|<<$")  # only such texts need a second look
TWO_WAYS = "a number to some readers of YAML and text to others"
AMBIGUOUS = (  # form, how YAML readers differ, remedy
    (r"[-+]?0[0-9_]+", "base 8 to some readers of YAML and base 10 to others", "write it without the 0"),
    (r"[-+]?0(?:[xX][0-9a-fA-F_]+|[oO][0-7_]+|[bB][01_]+)", TWO_WAYS, "write digits"),
    (r"[-+]?[0-9][0-9_]*(?::[0-9]+)+(?:\.[0-9_]*)?", TWO_WAYS, "write digits"),
    (r"[-+]?[0-9.][0-9.]*_[0-9_.]*(?:[eE][-+]?[0-9]+)?", TWO_WAYS, "write it without _"),
    (r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+", TWO_WAYS, "write it with a point and a sign, as in 1.0e-3"),
    (r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?", "a date to some readers of YAML and text to others", "give text"),
    (r"=|<<", "a sign of YAML's own", "give text"),
)
FORMS = tuple((re.compile(form), meanings, remedy) for form, meanings, remedy in AMBIGUOUS)


class UnquotedWord(str):
    """A yes, no, on or off without quotes: a boolean in YAML 1.1, text in YAML 1.2."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class _YamlProblem(Exception):
    """A value breaks a rule; ``mark`` is its place in the document."""

    def __init__(self, text: str, mark: Any) -> None:
        super().__init__(text)
        self.mark = mark


@dataclass
class _OpenCollection:
    """A mapping or list whose end the parser has not reached yet.

    Attributes:
        value: the entries so far.
        key: the key whose value comes next, in a mapping.
        has_key: whether ``key`` is set.
    """

    value: dict[Any, Any] | list[Any]
    key: Any = None
    has_key: bool = False


def read_yaml_file(path: Path, what: str, largest: int = WRITTEN_BYTES) -> Any:
    """The value in a YAML file.

    Args:
        path: the file.
        what: what the user must give instead if the file cannot be read, such as "the YAML file of a run".
        largest: bytes.

    Raises:
        InputError: the file cannot be read (see ``read_text``) or holds no plain YAML (see ``yaml_value``).
    """
    text = read_text(path, largest, f"give {what}")
    return yaml_value(text, shown_path(path))


def yaml_value(text: str, source: str) -> Any:
    """The value of one YAML document; None for an empty document.

    Args:
        text: the document.
        source: the name of the document, for messages.

    Raises:
        InputError: the document is no plain YAML; the message has line and column.
    """
    try:
        return _document_value(text)
    except _YamlProblem as problem:
        raise InputError(f"{source}{_place_text(problem.mark)}: {problem}") from None
    except yaml.MarkedYAMLError as error:
        where = _place_text(error.problem_mark or error.context_mark)
        reason = f"{', '.join(cut(part, 100) for part in (error.context, error.problem) if part)}; correct this place"
    except (yaml.YAMLError, UnicodeError) as error:  # a character that YAML forbids
        forbidden = _forbidden_character(text)
        if forbidden is None:
            where, reason = "", f"{cut(error)}; remove it"
        else:
            line, column, character = forbidden
            where, reason = f" at line {line}, column {column}", f"character {character!r} is not allowed; remove it"
    raise InputError(f"{source}: not valid YAML{where}: {reason}")


def _place_text(mark: Any) -> str:
    return "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"


def unquoted_words(value: object, path: str = "") -> Iterator[tuple[str, UnquotedWord]]:
    """The path and the word of every ``UnquotedWord`` in mappings and lists."""
    if isinstance(value, UnquotedWord):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            inner_path = f"{path}.{key}" if path else str(key)
            yield from unquoted_words(key, inner_path)
            yield from unquoted_words(inner, inner_path)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from unquoted_words(inner, f"{path}[{index}]")


def yaml_text(value: object, **options: Any) -> str:
    """A value as YAML that ``yaml_value`` reads back.

    Args:
        value: mappings, lists and plain values.
        options: options of ``yaml.dump``.
    """
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, **options))


class _Dumper(Base):  # type: ignore[misc, valid-type] # one of two classes, chosen at import
    """Writes no aliases, and puts text in quotes if it could be read as another type."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def text(self, data: str) -> yaml.ScalarNode:
        try:
            plain = type(_unquoted_value(data)) is str
        except ValueError:
            plain = False
        node: yaml.ScalarNode = self.represent_scalar("tag:yaml.org,2002:str", data, style=None if plain else "'")
        return node


_Dumper.add_representer(str, _Dumper.text)
_Dumper.add_representer(UnquotedWord, _Dumper.text)


def _document_value(text: str) -> Any:
    """The value of a document, built from libyaml's events without recursion; raises _YamlProblem, yaml.YAMLError."""
    opened: list[_OpenCollection] = []
    document: list[Any] = []
    documents = 0
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _YamlProblem("a second document begins; keep one", event.start_mark)
            continue
        if isinstance(event, yaml.AliasEvent):
            raise _YamlProblem(
                f"aliases such as *{cut(event.anchor)} are not read; write the value out", event.start_mark
            )
        if isinstance(event, yaml.ScalarEvent):
            value = _event_value(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            _refuse_tag(event)
            if len(opened) == DEEPEST:
                raise _YamlProblem(f"it is nested in more than {DEEPEST} levels; write it flatter", event.start_mark)
            opened.append(_OpenCollection({} if isinstance(event, yaml.MappingStartEvent) else []))
            continue
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            value = opened.pop().value
        else:
            continue
        if not opened:
            document.append(value)
        else:
            _add_value(opened[-1], value, event.start_mark)
    return document[0] if document else None


def _add_value(above: _OpenCollection, value: Any, mark: Any) -> None:
    """Add a value to an open mapping or list; in a mapping, every other value is a key."""
    if isinstance(above.value, list):
        above.value.append(value)
    elif above.has_key:
        above.value[above.key], above.has_key = value, False
    else:
        if isinstance(value, dict | list):
            raise _YamlProblem("a key must be one value, got a mapping or list; write `key: value`", mark)
        if value in above.value:
            raise _YamlProblem(f"key {shown(value)} is given twice; remove one", mark)
        above.key, above.has_key = value, True


def _refuse_tag(event: Any) -> None:
    if event.tag is not None:
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")
        raise _YamlProblem(f"tags such as {cut(tag)} are not read; write the value as it is", event.start_mark)


def _event_value(event: yaml.ScalarEvent) -> Any:
    _refuse_tag(event)
    if not event.implicit[0]:  # in quotes, or a block of text
        return event.value
    try:
        return _unquoted_value(event.value)
    except ValueError as error:
        raise _YamlProblem(str(error), event.start_mark) from None


def _unquoted_value(text: str) -> Any:
    """The value of a text without quotes; raises ValueError if YAML readers disagree about it."""
    if text in NULLS:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    if WHOLE.fullmatch(text):
        if len(text) > DIGITS:
            raise ValueError(f"a number has at most {DIGITS} digits, got {len(text):,}; write a shorter one")
        return int(text)
    if POINT.fullmatch(text):
        value = float(text)
        if math.isinf(value):
            raise ValueError(f"number {shown(text)} is too large; write a smaller one")
        return value
    if match := INFINITE.fullmatch(text):
        return math.nan if text[-1] in "nN" and "a" in text.lower() else float(f"{match[1]}inf")
    if len(text) <= 3 and WORDS.fullmatch(text):
        return UnquotedWord(text)
    if BEGINS.match(text):
        for form, meanings, remedy in FORMS:
            if form.fullmatch(text):
                raise ValueError(f"{cut(text)} is {meanings}; {remedy}, or put it in quotes")
    return text


def _forbidden_character(text: str) -> tuple[int, int, str] | None:
    """Line, column and value of the first character that YAML forbids; None if there is none."""
    for number, line in enumerate(text.split("\n"), 1):
        for column, character in enumerate(line, 1):
            allowed = character.isprintable() or character in "\t\r\x85\ufeff\xa0"
            if not allowed or "\ud800" <= character <= "\udfff":
                return number, column, character
    return None
