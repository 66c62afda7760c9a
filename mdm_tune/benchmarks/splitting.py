"""The split of a benchmark's documents into uses: no document has two uses, and none is shown solved in a prompt."""

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

    Attributes:
        id: task/split/number.
        task: Name of the task.
        keys: Texts that identify the document; equal documents share a key.
        fields: Fields of the data set.
        source: File and line; empty if there are none.
    """

    id: str
    task: str
    keys: frozenset[str]
    fields: Mapping[str, Any]
    source: str = ""


@dataclass(frozen=True)
class DocumentSplits:
    """The documents of each use.

    Attributes:
        tune: Documents for the trials.
        choose: Documents for finalists and baselines.
        report: Documents for the numbers that are shown.
        available: Documents that ``tune`` and ``choose`` were drawn from.
    """

    tune: tuple[Document, ...]
    choose: tuple[Document, ...]
    report: tuple[Document, ...]
    available: int


def fold_of(official: Sequence[Document], name: str, folds: int, fold: int) -> tuple[list[Document], list[Document]]:
    """Split the official documents into one fold and the others. All folds together are the whole test split.

    Args:
        official: The documents of the test split.
        name: Name of the task, on which the order depends, so that folds are equal in every run.
        folds: Number of folds, at least 2.
        fold: Index of the fold, from 0.

    Returns:
        The documents of the fold, and all others.
    """
    order = np.random.default_rng(derive_seed(0, "folds", name)).permutation(len(official))
    chosen = set(order[fold::folds].tolist())
    inside = [document for index, document in enumerate(official) if index in chosen]
    return inside, [document for index, document in enumerate(official) if index not in chosen]


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
    """Draw the documents to tune and to choose on, from the first pool that is large enough, else from all pools.

    A document that repeats counts once. Documents of ``report`` are excluded.

    Args:
        report: The reported documents.
        pools: Lists of documents to draw from, in order of preference.
        tune: Documents for the trials.
        choose: Documents for finalists and baselines.
        without: Keys of excluded documents, such as shots and official documents.
        name: Name of the task, for the order and for messages.
        root: Root of the seeds, on which the order depends.
        folds: Folds of the official documents if ``report`` is one of them, for messages.

    Raises:
        InputError: If there are too few documents.
    """
    excluded = set(without).union(*(document.keys for document in report))
    usable = [_distinct(pool, excluded) for pool in pools]
    chosen = next((pool for pool in usable if len(pool) >= tune + choose), None)
    if chosen is None:
        chosen = _distinct([document for pool in pools for document in pool], excluded)
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
    drawn = [chosen[index] for index in order[: tune + choose]]
    return DocumentSplits(
        tune=tuple(drawn[:tune]), choose=tuple(drawn[tune:]), report=tuple(report), available=len(chosen)
    )


def _distinct(pool: Sequence[Document], excluded: AbstractSet[str]) -> list[Document]:
    """The first of each set of equal documents, without those that have an excluded key."""
    documents, seen = [], set(excluded)
    for document in pool:
        if not document.keys & seen:
            documents.append(document)
            seen |= document.keys
    return documents
