"""The page of the JSON of results, made from the source of the records: importing them would load torch."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

from site_reference import as_yaml, attributes_of, cell, plain_docstring

__all__ = ["classes", "json_keys", "records_in", "results"]

PACKAGE = Path(__file__).parent.parent / "mdm_tune"


def classes() -> dict[str, ast.ClassDef]:
    """The classes of the package by name, from their source."""
    found: dict[str, ast.ClassDef] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, node)
    return found


ESTIMATE = {  # what Estimate.to_json writes
    "value": ("float", "the mean"),
    "ci": ("tuple[float, float] | None", "its interval, 95 % if nothing else is said; null if there is none"),
    "no_interval": ("str | None", "why there is no interval: `exact` or `too few examples`"),
    "independent": ("int | None", "the number of independent examples or groups; null if the value is exact"),
}
PRICE = {
    "nelbo": ("float", "nats per sequence"),
    "ci": ESTIMATE["ci"],
    "no_interval": ESTIMATE["no_interval"],
}
FORMS: Mapping[str, Mapping[str, tuple[str, str]]] = {  # records whose JSON differs from their fields
    "Estimate": ESTIMATE,
    "Ended": {},  # a text
    "Price": PRICE,
    "Gain": {
        "value": ("float", "the gain"),
        "ci": ("tuple[float, float] | None", "the gain's own 95 % interval"),
        "ci_familywise": ("tuple[float, float] | None", "the interval corrected for all claims of a search"),
        "no_interval": ESTIMATE["no_interval"],
        "examples_that_differ": ("int | None", "examples or groups on which the two schedules differ"),
        "examples_that_must_differ": ("int | None", "examples or groups that must differ for a claim"),
        "shown": ("bool", "whether the gain may be claimed"),
    },
    "ComparisonRecord": {
        "first": ("str", "label of the first schedule"),
        "second": ("str", "label of the second schedule"),
        "steps": ("int", "the budget"),
        "difference": ("float", "mean of first - second"),
        **{name: form for name, form in ESTIMATE.items() if name != "value"},
        "calls_ratio": ("float", "denoiser calls of the first over those of the second, as they were made"),
        "equal_cost": ("bool", "whether neither makes over 2 % more calls than the other"),
    },
    "PricedBudget": {
        "steps": ("int", "the budget"),
        "(names)": ("Priced", "each schedule by its name, `beta` and `optimum` among them"),
        "gap": ("dict", "the best Beta minus the optimum over all schedules, on held-out examples and on the curve"),
        "linear_steps_for_same_nelbo": ("int | None", "steps that linear needs to be as good as the best Beta"),
        "linear_steps_range": ("list[int | None] | None", "its interval"),
        "gain_expected": ("bool", "whether the best Beta costs clearly less than linear"),
        "block_steps": ("str | None", "how blocks share the steps: `equal` or `tuned`; null for one block"),
    },
    "Priced": {
        "a": ("float", "of a schedule of the Beta family"),
        "b": ("float", "of a schedule of the Beta family"),
        "block_length": ("int | None", "tokens of a block; null for ancestral reveal"),
        "counts": ("list[int] | None", "tokens that each step reveals"),
        "alphas": ("list[float] | None", "alpha at the ends of the steps, for ancestral reveal"),
        **PRICE,
        "minus_linear": ("Price", "the difference with linear"),
        "interpolation": ("dict | None", "the interpolation of the schedule"),
        "energy": ("dict[str, float]", "energies in multiples of the least, by the name of the interpolation schedule"),
        "same_counts_as": ("str | None", "of the optimum: `beta` if the best Beta has the same counts"),
    },
}
RESULTS = {
    "SearchResult": "mdm-tune search --json",
    "EvaluateResult": "mdm-tune evaluate --json",
    "ProfileResult": "mdm-tune profile --json",
    "SampleResult": "mdm-tune sample --json",
    "ExportResult": "mdm-tune export --json",
}


def json_keys(name: str, known: Mapping[str, ast.ClassDef]) -> dict[str, tuple[str, str]]:
    """The keys of the JSON of a record: type and meaning by name. Records beside others have their keys among them."""
    if name in FORMS:
        return dict(FORMS[name])
    if name == "ProfileResult":  # the first profile, and what is common to all
        others = {"other_block_lengths": ("list[ProfileRecord]", "the profiles of further block lengths")}
        own = {key: form for key, form in fields_of(name, known).items() if key not in ("profiles", "cost")}
        return {**fields_of("ProfileRecord", known), "one_token_per_step": ("Price", "")} | others | own
    return fields_of(name, known)


def fields_of(name: str, known: Mapping[str, ast.ClassDef]) -> dict[str, tuple[str, str]]:
    """The fields of a record by name, with those of records beside it."""
    node = known[name]
    meanings = dict(attributes_of(ast.get_docstring(node) or ""))
    keys: dict[str, tuple[str, str]] = {}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in known and base.id not in ("JsonRecord", "ComparedRows"):
            keys |= json_keys(base.id, known)
    for line in node.body:
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
            continue
        field, kind = line.target.id, ast.unparse(line.annotation)
        beside = re.fullmatch(r"Beside\[(\w+)( \| None)?\]", kind)
        if kind.startswith("Beside[dict"):
            keys["(names)"] = (kind.removeprefix("Beside[").removesuffix("]"), plain_docstring(meanings.get(field, "")))
        elif beside is None or beside[1] not in known:
            keys[field] = (kind, plain_docstring(meanings.get(field, "")))
        else:
            keys |= json_keys(beside[1], known)
    return keys


def records_in(kind: str, known: Mapping[str, ast.ClassDef]) -> list[str]:
    """The records that a type names."""
    names = re.findall(r"\b[A-Z]\w+", kind)
    return [name for name in names if FORMS.get(name) or (name in known and is_record(known[name]))]


def is_record(node: ast.ClassDef) -> bool:
    """Whether a class is a record with fields."""
    return any(isinstance(line, ast.AnnAssign) for line in node.body)


PLAIN = {
    "float": "number",
    "int": "whole number",
    "bool": "true or false",
    "str": "text",
    "None": "`null`",
    "Any": "any",
}


def json_type(kind: str, known: Mapping[str, ast.ClassDef]) -> str:
    """The type of a field as that of its JSON, in words; records have links."""
    node = ast.parse(kind, mode="eval").body

    def said(part: ast.expr) -> str:
        if isinstance(part, ast.BinOp):
            return f"{said(part.left)} or {said(part.right)}"
        if isinstance(part, ast.Subscript) and isinstance(part.value, ast.Name):
            inner = part.slice.elts if isinstance(part.slice, ast.Tuple) else [part.slice]
            if part.value.id == "Literal":
                return " or ".join(f"`{ast.literal_eval(each)}`" for each in inner)
            if part.value.id in ("dict", "Mapping"):
                return f"object of {said(inner[-1])}"
            if part.value.id == "tuple" and not (isinstance(inner[-1], ast.Constant) and inner[-1].value is ...):
                return f"list of {len(inner)}: {', '.join(dict.fromkeys(map(said, inner)))}"
            return f"list of {said(inner[0])}"
        name = ast.unparse(part)
        return f"[{name}](#{name.lower()})" if records_in(name, known) else PLAIN.get(name, f"`{name}`")

    return said(node)


def about(kind: str, known: Mapping[str, ast.ClassDef]) -> str:
    """The first line of the docstring of the record that a field without a description holds."""
    names = [name for name in records_in(kind, known) if name in known]
    return (ast.get_docstring(known[names[0]]) or "").partition("\n")[0] if names else ""


def results() -> str:
    """The page of the JSON that commands print and write."""
    known = classes()
    lines = [
        "# JSON of results",
        "",
        "With `--json` a command prints one object on stdout; `search.json` in the run folder is the same object. Keys "
        "may be added in later versions; none is removed or renamed. An infinite number is written as null. This page "
        "is made from the records in `mdm_tune/run`.",
        "",
    ]
    waiting, done = list(RESULTS), set[str]()
    while waiting:
        name = waiting.pop(0)
        if name in done:
            continue
        done.add(name)
        lines += [f"## {name}", ""]
        lines += [f"What `{RESULTS[name]}` prints.", ""] if name in RESULTS else []
        lines += ["| key | type | meaning |", "|---|---|---|"]
        for key, (kind, meaning) in json_keys(name, known).items():
            waiting += records_in(kind, known)
            told = as_yaml(meaning or plain_docstring(about(kind, known)))
            lines.append(f"| `{key}` | {json_type(kind, known)} | {cell(told)} |")
        lines.append("")
    return "\n".join(lines)
