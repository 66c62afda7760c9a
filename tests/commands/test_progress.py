"""How far a command is: rows are counted, and the estimate is what is expected at the speed so far.

Covers: progress, search_plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mdm_tune.commands import progress
from mdm_tune.commands.evaluate import evaluate
from mdm_tune.commands.events import BudgetsListed, BudgetStarted, Progress, RunEvent, SettingScored
from mdm_tune.commands.profile import _stages
from mdm_tune.commands.progress import ENDING, PROPOSALS, RECENT, Following, Stage, Stages, proposal_weight
from mdm_tune.commands.sample import sample
from mdm_tune.commands.search import search
from mdm_tune.commands.search_plan import SearchPlan
from mdm_tune.config.file import Config
from mdm_tune.core.permissions import Permissions
from mdm_tune.run.build import build
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.events import Comparison, StudyStarted, TrialDone, TrialsProposed
from tests.support.configs import load, whole

TEXT: dict[str, Any] = {
    "model": {"type": "transformer", "path": "package:text"},
    "dataset": {"type": "text", "path": "package:text", "tune": 32, "choose": 8, "report": 12},
    "sampler": {"order": "confidence", "steps": [2, 3], "counts": "one-per-step", "batch": 8},
    "objective": {"metric": "spelling"},
    "search": {"strategy": "qmc", "trials": 8, "together": 2, "finalists": 2, "auto_stop": False},
    "profile": {"examples": 8, "points": 24},
}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that goes on only by what is added to it."""
    seconds = [0.0]
    monkeypatch.setattr(progress, "now", lambda: seconds[0])

    def add(more: float) -> None:
        seconds[0] += more

    return add


def text_config(folder: Path) -> Config:
    return load(folder, TEXT, output=str(folder / "run"))


def followed(
    monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None], command: Callable[..., Any], *arguments: Any
) -> tuple[Any, list[tuple[float, Progress]]]:
    """The result of a command in which each denoiser row takes one second, and the estimates with their times."""
    count, told = Following.count, list[tuple[float, Progress]]()

    def slow(self: Following, rows: int) -> None:
        clock(rows)
        count(self, rows)

    def notify(event: RunEvent) -> None:
        if isinstance(event, Progress):
            told.append((progress.now(), event))

    monkeypatch.setattr(Following, "count", slow)
    return command(*arguments, notify=notify), told


def errors(told: list[tuple[float, Progress]], least: float = 0.25, most: float = 0.9) -> Iterator[float]:
    """The relative errors of the estimates between two shares of the way."""
    end = progress.now()
    for at, event in told:
        if least * end <= at <= most * end:
            assert event.seconds_left is not None
            yield event.seconds_left / (end - at) - 1


def test_the_time_left_is_what_is_expected_at_the_speed_so_far(tmp_path: Path, clock: Callable[[float], None]) -> None:
    told: list[RunEvent] = []
    following = Following(told.append)
    following(SettingScored.__new__(SettingScored))  # before the work is planned, events are only passed on
    assert len(told) == 1
    run = following.begin(Stages([Stage("first", 10), Stage("second", 30)]), build(load(tmp_path, whole())))
    assert told[-1] == Progress("first", None, None)
    clock(0.5)
    following.count(2)
    assert told[-1] == Progress("first", None, None)  # half a second is no basis
    clock(3.5)
    following.count(2)
    kept = math.exp(-3.5 / RECENT)  # recent rows count more
    row = (kept * 0.5 + 3.5) / (kept * 2 + 2)
    left = 36 * row + ENDING
    assert told[-1] == Progress("first", pytest.approx(4 / (4 + left)), pytest.approx(left))
    following.foresee(10)  # the stage itself knows better
    assert following.seconds_left == pytest.approx(40 * row + ENDING)
    following.stage()  # what is left of a stage that has ended does not count
    left = 30 * row + ENDING
    assert told[-1] == Progress("second", pytest.approx(4 / (4 + left)), pytest.approx(left))
    assert following.begin(Stages([Stage("again")]), run) is run  # its rows are counted already


def test_proposals_have_a_speed_of_their_own_and_unmeasured_rows_that_of_the_others(
    clock: Callable[[float], None],
) -> None:
    class Fixed(Stages):
        kind = "trials"

        def left(self) -> dict[str, float]:
            return {"trials": 10, "comparison": 5, PROPOSALS: 4}

    following = Following(lambda event: None)
    following.plan = Fixed([Stage("all")])
    clock(6.0)
    following.count(3)
    assert following.seconds_left == pytest.approx(15 * 2 + 4 * 0.1 + ENDING)
    clock(8.0)
    following(TrialsProposed(first=4, count=1, trials=9, given=False))
    assert following.seconds_left == pytest.approx(15 * 2 + 4 * 8 / proposal_weight(4) + ENDING)
    clock(100.0)
    following(TrialsProposed(first=5, count=1, trials=9, given=True))  # no proposal of a sampler
    assert following.seconds_left == pytest.approx(15 * 2 + 4 * 8 / proposal_weight(4) + ENDING)


def test_evaluate_knows_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None]
) -> None:
    command: Any = lambda *given, **more: evaluate(*given, differences=False, **more)  # noqa: E731
    names = ["linear", "sine", "squared-sine"]
    result, told = followed(monkeypatch, clock, command, text_config(tmp_path), names, [2, 4])
    assert progress.now() == result.cost.denoiser_rows  # every row was counted
    assert max(map(abs, errors(told))) < 0.1  # no step reveals so few tokens that rows are equal after it
    assert told[-1][1].doing == "scoring 6 of 6, 4 steps"


def test_a_search_follows_what_its_races_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None]
) -> None:
    command: Any = lambda *given, **more: search(*given, resume=False, overwrite=False, **more)  # noqa: E731
    result, told = followed(monkeypatch, clock, command, text_config(tmp_path))
    assert progress.now() == result.cost.denoiser_rows
    assert [event.seconds_left for _, event in told[:3]] == [None] * 3  # no trial has shown yet how long rows take
    assert not any(event.at_most for _, event in told)
    assert max(map(abs, errors(told))) < 0.4  # how many of so few trials are dropped depends on the machine's rounding
    doing = list(dict.fromkeys(event.doing for _, event in told))
    assert doing[:4] == ["beginning", "2 steps: pilot", "2 steps: trial 1 of 8", "2 steps: trial 2-3 of 8"]
    assert "2 steps: linear at 12 steps, for diversity" in doing
    for steps in (2, 3):  # the last schedule is counted, whether a baseline wins, which needs no more, or a finalist
        place, total = [text.split(", ")[1] for text in doing if f"{steps} steps: report" in text][-1].split(" of ")
        assert place == total


def test_trials_that_may_end_early_make_the_time_a_limit(tmp_path: Path) -> None:
    """Ten trials at least are run before a search may end by itself, so that with ten or fewer nothing is left out."""

    def plan(**search: Any) -> SearchPlan:
        sections = TEXT | {"search": TEXT["search"] | search}
        made = SearchPlan(build(load(tmp_path, sections, output=str(tmp_path / "run"))))
        made.follow(BudgetStarted(2))
        return made

    assert not plan(auto_stop=True, trials=10).at_most and plan(auto_stop=True, trials=11).at_most
    assert not plan(trials=11).at_most
    assert plan(rows=100).at_most and plan(timeout=100.0).at_most
    last = plan(auto_stop=True, trials=11)
    last.follow(BudgetStarted(3))
    assert last.at_most
    setting = last.run.evaluator.setting(Beta(1.0, 1.0), 3)
    last.follow(Comparison(use="choose", setting=setting, done=0, total=4))
    assert not last.at_most  # the trials of the last budget are over


def done(plan: SearchPlan, number: int) -> TrialDone:
    """The end of a trial at two steps."""
    setting = plan.run.evaluator.setting(Beta(1.0, 1.0), 2)
    return TrialDone(
        number=number, trials=3, policy=Beta(1.0, 1.0), setting=setting, value=1.0, best=1.0, fresh=True, dropped=None
    )


def test_a_trial_of_an_adaptive_policy_takes_the_rows_of_the_search_for_its_value(tmp_path: Path) -> None:
    """On 32 examples that search takes at most 6 times the rows of scoring a schedule, and the scores twice as many."""
    more = {"policies": ["counts", "threshold"], "frontier": True}
    sections = TEXT | {"search": TEXT["search"] | more}
    plan = SearchPlan(build(load(tmp_path, sections, output=str(tmp_path / "run"))))
    first, later = (plan.rows("tune", steps) for steps in (2, 3))
    plan.follow(BudgetStarted(2))
    counts, looking = 0.5 * 6, 0.8 * 8  # races of seven schedules without linear, and a threshold
    assert plan.left()["trials"] == pytest.approx((2 + counts + looking) * (first + later))
    plan.follow(StudyStarted(None, "threshold"))
    plan.follow(TrialsProposed(first=0, count=1, trials=1, given=True))
    assert plan.doing == "2 steps, threshold: trial 1 of 1"
    assert plan.left()["trials"] == pytest.approx(looking * first + (2 + counts + looking) * later)  # no more counts
    plan.count(5 * round(first))
    plan.follow(done(plan, 0))
    looking = (5 * round(first) / first + 8 * looking) / 9
    assert plan.left()["trials"] == pytest.approx((2 + counts + looking) * later)
    with_frontier = plan.left()["comparison"]
    plan.frontier_begun = True
    assert with_frontier - plan.left()["comparison"] == 12 * 64  # one token per step, on twelve examples
    plan.follow(Comparison(use="report", setting=replace(done(plan, 0).setting, steps=64), done=0, total=1))
    assert plan.doing == "scoring one token per step"


def test_the_first_trial_of_a_kind_of_adaptive_policy_says_nothing_of_the_others(tmp_path: Path) -> None:
    """It has no value to begin with and no other to race against, so that it takes more rows: 0.8 of 8, and 0.4.

    Each guess counts as eight trials. A trial that takes more than its usual most counts as if it took 8.
    """
    sections = TEXT | {"search": TEXT["search"] | {"policies": ["threshold", "quota"], "trials": 4}}
    plan = SearchPlan(build(load(tmp_path, sections, output=str(tmp_path / "run"))))
    full, more = (plan.rows("tune", steps) for steps in (2, 3))
    plan.follow(BudgetStarted(2))
    plan.follow(StudyStarted(None, "threshold"))
    plan.follow(TrialsProposed(first=0, count=1, trials=1, given=True))
    first, later = 0.8 * 8, 0.4 * 8
    assert plan.left()["trials"] == pytest.approx((2 * first + 2 * later) * full + (2 + 2 * first + 2 * later) * more)
    plan.count(round(9 * full))
    plan.follow(done(plan, 0))
    plan.follow(StudyStarted(None, "quota"))
    first = (8 + 8 * first) / 9
    assert plan.left()["trials"] == pytest.approx((first + 2 * later) * full + (2 + 2 * first + 2 * later) * more)
    plan.follow(TrialsProposed(first=0, count=1, trials=3, given=True))
    plan.follow(done(plan, 0))  # its rows are known from before
    first *= 9 / 10
    plan.follow(TrialsProposed(first=1, count=2, trials=3, given=True))
    plan.count(round(3 * full))
    following = (2 + 2 * first + 2 * later) * more
    assert plan.left()["trials"] == pytest.approx(2 * later * full - round(3 * full) + following)
    plan.follow(done(plan, 1))
    later = (round(3 * full) / full + 8 * later) / 10
    assert plan.left()["trials"] == pytest.approx((2 + 2 * first + 2 * later) * more)


def test_the_time_of_a_proposal_grows_with_the_square_of_the_trials(tmp_path: Path) -> None:
    """It is twice as long after 120. For all proposals from trial 10 to 60 it is the integral of 1 + (n / 120)^2."""
    assert proposal_weight(0) == 1 and proposal_weight(120) == 2
    plan = SearchPlan(build(load(tmp_path, whole(), output=str(tmp_path / "run"))))
    assert plan._proposed(50, 10, 0) == pytest.approx(50 + (60**3 - 10**3) / (3 * 120**2))


def test_the_page_takes_longer_for_more_budgets_and_trials(tmp_path: Path, clock: Callable[[float], None]) -> None:
    """0.15 seconds, 0.05 more for each of two budgets, and 0.0002 for each of their eight trials."""
    plan = SearchPlan(build(text_config(tmp_path)))
    assert plan.ending == pytest.approx(0.15 + 2 * 0.05 + 16 * 0.0002)

    class Late(Stages):
        ending = plan.ending

    following = Following(lambda event: None)
    following.plan = Late([Stage("all", 5)])
    clock(4.0)
    following.count(2)
    assert following.seconds_left == pytest.approx(3 * 2 + plan.ending)


def test_trials_of_one_schedule_for_all_budgets_are_counted_once(tmp_path: Path) -> None:
    sections = TEXT | {"search": TEXT["search"] | {"shared": True}}
    plan = SearchPlan(build(load(tmp_path, sections, output=str(tmp_path / "run"))))
    rows = sum(plan.rows("tune", steps) for steps in (2, 3))
    plan.follow(BudgetsListed(()))
    assert plan.left()["trials"] == pytest.approx((2 + 0.5 * 7) * rows) and plan.doing == "all budgets: pilot"
    plan.follow(BudgetStarted(2))
    assert plan.left()["trials"] == 0


def test_the_rows_of_a_profile_are_known(tmp_path: Path) -> None:
    """Eight examples at 24 points, and with no token visible all rows are one."""
    stages = _stages(build(text_config(tmp_path))).stages
    assert [stage.rows for stage in stages] == [1 + 8 * 23, 0]


def test_samples_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None]) -> None:
    result, told = followed(monkeypatch, clock, sample, text_config(tmp_path), "linear", 4, 20)
    assert told[-1][1].doing == "drawing 20 samples" and progress.now() == result.cost.denoiser_rows


def test_an_exact_search_counts_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None]
) -> None:
    sections = {"sampler": {"steps": [2, 3]}, "search": {"strategy": "qmc", "trials": 8, "warm_start": "off"}}
    config, told, done = load(tmp_path, whole(**sections), output=str(tmp_path / "run")), list[Any](), [0]

    def notify(event: RunEvent) -> None:
        if isinstance(event, TrialDone):
            done[0] += 1
        if isinstance(event, Progress):
            told.append((progress.now(), event))

    account = Following._account

    def slow(self: Following, event: RunEvent) -> None:
        clock(1.0 if isinstance(event, TrialDone) else 0.0)
        account(self, event)

    monkeypatch.setattr(Following, "_account", slow)
    search(config, resume=False, overwrite=False, notify=notify, allow=replace(Permissions()))
    assert done[0] == progress.now()
    assert told[-1][1].seconds_left is not None
