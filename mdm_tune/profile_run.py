"""The ``profile`` command between config and terminal, and what to know about a profile before believing it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mdm_tune.build import check_baselines, opened
from mdm_tune.config import Config
from mdm_tune.config_rules import OPTIMUM
from mdm_tune.errors import InputError
from mdm_tune.events import Loaded, Note, Notify, memory_notes
from mdm_tune.permissions import Permissions
from mdm_tune.prices import price_budget, write_profile
from mdm_tune.profiles import Profiles
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
        profiles = Profiles(run, folder, notify, budgets)
        notes = list(profile_notes(profiles))
        for note in notes:
            notify(note)
        names = [name for name in config.search.baselines if name != OPTIMUM]
        priced = [price_budget(profiles, number, names) for number in budgets]
        for note in memory_notes(run):
            notify(note)
        return write_profile(profiles, priced, [note.text for note in notes], folder)


def profile_notes(profiles: Profiles) -> Iterator[Note]:
    """What to know about a profile before believing it."""
    found, config = profiles.profile, profiles.run.config
    sampler = config.sampler
    if sampler.order != "random" or sampler.temperature != 1:
        yield Note(
            f"the profile prices random order at temperature 1; for order {sampler.order} at temperature "
            f"{sampler.temperature:g} it is only a guess at which schedules are good"
        )
    if profiles.reused:
        yield Note(f"profile of the same model and data taken from {profiles.folder.profile('tune')}")
    if profiles.replaced:
        yield Note(f"the profile in the folder was measured anew, because of another {', '.join(profiles.replaced)}")
    if (worse := found.worse_than_uniform()) is not None:
        yield Note(
            f"with {worse[0]} to {worse[1]} tokens visible the model predicts worse than uniform guessing "
            f"({math.log(found.vocab_size):.3f} nats per token): it is miscalibrated there, was not trained on so many "
            f"masks, or was trained with another mask id than {profiles.run.evaluator.denoiser.mask_id}"
        )
    for rise in found.rises():
        yield Note(
            f"the loss rises by {rise.amount:.3g} +- {rise.stderr:.2g} nats per token from {rise.first} to {rise.last} "
            "visible tokens, which no calibrated model's does: prices there are the model's, not the data's"
        )
    tolerance = config.profile.tolerance
    if found.precision is not None and tolerance is not None and found.precision > tolerance:
        yield Note(
            f"all {len(found.values)} tune examples tell the best price to {found.precision:.2%} only, not to "
            f"{tolerance:.2%}; raise dataset.tune"
        )
