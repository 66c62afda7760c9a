"""What an information profile chooses: the best Beta, the best of all schedules, and the steps of each block."""

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
FOLDS = 5  # parts of the examples; the schedule for each is chosen on the others
FEWEST = 4  # fewest independent examples that are divided into folds


@dataclass(frozen=True)
class Chooser:
    """What one profile chooses. Other examples can price the choice.

    Attributes:
        profile: The profile.
        sampler: How tokens are revealed.
        monotone: Whether the curve is made non-increasing before a schedule is chosen on it.
        space: The box of the search.
        limit: Steps up to which one sweep computes the optimum.
    """

    profile: Profile
    sampler: Sampler
    monotone: bool
    space: SpaceConfig
    limit: int

    @property
    def tunes_shares(self) -> bool:
        """Whether the profile decides how many steps each block gets."""
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
        """How the steps are divided among the blocks: equally if possible and not tuned, else as in the optimum."""
        equally = not self.tunes_shares and steps % self.pricer.blocks == 0
        return equal_shares if equally else self.steps_of_blocks

    def sharing(self, steps: int) -> Literal["equal", "tuned"] | None:
        """The name of the rule that ``share`` returns; None for one block."""
        if self.pricer.blocks == 1:
            return None
        return "tuned" if self.share(steps) == self.steps_of_blocks else "equal"

    def best_beta(self, steps: int, share: ShareRule | None = None) -> Beta:
        """The Beta(a, b) of least NELBO in the box of the search, with steps divided by ``share`` unless given."""
        used = share or self.share(steps)
        key = steps, used == equal_shares
        if key not in self._betas:
            self._betas[key] = replace(self.pricer, share=used).best_beta(steps, self.space.ranges)
        return self._betas[key]

    @cached_property
    def _betas(self) -> dict[tuple[int, bool], Beta]:
        """The Betas computed so far, by steps and whether blocks share them equally."""
        return {}

    def optimum(self, steps: int) -> Schedule:
        """The schedule of least NELBO among all schedules, in the Beta family or not."""
        if self.pricer.bernoulli:
            return Alphas(tuple(self.pricer.optimum_alphas(steps).tolist()))
        if steps >= self.profile.length:
            return Linear()  # every schedule reveals one token per step
        return Counts(self.pricer.counts_at(self._sweep_to(steps), steps))

    def steps_of_blocks(self, steps: int, length: int, size: int) -> Shares:
        """The steps of each block in the optimum over all counts.

        Args:
            steps: The step budget of all blocks.
            length: Positions to fill.
            size: Positions per block.

        Raises:
            InputError: If there are fewer steps than blocks.
        """
        even = even_shares(steps, length, size)
        return even if steps >= length else steps_by_block(self._sweep_to(steps).counts(steps), size)

    def _sweep_to(self, steps: int) -> Optima:
        """A sweep that reaches these steps: the common one if it does."""
        return self.sweep if steps <= len(self.sweep.nelbo) else self.pricer.optimum_counts(steps)

    @cached_property
    def sweep(self) -> Optima:
        """The best counts of every budget up to ``limit``."""
        return self.pricer.optimum_counts(self.limit)

    def setting(
        self, schedule: Schedule, steps: int, label: str | None = None, share: ShareRule | None = None
    ) -> Setting:
        """The setting of a schedule at this budget, with steps divided by this profile unless ``share`` is given."""
        share_rule = share if share is not None else self.share(steps) if self.pricer.blocks > 1 else None
        size = self.profile.block_length
        return Setting.of(schedule, steps, self.profile.length, self.sampler, label, share_rule, size)

    def of_beta(self, steps: int) -> Setting:
        """The setting of the best Beta at this budget."""
        return self.setting(self.best_beta(steps), steps)

    def of_optimum(self, steps: int) -> Setting:
        """The setting of the optimum at this budget."""
        return self.setting(self.optimum(steps), steps, "optimum")

    def best_weights(self, budgets: Sequence[int]) -> list[Floats]:
        """The weights (length,) of the optimum at each budget, see ``weights_of``."""
        pricer, budgets = self.pricer, [min(steps, self.profile.length) for steps in budgets]
        if pricer.bernoulli:
            best: list[Schedule] = [Alphas(tuple(pricer.optimum_alphas(steps).tolist())) for steps in budgets]
        else:
            sweep = pricer.optimum_counts(max(budgets))
            best = [Counts(pricer.counts_at(sweep, steps)) for steps in budgets]
        return [weights_of(self.setting(schedule, steps)) for schedule, steps in zip(best, budgets, strict=True)]


@dataclass(frozen=True)
class Fold:
    """Some of a profile's examples, and the choice made on the others.

    Attributes:
        rows: The examples' rows in the whole profile.
        profile: The profile of these examples.
        chooser: What the profile of the other examples chooses.
    """

    rows: NDArray[np.intp]
    profile: Profile
    chooser: Chooser


def folds_of(profile: Profile, chooser: Callable[[Profile], Chooser]) -> list[Fold]:
    """Divide the examples into five folds; examples of one group are in one fold.

    Args:
        profile: The whole profile.
        chooser: Builds the chooser of a part's profile.

    Returns:
        The folds; [] for an exact profile, which has no examples, and for fewer than four independent examples.
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
    """The NELBO of each example under the setting chosen on the other folds.

    It estimates the NELBO of a choice made on four fifths of the examples. Without folds, the examples that are priced
    also choose.

    Args:
        chooser: The chooser of the whole profile, used without folds.
        folds: The folds.
        choose: Chooses a setting.

    Returns:
        (examples,) nats per sequence.
    """
    if not folds:
        return prices_of(chooser.profile, choose(chooser), chooser.sampler)
    prices = np.empty(len(chooser.profile.values))
    for fold in folds:
        prices[fold.rows] = prices_of(fold.profile, choose(fold.chooser), chooser.sampler)
    return prices


def clearly_above(profile: Profile, differences: Floats) -> bool:
    """Whether the mean of price differences (examples,) exceeds 0 by more than one standard error.

    Source: the one-standard-error rule of Breiman et al., Classification and Regression Trees, 1984.
    """
    error = standard_errors(differences[:, None] - differences.mean(), profile.groups)[0]
    return bool(differences.mean() > error)


def explicit(setting: Setting) -> Schedule:
    """The schedule that has exactly the counts or alphas of the setting."""
    return Alphas(setting.alphas or ()) if setting.counts is None else Counts(setting.counts)


def weights_of(setting: Setting) -> Floats:
    """The number of tokens (length,) that the setting prices at each entry of the profile's curve."""
    if setting.counts is not None:
        return count_weights(setting.counts, setting.length)
    return ancestral_weights(setting.alphas or (), setting.length)


def prices_of(profile: Profile, setting: Setting, sampler: Sampler) -> Floats:
    """The NELBO (examples,) of each example at its own length, in nats per sequence."""
    if setting.counts is None:
        return profile.prices_by_size(lambda size: ancestral_weights(setting.alphas or (), size))
    return profile.prices_by_size(lambda size: count_weights(setting.counts_for(size, sampler.section.counts), size))
