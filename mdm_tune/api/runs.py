"""The commands ``profile``, ``search``, ``evaluate``, ``sample`` and ``export`` as functions, with typed results.

Nothing is printed. An error that names a flag names the argument as well. ``search`` explains the arguments that
several functions have.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mdm_tune.api.arguments import with_arguments
from mdm_tune.commands.evaluate import evaluate as evaluate_command
from mdm_tune.commands.events import Notify
from mdm_tune.commands.export import export as export_command
from mdm_tune.commands.profile import profile as profile_command
from mdm_tune.commands.sample import sample as sample_command
from mdm_tune.commands.watching import wanted
from mdm_tune.config.file import Config, load_config
from mdm_tune.config.flag_bounds import check_budgets, check_count
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown
from mdm_tune.core.numerals import given_whole
from mdm_tune.core.permissions import GeneratedCode, Permissions
from mdm_tune.run.evaluate_records import EvaluateResult
from mdm_tune.run.export_records import ExportResult
from mdm_tune.run.profile_records import ProfileResult
from mdm_tune.run.sample_records import SampleResult
from mdm_tune.run.search_records import SearchResult
from mdm_tune.sampling.devices import Devices, devices_for
from mdm_tune.schedules.curves import Schedule

__all__ = ["Named", "evaluate", "export", "profile", "sample", "search"]

Named = str | Path | Schedule  # a schedule, its name, or its file
MOST_SAMPLES = 100_000  # held in memory and written as one file


@with_arguments
def profile(
    config: Config | str | Path,
    steps: Sequence[int] = (),
    *,
    devices: str | None = None,
    trust_code: bool = False,
    run_generated_code: GeneratedCode = False,
    on_event: Notify | None = None,
) -> ProfileResult:
    """Measure the information profile and price schedules on it, as ``mdm-tune profile`` does.

    A profile of the same model and data that is in the run folder is not measured again.

    Args:
        config: The config, or the path of its YAML file.
        steps: Budgets; empty for those of the config.
        devices, trust_code, run_generated_code, on_event: As for ``search``.

    Returns:
        The result, as it is written to ``profile.json``. It has one profile for each block length.

    Raises:
        InputError: If the config or an argument cannot be used.
        RunError: If the run fails.
    """
    budgets = _budgets(steps)
    call = _call(config, devices, trust_code, run_generated_code, on_event)
    return profile_command(call.config, budgets, notify=call.notify, devices=call.devices, allow=call.allow)


@with_arguments
def search(
    config: Config | str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    take_over: bool = False,
    devices: str | None = None,
    trust_code: bool = False,
    run_generated_code: GeneratedCode = False,
    on_event: Notify | None = None,
) -> SearchResult:
    """Tune every budget of a config, as ``mdm-tune search`` does, and write the run folder.

    Args:
        config: The config, or the path of its YAML file.
        resume: Continue the search in the run folder or the storage.
        overwrite: Replace the search in the run folder or the storage.
        take_over: Drive the search even if another process claims it.
        devices: Where the rows are filled, as for ``--devices``; None for every GPU, or the CPU.
        trust_code: Whether code that does not come with this package may run.
        run_generated_code: Whether programs that the model writes may run; ``"unsafe"`` runs them even if this machine
            cannot enforce every limit.
        on_event: Called with every event, in this process.

    Returns:
        The result, as it is written to ``search.json``.

    Raises:
        InputError: If the config or an argument cannot be used.
        RunError: If the run fails.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")  # in Jupyter, of a bar of Optuna that is never shown
        from mdm_tune.commands.search import search as search_command  # it imports optuna, which the others do not need

    if resume and overwrite:
        raise InputError("resume goes on with a search and overwrite replaces it, got both; give one of them")
    call = _call(config, devices, trust_code, run_generated_code, on_event)
    return search_command(
        call.config,
        resume=resume,
        overwrite=overwrite,
        notify=call.notify,
        take_over=take_over,
        devices=call.devices,
        allow=call.allow,
    )


@with_arguments
def evaluate(
    config: Config | str | Path,
    schedules: Sequence[Named] = (),
    steps: Sequence[int] = (),
    *,
    differences: bool = False,
    frontier: bool = False,
    devices: str | None = None,
    trust_code: bool = False,
    run_generated_code: GeneratedCode = False,
    on_event: Notify | None = None,
) -> EvaluateResult:
    """Score schedules on the report split, as ``mdm-tune evaluate`` does, and write the run folder.

    Args:
        config: The config, or the path of its YAML file.
        schedules: Schedules, names of schedules or adaptive policies, and files; empty for those of the config.
        steps: Budgets; empty for those of the config.
        differences: Whether the result has the examples on which linear and the last schedule differ most.
        frontier: Whether linear is also measured at one token per step, and the cheapest policy as good as that named.
        devices, trust_code, run_generated_code, on_event: As for ``search``.

    Returns:
        The result, as it is written to ``evaluate.json``.

    Raises:
        InputError: If the config or an argument cannot be used.
        RunError: If the run fails.
    """
    if isinstance(schedules, str) or not isinstance(schedules, Iterable):
        raise InputError(f"schedules must be a list of names, got {shown(schedules)}; put it in brackets")
    names, budgets = [_name(schedule) for schedule in schedules], _budgets(steps)
    call = _call(config, devices, trust_code, run_generated_code, on_event)
    return evaluate_command(
        call.config,
        names,
        budgets,
        differences=differences,
        frontier=frontier,
        notify=call.notify,
        devices=call.devices,
        allow=call.allow,
    )


@with_arguments
def sample(
    config: Config | str | Path,
    schedule: Named | None = None,
    steps: int | None = None,
    *,
    number: int = 8,
    beside: Named | None = None,
    save: str | Path | None = None,
    devices: str | None = None,
    trust_code: bool = False,
    run_generated_code: GeneratedCode = False,
    on_event: Notify | None = None,
) -> SampleResult:
    """Draw samples with one schedule, as ``mdm-tune sample`` does, and write the run folder.

    Args:
        config: The config, or the path of its YAML file.
        schedule: A schedule, its name, or its file; None for the run's own schedule file, or linear without one.
        steps: The budget; None for the first budget of the config, or of the schedule if it lacks that one.
        number: Samples to draw, from 1 to 100,000.
        beside: A second schedule, as ``schedule``; the first sample is drawn with it too, with the same noise.
        save: An SVG file, to which an animation of the first sample is written. With it or ``beside``, the steps of
            this sample are events too.
        devices, trust_code, run_generated_code, on_event: As for ``search``.

    Returns:
        The result, as it is written to ``samples.json``.

    Raises:
        InputError: If the config or an argument cannot be used.
        RunError: If the run fails.
    """
    name = None if schedule is None else _name(schedule)
    budget = None if steps is None else _budgets((steps,))[0]
    number = given_whole("number", number)
    check_count("number", number, MOST_SAMPLES, "which are held in memory and written as one file")
    call = _call(config, devices, trust_code, run_generated_code, on_event)
    return sample_command(
        call.config,
        name,
        budget,
        number,
        wanted(None if beside is None else _name(beside), save),
        notify=call.notify,
        devices=call.devices,
        allow=call.allow,
    )


@with_arguments
def export(
    schedule: Named,
    to: str,
    *,
    length: int | None = None,
    steps: int | None = None,
    block_length: int | None = None,
    output: str | Path | None = None,
    verify: str | Path | None = None,
    trust_code: bool = False,
) -> ExportResult:
    """Write a schedule in the form of another sampler, as ``mdm-tune export`` does.

    Args:
        schedule: A run folder, a schedule file, a schedule, or the name of a schedule or of an adaptive policy.
        to: The name of the format, such as ``llada``.
        length: Tokens to fill; None for the length of the file.
        steps: Steps of all blocks together; None for the only budget of the file.
        block_length: Tokens of a block; None for that of the file, or for one block.
        output: The folder to write to; None for ``export-FORMAT`` in the run folder, or here.
        verify: The folder of the other sampler's code, which is run on what was exported; None for no verification.
        trust_code: Whether code that does not come with this package may run.

    Returns:
        The result: the files, where to put them, and what the target does otherwise.

    Raises:
        InputError: If the schedule cannot be read, or if the target cannot express it.
        RunError: If the files cannot be written, or if the other sampler's code fails.
    """
    if not isinstance(to, str):
        raise InputError(f"to must be the name of a format, got {shown(to)}; give one such as 'llada'")
    sizes = {"length": length, "steps": steps, "block_length": block_length}
    whole = {name: None if size is None else given_whole(name, size) for name, size in sizes.items()}
    return export_command(
        _name(schedule),
        to,
        length=whole["length"],
        steps=whole["steps"],
        block_length=whole["block_length"],
        output=None if output is None else str(output),
        verify=None if verify is None else str(verify),
        trust_code=trust_code,
    )


@dataclass(frozen=True, kw_only=True)
class _Call:
    """What every command of a config receives."""

    config: Config
    devices: Devices
    allow: Permissions
    notify: Notify


def _call(
    config: Config | str | Path,
    devices: str | None,
    trust_code: bool,
    run_generated_code: GeneratedCode,
    on_event: Notify | None,
) -> _Call:
    """The checked arguments that several functions have. Raises InputError if one of them is wrong."""
    if isinstance(config, str | Path):
        config = load_config(config)
    if not isinstance(config, Config):
        raise InputError(
            f"config must be a Config or the path of a YAML file, got {shown(config)}; use load_config(path)"
        )
    if devices is not None and not isinstance(devices, str):
        raise InputError(f"devices must be a text such as 'cuda:0,cuda:1', got {shown(devices)}; give one")
    if on_event is not None and not callable(on_event):
        raise InputError(f"on_event must be a function of one event, got {shown(on_event)}; give one")
    return _Call(
        config=config,
        devices=devices_for(config.model, devices),
        allow=Permissions(trust_code, run_generated_code),
        notify=on_event or (lambda event: None),
    )


def _budgets(steps: Iterable[int]) -> tuple[int, ...]:
    if isinstance(steps, str) or not isinstance(steps, Iterable):
        raise InputError(f"steps must be a list of numbers, got {shown(steps)}; put it in brackets")
    budgets = tuple(given_whole("steps", number) for number in steps)
    check_budgets(budgets, "steps")
    return budgets


def _name(schedule: Named) -> str:
    """The name of a schedule, as the command line has it."""
    if isinstance(schedule, Schedule):
        return schedule.name
    if not isinstance(schedule, str | Path):
        raise InputError(
            f"a schedule is given as a Schedule, by its name or by its file, got {shown(schedule)}; give one such as "
            "'linear'"
        )
    return str(schedule)
