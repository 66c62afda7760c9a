"""Examples for three uses that share none: tune (search), choose (finalists), report (the numbers that are shown)."""

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
PADDING = -1  # stands before shorter rows, and at positions without a known reference


@dataclass(frozen=True)
class Split:
    """The examples of one use.

    Attributes:
        use: The use.
        ids: One stable name per example.
        originals: (n, length) int64, the data; -1 at padding and where the reference is unknown.
        start: (n, length) int64, the rows that the sampler receives; ``mask_id`` where it fills in, -1 at padding.
        seeds: (n,) uint64, the seed of each example's noise, the same for all schedules.
        mask_id: Id of the mask.
        examples: The texts of the rows; () if the data are tokens only.
        groups: One name per example, equal for examples that are not independent, such as several answers to one
            prompt; () if all examples are independent.
        spare: Most further examples that the source has for this use; None if there is no limit, or it is unknown.
    """

    use: Use
    ids: tuple[str, ...]
    originals: Tensor
    start: Tensor
    seeds: NDArray[np.uint64]
    mask_id: int
    examples: tuple[Example, ...] = ()
    groups: tuple[str, ...] = ()
    spare: int | None = None

    @property
    def shared(self) -> tuple[str, ...] | None:
        """The groups, if at least two examples share one; else None. Intervals are computed over groups."""
        return self.groups if len(set(self.groups)) < len(self.groups) else None

    @property
    def ends(self) -> list[int]:
        """The number of examples up to the end of each group. Examples of a group lie next to each other."""
        names = self.shared or range(len(self.ids))
        return [place for place in range(1, len(names)) if names[place] != names[place - 1]] + [len(names)]

    @property
    def hidden(self) -> Tensor:
        """(n, length) bool, True at the positions to fill in."""
        return self.start == self.mask_id

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any example, its record, or any seed."""
        content = self.use.encode() + self.originals.numpy().tobytes() + self.start.numpy().tobytes()
        content += self.seeds.tobytes() + "".join(example.record_json for example in self.examples).encode()
        content += json.dumps(self.groups).encode() if self.shared else b""
        return short_digest(content)

    def named(self, row: int) -> str:
        """The name of a row's example for messages, with its file and line if known."""
        return self.examples[row].named if self.examples else f"example {self.ids[row]}"

    def part(self, first: int, stop: int) -> Split:
        """The examples from ``first`` to ``stop`` - 1."""
        return self.take(range(len(self.ids))[first:stop])

    def shuffled(self) -> Split:
        """The same examples in a fixed random order, with the examples of a group next to each other.

        Without it, the first examples of a text would all be from its beginning.
        """
        order = np.random.default_rng(derive_seed(0, "shuffle", self.use)).permutation(len(self.ids)).tolist()
        if self.shared is not None:
            first_rank = {group: rank for rank, group in reversed([*enumerate(self.groups[place] for place in order)])}
            order.sort(key=lambda place: first_rank[self.groups[place]])
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
    """The splits of the three uses, in the tokens of one model.

    Attributes:
        splits: The splits by use.
        codec: The model's codec.
        words: Vocabulary of the metric ``spelling``; None without one.
        stops: Texts that end an answer, as end tokens do.
        notes: Notes for the user on how examples were assigned to uses.
    """

    splits: dict[Use, Split]
    codec: Codec
    words: frozenset[str] | None = None
    stops: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def answers(self, tokens: Tensor, split: Split) -> list[list[list[int]]]:
        """The tokens of each hole of each row of tokens (n, length), up to the first end token."""
        return [
            [_before_end(row[hole].tolist(), self.codec.end_tokens) for hole in holes]
            for row, holes in zip(tokens.cpu(), _holes(split), strict=True)
        ]

    def completions(self, tokens: Tensor, split: Split) -> list[str]:
        """The text in the holes of each row of tokens (n, length); several holes of a row are joined by a space."""
        return [" ".join(texts) for texts in self.fillings(tokens, split)]

    def fillings(self, tokens: Tensor, split: Split) -> list[list[str]]:
        """The text in each hole of each row of tokens (n, length)."""
        return [[*map(self._decode_answer, answers)] for answers in self.answers(tokens, split)]

    def _decode_answer(self, answer: list[int]) -> str:
        text = self.codec.decode(answer)
        return text[: min((place for stop in self.stops if (place := text.find(stop)) >= 0), default=len(text))]

    def hole_sizes(self, split: Split) -> list[list[int]]:
        """The number of positions of each hole of each row."""
        return [[hole.stop - hole.start for hole in holes] for holes in _holes(split)]

    @property
    def length(self) -> int:
        """The mean number of positions to fill in per row, over all uses, rounded."""
        return round(float(self.sizes.double().mean()))

    @property
    def sizes(self) -> Tensor:
        """The number of positions to fill in each row (rows,), over all uses."""
        return torch.cat([split.hidden.sum(1) for split in self.splits.values()])

    @property
    def closing(self) -> int:
        """The number of special tokens after the last hole of every row; 0 if rows differ, or other text follows."""
        longest = len(self.codec.framed([])[1])
        trailing = {size for split in self.splits.values() for size in _positions_after_holes(split).tolist()}
        return trailing.pop() if len(trailing) == 1 and max(trailing) <= longest else 0

    @property
    def uniform(self) -> bool:
        """Whether all rows have the same number of positions to fill in."""
        return len(self.sizes.unique()) == 1

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any example, seed or word."""
        return self._digest_of(self.splits)

    @property
    def searched(self) -> str:
        """As ``fingerprint``, for the uses that a search depends on: all but report."""
        return self._digest_of([use for use in self.splits if use != "report"])

    def _digest_of(self, uses: Iterable[Use]) -> str:
        parts = [self.splits[use].fingerprint for use in sorted(uses)]
        return short_digest("\n".join([*parts, *sorted(self.words or ())]))


def law_dataset(law: Law, sizes: dict[Use, int], root: int) -> Dataset:
    """Draw independent examples of each use from an exact law. All positions are hidden.

    Args:
        law: The law.
        sizes: Number of examples per use.
        root: Seed of the draws and of the examples' noise.
    """
    splits = {}
    for use, size in sizes.items():
        originals = law.sample(size, derive_seed(root, "law", use))
        splits[use] = masked_split(use, [str(i) for i in range(size)], originals, law.mask_id, root)
    return Dataset(splits, Symbols(law.symbols))


def text_dataset(folder: Path, symbols: str, length: int, sizes: dict[Use, int], root: int) -> Dataset:
    """Cut windows of characters from tune.txt, choose.txt and report.txt. All positions are hidden.

    Windows do not overlap and are spread evenly over each text.

    Args:
        folder: The folder of the texts. It may also have words.txt, the vocabulary of the metric ``spelling``.
        symbols: One character per token of the model.
        length: Characters per window.
        sizes: Number of windows per use.
        root: Seed of the examples' noise.

    Raises:
        InputError: If a file is missing, has a character outside ``symbols`` or is too short, or if a window also
            occurs in the text of another use.
    """
    texts = {use: _read_symbols(folder / f"{use}.txt", symbols) for use in sizes}
    splits: dict[Use, Split] = {}
    for use, size in sizes.items():
        path = folder / f"{use}.txt"
        windows = _spread_windows(path, texts[use], length, size)
        for other_use, text in texts.items():
            if other_use != use and (shared_window := next((window for window in windows if window in text), None)):
                raise InputError(
                    f"{path}: the splits must not share an example, but {shared_window!r} is also in {other_use}.txt; "
                    "use different texts"
                )
        token_of = {symbol: token for token, symbol in enumerate(symbols)}
        originals = torch.tensor([[token_of[symbol] for symbol in window] for window in windows])
        split = masked_split(use, [str(i) for i in range(size)], originals, len(symbols), root)
        splits[use] = replace(split, spare=len(texts[use]) // length - size)
    words = folder / "words.txt"
    vocabulary = frozenset(_read(words).split()) if words.exists() else None
    return Dataset(splits, Symbols(symbols), vocabulary)


def _positions_after_holes(split: Split) -> Tensor:
    """The number of positions (n,) after the last hidden position of each row."""
    return split.hidden.flip(1).long().argmax(1)


def _holes(split: Split) -> list[list[slice]]:
    """The holes of each row, which are its runs of hidden positions."""
    edges = np.diff(np.pad(split.hidden.numpy().astype(np.int8), ((0, 0), (1, 1))), axis=1)
    return [
        [slice(a, b) for a, b in zip(np.flatnonzero(row == 1), np.flatnonzero(row == -1), strict=True)] for row in edges
    ]


def _before_end(tokens: list[int], end_tokens: tuple[int, ...]) -> list[int]:
    return tokens[: next((place for place, token in enumerate(tokens) if token in end_tokens), len(tokens))]


def masked_split(use: Use, ids: list[str], originals: Tensor, mask_id: int, root: int) -> Split:
    """A split of these originals with all positions hidden. The seed of an example follows from its name.

    Args:
        use: The use.
        ids: One name per example.
        originals: (n, length) int64.
        mask_id: Id of the mask.
        root: Seed from which the examples' seeds are derived.
    """
    seeds = np.array([derive_seed(root, "noise", use, name) for name in ids], dtype=np.uint64)
    return Split(
        use=use,
        ids=tuple(ids),
        originals=originals,
        start=torch.full_like(originals, mask_id),
        seeds=seeds,
        mask_id=mask_id,
    )


def _read_symbols(path: Path, symbols: str) -> str:
    text = _read(path).rstrip("\n")
    if foreign := sorted(set(text) - set(symbols)):
        position = text.index(foreign[0])
        line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
        raise InputError(
            f"{path}, line {line}, column {column}: {foreign[0]!r} is not one of the model's symbols {symbols!r}; "
            f"replace or remove it everywhere (foreign in this file: {' '.join(map(repr, foreign[:12]))})"
        )
    return text


def _spread_windows(path: Path, text: str, length: int, size: int) -> list[str]:
    available = len(text) // length
    if available < size:
        raise InputError(
            f"{path}: {quantity(size, 'example')} of {quantity(length, 'character')} need "
            f"{quantity(size * length, 'character')}, the text has "
            f"{len(text)} (enough for {available}); lower dataset.{path.stem} or give a longer text"
        )
    starts = (np.arange(size) * available // size) * length
    return [text[start : start + length] for start in starts.tolist()]


def _read(path: Path) -> str:
    return read_text(path, remedy="a text data set is a folder of tune.txt, choose.txt and report.txt")
