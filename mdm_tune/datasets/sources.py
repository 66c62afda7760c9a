"""Read records from JSON lines, CSV, plain text, and sets of the library ``datasets``."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from mdm_tune.config.templates import JsonNumber
from mdm_tune.core.consent import without_consent_prompts
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, shown_path
from mdm_tune.core.reading import check_file, json_line, read_text

__all__ = ["Source", "csv_source", "hub_source", "jsonl_source", "lines_source", "splits_of"]

BUILDERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}


@dataclass(frozen=True)
class Source:
    """Records with named fields.

    Attributes:
        name: The file or set of the records.
        records: The records, at least one.
        lines: The line at which each record starts; () if they have no lines.
    """

    name: str
    records: Sequence[Mapping[str, Any]]
    lines: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.records):
            raise InputError(f"{self.name} holds no record; give a file with at least one example for each use")

    def place(self, number: int) -> str:
        """The place of record ``number`` (from 0), for messages."""
        return f"{self.name}, line {self.lines[number]}" if self.lines else f"{self.name}, row {number}"


def jsonl_source(path: Path) -> Source:
    """Read one JSON object per line, without blank lines. Raises InputError, with the line, for anything else."""
    records, lines = [], []
    for line_number, line in enumerate(_read(path).split("\n"), 1):  # splitlines would also cut inside JSON strings
        if not line.strip():
            continue
        records.append(json_line(line, f"{shown_path(path)}, line {line_number}", number=JsonNumber))
        lines.append(line_number)
    return Source(str(path), records, tuple(lines))


def csv_source(path: Path) -> Source:
    """Read rows below a line of field names, separated by commas, or by tabs in a .tsv file.

    Raises InputError if a row has more or fewer fields than there are names, or if a name is empty or repeats.
    """
    reader = csv.reader(
        io.StringIO(_read(path), newline=""), delimiter="\t" if path.suffix == ".tsv" else ",", strict=True
    )
    rows, lines, ended = [], [], 0
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(ended + 1)
            ended = reader.line_num
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not CSV: {error}; quote such a field, or use JSON") from None
    names = rows[0] if rows else []
    if not all(names) or len(set(names)) < len(names):
        raise InputError(f"{path}: the first line must name each field once, got {names}; write the names there")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise InputError(
                f"{path}, line {line}: has {len(row)} fields, the first line names {len(names)} "
                f"({', '.join(names)}); put text that holds a separator in quotes"
            )
    return Source(str(path), [dict(zip(names, row, strict=True)) for row in rows[1:]], tuple(lines[1:]))


def lines_source(path: Path, per: Literal["line", "paragraph"]) -> Source:
    """Read each line that is not blank, or each paragraph between blank lines, as a record with the field ``text``."""
    numbered = list(enumerate(_read(path).split("\n"), 1))
    if per == "line":
        groups = [[entry] for entry in numbered if entry[1].strip()]
    else:
        groups = [list(group) for filled, group in groupby(numbered, lambda entry: bool(entry[1].strip())) if filled]
    records = [{"text": "\n".join(line for _, line in group)} for group in groups]
    return Source(str(path), records, tuple(group[0][0] for group in groups))


def hub_source(
    path: str,
    name: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    fields: Collection[str] = (),
) -> Source:
    """Open a set of the library ``datasets``. Rows are read when they are used.

    Every value of a CSV file is text, exactly as written. Columns that must be decoded, such as pictures and sound, are
    never read.

    Args:
        path: A folder that the library saved, a folder or file that it reads, or a name on the Hub.
        name: Name of a configuration of the set.
        split: The split; None if there is only one.
        revision: Revision on the Hub.
        fields: Fields that are shown as text.

    Raises:
        InputError: If the library is not installed, the set cannot be loaded, the split is missing or must be chosen,
            or the text of a field differs from what was written.
    """
    _library()  # a missing library is reported first
    local = Path(path)
    # The library would turn some texts into dates, and drop zeros of numbers.
    if local.exists() and not local.is_dir() and local.suffix == ".jsonl":
        source = jsonl_source(local)
        if split not in (None, "train"):
            raise InputError(f"{path} has no split {split!r}, it has train; set dataset.split to one of them")
        return source
    loaded, is_one_split = _opened(path, name, split, revision)
    label = path if split is None else f"{path} ({split})"
    dataset = loaded if is_one_split else _select_split(loaded, path, split)
    return Source(label, _without_decoded_columns(dataset, label, fields))


def splits_of(path: str, name: str | None = None) -> dict[str, Any]:
    """All splits of a set of the library ``datasets``, without columns that must be decoded.

    Args:
        path: As for ``hub_source``.
        name: As for ``hub_source``.

    Returns:
        The splits, as sets of the library, by name; the name is empty for a set without splits.

    Raises:
        InputError: If the library is not installed, or if the set cannot be loaded.
    """
    loaded, _ = _opened(path, name, None, None)
    splits = {str(key): split for key, split in loaded.items()} if isinstance(loaded, Mapping) else {"": loaded}
    return {key: _without_decoded_columns(split, path, ()) for key, split in splits.items()}


def _library() -> Any:
    """The library ``datasets``."""
    try:
        import datasets
    except ImportError:
        raise InputError(
            "dataset.type datasets needs the library datasets, which is not installed; pip install 'mdm-tune[hf]'"
        ) from None
    return datasets


def _opened(path: str, name: str | None, split: str | None, revision: str | None) -> tuple[Any, bool]:
    """A set of the library, and whether it is a single split. Raises InputError if it cannot be loaded."""
    datasets, local = _library(), Path(path)
    try:
        with _without_progress_bars(datasets), without_consent_prompts(False, "dataset.path"):
            return _load(datasets, path, name, split, revision)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # the library and its network code may raise anything
        reason = cut((str(error).strip() or type(error).__name__).splitlines()[0], 200)
        call = f"datasets.load_dataset({path!r}{'' if name is None else f', {name!r}'}).save_to_disk(FOLDER)"
        hub_remedy = (
            f"check dataset.path; where the Hub cannot be reached, run {call} on a machine that reaches it, place "
            "FOLDER here and set dataset.path to it"
        )
        remedy = "check the files" if local.exists() else hub_remedy
        raise InputError(f"cannot load the dataset {path}: {reason}; {remedy}") from error


def _load(datasets: Any, path: str, name: str | None, split: str | None, revision: str | None) -> tuple[Any, bool]:
    """Load a set with the library, and return it with whether it is a single split."""
    local = Path(path)
    if local.is_dir() and any((local / file).is_file() for file in ("dataset_dict.json", "state.json")):
        return datasets.load_from_disk(path), False
    if local.exists() and not local.is_dir() and local.suffix in BUILDERS:
        check_file(local)  # the library would wait forever for a pipe
        arguments: dict[str, Any] = {"path": BUILDERS[local.suffix], "data_files": {"train": path}}
        is_one_split = False
    else:
        arguments, is_one_split = {"path": path, "name": name, "split": split, "revision": revision}, split is not None
    builder = datasets.load_dataset_builder(**{key: value for key, value in arguments.items() if key != "split"})
    loaded = datasets.load_dataset(**arguments, trust_remote_code=False)
    if type(builder.config).__name__ == "CsvConfig":  # pandas guesses types: 007 would become 7, and NA nothing
        columns = loaded.column_names
        if isinstance(columns, Mapping):
            columns = next(iter(columns.values()))
        texts = datasets.Features({column: datasets.Value("string") for column in columns})
        loaded = datasets.load_dataset(**arguments, features=texts, keep_default_na=False, trust_remote_code=False)
    return loaded, is_one_split


def _without_decoded_columns(dataset: Any, label: str, fields: Collection[str]) -> Any:
    """The set without columns that must be decoded. Raises InputError if a field that is shown is no plain text."""
    features = dict(dataset.features)
    decoded = [name for name, feature in features.items() if _is_decoded(feature)]
    for name in fields:
        dtype = getattr(features.get(name), "dtype", "")
        if name in decoded:
            class_name = type(features[name]).__name__
            raise InputError(
                f"{label}: field {name!r} must be text, got {class_name}; name another field, or store its text"
            )
        if dtype in ("float16", "float32"):
            raise InputError(
                f"{label}: field {name!r} holds {dtype} numbers, whose text is not what was written (0.1 would read "
                f"0.10000000149011612); cast the column to string"
            )
    return dataset.remove_columns(decoded) if decoded else dataset


def _is_decoded(feature: Any) -> bool:
    """Whether the library decodes a column, or a part of it, into objects of another library."""
    if isinstance(feature, Mapping):
        return any(map(_is_decoded, feature.values()))
    if isinstance(feature, list | tuple):
        return any(map(_is_decoded, feature))
    inner = getattr(feature, "feature", None)
    return hasattr(feature, "decode_example") or (inner is not None and _is_decoded(inner))


def _select_split(loaded: Any, path: str, split: str | None) -> Any:
    """The split of a loaded set, or of a mapping of splits. Raises InputError if it is missing or must be chosen."""
    if not isinstance(loaded, Mapping):
        if split not in (None, loaded.split):
            raise InputError(f"{path} is one set without splits, got dataset.split {split!r}; leave it out")
        return loaded
    names = ", ".join(map(str, loaded))
    if split is None and len(loaded) == 1:
        return next(iter(loaded.values()))
    if split is None:
        raise InputError(f"{path} has the splits {names}; choose with dataset.split, one or one for each use")
    if split not in loaded:
        raise InputError(f"{path} has no split {split!r}, it has {names}; set dataset.split to one of them")
    return loaded[split]


@contextmanager
def _without_progress_bars(datasets: Any) -> Iterator[None]:
    """Switch off the library's progress bars, which would appear on the terminal."""
    enabled = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if enabled:
            datasets.enable_progress_bars()


def _read(path: Path) -> str:
    remedy = "give a file; for a set that the library datasets saved, dataset.type datasets"
    return read_text(path, remedy=remedy).replace("\r\n", "\n")
