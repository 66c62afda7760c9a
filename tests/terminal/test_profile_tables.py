"""The tables of an information profile."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from mdm_tune.terminal.console import Screen
from mdm_tune.terminal.profile_tables import curve_table, left_behind


def priced(value: float, **more: Any) -> dict[str, Any]:
    found = {"nelbo": value, "ci": [value - 1.25, value + 1.5], "minus_linear": {"nelbo": -1.5, "ci": [-2.0, -1.0]}}
    energy = {"linear": 1.25, "squared-sine": None}
    return {"counts": [2, 6], "alphas": None, "block_length": 8, "energy": energy, **found, **more}


RANGE = {"linear_steps_range": [2, None], "gain_expected": True}


def profile_record(**changes: Any) -> dict[str, Any]:
    gap = {"nelbo": 0.25, "excess_ratio": 1.25, "measured": {"nelbo": 0.125, "ci": [-0.125, 0.5]}}
    schedules = {
        "linear": priced(100.0),
        "beta": priced(98.5, a=0.75, b=0.40123456),
        "optimum": priced(98.25, same_counts_as=None),
    }
    return {
        "other_block_lengths": [],
        "block_length": 64,
        "length": 64,
        "exact": False,
        "examples": 128,
        "revealed": list(range(0, 64, 2)),
        "content": None,
        "end_of_text": None,
        "cross_entropy": [3.0 - i / 16 for i in range(32)],
        "stderr": [0.01] * 32,
        "cross_entropy_ci": [[2.98 - i / 16, 3.02 - i / 16] for i in range(32)],
        "one_token_per_step": {"nelbo": 97.0, "ci": [96.0, 98.0]},
        "budgets": [{"steps": 2, **schedules, "gap": gap, "linear_steps_for_same_nelbo": 3, **RANGE}],
        "denoiser_rows": 1234,
        "seconds": 2.0,
        "files": {"run": "r", "profile": "p", "beta": "b.yaml", "optimum": "o.yaml"},
        **changes,
    }


def shown_profile(record: dict[str, Any]) -> str:
    screen, shown = Screen(quiet=False, as_json=False), io.StringIO()
    screen.err = Console(file=shown, width=80)
    screen.profile_result(record)
    return shown.getvalue()


def test_the_profile_tables_fit_into_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown_profile(profile_record())
    assert "…" not in text
    for line in ("best Beta: (0.75, 0.4012)    98.5 [97.2, 100.0]   -1.5 [-2.0, -1.0]", "64   one token per step"):
        assert line in text
    assert "information profile, 128 examples, 95 % intervals" in text
    assert re.search(r"any   linear +1\.2500 +infinite", text) and re.search(r"  2   optimum +1\.2500", text)
    assert capsys.readouterr().out == "counts = [2, 6]  # 2 steps, tokens to reveal at each\n"


def test_the_curve_is_shown_in_nine_points_with_both_ends() -> None:
    table = curve_table(profile_record(), "here")
    cells = [list(map(str, column.cells)) for column in table.columns]
    assert cells[0] == ["0", "8", "16", "24", "32", "38", "46", "54", "62"]
    assert cells[1][0] == "3.0000" and cells[2][0] == "[2.9800, 3.0200]"
    assert len(cells[3][0]) == 24 and len(cells[3][-1]) == round(24 * (3 - 31 / 16) / 3)
    exact = curve_table(profile_record(exact=True, cross_entropy=[0.0] * 32, cross_entropy_ci=None), "here")
    assert set(exact.columns[2].cells) == {""} and set(exact.columns[3].cells) == {""}  # no errors, and no bar of 0 / 0


def test_what_is_left_behind_is_said_in_one_sentence() -> None:
    (budget,) = profile_record()["budgets"]
    assert left_behind(budget) == (
        "2 steps: linear needs 3 steps [2, more than were tried] to be as good; on examples that chose neither the "
        "best Beta is 0.12 [-0.12, 0.50] nats above the optimum over all (25.0 % of its loss above one token per step)"
    )
    assert left_behind({**budget, "linear_steps_range": [2, 5]}).startswith(
        "2 steps: linear needs 3 steps [2, 5] to be"
    )
    exact = {"nelbo": 0.0, "excess_ratio": None, "measured": {"nelbo": 0.0, "ci": None}}
    nothing = {**budget, "gap": exact, "linear_steps_for_same_nelbo": None, "linear_steps_range": None}
    assert left_behind(nothing) == (
        "2 steps: linear needs more steps than were tried to be as good; the best Beta is 0 nats above the optimum "
        "over all"
    )
    assert "2 steps: no gain over linear here; on" in left_behind({**budget, "gain_expected": False})
    noise = {**budget["gap"], "nelbo": -0.12, "excess_ratio": 0.913}
    noise["measured"] = {"nelbo": -0.12, "ci": [-0.5, 0.12]}
    assert left_behind({**budget, "gap": noise}).endswith(
        "the best Beta is 0.12 [-0.12, 0.50] nats below the optimum over all, within the noise"
    )
    noise["measured"] = {"nelbo": -0.12, "ci": [-0.5, -0.02]}
    assert left_behind({**budget, "gap": noise}).endswith("0.12 [0.02, 0.50] nats below the optimum over all")
    noise["measured"] = {"nelbo": -0.12, "ci": None, "no_interval": "too few examples"}
    assert left_behind({**budget, "gap": noise}).endswith(
        "0.12 (too few examples) nats below the optimum over all, within the noise"
    )
    same = {**budget, "optimum": priced(98.25, same_counts_as="beta")}
    assert left_behind(same).endswith("and takes its place")


def test_bars_are_drawn_with_what_the_encoding_has() -> None:
    class Ascii(io.StringIO):
        encoding = "ascii"

    text = Ascii()
    Console(file=text, width=100).print(curve_table(profile_record(), "here"))
    text.getvalue().encode("ascii")
    assert "#" * 24 in text.getvalue()
