"""Spelling by hand-counted windows, likelihoods and divergences against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from mdm_tune.core.errors import InputError
from mdm_tune.core.text import Symbols
from mdm_tune.datasets.splits import Dataset, Split, law_dataset
from mdm_tune.denoisers.analytic import MarkovChain, Parity, RepeatedBit, Table
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.metrics import quality
from mdm_tune.sampling.unmasking import Unmasked
from mdm_tune.schedules.curves import Linear, parse_schedule
from tests.support.helpers import sampler_of

SYMBOLS = " abcdefghijklmnopqrstuvwxyz"


def hidden(tokens: torch.Tensor) -> Split:
    """A split in which every position of these tokens was to be filled."""
    rows, mask = len(tokens), len(SYMBOLS)
    ids = tuple(map(str, range(rows)))
    return Split(
        use="report",
        ids=ids,
        originals=tokens,
        start=torch.full_like(tokens, mask),
        seeds=np.zeros(rows, dtype=np.uint64),
        mask_id=mask,
    )


def spelling(texts: list[str], words: set[str]) -> np.ndarray:
    dataset = Dataset({}, Symbols(SYMBOLS), frozenset(words))
    tokens = torch.tensor([[SYMBOLS.index(letter) for letter in text] for text in texts])
    result = Unmasked(tokens=tokens, nll=None, nfe=torch.zeros(len(texts)), denoiser_rows=0, denoiser_tokens=0)
    return quality.Spelling(dataset).values(result, hidden(tokens))


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("xx the dog yy", 1.0),  # both complete words are known; the cut ones do not count
        ("xx the dgo yy", 0.5),
        (" the dogs z ", 3 / 8),
        ("the dog the d", 1.0),  # the first "the" is cut by the edge although it is a word
        ("thedogthedogt", 0.0),  # no complete word at all
        ("             ", 0.0),
        ("a  the   dog ", 1.0),  # repeated spaces make no words
    ],
)
def test_spelling_counts_characters_of_complete_words(text: str, share: float) -> None:
    assert spelling([text], {"the", "dog"})[0] == pytest.approx(share)


def figures(texts: list[str]) -> dict[str, float]:
    metric = quality.Spelling(Dataset({}, Symbols(SYMBOLS), frozenset({"the", "dog", "cat", "sat"})))
    tokens = torch.tensor([[SYMBOLS.index(letter) for letter in text] for text in texts])
    return {name: float(values.mean()) for name, values in metric.diversity(tokens, hidden(tokens)).items()}


def test_diversity_falls_when_samples_become_alike() -> None:
    varied = figures(["x the dog cat y"] * 16)
    alike = figures(["x the the the y"] * 16)
    garbage = figures(["x the dgo cta y"] * 16)
    assert varied["distinct_words"] == pytest.approx(1.0)
    assert alike["distinct_words"] == pytest.approx(1 / 3)
    assert garbage["distinct_words"] == pytest.approx(1.0)  # one known word; the misspelt ones add nothing
    assert alike["token_entropy"] < varied["token_entropy"]
    assert figures(["e" * 15] * 16)["token_entropy"] == 0.0


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("abcdefgh", 1.0),  # six runs of three, all distinct
        ("abababab", 2 / 6),  # aba, bab
        ("abcabcab", 3 / 6),
        ("aaaaaaaa", 1 / 6),
    ],
)
def test_distinct_tokens_falls_under_repetition_within_a_sample(text: str, share: float) -> None:
    assert figures([text] * 16)["distinct_tokens"] == pytest.approx(share)


def test_distinct_tokens_falls_when_samples_repeat_each_other() -> None:
    """32 samples are 16 batches of two, the first and the 17th in one: six runs of three among twelve."""
    assert figures(["abcdefgh"] * 32)["distinct_tokens"] == pytest.approx(0.5)
    assert figures(["abcdefgh"] * 16 + ["stuvwxyz"] * 16)["distinct_tokens"] == pytest.approx(1.0)


def test_token_entropy_is_that_of_the_letters() -> None:
    counts = np.array([4.0, 2.0, 1.0, 1.0])
    assert figures(["aaaabbcd"] * 40)["token_entropy"] == pytest.approx(stats.entropy(counts))


def test_an_answer_padded_with_spaces_is_short() -> None:
    assert figures(["the dog sat on x"] * 4)["answer_length"] == 16
    assert figures([" the     dog    "] * 4)["answer_length"] == len("the dog")
    assert figures(["    "] * 4)["answer_length"] == 0


@pytest.mark.parametrize("count", [1, 2, 5, 17])
def test_figures_of_few_and_of_short_samples(count: int) -> None:
    for tokens in (torch.zeros(count, 1, dtype=torch.int64), torch.arange(2).repeat(count, 1)):
        found = quality.sample_figures(Dataset({}, Symbols(SYMBOLS)), tokens, hidden(tokens))
        assert {name: len(values) for name, values in found.items()} == {
            "token_entropy": min(count, 16),
            "distinct_tokens": min(count, 16),
            "answer_length": count,
        }
        assert all(np.isfinite(values).all() for values in found.values())


def test_spelling_needs_a_vocabulary_and_a_space() -> None:
    with pytest.raises(InputError, match=r"needs a vocabulary: put words\.txt"):
        quality.Spelling(Dataset({}, Symbols(SYMBOLS)))
    with pytest.raises(InputError, match="needs a space among the symbols, got 'ab'"):
        quality.Spelling(Dataset({}, Symbols("ab"), frozenset({"ab"})))


def test_order_kl_of_the_repeated_bit_is_closed() -> None:
    metric = quality.order_kl_metric(RepeatedBit(32))
    assert metric.fixed((8, 8, 8, 8), 32) == pytest.approx(7 * math.log(2), abs=1e-9)


def test_divergences_of_parity_are_closed() -> None:
    """Revealing the last two together leaves the parity to chance: KL = ln 2 and half of the mass is misplaced."""
    law = Parity(4)
    assert quality.divergence(law, "kl", "random", 1.0).fixed((2, 2), 4) == pytest.approx(math.log(2))
    assert quality.divergence(law, "tv", "random", 1.0).fixed((2, 2), 4) == pytest.approx(0.5)
    assert quality.divergence(law, "kl", "random", 1.0).fixed((3, 1), 4) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("bernoulli", [False, True])
def test_sampled_nelbo_agrees_with_the_exact_profile(bernoulli: bool) -> None:
    """4,000 examples of a Markov chain; a deviation of 4 standard errors has probability below 1e-4."""
    law = MarkovChain.sticky(2, 0.1, 12)
    dataset = law_dataset(law, {"tune": 8, "choose": 8, "report": 4000}, root=0)
    sampler = sampler_of(reveal="bernoulli" if bernoulli else "fixed", batch=4096)
    scores = [
        Evaluator(law, 12, sampler, metric, data).score(
            Evaluator(law, 12, sampler, metric, data).setting(Linear(), 4), "report"
        )
        for metric, data in ((quality.PathLikelihood("nelbo", "random"), dataset), (quality.order_kl_metric(law), None))
    ]
    assert scores[0].values is not None
    error = scores[0].values.std() / math.sqrt(4000)
    assert scores[0].estimate.value == pytest.approx(scores[1].estimate.value + law.entropy(), abs=4 * error)


def test_a_token_of_probability_zero_stops_with_its_example() -> None:
    metric = quality.PathLikelihood("path_nll", "margin")
    result = Unmasked(
        tokens=torch.zeros(3, 1),
        nll=torch.tensor([1.0, math.inf, 2.0]),
        nfe=torch.zeros(3),
        denoiser_rows=0,
        denoiser_tokens=0,
    )
    with pytest.raises(InputError, match="path_nll is infinite for example 1"):
        metric.values(result, hidden(torch.zeros(3, 1, dtype=torch.int64)))


def test_path_likelihood_of_the_order_is_labelled_as_such() -> None:
    assert "of the order" in quality.PathLikelihood("path_nll", "confidence").label
    assert "of the order" not in quality.PathLikelihood("path_nll", "entropy").label


def test_a_law_too_large_to_enumerate_names_the_way_out() -> None:
    with pytest.raises(InputError, match="use a shorter law, or metric order_kl in random order"):
        quality.divergence(MarkovChain.sticky(2, 0.1, 32), "kl", "random", 1.0)


def test_exact_and_sampled_settings_share_their_names() -> None:
    law = Table(("aa", "bb"), (0.5, 0.5))
    evaluator = Evaluator(law, 2, sampler_of(batch=8), quality.divergence(law, "kl", "random", 1.0), None)
    assert evaluator.setting(parse_schedule("beta:0.5,0.5"), 2).key == evaluator.setting(Linear(), 2).key
