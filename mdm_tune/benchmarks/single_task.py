"""One task of lm-evaluation-harness: its documents, prompts and scores, computed by the task's own code."""

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

SHOT_SEED = 1234  # the harness's default, so that its prompts and ours are the same
Messages = Sequence[Mapping[str, str]]


@dataclass
class HarnessTask:
    """One task, not a group.

    Attributes:
        task: The harness's task.
        chat: Applies the model's chat template to messages; None for plain prompts.
        system: The system instruction; None for none.
        multiturn: Whether shots are turns of the chat, as in the harness's option of this name.
        trust_code: Whether code of the task may run.
        shot_keys: By the id of each document whose prompt was made, the keys of the documents in it as shots.
        shot_fields: By the id of each document whose prompt was made, the fields of these shots.
    """

    task: Any
    chat: Callable[[Messages], str] | None = None
    system: str | None = None
    multiturn: bool = True
    trust_code: bool = False
    shot_keys: dict[str, set[str]] = field(default_factory=dict)
    shot_fields: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    _drawn_shots: list[Mapping[str, Any]] = field(default_factory=list)
    _questions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.task.set_fewshot_seed(seed=SHOT_SEED)
        sampler = getattr(self.task, "sampler", None)
        if sampler is not None:
            draw = sampler.sample

            def draw_and_record(*args: Any, **kwargs: Any) -> Any:
                shots = draw(*args, **kwargs)
                self._drawn_shots += shots
                return shots

            sampler.sample = draw_and_record

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
        texts = self.task.config.generation_kwargs["until"]
        return tuple(text for text in ([texts] if isinstance(texts, str) else texts) if text)

    @cached_property
    def official(self) -> list[Document]:
        """The documents that the harness reports on: the test split, or the validation split if there is none."""
        if self.task.has_test_docs():
            return self._documents(self.task.config.test_split, self.task.test_docs())
        return self._documents(self.task.config.validation_split, self.task.validation_docs())

    @cached_property
    def pools(self) -> list[list[Document]]:
        """Lists of documents to tune on: validation documents, then training documents, as far as the task has them."""
        pools, config = [], self.task.config
        if self.task.has_test_docs() and self.task.has_validation_docs():
            pools.append(self._documents(config.validation_split, self.task.validation_docs()))
        if self.task.has_training_docs():
            pools.append(self._documents(config.training_split, self.task.training_docs()))
        return pools

    @property
    def rules(self) -> str:
        """The scoring rules in the task's file, code included, and the version of the harness, as JSON."""
        config = self.task.config.to_dict()
        names = ("doc_to_target", "doc_to_choice", "process_results", "filter_list", "metric_list", "generation_kwargs")
        rules = {name: config.get(name) for name in names}
        return json.dumps([version("lm_eval"), self.name, rules], sort_keys=True, default=str)

    def _documents(self, split: str, rows: Sequence[Mapping[str, Any]]) -> list[Document]:
        return [
            Document(id=f"{self.name}/{split}/{number}", task=self.name, keys=self.keys_of(fields), fields=fields)
            for number, fields in enumerate(rows)
        ]

    def restrict_shots(self, allowed: Callable[[frozenset[str]], bool], at_most: int | None = None) -> set[str]:
        """Draw the shots of the next prompts from some documents only.

        Args:
            allowed: Returns whether a document with these keys may be a shot.
            at_most: How many documents are used, the first ones; None for all.

        Returns:
            The keys of these documents.

        Raises:
            InputError: If there are too few documents for a prompt.
        """
        if not self.shots:
            return set()
        pool = [fields for fields in self.task.sampler.fewshot_docs() if allowed(self.keys_of(fields))][:at_most]
        own_split = self.task.fewshot_cfg.split == self.task.config.test_split  # one more is drawn there and dropped
        if len(pool) < self.shots + own_split:
            raise InputError(
                f"task {self.name} shows {self.shots} solved documents and {len(pool)} are left that are not reported; "
                "set dataset.shots to 0"
            )
        self.task.sampler.replace_df(pool)
        self.task.set_fewshot_seed(seed=SHOT_SEED)
        return set().union(*map(self.keys_of, pool))

    def keys_of(self, fields: Mapping[str, Any]) -> frozenset[str]:
        """Return a document's ``keys``: its question and its fields. Equal documents share one of the two."""
        return frozenset((self.question(fields), _fields_json(fields)))

    def question(self, fields: Mapping[str, Any]) -> str:
        """Return a document's part of the prompt, without shots."""
        key = _fields_json(fields)
        if key not in self._questions:  # the harness compiles the template again for each call, in a millisecond
            self._questions[key] = str(self.task.doc_to_text(fields))
        return self._questions[key]

    def prompt(self, document: Document) -> str:
        """Make the prompt of a document, shots included.

        Shots are drawn call after call, as in the harness. So they depend on the order of the calls.

        Raises:
            InputError: If the task cannot make the prompt.
        """
        fields = document.fields
        self._drawn_shots.clear()
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
        except Exception as error:  # the harness and a task's own code may raise anything
            number = self._number_for_shots()
            few = "" if number is None or self.shots < number else f", with {quantity(number, 'document')} to show"
            raise InputError(
                f"task {self.name} cannot make the prompt of document {document.id} after {self.shots} solved ones"
                f"{few}: {type(error).__name__}: {cut(error)}; lower dataset.shots, or correct the task"
            ) from error
        self.shot_keys[document.id] = set().union(*map(self.keys_of, self._drawn_shots))
        self.shot_fields[document.id] = list(self._drawn_shots)
        return text

    def _number_for_shots(self) -> int | None:
        """How many documents shots are drawn from; None if that fails, since it only completes a message."""
        try:
            return len(self.task.sampler.fewshot_docs())
        except Exception:
            return None

    def reference(self, document: Document) -> str:
        """Return the task's own answer, with the space that joins it to the prompt in a shot."""
        target = self.task.doc_to_target(document.fields)
        if isinstance(target, list):
            target = target[0] if target else ""
        if isinstance(target, int) and self.task.config.doc_to_choice is not None:
            target = self.task.doc_to_choice(document.fields)[target]
        beginning = self.task.doc_to_prefix(document.fields)
        if beginning:
            return str(target) if beginning[-1:].isspace() else f" {target}"
        return str(target) if self.chat is not None else f"{self.task.config.target_delimiter}{target}"

    def score(self, fields: Mapping[str, Any], answer: str, metric: str, filter: str) -> object:
        """Compute the metric of one answer.

        Args:
            fields: Fields of the document.
            answer: The answer, cut where the task ends it.
            metric: Name of the metric.
            filter: Name of the filter that the answer passes first.

        Raises:
            RunError: If the task's own code fails.
        """
        from lm_eval.api.instance import Instance

        instance = Instance("generate_until", dict(fields), ("", {}), 0, (self.name, 0, 1), resps=[answer])
        what, place = f"task {self.name}", f"the answer {shown(answer, 80)}"
        with (
            calling(what, "choose another task or metric", place=place, verb="cannot score"),
            without_consent_prompts(self.trust_code, f"dataset.task: {self.name}"),
            redirect_stdout(StringIO()),  # some tasks print
        ):
            for ensemble in self.task._filters:
                if ensemble.name == filter:
                    ensemble.apply([instance])
            value: object = self.task.process_results(fields, [instance.filtered_resps[filter]])[metric]
            return value


def _fields_json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, default=stable_json)


def templated(chat: Callable[[Messages], str], messages: Messages, add_generation_prompt: bool = True) -> str:
    """Apply a chat template as the harness does.

    Args:
        chat: Applies the model's chat template to messages.
        messages: The messages.
        add_generation_prompt: If False, the last message is the beginning of the answer, and the template applies to
            the messages before it.
    """
    if add_generation_prompt:
        return chat(messages)
    return chat(messages[:-1]) + messages[-1]["content"]
