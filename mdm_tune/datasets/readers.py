"""Examples of text for each use: what a record is shown as, and which records tune, choose and report get."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from mdm_tune.config.data import (
    CsvDatasetConfig,
    HubDatasetConfig,
    JsonlDatasetConfig,
    LinesDatasetConfig,
)
from mdm_tune.datasets.examples import Example, Hole
from mdm_tune.datasets.sources import Source, csv_source, hub_source, jsonl_source, lines_source
from mdm_tune.datasets.specials import plain_places
from mdm_tune.datasets.templates import fields_of, fill, pieces_of
from mdm_tune.errors import InputError
from mdm_tune.seeding import derive_seed
from mdm_tune.text import Codec, chat_prompt

__all__ = ["ReaderConfig", "read_examples", "render", "source_of"]

Use = Literal["tune", "choose", "report"]
USES: tuple[Use, ...] = get_args(Use)
ReaderConfig = JsonlDatasetConfig | CsvDatasetConfig | LinesDatasetConfig | HubDatasetConfig
Record = Mapping[str, Any]


def read_examples(config: ReaderConfig, codec: Codec, root: int) -> dict[Use, tuple[Example, ...]]:
    """The examples of each use, none of them in two uses or among the shots.

    Shots are the first records of their source, which is that of tune where the config names none. Each use takes
    records of its source in an order that follows from ``root``; where uses have one source, each takes what the ones
    before it left. A record that repeats another of its source counts once.

    Raises InputError for what cannot be read or rendered, for too few records, for one example in two sources, and for
    a name of examples that repeats.
    """
    sources = _sources(config)
    dealer = _Dealer(config, codec, root, _shots(config, sources.get("shots", sources["tune"])))
    sizes: dict[Use, int | None] = {
        "tune": config.tune,
        "choose": config.choose,
        "report": None if config.report == "all" else config.report,
    }
    return {use: dealer.deal(use, sources[use], size) for use, size in sizes.items()}


def render(
    records: Sequence[Record], config: ReaderConfig, codec: Codec, shots: Sequence[Record] = ()
) -> list[Example]:
    """Each record as an example, after the solved shots.

    An example is named by its field ``config.id``, else by sixteen hex digits of its own content, shots left out.
    Raises InputError for a field that the record lacks or that is no text, for an empty prompt, and for a chat where
    the model has no template.
    """
    return [_example(record, config, codec, shots) for record in records]


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
            shown = [fields_of(text) for text in (config.prompt, config.answer, config.text, config.id)]
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
            f"dataset.shots: {config.shots} shots are wanted, {source.name} has {len(source.records)} records; lower it"
        )
    return _Shots(source, tuple(source.records[number] for number in range(config.shots)))


class _Dealer:
    """Hands out the records of every source, each at most once."""

    def __init__(self, config: ReaderConfig, codec: Codec, root: int, shots: _Shots) -> None:
        self.config, self.codec, self.root, self.shots = config, codec, root, shots
        self.waiting: dict[int, Iterator[int]] = {}  # by identity of the source
        self.given: dict[str, tuple[str, Source, int]] = {}  # by content
        self.names: dict[str, str] = {}
        for number, record in enumerate(shots.records):
            try:
                _example(record, config, codec, ())
            except InputError as error:
                raise InputError(f"{shots.source.place(number)}: {error}") from None
            self.given[_content(_own_pieces(record, config))] = ("shots", shots.source, number)

    def deal(self, use: Use, source: Source, size: int | None) -> tuple[Example, ...]:
        """``size`` examples, or all that are left."""
        waiting = self.waiting.get(id(source)) or self._order(use, source)
        found: list[Example] = []
        while (size is None or len(found) < size) and (number := next(waiting, None)) is not None:
            example = self._taken(use, source, number)
            if example is not None:
                found.append(example)
        if len(found) < (size or 1):
            raise InputError(
                f"dataset.{use}: {size or 'all'} examples are wanted, {source.name} has {len(found)} left of "
                f"{len(source.records)} after the uses before it, the shots and repeats; lower the numbers or give more"
            )
        return tuple(found)

    def _order(self, use: Use, source: Source) -> Iterator[int]:
        rng = np.random.default_rng(derive_seed(self.root, "partition", use))
        self.waiting[id(source)] = map(int, rng.permutation(len(source.records)))
        return self.waiting[id(source)]

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
            self.given[content] = (use, source, number)
            example = replace(_example(record, self.config, self.codec, self.shots.records), source=place)
            if example.id in self.names:
                raise InputError(
                    f"its name {example.id!r} is also that of {self.names[example.id]}; names must not repeat, leave "
                    "dataset.id out to name examples by their content"
                )
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        self.names[example.id] = place
        return example


def _example(record: Record, config: ReaderConfig, codec: Codec, shots: Sequence[Record]) -> Example:
    pieces = _own_pieces(record, config)
    name = _content(pieces) if config.id is None else _filled("id", config.id, record)
    if config.prompt is not None:
        prompt, hole = pieces
        assert isinstance(prompt, str)
        pieces = (_prompt(prompt, config, codec, [_solved(shot, config) for shot in shots]), hole)
    plain = plain_places(codec, pieces, [record, *shots], refuse=config.special_tokens == "refuse")
    return Example(name, pieces, dict(record), plain=plain)


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
        text = fill(template, record)
    except InputError as error:
        raise InputError(f"dataset.{key}: {error}") from None
    if not text and key != "answer":
        raise InputError(f"dataset.{key}: {template[:60]!r} is empty here; leave such records out")
    return text


def _content(pieces: Sequence[str | Hole]) -> str:
    """Sixteen hex digits; a hole's text counts, its size does not."""
    texts = [piece if isinstance(piece, str) else [piece.answer] for piece in pieces]
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=8).hexdigest()
