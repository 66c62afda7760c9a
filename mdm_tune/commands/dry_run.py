"""``search --dry-run``: what a search would cost and could show, estimated from two timed batches."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import get_args

from mdm_tune.commands.events import Notify, Warnings, as_notes, report_budgets, report_loaded
from mdm_tune.commands.occupancy import busy_record, waiting_factor
from mdm_tune.commands.progress import Following, Stage, Stages
from mdm_tune.commands.search_frontier import few_for_frontier
from mdm_tune.commands.timing import Speed, comparison_overhead, speed_of, trial_overhead
from mdm_tune.commands.trackers import check_installed
from mdm_tune.config.file import Config
from mdm_tune.config.validators import OPTIMUM
from mdm_tune.core.permissions import Permissions
from mdm_tune.datasets.splits import PADDING, Use
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.run.build import Run, open_run
from mdm_tune.run.dry_run_records import (
    DryRunResult,
    OutlookRecord,
    PhaseRecord,
    ReportSizeRecord,
    ShownGainRecord,
    total_of,
)
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.own_answers import one_token_rows, own_uses, with_own_answers
from mdm_tune.run.profiles import Profiles, ProfileUse, profile_rows, profiles_of
from mdm_tune.run.search_limits import most_scored, phase_rows, pilot_rows, trial_weight
from mdm_tune.sampling.devices import Devices, device_names
from mdm_tune.sampling.replicas import Replicas
from mdm_tune.schedules.curves import Linear, SquaredSine, parse_schedule
from mdm_tune.search.policies import check_policies
from mdm_tune.search.power import detectable, independent_of
from mdm_tune.search.space import BudgetOutlook, outlook_of

__all__ = ["dry_run"]

PILOT = 32  # least examples of the timed batches, enough for an estimate of their spread
STAGES = ("timing two batches", "counting what budgets can reach", "timing proposals", "timing comparisons")
POSITION_BYTES = 48  # bytes of the unmasking loop per row and position: tokens, draws, noise, scores


def dry_run(
    config: Config,
    devices: Devices = ("cpu",),
    allow: Permissions = Permissions(),
    *,
    notify: Notify = lambda event: None,
    since: float | None = None,
) -> DryRunResult:
    """Load model and data, time real batches and proposals, and price the search. Nothing is written.

    The costs of the phases are upper bounds, since counts that are proposed again cost nothing. ``seconds`` of a phase
    are those of its rows, with their part of the metric, at the speed of the batches. They include the time in which
    replicas wait for the last piece of a look or a comparison; ``busy_replicas`` is the share of replicas that a batch
    of trials keeps busy. ``overhead_seconds`` are those of proposals, records and intervals, see ``timing``. ``total``
    is the sum of both and of the start of the command. ``memory_bytes`` is the peak of this process plus the rows of
    the phase. ``detectable_gain`` is estimated from linear against squared-sine on the same examples.

    Args:
        config: The config of the search.
        devices: Where replicas run. The batches are shared among them once all are ready.
        allow: Which foreign code may run.
        notify: Called with every event.
        since: When the command began, in seconds of the monotonic clock; None for now.

    Returns:
        The phases with their costs, the counts that each budget can reach, and the gain that can be shown.

    Raises:
        InputError: If the config cannot be used.
        RunError: If the denoiser or a replica fails.
    """
    folder, since = RunFolder(config.output), time.monotonic() if since is None else since
    if config.search.track is not None:
        check_installed(config.search.track)
    with open_run(config, devices, allow, as_notes(notify)) as run:
        warned = Warnings(following := Following(notify))
        report_loaded(run, warned)
        report_budgets(run, warned)
        for warning in few_for_frontier(run):
            warned(warning)
        following.begin(Stages([Stage(text) for text in STAGES]), run)
        if isinstance(run.evaluator.pool, Replicas):
            run.evaluator.pool.wait_until_ready()
        priced = _priced(with_own_answers(run, None), folder, since, following.stage)
        return replace(priced, devices=tuple(device_names(devices)), warnings=warned.records)


def _priced(
    run: Run, folder: RunFolder, began: float | None = None, stage: Callable[[], None] = lambda: None
) -> DryRunResult:
    """The result without devices and warnings.

    Args:
        run: The run.
        folder: The run folder.
        began: When the command began, in seconds of the monotonic clock; None for now.
        stage: Called when one of ``STAGES`` ends and the next begins.
    """
    config, evaluator = run.config, run.evaluator
    check_policies(evaluator, config.search, config.sampler.steps)
    start = 0.0 if began is None else time.monotonic() - began
    # Two schedules with the same counts, such as these two in 2 steps, do not show how much schedules differ.
    budgets = [[evaluator.setting(each, steps) for each in (Linear(), SquaredSine())] for steps in config.sampler.steps]
    settings = next((pair for pair in budgets if pair[0].key != pair[1].key), budgets[0])
    pilot = None
    if evaluator.exact:
        timed = [evaluator.score(setting, "tune") for setting in settings]
    else:
        pilot = evaluator.split("tune").first(max(PILOT, config.sampler.batch * evaluator.pool.copies))
        if evaluator.own is not None:
            evaluator.own.of(pilot)  # before its rows are timed
        timed = [evaluator.measure_on(setting, pilot) for setting in settings]
    spent = timed[0].cost + timed[1].cost
    speed = Speed(0.0, 0.0) if pilot is None else speed_of(run, settings, pilot, [scores.cost for scores in timed])
    before = time.monotonic()
    stage()
    run, outlooks = _outlooks(run, folder)
    outlook_seconds = time.monotonic() - before
    per_row = replace(spent, seconds=speed.row * spent.denoiser_rows) if spent.denoiser_rows else spent
    phases = _phases(run, per_row, outlooks)
    # A search computes what budgets can reach twice more: for its first event, and in the study of each budget.
    stage()
    overhead = {"tune": trial_overhead(run, outlooks) + 2 * outlook_seconds}
    stage()
    for use in ("choose", "report"):
        count = next(phase.schedules for phase in phases if phase.phase == use)
        examples = 0 if evaluator.exact else len(evaluator.split(use).ids)
        seconds = comparison_overhead(run, use, count, examples, len(pilot.ids) if pilot is not None else 0, speed)
        overhead[use] = seconds * len(config.sampler.steps)
    phases = [replace(phase, overhead_seconds=round(overhead.get(phase.phase, 0.0), 3)) for phase in phases]
    return DryRunResult(
        phases=tuple(phases),
        start_seconds=round(start, 3),
        total=total_of(phases, start),
        reach=tuple(OutlookRecord.of(outlook) for outlook in outlooks),
        shown_gain=_shown_gain(run, timed),
        busy_replicas=busy_record(run),
        peak_memory_bytes=_peak_memory(),
        already_holds_search=folder.holds_search,
        timeout=config.search.timeout,
        cost=spent,
        devices=("cpu",),
        warnings=(),
    )


def _outlooks(run: Run, folder: RunFolder) -> tuple[Run, list[BudgetOutlook]]:
    """The run that shares steps among blocks as far as is known, and what each budget and block length can reach.

    The shares are unknown if they follow from a profile that is not measured yet.
    """
    tuned = run.config.sampler.block_steps == "tuned"
    known = not (tuned and Profiles(run, folder, lambda event: None).measured)
    if known:
        run, _ = profiles_of(run, folder, lambda event: None)
    return run, list(outlook_of(run.evaluator, run.config.sampler.steps, run.config.search, known=known))


def _phases(run: Run, spent: Cost, outlooks: Sequence[BudgetOutlook] = ()) -> list[PhaseRecord]:
    """Upper bounds of the cost of each phase.

    spent: the cost of the timed batches. outlooks: what budgets can reach; a budget with one count vector in its only
    block length has no trial, and the report split has one row of values for all of its schedules.
    """
    evaluator, settings = run.evaluator, run.config.search
    same = [each.steps for each in outlooks if each.counts == 1 and len(evaluator.block_lengths) == 1]
    named = [parse_schedule(name) for name in settings.baselines if name != OPTIMUM]
    same = [steps for steps in same if len({evaluator.setting(each, steps).key for each in [Linear(), *named]}) == 1]
    budgets = [steps for steps in run.config.sampler.steps if steps not in same]
    profiles = Profiles(run, RunFolder(run.config.output), lambda event: None)
    phases = [_profile_phase(run, profiles.uses, spent)] if profiles.uses and profiles.measured else []
    phases += [_own_answers_phase(run, spent)] if run.own is not None else []
    peak, prepared = _peak_memory(), evaluator.preparation
    for use in get_args(Use):
        forwards, width = _forwards_and_tokens(run, use)
        count = most_scored(run, use)
        examples = 0 if evaluator.exact else len(evaluator.split(use).ids)
        free = use != "report" and ProfileUse.OBJECTIVE in profiles.uses  # the profile prices trials
        rows = forwards * phase_rows(run, use, count * (trial_weight(run) if use == "tune" else 1.0), budgets)
        rows += forwards * phase_rows(run, use, 1, same, reference=False) if use == "report" else 0
        if use == "report" and settings.frontier and not evaluator.exact:  # one token per step
            rows += one_token_rows(run, [use])
        if free or (use == "tune" and settings.rows is not None):
            allowed = 0 if free else (settings.rows or 0) * len(budgets) * len(evaluator.block_lengths)
            rows = min(rows, allowed + (forwards * pilot_rows(run, budgets) if use == "tune" else 0))
        exact = count * len(budgets) * spent.seconds / 2 if evaluator.exact else 0.0
        seconds = waiting_factor(run, use) * _seconds(rows * width, spent) if rows else exact
        memory = None if peak is None else peak + examples * evaluator.length * POSITION_BYTES
        cost = Cost(rows, round(rows * width), seconds) + (prepared if use == "tune" else Cost())
        phases.append(PhaseRecord(phase=use, schedules=count, cost=cost, memory_bytes=memory))
    return phases


def _forwards_and_tokens(run: Run, use: Use) -> tuple[int, float]:
    """The forwards of a row at each call (two with guidance), and the mean tokens of a row of the split."""
    forwards: int = getattr(run.evaluator.denoiser, "forwards", 1)
    if run.dataset is None:
        return forwards, run.evaluator.length
    return forwards, float((run.dataset.splits[use].start != PADDING).sum(1).double().mean())


def _seconds(tokens: float, spent: Cost) -> float:
    """The seconds of this number of tokens at the speed of the timed batches."""
    return tokens * spent.seconds / max(1, spent.denoiser_tokens)


def _profile_phase(run: Run, uses: ProfileUse, spent: Cost) -> PhaseRecord:
    """The cost of measuring the information profile. With a tolerance it may cost more."""
    evaluator, total = run.evaluator, Cost()
    for size, use in product(evaluator.block_lengths, uses.splits):
        rows, (_, width) = profile_rows(run, use, size), _forwards_and_tokens(run, use)
        total += Cost(rows, round(rows * width), _seconds(rows * width, spent))
    total = replace(total, seconds=waiting_factor(run, "profile") * total.seconds)
    return PhaseRecord(phase="profile", schedules=0, cost=total, memory_bytes=_peak_memory())


def _own_answers_phase(run: Run, spent: Cost) -> PhaseRecord:
    """The cost of the model's own answers."""
    total = Cost()
    for use in own_uses(run):
        rows, (_, width) = one_token_rows(run, [use]), _forwards_and_tokens(run, use)
        total += Cost(rows, round(rows * width), _seconds(rows * width, spent))
    return PhaseRecord(phase="own answers", schedules=1, cost=total, memory_bytes=_peak_memory())


def _shown_gain(run: Run, timed: list[Scores]) -> ShownGainRecord:
    """The smallest gain that the report split shows, estimated from the scores of the timed batches."""
    estimated = None
    if not run.evaluator.exact and timed[0].setting.key != timed[1].setting.key:
        report = run.evaluator.split("report")
        claims = len(run.config.sampler.steps) * len(run.config.search.policies)
        estimated = detectable(timed[0], timed[1], independent_of(report), claims, len(report.ids))
    if estimated is None:
        return ShownGainRecord(detectable_gain=None, gain_can_be_shown=None, size=None)
    shown = math.isfinite(estimated.gain)
    size = ReportSizeRecord(
        report_examples=estimated.examples or estimated.report,
        report_independent=estimated.report,
        pilot_steps=estimated.steps,
        pilot_examples=estimated.pilot_size,
    )
    return ShownGainRecord(detectable_gain=estimated.gain if shown else None, gain_can_be_shown=shown, size=size)


def _peak_memory() -> int | None:
    """The peak resident size of this process in bytes; None on Windows, which does not count it."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
