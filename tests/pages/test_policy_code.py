"""The code that a page gives for a policy does what the policy does in this package's sampler."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mdm_tune.pages.policy_code import policy_code
from mdm_tune.pages.run_reading import RunRecords, read_run
from mdm_tune.pages.run_views import RunView
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.plans import AdaptivePlan, CapPlan, EntropyBoundPlan, KlassPlan, QuotaPlan, ThresholdPlan
from mdm_tune.sampling.unmasking import unmask
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import parse_schedule
from tests.support.helpers import CountingDenoiser, TableDenoiser, plan, random_law, seeds
from tests.support.search_results import BUDGET, two_budgets

LENGTH, VOCABULARY, LAWS = 5, 3, 12


def view(order: str = "confidence", block_length: int = LENGTH) -> RunView:
    budget = {**BUDGET, "steps": 4, "block_length": block_length, "counts": [2, 1, 1, 1]}
    identity = {"config": {"sampler": {"order": order, "temperature": 0.0}}, "fingerprints": {}, "versions": {}}
    return read_run(RunRecords(name="x", path="x", search=two_budgets() | {"budgets": [budget]}, identity=identity))


def one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def counts(schedule: str, steps: int) -> Tensor:
    return plan([[*to_counts(parse_schedule(schedule), steps, LENGTH)]]).counts


def by_code(code: str, law: TableDenoiser) -> tuple[list[int], int]:
    """The tokens and the calls of the code with the predictions of a law."""
    calls: list[int] = []

    def model(tokens: Tensor) -> Tensor:
        calls.append(1)
        hidden, logits = tokens == law.mask_id, torch.zeros(LENGTH, VOCABULARY, dtype=torch.float64)
        logits[hidden] = law(tokens[None], hidden[None])
        return logits

    names: dict[str, Any] = {
        "model": model,
        "mask": law.mask_id,
        "tokens": torch.full((LENGTH,), law.mask_id),
    }
    exec(code, names)
    return names["tokens"].tolist(), len(calls)


CASES: list[tuple[str, str, AdaptivePlan]] = [
    *(("threshold:" + str(each), "confidence", ThresholdPlan(one(each))) for each in (0.4, 0.6, 0.7)),
    ("threshold:0.25", "margin", ThresholdPlan(one(0.25))),
    *((f"entropy-bound:{each}", "entropy", EntropyBoundPlan(one(each))) for each in (0.5, 1.5)),
    *((f"quota:sine#4@{each}", "confidence", QuotaPlan(counts("sine", 4), one(each))) for each in (0.4, 0.6)),
    *((f"cap:sine#2@{each}", "confidence", CapPlan(counts("sine", 2), one(each))) for each in (0, 0.38, 0.4)),
    *((f"klass:{kl}@0.4", "confidence", KlassPlan(one(0.4), one(kl))) for kl in (0.05, 0.5)),
]


@pytest.mark.parametrize(("policy", "order", "a_plan"), CASES, ids=[each[0] for each in CASES])
def test_the_code_reveals_what_the_policy_reveals(policy: str, order: str, a_plan: AdaptivePlan) -> None:
    code = policy_code(view(order), policy, 4)
    lengths = set()
    for seed in range(LAWS):
        law = TableDenoiser(random_law(LENGTH, VOCABULARY, seed=seed))
        asked = CountingDenoiser(law)
        start = torch.full((1, LENGTH), law.mask_id)
        found = unmask(asked, start, a_plan, seeds=seeds(1), drawing=Drawing(order, 0.0))  # type: ignore[arg-type]
        assert by_code(code, law) == (found.tokens[0].tolist(), len(asked.calls))
        lengths.add(len(asked.calls))
    assert policy == "cap:sine#2@0" or len(lengths) > 1  # the laws tell values from each other


@pytest.mark.parametrize("policy", ["threshold:0.5", "entropy-bound:1"])
def test_blocks_are_filled_one_after_the_other(policy: str) -> None:
    order = "entropy" if policy.startswith("entropy") else "confidence"
    a_plan = EntropyBoundPlan(one(1)) if order == "entropy" else ThresholdPlan(one(0.5))
    code, place = policy_code(view(order, 2), policy, 4), torch.tensor([[0, 0, 1, 1, 2]])
    for seed in range(LAWS):
        law = TableDenoiser(random_law(LENGTH, VOCABULARY, seed=seed))
        asked = CountingDenoiser(law)
        start = torch.full((1, LENGTH), law.mask_id)
        drawing = Drawing(order, 0.0)  # type: ignore[arg-type]
        found = unmask(asked, start, a_plan, seeds=seeds(1), drawing=drawing, blocks=place)
        assert by_code(code, law) == (found.tokens[0].tolist(), len(asked.calls))


def test_there_is_no_code_where_it_would_be_wrong() -> None:
    in_blocks = view(block_length=2)
    assert all(not policy_code(in_blocks, name, 4) for name in ("quota:sine@0.5", "cap:sine@0.5", "klass:0.01@0.5"))
    assert all(not policy_code(view(), name, 4) for name in ("sine", "threshold", "quota:sine", "threshold:2", "x:1"))
    assert "(threshold == 0)" in policy_code(view(), "cap:sine#2@0.5", 4)
    assert policy_code(view(), "quota:sine#4@0.5", 4).startswith("counts, threshold = [")
