"""How often whole searches claim the truth, in small, and that what scripts/coverage.py takes for the truth is true."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import comb

import numpy as np
import pytest
import torch
from scipy.stats import binom

from mdm_tune.datasets.splits import Use
from mdm_tune.sampling.drawing import Drawing, Order
from mdm_tune.sampling.unmasking import unmask
from mdm_tune.schedules import Counts, Linear
from scripts.coverage import MAKERS, NULLS, Outcome, holds, page, problem_of, search
from tests.helpers import same_plan

SEARCHES, TRIALS = 40, 8
SIZES: dict[Use, int] = {"tune": 32, "choose": 32, "report": 128}


def outcomes(name: str) -> list[Outcome]:
    problem = problem_of(name)
    return [search(replace(problem, steps=problem.steps[:1]), root, TRIALS, SIZES)[0] for root in range(SEARCHES)]


def missed(found: Sequence[Outcome]) -> int:
    """Of the searches that found another schedule than linear, how many miss the true gain; more than 7 are too many.

    More than 7 of 40 have probability 0.0007 where the interval holds the truth in 95 %.
    """
    assert binom.sf(7, SEARCHES, 0.05) < 1e-3
    moved = [each for each in found if each.differs]
    assert len(moved) > SEARCHES / 2
    return sum(not holds(each.ci, each.true) for each in moved)


def test_the_interval_of_a_search_holds_the_true_gain() -> None:
    """Of values that are 0 or 1, where intervals are worst."""
    found = outcomes("legal, confidence")
    assert missed(found) <= 7
    assert sum(each.claimed for each in found) > SEARCHES / 2 and not any(each.false for each in found)


def test_where_nothing_can_be_gained_a_search_seldom_claims_a_gain() -> None:
    """More than 5 of 40 have probability 0.0005 where 2.5 % may."""
    assert binom.sf(5, SEARCHES, 0.025) < 1e-3
    found = outcomes("parity")
    assert all(each.true == 0 for each in found)
    assert sum(each.claimed for each in found) <= 5 and missed(found) <= 7


def share_of_legal(counts: Sequence[int], order: Order) -> float:
    """Strings of eight with two or three a's, by the number of a's that are visible: all positions are alike."""
    states, visible = defaultdict(float, {0: 1.0}), 0
    for count in counts:
        hidden, after = 8 - visible, defaultdict[int, float](float)
        for a, weight in states.items():
            ways = {n: comb(hidden, n - a) for n in (2, 3) if 0 <= n - a <= hidden}
            p = sum(way * (n - a) for n, way in ways.items()) / (hidden * sum(ways.values())) if ways else 0.5
            alike = order == "random" or abs(p - 0.5) < 1e-9  # then the first ``count`` positions are as good as any
            for n in range((count if alike else hidden) + 1):
                drawn = binom.pmf(n, count if alike else hidden, p)
                kept = n if alike else min(n, count) if p > 0.5 else count - min(hidden - n, count)
                after[a + kept] += weight * float(drawn)
        states, visible = after, visible + count
    return states[2] + states[3]


@pytest.mark.parametrize("order", ["confidence", "random"])
def test_the_truth_of_legal_strings_is_a_small_sum(order: Order) -> None:
    truth = problem_of(f"legal, {order}").truth
    compositions = [c for c in product(range(1, 6), repeat=4) if sum(c) == 8]
    assert len(compositions) == comb(7, 3)
    values = {counts: truth(counts) for counts in compositions}
    assert values == {counts: pytest.approx(share_of_legal(counts, order)) for counts in compositions}
    assert max(values.values()) - min(values.values()) > 0.1


def test_the_truth_of_path_nll_is_the_samplers_own_over_all_data() -> None:
    problem = problem_of("path NLL, margin")
    data = torch.tensor(list(product(range(4), repeat=6)))
    start, seeds = torch.full_like(data, problem.law.mask_id), np.zeros(len(data), dtype=np.uint64)
    for counts in ((2, 2, 2), (1, 2, 3), (4, 1, 1)):
        plan = same_plan(counts, len(data))
        nll = unmask(problem.law, start, plan, seeds=seeds, drawing=Drawing("margin"), batch=4096, reference=data).nll
        assert nll is not None
        assert problem.truth(counts) == pytest.approx(float(nll @ problem.law.log_prob(data).exp()))


@pytest.mark.parametrize("name", MAKERS)
def test_fresh_examples_agree_with_the_truth(name: str) -> None:
    """4 standard errors for two values and their difference: a false alarm in 1 of 5,000 cases each."""
    problem, steps = problem_of(name), problem_of(name).steps[0]
    evaluator = problem.evaluator(7, {"tune": 8, "choose": 8, "report": 2048})
    length = problem.law.length
    other = Counts((length - steps + 1 - steps // 2, *(1,) * (steps - 2), 1 + steps // 2))
    settings = [evaluator.setting(schedule, steps) for schedule in (Linear(), other)]
    values = [evaluator.score(setting, "report").values for setting in settings]
    true = [problem.truth(setting.counts or ()) for setting in settings]
    assert values[0] is not None and values[1] is not None
    for drawn, expected in zip((*values, values[0] - values[1]), (*true, true[0] - true[1]), strict=True):
        assert drawn.mean() == pytest.approx(expected, abs=4 * drawn.std() / np.sqrt(len(drawn)))
        assert drawn.std() > 0


def test_the_page_counts_what_it_says() -> None:
    hit, miss = (0.0, 0.2), (0.15, 0.3)
    right, wrong = Outcome(hit, hit, 0.1, True, True), Outcome(miss, hit, 0.1, True, False)
    same, false = Outcome((0.0, 0.0), (0.0, 0.0), 0.0, False, False), Outcome((-0.2, -0.1), miss, -0.05, True, True)
    alone = [[right], [right], [wrong], [same], [false]]
    lost = Outcome((-0.3, -0.1), (-0.3, -0.1), -0.2, True, False, True)
    null = [[same, same, false], [false, false, false], [right, same, same], [same, same, same], [wrong, same, same]]
    text = page({name: null if name in NULLS else alone for name in MAKERS}).splitlines()
    assert "| legal, random | 4 of 5 | 2 of 4: 50.0% (6.8% to 93.2%) | 1, 1 | 3 of 4: 75.0% (19.4% to 99.4%) |" in text
    assert "| legal, random | -0.050 to 0.100 | 3 of 5: 60.0% (14.7% to 94.7%) | 3 | 1 |" in text
    assert any(line.startswith("| all | 20 of 25 | 10 of 20: 50.0%") for line in text)
    row = [line for line in text if line.startswith("| parity")][-1]
    shares = [cell.strip().partition(":")[0] for cell in row.split("|")[2:-1]]
    assert shares == ["3 of 5", "1 of 3", "2 of 5", "2 of 5"]
    text = page(
        {name: [[lost], [replace(lost, true=0.0)], [right], [same]] * 2 for name in MAKERS}
        | {name: [[each] * 3 for each in (same, right)] for name in NULLS}
    ).splitlines()
    assert "| legal, random | 4 of 8: 50.0% (15.7% to 84.3%) | 2 of 4: 50.0% (6.8% to 93.2%) |" in text
