"""The headline and the sentences below it, for every outcome of a search."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from mdm_tune.pages.headlines import at_steps, best_budget, few_differ, headline, value_text
from mdm_tune.pages.run_views import RunView, Verdict
from mdm_tune.pages.sentences import caveat, findings
from tests.pages.test_sentences import FEW, GAIN, LOSER, MORE, NO_GAIN, SINE, UNCORRECTED, chosen, kind, rival, view
from tests.support.search_results import BUDGET, EXACT, FLAGGED, two_budgets, without_interval

NAME = "Beta(0.431, 0.761)"
BETTER = (
    f"The winner, {NAME}, is better than linear by 0.030 [0.018, 0.042] at 4 steps: spelling 0.803 instead of 0.760."
)
RIVAL = "The best hand-made schedule, sine, needs no search and"
OWN = {**GAIN, "value": 0.05, "ci": [0.03, 0.07], "ci_familywise": [0.02, 0.08]}
SMALL = {"gain_over_linear": NO_GAIN["gain_over_linear"]}
GAINS = {"gains_over_baselines": {"sine": GAIN}}
UNSURE = {**OWN, "value": 0.005, "ci": [-0.01, 0.02], "ci_familywise": [-0.02, 0.03], "shown": False}
BELOW = {**OWN, "value": -0.05, "ci": [-0.07, -0.03], "ci_familywise": [-0.08, -0.02], "shown": False}


@pytest.mark.parametrize(
    ("budgets", "words"),
    [
        ([BUDGET], BETTER),
        ([BUDGET, {**BUDGET, "steps": 8}], f"{BETTER} At 8 steps {NAME} gains 0.030 [0.018, 0.042] over linear."),
        ([BUDGET, {**NO_GAIN, "steps": 8}], f"{BETTER} At 8 steps no gain is shown."),
        (
            [BUDGET, *({**FLAGGED, "steps": steps} for steps in (8, 16))],
            "At 8 and 16 steps the gain does not count",
        ),
        ([BUDGET, {**BUDGET, "steps": 8, "loser": LOSER}], "At 8 steps what the search chose is worse than linear, wh"),
        ([NO_GAIN], f"No gain over linear is shown: 0.03 [-0.02, 0.08] with {NAME} at 4 steps."),
        ([without_interval(BUDGET)], "Nothing can be said: there are too few examples"),
        (
            [FLAGGED],
            f"No gain over linear counts: the value is better by 0.030 [0.018, 0.042] with {NAME} at 4 steps, but the",
        ),
        (
            [{**BUDGET, "loser": LOSER, "gain_over_linear": {**GAIN, "value": 0, "ci": [0, 0]}}],
            "Beta(9, 0.1), which the search found best, is worse than linear at 4 steps (-0.060 [-0.080, -0.040]), so",
        ),
        ([{**BUDGET, "gain_over_linear": UNCORRECTED}], "No gain over linear is claimed: 0.030 [-0.001, 0.050] with B"),
        (
            [{**BUDGET, "gain_over_linear": FEW}],
            f"No gain over linear is claimed: 0.030 [0.018, 0.042] with {NAME} at 4 steps, but only 7 examples",
        ),
        (
            [{**BUDGET, "gain_over_linear": {**GAIN, **EXACT, "shown": True}}],
            "better than linear by 0.03000 at 4 steps",
        ),
        (
            [MORE],
            "The winner, threshold:0.6222, is better than linear by 0.030 [0.018, 0.042] at 4 steps, spelling 0.803 "
            "instead of 0.760, but makes more calls than linear: 4.25 instead of 4. This is no gain at equal calls.",
        ),
    ],
)
def test_the_headline_says_what_the_search_shows(budgets: list[dict[str, Any]], words: str) -> None:
    assert words in headline(view(*budgets))


def test_more_calls_stand_in_the_sentence_of_the_gain() -> None:
    unsure = {**MORE, "calls_of_linear": 1.0625, "calls_of_linear_ci": [0.99, 1.135]}
    assert headline(view(unsure)).endswith(
        "but makes 6 [-1, 14] % more calls than linear. This is not surely a gain at equal calls."
    )
    sure = {**unsure, "calls_of_linear_ci": [1.05, 1.075]}
    assert "This is no gain at equal calls." in headline(view(sure))
    both = headline(view(BUDGET, {**unsure, "steps": 8}))
    assert both.startswith(BETTER) and "at 8 steps, spelling 0.803 instead of 0.760, but makes 6 [-1, 14] %" in both


@pytest.mark.parametrize(
    ("budgets", "words"),
    [
        ([rival(-0.03, -0.01)], f"{RIVAL} has 0.810 at 4 steps; the winner loses 0.020 [0.010, 0.030] against it."),
        ([rival(-0.03, 0.01)], "the winner loses 0.010 [-0.010, 0.030] against it, which may be chance."),
        ([rival(-0.01, 0.03)], "the winner gains 0.010 [-0.010, 0.030] over it, which may be chance."),
        ([rival(0.01, 0.03, shown=True)], "the winner gains 0.020 [0.010, 0.030] over it."),
        (
            [rival(-0.03, 0.01) | {"gains_of_baselines": {"sine": OWN}}],
            f"{RIVAL} gains 0.050 [0.020, 0.080] over linear at 4 steps; the winner loses",
        ),
        (
            [rival(-0.03, 0.01) | {"gains_of_baselines": {"sine": UNSURE}}],
            "is not shown to be better than linear (0.00",
        ),
        (
            [rival(-0.03, 0.01) | {"gains_of_baselines": {"sine": BELOW}}],
            "is worse than linear by 0.050 [0.020, 0.080]",
        ),
        (
            [rival(0.01, 0.03, shown=True), rival(-0.03, 0.01, steps=8)],
            "At 8 steps Beta(0.431, 0.761) gains 0.030 [0.018, 0.042] over linear and loses 0.010 [-0.010, 0.030] "
            "against hand-made sine, which may be chance.",
        ),
        (
            [
                rival(-0.03, 0.01)
                | {"gains_of_baselines": {"sine": OWN}, "gain_over_linear": NO_GAIN["gain_over_linear"]}
            ],
            f"No gain over linear is shown: 0.03 [-0.02, 0.08] with {NAME} at 4 steps. {RIVAL} gains 0.050",
        ),
    ],
)
def test_the_headline_says_what_needs_no_search(budgets: list[dict[str, Any]], words: str) -> None:
    found = view(*budgets)
    assert words in headline(found)
    assert [each.kind for each in findings(found)] in ([], ["note"])  # the headline has said it


def test_exact_values_are_compared_without_chance() -> None:
    none: dict[str, Any] = {**EXACT, "no_interval": "exact", "value": 0.0, "shown": False}
    equal = rival(-0.01, 0.01) | {"gains_over_baselines": {"sine": {**GAIN, **none}}}
    text = headline(view(equal | {"gains_of_baselines": {"sine": {**GAIN, **none}}}))
    assert f"{RIVAL} is as good as linear at 4 steps; the winner is as good as it." in text
    below = {**GAIN, **none, "value": -0.25}
    text = headline(view(BUDGET | {"gain_over_linear": {**OWN, "value": 0.1}}, equal | {"steps": 8}))
    assert text.endswith(f"At 8 steps {NAME} gains 0.030 [0.018, 0.042] over linear and is as good as hand-made sine.")
    text = headline(view(equal | {"gains_of_baselines": {"sine": below}}))
    assert "is worse than linear by 0.25000 at 4 steps" in text


def test_a_hand_made_schedule_with_more_calls_says_so() -> None:
    calls = {"linear": {"nfe": 4.0, "nfe_ci": None}, "sine": {"nfe": 4.5, "nfe_ci": None}}
    text = headline(view(rival(-0.03, 0.01) | {"baseline_calls": calls}))
    assert f"{RIVAL} has 0.810, with 4.5 calls instead of 4, at 4 steps;" in text


def test_what_gains_at_no_more_calls_follows_a_winner_with_more() -> None:
    blocked = [{"figure": "token_entropy", "blocks": True}]
    large = {**GAIN, "value": 0.05}
    kinds = [
        kind("cap", "cap:linear#4@0.5"),
        kind("quota", "quota:linear#4@0.5", large, more_calls=True),
        kind("klass", "klass:1@0.5", large, losses=blocked),
    ]
    sine: dict[str, Any] = {"baselines": SINE, "gains_over_baselines": {"sine": GAIN}}
    found = view({**MORE, "policies": kinds, **sine})
    assert headline(found).startswith(
        "The winner, threshold:0.6222, is better than linear by 0.030 [0.018, 0.042] at 4"
    )
    assert (
        "At no more calls than linear (2 % tolerated), cap:linear#4@0.5 gains 0.030 [0.018, 0.042] at 4 steps. The best"
    ) in headline(found)
    told = findings(found)[0].text
    assert "corrected for all of them at all budgets" in told
    assert told.endswith("cap:linear#4@0.5 has 0.790, and hand-made sine 0.810; they were not compared in pairs.")
    free = [kind("counts", "sine")]
    text = headline(view({**MORE, "policies": free, **sine}, {**MORE, "steps": 8, "policies": free, **sine}))
    gains = "0.030 [0.018, 0.042] at 4 steps and 0.030 [0.018, 0.042] at 8 steps"
    assert f"(2 % tolerated), sine, which needs no search, gains {gains}." in text and "The best hand-made" not in text
    none = headline(view({**MORE, "policies": kinds[1:]}))
    assert none.endswith("At no more calls than linear (2 % tolerated), no gain is shown.")


def test_gains_of_adaptive_policies_are_not_called_those_of_schedules() -> None:
    adaptive = {**MORE, "flags": [], "beats_linear": True, "nfe": 4, "policies": [kind("counts", "beta:0.5,0.7")]}
    one, two = view(adaptive), view(adaptive, {**BUDGET, "steps": 8, "nfe": 8})
    assert headline(one).startswith("The winner, threshold:0.6222, is better than linear by")
    assert headline(two).endswith(f"At 8 steps {NAME} gains 0.030 [0.018, 0.042] over linear.")
    pair = {**two_budgets()["frontier"]["headline"], "steps": 4}
    assert "is as good as linear" in findings(view(adaptive, pair=pair))[0].text
    assert (
        findings(one)[0].text == "At 4 steps the best schedule, Beta(0.5, 0.7), gains 0.030 [0.018, 0.042] over linear."
    )
    assert caveat(one).startswith("No policy without tuning") and caveat(view(BUDGET)) == ""
    same = view({**adaptive, "policies": [kind("counts", "linear")]})
    assert findings(same)[0].text == "At 4 steps a search over schedules alone returns linear too."
    told = view({**adaptive, "policies": [kind("counts", "sine")], "baselines": SINE, **GAINS})
    assert f"{RIVAL} gains 0.030 [0.018, 0.042] over linear at 4 steps;" in headline(told) and not findings(told)


def test_a_hand_made_winner_is_told_once_and_never_called_tuned() -> None:
    one = view(chosen())
    assert one.budgets[0].is_rival and one.budgets[0].against_rival is None
    assert headline(one) == (
        "The winner, hand-made sine, is better than linear by 0.030 [0.018, 0.042] at 4 steps: spelling 0.803 instead "
        "of 0.760. Hand-made sine needs no search: the search found no schedule better than it at 4 steps."
    )
    assert one.budgets[0].title == "chosen: sine (hand-made)" and one.word == "chosen"
    mixed = view({**BUDGET, "gain_over_linear": OWN}, chosen(steps=8, nfe=8))
    assert headline(mixed).endswith(
        " At 8 steps the search found no schedule better than hand-made sine, which gains 0.030 [0.018, 0.042] over "
        "linear."
    )
    none = headline(view(chosen(gain_over_linear=NO_GAIN["gain_over_linear"])))
    assert none.startswith("No gain over linear is shown: 0.03 [-0.02, 0.08] with hand-made sine at 4 steps. Hand")
    zero: dict[str, Any] = {**GAIN, "value": 0.0, "ci": [0.0, 0.0], "shown": False}
    linear = chosen("linear", gain_over_linear=zero)
    assert headline(view(linear)) == "The search found no schedule better than linear."
    other = headline(view({**linear, "gains_over_baselines": {}}, {**NO_GAIN, "steps": 8, "gain_over_linear": zero}))
    assert other.startswith("No gain over linear is shown: 0.000")
    returned = view({**chosen("linear"), "loser": LOSER}).budgets[0]
    assert not returned.hand_made and returned.title == "returned: linear"
    assert view(BUDGET).budgets[0].title == "tuned: Beta(0.431, 0.761)"


def test_budgets_beyond_those_of_the_first_screen_are_left_to_the_table() -> None:
    many = view(*({**BUDGET, "steps": steps} for steps in (2, 4, 8, 16, 32, 64)))
    assert headline(many).count(" over linear") == 3


OUTCOMES: dict[Verdict, dict[str, Any]] = {
    Verdict.BETTER: {},
    Verdict.MORE_CALLS: {"flags": ["more-calls"], "nfe": 4.25},
    Verdict.LESS_DIVERSE: {name: FLAGGED[name] for name in ("diversity_losses", "flags")},
    Verdict.NOT_CLAIMED: {"gain_over_linear": UNCORRECTED},
    Verdict.NO_GAIN: {"gain_over_linear": NO_GAIN["gain_over_linear"]},
    Verdict.WORSE: {"loser": LOSER, "schedule": {"type": "linear", "a": None, "b": None}},
}
WINNERS: dict[str, dict[str, Any]] = {
    "tuned": {},
    "hand-made": {"schedule": {"type": "sine", "a": None, "b": None}},
    "policy": {"policy": "threshold:0.6222", "counts": None, "schedule": {"type": "threshold", "a": None, "b": None}},
}


def case(winner: str, verdict: Verdict, over: tuple[float, float], steps: int, direction: str) -> dict[str, Any]:
    """A budget with this winner and outcome; over: the interval of the gain over sine."""
    own = {"gains_of_baselines": {"sine": OWN}, "direction": direction}
    return rival(*over, shown=over[0] > 0, steps=steps) | own | WINNERS[winner] | OUTCOMES[verdict]


def check(found: RunView) -> None:
    """Hold each sentence against the numbers."""
    text = headline(found)
    by_steps = {budget.steps: budget for budget in found.budgets}
    sentences = [each.rstrip(".") for each in text.split(". ")]
    for each in sentences:
        at = {steps for steps in by_steps if f"{steps} step" in each}
        if "is better than linear by" in each:
            (steps,) = at
            budget = by_steps[steps]
            assert budget.verdict in (Verdict.BETTER, Verdict.MORE_CALLS)
            assert ("more calls than linear" in each) == (budget.verdict is Verdict.MORE_CALLS)
            name = f"{'hand-made ' if budget.hand_made else ''}{budget.name}"
            first = f"The winner, {name}, is better"
            assert each.startswith((first, f"{name} is", f"{name[0].upper()}{name[1:]} is"))
            assert each.startswith(first) == (each == sentences[0])
        if "the search found no schedule better" in each:
            assert all(by_steps[steps].hand_made for steps in at)
        if "; the winner" in each:
            (steps,) = at
            over = by_steps[steps].over_rival
            assert over is not None and by_steps[steps].rejected is None
            assert ("loses" in each) == (over.value < 0)
            ends = over.familywise or over.own or (0.0, 0.0)
            assert ("which may be chance" in each) == (ends[0] <= 0 <= ends[1])
    assert "higher" not in text and "lower" not in text and "tuned" not in text
    best = best_budget(found)
    assert best is not None
    if best.verdict is Verdict.BETTER:
        assert best.gain.text in sentences[0]
    if best.rival is not None and not best.is_rival:
        assert "needs no search and gains 0.050 [0.020, 0.080] over linear" in text


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("winner", WINNERS)
def test_no_sentence_is_false_whatever_was_found(winner: str, direction: str) -> None:
    overs = ((-0.03, -0.01), (-0.02, 0.01), (0.01, 0.03))
    for first, over in itertools.product(OUTCOMES, overs):
        check(view(case(winner, first, over, 4, direction)))
        for second in OUTCOMES:
            check(view(case(winner, first, over, 4, direction), case("tuned", second, (-0.02, 0.01), 8, direction)))


def test_small_parts() -> None:
    assert at_steps([1]) == "At 1 step" and at_steps([2, 4, 8]) == "At 2, 4 and 8 steps"
    (budget,) = view({**BUDGET, "gain_over_linear": FEW}).budgets
    assert few_differ(budget) == "7 examples differ, 10 must" and few_differ(view(BUDGET).budgets[0]) == ""
    assert value_text(budget.estimate) == "0.803"
