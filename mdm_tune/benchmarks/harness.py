"""The tasks of lm-evaluation-harness, by name: found, checked before their code runs, and given metric and filter."""

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

__all__ = ["Judgement", "NamedTasks", "bounds_of", "find_task", "judgement", "load_tasks", "manager_of", "silent"]

SHARES = ("exact_match", "acc", "acc_norm", "math_verify")  # metrics that are 1 or 0 for every document
NEAR = 5  # names that are suggested


@dataclass(frozen=True)
class Judgement:
    """The metric and the filter that stand for a task or group; by_size: whether documents count alike.

    Otherwise every task of a group counts alike.
    """

    metric: str
    filter: str
    by_size: bool


@dataclass(frozen=True)
class NamedTasks:
    """The tasks behind a name, and the metric and filter that stand for them; by_size: as in ``Judgement``."""

    leaves: tuple[HarnessTask, ...]
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
    """The task or group of the harness with this name; shots, metric and filter stand in for its own.

    include_path: a folder of more tasks; what stands there can run code, so it needs ``trust_code``.

    Raises InputError without the harness, for an unknown name (with names that are near), a task that is not
    ``generate_until``, one that executes programs or wants several answers, documents that cannot be loaded, an unknown
    metric or filter, a metric that is no mean over documents, and shots for a task that allows none.
    """
    manager = manager_of(name, include_path, trust_code)
    for member, settings in _configs(manager, name):
        _check_kind(member, settings)
    loaded = load_tasks(manager, name, trust_code)
    leaves = tuple(
        HarnessTask(task=task, chat=chat, system=system, multiturn=multiturn, trust_code=trust_code)
        for task in loaded["tasks"].values()
    )
    for leaf in leaves:
        _set_shots(leaf, shots)
    return _judged(leaves, judgement(loaded, name, metric, filter))


def manager_of(name: str, include_path: str | None = None, trust_code: bool = False) -> Any:
    """The harness's ``TaskManager``, which knows the name, with tasks of its own and those of a folder.

    Raises InputError without the harness, for an unknown name, for a folder that is none or that is not trusted, and
    for a task that executes programs.
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
    """What is behind a name: ``tasks`` and ``groups``, each by name; raises InputError where it cannot be loaded."""
    try:
        with silent(), without_consent_prompts(trust_code, f"dataset.task: {name}"):
            loaded: Mapping[str, Any] = manager.load([name])
    except MdmTuneError:
        raise
    except (Exception, SystemExit) as error:  # whatever the harness, its tasks, datasets and the network raise
        raise _cannot_load(name, manager, error) from error
    if not loaded["tasks"]:
        raise InputError(f"dataset.task: the group {name} has no tasks; choose another")
    return loaded


class WholeRuns:
    """A ``TaskManager`` whose tasks give some documents the prompts that they have in a run over all of them.

    The harness draws the shots of one document after another, so that those of a document depend on how many it is
    asked before. numbers: of the documents that will be asked, by task, in ascending order.
    """

    def __init__(self, manager: Any, numbers: Mapping[str, Sequence[int]]) -> None:
        self.manager, self.numbers = manager, numbers

    def __getattr__(self, name: str) -> Any:
        return getattr(self.manager, name)

    def load(self, names: Sequence[str]) -> Mapping[str, Any]:
        """The manager's own answer, its tasks changed as this class says."""
        loaded: Mapping[str, Any] = self.manager.load(names)
        for task in loaded["tasks"].values():
            task.fewshot_context = _in_turn(task, self.numbers[str(task.config.task)])
        return loaded


def _in_turn(task: Any, numbers: Sequence[int]) -> Callable[..., Any]:
    """A task's maker of prompts that makes those of the documents between too, and drops them."""
    make, documents = task.fewshot_context, task.eval_docs
    turns = zip([0, *(number + 1 for number in numbers)], numbers, strict=False)

    def prompt(document: Any, **given: Any) -> Any:
        first, number = next(turns)
        for between in range(first, number) if given.get("num_fewshot") else ():
            make(documents[between], **given)
        return make(document, **given)

    return prompt


def judgement(loaded: Mapping[str, Any], name: str, metric: str | None = None, filter: str | None = None) -> Judgement:
    """The metric and the filter that are wanted, else the first that group or task name."""
    group = loaded.get("groups", {}).get(name)
    listed = list(group.aggregate_metric_list or ()) if group is not None else []
    first = next(iter(loaded["tasks"].values()))
    asked = next((each for each in listed if metric in (None, each.metric)), None)
    return Judgement(
        metric or (asked.metric if asked is not None else next(iter(first.higher_is_better()))),
        filter or (asked.filter_list[0] if asked is not None and asked.filter_list else first._filters[0].name),
        asked is None or bool(asked.weight_by_size),
    )


def bounds_of(metric: str, weights: Iterable[float]) -> Bounds | None:
    """Of the values of documents that are weighted so; None where the metric is not known to be a share."""
    return (0.0, max(weights, default=1.0)) if metric in SHARES else None


def _judged(leaves: tuple[HarnessTask, ...], by: Judgement) -> NamedTasks:
    from lm_eval.api.metrics import mean

    metric, kept = by.metric, by.filter
    for leaf in leaves:
        known, names = leaf.task.higher_is_better(), [ensemble.name for ensemble in leaf.task._filters]
        if metric not in known:
            raise InputError(f"dataset.metric: task {leaf.name} has {', '.join(known)}, got {metric!r}; choose one")
        if kept not in names:
            raise InputError(f"dataset.filter: task {leaf.name} has {', '.join(names)}, got {kept!r}; choose one")
        if leaf.task.aggregation().get(metric) is not mean:
            raise InputError(
                f"dataset.metric: {metric} of task {leaf.name} is computed from all answers at once and has no value "
                "for each of them; choose a metric whose aggregation is mean"
            )
        _check_value(leaf, metric, kept)
    directions: set[Direction]
    directions = {"maximize" if leaf.task.higher_is_better()[metric] else "minimize" for leaf in leaves}
    if len(directions) > 1:
        raise InputError(f"dataset.metric: {metric} is better higher in some tasks and lower in others; choose another")
    return NamedTasks(leaves=leaves, metric=metric, filter=kept, direction=directions.pop(), by_size=by.by_size)


def _check_value(leaf: HarnessTask, metric: str, kept: str) -> None:
    document = leaf.official[0]
    value = leaf.score(document.fields, leaf.reference(document), metric, kept)
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(
            f"dataset.metric: {metric} of task {leaf.name} gives {type(value).__name__} for an answer and not a "
            "number; choose another"
        ) from None


def _set_shots(leaf: HarnessTask, shots: int | None) -> None:
    if shots is None or shots == leaf.shots:
        return
    if leaf.task.config.num_fewshot == 0:
        raise InputError(
            f"dataset.shots: task {leaf.name} is defined without solved documents, which the harness keeps, got "
            f"{shots}; leave it out"
        )
    leaf.task.set_config(key="num_fewshot", value=shots)


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
    """The index of tasks that knows the name; that of the harness's own tasks takes seconds to build."""
    names: list[str] = []
    if include_path is not None:
        own = _manager(include_path, False)
        if name in own.task_index:  # a group there may hold tasks of the harness, whose settings are then unknown
            return own if all(settings for _, settings in _configs(own, name)) else _manager(include_path, True)
        names += own.all_tasks
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


def _configs(manager: Any, name: str, given: Mapping[str, Any] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and settings of each task behind a name, groups and tags followed; given: what a group changes in it."""
    entry = manager.task_index.get(name)
    settings = {**((entry.cfg or {}) if entry is not None else {}), **(given or {})}
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
    """Tasks, the harness and the library ``datasets`` write and draw on the terminal otherwise."""
    try:
        import datasets
    except ImportError:  # which is said where it is needed
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
