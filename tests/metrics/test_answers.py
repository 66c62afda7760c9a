from __future__ import annotations

import importlib.util
import json
import math
import shutil
import string
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.config.data import MetricsConfig
from mdm_tune.config.templates import Hole
from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.statistics import estimate
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
from mdm_tune.metrics.reference_models import ReferenceModel, load_reference
from mdm_tune.metrics.reported import Mauve, figures, mauve_metric, text_metrics
from mdm_tune.sampling.unmasking import Unmasked

LETTERS = " " + string.digits + string.ascii_letters + ".,$-+#=:?!"
END, MASK = len(LETTERS), len(LETTERS) + 1
CODEC = Symbols(LETTERS, (END,))
WINDOW = 20  # of the reference model
needs_mauve = pytest.mark.skipif(importlib.util.find_spec("mauve") is None, reason="the extra mauve is not here")

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


# --- under a reference model ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of two small layers with random weights, and a tokenizer of letters that knows ``ab`` as one token."""
    from tokenizers import Tokenizer, models
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("gpt2")
    tokens = ["<s>", "<unk>", *LETTERS, "ab"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    letters = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")], unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=letters, bos_token="<s>", unk_token="<unk>").save_pretrained(path)
    shape = {"vocab_size": len(tokens), "n_positions": WINDOW, "n_embd": 16, "n_layer": 2, "n_head": 2}
    config = GPT2Config(**shape, initializer_range=0.5, bos_token_id=0, eos_token_id=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> ReferenceModel:
    return load_reference(str(folder), field="metrics.generative_nll.model", batch=3, device="cpu")


def ids(model: ReferenceModel, text: str) -> list[int]:
    found: list[int] = model.tokenizer(text)["input_ids"]
    return found


def direct(model: ReferenceModel, visible: Sequence[int], scored: Sequence[int]) -> float:
    """The library's own loss of one row, whose visible tokens are labelled as not to be scored."""
    tokens, labels = torch.tensor([[*visible, *scored]]), torch.tensor([[*(-100 for _ in visible), *scored]])
    with torch.no_grad():
        return float(model.model(input_ids=tokens, labels=labels).loss)


def test_the_loss_of_texts_is_the_model_s_own(model: ReferenceModel) -> None:
    texts = [("", "cat sat"), ("Q: x", "yes"), ("", "d"), ("dog ", "on the mat"), ("Q", "u")]
    expected = [direct(model, [0, *ids(model, given)], ids(model, text)) for given, text in texts]
    assert len({round(value, 3) for value in expected}) == 5
    np.testing.assert_allclose(model.nll(texts), expected, rtol=1e-5)


def test_given_text_and_answer_are_tokenised_as_one(model: ReferenceModel) -> None:
    assert ids(model, "xab") == [ids(model, "x")[0], len(LETTERS) + 2]
    merged = model.nll([("xa", "b"), ("xa", "bc")])
    x, ab, c = ids(model, "xabc")
    np.testing.assert_allclose(merged, [direct(model, [0, x], [ab]), direct(model, [0, x, ab], [c])], rtol=1e-5)


def test_saying_nothing_costs_a_uniform_guess(model: ReferenceModel) -> None:
    assert model.vocab_size == len(LETTERS) + 3
    assert model.nll([("Q", ""), ("", "")]).tolist() == [math.log(model.vocab_size)] * 2
    assert model.nll([]).tolist() == []


def test_rows_longer_than_the_context_are_cut(model: ReferenceModel) -> None:
    """The given text loses its left, an answer that is too long by itself its right."""
    given, text = "abcdefghijklmnopqr", "stuvwxyz"
    long = "zyxwvutsrqponmlkjihgfedcb"
    expected = [
        direct(model, [0, *ids(model, given)][-(WINDOW - 8) :], ids(model, text)),
        direct(model, ids(model, "r"), ids(model, long)[: WINDOW - 1]),
    ]
    np.testing.assert_allclose(model.nll([(given, text), (given, long)]), expected, rtol=1e-5)


def test_a_model_without_start_token_scores_no_first_token(folder: Path) -> None:
    bare = load_reference(str(folder), field="f")
    bare.tokenizer.bos_token = None
    tokens = ids(bare, "cat")
    np.testing.assert_allclose(bare.nll([("", "cat")]), [direct(bare, tokens[:1], tokens[1:])], rtol=1e-5)
    assert bare.nll([("", "c")]).tolist() == [math.log(bare.vocab_size)]


def test_a_loss_that_is_not_finite_fails(folder: Path) -> None:
    broken = load_reference(str(folder), field="f")
    broken.model.transformer.ln_f.bias[:] = math.nan
    with pytest.raises(RunError, match="gives no finite loss for 'cat'"):
        broken.nll([("", "cat")])


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


def test_generative_nll_is_reported_with_entropy(model: ReferenceModel) -> None:
    dataset = data(asked(["cat"] * 20))
    tokens, split = drawn(dataset, ["cat", "dog", "bird", "fish"] * 5), dataset.splits["report"]
    metric = generative_nll(dataset, model)
    nll, entropy = figures(metric, tokens, split)
    expected = estimate(metric.score(tokens, split))
    assert (nll.name, nll.value, nll.range, nll.over, nll.count) == (
        "generative_nll",
        expected.value,
        expected.ci,
        "examples",
        20,
    )
    of_tokens = estimate(sample_figures(dataset, tokens, split)["token_entropy"])
    assert (entropy.name, entropy.value, entropy.range, entropy.count) == (
        "token_entropy",
        of_tokens.value,
        of_tokens.ci,
        16,
    )
    (right,) = figures(exact_match(dataset), tokens, split)
    assert (right.value, right.direction) == (0.25, "maximize")


def test_models_that_are_no_reference(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError, match=r"metrics\.mauve\.model: no/where cannot be loaded .*run `hf download no/where"
    ):
        load_reference("no/where", field="metrics.mauve.model")
    with pytest.raises(InputError, match=r"cannot be loaded .*; check the files and the settings"):
        load_reference(str(tmp_path), field="f")
    with pytest.raises(InputError, match=r"cannot be loaded .*; check the files and the settings"):
        load_reference(str(folder), field="f", device="nonsense")
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForMaskedLM(BertConfig(vocab_size=80, **size, initializer_range=0.5)).save_pretrained(tmp_path / "bert")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match="must be a causal language model, but it looks at later tokens"):
        load_reference(str(tmp_path / "bert"), field="f")
    shutil.copytree(folder, tmp_path / "short")
    shape = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "short" / "config.json").write_text(json.dumps({**shape, "n_layer": 3}), encoding="utf-8")
    with pytest.raises(InputError, match=r"those of GPT2LMHeadModel, but 12 are missing, such as transformer\.h\.2\."):
        load_reference(str(tmp_path / "short"), field="f")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"needs the library transformers, .* pip install 'mdm-tune\[hf\]'"):
        load_reference(str(folder), field="f")


# --- MAUVE ------------------------------------------------------------------------------------------


def embedded(model: ReferenceModel, texts: Sequence[str]) -> np.ndarray:
    """The last hidden state of each text's last token, text by text."""
    with torch.no_grad():
        rows = [model.model.transformer(torch.tensor([ids(model, text)])).last_hidden_state[0, -1] for text in texts]
    return torch.stack(rows).numpy()


def test_embeddings_are_last_hidden_states(model: ReferenceModel) -> None:
    texts = ["cat", "a dog", "z", "bird on a tree"]
    np.testing.assert_allclose(model.embeddings(texts), embedded(model, texts), rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        start = model.model.transformer(torch.tensor([[0]])).last_hidden_state[0, 0].numpy()
    np.testing.assert_allclose(model.embeddings(["cat", ""])[1], start, rtol=1e-5, atol=1e-6)
    long = "abcdefghijklmnopqrstuvwxyz"
    np.testing.assert_allclose(model.embeddings([long]), embedded(model, [long[: WINDOW + 1]]), rtol=1e-5, atol=1e-6)


def words(seed: int, count: int, letters: str) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(letters), 6)) for _ in range(count)]


@needs_mauve
def test_mauve_is_the_package_s(model: ReferenceModel, capfd: pytest.CaptureFixture[str]) -> None:
    from mauve import compute_mauve

    references, answers = words(0, 60, "abcdefgh"), words(1, 60, "efghijkl")
    dataset = data(asked(references, prompt="Q:"))
    split, tokens = dataset.splits["report"], drawn(dataset, answers)
    metric = mauve_metric(dataset, model, seeds=4)
    capfd.readouterr()
    found = metric.score(tokens, split)
    assert capfd.readouterr() == ("", "")  # k-means warns otherwise
    p, q = (embedded(model, [f"Q:{text}" for text in texts]) for texts in (references, answers))
    expected = [compute_mauve(p_features=p, q_features=q, seed=seed).mauve for seed in (25, 26, 27, 28)]
    assert "WARNING" in capfd.readouterr().err  # the stream is back
    assert len(set(expected)) > 1
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    (figure,) = figures(metric, tokens, split)
    assert (figure.value, figure.range) == (pytest.approx(np.mean(expected)), (min(found), max(found)))
    assert (figure.over, figure.count, figure.direction) == ("seeds of k-means", 4, "maximize")
    same = metric.score(drawn(dataset, references), split)
    assert same.min() > 0.99 > found.max()


@needs_mauve
def test_mauve_needs_references_and_its_package(model: ReferenceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"metrics\.mauve: compares answers with references, and example 1 has none"):
        mauve_metric(data(asked(["a", None])), model)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package mauve-text .*pip install 'mdm-tune\[mauve\]'"):
        mauve_metric(data(asked(["a"])), model)


def options(folder: Path = Path("/nowhere"), **given: Any) -> MetricsConfig:
    return MetricsConfig.model_validate(given, context={"folder": folder})


@needs_mauve
def test_metrics_are_made_from_their_options(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def size(answer, record):\n    return len(answer)\n", encoding="utf-8")
    config = options(
        tmp_path,
        exact_match={"ignore": ["case"]},
        regex={"pattern": "([A-Za-z]+)", "match": "first"},
        generative_nll={"model": str(folder), "with_prompt": False},
        mauve={"model": str(folder), "seeds": 3},
        custom={"target": "own.py:size", "direction": "minimize"},
    )
    dataset = data(asked(["Yes", "no"]))
    found = text_metrics(config, "regex", dataset, trust_code=True)
    assert list(found) == ["exact_match", "regex", "custom", "generative_nll", "mauve"]
    judged = {name: values(each, ["yes no", "no"]) for name, each in found.items() if isinstance(each, AnswerMetric)}
    assert judged["exact_match"] == [0, 1] and judged["regex"] == [0, 1] and judged["custom"] == [6, 2]
    likely, alike = found["generative_nll"], found["mauve"]
    assert isinstance(alike, Mauve) and alike.seeds == 3 and alike.model.batch == 8
    assert judged["generative_nll"] == pytest.approx(alike.model.nll([("", "yes no"), ("", "no")]).tolist())
    assert likely.direction == "minimize" and found["custom"].direction == "minimize"
    with pytest.raises(InputError, match=r"metrics\.custom\.target: .* give --trust-code if you trust it"):
        text_metrics(config, "regex", dataset, trust_code=False)


def test_only_what_is_named_is_made() -> None:
    dataset = data(asked(["a"]))
    assert text_metrics(options(), "nelbo", dataset, False) == {}
    assert list(text_metrics(options(), "exact_match", dataset, False)) == ["exact_match"]
    assert list(text_metrics(options(exact_match={}), "nelbo", dataset, False)) == ["exact_match"]
