"""How often whole searches claim the truth, in small, and that what scripts/coverage.py takes for the truth is true."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import product
from math import comb
from pathlib import Path

import numpy as np
import pytest
import torch
from given_values import GIVEN, GivenProblem, gain_of_counts
from numpy.typing import NDArray
from scipy.stats import binom

from mdm_tune.datasets.splits import Use
from mdm_tune.sampling.drawing import Drawing, Order
from mdm_tune.sampling.unmasking import unmask
from mdm_tune.schedules.curves import Counts, Linear
from scripts.coverage import MAKERS, Outcome, holds, outside, page, problem_of, read_results, search, tasks
from tests.support.helpers import same_plan

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
    length = problem.length
    other = Counts((length - steps + 1 - steps // 2, *(1,) * (steps - 2), 1 + steps // 2))
    settings = [evaluator.setting(schedule, steps) for schedule in (Linear(), other)]
    values = [evaluator.score(setting, "report").values for setting in settings]
    true = [problem.truth(setting.counts or ()) for setting in settings]
    assert values[0] is not None and values[1] is not None
    for drawn, expected in zip((*values, values[0] - values[1]), (*true, true[0] - true[1]), strict=True):
        assert drawn.mean() == pytest.approx(expected, abs=4 * drawn.std() / np.sqrt(len(drawn)))
        assert drawn.std() > 0


def given_differences(name: str, counts: tuple[int, ...], root: int = 0) -> tuple[NDArray[np.float64], GivenProblem]:
    problem = replace(GIVEN[name], sizes={"tune": 16, "choose": 16, "report": 16_000})
    evaluator = problem.evaluator(root)
    other, linear = (evaluator.setting(each, problem.steps[0]) for each in (Counts(counts), Linear()))
    scored = [evaluator.score(setting, "report").values for setting in (other, linear)]
    assert scored[0] is not None and scored[1] is not None
    return scored[0] - scored[1], problem


def test_the_gains_of_given_values_are_a_parabola() -> None:
    assert gain_of_counts((2,) * 8, 0.3) == pytest.approx(0)
    assert gain_of_counts((7, 3), 0.3) == pytest.approx(0.3)
    assert gain_of_counts((7, 7, 3, 3), 0.3) == pytest.approx(0.3 * 8 / 9)  # 0.35, 0.7 and 0.85, a third too few
    assert gain_of_counts((1, 1, 1, 13), 0.3) == -0.3


def test_given_values_differ_as_their_names_say() -> None:
    """Within 5 standard errors each, of 16,000 values: a false alarm in 1 of a million."""
    counts = (5, 3, 2, 2, 1, 1, 1, 1)
    seldom, _ = given_differences("seldom differing, 0 or 1", counts)
    assert set(np.unique(seldom)) == {-1.0, 0.0, 1.0}
    assert np.mean(seldom != 0) == pytest.approx(0.05, abs=5 * np.sqrt(0.05 * 0.95 / 16_000))
    rare, _ = given_differences("rare differences", counts)
    assert np.mean(np.abs(rare) > 1e-9) == pytest.approx(0.2, abs=5 * np.sqrt(0.2 * 0.8 / 16_000))
    normal, _ = given_differences("few examples", counts)
    assert np.std(normal) == pytest.approx(1, abs=5 / np.sqrt(2 * 16_000))
    left, problem = given_differences("left-skewed", counts)
    assert left.max() - problem.gain(counts) == pytest.approx(0.5 * np.exp(0.5), abs=0.05)  # a log-normal is above 0
    assert np.mean(left > problem.gain(counts)) == pytest.approx(0.6915, abs=0.02)  # Phi(1 / 2)
    heavy, _ = given_differences("heavy tails, no gain", counts)
    assert np.mean(np.abs(heavy) < np.exp(1.125)) == pytest.approx(0.8698, abs=0.02)  # log-normal below twice its mean


def test_given_values_of_a_prompt_are_alike_and_count_once() -> None:
    """The correlation of two rows is 1/2; 5 standard errors of 2,000 prompts."""
    differences, problem = given_differences("prompts of 8 rows", (5, 3, 2, 2, 1, 1, 1, 1))
    rows = differences.reshape(-1, 8)
    assert np.corrcoef(rows[:, 0], rows[:, 7])[0, 1] == pytest.approx(0.5, abs=5 * 0.75 / np.sqrt(2000))
    evaluator = problem.evaluator(0, {"tune": 16, "choose": 16, "report": 256})
    assert evaluator.score(evaluator.setting(Linear(), 8), "report").estimate.count == 32


def test_given_values_are_the_same_whenever_they_are_asked_for() -> None:
    evaluator = GIVEN["few examples"].evaluator(3)
    settings = [evaluator.setting(Counts(counts), 8) for counts in ((5, 3, 2, 2, 1, 1, 1, 1), (1, 1, 1, 1, 2, 2, 3, 5))]
    values, _ = evaluator.together(settings, "tune", 24)
    fresh = GIVEN["few examples"].evaluator(3)
    order = [int(name) for name in fresh.split("tune").shuffled().ids[:24]]
    for setting, found in zip(settings, values, strict=True):
        whole = fresh.score(setting, "tune").values
        assert whole is not None and found.tolist() == whole[order].tolist()
    assert values[0].tolist() != values[1].tolist()
    other = GIVEN["few examples"].evaluator(4).score(settings[0], "tune").values
    assert other is not None and other.tolist() != fresh.score(settings[0], "tune").values.tolist()


def test_a_search_of_given_values_judges_what_the_choose_split_chose() -> None:
    """Of two budgets: the first alone, then both."""
    found = search(GIVEN["left-skewed"], 1, TRIALS)
    assert len(found) == 3 and all(each.differs and each.true <= 0.25 for each in found)
    assert found[0].ci == found[0].familywise == found[1].ci  # the same search; two claims move the second
    assert found[1].familywise[0] < found[1].ci[0] and found[1].ci[1] < found[1].familywise[1]


def test_searches_come_by_turns_and_are_kept(tmp_path: Path) -> None:
    listed = tasks(40)
    assert len(listed) == len(set(listed)) == 40 * 7 + 200 * len(GIVEN)
    assert {name for name, _ in listed[: len(listed) // 20]} == set(MAKERS)
    path, each = tmp_path / "results.jsonl", Outcome((0.0, 1.0), (-0.1, 1.1), 0.5, True, False, True)
    path.write_text(json.dumps(["parity", 3, [asdict(each)]]) + "\n" + '["parity", 4, [{"ci"')
    assert read_results(path) == {("parity", 3): [each]} and read_results(tmp_path / "none") == {}


def test_the_page_counts_what_it_says() -> None:
    hit, miss = (0.0, 0.2), (0.15, 0.3)
    right, wrong = Outcome(hit, hit, 0.1, True, True), Outcome(miss, hit, 0.1, True, False)
    same, false = Outcome((0.0, 0.0), (0.0, 0.0), 0.0, False, False), Outcome((-0.2, -0.1), miss, -0.05, True, True)
    lost = Outcome((-0.3, -0.1), (-0.3, -0.1), -0.2, True, False, True)
    alone = [[right], [right], [wrong], [same], [false], [lost], [replace(lost, true=0.0)]]
    both = [[same, same, false], [false, false, false], [right, same, same], [wrong, same, right]]
    several = [name for name in MAKERS if len(problem_of(name).steps) > 1]
    text = page({name: both if name in several else alone for name in MAKERS}).splitlines()
    cells = "6 of 7 | 3 of 6: 50.0% (11.8% to 88.2%) | 1, 2 | 2 of 4: 50.0% (6.8% to 93.2%)"
    assert f"| legal, random | 256 | {cells} |" in text
    assert f"| few examples | 16 | {cells} |" in text
    assert "| legal, random | -0.200 to 0.100 | 3 | 1 of 7: 14.3% (0.4% to 57.9%) |" in text
    assert "| legal, random | 2 of 7: 28.6% (3.7% to 71.0%) | 1 of 4: 25.0% (0.6% to 80.6%) |" in text
    assert any(line.startswith("| all |  | ") for line in text)
    assert any(line.startswith("Shares outside 92 to 98 %: *legal, confidence* 50.0%, ") for line in text)
    few = {"few": [*[right] * 9, wrong, same], "many": [*[right] * 95, *[wrong] * 5]}
    assert outside(few) == "*few* 90.0%." and outside(few, surely=True) == "none."  # 9 of 10 may be 99.7 %
    assert outside({"many": few["few"] * 30}, surely=True) == "none." and outside({"none": [same]}) == "none."
    assert outside({"many": few["few"] * 100}, surely=True) == "*many* 90.0%."
    (row,) = (line for line in text[text.index("## Two budgets in one search") :] if line.startswith("| parity"))
    shares = [cell.strip().partition(":")[0] for cell in row.split("|")[2:-1]]
    assert shares == ["1 of 4", "2 of 4", "1 of 3"]
