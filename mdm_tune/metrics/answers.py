"""Metrics of answers in text: equality with a reference, likelihood under another model, a user's own function."""

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
from mdm_tune.metrics.quality import SHARE, PathLikelihood, sample_figures
from mdm_tune.metrics.reference_models import ReferenceModel
from mdm_tune.sampling.unmasking import Unmasked

__all__ = [
    "AnswerMetric",
    "Ignored",
    "custom_metric",
    "exact_match",
    "filled_in",
    "generative_nll",
    "judges_by_model",
    "normalised",
    "regex_match",
]

Values = NDArray[np.float64]
LARGEST = 1e100  # a custom metric's largest value; intervals need its square
NUMBER = re.compile(r"([-+]?)\$?([0-9][0-9,]*(?:\.[0-9]*)?|\.[0-9]+)")


@dataclass(frozen=True)
class AnswerMetric:
    """A sample metric of the filled-in answers.

    Attributes:
        name: Name in the config and in records.
        label: Name for a reader, with the unit.
        direction: Whether higher or lower values are better.
        dataset: The data set whose examples the metric scores.
        score: Returns one value (n,) per row of tokens (n, length), whose rows are the examples of a split.
        needs_originals: False: the sampler draws the tokens.
        bounds: Smallest and largest possible value; None if there are none.
        of_model: Whether answers are compared with the model's own, which its splits then have as originals.
    """

    name: str
    label: str
    direction: Direction
    dataset: Dataset
    score: Callable[[Tensor, Split], Values]
    needs_originals: bool = False
    bounds: Bounds | None = None
    of_model: bool = False

    def values(self, result: Unmasked, split: Split) -> Values:
        """Return one value (rows,) per row of the result."""
        return self.score(result.tokens, split)

    def ceiling(self, split: Split) -> Values | None:
        """Return the values (n,) of the references, cut to the answers' positions.

        None if a reference is unknown, and for metrics that do not look at references.
        """
        if self.of_model:
            return None
        known = all(hole.answer is not None for example in split.examples for hole in example.holes)
        return self.score(split.originals, split) if known else None

    def diversity(self, tokens: Tensor, split: Split) -> dict[str, Values]:
        """Return the ``sample_figures`` of the answers."""
        return sample_figures(self.dataset, tokens, split)


def judges_by_model(metric: object) -> bool:
    """Whether a metric judges by the model's own answers, which its splits then have as originals."""
    return isinstance(metric, AnswerMetric | PathLikelihood) and metric.of_model


def exact_match(dataset: Dataset, ignore: Sequence[Ignored] = ("spaces",)) -> AnswerMetric:
    """Build the metric that is 1 if the answer equals the reference after ``normalised``, else 0.

    The form of the reference that the model's tokens can write is accepted too, if it differs in case, accents and
    spaces only: a tokenizer without capitals writes Paris as paris.

    Args:
        dataset: The data set; each example needs a reference.
        ignore: Differences that do not count, see ``normalised``.

    Raises:
        InputError: If an example has no reference.
    """
    for example in _all_examples(dataset, "exact_match"):
        _joined_reference(example, "exact_match")

    def accepted(example: Example) -> set[str]:
        forms = (_joined_reference(example, "exact_match"), reference_form(dataset.codec, example))
        return {normalised(form, ignore) for form in forms if form is not None}

    is_right = _equality(accepted, lambda answer: normalised(answer, ignore))
    label = "share of answers that equal the reference"
    return AnswerMetric(
        name="exact_match",
        label=label,
        direction="maximize",
        dataset=dataset,
        score=_by_example(dataset, is_right),
        bounds=SHARE,
    )


def regex_match(
    dataset: Dataset,
    pattern: str,
    match: Match = "last",
    reference: str | None = None,
    ignore: Sequence[Ignored] = ("spaces",),
) -> AnswerMetric:
    """Build the metric that is 1 if the pattern's group in the answer equals the reference, else 0.

    Both texts are ``normalised`` first. An answer without a match is wrong. The form of the reference that the model's
    tokens can write is accepted too, as in ``exact_match``.

    Args:
        dataset: The data set.
        pattern: A regular expression with one group.
        match: Which match counts if there are several.
        reference: A field of the record, or a template of fields; None applies the pattern to the reference answer.
        ignore: Differences that do not count, see ``normalised``.

    Raises:
        InputError: If a record lacks a field, or if a reference answer has no match.
        RunError: While scoring, if the pattern takes too long on an answer.
    """
    compiled = Pattern(pattern)

    def group_text(text: str) -> str | None:
        try:
            texts = compiled.group_texts(text)
            return next(texts, None) if match == "first" else next(iter(deque(texts, maxlen=1)), None)
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
        answer = _joined_reference(example, "regex")
        text = group_text(answer)
        if text is None:
            raise InputError(
                f"metrics.regex.pattern: {pattern!r} must be found in every reference, but not in that of "
                f"{example.named}, {answer[-60:]!r}; correct the pattern, or name the field to compare with as "
                "metrics.regex.reference"
            )
        return text

    def accepted(example: Example) -> set[str]:
        text, written = expected(example), reference_form(dataset.codec, example)
        written_text = reference_form(dataset.codec, Example(example.id, (Hole(text),)))
        forms = [text, written_text, group_text(written) if written is not None and reference is None else None]
        return {normalised(form, ignore) for form in forms if form is not None}

    for example in _all_examples(dataset, "regex"):
        expected(example)

    def compared_text(answer: str) -> str | None:
        text = group_text(answer)
        return None if text is None else normalised(text, ignore)

    is_right = _equality(accepted, compared_text)
    label = "share of answers that are right"
    return AnswerMetric(
        name="regex",
        label=label,
        direction="maximize",
        dataset=dataset,
        score=_by_example(dataset, is_right),
        bounds=SHARE,
    )


def custom_metric(
    dataset: Dataset,
    function: Callable[[str, dict[str, Any]], object],
    direction: Direction,
    name: str,
    file: Path | None = None,
    bounds: Bounds | None = None,
) -> AnswerMetric:
    """Build a metric from a user's function.

    Args:
        dataset: The data set.
        function: Returns a number for an answer and a copy of its record.
        direction: Whether higher or lower values are better.
        name: Name of the function, for messages.
        file: File of the function, for messages.
        bounds: Smallest and largest possible value; None if there are none.

    Raises:
        InputError: If the data set has no examples.
        RunError: While scoring, if the function raises, or returns no finite number or one outside of the bounds.
    """
    _all_examples(dataset, "custom")

    def checked_value(answer: str, example: Example) -> float:
        with calling(f"metric {name}", f"correct the function, {RUN_AGAIN}", file=file, place=f"on {example.named}"):
            returned = function(answer, deepcopy(dict(example.record)))
        value = finite_number(returned)
        if value is None or abs(value) > LARGEST:
            raise RunError(
                f"metric {name} must return a finite number, of at most {LARGEST:g}, got {safe_repr(returned)} for "
                f"{example.named}; correct the function, {RUN_AGAIN}"
            )
        if bounds is not None and not bounds[0] <= value <= bounds[1]:
            raise RunError(
                f"metric {name} must return a number from {bounds[0]:g} to {bounds[1]:g}, its bounds, got {value:g} "
                f"for {example.named}; correct the function, {RUN_AGAIN}"
            )
        return value

    score = _by_example(dataset, checked_value)
    return AnswerMetric(name="custom", label=name, direction=direction, dataset=dataset, score=score, bounds=bounds)


def generative_nll(dataset: Dataset, model: ReferenceModel, with_prompt: bool = True) -> AnswerMetric:
    """Build the metric of the mean -log probability per token under a reference model, in nats.

    The tokens are the reference model's own. In a text with several holes, everything from the first hole on is scored.
    Repeated words are likely, so a low value alone does not show quality: read it beside the token entropy, which
    ``diversity`` returns.

    Args:
        dataset: The data set.
        model: The reference model, see ``ReferenceModel.nll``.
        with_prompt: Whether the probabilities are conditional on the text before the answer.

    Source: arXiv:2409.02908, which shows samples of low perplexity that have lost entropy.
    """

    def score(tokens: Tensor, split: Split) -> Values:
        texts = filled_in(dataset, tokens, split)
        return model.nll([(prompt if with_prompt else "", text) for prompt, text in texts])

    label = f"generative NLL under the reference model, nats per token{'' if with_prompt else ', without the prompt'}"
    return AnswerMetric(name="generative_nll", label=label, direction="minimize", dataset=dataset, score=score)


def filled_in(dataset: Dataset, tokens: Tensor, split: Split) -> list[tuple[str, str]]:
    """Return, for each row of tokens (n, length), the text before its first hole and the filled-in rest."""
    completions = dataset.completions(tokens, split)
    if not split.examples:
        return [("", text) for text in completions]
    pairs = []
    for example, completion, answers in zip(split.examples, completions, dataset.answers(tokens, split), strict=True):
        texts = iter([completion] if len(answers) == 1 else map(dataset.codec.decode, answers))
        pieces = [piece if isinstance(piece, str) else next(texts) for piece in example.pieces]
        visible = 1 if example.prompt else 0
        pairs.append((example.prompt, "".join(pieces[visible:])))
    return pairs


def normalised(text: str, ignore: Sequence[Ignored]) -> str:
    """Remove the ignored differences from a text.

    Args:
        text: The text.
        ignore: Any of ``spaces``: spaces at the ends are removed, several in a row become one; ``case``: letters become
            lower case; ``punctuation``: the punctuation of ASCII is removed; ``number-format``: a text that is a number
            is written in one way and keeps its punctuation, so that $1,000.50 becomes 1000.5 and 18. becomes 18.
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


def _equality(
    accepted: Callable[[Example], set[str]], compared_text: Callable[[str], str | None]
) -> Callable[[str, Example], float]:
    """A function that returns 1 if the compared text of an answer is one of its example's accepted texts, else 0."""
    accepted_of: dict[str, tuple[Example, set[str]]] = {}

    def is_right(answer: str, example: Example) -> float:
        if example.id not in accepted_of or accepted_of[example.id][0] is not example:
            accepted_of[example.id] = (example, accepted(example))
        return float(compared_text(answer) in accepted_of[example.id][1])

    return is_right


def _by_example(dataset: Dataset, value_of: Callable[[str, Example], float]) -> Callable[[Tensor, Split], Values]:
    """A metric's ``score`` from a function of one answer and its example."""

    def score(tokens: Tensor, split: Split) -> Values:
        pairs = zip(dataset.completions(tokens, split), split.examples, strict=True)
        return np.array([value_of(answer, example) for answer, example in pairs], dtype=np.float64)

    return score


def _all_examples(dataset: Dataset, metric: str) -> list[Example]:
    """The examples of all splits; raises InputError if there are none."""
    examples = [example for split in dataset.splits.values() for example in split.examples]
    if not examples:
        raise InputError(
            f"objective {metric} judges the answers of examples with fields; set dataset.type to jsonl, csv, lines or "
            "datasets"
        )
    return examples


def _joined_reference(example: Example, metric: str) -> str:
    """The reference answers of all holes, joined as completions are; raises InputError if one is unknown."""
    answers = [hole.answer for hole in example.holes]
    if None in answers:
        raise InputError(
            f"objective {metric} compares with a reference, and {example.named} has none; set dataset.answer, "
            "or on a benchmark objective.metric to task"
        )
    return " ".join(answer for answer in answers if answer is not None)
