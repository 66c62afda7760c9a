"""Tasks in the format of lm-evaluation-harness on documents that are here, and what the harness makes of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

Fields = Mapping[str, Any]
Answer = Callable[[Fields, str], str]  # from a document and its prompt

SHOWN = [{"a": 20 + n, "b": 30, "answer": str(50 + n)} for n in range(4)]  # documents of a task that brings its shots


def sums(numbers: range) -> list[dict[str, Any]]:
    return [{"a": n % 9, "b": n // 9, "answer": str(n % 9 + n // 9)} for n in numbers]


def write(folder: Path, name: str, splits: Mapping[str, Sequence[Fields]], **settings: Any) -> None:
    """A task file and its documents; splits: train, validation and test, or some of them."""
    files = {}
    for split, documents in splits.items():
        files[split] = str(folder / f"{name}-{split}.json")
        Path(files[split]).write_text("\n".join(map(json.dumps, documents)) + "\n", encoding="utf-8")
    kinds = {"train": "training_split", "validation": "validation_split", "test": "test_split"}
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        **{kinds[split]: split for split in splits},
        **settings,
    }
    text = yaml.safe_dump({key: value for key, value in task.items() if value is not None}, sort_keys=False)
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def settings(word: str, **more: Any) -> dict[str, Any]:
    """What the tasks about numbers have in common: two filters, and a metric that ignores commas."""

    def number(group: int) -> list[dict[str, Any]]:
        return [
            {"function": "regex", "regex_pattern": r"([0-9,]+)", "group_select": group},
            {"function": "take_first"},
        ]

    metric = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "regexes_to_ignore": [","]}
    return {
        "output_type": "generate_until",
        "doc_to_text": f"Q: {{{{a}}}} {word} {{{{b}}}} A: is",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["Q:", "END"], "do_sample": False},
        "metric_list": [metric],
        "filter_list": [{"name": "first", "filter": number(0)}, {"name": "last", "filter": number(-1)}],
        **more,
    }


def make_tasks(folder: Path) -> Path:
    """Tasks about small sums: ``sums`` has three splits, ``tested`` and ``own_shots`` test documents only."""
    own = {"sampler": "first_n", "samples": SHOWN}
    splits = {"train": sums(range(30)), "validation": sums(range(30, 60)), "test": sums(range(55, 80))}
    write(folder, "sums", splits, **settings("plus", num_fewshot=2, fewshot_split="train"))
    few = {"train": sums(range(24)), "test": sums(range(24, 36))}
    write(folder, "again", few, **settings("and", num_fewshot=0))
    write(folder, "tested", {"test": sums(range(40))}, **settings("plus", num_fewshot=2, fewshot_config=own))
    write(folder, "own_shots", {"test": sums(range(81))}, **settings("plus", num_fewshot=2, fewshot_split="test"))
    begun = {"gen_prefix": "the answer is", "fewshot_config": own, "description": "Add these."}
    write(folder, "begun", {"test": sums(range(45))}, **settings("plus", num_fewshot=2, **begun))
    write(
        folder, "poor", {"test": sums(range(30)), "train": sums(range(30, 60))}, **settings("plus", doc_to_target="no")
    )
    for name, by_size in (("by_size", True), ("alike", False)):
        listed = [{"metric": "exact_match", "aggregation": "mean", "weight_by_size": by_size, "filter_list": "last"}]
        group = {"group": name, "task": ["sums", "again"], "aggregate_metric_list": listed}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(group), encoding="utf-8")
    return folder


def shipped(name: str) -> str:
    """The path of a task file that the harness ships."""
    return str(Path(str(resources.files("lm_eval"))) / "tasks" / name)


def shown_as_tags(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """A chat template that can be read off its result."""
    shown = "".join(f"<{message['role']}>{message['content']}" for message in messages)
    return shown + "<assistant>" * add_generation_prompt


def harness_result(
    folder: Path, name: str, answer: Answer, template: Callable[..., str] = shown_as_tags, **options: Any
) -> dict[str, Any]:
    """What the harness's own evaluation of a task or group gives for these answers; its log of samples included."""
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Scripted(LM):  # type: ignore[misc]  # ships no types
        tokenizer_name = "scripted"

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            return [ended(answer(each.doc, each.args[0]), each.args[1]["until"]) for each in requests]

        def apply_chat_template(self, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            return template(messages, add_generation_prompt)

        def chat_template(self, name: Any = False) -> str:
            return "by hand"

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise AssertionError

        loglikelihood_rolling = loglikelihood

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        found: dict[str, Any] = simple_evaluate(
            Scripted(), tasks=[name], task_manager=manager, bootstrap_iters=0, **options
        )
    return found


def ended(text: str, until: str | Sequence[str]) -> str:
    """As the harness's models of transformers end an answer."""
    for term in [until] if isinstance(until, str) else until:
        if len(term) > 0:
            text = text.split(term, maxsplit=1)[0]
    return text
