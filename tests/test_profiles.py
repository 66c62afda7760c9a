"""A profile inside the other commands: kept and reused, the price of trials, a warm start, and the optimum by name."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from typer.testing import CliRunner

import mdm_tune
from mdm_tune import profiles, runs
from mdm_tune.build import build
from mdm_tune.cli import app
from mdm_tune.config import Config, load_config
from mdm_tune.counts import grid, to_counts
from mdm_tune.denoisers.analytic import MarkovChain, Mixture
from mdm_tune.denoisers.law import Law
from mdm_tune.denoisers.transformer import Transformer
from mdm_tune.errors import InputError
from mdm_tune.events import BudgetStarted, RunEvent
from mdm_tune.pricing import ancestral_nelbo, nelbo, optima
from mdm_tune.profile import Profile
from mdm_tune.profiles import Profiles
from mdm_tune.records import Record
from mdm_tune.results import RunFolder
from mdm_tune.schedules import Alphas, Beta, Counts, Linear
from mdm_tune.search import START, TrialDone

CONFIGS = Path(__file__).parent.parent / "configs"
LENGTH = 20
# Two classes of product laws, too long to be enumerated: it is measured like a network.
WIDE = Mixture([0.5, 0.5], [[[0.9, 0.1]] * LENGTH, [[0.1, 0.9]] * LENGTH])
MODEL = {"type": "mixture", "weights": [0.5, 0.5], "components": [[[0.9, 0.1]] * LENGTH, [[0.1, 0.9]] * LENGTH]}
SPLITS = {"tune": 16, "choose": 8, "report": 10}
SECTIONS: dict[str, Any] = {
    "model": MODEL,
    "dataset": {"type": "law", **SPLITS},
    "sampler": {"steps": [2, 4]},
    "objective": {"metric": "nelbo"},
    "profile": {"points": 6, "examples": 12},
    "search": {"strategy": "tpe", "trials": 5, "finalists": 2, "baselines": ["linear"]},
    "evaluate": {"schedules": ["linear", "optimum"]},
}
CHAIN = {"type": "markov", "length": 12, "flip": 0.05}


def config(folder: Path, output: str = "run", **changes: Any) -> Config:
    """The config above; changes by dotted path with two underscores for the dot, None removes a section."""
    content = {name: dict(section) for name, section in SECTIONS.items()}
    for path, value in changes.items():
        section, _, key = path.partition("__")
        if key:
            content[section][key] = value
        elif value is None:
            del content[section]
        else:
            content[section] = value
    (folder / "c.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_config(folder / "c.yaml", output=str(folder / output))


def of(chosen: Config) -> Profiles:
    return Profiles(build(chosen), RunFolder(chosen.output), lambda event: None)


def search(chosen: Config, notify: Callable[[RunEvent], None] = lambda event: None, **flags: bool) -> Record:
    return runs.search(chosen, **{"resume": False, "overwrite": False, **flags}, notify=notify)


def evaluate(chosen: Config, schedules: tuple[str, ...] = (), steps: tuple[int, ...] = ()) -> Record:
    return runs.evaluate(chosen, schedules, steps, differences=False, notify=lambda event: None)


def refuse(*args: object, **kwargs: object) -> None:
    raise AssertionError("measured again")


class Rows:
    """Counts the rows that laws and transformers are shown."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        for kind, name in ((Law, "__call__"), (Transformer, "forward")):
            inner = getattr(kind, name)

            def counting(model: Any, tokens: Tensor, wanted: Tensor, inner: Any = inner) -> Any:
                self.number += len(tokens)
                return inner(model, tokens, wanted)

            monkeypatch.setattr(kind, name, counting)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    return Rows(monkeypatch)


def kept_curve(folder: Path) -> np.ndarray:
    """The curve that schedules are priced on, from the file alone."""
    record = json.loads((folder / "profile-values.json").read_text(encoding="utf-8"))["profile"]
    return Profile.from_record(record).monotone


# Reuse


def test_a_profile_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: Rows) -> None:
    first = of(config(tmp_path))
    made = first.profile
    assert rows.number == made.denoiser_rows > 0 and not first.reused
    assert first.spent == first.cost and first.cost.denoiser_rows == rows.number
    monkeypatch.setattr(profiles, "measure", refuse)
    again = of(config(tmp_path))
    np.testing.assert_array_equal(again.profile.values, made.values)
    np.testing.assert_array_equal(again.profile.revealed, made.revealed)
    assert again.reused and rows.number == made.denoiser_rows
    assert again.cost == first.cost and again.spent.denoiser_rows == 0
    changed = config(tmp_path, sampler__steps=[5], search__trials=3, sampler__batch=3, profile__monotone=False)
    assert of(changed).profile is not None  # what it does not depend on


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"model__weights": [0.4, 0.6]},
        {"profile__points": 7},
        {"profile__examples": 11},
        {"profile__tolerance": 0.5},
        {"sampler__block_length": 10},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_profile_depends_on_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    assert not of(config(tmp_path)).profile.exact
    other = of(config(tmp_path, **change))
    assert other.profile.denoiser_rows > 0 and not other.reused
    monkeypatch.setattr(profiles, "measure", refuse)
    latest = of(config(tmp_path, **change))
    assert latest.profile.denoiser_rows == other.profile.denoiser_rows and latest.reused
    with pytest.raises(AssertionError, match="measured again"):
        _ = of(config(tmp_path)).profile


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"key": 1'])
def test_a_damaged_profile_file_is_named(tmp_path: Path, content: str) -> None:
    chosen = config(tmp_path)
    RunFolder(chosen.output).open()
    (tmp_path / "run" / "profile-values.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"profile-values\.json"):
        _ = of(chosen).profile


def test_a_profile_file_whose_values_are_damaged_is_named(tmp_path: Path) -> None:
    _ = of(config(tmp_path)).profile
    path = tmp_path / "run" / "profile-values.json"
    kept = json.loads(path.read_text(encoding="utf-8"))
    for damage in ({}, {**kept["profile"], "values": "none"}):
        path.write_text(json.dumps({**kept, "profile": damage}), encoding="utf-8")
        with pytest.raises(InputError, match=r"profile-values\.json"):
            _ = of(config(tmp_path)).profile


def test_the_commands_share_one_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """profile first, then search, evaluate and sample; and search first in another folder, then profile."""
    chosen = config(tmp_path)
    call = CliRunner().invoke
    command = [str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run"), "--json"]
    first = json.loads(call(app, ["profile", *command]).stdout)
    other = config(tmp_path, "other")
    found = search(other)
    assert found["profile"]["denoiser_rows"] > first["denoiser_rows"] > 0 and not first["reused"]  # and to choose by
    assert search(chosen)["budgets"] == found["budgets"]
    monkeypatch.setattr(profiles, "measure", refuse)
    again = call(app, ["profile", *command])
    record = json.loads(again.stdout)
    assert record["reused"] and "note: profile of the same model and data taken from" in again.stderr
    assert record["measured"] == first["measured"] and record["denoiser_rows"] == 0 < first["denoiser_rows"]
    now = ("reused", "notes", "denoiser_rows", "denoiser_tokens", "seconds")
    assert {k: v for k, v in record.items() if k not in now} == {k: v for k, v in first.items() if k not in now}
    assert json.loads(call(app, ["profile", *command[:2], str(tmp_path / "other"), "--json"]).stdout)["reused"]
    best = {b["steps"]: b["optimum"]["counts"] for b in first["budgets"]}
    listed = {row["steps"]: row["counts"] for row in evaluate(chosen)["rows"] if row["schedule"] == "optimum"}
    assert listed == best
    drawn = runs.sample(chosen, "optimum", 4, 2, lambda symbols: None)
    assert drawn["counts"] == best[4] and drawn["schedule"] == "optimum"


def test_evaluate_and_sample_measure_the_profile_when_it_is_absent(tmp_path: Path, rows: Rows) -> None:
    commands: tuple[Callable[[Config], Record], ...] = (
        lambda chosen: evaluate(chosen, ("optimum", "linear"), (4,)),
        lambda chosen: runs.sample(chosen, "optimum", 4, 3, lambda symbols: None),
    )
    for number, command in enumerate(commands):
        before = rows.number
        record = command(config(tmp_path, f"run-{number}"))
        assert record["denoiser_rows"] == rows.number - before
        file = tmp_path / f"run-{number}" / "profile-values.json"
        profile = json.loads(file.read_text(encoding="utf-8"))["profile"]
        assert record["denoiser_rows"] > profile["denoiser_rows"] > 0
        before = rows.number
        assert command(config(tmp_path, f"run-{number}"))["denoiser_rows"] == rows.number - before
        assert rows.number - before == record["denoiser_rows"] - profile["denoiser_rows"]


def test_evaluate_lists_the_optimum_among_rows_and_comparisons(tmp_path: Path) -> None:
    chain = config(tmp_path, model=CHAIN, objective={"metric": "order_kl"}, dataset=None, profile={})
    record = evaluate(chain, ("linear", "optimum", "beta:1,1"), (3, 20))
    assert record["denoiser_rows"] == 0
    rows = {(row["schedule"], row["steps"]): row for row in record["rows"]}
    law = MarkovChain.sticky(2, 0.05, 12)
    best = min(nelbo(law.profile(), (i, j, 12 - i - j)) for i in range(1, 11) for j in range(1, 12 - i))
    assert rows["optimum", 3]["value"] == pytest.approx(best - law.entropy(), abs=1e-12)
    assert sum(rows["optimum", 3]["counts"]) == 12 and rows["optimum", 3]["nfe"] == 3
    assert rows["optimum", 20]["counts"] == [1] * 12
    pairs = {(c["first"], c["second"]): c for c in record["comparisons"] if c["steps"] == 3}
    assert set(pairs) == {("linear", "optimum"), ("linear", "beta:1,1"), ("optimum", "beta:1,1")}
    gap = rows["linear", 3]["value"] - rows["optimum", 3]["value"]
    assert pairs["linear", "optimum"] == {
        "first": "linear",
        "second": "optimum",
        "steps": 3,
        "ci": None,
        "difference": pytest.approx(gap, abs=1e-12),
    }
    assert gap > 0.1
    assert json.loads((tmp_path / "run" / "evaluate.json").read_text(encoding="utf-8"))["rows"] == record["rows"]


def test_the_optimum_of_a_measured_profile_is_compared_with_intervals(tmp_path: Path) -> None:
    record = evaluate(config(tmp_path, sampler__reveal="bernoulli"), (), (4,))
    linear, optimum = record["rows"]
    assert (optimum["schedule"], optimum["n"], optimum["counts"]) == ("optimum", 10, None)
    assert optimum["alphas"][0] == 0 and optimum["alphas"][-1] == 1 and len(optimum["alphas"]) == 5
    (pair,) = record["comparisons"]
    assert pair["difference"] == pytest.approx(linear["value"] - optimum["value"])
    assert pair["ci"][0] <= pair["difference"] <= pair["ci"][1]


def test_without_examples_there_is_no_optimum(tmp_path: Path) -> None:
    chosen = config(tmp_path, dataset=None, profile={}, objective={"metric": "order_kl"}, model=CHAIN)
    assert of(chosen).possible
    short = Mixture(WIDE.weights, WIDE.components[:, :4])
    model = {**MODEL, "components": short.components.tolist()}
    chosen = config(tmp_path, dataset=None, profile={}, objective={"metric": "kl"}, model=model)
    assert of(chosen).profile.exact
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Mixture, "_set_entropies", lambda *args: (_ for _ in ()).throw(InputError("too large")))
        bare = of(chosen)
        assert not bare.possible and not bare.guides and bare.guide(2, []).points == ()
        with pytest.raises(InputError, match="an information profile is measured on examples; add a dataset section"):
            evaluate(chosen, ("optimum",), (2,))


# Prices against sampling


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
        gap = sampled - found.profile.prices(found.weights(setting))
        assert abs(gap.mean()) < 4 * gap.std() / math.sqrt(400)
        assert gap.std() / math.sqrt(400) < 0.2


# A search whose objective is the profile


@pytest.mark.parametrize("reveal", ["fixed", "bernoulli"])
def test_trials_of_the_nelbo_cost_nothing(tmp_path: Path, rows: Rows, reveal: str) -> None:
    marks: list[int] = []
    trials: dict[int, list[TrialDone]] = {}

    def notify(event: RunEvent) -> None:
        if isinstance(event, BudgetStarted):
            trials[event.steps] = []
            marks.append(rows.number)
        elif isinstance(event, TrialDone):
            list(trials.values())[-1].append(event)
            assert rows.number == marks[-1]

    record = search(config(tmp_path, sampler__reveal=reveal), notify)
    assert list(trials) == [2, 4] and all(len(found) > 3 for found in trials.values())
    assert record["profile"]["denoiser_rows"] == marks[0] > 0  # for all budgets, before the first
    assert record["denoiser_rows"] == rows.number
    compared = sum(8 * row["nfe"] for row in record["budgets"])  # of the winner alone: a floor of the report
    assert rows.number >= marks[0] + compared
    curve = kept_curve(tmp_path / "run")
    for steps, events in trials.items():
        for event in events:
            if reveal == "fixed":
                assert event.setting.counts == to_counts(event.schedule, steps, LENGTH)
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


def of_box(steps: int, a: float, b: float, reveal: str) -> tuple[float, ...]:
    schedule = Beta(float(a), float(b))
    return to_counts(schedule, steps, LENGTH) if reveal == "fixed" else tuple(grid(schedule, steps).tolist())


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
    assert {number for event, number in seen if isinstance(event, TrialDone)} == {start}
    assert start == record["profile"]["denoiser_rows"] <= 2 * 5 * 8
    scored = 8 * 4 * 2  # two schedules on the report split, four calls each; the choice costs none
    assert record["denoiser_rows"] == rows.number and start < rows.number <= start + scored


def test_an_exact_law_with_examples_needs_no_rows_for_its_profile(tmp_path: Path, rows: Rows) -> None:
    chosen = config(tmp_path, model=CHAIN, profile={})
    values = []

    def notify(event: RunEvent) -> None:
        if isinstance(event, TrialDone):
            assert rows.number == before[event.setting.steps]
            values.append((event.value, event.setting.counts))
        elif isinstance(event, BudgetStarted):
            before[event.steps] = rows.number

    before: dict[int, int] = {}
    record = search(chosen, notify)
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
    points = found.guide(4, [Beta(0.5, 0.5), winner, twin, found.best_beta(4)]).points
    assert points[:2] == (found.best_beta(4), winner)
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
        assert [event.schedule for event in trials[steps]][: len(expected)] == list(expected)[:5]
    assert trials[4][2].value == min(event.value for event in trials[4])


@pytest.mark.parametrize("strategy", ["gp", "qmc"])
def test_other_strategies_are_warmed_too(tmp_path: Path, strategy: str) -> None:
    events: list[TrialDone] = []
    chosen = config(tmp_path, search__strategy=strategy, search__trials=4, sampler__steps=[4])
    search(chosen, lambda event: events.append(event) if isinstance(event, TrialDone) else None)
    assert [event.schedule for event in events[:3]] == [*START, of(chosen).best_beta(4)]


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
    assert [event.schedule for event in events[:2]] == list(START)
    best = of(chosen).best_beta(4)
    assert (best in [event.schedule for event in events]) == (
        search_section.get("warm_start") == "profile" and measured
    )


def test_winners_go_to_the_next_budget_without_a_profile_too(tmp_path: Path) -> None:
    for warm, expected in (("auto", True), ("off", False)):
        trials: dict[int, list[TrialDone]] = {2: [], 4: []}

        def notify(event: RunEvent, trials: dict[int, list[TrialDone]] = trials) -> None:
            if isinstance(event, TrialDone):
                trials[event.setting.steps].append(event)

        changes = {"objective": {"metric": "path_nll"}, "sampler": {"steps": [2, 4], "order": "margin"}}
        record = search(config(tmp_path, warm, **changes, search__warm_start=warm), notify)
        winner = record["budgets"][0]["schedule"]
        assert winner["type"] == "beta"
        assert (Beta(winner["a"], winner["b"]) in [event.schedule for event in trials[4]]) == expected


def test_a_grid_has_its_own_points_even_where_the_profile_is_the_price(tmp_path: Path) -> None:
    chosen = config(tmp_path, search__strategy="grid", search__trials=6, sampler__steps=[4])
    assert of(chosen).guide(4, []).points == () and of(chosen).guide(4, []).price is not None
    points = []
    search(chosen, lambda event: points.append(event.schedule) if isinstance(event, TrialDone) else None)
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
        found = loaded.at(budget["steps"])
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
