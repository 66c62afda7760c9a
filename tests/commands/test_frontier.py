"""The frontier of evaluate and search: what it measures, says and costs.

Covers: search_frontier.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdm_tune.commands.frontier import more_calls
from mdm_tune.core.statistics import Estimate
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from tests.test_cli import MARKOV, call, refused

LAW = ("--set", "objective.metric=path_nll", "--set", "sampler.order=margin", "--set", "model.length=8")
DATA = ("--set", "dataset={type: law, tune: 8, choose: 8, report: 40}")


def evaluated(folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    result = call("evaluate", MARKOV, *LAW, *DATA, "--output", str(folder / "run"), "--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), re.sub(r"\s+", " ", result.stderr)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("frontier")
    chosen = ("--steps", "2", "--steps", "4", "--schedule", "linear", "--schedule", "sine")
    without, _ = evaluated(folder, *chosen)
    found, said = evaluated(folder, *chosen, "--frontier", "--set", "search.margin=0.95")
    return found, said, without


def test_the_reference_is_announced_measured_and_paid_only_if_it_is_asked_for(
    asked: tuple[dict[str, Any], str, dict[str, Any]],
) -> None:
    found, said, without = asked
    assert without["frontier"] is None
    assert "the frontier also measures linear at 8 steps, one token per step: at most 320 denoiser rows more" in said
    more = found["denoiser_rows"] - without["denoiser_rows"]
    assert 0 < more <= 320
    assert found["rows"] == without["rows"]  # the reference is no row
    reference = found["frontier"]["reference"]
    assert (reference["steps"], reference["nfe"], reference["tpf"]["value"]) == (8, 8.0, 1.0)


def test_the_record_has_every_point_with_its_tokens_per_forward(
    asked: tuple[dict[str, Any], str, dict[str, Any]],
) -> None:
    frontier = asked[0]["frontier"]
    assert [(point["policy"], point["steps"]) for point in frontier["points"]] == [
        *(("linear", 4), ("linear", 2), ("sine", 4), ("sine", 2))
    ]
    assert [point["tpf"]["value"] for point in frontier["points"]] == [2.0, 4.0, 2.0, 4.0]
    assert all(policy["aup"] is None for policy in frontier["policies"])  # a likelihood is no accuracy
    assert frontier["margin"] == 0.95 and frontier["tests"] == 4 and frontier["equal_calls"]
    assert all(point["tokens_per_second"] > 0 for point in frontier["points"])
    assert frontier["sentence"].startswith("of ") and (
        ", the cheapest schedule or policy whose quality is within 95 % of one token per step: " in frontier["sentence"]
    )
    assert frontier["cheapest"]["nfe"] in (2.0, 4.0) and frontier["cheapest"]["ratio"] in (2.0, 4.0)


def test_it_is_free_where_one_token_per_step_is_compared_anyway(tmp_path: Path) -> None:
    chosen = ("--steps", "4", "--steps", "8", "--schedule", "linear", "--schedule", "sine")
    found, said = evaluated(tmp_path, *chosen)
    assert found["frontier"] is not None and "the frontier also measures" not in said
    assert [(point["policy"], point["steps"], point["no_worse"] is None) for point in found["frontier"]["points"]] == [
        *(("linear", 8, True), ("linear", 4, False), ("sine", 8, True), ("sine", 4, False))
    ]
    twice, said = evaluated(tmp_path, *chosen, "--frontier")
    assert "one token per step: at no further cost" in said and twice["denoiser_rows"] == found["denoiser_rows"]


def test_a_report_split_too_small_for_the_margin_is_named_before_anything_is_paid(tmp_path: Path) -> None:
    """For one policy of one point, the test itself needs 358 equal answers at 1 %, and 71 at 5 % (docs/frontier.md)."""
    command = ("evaluate", "configs/arithmetic.yaml", "--frontier", "--schedule", "linear", "--steps", "32", "--json")
    sizes = ("--set", "dataset={type: jsonl, path: 'package:arithmetic', prompt: prompt, answer: answer, ")
    few = f"{sizes[1]}generation_length: 32, tune: 10, choose: 10, report: 12}}"
    result = call(*command, sizes[0], few, "--output", str(tmp_path / "run"))
    said = re.sub(r"\s+", " ", result.stderr)
    assert (
        "with 12 report examples the frontier cannot show that a policy which always equals one token per step is "
        "within 1 % of it, only that a policy is better: this needs 358 for 1 policy; take 358 examples "
        "(dataset.report), or a margin of " in said
    )
    (warning,) = json.loads(result.stdout)["warnings"]
    assert warning["code"] == "few-for-margin"
    search = ("search", "configs/arithmetic.yaml", "--set", "search.frontier=true", "--dry-run", "--json")
    priced = call(*search, sizes[0], few, "--set", "sampler.steps=[4,8]", "--set", "search.policies=[counts,klass]")
    assert "this needs 632 for 6 policies" in re.sub(r"\s+", " ", priced.stderr)
    none = call(*search, sizes[0], few, "--set", "sampler.steps=[4,8]", "--set", "search.margin=0")
    assert "a margin of 0 the frontier can only name a policy that is better" in re.sub(r"\s+", " ", none.stderr)
    enough = call(*command, sizes[0], few, "--set", "search.margin=0.9", "--output", str(tmp_path / "enough"))
    assert json.loads(enough.stdout)["warnings"] == []


def test_exact_values_have_a_frontier_too(tmp_path: Path) -> None:
    result = call(
        *("evaluate", MARKOV, "--set", "model.length=8", "--output", str(tmp_path / "run"), "--json", "--frontier"),
        *("--schedule", "linear", "--schedule", "sine", "--steps", "4", "--set", "search.margin=0.5"),
    )
    frontier = json.loads(result.stdout)["frontier"]
    assert frontier["reference"]["value"] == pytest.approx(0.0, abs=1e-9)  # it draws from the law itself
    assert frontier["cheapest"] is None and "(8 calls; computed exactly)" in frontier["sentence"]
    assert all(point["ci"] is None and point["tokens_per_second"] is None for point in frontier["points"])


def test_ancestral_reveal_has_no_such_reference(tmp_path: Path) -> None:
    text = refused(
        *("evaluate", MARKOV, "--set", "sampler.reveal=bernoulli", "--set", "objective.metric=order_kl", "--frontier"),
        *("--output", str(tmp_path / "run")),
    )
    assert "which ancestral (bernoulli) reveal does not have; set sampler.reveal to fixed" in text


def test_a_search_has_the_frontier_of_what_it_tuned(tmp_path: Path) -> None:
    """Its points are the baselines and the best of each kind; one token per step is measured once, also if resumed."""
    flags = ("--set", "search.frontier=true", "--set", "search.margin=0.95", "--trials", "3")
    steps = (
        "--set",
        "sampler.steps=[2,4]",
        "--set",
        "search.baselines=[linear,sine]",
        "--output",
        str(tmp_path / "run"),
    )
    result = call("search", MARKOV, *LAW, *DATA, *flags, *steps, "--json")
    assert result.exit_code == 0, result.output
    found, said = json.loads(result.stdout), re.sub(r"\s+", " ", result.stderr)
    frontier = found["policy_frontier"]
    assert [(point["policy"], point["steps"]) for point in frontier["points"]] == [
        *(("linear", 4), ("linear", 2), ("sine", 4), ("sine", 2), ("tuned counts", 4), ("tuned counts", 2))
    ]
    assert frontier["reference"]["steps"] == 8 and frontier["tests"] == 6
    assert "within 95 % of one token per step" in frontier["sentence"]
    assert "one token per step: at most 320 denoiser rows more" in said
    losses = [loss for point in frontier["points"] for loss in point["losses"]]
    assert all(loss["than"] == "reference" and loss["share"] > 0.05 for loss in losses)
    without = call("search", MARKOV, *LAW, *DATA, *steps, "--trials", "3", "--json", "--overwrite")
    assert json.loads(without.stdout)["policy_frontier"] is None
    assert 0 < found["denoiser_rows"] - json.loads(without.stdout)["denoiser_rows"] <= 320


def test_a_frontier_without_one_token_per_step_is_refused_before_a_search() -> None:
    reveal = ("--set", "sampler.reveal=bernoulli", "--set", "search.frontier=true")
    assert "search.frontier: the frontier compares with one token per step" in refused("search", MARKOV, *reveal)


def test_policies_with_more_calls_than_linear_are_named_once_with_their_ratio() -> None:
    def scored(name: str, steps: int, calls: float) -> Scores:
        return Scores(setting=Setting(name, steps, 64), estimate=Estimate(0.5, None), nfe=calls, cost=Cost())

    linear = [scored("linear", 8, 8.0), scored("linear", 16, 16.0)]
    fine = [scored("threshold", 8, 8.1), scored("threshold", 16, 12.0), scored("sine", 4, 99.0)]
    assert not [*more_calls([*linear, *fine], "linear", frontier=True)]
    same = [scored("threshold:0.9", steps, 17.0) for steps in (8, 16)]  # nearest to the calls of 16 steps
    (note,) = more_calls([*linear, *same], "linear", frontier=False)
    assert "linear's: threshold:0.9 at 16 steps (6.2 % more calls than linear); a gain" in note.text
    assert note.advice == "compare with linear at as many steps, or look at the frontier (--frontier)"
    (note,) = more_calls([*linear, *fine, scored("klass", 8, 8.4), scored("cap", 16, 17.6)], "linear", frontier=True)
    assert note.advice == "compare with linear at as many steps, or look at the frontier"
    assert note.code == "more-calls" and note.text == (
        "more denoiser calls than linear's: klass at 8 steps (5 % more calls than linear), cap at 16 steps (10 % "
        "more calls than linear); a gain there is not surely one at equal cost"
    )


def test_no_number_of_a_warning_about_more_calls_is_cut() -> None:
    calls = np.array([60.0, 63.0, 64.0, 64.0] * 6)
    long = Scores(
        setting=Setting("threshold:0.9", 8, 64),
        estimate=Estimate(0.5, None),
        nfe=float(calls.mean()),
        cost=Cost(),
        values=np.zeros(24),
        calls=calls,
    )
    linear = replace(long, setting=Setting("linear", 8, 64), nfe=8.0, calls=None)
    (note,) = more_calls([linear, long], "linear", frontier=True)
    assert re.search(r"at 8 steps \(68\d(\.\d+)? \[[\d.]+, [\d.]+\] % more calls than linear\); a gain", note.text)
