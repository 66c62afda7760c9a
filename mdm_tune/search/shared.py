"""One schedule for all budgets of a search: its trials, its choice, and what it loses at each budget.

A trial is one (a, b) at all budgets. Its value is the mean of the metric over the budgets, example by example. All
budgets have the same metric, so the mean has its unit. It is what a user gets who uses the budgets equally often, and
its weights are free of noise, so that races, intervals and resumed searches work as for one budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdm_tune.config.file import SearchConfig
from mdm_tune.config.validators import OPTIMUM
from mdm_tune.core.statistics import Estimate
from mdm_tune.datasets.splits import Use
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Cost, ScoreBook, Scores
from mdm_tune.evaluation.settings import Key, Policy, Setting
from mdm_tune.schedules.blocks import Shares
from mdm_tune.schedules.curves import Beta, parse_schedule
from mdm_tune.search.budget import compared, named_baselines, pilot, reference_of
from mdm_tune.search.comparing import Comparer
from mdm_tune.search.confirmation import Budget, confirm
from mdm_tune.search.events import Event, TrialDone, TrialsProposed
from mdm_tune.search.finalists import Study, Trial
from mdm_tune.search.gains import Gain, gain_of
from mdm_tune.search.ledger import Ledger
from mdm_tune.search.outcomes import Ending
from mdm_tune.search.proposals import BetaSpace
from mdm_tune.search.scoring import InTime
from mdm_tune.search.space import START, Guide
from mdm_tune.search.stored_scores import StoredScores
from mdm_tune.search.tuning import Tuned, tune

__all__ = ["SharedBudget", "SharedEvaluator", "SharedSearch", "SharedSetting", "search_shared"]

Values = NDArray[np.float64]
ALL = 0  # stands for all budgets where a function takes one
LEDGER = "shared"


@dataclass(frozen=True)
class SharedSetting(Setting):
    """One schedule at all budgets.

    Attributes:
        parts: Its setting at each budget.
    """

    parts: tuple[Setting, ...] = ()

    @property
    def key(self) -> Key:
        """Equal where the sampler sees no difference at any budget."""
        return _joined((part.steps, part.key) for part in self.parts)

    @property
    def nfe(self) -> float:
        """Denoiser calls for one sequence at each budget, all together."""
        return sum(part.nfe for part in self.parts)


@dataclass(frozen=True, eq=False)
class SharedEvaluator(Evaluator):
    """Scores schedules at all budgets together.

    Attributes:
        inner: Scores them at one budget.
        budgets: The budgets.
        keep: Returns the stored record of a name; makes and stores it if there is none. It holds the values of each
            schedule that was scored on all tune examples, budget by budget.
    """

    inner: Evaluator | None = None
    budgets: tuple[int, ...] = ()
    keep: Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]] = lambda task, make: make()

    @classmethod
    def over(
        cls,
        inner: Evaluator,
        budgets: Sequence[int],
        keep: Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]] = lambda task, make: make(),
    ) -> SharedEvaluator:
        """An evaluator of these budgets."""
        own = {field.name: getattr(inner, field.name) for field in fields(Evaluator)}
        return cls(**own, inner=inner, budgets=tuple(budgets), keep=keep)

    @property
    def one(self) -> Evaluator:
        """The evaluator of one budget."""
        assert self.inner is not None
        return self.inner

    def setting(self, policy: Policy, steps: int, label: str | None = None) -> SharedSetting:
        """The setting of a schedule at all budgets; ``steps`` is not used."""
        parts = tuple(self.one.setting(policy, budget, label) for budget in self.budgets)
        return SharedSetting(name=label or policy.name, steps=ALL, length=self.length, parts=parts)

    def steps_of_blocks(self, steps: int) -> Shares:
        """The number of steps that each block gets, budget after budget."""
        return tuple(chain.from_iterable(self.one.steps_of_blocks(budget) for budget in self.budgets))

    def beta_keys(self, a: Values, b: Values, steps: int) -> set[Key]:
        """The distinct keys of many schedules Beta(a, b) at all budgets, for fixed counts; a and b (n,)."""
        counts = [self.one.beta_counts(a, b, budget) for budget in self.budgets]
        ends = np.cumsum([each.shape[1] for each in counts])[:-1]
        return {
            _joined(
                (budget, Setting.key_of(row.tolist(), budget, self.length, self.block_length))
                for budget, row in zip(self.budgets, np.split(rows, ends), strict=True)
            )
            for rows in np.unique(np.concatenate(counts, axis=1), axis=0)
        }

    def answered(self, setting: Setting, use: Use) -> int:
        """The number of examples that were scored at every budget."""
        return min(self.one.answered(part, use) for part in _parts(setting))

    def together(self, settings: Sequence[Setting], use: Use, examples: int) -> tuple[list[Values], Cost]:
        """Mean values over the budgets on the first examples, see ``Evaluator.together``."""
        scored, cost = list[list[Values]](), Cost()
        for place in range(len(self.budgets)):
            values, spent = self.one.together([_parts(setting)[place] for setting in settings], use, examples)
            scored.append(values)
            cost += spent
        by_setting: list[Values] = [np.array(values) for values in zip(*scored, strict=True)]
        if use == "tune" and examples == len(self.split(use).ids):
            for setting, each in zip(settings, by_setting, strict=True):
                self.keep(_task(setting), partial(dict, values=each.tolist()))
        return [values.mean(axis=0) for values in by_setting], cost

    def score(self, setting: Setting, use: Use) -> Scores:
        """The scores of a setting on a split, the mean over the budgets."""
        return self.mean([self.one.score(part, use) for part in _parts(setting)], setting)

    def mean(self, scores: Sequence[Scores], setting: Setting) -> Scores:
        """The scores of a setting from those at each budget."""
        first, cost = scores[0], sum((each.cost for each in scores), Cost())
        value = float(np.mean([each.estimate.value for each in scores]))
        if first.values is None or first.use is None:
            return Scores(setting=setting, estimate=Estimate(value, None), nfe=setting.nfe, cost=cost, use=first.use)
        values = np.mean([each.values for each in scores if each.values is not None], axis=0)
        return Scores(
            setting=setting,
            estimate=replace(self.estimated(values, self.split(first.use)), value=value)
            if len(values) == len(self.split(first.use).ids)
            else Estimate(value, None, len(values)),
            nfe=setting.nfe,
            cost=cost,
            use=first.use,
            values=values,
            groups=first.groups,
            bounds=first.bounds,
        )


@dataclass(frozen=True)
class SharedBudget:
    """The shared schedule at one budget.

    Attributes:
        own: The outcome of the budget's own best schedule.
        shared: The same with the shared schedule in its place.
        loss: What the shared schedule loses against the budget's own best; positive is a loss. Its interval is
            corrected for the number of budgets.
    """

    own: Budget
    shared: Budget
    loss: Gain


@dataclass(frozen=True)
class SharedSearch:
    """The outcome of a search for one schedule.

    Attributes:
        mean: The outcome of the schedule by the mean over the budgets.
        trials: The finished trials, at all budgets each.
        budgets: The outcome at each budget.
    """

    mean: Budget
    trials: tuple[Trial, ...]
    budgets: tuple[SharedBudget, ...]


def search_shared(
    scores: StoredScores,
    budgets: Sequence[int],
    search: SearchConfig,
    notify: Callable[[Event], None] = lambda event: None,
    guides: Mapping[int, Guide] = {},
    *,
    seed: int,
    in_time: InTime | None = None,
    started: Callable[[int], None] = lambda steps: None,
    finished: Callable[[Budget], Budget] = lambda budget: budget,
) -> SharedSearch:
    """Tune one schedule for all budgets, and compare it with the best trial of each budget on unseen examples.

    Args:
        scores: Scores settings and stores the results.
        budgets: The step budgets.
        search: The search section of the config. ``rows`` is a limit for each budget.
        notify: Called with each event.
        guides: Guides by budget.
        seed: Seed of the run.
        in_time: The time limit of the trials.
        started: Called with each budget before it is compared.
        finished: Called with the outcome of each budget, and returns it with what is to be added.

    Raises:
        InputError: If a baseline does not fit.
    """
    inner, claims = scores.evaluator, len(budgets)
    evaluator = SharedEvaluator.over(replace(inner, book=ScoreBook()), budgets, scores.state.once)
    named = {budget: named_baselines(inner, budget, search, {inner.block_length: guides[budget]}) for budget in budgets}
    pilots: dict[int, Cost] = {}
    for budget in budgets:
        events, pilots[budget] = pilot(scores, budget, claims)
        for event in events:
            notify(event)
    metric = inner.metric
    ledger = scores.state.ledger(LEDGER, metric.direction, metric.name)
    limited = search if search.rows is None else search.model_copy(update={"rows": search.rows * claims})
    guide = _common(evaluator, [guides[budget] for budget in budgets])

    def heard(event: TrialsProposed | TrialDone) -> None:
        if isinstance(event, TrialsProposed) and not (evaluator.exact or guide.price):
            _recall(evaluator, inner, ledger, event.first)
        notify(event)

    tuned = tune(evaluator, BetaSpace(limited, ALL, seed), ledger, heard, guide, in_time)
    finalists = 0 if tuned.ended is not None and tuned.ended.ending is Ending.ALL_EQUAL else search.finalists

    owns = []
    for place, budget in enumerate(budgets):
        started(budget)
        own_guide = guides[budget]
        trials = _trials_at(evaluator, tuned, place, own_guide)
        study = Study(
            evaluator=inner, trials=trials, baselines=named[budget], choose=own_guide.choose, ended=tuned.ended
        )
        own = compared(
            scores, [study], budget, finalists, notify, budgets=budgets, diversity_loss=search.diversity_loss
        )
        owns.append(finished(replace(own, cost=own.cost + pilots[budget], pilot=pilots[budget])))

    study = Study(
        evaluator=evaluator,
        trials=tuned.trials,
        baselines={name: parse_schedule(name) for name in search.baselines if name != OPTIMUM},
        choose=guide.choose,
        ended=tuned.ended,
    )
    mean, extra = _confirmed(scores, study, evaluator, finalists, search.diversity_loss)
    parts = scores.score([_parts(mean.winner.setting)[place] for place in range(claims)], "report")
    return SharedSearch(
        mean=mean,
        trials=tuned.trials,
        budgets=tuple(
            _at_budget(scores, replace(own, cost=own.cost + extra[place]), mean.policy, found, budgets, search)
            for place, (own, found) in enumerate(zip(owns, parts, strict=True))
        ),
    )


def _confirmed(
    scores: StoredScores, study: Study, evaluator: SharedEvaluator, finalists: int, diversity_loss: float
) -> tuple[Budget, list[Cost]]:
    """The outcome by the mean over the budgets, and the cost of its scores at each budget."""
    extra = [Cost() for _ in evaluator.budgets]

    def score(settings: Sequence[Setting], use: Use) -> list[Scores]:
        columns = []
        for place in range(len(extra)):
            found = scores.score([_parts(setting)[place] for setting in settings], use)
            extra[place] += sum((each.cost for each in found), Cost())
            columns.append(found)
        return [evaluator.mean(row, setting) for row, setting in zip(zip(*columns, strict=True), settings, strict=True)]

    return confirm([study], ALL, finalists, score, diversity_loss=diversity_loss), extra


def _recall(evaluator: SharedEvaluator, inner: Evaluator, ledger: Ledger, before: int) -> None:
    """Let the evaluator know the pilots and the trials of earlier batches that were scored in full, and nothing else.

    Schedules that differ at one budget often have equal counts at another. What is known at the beginning of a batch
    must not depend on whether the search was resumed, because the cost of the batch follows from it.
    """
    book = evaluator.one.book
    book.clear()
    for schedule in START:
        for part in evaluator.setting(schedule, ALL).parts:
            book.keep_first(part, "tune", inner.book.first(part, "tune"))
    for task, entry in ledger.finished().items():
        if int(task) < before and entry.record["dropped"] is None:
            setting = evaluator.setting(Beta(entry.params["a"], entry.params["b"]), ALL)
            for part, values in zip(setting.parts, evaluator.keep(_task(setting), _missing)["values"], strict=True):
                book.keep_first(part, "tune", np.array(values))


def _at_budget(
    scores: StoredScores, own: Budget, schedule: Policy, found: Scores, budgets: Sequence[int], search: SearchConfig
) -> SharedBudget:
    """The shared schedule at one budget, whose scores on the report split are ``found``."""
    inner, claims, many = scores.evaluator, len(budgets), reference_of(scores.evaluator, budgets)
    reference = None if many is None else scores.score([many[0]], "report", examples=many[1])[0]
    comparer = Comparer(
        evaluator=inner,
        linear=own.baselines["linear"],
        claims=claims,
        reference=reference,
        data=own.data,
        diversity_loss=search.diversity_loss,
    )
    shared = replace(
        own,
        policy=schedule,
        winner=found,
        gain=comparer.gain(found),
        diversity=comparer.diversity(found),
        loser=None,
        codes=(),
        alike=(),
        stand_ins=None,
    )
    return SharedBudget(own=own, shared=shared, loss=gain_of(own.winner, found, inner.metric.direction, claims))


def _trials_at(evaluator: SharedEvaluator, tuned: Tuned, place: int, guide: Guide) -> list[Trial]:
    """The trials as trials of one budget: those that were scored in full, with an equal share of their cost.

    A dropped trial has no value at a budget, so it is left out; its cost goes to the next one.
    """
    count, trials, seen, cost = len(evaluator.budgets), list[Trial](), set[Key](), Cost()
    for trial in tuned.trials:
        rows, tokens = trial.cost.denoiser_rows, trial.cost.denoiser_tokens
        cost += Cost(
            rows * (place + 1) // count - rows * place // count,
            tokens * (place + 1) // count - tokens * place // count,
            trial.cost.seconds / count,
        )
        if trial.dropped:
            continue
        setting = evaluator.setting(trial.policy, ALL)
        part = setting.parts[place]
        if guide.price is not None:
            value = guide.price(part)
        elif evaluator.exact:
            value = evaluator.one.score(part, "tune").estimate.value
        else:
            value = float(np.mean(evaluator.keep(_task(setting), _missing)["values"][place]))
        trials.append(replace(trial, key=part.key, value=value, fresh=part.key not in seen, cost=cost))
        seen.add(part.key)
        cost = Cost()
    if trials:
        trials[-1] = replace(trials[-1], cost=trials[-1].cost + cost)
    return trials


def _missing() -> dict[str, Any]:
    raise AssertionError("the values of a trial that was scored in full are stored before the trial")


def _common(evaluator: SharedEvaluator, guides: Sequence[Guide]) -> Guide:
    """The guide of all budgets: the first point of each, and mean prices."""
    prices = [guide.price for guide in guides if guide.price is not None]
    chooses = [guide.choose for guide in guides if guide.choose is not None]

    def price(setting: Setting) -> float:
        return float(np.mean([each(part) for each, part in zip(prices, _parts(setting), strict=True)]))

    def choose(setting: Setting) -> Scores:
        return evaluator.mean([each(part) for each, part in zip(chooses, _parts(setting), strict=True)], setting)

    return Guide(
        points=tuple(dict.fromkeys(point for guide in guides for point in guide.points[:1])),
        price=price if prices else None,
        choose=choose if chooses else None,
    )


def _parts(setting: Setting) -> tuple[Setting, ...]:
    assert isinstance(setting, SharedSetting)
    return setting.parts


def _joined(keys: Any) -> Key:
    """The key of several budgets, from pairs of a budget and its key."""
    return tuple(chain.from_iterable((f"{steps} steps", *key) for steps, key in keys))


def _task(setting: Setting) -> str:
    """The name under which the values of a setting are stored."""
    return "shared " + " ".join(part if isinstance(part, str) else f"{part:.17g}" for part in setting.key)
