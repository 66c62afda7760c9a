"""Scores that a search keeps: as they were measured, each measured once, and those that were ended before a kill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.storages import InMemoryStorage

from mdm_tune.datasets.splits import Use
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.sampling.unmasking import Unmasked
from mdm_tune.schedules.curves import Beta, Linear, SquaredSine
from mdm_tune.search.storage import open_storage
from tests.support.searches import Dead, Given, GivenFiller, exact, noise, scoring

SIZES: dict[Use, int] = {"tune": 40, "choose": 12, "report": 12}


def given() -> Given:
    return Given.by(lambda setting, use, at: max(setting.key) / 4 + noise(setting, use, at), SIZES)


def same(one: Scores, two: Scores) -> bool:
    assert one.tokens is not None and two.tokens is not None and one.values is not None and two.values is not None
    return (
        (one.setting, one.estimate, one.nfe, one.use) == (two.setting, two.estimate, two.nfe, two.use)
        and one.reveals == two.reveals
        and np.array_equal(one.values, two.values)
        and one.tokens.tolist() == two.tokens.tolist()
        and one.tokens.dtype == two.tokens.dtype
        and one.diversity.keys() == two.diversity.keys()
        and all(np.array_equal(one.diversity[name], two.diversity[name]) for name in one.diversity)
    )


def test_scores_from_the_storage_are_those_that_were_measured() -> None:
    storage, evaluator = (
        InMemoryStorage(),
        Given.by(noise, SIZES, diverse=float, token=lambda setting: len(setting.key)),
    )
    settings = [evaluator.setting(curve, 4) for curve in (Linear(), SquaredSine(), Beta(3.0, 0.4))]
    with scoring(evaluator, storage) as scores:
        found = scores.score(settings, "report")
    for setting, each in zip(settings, found, strict=True):
        assert same(each, evaluator.measure_on(setting, evaluator.split("report")))
        assert each.cost.denoiser_rows == 12 * 4
    rows = evaluator.rows
    with scoring(evaluator, storage) as scores:
        again = scores.score(settings, "report")
        assert all(same(*pair) for pair in zip(found, again, strict=True))
        assert [each.cost for each in again] == [each.cost for each in found]  # what it took, whoever did it
        assert all(each.cost == Cost() for each in scores.score(settings, "report"))  # but once
    assert evaluator.rows == rows


def test_each_setting_is_scored_once_on_each_part_of_a_split() -> None:
    told: list[tuple[str, int]] = []
    evaluator = given()
    linear, other, label = evaluator.setting(Linear(), 4), evaluator.setting(Beta(3.0, 0.4), 4), "again"
    with scoring(evaluator) as scores:
        found = scores.score(
            [linear, other, replace(linear, name=label)],
            "choose",
            lambda setting, place: told.append((setting.label, place)),
        )
        assert [each.setting.label for each in found] == ["linear", "beta:3.0,0.4", label]
        assert told == [("linear", 0), ("beta:3.0,0.4", 1)]
        assert [each.cost.denoiser_rows for each in found] == [48, 48, 0]
        few = scores.score([linear], "choose", examples=5)[0]
        assert few.count == 5 and few.values is not None and found[0].values is not None
        np.testing.assert_array_equal(few.values, found[0].values[:5])
        assert scores.score([linear], "report")[0].cost.denoiser_rows == 48
    assert evaluator.rows == 2 * 48 + 20 + 48


def test_exact_values_need_no_storage() -> None:
    evaluator = exact()
    with scoring(evaluator) as scores:
        (found,) = scores.score([evaluator.setting(Linear(), 8)], "report")
        assert found.estimate.value == pytest.approx(1.0884, abs=1e-4)
        assert scores.state.made.finished() == {}


def test_each_score_is_kept_as_it_ends(tmp_path: Path) -> None:
    """Killed at the third of five settings: the two before it are not measured again."""
    measured: list[str] = []

    class Mortal(GivenFiller):
        life = 2

        def given(self, settings: Sequence[Setting], start: Any, seeds: Any) -> Unmasked:
            self.life -= 1
            if self.life < 0:
                raise Dead
            measured.extend(setting.label for setting in settings)
            return super().given(settings, start, seeds)

    evaluator = Given.by(noise, SIZES, filler=Mortal)
    settings = [evaluator.setting(Beta(a, 0.5), 4) for a in (0.2, 0.5, 1.0, 2.0, 5.0)]
    told: list[int] = []
    for life in (2, 5):
        evaluator.fill_with.life = life  # type: ignore[union-attr]
        try:
            with scoring(evaluator, open_storage(tmp_path / "study.journal")) as scores:
                found = scores.score(settings, "choose", lambda setting, place: told.append(place))
        except Dead:
            assert life == 2
    assert measured == [setting.label for setting in settings] and told == [0, 1, 2, 2, 3, 4]
    quiet = Given.by(noise, SIZES)
    assert all(same(each, quiet.measure_on(each.setting, quiet.split("choose"))) for each in found)
    assert [each.cost.denoiser_rows for each in found] == [48] * 5
