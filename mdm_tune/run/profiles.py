"""The information profile of a run: computed from an exact law, read from the run folder, or measured and stored."""

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
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Key, Setting
from mdm_tune.run.build import Run
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.measuring import PointMeasured, UntilPrecise, measure_profile
from mdm_tune.run.profile_answers import MODEL, answer_records, with_answers
from mdm_tune.run.profile_store import profile_key, stored_profile
from mdm_tune.sampling.pieces import predict
from mdm_tune.schedules.blocks import ShareRule, Shares
from mdm_tune.schedules.curves import Beta, Linear, Schedule
from mdm_tune.schedules.family import Pricer
from mdm_tune.schedules.profile import Profile
from mdm_tune.search.space import START, Guide

__all__ = ["ProfileUse", "Profiles", "example_count", "optimum_of", "profile_rows", "profiles_of"]

Floats = NDArray[np.float64]
Record = dict[str, Any]
EXAMPLES = 128  # examples of the tune split if the config gives no number
OBJECTIVE_EXAMPLES = 512  # the same if the profile is the objective: a quarter as many choose worse (docs/search.md)
LIMIT = 128  # steps up to which one sweep finds the optimum, unless a larger budget is requested
WARM_POINTS = 4  # schedules that a warm start takes from the profile


class ProfileUse(Flag):
    """The purposes for which a search uses an information profile."""

    OBJECTIVE = auto()  # prices trials, and finalists on the choose split, without denoiser calls
    BLOCK_STEPS = auto()  # chooses the steps of each block
    BASELINE = auto()  # gives the schedule ``optimum``, which is compared
    WARM_START = auto()  # gives the first proposals

    @property
    def needed(self) -> bool:
        """Whether the search needs the profile. A warm start is optional."""
        return bool(self & ~ProfileUse.WARM_START)

    @property
    def splits(self) -> tuple[Use, ...]:
        """The splits on which the profile is measured; the choose split only if it prices finalists."""
        return ("tune", "choose") if ProfileUse.OBJECTIVE in self else ("tune",)


class Profiles:
    """The profile of a run at one block length, and what follows from it. All is computed on first use.

    Args:
        run: The run, with its evaluator at one block length.
        folder: The run folder, where profiles are stored.
        notify: Receives each measured point.
        budgets: Budgets whose prices are needed; () for those of the config.
        keep: Returns the stored record of a name; makes and stores it if there is none.

    Attributes:
        run: The run, whose evaluator divides the steps among the blocks by this profile if the config says so.
        suffix: Ends the names of files and records, so that they differ between block lengths.
        budgets: The budgets whose prices are needed.
        reused: Whether the profile of the tune split was stored in the folder.
        replaced: Names of the entries in which a stored profile differed, so that it was measured again.
        spent: Cost of measuring in this command.
        without_start: Set to True if a warm start failed and the search goes on without it.
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
            self.run = _with_shares(run, {run.evaluator.block_length: self.steps_of_blocks})
        self.suffix = f"-blocks-{run.evaluator.block_length}" if run.evaluator.several else ""
        self.keep: Callable[[str, Callable[[], Record]], Record] = lambda task, make: keep(task + self.suffix, make)
        self.budgets = tuple(budgets or run.config.sampler.steps)
        self.reused = False
        self.replaced: list[str] = []
        self.spent = Cost()
        self.without_start = False

    @property
    def used(self) -> bool:
        """Whether the profile of the tune split was computed, read or measured so far."""
        return "profile" in self.__dict__

    @cached_property
    def possible(self) -> bool:
        """Whether there can be a profile: from a law that is small enough, or from examples."""
        return self._exact_curve is not None or self.run.dataset is not None

    @property
    def measured(self) -> bool:
        """Whether the profile takes denoiser calls, now or in the command that stored it."""
        return self._exact_curve is None

    @cached_property
    def profile(self) -> Profile:
        """The profile on the tune split.

        Raises InputError if there are neither examples nor a law that is small enough, and as ``measure_profile``.
        """
        return self._profile_on("tune")

    @cached_property
    def on_choose_split(self) -> Profile:
        """The profile on the choose split, which prices finalists on examples that no trial used."""
        return self._profile_on("choose")

    def _profile_on(self, use: Literal["tune", "choose"]) -> Profile:
        """The exact profile, the stored one, or one that is measured now and stored."""
        evaluator = self.run.evaluator
        if self._exact_curve is not None:
            return Profile.of_law(self._exact_curve, evaluator.denoiser.vocab_size, evaluator.block_length)
        if self.run.dataset is None:
            raise InputError("an information profile is measured on examples; add a dataset section")
        file = self.folder.profile(use, self.suffix)
        key = profile_key(self.run, use, self.budgets, example_count(self.run))
        if self.folder.has(file):
            stored, changed = stored_profile(self.folder, file, key)
            self.reused = self.reused or (use == "tune" and stored is not None)
            if stored is not None:
                return stored
            self.replaced = changed
        self.folder.open()  # a folder that cannot be written is refused before any denoiser call
        self.folder.write_moment(self.run.model.clock)
        profile = Profile.from_record(self.keep(f"profile {use}", lambda: self._measure(use).to_record()))
        self.folder.write_json(file.name, {"key": key, "profile": profile.to_record()})
        return profile

    def _measure(self, use: Literal["tune", "choose"]) -> Profile:
        """Measure the profile on a split, with the answers of the config, and add its cost to ``spent``."""
        evaluator, settings = self.run.evaluator, self.run.config.profile
        whole, tolerance = evaluator.split(use), settings.tolerance
        examples = min(example_count(self.run), len(whole.ids))
        whole = whole.shuffled()  # the first examples of a sorted file are unlike the rest
        available = whole if tolerance is not None else whole.first(examples)  # the adaptive mode may need more
        split, drawing = with_answers(self.run, available, settings.answers, self.keep)
        if settings.answers == MODEL:
            self.folder.write_lines(f"answers-{use}{self.suffix}.jsonl", answer_records(self.run, split))
        measured = measure_profile(
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
            predictor=partial(predict, self.run.evaluator.pool),
            groups=getattr(split, "shared", None),
            named=split.named,
            why=ImpossibleTokens(evaluator.denoiser, self.run.model.codec).describe,
        )
        profile = replace(
            measured,
            denoiser_rows=measured.denoiser_rows + drawing.denoiser_rows,
            denoiser_tokens=measured.denoiser_tokens + drawing.denoiser_tokens,
        )
        self.spent += _cost(profile)
        return profile

    @property
    def uses(self) -> ProfileUse:
        """The purposes for which a search uses the profile; empty if it uses none."""
        evaluator, baselines = self.run.evaluator, self.run.config.search.baselines
        tuned = any(evaluator.in_blocks(size).tunes_shares for size in evaluator.block_lengths)
        uses = ProfileUse.OBJECTIVE if self.run.priced_by_profile else ProfileUse(0)
        uses |= ProfileUse.BLOCK_STEPS if tuned else ProfileUse(0)
        uses |= ProfileUse.BASELINE if OPTIMUM in baselines else ProfileUse(0)
        return uses | (ProfileUse.WARM_START if self._gives_warm_start else ProfileUse(0))

    @property
    def shares_steps(self) -> bool:
        """Whether the profile chooses the steps of each block."""
        return self.run.evaluator.tunes_shares

    @property
    def _gives_warm_start(self) -> bool:
        """Whether a search starts from the profile. By default only in random order; in others it did not help."""
        settings, sampler = self.run.config.search, self.run.config.sampler
        random = sampler.order == "random" and sampler.type == "builtin"  # external code has an order of its own
        chosen = settings.warm_start == "profile" or (settings.warm_start == "auto" and random)
        return chosen and settings.strategy != "grid" and self.possible and not self.without_start

    @property
    def cost(self) -> Cost:
        """Cost of measuring the profiles that were used so far, now or in the command that stored them."""
        profiles = (self.__dict__.get(name) for name in ("profile", "on_choose_split"))
        return sum((_cost(profile) for profile in profiles if profile is not None), Cost())

    @cached_property
    def chooser(self) -> Chooser:
        """The chooser of the profile on all examples."""
        return self._chooser(self.profile)

    @property
    def pricer(self) -> Pricer:
        """The pricer of the curve on which schedules are optimised."""
        return self.chooser.pricer

    @cached_property
    def folds(self) -> list[Fold]:
        """Parts of the examples, each with the chooser of the others; empty if exact, or with very few examples."""
        return folds_of(self.profile, self._chooser)

    def held_out(self, choose: Callable[[Chooser], Setting]) -> Floats:
        """NELBO (examples,) of the setting that is chosen without the example, nats per sequence."""
        return held_out(self.chooser, self.folds, choose)

    def optimum(self, steps: int) -> Schedule:
        """The schedule ``optimum``: the one of least NELBO among all, or the plan of the best Beta.

        The best Beta is used if the other is not clearly better, see ``keeps_optimum``.
        """
        clearly_better = self.keeps_optimum(steps)
        return self.chooser.optimum(steps) if clearly_better else explicit(self.chooser.of_beta(steps))

    def keeps_optimum(self, steps: int) -> bool:
        """Whether the optimum over all is clearly better than the best Beta, on examples that chose neither.

        With few examples, a choice among more schedules is often worse.
        """
        if self.profile.exact or not self.folds:
            return self.profile.exact
        beta = self.held_out(partial(Chooser.of_beta, steps=steps))
        optimum = self.held_out(partial(Chooser.of_optimum, steps=steps))
        return clearly_above(self.profile, beta - optimum)

    def steps_of_blocks(self, steps: int, length: int, size: int) -> Shares:
        """The steps of each block in the optimum over all counts.

        Raises InputError if there are fewer steps than blocks.
        """
        return self.chooser.steps_of_blocks(steps, length, size)

    @property
    def limit(self) -> int:
        """The most steps at which the optimum is computed: 128, or the largest budget."""
        return max(LIMIT, *self.budgets)

    def guide(self, steps: int, winners: Sequence[Beta]) -> Guide:
        """The guide of the study of one budget.

        Proposals with the counts of linear, squared-sine or an earlier proposal are left out.

        Args:
            steps: The budget.
            winners: The winners of earlier budgets, which become proposals.
        """
        settings, evaluator = self.run.config.search, self.run.evaluator
        best: list[Beta] = []
        if ProfileUse.WARM_START in self.uses:
            best = self.pricer.near_best(steps, settings.space.ranges, WARM_POINTS)
        proposed = [] if settings.warm_start == "off" else [*best[:1], *winners, *best[1:]]
        known = {evaluator.setting(schedule, steps).key for schedule in START}
        points: dict[Key, Beta] = {}
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
        """Measure on the choose split now, so that no trial waits for it."""
        _ = self.on_choose_split

    def _price(self, setting: Setting) -> float:
        """The NELBO of a trial, nats per sequence, on the curve on which schedules are optimised."""
        return float(weights_of(setting) @ self.pricer.curve)

    def _choose(self, setting: Setting) -> Scores:
        """The scores of a finalist on the choose split.

        Its value is linear's price on the losses plus the difference to linear on the curve that is optimised, which
        varies less than the difference on the losses. Its interval has the width of that on the losses.
        """
        profile, sampler = self.on_choose_split, self.run.evaluator.sampler
        curve = self._chooser(profile).pricer.curve
        linear = self.run.evaluator.setting(Linear(), setting.steps)
        values = prices_of(profile, setting, sampler)
        minus_linear = float((weights_of(setting) - weights_of(linear)) @ curve)
        on_losses, value = profile.mean_price(values), float(prices_of(profile, linear, sampler).mean()) + minus_linear
        ci = on_losses.ci
        if ci is not None:
            ci = ci[0] - on_losses.value + value, ci[1] - on_losses.value + value
        return Scores(
            setting=setting,
            estimate=replace(on_losses, value=value, ci=ci),
            nfe=setting.nfe,
            cost=Cost(),
            use="choose",
            values=None if profile.exact else values,
        )

    @cached_property
    def _exact_curve(self) -> Floats | None:
        """The profile of the exact law; None if the model is no law, or if the law is too large to enumerate."""
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
    """The profile at each block length that is compared.

    Args:
        run: The run.
        folder, notify, budgets, keep: As for ``Profiles``.

    Returns:
        The run, whose evaluator divides the steps among the blocks by the profiles if the config says so; and the
        profiles, by block length.
    """
    profiles = {}
    for size in run.evaluator.block_lengths:
        at_size = replace(run, evaluator=run.evaluator.in_blocks(size))
        profiles[size] = Profiles(at_size, folder, notify, budgets, keep)
    shares = {size: profile.steps_of_blocks for size, profile in profiles.items() if profile.shares_steps}
    return _with_shares(run, shares) if shares else run, profiles


def _with_shares(run: Run, shares: Mapping[int, ShareRule]) -> Run:
    return replace(run, evaluator=replace(run.evaluator, shares={**run.evaluator.shares, **shares}))


def optimum_of(profiles: Mapping[int, Profiles]) -> Callable[[int, int], Schedule]:
    """A function of block length and steps that returns the schedule ``optimum``."""
    return lambda block_length, steps: profiles[block_length].optimum(steps)


def example_count(run: Run) -> int:
    """The examples at the beginning of measuring: those of the config, or more if the profile prices the trials."""
    if run.config.profile.examples is not None:
        return run.config.profile.examples
    default = OBJECTIVE_EXAMPLES if run.priced_by_profile else EXAMPLES
    return min(default, len(run.evaluator.split("tune").ids))


def profile_rows(run: Run, use: Use, block_length: int) -> int:
    """The denoiser rows of measuring the profile of a block length on a split. With a tolerance they may be more."""
    evaluator, settings = run.evaluator, run.config.profile
    split, length = evaluator.split(use), evaluator.length
    forwards: int = getattr(evaluator.denoiser, "forwards", 1)
    whole = len(split.ids)
    examples = min(example_count(run), whole)
    # The ends of every block are measured, even if fewer points are requested.
    ends = length // block_length * min(block_length, 2)
    rows = forwards * examples * min(max(settings.points, ends), length)
    if settings.answers == MODEL:  # the answers are drawn first, one token per step
        drawn = split.shuffled().first(examples if settings.tolerance is None else whole)
        rows += forwards * int(drawn.hidden.sum())
    return rows


def _cost(profile: Profile) -> Cost:
    return Cost(profile.denoiser_rows, profile.denoiser_tokens, profile.seconds)
