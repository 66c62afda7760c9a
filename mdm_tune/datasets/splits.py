"""Examples in three uses that share none: tune (search), choose (finalists), report (the numbers that are shown)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.core.digests import short_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.core.reading import read_text
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.text import Codec, Symbols
from mdm_tune.core.types import Use
from mdm_tune.datasets.examples import Example
from mdm_tune.denoisers.law import Law

__all__ = [
    "PADDING",
    "USES",
    "Dataset",
    "Split",
    "Use",
    "law_dataset",
    "masked_split",
    "text_dataset",
]

USES: tuple[Use, ...] = get_args(Use)
PADDING = -1  # before the first token of shorter rows; also what an unknown reference holds


@dataclass(frozen=True)
class Split:
    """The examples of one use.

    ids: one stable name per example. originals (n, length) int64: the data, -1 at padding and where no reference is
    known. start (n, length): what the sampler is given, ``mask_id`` where it has to fill in, -1 at padding. seeds (n,)
    uint64: each example's own noise, whatever the schedule. examples: where the rows come from, () where they are
    nothing but tokens. groups: a name for each example, alike for those that are no independent ones, such as several
    answers to one prompt; () where each stands alone.
    """

    use: Use
    ids: tuple[str, ...]
    originals: Tensor
    start: Tensor
    seeds: NDArray[np.uint64]
    mask_id: int
    examples: tuple[Example, ...] = ()
    groups: tuple[str, ...] = ()

    @property
    def shared(self) -> tuple[str, ...] | None:
        """The groups, by which intervals are drawn; None where no two examples have one in common."""
        return self.groups if len(set(self.groups)) < len(self.groups) else None

    @property
    def ends(self) -> list[int]:
        """How many examples there are up to the end of each group, those of a group being together."""
        names = self.shared or range(len(self.ids))
        return [place for place in range(1, len(names)) if names[place] != names[place - 1]] + [len(names)]

    @property
    def hidden(self) -> Tensor:
        """Where there is something to fill in, (n, length) bool."""
        return self.start == self.mask_id

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any example, its record included, or seed of this use."""
        content = self.use.encode() + self.originals.numpy().tobytes() + self.start.numpy().tobytes()
        content += self.seeds.tobytes() + "".join(each.told for each in self.examples).encode()
        content += json.dumps(self.groups).encode() if self.shared else b""
        return short_digest(content)

    def named(self, row: int) -> str:
        """What a message calls the example of a row: its name and, where known, the file and line it stands in."""
        return self.examples[row].named if self.examples else f"example {self.ids[row]}"

    def part(self, first: int, stop: int) -> Split:
        """The examples from ``first`` up to, not including, ``stop``."""
        return self.take(range(len(self.ids))[first:stop])

    def shuffled(self) -> Split:
        """The same examples in a fixed random order: of a text, the first ones would otherwise be its beginning.

        Those of one group stay together.
        """
        order = np.random.default_rng(derive_seed(0, "shuffle", self.use)).permutation(len(self.ids)).tolist()
        if self.shared is not None:
            met = {group: rank for rank, group in reversed([*enumerate(self.groups[place] for place in order)])}
            order.sort(key=lambda place: met[self.groups[place]])
        return self.take(order)

    def first(self, count: int) -> Split:
        """The first ``count`` examples."""
        return self.part(0, count)

    def take(self, places: Sequence[int]) -> Split:
        """The examples at these places, in this order."""
        index = np.array(places, dtype=np.int64)
        return replace(
            self,
            ids=tuple(self.ids[place] for place in places),
            originals=self.originals[index],
            start=self.start[index],
            seeds=self.seeds[index],
            examples=tuple(self.examples[place] for place in places) if self.examples else (),
            groups=tuple(self.groups[place] for place in places) if self.groups else (),
        )


@dataclass(frozen=True)
class Dataset:
    """Three splits in the tokens of one model.

    codec: what the tokens mean. words: the vocabulary that ``spelling`` looks words up in, if there is one. stops:
    texts that end an answer, as end tokens do. notes: what a user should know of how examples were dealt.
    """

    splits: dict[Use, Split]
    codec: Codec
    words: frozenset[str] | None = None
    stops: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def answers(self, tokens: Tensor, split: Split) -> list[list[list[int]]]:
        """The tokens of each hole of each row of tokens (n, length), without an end token and what follows it."""
        return [
            [_until_end(row[hole].tolist(), self.codec.end_tokens) for hole in holes]
            for row, holes in zip(tokens.cpu(), _holes(split), strict=True)
        ]

    def completions(self, tokens: Tensor, split: Split) -> list[str]:
        """The text in the holes of each row of tokens (n, length); several holes of a row are joined by a space."""
        return [" ".join(texts) for texts in self.fillings(tokens, split)]

    def fillings(self, tokens: Tensor, split: Split) -> list[list[str]]:
        """The text in each hole of each row of tokens (n, length)."""
        return [[*map(self._text, answers)] for answers in self.answers(tokens, split)]

    def _text(self, answer: list[int]) -> str:
        text = self.codec.decode(answer)
        return text[: min((place for stop in self.stops if (place := text.find(stop)) >= 0), default=len(text))]

    @property
    def length(self) -> int:
        """Positions to fill in a row, on average over all uses, rounded."""
        return round(float(self.sizes.double().mean()))

    @property
    def sizes(self) -> Tensor:
        """How many positions each row has to fill (rows,), those of all uses together."""
        return torch.cat([split.hidden.sum(1) for split in self.splits.values()])

    @property
    def closing(self) -> int:
        """Special tokens that close every row behind what is filled in; 0 where something else stands there."""
        most = len(self.codec.framed([])[1])
        behind = {size for split in self.splits.values() for size in _behind(split).tolist()}
        return behind.pop() if len(behind) == 1 and max(behind) <= most else 0

    @property
    def uniform(self) -> bool:
        """Whether all rows have equally many positions to fill."""
        return len(self.sizes.unique()) == 1

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any example, seed or word."""
        return self._digits(self.splits)

    @property
    def searched(self) -> str:
        """As ``fingerprint``, of what a search decides by: what report has changes nothing."""
        return self._digits([use for use in self.splits if use != "report"])

    def _digits(self, uses: Iterable[Use]) -> str:
        parts = [self.splits[use].fingerprint for use in sorted(uses)]
        return short_digest("\n".join([*parts, *sorted(self.words or ())]))


def law_dataset(law: Law, sizes: dict[Use, int], root: int) -> Dataset:
    """Independent draws from an exact law for each use; all positions are masked at the start."""
    splits = {}
    for use, size in sizes.items():
        originals = law.sample(size, derive_seed(root, "law", use))
        splits[use] = masked_split(use, [str(i) for i in range(size)], originals, law.mask_id, root)
    return Dataset(splits, Symbols(law.symbols))


def text_dataset(folder: Path, symbols: str, length: int, sizes: dict[Use, int], root: int) -> Dataset:
    """Windows of ``length`` characters from ``folder``/tune.txt, choose.txt and report.txt, spread over each text.

    Windows do not overlap. ``folder``/words.txt, if there is one, holds the vocabulary for ``spelling``, one word a
    line. Raises InputError for a missing file, a character outside ``symbols``, a text too short for its size, and a
    window that also occurs, at any place, in the text of another use.
    """
    texts = {use: _text(folder / f"{use}.txt", symbols) for use in sizes}
    splits: dict[Use, Split] = {}
    for use, size in sizes.items():
        path = folder / f"{use}.txt"
        windows = _windows(path, texts[use], length, size)
        for other, text in texts.items():
            if other != use and (shared := next((window for window in windows if window in text), None)):
                raise InputError(
                    f"{path}: the splits must not share an example, but {shared!r} is also in {other}.txt; "
                    "use different texts"
                )
        index = {symbol: token for token, symbol in enumerate(symbols)}
        originals = torch.tensor([[index[symbol] for symbol in window] for window in windows])
        splits[use] = masked_split(use, [str(i) for i in range(size)], originals, len(symbols), root)
    words = folder / "words.txt"
    vocabulary = frozenset(_read(words).split()) if words.exists() else None
    return Dataset(splits, Symbols(symbols), vocabulary)


def _behind(split: Split) -> Tensor:
    """How many positions follow the last hidden one of each row."""
    return split.hidden.flip(1).long().argmax(1)


def _holes(split: Split) -> list[list[slice]]:
    """Where each row's holes lie: its runs of hidden positions."""
    edges = np.diff(np.pad(split.hidden.numpy().astype(np.int8), ((0, 0), (1, 1))), axis=1)
    return [
        [slice(a, b) for a, b in zip(np.flatnonzero(row == 1), np.flatnonzero(row == -1), strict=True)] for row in edges
    ]


def _until_end(tokens: list[int], end_tokens: tuple[int, ...]) -> list[int]:
    return tokens[: next((place for place, token in enumerate(tokens) if token in end_tokens), len(tokens))]


def masked_split(use: Use, ids: list[str], originals: Tensor, mask_id: int, root: int) -> Split:
    """A split of these originals with everything hidden; the noise of an example follows from its name."""
    seeds = np.array([derive_seed(root, "noise", use, name) for name in ids], dtype=np.uint64)
    return Split(
        use=use,
        ids=tuple(ids),
        originals=originals,
        start=torch.full_like(originals, mask_id),
        seeds=seeds,
        mask_id=mask_id,
    )


def _text(path: Path, symbols: str) -> str:
    text = _read(path).rstrip("\n")
    if foreign := sorted(set(text) - set(symbols)):
        at = text.index(foreign[0])
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        raise InputError(
            f"{path}, line {line}, column {column}: {foreign[0]!r} is not one of the model's symbols {symbols!r}; "
            f"replace or remove it everywhere (foreign in this file: {' '.join(map(repr, foreign[:12]))})"
        )
    return text


def _windows(path: Path, text: str, length: int, size: int) -> list[str]:
    available = len(text) // length
    if available < size:
        raise InputError(
            f"{path}: {quantity(size, 'example')} of {quantity(length, 'character')} need "
            f"{quantity(size * length, 'character')}, the text has "
            f"{len(text)} (enough for {available}); lower dataset.{path.stem} or give a longer text"
        )
    places = (np.arange(size) * available // size) * length
    return [text[place : place + length] for place in places.tolist()]


def _read(path: Path) -> str:
    return read_text(path, remedy="a text data set is a folder of tune.txt, choose.txt and report.txt")
