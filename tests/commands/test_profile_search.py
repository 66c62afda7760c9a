"""A search with a profile: the price of its trials, its warm start, and an optimum that wins."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import mdm_tune
from mdm_tune.cli import app
from mdm_tune.commands.events import BudgetStarted, RunEvent
from mdm_tune.config.file import Config, load_config
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.evaluation.profile_choice import weights_of
from mdm_tune.run.profiles import Profiles
from mdm_tune.schedules.counts import alpha_grid, to_counts
from mdm_tune.schedules.curves import Alphas, Beta, Counts, Linear
from mdm_tune.schedules.pricing import ancestral_nelbo, nelbo, optima
from mdm_tune.search.events import TrialDone
from mdm_tune.search.power import Detectable
from mdm_tune.search.space import START
from tests.support.profile_runs import (
    CHAIN,
    CONFIGS,
    LENGTH,
    SECTIONS,
    SPLITS,
    Rows,
    config,
    evaluate,
    kept_curve,
    of,
    search,
)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    return Rows(monkeypatch)


@pytest.mark.parametrize("sampler", [{}, {"reveal": "bernoulli"}, {"block_length": 10}], ids=str)
def test_the_price_is_what_sampling_costs(tmp_path: Path, sampler: dict[str, Any]) -> None:
    """400 examples, all points; the same examples along other paths. False alarms: 4 standard errors, below 1e-4."""
    chosen = config(
        tmp_path, sampler={"steps": [4], **sampler}, dataset__tune=400, profile={"points": LENGTH, "examples": 400}
    )
    found = of(chosen)
    for schedule in (Linear(), Beta(1.0, 0.4)):
        setting = found.run.evaluator.setting(schedule, 4)
        sampled = found.run.evaluator.score(setting, "tune").values
        assert sampled is not None
        order = [int(name) for name in found.run.evaluator.split("tune").shuffled().ids]  # that a profile has
        gap = sampled[order] - found.profile.prices(weights_of(setting))
        assert abs(gap.mean()) < 4 * gap.std() / math.sqrt(400)
        assert gap.std() / math.sqrt(400) < 0.2


# A search whose objective is the profile


@pytest.mark.parametrize("reveal", ["fixed", "bernoulli"])
def test_trials_of_the_nelbo_cost_nothing(tmp_path: Path, rows: Rows, reveal: str) -> None:
    marks: list[int] = []
    pilots: list[int] = []
    trials: dict[int, list[TrialDone]] = {}

    def notify(event: RunEvent) -> None:
        if isinstance(event, BudgetStarted):
            trials[event.steps] = []
            marks.append(rows.number)
        elif isinstance(event, TrialDone):
            list(trials.values())[-1].append(event)
            if event.number == 0:
                pilots.append(rows.number)
            assert rows.number == pilots[-1]

    record = search(config(tmp_path, sampler__reveal=reveal), notify)
    assert list(trials) == [2, 4] and all(len(found) > 3 for found in trials.values())
    assert record["profile"]["denoiser_rows"] == marks[0] > 0  # for all budgets, before the first
    assert record["denoiser_rows"] == rows.number
    compared = sum(8 * row["nfe"] for row in record["budgets"])  # of the winner alone: a floor of the report
    assert rows.number >= marks[0] + compared
    pilot = pilot_rows(config(tmp_path, sampler__reveal=reveal))
    assert [after - before for before, after in zip(marks, pilots, strict=True)] == pilot
    curve = kept_curve(tmp_path / "run")
    for steps, events in trials.items():
        for event in events:
            if reveal == "fixed":
                assert event.setting.counts == to_counts(event.policy, steps, LENGTH)
                price = nelbo(curve, event.setting.counts or ())
            else:
                price = ancestral_nelbo(curve, event.setting.alphas or ())
            assert event.value == pytest.approx(price, rel=1e-9)
        # The best trial is the best of the family: of a scan of the box here, point by point.
        box = np.geomspace(0.1, 10, 30)
        settings = [of_box(steps, a, b, reveal) for a in box for b in box]
        direct = min((nelbo if reveal == "fixed" else ancestral_nelbo)(curve, each) for each in settings)
        assert events[-1].best <= direct * (1 + 1e-6)
        if reveal == "fixed":
            assert events[-1].best >= optima(curve, steps).nelbo[-1]
        assert events[2].value == events[-1].best  # already the first proposal of the warm start


def pilot_rows(chosen: Config) -> list[int]:
    """What linear and squared-sine cost on the tune examples at each budget, before the first trial.

    Nothing at two steps of fixed counts, where both reveal half in each.
    """
    evaluator = of(chosen).run.evaluator
    settings = ([evaluator.setting(beta, steps) for beta in START] for steps in chosen.sampler.steps)
    return [
        evaluator.together(each, "tune", SPLITS["tune"])[1].denoiser_rows if each[0].key != each[1].key else 0
        for each in settings
    ]


def of_box(steps: int, a: float, b: float, reveal: str) -> tuple[float, ...]:
    schedule = Beta(float(a), float(b))
    return to_counts(schedule, steps, LENGTH) if reveal == "fixed" else tuple(alpha_grid(schedule, steps).tolist())


def test_trials_of_the_nelbo_of_the_text_model_cost_nothing(tmp_path: Path, rows: Rows) -> None:
    overrides = [
        *("objective.metric=nelbo", "sampler.order=random", "sampler.steps=[4]", "search.strategy=tpe"),
        *("search.trials=6", "search.finalists=1", "search.baselines=[linear]", "profile.points=5"),
        *("dataset.tune=16", "dataset.choose=8", "dataset.report=8", "profile.examples=8"),
    ]
    chosen = load_config(CONFIGS / "text.yaml", overrides, output=str(tmp_path / "run"))
    seen = []
    record = search(chosen, lambda event: seen.append((event, rows.number)))
    (start,) = [number for event, number in seen if isinstance(event, BudgetStarted)]
    (pilot,) = [number for event, number in seen if isinstance(event, Detectable)]
    assert {number for event, number in seen if isinstance(event, TrialDone)} == {pilot}
    assert start == record["profile"]["denoiser_rows"] <= 2 * 5 * 8
    scored = (16 + 8) * 4 * 2  # two schedules in the pilot and on the report split, four calls each; the choice is free
    assert record["denoiser_rows"] == rows.number and start < rows.number <= start + scored


def test_an_exact_law_with_examples_needs_no_rows_for_its_profile(tmp_path: Path, rows: Rows) -> None:
    chosen = config(tmp_path, model=CHAIN, profile={})
    values = []

    def notify(event: RunEvent) -> None:
        if isinstance(event, BudgetStarted):
            before[event.steps] = rows.number
        elif isinstance(event, TrialDone):
            pilot.setdefault(event.setting.steps, rows.number)
            assert rows.number == pilot[event.setting.steps]
            values.append((event.value, event.setting.counts))

    before: dict[int, int] = {}
    pilot: dict[int, int] = {}
    record = search(chosen, notify)
    assert [pilot[steps] - before[steps] for steps in (2, 4)] == pilot_rows(chosen)
    assert before[2] == 0 and record["profile"] == {"denoiser_rows": 0, "denoiser_tokens": 0, "seconds": 0.0}
    curve = MarkovChain.sticky(2, 0.05, 12).profile()
    assert all(value == pytest.approx(nelbo(curve, counts or ()), abs=1e-12) for value, counts in values)
    assert not (tmp_path / "run" / "profile-values.json").exists()


# Warm start


def keys(found: Profiles, steps: int, schedules: Any) -> list[tuple[float, ...]]:
    return [found.run.evaluator.setting(schedule, steps).key for schedule in schedules]


def test_a_warm_start_proposes_the_best_then_winners_then_nearly_best(tmp_path: Path) -> None:
    found = of(config(tmp_path, model=CHAIN, dataset=None, profile={}, objective={"metric": "order_kl"}))
    winner, twin = Beta(3.0, 0.2), Beta(3.0001, 0.2)
    points = found.guide(4, [Beta(0.5, 0.5), winner, twin, found.chooser.best_beta(4)]).points
    assert points[:2] == (found.chooser.best_beta(4), winner)
    assert twin not in points[1:] and Beta(0.5, 0.5) not in points  # the counts of another proposal, and linear's
    proposed = keys(found, 4, (*START, *points))
    assert len(set(proposed)) == len(proposed)
    curve = MarkovChain.sticky(2, 0.05, 12).profile()
    price = [nelbo(curve, key) for key in proposed]
    assert price[2] == min(price)
    assert len(points) > 2
    for near in price[4:]:
        assert near - curve.sum() <= 1.25 * (price[2] - curve.sum()) + 1e-9
    assert found.guide(4, []).price is None and found.guide(4, []).optimum is None


def test_trials_follow_the_warm_start_and_winners_go_to_the_next_budget(tmp_path: Path) -> None:
    trials: dict[int, list[TrialDone]] = {3: [], 4: []}
    chosen = config(
        tmp_path, model=CHAIN, dataset=None, profile={}, objective={"metric": "order_kl"}, sampler__steps=[3, 4]
    )

    def notify(event: RunEvent) -> None:
        if isinstance(event, TrialDone):
            trials[event.setting.steps].append(event)

    record = search(chosen, notify)
    found = of(chosen)
    winner = record["budgets"][0]["schedule"]
    assert winner["type"] == "beta"
    for steps, winners in ((3, []), (4, [Beta(winner["a"], winner["b"])])):
        expected = (*START, *found.guide(steps, winners).points)
        assert [event.policy for event in trials[steps]][: len(expected)] == list(expected)[:5]
    assert trials[4][2].value == min(event.value for event in trials[4])


@pytest.mark.parametrize("strategy", ["gp", "qmc"])
def test_other_strategies_are_warmed_too(tmp_path: Path, strategy: str) -> None:
    events: list[TrialDone] = []
    chosen = config(tmp_path, search__strategy=strategy, search__trials=4, sampler__steps=[4])
    search(chosen, lambda event: events.append(event) if isinstance(event, TrialDone) else None)
    assert [event.policy for event in events[:3]] == [*START, of(chosen).chooser.best_beta(4)]


@pytest.mark.parametrize(
    ("order", "search_section", "measured"),
    [
        ("margin", {"warm_start": "profile"}, True),
        ("margin", {}, False),  # auto: in random order alone
        ("margin", {"warm_start": "off"}, False),
        ("margin", {"warm_start": "profile", "strategy": "grid"}, False),
        ("margin", {"warm_start": "off", "baselines": ["linear", "optimum"]}, True),
    ],
    ids=str,
)
def test_a_profile_is_measured_where_something_needs_it(
    tmp_path: Path, rows: Rows, order: str, search_section: dict[str, Any], measured: bool
) -> None:
    events: list[TrialDone] = []
    chosen = config(
        tmp_path,
        objective={"metric": "path_nll"},
        sampler={"steps": [4], "order": order},
        search={**SECTIONS["search"], "trials": 4, **search_section},
    )
    record = search(chosen, lambda event: events.append(event) if isinstance(event, TrialDone) else None)
    assert record["denoiser_rows"] == rows.number
    assert (record["profile"] is not None) == measured == (tmp_path / "run" / "profile-values.json").exists()
    assert [event.policy for event in events[:2]] == list(START)
    best = of(chosen).chooser.best_beta(4)
    assert (best in [event.policy for event in events]) == (search_section.get("warm_start") == "profile" and measured)


def test_winners_go_to_the_next_budget_without_a_profile_too(tmp_path: Path) -> None:
    for warm, expected in (("auto", True), ("off", False)):
        trials: dict[int, list[TrialDone]] = {2: [], 4: []}

        def notify(event: RunEvent, trials: dict[int, list[TrialDone]] = trials) -> None:
            if isinstance(event, TrialDone):
                trials[event.setting.steps].append(event)

        changes = {"objective": {"metric": "path_nll"}, "sampler": {"steps": [2, 4], "order": "margin"}}
        record = search(config(tmp_path, warm, **changes, search__warm_start=warm, seed=3), notify)
        winner = record["budgets"][0]["schedule"]
        assert winner["type"] == "beta"
        assert (Beta(winner["a"], winner["b"]) in [event.policy for event in trials[4]]) == expected


def test_a_grid_has_its_own_points_even_where_the_profile_is_the_price(tmp_path: Path) -> None:
    chosen = config(tmp_path, search__strategy="grid", search__trials=6, sampler__steps=[4])
    assert of(chosen).guide(4, []).points == () and of(chosen).guide(4, []).price is not None
    points = []
    search(chosen, lambda event: points.append(event.policy) if isinstance(event, TrialDone) else None)
    assert all(10 * x == pytest.approx(round(10 * x)) for point in points for x in (point.a, point.b))
    assert of(config(tmp_path, search__warm_start="off")).guide(4, [Beta(3.0, 0.2)]).points == ()


class Stopped(Exception):
    pass


@pytest.mark.parametrize("steps_done", [(3, 2), (4, 5)], ids=str)
@pytest.mark.parametrize("measured", [False, True])
def test_a_stopped_warm_search_ends_like_an_uninterrupted_one(
    tmp_path: Path, steps_done: tuple[int, int], measured: bool
) -> None:
    """Stopped within the warm start and after it, in the first and the second budget."""
    law = {} if measured else {"model": CHAIN, "dataset": None, "profile": {}, "objective": {"metric": "order_kl"}}
    settings = {**law, "sampler__steps": [3, 4], "search__baselines": ["linear", "optimum"], "search__trials": 7}

    def stop(event: RunEvent) -> None:
        if isinstance(event, TrialDone) and (event.setting.steps, event.number) == steps_done:
            raise Stopped

    whole = search(config(tmp_path, "whole", **settings))
    with pytest.raises(Stopped):
        search(config(tmp_path, "cut", **settings), stop)
    resumed = search(config(tmp_path, "cut", **settings), resume=True)
    assert resumed["budgets"] == whole["budgets"] and resumed["trials"] == whole["trials"]
    assert resumed["denoiser_rows"] == whole["denoiser_rows"]


# The optimum as a baseline


@pytest.mark.parametrize("reveal", ["fixed", "bernoulli"])
def test_an_optimum_that_wins_is_written_and_loads(tmp_path: Path, reveal: str) -> None:
    chosen = config(
        tmp_path,
        model={"type": "repeated-bit", "length": 8},
        dataset=None,
        profile={},
        objective={"metric": "order_kl"},
        sampler={"steps": [3, 4], "reveal": reveal},
        search={**SECTIONS["search"], "baselines": ["linear", "optimum"], "space": {"a": [0.4, 0.6], "b": [0.4, 0.6]}},
    )
    record = search(chosen)
    for budget in record["budgets"]:
        assert set(budget["baselines"]) == {"linear", "optimum"}
        assert budget["value"] == budget["baselines"]["optimum"]["value"] < budget["baselines"]["linear"]["value"]
        assert budget["beats_linear"] and budget["schedule"]["a"] is None
        assert budget["schedule"]["type"].startswith("counts:1," if reveal == "fixed" else "alphas:0.0,")
    loaded = mdm_tune.load_schedule(tmp_path / "run")
    for budget in record["budgets"]:
        found = loaded.budget(budget["steps"])
        assert found.schedule.name == budget["schedule"]["type"]
        if reveal == "fixed":  # the first step reveals one bit, which tells all others
            assert budget["value"] == pytest.approx(0, abs=1e-12)
            assert found.counts == Counts(tuple(budget["counts"])).counts
        else:
            assert found.alphas == Alphas(tuple(budget["alphas"])).alphas
    rows = evaluate(chosen, (), (4,))["rows"]
    assert [row["value"] for row in rows if row["schedule"] == "optimum"] == pytest.approx(
        [row["value"] for row in rows if row["schedule"].endswith("schedule.yaml")]
    )


def test_the_commands_show_an_optimum_that_won(tmp_path: Path) -> None:
    config(
        tmp_path,
        model={"type": "repeated-bit", "length": 8},
        dataset=None,
        profile={},
        objective={"metric": "order_kl"},
        sampler={"steps": [3]},
        search={**SECTIONS["search"], "baselines": ["linear", "optimum"], "space": {"a": [0.4, 0.6], "b": [0.4, 0.6]}},
    )
    common = [str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run")]
    result = CliRunner().invoke(app, ["search", *common])
    assert result.exit_code == 0, result.output
    match = re.fullmatch(r"counts = \[(1, \d, \d)\]  # 3 steps, tokens to reveal at each\n", result.stdout)
    assert match and f"tuned: counts:{match[1].replace(' ', '')}" in result.stderr
    shown = CliRunner().invoke(app, ["evaluate", *common, "--schedule", "optimum", "--schedule", "linear"])
    assert shown.exit_code == 0 and re.search(r"\n +3 +optimum +0.00000 ", shown.stderr)


def test_torch_is_left_with_its_own_random_state(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    search(config(tmp_path, sampler__steps=[4], search__trials=4))
    assert torch.equal(torch.random.get_rng_state(), before)
