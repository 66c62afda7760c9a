from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from mdm_tune.core.errors import InputError
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Beta, Counts, Linear, parse_schedule
from mdm_tune.schedules.derived import by_block, derived_of_file, derived_of_schedule, nearest_budget, stretched
from mdm_tune.schedules.schedule_file import ScheduleFile, load_schedule


def file_of(folder: Path, *budgets: dict[str, object], length: int = 64, **more: object) -> ScheduleFile:
    entries = [{"alphas": None, "counts": None, "block_length": None} | budget for budget in budgets]
    record = {"format": "mdm-tune-schedule-1", "length": length, "budgets": entries, **more}
    (folder / "schedule.yaml").write_text(yaml.safe_dump(record), "utf-8")
    return load_schedule(folder)


def budget(name: str, steps: int, length: int = 64, block_length: int | None = None) -> dict[str, object]:
    size = block_length or length
    counts = list(to_counts(parse_schedule(name), steps * size // length, size)) * (length // size)
    return {"steps": steps, "schedule": name, "counts": counts, "block_length": block_length}


def test_counts_are_split_where_blocks_end() -> None:
    assert by_block((3, 1, 2, 2), 4) == ((3, 1), (2, 2))
    assert by_block((0, 4, 0, 4, 0), 4) == ((0, 4), (0, 4, 0))
    assert by_block((5, 3), 8) == ((5, 3),)
    with pytest.raises(InputError, match=r"blocks of 4 a step must end after 4 tokens, got one of 2 tokens .* after 5"):
        by_block((3, 2, 3), 4)


def test_a_curve_applies_within_each_block() -> None:
    derived = derived_of_schedule(Beta(0.7, 1.2), 12, 96, 32)
    assert derived.counts == (to_counts(Beta(0.7, 1.2), 4, 32),) * 3
    assert derived_of_schedule(Linear(), 12, 96).counts == ((8,) * 12,)
    with pytest.raises(InputError, match="must divide the length 96, got 36"):
        derived_of_schedule(Linear(), 12, 96, 36)
    with pytest.raises(InputError, match="cannot be shared equally"):
        derived_of_schedule(Linear(), 13, 96, 32)
    with pytest.raises(InputError, match="sum 96"):
        derived_of_schedule(Counts((3, 1)), 2, 96)


def test_ancestral_reveal_has_alphas_and_no_blocks() -> None:
    derived = derived_of_schedule(Linear(), 4, 96, ancestral=True)
    assert derived.alphas == (0, 0.25, 0.5, 0.75, 1) and derived.counts is None
    with pytest.raises(InputError, match="has no blocks"):
        derived_of_schedule(Linear(), 4, 96, 32, ancestral=True)
    with pytest.raises(InputError, match="use linear"):
        derived_of_schedule(Linear("llada"), 4, 96, ancestral=True)


def test_what_was_tuned_is_taken_as_it_is(tmp_path: Path) -> None:
    file = file_of(tmp_path, budget("sine", 8), budget("beta:0.7,1.2", 16, block_length=32))
    derived = derived_of_file(file, 8)
    assert (derived.counts, derived.notes) == ((to_counts(parse_schedule("sine"), 8, 64),), ())
    blocks = derived_of_file(file, 16)
    assert (blocks.block_length, blocks.notes) == (32, ())
    assert blocks.counts == (to_counts(Beta(0.7, 1.2), 8, 32),) * 2
    with pytest.raises(InputError, match="budgets of 8, 16 steps, got no number of steps; choose one with --steps"):
        derived_of_file(file)
    assert derived_of_file(file_of(tmp_path, budget("sine", 8))).steps == 8


def test_other_steps_follow_from_the_nearest_budget(tmp_path: Path) -> None:
    file = file_of(tmp_path, budget("sine", 8), budget("beta:0.7,1.2", 32))
    assert [nearest_budget(file, steps).steps for steps in (1, 8, 15, 16, 17, 64)] == [8, 8, 8, 8, 32, 32]
    derived = derived_of_file(file, 20)
    assert derived.counts == (to_counts(Beta(0.7, 1.2), 20, 64),)
    assert derived.notes == (
        "20 steps were not tuned: the counts follow from beta:0.7,1.2, which was tuned for 32 steps.",
    )


def test_other_lengths_keep_the_blocks(tmp_path: Path) -> None:
    file = file_of(tmp_path, budget("beta:0.7,1.2", 16, block_length=32), sampler={"counts": "cumulative"})
    derived = derived_of_file(file, 16, 128)
    assert derived.counts == (to_counts(Beta(0.7, 1.2), 4, 32, "cumulative"),) * 4
    assert "A length of 128 tokens was not tuned" in derived.notes[0]
    assert derived_of_file(file, 16, 64, 64).notes == (
        "The schedule was tuned for blocks of 32, and is used for one block.",
    )
    with pytest.raises(InputError, match=r"do not divide the length 100; .* --block-length"):
        derived_of_file(file, 16, 100)


def test_tuned_shares_are_even_at_other_steps(tmp_path: Path) -> None:
    file = file_of(tmp_path, budget("linear", 16, block_length=32), sampler={"block_steps": "tuned"})
    derived = derived_of_file(file, 17)
    assert derived.counts is not None and [len(block) for block in derived.counts] == [9, 8]
    assert derived.notes[-1].startswith("The blocks share the steps evenly, as the profile's shares are known only")


def test_a_schedule_of_all_budgets_has_the_shares_of_its_own_steps_only(tmp_path: Path) -> None:
    entry = budget("linear", 3, block_length=32) | {"counts": [64 // 2, 16, 16]}
    file = file_of(tmp_path, entry, sampler={"block_steps": "tuned"}, shared="linear")
    assert derived_of_file(file, 3).counts == ((32,), (16, 16))
    with pytest.raises(InputError, match=r"has these shares for 3 steps, got 4; give one of them, or search again"):
        derived_of_file(file, 4)
    assert derived_of_file(file_of(tmp_path, entry, shared="linear"), 4).counts == ((16, 16),) * 2


def test_explicit_counts_are_stretched_in_one_block_only(tmp_path: Path) -> None:
    counts = (32, 16, 8, 8)
    entry = {"steps": 4, "schedule": "counts:32,16,8,8", "counts": list(counts)}
    derived = derived_of_file(file_of(tmp_path, entry), 4, 128)
    assert derived.counts == ((64, 32, 16, 16),)
    halved = derived_of_file(file_of(tmp_path, entry), 2)
    assert halved.counts == ((48, 16),)
    blocks = file_of(tmp_path, entry | {"counts": [16] * 4, "schedule": "counts:16,16,16,16", "block_length": 32})
    with pytest.raises(InputError, match="no curve for 128 tokens in 4 steps with blocks of 32"):
        derived_of_file(blocks, 4, 128)
    assert stretched(Counts((1, 1, 1))) == Linear()


def test_alphas_follow_from_the_curve_at_other_steps_and_hold_for_every_length(tmp_path: Path) -> None:
    alphas = [0.0, 0.25, 0.5, 0.75, 1.0]
    file = file_of(tmp_path, {"steps": 4, "schedule": "linear", "alphas": alphas})
    assert derived_of_file(file, 4, 999).alphas == tuple(alphas)
    derived = derived_of_file(file, 5)
    assert derived.alphas is not None
    np.testing.assert_allclose(derived.alphas, np.arange(6) / 5, atol=1e-12)
    assert "the alphas follow from linear" in derived.notes[0]


def test_a_mean_length_is_said(tmp_path: Path) -> None:
    file = file_of(tmp_path, budget("sine", 8), lengths={"fixed": False, "least": 3, "most": 90, "mean": 64.0})
    assert derived_of_file(file, 8).notes == (
        "The length 64 is the mean of the lengths that the schedule was tuned for.",
    )
