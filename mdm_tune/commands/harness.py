"""Final numbers by lm-evaluation-harness itself: its prompts, filters, metrics and table, our sampler and schedules."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

import numpy as np

from mdm_tune.benchmarks.harness import (
    MetricChoice,
    WholeRuns,
    bounds_of,
    choose_metric,
    load_tasks,
    manager_of,
    silent,
)
from mdm_tune.commands.events import Note, Notify, SettingScored, Warnings, as_notes, memory_notes, report_loaded
from mdm_tune.commands.schedule_notes import other_samplers
from mdm_tune.config.file import Config
from mdm_tune.config.tasks import LmEvalDatasetConfig
from mdm_tune.core.consent import without_consent_prompts
from mdm_tune.core.errors import InputError, MdmTuneError, RunError
from mdm_tune.core.guard import error_text
from mdm_tune.core.permissions import Permissions
from mdm_tune.core.statistics import estimate
from mdm_tune.evaluation.evaluator import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.build import Run, open_run
from mdm_tune.run.evaluate_records import ComparisonRecord, HarnessResult, HarnessRow, RowRecord
from mdm_tune.run.folder import RunFolder, load_schedule
from mdm_tune.run.profiles import optimum_of, profiles_of
from mdm_tune.run.schedule_names import settings_of
from mdm_tune.run.schedule_records import LengthsRecord, OriginRecord
from mdm_tune.sampling.devices import Devices
from mdm_tune.schedules.adaptive_names import parse_adaptive

__all__ = ["harness_numbers"]

Record = dict[str, Any]

KEPT = ("results", "groups", "group_subtasks", "n-shot", "versions", "n-samples", "higher_is_better", "config", "date")
CLOSE = 1e-9


@dataclass(frozen=True)
class HarnessRequest:
    """A task or group of the harness and how it is asked.

    own: the config's section, None for another task than the config's. limit: the first documents of each task only.
    manager: the harness's index that knows the name. splits: what the harness reports on, by task. samples: the numbers
    of the documents by task, where only some are asked. trust_code: whether tasks may load programs of others.
    """

    name: str
    own: LmEvalDatasetConfig | None
    shots: int | None
    limit: int | None
    manager: Any
    by: MetricChoice
    splits: Mapping[str, str]
    samples: Mapping[str, list[int]] | None = None
    trust_code: bool = False

    def id(self, leaf: str, number: int) -> str:
        """The id of a document: that of the example which it is in ``mdm-tune evaluate``."""
        return f"{leaf}/{self.splits[leaf]}/{number}"

    def id_at(self, leaf: str, place: int) -> str:
        """The id of the document that the harness asks at this place."""
        return self.id(leaf, place if self.samples is None else self.samples[leaf][place])


def harness_numbers(
    config: Config,
    schedules: Sequence[str] = (),
    steps: Sequence[int] = (),
    *,
    task: str | None = None,
    include_path: str | None = None,
    shots: int | None = None,
    limit: int | None = None,
    draws: int = 16,
    notify: Notify,
    devices: Devices = ("cpu",),
    allow: Permissions = Permissions(),
) -> HarnessResult:
    """Evaluate schedules at budgets by lm-evaluation-harness, and write the run folder.

    Args:
        config: the run.
        schedules: empty for linear and the run's own schedule file, where there is one.
        steps: budgets; empty for those of the schedule file, else of the config.
        task: another task than the config's, with the config's sampler and length of answers.
        include_path: the folder of that task's files; None for the config's.
        shots: solved examples in a prompt of that task.
        limit: documents of each task at most.
        draws: paths of a likelihood, see ``HarnessModel``.
        notify: receives the events of the run.
        devices: where replicas of the denoiser run.
        allow: which code of others may run.

    Returns:
        The tables of the harness, where their numbers come from, and paired differences.

    Raises:
        InputError: the harness does not know the task, the task runs programs, or no task is named and the config has
            none.
        RunError: the code of harness or task fails.
    """
    if draws < 1:
        raise InputError(f"--draws must be at least 1, got {draws}; give 1 or leave it out")
    asked = _asked(config, task, include_path, shots, limit, allow.trust_code)
    with open_run(config, devices, allow, as_notes(notify)) as run:
        if asked.own is not None and asked.own.folds is not None:
            samples = _fold(run, asked)
            asked = replace(asked, samples=samples, manager=WholeRuns(asked.manager, samples), limit=None)
        return _numbers(run, asked, list(schedules), list(steps), draws, notify)


def _asked(
    config: Config, task: str | None, include_path: str | None, shots: int | None, limit: int | None, trust_code: bool
) -> HarnessRequest:
    if limit is not None and limit < 1:
        raise InputError(f"--limit must be at least 1, got {limit}; leave it out for all documents")
    if task is not None:
        if include_path is None and isinstance(config.dataset, LmEvalDatasetConfig):
            include_path = config.dataset.include_path
        manager = manager_of(task, include_path, trust_code)
        loaded = load_tasks(manager, task, trust_code)
        return HarnessRequest(
            name=task,
            own=None,
            shots=shots,
            limit=limit,
            manager=manager,
            by=choose_metric(loaded, task),
            splits=_splits(loaded),
            samples=None,
            trust_code=trust_code,
        )
    for flag, given in {"--shots": shots, "--include-path": include_path}.items():
        if given is not None:
            raise InputError(f"{flag} goes with --task, got {given}; the config's own task has its settings in dataset")
    own = config.dataset
    if not isinstance(own, LmEvalDatasetConfig):
        raise InputError(
            "final numbers are those of a task of lm-evaluation-harness, got dataset.type "
            f"{'none' if own is None else own.type}; name a task with --task, or set dataset.type to lm-eval; programs "
            "are scored by mdm-tune evaluate, in a process of their own"
        )
    if limit is not None and own.folds is not None:
        raise InputError(f"--limit: a fold is reported as a whole, got {limit}; set dataset.report or leave folds out")
    manager = manager_of(own.task, own.include_path, trust_code)
    loaded = load_tasks(manager, own.task, trust_code)
    by = choose_metric(loaded, own.task, own.metric, own.filter)
    first = own.report if isinstance(own.report, int) else None
    return HarnessRequest(
        name=own.task,
        own=own,
        shots=own.shots,
        limit=limit or first,
        manager=manager,
        by=by,
        splits=_splits(loaded),
        samples=None,
        trust_code=trust_code,
    )


def _splits(loaded: Mapping[str, Any]) -> dict[str, str]:
    """What the harness reports on, by task."""
    return {
        str(each.config.task): str(each.config.test_split if each.has_test_docs() else each.config.validation_split)
        for each in loaded["tasks"].values()
    }


def _numbers(
    run: Run, asked: HarnessRequest, schedules: list[str], steps: list[int], draws: int, notify: Notify
) -> HarnessResult:
    folder = RunFolder(run.config.output)
    notify = warned = Warnings(notify)
    report_loaded(run, notify, steps)
    settings = _settings_asked(run, folder, schedules, steps)
    for note in other_samplers(run, list(dict.fromkeys(setting.label for setting in settings)), warned.notes):
        notify(note)
    folder.open()
    folder.write_moment(run.model.clock)
    scores: list[Scores] = []
    rows: list[HarnessRow] = []
    lines: list[Record] = []
    for setting in settings:
        found, row, answers = _measured(run, setting, asked, draws)
        scores.append(found)
        rows.append(row)
        lines += answers
        notify(SettingScored(found, len(scores), len(settings)))
        value = row.estimate.value
        if row.value_of_harness is not None and abs(row.value_of_harness - value) > CLOSE:
            text = f"{asked.name} is no mean over documents; intervals are those of their mean, {value:g}"
            notify(Note(text, "no-mean-over-documents"))
    for note in memory_notes(run):
        notify(note)
    origin = {
        "length": run.evaluator.length,
        "lengths": LengthsRecord.of(run).to_json(),
        "sampler": run.config.sampler.record,
        **OriginRecord.of(run).to_json(),
    }
    origin["versions"] |= {name: metadata.version(name) for name in ("lm_eval", "transformers")}
    result = HarnessResult(
        task=asked.name,
        metric=asked.by.metric,
        filter=asked.by.filter,
        documents=scores[0].count,
        rows=tuple(rows),
        comparisons=tuple(ComparisonRecord.of_pairs(scores)),
        reference=run.evaluator.labelled("linear", run.evaluator.block_length),
        cost=sum((each.cost for each in scores), Cost()),
        origin=origin,
        warnings=warned.records,
        files={"table": str(folder.path / "numbers.json"), "run": str(folder.path)},
    )
    folder.write_json("numbers.json", result.to_json())
    folder.write_lines("numbers-scores.jsonl", lines)
    return result


def _settings_asked(run: Run, folder: RunFolder, schedules: list[str], steps: list[int]) -> list[Setting]:
    """The schedules at the budgets; raises InputError for an adaptive plan, and as ``settings_of`` does."""
    if adaptive := [name for name in schedules if parse_adaptive(name) is not None]:
        raise InputError(
            f"--schedule {adaptive[0]} decides by itself what to reveal; mdm-tune evaluate compares such plans"
        )
    own = [str(folder.schedule)] if folder.has(folder.schedule) and not schedules else []
    if not steps:
        steps = sorted(load_schedule(own[0]).budgets) if own else list(run.config.sampler.steps)
    run, profiles = profiles_of(run, folder, lambda event: None, steps)
    return list(settings_of(run.evaluator, schedules or ["linear"], steps, own, optimum_of(profiles)))


def _fold(run: Run, asked: HarnessRequest) -> dict[str, list[int]]:
    """The numbers of the documents of each task that the config's fold reports on, as the harness goes through them.

    Raises InputError where it has none of a task, of which the harness would ask all.
    """
    assert run.dataset is not None
    found: dict[str, list[int]] = {}
    for each in run.dataset.splits["report"].ids:
        leaf, _, number = each.rsplit("/", 2)
        found.setdefault(leaf, []).append(int(number))
    if lacking := sorted(asked.splits.keys() - found.keys()):
        raise InputError(
            f"dataset.folds: this fold holds no document of task {lacking[0]}, and the harness asks each task of a "
            "group for some; lower dataset.folds, raise dataset.report, or name one of the tasks"
        )
    return {leaf: sorted(numbers) for leaf, numbers in found.items()}


def _measured(run: Run, setting: Setting, asked: HarnessRequest, draws: int) -> tuple[Scores, HarnessRow, list[Record]]:
    """One setting: its scores document by document, its row with the harness's own table, and a line per document."""
    from mdm_tune.commands.harness_model import HarnessModel

    own, by = asked.own, asked.by
    model = HarnessModel(run, setting, asked.id_at, prefix=(own.prefix if own else None) or "", draws=draws)
    results = _evaluated(model, asked)
    values = _values(results, asked)
    weights = dict.fromkeys(values, 1.0) if by.by_size else _weights([*values])
    weighted = np.array([value * weights[each] for each, value in values.items()])
    bounds, groups = bounds_of(by.metric, weights.values()), _groups(run, [*values])
    mean = estimate(weighted, bounds=bounds, groups=groups)
    calls = float(np.mean(model.nfe))
    scores = Scores(
        setting=setting,
        estimate=mean,
        nfe=calls,
        cost=model.cost,
        use="report",
        values=weighted,
        groups=groups,
        bounds=bounds,
    )
    total = results.get("groups", {}).get(asked.name) or results["results"].get(asked.name) or {}
    row = HarnessRow(
        **vars(RowRecord.of(scores, by.metric)),
        cost=model.cost,
        value_of_harness=total.get(f"{by.metric},{by.filter}"),
        harness={key: _plain(results[key]) for key in KEPT if key in results},
    )
    asked_of = {"schedule": setting.label, "steps": setting.steps}
    lines = [{**asked_of, "id": each, "value": value, **model.answers.get(each, {})} for each, value in values.items()]
    return scores, row, lines


def _evaluated(model: Any, asked: HarnessRequest) -> Mapping[str, Any]:
    """What the harness says; raises RunError for whatever fails in the code of harness or task."""
    from lm_eval import simple_evaluate

    own = asked.own
    try:
        with silent(), without_consent_prompts(asked.trust_code, f"dataset.task: {asked.name}"):
            results: Mapping[str, Any] = simple_evaluate(
                model=model,
                tasks=[asked.name],
                num_fewshot=asked.shots,
                limit=asked.limit,
                samples=asked.samples,
                system_instruction=own.system if own else None,
                apply_chat_template=own.chat if own else False,
                fewshot_as_multiturn=bool(own and own.chat and own.multiturn),
                task_manager=asked.manager,
            )
    except MdmTuneError:
        raise
    except (Exception, SystemExit) as error:  # whatever a task's code raises
        raise RunError(f"lm-evaluation-harness failed on {asked.name}: {error_text(error)}") from error
    return results


def _values(results: Mapping[str, Any], asked: HarnessRequest) -> dict[str, float]:
    """The score of each document by its id; raises InputError where it is no number."""
    found = {}
    for leaf, listed in results["samples"].items():
        for sample in listed:
            if sample["filter"] != asked.by.filter:
                continue
            value = sample.get(asked.by.metric)
            if not isinstance(value, int | float | np.number):
                raise InputError(
                    f"{asked.by.metric} of task {leaf} is computed from all answers at once and has no value for each "
                    "of them; choose a task, or a dataset.metric, that has"
                )
            found[asked.id(leaf, sample["doc_id"])] = float(value)
    return found


def _groups(run: Run, names: Sequence[str]) -> tuple[str, ...] | None:
    """The group of each document, where some of those that the run reports ask the same; None where none do."""
    report = None if run.dataset is None else run.dataset.splits["report"]
    known = {} if report is None else dict(zip(report.ids, report.groups, strict=False))
    found = tuple(known.get(name, name) for name in names)
    return found if len(set(found)) < len(found) else None


def _weights(names: Sequence[str]) -> dict[str, float]:
    """What makes every task of a group count alike in the mean over documents."""
    sizes = Counter(each.rsplit("/", 2)[0] for each in names)
    return {each: len(names) / len(sizes) / sizes[each.rsplit("/", 2)[0]] for each in names}


def _plain(value: Any) -> Any:
    """What JSON knows, infinities and what is no number as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)
