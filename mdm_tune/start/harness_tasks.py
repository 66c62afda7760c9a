"""What lm-evaluation-harness says about a task: its splits, the length of its answers, one of its prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mdm_tune.benchmarks.harness import checked_settings, find_task, manager_of
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut
from mdm_tune.core.reading import expanded
from mdm_tune.start.facts import TaskFacts, guessed_length
from mdm_tune.start.models import ModelFacts

__all__ = ["describe_harness_task"]

FOLDS = {"folds": 5, "fold": 0}  # of a task whose only documents are test documents


def describe_harness_task(
    task: str,
    model: ModelFacts,
    *,
    include_path: str | None = None,
    trust_code: bool = False,
    generation_length: int | None = None,
) -> TaskFacts:
    """Describe a task of the harness. Its documents are read if they can be had.

    Args:
        task: Name of the task or group.
        model: The model.
        include_path: A folder with more tasks; it needs ``trust_code``.
        trust_code: Whether code of the tasks may run.
        generation_length: Tokens of an answer; None for those that the task states.

    Raises:
        InputError: If the harness is not installed, or if the task is unknown or cannot be an objective.
    """
    try:
        manager = manager_of(task, include_path, trust_code)
        members = checked_settings(manager, task)
    except InputError as error:
        text = str(error).replace("dataset.task:", "TASK:").replace("dataset.include_path", "--include-path")
        also = "; a data set of the Hub is written owner/name" if "there is no task" in text else ""
        raise InputError(text + also) from None
    stated, guessed = _generation_length([settings for _, settings in members], model.length)
    length = generation_length or stated
    dataset: dict[str, Any] = {"type": "lm-eval", "task": task}
    if include_path is not None:
        dataset["include_path"] = str(Path(expanded(include_path)).absolute())
    dataset["generation_length"] = length
    if model.chat:
        dataset["chat"] = True
    guess = "how long answers are: dataset.generation_length is a guess (--length names it)"
    unknown = [guess] if guessed and generation_length is None else []
    tunable = all(settings.get("training_split") or settings.get("validation_split") for _, settings in members)
    if not tunable:
        dataset |= FOLDS
    reported, available, example = None, None, None
    try:
        found = find_task(task, include_path=include_path, trust_code=trust_code)
        reported = sum(len(one.official) for one in found.tasks)
        first = found.tasks[0]
        example = first.prompt(first.official[0])
        available = sum(len(pool) for one in found.tasks for pool in one.pools)
        shown = sum(len(one.official) * one.shots for one in found.tasks if not one.task.has_validation_docs())
        available = max(available // 3, available - shown)  # documents that prompts show are left out
    except InputError as error:
        if "cannot be loaded" not in str(error):
            raise
        unknown.append(f"the documents of {task} and their number, which could not be loaded here ({cut(error, 120)})")
    if not tunable and reported is not None:
        available, reported = reported - reported // FOLDS["folds"], reported // FOLDS["folds"]
    return TaskFacts(
        dataset=dataset,
        metric="task",
        available=available,
        reported=reported,
        official=True,
        tokens=length,
        longest=length,
        example=example,
        unknown=tuple(unknown),
    )


def _generation_length(members: list[dict[str, Any]], longest: int | None) -> tuple[int, bool]:
    """The tokens of an answer, at most half of the model's longest row, and whether they are a guess."""
    stated = [(settings.get("generation_kwargs") or {}).get("max_gen_toks") for settings in members]
    lengths = [length for length in stated if isinstance(length, int) and not isinstance(length, bool)]
    if len(lengths) < len(members):
        return guessed_length(longest), True
    length = max(lengths) if longest is None else min(max(lengths), longest // 2)
    return length, length < max(lengths)
