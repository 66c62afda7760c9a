"""The ``profile`` command between config and terminal, and what to know about a profile before believing it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mdm_tune.commands.events import Note, Notify, Warnings, as_notes, memory_notes, report_loaded
from mdm_tune.config.file import Config
from mdm_tune.config.validators import OPTIMUM
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity, shown
from mdm_tune.core.permissions import Permissions
from mdm_tune.core.statistics import estimate
from mdm_tune.evaluation.evaluator import Cost, Scores
from mdm_tune.evaluation.profile_choice import weights_of
from mdm_tune.metrics.quality import PathLikelihood
from mdm_tune.run.build import Run, check_baselines, open_run
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.prices import price_budget
from mdm_tune.run.profile_answers import reencoded
from mdm_tune.run.profile_records import ProfileRecord, ProfileResult, profile_files, write_profile
from mdm_tune.run.profiles import Profiles, profiles_of
from mdm_tune.sampling.devices import Devices
from mdm_tune.schedules.blocks import even_shares

__all__ = ["WORSE_THAN_UNIFORM", "other_sampler", "profile", "profile_notes", "winner_notes"]

WORSE_THAN_UNIFORM = "worse-than-uniform"
WHERE_WORSE = "condition on a prompt, reveal the first tokens by another rule, or train at high mask ratios"
FEW = 32  # examples, below which docs/profile.md finds intervals too short and choices poor
MOST = 65_536  # as in a config


def profile(
    config: Config,
    steps: Sequence[int],
    *,
    notify: Notify,
    devices: Devices = ("cpu",),
    allow: Permissions = Permissions(),
) -> ProfileResult:
    """Measure the information profile and price every budget without sampling.

    Writes profile.json and two schedule files beside what the folder holds; a profile of the same model, data and
    settings is taken from the folder.

    Args:
        config: the run.
        steps: budgets; empty for those of the config.
        notify: receives the events of the run.
        devices: where replicas of the denoiser run.
        allow: which code of others may run.

    Returns:
        The profile in each kind of blocks with its prices, as it is written to profile.json.

    Raises:
        InputError: the steps are out of range or given twice, or the config cannot be used.
        RunError: the denoiser or a replica fails.
    """
    folder = RunFolder(config.output)
    notify = warned = Warnings(notify)
    budgets = list(steps) or list(config.sampler.steps)
    if len(set(budgets)) < len(budgets) or not 1 <= min(budgets) <= max(budgets) <= MOST:
        raise InputError(f"steps must be from 1 to {MOST} and not repeat, got {shown(budgets)}; give each budget once")
    with open_run(config, devices, allow, as_notes(notify)) as run:
        report_loaded(run, notify, budgets)
        for note in _check(run, budgets):
            notify(note)
        _, by_length = profiles_of(run, folder, notify, budgets)
        profiles = by_length.values()
        notes = [note for each in profiles for note in profile_notes(each)]
        for note in notes:
            notify(note)
        names = [name for name in config.search.baselines if name != OPTIMUM]
        priced = [(each, [price_budget(each, number, names) for number in budgets]) for each in profiles]
        for note in memory_notes(run):
            notify(note)
        result = ProfileResult(
            profiles=tuple(ProfileRecord.of(each, budgets) for each, budgets in priced),
            cost=sum((each.spent for each in profiles), Cost()),
            notes=tuple(note.with_advice for note in notes),
            warnings=warned.records,
            prices_the_sampler=other_sampler(config) is None,
            files=profile_files(folder),
        )
        write_profile(result, list(profiles), folder)
        return result


def _check(run: Run, budgets: Sequence[int]) -> Iterator[Note]:
    """Raise InputError for steps that blocks cannot share at all; a note where they cannot share them equally.

    The optimum takes such steps, in ``evaluate`` too, so that the other schedules get its shares here.
    """
    for size in run.evaluator.block_lengths:
        here = run.evaluator.in_blocks(size)
        blocks = here.length // size
        odd = [steps for steps in budgets if here.sampler.section.block_steps == "equal" and steps % blocks]
        check_baselines(replace(run, evaluator=here), [steps for steps in budgets if steps not in odd])
        for steps in odd:
            even_shares(steps, here.length, size)
            yield Note(
                f"{steps} steps cannot be shared equally by {blocks} blocks: all schedules have the steps of blocks "
                "that the optimum has there",
                "unequal-steps",
                "for mdm-tune search set sampler.block_steps to tuned",
            )


def profile_notes(profiles: Profiles) -> Iterator[Note]:
    """What to know about a profile before believing it; where there are several, in which blocks it is."""
    label = profiles.run.evaluator.labelled("profile", profiles.run.evaluator.block_length)
    mark = f"{label}: " if profiles.run.evaluator.several else ""
    return (replace(note, text=mark + note.text) for note in _notes(profiles))


def _notes(profiles: Profiles) -> Iterator[Note]:
    found, config = profiles.profile, profiles.run.config
    if (other := other_sampler(config)) is not None:
        also = " and how many steps each block should get" if profiles.shares_steps else ""
        yield Note(
            f"the profile prices random order at temperature 1; for {other} it is only a guess at which schedules are "
            f"good{also}",
            "other-order",
            "judge by mdm-tune search or evaluate with a metric of samples",
        )
    if profiles.reused:
        yield Note(f"profile of the same model and data taken from {profiles.folder.profile('tune', profiles.mark)}")
    if (anew := reencoded(profiles.run, "tune")) is not None:
        yield Note(anew, "answers-retold", "measure on the answers of a run with the same model and generation length")
    if profiles.replaced:
        yield Note(f"the profile in the folder was measured anew, because of another {', '.join(profiles.replaced)}")
    if (worse := found.worse_than_uniform()) is not None:
        yield Note(
            f"with {worse[0]} to {quantity(worse[1], 'token')} visible the model predicts worse than uniform guessing "
            f"({math.log(found.vocab_size):.3f} nats per token): it is miscalibrated there, was not trained on so many "
            f"masks, or was trained with another mask id than {profiles.run.evaluator.denoiser.mask_id}; samples that "
            "pass through there may be garbage, whatever a likelihood gains",
            WORSE_THAN_UNIFORM,
            WHERE_WORSE,
        )
    for rise in found.rises():
        yield Note(
            f"the loss rises by {rise.amount:.3g} +- {rise.stderr:.2g} nats per token from {rise.first} to {rise.last} "
            "visible tokens, which no calibrated model's does: prices there are the model's, not the data's",
            "rising-loss",
            "compare samples before a schedule is believed that was chosen by likelihood",
        )
    tolerance = config.profile.tolerance
    if not found.exact and tolerance is not None and (found.precision is None or found.precision > tolerance):
        told = "with no interval" if found.precision is None else f"to {found.precision:.2%} only"
        yield Note(
            f"all {len(found.values)} tune examples tell the best price {told}, not to {tolerance:.2%}",
            "profile-precision",
            "raise dataset.tune",
        )
    if not found.exact and found.independent < FEW:
        said = "it has no intervals" if found.no_interval else "its intervals hold less often than they say"
        yield Note(
            f"the profile rests on {quantity(found.independent, 'independent example')}: {said}, and what it "
            "chooses loses several "
            "times what a profile of 128 loses",
            "few-examples",
            "raise profile.examples, and dataset.tune with it",
        )


def winner_notes(profiles: Mapping[int, Profiles], winner: Scores) -> Iterator[Note]:
    """What a profile, where one was made, and a likelihood on the report split say against a winner.

    profiles: by block length.
    """
    setting = winner.setting
    here = profiles.get(setting.block_length) or next(iter(profiles.values()))
    label = f"at {quantity(setting.steps, 'step')} the winner {setting.label}"
    if here.taken and (worse := here.profile.worse_than_uniform()) is not None:
        priced = np.flatnonzero(weights_of(setting))
        if ((priced >= worse[0]) & (priced <= worse[1])).any():
            yield Note(
                f"{label} reveals tokens where the model predicts worse than uniform guessing, with {worse[0]} to "
                f"{quantity(worse[1], 'token')} visible: its samples may be garbage, whatever its likelihood gains",
                WORSE_THAN_UNIFORM,
                WHERE_WORSE,
            )
    evaluator = here.run.evaluator
    if winner.values is None or evaluator.exact or not isinstance(evaluator.metric, PathLikelihood):
        return
    vocabulary, sizes = evaluator.denoiser.vocab_size, evaluator.split("report").hidden.sum(1).double().numpy()
    above = estimate(winner.values - sizes * math.log(vocabulary), groups=winner.groups)
    if above.ci is not None and above.ci[0] > 0:
        yield Note(
            f"{label} makes the data less likely than uniform guessing does: {winner.values.sum() / sizes.sum():.3f} "
            f"nats per token, and uniform guessing has {math.log(vocabulary):.3f}",
            WORSE_THAN_UNIFORM,
            WHERE_WORSE,
        )


def other_sampler(config: Config) -> str | None:
    """What of the sampler a profile does not price: order, temperature and nucleus, or code of the user's own."""
    sampler = config.sampler
    if sampler.target is not None:
        return "external code"
    nucleus = f", top-p {sampler.top_p:g}" if sampler.top_p < 1 else ""
    plain = sampler.order == "random" and sampler.temperature == 1 and not nucleus
    return None if plain else f"order {sampler.order} at temperature {sampler.temperature:g}{nucleus}"
