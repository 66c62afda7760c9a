"""Recognise the fields of records: which one is the prompt, which the answer, which a whole text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import listed, quantity, shown

__all__ = ["Fields", "recognised"]

PROMPTS = ("prompt", "question", "input", "instruction", "query", "problem")
ANSWERS = ("answer", "target", "output", "response", "completion", "reference", "solution", "label")
TEXTS = ("text", "sequence", "content", "sentence", "document")


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Where the parts of an example stand in a record. Either ``prompt`` or ``text`` is given.

    Attributes:
        prompt: The prompt, as a field or a template.
        answer: The reference answer, as a field or a template; None if there is none.
        text: The field whose text is filled in as a whole.
    """

    prompt: str | None = None
    answer: str | None = None
    text: str | None = None


def recognised(
    records: Sequence[Mapping[str, Any]], place: str, prompt: str | None = None, answer: str | None = None
) -> Fields:
    """Recognise the fields of records by their names.

    Args:
        records: The records, at least one.
        place: The file, for messages.
        prompt: The prompt that the user names, as a field or a template; None to recognise it.
        answer: The answer that the user names, as a field or a template; None to recognise it.

    Raises:
        InputError: If no field, or more than one, could be the prompt or the answer.
    """
    names = list(dict.fromkeys(name for record in records for name in record))
    usable = [name for name in names if all(_is_text(record.get(name)) for record in records)]
    if prompt is None:
        prompts = _named(usable, PROMPTS)
        if sorted(name.lower() for name in prompts) == ["input", "instruction"]:
            first, second = sorted(prompts, key=str.lower, reverse=True)
            prompts = [f"{{{first}}}\n\n{{{second}}}"]
        texts = _named(usable, TEXTS)
        if not prompts and not texts and answer is None:
            _refuse_gaps(records, _named(names, (*PROMPTS, *TEXTS)), place, "leave such records out")
        if not prompts and len(texts) == 1 and answer is None:
            return Fields(text=texts[0])
        prompt = _only(prompts, place, "--prompt", PROMPTS, _described(names, usable))
    if answer is None:
        answers = _named(usable, ANSWERS)
        if not answers:
            remedy = "leave such records out, or name the field with --answer if it may be empty"
            _refuse_gaps(records, _named(names, ANSWERS), place, remedy)
        answer = _only(answers, place, "--answer", ANSWERS, names) if answers else None
    return Fields(prompt=prompt, answer=answer)


def _described(names: Sequence[str], usable: Sequence[str]) -> list[str]:
    """Names of fields, with those that hold no text in some record marked."""
    return [name if name in usable else f"{name} (no text)" for name in names]


def _refuse_gaps(records: Sequence[Mapping[str, Any]], names: Sequence[str], place: str, remedy: str) -> None:
    """Raise InputError if some records have text in one of the fields, and others have none."""
    for name in names:
        without = [number for number, record in enumerate(records, 1) if not _is_text(record.get(name))]
        if len(without) < len(records):
            raise InputError(
                f"{place}: the field {shown(name)} must have text in every record, got none in {len(without):,} of "
                f"{quantity(len(records), 'record')}, record {without[0]:,} first; {remedy}"
            )


def _named(names: Sequence[str], known: Sequence[str]) -> list[str]:
    return [name for name in names if name.lower() in known]


def _only(found: Sequence[str], place: str, flag: str, known: Sequence[str], names: Sequence[str]) -> str:
    if len(found) == 1:
        return found[0]
    part = flag.removeprefix("--")
    got = f"{listed(found)}, each of which could be it" if found else f"the fields {listed(names) or 'none'}"
    whole = "; for texts that are filled in as a whole --text FIELD" if flag == "--prompt" else ""
    raise InputError(
        f"{place}: exactly one field of text in every record must have a name of the {part} ({', '.join(known)}), got "
        f"{got}; name it with {flag} FIELD, or {flag} with a template such as 'Q: {{field}}'{whole}"
    )


def _is_text(value: object) -> bool:
    return (isinstance(value, str) and value != "") or (isinstance(value, int | float) and not isinstance(value, bool))
