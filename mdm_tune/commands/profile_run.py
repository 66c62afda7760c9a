"""The ``profile`` command between config and terminal, and what to know about a profile before believing it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mdm_tune.build import check_baselines, opened
from mdm_tune.commands.events import Loaded, Note, Notify, memory_notes
from mdm_tune.config.file import Config
from mdm_tune.config.rules import OPTIMUM
from mdm_tune.errors import InputError
from mdm_tune.permissions import Permissions
from mdm_tune.profile.prices import price_budget, write_profile
from mdm_tune.profile.profiles import Profiles, profiles_of
from mdm_tune.records import Record
from mdm_tune.results import RunFolder

__all__ = ["profile", "profile_notes"]

MOST = 65_536  # as in a config


def profile(
    config: Config,
    steps: Sequence[int],
    *,
    notify: Notify,
    devices: Sequence[str] = ("cpu",),
    allow: Permissions = Permissions(),
) -> Record:
    """Measure the information profile and price every budget without sampling; returns the JSON of the command.

    steps: empty for those of the config. Writes profile.json and two schedule files beside what the folder holds; a
    profile of the same model, data and settings is taken from the folder.
    """
    folder = RunFolder(config.output)
    budgets = list(steps) or list(config.sampler.steps)
    if len(set(budgets)) < len(budgets) or not 1 <= min(budgets) <= max(budgets) <= MOST:
        raise InputError(f"steps must be from 1 to {MOST} and not repeat, got {budgets}; give each budget once")
    with opened(config, devices, allow) as run:
        notify(Loaded(run))
        check_baselines(run, budgets)
        profiles = profiles_of(run, folder, notify, budgets).values()
        notes = [note for each in profiles for note in profile_notes(each)]
        for note in notes:
            notify(note)
        names = [name for name in config.search.baselines if name != OPTIMUM]
        priced = [(each, [price_budget(each, number, names) for number in budgets]) for each in profiles]
        for note in memory_notes(run):
            notify(note)
        return write_profile(priced, [note.text for note in notes], folder)


def profile_notes(profiles: Profiles) -> Iterator[Note]:
    """What to know about a profile before believing it; where there are several, in which blocks it is."""
    label = profiles.run.evaluator.labelled("profile", profiles.run.evaluator.sampler.block_length)
    mark = f"{label}: " if profiles.run.evaluator.several else ""
    return (Note(mark + text) for text in _warnings(profiles))


def _warnings(profiles: Profiles) -> Iterator[str]:
    found, config = profiles.profile, profiles.run.config
    sampler = config.sampler
    if sampler.order != "random" or sampler.temperature != 1:
        also = " and how many steps each block should get" if profiles.shares_steps else ""
        yield (
            f"the profile prices random order at temperature 1; for order {sampler.order} at temperature "
            f"{sampler.temperature:g} it is only a guess at which schedules are good{also}"
        )
    if profiles.reused:
        yield f"profile of the same model and data taken from {profiles.folder.profile('tune', profiles.mark)}"
    if profiles.replaced:
        yield f"the profile in the folder was measured anew, because of another {', '.join(profiles.replaced)}"
    if (worse := found.worse_than_uniform()) is not None:
        yield (
            f"with {worse[0]} to {worse[1]} tokens visible the model predicts worse than uniform guessing "
            f"({math.log(found.vocab_size):.3f} nats per token): it is miscalibrated there, was not trained on so many "
            f"masks, or was trained with another mask id than {profiles.run.evaluator.denoiser.mask_id}"
        )
    for rise in found.rises():
        yield (
            f"the loss rises by {rise.amount:.3g} +- {rise.stderr:.2g} nats per token from {rise.first} to {rise.last} "
            "visible tokens, which no calibrated model's does: prices there are the model's, not the data's"
        )
    tolerance = config.profile.tolerance
    if found.precision is not None and tolerance is not None and found.precision > tolerance:
        yield (
            f"all {len(found.values)} tune examples tell the best price to {found.precision:.2%} only, not to "
            f"{tolerance:.2%}; raise dataset.tune"
        )
