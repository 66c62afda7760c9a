"""Notes on a data set before anything is computed: how the model reads it, and which references it cannot produce."""

from __future__ import annotations

from collections.abc import Iterator

from mdm_tune.core.messages import shown
from mdm_tune.core.statistics import FEWEST
from mdm_tune.datasets.normalization import read_back, reference_form
from mdm_tune.datasets.splits import PADDING, Dataset

__all__ = ["dataset_notes", "framed_example"]

Note = tuple[str, str, str]  # text, code for programs, advice


def dataset_notes(dataset: Dataset, compared: bool = True) -> Iterator[Note]:
    """Yield notes on what may be wrong with the examples.

    Args:
        dataset: The examples.
        compared: Whether the objective uses references; tests of programs do not.

    Yields:
        Text, code and advice of one note.
    """
    yield from _cut_references(dataset)
    yield from _lost_references(dataset)
    if compared:
        yield from _open_references(dataset)
    yield from _special_tokens(dataset)
    yield from _grouped_examples(dataset)
    yield from _small_splits(dataset)


def framed_example(dataset: Dataset) -> str:
    """The first tune example, with the special tokens before and after it in the model's row."""
    split, codec = dataset.splits["tune"], dataset.codec
    text, spelled = split.examples[0].shown, getattr(codec, "spelled", None)
    if spelled is None:
        return text
    row = [token for token in split.start[0].tolist() if token != PADDING]
    before, after = codec.framed([])
    first = spelled(before) if row[: len(before)] == before else ""
    last = spelled(after) if after and row[-len(after) :] == after else ""
    return ("" if text.startswith(first) else first) + text + ("" if text.endswith(last) else last)


def _cut_references(dataset: Dataset) -> Iterator[Note]:
    """Note how many references have more tokens than their hole.

    In a text with several holes, only holes with a size of their own count.
    """
    cut = total = 0
    for split in (split for split in dataset.splits.values() if split.examples):
        for example, hidden in zip(split.examples, split.hidden.sum(1).tolist(), strict=True):
            single = len(example.holes) == 1
            sizes = [hidden if single else hole.tokens for hole in example.holes]
            answers = [
                None if hole.answer is None else len(dataset.codec.encode(hole.answer)) for hole in example.holes
            ]
            known = [(length, size) for length, size in zip(answers, sizes, strict=True) if length is not None]
            total += bool(known)
            cut += any(size is not None and length > size for length, size in known)
    if cut:
        yield (
            f"{cut:,} of {total:,} references are longer than the tokens that are filled in, and are cut there; a "
            "metric that uses references sees only the part before the cut",
            "cut-references",
            "raise dataset.generation_length or give holes more tokens",
        )


def _lost_references(dataset: Dataset) -> Iterator[Note]:
    """Note how many references the model's tokens cannot write, apart from case, accents and spaces."""
    known = [
        example
        for split in dataset.splits.values()
        for example in split.examples
        if all(hole.answer is not None for hole in example.holes)
    ]
    lost = [example for example in known if not example.plain and reference_form(dataset.codec, example) is None]
    if lost:
        answer = " ".join(hole.answer or "" for hole in lost[0].holes)
        decoded = shown(read_back(dataset.codec, answer))
        yield (
            f"{len(lost):,} of {len(known):,} references contain text that the model's tokens cannot write, so that no "
            f"answer can equal them, and a likelihood is that of another text: {shown(answer)} of "
            f"{lost[0].named} reads back as {decoded}",
            "lost-references",
            "leave such examples out, or use a metric that does not compare texts",
        )


def _open_references(dataset: Dataset) -> Iterator[Note]:
    """Note how many references are shorter than their holes, if no end token can fill the rest."""
    if dataset.codec.end_tokens:
        return
    shorter = total = 0
    for split in dataset.splits.values():
        unknown = (split.hidden & (split.originals < 0)).any(1).tolist()
        for example, open_ended in zip(split.examples, unknown, strict=False):
            known = all(hole.answer is not None for hole in example.holes)
            total += known
            shorter += known and open_ended
    if shorter:
        yield (
            f"{shorter:,} of {total:,} references have fewer tokens than are filled in, and the model has no end "
            "token: all tokens that it fills in belong to its answer, so no answer can equal them",
            "open-references",
            "lower dataset.generation_length, write holes as long as their answers ([[answer]] in dataset.template), "
            "or set model.end_tokens",
        )


def _grouped_examples(dataset: Dataset) -> Iterator[Note]:
    """Note which uses have examples that are not independent, and which groups were cut to stay in one use."""
    advice = "name the field that tells groups apart in dataset.group, and see docs/tasks.md"
    sizes = {use: (len(split.ids), len(set(split.groups))) for use, split in dataset.splits.items() if split.shared}
    if sizes:
        counts = ", ".join(f"{examples:,} of {groups:,} groups in {use}" for use, (examples, groups) in sizes.items())
        too_few = [use for use, (_, groups) in sizes.items() if groups < FEWEST]
        yield (
            f"examples that share a prompt, or a value of dataset.group, are not independent: {counts}; intervals "
            "count each group once"
            + (f", and with fewer than {FEWEST} groups there is none ({', '.join(too_few)})" if too_few else ""),
            "groups",
            "give more groups rather than more examples of each" if too_few else advice,
        )
    for note in dataset.notes:
        yield note, "cut-groups", "choose sizes that whole groups fill"


def _small_splits(dataset: Dataset) -> Iterator[Note]:
    """Note which uses have too few examples for an interval. ``_grouped_examples`` covers uses with groups."""
    sizes = {use: len(split.ids) for use, split in dataset.splits.items() if not split.shared}
    too_small = {use: size for use, size in sizes.items() if size < FEWEST}
    if too_small:
        counts = ", ".join(f"{size} in {use}" for use, size in too_small.items())
        yield (
            f"an interval needs at least {FEWEST} examples, got {counts}: values there have no interval"
            + (", and no gain can be claimed" if "report" in too_small else ""),
            "no-interval",
            f"give {FEWEST} or more, and for a gain many more",
        )


def _special_tokens(dataset: Dataset) -> Iterator[Note]:
    """Note how many examples hold text that the tokenizer would read as a special token."""
    examples = [example for split in dataset.splits.values() for example in split.examples]
    if not (affected := [example for example in examples if example.plain]):
        return
    texts = (piece if isinstance(piece, str) else piece.answer or "" for piece in affected[0].pieces)
    start, text = next((starts[0], text) for starts, text in zip(affected[0].plain, texts, strict=True) if starts)
    yield (
        f"{len(affected):,} of {len(examples):,} examples hold text that the tokenizer would read as a special token; "
        f"it is read letter by letter, as in {affected[0].named}: {text[start : start + 40]!r}",
        "special-tokens",
        "check whether this is intended",
    )
