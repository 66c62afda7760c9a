"""The ``evaluate`` command: it scores schedules, reports events, writes the run folder and returns the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

from mdm_tune.commands.events import Note, Notify, SettingScored, Warnings, as_notes, memory_notes, report_loaded
from mdm_tune.commands.frontier import (
    few_for_ties,
    frontier_record,
    more_calls,
    reference_note,
    reference_rows,
    reference_setting,
)
from mdm_tune.commands.profile import profile_notes
from mdm_tune.commands.progress import Following, Stage, Stages, expected_rows
from mdm_tune.commands.report_page import write_page
from mdm_tune.commands.schedule_notes import missing_budgets, no_search, other_samplers, same_plans
from mdm_tune.config.file import Config
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.core.permissions import Permissions
from mdm_tune.evaluation.adaptive import AdaptiveRequest, calibrated, check_adaptive, check_metric, usual_rows
from mdm_tune.evaluation.evaluator import Evaluator, Measurement
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.build import Run, open_run
from mdm_tune.run.description import RunDescription
from mdm_tune.run.evaluate_records import ComparisonRecord, EvaluateResult, RowRecord
from mdm_tune.run.example_records import ExampleRecord, difference_records, example_records, reported_records
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.frontier_records import policy_of
from mdm_tune.run.own_answers import one_token_rows, with_own_answers
from mdm_tune.run.page_records import SamplePair, sample_pairs
from mdm_tune.run.profiles import Profiles, optimum_of, profiles_of
from mdm_tune.run.schedule_names import check_names, settings_of
from mdm_tune.sampling.devices import Devices
from mdm_tune.schedules.adaptive_names import AdaptiveName, parse_adaptive

__all__ = ["evaluate"]


def evaluate(
    config: Config,
    schedules: Sequence[str],
    steps: Sequence[int],
    *,
    differences: bool,
    frontier: bool = False,
    notify: Notify,
    devices: Devices = ("cpu",),
    allow: Permissions = Permissions(),
) -> EvaluateResult:
    """Score schedules at budgets on the report split, and write the run folder.

    Args:
        config: The config of the run.
        schedules: Names and files; empty for those of the config and the run's own schedule file, if it exists.
        steps: Budgets; empty for those of the config.
        differences: Whether the result has the examples on which linear and the last schedule differ most.
        frontier: Whether linear is also measured at one token per step, as with ``evaluate.frontier``.
        notify: Called with every event.
        devices: Where replicas of the denoiser run.
        allow: Which foreign code may run.

    Returns:
        The result, as it is written to ``evaluate.json``.

    Raises:
        InputError: If a schedule, a budget or the config cannot be used.
        RunError: If the denoiser or a replica fails.
    """
    check_names(schedules)
    with open_run(config, devices, allow, as_notes(notify)) as run:
        about = RunDescription.of(run, allow)
        asked = frontier or config.evaluate.frontier
        return _evaluate(run, schedules, steps, differences=differences, frontier=asked, notify=notify, about=about)


def _evaluate(
    run: Run,
    schedules: Sequence[str],
    steps: Sequence[int],
    *,
    differences: bool,
    frontier: bool,
    notify: Notify,
    about: RunDescription,
) -> EvaluateResult:
    config = run.config
    folder = RunFolder(config.output)
    own = [str(folder.schedule)] if folder.has(folder.schedule) and not schedules else []
    names = list(dict.fromkeys(schedules or config.evaluate.schedules))
    budgets = list(steps) or list(config.evaluate.steps or config.sampler.steps)
    notify = warned = Warnings(following := Following(notify))
    report_loaded(run, notify, budgets)
    for note in () if schedules else no_search(folder, names):
        notify(note)
    run, profiles = profiles_of(run, folder, notify, budgets)
    unnamed = [name for name in own if name not in names]
    adaptive = [plan for name in names if (plan := parse_adaptive(name)) is not None]
    fixed = [name for name in names if parse_adaptive(name) is None]
    settings = list(settings_of(run.evaluator, fixed, budgets, unnamed, optimum_of(profiles)))
    if differences and run.evaluator.exact:
        raise InputError(
            "--show-differences needs a metric with samples, and this one is computed exactly; leave it out"
        )
    files = [*fixed, *own, *(plan.schedule for plan in adaptive if plan.schedule is not None)]
    in_use = [profile for profile in profiles.values() if profile.used]
    for note in (note for profile in in_use for note in profile_notes(profile)):
        notify(note)
    for note in (
        *other_samplers(run, dict.fromkeys(files), warned.notes),
        *missing_budgets([*fixed, *unnamed], budgets),
        *same_plans(settings),
    ):
        notify(note)
    for setting in settings:
        if setting.adaptive is not None:  # from a schedule file
            check_metric(run.evaluator, setting.adaptive, setting.label)
    for plan, number, size in product(adaptive, budgets, profiles):
        evaluator = run.evaluator.in_blocks(size)
        check_adaptive(evaluator, plan, number, partial(_setting_at, evaluator, profiles))
    single = run.evaluator.in_blocks(run.evaluator.block_length)
    reference = reference_setting(run, settings, partial(_setting_at, single, profiles), asked=frontier)
    if reference is not None and frontier:
        notify(reference_note(reference, reference_rows(run, reference, settings)))
        kinds = {(plan.kind, plan.schedule, plan.kl) for plan in adaptive}
        policies = len({policy_of(setting) for setting in settings}) + len(kinds) * len(profiles)
        for note in few_for_ties(run, policies, len(budgets)):
            notify(note)
    extra = reference if reference is not None and reference.key not in {setting.key for setting in settings} else None
    folder.open()
    folder.write_moment(run.model.clock)
    scored = []
    total = len(settings) + len(adaptive) * len(budgets) * len(profiles) + (extra is not None)
    run = with_own_answers(following.begin(_stages(run, settings, adaptive, budgets, profiles, extra), run), folder)
    if run.own is not None:
        run.own.of(run.evaluator.split("report"))
        following.stage()
    missed = partial(_missed, notify)
    for score, spent in _scores(run, settings, adaptive, budgets, profiles, following, missed, extra):
        scored.append((score, spent))
        notify(SettingScored(score, len(scored), total))
    last = None if extra is None else scored.pop()
    scores = [score for score, _ in scored]
    linear = run.evaluator.labelled("linear", run.evaluator.block_length)
    for note in memory_notes(run):
        notify(note)
    for note in more_calls(scores, linear, frontier=reference is not None):
        warned.keep(note)
    spent = sum((profile.spent for profile in profiles.values()), Cost()) + (Cost() if last is None else last[0].cost)
    result = _result(run, folder, scores, spent, warned)
    found = None if reference is None else frontier_record(run, scored, reference, last)
    result = replace(result, description=about, sample_pairs=tuple(_pairs(run, scores)), frontier=found)
    result = _write(run, folder, result, list(example_records(run, scores)), differences=differences)
    write_page(folder, notify)
    return result


def _missed(notify: Notify, text: str) -> None:
    """Warn about a value whose calls are not those of linear."""
    notify(Note(text, "calls-missed", "compare its calls too, which are shown with its value"))


def _stages(
    run: Run,
    settings: Sequence[Setting],
    adaptive: Sequence[AdaptiveName],
    budgets: Sequence[int],
    profiles: Mapping[int, Profiles],
    reference: Setting | None,
) -> Stages:
    """The stages of scoring: values of adaptive policies, every schedule and policy at each budget, the reference."""
    stages, number = [], len(settings) + len(adaptive) * len(budgets) * len(profiles) + (reference is not None)
    if adaptive:
        sweeps = [steps for plan in adaptive if plan.value is None for steps in budgets] * len(profiles)
        rows = sum(usual_rows(run.evaluator, steps) for steps in sweeps)
        stages.append(Stage("finding the values of adaptive policies", rows))
    for steps in budgets:
        here = sum(setting.steps == steps for setting in settings) + len(adaptive) * len(profiles)
        rows = expected_rows(run, "report", steps) if here else 0.0
        first = len(stages) - bool(adaptive)
        stages += [
            Stage(f"scoring {place + 1} of {number}, {quantity(steps, 'step')}", rows)
            for place in range(first, first + here)
        ]
    if reference is not None:
        stages.append(Stage("scoring one token per step", reference_rows(run, reference, settings)))
    own = [] if run.own is None else [Stage("drawing the model's own answers", one_token_rows(run, ["report"]))]
    return Stages([*own, *stages])


def _result(run: Run, folder: RunFolder, scores: Sequence[Scores], profiling: Cost, warned: Warnings) -> EvaluateResult:
    """The result without differences. profiling: the cost of measuring profiles and of one token per step."""
    evaluator, data = run.evaluator, run.evaluator.data("report")
    metric = evaluator.metric.name
    return EvaluateResult(
        rows=tuple(RowRecord.of(score, metric) for score in scores),
        data=None if data is None else RowRecord.of(data, metric),
        comparisons=tuple(ComparisonRecord.of_pairs(scores)),
        reference=evaluator.labelled("linear", evaluator.block_length),
        cost=sum((score.cost for score in scores), evaluator.preparation) + profiling + run.own_cost,
        reported=tuple(reported_records(run, scores if data is None else [*scores, data])),
        files={"table": str(folder.path / "evaluate.csv"), "run": str(folder.path)},
        warnings=warned.records,
        programs=run.programs,
    )


def _pairs(run: Run, scores: Sequence[Scores]) -> Iterator[SamplePair]:
    """Pairs of samples of linear and of the last schedule of each budget."""
    linear = run.evaluator.labelled("linear", run.evaluator.block_length)
    for steps in dict.fromkeys(score.setting.steps for score in scores):
        here = [score for score in scores if score.setting.steps == steps]
        if (first := next((score for score in here if score.setting.label == linear), None)) is not None:
            yield from sample_pairs(run, first, here[-1])


def _write(
    run: Run, folder: RunFolder, result: EvaluateResult, examples: Sequence[ExampleRecord], *, differences: bool
) -> EvaluateResult:
    """Write the files of the command; returns the result, with differences if they were requested."""
    folder.write_json("evaluate.json", result.to_json())
    folder.write_csv("evaluate.csv", [row.to_json() for row in result.rows])
    if examples:
        folder.write_lines("evaluate-scores.jsonl", (example.to_json() for example in examples))
    if not differences:
        return result
    return replace(result, differences=tuple(difference_records(examples, result.reference)))


def _setting_at(evaluator: Evaluator, profiles: Mapping[int, Profiles], name: str, steps: int) -> Setting:
    """The setting of a named schedule at a budget. profiles: by block length."""
    return next(settings_of(evaluator, [name], [steps], optimum=optimum_of(profiles)))


def _scores(
    run: Run,
    settings: Sequence[Setting],
    adaptive: Sequence[AdaptiveName],
    budgets: Sequence[int],
    profiles: Mapping[int, Profiles],
    following: Following,
    missed: Callable[[str], None],
    reference: Setting | None = None,
) -> Iterator[tuple[Scores, Cost]]:
    """The scores on the report split, by budget: first of schedules, then of adaptive policies; the reference last.

    A policy with a value of its own is the same at each budget. It is measured once, and its other rows cost nothing.
    Beside the scores stands the cost of the measurement alone, also where it was made for another row.

    Args:
        run: The run.
        settings: The schedules at their budgets.
        adaptive: The adaptive policies.
        budgets: Numbers of steps.
        profiles: By block length.
        following: Learns how many rows the search for the values of adaptive policies takes, and when it ends.
        missed: Called with a sentence for each value whose calls are not those of linear.
        reference: Linear at one token per step; None to leave it out.
    """
    last = [] if reference is None else [reference]
    if run.evaluator.exact:
        in_order = [setting for steps in budgets for setting in settings if setting.steps == steps]
        for score in (run.evaluator.score(setting, "report") for setting in [*in_order, *last]):
            yield score, score.cost
        return
    plans: dict[object, AdaptiveRequest] = {}
    order: list[tuple[object, int, Setting | None]] = []
    for steps in budgets:
        order += [(setting.key, steps, setting) for setting in settings if setting.steps == steps]
        for plan, size in product(adaptive, profiles):
            evaluator = run.evaluator.in_blocks(size)
            key = plan.name, size, None if plan.same_at_every_budget else steps
            plans.setdefault(
                key,
                AdaptiveRequest(
                    evaluator=evaluator, plan=plan, steps=steps, setting_at=partial(_setting_at, evaluator, profiles)
                ),
            )
            order.append((key, steps, None))
    order += [(setting.key, setting.steps, setting) for setting in last]
    values = dict(zip(plans, calibrated([*plans.values()], "report", following.foresee, missed), strict=True))
    if adaptive:
        following.stage()
    split, wanted = run.evaluator.split("report"), dict[object, Measurement]()
    for entry, _, fixed in order:
        wanted.setdefault(entry, values[entry][0] if fixed is None else Measurement(fixed, split))
    results, known = run.evaluator.measure_each([*wanted.values()]), dict[object, Scores]()
    for entry, steps, fixed in order:
        if entry in known:
            same = fixed or replace(known[entry].setting, steps=steps)
            yield replace(known[entry], setting=same, cost=Cost()), known[entry].cost
            continue
        scores = known[entry] = next(results)
        yield scores if fixed is not None else replace(scores, cost=scores.cost + values[entry][1]), scores.cost
