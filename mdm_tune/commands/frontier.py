"""The frontier of ``evaluate``: one token per step as the reference, its announcement, and the record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from mdm_tune.commands.events import Note
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, listed, quantity
from mdm_tune.evaluation.filling import CodeFiller
from mdm_tune.evaluation.parallelism import Measured, filled_tokens
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.run.build import Run
from mdm_tune.run.frontier_records import Point, PolicyFrontierRecord
from mdm_tune.run.own_answers import one_token_rows
from mdm_tune.schedules.equal_cost import equal_cost, nearest_budgets
from mdm_tune.search.cheapest import first_level
from mdm_tune.search.comparing import compared_diversity
from mdm_tune.search.gains import Loss, calls_interval
from mdm_tune.search.power import independent_of
from mdm_tune.search.rare_losses import examples_for_ties, margin_of_ties

__all__ = [
    "few_for_ties",
    "frontier_record",
    "more_calls",
    "reference_note",
    "reference_rows",
    "reference_setting",
]

FEW = 3  # policies that a warning names
ENTRY = 200  # characters of one of them with its calls, of which none is cut
UNEQUAL = 0.01  # a share of the positions of a call, from which calls do not cost the same


def reference_setting(
    run: Run, settings: Sequence[Setting], setting_at: Callable[[str, int], Setting], *, asked: bool
) -> Setting | None:
    """Linear at one token per step, in the first block length; None if it is not to be measured.

    It is measured if the frontier is asked for. It costs nothing, and is used, if one of the settings is the same.

    Args:
        run: The run.
        settings: The settings that are measured.
        setting_at: Returns a schedule's setting, from its name and steps.
        asked: Whether the frontier is asked for.

    Raises:
        InputError: If it is asked for, and reveal is ancestral.
    """
    evaluator = run.evaluator
    if evaluator.sampler.bernoulli:
        if asked:
            raise InputError(
                "the frontier compares with one token per step, which ancestral (bernoulli) reveal does not have; set "
                "sampler.reveal to fixed, or leave evaluate.frontier and --frontier out"
            )
        return None
    longest = evaluator.length if evaluator.dataset is None else int(evaluator.split("report").hidden.sum(1).max())
    reference = setting_at("linear", max(evaluator.length, longest))
    several = len(settings) > 1 and any(setting.key == reference.key for setting in settings)
    return reference if asked or several else None


def reference_rows(run: Run, reference: Setting, settings: Sequence[Setting]) -> int:
    """The denoiser rows of measuring the reference; 0 if one of the settings is the same, or for exact values."""
    evaluator = run.evaluator
    if evaluator.exact or any(setting.key == reference.key for setting in settings):
        return 0
    return one_token_rows(run, ["report"])


def reference_note(reference: Setting, rows: int) -> Note:
    """Announces the cost of the reference."""
    cost = f"at most {quantity(rows, 'denoiser row')} more" if rows else "at no further cost"
    return Note(f"the frontier also measures linear at {quantity(reference.steps, 'step')}, one token per step: {cost}")


def few_for_ties(run: Run, policies: int, points: int) -> Iterator[Note]:
    """A warning, before anything is paid for, that the report split is too small for the margin.

    Policies that often give the answers of one token per step are what the frontier looks for. The warning says how
    many examples the test needs for one whose values are all equal. It concerns metrics whose values have bounds. For
    others the numbers of examples depend on values that are not known yet.

    Args:
        run: The run.
        policies: The number of policies.
        points: The points of each.
    """
    evaluator, share = run.evaluator, run.config.search.margin
    bounds = None if isinstance(evaluator.metric, ExactMetric) else evaluator.metric.bounds
    if bounds is None or policies < 1 or points < 1:
        return
    if share == 0:
        yield Note(
            "with a margin of 0 the frontier can only name a policy that is better than one token per step",
            "few-for-margin",
            "give the loss that you would accept in search.margin",
        )
        return
    level, report = first_level(policies, points), evaluator.split("report")
    have, needed = independent_of(report), examples_for_ties(bounds, share, level)
    if have >= needed:
        return
    compared = "1 policy" if policies == 1 else f"{policies} policies"
    unit = "example" if have == len(report.ids) else "group"
    least = margin_of_ties(have, bounds, level)
    wider = f", or a margin of {math.ceil(1000 * least) / 1000:g} (search.margin)" if least is not None else ""
    yield Note(
        f"with {quantity(have, f'report {unit}')} the frontier cannot show that a policy which always equals one token "
        f"per step is within {100 * share:g} % of it, only that a policy is better: this needs {needed} for {compared}",
        "few-for-margin",
        f"take {quantity(needed, unit)} (dataset.report){wider}",
    )


def frontier_record(
    run: Run,
    scored: Sequence[tuple[Scores, Cost]],
    reference: Setting,
    measured: tuple[Scores, Cost] | None,
    policies: Sequence[str | None] = (),
) -> PolicyFrontierRecord:
    """The frontier of an evaluation or a search.

    Args:
        run: The run.
        scored: The scores of every setting, with the cost of its measurement.
        reference: One token per step.
        measured: The same of one token per step; None if one of ``scored`` has its counts.
        policies: The name of the policy of each of ``scored``, None for its own; () for their own.
    """
    if measured is None:
        same, cost = next(each for each in scored if each[0].setting.key == reference.key)
        measured = replace(same, setting=reference), cost
    names = policies or [None] * len(scored)
    points = [
        replace(_point(run, *each), policy=name, losses=_losses(run, each[0], measured[0]))
        for each, name in zip(scored, names, strict=True)
    ]
    first = _point(run, *measured)
    metric = run.evaluator.metric
    tokens = [
        point.spent.denoiser_tokens / point.spent.denoiser_rows
        for point in (*points, first)
        if point.spent.denoiser_rows
    ]
    alike = not tokens or max(tokens) <= (1 + UNEQUAL) * min(tokens)
    return PolicyFrontierRecord.of(
        points,
        first,
        metric.direction,
        run.config.search.margin,
        equal_calls=alike and not isinstance(run.evaluator.filler, CodeFiller),
    )


def _point(run: Run, scores: Scores, spent: Cost) -> Point:
    """A measured point."""
    if scores.values is None or scores.tokens is None:
        rows = 1 if scores.values is None else len(scores.values)
        return Point(Measured(scores, np.full(rows, float(run.evaluator.length))), spent)
    sampler = run.evaluator.sampler
    hidden = run.evaluator.split("report").hidden
    filled = filled_tokens(hidden, scores.tokens, sampler.end_tokens, stops=sampler.drawing.stop_at_end)
    return Point(Measured(scores, filled), spent)


def _losses(run: Run, scores: Scores, reference: Scores) -> tuple[Loss, ...]:
    """The losses of diversity against one token per step."""
    found = compared_diversity(run.evaluator, scores, reference, reference, None, run.config.search.diversity_loss)
    return () if found is None else found.flagged


def more_calls(scores: Sequence[Scores], linear: str, *, frontier: bool) -> Iterator[Note]:
    """A warning about policies that make over 2 % more calls than linear at the same budget.

    Args:
        scores: All scores.
        linear: The label of linear.
        frontier: Whether the frontier is shown.
    """
    of_linear = {each.setting.steps: each for each in scores if each.setting.label == linear}
    nearest, found = nearest_budgets((each.setting.label, each.setting.steps, each.nfe) for each in scores), []
    for each in scores:
        steps = each.setting.steps
        linear_there = of_linear.get(steps)
        if linear_there is None or nearest.get(each.setting.label, steps) != steps:
            continue
        ratio = equal_cost(each.nfe, linear_there.nfe, calls_interval(each, linear_there))
        if ratio.more:
            found.append(f"{cut(each.setting.label)} at {quantity(steps, 'step')} ({ratio.text})")
    if found:
        yield Note(
            f"more denoiser calls than linear's: {listed(found, FEW, length=ENTRY)}; a gain there is not surely one at "
            "equal cost",
            "more-calls",
            "compare with linear at as many steps, or look at the frontier" + ("" if frontier else " (--frontier)"),
        )
