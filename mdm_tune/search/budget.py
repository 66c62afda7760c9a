"""Search one step budget: the pilot, the trials, and the comparison on unseen examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import count
from typing import Any

import numpy as np

from mdm_tune.config.file import PolicyKind, SearchConfig
from mdm_tune.config.validators import OPTIMUM
from mdm_tune.core.errors import InputError
from mdm_tune.datasets.splits import Use
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.schedules.curves import Linear, Schedule, parse_schedule
from mdm_tune.search.confirmation import Budget, confirm
from mdm_tune.search.equal_calls import linear_calls
from mdm_tune.search.events import AllValuesEqual, Comparison, Event, ReferenceStarted, StudyStarted
from mdm_tune.search.finalists import Lineup, Study
from mdm_tune.search.outcomes import Ending
from mdm_tune.search.policies import PlanSpace, allotted
from mdm_tune.search.policy_tuning import tune_plan
from mdm_tune.search.power import Detectable, detectable, independent_of
from mdm_tune.search.proposals import BetaSpace
from mdm_tune.search.scoring import InTime
from mdm_tune.search.space import START, Guide
from mdm_tune.search.stopping import first_look
from mdm_tune.search.stored_scores import ScoreRequest, StoredScores
from mdm_tune.search.tuning import tune

__all__ = ["compared", "named_baselines", "pilot", "reference_of", "search_budget"]

PILOT = 32  # tune examples of the pilot, enough to estimate a standard deviation
REFERENCE_EXAMPLES = 128  # report examples of the reference, linear at many steps
REFERENCE_FACTOR = 4  # steps of the reference as a multiple of the largest budget


def search_budget(
    scores: StoredScores,
    steps: int,
    search: SearchConfig,
    notify: Callable[[Event], None] = lambda event: None,
    guides: Mapping[int, Guide] = {},
    *,
    seed: int,
    budgets: Sequence[int] = (),
    in_time: Callable[[int], InTime | None] = lambda study: None,
) -> Budget:
    """Tune one budget and confirm the result. Work that is in the storage is not repeated.

    Args:
        scores: Scores settings and stores the results.
        steps: The step budget.
        search: The search section of the config.
        notify: Called with each event.
        guides: Guides by block length.
        seed: Seed of the run.
        budgets: All budgets of the search, this one included, for which intervals are corrected; () for this one.
        in_time: Returns the time limit of the trials of the n-th study, from 0. Called before the pilot for the first
            study, and for others when their trials begin.

    Raises:
        InputError: If a baseline does not fit, or if the baseline is ``optimum`` and the guide has none.
    """
    evaluator = scores.evaluator
    baselines = {
        size: named_baselines(evaluator.in_blocks(size), steps, search, guides) for size in evaluator.block_lengths
    }
    claims, limit = max(1, len(budgets)) * len(search.policies), in_time(0)
    pilot_events, cost = pilot(scores, steps, claims)
    for event in pilot_events:
        notify(event)
    studies, places = list[Study](), count()
    shares = allotted(search.policies, search.trials)
    for kind in search.policies:
        own = search.model_copy(update={"trials": shares[kind], **_row_limit(search, shares[kind])})
        for size, named in baselines.items():
            in_blocks, guide = evaluator.in_blocks(size), guides.get(size, Guide())
            if evaluator.several or len(shares) > 1:
                notify(StudyStarted(size if evaluator.several else None, kind if len(shares) > 1 else None))
            metric = evaluator.metric
            ledger = scores.state.ledger(_ledger_name(in_blocks, steps, kind), metric.direction, metric.name)
            place = next(places)
            until = in_time(place) if place else limit
            if kind == "counts":
                tuned = tune(in_blocks, BetaSpace(own, steps, seed), ledger, notify, guide, until)
            else:
                target, spent = linear_calls(scores, in_blocks, steps)
                cost += spent
                unstopped = own.model_copy(update={"auto_stop": False})  # that rule is for schedules
                space = PlanSpace(kind=kind, search=unstopped, steps=steps, seed=seed)
                tuned = tune_plan(in_blocks, space, ledger, target, notify, guide, until)
            studies.append(
                Study(
                    evaluator=in_blocks,
                    trials=tuned.trials,
                    baselines=named if kind == search.policies[0] else {},
                    choose=guide.choose,
                    ended=tuned.ended,
                    kind=kind,
                )
            )

    finalists = 0 if all(study.ending is Ending.ALL_EQUAL for study in studies) else search.finalists
    budget = compared(scores, studies, steps, finalists, notify, budgets=budgets, diversity_loss=search.diversity_loss)
    return replace(budget, cost=budget.cost + cost, pilot=cost)


def compared(
    scores: StoredScores,
    studies: Sequence[Study],
    steps: int,
    finalists: int,
    notify: Callable[[Comparison | ReferenceStarted], None] = lambda event: None,
    *,
    budgets: Sequence[int] = (),
    diversity_loss: float = 0.05,
) -> Budget:
    """Run ``confirm`` with stored scores. Scores that it needs in any case are measured together.

    Args:
        scores: Scores settings and stores the results.
        studies: The studies of the budget.
        steps: The step budget.
        finalists: The number of trials on the choose split.
        notify: Called before each measurement.
        budgets: All budgets of the search, for which intervals are corrected; () for this one.
        diversity_loss: The share of a diversity figure that the winner may lose.

    Returns:
        The outcome; its cost includes the reference but no pilot.
    """

    def score(wanted: Sequence[Setting], use: Use) -> list[Scores]:
        keys = [*dict.fromkeys(setting.key for setting in wanted)]  # equal settings are measured once
        return scores.score(
            wanted,
            use,
            lambda setting, place: notify(
                Comparison(use=use, setting=setting, done=keys.index(setting.key), total=len(keys))
            ),
        )

    many = reference_of(scores.evaluator, budgets or (steps,))
    _prepare(scores, studies, steps, finalists, many, notify)
    reference = None if many is None else scores.score([many[0]], "report", examples=many[1])[0]
    claims = max(1, len(budgets))
    budget = confirm(
        studies, steps, finalists, score, claims=claims, reference=reference, diversity_loss=diversity_loss
    )
    return budget if reference is None else replace(budget, cost=budget.cost + reference.cost)


def _prepare(
    scores: StoredScores,
    studies: Sequence[Study],
    steps: int,
    finalists: int,
    reference: tuple[Setting, int] | None,
    notify: Callable[[Comparison | ReferenceStarted], None],
) -> None:
    """Measure together all that ``confirm`` needs whichever candidate wins, so that many devices have work.

    This is everything but the winner on the report split. The reference is first, since its rows take longest.
    """
    lineup = Lineup.of(studies, steps, finalists)
    choose = [] if studies[0].choose else [ScoreRequest(candidate.setting, "choose") for candidate in lineup.compared]
    report = [ScoreRequest(candidate.setting, "report") for candidate in lineup.named]
    first = [] if reference is None else [ScoreRequest(reference[0], "report", reference[1])]

    def stored(settings: Sequence[Setting]) -> list[Scores]:
        return scores.score(settings, "choose", count=False)

    @cache
    def reported() -> int:
        """The policies of the report split. The winner is known by then, and may be a baseline."""
        chosen = lineup.scores_on_choose(stored)
        others = {each.setting.key for each in (*lineup.best_of_kinds(chosen).values(), lineup.winner(chosen))}
        return len(report) + len(others - {request.setting.key for request in report})

    def tell(place: int) -> None:
        request = [*first, *choose, *report][place]
        if place < len(first) and request.examples is not None:
            notify(ReferenceStarted(request.setting, request.examples))
        elif (place := place - len(first)) < len(choose):
            notify(Comparison(use="choose", setting=request.setting, done=place, total=len(choose)))
        else:
            done = place - len(choose)
            notify(Comparison(use="report", setting=request.setting, done=done, total=reported()))

    scores.prepare([*first, *choose, *report], tell)


def reference_of(evaluator: Evaluator, budgets: Sequence[int]) -> tuple[Setting, int] | None:
    """The reference for diversity: linear at four times the largest budget, but at most one step per token.

    It shows the diversity of the model's samples when steps are not scarce.

    Args:
        evaluator: The evaluator.
        budgets: All budgets of the search.

    Returns:
        The setting and the number of report examples; None if the metric has no diversity figures.
    """
    if isinstance(evaluator.metric, ExactMetric):
        return None
    report = evaluator.split("report")
    example = report.first(1)
    if evaluator.metric.needs_originals or not evaluator.metric.diversity(example.originals, example):
        return None
    steps = min(evaluator.length, REFERENCE_FACTOR * max(budgets))
    return evaluator.setting(Linear(), steps), min(REFERENCE_EXAMPLES, len(report.ids))


def pilot(stored: StoredScores, steps: int, claims: int) -> tuple[list[Detectable | AllValuesEqual], Cost]:
    """Score linear and squared-sine on the first tune examples, to see which gains the report split can show.

    The trials of these two schedules continue from these values, also in a resumed search.

    Returns:
        The events to report, and the cost.
    """
    evaluator = stored.evaluator
    if evaluator.exact:
        return [], Cost()
    settings = [evaluator.setting(schedule, steps) for schedule in START]
    if settings[0].key == settings[1].key:  # they cannot differ
        return [], Cost()

    def measure() -> dict[str, Any]:
        examples = min(PILOT, len(evaluator.split("tune").ids))
        values_by_setting, cost = evaluator.together(settings, "tune", examples)
        cost_record = [cost.denoiser_rows, cost.denoiser_tokens, cost.seconds]
        return {"values": [values.tolist() for values in values_by_setting], "cost": cost_record}

    record = stored.state.once(f"pilot {steps}", measure)
    rows, tokens, seconds = record["cost"]
    if not evaluator.answered(settings[0], "tune"):  # another process measured it: its speed is the best estimate
        calls = sum(setting.nfe for setting in settings) * len(record["values"][0])
        evaluator.pace.add(calls, seconds)
    scores, pilot = [], evaluator.split("tune").shuffled().first(len(record["values"][0]))
    for setting, listed in zip(settings, record["values"], strict=True):
        values = np.array(listed)
        evaluator.book.keep_first(setting, "tune", values)
        scores.append(evaluator.scored(setting, values, pilot))
    all_values = np.concatenate(record["values"])
    report = evaluator.split("report")
    power = detectable(scores[0], scores[1], independent_of(report), claims, len(report.ids), report.spare)
    pilot_events: list[Detectable | AllValuesEqual] = [] if power is None else [power]
    if np.ptp(all_values) == 0 and not isinstance(evaluator.metric, ExactMetric):
        count, value = len(all_values) // 2, float(all_values[0])
        what = f"Each of the {count} pilot examples scores {value:g} with linear and with squared-sine."
        pilot_events.append(AllValuesEqual(f"{what} {first_look(evaluator.metric, value)}"))
    return pilot_events, Cost(rows, tokens, seconds)


def _ledger_name(evaluator: Evaluator, steps: int, kind: PolicyKind) -> str:
    """The name of the ledger of a budget's trials of one policy in the evaluator's block length."""
    blocks = f"-blocks-{evaluator.block_length}" if evaluator.several else ""
    return f"steps-{steps}{blocks}" + ("" if kind == "counts" else f"-{kind}")


def _row_limit(search: SearchConfig, trials: int) -> dict[str, Any]:
    """The rows that a policy's trials may use: their share of those of the budget."""
    return {} if search.rows is None else {"rows": max(1, search.rows * trials // search.trials)}


def named_baselines(
    evaluator: Evaluator, steps: int, search: SearchConfig, guides: Mapping[int, Guide]
) -> dict[str, Schedule]:
    """The baselines by name. Raises InputError for a baseline that does not fit."""
    guide = guides.get(evaluator.block_length, Guide())
    baselines = {name: _baseline(name, guide) for name in search.baselines}
    for name, schedule in baselines.items():
        evaluator.setting(schedule, steps, name)
    return baselines


def _baseline(name: str, guide: Guide) -> Schedule:
    if name != OPTIMUM:
        return parse_schedule(name)
    if guide.optimum is None:
        raise InputError("the baseline optimum needs an information profile; leave it out of search.baselines")
    return guide.optimum
