"""A schedule file in a loop of one's own: the counts are those of the file, or those of its curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.schedules.counts import alpha_grid, to_counts
from mdm_tune.schedules.curves import Beta, Linear, Sine
from mdm_tune.schedules.derived import kept_counts
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
    file.write_text(text.replace("mdm-tune-schedule-1", "mdm-tune-schedule-3"), "utf-8")
    with pytest.raises(InputError, match=r"must say format: .*-1 or mdm-tune-schedule-2, got 'mdm-tune-schedule-3'"):
        load_schedule(tmp_path)
    file.write_text(text.replace("sine", "linear"), "utf-8")
    with pytest.raises(InputError, match="is damaged: for 8 steps it says schedule linear"):
        load_schedule(tmp_path)


def policy(name: str, steps: int, schedule: str | None = None, **more: Any) -> dict[str, Any]:
    return {"steps": steps, "schedule": schedule, "counts": None, "alphas": None, "policy": name, **more}


def test_a_policy_has_its_name_and_no_counts(tmp_path: Path) -> None:
    quota = policy("quota:beta:0.9,0.3#32@0.5", 16, "beta:0.9,0.3", block_length=32)
    file = loaded(tmp_path, policy("threshold:0.873", 8), quota, budget("sine", 64))
    assert [file.policy(steps) for steps in (8, 16, 64)] == ["threshold:0.873", "quota:beta:0.9,0.3#32@0.5", None]
    for read in (file.plan, file.counts):
        with pytest.raises(InputError, match=r"budget of 8 steps holds the adaptive policy threshold:0\.873, which"):
            read(steps=8)
    with pytest.raises(InputError, match=r"the adaptive policy quota:beta:0\.9,0\.3#32@0\.5, which has no counts"):
        file.alphas(16)
    assert file.counts(steps=64) == to_counts(Sine(), 64, 64)
    for read in (file.policy, file.alphas):
        with pytest.raises(InputError, match=r"budgets of 8, 16, 64 steps, got 12; the nearest holds the adaptive"):
            read(12)
        with pytest.raises(InputError, match="budgets of 8, 16, 64 steps, got no number of steps; give steps"):
            read()
    assert file.notes(steps=8) == file.notes(steps=16) == ()
    assert file.notes(96, 8, block_length=32) == (
        "A length of 96 tokens was not tuned: the policy was tuned for 64, and the number of calls may differ.",
        "The policy was tuned for one block, and is used for blocks of 32.",
    )
    (longer,) = file.notes(128, 16)
    assert longer.startswith("A length of 128 tokens was not tuned: the counts follow from beta:0.9,0.3")
    with pytest.raises(InputError, match="block_length must divide the length 64, got 5"):
        file.notes(steps=8, block_length=5)
    assert file.policy(100) is None and file.plan(steps=48).notes  # the nearest has a curve
    assert loaded(tmp_path, policy("entropy-bound:0.25", 8)).policy() == "entropy-bound:0.25"


def test_the_counts_that_a_policy_keeps_are_those_of_its_schedule(tmp_path: Path) -> None:
    curve, sampler = Beta(0.9, 0.3), {"counts": "cumulative"}
    kept = policy(f"quota:{curve.name}#32@0.5", 16, curve.name, block_length=16)
    file = loaded(tmp_path, kept, sampler=sampler)
    counts = kept_counts(file, file.budget(16)).budget(32)
    assert counts.counts == to_counts(curve, 8, 16, "cumulative") * 4 and counts.block_length == 16
    one = loaded(tmp_path, policy("quota:sine@0.5", 16, "sine"))
    assert kept_counts(one, one.budget(16)).budget(16).counts == to_counts(Sine(), 16, 64)
    many = loaded(tmp_path, policy("quota:sine#200@0.5", 16, "sine"))
    assert kept_counts(many, many.budget(16)).budget(200).counts == (1,) * 64
