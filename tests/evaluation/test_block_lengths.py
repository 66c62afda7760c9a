"""Several block lengths compared at equal NFE, and what a search says and spends where there is nothing to tune."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import mdm_tune
from mdm_tune.cli import app
from mdm_tune.config.file import SpaceConfig
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.filling import Rows
from mdm_tune.evaluation.settings import Setting
from mdm_tune.metrics import quality
from mdm_tune.run.dry_run_records import OutlookRecord
from mdm_tune.sampling.plans import CountPlan
from mdm_tune.schedules.curves import Beta, Linear
from mdm_tune.schedules.pricing import optima, order_kl
from mdm_tune.search.outcomes import Ended, Ending
from mdm_tune.search.space import outlook_of, reachable_counts
from mdm_tune.terminal.tables import outlook_lines
from tests.schedules.test_blocks import answer, config
from tests.support.helpers import changed, sampler_of, seeds
from tests.support.searches import SETTINGS, Given, noise, run, sampled

CHAIN = MarkovChain.sticky(2, 0.1, 12)
SIZES = (3, 6, 12)


def exact(sizes: tuple[int, ...] = SIZES) -> Evaluator:
    return Evaluator(CHAIN, 12, sampler_of(), quality.order_kl_metric(CHAIN, sizes), None, sizes)


def test_a_setting_says_its_blocks_and_is_scored_in_them_by_any_view() -> None:
    """The same counts in three kinds of blocks: three keys, three labels and three values."""
    whole = exact()
    found = [whole.in_blocks(size).setting(Linear(), 4) for size in SIZES]
    assert {each.counts for each in found} == {(3, 3, 3, 3)} and len({each.key for each in found}) == 3
    assert [each.label for each in found] == [f"linear in blocks of {size}" for size in (3, 6, 12)]
    values = [whole.score(each, "tune").estimate.value for each in found]
    assert values == [
        pytest.approx(order_kl(CHAIN.profile(size), CHAIN.entropy(), (3, 3, 3, 3)), abs=1e-12) for size in SIZES
    ]
    assert len({round(value, 6) for value in values}) == 3
    assert len(whole.book._whole) == 3 and exact((3,)).setting(Linear(), 4).label == "linear"


def test_the_winner_of_a_budget_is_the_best_in_any_blocks() -> None:
    """Of an exact law: against every Beta that was tried in each, and linear is the best linear of the three."""
    settings = changed(SETTINGS, trials=10, strategy="qmc")
    budget, events = run(exact(), settings, steps=8)
    tried = [event for event in events if hasattr(event, "setting") and hasattr(event, "number")]
    assert len(tried) == budget.trials == 4 + 10 + 10  # in blocks of 3 two counts are all that there are
    best = min(tried, key=lambda event: event.value)
    assert budget.winner.estimate.value == pytest.approx(best.value, abs=1e-12)
    assert budget.winner.setting.key == best.setting.key
    linear = {size: exact((size,)).score(exact((size,)).setting(Linear(), 8), "tune").estimate.value for size in SIZES}
    assert budget.baselines["linear"].estimate.value == pytest.approx(min(linear.values()), abs=1e-12)
    assert budget.baselines["linear"].setting.label == f"linear in blocks of {min(linear, key=lambda s: linear[s])}"
    assert budget.gain.value == pytest.approx(min(linear.values()) - best.value, abs=1e-12)
    assert budget.gain_over_first is not None
    assert budget.gain_over_first.value == pytest.approx(linear[3] - best.value, abs=1e-12)
    assert len(budget.baselines) == 9 and budget.winner.nfe == budget.baselines["linear"].nfe == 8


def several(rule: Any, sizes: tuple[int, ...]) -> Given:
    return replace(Given.by(rule), block_lengths=sizes)


def test_better_blocks_are_not_called_the_schedules_gain() -> None:
    """Every schedule gains 1 by blocks of 4, and nothing by its shape: a gain is shown over the other linear alone."""

    def rule(setting: Setting, use: Any, examples: np.ndarray) -> np.ndarray:
        common = np.random.default_rng([7, len(use)]).normal(0.0, 0.1, 1000)[examples]
        return common + (0.0 if setting.block_length == 4 else 1.0)

    budget, _ = run(several(rule, (16, 4)), changed(SETTINGS, trials=4), steps=8)
    assert budget.winner.setting.block_length == 4
    assert budget.baselines["linear"].setting.block_length == 4
    assert budget.gain.value == 0 and not budget.gain.shown and not budget.beats_linear
    assert budget.gain_over_first is not None and budget.gain_over_first.value == pytest.approx(1.0)


@pytest.mark.parametrize("report", [1.0, 0.0])
def test_blocks_are_chosen_on_the_choose_split_and_reported_on_another(report: float) -> None:
    """Blocks of 4 are better on tune and choose: they are taken, but for a report that shows them to be worse."""

    def rule(setting: Setting, use: Any, examples: np.ndarray) -> np.ndarray:
        good = (setting.block_length == 4) == (use != "report")
        amount = report if use == "report" else 1.0
        return np.where(good, 0.0, amount) + 0.01 * noise(
            Setting(name="", steps=8, length=16, counts=(16,)), use, examples
        )

    budget, _ = run(several(rule, (16, 4)), changed(SETTINGS, trials=3), steps=8)
    if report:
        assert budget.winner.setting.one_block and budget.winner.setting.label == "linear in blocks of 16"
        assert budget.loser is not None and budget.loser.scores.setting.block_length == 4
        assert budget.loser.gain.value == pytest.approx(-1.0) and budget.gain_over_first is None
    else:
        assert budget.winner.setting.block_length == 4 and budget.loser is None
        assert budget.gain_over_first is not None and budget.gain_over_first.value == pytest.approx(0.0)


def test_what_a_measured_comparison_of_blocks_spends_is_counted() -> None:
    evaluator, denoiser = sampled()
    evaluator = replace(evaluator, block_lengths=(4, 8, 16))
    budget, _ = run(evaluator, changed(SETTINGS, trials=5, finalists=2), steps=8)
    assert budget.cost.denoiser_rows == denoiser.rows
    assert {scores.nfe for scores in (budget.winner, *budget.baselines.values())} == {8}
    assert 9 < len(budget.chosen_from) <= 9 + 2


def test_one_block_is_a_block_as_long_as_the_length() -> None:
    """Left out or said: the key has the counts alone. A shorter length puts in front what no count can be."""
    given: dict[str, Any] = {"name": "linear", "steps": 4, "length": 8, "counts": (2, 2, 2, 2)}
    left_out, said, halves = Setting(**given), Setting(**given, block_length=8), Setting(**given, block_length=4)
    assert left_out == said and left_out.block_length == 8 and left_out.one_block and not halves.one_block
    assert left_out.key == (2, 2, 2, 2) and halves.key == (-4, 2, 2, 2, 2)


def test_a_row_longer_than_the_mean_is_not_cut_where_the_length_ends() -> None:
    """Rows of 10 and 6 positions have the mean 8, which is the length of their one block."""
    start = torch.full((2, 10), CHAIN.mask_id)
    start[1, :4] = 0
    setting = Setting.of(Linear(), 4, 8, sampler_of())
    given = Rows([setting], start, seeds(2)).arguments(sampler_of(), CHAIN.mask_id)
    assert given.blocks is None and isinstance(given.plan, CountPlan)
    assert given.plan.counts.shape[1] == 1 and given.plan.counts.sum((1, 2)).tolist() == [10, 6]


# Nothing to tune


@pytest.mark.parametrize("steps", [4, 12])
def test_one_reachable_vector_is_scored_once_and_no_trial_is_spent(steps: int) -> None:
    """A step for each block, or one for each token."""
    evaluator, denoiser = sampled({"tune": 8, "choose": 8, "report": 16})
    evaluator = evaluator.in_blocks(4)
    steps = {4: 4, 12: 16}[steps]
    assert len(reachable_counts(evaluator, steps, SETTINGS)) == 1
    budget, events = run(evaluator, SETTINGS, steps=steps)
    assert (budget.trials, budget.ended, budget.exhausted) == (0, Ended.of(Ending.NOTHING_TO_TUNE), True)
    assert denoiser.rows == budget.cost.denoiser_rows <= 16 * steps  # the report alone, identical rows once
    assert budget.chosen_from == () and budget.policy == Linear() and not budget.beats_linear
    assert all(scores.values is not None for scores in budget.baselines.values())
    assert [event.use for event in events] == ["report"]  # type: ignore[union-attr]


def test_a_box_that_reaches_one_vector_says_so_too() -> None:
    """By its scan, where steps alone do not tell; a baseline outside the family still competes."""
    narrow = changed(SETTINGS, space=SpaceConfig(a=(0.5, 0.5000001), b=(0.5, 0.5000001)), baselines=("linear", "sine"))
    evaluator = exact((12,))
    assert len(reachable_counts(evaluator, 2, narrow)) == 1  # squared-sine is the same in two steps
    budget, _ = run(evaluator, narrow, steps=2)
    assert budget.ended == Ended.of(Ending.NOTHING_TO_TUNE) and budget.trials == 0 and len(budget.chosen_from) == 2


def test_the_check_says_steps_per_block_and_reachable_counts() -> None:
    """The number of vectors by brute force over a fine grid of the box."""
    found = list(outlook_of(exact(), [4, 8, 12], SETTINGS))
    assert [(each.steps, each.block_length, each.steps_of_blocks) for each in found] == [
        *((4, 3, (1,) * 4), (4, 6, (2, 2)), (4, 12, (4,))),
        *((8, 3, (2,) * 4), (8, 6, (4, 4)), (8, 12, (8,))),
        *((12, 3, (3,) * 4), (12, 6, (6, 6)), (12, 12, (12,))),
    ]
    for each in found:
        view = exact().in_blocks(each.block_length)
        grid = np.geomspace(0.1, 10, 60)
        seen = {view.setting(Beta(a, b), each.steps).counts for a in grid for b in grid}
        assert each.counts is not None
        if len(seen) <= SETTINGS.trials:
            assert each.counts == len(seen)
        else:
            assert each.counts > SETTINGS.trials
    lines = outlook_lines(
        [
            OutlookRecord(steps=8, block_length=3, steps_per_block=(2,) * 4, reachable_counts=2),
            OutlookRecord(steps=9, block_length=6, steps_per_block=(4, 5), reachable_counts=30),
            OutlookRecord(steps=12, block_length=12, steps_per_block=(12,), reachable_counts=1),
            OutlookRecord(steps=12, block_length=6, steps_per_block=None, reachable_counts=None),
            OutlookRecord(steps=12, block_length=None, steps_per_block=None, reachable_counts=None),
        ]
    )
    assert lines == [
        "8 steps: 4 blocks of 3 tokens, 2 steps each; at least 2 distinct count vectors",
        "9 steps: 2 blocks of 6 tokens, 4, 5 steps; at least 30 distinct count vectors",
        "12 steps: 1 count vector; nothing to tune",
        "12 steps: a profile will say",
        "12 steps: ancestral reveal has no counts",
    ]


# Commands


LISTED: dict[str, Any] = {"sampler": {"steps": [4], "block_length": [2, 4, 8], "order": "random"}}


def test_every_command_compares_block_lengths(tmp_path: Path) -> None:
    config(tmp_path, **LISTED)
    common = (str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run"))
    law = MarkovChain.sticky(2, 0.1, 8)
    curves, entropy = {size: law.profile(size) for size in (2, 4, 8)}, law.entropy()
    priced = answer("profile", *common)
    profiles = [priced, *priced["other_block_lengths"]]
    assert [each["block_length"] for each in profiles] == [2, 4, 8]
    assert [each["cross_entropy"] for each in profiles] == [curves[size].tolist() for size in (2, 4, 8)]
    cheapest = min(profiles, key=lambda each: each["budgets"][0]["optimum"]["nelbo"])["block_length"]
    kept = mdm_tune.load_schedule(tmp_path / "run" / "profile-optimum.yaml").budget(4)
    assert kept.block_length == cheapest and kept.counts == optima(curves[cheapest], 4, cheapest).counts(4)

    found = answer("search", *common)
    (budget,) = found["budgets"]
    size = budget["block_length"]
    assert budget["value"] == pytest.approx(order_kl(curves[size], entropy, budget["counts"]), abs=1e-12)
    linear = {each: order_kl(curves[each], entropy, (2, 2, 2, 2)) for each in (2, 4, 8)}
    assert budget["linear"] == f"linear in blocks of {min(linear, key=lambda each: linear[each])}"
    assert budget["gain_over_linear"]["value"] == pytest.approx(min(linear.values()) - budget["value"], abs=1e-12)
    assert budget["gain_over_first_linear"]["value"] == pytest.approx(linear[2] - budget["value"], abs=1e-12)
    assert mdm_tune.load_schedule(tmp_path / "run").budget(4).block_length == size
    assert answer("search", *common, "--resume") == found

    rows = answer("evaluate", *common, "--schedule", "linear", "--schedule", str(tmp_path / "run"))["rows"]
    assert [row["block_length"] for row in rows] == [2, 4, 8, size] and {row["nfe"] for row in rows} == {4}
    assert [row["value"] for row in rows[:3]] == pytest.approx([linear[each] for each in (2, 4, 8)], abs=1e-12)
    assert rows[3]["value"] == pytest.approx(budget["value"], abs=1e-12)
    assert answer("sample", *common, "--number", "2")["block_length"] == size  # the file's
    one = ("--set", "sampler.block_length=2")
    drawn = answer("sample", common[0], *one, "--output", str(tmp_path / "other"), "--schedule", str(tmp_path / "run"))
    assert drawn["block_length"] == size and drawn["counts"] == budget["counts"]


def test_the_terminal_says_which_blocks(tmp_path: Path) -> None:
    data = {"type": "law", "tune": 8, "choose": 8, "report": 16}
    config(tmp_path, dataset=data, objective={"metric": "nelbo"}, **LISTED)
    common = [str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run")]
    dry = CliRunner().invoke(app, ["search", *common, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    checked = "4 steps: 4 blocks of 2 tokens, 1 step each; 1 count vector; nothing to tune"
    assert checked in dry.stderr and "4 steps: 2 blocks of 4 tokens, 2 steps each; at least 3 distinct" in dry.stderr
    found = CliRunner().invoke(app, ["search", *common])
    assert found.exit_code == 0 and checked in found.stderr and "\n  blocks of 4\n" in found.stderr
    evaluated = CliRunner().invoke(app, ["evaluate", *common])
    assert evaluated.exit_code == 0 and "compared with linear in blocks of 2" in evaluated.stderr.replace("\n", " ")


def test_a_budget_that_a_block_length_cannot_have_is_refused_before_anything_is_paid_for(tmp_path: Path) -> None:
    config(tmp_path, sampler={"steps": [2], "block_length": [4, 2]})
    for command in ("search", "profile", "evaluate"):
        result = CliRunner().invoke(app, [command, str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run")])
        assert result.exit_code == 2
        assert "2 steps are fewer than the 4 blocks of 2 tokens" in result.stderr
        legal = "4 to 8" if command == "profile" else "4, 8"  # the optimum on a profile shares steps out unevenly
        assert f"2 with 4, 8; {legal} with 2" in result.stderr
    assert not (tmp_path / "run" / "schedule.yaml").exists()
