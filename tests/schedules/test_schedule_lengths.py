"""Schedule files at another length than they were tuned for, and what they say of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mdm_tune.commands.schedule_notes import other_samplers
from mdm_tune.config.file import load_config
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.run.build import Run, build
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.schedule_names import settings_of
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Beta


def at(folder: Path, length: int, **sampler: Any) -> Run:
    """A run on a chain of this length."""
    config = {
        "model": {"type": "markov", "flip": 0.1, "length": length},
        "sampler": {"steps": [2], **sampler},
        "objective": {"metric": "order_kl"},
    }
    (folder / "c.yaml").write_text(yaml_text(config), encoding="utf-8")
    return build(load_config(folder / "c.yaml"))


def schedule_file(path: Path, length: int, *entries: dict[str, Any], **more: Any) -> str:
    folder = RunFolder(path)
    folder.open()
    given = [{"counts": None, "alphas": None, **entry} for entry in entries]
    folder.write_schedule({"length": length, "budgets": given, **more})
    return str(folder.schedule)


def test_a_schedule_file_is_a_curve_for_any_other_length(tmp_path: Path) -> None:
    """The counts are those of the curve; explicit ones are stretched along the running totals that they have."""
    beta = {"steps": 3, "schedule": "beta:0.9,0.3", "counts": list(to_counts(Beta(0.9, 0.3), 3, 28))}
    name = schedule_file(tmp_path / "run", 28, beta, {"steps": 2, "schedule": "counts:7,21", "counts": [7, 21]})
    for length in (30, 12, 2):  # with 2 tokens there are 2 steps
        here = at(tmp_path, length)
        (curve,) = settings_of(here.evaluator, [name], [3])
        assert (curve.counts, curve.length) == (to_counts(Beta(0.9, 0.3), 3, length), length)
    (explicit,) = settings_of(at(tmp_path, 12).evaluator, [name], [2])
    assert (explicit.counts, explicit.length) == ((3, 9), 12)


def test_alphas_of_a_schedule_file_know_no_length(tmp_path: Path) -> None:
    alphas = [0.0, 0.3, 1.0]
    name = schedule_file(tmp_path / "run", 28, {"steps": 2, "schedule": "alphas:0,0.3,1", "alphas": alphas})
    here = at(tmp_path, 5, reveal="bernoulli")
    (found,) = settings_of(here.evaluator, [name], [2])
    assert (found.alphas, found.length) == (tuple(alphas), 5)


def test_a_schedule_file_in_blocks_goes_to_any_length_that_they_divide(tmp_path: Path) -> None:
    inside = list(to_counts(Beta(2.0, 0.5), 2, 4))
    curve = {"steps": 4, "schedule": "beta:2,0.5", "counts": inside * 2, "block_length": 4}
    explicit = {"steps": 5, "schedule": "counts:1,3,1,1,2", "counts": [1, 3, 1, 1, 2], "block_length": 4}
    name = schedule_file(tmp_path / "run", 8, curve, explicit)
    four = at(tmp_path, 4).evaluator
    (found,) = settings_of(four, [name], [4])
    assert (found.counts, found.block_length) == (to_counts(Beta(2.0, 0.5), 4, 4), 4)
    twelve = at(tmp_path, 12).evaluator
    with pytest.raises(InputError, match=r"tuned for 8 tokens, does not fit the 12 here: 4 steps cannot be shared"):
        list(settings_of(twelve, [name], [4]))
    with pytest.raises(InputError, match="explicit counts for 8 tokens in blocks of 4, which have no curve"):
        list(settings_of(twelve, [name], [5]))
    ten = at(tmp_path, 10).evaluator
    with pytest.raises(InputError, match=r"do not divide the 10 here; set dataset\.generation_length to 8"):
        list(settings_of(ten, [name], [4]))


def test_another_length_than_a_file_was_tuned_for_is_said_with_its_range(tmp_path: Path) -> None:
    entry = {"steps": 2, "schedule": "linear", "counts": [14, 14]}
    lengths = {"fixed": False, "least": 10, "most": 45, "mean": 27.8}
    name = schedule_file(tmp_path / "mean", 28, entry, lengths=lengths)
    fixed = schedule_file(tmp_path / "fixed", 28, entry)
    here = at(tmp_path, 30)
    said = [note.text for note in other_samplers(here, [name, fixed])]
    ends = "and here there are 30: its curve is cut into counts for that length"
    assert said == [
        f"{name} was tuned for 28 tokens (the mean of 10 to 45), {ends}",
        f"{fixed} was tuned for 28 tokens, {ends}",
    ]
