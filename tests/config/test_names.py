"""Every key of the config and every flag that a message or a page names is one that there is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_group

import mdm_tune
from mdm_tune.cli import app
from mdm_tune.config.file import legal_keys

ROOT = Path(__file__).parents[2]
PACKAGE = Path(mdm_tune.__file__).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FILES = {"json", "jsonl", "yaml", "csv", "py", "txt", "md", "log", "journal", "gz", "git", "safetensors", "bin"}
NAMED = re.compile(r"(?<![\w./\-])([a-z_]+)\.([a-z_]+)(?:\.([a-z_]+))?(?![\w(/])")
FLAG = re.compile(r"(?<![\w\-])--([a-z][a-z\-]+)")


def keys() -> dict[str, set[str]]:
    """The keys of each section, whatever its type, and of the sections in it."""
    found: dict[str, set[str]] = {}
    for location, legal in legal_keys().items():
        if location:
            name = location[0] if location[0] in ("model", "dataset") else ".".join(map(str, location))
            found.setdefault(str(name), set()).update(legal)
    return found


def flags() -> set[str]:
    """Without the two dashes."""
    return {
        option.removeprefix("--")
        for command in get_group(app).commands.values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    } | {"help"}


def texts(path: Path) -> Iterator[str]:
    """The string literals of a module but its docstrings, parts of formatted ones too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    said = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in said:
            yield node.value


# Attributes of objects in the code of others and in examples, which look like keys of a config.
ATTRIBUTES = {"model.parameterization", "model.config.noise", "model.config.sampling", "model.config.mask_token_id"}
ATTRIBUTES |= {"model.denoiser", "profile.mean", "profile.revealed"}


def wrong_keys(text: str) -> list[str]:
    known = keys()
    every = {key for legal in known.values() for key in legal if "_" in key or len(key) > 6}
    found = []
    for name, key, below in NAMED.findall(text):
        if key in FILES or below in FILES:
            continue
        inner = known.get(f"{name}.{key}")
        if name in known:
            if key not in known[name] or (below and inner is not None and below not in inner):
                found.append(f"{name}.{key}" + (f".{below}" if below else ""))
        elif key in every and name in ("budget", "budgets", "config", "run", "serch", "metric", "data", "schedule"):
            found.append(f"{name}.{key}")
    return [key for key in found if key not in ATTRIBUTES]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_keys_that_messages_name_exist(path: Path) -> None:
    assert [key for text in texts(path) if " " in text for key in wrong_keys(text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_keys_that_pages_name_exist(page: Path) -> None:
    assert wrong_keys(re.sub(r"\]\([^)]*\)", "]", page.read_text(encoding="utf-8"))) == []


def scripts_flags() -> set[str]:
    written = [path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("*") if path.is_file()]
    return {flag for text in written for flag in FLAG.findall(text)}


HF = {"local-dir"}
SLURM = {"nodes", "ntasks", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "requeue", "open-mode"}
SLURM |= {"overlap", "nodelist", "exclude"}
RAY = {"head", "port", "address", "block", "include-dashboard", "disable-usage-stats"}
INSTALLERS = {"extra-index-url", "pip-args", "tag", "torch-backend", "install-completion", "show-completion"}
ENGINES = {"backend", "dllm-algorithm", "dllm-algorithm-config", "model-path", "strategy"}
CSS = {"chart-"}  # the beginning of custom properties of figures
TRACKERS = {"logdir", "project"}
OTHERS = CSS | HF | SLURM | RAY | INSTALLERS | ENGINES | TRACKERS


def test_flags_that_messages_and_pages_name_exist() -> None:
    own = flags()
    assert {"set", "steps", "schedule", "trust-code", "take-over"} <= own
    legal = own | scripts_flags() | OTHERS
    named = {(flag, path.name) for path in PACKAGE.rglob("*.py") for text in texts(path) for flag in FLAG.findall(text)}
    named |= {(flag, page.name) for page in PAGES for flag in FLAG.findall(page.read_text(encoding="utf-8"))}
    assert {each for each in named if each[0] not in legal} == set()


def test_a_wrong_key_is_seen() -> None:
    assert wrong_keys("lower budget.finalists, dataset.choose") == ["budget.finalists"]
    assert wrong_keys("set sampler.stepz or search.space.c, see search.json") == ["sampler.stepz", "search.space.c"]
    assert wrong_keys("set metrics.regex.pattern, dataset.tune or search.finalists") == []
