"""The ``profile`` command, and the notes that say how far a profile can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mdm_tune.commands.events import Note, Notify, Warnings, as_notes, memory_notes, report_loaded
from mdm_tune.commands.progress import Following, Stage, Stages
from mdm_tune.config.file import Config
from mdm_tune.config.validators import OPTIMUM
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity, shown
from mdm_tune.core.permissions import Permissions
from mdm_tune.core.statistics import estimate
from mdm_tune.evaluation.profile_choice import weights_of
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.metrics.quality import PathLikelihood
from mdm_tune.run.build import Run, check_baselines, open_run
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.prices import price_budget
from mdm_tune.run.profile_answers import reencoded
from mdm_tune.run.profile_records import ProfileRecord, ProfileResult, profile_files, write_profile
from mdm_tune.run.profiles import Profiles, example_count, profile_rows, profiles_of
from mdm_tune.sampling.devices import Devices
from mdm_tune.schedules.blocks import even_shares

__all__ = ["WORSE_THAN_UNIFORM", "other_sampler", "profile", "profile_notes", "winner_notes"]

WORSE_THAN_UNIFORM = "worse-than-uniform"
WHERE_WORSE = "condition on a prompt, reveal the first tokens by another rule, or train at high mask ratios"
FEW = 32  # examples; with fewer, docs/profile.md finds intervals too short and choices poor
MOST = 65_536  # most steps, as in a config


def profile(
    config: Config,
    steps: Sequence[int],
    *,
    notify: Notify,
    devices: Devices = ("cpu",),
    allow: Permissions = Permissions(),
) -> ProfileResult:
    """Measure the information profile and price every budget without sampling.

    Writes ``profile.json`` and two schedule files to the run folder. If the folder has a profile of the same model,
    data and settings, it is not measured again.

    Args:
        config: The config of the run.
        steps: Budgets; empty for those of the config.
        notify: Called with every event.
        devices: Where replicas of the denoiser run.
        allow: Which foreign code may run.

    Returns:
        The profile of each block length with its prices, as it is written to ``profile.json``.

    Raises:
        InputError: If the steps are out of range or repeat, or the config cannot be used.
        RunError: If the denoiser or a replica fails.
    """
    folder = RunFolder(config.output)
    notify = warned = Warnings(following := Following(notify))
    budgets = list(steps) or list(config.sampler.steps)
    if len(set(budgets)) < len(budgets) or not 1 <= min(budgets) <= max(budgets) <= MOST:
        raise InputError(f"steps must be from 1 to {MOST} and not repeat, got {shown(budgets)}; give each budget once")
    with open_run(config, devices, allow, as_notes(notify)) as run:
        report_loaded(run, notify, budgets)
        for note in _unequal_steps_notes(run, budgets):
            notify(note)
        counted = following.begin(_stages(run), run)
        _, by_length = profiles_of(counted, folder, notify, budgets)
        profiles = by_length.values()
        notes = [note for profile in profiles for note in profile_notes(profile)]
        following.stage()
        for note in notes:
            notify(note)
        names = [name for name in config.search.baselines if name != OPTIMUM]
        priced = [(profile, [price_budget(profile, number, names) for number in budgets]) for profile in profiles]
        for note in memory_notes(run):
            notify(note)
        result = ProfileResult(
            profiles=tuple(ProfileRecord.of(profile, prices) for profile, prices in priced),
            cost=sum((profile.spent for profile in profiles), Cost()),
            notes=tuple(note.with_advice for note in notes),
            warnings=warned.records,
            prices_the_sampler=other_sampler(config) is None,
            files=profile_files(folder),
        )
        write_profile(result, list(profiles), folder)
        return result


def _stages(run: Run) -> Stages:
    """The stages of the command. A law has no examples on which a profile could be measured."""
    rows = 0.0
    if run.dataset is not None:
        split = run.evaluator.split("tune")
        examples = min(example_count(run), len(split.ids))
        saved = run.evaluator.saved_by_equal_starts("tune", examples)  # with no token visible
        rows = sum(profile_rows(run, "tune", size) - saved for size in run.evaluator.block_lengths)
    return Stages([Stage("measuring the information profile", rows), Stage("pricing schedules")])


def _unequal_steps_notes(run: Run, budgets: Sequence[int]) -> Iterator[Note]:
    """Warnings about budgets whose steps blocks cannot share equally.

    The optimum can use such budgets, in ``evaluate`` too. So the other schedules are priced with its shares.

    Raises:
        InputError: If blocks cannot share the steps at all.
    """
    for size in run.evaluator.block_lengths:
        evaluator = run.evaluator.in_blocks(size)
        blocks = evaluator.length // size
        unequal = [steps for steps in budgets if evaluator.sampler.section.block_steps == "equal" and steps % blocks]
        check_baselines(replace(run, evaluator=evaluator), [steps for steps in budgets if steps not in unequal])
        for steps in unequal:
            even_shares(steps, evaluator.length, size)
            yield Note(
                f"{steps} steps cannot be shared equally by {blocks} blocks: all schedules have the steps of blocks "
                "that the optimum has there",
                "unequal-steps",
                "for mdm-tune search set sampler.block_steps to tuned",
            )


def profile_notes(profiles: Profiles) -> Iterator[Note]:
    """Notes that say how far a profile can be trusted. If there are several, each note names the block length."""
    label = profiles.run.evaluator.labelled("profile", profiles.run.evaluator.block_length)
    prefix = f"{label}: " if profiles.run.evaluator.several else ""
    return (replace(note, text=prefix + note.text) for note in _notes(profiles))


def _notes(profiles: Profiles) -> Iterator[Note]:
    """The notes without the block length."""
    profile, config = profiles.profile, profiles.run.config
    if (other := other_sampler(config)) is not None:
        also = " and how many steps each block should get" if profiles.shares_steps else ""
        yield Note(
            f"the profile prices random order at temperature 1; for {other} it is only a guess at which schedules are "
            f"good{also}",
            "other-order",
            "judge by mdm-tune search or evaluate with a metric of samples",
        )
    if profiles.reused:
        yield Note(f"profile of the same model and data taken from {profiles.folder.profile('tune', profiles.suffix)}")
    if (text := reencoded(profiles.run, "tune")) is not None:
        yield Note(text, "answers-retold", "measure on the answers of a run with the same model and generation length")
    if profiles.replaced:
        yield Note(f"the profile in the folder was measured anew, because of another {', '.join(profiles.replaced)}")
    if (worse := profile.worse_than_uniform()) is not None:
        yield Note(
            f"with {worse[0]} to {quantity(worse[1], 'token')} visible the model predicts worse than uniform guessing "
            f"({math.log(profile.vocab_size):.3f} nats per token): it is miscalibrated there, was not trained on so "
            f"many masks, or was trained with another mask id than {profiles.run.evaluator.denoiser.mask_id}; samples "
            "that pass through there may be garbage, whatever a likelihood gains",
            WORSE_THAN_UNIFORM,
            WHERE_WORSE,
        )
    for rise in profile.rises():
        yield Note(
            f"the loss rises by {rise.amount:.3g} +- {rise.stderr:.2g} nats per token from {rise.first} to {rise.last} "
            "visible tokens, which no calibrated model's does: prices there are the model's, not the data's",
            "rising-loss",
            "compare samples before a schedule is believed that was chosen by likelihood",
        )
    tolerance = config.profile.tolerance
    if not profile.exact and tolerance is not None and (profile.precision is None or profile.precision > tolerance):
        precision = "with no interval" if profile.precision is None else f"to {profile.precision:.2%} only"
        yield Note(
            f"all {len(profile.values)} tune examples tell the best price {precision}, not to {tolerance:.2%}",
            "profile-precision",
            "raise dataset.tune",
        )
    if not profile.exact and profile.independent < FEW:
        intervals = "it has no intervals" if profile.no_interval else "its intervals hold less often than they say"
        yield Note(
            f"the profile rests on {quantity(profile.independent, 'independent example')}: {intervals}, and what it "
            "chooses loses several "
            "times what a profile of 128 loses",
            "few-examples",
            "raise profile.examples, and dataset.tune with it",
        )


def winner_notes(profiles: Mapping[int, Profiles], winner: Scores) -> Iterator[Note]:
    """Warnings about a winner: by a profile, if there is one, and by a likelihood on the report split.

    Args:
        profiles: By block length.
        winner: The scores of the winner on the report split.
    """
    setting = winner.setting
    of_blocks = profiles.get(setting.block_length) or next(iter(profiles.values()))
    label = f"at {quantity(setting.steps, 'step')} the winner {setting.label}"
    if of_blocks.used and (worse := of_blocks.profile.worse_than_uniform()) is not None:
        visible = np.flatnonzero(weights_of(setting))
        if ((visible >= worse[0]) & (visible <= worse[1])).any():
            yield Note(
                f"{label} reveals tokens where the model predicts worse than uniform guessing, with {worse[0]} to "
                f"{quantity(worse[1], 'token')} visible: its samples may be garbage, whatever its likelihood gains",
                WORSE_THAN_UNIFORM,
                WHERE_WORSE,
            )
    evaluator = of_blocks.run.evaluator
    if winner.values is None or evaluator.exact or not isinstance(evaluator.metric, PathLikelihood):
        return
    vocabulary, sizes = evaluator.denoiser.vocab_size, evaluator.split("report").hidden.sum(1).double().numpy()
    excess = estimate(winner.values - sizes * math.log(vocabulary), groups=winner.groups)
    if excess.ci is not None and excess.ci[0] > 0:
        yield Note(
            f"{label} makes the data less likely than uniform guessing does: {winner.values.sum() / sizes.sum():.3f} "
            f"nats per token, and uniform guessing has {math.log(vocabulary):.3f}",
            WORSE_THAN_UNIFORM,
            WHERE_WORSE,
        )


def other_sampler(config: Config) -> str | None:
    """The part of the sampler that a profile does not price, as text; None if it prices the sampler.

    It is an order other than random, a temperature other than 1, a nucleus, or external code.
    """
    sampler = config.sampler
    if sampler.target is not None:
        return "external code"
    nucleus = f", top-p {sampler.top_p:g}" if sampler.top_p < 1 else ""
    plain = sampler.order == "random" and sampler.temperature == 1 and not nucleus
    return None if plain else f"order {sampler.order} at temperature {sampler.temperature:g}{nucleus}"
