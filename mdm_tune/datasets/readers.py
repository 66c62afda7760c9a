"""Read examples of text for each use: how a record is rendered, and which records tune, choose and report take."""

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
    PluginDatasetConfig,
)
from mdm_tune.config.templates import Hole, fields_in, fill_template, pieces_of
from mdm_tune.core.digests import content_digest
from mdm_tune.core.errors import InputError
from mdm_tune.core.files import bundled
from mdm_tune.core.messages import quantity
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.text import Codec, chat_prompt
from mdm_tune.core.types import Use
from mdm_tune.datasets.examples import Example, group_of
from mdm_tune.datasets.plugin_records import plugin_sources
from mdm_tune.datasets.sources import Source, csv_source, hub_source, jsonl_source, lines_source
from mdm_tune.datasets.specials import plain_places

__all__ = ["ReaderConfig", "example_of", "examples_of", "read_examples", "source_of"]

USES: tuple[Use, ...] = get_args(Use)
FileReaderConfig = JsonlDatasetConfig | CsvDatasetConfig | LinesDatasetConfig | HubDatasetConfig
ReaderConfig = FileReaderConfig | PluginDatasetConfig
Record = Mapping[str, Any]


def read_examples(
    config: ReaderConfig,
    codec: Codec,
    root: int,
    notes: list[str] | None = None,
    spare: dict[Use, int] | None = None,
    *,
    trust_code: bool = False,
) -> dict[Use, tuple[Example, ...]]:
    """Read the examples of each use. No example is in two uses, or among the shots.

    Shots are the first records of their source, which is that of tune unless the config names another. Each use takes
    records of its source in a random order, one group after the other; the last group is cut at the size of the use.
    If several uses share a source, each takes records that the uses before it left, but none of their groups. A record
    that repeats another one of its source counts once.

    Args:
        config: The dataset section.
        codec: The model's codec, for chat templates and special tokens.
        root: Seed of the random orders.
        notes: A list to which a sentence is added for each group that was cut.
        spare: Receives the records of each use's source that no use took.
        trust_code: Whether the code of a plugin may run.

    Returns:
        The examples by use.

    Raises:
        InputError: If a source cannot be read or rendered, has too few records or groups, shares an example or group
            with another source, or if a name of an example repeats.
    """
    sources = plugin_sources(config, trust_code) if isinstance(config, PluginDatasetConfig) else _sources(config)
    return examples_of(config, sources, codec, root, notes, spare)


def examples_of(
    config: ReaderConfig,
    sources: Mapping[str, Source],
    codec: Codec,
    root: int,
    notes: list[str] | None = None,
    spare: dict[Use, int] | None = None,
) -> dict[Use, tuple[Example, ...]]:
    """As ``read_examples``, from sources that are read already.

    Args:
        config: The dataset section.
        sources: The source of each use, and of the shots if they have one of their own.
        codec: As for ``read_examples``.
        root: As for ``read_examples``.
        notes: As for ``read_examples``.
        spare: As for ``read_examples``.

    Raises:
        InputError: As ``read_examples``.
    """
    partition = _Partition(config, codec, root, _load_shots(config, sources.get("shots", sources["tune"])))
    sizes: dict[Use, int | None] = {
        "tune": config.tune,
        "choose": config.choose,
        "report": None if config.report == "all" else config.report,
    }
    examples = {use: partition.assign(use, sources[use], size) for use, size in sizes.items()}
    if notes is not None:
        notes += partition.notes
    if spare is not None:
        spare |= {use: len(partition.waiting[id(sources[use])]) for use in sizes}
    return examples


def source_of(config: FileReaderConfig, path: str, split: str | None = None) -> Source:
    """Read the records of one file or set.

    Args:
        config: The dataset section.
        path: A file, or a path or name for the library datasets.
        split: The split of a set of the library datasets.

    Raises:
        InputError: If it cannot be read.
    """
    match config.type:
        case "jsonl":
            return jsonl_source(Path(path))
        case "csv":
            return csv_source(Path(path))
        case "lines":
            return lines_source(Path(path), config.per)
        case "datasets":
            templates = (config.prompt, config.answer, config.text, config.id, config.group)
            fields = frozenset().union(*map(fields_in, templates), fields_in(config.template, holes=True))
            return hub_source(path, config.name, split, config.revision, fields)


def _file_of(path: str, use: str, kind: str) -> str:
    """The file of a use in the bundled data ``package:NAME``; any other path is returned as it is."""
    if not path.startswith("package:"):
        return path
    if kind != "jsonl":
        raise InputError(
            f"dataset.path: {path} is read by the types jsonl and text, got {kind}; set dataset.type to jsonl"
        )
    name = f"{'tune' if use == 'shots' else use}.jsonl"
    file = bundled(path) / name
    if not file.is_file():
        others = sorted(each.name for each in file.parent.glob("*.jsonl"))
        remedy = "install the package again" if others else "text is read by dataset.type text"
        raise InputError(f"dataset.path: {path} has no file {name}, it has {', '.join(others) or 'text'}; {remedy}")
    return str(file)


def _sources(config: FileReaderConfig) -> dict[str, Source]:
    """The source of each use, and of the shots if the config names one. Uses of one file or split share the object."""
    places: dict[str, tuple[str, str | None]] = {}
    split = config.split if isinstance(config, HubDatasetConfig) else None
    by_use = [option for option in (config.path, split) if isinstance(option, dict)]
    for use in (*USES, *({"shots"} & {key for option in by_use for key in option})):
        path = config.path.get(use, config.path["tune"]) if isinstance(config.path, dict) else config.path
        split_name = split.get(use, split["tune"]) if isinstance(split, dict) else split
        places[use] = (_file_of(path, use, config.type), split_name)
    sources = {place: source_of(config, *place) for place in dict.fromkeys(places.values())}
    return {use: sources[place] for use, place in places.items()}


@dataclass(frozen=True)
class _Shots:
    source: Source
    records: tuple[Record, ...]


def _load_shots(config: ReaderConfig, source: Source) -> _Shots:
    if len(source.records) < config.shots:
        raise InputError(
            f"dataset.shots: {config.shots} shots are requested, {source.name} has "
            f"{quantity(len(source.records), 'record')}; lower it"
        )
    return _Shots(source, tuple(source.records[number] for number in range(config.shots)))


class _Partition:
    """Assigns records to uses, each record at most once."""

    def __init__(self, config: ReaderConfig, codec: Codec, root: int, shots: _Shots) -> None:
        self.config, self.codec, self.root, self.shots = config, codec, root, shots
        self.waiting: dict[int, deque[tuple[int, str]]] = {}  # record numbers and groups, by id() of the source
        self.notes: list[str] = []
        self.assigned: dict[str, tuple[str, Source, int]] = {}  # use and record, by digest of the content
        self.names: dict[str, str] = {}  # place of the record, by name of the example
        self.groups: dict[str, tuple[str, Source, int]] = {}  # use and first record, by group
        for number, record in enumerate(shots.records):
            try:
                example_of(record, config, codec)
            except InputError as error:
                raise InputError(f"{shots.source.place(number)}: {error}") from None
            self.assigned[_content_digest(_record_pieces(record, config))] = ("shots", shots.source, number)
            if group := _group(record, config):
                self.groups.setdefault(group, ("shots", shots.source, number))

    def assign(self, use: Use, source: Source, size: int | None) -> tuple[Example, ...]:
        """Take ``size`` examples, or all that are left, for a use."""
        if id(source) not in self.waiting:
            self._shuffle(use, source)
        waiting, examples = self.waiting[id(source)], list[Example]()
        while waiting and (size is None or len(examples) < size):
            example = self._example_of(use, source, waiting.popleft()[0])
            if example is not None:
                examples.append(example)
        self._check_size(use, source, size, examples)
        left_out = set()  # the rest of the last group, without repeats
        while waiting and waiting[0][1] and waiting[0][1] == examples[-1].group:
            left_out.add(_content_digest(_record_pieces(source.records[waiting.popleft()[0]], self.config)))
        if cut := len(left_out - self.assigned.keys()):
            self.notes.append(
                f"dataset.{use}: the {len(examples)} examples end within a group, those that share "
                f"{_group_label(self.config)}; the other {cut} of that group are left out of every use"
            )
        return tuple(examples)

    def _check_size(self, use: Use, source: Source, size: int | None, examples: Sequence[Example]) -> None:
        """Raise InputError for too few examples, or for examples of a single group: its mean is no estimate."""
        if len(examples) < (size or 1):
            raise InputError(
                f"dataset.{use}: {size or 'all'} examples are requested, {source.name} has {len(examples)} left of "
                f"{len(source.records)} after the uses before it, the shots and repeats{self._group_hint(source)}; "
                "lower the numbers or give more"
            )
        if examples[0].group and len(examples) > 1 and len({example.group for example in examples}) == 1:
            raise InputError(
                f"dataset.{use}: its {len(examples)} examples must be of two groups or more, got one, that of "
                f"{examples[0].named}: all share {_group_label(self.config)}; name another field in dataset.group, "
                "or give more"
            )

    def _shuffle(self, use: Use, source: Source) -> None:
        """Put records in random order, with the records of a group next to each other."""
        rng = np.random.default_rng(derive_seed(self.root, "partition", use))
        order, groups = rng.permutation(len(source.records)).tolist(), self._groups(source)
        # A record without a group is a group of its own; no text of a record starts with this character.
        names = [groups[number] or f"\0{number}" for number in order]
        first_rank = {name: rank for rank, name in reversed([*enumerate(names)])}
        ranked = sorted(zip(order, names, strict=True), key=lambda pair: first_rank[pair[1]])
        self.waiting[id(source)] = deque((number, groups[number]) for number, _ in ranked)

    def _groups(self, source: Source) -> list[str]:
        """The group of each record; empty if it stands alone, or cannot be rendered (an error once it is assigned)."""
        if self.config.group is None and not _visible_fields(self.config):
            return [""] * len(source.records)
        groups = []
        for number, record in enumerate(source.records):
            try:
                groups.append(_group(record, self.config))
            except InputError as error:
                if self.config.group is not None:
                    raise InputError(f"{source.place(number)}: {error}") from None
                groups.append("")
        return groups

    def _group_hint(self, source: Source) -> str:
        """The number of groups as a part of a message; empty if no two examples share a group."""
        groups = self._groups(source)
        different = len(set(groups)) + max(0, groups.count("") - 1)
        return "" if different == len(groups) else f", of {different} groups, each of which may have one use"

    def _example_of(self, use: Use, source: Source, number: int) -> Example | None:
        """The example of a record; None if it repeats another one of its source, or its group has another use."""
        label = source.place(number)
        try:
            record = source.records[number]
            content = _content_digest(_record_pieces(record, self.config))
            if content in self.assigned:
                other_use, other_source, other_number = self.assigned[content]
                if other_source is source:
                    return None
                raise InputError(
                    f"the example is also {other_source.place(other_number)}, for {other_use}: uses must not share an "
                    "example; remove it from one of them"
                )
            group = _group(record, self.config)
            if group and (owner := self.groups.setdefault(group, (use, source, number)))[0] != use:
                if owner[1] is source:
                    return None
                raise InputError(
                    f"shares {_group_label(self.config)} with {owner[1].place(owner[2])}, for {owner[0]}: uses must "
                    "not share a group of examples; remove it from one of them"
                )
            self.assigned[content] = (use, source, number)
            example = replace(example_of(record, self.config, self.codec, self.shots.records), source=label)
            if example.id in self.names:
                raise InputError(
                    f"its name {example.id!r} is also that of {self.names[example.id]}; names must not repeat, leave "
                    "dataset.id out to name examples by their content"
                )
        except InputError as error:
            raise InputError(f"{label}: {error}") from None
        self.names[example.id] = label
        return example


def example_of(record: Record, config: ReaderConfig, codec: Codec, shots: Sequence[Record] = ()) -> Example:
    """Render a record as an example. Raises InputError if a field is missing or empty, or a template fails."""
    pieces = _record_pieces(record, config)
    name = _content_digest(pieces) if config.id is None else _render_field("id", config.id, record)
    if config.prompt is not None:
        prompt, hole = pieces
        assert isinstance(prompt, str)
        pieces = (_prompt(prompt, config, codec, [_shot_texts(shot, config) for shot in shots]), hole)
    plain = plain_places(codec, pieces, [record, *shots], refuse=config.special_tokens == "refuse")
    return Example(name, pieces, dict(record), plain=plain, group=_group(record, config))


def _visible_fields(config: ReaderConfig) -> frozenset[str]:
    """The fields of an example's visible text; empty if all of its text is filled in."""
    return fields_in(config.prompt) | fields_in(config.template, holes=True, hidden=False)


def _group(record: Record, config: ReaderConfig) -> str:
    """The group of a record: the value of ``config.group``, else a digest of its visible text.

    Examples of one group are not independent. Empty if the record stands alone.
    """
    if config.group is not None:
        return _render_field("group", config.group, record)
    if not _visible_fields(config):
        return ""
    if config.prompt is not None:
        return group_of(_render_field("prompt", config.prompt, record))
    return group_of(*(piece if isinstance(piece, str) else "" for piece in _record_pieces(record, config)))


def _group_label(config: ReaderConfig) -> str:
    """What the examples of a group share, for messages."""
    return "the text that it shows" if config.group is None else f"its group ({config.group})"


def _record_pieces(record: Record, config: ReaderConfig) -> tuple[str | Hole, ...]:
    """The texts and holes of a record, without shots and chat template."""
    if config.template is not None:
        try:
            return pieces_of(config.template, record)
        except InputError as error:
            raise InputError(f"dataset.template: {error}") from None
    if config.text is not None:
        return (Hole(_render_field("text", config.text, record), config.generation_length),)
    assert config.prompt is not None  # the config has exactly one of the three
    answer = None if config.answer is None else _render_field("answer", config.answer, record)
    return _render_field("prompt", config.prompt, record), Hole(answer, config.generation_length)


def _prompt(own: str, config: ReaderConfig, codec: Codec, shots: Sequence[tuple[str, str]]) -> str:
    if not config.chat:
        return "".join(prompt + answer + config.separator for prompt, answer in shots) + own
    messages = [] if config.system is None else [{"role": "system", "content": config.system}]
    for prompt, answer in shots:
        messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return chat_prompt(codec, [*messages, {"role": "user", "content": own}])


def _shot_texts(shot: Record, config: ReaderConfig) -> tuple[str, str]:
    assert config.prompt is not None and config.answer is not None  # the config has no shots without them
    return _render_field("prompt", config.prompt, shot), _render_field("answer", config.answer, shot)


def _render_field(key: str, template: str, record: Record) -> str:
    try:
        text = fill_template(template, record)
    except InputError as error:
        raise InputError(f"dataset.{key}: {error}") from None
    if not text and key != "answer":
        raise InputError(f"dataset.{key}: {template[:60]!r} is empty here; leave such records out")
    return text


def _content_digest(pieces: Sequence[str | Hole]) -> str:
    """Sixteen hex digits of texts and references; the sizes of holes do not count."""
    texts = [piece if isinstance(piece, str) else [piece.answer] for piece in pieces]
    return content_digest(texts)
