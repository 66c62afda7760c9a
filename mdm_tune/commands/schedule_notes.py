"""What to know of the schedules that a command was given: files from elsewhere, budgets that they lack, equal ones."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence

from mdm_tune.commands.events import Note
from mdm_tune.core.messages import cut, quantity, shown_path
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.build import Run
from mdm_tune.run.folder import ScheduleFile, load_schedule
from mdm_tune.run.schedule_names import names_a_file, own_steps

__all__ = ["missing_budgets", "other_samplers", "same_plans"]

STRETCHED = "its curve is cut into counts for that length"


def other_samplers(run: Run, names: Iterable[str], told: Iterable[Note] = ()) -> Iterator[Note]:
    """A note for each schedule file that was tuned for another sampler, another length, or in other blocks.

    told: what this run has told already, which is not told again as a warning that a file keeps.
    """
    known = {(each.code, each.text) for each in told}
    for name in filter(names_a_file, names):
        file = load_schedule(name)
        found = file.record.get("sampler")
        tuned = found if isinstance(found, dict) else {}  # the only part that reading a file does not check
        now = run.config.sampler.record
        changed = [
            f"{key} {cut(tuned[key])} (here {cut(now[key])})" for key in now if key in tuned and tuned[key] != now[key]
        ]
        if changed:
            yield Note(f"{name} was tuned for {', '.join(changed)}", "other-sampler")
        yield from _other_sources(run, name, file)
        if file.length != run.evaluator.length:
            text = f"{name} was tuned for {_tokens(file)}, and here there are {run.evaluator.length}: {STRETCHED}"
            yield Note(text, "other-length")
        here = [file.length if size == run.evaluator.length else size for size in run.evaluator.block_lengths]
        said = {budget.block_length for budget in file.budgets.values() if budget.block_length is not None}
        for size in sorted(said.difference(here)):
            text = f"{name} is filled in blocks of {size}, as it was tuned (here {', '.join(map(str, here))})"
            yield Note(text, "other-blocks")
        yield from _kept_warnings(name, file.record.get("warnings"), known)


def _kept_warnings(name: str, found: object, known: Container[object]) -> Iterator[Note]:
    """What the command that wrote a schedule file warned of; nothing of what a person has changed there is trusted."""
    for each in found if isinstance(found, list) else ():
        if isinstance(each, dict) and isinstance(each.get("code"), str) and isinstance(each.get("text"), str):
            if (each["code"], each["text"]) in known:
                continue
            advice = each.get("advice")
            told = f"{shown_path(name)} was written with the warning: {each['text']}"
            yield Note(told, each["code"], advice if isinstance(advice, str) else "")


def missing_budgets(names: Sequence[str], budgets: Sequence[int]) -> Iterator[Note]:
    """A note for each file, and for explicit counts, that has not all of the budgets and is compared at fewer."""
    for name in names:
        own = own_steps(name)
        if own is not None and (missing := [steps for steps in budgets if steps not in own]):
            there = [steps for steps in budgets if steps in own]
            found = f"is compared at {', '.join(map(str, there))} only" if there else "is not compared"
            text = f"{name} has no counts for {quantity(', '.join(map(str, missing)), 'step')} and {found}"
            yield Note(text, "budgets-missing", "search at these budgets, or compare a curve such as beta:A,B")


def same_plans(settings: Sequence[Setting]) -> Iterator[Note]:
    """A note for each schedule that is another one to the sampler, so that both have the same row."""
    first: dict[tuple[int, tuple[float, ...]], str] = {}
    for setting in settings:
        name = first.setdefault((setting.steps, setting.key), setting.label)
        if name != setting.label:
            yield Note(f"at {quantity(setting.steps, 'step')} {setting.label} has the same counts as {name}")


def _tokens(file: ScheduleFile) -> str:
    """The length that a file was tuned for; a mean of many with its range, where the file says so."""
    found = file.record.get("lengths")
    if not isinstance(found, dict) or found.get("fixed", True):
        return quantity(file.length, "token")
    return f"{quantity(file.length, 'token')} (the mean of {found.get('least')} to {found.get('most')})"


def _other_sources(run: Run, name: str, file: ScheduleFile) -> Iterator[Note]:
    """A note where a file was tuned for another model, other data or code than those here: it may be worth less."""
    found, here = file.record.get("fingerprints") or {}, dict(run.fingerprints)
    data, other_data = "dataset", "other data or other sizes of splits"  # files of old, which know the whole only
    if run.dataset is not None and "searched" in found:
        data, other_data, here["searched"] = "searched", "other examples of tune and choose", run.dataset.searched
    if isinstance(seed := file.record.get("seed"), int) and seed != run.config.seed:
        other_data = f"seed {cut(seed)}, not {run.config.seed}, and so on other examples"
    names = {
        "model": "another model",
        data: other_data,
        "code": "other code",
        "task": "another task",
    }
    keys = [key for key in names if key in found and key in here and found[key] != here[key]]
    other = [f"{names[key]} ({cut(found[key])}, here {here[key]})" for key in keys]
    if other:
        yield Note(f"{shown_path(name)} was tuned for {' and '.join(other)}", "other-source")
