"""Metrics of answers in text: right or wrong, likely under another model, or what a user's function makes of them."""

from __future__ import annotations

import re
import string
from collections import deque
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.config.templates import Hole, fill_template
from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.guard import RUN_AGAIN, calling, finite_number, safe_repr
from mdm_tune.core.messages import cut
from mdm_tune.core.messages import shown as shown_value
from mdm_tune.core.patterns import SECONDS, Pattern
from mdm_tune.core.statistics import Bounds
from mdm_tune.core.types import Direction, Ignored, Match
from mdm_tune.datasets.examples import Example
from mdm_tune.datasets.normalization import reference_form
from mdm_tune.datasets.splits import Dataset, Split
from mdm_tune.metrics.quality import SHARE, sample_figures
from mdm_tune.metrics.reference_models import ReferenceModel
from mdm_tune.sampling.unmasking import Unmasked

__all__ = [
    "AnswerMetric",
    "Ignored",
    "custom_metric",
    "exact_match",
    "filled_in",
    "generative_nll",
    "normalised",
    "regex_match",
]

Values = NDArray[np.float64]
LARGEST = 1e100  # of a custom metric's values, whose squares must be numbers too
NUMBER = re.compile(r"([-+]?)\$?([0-9][0-9,]*(?:\.[0-9]*)?|\.[0-9]+)")


@dataclass(frozen=True)
class AnswerMetric:
    """A sample metric of what was filled in; score gives one value (n,) per row of tokens (n, length)."""

    name: str
    label: str
    direction: Direction
    dataset: Dataset
    score: Callable[[Tensor, Split], Values]
    reference: bool = False
    bounds: Bounds | None = None

    def values(self, result: Unmasked, split: Split) -> Values:
        """One value per row of the result."""
        return self.score(result.tokens, split)

    def ceiling(self, split: Split) -> Values | None:
        """What the references score, as far as they fit into the answers' positions; None where one is unknown."""
        known = all(hole.answer is not None for example in split.examples for hole in example.holes)
        return self.score(split.originals, split) if known else None

    def diversity(self, tokens: Tensor, split: Split) -> dict[str, Values]:
        """``sample_figures`` of the answers, token entropy among them."""
        return sample_figures(self.dataset, tokens, split)


def exact_match(dataset: Dataset, ignore: Sequence[Ignored] = ("spaces",)) -> AnswerMetric:
    """1 where the answer equals the reference once both are ``normalised``, else 0.

    The reference is also taken in the form in which the model's tokens write it, where that differs in case, accents
    and spaces only: a tokenizer without capitals writes Paris as paris.

    Raises InputError where the data set has an example without a reference.
    """
    for example in _examples(dataset, "exact_match"):
        _reference(example, "exact_match")

    def accepted(example: Example) -> set[str]:
        forms = (_reference(example, "exact_match"), reference_form(dataset.codec, example))
        return {normalised(form, ignore) for form in forms if form is not None}

    right = _among(accepted, lambda answer: normalised(answer, ignore))
    label = "share of answers that equal the reference"
    return AnswerMetric(
        name="exact_match",
        label=label,
        direction="maximize",
        dataset=dataset,
        score=_each(dataset, right),
        bounds=SHARE,
    )


def regex_match(
    dataset: Dataset,
    pattern: str,
    match: Match = "last",
    reference: str | None = None,
    ignore: Sequence[Ignored] = ("spaces",),
) -> AnswerMetric:
    """1 where what the pattern's one group finds in the answer equals the reference, both ``normalised``, else 0.

    match: which of several places counts. reference: a field, or a template of fields, of the record; without it what
    the pattern finds in the reference answer. An answer in which nothing is found is wrong. The form in which the
    model's tokens write a reference counts too, as in ``exact_match``.

    Raises InputError where an example has no such field, or its reference nothing that the pattern finds.
    """
    compiled = Pattern(pattern)

    def found(text: str) -> str | None:
        try:
            groups = compiled.group_texts(text)
            return next(groups, None) if match == "first" else next(iter(deque(groups, maxlen=1)), None)
        except TimeoutError:
            raise RunError(
                f"metrics.regex.pattern: {cut(pattern)} takes more than {SECONDS:g} s on one answer of {len(text):,} "
                f"characters, {shown_value(text)}: a repeat inside a repeat explodes; write it without"
            ) from None

    def expected(example: Example) -> str:
        if reference is not None:
            try:
                return fill_template(reference, example.record)
            except InputError as error:
                raise InputError(f"metrics.regex.reference: {example.named}: {error}") from None
        answer = _reference(example, "regex")
        part = found(answer)
        if part is None:
            raise InputError(
                f"metrics.regex.pattern: {pattern!r} must be found in every reference, but not in that of "
                f"{example.named}, {answer[-60:]!r}; correct the pattern, or name the field to compare with as "
                "metrics.regex.reference"
            )
        return part

    def accepted(example: Example) -> set[str]:
        part, whole = expected(example), reference_form(dataset.codec, example)
        alone = reference_form(dataset.codec, Example(example.id, (Hole(part),)))
        forms = [part, alone, found(whole) if whole is not None and reference is None else None]
        return {normalised(form, ignore) for form in forms if form is not None}

    for example in _examples(dataset, "regex"):
        expected(example)

    def shown(answer: str) -> str | None:
        part = found(answer)
        return None if part is None else normalised(part, ignore)

    right = _among(accepted, shown)
    label = "share of answers that are right"
    return AnswerMetric(
        name="regex", label=label, direction="maximize", dataset=dataset, score=_each(dataset, right), bounds=SHARE
    )


def custom_metric(
    dataset: Dataset,
    function: Callable[[str, dict[str, Any]], object],
    direction: Direction,
    name: str,
    file: Path | None = None,
) -> AnswerMetric:
    """What a user's function makes of each answer and a copy of its record.

    name: what to call it. file: where it is. Raises RunError, when it is used, for whatever the function raises and for
    a value that is no finite number.
    """
    _examples(dataset, "custom")

    def judged(answer: str, example: Example) -> float:
        with calling(f"metric {name}", f"correct the function, {RUN_AGAIN}", file=file, place=f"on {example.named}"):
            given = function(answer, deepcopy(dict(example.record)))
        value = finite_number(given)
        if value is None or abs(value) > LARGEST:
            raise RunError(
                f"metric {name} must return a finite number, of at most {LARGEST:g}, got {safe_repr(given)} for "
                f"{example.named}; correct the function, {RUN_AGAIN}"
            )
        return value

    return AnswerMetric(name="custom", label=name, direction=direction, dataset=dataset, score=_each(dataset, judged))


def generative_nll(dataset: Dataset, model: ReferenceModel, with_prompt: bool = True) -> AnswerMetric:
    """Mean -log probability of a token of each answer under a reference model, in nats; see ``ReferenceModel.nll``.

    with_prompt: given the text before the answer. Of a text with holes everything from the first hole on is scored. The
    tokens are the reference model's own.

    Alone it is easily gamed, for repeated words are likely: read it beside the token entropy, which the metric's
    diversity figures hold. Source: arXiv:2409.02908, which shows samples of low perplexity that have lost entropy.
    """

    def score(tokens: Tensor, split: Split) -> Values:
        return model.nll([(given if with_prompt else "", text) for given, text in filled_in(dataset, tokens, split)])

    label = f"generative NLL under the reference model, nats per token{'' if with_prompt else ', without the prompt'}"
    return AnswerMetric(name="generative_nll", label=label, direction="minimize", dataset=dataset, score=score)


def filled_in(dataset: Dataset, tokens: Tensor, split: Split) -> list[tuple[str, str]]:
    """For each row of tokens (n, length) the text before its first hole, and all the rest with the holes filled in."""
    completions = dataset.completions(tokens, split)
    if not split.examples:
        return [("", text) for text in completions]
    found = []
    for example, completion, answers in zip(split.examples, completions, dataset.answers(tokens, split), strict=True):
        texts = iter([completion] if len(answers) == 1 else map(dataset.codec.decode, answers))
        pieces = [piece if isinstance(piece, str) else next(texts) for piece in example.pieces]
        visible = 1 if example.prompt else 0
        found.append((example.prompt, "".join(pieces[visible:])))
    return found


def normalised(text: str, ignore: Sequence[Ignored]) -> str:
    """A text without what is ignored.

    spaces: at the ends, and all but one of several in a row. case: upper and lower. punctuation: that of ASCII.
    number-format: a text that is a number, for the rest of it, is written in one way: $1,000.50 is 1000.5, and 18. is
    18; punctuation inside it is then kept.
    """
    if "spaces" in ignore:
        text = " ".join(text.split())
    if "number-format" in ignore and (number := NUMBER.fullmatch(text.strip())):
        whole, _, rest = number[2].replace(",", "").partition(".")
        value = (whole.lstrip("0") or "0") + f".{rest}".rstrip("0").rstrip(".")
        return f"-{value}" if number[1] == "-" and value != "0" else value
    if "case" in ignore:
        text = text.casefold()
    if "punctuation" in ignore:
        text = text.translate(str.maketrans("", "", string.punctuation))
        text = " ".join(text.split()) if "spaces" in ignore else text
    return text


def _among(
    accepted: Callable[[Example], set[str]], read: Callable[[str], str | None]
) -> Callable[[str, Example], float]:
    """1 where what is read in an answer is one of the texts that an example accepts, else 0."""
    known: dict[str, tuple[Example, set[str]]] = {}

    def right(answer: str, example: Example) -> float:
        if example.id not in known or known[example.id][0] is not example:
            known[example.id] = (example, accepted(example))
        return float(read(answer) in known[example.id][1])

    return right


def _each(dataset: Dataset, judge: Callable[[str, Example], float]) -> Callable[[Tensor, Split], Values]:
    """Answer by answer, each with its example."""

    def score(tokens: Tensor, split: Split) -> Values:
        answers = dataset.completions(tokens, split)
        return np.array([judge(*each) for each in zip(answers, split.examples, strict=True)], dtype=np.float64)

    return score


def _examples(dataset: Dataset, metric: str) -> list[Example]:
    found = [example for split in dataset.splits.values() for example in split.examples]
    if not found:
        raise InputError(
            f"objective {metric} judges the answers of examples with fields; set dataset.type to jsonl, csv, lines or "
            "datasets"
        )
    return found


def _reference(example: Example, metric: str) -> str:
    """What belongs into all holes; several are joined as completions are."""
    answers = [hole.answer for hole in example.holes]
    if None in answers:
        raise InputError(
            f"objective {metric} compares with a reference, and {example.named} has none; set dataset.answer, "
            "or on a benchmark objective.metric to task"
        )
    return " ".join(answer for answer in answers if answer is not None)
