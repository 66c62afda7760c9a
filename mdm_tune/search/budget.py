"""One step budget from its trials to an honest comparison on unseen examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mdm_tune.config.file import SearchConfig
from mdm_tune.config.validators import OPTIMUM
from mdm_tune.core.errors import InputError
from mdm_tune.datasets.splits import Use
from mdm_tune.evaluation.evaluator import Cost, Evaluator, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.schedules.curves import Linear, Schedule, parse_schedule
from mdm_tune.search.confirmation import Budget, confirm
from mdm_tune.search.events import AllValuesEqual, BlocksStarted, Comparison, Event
from mdm_tune.search.finalists import BlockSearch, candidates_of, chosen_from
from mdm_tune.search.outcomes import Ending
from mdm_tune.search.power import Detectable, detectable, independent_of
from mdm_tune.search.scoring import InTime
from mdm_tune.search.space import START, Guide
from mdm_tune.search.stopping import first_look
from mdm_tune.search.stored_scores import ScoreRequest, StoredScores
from mdm_tune.search.tuning import tune

__all__ = ["compared", "reference_of", "search_budget"]

PILOT = 32  # tune examples at least, so that their spread means something
REFERENCE_EXAMPLES = 128  # report examples on which linear at many steps is drawn
REFERENCE_FACTOR = 4  # how many times the largest budget "many steps" are


def search_budget(
    scores: StoredScores,
    steps: int,
    search: SearchConfig,
    notify: Callable[[Event], None] = lambda event: None,
    guides: Mapping[int, Guide] = {},
    *,
    seed: int,
    budgets: Sequence[int] = (),
    in_time: Callable[[int], InTime | None] = lambda kind: None,
) -> Budget:
    """Tune one budget and confirm the result; goes on with what the storage already holds.

    seed: of the run. guides: by block length. budgets: all of the search, this one among them, by which intervals are
    corrected; () for this one alone. in_time: what ends the trials in each kind of blocks in time, asked for when their
    turn comes.

    Raises InputError for a baseline that does not fit, and for ``optimum`` where the guide has none.
    """
    evaluator = scores.evaluator
    baselines = {size: _baselines(evaluator.in_blocks(size), steps, search, guides) for size in evaluator.block_lengths}
    claims, limit = max(1, len(budgets)), in_time(0)
    first, cost = _pilot(scores, steps, claims)
    for event in first:
        notify(event)
    sides: list[BlockSearch] = []
    for kind, (size, named) in enumerate(baselines.items()):
        here, guide = evaluator.in_blocks(size), guides.get(size, Guide())
        if evaluator.several:
            notify(BlocksStarted(size))
        ledger = scores.state.ledger(_study(here, steps), evaluator.metric.direction)
        tuned = tune(here, steps, search, ledger, notify, guide, in_time(kind) if kind else limit, seed=seed)
        sides.append(
            BlockSearch(evaluator=here, trials=tuned.trials, baselines=named, choose=guide.choose, ended=tuned.ended)
        )

    finalists = 0 if all(side.ending is Ending.ALL_EQUAL for side in sides) else search.finalists
    found = compared(scores, sides, steps, finalists, notify, budgets=budgets, diversity_loss=search.diversity_loss)
    return replace(found, cost=found.cost + cost, pilot=cost)


def compared(
    scores: StoredScores,
    sides: Sequence[BlockSearch],
    steps: int,
    finalists: int,
    notify: Callable[[Comparison], None] = lambda event: None,
    *,
    budgets: Sequence[int] = (),
    diversity_loss: float = 0.05,
) -> Budget:
    """``confirm`` with scores that the storage keeps, those that it asks for in any case measured together.

    Its cost has no pilot.
    """

    def score(wanted: Sequence[Setting], use: Use) -> list[Scores]:
        return scores.score(
            wanted,
            use,
            lambda setting, place: notify(Comparison(use=use, setting=setting, done=place, total=len(wanted))),
        )

    many = reference_of(scores.evaluator, budgets or (steps,))
    _prepare(scores, sides, steps, finalists, many, notify)
    reference = None if many is None else scores.score([many[0]], "report", examples=many[1])[0]
    claims = max(1, len(budgets))
    found = confirm(sides, steps, finalists, score, claims=claims, reference=reference, diversity_loss=diversity_loss)
    return found if reference is None else replace(found, cost=found.cost + reference.cost)


def _prepare(
    scores: StoredScores,
    sides: Sequence[BlockSearch],
    steps: int,
    finalists: int,
    reference: tuple[Setting, int] | None,
    notify: Callable[[Comparison], None],
) -> None:
    """Measure together all that ``confirm`` will ask for whoever wins, so that many devices have work.

    That is all but the winner on the report split. The reference comes first, since its rows take longest.
    """
    named, candidates = candidates_of(sides, steps, finalists)
    meeting = chosen_from(candidates) if sides[0].choose is None else []
    first = [] if reference is None else [ScoreRequest(reference[0], "report", reference[1])]
    choose = [ScoreRequest(each.setting, "choose") for each in meeting]
    report = [ScoreRequest(each.setting, "report") for each in named]
    told: list[Comparison | None] = [None for _ in first]
    told += [
        Comparison(use="choose", setting=each.setting, done=place, total=len(choose))
        for place, each in enumerate(choose)
    ]
    told += [
        Comparison(use="report", setting=each.setting, done=place, total=len(report) + 1)
        for place, each in enumerate(report)
    ]

    def about_to(place: int) -> None:
        if (event := told[place]) is not None:
            notify(event)

    scores.prepare([*first, *choose, *report], about_to)


def reference_of(evaluator: Evaluator, budgets: Sequence[int]) -> tuple[Setting, int] | None:
    """Linear at four times the largest budget, or one token a step, and the report examples on which it is drawn.

    What the model can do where steps are not scarce: samples that are less diverse show it. None where the metric has
    no figures of diversity.
    """
    if isinstance(evaluator.metric, ExactMetric):
        return None
    report = evaluator.split("report")
    one = report.first(1)
    if evaluator.metric.reference or not evaluator.metric.diversity(one.originals, one):
        return None
    steps = min(evaluator.length, REFERENCE_FACTOR * max(budgets))
    return evaluator.setting(Linear(), steps), min(REFERENCE_EXAMPLES, len(report.ids))


def _pilot(kept_scores: StoredScores, steps: int, claims: int) -> tuple[list[Detectable | AllValuesEqual], Cost]:
    """What the report split can show, from linear and squared-sine on the first tune examples, and what that took.

    The trials of these two go on from there; so the values are kept, for a search that is resumed.
    """
    evaluator = kept_scores.evaluator
    if evaluator.exact:
        return [], Cost()
    settings = [evaluator.setting(schedule, steps) for schedule in START]
    if settings[0].key == settings[1].key:  # they cannot differ
        return [], Cost()

    def make() -> dict[str, Any]:
        examples = min(PILOT, len(evaluator.split("tune").ids))
        values, cost = evaluator.together(settings, "tune", examples)
        spent = [cost.denoiser_rows, cost.denoiser_tokens, cost.seconds]
        return {"values": [each.tolist() for each in values], "cost": spent}

    kept = kept_scores.state.once(f"pilot {steps}", make)
    rows, tokens, seconds = kept["cost"]
    if not evaluator.answered(settings[0], "tune"):  # how fast another process was is the best guess there is
        calls = sum(setting.nfe for setting in settings) * len(kept["values"][0])
        evaluator.pace.add(calls, seconds)
    scores, pilot = [], evaluator.split("tune").shuffled().first(len(kept["values"][0]))
    for setting, listed in zip(settings, kept["values"], strict=True):
        values_here = np.array(listed)
        evaluator.book.keep_first(setting, "tune", values_here)
        scores.append(evaluator.scored(setting, values_here, pilot))
    seen = np.concatenate(kept["values"])
    report = evaluator.split("report")
    found = detectable(scores[0], scores[1], independent_of(report), claims, len(report.ids))
    told: list[Detectable | AllValuesEqual] = [] if found is None else [found]
    if np.ptp(seen) == 0 and not isinstance(evaluator.metric, ExactMetric):
        what = f"Each of the {len(seen) // 2} pilot examples scores {seen[0]:g} with linear and with squared-sine."
        told.append(AllValuesEqual(f"{what} {first_look(evaluator.metric, float(seen[0]))}"))
    return told, Cost(rows, tokens, seconds)


def _study(evaluator: Evaluator, steps: int) -> str:
    """The name of a budget's ledger in the evaluator's blocks."""
    return f"steps-{steps}-blocks-{evaluator.block_length}" if evaluator.several else f"steps-{steps}"


def _baselines(
    evaluator: Evaluator, steps: int, search: SearchConfig, guides: Mapping[int, Guide]
) -> dict[str, Schedule]:
    """The hand-made schedules by name; raises InputError for one that does not fit."""
    guide = guides.get(evaluator.block_length, Guide())
    found = {name: _baseline(name, guide) for name in search.baselines}
    for name, schedule in found.items():
        evaluator.setting(schedule, steps, name)
    return found


def _baseline(name: str, guide: Guide) -> Schedule:
    if name != OPTIMUM:
        return parse_schedule(name)
    if guide.optimum is None:
        raise InputError("the baseline optimum needs an information profile; leave it out of search.baselines")
    return guide.optimum
