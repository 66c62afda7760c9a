"""Examples in three uses that share none: tune (search), choose (finalists), report (the numbers that are shown)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.denoisers.law import Law
from mdm_tune.errors import InputError
from mdm_tune.seeding import derive_seed

__all__ = ["USES", "Dataset", "Split", "Use", "bundled", "law_dataset", "text_dataset"]

Use = Literal["tune", "choose", "report"]
USES: tuple[Use, ...] = get_args(Use)


@dataclass(frozen=True)
class Split:
    """The examples of one use.

    ids: one stable name per example. originals (n, length) int64: the data. start (n, length): what the sampler is
    given, ``mask_id`` where it has to fill in. seeds (n,) uint64: each example's own noise, whatever the schedule.
    """

    use: Use
    ids: tuple[str, ...]
    originals: Tensor
    start: Tensor
    seeds: NDArray[np.uint64]

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any example or seed of this use."""
        content = self.use.encode() + self.originals.numpy().tobytes() + self.start.numpy().tobytes()
        return hashlib.sha256(content + self.seeds.tobytes()).hexdigest()[:16]

    def part(self, first: int, stop: int) -> Split:
        """The examples from ``first`` up to, not including, ``stop``."""
        rows = slice(first, stop)
        return Split(self.use, self.ids[rows], self.originals[rows], self.start[rows], self.seeds[rows])

    def shuffled(self) -> Split:
        """The same examples in a fixed random order: of a text, the first ones would otherwise be its beginning."""
        order = np.random.default_rng(derive_seed(0, "shuffle", self.use)).permutation(len(self.ids))
        ids = tuple(self.ids[place] for place in order)
        return Split(self.use, ids, self.originals[order], self.start[order], self.seeds[order])

    def first(self, count: int) -> Split:
        """The first ``count`` examples."""
        return self.part(0, count)


@dataclass(frozen=True)
class Dataset:
    """Three splits over one alphabet.

    symbols: one character per token. words: the vocabulary that ``spelling`` looks words up in, if there is one.
    """

    splits: dict[Use, Split]
    symbols: str
    words: frozenset[str] | None = None

    def decode(self, tokens: Tensor) -> list[str]:
        """One string per row of tokens (rows, length)."""
        return ["".join(self.symbols[token] for token in row) for row in tokens.tolist()]

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any example, seed or word."""
        digest = hashlib.sha256()
        for use, split in sorted(self.splits.items()):
            digest.update(use.encode() + split.originals.numpy().tobytes() + split.seeds.tobytes())
        digest.update("\n".join(sorted(self.words or ())).encode())
        return digest.hexdigest()[:16]


def bundled(path: str) -> Path:
    """The folder that ``package:NAME`` names, or the path itself; raises InputError for an unknown NAME."""
    if not path.startswith("package:"):
        return Path(path)
    name = path.removeprefix("package:")
    root = Path(str(resources.files("mdm_tune"))) / "data"
    known = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    if name not in known:
        raise InputError(f"no bundled data called {name!r}; the package ships {', '.join(known)}")
    return root / name


def law_dataset(law: Law, sizes: dict[Use, int], root: int) -> Dataset:
    """Independent draws from an exact law for each use; all positions are masked at the start."""
    splits = {}
    for use, size in sizes.items():
        originals = law.sample(size, derive_seed(root, "law", use))
        splits[use] = _split(use, [str(i) for i in range(size)], originals, law.mask_id, root)
    return Dataset(splits, law.symbols)


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
        splits[use] = _split(use, [str(i) for i in range(size)], originals, len(symbols), root)
    words = folder / "words.txt"
    vocabulary = frozenset(_read(words).split()) if words.is_file() else None
    return Dataset(splits, symbols, vocabulary)


def _split(use: Use, ids: list[str], originals: Tensor, mask_id: int, root: int) -> Split:
    seeds = np.array([derive_seed(root, "noise", use, name) for name in ids], dtype=np.uint64)
    return Split(use, tuple(ids), originals, torch.full_like(originals, mask_id), seeds)


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
            f"{path}: {size} examples of {length} characters need {size * length} characters, the text has "
            f"{len(text)} (enough for {available}); lower dataset.{path.stem} or give a longer text"
        )
    places = (np.arange(size) * available // size) * length
    return [text[place : place + length] for place in places.tolist()]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); convert it to UTF-8") from None
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; a text data set is a folder of tune.txt, choose.txt and report.txt"
        ) from None
