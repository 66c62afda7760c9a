"""``init``: write a configuration for a model and a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdm_tune.config.file import load_config
from mdm_tune.config.flag_bounds import check_budgets, check_length
from mdm_tune.core.errors import InputError
from mdm_tune.core.files import write_text
from mdm_tune.core.json_record import JsonRecord
from mdm_tune.core.messages import quantity, shown, shown_path
from mdm_tune.core.reading import expanded, read_text
from mdm_tune.start.budgets import check_budgets_of, default_steps
from mdm_tune.start.config_text import comments_of, config_sections, config_text, example_line
from mdm_tune.start.models import describe_model
from mdm_tune.start.sizes import choose_sizes, shown_gain
from mdm_tune.start.tasks import Named, describe_task
from mdm_tune.version import __version__

__all__ = ["InitResult", "init", "init_lines"]

DEFAULT = "mdm-tune.yaml"
NOTHING_NAMED = Named()
OWN_FIELDS = ("lm-eval", "humaneval", "mbpp")  # data sets with prompts, whose fields no flag names


@dataclass(frozen=True, kw_only=True)
class InitResult(JsonRecord):
    """What ``init`` wrote.

    Attributes:
        file: The file.
        text: Its text.
        detectable_gain: The smallest gain that the report split shows with 80 % power, estimated without a sample;
            None if it shows none, or if its size is unknown.
        example: One rendered prompt or text; None if none could be shown.
        unknown: What could not be known.
        warnings: What is unusual about the budgets.
        needs: The flags that the commands of this config need.
    """

    file: str
    text: str
    detectable_gain: float | None
    example: str | None
    unknown: tuple[str, ...]
    warnings: tuple[str, ...]
    needs: tuple[str, ...]


def init(
    model: str,
    task: str,
    steps: Sequence[int] = (),
    *,
    output: str | None = None,
    force: bool = False,
    family: str | None = None,
    named: Named = NOTHING_NAMED,
    doing: Callable[[str, str], None] = lambda text, detail: None,
) -> InitResult:
    """Write a configuration with comments for a model and a task. No weights are loaded.

    Args:
        model: A folder, a name on the Hub, ``package:NAME``, or ``FILE.py:FUNCTION``.
        task: A file of records or lines, ``package:NAME``, a data set, or the name of a task of lm-evaluation-harness.
        steps: The step budgets; empty for an eighth and a quarter of the tokens to fill in.
        output: The file to write; None for ``mdm-tune.yaml``.
        force: Whether an existing file is replaced.
        family: The family of a checkpoint; None to recognise it.
        named: What the user says about the task.
        doing: Called with what is done next, and with a detail that a narrow terminal leaves out.

    Raises:
        InputError: If the file exists and is not to be replaced, or if model or task cannot be used.
        RunError: If the file cannot be written.
    """
    check_budgets(steps)
    if named.length is not None:
        check_length("--length", named.length)
    path = Path(expanded(output or DEFAULT))
    if path.exists() and not force:
        raise InputError(
            f"--output: {shown_path(path)} exists and is never overwritten unasked; name another file, or give --force"
        )
    if not path.absolute().parent.is_dir():
        raise InputError(f"--output: there is no folder {shown_path(path.absolute().parent)}; make it first")
    doing("1 of 3: reading the model", model)
    known = describe_model(model, family, named.trust_code)
    doing("2 of 3: reading the task", task)
    facts = describe_task(task, known, named)
    budgets = list(steps) or default_steps(facts.tokens if facts.tokens is not None else known.length)
    prompts = "prompt" in facts.dataset or facts.dataset["type"] in OWN_FIELDS
    _refuse_unused(facts.dataset["type"], known.section["type"], named, family=family, prompts=prompts)
    warnings = check_budgets_of(budgets, facts.tokens, facts.longest, prompts=prompts)
    found = "" if facts.available is None else f", {quantity(facts.available, 'example')}"
    doing("3 of 3: choosing split sizes", f"metric {facts.metric}{found}")
    own = None if facts.official else facts.reported
    sizes = choose_sizes(_available(facts), len(budgets), facts.right_or_wrong, f"TASK: {task}", own)
    gain = sizes.gain if not facts.official else shown_gain(facts.reported or 1, len(budgets), facts.right_or_wrong)
    sections = config_sections(known, facts, sizes, budgets, f"runs/{path.stem}")
    unknown = [*known.unknown, *facts.unknown]
    comments = comments_of(facts, asked=bool(steps), gain=gain)
    comments |= {"sampler.steps": warnings[0]} if warnings else {}
    example = example_line(facts.example)
    needs = _needs(sections, named)
    costs = " ".join(["mdm-tune search", path.name, "--dry-run", *needs])
    head = [f"Written by mdm-tune {__version__} init. What it costs: {costs}"]
    head += [f"One prompt: {example}"] if example is not None and "prompt" in sections["dataset"] else []
    text = config_text(_relative(sections, path.absolute().parent), comments, head, unknown)
    _write(path, text)
    known_gain = not facts.official or facts.reported is not None
    return InitResult(
        file=str(path),
        text=text,
        detectable_gain=gain if known_gain else None,
        example=example,
        unknown=tuple(unknown),
        warnings=tuple(warnings),
        needs=needs,
    )


def _refuse_unused(dataset: str, model: str, named: Named, *, family: str | None, prompts: bool) -> None:
    """Raise InputError for a flag that says nothing about this model and task."""
    records = dataset not in (*OWN_FIELDS, "text", "lines")
    what = "whole texts" if dataset in ("text", "lines") else f"a task of type {dataset}"
    unused = {
        "--prompt": ("names a field of records", what, named.prompt if not records else None),
        "--answer": ("names a field of records", what, named.answer if not records else None),
        "--text": ("names a field of records", what, named.text if not records else None),
        "--length": ("is the tokens of an answer to a prompt", "whole texts", None if prompts else named.length),
        "--include-path": (
            "names a folder with tasks of lm-evaluation-harness",
            f"a data set of type {dataset}",
            None if dataset == "lm-eval" else named.include_path,
        ),
        "--family": (
            "is that of a Hugging Face checkpoint",
            f"a model of type {model}",
            None if model == "huggingface" else family,
        ),
    }
    for flag, (rule, given, value) in unused.items():
        if value is not None:
            raise InputError(f"{flag} {rule}, got {shown(value)} for {given}; leave it out")


def _available(facts: Any) -> int | None:
    """Examples of all splits; for a task with an official split those of tune and choose, with their part of it."""
    if facts.available is None or not facts.official:
        return facts.available  # type: ignore[no-any-return]
    return int(facts.available) * 7 // 3


def _needs(sections: dict[str, Any], named: Named) -> tuple[str, ...]:
    model, dataset = sections["model"], sections["dataset"]
    own_code = model["type"] == "custom" or "include_path" in dataset
    own_code = own_code or model.get("family") in ("llada", "llada-1.5", "dream", "mdlm") or named.trust_code
    programs = dataset["type"] in ("humaneval", "mbpp")
    return (*["--trust-code"] * own_code, *["--run-generated-code"] * programs)


def _relative(sections: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The sections with paths below the folder relative to it."""
    paths = ("path", "target", "include_path")
    return {
        name: {key: _short(value, folder) if key in paths else value for key, value in section.items()}
        if isinstance(section, dict)
        else section
        for name, section in sections.items()
    }


def _short(text: str, folder: Path) -> str:
    file, colon, name = text.rpartition(":") if ".py:" in text else (text, "", "")
    with suppress(ValueError):
        return f"{Path(file).relative_to(folder)}{colon}{name}"
    return text


def _write(path: Path, text: str) -> None:
    """Write the file and check that it is a config. If it is none, the file is as it was before."""
    before = read_text(path) if path.exists() else None
    write_text(path, text)
    try:
        load_config(path)
    except InputError:
        if before is None:
            path.unlink()
        else:
            write_text(path, before)
        raise


def init_lines(result: InitResult) -> list[str]:
    """What a terminal shows of the result."""
    lines = [f"example  {result.example}"] if result.example is not None else []
    lines += [f"not known: {text}" for text in result.unknown]
    lines += [f"warning: {text}" for text in result.warnings]
    return [*lines, f"{quantity(len(result.text.splitlines()), 'line')} in {shown_path(result.file)}"]
