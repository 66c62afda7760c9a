"""Where records come from: JSON lines, CSV, plain text, and sets that the library ``datasets`` reads."""

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

__all__ = ["Source", "csv_source", "hub_source", "jsonl_source", "lines_source"]

BUILDERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}


@dataclass(frozen=True)
class Source:
    """Records with named fields.

    name: the file or set that they come from. lines: the line that each record begins at, () where it has none.
    """

    name: str
    records: Sequence[Mapping[str, Any]]
    lines: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.records):
            raise InputError(f"{self.name} holds no record; give a file with at least one example for each use")

    def place(self, number: int) -> str:
        """Where record ``number`` stands, for a reader."""
        return f"{self.name}, line {self.lines[number]}" if self.lines else f"{self.name}, row {number}"


def jsonl_source(path: Path) -> Source:
    """One JSON object per line, blank lines left out; raises InputError with the line of anything else."""
    records, lines = [], []
    for number, line in enumerate(_read(path).split("\n"), 1):  # splitlines would cut inside a string of JSON
        if not line.strip():
            continue
        records.append(json_line(line, f"{shown_path(path)}, line {number}", number=JsonNumber))
        lines.append(number)
    return Source(str(path), records, tuple(lines))


def csv_source(path: Path) -> Source:
    """Rows under a line of field names, separated by commas, or by tabs in a file that ends in .tsv.

    Raises InputError for a row with more or fewer fields than there are names, and for names that repeat or are empty.
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
    """Each line that is not blank, or each paragraph between blank lines, as a record with the field ``text``."""
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
    """A set of the library ``datasets``: a folder that it saved, a folder or file that it reads, or a name on the Hub.

    Rows are read when they are asked for. Every value of a CSV file is text, as it stands there. fields: those that are
    shown as text; pictures, sound and whatever else has to be decoded are never read.

    Raises InputError without that library, for a set that cannot be loaded, for a split that is missing or has to be
    chosen, and for fields whose text is not what was written.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(
            "dataset.type datasets needs the library datasets, which is not installed; pip install 'mdm-tune[hf]'"
        ) from None
    local = Path(path)
    # The library makes dates of texts, and numbers lose their zeros.
    if local.exists() and not local.is_dir() and local.suffix == ".jsonl":
        source = jsonl_source(local)
        if split not in (None, "train"):
            raise InputError(f"{path} has no split {split!r}, it has train; set dataset.split to one of them")
        return source
    try:
        with _without_bars(datasets), without_consent_prompts(False, "dataset.path"):
            found, split_was_taken = _loaded(datasets, path, name, split, revision)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # whatever the library and its network code raise
        reason = cut((str(error).strip() or type(error).__name__).splitlines()[0], 200)
        call = f"datasets.load_dataset({path!r}{'' if name is None else f', {name!r}'}).save_to_disk(FOLDER)"
        elsewhere = (
            f"check dataset.path; where the Hub cannot be reached, run {call} on a machine that reaches it, place "
            "FOLDER here and set dataset.path to it"
        )
        remedy = "check the files" if local.exists() else elsewhere
        raise InputError(f"cannot load the dataset {path}: {reason}; {remedy}") from error
    label = path if split is None else f"{path} ({split})"
    return Source(label, _readable(found if split_was_taken else _chosen(found, path, split), label, fields))


def _loaded(datasets: Any, path: str, name: str | None, split: str | None, revision: str | None) -> tuple[Any, bool]:
    """What the library loads, and whether that is one split already."""
    local = Path(path)
    if local.is_dir() and any((local / file).is_file() for file in ("dataset_dict.json", "state.json")):
        return datasets.load_from_disk(path), False
    if local.exists() and not local.is_dir() and local.suffix in BUILDERS:
        check_file(local)  # the library would wait for who writes into a pipe
        given: dict[str, Any] = {"path": BUILDERS[local.suffix], "data_files": {"train": path}}
        taken = False
    else:
        given, taken = {"path": path, "name": name, "split": split, "revision": revision}, split is not None
    builder = datasets.load_dataset_builder(**{key: value for key, value in given.items() if key != "split"})
    found = datasets.load_dataset(**given, trust_remote_code=False)
    if type(builder.config).__name__ == "CsvConfig":  # pandas guesses types: 007 would be 7, and NA nothing
        columns = found.column_names
        if isinstance(columns, Mapping):
            columns = next(iter(columns.values()))
        texts = datasets.Features({column: datasets.Value("string") for column in columns})
        found = datasets.load_dataset(**given, features=texts, keep_default_na=False, trust_remote_code=False)
    return found, taken


def _readable(found: Any, label: str, fields: Collection[str]) -> Any:
    """The set without columns that have to be decoded; raises InputError where a field that is shown is one of them."""
    features = dict(found.features)
    decoded = [name for name, feature in features.items() if _is_decoded(feature)]
    for name in fields:
        kind = getattr(features.get(name), "dtype", "")
        if name in decoded:
            what = type(features[name]).__name__
            raise InputError(f"{label}: field {name!r} is no text but {what}; name another field, or keep its text")
        if kind in ("float16", "float32"):
            raise InputError(
                f"{label}: field {name!r} holds {kind} numbers, whose text is not what was written (0.1 would read "
                f"0.10000000149011612); cast the column to string"
            )
    return found.remove_columns(decoded) if decoded else found


def _is_decoded(feature: Any) -> bool:
    """Whether a column of the library, or a part of it, is made into objects of another library."""
    if isinstance(feature, Mapping):
        return any(map(_is_decoded, feature.values()))
    if isinstance(feature, list | tuple):
        return any(map(_is_decoded, feature))
    inner = getattr(feature, "feature", None)
    return hasattr(feature, "decode_example") or (inner is not None and _is_decoded(inner))


def _chosen(found: Any, path: str, split: str | None) -> Any:
    """The split of what was loaded: a set, or a mapping of them by split."""
    if not isinstance(found, Mapping):
        if split not in (None, found.split):
            raise InputError(f"{path} is one set without splits, got dataset.split {split!r}; leave it out")
        return found
    names = ", ".join(map(str, found))
    if split is None and len(found) == 1:
        return next(iter(found.values()))
    if split is None:
        raise InputError(f"{path} has the splits {names}; choose with dataset.split, one or one for each use")
    if split not in found:
        raise InputError(f"{path} has no split {split!r}, it has {names}; set dataset.split to one of them")
    return found[split]


@contextmanager
def _without_bars(datasets: Any) -> Iterator[None]:
    """The library draws on the terminal otherwise."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _read(path: Path) -> str:
    remedy = "give a file; for a set that the library datasets saved, dataset.type datasets"
    return read_text(path, remedy=remedy).replace("\r\n", "\n")
