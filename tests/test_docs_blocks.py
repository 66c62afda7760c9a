"""Every block of commands, YAML, Python, TOML and JSON on the pages is checked against the code."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from mdm_tune.cli import app
from mdm_tune.config.file import load_config
from mdm_tune.core.errors import InputError

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = {page: page.relative_to(ROOT).as_posix() for page in PAGES}
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", flags=re.DOTALL | re.MULTILINE)
SECTIONS = {"model", "dataset", "sampler", "objective", "metrics", "profile", "search", "evaluate", "seed", "output"}
REST = {  # sections that a block leaves out
    "model": {"type": "huggingface", "path": "model"},
    "sampler": {"steps": [4]},
    "objective": {"metric": "exact_match"},
    "dataset": {
        "type": "jsonl",
        "path": "data.jsonl",
        "prompt": "question",
        "answer": "answer",
        "generation_length": 64,
        "tune": 16,
        "choose": 16,
        "report": 16,
    },
}
PLUGINS = "docs/plugins.md"  # its names are those of a package that tests/testing/test_suites.py makes
LAWS = {"markov", "repeated-bit", "parity", "table", "mixture"}
group = get_command(app)
assert isinstance(group, TyperGroup)


def fenced(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in these languages."""
    text = page.read_text("utf-8")
    return [body for _, language, body in FENCE.findall(text) if language in languages]


def command_lines(page: Path) -> Iterator[str]:
    """Lines of blocks that are indented or fenced as a shell's, with lines that go on joined."""
    text = FENCE.sub("", page.read_text("utf-8")).replace("\\\n", " ")
    indented = re.findall(r"^ {4,}(\S.*)", text, flags=re.MULTILINE)
    shells = "\n".join(fenced(page, "bash", "sh", "shell", "console")).replace("\\\n", " ").splitlines()
    for line in (*indented, *shells):
        yield line.strip().removeprefix("$ ")


def words_of(line: str, program: str) -> list[str] | None:
    """The words after a program that a line starts, perhaps by way of srun; None if it starts another."""
    start = line.find(program + " ")
    if start < 0 or (start and not re.match(r"^(srun|exec|nohup|ray|[\w./-]*/)", line)):
        return None
    words = shlex.split(line[start:], comments=True)[1:]
    return words[: next((at for at, word in enumerate(words) if word in ("|", ">", "&&", "2>&1", "&")), None)]


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_commands_of_blocks_are_those_of_the_command_line(page: Path) -> None:
    for line in command_lines(page):
        words = words_of(line, "mdm-tune")
        if words and words[0] not in ("--version", "--install-completion", "--show-completion"):
            assert words[0] in group.commands, line
            if words[1:] != ["--help"]:
                context = group.commands[words[0]].make_context(words[0], words[1:])
                assert context.params, line


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_scripts_of_blocks_exist_and_have_the_flags(page: Path) -> None:
    for line in command_lines(page):
        for program in ("python", "bash"):
            words = words_of(line, program)
            if not words or not words[0].startswith("scripts/"):
                continue
            text = (ROOT / words[0]).read_text("utf-8")
            flags = [word.partition("=")[0] for word in words[1:] if word.startswith("--")]
            assert [flag for flag in flags if words[0].endswith(".py") and flag not in text] == [], line


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_yaml_blocks_load(page: Path, tmp_path: Path) -> None:
    """Those with sections of a config as a config, in which the other sections are filled in."""
    for block in fenced(page, "yaml") if NAMES[page] != PLUGINS else ():
        documents = [each for each in yaml.safe_load_all(block) if each is not None]
        for document in documents:
            if isinstance(document, dict) and set(document) & {"model", "dataset", "sampler", "objective", "metrics"}:
                check_config(document, tmp_path / "run.yaml", block)


def check_config(document: dict[str, Any], path: Path, block: str) -> None:
    assert set(document) <= SECTIONS, block
    rest = dict(REST)
    if document.get("model", {}).get("type") in LAWS:
        del rest["dataset"]
    path.write_text(yaml.safe_dump({**rest, **document}), "utf-8")
    try:
        load_config(path)
    except InputError as error:
        pytest.fail(f"{error}\n{block}")


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_python_blocks_compile_and_import_what_there_is(page: Path) -> None:
    """Blocks of docs/python.md and docs/plugins.md are also run, by other tests."""
    for block in fenced(page, "python"):
        tree = ast.parse(block)
        compile(tree, NAMES[page], "exec")
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mdm_tune":
                module = importlib.import_module(node.module or "")
                assert [each.name for each in node.names if not hasattr(module, each.name)] == [], block
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "mdm_tune":
                assert hasattr(importlib.import_module("mdm_tune"), node.attr), block


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_other_blocks_can_be_read(page: Path) -> None:
    for block in fenced(page, "toml"):
        tomllib.loads(block)
    for block in fenced(page, "json"):
        json.loads(block)


def test_the_function_of_the_how_to_page_is_a_denoiser(tmp_path: Path) -> None:
    """Its class passes the checks of a model when it is loaded."""
    page = ROOT / "docs" / "howto" / "model-function.md"
    (tmp_path / "my_model.py").write_text(fenced(page, "python")[0], "utf-8")
    from mdm_tune.config.models import CustomConfig
    from mdm_tune.core.permissions import Permissions
    from mdm_tune.denoisers.loading import load_model

    config = CustomConfig(type="custom", target=f"{tmp_path / 'my_model.py'}:build")
    loaded = load_model(config, allow=Permissions(True, False))
    assert loaded.denoiser.vocab_size == 20
