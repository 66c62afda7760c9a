"""The pages of reference of the site, made from the package: configuration, command line, Python API, JSON, citation.

Imports no torch: what needs it is read from its source.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from site_rules import rules_of, sections_by_name, validator_rules
from typer.main import get_group

import mdm_tune
from mdm_tune.config.file import Config
from mdm_tune.config.schema import config_schema

__all__ = ["citation", "command_line", "configuration", "python_api", "ready_configurations"]

ROOT = Path(__file__).parent.parent
SECTIONS = ("sampler", "objective", "metrics", "profile", "search", "evaluate")
BESIDE_TYPE = {  # parts of the config whose place says what they are
    "model": "the model; see [models](#model)",
    "dataset": "the data; see [data sets](#dataset)",
    "sampler": "see [sampler](#sampler)",
    "objective": "see [objective](#objective)",
    "metrics": "see [metrics](#metrics)",
    "profile": "see [profile](#profile)",
    "search": "see [search](#search)",
    "evaluate": "see [evaluate](#evaluate)",
    "seed": "of everything random",
    "output": "the run folder; `runs/` and the name of the YAML file by default",
    "type": "what this section is",
}
GROUPS = {  # of the public names, by the module that they come from
    "Commands as functions": ("api.runs", "config.file", "commands.events", "search.events"),
    "Errors and permissions": ("core.errors", "core.permissions"),
    "Results": tuple(f"run.{name}_records" for name in ("evaluate", "export", "profile", "sample", "search")),
    "Texts from a model in memory": ("api.generation",),
    "Tuned schedules": ("schedules.loaded",),
    "Mask schedules": ("schedules.curves", "schedules.counts"),
    "Energies": ("schedules.energy",),
    "The information profile": ("schedules.profile", "run.measuring"),
    "The sampler": ("sampling.unmasking", "sampling.plans", "sampling.drawing"),
    "Denoisers": ("denoisers.base", "denoisers.loaded", "denoisers.loading", "denoisers.transformer"),
    "Evaluation": ("evaluation.evaluator", "evaluation.scores", "metrics.quality"),
}


def cell(text: str) -> str:
    """Text for a cell of a table: no line breaks, and bars escaped."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def code(value: object) -> str:
    """A value as YAML in code, where bars need no escape."""
    if isinstance(value, str) and "\n" in value:
        return f"`{json.dumps(value)}`"
    shown = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
    return f"`{shown}`"


def as_yaml(text: str) -> str:
    """A description that names Python's None, for readers of YAML and JSON."""
    return re.sub(r"\bNone\b", "`null`", text)


def plain_docstring(text: str) -> str:
    """Markdown of a docstring: single backticks."""
    return text.replace("``", "`")


def options_of(part: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The alternatives of a part of a schema."""
    return list(part.get("anyOf") or part.get("oneOf") or [part])


def type_of(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """The type of a setting in words."""
    if "enum" in part:
        return " or ".join(code(value) for value in part["enum"])
    if "const" in part:
        return code(part["const"])
    if "$ref" in part:
        return "section"
    if "anyOf" in part or "oneOf" in part:
        names = [type_of(option, definitions) for option in options_of(part)]
        return " or ".join(dict.fromkeys(names))
    kind = part.get("type", "anything")
    if kind == "array":
        pair = part.get("prefixItems")
        if pair:
            return f"list of {len(pair)}: {type_of(pair[0], definitions)}"
        return f"list of {type_of(part.get('items', {}), definitions)}"
    kinds = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
    return str(kinds.get(kind, {"object": "mapping", "null": "`null`"}.get(kind, kind)))


def settings_table(section: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    """The table of the settings of a section."""
    lines = ["| setting | type | default | rule | meaning |", "|---|---|---|---|---|"]
    required = set(section.get("required", ()))
    model = sections_by_name().get(section["title"], Config)
    for key, part in section.get("properties", {}).items():
        default = "required" if key in required else code(part["default"]) if "default" in part else ""
        if isinstance(part.get("default"), dict) and part["default"]:
            default = "as below"
        meaning = part.get("description") or BESIDE_TYPE.get(key) or over_family(key)
        lines.append(
            f"| `{key}` | {type_of(part, definitions)} | {default} "
            f"| {cell('; '.join((*rules_of(part), *validator_rules(model.model_fields[key]))))} "
            f"| {cell(as_yaml(meaning))} |"
        )
    return [*lines, ""]


def over_family(key: str) -> str:
    """The meaning of a field that replaces that of a family of checkpoints."""
    from mdm_tune.config.families import Family

    attributes = dict(attributes_of(inspect.getdoc(Family) or ""))
    return f"replaces that of the family: {plain_docstring(attributes[key])}" if key in attributes else ""


def attributes_of(docstring: str) -> Iterator[tuple[str, str]]:
    """The names and texts of the section Attributes of a docstring."""
    _, _, listed = inspect.cleandoc(docstring).partition("Attributes:\n")
    for names, text in re.findall(r"^ {4}([\w, ]+): (.*(?:\n {8}.*)*)", listed, flags=re.MULTILINE):
        for name in names.split(", "):
            yield name, re.sub(r"\s+", " ", text)


def type_sections(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The sections that a setting with types can be."""
    if "$ref" in part:
        yield definitions[part["$ref"].rpartition("/")[2]]
    for option in (*part.get("anyOf", ()), *part.get("oneOf", ())):
        yield from type_sections(option, definitions)


def section_lines(name: str, part: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    """A section of the page, with the sections that it holds."""
    (section,) = type_sections(part, definitions)
    lines = [f"## {name}", "", section["description"], "", *settings_table(section, definitions)]
    for key, inner in section.get("properties", {}).items():
        for below in type_sections(inner, definitions):
            lines += [f"### {name}.{key}", "", below["description"], ""]
            lines += settings_table(below, definitions)
    return lines


def typed_lines(name: str, part: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    """A section whose settings depend on its type."""
    lines = [f"## {name}", ""]
    sections = list(type_sections(part, definitions))
    for section in sections:
        kind = section["properties"]["type"]
        title = kind.get("const", "a plugin")
        lines += [f"### {name} of type {title}", "", section["description"], ""]
        lines += settings_table(section, definitions)
    return lines


def configuration() -> str:
    """The page of all settings of a YAML file, from the models of the config."""
    schema = config_schema()
    definitions, settings = schema["$defs"], schema["properties"]
    lines = [
        "# Configuration",
        "",
        "Every setting of the YAML file of a run. This page is made from the models in `mdm_tune/config`. Settings "
        "that are not in the file have the default. Unknown settings are refused. Relative paths start at the folder "
        "of the file; `~` is the home folder. Rules that concern several settings are checked too, and every message "
        "names the rule, the value and the remedy.",
        "",
        "The same models make the JSON schema `mdm_tune/data/mdm-tune.schema.json`, with which "
        "[editors](../start.md#editors-and-shells) complete and explain the settings.",
        "",
        "## The file",
        "",
        *settings_table(schema, definitions),
        *typed_lines("model", settings["model"], definitions),
        *typed_lines("dataset", settings["dataset"], definitions),
    ]
    for name in SECTIONS:
        lines += section_lines(name, settings[name], definitions)
    return "\n".join(lines)


def command_line() -> str:
    """The page of all commands and flags, from the commands themselves."""
    from mdm_tune.cli import app

    group = get_group(app)
    lines = [
        "# Command line",
        "",
        "Every command and flag. This page is made from the commands. `mdm-tune COMMAND --help` prints the same.",
        "",
        "| command | what it does |",
        "|---|---|",
        *(f"| [`{name}`](#mdm-tune-{name}) | {cell(each.help or '')} |" for name, each in group.commands.items()),
        "",
        "Exit codes: 0, success; 1, the run failed; 2, the input was wrong, and one message explains what to change; "
        "130, interrupted.",
        "",
    ]
    for name, each in group.commands.items():
        arguments = [one for one in each.params if one.param_type_name == "argument"]
        words = [one.metavar or one.name.upper() for one in arguments]
        needed = [f"{one.opts[0]} {value_of(one)}" for one in each.params if one not in arguments and one.required]
        lines += [f"## mdm-tune {name}", "", each.help or "", ""]
        lines += ["```text", " ".join(["mdm-tune", name, *words, *needed, "[OPTIONS]"]), "```", ""]
        lines += ["| argument or flag | value | default | meaning |", "|---|---|---|---|"]
        for one in each.params:
            if one.name != "help" and not getattr(one, "hidden", False):
                lines.append(parameter_row(one))
        lines.append("")
    lines += [
        "## Completion",
        "",
        "`mdm-tune --version` prints the version. `mdm-tune --install-completion` installs the completion of commands "
        "and flags for your shell, and `mdm-tune --show-completion` prints it.",
    ]
    return "\n".join(lines)


def value_of(one: Any) -> str:
    """The name of the value of a flag; empty for a flag without one."""
    return "" if getattr(one, "is_flag", False) else one.metavar or "TEXT"


def parameter_row(one: Any) -> str:
    """The row of an argument or a flag."""
    is_argument = one.param_type_name == "argument"
    names = (one.metavar or one.name.upper()).strip("[]") if is_argument else ", ".join(one.opts)
    value = "" if is_argument else value_of(one)
    default = "required" if one.required else "" if one.default in (None, False) else code(one.default)
    shown = f"`{cell(value)}`" if value else ""
    return f"| `{cell(names)}` | {shown} | {default} | {cell(getattr(one, 'help', None) or '')} |"


def python_api() -> str:
    """The page of the public names, whose content mkdocstrings reads from the docstrings."""
    modules: Mapping[str, str] = mdm_tune._MODULES
    lines = [
        "# Public Python API",
        "",
        "Every public name of `import mdm_tune`, from its docstring. [The Python API](../python.md) has an example of "
        "each. Names of modules that are not listed here may change without notice.",
        "",
    ]
    rest = set(modules.values()) - {source for sources in GROUPS.values() for source in sources}
    for title, sources in (*GROUPS.items(), *((("More", tuple(sorted(rest))),) if rest else ())):
        lines += [f"## {title}", ""]
        for source in sources:
            for name in sorted(each for each, module in modules.items() if module == source):
                lines += [f"::: mdm_tune.{source}.{name}", ""]
    return "\n".join(lines)


def ready_configurations() -> str:
    """The page of the configurations in configs/, with their texts."""
    lines = ["# Ready configurations", "", "The files in `configs/`. Their comments say what each shows and costs.", ""]
    for path in sorted((ROOT / "configs").rglob("*.yaml"), key=lambda path: (len(path.parts), path)):
        name = path.relative_to(ROOT).as_posix()
        lines += [f"## {name}", "", "```yaml", path.read_text("utf-8").strip(), "```", ""]
    return "\n".join(lines)


def citation() -> str:
    """The page on how to cite, from CITATION.cff."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    (paper,) = cited["references"]
    number = paper["identifiers"][0]["value"].removeprefix("arXiv:")
    people = " and ".join(f"{one['family-names']}, {one['given-names']}" for one in paper["authors"])
    (names,) = (one["name"] for one in cited["authors"])
    lines = ["# How to cite", "", f"{cited['message']} `CITATION.cff` holds the same for programs.", "", "```bibtex"]
    lines += ["@software{mdm_tune,", f"  title = {{{cited['title']}}},", f"  author = {{{{{names}}}}},"]
    lines += [f"  version = {{{cited['version']}}},", f"  license = {{{cited['license']}}}", "}", ""]
    lines += ["@article{masked_diffusion_energy,", f"  title = {{{paper['title']}}},", f"  author = {{{people}}},"]
    lines += [
        f"  year = {{{paper['year']}}},",
        f"  eprint = {{{number}}},",
    ]
    lines += ["  archivePrefix = {arXiv}", "}", "```", ""]
    lines += [
        "Say in a publication which version you used, and give the schedule file: it holds the seeds, the sampler"
    ]
    lines += ["settings, the metric with its interval, and fingerprints of the model and the data."]
    return "\n".join(lines)
