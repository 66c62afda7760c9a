"""Which documents of a benchmark tune, choose and report: none in two uses, and none that a prompt shows solved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdm_tune.config.validators import SMALLEST_SPLIT
from mdm_tune.core.errors import InputError
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.types import Use

__all__ = ["Document", "DocumentSplits", "Use", "fold_of", "split_documents"]


@dataclass(frozen=True)
class Document:
    """One document of a task.

    id: task/split/number. marks: what it is known by; equal documents have one in common. source: file and line, where
    it has them.
    """

    id: str
    task: str
    marks: frozenset[str]
    fields: Mapping[str, Any]
    source: str = ""


@dataclass(frozen=True)
class DocumentSplits:
    """The documents of each use, and how many there were to tune and to choose from."""

    tune: tuple[Document, ...]
    choose: tuple[Document, ...]
    report: tuple[Document, ...]
    available: int


def fold_of(official: Sequence[Document], name: str, folds: int, fold: int) -> tuple[list[Document], list[Document]]:
    """The official documents of one fold and all others; the parts depend on nothing but the name and the documents.

    All folds together are the whole test split.
    """
    order = np.random.default_rng(derive_seed(0, "folds", name)).permutation(len(official))
    here = set(order[fold::folds].tolist())
    inside = [document for place, document in enumerate(official) if place in here]
    return inside, [document for place, document in enumerate(official) if place not in here]


def split_documents(
    report: Sequence[Document],
    pools: Sequence[Sequence[Document]],
    *,
    tune: int,
    choose: int,
    without: AbstractSet[str],
    name: str,
    root: int,
    folds: int | None = None,
) -> DocumentSplits:
    """Documents for tune and choose from the first pool that has enough of them, else from all pools together.

    without: marks that neither may have, such as those of shots and of official documents; those of ``report`` are left
    out too, and a document that repeats counts once. The order follows from ``root``. folds: of the official documents,
    one of which is ``report``, for messages.

    Raises InputError where there are too few.
    """
    barred = set(without).union(*(document.marks for document in report))
    usable = [_distinct(pool, barred) for pool in pools]
    chosen = next((pool for pool in usable if len(pool) >= tune + choose), None)
    if chosen is None:
        chosen = _distinct([document for pool in pools for document in pool], barred)
    if len(chosen) < tune + choose:
        least, remedy = 2 * SMALLEST_SPLIT, "lower them"
        if len(chosen) < least:
            whole = "" if folds is None else f", of {-(-least * folds // (folds - 1))} in all with {folds} folds"
            remedy = f"at least {least} are needed, {SMALLEST_SPLIT} for each{whole}: give more"
        raise InputError(
            f"dataset.tune and dataset.choose: {tune} and {choose} documents are wanted, task {name} has {len(chosen)} "
            f"after official documents, shots and repeats are left out; {remedy}"
        )
    order = np.random.default_rng(derive_seed(root, "partition", name)).permutation(len(chosen))
    dealt = [chosen[place] for place in order[: tune + choose]]
    return DocumentSplits(
        tune=tuple(dealt[:tune]), choose=tuple(dealt[tune:]), report=tuple(report), available=len(chosen)
    )


def _distinct(pool: Sequence[Document], barred: AbstractSet[str]) -> list[Document]:
    """Each document once, without those that are barred."""
    found, seen = [], set(barred)
    for document in pool:
        if not document.marks & seen:
            found.append(document)
            seen |= document.marks
    return found
