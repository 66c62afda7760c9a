"""What a profile chooses: the best Beta, the optimum over all schedules, and the steps of each block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mdm_tune.config.file import SpaceConfig
from mdm_tune.evaluation.settings import Sampler, Setting
from mdm_tune.schedules.blocks import ShareRule, Shares, equal_shares, even_shares, steps_by_block
from mdm_tune.schedules.curves import Alphas, Beta, Counts, Linear, Schedule
from mdm_tune.schedules.family import Pricer
from mdm_tune.schedules.pricing import Optima, ancestral_weights, count_weights
from mdm_tune.schedules.profile import Profile
from mdm_tune.schedules.profile_intervals import group_numbers, standard_errors

__all__ = ["Chooser", "Fold", "clearly_above", "explicit", "folds_of", "held_out", "prices_of", "weights_of"]

Floats = NDArray[np.float64]
FOLDS = 5  # parts of the examples, each of which is priced by what the others choose
FEWEST = 4  # independent examples at least that are parted


@dataclass(frozen=True)
class Chooser:
    """One profile and what follows from it alone, so that another part of the examples can price what it chose.

    monotone: whether the curve that it chooses on may rise nowhere. space: the box of
    the search. limit: steps up to which the optimum is looked for in one sweep.
    """

    profile: Profile
    sampler: Sampler
    monotone: bool
    space: SpaceConfig
    limit: int

    @property
    def tunes_shares(self) -> bool:
        """Whether the profile says how many steps each block gets."""
        return self.sampler.section.block_steps == "tuned" and self.profile.block_length < self.profile.length

    @cached_property
    def pricer(self) -> Pricer:
        """Prices on the curve that schedules are chosen on, nats per sequence."""
        curve = self.profile.monotone if self.monotone else self.profile.smoothed
        share = self.steps_of_blocks if self.tunes_shares else equal_shares
        scaled = curve * self.profile.scale
        return Pricer(
            curve=scaled,
            block_length=self.profile.block_length,
            bernoulli=self.sampler.bernoulli,
            rule=self.sampler.section.counts,
            share=share,
        )

    def share(self, steps: int) -> ShareRule:
        """How the steps are shared out among the blocks: where they cannot be equally, as the optimum does."""
        divided = not self.tunes_shares and steps % self.pricer.blocks == 0
        return equal_shares if divided else self.steps_of_blocks

    def sharing(self, steps: int) -> Literal["equal", "tuned"] | None:
        """How ``share`` does it, in a word; None for one block."""
        if self.pricer.blocks == 1:
            return None
        return "tuned" if self.share(steps) == self.steps_of_blocks else "equal"

    def best_beta(self, steps: int, share: ShareRule | None = None) -> Beta:
        """The Beta(a, b) of least NELBO in the box of the search; share: of the steps, if not those of ``share``."""
        used = share or self.share(steps)
        key = steps, used == equal_shares
        if key not in self._betas:
            self._betas[key] = replace(self.pricer, share=used).best_beta(steps, self.space.ranges)
        return self._betas[key]

    @cached_property
    def _betas(self) -> dict[tuple[int, bool], Beta]:
        """Those that were asked for, by steps and whether blocks share them equally."""
        return {}

    def optimum(self, steps: int) -> Schedule:
        """The schedule of least NELBO among all, within and outside the family."""
        if self.pricer.bernoulli:
            return Alphas(tuple(self.pricer.optimum_alphas(steps).tolist()))
        if steps >= self.profile.length:
            return Linear()  # one token a step, as every schedule
        return Counts(self.pricer.counts_at(self._sweep_to(steps), steps))

    def steps_of_blocks(self, steps: int, length: int, size: int) -> Shares:
        """As many steps for each block as the optimum over all counts takes there.

        Raises InputError where the steps are fewer than the blocks.
        """
        even = even_shares(steps, length, size)
        return even if steps >= length else steps_by_block(self._sweep_to(steps).counts(steps), size)

    def _sweep_to(self, steps: int) -> Optima:
        return self.sweep if steps <= len(self.sweep.nelbo) else self.pricer.optimum_counts(steps)

    @cached_property
    def sweep(self) -> Optima:
        """The best counts of every budget up to ``limit``."""
        return self.pricer.optimum_counts(self.limit)

    def setting(
        self, schedule: Schedule, steps: int, label: str | None = None, share: ShareRule | None = None
    ) -> Setting:
        """The schedule at this budget, its steps shared out among the blocks by this profile or as ``share`` does."""
        chosen = share if share is not None else self.share(steps) if self.pricer.blocks > 1 else None
        size = self.profile.block_length
        return Setting.of(schedule, steps, self.profile.length, self.sampler, label, chosen, size)

    def of_beta(self, steps: int) -> Setting:
        """The best Beta at this budget."""
        return self.setting(self.best_beta(steps), steps)

    def of_optimum(self, steps: int) -> Setting:
        """The optimum at this budget."""
        return self.setting(self.optimum(steps), steps, "optimum")

    def best_weights(self, budgets: Sequence[int]) -> list[Floats]:
        """The weights of the optimum at every budget."""
        pricer, budgets = self.pricer, [min(steps, self.profile.length) for steps in budgets]
        if pricer.bernoulli:
            best: list[Schedule] = [Alphas(tuple(pricer.optimum_alphas(steps).tolist())) for steps in budgets]
        else:
            sweep = pricer.optimum_counts(max(budgets))
            best = [Counts(pricer.counts_at(sweep, steps)) for steps in budgets]
        return [weights_of(self.setting(schedule, steps)) for schedule, steps in zip(best, budgets, strict=True)]


@dataclass(frozen=True)
class Fold:
    """Some of a profile's examples, by their rows, and what the others choose."""

    rows: NDArray[np.intp]
    profile: Profile
    chooser: Chooser


def folds_of(profile: Profile, chooser: Callable[[Profile], Chooser]) -> list[Fold]:
    """The examples in five parts, each with what the others choose; examples of one group are in one part.

    None for an exact profile, which has no examples, and for fewer than four independent ones.
    """
    if profile.exact or profile.independent < FEWEST:
        return []
    number = group_numbers(len(profile.values), profile.groups)
    parts = [np.flatnonzero(number % FOLDS == part) for part in range(min(FOLDS, profile.independent))]
    others = [np.setdiff1d(np.arange(len(number)), rows) for rows in parts]
    return [
        Fold(rows, profile.of_examples(rows), chooser(profile.of_examples(rest)))
        for rows, rest in zip(parts, others, strict=True)
    ]


def held_out(chooser: Chooser, folds: Sequence[Fold], choose: Callable[[Chooser], Setting]) -> Floats:
    """NELBO by example (examples,) of what the examples of the other folds choose, nats per sequence.

    It estimates what is chosen on four fifths of the examples. Without folds on the examples that choose.
    """
    if not folds:
        return prices_of(chooser.profile, choose(chooser), chooser.sampler)
    found = np.empty(len(chooser.profile.values))
    for fold in folds:
        found[fold.rows] = prices_of(fold.profile, choose(fold.chooser), chooser.sampler)
    return found


def clearly_above(profile: Profile, differences: Floats) -> bool:
    """Whether the mean of differences (examples,) of prices is above 0 by more than one standard error.

    Source: the one-standard-error rule of Breiman et al., Classification and Regression Trees, 1984.
    """
    error = standard_errors(differences[:, None] - differences.mean(), profile.groups)[0]
    return bool(differences.mean() > error)


def explicit(setting: Setting) -> Schedule:
    """The schedule whose counts or alphas are those of the setting."""
    return Alphas(setting.alphas or ()) if setting.counts is None else Counts(setting.counts)


def weights_of(setting: Setting) -> Floats:
    """How many tokens (length,) the setting prices at each entry of the curve."""
    if setting.counts is not None:
        return count_weights(setting.counts, setting.length)
    return ancestral_weights(setting.alphas or (), setting.length)


def prices_of(profile: Profile, setting: Setting, sampler: Sampler) -> Floats:
    """NELBO by example (examples,), nats per sequence, of what the sampler does with each, whatever its length."""
    if setting.counts is None:
        return profile.prices_by_size(lambda size: ancestral_weights(setting.alphas or (), size))
    return profile.prices_by_size(lambda size: count_weights(setting.counts_for(size, sampler.section.counts), size))
