"""Tasks of lm-evaluation-harness by name: finding them, checking them before their code runs, and their metric."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from mdm_tune.benchmarks.single_task import HarnessTask, Messages
from mdm_tune.core.consent import datasets_runs_scripts, without_consent_prompts
from mdm_tune.core.errors import InputError, MdmTuneError
from mdm_tune.core.scratch import use_scratch_for_compiler
from mdm_tune.core.statistics import Bounds
from mdm_tune.core.trust import require_trust
from mdm_tune.core.types import Direction

__all__ = [
    "MetricChoice",
    "NamedTasks",
    "bounds_of",
    "checked_settings",
    "choose_metric",
    "find_task",
    "load_tasks",
    "manager_of",
    "silent",
    "task_names",
]

SHARES = ("exact_match", "acc", "acc_norm", "math_verify")  # metrics that are 1 or 0 for every document
NEAR = 5  # most names that a message suggests


@dataclass(frozen=True)
class MetricChoice:
    """The metric and the filter whose value is the number of a task or group.

    Attributes:
        metric: Name of the metric.
        filter: Name of the filter that an answer passes first.
        by_size: Whether each document of a group has the same weight; if False, each task has.
    """

    metric: str
    filter: str
    by_size: bool


@dataclass(frozen=True)
class NamedTasks:
    """The tasks behind a name, and the metric and filter whose value is their number.

    Attributes:
        tasks: One task, or the tasks of a group.
        metric: Name of the metric.
        filter: Name of the filter that an answer passes first.
        direction: Whether higher or lower values are better.
        by_size: As in ``MetricChoice``.
    """

    tasks: tuple[HarnessTask, ...]
    metric: str
    filter: str
    direction: Direction
    by_size: bool


def find_task(
    name: str,
    *,
    include_path: str | None = None,
    trust_code: bool = False,
    shots: int | None = None,
    metric: str | None = None,
    filter: str | None = None,
    chat: Callable[[Messages], str] | None = None,
    system: str | None = None,
    multiturn: bool = True,
) -> NamedTasks:
    """Load the task or group of the harness with this name.

    Args:
        name: Name of the task or group.
        include_path: A folder with more tasks; they can run code, so it needs ``trust_code``.
        trust_code: Whether code of the tasks may run.
        shots: Solved documents in a prompt; None for the task's own number.
        metric: Name of the metric; None for the first of the group or task.
        filter: Name of the filter; None for the first of the group or task.
        chat: Applies the model's chat template to messages; None for plain prompts.
        system: The system instruction; None for none.
        multiturn: Whether shots are turns of the chat, as in the harness's option of this name.

    Raises:
        InputError: If the harness is not installed; if the name, metric or filter is unknown; if a task is not
            ``generate_until``, executes programs or wants several answers; if documents cannot be loaded; if the metric
            is not a mean over documents; if a task allows no shots.
    """
    manager = manager_of(name, include_path, trust_code)
    checked_settings(manager, name)
    loaded = load_tasks(manager, name, trust_code)
    tasks = tuple(
        HarnessTask(task=task, chat=chat, system=system, multiturn=multiturn, trust_code=trust_code)
        for task in loaded["tasks"].values()
    )
    for task in tasks:
        _set_shots(task, shots)
    return _named_tasks(tasks, choose_metric(loaded, name, metric, filter))


def manager_of(name: str, include_path: str | None = None, trust_code: bool = False) -> Any:
    """Return the harness's ``TaskManager`` that has a task or group.

    Args:
        name: Name of the task or group.
        include_path: A folder with more tasks; it needs ``trust_code``.
        trust_code: Whether code of the tasks may run.

    Raises:
        InputError: If the harness is not installed, if the name is unknown, if the folder does not exist or is not
            trusted, or if a task executes programs.
    """
    if include_path is not None:
        if not Path(include_path).is_dir():
            raise InputError(f"dataset.include_path: there is no folder {include_path}; give the one with the tasks")
        require_trust(trust_code, f"dataset.include_path: {include_path}")
    manager = _manager_with(name, include_path)
    for member, settings in _configs(manager, name):
        _refuse_programs(member, settings)
        if datasets_runs_scripts() and (settings.get("dataset_kwargs") or {}).get("trust_remote_code"):
            require_trust(trust_code, f"dataset.task: {member} loads a script of the Hub, which")
    return manager


def load_tasks(manager: Any, name: str, trust_code: bool = False) -> Mapping[str, Any]:
    """Load the ``tasks`` and the ``groups`` behind a name, as dictionaries by name.

    Args:
        manager: A ``TaskManager`` that has the name.
        name: Name of the task or group.
        trust_code: Whether code of the tasks may run.

    Raises:
        InputError: If they cannot be loaded, or if a group has no tasks.
    """
    try:
        with silent(), without_consent_prompts(trust_code, f"dataset.task: {name}"):
            loaded: Mapping[str, Any] = manager.load([name])
    except MdmTuneError:
        raise
    except (Exception, SystemExit) as error:  # the harness, its tasks, datasets and the network may raise anything
        raise _cannot_load(name, manager, error) from error
    if not loaded["tasks"]:
        raise InputError(f"dataset.task: the group {name} has no tasks; choose another")
    return loaded


def checked_settings(manager: Any, name: str) -> list[tuple[str, dict[str, Any]]]:
    """The name and the settings of each task behind a name.

    Raises:
        InputError: If one of them cannot be an objective.
    """
    members = list(_configs(manager, name))
    for member, settings in members:
        _check_kind(member, settings)
    return members


def task_names() -> list[tuple[str, str]]:
    """The names that the harness ships, in alphabetical order, each with its kind: task, group or tag."""
    index = _manager(None, True).task_index
    return [(name, str(index[name].kind.name).lower()) for name in sorted(index)]


class WholeRuns:
    """A ``TaskManager`` for a run over some documents, with the prompts of a run over all documents.

    The harness draws the shots document after document, so the shots of a document depend on how many documents came
    before it.

    Args:
        manager: The harness's ``TaskManager``.
        numbers: For each task, the numbers of the documents in the run, ascending.
    """

    def __init__(self, manager: Any, numbers: Mapping[str, Sequence[int]]) -> None:
        self.manager, self.numbers = manager, numbers

    def __getattr__(self, name: str) -> Any:
        return getattr(self.manager, name)

    def load(self, names: Sequence[str]) -> Mapping[str, Any]:
        """Load the tasks as the manager does, and let them make the prompts of a run over all documents."""
        loaded: Mapping[str, Any] = self.manager.load(names)
        for task in loaded["tasks"].values():
            task.fewshot_context = _prompt_maker(task, self.numbers[str(task.config.task)])
        return loaded


def _prompt_maker(task: Any, numbers: Sequence[int]) -> Callable[..., Any]:
    """The task's ``fewshot_context``, which also makes the prompts of the skipped documents and drops them."""
    make_prompt, documents = task.fewshot_context, task.eval_docs
    ranges = zip([0, *(number + 1 for number in numbers)], numbers, strict=False)

    def prompt(document: Any, **options: Any) -> Any:
        first, number = next(ranges)
        for skipped in range(first, number) if options.get("num_fewshot") else ():
            make_prompt(documents[skipped], **options)
        return make_prompt(document, **options)

    return prompt


def choose_metric(
    loaded: Mapping[str, Any], name: str, metric: str | None = None, filter: str | None = None
) -> MetricChoice:
    """Choose the metric and the filter of a task or group.

    Args:
        loaded: The result of ``load_tasks``.
        name: Name of the task or group.
        metric: The requested metric; None for the first of the group or task.
        filter: The requested filter; None for the first of the group or task.
    """
    group = loaded.get("groups", {}).get(name)
    aggregates = list(group.aggregate_metric_list or ()) if group is not None else []
    first = next(iter(loaded["tasks"].values()))
    aggregate = next((one for one in aggregates if metric in (None, one.metric)), None)
    own_filters = [] if aggregate is None else aggregate.filter_list
    return MetricChoice(
        metric=metric or (aggregate.metric if aggregate is not None else next(iter(first.higher_is_better()))),
        filter=filter or (own_filters[0] if own_filters else first._filters[0].name),
        by_size=aggregate is None or bool(aggregate.weight_by_size),
    )


def bounds_of(metric: str, weights: Iterable[float]) -> Bounds | None:
    """The bounds of the weighted values of documents; None if the metric is not known to be a share."""
    return (0.0, max(weights, default=1.0)) if metric in SHARES else None


def _named_tasks(tasks: tuple[HarnessTask, ...], choice: MetricChoice) -> NamedTasks:
    """The tasks with their metric; raises InputError if a task lacks the metric or filter, or cannot use it."""
    from lm_eval.api.metrics import mean

    metric, filter = choice.metric, choice.filter
    for task in tasks:
        metrics, filters = task.task.higher_is_better(), [ensemble.name for ensemble in task.task._filters]
        if metric not in metrics:
            raise InputError(f"dataset.metric: task {task.name} has {', '.join(metrics)}, got {metric!r}; choose one")
        if filter not in filters:
            raise InputError(f"dataset.filter: task {task.name} has {', '.join(filters)}, got {filter!r}; choose one")
        if task.task.aggregation().get(metric) is not mean:
            raise InputError(
                f"dataset.metric: {metric} of task {task.name} is computed from all answers at once and has no value "
                "for each of them; choose a metric whose aggregation is mean"
            )
        _check_value(task, metric, filter)
    directions: set[Direction]
    directions = {"maximize" if task.task.higher_is_better()[metric] else "minimize" for task in tasks}
    if len(directions) > 1:
        raise InputError(f"dataset.metric: {metric} is better higher in some tasks and lower in others; choose another")
    return NamedTasks(tasks=tasks, metric=metric, filter=filter, direction=directions.pop(), by_size=choice.by_size)


def _check_value(task: HarnessTask, metric: str, filter: str) -> None:
    """Raise InputError if the metric of an answer is not a number."""
    document = task.official[0]
    value = task.score(document.fields, task.reference(document), metric, filter)
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(
            f"dataset.metric: {metric} of task {task.name} gives {type(value).__name__} for an answer and not a "
            "number; choose another"
        ) from None


def _set_shots(task: HarnessTask, shots: int | None) -> None:
    if shots is None or shots == task.shots:
        return
    if task.task.config.num_fewshot == 0:
        raise InputError(
            f"dataset.shots: task {task.name} is defined without solved documents, which the harness keeps, got "
            f"{shots}; leave it out"
        )
    task.task.set_config(key="num_fewshot", value=shots)


def _check_kind(name: str, config: Mapping[str, Any]) -> None:
    """Raise InputError for a task that cannot be an objective, before its code and documents are loaded."""
    kind = config.get("output_type", "generate_until")
    if "class" in config or kind != "generate_until":
        reason = "is Python code of its own" if "class" in config else f"is of output type {kind}"
        raise InputError(f"task {name} {reason}, got no text to fill in; choose a task of type generate_until")
    if config.get("repeats", 1) != 1:
        raise InputError(f"task {name} wants {config['repeats']} answers to each question; choose one that wants one")
    if config.get("doc_to_image") or config.get("doc_to_audio"):
        raise InputError(f"task {name} asks about images or sound; choose a task of text")


def _refuse_programs(name: str, config: Mapping[str, Any]) -> None:
    if config.get("unsafe_code"):
        raise InputError(
            f"task {name} executes generated programs inside the process that scores them; set dataset.type to "
            "humaneval or mbpp, which run them in a process of their own"
        )


def _manager_with(name: str, include_path: str | None) -> Any:
    """A ``TaskManager`` that has the name. The one of the harness's own tasks takes seconds to build."""
    names: list[str] = []
    if include_path is not None:
        folder = _manager(include_path, False)
        if name in folder.task_index:  # a group there may have tasks of the harness, whose settings are then unknown
            return folder if all(settings for _, settings in _configs(folder, name)) else _manager(include_path, True)
        names += folder.all_tasks
    shipped = _manager(None, True)
    if name in shipped.task_index:
        return shipped
    near = difflib.get_close_matches(name, [*names, *shipped.all_tasks], n=NEAR)
    suggestion = f"did you mean {', '.join(near)}? " if near else ""
    raise InputError(
        f"dataset.task: there is no task {name!r} in lm-evaluation-harness"
        f"{'' if include_path is None else f' or in {include_path}'}; {suggestion}For a task of your own put its YAML "
        "file into a folder and name that as dataset.include_path"
    )


@cache
def _manager(include_path: str | None, defaults: bool) -> Any:
    use_scratch_for_compiler()  # the harness imports transformers
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise InputError(
            "dataset.type lm-eval needs lm-evaluation-harness, which is not installed; pip install 'mdm-tune[lm-eval]'"
        ) from None
    return TaskManager(include_path=include_path, include_defaults=defaults)


def _configs(
    manager: Any, name: str, overrides: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the settings of each task behind a name, also through groups and tags.

    overrides: the settings that a group changes.
    """
    entry = manager.task_index.get(name)
    settings = {**((entry.cfg or {}) if entry is not None else {}), **(overrides or {})}
    members = sorted(entry.tags) if entry is not None and entry.kind.name == "TAG" else settings.get("task")
    if not isinstance(members, list):
        yield name, settings
        return
    for member in members:
        own = member if isinstance(member, dict) else {}
        yield from _configs(manager, str(own.get("group") or own.get("task") or member), own)


def _cannot_load(name: str, manager: Any, error: BaseException) -> InputError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    if isinstance(error, ImportError):
        return InputError(
            f"dataset.task: {name} needs Python modules that are missing: {reason}; pip install what this message names"
        )
    paths = sorted({str(settings.get("dataset_path")) for _, settings in _configs(manager, name)})
    return InputError(
        f"dataset.task: {name} cannot be loaded: {reason}; it reads the data set {', '.join(paths)}: where the Hub "
        "cannot be reached, load it once on a machine that reaches it and bring the folder that HF_HOME names, or name "
        "by dataset.include_path a folder with a task file that includes the shipped one and says dataset_path: json "
        "and dataset_kwargs: {data_files: {test: FILE}}"
    )


@contextmanager
def silent() -> Iterator[None]:
    """Keep tasks, the harness and the library ``datasets`` from writing and drawing on the terminal."""
    try:
        import datasets
    except ImportError:  # reported where the library is needed
        yield
        return
    log, shown = logging.getLogger("lm_eval"), not datasets.are_progress_bars_disabled()
    level = log.level
    log.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        log.setLevel(level)
        if shown:
            datasets.enable_progress_bars()
