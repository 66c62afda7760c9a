"""What tests of a search share: searches in memory, evaluators of small laws or given values, a storage that dies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial

from mdm_tune.config.file import SearchConfig
from mdm_tune.core.types import Direction
from mdm_tune.datasets.splits import Use, law_dataset
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.evaluation.call_timer import CallTimer
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.filling import Filler, Rows
from mdm_tune.evaluation.settings import Sampler, Setting
from mdm_tune.metrics import quality
from mdm_tune.sampling.pieces import Pool
from mdm_tune.sampling.unmasking import Unmasked
from mdm_tune.search.budget import search_budget
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.driver import SearchName, driving
from mdm_tune.search.events import Event, TrialDone, TrialsProposed
from mdm_tune.search.ledger import Ledger
from mdm_tune.search.proposals import BetaSpace
from mdm_tune.search.space import Guide
from mdm_tune.search.stored_scores import StoredScores
from mdm_tune.search.tuning import Tuned, tune
from scripts.given_values import GivenFiller, GivenMetric, Rule
from tests.support.helpers import CountingDenoiser, resampled, sampler_of

CHAIN = MarkovChain.sticky(2, 0.05, 32)
SHORT = MarkovChain.sticky(2, 0.1, 16)
FIXED = sampler_of(batch=256)
SETTINGS = SearchConfig(
    strategy="tpe", trials=12, finalists=4, baselines=("linear", "squared-sine", "sine"), auto_stop=False
)
SIZES: dict[Use, int] = {"tune": 64, "choose": 64, "report": 128}

Values = NDArray[np.float64]


def exact() -> Evaluator:
    """Values that are computed: the KL over orders of a long chain."""
    return Evaluator(CHAIN, 32, FIXED, quality.order_kl_metric(CHAIN), None)


def sampled(sizes: Mapping[Use, int] = SIZES, order: Any = "entropy") -> tuple[Evaluator, CountingDenoiser]:
    """Values that are measured, path_nll on a short chain, and the count of what the denoiser was asked."""
    denoiser = CountingDenoiser(SHORT)
    dataset = law_dataset(SHORT, dict(sizes), root=0)
    metric = quality.PathLikelihood("nelbo" if order == "random" else "path_nll", order)
    return Evaluator(denoiser, 16, resampled(FIXED, order=order), metric, dataset), denoiser


class Given(Evaluator):
    """Scores what a ``GivenFiller`` gives."""

    @classmethod
    def by(
        cls,
        rule: Rule,
        sizes: Mapping[Use, int] = SIZES,
        direction: Direction = "minimize",
        diverse: Callable[[int], float] | None = None,
        token: Callable[[Setting], int] = lambda setting: 0,
        filler: Callable[..., GivenFiller] = GivenFiller,
    ) -> Given:
        dataset = law_dataset(SHORT, dict(sizes), root=0)
        filled = filler(rule, dataset, token)
        return cls(SHORT, SHORT.length, FIXED, GivenMetric(direction, diverse=diverse), dataset, fill_with=filled)

    @property
    def rows(self) -> int:
        """Rows that were filled so far, whoever asked for them."""
        assert isinstance(self.fill_with, GivenFiller)
        return self.fill_with.rows


@dataclass(frozen=True)
class TimedFiller:
    """Fills rows as another does; take: what goes on meanwhile, as on a clock."""

    inner: Filler
    take: Callable[[Unmasked], None]

    @property
    def pool(self) -> Pool:
        return self.inner.pool

    @property
    def shows_steps(self) -> bool:
        return self.inner.shows_steps

    def fill_each(self, wanted: Iterable[Rows], sampler: Sampler, on_step: Any = None) -> Iterator[Unmasked]:
        for found in self.inner.fill_each(wanted, sampler, on_step):
            self.take(found)
            yield found


def timed(evaluator: Evaluator, take: Callable[[Unmasked], None], clock: Callable[[], float]) -> Evaluator:
    """The evaluator by this clock, on which rows take as long as ``take`` sets it on."""
    return replace(evaluator, fill_with=TimedFiller(evaluator.filler, take), pace=CallTimer(clock))


def noise(setting: Setting, use: Use, examples: NDArray[np.int64], spread: float = 1.0) -> Values:
    """Noise of an example and a setting: the same whenever it is asked for, independent between settings."""
    key = [int(1000 * part) for part in setting.key]
    draw = np.random.default_rng([len(use), *key]).normal(0.0, spread, 1000)
    found: Values = draw[examples]
    return found


@contextmanager
def scoring(evaluator: Evaluator, storage: BaseStorage | None = None, name: str = "run") -> Iterator[StoredScores]:
    """Drive a run in this storage."""
    with driving(InMemoryStorage() if storage is None else storage, SearchName.plain(name)) as state:
        yield StoredScores(evaluator, state)


def run(
    evaluator: Evaluator,
    settings: SearchConfig,
    steps: int = 8,
    storage: BaseStorage | None = None,
    guide: Guide | None = None,
    seed: int = 0,
    **more: Any,
) -> tuple[Budget, list[Event]]:
    """The search of one budget, and what it told."""
    events: list[Event] = []
    guides = {} if guide is None else {evaluator.block_length: guide}
    with scoring(evaluator, storage) as scores:
        return search_budget(scores, steps, settings, events.append, guides, seed=seed, **more), events


def tuned(
    evaluator: Evaluator,
    settings: SearchConfig,
    steps: int = 8,
    storage: BaseStorage | None = None,
    guide: Guide | None = None,
    seed: int = 0,
    **more: Any,
) -> tuple[Tuned, list[TrialDone]]:
    """The trials of one budget, and the event of each."""
    events: list[TrialDone | TrialsProposed] = []
    with scoring(evaluator, storage) as scores:
        ledger = scores.state.ledger(f"steps-{steps}", evaluator.metric.direction)
        found = tune(evaluator, BetaSpace(settings, steps, seed), ledger, events.append, guide or Guide(), **more)
    return found, [event for event in events if isinstance(event, TrialDone)]


def trials_of(events: list[Event]) -> list[TrialDone]:
    return [event for event in events if isinstance(event, TrialDone)]


def book(storage: BaseStorage, steps: int = 8, name: str = "run") -> dict[int, tuple[Any, ...]]:
    """All that is known of each finished trial, but for its seconds."""
    found = {}
    for task, entry in Ledger(storage, f"{name}/steps-{steps}").finished().items():
        rows, tokens, _ = entry.record["cost"]
        found[int(task)] = (entry.params, entry.value, {**entry.record, "cost": (rows, tokens)})
    return dict(sorted(found.items()))


class Dead(Exception):
    pass


class Mortal(InMemoryStorage):
    """A storage that fails after ``life`` more writes.

    killed: every write from then on fails, as if the process were gone; else one, as if it were interrupted. That a
    driver leaves is not counted.
    """

    def __init__(self, killed: bool = True) -> None:
        super().__init__()
        self.life, self.killed, self.writes = math.inf, killed, 0

    def write(self) -> None:
        self.life -= 1
        if self.life < 0:
            if not self.killed:
                self.life = math.inf
            raise Dead
        self.writes += 1

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self.write()
        super().set_study_user_attr(study_id, key, value)

    def create_new_study(self, *arguments: Any, **named: Any) -> int:
        self.write()
        return super().create_new_study(*arguments, **named)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if template_trial is None or "left" not in template_trial.user_attrs or self.life < 0:
            self.write()
        return super().create_new_trial(study_id, template_trial)
