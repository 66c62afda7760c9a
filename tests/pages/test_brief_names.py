"""A name of Beta(a, b) beside counts gives these counts."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from mdm_tune.pages.brief_names import brief_label
from mdm_tune.pages.run_page import run_page
from mdm_tune.pages.run_reading import RunRecords, read_run
from mdm_tune.pages.run_views import RunView
from mdm_tune.schedules.counts import CountRule, to_counts
from mdm_tune.schedules.curves import Beta
from tests.support.search_results import BUDGET, two_budgets


def view(a: float, b: float, steps: int, counts: list[int], **changes: Any) -> RunView:
    """A search at one budget that found Beta(a, b)."""
    budget = {**BUDGET, "steps": steps, "nfe": steps, "schedule": {"type": "beta", "a": a, "b": b}, "counts": counts}
    sampler = {"counts": changes.pop("rule", "one-per-step")}
    record = two_budgets() | {"budgets": [{**budget, "block_length": sum(counts), **changes}]}
    identity = {"config": {"sampler": sampler}, "fingerprints": {}, "versions": {}}
    return read_run(RunRecords(name="x", path="x", search=record, identity=identity))


def parameters(name: str) -> tuple[float, ...]:
    found = re.fullmatch(r"Beta\((.*), (.*)\)", name)
    assert found is not None, name
    return tuple(map(float, found.groups()))


@pytest.mark.parametrize("rule", ["one-per-step", "cumulative"])
@pytest.mark.parametrize(("length", "steps"), [(64, 8), (256, 64), (1024, 32)])
def test_the_printed_name_gives_the_printed_counts(rule: CountRule, length: int, steps: int) -> None:
    rng, digits = np.random.default_rng(1), set[int]()
    for a, b in 10 ** rng.uniform(-1, 1, size=(40, 2)):
        counts = to_counts(Beta(float(a), float(b)), steps, length, rule)
        (budget,) = view(float(a), float(b), steps, [*counts], rule=rule).budgets
        named = parameters(budget.name)
        assert to_counts(Beta(*named), steps, length, rule) == counts
        assert all(abs(each / exact - 1) < 0.006 for each, exact in zip(named, (a, b), strict=True))
        digits.add(len(f"{named[0]!r}".replace(".", "").lstrip("0")))
    assert max(digits) > 3  # three digits would not have been enough


def test_blocks_are_rounded_one_by_one() -> None:
    a, b = 0.4312345678901234, 0.7612345678901234
    each = to_counts(Beta(a, b), 8, 64)
    (budget,) = view(a, b, 16, [*each, *each], block_length=64).budgets
    assert to_counts(Beta(*parameters(budget.name)), 8, 64) == each


def test_the_page_has_one_name_for_a_schedule() -> None:
    a, b = 0.43455967813885005, 0.5843150578730317
    counts = [*to_counts(Beta(a, b), 8, 64)]
    assert [*to_counts(Beta(0.435, 0.584), 8, 64)] != counts
    stand_ins = {"rounder": {"schedule": "beta:0.435,0.585"}, "baselines": {}, "text": "beta:0.435,0.585 has the same"}
    beta, label = {"type": "beta", "a": a, "b": b}, f"beta:{a!r},{b!r}"
    side = {"schedule": label, "value": 0.5, "pieces": [["x", True]]}
    pair = {"steps": 8, "id": "1", "chosen": "first", "first": {**side, "schedule": "linear"}, "second": side}
    found = view(a, b, 8, counts, stand_ins=stand_ins)
    records = RunRecords(
        name="x",
        path="x",
        search=two_budgets()
        | {"budgets": [{**BUDGET, "steps": 8, "block_length": 64, "schedule": beta, "counts": counts}]}
        | {"sample_pairs": [pair]},
    )
    name = found.budgets[0].name
    assert name == "Beta(0.4346, 0.5843)" and brief_label(found, found.budgets[0], "sine") == "sine"
    text = run_page(read_run(records))
    assert (
        "Beta(0.435, 0.584)" not in text and text.count(name) > 3 and read_run(records).pairs[0].second.label != label
    )
    assert "Beta(0.435, 0.585) has the same" in run_page(found) and "beta:0.4" not in run_page(found)


def test_counts_of_another_rule_leave_three_digits() -> None:
    (budget,) = view(0.4312345678901234, 0.7612345678901234, 4, [1, 2, 3, 2]).budgets
    assert (budget.brief, budget.name) == ("", "Beta(0.431, 0.761)")
