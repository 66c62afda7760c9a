"""The lines of events: numbers stand below each other, nothing is wider than the terminal, logs have it all."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from mdm_tune.commands.events import BudgetStarted, Note, Progress, SettingScored
from mdm_tune.core.statistics import Estimate
from mdm_tune.core.types import better_of
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.events import Comparison, ReferenceStarted, StudyStarted, TrialDone
from mdm_tune.terminal.event_lines import EventLines, about, progress_parts
from mdm_tune.terminal.layout import fitted

SETTING = Setting("beta:0.3,2", 4, 16, counts=(1, 3, 5, 7))


def trial(number: int, value: float, *, a: float = 0.31234, dropped: int | None = None, **more: bool) -> TrialDone:
    values = {"value": value, "best": max(value, 0.5)}
    policy = Beta(a, 10.0)
    return TrialDone(
        number=number,
        trials=100,
        policy=policy,
        setting=SETTING,
        fresh=more.pop("fresh", True),
        dropped=dropped,
        **values,
        **more,
    )


def shown(events: Sequence[object], width: int = 80, level: str = "INFO") -> list[str]:
    lines = EventLines()
    return [text for event in events for kind, text in lines.of(event, width) if kind == level]  # type: ignore[arg-type]


TRIALS = [trial(0, 0.51234567), trial(1, 0.4, a=10.0), trial(99, -0.123456, dropped=128), trial(7, 12.5, fresh=False)]


def test_a_trial_is_one_line_with_numbers_below_each_other() -> None:
    assert shown([BudgetStarted(4), *TRIALS])[1:] == [
        "  trial   1/100  a  0.3123  b 10.0000  0.51235  best 0.51235",
        "  trial   2/100  a 10.0000  b 10.0000  0.40000  best 0.50000",
        "  trial 100/100  a  0.3123  b 10.0000  -0.12346  best 0.50000  dropped after 128",
        "  trial   8/100  a  0.3123  b 10.0000  12.50000  best 12.50000  scored before",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_no_trial_is_wider_than_the_terminal_or_cuts_a_number(width: int) -> None:
    whole = shown(TRIALS, 1000)
    for line, full in zip(shown(TRIALS, width), whole, strict=True):
        assert len(line) <= width
        if width >= 40:  # what does not fit is left out as a whole: the best, the note, b, a
            assert set(re.findall(r"\S+", line)) <= set(re.findall(r"\S+", full))
            assert re.search(r"/100 .*\d\.\d{5}\b", line)


@pytest.mark.parametrize(
    ("value", "text"), [(123.456789, "123.46"), (0.00012345678, "0.00012346"), (0.0, "0.00000"), (54321.6, "54322")]
)
def test_values_have_five_digits(value: float, text: str) -> None:
    (line,) = shown([trial(0, value)])
    assert f"  {text}  best" in line


def test_details_say_counts_and_why_a_trial_was_dropped() -> None:
    assert shown([trial(3, 0.1, dropped=8)], level="DEBUG") == [
        "    counts [1, 3, 5, 7]",
        "    not scored beyond 8 examples: it has less than a 5 % chance to win; the value is an estimate",
    ]
    assert "rows or time ran out" in shown([trial(3, 0.1, dropped=1, cut=True)], level="DEBUG")[1]
    assert "cut after 1" in shown([trial(3, 0.1, dropped=1, cut=True)])[0]


def test_comparisons_and_notes_have_a_line() -> None:
    assert shown([Comparison(use="choose", setting=SETTING, done=0, total=3), ReferenceStarted(SETTING, 12)]) == [
        "  choose  1/3  beta:0.3,2",
        "  report       linear at 4 steps, 12 examples, for diversity",
    ]
    assert shown([Note("x", "code", "do y")], level="WARNING") == ["  note: x; do y"]
    assert shown([Note("x")]) == ["  note: x"]


def scored(setting: Setting, value: float, done: int, nfe: float = 8.0) -> SettingScored:
    return SettingScored(Scores(setting=setting, estimate=Estimate(value, None), nfe=nfe, cost=Cost()), done, 4)


def test_a_plan_of_its_own_value_is_told_once_and_each_best_with_its_budget() -> None:
    plan = Setting("threshold:0.9", 4, 16, adaptive=parse_adaptive("threshold:0.9"))
    linear = Setting("linear", 4, 16, counts=(4, 4, 4, 4))
    events = [scored(plan, 0.75, 1, 9.25), scored(linear, 0.5, 2), scored(replace(plan, steps=8), 0.75, 3, 9.25)]
    wanted = [
        "  1/4  threshold:0.9 at 4 steps: 0.75000, 9.25 calls",
        "  2/4  linear at 4 steps: 0.50000",
        "  3/4  threshold:0.9 at 8 steps: as at 4 steps",
    ]
    assert shown(events) == wanted
    lines, bests = EventLines(), []
    for event in events:
        assert [*lines.of(event, 80)] == [*lines.of(event, 10_000)]  # a log gets the same
        bests.append(lines.best)
    assert bests == ["0.75 (threshold:0.9, 4 steps)"] * 2 + ["0.75 (threshold:0.9, 8 steps)"]
    line = fitted(
        ("0:22", *progress_parts(Progress("scoring 2 of 6, 4 steps", 0.5, 9.0), "0.63 (linear, 4 steps)")), 79
    )
    assert line.endswith("a few seconds left  best 0.63 (linear, 4 steps)")  # a terminal of 80 columns has room for it


def test_one_label_with_other_counts_is_told_at_each_budget() -> None:
    settings = [Setting("linear", steps, 16, counts=(16 // steps,) * steps) for steps in (4, 8)]
    assert shown([scored(each, 0.5, place) for place, each in enumerate(settings, 1)]) == [
        "  1/4  linear at 4 steps: 0.50000",
        "  2/4  linear at 8 steps: 0.50000",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "a few seconds left"),
        (14.9, "a few seconds left"),
        (16, "about 20 s left"),
        (54, "about 50 s left"),
        (56, "about 1 min left"),
        (130, "about 2 min left"),
        (13 * 60, "about 15 min left"),
        (58 * 60, "about 1 h left"),
        (80 * 60, "about 1 h 20 min left"),
        (26 * 3600 + 1000, "about 26 h left"),
    ],
)
def test_the_time_left_is_in_round_numbers(seconds: float, text: str) -> None:
    assert about(seconds) == text


def test_what_is_not_known_is_not_shown() -> None:
    assert progress_parts(Progress("pilot", None, None), "") == ["pilot"]
    assert progress_parts(Progress("pilot", 0.254, 130.0), "", 100.0)[1] == "about 30 s left"
    assert progress_parts(Progress("pilot", 0.254, 130.0), "", 200.0)[1] == "a few seconds left"
    parts = progress_parts(Progress("pilot", 0.254, 130.0), "0.5")
    assert parts == ["pilot", "about 2 min left", "best 0.5", "25 % done"]


def test_a_limit_is_said_as_one() -> None:
    assert progress_parts(Progress("trials", 0.254, 130.0, at_most=True), "")[1] == "at most 2 min left"
    assert about(5, at_most=True) == "at most a few seconds left"
    line = fitted(
        ["1:04", *progress_parts(Progress("16 steps: trial 8-11 of 20", 0.43, 130, at_most=True), "0.77971")], 79
    )
    assert line.endswith("at most 2 min left  best 0.77971  43 % done")  # all of it on a line of 80 columns


@pytest.mark.parametrize(("direction", "bests", "best"), [("maximize", (1.0, 0.7), 1.0), ("minimize", (1.0, 0.7), 0.7)])
def test_the_best_of_a_budget_is_that_over_all_kinds_of_policies(direction: Any, bests: Any, best: float) -> None:
    """Each kind has trials of its own, and its own best in their lines."""
    lines = EventLines()
    lines.direction = direction
    rows = []
    for value in bests:
        event = replace(trial(0, value), best=value)
        rows += [text for _, text in lines.of(StudyStarted(None, "klass"), 80)]
        rows += [text for level, text in lines.of(event, 80) if level == "INFO"]
    assert [float(row.split("best ")[1]) for row in rows if "best" in row] == [1.0, 0.7]
    assert float(lines.best) == best
    assert [*lines.of(BudgetStarted(8), 80)] and lines.best == ""
    assert [*lines.of(replace(trial(0, math.inf), best=math.inf), 80)] and lines.best == ""


def test_the_better_value_is_the_larger_or_the_smaller_one() -> None:
    assert better_of(0.2, None, "maximize") == better_of(0.2, 0.1, "maximize") == better_of(0.2, 0.3, "minimize") == 0.2
