"""Examples of text for each use: what a record is shown as, and which records tune, choose and report get."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from mdm_tune.config.data import (
    CsvDatasetConfig,
    HubDatasetConfig,
    JsonlDatasetConfig,
    LinesDatasetConfig,
)
from mdm_tune.config.templates import Hole, fields_of, fill_template, pieces_of
from mdm_tune.core.digests import content_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.text import Codec, chat_prompt
from mdm_tune.core.types import Use
from mdm_tune.datasets.examples import Example, group_of
from mdm_tune.datasets.sources import Source, csv_source, hub_source, jsonl_source, lines_source
from mdm_tune.datasets.specials import plain_places

__all__ = ["ReaderConfig", "example_of", "read_examples", "source_of"]

USES: tuple[Use, ...] = get_args(Use)
ReaderConfig = JsonlDatasetConfig | CsvDatasetConfig | LinesDatasetConfig | HubDatasetConfig
Record = Mapping[str, Any]


def read_examples(
    config: ReaderConfig, codec: Codec, root: int, notes: list[str] | None = None
) -> dict[Use, tuple[Example, ...]]:
    """The examples of each use, none of them in two uses or among the shots.

    Shots are the first records of their source, which is that of tune where the config names none. Each use takes
    records of its source in an order that follows from ``root``, and with each all others of its group (``_group``);
    the last group is cut at the use's size. Where uses have one source, each takes what the ones before it left, and
    nothing of a group that one of them has. A record that repeats another of its source counts once.

    Raises InputError for what cannot be read or rendered, for too few records or groups, for one example or group in
    two sources, and for a name of examples that repeats. notes: gets a sentence for each group that was cut.
    """
    sources = _sources(config)
    dealer = _Dealer(config, codec, root, _shots(config, sources.get("shots", sources["tune"])))
    sizes: dict[Use, int | None] = {
        "tune": config.tune,
        "choose": config.choose,
        "report": None if config.report == "all" else config.report,
    }
    found = {use: dealer.deal(use, sources[use], size) for use, size in sizes.items()}
    if notes is not None:
        notes += dealer.notes
    return found


def source_of(config: ReaderConfig, path: str, split: str | None = None) -> Source:
    """The records of one file or set; raises InputError where it cannot be read."""
    match config.type:
        case "jsonl":
            return jsonl_source(Path(path))
        case "csv":
            return csv_source(Path(path))
        case "lines":
            return lines_source(Path(path), config.per)
        case "datasets":
            shown = [fields_of(text) for text in (config.prompt, config.answer, config.text, config.id, config.group)]
            fields = frozenset().union(*shown, fields_of(config.template, holes=True))
            return hub_source(path, config.name, split, config.revision, fields)


def _sources(config: ReaderConfig) -> dict[str, Source]:
    """By use, and for the shots where the config names their source; one object for one file or split."""
    places: dict[str, tuple[str, str | None]] = {}
    split = config.split if isinstance(config, HubDatasetConfig) else None
    named = [each for each in (config.path, split) if isinstance(each, dict)]
    for use in (*USES, *({"shots"} & {key for each in named for key in each})):
        path = config.path.get(use, config.path["tune"]) if isinstance(config.path, dict) else config.path
        part = split.get(use, split["tune"]) if isinstance(split, dict) else split
        places[use] = (path, part)
    read = {place: source_of(config, *place) for place in dict.fromkeys(places.values())}
    return {use: read[place] for use, place in places.items()}


@dataclass(frozen=True)
class _Shots:
    source: Source
    records: tuple[Record, ...]


def _shots(config: ReaderConfig, source: Source) -> _Shots:
    if len(source.records) < config.shots:
        raise InputError(
            f"dataset.shots: {config.shots} shots are wanted, {source.name} has "
            f"{quantity(len(source.records), 'record')}; lower it"
        )
    return _Shots(source, tuple(source.records[number] for number in range(config.shots)))


class _Dealer:
    """Hands out the records of every source, each at most once."""

    def __init__(self, config: ReaderConfig, codec: Codec, root: int, shots: _Shots) -> None:
        self.config, self.codec, self.root, self.shots = config, codec, root, shots
        self.waiting: dict[int, deque[tuple[int, str]]] = {}  # record and group, by identity of the source
        self.notes: list[str] = []
        self.given: dict[str, tuple[str, Source, int]] = {}  # by content
        self.names: dict[str, str] = {}
        self.groups: dict[str, tuple[str, Source, int]] = {}  # whose each group is, and the first record of it
        for number, record in enumerate(shots.records):
            try:
                example_of(record, config, codec)
            except InputError as error:
                raise InputError(f"{shots.source.place(number)}: {error}") from None
            self.given[_content(_own_pieces(record, config))] = ("shots", shots.source, number)
            if group := _group(record, config):
                self.groups.setdefault(group, ("shots", shots.source, number))

    def deal(self, use: Use, source: Source, size: int | None) -> tuple[Example, ...]:
        """``size`` examples, or all that are left."""
        if id(source) not in self.waiting:
            self._order(use, source)
        waiting, found = self.waiting[id(source)], list[Example]()
        while waiting and (size is None or len(found) < size):
            example = self._taken(use, source, waiting.popleft()[0])
            if example is not None:
                found.append(example)
        self._check(use, source, size, found)
        others = set()  # of the last group, each once
        while waiting and waiting[0][1] and waiting[0][1] == found[-1].group:
            others.add(_content(_own_pieces(source.records[waiting.popleft()[0]], self.config)))
        if cut := len(others - self.given.keys()):
            self.notes.append(
                f"dataset.{use}: the {len(found)} examples end within a group, those that share "
                f"{_shared(self.config)}; the other {cut} of that group are left out of every use"
            )
        return tuple(found)

    def _check(self, use: Use, source: Source, size: int | None, found: Sequence[Example]) -> None:
        """Raise InputError for too few examples, and for those of one group, whose mean says nothing of another."""
        if len(found) < (size or 1):
            raise InputError(
                f"dataset.{use}: {size or 'all'} examples are wanted, {source.name} has {len(found)} left of "
                f"{len(source.records)} after the uses before it, the shots and repeats{self._spent(source)}; lower "
                "the numbers or give more"
            )
        if found[0].group and len(found) > 1 and len({example.group for example in found}) == 1:
            raise InputError(
                f"dataset.{use}: its {len(found)} examples must be of two groups or more, got one, that of "
                f"{found[0].named}: all share {_shared(self.config)}; name another field in dataset.group, or give more"
            )

    def _order(self, use: Use, source: Source) -> None:
        """Records at random, but that with the first of a group all others of it come."""
        rng = np.random.default_rng(derive_seed(self.root, "partition", use))
        order, groups = rng.permutation(len(source.records)).tolist(), self._groups(source)
        names = [groups[number] or f"\0{number}" for number in order]  # no text of a record has this
        met = {name: rank for rank, name in reversed([*enumerate(names)])}
        ranked = sorted(zip(order, names, strict=True), key=lambda pair: met[pair[1]])
        self.waiting[id(source)] = deque((number, groups[number]) for number, _ in ranked)

    def _groups(self, source: Source) -> list[str]:
        """Of each record; empty where it stands alone, and where it cannot be shown, which matters once it is taken."""
        if self.config.group is None and not _visible(self.config):
            return [""] * len(source.records)
        found = []
        for number, record in enumerate(source.records):
            try:
                found.append(_group(record, self.config))
            except InputError as error:
                if self.config.group is not None:
                    raise InputError(f"{source.place(number)}: {error}") from None
                found.append("")
        return found

    def _spent(self, source: Source) -> str:
        """How many groups there are, for a message, where examples share some."""
        groups = self._groups(source)
        different = len(set(groups)) + max(0, groups.count("") - 1)
        return "" if different == len(groups) else f", of {different} groups, each of which may have one use"

    def _taken(self, use: Use, source: Source, number: int) -> Example | None:
        """The example of a record; None where it repeats another of its source."""
        place = source.place(number)
        try:
            record = source.records[number]
            content = _content(_own_pieces(record, self.config))
            if content in self.given:
                other, origin, at = self.given[content]
                if origin is source:
                    return None
                raise InputError(
                    f"the example is also {origin.place(at)}, for {other}: uses must not share an example; remove it "
                    "from one of them"
                )
            group = _group(record, self.config)
            if group and (owner := self.groups.setdefault(group, (use, source, number)))[0] != use:
                if owner[1] is source:
                    return None
                raise InputError(
                    f"shares {_shared(self.config)} with {owner[1].place(owner[2])}, for {owner[0]}: uses must not "
                    "share a group of examples; remove it from one of them"
                )
            self.given[content] = (use, source, number)
            example = replace(example_of(record, self.config, self.codec, self.shots.records), source=place)
            if example.id in self.names:
                raise InputError(
                    f"its name {example.id!r} is also that of {self.names[example.id]}; names must not repeat, leave "
                    "dataset.id out to name examples by their content"
                )
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        self.names[example.id] = place
        return example


def example_of(record: Record, config: ReaderConfig, codec: Codec, shots: Sequence[Record] = ()) -> Example:
    pieces = _own_pieces(record, config)
    name = _content(pieces) if config.id is None else _filled("id", config.id, record)
    if config.prompt is not None:
        prompt, hole = pieces
        assert isinstance(prompt, str)
        pieces = (_prompt(prompt, config, codec, [_solved(shot, config) for shot in shots]), hole)
    plain = plain_places(codec, pieces, [record, *shots], refuse=config.special_tokens == "refuse")
    return Example(name, pieces, dict(record), plain=plain, group=_group(record, config))


def _visible(config: ReaderConfig) -> frozenset[str]:
    """The fields that an example shows; none where all of its text is filled in, or where all show the same."""
    return fields_of(config.prompt) | fields_of(config.template, holes=True, hidden=False)


def _group(record: Record, config: ReaderConfig) -> str:
    """What a record has in common with others that are no independent examples; empty where it stands alone.

    The value of the field ``config.group``, else the text that it shows.
    """
    if config.group is not None:
        return _filled("group", config.group, record)
    if not _visible(config):
        return ""
    if config.prompt is not None:
        return group_of(_filled("prompt", config.prompt, record))
    return group_of(*(piece if isinstance(piece, str) else "" for piece in _own_pieces(record, config)))


def _shared(config: ReaderConfig) -> str:
    """What examples of one group share, for messages."""
    return "the text that it shows" if config.group is None else f"its group ({config.group})"


def _own_pieces(record: Record, config: ReaderConfig) -> tuple[str | Hole, ...]:
    """What the record alone becomes, without shots and chat template."""
    if config.template is not None:
        try:
            return pieces_of(config.template, record)
        except InputError as error:
            raise InputError(f"dataset.template: {error}") from None
    if config.text is not None:
        return (Hole(_filled("text", config.text, record), config.generation_length),)
    assert config.prompt is not None  # the config has exactly one of the three
    answer = None if config.answer is None else _filled("answer", config.answer, record)
    return _filled("prompt", config.prompt, record), Hole(answer, config.generation_length)


def _prompt(own: str, config: ReaderConfig, codec: Codec, shots: Sequence[tuple[str, str]]) -> str:
    if not config.chat:
        return "".join(prompt + answer + config.separator for prompt, answer in shots) + own
    messages = [] if config.system is None else [{"role": "system", "content": config.system}]
    for prompt, answer in shots:
        messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return chat_prompt(codec, [*messages, {"role": "user", "content": own}])


def _solved(shot: Record, config: ReaderConfig) -> tuple[str, str]:
    assert config.prompt is not None and config.answer is not None  # the config has no shots without them
    return _filled("prompt", config.prompt, shot), _filled("answer", config.answer, shot)


def _filled(key: str, template: str, record: Record) -> str:
    try:
        text = fill_template(template, record)
    except InputError as error:
        raise InputError(f"dataset.{key}: {error}") from None
    if not text and key != "answer":
        raise InputError(f"dataset.{key}: {template[:60]!r} is empty here; leave such records out")
    return text


def _content(pieces: Sequence[str | Hole]) -> str:
    """Sixteen hex digits; a hole's text counts, its size does not."""
    texts = [piece if isinstance(piece, str) else [piece.answer] for piece in pieces]
    return content_digest(texts)
