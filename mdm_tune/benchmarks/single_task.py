"""One task of lm-evaluation-harness: its documents, prompts and scores, by its own code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import version
from io import StringIO
from typing import Any

from mdm_tune.benchmarks.splitting import Document
from mdm_tune.core.consent import without_consent_prompts
from mdm_tune.core.errors import InputError
from mdm_tune.core.guard import calling
from mdm_tune.core.messages import cut, quantity, shown
from mdm_tune.datasets.examples import stable_json

__all__ = ["SHOT_SEED", "HarnessTask", "Messages", "templated"]

SHOT_SEED = 1234  # the harness's own, so that its prompts and ours are the same
Messages = Sequence[Mapping[str, str]]


@dataclass
class HarnessTask:
    """One task that is no group.

    trust_code: whether the task may load programs of others. chat: from messages to the model's chat template. system
    and multiturn: see the harness's options of these names.
    shown: by the id of a document whose prompt was made, the marks of the documents that it shows solved. solved: their
    fields.
    """

    task: Any
    chat: Callable[[Messages], str] | None = None
    system: str | None = None
    multiturn: bool = True
    trust_code: bool = False
    shown: dict[str, set[str]] = field(default_factory=dict)
    solved: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    _drawn: list[Mapping[str, Any]] = field(default_factory=list)
    _texts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.task.set_fewshot_seed(seed=SHOT_SEED)
        sampler = getattr(self.task, "sampler", None)
        if sampler is not None:
            draw = sampler.sample

            def noted(*args: Any, **kwargs: Any) -> Any:
                found = draw(*args, **kwargs)
                self._drawn += found
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
        return tuple(text for text in ([given] if isinstance(given, str) else given) if text)

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

    @property
    def rules(self) -> str:
        """How an answer is judged: what the task's file says of it, code included, and the version of the harness."""
        own = self.task.config.to_dict()
        names = ("doc_to_target", "doc_to_choice", "process_results", "filter_list", "metric_list", "generation_kwargs")
        told = {name: own.get(name) for name in names}
        return json.dumps([version("lm_eval"), self.name, told], sort_keys=True, default=str)

    def _documents(self, split: str, listed: Sequence[Mapping[str, Any]]) -> list[Document]:
        return [
            Document(id=f"{self.name}/{split}/{number}", task=self.name, marks=self.marks(fields), fields=fields)
            for number, fields in enumerate(listed)
        ]

    def show_only(self, allowed: Callable[[frozenset[str]], bool], at_most: int | None = None) -> set[str]:
        """Draw shots only from documents whose marks are allowed, the first ``at_most`` of them, from now on.

        Returns the marks of these documents; raises InputError where they are too few for a prompt.
        """
        if not self.shots:
            return set()
        pool = [fields for fields in self.task.sampler.fewshot_docs() if allowed(self.marks(fields))][:at_most]
        own_split = self.task.fewshot_cfg.split == self.task.config.test_split  # one more is drawn there and dropped
        if len(pool) < self.shots + own_split:
            raise InputError(
                f"task {self.name} shows {self.shots} solved documents and {len(pool)} are left that are not reported; "
                "set dataset.shots to 0"
            )
        self.task.sampler.replace_df(pool)
        self.task.set_fewshot_seed(seed=SHOT_SEED)
        return set().union(*map(self.marks, pool))

    def marks(self, fields: Mapping[str, Any]) -> frozenset[str]:
        """What a document is known by: its part of the prompt, and its fields; equal documents share one of the two."""
        return frozenset((self.asked(fields), _content(fields)))

    def asked(self, fields: Mapping[str, Any]) -> str:
        """A document's part of the prompt, without what is shown solved before it."""
        content = _content(fields)
        if content not in self._texts:  # a template is compiled anew for each, which takes a millisecond
            self._texts[content] = str(self.task.doc_to_text(fields))
        return self._texts[content]

    def prompt(self, document: Document) -> str:
        """What the model is shown, shots included; these are drawn in the order of the calls, as the harness does."""
        fields = document.fields
        self._drawn.clear()
        try:
            text = str(
                self.task.fewshot_context(
                    fields,
                    num_fewshot=self.shots,
                    system_instruction=self.system,
                    apply_chat_template=self.chat is not None,
                    fewshot_as_multiturn=self.multiturn and self.chat is not None,
                    chat_template=None if self.chat is None else partial(templated, self.chat),
                    gen_prefix=self.task.doc_to_prefix(fields),
                )
            )
        except InputError:
            raise
        except Exception as error:  # whatever the harness and a task's own code raise
            there = self._documents_for_shots()
            few = "" if there is None or self.shots < there else f", with {quantity(there, 'document')} to show"
            raise InputError(
                f"task {self.name} cannot make the prompt of document {document.id} after {self.shots} solved ones"
                f"{few}: {type(error).__name__}: {cut(error)}; lower dataset.shots, or correct the task"
            ) from error
        self.shown[document.id] = set().union(*map(self.marks, self._drawn))
        self.solved[document.id] = list(self._drawn)
        return text

    def _documents_for_shots(self) -> int | None:
        try:
            return len(self.task.sampler.fewshot_docs())
        except Exception:  # as above: this only adds to a message
            return None

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
        what, place = f"task {self.name}", f"the answer {shown(answer, 80)}"
        asked = without_consent_prompts(self.trust_code, f"dataset.task: {self.name}")
        with (
            calling(what, "choose another task or metric", place=place, verb="cannot score"),
            asked,
            redirect_stdout(StringIO()),
        ):
            for ensemble in self.task._filters:  # some tasks print
                if ensemble.name == kept:
                    ensemble.apply([instance])
            found: object = self.task.process_results(fields, [instance.filtered_resps[kept]])[metric]
            return found


def _content(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, default=stable_json)


def templated(chat: Callable[[Messages], str], messages: Messages, add_generation_prompt: bool = True) -> str:
    """Messages as the harness wants them: the last one is an answer that the task has begun where nothing is added."""
    if add_generation_prompt:
        return chat(messages)
    return chat(messages[:-1]) + messages[-1]["content"]
