"""Metrics of sample quality: exact divergences for exact laws, and one value per example for other models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.statistics import Bounds
from mdm_tune.core.text import Symbols
from mdm_tune.core.types import Direction
from mdm_tune.datasets.splits import Dataset, Split
from mdm_tune.denoisers.law import Law
from mdm_tune.metrics import exact
from mdm_tune.sampling.drawing import Order
from mdm_tune.sampling.unmasking import Unmasked
from mdm_tune.schedules import pricing

__all__ = [
    "SHARE",
    "Direction",
    "ExactMetric",
    "Metric",
    "PathLikelihood",
    "SampleMetric",
    "Spelling",
    "divergence",
    "order_kl_metric",
    "sample_figures",
]

Values = NDArray[np.float64]
REPLICATES = 16  # batches of examples; a diversity figure has a value for each, and so an interval
SHARE: Bounds = (0.0, 1.0)  # bounds of a metric whose mean is a share
RUN = 3  # tokens in a row that are compared, so that repeated phrases count and repeated letters do not


@dataclass(frozen=True)
class ExactMetric:
    """A divergence that is computed without sampling.

    Attributes:
        name: Name in the config and in records.
        fixed: Returns the value for counts (steps,) and a block length.
        ancestral: Returns the value for alphas (steps + 1,).
        denoiser_rows: Sequence forwards that building the metric took.
        label: Name for a reader, with the unit.
        direction: Whether higher or lower values are better.
    """

    name: str
    fixed: Callable[[tuple[int, ...], int], float]
    ancestral: Callable[[Values], float]
    denoiser_rows: int
    label: str
    direction: Direction = "minimize"


class SampleMetric(Protocol):
    """A metric with one value per example, so that schedules can be compared example by example.

    Attributes:
        name: Name in the config and in records.
        label: Name for a reader, with the unit.
        direction: Whether higher or lower values are better.
        needs_originals: True if the sampler reveals the data's own tokens (a likelihood), False if it draws tokens.
        bounds: Smallest and largest possible value, such as ``SHARE``; equal values get an interval from them. None if
            there are none.
    """

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def direction(self) -> Direction: ...
    @property
    def needs_originals(self) -> bool: ...
    @property
    def bounds(self) -> Bounds | None: ...

    def values(self, result: Unmasked, split: Split) -> Values:
        """Return one value (rows,) per row of the result, whose rows are the examples of the split."""
        ...

    def diversity(self, tokens: Tensor, split: Split) -> dict[str, Values]:
        """Return figures by name that fall when samples become alike or empty, one value per batch or per sample.

        They depend on the number of samples. Compare them for equal numbers only.
        """
        ...

    def ceiling(self, split: Split) -> Values | None:
        """Return the values (n,) of the data itself; None if they are no useful bound."""
        ...


Metric = ExactMetric | SampleMetric


def divergence(law: Law, name: Literal["kl", "tv"], order: Order, temperature: float) -> ExactMetric:
    """Build the exact divergence between a law and the sampler's distribution, by enumeration.

    Args:
        law: The exact law.
        name: ``kl`` for KL(target || sampled) in nats, ``tv`` for total variation in [0, 1].
        order: Order in which positions are revealed.
        temperature: Temperature of the drawn tokens, at least 0.

    Raises:
        InputError: If the law is too large to enumerate.
    """
    enumeration = exact.Enumeration(law, law.length, temperature=temperature, order=order)
    target = exact.target_distribution(law)
    compare = {"kl": exact.kl, "tv": exact.tv}[name]
    label = {"kl": "KL(target || sampled), nats", "tv": "total variation"}[name]
    return ExactMetric(
        name=name,
        # The check of the config excludes blocks for this metric.
        fixed=lambda counts, block_length: compare(target, enumeration.fixed(counts)),
        ancestral=lambda alphas: compare(target, enumeration.ancestral(alphas)),
        denoiser_rows=(law.vocab_size + 1) ** law.length,  # one forward for every partial sequence
        label=label,
    )


def order_kl_metric(law: Law, block_lengths: Sequence[int] = ()) -> ExactMetric:
    """Build E_order KL(p || q) in nats for random order, from the law's exact information profile.

    Args:
        law: The exact law, of any length.
        block_lengths: Block lengths whose profiles are computed now; () for one block. Profiles of other block lengths
            are computed when they are used.

    Raises:
        InputError: If a block length does not divide the length.

    Source: arXiv:2511.04647 and arXiv:2510.25544: E_order KL = NELBO_K - H(p).
    """
    curve, entropy = cache(law.profile), law.entropy()
    for block_length in block_lengths or (law.length,):
        curve(block_length)
    return ExactMetric(
        name="order_kl",
        fixed=lambda counts, block_length: pricing.order_kl(curve(block_length), entropy, counts),
        ancestral=lambda alphas: pricing.ancestral_order_kl(curve(law.length), entropy, alphas),
        denoiser_rows=0,
        label="E_order KL(p || q), nats",
    )


@dataclass(frozen=True)
class PathLikelihood:
    """-log probability of the data along the sampler's path, in nats per sequence, tokens priced at temperature 1.

    Attributes:
        name: ``nelbo`` for random order with ancestral reveal, an unbiased estimate of the NELBO; ``path_nll`` for
            orders that use predictions alone, where the value is exactly -log q(x). For ``confidence`` at temperature 0
            it scores the order.
        order: Order in which positions are revealed.
        direction: Lower values are better.
        needs_originals: True: the sampler reveals the data's own tokens.
        bounds: None: there are none.
        why: Returns the words of a message for the id of a token that has probability 0.
        of_model: Whether the data are the model's own answers, which its splits then have as originals.
    """

    name: Literal["nelbo", "path_nll"]
    order: Order
    direction: Direction = "minimize"
    needs_originals: bool = True
    bounds: Bounds | None = None
    why: Callable[[int], str] = "token {}".format
    of_model: bool = False

    @property
    def label(self) -> str:
        if self.name == "nelbo":
            return "NELBO, nats per sequence"
        scored = "path NLL of the order (tokens priced at temperature 1)" if self.order == "confidence" else "path NLL"
        return f"{scored}{' of the own answers' if self.of_model else ''}, nats per sequence"

    def values(self, result: Unmasked, split: Split) -> Values:
        assert result.nll is not None  # the evaluator passes a reference because this metric asks for one
        nll = result.nll.cpu().numpy()
        if not np.isfinite(nll).all():
            row = int(np.flatnonzero(~np.isfinite(nll))[0])
            position = -1 if result.impossible is None else int(result.impossible[row])
            where = "" if position < 0 else f" at position {position}"
            token = "one of its tokens" if position < 0 else self.why(int(split.originals[row, position]))
            raise InputError(
                f"{self.name} is infinite for {split.named(row)} of the {split.use} split{where}: the model gives "
                f"probability 0 to {token}; use data that the model can produce, or another metric"
            )
        return nll

    def diversity(self, tokens: Tensor, split: Split) -> dict[str, Values]:
        return {}

    def ceiling(self, split: Split) -> Values | None:
        return None


@dataclass(frozen=True)
class Spelling:
    """Share of the characters of complete words that lie in words of the vocabulary.

    Words at the ends of the window may be cut and are left out. A window without a complete word has the value 0.

    Attributes:
        dataset: The data set, with a vocabulary.
        name: Name in the config and in records.
        label: Name for a reader.
        direction: Higher values are better.
        needs_originals: False: the sampler draws the tokens.
        bounds: From 0 to 1.

    Source: the misspelling measure of character-level diffusion models (D3PM, arXiv:2107.03006).
    """

    dataset: Dataset
    name: str = "spelling"
    label: str = "share of characters in known words"
    direction: Direction = "maximize"
    needs_originals: bool = False
    bounds: Bounds | None = SHARE

    def __post_init__(self) -> None:
        if self.dataset.words is None:
            raise InputError("objective spelling needs a vocabulary: put words.txt, one word a line, beside the texts")
        codec = self.dataset.codec
        if isinstance(codec, Symbols) and " " not in codec.symbols:
            raise InputError(f"objective spelling needs a space among the symbols, got {codec.symbols!r}")

    def values(self, result: Unmasked, split: Split) -> Values:
        return self._shares(result.tokens, split)

    def ceiling(self, split: Split) -> Values | None:
        return self._shares(split.originals, split)

    def diversity(self, tokens: Tensor, split: Split) -> dict[str, Values]:
        """Return the ``sample_figures`` and ``distinct_words``, the share of distinct words among the known words.

        Misspelt words do not count, since random letters are always distinct.
        """
        texts = self.dataset.completions(tokens, split)
        batches = [[texts[row] for row in batch] for batch in _batches(split)]
        words = np.array([self._distinct_share(batch) for batch in batches])
        return {**sample_figures(self.dataset, tokens, split), "distinct_words": words}

    def _shares(self, tokens: Tensor, split: Split) -> Values:
        return np.array([self._known_share(text) for text in self.dataset.completions(tokens, split)])

    def _known_share(self, text: str) -> float:
        words = _complete_words(text)
        letters = sum(map(len, words))
        return sum(len(word) for word in words if self._is_known(word)) / letters if letters else 0.0

    def _distinct_share(self, texts: list[str]) -> float:
        words = [word for text in texts for word in _complete_words(text) if self._is_known(word)]
        return len(set(words)) / len(words) if words else 0.0

    def _is_known(self, word: str) -> bool:
        return self.dataset.words is not None and word in self.dataset.words


def _complete_words(text: str) -> list[str]:
    """The words with a space on both sides; the first and the last word of a window may be cut."""
    return [word for word in text.split(" ")[1:-1] if word]


def sample_figures(dataset: Dataset, tokens: Tensor, split: Split) -> dict[str, Values]:
    """Compute figures that fall when samples repeat themselves or each other, or become shorter.

    Args:
        dataset: The data set.
        tokens: (n, length) int64, the filled-in examples.
        split: The split whose examples the rows are.

    Returns:
        ``token_entropy``: (batches,) entropy of the tokens of a batch, in nats. ``distinct_tokens``: (batches,) share
        of distinct runs among the runs of three tokens. ``answer_length``: (n,) characters of each answer, without
        white space at the ends, several spaces in a row counted as one. A batch holds every sixteenth sample, or every
        sixteenth group of samples.

    Source: arXiv:1510.03055, distinct-n, here with n = 3.
    """
    rows = [list(chain.from_iterable(answers)) for answers in dataset.answers(tokens, split)]
    texts = dataset.completions(tokens, split)
    batches = [[rows[row] for row in batch] for batch in _batches(split)]
    return {
        "token_entropy": np.array([_entropy(batch) for batch in batches]),
        "distinct_tokens": np.array([_distinct_runs(batch) for batch in batches]),
        "answer_length": np.array([len(" ".join(text.split())) for text in texts], dtype=np.float64),
    }


def _batches(split: Split) -> list[list[int]]:
    """The rows of each batch of a diversity figure. A group lies in one batch, so that batches are independent."""
    names = split.shared or range(len(split.ids))
    number = {name: rank for rank, name in enumerate(dict.fromkeys(names))}
    batches: list[list[int]] = [[] for _ in range(min(REPLICATES, len(number)))]
    for row, name in enumerate(names):
        batches[number[name] % REPLICATES].append(row)
    return batches


def _entropy(rows: Sequence[Sequence[int]]) -> float:
    tokens = np.array([token for row in rows for token in row], dtype=np.int64)
    if not len(tokens):
        return 0.0
    share = np.unique(tokens, return_counts=True)[1] / len(tokens)
    return float((share * np.log(1 / share)).sum())


def _distinct_runs(rows: Sequence[Sequence[int]]) -> float:
    runs = [tuple(row[first : first + RUN]) for row in rows if row for first in range(max(1, len(row) - RUN + 1))]
    return len(set(runs)) / len(runs) if runs else 0.0
