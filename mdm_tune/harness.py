"""Tasks of lm-evaluation-harness: their documents, prompts and scores, by its own code. Nothing else knows lm_eval."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from mdm_tune.dealing import Document
from mdm_tune.errors import InputError, RunError
from mdm_tune.trust import require_trust

__all__ = ["SHOT_SEED", "Found", "Leaf", "find_task"]

SHOT_SEED = 1234  # the harness's own, so that its prompts and ours are the same
NEAR = 5  # names that are suggested
Messages = Sequence[Mapping[str, str]]


@dataclass
class Leaf:
    """One task that is no group, with the shots that its prompts have shown so far.

    chat: from messages to the model's chat template. system and multiturn: see the harness's options of these names.
    """

    task: Any
    chat: Callable[[Messages], str] | None = None
    system: str | None = None
    multiturn: bool = True
    seen: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.task.set_fewshot_seed(seed=SHOT_SEED)
        sampler = getattr(self.task, "sampler", None)
        if sampler is not None:
            draw = sampler.sample

            def noted(*args: Any, **kwargs: Any) -> Any:
                found = draw(*args, **kwargs)
                self.seen.update((_key(document), document) for document in found)
                return found

            sampler.sample = noted

    @property
    def name(self) -> str:
        return str(self.task.config.task)

    @property
    def shots(self) -> int:
        """Solved documents before each question."""
        return int(self.task.config.num_fewshot or 0)

    @property
    def until(self) -> tuple[str, ...]:
        """Texts that end an answer."""
        given = self.task.config.generation_kwargs["until"]
        return (given,) if isinstance(given, str) else tuple(given)

    @cached_property
    def official(self) -> list[Document]:
        """The documents that the harness reports on: the test split, or validation where there is no test split."""
        if self.task.has_test_docs():
            return self._documents(self.task.config.test_split, self.task.test_docs())
        return self._documents(self.task.config.validation_split, self.task.validation_docs())

    @cached_property
    def pools(self) -> list[list[Document]]:
        """What may tune: the validation documents, then the training documents; none where there are none."""
        found, config = [], self.task.config
        if self.task.has_test_docs() and self.task.has_validation_docs():
            found.append(self._documents(config.validation_split, self.task.validation_docs()))
        if self.task.has_training_docs():
            found.append(self._documents(config.training_split, self.task.training_docs()))
        return found

    def _documents(self, split: str, listed: Sequence[Mapping[str, Any]]) -> list[Document]:
        return [
            Document(f"{self.name}/{split}/{number}", self.name, str(self.task.doc_to_text(fields)), fields)
            for number, fields in enumerate(listed)
        ]

    @property
    def questions_of_shots(self) -> set[str]:
        """The questions of all shots that were shown."""
        return {str(self.task.doc_to_text(fields)) for fields in self.seen.values()}

    def show_only(self, allowed: Callable[[str], bool], at_most: int | None = None) -> None:
        """Draw shots only from documents whose question is allowed, the first ``at_most`` of them, from now on.

        Raises InputError where these are fewer than the shots of a prompt.
        """
        if not self.shots:
            return
        pool = [document for document in self.task.sampler.fewshot_docs() if allowed(self.question(document))]
        pool = pool[:at_most]
        if len(pool) < self.shots:
            raise InputError(
                f"task {self.name} shows {self.shots} solved documents and {len(pool)} are left that are not reported; "
                "set dataset.shots to 0"
            )
        self.task.sampler.replace_df(pool)
        self.task.set_fewshot_seed(seed=SHOT_SEED)

    def question(self, fields: Mapping[str, Any]) -> str:
        """The part of a prompt that is a document's own."""
        return str(self.task.doc_to_text(fields))

    def prompt(self, document: Document) -> str:
        """What the model is shown, shots included; these are drawn in the order of the calls, as the harness does."""
        fields = document.fields
        return str(
            self.task.fewshot_context(
                fields,
                num_fewshot=self.shots,
                system_instruction=self.system,
                apply_chat_template=self.chat is not None,
                fewshot_as_multiturn=self.multiturn and self.chat is not None,
                chat_template=None if self.chat is None else self._templated,
                gen_prefix=self.task.doc_to_prefix(fields),
            )
        )

    def _templated(self, messages: Messages, add_generation_prompt: bool = True) -> str:
        assert self.chat is not None  # the harness is given this function only then
        if add_generation_prompt:
            return self.chat(messages)
        return self.chat(messages[:-1]) + messages[-1]["content"]  # an answer that the task has begun

    def reference(self, document: Document) -> str:
        """The task's own answer, joined to the prompt as it is in a shot."""
        target = self.task.doc_to_target(document.fields)
        if isinstance(target, list):
            target = target[0] if target else ""
        if isinstance(target, int) and self.task.config.doc_to_choice is not None:
            target = self.task.doc_to_choice(document.fields)[target]
        begun = self.task.doc_to_prefix(document.fields)
        if begun:
            return str(target) if begun[-1:].isspace() else f" {target}"
        return str(target) if self.chat is not None else f"{self.task.config.target_delimiter}{target}"

    def score(self, fields: Mapping[str, Any], answer: str, metric: str, kept: str) -> object:
        """What the metric says of an answer that went through the filter called ``kept``.

        Raises RunError where the task's own code fails on it.
        """
        from lm_eval.api.instance import Instance

        instance = Instance("generate_until", dict(fields), ("", {}), 0, (self.name, 0, 1), resps=[answer])
        try:
            for ensemble in self.task._filters:
                if ensemble.name == kept:
                    ensemble.apply([instance])
            return self.task.process_results(fields, [instance.filtered_resps[kept]])[metric]
        except Exception as error:  # whatever a task's code raises
            raise RunError(
                f"task {self.name} cannot score the answer {answer[:80]!r}: {type(error).__name__}: {error}"
            ) from error


@dataclass(frozen=True)
class Found:
    """The tasks behind a name, and the metric and filter that stand for them; by_size: whether documents count alike.

    Otherwise every task of a group counts alike.
    """

    leaves: tuple[Leaf, ...]
    metric: str
    filter: str
    maximize: bool
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
) -> Found:
    """The task or group of the harness with this name; shots, metric and filter stand in for its own.

    include_path: a folder of more tasks; what stands there can run code, so it needs ``trust_code``.

    Raises InputError without the harness, for an unknown name (with names that are near), a task that is not
    ``generate_until``, one that executes programs or wants several answers, documents that cannot be loaded, an unknown
    metric or filter, a metric that is no mean over documents, and shots for a task that allows none.
    """
    if include_path is not None:
        if not Path(include_path).is_dir():
            raise InputError(f"dataset.include_path: there is no folder {include_path}; give the one with the tasks")
        require_trust(trust_code, f"dataset.include_path: {include_path}")
    manager = _manager_with(name, include_path)
    for entry in _entries(manager, name):
        _check_kind(entry.name, entry.cfg or {})
    try:
        with without_bars():
            loaded = manager.load([name])
    except Exception as error:  # whatever the harness, its tasks, datasets and the network raise
        raise _cannot_load(name, manager, error) from error
    leaves = tuple(Leaf(task, chat, system, multiturn) for task in loaded["tasks"].values())
    for leaf in leaves:
        _set_shots(leaf, shots)
    group = loaded.get("groups", {}).get(name)
    listed = list(group.aggregate_metric_list or ()) if group is not None else []
    return _judged(leaves, listed, metric, filter)


def _judged(leaves: tuple[Leaf, ...], listed: list[Any], metric: str | None, kept: str | None) -> Found:
    """With the metric and the filter that are wanted, else the first that group or task name."""
    from lm_eval.api.metrics import mean

    first = leaves[0]
    metrics, filters = list(first.task.higher_is_better()), [ensemble.name for ensemble in first.task._filters]
    asked = next((each for each in listed if metric in (None, each.metric)), None)
    metric = metric or (asked.metric if asked is not None else metrics[0])
    kept = kept or (asked.filter_list[0] if asked is not None and asked.filter_list else filters[0])
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
    directions = {bool(leaf.task.higher_is_better()[metric]) for leaf in leaves}
    if len(directions) > 1:
        raise InputError(f"dataset.metric: {metric} is better higher in some tasks and lower in others; choose another")
    return Found(leaves, metric, kept, directions.pop(), asked is None or bool(asked.weight_by_size))


def _check_value(leaf: Leaf, metric: str, kept: str) -> None:
    document = leaf.official[0]
    value = leaf.score(document.fields, leaf.reference(document), metric, kept)
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(
            f"dataset.metric: {metric} of task {leaf.name} gives {type(value).__name__} for an answer and not a "
            "number; choose another"
        ) from None


def _set_shots(leaf: Leaf, shots: int | None) -> None:
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
    if config.get("unsafe_code"):
        raise InputError(
            f"task {name} executes generated programs inside the process that scores them; set dataset.type to "
            "humaneval or mbpp, which run them in a process of their own"
        )
    kind = config.get("output_type", "generate_until")
    if "class" in config or kind != "generate_until":
        reason = "is Python code of its own" if "class" in config else f"is of output type {kind}"
        raise InputError(f"task {name} {reason}, got no text to fill in; choose a task of type generate_until")
    if config.get("repeats", 1) != 1:
        raise InputError(f"task {name} wants {config['repeats']} answers to each question; choose one that wants one")
    if config.get("doc_to_image") or config.get("doc_to_audio"):
        raise InputError(f"task {name} asks about images or sound; choose a task of text")


def _manager_with(name: str, include_path: str | None) -> Any:
    """The index of tasks that knows the name; that of the harness's own tasks takes seconds to build."""
    if include_path is not None and name in (own := _manager(include_path, False)).task_index:
        return own
    manager = _manager(include_path, True)
    if name in manager.task_index:
        return manager
    near = difflib.get_close_matches(name, manager.all_tasks, n=NEAR)
    suggestion = f"did you mean {', '.join(near)}? " if near else ""
    raise InputError(
        f"dataset.task: there is no task {name!r} in lm-evaluation-harness"
        f"{'' if include_path is None else f' or in {include_path}'}; {suggestion}For a task of your own put its YAML "
        "file into a folder and name that as dataset.include_path"
    )


@cache
def _manager(include_path: str | None, defaults: bool) -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise InputError(
            "dataset.type lm-eval needs lm-evaluation-harness, which is not installed; pip install 'mdm-tune[lm-eval]'"
        ) from None
    return TaskManager(include_path=include_path, include_defaults=defaults)


def _entries(manager: Any, name: str) -> Iterator[Any]:
    """The entries of the tasks behind a name, their groups and tags followed."""
    entry = manager.task_index.get(name)
    if entry is None:  # defined inside a group; it is seen when it is loaded
        return
    members = sorted(entry.tags) if entry.kind.name == "TAG" else (entry.cfg or {}).get("task")
    if not isinstance(members, list):
        yield entry
        return
    for member in members:
        inner = member.get("task", member.get("group")) if isinstance(member, dict) else member
        if isinstance(inner, str):
            yield from _entries(manager, inner)


def _cannot_load(name: str, manager: Any, error: Exception) -> InputError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    paths = sorted({str((entry.cfg or {}).get("dataset_path")) for entry in _entries(manager, name)})
    return InputError(
        f"dataset.task: {name} cannot be loaded: {reason}; it reads the data set {', '.join(paths)}: where the Hub "
        "cannot be reached, load it once on a machine that reaches it and bring the folder that HF_HOME names, or give "
        "a copy of the task's file, whose dataset_path is json and whose data_files are here, by dataset.include_path; "
        "a module that is missing comes with pip install 'lm-eval[math]' or what the message names"
    )


def _key(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, default=str)


@contextmanager
def without_bars() -> Iterator[None]:
    """The library ``datasets`` draws on the terminal otherwise."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
