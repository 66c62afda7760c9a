"""Blocks filled from left to right: steps shared among them, prices, sampling, and every command."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import mdm_tune
from mdm_tune.cli import app
from mdm_tune.config.file import SearchConfig, load_config
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.datasets.splits import law_dataset
from mdm_tune.denoisers.analytic import MarkovChain, Mixture, Parity
from mdm_tune.denoisers.law import Law
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.settings import Sampler, Setting, plan_of
from mdm_tune.metrics import quality
from mdm_tune.run.build import build
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.profiles import Profiles
from mdm_tune.sampling.unmasking import CountPlan, Step
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Beta, Counts, Linear, Schedule, SquaredSine
from mdm_tune.schedules.pricing import nelbo
from mdm_tune.search.space import reachable_counts
from tests.support.helpers import sampler_of, seeds
from tests.support.laws import joint

FIXED, CUMULATIVE = sampler_of(), sampler_of(counts="cumulative")
CHAIN = MarkovChain.sticky(2, 0.1, 8)
SECTIONS: dict[str, Any] = {
    "model": {"type": "markov", "length": 8, "flip": 0.1},
    "sampler": {"steps": [4], "block_length": 4},
    "objective": {"metric": "order_kl"},
    "search": {"strategy": "tpe", "trials": 4, "finalists": 1, "baselines": ["linear", "optimum"]},
}


def evaluator(sampler: Sampler = FIXED, size: int = 4, law: Law = CHAIN) -> Evaluator:
    return Evaluator(law, law.length, sampler, quality.order_kl_metric(law, [size]), None, (size,))


def of(schedule: Schedule, steps: int, length: int, size: int = 4, sampler: Sampler = FIXED, **more: Any) -> Setting:
    return Setting.of(schedule, steps, length, sampler, block_length=size, **more)


# Settings and plans


def test_rows_of_other_lengths_have_blocks_of_their_own() -> None:
    """Three tokens a step would go over the end of a block of four: the step is split there."""
    setting = of(Linear(), 4, 8)
    plan = plan_of([setting], torch.tensor([8, 6, 4, 3, 10]), FIXED)
    assert isinstance(plan, CountPlan)
    assert plan.counts.sum(2).tolist() == [[4, 4, 0], [4, 2, 0], [4, 0, 0], [3, 0, 0], [4, 4, 2]]
    nfe = (plan.counts > 0).sum((1, 2)).tolist()
    assert nfe[:1] == [4] and nfe[2:4] == [4, 3] and all(4 <= each <= 6 for each in nfe[1::3])


def test_steps_are_shared_equally_and_the_schedule_holds_in_each_block() -> None:
    found = of(SquaredSine(), 12, 24, 8)
    assert found.counts == to_counts(SquaredSine(), 4, 8) * 3
    assert (found.steps, found.length, found.nfe) == (12, 24, 12)
    assert of(Linear(), 24, 8).counts == (1,) * 8  # more steps than tokens
    assert of(Beta(1, 0.4), 4, 8, 8).counts == Setting.of(Beta(1, 0.4), 4, 8, FIXED).counts


@pytest.mark.parametrize(
    ("steps", "size", "pairs"),
    [
        (3, 4, "3 with 8; 2, 4, 6 with 4, or"),
        (7, 4, "7 with 8; 4, 6, 8, 10 with 4, or"),
        (101, 4, "101 with 8; 98, 100, 102, 104 with 4, or"),
        (6, 2, "6 with 4, 8; 4, 8, 12 with 2, or"),
    ],
)
def test_steps_that_cannot_be_shared_equally_name_the_pairs_that_can(steps: int, size: int, pairs: str) -> None:
    message = (
        f"^{steps} steps cannot be shared equally by {8 // size} blocks of {size} tokens; legal pairs of steps and "
        f"block_length are {pairs} set sampler.block_steps to tuned$"
    )
    with pytest.raises(InputError, match=message):
        evaluator(size=size).setting(Linear(), steps)


@pytest.mark.parametrize(
    ("how", "steps", "pairs"),
    [
        ("equal", 1, "1 with 8; 4, 8 with 2"),
        ("equal", 2, "2 with 4, 8; 4, 8 with 2"),
        ("tuned", 3, "3 with 4, 8; 4 to 8 with 2"),
    ],
)
def test_fewer_steps_than_blocks_name_the_legal_pairs(how: Any, steps: int, pairs: str) -> None:
    sampler = sampler_of(block_steps=how)
    with pytest.raises(
        InputError,
        match=f"^{steps} steps are fewer than the 4 blocks of 2 tokens, and each block needs one; legal pairs of steps "
        f"and block_length are {pairs}$",
    ):
        evaluator(sampler, 2).setting(Linear(), steps)
    own, near = pairs.split("; ")
    for size in map(int, own.split(" with ")[1].split(", ")):  # the message is true
        evaluator(sampler, size).setting(Linear(), steps)
    for fits in map(int, near.split(" with ")[0].replace(" to ", ", ").split(", ")):
        evaluator(sampler, 2).setting(Linear(), fits)


def test_explicit_counts_end_a_step_where_a_block_ends() -> None:
    assert of(Counts((1, 3, 4)), 3, 8).counts == (1, 3, 4)
    assert of(Counts((4, 0, 1, 3)), 4, 8).counts == (4, 0, 1, 3)
    with pytest.raises(
        InputError,
        match=r"^counts:3,2,3 reveals tokens of two blocks in one step: with blocks of 4 a step must end after 4 "
        "tokens; split it there$",
    ):
        of(Counts((3, 2, 3)), 3, 8)
    with pytest.raises(InputError, match=r"mine reveals tokens of two blocks .* after 8 tokens"):
        of(Counts((4, 5, 3)), 3, 12, name="mine")
    with pytest.raises(InputError, match="reveals 7 tokens but the sequence has 8"):
        of(Counts((4, 3)), 2, 8)


def blocks_of(setting: Setting, size: int) -> list[list[int]]:
    plan = plan_of([replace(setting, block_length=size)], torch.full((3,), setting.length), FIXED)
    assert isinstance(plan, CountPlan) and plan.counts.shape[0] == 3
    assert torch.equal(plan.counts[0], plan.counts[2])
    rows: list[list[int]] = plan.counts[0].tolist()
    return rows


def test_plans_are_cut_where_blocks_end() -> None:
    setting = Setting("counts", 5, 8, counts=(1, 3, 2, 1, 1))
    assert blocks_of(setting, 4) == [[1, 3, 0], [2, 1, 1]]
    assert blocks_of(setting, 8) == [[1, 3, 2, 1, 1]]
    zeros = Setting("counts", 7, 8, counts=(0, 0, 4, 0, 0, 4, 0))
    assert [sum(row) for row in blocks_of(zeros, 4)] == [4, 4]


def test_zeros_of_the_cumulative_rule_stay_without_effect() -> None:
    """A steep schedule: 0 tokens in most steps of each block, and none that crosses its end."""
    found = of(Beta(8, 0.2), 8, 8, sampler=CUMULATIVE)
    assert found.counts == to_counts(Beta(8, 0.2), 4, 4, "cumulative") * 2
    assert 0 in (found.counts or ()) and found.nfe < 8
    assert [sum(row) for row in blocks_of(found, 4)] == [4, 4]
    scored = evaluator(CUMULATIVE)
    same = scored.setting(Counts(tuple(int(count) for count in found.key[1:])), len(found.key) - 1)
    assert same.key == found.key
    assert scored.score(found, "tune").estimate == scored.score(same, "tune").estimate
    filled = scored.fill([found], torch.full((5, 8), 2), seeds(5))
    assert filled.nfe.tolist() == [found.nfe] * 5 and bool((filled.tokens < 2).all())


@pytest.mark.parametrize("order", ["random", "confidence"])
def test_one_block_is_full_before_the_next_begins(order: Any) -> None:
    filler = evaluator(sampler_of(order))
    steps: list[Step] = []
    setting = filler.setting(Beta(1.0, 0.4), 6)
    start = torch.full((40, 8), CHAIN.mask_id)

    def keep(step: Step) -> None:
        steps.append(Step(step.number, step.tokens.clone(), step.revealed.clone()))

    filler.fill([setting], start, seeds(40), on_step=keep)
    assert [int(step.revealed.sum(1)[0]) for step in steps] == list(setting.counts or ())
    for step in steps:
        half = slice(0, 4) if step.number < 3 else slice(4, 8)
        assert bool((step.revealed[:, half].sum(1) == (setting.counts or ())[step.number]).all())
        assert step.revealed.sum() == step.revealed[:, half].sum()
    assert bool((steps[2].tokens[:, :4] < 2).all()) and bool((steps[2].tokens[:, 4:] == CHAIN.mask_id).all())
    if order == "random":
        assert len({tuple(row) for row in steps[0].revealed.tolist()}) > 1


# Prices


def kl_of_sets(law: dict[tuple[int, ...], float], sets: list[list[int]]) -> float:
    """KL(p || q) where the positions of each set are drawn independently given all earlier sets."""
    value = 0.0
    for x, p in law.items():
        if p == 0:
            continue
        seen: list[int] = []
        log_q = 0.0
        for positions in sets:
            fits = {y: w for y, w in law.items() if all(y[at] == x[at] for at in seen)}
            total = sum(fits.values())
            log_q += sum(math.log(sum(w for y, w in fits.items() if y[at] == x[at]) / total) for at in positions)
            seen += positions
        value += p * (math.log(p) - log_q)
    return value


def orders(length: int, size: int) -> Iterator[list[int]]:
    blocks = [list(range(start, start + size)) for start in range(0, length, size)]
    for parts in itertools.product(*(itertools.permutations(block) for block in blocks)):
        yield [at for part in parts for at in part]


SMALL = [
    MarkovChain([[0.9, 0.1], [0.3, 0.7]], [0.8, 0.2], 6),
    Mixture([0.3, 0.7], np.random.default_rng(0).dirichlet([1.0, 1.0], (2, 6))),
    Parity(6),
]


@pytest.mark.parametrize("law", SMALL, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize(("size", "counts"), [(3, (1, 2, 3)), (2, (2, 1, 1, 2)), (3, (0, 3, 0, 2, 1))])
def test_order_kl_with_blocks_is_the_mean_over_all_orders(law: Law, size: int, counts: tuple[int, ...]) -> None:
    ends = np.cumsum(counts).tolist()
    table = joint(law)
    values = [
        kl_of_sets(table, [order[end - count : end] for count, end in zip(counts, ends, strict=True)])
        for order in orders(6, size)
    ]
    metric = quality.order_kl_metric(law)
    assert metric.fixed(counts, size) == pytest.approx(sum(values) / len(values), abs=1e-10)


def test_sampling_with_blocks_costs_what_the_profile_says() -> None:
    """2,000 examples; a deviation of 4 standard errors has probability below 1e-4."""
    data = law_dataset(CHAIN, {"tune": 8, "choose": 8, "report": 2000}, root=0)
    sampled = Evaluator(CHAIN, 8, FIXED, quality.PathLikelihood("nelbo", "random"), data, (4,))
    for schedule in (Linear(), Beta(1, 0.4)):
        setting = sampled.setting(schedule, 4)
        values = sampled.score(setting, "report").values
        assert values is not None
        exact = nelbo(CHAIN.profile(4), setting.counts or ())
        assert values.mean() == pytest.approx(exact, abs=4 * values.std() / math.sqrt(2000))
        assert abs(exact - nelbo(CHAIN.profile(), setting.counts or ())) > 0.1  # blocks matter here


def compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    for cuts in itertools.combinations(range(1, total), parts - 1):
        yield tuple(np.diff([0, *cuts, total]).tolist())


@pytest.mark.parametrize("steps", [2, 3, 4, 5, 6])
def test_the_optimum_shares_the_steps_as_is_best(tmp_path: Path, steps: int) -> None:
    curve = CHAIN.profile(4)
    every = [
        first + second
        for share in range(1, steps)
        if share <= 4 and steps - share <= 4
        for first in compositions(4, share)
        for second in compositions(4, steps - share)
    ]
    best = min(nelbo(curve, counts) for counts in every)
    found = Profiles(build(config(tmp_path)), RunFolder(tmp_path / "run"), lambda event: None).optimum(steps)
    assert isinstance(found, Counts)
    assert found.counts in every
    assert nelbo(curve, found.counts) == pytest.approx(best, abs=1e-12)


def test_an_unequal_share_beats_the_best_equal_one(tmp_path: Path) -> None:
    """Two classes of products: once the first block has told the class, the second needs a single step."""
    components = [[[0.9, 0.1]] * 8, [[0.1, 0.9]] * 8]
    curve = Mixture([0.5, 0.5], components).profile(4)
    model = {"type": "mixture", "weights": [0.5, 0.5], "components": components}
    found = Profiles(build(config(tmp_path, model=model)), RunFolder(tmp_path / "run"), lambda event: None)
    best = found.run.evaluator.setting(found.optimum(4), 4).counts
    assert best == (1, 1, 2, 4)
    equal = min(nelbo(curve, a + b) for a in compositions(4, 2) for b in compositions(4, 2))
    assert nelbo(curve, best) < equal - 0.01
    assert blocks_of(found.run.evaluator.setting(found.optimum(4), 4), 4) == [[1, 1, 2], [4, 0, 0]]


@pytest.mark.parametrize("sampler", [FIXED, CUMULATIVE], ids=["one-per-step", "cumulative"])
def test_many_keys_at_once_are_those_of_the_settings(sampler: Sampler) -> None:
    found = evaluator(sampler, law=MarkovChain.sticky(2, 0.1, 12))
    a, b = (axis.ravel() for axis in np.meshgrid(np.geomspace(0.1, 10, 12), np.geomspace(0.1, 10, 12)))
    for steps in (6, 9, 15):
        single = {found.setting(Beta(x, y), steps).key for x, y in zip(a, b, strict=True)}
        assert found.beta_keys(a, b, steps) == single
        settings = SearchConfig(strategy="tpe", trials=200)
        assert single <= reachable_counts(found, steps, settings)


# Config and commands


def config(folder: Path, *overrides: str, **sections: Any) -> Any:
    (folder / "c.yaml").write_text(yaml_text({**SECTIONS, **sections}), encoding="utf-8")
    return load_config(folder / "c.yaml", overrides, output=str(folder / "run"))


def test_blocks_must_divide_the_length(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"^sampler.block_length must divide the 8 tokens to fill, got 3; choose one of 1, 2, 4, 8$",
    ):
        build(config(tmp_path, "sampler.block_length=3"))
    assert build(config(tmp_path, "sampler.block_length=8")).evaluator.one_block
    assert build(config(tmp_path)).evaluator.block_length == 4


def answer(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*arguments, "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def test_every_command_works_with_blocks(tmp_path: Path) -> None:
    config(tmp_path)
    common = (str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run"))
    curve, entropy = CHAIN.profile(4), CHAIN.entropy()
    priced = answer("profile", *common)
    assert priced["block_length"] == 4 and priced["cross_entropy"] == curve.tolist()
    assert priced["optimum_nelbo"][0] is None and None not in priced["optimum_nelbo"][1:]
    (budget,) = priced["budgets"]
    assert budget["linear"]["counts"] == [2, 2, 2, 2]
    assert budget["beta"]["counts"][:2] == budget["beta"]["counts"][2:]
    assert budget["optimum"]["nelbo"] <= budget["beta"]["nelbo"] <= budget["linear"]["nelbo"]
    assert budget["linear_steps_for_same_nelbo"] % 2 == 0

    found = answer("search", *common)
    (tuned,) = found["budgets"]
    assert tuned["value"] == pytest.approx(nelbo(curve, tuned["counts"]) - entropy, abs=1e-12)
    assert tuned["value"] <= tuned["baselines"]["linear"]["value"]
    for file in ("schedule.yaml", "profile-beta.yaml", "profile-optimum.yaml"):
        loaded = mdm_tune.load_schedule(tmp_path / "run" / file)
        assert loaded.budget(4).block_length == 4
        assert 4 in np.cumsum(loaded.budget(4).counts or ())

    rows = answer("evaluate", *common, "--schedule", "optimum", "--schedule", str(tmp_path / "run"), "--steps", "4")
    values = [row["value"] for row in rows["rows"]]
    assert values == pytest.approx([budget["optimum"]["nelbo"] - entropy, tuned["value"]], abs=1e-12)
    for schedule in ("optimum", "linear", str(tmp_path / "run"), "counts:1,3,4"):
        drawn = answer("sample", *common, "--schedule", schedule, "--number", "3")
        assert sum(drawn["counts"]) == 8 and 4 in np.cumsum(drawn["counts"])
        assert all(len(sample["text"]) == 8 for sample in drawn["samples"])


def test_a_schedule_tuned_with_blocks_keeps_them_and_counts_that_cross_one_are_refused(tmp_path: Path) -> None:
    config(tmp_path)
    common = [str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run")]
    answer("search", *common)
    other = ["--set", "sampler.block_length=null", "--schedule", str(tmp_path / "run")]
    result = CliRunner().invoke(app, ["evaluate", *common[:2], str(tmp_path / "other"), *other])
    assert result.exit_code == 0 and "is filled in blocks of 4, as it was tuned (here 8)" in result.stderr.replace(
        "\n", " "
    )
    crossing = CliRunner().invoke(app, ["evaluate", *common, "--schedule", "counts:3,2,3", "--steps", "3"])
    assert crossing.exit_code == 2 and "split it there" in crossing.stderr.replace("\n", " ")


def test_a_schedule_file_that_crosses_a_block_is_refused(tmp_path: Path) -> None:
    config(tmp_path)
    entry = {"steps": 3, "schedule": "linear", "counts": [3, 2, 3], "alphas": None}
    whole = RunFolder(tmp_path / "whole")
    whole.open()
    whole.write_schedule({"length": 8, "budgets": [entry]})
    common = [str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run"), "--schedule", str(whole.schedule)]
    for command in ("evaluate", "sample"):
        result = CliRunner().invoke(app, [command, *common, "--steps", "3"])
        assert result.exit_code == 2, result.output
        assert "two blocks in one step" in result.stderr.replace("\n", " ")


def test_a_measured_search_runs_with_blocks(tmp_path: Path) -> None:
    config(
        tmp_path,
        dataset={"type": "law", "tune": 8, "choose": 8, "report": 10},
        objective={"metric": "path_nll"},
        sampler={"steps": [4], "block_length": 4, "order": "margin"},
    )
    record = answer("search", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run"))
    (budget,) = record["budgets"]
    assert budget["ci"] is not None and 4 in np.cumsum(budget["counts"]) and budget["nfe"] == 4
