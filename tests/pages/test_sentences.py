"""The sentences below the headline, for every outcome.

Covers: names, run_reading, reading_rows, diversity_sentences.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from mdm_tune.core.statistics import Estimate
from mdm_tune.pages.headlines import headline
from mdm_tune.pages.names import (
    cut_text,
    large,
    role_of,
    rounded_count,
    short_name,
    short_names,
    time_text,
    without_value,
)
from mdm_tune.pages.run_figures import figures_of
from mdm_tune.pages.run_looks import Looks
from mdm_tune.pages.run_reading import RunRecords, read_run
from mdm_tune.pages.run_sections import origins
from mdm_tune.pages.run_views import Rivalry, Row, RunView, Verdict
from mdm_tune.pages.sentences import caveat, findings, lead, verdict_text
from mdm_tune.run.search_records import BudgetRecord
from mdm_tune.search.outcomes import Outcome
from tests.support.search_results import BUDGET, EXACT, FLAGGED, two_budgets, without_interval

GAIN: dict[str, Any] = BUDGET["gain_over_linear"]
LOSER = {
    "schedule": "beta:9.0,0.1",
    "value": 0.7,
    "ci": [0.68, 0.72],
    "no_interval": None,
    "independent": 512,
    "gain_over_linear": {**GAIN, "value": -0.06, "ci": [-0.08, -0.04], "ci_familywise": [-0.08, -0.04], "shown": False},
    "block_length": 8,
    "counts": [5, 1, 1, 1],
    "alphas": None,
    "nfe": 4,
    "nfe_ci": None,
}
NO_GAIN = {**BUDGET, "gain_over_linear": {**GAIN, "ci": [-0.01, 0.07], "ci_familywise": [-0.02, 0.08], "shown": False}}
FEW = {**GAIN, "shown": False, "examples_that_differ": 7, "examples_that_must_differ": 10}
MORE = {
    **BUDGET,
    "schedule": {"type": "threshold", "a": None, "b": None, "policy": "threshold:0.6222"},
    "policy": "threshold:0.6222",
    "counts": None,
    "nfe": 4.25,
    "flags": ["more-calls"],
    "beats_linear": False,
    "baseline_calls": {"linear": {"nfe": 4.0, "nfe_ci": None}},
}
UNCORRECTED = {**GAIN, "ci_familywise": [-0.001, 0.05], "shown": False}


def view(*budgets: dict[str, Any], **changes: Any) -> RunView:
    record = two_budgets() | {"budgets": list(budgets)} | changes
    record["frontier"] = {**record["frontier"], "headline": changes.get("pair")}
    return read_run(RunRecords(name="text", path="runs/text", search=record))


@pytest.mark.parametrize(
    "record",
    [
        BUDGET,
        NO_GAIN,
        FLAGGED,
        without_interval(BUDGET),
        {**BUDGET, "loser": LOSER},
        {**BUDGET, "gain_over_linear": FEW},
        {**BUDGET, "gain_over_linear": UNCORRECTED},
        {**BUDGET, "gain_over_linear": {**GAIN, **EXACT, "shown": True}},
        {**BUDGET, "gain_over_linear": {**GAIN, **EXACT}},
    ],
)
def test_the_verdict_is_that_of_the_search(record: dict[str, Any]) -> None:
    wanted = BudgetRecord.from_json(record).quality.outcome
    same = {
        Outcome.BETTER: Verdict.BETTER,
        Outcome.MORE_CALLS: Verdict.MORE_CALLS,
        Outcome.LESS_DIVERSE: Verdict.LESS_DIVERSE,
        Outcome.UNCORRECTED: Verdict.NOT_CLAIMED,
        Outcome.TOO_FEW_DIFFER: Verdict.NOT_CLAIMED,
        Outcome.NO_GAIN: Verdict.NO_GAIN,
        Outcome.WORSE: Verdict.WORSE,
        Outcome.UNTESTED: Verdict.UNTESTED,
    }
    assert view(record).budgets[0].verdict is same[wanted]


def test_a_gain_at_more_calls_is_none_at_equal_cost() -> None:
    assert view(MORE).budgets[0].verdict is Verdict.MORE_CALLS
    assert view({**MORE, "gain_over_linear": {**GAIN, "shown": False}}).budgets[0].verdict is not Verdict.MORE_CALLS
    rival_too = {**rival(0.01, 0.03, shown=True), "flags": ["more-calls"]}
    assert view(rival_too).budgets[0].against_rival is Rivalry.MORE_CALLS


def test_the_verdict_in_words_says_why_nothing_is_claimed() -> None:
    few, uncorrected = (view({**BUDGET, "gain_over_linear": gain}).budgets[0] for gain in (FEW, UNCORRECTED))
    assert verdict_text(few) == "no gain is claimed: 7 examples differ, 10 must"
    assert verdict_text(uncorrected) == "no gain is claimed: the interval that is corrected for all budgets contains 0"


SINE = {**BUDGET["baselines"], "sine": {"value": 0.81, "ci": [0.8, 0.82]}}


def rival(low: float, high: float, *, shown: bool = False, steps: int = 4) -> dict[str, Any]:
    """A budget where sine is the best hand-made schedule, with the interval of the gain over it."""
    gain = {**GAIN, "value": (low + high) / 2, "ci": [low, high], "ci_familywise": [low, high], "shown": shown}
    return {**BUDGET, "steps": steps, "nfe": steps, "baselines": SINE, "gains_over_baselines": {"sine": gain}}


def test_exact_values_are_compared_with_hand_made_ones_by_their_sign() -> None:
    exact = {**rival(-0.03, -0.01)["gains_over_baselines"]["sine"], **EXACT, "no_interval": "exact"}
    (budget,) = view({**rival(-0.03, -0.01), "gains_over_baselines": {"sine": exact}}).budgets
    assert budget.against_rival is Rivalry.WORSE
    few = {**exact, "no_interval": "too few examples", "examples_that_differ": 5}
    (budget,) = view({**rival(-0.03, -0.01), "gains_over_baselines": {"sine": few}}).budgets
    assert budget.against_rival is Rivalry.OPEN


def test_diversity_is_stated_also_where_it_does_not_count() -> None:
    losses = {**FLAGGED["diversity_losses"], "losses": [dict(FLAGGED["diversity_losses"]["losses"][0])]}
    losses["losses"][0] |= {"share": 0.026, "flagged": False, "blocks": True}
    (found,) = findings(view({**FLAGGED, "diversity_losses": losses, "nfe": 4}))
    assert found.kind == "note" and found.text == (
        "In token entropy the winners' samples fall below those of linear at 64 steps by 2.6 % at 4 steps, where "
        "linear is 1.1 % below it. Losses from 5 % on are flagged."
    )
    losses["losses"][0]["share_ci"] = [0.01, 0.051]
    (found,) = findings(view({**FLAGGED, "diversity_losses": losses, "nfe": 4}))
    assert found.text.endswith(" Losses from 5 % on are flagged, which the interval does not exclude.")


def lossy(steps: int, share: float, of_linear: float) -> dict[str, Any]:
    """A budget with a loss that is flagged and does not forbid a gain."""
    loss = {"figure": "token_entropy", "than": "reference", "share": share, "share_of_linear": of_linear}
    losses = {**FLAGGED["diversity_losses"], "losses": [loss | {"flagged": True, "blocks": False}]}
    return {**BUDGET, "steps": steps, "nfe": steps, "diversity_losses": losses}


def test_a_loss_that_does_not_forbid_a_gain_is_said_once_and_with_its_reason() -> None:
    (found,) = findings(view(lossy(4, 0.072, 0.074), lossy(8, 0.051, 0.05)))
    assert found.text == (
        "At 4 steps token entropy is 7.2 % below that of linear at 64 steps. The limit is 5 %. Linear at 4 steps is as "
        "far below: the loss is due to few steps, not to what was tuned. Smaller losses over the limit are at 8 steps."
    )
    (found,) = findings(view(lossy(4, 0.072, 0.033)))
    assert "Linear at 4 steps is 3.3 % below it. The difference between the winner and linear is not" in found.text
    (found,) = findings(view(lossy(4, 0.052, -0.01)))
    assert "Linear at 4 steps is 1.0 % above it" in found.text


def quiet(*shares: tuple[str, int, float], of_linear: float = 0.0) -> RunView:
    """Budgets with losses that are not flagged. shares: figure, steps, loss."""
    budgets = {steps: lossy(steps, 0.0, 0.0) for _, steps, _ in shares}
    for steps, budget in budgets.items():
        (loss,) = budget["diversity_losses"]["losses"]
        loss |= {"flagged": False, "share_of_linear": of_linear}
        budget["diversity_losses"]["losses"] = [
            {**loss, "figure": figure, "share": share} for figure, at, share in shares if at == steps
        ]
    return view(*budgets.values())


def test_of_losses_that_are_not_flagged_the_largest_of_all_figures_is_said() -> None:
    entropy = [("token_entropy", steps, share) for steps, share in ((4, 0.01), (8, 0.02), (16, 0.0))]
    (found,) = findings(quiet(*entropy))
    assert found.text == (
        "In token entropy the winners' samples fall below those of linear at 64 steps by 2.0 % at 8 steps, where "
        "linear is at the same level. Losses from 5 % on are flagged."
    )
    (found,) = findings(quiet(*entropy, ("answer_length", 4, 0.047), of_linear=-0.01))
    assert found.text == (
        "Of the winners' figures of diversity (token entropy and sample length), sample length falls most below that "
        "of linear at 64 steps: by 4.7 % at 4 steps, where linear is 1.0 % above it. Losses from 5 % on are flagged."
    )
    (found,) = findings(quiet(("token_entropy", 4, 0.0002), ("distinct_tokens", 4, -0.5)))
    assert found.text == (
        "None of the winners' figures of diversity (token entropy and distinct trigrams) falls below that of linear at "
        "64 steps in the mean."
    )
    (found,) = findings(quiet(("token_entropy", 4, 0.06)))
    assert found.text.endswith("That is over the limit of 5 %, but not by more than noise.")


def kind(name: str, policy: str, gain: dict[str, Any] = GAIN, **changes: Any) -> dict[str, Any]:
    """The best of a kind of policy."""
    calls = {"nfe": 4.0625, "nfe_ci": None}
    record = {"kind": name, "policy": policy, "value": {"value": 0.79, "ci": [0.78, 0.8]}, "calls": calls}
    return record | {"more_calls": False, "gain_over_linear": gain, "trials": 5, "why": None} | changes


@pytest.mark.parametrize(
    ("label", "untuned"),
    [
        *(("threshold:0.9", True), ("klass:0.01@0.9", True), ("threshold:0.9 in blocks of 4", True)),
        *(("threshold:0.6222", False), ("quota:linear#4@0.5", False), ("threshold", False), ("runs/x", False)),
    ],
)
def test_a_tuned_value_that_is_given_back_by_name_is_no_policy_without_tuning(label: str, untuned: bool) -> None:
    quota = kind("quota", "quota:linear#4@0.5")
    found = view({**MORE, "flags": [], "beats_linear": True, "nfe": 4, "policies": [quota]})
    row = Row(label=label, steps=4, calls=4.0, estimate=Estimate(0.8, (0.7, 0.9)))
    assert bool(caveat(replace(found, rows=(row,)))) is not untuned


def test_the_cheapest_policy_comes_first_and_begins_with_a_capital_letter() -> None:
    (first, *_) = findings(replace(view(NO_GAIN), cheapest="the cheapest policy is threshold:0.9"))
    assert first.text == "The cheapest policy is threshold:0.9."
    (first, *_) = findings(replace(view(NO_GAIN), cheapest="of 4 points threshold:0.9", hint="no budget between"))
    assert first.text == "Of 4 points threshold:0.9. No budget between."


def chosen(name: str = "sine", **changes: Any) -> dict[str, Any]:
    """A budget where a search chose a hand-made schedule."""
    return {**rival(-0.01, 0.01), "schedule": {"type": name, "a": None, "b": None}} | changes


def test_the_best_schedule_that_was_found_is_stated_where_a_hand_made_one_was_chosen() -> None:
    values = (("linear", 0.75), ("sine", 0.875), ("beta:0.5,0.75", 0.8125), ("beta:2,1", 0.5))
    split = [{"schedule": name, "value": v, "ci": [v - 0.01, v + 0.01], "independent": 256} for name, v in values]
    (found,) = findings(view(chosen(choose=split)))
    assert found.text == (
        "The best schedule that the search found at 4 steps is Beta(0.5, 0.75): 0.812 [0.802, 0.823] on the 256 "
        "examples by which schedules are chosen, where sine has 0.875 [0.865, 0.885], 0.062 more."
    )
    assert findings(view({**BUDGET, "choose": split})) == []


def test_the_best_hand_made_schedule_may_come_after_linear() -> None:
    assert view(rival(-0.01, 0.01)).budgets[0].rival_rank == "the best hand-made schedule"
    below = {**rival(-0.01, 0.01), "baselines": {**SINE, "linear": {**BUDGET["baselines"]["linear"], "value": 0.9}}}
    assert view(below).budgets[0].rival_rank == "the best hand-made schedule after linear"
    assert not view({**below, "direction": "minimize"}).budgets[0].linear_above_rival


def test_values_better_than_the_data_are_said() -> None:
    data = {"value": 0.8, "ci": [0.79, 0.81], "independent": 64}
    (found,) = findings(view({**BUDGET, "data": data}))
    assert "The data itself has spelling 0.800 [0.790, 0.810]" in found.text
    assert "the diversity of the tuned schedule at 4 steps" in found.text


def test_the_lead_says_what_was_tuned_and_how_surely() -> None:
    told = dict(lead(view(BUDGET, {**BUDGET, "steps": 8})))
    assert "each of 4 and 8 steps reveals, in sequences of 8 tokens" in told["Tuned"]
    assert told["Measured"] == "spelling; higher is better"
    assert told["Against"] == "linear, which reveals equally many tokens at each step"
    assert dict(lead(view(rival(-0.01, 0.01))))["Against"].endswith("at each step, and hand-made sine")
    assert (
        told["How surely"]
        == "95 % intervals (Student's, widened for skew and few examples), corrected for 2 comparisons with linear "
        "(Bonferroni), over 512 examples that took no part in choosing the winners (the report split)"
    )
    returned = dict(lead(view({**BUDGET, "loser": LOSER})))["How surely"]
    assert returned.endswith(
        "took no part in choosing the winners, but let linear replace a worse one (the report split)"
    )
    assert told["Cost in use"] == "no more calls than linear with as many steps"
    assert told["Cost of the search"].startswith("3 s and 1\u202f234 denoiser rows (sequences through the model)")
    more = dict(lead(view({**BUDGET, "nfe": 5})))
    assert more["Cost in use"] == "up to 25 % more calls than linear with as many steps"
    reveals = {"mean": [3.0, 3.0, 2.0], "low": [2, 2, 0], "high": [4, 4, 4], "examples": [8, 8, 3]}
    policy = {**MORE, "reveals": {"threshold:0.6222": reveals}}
    assert dict(lead(view(policy)))["Cost in use"] == (
        "up to 6.2 % more calls than linear with as many steps in the mean; a batch waits for its slowest sequence, "
        "which took up to 3 calls at 4 steps"
    )


def test_findings_for_and_against() -> None:
    pair = two_budgets()["frontier"]["headline"]
    better = {**BUDGET, "baselines": {**BUDGET["baselines"], "sine": {"value": 0.9, "ci": [0.89, 0.91]}}}
    found = findings(view(better, {**FLAGGED, "steps": 8, "nfe": 8}, {**NO_GAIN, "steps": 16, "nfe": 16}, pair=pair))
    assert [each.kind for each in found] == ["good", "bad", "bad", "note"]
    assert (
        "at 16, 0.803 against 0.760 (a loss of 1 % counts as none): linear makes 2.0 times as many denoiser calls"
        in found[0].text
    )
    assert found[0].text.endswith("Linear was not scored at more than 16 steps.")
    assert "sine has a better value on unseen examples than the tuned schedule: 0.900 [0.890, 0.910]" in found[1].text
    assert "less diverse in token entropy, by up to 6.2 %" in found[2].text
    assert "a gain smaller than 0.016 would be missed in over 20 % of cases" in found[3].text
    several = [{**each, "steps": steps, "nfe": steps} for each in (FLAGGED, NO_GAIN) for steps in (4, 8)]
    lost, missed = [each.text for each in findings(view(*several))]
    assert lost.startswith("At 4 and 8 steps the samples are less diverse") and "gains therefore do not" in lost
    assert "At 4 and 8 steps no gain is shown. With these examples gains smaller than 0.016 and 0.016 would" in missed
    also = findings(view(BUDGET, pair={**pair, "linear_too": True}))
    assert also[0].kind == "note" and "the saving is not that of the search" in also[0].text


def test_smaller_is_better_for_other_metrics() -> None:
    lower = {**BUDGET, "direction": "minimize", "metric": "nelbo", "value": 0.5}
    lower["baselines"] = {**BUDGET["baselines"], "sine": {"value": 0.4, "ci": [0.39, 0.41]}}
    found = view(lower)
    assert not found.about.maximize and "lower is better" in dict(lead(found))["Measured"]
    assert [each.kind for each in findings(found)] == ["bad"]


def evaluation(*rows: tuple[str, int, float, tuple[float, float] | None]) -> RunView:
    """rows: label, steps, value, and the interval of the difference from linear."""
    record: dict[str, Any] = {"rows": [], "comparisons": [], "reference": "linear", "data": None}
    record |= {"denoiser_rows": 1, "denoiser_tokens": 1, "seconds": 1.0, "warnings": []}
    for label, steps, value, ends in rows:
        row = {"schedule": label, "steps": steps, "nfe": steps, "metric": "spelling", "n": 64, "counts": None}
        record["rows"].append({**row, "value": value, "ci": [value - 0.01, value + 0.01], "independent": 64})
        if ends is not None:
            pair = {"first": "linear", "second": label, "steps": steps, "independent": 64}
            middle = (ends[0] + ends[1]) / 2
            record["comparisons"].append({**pair, "difference": -middle, "ci": [-ends[1], -ends[0]]})
    return read_run(RunRecords(name="text", path="runs/text", evaluate=record))


def test_the_headline_of_an_evaluation_is_its_largest_gain() -> None:
    found = evaluation(
        ("linear", 8, 0.7, None),
        ("beta:0.4,0.7", 8, 0.75, (0.01, 0.09)),
        ("sine", 8, 0.78, (-0.02, 0.18)),
        ("threshold:0.9", 8, 0.72, (0.01, 0.03)),
    )
    assert headline(found) == (
        "4 schedules and policies were compared at 1 budget. The largest gain over linear has Beta(0.4, 0.7) at "
        "8 steps: spelling 0.750, better by 0.050 [0.010, 0.090]."
    )
    assert "none is clearly better" in headline(evaluation(("linear", 8, 0.7, None), ("sine", 8, 0.7, (-0.1, 0.1))))
    assert headline(evaluation(("sine", 8, 0.7, None))) == "1 schedule was compared at 1 budget."


def test_a_plan_whose_value_is_set_for_each_budget_is_one_policy_on_the_page() -> None:
    rows = [("linear", steps, 0.7, None) for steps in (4, 8)]
    rows += [("threshold:0.2", 4, 0.6, None), ("threshold:0.4", 8, 0.7, None), ("quota:linear#16@0.5", 8, 0.7, None)]
    rows += [("threshold:0.9", steps, 0.1 * steps, None) for steps in (4, 8)]
    found = evaluation(*rows)
    names = [row.name for row in found.rows]
    assert names == ["linear", "linear", "threshold", "threshold", "quota:linear", "threshold:0.9", "threshold:0.9"]
    assert headline(found).startswith("4 schedules and policies were compared at 2 budgets")
    assert "threshold: 0.6 at 4, 0.7 at 8;" in figures_of(found)["evaluation"].description
    looks = Looks(found)
    assert looks.of("threshold:0.2") == looks.of("threshold:0.4") == looks.of("threshold") != looks.of("threshold:0.9")
    said = dict(origins(found))
    assert said["threshold"] == "with the value that meets the calls of linear: threshold:0.2, threshold:0.4"
    assert said["threshold:0.9"] == "given to mdm-tune evaluate as threshold:0.9"
    one = evaluation(("linear", 8, 0.7, None), ("threshold:0.2", 8, 0.6, None))
    assert dict(origins(one))["threshold:0.2"].startswith("with the value that was given, or with that which meets")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("threshold:0.9", "threshold"),
        ("quota:beta:1,2#8@0.5 in blocks of 8", "quota:beta:1,2 in blocks of 8"),
        ("klass:0.1@0.5", "klass:0.1"),
        ("entropy-bound:2", "entropy-bound"),
        ("beta:1,2", "beta:1,2"),
        ("threshold:odd", "threshold:odd"),
    ],
)
def test_the_name_of_a_plan_without_its_value(label: str, name: str) -> None:
    assert without_value(label) == name


def test_an_adaptive_policy_at_other_calls_is_no_gain() -> None:
    found = evaluation(("linear", 8, 0.7, None), ("threshold:0.9", 8, 0.99, (0.2, 0.3)))
    record = {**found.rows[1].__dict__}
    assert not record["more"] and "threshold:0.9 at 8 steps" in headline(found)
    other = replace(found, rows=(found.rows[0], replace(found.rows[1], calls=60.0, more=True)))
    assert "threshold" not in headline(other)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (27, "27"),
        (9_999, "9\u202f999"),
        (62_345, "62\u202f300"),
        (1_191_427, "1.19 million"),
        (8_015_581_184, "8.02 billion"),
    ],
)
def test_counts_of_parameters_are_rounded(number: int, text: str) -> None:
    assert rounded_count(number) == text


def test_short_names() -> None:
    assert short_name("beta:0.4091234567890123,0.691777") == "Beta(0.409, 0.691777)"
    assert short_name("beta:0.4,0.7 in blocks of 32") == "Beta(0.4, 0.7) in blocks of 32"
    assert short_name("runs/text/schedule.yaml") == "tuned (text)" and short_name("a/b.yaml") == "b.yaml"
    assert short_name("counts:" + ",".join(["1"] * 64)) == "counts (64 numbers)"
    assert short_name("beta:odd") == "beta:odd" and short_name("counts:1,2") == "counts:1,2"
    assert short_names(["beta:0.40010000000000007,1", "beta:0.40020000000000007,1", "sine"]) == {
        "beta:0.40010000000000007,1": "beta:0.40010000000000007,1",
        "beta:0.40020000000000007,1": "beta:0.40020000000000007,1",
        "sine": "sine",
    }
    assert {*map(role_of, ("klass@0.9", "klass:0.1@0.9", "cap:linear@0.5", "quota:linear"))} == {"adaptive"}
    assert [*map(role_of, ("linear", "threshold:0.9", "runs/x/schedule.yaml", "sine", "linear in blocks of 8"))] == [
        *("linear", "adaptive", "tuned", "other", "linear")
    ]


def test_numbers_and_times_for_people() -> None:
    assert large(1234567.4) == "1\u202f234\u202f567" and cut_text("abcdefghij", 7) == "abcd\u2026ij"
    assert [time_text(seconds) for seconds in (4.2, 610.0, 9000.0, float("inf"))] == [
        *("4 s", "10 min", "2 h 30 min", "unknown")
    ]


def test_a_damaged_record_is_an_error_of_a_known_kind() -> None:
    for path, value in ((("budgets", 0, "schedule"), 3), (("budgets", 0, "counts"), ["x"]), (("trials",), [])):
        record = copy.deepcopy(two_budgets())
        place: Any = record
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        with pytest.raises((AttributeError, IndexError, KeyError, TypeError, ValueError)):
            read_run(RunRecords(name="x", path="x", search={**record, "trials": record["trials"] or {"a": 1}}))
