"""What a result keeps for its page.

Covers: page_records, search_details, description.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mdm_tune
from mdm_tune.core.permissions import Permissions
from mdm_tune.core.statistics import Estimate
from mdm_tune.datasets.examples import Example, Hole
from mdm_tune.evaluation.scores import Cost, Reveals, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.build import Run
from mdm_tune.run.description import parameters_of
from mdm_tune.run.page_records import BudgetDetails, SamplePair, WinsRecord, _asked, _part, _reveals, sample_pairs
from mdm_tune.run.search_records import SearchResult
from mdm_tune.schedules.adaptive_names import AdaptiveName
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Beta
from tests.support.page_runs import PageRun

LETTERS = "abcdefgh"


class Data:
    """Rows of letters; h ends a text, and "ef" stops it."""

    codec = SimpleNamespace(decode=lambda tokens: "".join(LETTERS[token] for token in tokens))

    def __init__(self) -> None:
        self.splits = {"report": SimpleNamespace(take=lambda rows: rows)}

    def answers(self, tokens: torch.Tensor, split: object) -> list[list[list[int]]]:
        (row,) = tokens.tolist()
        return [[row[: row.index(7)] if 7 in row else row]]

    def completions(self, tokens: torch.Tensor, split: object) -> list[str]:
        ((answer,),) = self.answers(tokens, split)
        return [self.codec.decode(answer).partition("ef")[0]]


def scores_of(label: str, texts: list[str], values: list[float]) -> Scores:
    setting = Setting(name=label, steps=2, length=4, counts=(2, 2))
    tokens = torch.tensor([[LETTERS.index(letter) for letter in text] for text in texts])
    return Scores(
        setting=setting,
        estimate=Estimate(float(np.mean(values)), None),
        nfe=2,
        cost=Cost(),
        use="report",
        values=np.array(values),
        tokens=tokens,
    )


def pairs(linear: list[str], other: list[str], values: list[float], direction: str = "maximize") -> list[SamplePair]:
    evaluator = SimpleNamespace(
        metric=SimpleNamespace(direction=direction),
        split=lambda use: SimpleNamespace(ids=[f"{use}-{row}" for row in range(len(linear))], examples=()),
    )
    run = cast(Run, SimpleNamespace(dataset=Data(), evaluator=evaluator))
    zeros = [0.0] * len(linear)
    return [*sample_pairs(run, scores_of("linear", linear, zeros), scores_of("beta:1,2", other, values))]


def test_pieces_mark_the_positions_whose_tokens_differ() -> None:
    (pair,) = pairs(["abcd"], ["abba"], [0.5])
    assert pair.first.pieces == (("ab", False), ("cd", True)) and pair.second.pieces == (("ab", False), ("ba", True))
    assert (pair.steps, pair.id, pair.chosen) == (2, "report-0", "first")
    assert (pair.first.schedule, pair.first.value, pair.second.value) == ("linear", 0.0, 0.5)


def test_a_text_that_ends_earlier_differs_from_there_on_and_a_stop_text_cuts_the_pieces() -> None:
    ended, stopped = pairs(["abhh", "aefc"], ["abcd", "aefd"], [0.0, 0.0])
    assert ended.first.pieces == (("ab", False),) and ended.second.pieces == (("ab", False), ("cd", True))
    assert stopped.first.pieces == stopped.second.pieces == (("a", False),)


@pytest.mark.parametrize(("direction", "best", "worst"), [("maximize", 4, 3), ("minimize", 3, 4)])
def test_the_first_pairs_that_differ_are_shown_whatever_their_values_and_then_the_extremes(
    direction: str, best: int, worst: int
) -> None:
    other = ["aaaa", "aaab", "aaac", "aaad", "aabb"]
    found = pairs(["aaaa"] * 5, other, [9.0, 0.0, 0.1, -1.0, 1.0], direction)
    assert [(pair.id, pair.chosen) for pair in found] == [
        ("report-1", "first"),
        ("report-2", "first"),
        (f"report-{best}", "largest gain"),
        (f"report-{worst}", "largest loss"),
    ]


def test_equal_samples_and_values_without_samples_have_no_pairs() -> None:
    assert pairs(["abcd"], ["abcd"], [0.0]) == []
    run = cast(Run, SimpleNamespace())
    bare = scores_of("linear", ["abcd"], [0.0])
    without: Any = SimpleNamespace(tokens=None, values=bare.values)
    assert [*sample_pairs(run, bare, without)] == []


def test_a_third_sample_is_compared_with_the_second_one() -> None:
    run = cast(
        Run,
        SimpleNamespace(
            dataset=Data(),
            evaluator=SimpleNamespace(
                metric=SimpleNamespace(direction="maximize"), split=lambda use: SimpleNamespace(ids=["0"], examples=())
            ),
        ),
    )
    linear, tuned = scores_of("linear", ["abcd"], [0.0]), scores_of("beta:1,2", ["abba"], [0.5])
    tuned, sine = replace(tuned, setting=replace(tuned.setting, counts=(3, 1))), scores_of("sine", ["bbbd"], [0.25])
    beside = replace(sine, setting=replace(sine.setting, counts=(1, 3)))
    (pair,) = sample_pairs(run, linear, tuned, beside)
    assert pair.third is not None and (pair.third.schedule, pair.third.value) == ("sine", 0.25)
    assert pair.third.pieces == (("b", True), ("bb", False), ("d", True))
    assert SamplePair.from_json(json.loads(json.dumps(pair.to_json()))) == pair
    for same in (linear, tuned):  # a schedule with the counts of one of the two is no third one
        (pair,) = sample_pairs(run, linear, tuned, replace(sine, setting=same.setting))
        assert pair.third is None


def test_a_pair_says_what_was_asked_and_which_answer_is_right() -> None:
    asked = Example("0", ("2 + 2 =", Hole(" 4")))
    assert _asked(asked) == "2 + 2 =\u27e8 4\u27e9" and _asked(Example("1", (Hole("free text"),))) == ""
    long = _asked(Example("2", ("x" * 1000, Hole("yz"))))
    assert len(long) == 600 and long.startswith("\u2026x") and long.endswith("x\u27e8yz\u27e9")


def test_wins_ties_and_losses_follow_the_direction() -> None:
    first, second = scores_of("a", ["a"] * 4, [3.0, 2.0, 1.0, 5.0]), scores_of("b", ["a"] * 4, [1.0, 2.0, 4.0, 4.0])
    assert WinsRecord.of(first, second, "maximize") == WinsRecord(wins=2, ties=1, losses=1)
    assert WinsRecord.of(first, second, "minimize") == WinsRecord(wins=1, ties=1, losses=2)
    assert WinsRecord.of(first, replace(second, values=None), "maximize") is None


def test_a_search_keeps_wins_and_the_diversity_of_the_best_hand_made_schedule(text_run: PageRun) -> None:
    for budget in text_run.search["budgets"]:
        wins = budget["wins_over_baselines"]
        assert wins.keys() == {"linear", "sine"} and all(sum(each.values()) == 12 for each in wins.values())
        differ = budget["gain_over_linear"]["examples_that_differ"]
        assert wins["linear"]["wins"] + wins["linear"]["losses"] == differ
        assert budget["baseline_diversity"].keys() == {"sine"}
        assert {each["independent"] for each in budget["baseline_diversity"]["sine"].values()} == {12}
        assert budget["baseline_diversity"]["sine"].keys() == budget["diversity"]["winner"].keys()
    for pair in text_run.search["sample_pairs"]:
        assert pair["third"] is None or pair["third"]["schedule"] == "sine"


def test_a_search_keeps_what_adaptive_policies_reveal_and_linear_beside_them() -> None:
    one = Reveals(mean=(3.5, 0.5), low=(3, 0), high=(4, 1), examples=(2, 1))
    two = replace(one, mean=(2.0, 2.0))
    plan, none = AdaptiveName("threshold:0.5", "threshold", 0.5), scores_of("a", ["abcd"], [0.0])
    best = SimpleNamespace(policy=plan, scores=replace(none, reveals=one))
    other = SimpleNamespace(best=SimpleNamespace(policy=Beta(1, 2), scores=replace(none, reveals=two)))
    baselines = {"linear": replace(none, reveals=two)}
    policies = (SimpleNamespace(best=best), other, SimpleNamespace(best=None))
    budget: Any = SimpleNamespace(policy=Beta(1, 2), winner=none, baselines=baselines, policies=policies)
    assert _reveals(budget) == {"threshold:0.5": one, "linear": two}
    budget.policies = (other,)
    assert _reveals(budget) == {}
    budget.policy, budget.winner = plan, best.scores
    assert _reveals(budget) == {"threshold:0.5": one, "linear": two}
    budget.winner = none  # of an older storage
    assert _reveals(budget) == {"linear": two}
    details = BudgetDetails(reveals={"linear": two})
    assert BudgetDetails.from_json(json.loads(json.dumps(details.to_json()))) == details


def test_a_search_keeps_its_trials_the_grid_and_what_it_is_of(text_run: PageRun) -> None:
    first, second = text_run.search["budgets"]
    assert [point["number"] for point in second["trial_points"]] == list(range(second["trials"]))
    assert [(point["a"], point["b"]) for point in second["trial_points"][:2]] == [(0.5, 0.5), (1.0, 1.0)]
    assert second["trial_points"][0]["examples"] == 10 and not second["trial_points"][0]["dropped"]
    assert {point["block_length"] for point in first["trial_points"]} == {64}
    grid = [i / 10 for i in range(1, 11)]
    distinct = {to_counts(Beta(a, b), 4, 64) for a, b in itertools.product(grid, grid)}
    rows = len(distinct) * (3 * 10 + 1)  # the first call, of masks alone, is one row for all
    assert second["paper_grid"] == {"points": 100, "settings": len(distinct), "denoiser_rows": rows}
    assert second["baseline_calls"]["linear"] == {"nfe": 4, "nfe_ci": None}
    (name, gain), *_ = second["gains_over_baselines"].items()
    assert name == "sine"
    assert gain["value"] == pytest.approx(second["value"] - second["baselines"]["sine"]["value"])
    assert gain["ci_familywise"][0] <= gain["ci"][0] <= gain["value"] <= gain["ci"][1] <= gain["ci_familywise"][1]
    (own,) = second["gains_of_baselines"].values()
    linear, sine = (second["baselines"][name]["value"] for name in ("linear", "sine"))
    assert own["value"] == pytest.approx(sine - linear) and own["examples_that_differ"] <= 12
    assert own["ci_familywise"][0] <= own["ci"][0] <= own["value"] <= own["ci"][1] <= own["ci_familywise"][1]
    about = text_run.search["description"]
    assert (about["metric"], about["direction"], about["length"], about["exact"]) == ("spelling", "maximize", 64, False)
    assert about["config"]["search"]["trials"] == 6 and about["flags"] == []
    assert "output" not in about["config"]
    assert {pair["steps"] for pair in text_run.search["sample_pairs"]} <= {2, 4}
    for pair in text_run.search["sample_pairs"]:
        assert all(len("".join(text for text, _ in pair[side]["pieces"])) == 64 for side in ("first", "second"))
    read = SearchResult.from_json(text_run.search)
    assert json.loads(json.dumps(read.to_json())) == text_run.search


def test_an_evaluation_says_what_it_is_of(text_run: PageRun) -> None:
    assert text_run.search["description"]["versions"]["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert text_run.evaluate["description"] == text_run.search["description"]
    assert {pair["second"]["schedule"].partition(":")[0] for pair in text_run.evaluate["sample_pairs"]} == {"threshold"}


def test_a_description_has_the_size_of_the_model(text_run: PageRun) -> None:
    about = text_run.search["description"]
    stored = load_file(Path(mdm_tune.__file__).parent / "data" / "text" / "model.safetensors")
    assert about["parameters"] == sum(each.numel() for each in stored.values()) and about["vocabulary"] == 27
    layer = torch.nn.Linear(3, 2)
    assert parameters_of(layer) == parameters_of(SimpleNamespace(model=layer)) == 8
    assert parameters_of(SimpleNamespace(denoiser=SimpleNamespace(model=layer))) == 8  # guided
    assert parameters_of(SimpleNamespace()) is None and parameters_of(torch.nn.ReLU()) is None


def test_permissions_are_repeated_as_flags() -> None:
    from mdm_tune.run.description import flags_of

    assert flags_of(Permissions()) == ()
    assert flags_of(Permissions(True, True)) == ("--trust-code", "--run-generated-code")
    assert flags_of(Permissions(False, "unsafe")) == ("--run-generated-code=unsafe",)


def test_spaces_between_words_are_kept() -> None:
    """A tokenizer of whole words puts spaces between tokens; one of characters has tokens for them."""
    words = {0: "to", 1: "be", 2: "or"}
    by_words = lambda tokens: " ".join(words[token] for token in tokens)  # noqa: E731
    assert [_part(by_words, [0, 1, 2, 0, 1], *ends) for ends in ((0, 2), (2, 3), (3, 5))] == ["to be", " or", " to be"]
    by_letters = lambda tokens: "".join("ab "[token] for token in tokens)  # noqa: E731
    assert [_part(by_letters, [0, 2, 1], *ends) for ends in ((0, 2), (2, 3))] == ["a ", "b"]
    backwards = lambda tokens: "".join("ab"[token] for token in reversed(tokens))  # noqa: E731
    assert _part(backwards, [0, 1], 1, 2) == "b"  # no text grows at its end: the tokens alone
