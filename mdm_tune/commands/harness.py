"""Final numbers by lm-evaluation-harness: its prompts, filters, metrics and table with our sampler and schedules."""

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
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.build import Run, open_run
from mdm_tune.run.evaluate_records import ComparisonRecord, HarnessResult, HarnessRow, RowRecord
from mdm_tune.run.folder import RunFolder, load_schedule
from mdm_tune.run.profiles import optimum_of, profiles_of
from mdm_tune.run.schedule_names import check_names, settings_of
from mdm_tune.run.schedule_records import LengthsRecord, OriginRecord
from mdm_tune.sampling.devices import Devices

__all__ = ["harness_numbers"]

Record = dict[str, Any]

HARNESS_KEYS = (
    "results",
    "groups",
    "group_subtasks",
    "n-shot",
    "versions",
    "n-samples",
    "higher_is_better",
    "config",
    "date",
)
CLOSE = 1e-9  # largest difference of two means that are equal but for rounding


@dataclass(frozen=True)
class HarnessRequest:
    """A task or group of the harness, and the options with which it is evaluated.

    Attributes:
        name: The name of the task or group.
        own: The dataset section of the config; None if the task is not the config's.
        shots: Solved examples in a prompt; None for the task's default.
        limit: Evaluates the first documents of each task only, unless None.
        manager: The task manager of the harness that knows the name.
        by: The metric and the filter of the value.
        splits: By task, the split that the harness reports on.
        samples: By task, the numbers of the documents to evaluate; None for all.
        trust_code: Whether tasks may load foreign code.
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
        """The id of a document, which is the id of its example in ``mdm-tune evaluate``."""
        return f"{leaf}/{self.splits[leaf]}/{number}"

    def id_at(self, leaf: str, index: int) -> str:
        """The id of the document with this index among those that are evaluated."""
        return self.id(leaf, index if self.samples is None else self.samples[leaf][index])


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
        config: The config of the run.
        schedules: Names of schedules and of adaptive policies with their value, and files; empty for linear and the
            run's own schedule file, if it exists.
        steps: Budgets; empty for those of the schedule file, or of the config if there is no file.
        task: A task other than the config's, evaluated with the config's sampler and length of answers.
        include_path: The folder of that task's files; None for the config's.
        shots: Solved examples in a prompt of that task; None for the task's default.
        limit: Most documents of each task; None for all.
        draws: Random paths of a likelihood, at least 1, see ``HarnessModel``.
        notify: Called with every event.
        devices: Where replicas of the denoiser run.
        allow: Which foreign code may run.

    Returns:
        The tables of the harness, the origin of their numbers, and paired differences.

    Raises:
        InputError: If the harness does not know the task, the task runs programs, no task is named and the config has
            none, or an option is out of range.
        RunError: If the code of the harness or of the task fails.
    """
    if draws < 1:
        raise InputError(f"--draws must be at least 1, got {draws}; give 1 or leave it out")
    check_names(schedules)
    request = _request(config, task, include_path, shots, limit, allow.trust_code)
    with open_run(config, devices, allow, as_notes(notify)) as run:
        if request.own is not None and request.own.folds is not None:
            samples = _fold(run, request)
            request = replace(request, samples=samples, manager=WholeRuns(request.manager, samples), limit=None)
        return _numbers(run, request, list(schedules), list(steps), draws, notify)


def _request(
    config: Config, task: str | None, include_path: str | None, shots: int | None, limit: int | None, trust_code: bool
) -> HarnessRequest:
    """The request for the named task, or for the config's. Raises InputError as ``harness_numbers`` does."""
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
    for flag, value in {"--shots": shots, "--include-path": include_path}.items():
        if value is not None:
            raise InputError(f"{flag} goes with --task, got {value}; the config's own task has its settings in dataset")
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
    """By task, the split that the harness reports on."""
    return {
        str(task.config.task): str(task.config.test_split if task.has_test_docs() else task.config.validation_split)
        for task in loaded["tasks"].values()
    }


def _numbers(
    run: Run, request: HarnessRequest, schedules: list[str], steps: list[int], draws: int, notify: Notify
) -> HarnessResult:
    """Evaluate the request at each setting and write the files of the command; returns the result."""
    folder = RunFolder(run.config.output)
    notify = warned = Warnings(notify)
    report_loaded(run, notify, steps)
    settings = _settings(run, folder, schedules, steps)
    for note in other_samplers(run, list(dict.fromkeys(setting.label for setting in settings)), warned.notes):
        notify(note)
    folder.open()
    folder.write_moment(run.model.clock)
    scores: list[Scores] = []
    rows: list[HarnessRow] = []
    lines: list[Record] = []
    for setting in settings:
        score, row, answers = _measured(run, setting, request, draws)
        scores.append(score)
        rows.append(row)
        lines += answers
        notify(SettingScored(score, len(scores), len(settings)))
        value = row.estimate.value
        if row.value_of_harness is not None and abs(row.value_of_harness - value) > CLOSE:
            text = f"{request.name} is no mean over documents; intervals are those of their mean, {value:g}"
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
        task=request.name,
        metric=request.by.metric,
        filter=request.by.filter,
        documents=scores[0].count,
        rows=tuple(rows),
        comparisons=tuple(ComparisonRecord.of_pairs(scores)),
        reference=run.evaluator.labelled("linear", run.evaluator.block_length),
        cost=sum((score.cost for score in scores), Cost()),
        origin=origin,
        warnings=warned.records,
        files={"table": str(folder.path / "numbers.json"), "run": str(folder.path)},
    )
    folder.write_json("numbers.json", result.to_json())
    folder.write_lines("numbers-scores.jsonl", lines)
    return result


def _settings(run: Run, folder: RunFolder, schedules: list[str], steps: list[int]) -> list[Setting]:
    """The schedules at the budgets. Raises InputError as ``settings_of`` does."""
    own = [str(folder.schedule)] if folder.has(folder.schedule) and not schedules else []
    if not steps:
        steps = sorted(load_schedule(own[0]).budgets) if own else list(run.config.sampler.steps)
    run, profiles = profiles_of(run, folder, lambda event: None, steps)
    return list(settings_of(run.evaluator, schedules or ["linear"], steps, own, optimum_of(profiles)))


def _fold(run: Run, request: HarnessRequest) -> dict[str, list[int]]:
    """By task, the ascending numbers of the documents that the config's fold reports on.

    Raises:
        InputError: If the fold has no document of a task. The harness would evaluate all documents of that task.
    """
    assert run.dataset is not None
    documents: dict[str, list[int]] = {}
    for name in run.dataset.splits["report"].ids:
        leaf, _, number = name.rsplit("/", 2)
        documents.setdefault(leaf, []).append(int(number))
    if lacking := sorted(request.splits.keys() - documents.keys()):
        raise InputError(
            f"dataset.folds: this fold holds no document of task {lacking[0]}, and the harness asks each task of a "
            "group for some; lower dataset.folds, raise dataset.report, or name one of the tasks"
        )
    return {leaf: sorted(numbers) for leaf, numbers in documents.items()}


def _measured(
    run: Run, setting: Setting, request: HarnessRequest, draws: int
) -> tuple[Scores, HarnessRow, list[Record]]:
    """The scores of a setting on each document, its row with the harness's own table, and a record per document."""
    from mdm_tune.commands.harness_model import HarnessModel

    own, by = request.own, request.by
    model = HarnessModel(run, setting, request.id_at, prefix=(own.prefix if own else None) or "", draws=draws)
    results = _evaluated(model, request)
    values = _values(results, request)
    weights = dict.fromkeys(values, 1.0) if by.by_size else _weights([*values])
    weighted = np.array([value * weights[name] for name, value in values.items()])
    bounds, groups = bounds_of(by.metric, weights.values()), _groups(run, [*values])
    mean = estimate(weighted, bounds=bounds, groups=groups)
    calls = None  # of each document, where the predictions decide them
    if setting.adaptive is not None and values.keys() <= model.answers.keys():
        calls = np.array([model.answers[name]["nfe"] for name in values], dtype=np.float64)
    scores = Scores(
        setting=setting,
        estimate=mean,
        nfe=float(np.mean(model.nfe)),
        cost=model.cost,
        use="report",
        values=weighted,
        calls=calls,
        groups=groups,
        bounds=bounds,
    )
    total = results.get("groups", {}).get(request.name) or results["results"].get(request.name) or {}
    row = HarnessRow(
        **vars(RowRecord.of(scores, by.metric)),
        cost=model.cost,
        value_of_harness=total.get(f"{by.metric},{by.filter}"),
        harness={key: _plain(results[key]) for key in HARNESS_KEYS if key in results},
    )
    source = {"schedule": setting.label, "steps": setting.steps}
    documents = [
        {**source, "id": name, "value": value, **model.answers.get(name, {})} for name, value in values.items()
    ]
    return scores, row, documents


def _evaluated(model: Any, request: HarnessRequest) -> Mapping[str, Any]:
    """The results of the harness. Raises RunError for any failure in the code of the harness or the task."""
    from lm_eval import simple_evaluate

    own = request.own
    try:
        with silent(), without_consent_prompts(request.trust_code, f"dataset.task: {request.name}"):
            results: Mapping[str, Any] = simple_evaluate(
                model=model,
                tasks=[request.name],
                num_fewshot=request.shots,
                limit=request.limit,
                samples=request.samples,
                system_instruction=own.system if own else None,
                apply_chat_template=own.chat if own else False,
                fewshot_as_multiturn=bool(own and own.chat and own.multiturn),
                task_manager=request.manager,
            )
    except MdmTuneError:
        raise
    except (Exception, SystemExit) as error:  # whatever a task's code raises
        raise RunError(f"lm-evaluation-harness failed on {request.name}: {error_text(error)}") from error
    return results


def _values(results: Mapping[str, Any], request: HarnessRequest) -> dict[str, float]:
    """The score of each document by id.

    Raises:
        InputError: If the metric has no number for a single document.
    """
    values = {}
    for leaf, samples in results["samples"].items():
        for sample in samples:
            if sample["filter"] != request.by.filter:
                continue
            value = sample.get(request.by.metric)
            if not isinstance(value, int | float | np.number):
                raise InputError(
                    f"{request.by.metric} of task {leaf} is computed from all answers at once and has no value for "
                    "each of them; choose a task, or a dataset.metric, that has"
                )
            values[request.id(leaf, sample["doc_id"])] = float(value)
    return values


def _groups(run: Run, names: Sequence[str]) -> tuple[str, ...] | None:
    """The group of each document; None if every document has a group of its own."""
    report = None if run.dataset is None else run.dataset.splits["report"]
    known = {} if report is None else dict(zip(report.ids, report.groups, strict=False))
    groups = tuple(known.get(name, name) for name in names)
    return groups if len(set(groups)) < len(groups) else None


def _weights(names: Sequence[str]) -> dict[str, float]:
    """The weights of documents with which every task of a group counts alike in the mean over documents."""
    sizes = Counter(name.rsplit("/", 2)[0] for name in names)
    return {name: len(names) / len(sizes) / sizes[name.rsplit("/", 2)[0]] for name in names}


def _plain(value: Any) -> Any:
    """The value in types of JSON. Numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)
