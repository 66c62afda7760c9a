"""The conformance suites on our own classes, on a package with plugins, and on classes that break a rule.

Covers: checks, denoisers, metrics, datasets, exports.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.analytic import MarkovChain, Parity
from mdm_tune.exports.base import Exported
from mdm_tune.exports.llada import Llada
from mdm_tune.exports.plain import Plain
from mdm_tune.exports.policy import Policy
from mdm_tune.testing.datasets import DatasetConformance
from mdm_tune.testing.denoisers import DenoiserConformance
from mdm_tune.testing.exports import ExportConformance
from mdm_tune.testing.metrics import MetricConformance
from tests.support.plugins import CODE

TINY = ModuleType("tiny_plugins")
sys.modules[TINY.__name__] = TINY  # dataclasses look up their module
exec(compile(CODE, "tiny_plugins.py", "exec"), TINY.__dict__)
del sys.modules[TINY.__name__]


class TestMarkovChain(DenoiserConformance):
    pads = False

    def build(self) -> Any:
        return MarkovChain.sticky(3, 0.2, self.length)


class TestAlike(DenoiserConformance):
    pads = True

    def build(self) -> Any:
        return TINY.Alike()


class TestVowels(MetricConformance):
    def build(self) -> Any:
        return TINY.vowels

    def cases(self) -> Any:
        return [("aa", {}, 1.0), ("ab", {"q": ["x"]}, 0.5), ("", {}, 0.0)]


class TestWords(DatasetConformance):
    options = {"count": 64}  # noqa: RUF012

    def build(self) -> Any:
        return TINY.words

    def section(self) -> Any:
        return {"tune": 16, "choose": 16, "report": "all", "prompt": "q", "answer": "a"}


def numbers(text: str) -> list[int]:
    return [int(line) for line in text.splitlines() if line and not line.startswith("#")]


class TestLines(ExportConformance):
    def build(self) -> Any:
        return TINY.Lines

    def realised(self, exported: Exported, policy: Policy) -> Any:
        return numbers(exported.files["counts.txt"])


class TestCsv(ExportConformance):
    def build(self) -> Any:
        return Plain("csv")

    def realised(self, exported: Exported, policy: Policy) -> Any:
        rows = [line.split(",") for line in exported.files["schedule.csv"].splitlines() if line[0].isdigit()]
        return [int(row[2]) for row in rows]


class TestLlada(ExportConformance):
    policies = 60

    def build(self) -> Any:
        return Llada()

    def realised(self, exported: Exported, policy: Policy) -> Any:
        scope: dict[str, Any] = {"__name__": "exported"}
        exec(next(iter(exported.files.values())), scope)
        flat = []
        for block in policy.counts or ():
            hidden = torch.ones(1, sum(block), dtype=torch.bool)
            flat += scope["get_num_transfer_tokens"](hidden, len(policy.padded[0]))[0].tolist()
        return flat


def broken(base: type, **changes: Any) -> Any:
    return type("Broken", (base,), changes)


def denoiser(change: Any) -> Any:
    """A suite whose denoiser answers with ``change(own, tokens, wanted)``."""
    return broken(TestAlike, build=lambda self: broken(TINY.Alike, __call__=change)())()


def own(self: Any, tokens: torch.Tensor, wanted: torch.Tensor) -> Any:
    return TINY.Alike.__call__(self, tokens, wanted)


@pytest.mark.parametrize(
    ("suite", "rule", "message"),
    [
        (denoiser(lambda s, t, w: own(s, t, w)[:-1]), "logits_of_the_wanted_positions_only", "must have the shape"),
        (denoiser(lambda s, t, w: own(s, t, w) * torch.rand(1)), "equal_calls_give_equal_results", "equal calls"),
        (denoiser(lambda s, t, w: own(s, t.clamp_(0, 1), w)), "the_arguments_are_not_changed", "must not change"),
        (denoiser(lambda s, t, w: own(s, t, w) * len(t)), "a_row_does_not_depend_on_the_others", "other rows"),
        (
            denoiser(lambda s, t, w: own(s, t, w) * int(w.sum())),
            "a_position_does_not_depend_on_what_else_is_wanted",
            "w",
        ),
        (denoiser(lambda s, t, w: own(s, t, w) * t.shape[1]), "padding_changes_nothing", "padding before"),
        (broken(TestVowels, cases=lambda self: [("ab", {}, 1.0), ("b", {}, 0.0)])(), "each_example_has", "must be 1.0"),
        (broken(TestVowels, cases=lambda self: [("b", {}, 0.0), ("a", {}, 1.0)])(), "the_direction_is_right", "better"),
        (broken(TestWords, build=lambda self: lambda count: [3])(), "records_are_mappings", "must return records"),
        (broken(TestLines, realised=lambda self, made, policy: [1])(), "the_counts_are_realised", "the target must"),
    ],
)
def test_a_broken_rule_is_seen(suite: Any, rule: str, message: str) -> None:
    (name,) = [name for name in dir(suite) if name.startswith(f"test_{rule}")]
    with pytest.raises((AssertionError, InputError), match=message):
        getattr(suite, name)()


def test_a_law_with_impossible_texts_needs_texts_of_its_own() -> None:
    class Even(DenoiserConformance):
        pads = False

        def build(self) -> Any:
            return Parity(self.length)

        def texts(self) -> torch.Tensor:
            return Parity(self.length).sample(3, 0)

    for name in dir(Even):
        if name.startswith("test_"):
            getattr(Even(), name)()


def test_the_suites_need_no_pytest() -> None:
    names = ("denoisers", "metrics", "datasets", "exports")
    code = (
        "\n".join(f"import mdm_tune.testing.{name}" for name in names)
        + "\nimport sys; sys.exit('pytest' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"


def page_suites() -> list[type]:
    """The suites of the example of docs/plugins.md."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    module = ModuleType("page_of_plugins")
    sys.modules[module.__name__] = module  # dataclasses look up their module
    try:
        exec("\n".join(blocks), module.__dict__)
    finally:
        del sys.modules[module.__name__]
    return [made for name, made in vars(module).items() if name.startswith("Test")]


def test_the_example_of_the_page_conforms() -> None:
    suites = page_suites()
    assert len(suites) == 4
    for suite in suites:
        for name in dir(suite):
            if name.startswith("test_"):
                getattr(suite(), name)()
