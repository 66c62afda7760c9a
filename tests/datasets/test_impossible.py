"""A token of probability 0 is named with its text, its example, its position and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.text import Symbols
from mdm_tune.datasets.examples import Example
from mdm_tune.datasets.impossible import ImpossibleTokens
from mdm_tune.datasets.splits import Split
from mdm_tune.denoisers.analytic import Table
from mdm_tune.denoisers.guidance import Guided
from mdm_tune.metrics.quality import PathLikelihood
from mdm_tune.run.build import build
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.plans import CountPlan
from mdm_tune.sampling.unmasking import unmask
from tests.support.helpers import seeds
from tests.support.profile_runs import config

LAW = Table(("aaa", "bbb", "aab"), (1.0, 1.0, 1.0))
CODEC = Symbols("ab")


class Never:
    """Predicts all tokens alike but for one, which it never produces."""

    vocab_size, mask_id, forbidden = 4, 3, torch.tensor([2, 3])

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        logits = torch.zeros(int(wanted.sum()), 4)
        logits[:, self.forbidden] = -torch.inf
        return logits


def split_of(originals: Tensor, mask_id: int, source: str = "") -> Split:
    ids = tuple(f"x{row}" for row in range(len(originals)))
    examples = tuple(Example(name, (), source=f"{source}:{row + 1}") for row, name in enumerate(ids)) if source else ()
    start = torch.full_like(originals, mask_id)
    return Split(
        use="tune",
        ids=ids,
        originals=originals,
        start=start,
        seeds=seeds(len(originals)),
        mask_id=mask_id,
        examples=examples,
    )


@pytest.mark.parametrize(
    ("token", "why"), [(2, r"token 2 \('c'\), which the model never produces"), (3, r"token 3.*, the mask")]
)
def test_tokens_that_are_never_produced_are_refused_before_anything_is_paid(token: int, why: str) -> None:
    split = split_of(torch.tensor([[0, 1, 0], [0, token, token]]), 9, "data.jsonl")
    for denoiser in (Never(), Guided(Never(), 0.5, 3)):
        impossible: Any = ImpossibleTokens(denoiser, Symbols("abc"))
        with pytest.raises(InputError, match=rf"x1 \(data.jsonl:2\) of the tune split at position 1: it has {why}"):
            impossible.refuse(split, "objective nelbo")
    impossible.refuse(split.first(1), "objective nelbo")


@pytest.mark.parametrize("other", [None, ["words"], 3])
def test_another_thing_of_that_name_forbids_nothing(other: object) -> None:
    denoiser: Any = Never()
    denoiser.forbidden = other
    assert ImpossibleTokens(denoiser, CODEC).never == {3}


@pytest.mark.parametrize("order", ["random", "margin"])
def test_a_path_that_ends_in_probability_0_names_token_and_position(order: Any) -> None:
    """In aba the b must come first and leave an a impossible, or an a and leave the b so: one position is to blame."""
    originals = torch.tensor([[0, 0, 0], [0, 1, 0], [1, 1, 1]])
    split = split_of(originals, LAW.mask_id)
    counts = torch.ones(3, 1, 3, dtype=torch.int64)
    found = unmask(LAW, split.start, CountPlan(counts), seeds=split.seeds, drawing=Drawing(order), reference=originals)
    assert found.impossible is not None and found.impossible[[0, 2]].tolist() == [-1, -1]
    at = int(found.impossible[1])
    assert at >= 0
    metric = PathLikelihood("nelbo", "random", why=ImpossibleTokens(LAW, CODEC).describe)
    token = int(originals[1, at])
    told = rf"infinite for example x1 of the tune split at position {at}: .* token {token} \('{'ab'[token]}'\), which"
    with pytest.raises(InputError, match=told):
        metric.values(found, split)


def test_a_law_that_draws_its_own_data_is_sound(tmp_path: Path) -> None:
    assert build(config(tmp_path)).evaluator.metric.name == "nelbo"
