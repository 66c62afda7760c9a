"""The tables of an information profile."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from mdm_tune.core.statistics import Estimate
from mdm_tune.evaluation.scores import Cost
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.prices import Priced, PricedBudget
from mdm_tune.run.profile_records import LeastEnergies, ProfileRecord, ProfileResult
from mdm_tune.schedules.curves import Beta, Counts, Linear, Schedule
from mdm_tune.terminal.console import Screen
from mdm_tune.terminal.profile_tables import curve_table, left_behind


def priced(value: float, schedule: Schedule, counts: tuple[int, ...] = (2, 6)) -> Priced:
    return Priced(
        schedule=schedule,
        setting=Setting(schedule.name, len(counts), 8, counts=counts),
        nelbo=Estimate(value, (value - 1.25, value + 1.5), 128),
        minus_linear=Estimate(-1.5, (-2.0, -1.0), 128),
        between=0.0,
        prices=np.full(128, value),
        energies={"linear": 1.25, "squared-sine": math.inf},
    )


def priced_budget(**changes: Any) -> PricedBudget:
    schedules = {
        "linear": priced(100.0, Linear()),
        "beta": priced(98.5, Beta(0.75, 0.40123456)),
        "optimum": priced(98.25, Counts((3, 5)), (3, 5)),
    }
    budget = PricedBudget(
        steps=2,
        schedules=schedules,
        free=schedules["optimum"].setting,
        gap=Estimate(0.125, (-0.125, 0.5), 128),
        excess_ratio=1.25,
        gap_on_curve=0.25,
        linear_steps=3,
        linear_range=(2, None),
        shared=None,
    )
    return replace(budget, **changes)


def profile_record(**changes: Any) -> ProfileRecord:
    record = ProfileRecord(
        length=64,
        block_length=64,
        exact=False,
        examples=128,
        revealed=tuple(range(0, 64, 2)),
        cross_entropy=tuple(3.0 - i / 16 for i in range(32)),
        stderr=(0.01,) * 32,
        cross_entropy_ci=tuple((2.98 - i / 16, 3.02 - i / 16) for i in range(32)),
        cross_entropy_no_interval=None,
        content=None,
        end_of_text=None,
        one_token_per_step=Estimate(97.0, (96.0, 98.0), 128),
        held_out=True,
        budgets=(priced_budget(),),
        optimum_nelbo=None,
        worse_than_uniform=None,
        rises=(),
        precision=None,
        energies=LeastEnergies.of(2, 64),
        reused=False,
        measured=Cost(1234, 1234, 2.0),
        cost=Cost(1234, 1234, 2.0),
    )
    return replace(record, **changes)


def shown_profile(record: ProfileRecord) -> str:
    screen, shown = Screen(quiet=False, as_json=False), io.StringIO()
    screen.err = Console(file=shown, width=80)
    screen.profile_result(
        ProfileResult(
            profiles=(record,),
            cost=record.cost,
            notes=(),
            warnings=(),
            prices_the_sampler=True,
            files={"run": "r", "profile": "p", "beta": "b.yaml", "optimum": "o.yaml"},
        )
    )
    return shown.getvalue()


def test_the_profile_tables_fit_into_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown_profile(profile_record())
    assert "…" not in text
    for line in ("best Beta: (0.75, 0.4012)    98.5 [97.2, 100.0]   -1.5 [-2.0, -1.0]", "64   one token per step"):
        assert line in text
    assert text.startswith("\ninformation profile, 128 examples, 95 % intervals")
    assert "\n\nenergy, in multiples of the least" in text
    assert re.search(r"any   linear +1\.2500 +infinite", text) and re.search(r"  2   optimum +1\.2500", text)
    assert capsys.readouterr().out == "counts = [2, 6]  # 2 steps, tokens to reveal at each\n"


def test_the_curve_is_shown_in_nine_points_with_both_ends() -> None:
    table = curve_table(profile_record(), "here")
    cells = [list(map(str, column.cells)) for column in table.columns]
    assert cells[0] == ["0", "8", "16", "24", "32", "38", "46", "54", "62"]
    assert cells[1][0] == "3.0000" and cells[2][0] == "[2.9800, 3.0200]"
    assert len(cells[3][0]) == 24 and len(cells[3][-1]) == round(24 * (3 - 31 / 16) / 3)
    exact = curve_table(profile_record(exact=True, cross_entropy=(0.0,) * 32, cross_entropy_ci=None), "here")
    headings = [str(column.header) for column in exact.columns]
    assert headings == ["tokens visible", "nats per token", ""]  # no intervals
    assert set(exact.columns[2].cells) == {""}  # no bar of 0 / 0


def test_what_is_left_behind_is_said_in_one_sentence() -> None:
    budget = priced_budget()
    assert left_behind(budget) == (
        "2 steps: linear needs 3 steps [2, more than were tried] to be as good; on examples that chose neither the "
        "best Beta is 0.12 [-0.12, 0.50] nats above the optimum over all schedules (25.0 % of its loss above one "
        "token per step)"
    )
    assert left_behind(priced_budget(linear_range=(2, 5))).startswith("2 steps: linear needs 3 steps [2, 5] to be")
    exact = {"gap": Estimate(0.0, None), "excess_ratio": None}
    assert left_behind(priced_budget(**exact, linear_steps=None, linear_range=None)) == (
        "2 steps: linear needs more steps than were tried to be as good; the best Beta is 0 nats above the optimum "
        "over all schedules"
    )
    unsure = replace(budget.beta, minus_linear=Estimate(-0.5, (-2.0, 1.0), 128))
    assert "2 steps: no gain over linear here; on" in left_behind(
        priced_budget(schedules={**budget.schedules, "beta": unsure})
    )
    noise = Estimate(-0.12, (-0.5, 0.12), 128)
    assert left_behind(priced_budget(gap=noise, excess_ratio=0.913)).endswith(
        "the best Beta is 0.12 [-0.12, 0.50] nats below the optimum over all schedules, within the noise"
    )
    clear = Estimate(-0.12, (-0.5, -0.02), 128)
    assert left_behind(priced_budget(gap=clear)).endswith("0.12 [0.02, 0.50] nats below the optimum over all schedules")
    assert left_behind(priced_budget(gap=Estimate(-0.12, None, 9))).endswith(
        "0.12 (too few examples) nats below the optimum over all schedules, within the noise"
    )
    same = priced_budget(schedules={**budget.schedules, "optimum": priced(98.25, Counts((2, 6)))})
    assert left_behind(same).endswith("and takes its place")


def test_bars_are_drawn_with_what_the_encoding_has() -> None:
    class Ascii(io.StringIO):
        encoding = "ascii"

    text = Ascii()
    Console(file=text, width=100).print(curve_table(profile_record(), "here"))
    text.getvalue().encode("ascii")
    assert "#" * 24 in text.getvalue()
