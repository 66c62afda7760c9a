"""A schedule file in a loop of one's own: the counts are those of the file, or those of its curve."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.schedules.counts import alpha_grid, to_counts
from mdm_tune.schedules.curves import Beta, Linear
from mdm_tune.schedules.loaded import LoadedSchedule, load_schedule
from tests.schedules.test_derived import budget, file_of


def loaded(folder: Path, *budgets: dict[str, object], **more: object) -> LoadedSchedule:
    file_of(folder, *budgets, **more)  # type: ignore[arg-type]
    return load_schedule(folder)


def test_a_tuned_budget_is_that_of_the_file(tmp_path: Path) -> None:
    schedule = loaded(tmp_path, budget("beta:0.7,1.2", 8), sampler={"order": "confidence"})
    plan = schedule.plan()
    assert [*plan] == [*enumerate(to_counts(Beta(0.7, 1.2), 8, 64))] and len(plan) == 8
    assert (plan.schedule, plan.length, plan.steps, plan.block_length, plan.notes) == ("beta:0.7,1.2", 64, 8, 64, ())
    assert schedule.counts(64, 8) == plan.counts == schedule.budget(8).counts
    assert schedule.sampler == {"order": "confidence"}


def test_other_lengths_and_steps_follow_the_curve_with_a_note(tmp_path: Path) -> None:
    schedule = loaded(tmp_path, budget("beta:0.7,1.2", 8))
    assert schedule.counts(100, 20) == to_counts(Beta(0.7, 1.2), 20, 100)
    steps, length = schedule.notes(100, 20)
    assert steps.startswith("20 steps were not tuned: ") and length.startswith("A length of 100 tokens was not tuned")
    assert schedule.plan(100, 20).notes == (steps, length)
    assert schedule.plan(block_length=32).blocks == (to_counts(Beta(0.7, 1.2), 4, 32),) * 2


def test_blocks_stand_one_after_the_other(tmp_path: Path) -> None:
    plan = loaded(tmp_path, budget("sine", 16, block_length=32)).plan()
    assert plan.block_length == 32 and len(plan.blocks) == 2 and plan.counts == (*plan.blocks[0], *plan.blocks[1])


def test_ancestral_reveal_has_alphas(tmp_path: Path) -> None:
    schedule = loaded(tmp_path, {"steps": 4, "schedule": "linear", "alphas": [0.0, 0.25, 0.5, 0.75, 1.0]})
    assert schedule.alphas() == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert schedule.alphas(8) == tuple(alpha_grid(Linear(), 8).tolist())
    with pytest.raises(InputError, match=r"tuned for ancestral reveal, which has no counts; use alphas"):
        schedule.plan()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 65}, r"steps must be at most the length, 64 tokens, .* got 65; give fewer steps"),
        ({"steps": 0}, r"steps must be a whole number of at least 1, got 0; give 1 or more"),
        ({"steps": 2.5}, r"steps must be a whole number of at least 1, got 2.5"),
        ({"steps": True}, r"steps must be a whole number of at least 1, got true"),
        ({"length": "64", "steps": 8}, r"length must be a whole number of at least 1, got '64'"),
        ({"steps": 8, "block_length": 0}, r"block_length must be a whole number"),
        ({"steps": 8, "block_length": 7}, r"must divide the length 64, got 7"),
        ({"steps": 16, "length": 100}, r"in blocks of 32 tokens, which do not divide the length 100; .* block_length"),
        ({}, r"budgets of 8, 16 steps, got no number of steps; give steps"),
    ],
)
def test_wrong_numbers_are_named(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    schedule = loaded(tmp_path, budget("sine", 8), budget("sine", 16, block_length=32))
    with pytest.raises(InputError, match=message):
        schedule.plan(**arguments)  # type: ignore[arg-type]


def test_fixed_counts_have_no_alphas(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tuned for fixed counts"):
        loaded(tmp_path, budget("sine", 8)).alphas()


def test_a_file_of_another_version_or_with_other_counts_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "schedule.yaml"
    file_of(tmp_path, budget("sine", 8))
    text = file.read_text("utf-8")
    file.write_text(text.replace("mdm-tune-schedule-1", "mdm-tune-schedule-2"), "utf-8")
    with pytest.raises(InputError, match="must say format: mdm-tune-schedule-1, got 'mdm-tune-schedule-2'"):
        load_schedule(tmp_path)
    file.write_text(text.replace("sine", "linear"), "utf-8")
    with pytest.raises(InputError, match="is damaged: for 8 steps it says schedule linear"):
        load_schedule(tmp_path)
