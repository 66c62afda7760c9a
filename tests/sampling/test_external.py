"""Generate code of the user's own: what it is told, what it may answer, and every check of its answer by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.sampling.external import ExternalSampler, Generated, load_external
from mdm_tune.sampling.plans import CountPlan, RevealPlan, ThresholdPlan

LAW = MarkovChain.sticky(3, 0.2, 6)
MASK = LAW.mask_id
PROMPTS = torch.tensor(
    [[-1, 1, MASK, MASK, MASK, MASK], [0, 2, MASK, MASK, MASK, MASK], [0, 0, MASK, MASK, MASK, MASK]]
)
COUNTS = torch.tensor([[[1, 1], [2, 0]], [[2, 0], [1, 1]], [[1, 1], [1, 1]]])
SEEDS = np.arange(3, dtype=np.uint64)


def code(answer: str, folder: Path, arguments: str = "prompts, counts, seeds") -> str:
    """A file whose function returns ``answer``; ``filled`` is a right one."""
    (folder / "own.py").write_text(
        f"import numpy as np\nimport torch\n\n\ndef generate({arguments}):\n"
        f"    filled = prompts.masked_fill(prompts == {MASK}, 1)\n    return {answer}\n",
        encoding="utf-8",
    )
    return f"{folder / 'own.py'}:generate"


def loaded(answer: str, folder: Path, arguments: str = "prompts, counts, seeds", **options: Any) -> ExternalSampler:
    return load_external(code(answer, folder, arguments), LAW, trust_code=True, options=options)


def drawn(external: ExternalSampler, batch: int = 2) -> Any:
    return external.unmask(PROMPTS, CountPlan(COUNTS), seeds=SEEDS, batch=batch)


@pytest.mark.parametrize(
    ("answer", "nfe", "rows"),
    [
        ("filled, 2", [2, 2, 2], 6),
        ("filled.numpy(), np.array([3] * len(prompts))", [3, 3, 3], 9),
        ("{'tokens': filled, 'nfe': (counts > 0).sum((1, 2)), 'denoiser_rows': 4}", [3, 3, 4], 8),
        ("type('Answer', (), {'tokens': filled, 'nfe': 1})()", [1, 1, 1], 3),
    ],
)
def test_forms_of_an_answer(answer: str, nfe: list[int], rows: int, tmp_path: Path) -> None:
    result = drawn(loaded(answer, tmp_path))
    assert result.tokens.equal(PROMPTS.masked_fill(PROMPTS == MASK, 1)) and result.nll is None
    assert result.nfe.tolist() == nfe and result.denoiser_rows == rows


def test_tokens_are_those_of_whole_rows_without_padding() -> None:
    external = ExternalSampler(
        lambda prompts, counts, seeds: Generated(prompts.masked_fill(prompts == MASK, 0), 2, 4), LAW, "x", {}
    )
    result = external.unmask(PROMPTS[:2], CountPlan(COUNTS[:2]), seeds=SEEDS[:2])
    assert result.denoiser_rows == 4 and result.denoiser_tokens == 2 * (5 + 6)


def test_every_batch_is_told_its_own_rows(tmp_path: Path) -> None:
    told: list[tuple[Any, ...]] = []

    def generate(
        prompts: Tensor, counts: Tensor, seeds: Any, mask_id: int, denoiser: Any, device: str, bias: int
    ) -> Any:
        told.append((prompts, counts, seeds, mask_id, denoiser, device, bias))
        return prompts.masked_fill(prompts == mask_id, bias), 1

    result = drawn(ExternalSampler(generate, LAW, "x", {"bias": 2}, "cpu"))
    assert result.tokens[:, 2:].unique().tolist() == [2]
    assert [len(each[0]) for each in told] == [2, 1]
    assert torch.cat([each[0] for each in told]).equal(PROMPTS) and torch.cat([each[1] for each in told]).equal(COUNTS)
    assert np.concatenate([each[2] for each in told]).tolist() == SEEDS.tolist()
    assert all(each[3:] == (MASK, LAW, "cpu", 2) for each in told)


@pytest.mark.parametrize(
    ("answer", "check", "said"),
    [
        ("filled", "answer", "return tokens and nfe.*got Tensor"),
        ("{'tokens': filled, 'calls': 2}", "answer", r"got dict of \['calls', 'tokens'\]"),
        ("(filled, 2, 4, 5)", "answer", "got tuple"),
        ("(filled[:, :4], 2)", "shape", r"return tokens \(1, 6\) torch.int64.*got \(1, 4\)"),
        ("(filled.float(), 2)", "shape", "got .*torch.float32"),
        ("(filled.masked_fill(prompts == 2, 0), 2)", "prompt", "token 0 at position 1 of row 1"),
        ("(filled.masked_fill(prompts == -1, 0), 2)", "prompt", "token 0 at position 0 of row 0"),
        ("(prompts, 2)", "finished", f"token {MASK} at position 2 of row 0"),
        ("(filled.masked_fill(prompts == 3, 7), 2)", "vocabulary", "draw tokens from 0 to 2.*got token 7"),
        ("(filled, 2.5)", "nfe", r"\(1,\) integers, or one for all rows"),
        ("(filled, [1, 2, 3])", "nfe", r"got \(3,\)"),
        ("(filled, 0)", "nfe", "one call or more, got 0 for row 0"),
        ("(filled, 2, 1.5)", "denoiser_rows", "as a whole number, got 1.5"),
    ],
)
def test_each_failure_is_named(answer: str, check: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=rf"check '{check}' failed in the batch from row \d on: .*{said}.*; correct it"
    ):
        drawn(loaded(answer, tmp_path), batch=1)


def test_a_failure_of_the_code_is_told_with_its_line(tmp_path: Path) -> None:
    said = r"failed on rows 0 to 1: ZeroDivisionError: division by zero \(line 7\); correct it, or lower .* --overwrite"
    with pytest.raises(RunError, match=said):
        drawn(loaded("1 / 0", tmp_path))


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ("prompts, counts", {}, r"is called with \(prompts, counts, seeds\).*too many positional"),
        ("prompts, counts, seeds", {"bias": 1}, r"sampler.options \['bias'\].*unexpected keyword argument 'bias'"),
        ("prompts, counts, seeds, speed", {}, "missing a required argument: 'speed'"),
        ("prompts, counts, seeds, model", {}, "missing a required argument: 'model'"),  # a law has none
    ],
)
def test_arguments_are_checked_before_anything_runs(
    arguments: str, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        loaded("filled, 1", tmp_path, arguments, **options)


def test_what_needs_predictions_is_refused(tmp_path: Path) -> None:
    external = loaded("filled, 1", tmp_path)
    with pytest.raises(InputError, match="no likelihood of references"):
        external.unmask(PROMPTS, CountPlan(COUNTS), seeds=SEEDS, reference=PROMPTS)
    for plan, name in (
        (RevealPlan(torch.tensor([[0.0, 1.0]] * 3)), "ancestral"),
        (ThresholdPlan(torch.ones(3)), "adaptive"),
    ):
        with pytest.raises(InputError, match=f"got .*{name}"):
            external.unmask(PROMPTS, plan, seeds=SEEDS)


def test_fingerprints_follow_the_file_the_name_and_the_options(tmp_path: Path) -> None:
    def digits(answer: str = "filled, 1", **options: Any) -> str:
        return loaded(answer, tmp_path, "prompts, counts, seeds, bias=0", **options).fingerprint

    first = digits()
    assert first == digits() and re.fullmatch("[0-9a-f]{16}", first)
    assert len({first, digits(bias=1), digits("filled, 2")}) == 3
