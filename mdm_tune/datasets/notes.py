"""What to know of a data set before anything is paid for: how the model sees it, and what no answer can reach."""

from __future__ import annotations

from collections.abc import Iterator

from mdm_tune.core.messages import shown
from mdm_tune.core.statistics import FEWEST
from mdm_tune.datasets.normalization import read_back, reference_form
from mdm_tune.datasets.splits import PADDING, Dataset

__all__ = ["dataset_notes", "framed"]

Told = tuple[str, str, str]  # a text, the code by which a program knows it, and what to do


def dataset_notes(dataset: Dataset, compared: bool = True) -> Iterator[Told]:
    """What may be wrong with the examples, each with its code and with advice.

    compared: whether the objective looks at references; tests of programs do not.
    """
    yield from _cut(dataset)
    yield from _lost(dataset)
    if compared:
        yield from _open(dataset)
    yield from _plain(dataset)
    yield from _grouped(dataset)
    yield from _few(dataset)


def framed(dataset: Dataset) -> str:
    """The first tune example with the special tokens that stand around it in the model's row."""
    split, codec = dataset.splits["tune"], dataset.codec
    text, spelled = split.examples[0].shown, getattr(codec, "spelled", None)
    if spelled is None:
        return text
    row = [token for token in split.start[0].tolist() if token != PADDING]
    before, after = codec.framed([])
    first = spelled(before) if row[: len(before)] == before else ""
    last = spelled(after) if after and row[-len(after) :] == after else ""
    return ("" if text.startswith(first) else first) + text + ("" if text.endswith(last) else last)


def _cut(dataset: Dataset) -> Iterator[Told]:
    """How many references have more tokens than their hole.

    Of texts with several holes only those holes are looked at that name their tokens.
    """
    cut = total = 0
    for split in (split for split in dataset.splits.values() if split.examples):
        for example, hidden in zip(split.examples, split.hidden.sum(1).tolist(), strict=True):
            single = len(example.holes) == 1
            sizes = [hidden if single else hole.tokens for hole in example.holes]
            answers = [
                None if hole.answer is None else len(dataset.codec.encode(hole.answer)) for hole in example.holes
            ]
            total += any(length is not None for length in answers)
            cut += any(n is not None and size is not None and n > size for n, size in zip(answers, sizes, strict=True))
    if cut:
        yield (
            f"{cut:,} of {total:,} references are longer than the tokens that are filled in, and are cut there; a "
            "metric that compares with them or prices them sees the rest only",
            "cut-references",
            "raise dataset.generation_length or give holes more tokens",
        )


def _lost(dataset: Dataset) -> Iterator[Told]:
    """How many references the model's tokens do not write, but for case, accents and spaces."""
    known = [
        example
        for split in dataset.splits.values()
        for example in split.examples
        if all(hole.answer is not None for hole in example.holes)
    ]
    lost = [example for example in known if not example.plain and reference_form(dataset.codec, example) is None]
    if lost:
        answer = " ".join(hole.answer or "" for hole in lost[0].holes)
        read = shown(read_back(dataset.codec, answer))
        yield (
            f"{len(lost):,} of {len(known):,} references hold what the model's tokens cannot write, so that no answer "
            f"can equal them, and a likelihood prices something else: {shown(answer)} of "
            f"{lost[0].named} reads back as {read}",
            "lost-references",
            "leave such examples out, or use a metric that does not compare texts",
        )


def _open(dataset: Dataset) -> Iterator[Told]:
    """How many references are shorter than what is filled in, where no end token can fill the rest."""
    if dataset.codec.end_tokens:
        return
    short = total = 0
    for split in dataset.splits.values():
        unknown = (split.hidden & (split.originals < 0)).any(1).tolist()
        for example, open_ended in zip(split.examples, unknown, strict=False):
            told = all(hole.answer is not None for hole in example.holes)
            total += told
            short += told and open_ended
    if short:
        yield (
            f"{short:,} of {total:,} references have fewer tokens than are filled in, and the model has no end token: "
            "whatever it writes there belongs to its answer, so that no answer can equal them",
            "open-references",
            "lower dataset.generation_length, write holes as long as their answers ([[answer]] in dataset.template), "
            "or set model.end_tokens",
        )


def _grouped(dataset: Dataset) -> Iterator[Told]:
    """Which uses have examples that are no independent ones, and what was cut to keep a group in one use."""
    advice = "name the field that tells groups apart in dataset.group, and see docs/tasks.md"
    sizes = {use: (len(split.ids), len(set(split.groups))) for use, split in dataset.splits.items() if split.shared}
    if sizes:
        told = ", ".join(f"{examples:,} of {groups:,} groups in {use}" for use, (examples, groups) in sizes.items())
        few = [use for use, (_, groups) in sizes.items() if groups < FEWEST]
        yield (
            f"examples that share a prompt, or a value of dataset.group, are no independent ones: {told}; intervals "
            "count each group once"
            + (f", and with fewer than {FEWEST} groups there is none ({', '.join(few)})" if few else ""),
            "groups",
            "give more groups rather than more examples of each" if few else advice,
        )
    for note in dataset.notes:
        yield note, "cut-groups", "choose sizes that whole groups fill"


def _few(dataset: Dataset) -> Iterator[Told]:
    """Which uses have too few examples for an interval; of groups ``_grouped`` says so."""
    few = {use: len(split.ids) for use, split in dataset.splits.items() if not split.shared and len(split.ids) < FEWEST}
    if few:
        told = ", ".join(f"{count} in {use}" for use, count in few.items())
        yield (
            f"an interval takes {FEWEST} examples, and there are {told}: values there have none"
            + (", and no gain can be claimed" if "report" in few else ""),
            "no-interval",
            f"give {FEWEST} or more, and for a gain many more",
        )


def _plain(dataset: Dataset) -> Iterator[Told]:
    """How many examples hold text that the tokenizer would read as a special token."""
    examples = [example for split in dataset.splits.values() for example in split.examples]
    if not (found := [example for example in examples if example.plain]):
        return
    texts = (piece if isinstance(piece, str) else piece.answer or "" for piece in found[0].pieces)
    place, text = next((places[0], text) for places, text in zip(found[0].plain, texts, strict=True) if places)
    yield (
        f"{len(found):,} of {len(examples):,} examples hold text that the tokenizer would read as a special token; it "
        f"is read letter by letter, as in {found[0].named}: {text[place : place + 40]!r}",
        "special-tokens",
        "check whether that is meant",
    )
