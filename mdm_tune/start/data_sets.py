"""Sets of the library ``datasets``: which splits tune and report, and what is known where the Hub is out of reach."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mdm_tune.benchmarks.code_problems import kind_of
from mdm_tune.config.templates import fill_template
from mdm_tune.config.validators import SMALLEST_SPLIT
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, listed, quantity, shown, shown_path
from mdm_tune.datasets.sources import Source, splits_of
from mdm_tune.start.facts import TaskFacts, guessed_length
from mdm_tune.start.fields import Fields
from mdm_tune.start.models import ModelFacts
from mdm_tune.start.records import (
    PATTERN,
    Named,
    fields_of,
    prompt_settings,
    record_facts,
    unanswered,
)

__all__ = ["describe_hub_set", "describe_local_set"]

LOOKED = 10_000  # records of a split that are looked at; they are spread over the split
ENOUGH = 192  # examples of tune and choose for a report split of 256
TRAIN, VALIDATION, TEST = ("train", "training"), ("validation", "valid", "val", "dev"), ("test", "testing")
INEXACT = ("float16", "float32")  # numbers whose text is not what was written; a run refuses them
LISTED = re.compile(r"\[[^\]]*\]")


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a published set without its records.

    Attributes:
        name: Its configuration; None if it has only one.
        fields: The fields of its records.
        sizes: The examples of the split for tune and choose, and of that for the report.
        splits: The names of these splits.
        worked: Whether answers end with ``#### `` and a number.
    """

    name: str | None = None
    fields: Fields
    sizes: tuple[int, int]
    splits: tuple[str, str]
    worked: bool = False


PUBLISHED: Mapping[str, Known] = {
    "openai/gsm8k": Known(
        name="main",
        fields=Fields(prompt="question", answer="answer"),
        sizes=(7473, 1319),
        splits=("train", "test"),
        worked=True,
    ),
    "roneneldan/TinyStories": Known(
        fields=Fields(text="text"), sizes=(2_119_719, 21_990), splits=("train", "validation")
    ),
}


@dataclass(frozen=True)
class _Chosen:
    """The splits that are used, and why not others."""

    tune: str
    report: str
    unknown: tuple[str, ...] = ()


def describe_local_set(path: Path, name: str | None, model: ModelFacts, named: Named) -> TaskFacts:
    """Describe a folder that the library saved, or a folder or file that it reads.

    Args:
        path: The folder or the file.
        name: The configuration; None if there is only one.
        model: The model.
        named: What the user says about the task.

    Raises:
        InputError: If it holds no data, or if its fields are unclear.
    """
    if (path / "config.json").is_file():
        raise InputError(
            f"TASK must be data, got {shown_path(path)}, the folder of a model (it has config.json); give the model "
            "first, then the task: mdm-tune init MODEL TASK"
        )
    try:
        splits = splits_of(str(path), name)
    except InputError as error:
        if error.__cause__ is None:  # the library is not installed
            raise
        kind = "folder" if path.is_dir() else "file"
        raise _unloaded(f"the {kind} {shown_path(path)} cannot be read as a data set", name, error, _FOLDER) from None
    return _described(splits, str(path), name, model, named)


_FOLDER = (
    "give a folder that save_to_disk of the library datasets wrote, a folder of parquet, arrow, JSON lines or CSV "
    "files, or one file"
)


def describe_hub_set(path: str, name: str | None, model: ModelFacts, named: Named) -> TaskFacts:
    """Describe a data set of the Hub, from its records or, if the Hub is out of reach, from its name and from flags.

    Args:
        path: Its name on the Hub.
        name: The configuration; None if there is only one.
        model: The model.
        named: What the user says about the task.

    Raises:
        InputError: If the Hub does not provide the set, and too little is known without it.
    """
    try:
        return _described(splits_of(path, name), path, name, model, named)
    except InputError as error:
        if error.__cause__ is None:
            raise
        if (known := PUBLISHED.get(path)) is None and named.prompt is None and named.text is None:
            call = f"datasets.load_dataset({path!r}{'' if name is None else f', {name!r}'}).save_to_disk('FOLDER')"
            raise _unloaded(
                f"{path!r} is no file or folder here, and the Hugging Face Hub did not provide it as a data set",
                name,
                error,
                f"correct the path or the name; or run {call} on a machine that reaches the Hub, place FOLDER here and "
                "give FOLDER as TASK; or name its fields with --prompt FIELD and --answer FIELD, or with --text FIELD",
            ) from None
        reason = _reason(error)
    return _unseen(path, name, known, reason, model, named)


def _unloaded(what: str, name: str | None, error: InputError, remedy: str) -> InputError:
    """The message for a set that cannot be loaded. It names the configurations where one must be chosen."""
    cause = str(error.__cause__)
    if ("Config name is missing" in cause or "BuilderConfig" in cause) and (found := LISTED.search(cause)):
        names = re.findall(r"'([^']*)'", found[0])
        got = "none" if name is None else shown(name)
        return InputError(
            f"TASK must name a configuration of the data set, one of {listed(names)}, got {got}; write it after a "
            f"colon, such as {'NAME' if not names else f'SET:{names[0]}'}"
        )
    return InputError(f"TASK: {what} ({_reason(error)}); {remedy}")


def _reason(error: InputError) -> str:
    lines = str(error.__cause__).strip().splitlines()
    return cut(lines[0] if lines else type(error.__cause__).__name__, 200)


def _described(splits: Mapping[str, Any], path: str, name: str | None, model: ModelFacts, named: Named) -> TaskFacts:
    splits = {key: split for key, split in splits.items() if len(split)}
    if not splits:
        raise InputError(f"TASK: {shown_path(path)} holds no record; give a data set with records")
    sources = {key: _looked_at(split, f"{path} ({key})" if key else path) for key, split in splits.items()}
    first = next(iter(sources.values())).records[0]
    if (programs := kind_of(first)) is not None:
        raise InputError(
            f"TASK: {shown_path(path)} holds programs, whose tests have to be run (data set type {programs.name}), and "
            f"they are read from the original file; give {programs.file} as TASK"
        )
    chosen = _chosen(sources, {key: len(split) for key, split in splits.items()}, named)
    dataset: dict[str, Any] = {"type": "datasets", "path": path} | ({} if name is None else {"name": name})
    used = [sources[key] for key in dict.fromkeys((chosen.tune, chosen.report))]
    if chosen.tune != chosen.report:
        dataset["split"] = {"tune": chosen.tune, "choose": chosen.tune, "report": chosen.report}
    elif len(splits) > 1:
        dataset["split"] = chosen.tune
    together = Source(" and ".join(source.name for source in used), [one for each in used for one in each.records])
    facts = record_facts(together, dataset, model, named)
    fields = fields_of(together, named)
    counts = [
        len(set(_shown(source, fields))) * len(splits[key]) // len(source.records)
        for key, source in sources.items()
        if key in (chosen.tune, chosen.report)
    ]
    if chosen.tune != chosen.report:
        order = [key for key in sources if key in (chosen.tune, chosen.report)]
        by_name = dict(zip(order, counts, strict=True))
        facts = replace(facts, available=by_name[chosen.tune], reported=by_name[chosen.report])
    else:
        facts = replace(facts, available=counts[0])
    return replace(facts, unknown=(*facts.unknown, *chosen.unknown))


def _looked_at(split: Any, name: str) -> Source:
    """Records of a split, without columns whose text is not what was written."""
    inexact = [key for key, feature in split.features.items() if getattr(feature, "dtype", "") in INEXACT]
    rows = split.remove_columns(inexact) if inexact else split
    if len(rows) > LOOKED:
        rows = rows.select([number * len(rows) // LOOKED for number in range(LOOKED)])
    return Source(name, rows.to_list())


def _chosen(sources: Mapping[str, Source], sizes: Mapping[str, int], named: Named) -> _Chosen:
    """The splits that tune and report: two that share nothing, or one.

    The report comes from test, or else from validation. Schedules are tuned on validation if it has enough, because the
    model may have learnt train by heart, and otherwise on train.
    """
    found = {
        kind: next((key for key in sources if key.lower() in names), None)
        for kind, names in (("train", TRAIN), ("validation", VALIDATION), ("test", TEST))
    }
    train, validation, test = found["train"], found["validation"], found["test"]
    tunable = [key for key in (validation, train) if key is not None]
    tunable.sort(key=lambda key: sizes[key] < ENOUGH)
    pairs = [(tune, report) for report in (test, validation) if report is not None for tune in tunable]
    unknown = list[str]()
    for tune, report in pairs:
        if tune == report or sizes[report] < SMALLEST_SPLIT or sizes[tune] < 2 * SMALLEST_SPLIT:
            continue
        if (reason := _apart(sources[tune], sources[report], named)) is None:
            return _Chosen(tune, report, tuple(unknown))
        unknown.append(f"a number for {report} with schedules tuned on {tune}: {reason}")
    kinds = [key for key in (test, validation, train) if key is not None]
    alone = next((key for key in kinds if sizes[key] >= 3 * SMALLEST_SPLIT), None)
    if alone is None or unknown:
        alone = max(kinds or sources, key=lambda key: sizes[key])
    if len(sources) > 1:
        unknown.append(
            f"which split to use: the data set has {listed(sources)}, and tune, choose and report are parts of {alone} "
            "(dataset.split names another)"
        )
    return _Chosen(alone, alone, tuple(unknown))


def _apart(tune: Source, report: Source, named: Named) -> str | None:
    """Why two splits cannot be used together; None if they can."""
    try:
        fields = [fields_of(source, named) for source in (tune, report)]
    except InputError:
        return "their fields differ" if _recognisable(tune, named) else None  # the message about the fields follows
    if fields[0] != fields[1]:
        return "their fields differ, or one of them lacks the answers"
    try:
        shared = set(_shown(tune, fields[0])) & set(_shown(report, fields[0]))
    except InputError:
        return None  # it is reported when the facts are made
    return f"they share {quantity(len(shared), 'record')}, {shown(min(shared))} first" if shared else None


def _recognisable(source: Source, named: Named) -> bool:
    try:
        fields_of(source, named)
    except InputError:
        return False
    return True


def _shown(source: Source, fields: Fields) -> list[str]:
    """The prompt or the whole text of each record."""
    template = fields.prompt if fields.text is None else fields.text
    assert template is not None
    return [fill_template(template, record) for record in source.records]


def _unseen(
    path: str, name: str | None, known: Known | None, reason: str, model: ModelFacts, named: Named
) -> TaskFacts:
    """The facts of a set whose records cannot be seen."""
    fields = Fields(prompt=named.prompt, answer=named.answer, text=named.text)
    if fields == Fields() and known is not None:
        fields = known.fields
    elif known is not None and fields.answer is None and fields.prompt == known.fields.prompt:
        fields = replace(fields, answer=known.fields.answer)
    name = name or (None if known is None else known.name)
    dataset: dict[str, Any] = {"type": "datasets", "path": path} | ({} if name is None else {"name": name})
    unknown = [f"the records of {path}, which the Hub did not provide ({reason}): no prompt is shown"]
    if known is None:
        unknown.append("the splits of the data set: if it has more than one, name them in dataset.split")
    else:
        dataset["split"] = {"tune": known.splits[0], "choose": known.splits[0], "report": known.splits[1]}
        unknown.append("whether the data set is still as it was published: fields and splits follow from its name")
    available, reported = (None, None) if known is None else known.sizes
    facts = TaskFacts(dataset=dataset, metric="likelihood", available=available, reported=reported)
    if fields.text is not None:
        facts.dataset["text"] = fields.text
        return replace(facts, right_or_wrong=False, unknown=tuple(unknown))
    facts.dataset.update(prompt_settings(fields, model))
    if named.length is not None:
        facts.dataset["generation_length"] = named.length
    if fields.answer is None:
        return unanswered(replace(facts, metric="own answers", unknown=tuple(unknown)), guessed_length(model.length))
    if known is None or not known.worked:
        unknown.append("how long answers are: the objective is the likelihood of the references")
        return replace(facts, right_or_wrong=False, tokens=named.length, longest=named.length, unknown=tuple(unknown))
    if "generation_length" not in facts.dataset:
        facts.dataset["generation_length"] = guessed_length(model.length)
        unknown.append("how long answers are: dataset.generation_length is a guess (--length names it)")
    length = facts.dataset["generation_length"]
    metrics = {"regex": {"pattern": PATTERN, "ignore": ["spaces", "number-format"]}}
    return replace(facts, metric="regex", metrics=metrics, tokens=length, longest=length, unknown=tuple(unknown))
