from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.config.templates import Hole
from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.text import Symbols
from mdm_tune.datasets.examples import Example
from mdm_tune.datasets.rows import example_dataset
from mdm_tune.datasets.splits import Dataset, law_dataset
from mdm_tune.denoisers.analytic import RepeatedBit
from mdm_tune.metrics.answers import (
    AnswerMetric,
    Ignored,
    custom_metric,
    exact_match,
    filled_in,
    generative_nll,
    normalised,
    regex_match,
)
from mdm_tune.metrics.quality import sample_figures
from mdm_tune.metrics.reference_models import ReferenceModel
from mdm_tune.sampling.unmasking import Unmasked
from tests.support.reference_texts import LETTERS, direct, ids

END, MASK = len(LETTERS), len(LETTERS) + 1
CODEC = Symbols(LETTERS, (END,))

Answer = str | Sequence[str]


def asked(answers: Sequence[str | None], prompt: str = "Q:", **fields: Any) -> list[Example]:
    """An example for each reference, named by its place in the list."""
    return [
        Example(str(number), (prompt, Hole(answer)) if prompt else (Hole(answer),), {"answer": answer, **fields})
        for number, answer in enumerate(answers)
    ]


def data(examples: Sequence[Example], length: int | None = 16) -> Dataset:
    return example_dataset({"report": examples}, CODEC, MASK, 0, generation_length=length)


def drawn(dataset: Dataset, answers: Sequence[Answer]) -> Tensor:
    """Tokens with these texts in the holes of each example, followed by end tokens."""
    tokens = dataset.splits["report"].start.clone()
    for row, texts in zip(tokens, answers, strict=True):
        hidden = np.flatnonzero(row.numpy() == MASK)
        holes = np.split(hidden, np.flatnonzero(np.diff(hidden) > 1) + 1)
        for hole, text in zip(holes, [texts] if isinstance(texts, str) else texts, strict=True):
            row[torch.from_numpy(hole)] = torch.tensor((CODEC.encode(text) + [END] * len(hole))[: len(hole)])
    return tokens


def values(metric: AnswerMetric, answers: Sequence[Answer]) -> list[float]:
    tokens = drawn(metric.dataset, answers)
    result = Unmasked(tokens=tokens, nll=None, nfe=torch.zeros(len(tokens)), denoiser_rows=0, denoiser_tokens=0)
    found = metric.values(result, metric.dataset.splits["report"])
    assert found.dtype == np.float64
    return found.tolist()


# --- right and wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ignore", "expected"),
    [
        ("  The  Cat.\n", ("spaces",), "The Cat."),
        ("  The  Cat.\n", (), "  The  Cat.\n"),
        ("The Cat", ("case",), "the cat"),
        ("Straße", ("case",), "strasse"),
        ("the cat, sat!", ("punctuation",), "the cat sat"),
        ("the - cat", ("punctuation", "spaces"), "the cat"),
        ("$1,000.50", ("number-format",), "1000.5"),
        ("18.", ("number-format",), "18"),
        ("007", ("number-format",), "7"),
        ("-0.0", ("number-format",), "0"),
        ("+.50", ("number-format",), "0.5"),
        ("-12", ("number-format", "punctuation"), "-12"),
        ("100", ("number-format",), "100"),
        ("0", ("number-format",), "0"),
        ("12345678901234567890123456789012345.10", ("number-format",), "12345678901234567890123456789012345.1"),
        ("1.5 m", ("number-format", "punctuation"), "15 m"),  # no number as a whole
        ("1.2.3", ("number-format",), "1.2.3"),
        ("", ("spaces", "case", "punctuation", "number-format"), ""),
    ],
)
def test_what_is_ignored(text: str, ignore: Sequence[Ignored], expected: str) -> None:
    assert normalised(text, ignore) == expected


def test_exact_match_compares_answer_by_answer() -> None:
    dataset = data(asked(["the cat", "a dog", "7"]))
    assert values(exact_match(dataset), ["the  cat ", "the cat", "7"]) == [1, 0, 1]
    assert values(exact_match(dataset, ()), ["the  cat ", "a dog", "7."]) == [0, 1, 0]
    assert values(exact_match(dataset, ("case", "punctuation")), ["The Cat!", "a dog", "$7"]) == [1, 1, 1]
    assert values(exact_match(dataset, ("number-format",)), ["the cat", "", "7.0"]) == [1, 0, 1]
    assert exact_match(dataset).direction == "maximize" and exact_match(dataset).bounds == (0.0, 1.0)


def test_exact_match_wants_every_hole() -> None:
    dataset = data([Example("x", ("a ", Hole("b"), " c ", Hole("de"), "."))], None)
    assert values(exact_match(dataset), [("b", "de")]) == [1]
    assert values(exact_match(dataset), [("b", "d")]) == [0]
    assert values(exact_match(dataset), [("e", "de")]) == [0]


def test_the_ceiling_is_what_fits_into_the_answer() -> None:
    """A reference longer than the generation length is cut before its result."""
    dataset = data(asked(["1 + 1 #### 2", "10 + 10 + 10 + 10 #### 40"]))
    metric = regex_match(dataset, "#### ([0-9]+)")
    ceiling = metric.ceiling(dataset.splits["report"])
    assert ceiling is not None and ceiling.tolist() == [1, 0]
    unknown = data(asked([None, "a"]))
    assert custom_metric(unknown, lambda answer, record: 1, "maximize", "f").ceiling(unknown.splits["report"]) is None


GSM = "#### (-?[0-9.,]+)"


@pytest.mark.parametrize(
    ("answer", "options", "right"),
    [
        ("so #### 72", {}, 1),
        ("72", {}, 0),  # nothing is found
        ("#### 73 #### 72", {}, 1),
        ("#### 73 #### 72", {"match": "first"}, 0),
        ("#### 72 #### 73", {"match": "first"}, 1),
        ("#### 72.0", {}, 0),
        ("#### 72.0", {"ignore": ("number-format",)}, 1),
        ("#### 72.", {"ignore": ("number-format",)}, 1),
        ("", {}, 0),
    ],
)
def test_what_a_pattern_finds_is_compared_with_the_reference(answer: str, options: dict[str, Any], right: int) -> None:
    dataset = data(asked(["6 x 12 #### 72"]), 18)
    assert values(regex_match(dataset, GSM, **options), [answer]) == [right]


def test_what_a_pattern_finds_is_compared_with_a_field() -> None:
    dataset = data(asked([None, None], number=5, unit="m"))
    assert values(regex_match(dataset, "([0-9]+)", reference="number"), ["1 or 5", "5 or 1"]) == [1, 0]
    assert values(regex_match(dataset, "([0-9]+ m)", reference="{number} {unit}"), ["5 m", "5 s"]) == [1, 0]
    assert values(regex_match(dataset, "x(y)?", reference="unit"), ["x", "xy"]) == [0, 0]  # a group that took no part
    with pytest.raises(
        InputError, match=r"metrics\.regex\.reference: example 0: there is no field 'n', the record has"
    ):
        regex_match(dataset, "([0-9]+)", reference="n")


def test_metrics_that_lack_a_reference() -> None:
    with pytest.raises(InputError, match=r"exact_match compares with a reference, and example 1 has none; set dataset"):
        exact_match(data(asked(["a", None])))
    with pytest.raises(InputError, match=r"regex compares with a reference, and example 0 has none"):
        regex_match(data(asked([None])), GSM)
    with pytest.raises(InputError, match=r"must be found in every reference, but not in that of example 1, 'none'"):
        regex_match(data(asked(["#### 1", "none"])), GSM)
    bare = law_dataset(RepeatedBit(4), {"report": 8}, 0)
    for make in (exact_match, lambda dataset: custom_metric(dataset, lambda answer, record: 0, "minimize", "f")):
        with pytest.raises(InputError, match=r"judges the answers of examples with fields; set dataset\.type to jsonl"):
            make(bare)


def test_a_function_of_answer_and_record() -> None:
    dataset = data(asked(["ab", "a"], weight=2))

    def score(answer: str, record: dict[str, Any]) -> float:
        record["weight"] += len(answer)  # changes a copy
        return record["weight"] / len(record["answer"])

    metric = custom_metric(dataset, score, "minimize", "score")
    assert values(metric, ["abcd", ""]) == values(metric, ["abcd", ""]) == [3, 2]
    assert (metric.direction, metric.label) == ("minimize", "score")
    assert values(custom_metric(dataset, lambda answer, record: answer == "a", "maximize", "f"), ["b", "a"]) == [0, 1]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda answer, record: record["other"],
            "metric f failed on example 0: KeyError: 'other'; correct the function",
        ),
        (
            lambda answer, record: math.nan,
            "metric f must return a finite number, of at most 1e.100, got nan for example 0",
        ),
        (lambda answer, record: math.inf, "got inf"),
        (lambda answer, record: None, "got None"),
        (lambda answer, record: "1", "got '1'"),
    ],
)
def test_a_function_without_a_value(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        values(custom_metric(data(asked(["a"])), function, "maximize", "f"), ["a"])


def test_diversity_is_that_of_the_answers() -> None:
    """The prompts differ, the answers do not."""
    examples = [Example(str(n), (f"Q{n}:", Hole("ab")), {}) for n in range(4)]
    dataset = data(examples, 4)
    metric, split = exact_match(dataset), dataset.splits["report"]
    alike, varied = drawn(dataset, ["aa"] * 4), drawn(dataset, ["abc", "ab", "cab", "b"])
    assert metric.diversity(alike, split)["token_entropy"].tolist() == [0] * 4
    found, expected = metric.diversity(varied, split), sample_figures(dataset, varied, split)
    assert {name: each.tolist() for name, each in found.items()} == {n: each.tolist() for n, each in expected.items()}
    assert found["token_entropy"].tolist() == pytest.approx([math.log(3), math.log(2), math.log(3), 0])


def test_text_before_the_first_hole_and_after() -> None:
    examples = [
        Example("ask", ("Q:", Hole("a"))),
        Example("text", (Hole("abc"),)),
        Example("fill", ("x ", Hole("b"), " y ", Hole("cd"), ".")),
        Example("open", (Hole("b"), " y")),
    ]
    dataset = data(examples, None)
    tokens = drawn(dataset, ["z", "no", ("u", "vw"), "w"])
    assert filled_in(dataset, tokens, dataset.splits["report"]) == [
        ("Q:", "z"),
        ("", "no"),
        ("x ", "u y vw."),
        ("", "w y"),
    ]


def test_generative_nll_of_answers(model: ReferenceModel) -> None:
    dataset = data(
        [Example("a", ("Q:", Hole(None))), Example("b", ("R:", Hole(None))), Example("c", ("S:", Hole("z")))]
    )
    answers = ["yes", "", "no no"]
    given = [[0, *ids(model, prompt)] for prompt in ("Q:", "R:", "S:")]
    expected = [
        direct(model, given[0], ids(model, "yes")),
        math.log(model.vocab_size),
        direct(model, given[2], ids(model, "no no")),
    ]
    metric = generative_nll(dataset, model)
    np.testing.assert_allclose(values(metric, answers), expected, rtol=1e-5)
    alone = values(generative_nll(dataset, model, with_prompt=False), answers)
    np.testing.assert_allclose(alone[0], direct(model, [0], ids(model, "yes")), rtol=1e-5)
    assert metric.direction == "minimize" and metric.ceiling(dataset.splits["report"]) is None


def test_generative_nll_of_data_without_prompts(model: ReferenceModel) -> None:
    """Draws of a law are texts too, and the data's own loss is shown beside."""
    dataset = law_dataset(RepeatedBit(5), {"report": 8}, 0)
    split = dataset.splits["report"]
    ceiling = generative_nll(dataset, model).ceiling(split)
    expected = {text: direct(model, [0], ids(model, text)) for text in ("00000", "11111")}
    assert ceiling is not None
    texts = dataset.completions(split.originals, split)
    assert set(texts) <= set(expected)
    np.testing.assert_allclose(ceiling, [expected[text] for text in texts], rtol=1e-5)
