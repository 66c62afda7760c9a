"""Own code with every kind of trouble: a message with target, line, rows and step, an exit code, and no traceback."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from mdm_tune.cli import app
from mdm_tune.denoisers.asking import Asked, BatchedDenoiser
from mdm_tune.denoisers.guarded import GuardedDenoiser
from tests.support.helpers import FunctionDenoiser

MODEL = """
import sys, torch


class Law:
    vocab_size, mask_id, length, symbols = 3, 3, 6, "abc"

    def __call__(self, tokens, wanted):
        near = ((tokens == 0).sum(1).float() - 0.5 * (tokens == 1).sum(1))[:, None].expand(tokens.shape)
        place = torch.arange(float(tokens.shape[1])).expand(tokens.shape)
        answer = torch.stack([near * 0.3, 0.1 * place, near * 0.1 + 0.2], -1)[wanted]
        if len(tokens) > 2:  # more than the checks of loading ask at once
            LATER
        return answer


def build(**options):
    AT_BUILD
    return Law()


def score(answer, record):
    AT_SCORE
    return float(answer.count("a"))


def generate(prompts, counts, seeds):
    AT_GENERATE
    return prompts.masked_fill(prompts == 3, 1), 2
"""
CONFIG = """
model: {type: custom, target: "own.py:build"}
dataset: {type: lines, path: texts.txt, tune: 8, choose: 8, report: 8}
sampler: {order: random, steps: [2]}
objective: {metric: METRIC}
MORE
"""


def run(folder: Path, command: str, *flags: str, metric: str = "nelbo", more: str = "", **code: str) -> Result:
    body = MODEL
    for name in ("LATER", "AT_BUILD", "AT_SCORE", "AT_GENERATE"):
        body = body.replace(f"{name}\n", f"{code.get(name.lower(), 'pass')}\n")
    (folder / "own.py").write_text(body)
    (folder / "config.yaml").write_text(CONFIG.replace("METRIC", metric).replace("MORE", more))
    (folder / "texts.txt").write_text("\n".join(f"{a}{b}{c}acb" for a in "abc" for b in "abc" for c in "abc") + "\n")
    more_flags = ["--schedule", "linear"] if command == "evaluate" else []
    arguments = [command, str(folder / "config.yaml"), "--trust-code", "--devices", "cpu", *more_flags, *flags]
    return CliRunner().invoke(app, [*arguments, "--output", str(folder / "run")])


def told(result: Result, code: int, *said: str) -> None:
    """One message that ends with a remedy, the exit code, no traceback and nothing on stdout."""
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.stderr and result.stdout == ""
    message = result.stderr[result.stderr.index("error: ") :]
    assert ";" in message and len(message) < 1500
    for each in said:
        assert each in message, message


def test_the_model_works(tmp_path: Path) -> None:
    result = run(tmp_path, "evaluate", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rows"][0]["n"] == 8


LATE = [
    ("raise ValueError('boom')", "ValueError: boom (line 13)"),
    ("raise ValueError", "ValueError (line 13)"),
    ("raise SystemExit", "SystemExit: it ended the process by sys.exit(None) (line 13)"),
    ("sys.exit(0)", "sys.exit(0) (line 13)"),
    ("exit()", "it ended the process"),
    ("class Odd(BaseException): pass\n            raise Odd('x')", "Odd: x (line 14)"),
    ("raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})()", "Mute (line 13)"),
    ("raise ValueError('x' * 10**6)", "ValueError: xxxxx"),
    ("raise ValueError('first\\nsecond')", "ValueError: first (line 13)"),
    ("raise StopIteration", "StopIteration (line 13)"),
    ("return self(tokens, wanted)", "RecursionError"),
    ("return None", "expected (", "and got NoneType"),
    ("return answer.tolist()", "and got list"),
    ("return answer.numpy()", "and got ndarray"),
    ("return answer.long()", "torch.int64"),
    ("return answer.bool()", "torch.bool"),
    ("return answer.to(torch.complex64)", "torch.complex64"),
    ("return answer.to(torch.float8_e4m3fn)", "torch.float8_e4m3fn"),
    ("return answer.to_sparse()", "sparse or nested"),
    ("return torch.nested.nested_tensor([answer])", "nested"),
    ("return answer.to('meta')", "without values"),
    ("return answer[:-1]", "and got ("),
    ("return answer[:, :2]", "and got ("),
    ("return answer[None]", "and got (1, "),
    ("return answer * float('nan')", "NaN for row"),
    ("return answer + float('inf')", "+inf for row"),
    ("return answer - float('inf')", "no finite logit for row"),
    ("return answer.undefined", "AttributeError"),
    ("import absent_library_of_nobody", "ModuleNotFoundError: No module named 'absent_library_of_nobody' (line 13)"),
]


@pytest.mark.parametrize(("later", "said"), [(each[0], each[1:]) for each in LATE])
def test_a_denoiser_that_fails_later(later: str, said: tuple[str, ...], tmp_path: Path) -> None:
    result = run(tmp_path, "sample", "--json", later=later)
    place = "row" if "for row" in said[0] else "on row"
    told(result, 1, *said, place, "at step ")
    if "for row" not in said[0]:
        assert "model.target: " in result.stderr and "own.py:build failed on row" in result.stderr


@pytest.mark.parametrize("command", ["search", "evaluate", "profile"])
def test_every_command_names_it(command: str, tmp_path: Path) -> None:
    told(run(tmp_path, command, later="raise ValueError('boom')"), 1, "own.py:build failed on row", "boom (line 13)")


def test_the_remedy_of_a_search_whose_code_failed_works(tmp_path: Path) -> None:
    """The code's file is fingerprinted, so that the corrected search is another one: --resume would refuse it."""
    failed = run(tmp_path, "search", later="raise ValueError('boom')")
    told(failed, 1, "; correct it, then run again, a search with --overwrite")
    for name in [each for each in sys.modules if each.startswith("mdm_tune_target_")]:
        del sys.modules[name]  # the next command is another process
    refused = run(tmp_path, "search", "--resume")
    assert refused.exit_code == 2 and "fingerprints.model: was " in refused.stderr
    result = run(tmp_path, "search", "--overwrite")
    assert result.exit_code == 0, result.output


GRADIENT = "with torch.inference_mode(False), torch.enable_grad():\n                w = torch.ones(3).requires_grad_()"


@pytest.mark.parametrize(
    "later",
    [
        f"{GRADIENT}\n                return answer.clone() * w",
        "return answer.double()",
        "return answer.to(torch.bfloat16)",
        "return torch.nn.Parameter(answer.clone(), requires_grad=False)",
        "tokens.fill_(0); wanted.fill_(False)",
    ],
)
def test_what_a_denoiser_may_do(later: str, tmp_path: Path) -> None:
    """A gradient is taken off, other floats are read, and what it does to its copies is its own affair."""
    result = run(tmp_path, "evaluate", "--json", later=later)
    assert result.exit_code == 0, result.output
    plain = json.loads(run(tmp_path, "evaluate", "--json").stdout)["rows"][0]["value"]
    tolerance = 0.02 if "bfloat16" in later else 1e-5
    assert json.loads(result.stdout)["rows"][0]["value"] == pytest.approx(plain, rel=tolerance)


@pytest.mark.parametrize(
    ("at_build", "said"),
    [
        ("raise ValueError('boom')", "boom (line 18)"),
        ("sys.exit(0)", "it ended the process by sys.exit(0) (line 18)"),
        ("return None", "must return a denoiser with a whole number length"),
        ("return 3", "must return a denoiser with a whole number length"),
        ("Law.length = 10**9", "at most 65536, got 1000000000"),
        ("Law.length = True", "got True"),
        ("Law.length = property(lambda self: 1 / 0)", "ZeroDivisionError: division by zero (line 18)"),
        ("Law.mask_id = 10**30", "mask_id from 0 to 2147483647, got 1000"),
        ("Law.mask_id = -1", "mask_id from 0 to 2147483647, got -1"),
        ("Law.mask_id = '3'", "got '3'"),
        ("Law.vocab_size = 0", "vocab_size from 1 to 2147483647, got 0"),
        ("Law.vocab_size = property(lambda self: sys.exit(0))", "it ended the process"),
        ("Law.symbols = 'abcd'", "at most as many symbols as tokens"),
        ("Law.symbols = 'aab'", "symbols must be different characters"),
        ("Law.symbols = 7", "symbols must be text"),
        ("Law.__call__ = lambda self: 0", "check 'call' failed"),
        ("Law.__call__ = lambda self, t, w: sys.exit(0)", "check 'call' failed"),
        ("Law.__call__ = lambda self, t, w: torch.zeros(int(w.sum()), 3, dtype=torch.int64)", "check 'shape' failed"),
        ("return Law", "check 'call' failed"),
    ],
)
def test_a_model_that_cannot_be_loaded(at_build: str, said: str, tmp_path: Path) -> None:
    told(run(tmp_path, "sample", "--json", at_build=at_build), 2, "model.target: ", said)


CUSTOM = 'metrics: {custom: {target: "own.py:score", direction: maximize}}'


@pytest.mark.parametrize(
    ("at_score", "said"),
    [
        ("raise ValueError('boom')", "boom (line 23)"),
        ("sys.exit(0)", "it ended the process by sys.exit(0) (line 23)"),
        ("return 10**400", "must return a finite number"),
        ("return 10**5000", "got int that cannot be shown"),
        ("return None", "got None"),
        ("return 1j", "got 1j"),
        ("return float('nan')", "got nan"),
        ("return 'text'", "got 'text'"),
        ("return torch.ones(2)", "got tensor([1., 1.])"),
        ("return type('R', (), {'__repr__': lambda self: 1 / 0})()", "got R that cannot be shown"),
    ],
)
def test_a_metric_that_fails(at_score: str, said: str, tmp_path: Path) -> None:
    result = run(tmp_path, "evaluate", "--json", metric="custom", more=CUSTOM, at_score=at_score)
    told(result, 1, "metric score ", "texts.txt", said)


EXTERNAL = "sampler: {type: external, target: 'own.py:generate', steps: [2]}"


@pytest.mark.parametrize(
    ("at_generate", "code", "said"),
    [
        ("raise ValueError('boom')", 1, "own.py:generate failed on rows 0 to 7: ValueError: boom (line 28)"),
        ("sys.exit(0)", 1, "own.py:generate failed on rows 0 to 7: SystemExit"),
        ("return None", 2, "check 'answer' failed"),
        ("return prompts, 'two'", 2, "check 'finished' failed"),
        ("return prompts.masked_fill(prompts == 3, 1), 'two'", 2, "got 'two'"),
        ("return prompts.masked_fill(prompts == 3, 1), 10**30", 2, "check 'nfe' failed"),
        ("return prompts.masked_fill(prompts == 3, 1), 2**62", 2, "check 'nfe' failed"),
        ("return prompts.masked_fill(prompts == 3, 1), 2, 10**400", 2, "check 'denoiser_rows' failed"),
        ("return prompts.to_sparse(), 2", 2, "not dense"),
        ("return prompts.tolist(), 2", 2, "got list"),
        ("return {1: prompts, 'nfe': 2}", 2, "got dict of [1, 'nfe']"),
        ("return {}", 2, "got dict"),
    ],
)
def test_generate_code_that_fails(at_generate: str, code: int, said: str, tmp_path: Path) -> None:
    config = CUSTOM + "\n"
    result = run(
        tmp_path,
        "evaluate",
        "--json",
        "--set",
        "sampler={type: external, target: 'own.py:generate', steps: [2]}",
        metric="custom",
        more=config,
        at_generate=at_generate,
    )
    told(result, code, said)


@pytest.mark.parametrize(
    ("options", "place", "key"),
    [
        ("{table: {1: a, b: c, null: 2}}", "table", "1"),
        ("{table: {b: c, null: 2}}", "table", "null"),
        ("{when: [1, {y: z, 2: x}]}", "when", "2"),
    ],
)
def test_options_with_keys_of_several_kinds(options: str, place: str, key: str, tmp_path: Path) -> None:
    """Only keys of text: JSON has no others, and a result could not repeat what the code was given."""
    result = run(tmp_path, "sample", "--set", f"model.options={options}")
    told(result, 2, f"options.{place}", f"must have keys of text, got {key}; ")


def test_options_with_nested_values_reach_the_code(tmp_path: Path) -> None:
    result = run(tmp_path, "sample", "--set", "model.options={table: {'1': a, b: c}, when: [1, {y: z}]}")
    assert result.exit_code == 0, result.output


def test_the_memory_that_runs_out_is_no_fault_of_the_code() -> None:
    """It reaches the asker, which halves the batch."""
    sizes: list[int] = []

    def answer(tokens: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        sizes.append(len(tokens))
        if len(tokens) > 1:
            raise RuntimeError("CUDA out of memory.")
        return torch.zeros(int(wanted.sum()), 3)

    tokens = torch.tensor([[0, 3], [1, 3], [2, 3]])
    asker = BatchedDenoiser(GuardedDenoiser(FunctionDenoiser(3, answer), "x"), 3)
    assert len(list(asker(Asked.of(tokens.numpy(), (tokens == 3).numpy()), torch.arange(3).numpy(), "here"))) == 3
    assert sizes == [3, 2, 1, 1, 1]
