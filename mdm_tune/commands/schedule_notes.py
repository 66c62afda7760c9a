"""Notes about requested schedules: files of other samplers or data, missing budgets, equal counts."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace

from mdm_tune.commands.events import Note
from mdm_tune.core.messages import cut, quantity, shown_path
from mdm_tune.core.numerals import shortest
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.settings import Key, Setting
from mdm_tune.run.build import Run
from mdm_tune.run.folder import RunFolder, ScheduleFile, load_schedule
from mdm_tune.run.schedule_names import holds_policies, names_a_file, own_steps
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.curves import Beta, parse_schedule

__all__ = ["missing_budgets", "no_search", "other_samplers", "same_counts", "same_plans"]

SHORT, WHOLE = 4, 17  # digits of a and b: those of tables, and those that every float needs at most
STRETCHED = "its curve is cut into counts for that length"


def no_search(folder: RunFolder, names: Iterable[str]) -> Iterator[Note]:
    """A note that no tuned schedule is compared, as the folder of the run has none and no name is a file of one."""
    if not folder.has(folder.schedule) and not any(map(names_a_file, names)):
        yield Note(
            f"no tuned schedule is compared, since {shown_path(folder.path)} holds no search; to include one, give the "
            "folder of a search: --schedule linear --schedule FOLDER"
        )


def other_samplers(run: Run, names: Iterable[str], reported: Iterable[Note] = ()) -> Iterator[Note]:
    """Warnings about schedule files that were tuned for another sampler, model, data, length or block length.

    Args:
        run: The run that uses the schedules.
        names: Schedules; names that are no files are skipped. Of a quota its schedule counts.
        reported: Warnings that the run has reported. They are not repeated if a file has them too.
    """
    known = {(note.code, note.text) for note in reported}
    schedules = (name if (plan := parse_adaptive(name)) is None else plan.schedule or "" for name in names)
    for name in filter(names_a_file, schedules):
        file = load_schedule(name)
        stored = file.record.get("sampler")
        tuned = stored if isinstance(stored, dict) else {}  # reading a file does not check this part
        now = run.config.sampler.record
        changed = [
            f"{key} {cut(tuned[key])} (here {cut(now[key])})" for key in now if key in tuned and tuned[key] != now[key]
        ]
        if changed:
            yield Note(f"{name} was tuned for {', '.join(changed)}", "other-sampler")
        yield from _other_sources(run, name, file)
        if file.length != run.evaluator.length:
            free = all(budget.schedule is None for budget in file.budgets.values())  # policies without counts
            what = STRETCHED if not free else "the number of calls of its policies may differ"
            text = f"{name} was tuned for {_tokens(file)}, and here there are {run.evaluator.length}: {what}"
            yield Note(text, "other-length")
        sizes = [file.length if size == run.evaluator.length else size for size in run.evaluator.block_lengths]
        tuned_sizes = {budget.block_length for budget in file.budgets.values() if budget.block_length is not None}
        for size in sorted(tuned_sizes.difference(sizes)):
            text = f"{name} is filled in blocks of {size}, as it was tuned (here {', '.join(map(str, sizes))})"
            yield Note(text, "other-blocks")
        yield from _stored_warnings(name, file.record.get("warnings"), known)


def _stored_warnings(name: str, stored: object, known: Container[object]) -> Iterator[Note]:
    """The warnings in a schedule file. People edit files, so entries of a wrong form are skipped.

    Args:
        name: The file.
        stored: Its entry ``warnings``, of any type.
        known: Pairs of code and text that are not repeated.
    """
    for warning in stored if isinstance(stored, list) else ():
        if isinstance(warning, dict) and isinstance(warning.get("code"), str) and isinstance(warning.get("text"), str):
            if (warning["code"], warning["text"]) in known:
                continue
            advice = warning.get("advice")
            text = f"{shown_path(name)} was written with the warning: {warning['text']}"
            yield Note(text, warning["code"], advice if isinstance(advice, str) else "")


def missing_budgets(names: Sequence[str], budgets: Sequence[int]) -> Iterator[Note]:
    """Warnings about files and explicit counts that lack some of the budgets."""
    for name in names:
        own = own_steps(name)
        if own is not None and (missing := [steps for steps in budgets if steps not in own]):
            present = [steps for steps in budgets if steps in own]
            comparison = f"is compared at {', '.join(map(str, present))} only" if present else "is not compared"
            what = "policy" if holds_policies(name) else "counts"
            text = f"{name} has no {what} for {quantity(', '.join(map(str, missing)), 'step')} and {comparison}"
            yield Note(text, "budgets-missing", "search at these budgets, or compare a curve such as beta:A,B")


def same_counts(evaluator: Evaluator, winner: Setting, others: Sequence[str]) -> Iterator[Note]:
    """A note that names the policies which do the same as a winner, if there are such.

    Args:
        evaluator: The evaluator.
        winner: The winner's setting.
        others: The names of the policies.
    """
    here = evaluator.in_blocks(winner.block_length)
    named = replace(winner, name=_brief(here, winner, winner.name))
    names = dict.fromkeys(_brief(here, winner, other) for other in others)
    if different := [other for other in names if other != named.name]:
        yield Note(f"at {quantity(winner.steps, 'step')} {named.label} has the same counts as {', '.join(different)}")


def _brief(evaluator: Evaluator, setting: Setting, name: str) -> str:
    """The name of Beta(a, b) with the fewest digits that give the counts of a setting, at least four; others whole."""
    if not name.startswith("beta:"):
        return name
    beta = parse_schedule(name)
    assert isinstance(beta, Beta)
    for digits in range(SHORT, WHOLE):
        rounded = Beta(*(float(f"{number:.{digits}g}") for number in (beta.a, beta.b)))
        if evaluator.setting(rounded, setting.steps).key == setting.key:
            return f"beta:{shortest(rounded.a)},{shortest(rounded.b)}"
    return name


def same_plans(settings: Sequence[Setting]) -> Iterator[Note]:
    """Notes about schedules that are the same to the sampler as one before, so that both have the same row."""
    first: dict[tuple[int, Key], str] = {}
    for setting in settings:
        name = first.setdefault((setting.steps, setting.key), setting.label)
        if name != setting.label:
            what = "counts" if setting.adaptive is None else "policy"
            yield Note(f"at {quantity(setting.steps, 'step')} {setting.label} has the same {what} as {name}")


def _tokens(file: ScheduleFile) -> str:
    """The length that a file was tuned for, as text; for several lengths the mean and the range."""
    lengths = file.record.get("lengths")
    if not isinstance(lengths, dict) or lengths.get("fixed", True):
        return quantity(file.length, "token")
    return f"{quantity(file.length, 'token')} (the mean of {lengths.get('least')} to {lengths.get('most')})"


def _other_sources(run: Run, name: str, file: ScheduleFile) -> Iterator[Note]:
    """A warning if a file was tuned for another model, task, data or code, since its schedules may be worse here."""
    stored, here = file.record.get("fingerprints") or {}, dict(run.fingerprints)
    data, other_data = (
        "dataset",
        "other data or other sizes of splits",
    )  # older files have one fingerprint of the whole data set
    if run.dataset is not None and "searched" in stored:
        data, other_data, here["searched"] = "searched", "other examples of tune and choose", run.dataset.searched
    if isinstance(seed := file.record.get("seed"), int) and seed != run.config.seed:
        other_data = f"seed {cut(seed)}, not {run.config.seed}, and so on other examples"
    names = {
        "model": "another model",
        data: other_data,
        "code": "other code",
        "task": "another task",
    }
    keys = [key for key in names if key in stored and key in here and stored[key] != here[key]]
    other = [f"{names[key]} ({cut(stored[key])}, here {here[key]})" for key in keys]
    if other:
        yield Note(f"{shown_path(name)} was tuned for {' and '.join(other)}", "other-source")
