"""The information profile of a run: computed from an exact law, taken from the run folder, or measured and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Flag, auto
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mdm_tune.config.validators import OPTIMUM
from mdm_tune.core.errors import InputError
from mdm_tune.datasets.impossible import ImpossibleTokens
from mdm_tune.datasets.splits import Use
from mdm_tune.denoisers.loading import law_of
from mdm_tune.evaluation.evaluator import Cost, Scores
from mdm_tune.evaluation.profile_choice import (
    Chooser,
    Fold,
    clearly_above,
    explicit,
    folds_of,
    held_out,
    prices_of,
    weights_of,
)
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.build import Run
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.measuring import PointMeasured, UntilPrecise, measure_profile
from mdm_tune.run.profile_answers import MODEL, answer_records, answered
from mdm_tune.run.profile_store import profile_key, stored_profile
from mdm_tune.sampling.pieces import predict
from mdm_tune.schedules.blocks import ShareRule, Shares
from mdm_tune.schedules.curves import Beta, Linear, Schedule
from mdm_tune.schedules.family import Pricer
from mdm_tune.schedules.profile import Profile
from mdm_tune.search.space import START, Guide

__all__ = ["ProfileUse", "Profiles", "example_count", "optimum_of", "profiles_of"]

Floats = NDArray[np.float64]
Record = dict[str, Any]
EXAMPLES = 128  # of the tune split where the config names no number
PRICING = 512  # where the profile is the objective: a quarter as many choose worse (docs/search.md)
LIMIT = 128  # steps up to which the optimum is looked for in one sweep, unless a larger budget is asked for
NEAR = 4  # schedules that a warm start takes from the profile, the best one first


class ProfileUse(Flag):
    """What a search uses an information profile for."""

    OBJECTIVE = auto()  # it prices trials, and finalists on the choose split, without denoiser calls
    BLOCK_STEPS = auto()  # it says how many steps each block gets
    BASELINE = auto()  # the optimum on it is one of the compared schedules
    WARM_START = auto()  # the best schedules on it are the first proposals

    @property
    def needed(self) -> bool:
        """Whether the search cannot do without it; without a warm start it can."""
        return bool(self & ~ProfileUse.WARM_START)

    @property
    def splits(self) -> tuple[Use, ...]:
        """The splits on which it is measured: also on that of the finalists where it prices them."""
        return ("tune", "choose") if ProfileUse.OBJECTIVE in self else ("tune",)


class Profiles:
    """The profile and what follows from it, made when it is first asked for.

    run: its evaluator at one block length. notify: told of each measured point. budgets: numbers of steps that prices
    are wanted for, else the config's. keep: makes a record of that name, or returns the one that is kept.
    """

    def __init__(
        self,
        run: Run,
        folder: RunFolder,
        notify: Callable[[PointMeasured], None],
        budgets: Sequence[int] = (),
        keep: Callable[[str, Callable[[], Record]], Record] = lambda task, make: make(),
    ) -> None:
        self.run, self.folder, self.notify = run, folder, notify
        if self.shares_steps:
            self.run = _sharing(run, {run.evaluator.block_length: self.steps_of_blocks})
        # What tells it from those in other blocks.
        self.mark = f"-blocks-{run.evaluator.block_length}" if run.evaluator.several else ""
        self.keep: Callable[[str, Callable[[], Record]], Record] = lambda task, make: keep(task + self.mark, make)
        self.budgets = tuple(budgets or run.config.sampler.steps)
        self.reused = False  # whether the profile was kept in the folder
        self.replaced: list[str] = []  # in what a kept profile differed, so that it was measured anew
        self.spent = Cost()  # on measuring, in this command
        self.without_start = False  # set where a warm start failed and the search goes on without it

    @property
    def taken(self) -> bool:
        """Whether the profile was asked for."""
        return "profile" in self.__dict__

    @cached_property
    def possible(self) -> bool:
        """Whether there is something to take the profile from: a law small enough, or examples."""
        return self._exact_curve is not None or self.run.dataset is not None

    @property
    def measured(self) -> bool:
        """Whether the profile takes denoiser calls, now or when the folder's was made."""
        return self._exact_curve is None

    @cached_property
    def profile(self) -> Profile:
        """Exact, kept or measured on the tune split.

        Raises InputError where there are no examples and no law small enough to compute it, and as ``measure_profile``.
        """
        return self._taken("tune")

    @cached_property
    def second(self) -> Profile:
        """The same on the choose split, to choose among finalists on examples that the search has not seen."""
        return self._taken("choose")

    def _taken(self, use: Literal["tune", "choose"]) -> Profile:
        evaluator = self.run.evaluator
        if self._exact_curve is not None:
            return Profile.of_law(self._exact_curve, evaluator.denoiser.vocab_size, evaluator.block_length)
        if self.run.dataset is None:
            raise InputError("an information profile is measured on examples; add a dataset section")
        file = self.folder.profile(use, self.mark)
        key = profile_key(self.run, use, self.budgets, example_count(self.run))
        if self.folder.has(file):
            kept, changed = stored_profile(self.folder, file, key)
            self.reused = self.reused or (use == "tune" and kept is not None)
            if kept is not None:
                return kept
            self.replaced = changed
        self.folder.open()  # refuses a folder that cannot be written before anything is paid for
        self.folder.write_moment(self.run.model.clock)
        found = Profile.from_record(self.keep(f"profile {use}", lambda: self._measured(use).to_record()))
        self.folder.write_json(file.name, {"key": key, "profile": found.to_record()})
        return found

    def _measured(self, use: Literal["tune", "choose"]) -> Profile:
        evaluator, settings = self.run.evaluator, self.run.config.profile
        whole, tolerance = evaluator.split(use), settings.tolerance
        examples = min(example_count(self.run), len(whole.ids))
        whole = whole.shuffled()  # the first of a file that is sorted are not like the rest
        used = whole if tolerance is not None else whole.first(examples)  # the adaptive mode may ask for more
        split, drawing = answered(self.run, used, settings.answers, self.keep)
        if settings.answers == MODEL:
            self.folder.write_lines(f"answers-{use}{self.mark}.jsonl", answer_records(self.run, split))
        found = measure_profile(
            evaluator.denoiser,
            split.start,
            split.originals,
            split.seeds,
            examples=examples,
            points=settings.points,
            length=evaluator.length,
            block_length=evaluator.block_length,
            end_tokens=self.run.model.codec.end_tokens,
            batch=evaluator.sampler.section.batch,
            adaptive=None if tolerance is None else UntilPrecise(tolerance, self._weights_of_best),
            notify=self.notify,
            ask=partial(predict, self.run.evaluator.pool),
            groups=getattr(split, "shared", None),
            named=split.named,
            why=ImpossibleTokens(evaluator.denoiser, self.run.model.codec).describe,
        )
        found = replace(
            found,
            denoiser_rows=found.denoiser_rows + drawing.denoiser_rows,
            denoiser_tokens=found.denoiser_tokens + drawing.denoiser_tokens,
        )
        self.spent += _cost(found)
        return found

    @property
    def uses(self) -> ProfileUse:
        """What a search uses the profile for; empty where it needs none."""
        evaluator, baselines = self.run.evaluator, self.run.config.search.baselines
        tuned = any(evaluator.in_blocks(size).tunes_shares for size in evaluator.block_lengths)
        found = ProfileUse.OBJECTIVE if self.run.priced_by_profile else ProfileUse(0)
        found |= ProfileUse.BLOCK_STEPS if tuned else ProfileUse(0)
        found |= ProfileUse.BASELINE if OPTIMUM in baselines else ProfileUse(0)
        return found | (ProfileUse.WARM_START if self._warms else ProfileUse(0))

    @property
    def shares_steps(self) -> bool:
        """Whether it says how many steps each block gets."""
        return self.run.evaluator.tunes_shares

    @property
    def _warms(self) -> bool:
        """Whether a search starts from the profile; in other orders than random that was measured not to help."""
        settings, sampler = self.run.config.search, self.run.config.sampler
        random = sampler.order == "random" and sampler.type == "builtin"  # external code has an order of its own
        chosen = settings.warm_start == "profile" or (settings.warm_start == "auto" and random)
        return chosen and settings.strategy != "grid" and self.possible and not self.without_start

    @property
    def cost(self) -> Cost:
        """What measuring took, now or when a kept profile was made."""
        return sum((_cost(self.__dict__[name]) for name in ("profile", "second") if name in self.__dict__), Cost())

    @cached_property
    def chooser(self) -> Chooser:
        """What the whole profile chooses."""
        return self._chooser(self.profile)

    @property
    def pricer(self) -> Pricer:
        """Prices on the curve that schedules are optimised on."""
        return self.chooser.pricer

    @cached_property
    def folds(self) -> list[Fold]:
        """Parts of the examples, each with what the others choose; none of an exact law, or of very few examples."""
        return folds_of(self.profile, self._chooser)

    def held_out(self, choose: Callable[[Chooser], Setting]) -> Floats:
        """NELBO by example (examples,), nats per sequence, of what is chosen without the example."""
        return held_out(self.chooser, self.folds, choose)

    def optimum(self, steps: int) -> Schedule:
        """The schedule of least NELBO among all, within and outside the family; the best Beta's plan if not clearly."""
        kept = self.keeps_optimum(steps)
        return self.chooser.optimum(steps) if kept else explicit(self.chooser.of_beta(steps))

    def keeps_optimum(self, steps: int) -> bool:
        """Whether the optimum over all is clearly better than the best Beta, on examples that chose neither.

        Of few examples the freer choice is often the worse one.
        """
        if self.profile.exact or not self.folds:
            return self.profile.exact
        beta, best = (self.held_out(partial(each, steps=steps)) for each in (Chooser.of_beta, Chooser.of_optimum))
        return clearly_above(self.profile, beta - best)

    def steps_of_blocks(self, steps: int, length: int, size: int) -> Shares:
        """As many steps for each block as the optimum over all counts takes there.

        Raises InputError where the steps are fewer than the blocks.
        """
        return self.chooser.steps_of_blocks(steps, length, size)

    @property
    def limit(self) -> int:
        """The most steps that are looked at: 128, or the largest budget."""
        return max(LIMIT, *self.budgets)

    def guide(self, steps: int, winners: Sequence[Beta]) -> Guide:
        """What the study of one budget starts from; winners: of the budgets before it.

        Proposals whose counts linear, squared-sine or an earlier proposal has are left out.
        """
        settings, evaluator = self.run.config.search, self.run.evaluator
        near: list[Beta] = []
        if ProfileUse.WARM_START in self.uses:
            near = self.pricer.near_best(steps, settings.space.ranges, NEAR)
        proposed = [] if settings.warm_start == "off" else [*near[:1], *winners, *near[1:]]
        known = {evaluator.setting(schedule, steps).key for schedule in START}
        points: dict[tuple[float, ...], Beta] = {}
        for beta in proposed:
            points.setdefault(evaluator.setting(beta, steps).key, beta)
        priced = ProfileUse.OBJECTIVE in self.uses
        return Guide(
            points=tuple(beta for key, beta in points.items() if key not in known),
            price=self._price if priced else None,
            choose=self._choose if priced else None,
            optimum=self.optimum(steps) if OPTIMUM in settings.baselines else None,
        )

    def prepare_choice(self) -> None:
        """Measure on the choose split now, so that no trial has to wait for it."""
        _ = self.second

    def _price(self, setting: Setting) -> float:
        """A trial's NELBO, nats per sequence, on the curve that schedules are optimised on."""
        return float(weights_of(setting) @ self.pricer.curve)

    def _choose(self, setting: Setting) -> Scores:
        """A finalist's price on the choose split: what it costs more than linear on the steadier curve.

        Linear's own price is that of the losses, so that prices are those of the data, and differences are steadier.
        The interval has the width of the losses'.
        """
        profile, sampler = self.second, self.run.evaluator.sampler
        curve = self._chooser(profile).pricer.curve
        linear = self.run.evaluator.setting(Linear(), setting.steps)
        values = prices_of(profile, setting, sampler)
        more = float((weights_of(setting) - weights_of(linear)) @ curve)
        losses, value = profile.mean_price(values), float(prices_of(profile, linear, sampler).mean()) + more
        ci = None if losses.ci is None else (losses.ci[0] - losses.value + value, losses.ci[1] - losses.value + value)
        given = None if profile.exact else values
        return Scores(
            setting=setting,
            estimate=replace(losses, value=value, ci=ci),
            nfe=setting.nfe,
            cost=Cost(),
            use="choose",
            values=given,
        )

    @cached_property
    def _exact_curve(self) -> Floats | None:
        """The law's own profile; None for a model that is none, or a law too large to enumerate."""
        law = law_of(self.run.model)
        if law is None:
            return None
        try:
            return law.profile(self.run.evaluator.block_length)
        except InputError:
            return None

    def _chooser(self, profile: Profile) -> Chooser:
        config = self.run.config
        return Chooser(
            profile=profile,
            sampler=self.run.evaluator.sampler,
            monotone=config.profile.monotone,
            space=config.search.space,
            limit=self.limit,
        )

    def _weights_of_best(self, profile: Profile) -> list[Floats]:
        """The weights of the optimum at every budget, for the adaptive mode."""
        return self._chooser(profile).best_weights(self.budgets)


def profiles_of(
    run: Run,
    folder: RunFolder,
    notify: Callable[[PointMeasured], None],
    budgets: Sequence[int] = (),
    keep: Callable[[str, Callable[[], Record]], Record] = lambda task, make: make(),
) -> tuple[Run, dict[int, Profiles]]:
    """The profile in each kind of blocks that is compared, and the run that shares steps out as they say.

    That is the run itself where steps are not tuned.
    """
    found = {}
    for size in run.evaluator.block_lengths:
        here = replace(run, evaluator=run.evaluator.in_blocks(size))
        found[size] = Profiles(here, folder, notify, budgets, keep)
    shares = {size: each.steps_of_blocks for size, each in found.items() if each.shares_steps}
    return _sharing(run, shares) if shares else run, found


def _sharing(run: Run, shares: Mapping[int, ShareRule]) -> Run:
    return replace(run, evaluator=replace(run.evaluator, shares={**run.evaluator.shares, **shares}))


def optimum_of(profiles: Mapping[int, Profiles]) -> Callable[[int, int], Schedule]:
    """What the schedule of that name stands for, by block length and steps."""
    return lambda block_length, steps: profiles[block_length].optimum(steps)


def example_count(run: Run) -> int:
    """How many examples a profile is measured on, to begin with: more where it prices the trials."""
    given, most = run.config.profile.examples, PRICING if run.priced_by_profile else EXAMPLES
    return min(most, len(run.evaluator.split("tune").ids)) if given is None else given


def _cost(profile: Profile) -> Cost:
    return Cost(profile.denoiser_rows, profile.denoiser_tokens, profile.seconds)
