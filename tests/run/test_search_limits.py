"""What a search may take: rows of each phase, a timetable that keeps time to compare, limits that make sense."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.config.file import load_config
from mdm_tune.core.errors import InputError
from mdm_tune.core.statistics import Estimate
from mdm_tune.run.build import Run, build
from mdm_tune.run.search_limits import Timetable, phase_rows, pilot_rows
from mdm_tune.sampling.unmasking import Unmasked
from mdm_tune.search import tuning
from mdm_tune.search.budget import search_budget
from mdm_tune.search.outcomes import Ended, Ending
from mdm_tune.search.power import Detectable
from tests.support.helpers import resampled
from tests.support.searches import scoring, timed

SPLITS = {"tune": 32, "choose": 8, "report": 12}
SECTIONS: dict[str, Any] = {
    "model": {"type": "markov", "length": 16, "flip": 0.1},
    "dataset": {"type": "law", **SPLITS},
    "sampler": {"steps": [4, 8], "order": "margin"},
    "objective": {"metric": "path_nll"},
    "search": {"strategy": "qmc", "trials": 30, "finalists": 2, "baselines": ["linear"], "auto_stop": False},
}
COMPARING = {4: (3 * 8 + 2 * 12) * 4, 8: (3 * 8 + 2 * 12) * 8}  # rows of two finalists and linear, then two on report


def built(folder: Path, **sections: Any) -> Run:
    (folder / "c.yaml").write_text(yaml.safe_dump({**SECTIONS, **sections}), encoding="utf-8")
    return build(load_config(folder / "c.yaml", output=str(folder / "run")))


PILOT = Detectable(
    steps=4, gain=0.1, limit=0.05, linear=1.0, difference=Estimate(0.0, None), report=12, claims=2
)  # the first event of a budget


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_rows_of_a_phase_are_counted_beforehand(tmp_path: Path) -> None:
    run = built(tmp_path)
    assert phase_rows(run, "tune", 5, (4, 8)) == 5 * 32 * 12
    assert phase_rows(run, "choose", 3, (8,)) == 3 * 8 * 8
    assert phase_rows(run, "report", 2, (4, 8)) == 2 * 12 * 12  # nothing is drawn, so that there is no reference
    assert pilot_rows(run, (4, 8)) == 2 * 32 * 12
    small = built(tmp_path, dataset={**SECTIONS["dataset"], "tune": 20})
    assert pilot_rows(small, (8,)) == 2 * 20 * 8
    large = built(tmp_path, dataset={**SECTIONS["dataset"], "tune": 100})
    assert pilot_rows(large, (8,)) == 2 * 32 * 8
    exact = built(tmp_path, dataset=None, objective={"metric": "order_kl"}, sampler={"steps": [4]})
    assert phase_rows(exact, "report", 2, (4,)) == pilot_rows(exact, (4,)) == 0
    text = build(
        load_config(
            Path(__file__).parents[2] / "configs" / "text.yaml",
            ["sampler.steps=[4, 32]", "dataset.report=9", "dataset.tune=8", "dataset.choose=8"],
        )
    )
    assert phase_rows(text, "report", 2, (4,)) == 2 * 9 * 4 + 9 * 64  # 4 x 32 steps are more than there are tokens


def test_time_is_kept_for_the_comparisons_of_this_budget_and_those_to_come(tmp_path: Path) -> None:
    """A call takes a hundredth of a second; the budgets share what is left over."""
    clock, run = Clock(), built(tmp_path)
    table = Timetable(run, 100.0, clock)
    run.evaluator.pace.add(200.0, 2.0)
    for now, place, budgets in ((1000.0, 0, (4, 8)), (1060.0, 1, (8,))):
        clock.now = now
        in_time = table.trials_of(place)
        assert in_time is not None
        share = (1100.0 - now - sum(COMPARING[steps] for steps in budgets) / 100) / len(budgets)
        clock.now = now + share - 2.0 - 1e-6
        assert in_time(200.0, 0.0) and in_time(100.0, 1.0) and in_time(0.0, 2.0)
        clock.now = now + share - 2.0 + 1e-6
        assert not in_time(200.0, 0.0) and not in_time(100.0, 1.0) and not in_time(0.0, 2.0)


def test_time_is_kept_at_the_speed_of_the_latest_work_or_of_all_whichever_is_slower(tmp_path: Path) -> None:
    clock, run = Clock(), built(tmp_path)
    in_time = Timetable(run, 100.0, clock).trials_of(0)
    assert in_time is not None
    compared = COMPARING[4] + COMPARING[8]
    told: list[tuple[float, float]] = []
    for calls, seconds, pieces in ((100.0, 1.0, 20), (100.0, 3.0, 8), (100.0, 0.5, 8)):
        for _ in range(pieces):
            run.evaluator.pace.add(calls, seconds)
            told.append((calls, seconds))
        latest, all_so_far = (sum(s for _, s in part) / sum(c for c, _ in part) for part in (told[-8:], told))
        share = (100.0 - compared * max(latest, all_so_far)) / 2
        clock.now = 1000.0 + share - 1e-6
        assert in_time(0.0, 0.0)
        clock.now = 1000.0 + share + 1e-6
        assert not in_time(0.0, 0.0)


def test_without_a_timeout_there_is_always_time(tmp_path: Path) -> None:
    clock = Clock()
    table = Timetable(built(tmp_path), None, clock)
    clock.now = 1e12
    assert table.trials_of(0) is None and table.warning(0, PILOT) is None and table.late is None


def test_loading_counts(tmp_path: Path) -> None:
    clock, run = Clock(), built(tmp_path)
    table = Timetable(run, 100.0, clock, began=950.0)
    in_time = table.trials_of(0)
    assert in_time is not None and table.late is None
    clock.now = 1025.0  # half of the 50 seconds that loading left
    assert in_time(0.0, 0.0)
    clock.now = 1025.1
    assert not in_time(0.0, 0.0)
    clock.now = 1060.0
    assert table.late == 10.0


def test_a_comparison_that_cannot_end_in_time_is_said_once(tmp_path: Path) -> None:
    clock, run = Clock(), built(tmp_path)
    compared = (COMPARING[4] + COMPARING[8]) / 100
    table = Timetable(run, compared / 0.99, clock)
    run.evaluator.pace.add(100.0, 1.0)
    assert table.warning(0, PILOT) is None
    clock.now += 0.02 * compared  # later by less than what is worth a word
    assert table.warning(0, PILOT) is None
    clock.now += 0.5 * compared
    said = table.warning(0, PILOT)
    assert said is not None and f"about {0.51 * compared:.0f} s late" in said and f"about {compared:.0f} at" in said
    assert table.warning(0, PILOT) is None


SPEEDS: dict[str, Callable[[float], float]] = {  # seconds of a row, by the seconds since the start
    "steady": lambda now: 1.0,
    "slower": lambda now: 1.0 + now / 20_000,
    "jumping": lambda now: 1.0 + (now % 3000 > 1500),
}


def spent(
    folder: Path, timeout: float | None, patch: pytest.MonkeyPatch, speed: str, **search: Any
) -> tuple[float, list[Any], list[str]]:
    """The seconds of a search with this speed, its budgets, and what it said of the time."""
    run, clock, said = built(folder, search={**SECTIONS["search"], **search}), Clock(), list[str]()

    def take(result: Unmasked) -> None:
        clock.now += float(result.nfe.sum()) * SPEEDS[speed](clock.now - 1000.0)

    evaluator = replace(run.evaluator, sampler=resampled(run.evaluator.sampler, batch=8))
    run = replace(run, evaluator=timed(evaluator, take, clock))
    patch.setattr(tuning, "time", SimpleNamespace(monotonic=clock))
    table = Timetable(run, timeout, clock)
    budgets = []
    with scoring(run.evaluator) as scores:
        for place, steps in enumerate((4, 8)):

            def tell(event: object, place: int = place) -> None:
                if (text := table.warning(place, event)) is not None:
                    said.append(text)

            in_time = partial(table.trials_of, place)
            found = search_budget(
                scores, steps, run.config.search, tell, seed=run.config.seed, budgets=(4, 8), in_time=in_time
            )
            budgets.append(found)
    return clock.now - 1000.0, budgets, said


@pytest.mark.parametrize(
    ("speed", "search"),
    [*((speed, {}) for speed in SPEEDS), ("steady", {"together": 1}), ("steady", {"racing": False})],
)
def test_a_search_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speed: str, search: dict[str, Any]
) -> None:
    """To the second where the speed is steady; else within what the comparisons take longer than they seemed to."""
    whole, budgets, _ = spent(tmp_path, None, monkeypatch, speed, **search)
    assert [budget.trials for budget in budgets] == [30, 30]
    least, _, said = spent(tmp_path, 1e-9, monkeypatch, speed, **search)  # linear is scored, and the comparison made
    assert len(said) == 1
    counts = []
    for part in (0.1, 0.6):
        timeout = least + part * (whole - least)
        seconds, budgets, said = spent(tmp_path, timeout, monkeypatch, speed, **search)
        assert seconds <= timeout * {"steady": 1.0, "slower": 1.05, "jumping": 1.1}[speed]
        if speed == "steady":
            assert not said
        assert all(budget.ended == Ended.of(Ending.TIME) for budget in budgets if budget.trials < 30)
        counts.append(sum(budget.trials for budget in budgets))
    assert counts == sorted(counts) and counts[-1] > 10


LIMITS = [
    *(("rows", value) for value in ("0", "-1", "1.5", "many")),
    *(("timeout", value) for value in ("0", "-5", ".inf", ".nan", "soon")),
    *(("together", value) for value in ("0", "65", "-1")),
    *(("trials", value) for value in ("0", "-1")),
    *(("diversity_loss", value) for value in ("0", "1", "-0.1")),
    *(("margin", value) for value in ("-0.01", "1")),
    *(("name", value) for value in ("a/b", "''", "a b")),
    *(("racing", value) for value in ("1", "maybe")),
    ("auto_stop", "2"),
    ("storage", "study.db"),
]


@pytest.mark.parametrize(("key", "value"), LIMITS)
def test_limits_that_make_no_sense_are_refused(tmp_path: Path, key: str, value: str) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SECTIONS), encoding="utf-8")
    command = ["search", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run"), "--set", f"search.{key}={value}"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and result.stdout == ""
    assert f"search.{key}: must be" in result.stderr and "; " in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=rf"search\.{key}: must be"):
        load_config(tmp_path / "c.yaml", [f"search.{key}={value}"])


def test_rows_and_seconds_end_a_search_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SECTIONS), encoding="utf-8")
    command = ["search", str(tmp_path / "c.yaml"), "--json", "--quiet", "--set", "sampler.steps=[4]"]
    for name, limit, why in (
        ("rows", "search.rows=300", "the 300 denoiser rows for trials are used up"),
        ("time", "search.timeout=0.001", "the time for trials is used up"),
    ):
        result = CliRunner().invoke(app, [*command, "--output", str(tmp_path / name), "--set", limit])
        assert result.exit_code == 0, result.output
        (budget,) = json.loads(result.stdout)["budgets"]
        assert budget["ended"] == why and 1 <= budget["trials"] < 30
        assert (json.loads(result.stdout)["seconds_late"] is None) == (name == "rows")
        assert budget["value"] is not None and not budget["all_reachable_counts_scored"]
