"""What records say of a task: their fields, the length of their answers, how they can be judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mdm_tune.config.templates import fill_template
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity, shown, shown_path
from mdm_tune.datasets.sources import Source
from mdm_tune.start.budgets import FEWEST_TOKENS
from mdm_tune.start.facts import TaskFacts, guessed_length
from mdm_tune.start.fields import Fields, recognised
from mdm_tune.start.models import ModelFacts

__all__ = [
    "PATTERN",
    "Named",
    "fields_of",
    "prompt_settings",
    "record_facts",
    "text_facts",
    "unanswered",
]

SHORT = 32  # most tokens of an answer that is compared as a whole
PATTERN = "#### (.*)"  # the number that ends a worked answer, as in GSM8K


@dataclass(frozen=True, kw_only=True)
class Named:
    """What the user says about a task.

    Attributes:
        prompt: The prompt, as a field or a template; None to recognise it.
        answer: The answer, as a field or a template; None to recognise it.
        text: The text that is filled in as a whole, as a field or a template; None to recognise it.
        length: Tokens of an answer; None to find them.
        include_path: A folder with tasks of the harness.
        trust_code: Whether foreign code may run.
    """

    prompt: str | None = None
    answer: str | None = None
    text: str | None = None
    length: int | None = None
    include_path: str | None = None
    trust_code: bool = False


def fields_of(source: Source, named: Named) -> Fields:
    """The fields of records, as the user names them or recognised. Raises InputError if they are unclear."""
    if named.text is not None:
        if named.prompt is not None or named.answer is not None:
            raise InputError(
                f"--text is for texts that are filled in as a whole, got {shown(named.text)} together with --prompt or "
                "--answer; give --text alone, or --prompt and --answer"
            )
        return Fields(text=named.text)
    return recognised(source.records, shown_path(source.name), named.prompt, named.answer)


def record_facts(source: Source, dataset: dict[str, Any], model: ModelFacts, named: Named) -> TaskFacts:
    """Describe the task of records.

    Args:
        source: The records.
        dataset: The dataset section without fields and sizes.
        model: The model.
        named: What the user says about the task.

    Raises:
        InputError: If the fields are unclear.
    """
    fields = fields_of(source, named)
    if fields.text is not None:
        return text_facts(source, fields.text, dataset | {"text": fields.text}, model)
    return _prompts(source, fields, dataset, model, named)


def text_facts(source: Source, field: str, dataset: dict[str, Any], model: ModelFacts) -> TaskFacts:
    """Describe texts that are filled in as a whole.

    Args:
        source: The records.
        field: The field of the text, or a template.
        dataset: The dataset section without sizes.
        model: The model.

    Raises:
        InputError: If a record lacks the field, or if the model cannot write a text.
    """
    texts = _filled(field, source)
    counts, unknown = _counts(texts, model, source), []
    if counts and model.length is not None and (over := sum(count > model.length for count in counts)):
        unknown.append(
            f"what to do with {over:,} of {quantity(len(counts), 'text')} that are longer than the model's "
            f"{model.length:,} tokens: a run refuses them, so cut them or leave them out"
        )
    return TaskFacts(
        dataset=dataset,
        metric="likelihood",
        available=len(set(texts)),
        right_or_wrong=False,
        tokens=_middle(counts, model),
        longest=_most(counts, model),
        example=texts[0],
        unknown=tuple(unknown),
    )


def _prompts(source: Source, fields: Fields, dataset: dict[str, Any], model: ModelFacts, named: Named) -> TaskFacts:
    assert fields.prompt is not None
    prompts = _filled(fields.prompt, source)
    answers = None if fields.answer is None else _filled(fields.answer, source)
    lengths = _counts(prompts, model, source)
    dataset = dataset | prompt_settings(fields, model)
    if named.length is not None:
        dataset["generation_length"] = named.length
    room = None if not lengths or model.length is None else model.length - max(lengths)
    facts = TaskFacts(dataset=dataset, metric="own answers", available=len(set(prompts)), example=prompts[0])
    if answers is not None:
        facts = _answered(facts, source, answers, model, room)
    else:
        facts = unanswered(facts, guessed_length(model.length, max(lengths, default=None)))
    if room is None or model.length is None or (needed := facts.longest or 0) <= room:
        return facts
    shortest, longest = min(lengths), max(lengths)
    sizes = f"{longest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"
    over = sum(length + needed > model.length for length in lengths)
    fits = f"answers of at most {room} tokens (--length)" if room >= FEWEST_TOKENS else "shorter prompts"
    if over == len(lengths) and "generation_length" in facts.dataset:
        raise InputError(
            f"--length: a prompt and its answer must have at most the model's {model.length:,} tokens, got answers of "
            f"{needed:,} to prompts of {sizes}, so that no record fits; use {fits}"
        )
    note = (
        f"what to do with {over:,} of {quantity(len(lengths), 'prompt')} that leave too little room: the longest has "
        f"{longest:,} of the model's {model.length:,} tokens, so leave such records out, or use {fits}"
    )
    return replace(facts, unknown=(*facts.unknown, note))


def prompt_settings(fields: Fields, model: ModelFacts) -> dict[str, Any]:
    """The part of the dataset section that names the fields of prompts."""
    settings: dict[str, Any] = {"prompt": fields.prompt} | ({} if fields.answer is None else {"answer": fields.answer})
    return settings | ({"chat": True} if model.chat else {})


def unanswered(facts: TaskFacts, guessed: int) -> TaskFacts:
    """The facts of prompts without answers, which the model's own answers judge.

    Args:
        facts: The facts.
        guessed: The tokens of an answer unless the user named them.

    Raises:
        InputError: If so few tokens are left that every mask schedule is the same.
    """
    guess = "how long answers are: dataset.generation_length is a guess (--length names it)"
    unsaid = () if "generation_length" in facts.dataset else (guess,)
    if unsaid and guessed < FEWEST_TOKENS:
        raise InputError(
            f"TASK: the longest prompt must leave at least {FEWEST_TOKENS} of the model's tokens for an answer, got "
            f"{max(0, guessed)}; leave such records out, or give --length for the others"
        )
    length = facts.dataset.setdefault("generation_length", guessed)
    return replace(
        facts,
        right_or_wrong=False,
        tokens=length,
        longest=length,
        unknown=(
            *facts.unknown,
            "the answers: no field has them, so that schedules are judged by the model's own answers at one token per "
            "step, which may be wrong; docs/metrics.md has other metrics",
            *unsaid,
        ),
    )


def _answered(
    facts: TaskFacts, source: Source, answers: Sequence[str], model: ModelFacts, room: int | None
) -> TaskFacts:
    """The facts of prompts with answers. room: the tokens that the longest prompt leaves; None if unknown."""
    counts, unknown = _counts(answers, model, source), list[str]()
    length: int | None = facts.dataset.get("generation_length")
    longest = _most(counts, model) or max(len(answer) for answer in answers) // 3 + 1
    worked = all("#### " in answer for answer in answers)
    if not worked and longest > SHORT:
        unknown.append(
            "how to judge long answers: the objective is the likelihood of the references; docs/metrics.md has others"
        )
        facts = replace(facts, metric="likelihood", right_or_wrong=False)
    else:
        metrics = {"regex": {"pattern": PATTERN, "ignore": ["spaces", "number-format"]}} if worked else None
        facts = replace(facts, metric="regex" if worked else "exact_match", metrics=metrics)
        if length is None and model.writes_ends:
            rounded = max(8, -(-longest // 8) * 8)
            length = rounded if room is None else max(longest, min(rounded, room))
            facts.dataset["generation_length"] = length
            guess = "is a guess, a third of the characters of the longest reference (--length names it)"
            fit = "fits the longest reference" if counts else guess
            unknown.append(f"how long the model's own answers are: dataset.generation_length {fit}")
        elif length is None:
            unknown.append("which token ends an answer: each answer gets as many tokens as its reference has")
    if length is None and not counts:
        return replace(facts, tokens=longest, unknown=tuple(unknown))
    usual, most = (_middle(counts, model), longest) if length is None else (length, length)
    return replace(facts, tokens=usual, longest=most, unknown=tuple(unknown))


def _filled(template: str, source: Source) -> list[str]:
    try:
        return [fill_template(template, record) for record in source.records]
    except InputError as error:
        raise InputError(f"{shown_path(source.name)}: {error}") from None


def _counts(texts: Sequence[str], model: ModelFacts, source: Source) -> list[int]:
    """The tokens of the text of each record; empty if they cannot be counted."""
    counts: list[int] = []
    for number, text in enumerate(texts if model.tokens_of is not None else ()):
        try:
            assert model.tokens_of is not None
            counts.append(model.tokens_of(text))
        except InputError as error:
            raise InputError(f"{source.place(number)}: {error}") from None
    return counts


def _middle(counts: Sequence[int], model: ModelFacts) -> int | None:
    """The median of the tokens to fill in, without those around a text; None if it is unknown."""
    return sorted(counts)[len(counts) // 2] - model.frame if counts else None


def _most(counts: Sequence[int], model: ModelFacts) -> int | None:
    """The most tokens to fill in, without those around a text; None if they are unknown."""
    return max(counts) - model.frame if counts else None
