"""Sample quality: what a schedule is judged by, computed exactly on exact laws and per example elsewhere."""

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
    "PathLikelihood",
    "SampleMetric",
    "Spelling",
    "divergence",
    "order_kl_metric",
    "sample_figures",
]

Values = NDArray[np.float64]
REPLICATES = 16  # batches of examples that a diversity figure is computed on, so that it has an interval
SHARE: Bounds = (0.0, 1.0)  # of a metric whose mean is a share
RUN = 3  # tokens in a row that are looked at together, so that repeated phrases count and not repeated letters


@dataclass(frozen=True)
class ExactMetric:
    """A divergence computed without sampling.

    fixed(counts, block_length) and ancestral(alphas) return nats. denoiser_rows: what preparing it cost.
    """

    name: str
    fixed: Callable[[tuple[int, ...], int], float]
    ancestral: Callable[[Values], float]
    denoiser_rows: int
    label: str
    direction: Direction = "minimize"


class SampleMetric(Protocol):
    """One value per example, so that schedules can be compared pair by pair.

    reference: whether the sampler is given the data (a likelihood) instead of drawing tokens. bounds: of every value,
    such as ``SHARE``, by which equal values have an interval; None where there are none.
    """

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def direction(self) -> Direction: ...
    @property
    def reference(self) -> bool: ...
    @property
    def bounds(self) -> Bounds | None: ...

    def values(self, result: Unmasked, split: Split) -> Values:
        """One value per row of the result (rows,), whose rows are the examples of the split."""
        ...

    def diversity(self, tokens: Tensor, split: Split) -> dict[str, Values]:
        """Named figures that fall when samples become alike or empty: values per replicate batch, or per sample.

        They depend on the number of samples, so only equal numbers compare.
        """
        ...

    def ceiling(self, split: Split) -> Values | None:
        """The data's own values (n,), where that is a bound worth showing."""
        ...


def divergence(law: Law, name: Literal["kl", "tv"], order: Order, temperature: float) -> ExactMetric:
    """KL(target || sampled) in nats, or total variation, of what the sampler produces, by enumeration.

    Raises InputError when the law is too large to enumerate.
    """
    enumeration = exact.Enumeration(law, law.length, temperature=temperature, order=order)
    target = exact.target_distribution(law)
    compare = {"kl": exact.kl, "tv": exact.tv}[name]
    label = {"kl": "KL(target || sampled), nats", "tv": "total variation"}[name]
    return ExactMetric(
        name=name,
        # Blocks are refused with the config.
        fixed=lambda counts, block_length: compare(target, enumeration.fixed(counts)),
        ancestral=lambda alphas: compare(target, enumeration.ancestral(alphas)),
        denoiser_rows=(law.vocab_size + 1) ** law.length,  # every partial sequence was shown to the denoiser once
        label=label,
    )


def order_kl_metric(law: Law, block_lengths: Sequence[int] = ()) -> ExactMetric:
    """E_order KL(p || q) in nats for random order, from the law's exact information profile; any length.

    block_lengths: of blocks filled from left to right, whose profiles are computed beforehand, and others when they are
    asked for; () for one block. Raises InputError where one does not divide the length.

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
    """-log probability of the data along the sampler's own path, nats per sequence, tokens priced at temperature 1.

    name ``nelbo``: random order and ancestral reveal, an unbiased estimate of the NELBO. name ``path_nll``: orders that
    look at predictions alone, exactly -log q(x); for ``confidence`` at temperature 0 it scores the order. why: what a
    message says of a token that has probability 0.
    """

    name: Literal["nelbo", "path_nll"]
    order: Order
    direction: Direction = "minimize"
    reference: bool = True
    bounds: Bounds | None = None
    why: Callable[[int], str] = "token {}".format

    @property
    def label(self) -> str:
        if self.name == "nelbo":
            return "NELBO, nats per sequence"
        scored = "path NLL of the order (tokens priced at temperature 1)" if self.order == "confidence" else "path NLL"
        return f"{scored}, nats per sequence"

    def values(self, result: Unmasked, split: Split) -> Values:
        assert result.nll is not None  # the evaluator passes a reference because this metric asks for one
        found = result.nll.cpu().numpy()
        if not np.isfinite(found).all():
            row = int(np.flatnonzero(~np.isfinite(found))[0])
            at = -1 if result.impossible is None else int(result.impossible[row])
            where = "" if at < 0 else f" at position {at}"
            token = "one of its tokens" if at < 0 else self.why(int(split.originals[row, at]))
            raise InputError(
                f"{self.name} is infinite for {split.named(row)} of the {split.use} split{where}: the model gives "
                f"probability 0 to {token}; use data that the model can produce, or another metric"
            )
        return found

    def diversity(self, tokens: Tensor, split: Split) -> dict[str, Values]:
        return {}

    def ceiling(self, split: Split) -> Values | None:
        return None


@dataclass(frozen=True)
class Spelling:
    """Share of characters that lie in words of a vocabulary, words cut by the window's edge left out.

    A window without any complete word scores 0: it shows no correctly spelt character.
    Source: the misspelling measure of character-level diffusion models (D3PM, arXiv:2107.03006).
    """

    dataset: Dataset
    name: str = "spelling"
    label: str = "share of characters in known words"
    direction: Direction = "maximize"
    reference: bool = False
    bounds: Bounds | None = SHARE

    def __post_init__(self) -> None:
        if self.dataset.words is None:
            raise InputError("objective spelling needs a vocabulary: put words.txt, one word a line, beside the texts")
        codec = self.dataset.codec
        if isinstance(codec, Symbols) and " " not in codec.symbols:
            raise InputError(f"objective spelling needs a space among the symbols, got {codec.symbols!r}")

    def values(self, result: Unmasked, split: Split) -> Values:
        return self._score(result.tokens, split)

    def ceiling(self, split: Split) -> Values | None:
        return self._score(split.originals, split)

    def diversity(self, tokens: Tensor, split: Split) -> dict[str, Values]:
        """``sample_figures``, and ``distinct_words``: the share of distinct words among the known ones of a batch.

        Misspelt words are left out of it, since garbage is always distinct.
        """
        texts = self.dataset.completions(tokens, split)
        batches = [[texts[row] for row in batch] for batch in _batches(split)]
        words = np.array([self._distinct(batch) for batch in batches])
        return {**sample_figures(self.dataset, tokens, split), "distinct_words": words}

    def _score(self, tokens: Tensor, split: Split) -> Values:
        return np.array([self._share(text) for text in self.dataset.completions(tokens, split)])

    def _share(self, text: str) -> float:
        words = _complete_words(text)
        letters = sum(map(len, words))
        return sum(len(word) for word in words if self._known(word)) / letters if letters else 0.0

    def _distinct(self, texts: list[str]) -> float:
        words = [word for text in texts for word in _complete_words(text) if self._known(word)]
        return len(set(words)) / len(words) if words else 0.0

    def _known(self, word: str) -> bool:
        return self.dataset.words is not None and word in self.dataset.words


def _complete_words(text: str) -> list[str]:
    """Words with a space on both sides; a window's first and last word may go on outside it."""
    return [word for word in text.split(" ")[1:-1] if word]


def sample_figures(dataset: Dataset, tokens: Tensor, split: Split) -> dict[str, Values]:
    """Figures of what was filled in (n, length) that fall when samples repeat themselves or each other, or say less.

    By batches of every sixteenth sample, or group of samples: ``token_entropy``, of the tokens, nats;
    ``distinct_tokens``, the share of distinct runs of three tokens among all of them. By sample: ``answer_length``, the
    characters that are left after white space at the ends and all but one of several in a row are taken out.

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
    """The rows of each batch of a diversity figure; those of one group are in one, so that batches are independent."""
    names = split.shared or range(len(split.ids))
    number = {name: rank for rank, name in enumerate(dict.fromkeys(names))}
    found: list[list[int]] = [[] for _ in range(min(REPLICATES, len(number)))]
    for row, name in enumerate(names):
        found[number[name] % REPLICATES].append(row)
    return found


def _entropy(rows: Sequence[Sequence[int]]) -> float:
    tokens = np.array([token for row in rows for token in row], dtype=np.int64)
    if not len(tokens):
        return 0.0
    share = np.unique(tokens, return_counts=True)[1] / len(tokens)
    return float((share * np.log(1 / share)).sum())


def _distinct_runs(rows: Sequence[Sequence[int]]) -> float:
    runs = [tuple(row[at : at + RUN]) for row in rows if row for at in range(max(1, len(row) - RUN + 1))]
    return len(set(runs)) / len(runs) if runs else 0.0
