"""The JSON schema of a config, with which an editor completes and checks the YAML file of a run.

It is made from the models of the sections. ``scripts/config_schema.py`` writes it to ``mdm_tune/data``.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from mdm_tune.config.file import Config
from mdm_tune.config.models import Section

__all__ = ["SCHEMA_FILE", "config_schema", "schema_path", "schema_text"]

SCHEMA_FILE = "mdm-tune.schema.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
DEFAULTED = "output"  # the run folder, which follows from the name of the file


def config_schema() -> dict[str, Any]:
    """The schema of a config, with the descriptions of the sections and their settings."""
    schema = Config.model_json_schema()
    sections = {section.__name__: section for section in _below(Section)}
    for name, part in {"Config": schema, **schema["$defs"]}.items():
        section = sections[name]
        part["description"] = _first_line(section)
        described = _descriptions(section)
        for key, setting in part.get("properties", {}).items():
            setting.pop("title", None)
            if key in described:
                setting["description"] = described[key]
    schema["required"].remove(DEFAULTED)
    return {"$schema": DIALECT, **_with_list_sizes(schema), "title": "The YAML file of a run of mdm-tune"}


def schema_text() -> str:
    """The schema as the text of the file that the package ships."""
    return json.dumps(config_schema(), indent=1, sort_keys=True) + "\n"


def schema_path() -> Path:
    """The file of the schema in the installed package."""
    return Path(str(resources.files("mdm_tune"))) / "data" / SCHEMA_FILE


def _with_list_sizes(part: Any) -> Any:
    """The schema with minItems and maxItems for lists, which pydantic gives the names of those for text."""
    if isinstance(part, list):
        return [_with_list_sizes(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    renamed = {"minLength": "minItems", "maxLength": "maxItems"} if part.get("type") == "array" else {}
    return {renamed.get(key, key): _with_list_sizes(inner) for key, inner in part.items()}


def _below(section: type[Section]) -> Iterator[type[Section]]:
    """All subclasses of a section."""
    for inner in section.__subclasses__():
        yield inner
        yield from _below(inner)


def _first_line(section: type[Section]) -> str:
    return (inspect.getdoc(section) or "").partition("\n")[0].replace("``", "`")


def _descriptions(section: type[Section]) -> dict[str, str]:
    """What the docstrings of a section and of its bases say about each setting."""
    found: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if not issubclass(base, Section):
            continue
        _, _, attributes = (inspect.cleandoc(base.__doc__ or "")).partition("Attributes:\n")
        for name, text in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", attributes, flags=re.MULTILINE):
            found[name] = re.sub(r"\s+", " ", text).replace("``", "`")
    return found
