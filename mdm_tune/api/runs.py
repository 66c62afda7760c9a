"""The commands ``profile``, ``search``, ``evaluate``, ``sample`` and ``export`` as functions, with typed results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mdm_tune.commands.evaluate import evaluate as evaluate_command
from mdm_tune.commands.events import RunEvent
from mdm_tune.commands.export import export as export_command
from mdm_tune.commands.profile import profile as profile_command
from mdm_tune.commands.sample import sample as sample_command
from mdm_tune.config.file import Config, load_config
from mdm_tune.config.flag_bounds import check_budgets, check_count
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown
from mdm_tune.core.permissions import GeneratedCode, Permissions
from mdm_tune.run.evaluate_records import EvaluateResult
from mdm_tune.run.export_records import ExportResult
from mdm_tune.run.profile_records import ProfileResult
from mdm_tune.run.sample_records import SampleResult
from mdm_tune.run.search_records import SearchResult
from mdm_tune.sampling.devices import devices_for

__all__ = ["OnEvent", "evaluate", "export", "profile", "sample", "search"]

OnEvent = Callable[[RunEvent], None]
MOST_SAMPLES = 100_000  # held in memory and written as one file


def profile(
    config: Config | str | Path,
    steps: Sequence[int] = (),
    *,
    devices: str | None = None,
    trust_code: bool = False,
    run_generated_code: GeneratedCode = False,
    on_event: OnEvent | None = None,
) -> ProfileResult:
    """Measure the information profile and price schedules on it, as ``mdm-tune profile`` does. Nothing is printed.

    A profile of the same model and data that is in the run folder is not measured again.

    Args:
        config: The config, or the path of its YAML file.
        steps: Budgets; empty for those of the config.
        devices: As for ``search``.
        trust_code: As for ``search``.
        run_generated_code: As for ``search``.
        on_event: Called with every event, in this process.

    Returns:
        The result, as it is written to ``profile.json``. It has one profile for each block length.

    Raises:
        InputError: If the config or an argument cannot be used.
        RunError: If the run fails.
    """
    check_budgets(steps)
    loaded = _config(config)
    return profile_command(
        loaded,
        steps,
        notify=_notify(on_event),
        devices=devices_for(loaded.model, devices),
        allow=Permissions(trust_code, run_generated_code),
    )


def search(
    config: Config | str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    take_over: bool = False,
    devices: str | None = None,
    trust_code: bool = False,
    run_generated_code: GeneratedCode = False,
    on_event: OnEvent | None = None,
) -> SearchResult:
    """Tune every budget of a config, as ``mdm-tune search`` does, and write the run folder. Nothing is printed.

    Args:
        config: The config, or the path of its YAML file.
        resume: Continue the search in the run folder or the storage.
        overwrite: Replace the search in the run folder or the storage.
        take_over: Drive the search even if another process claims it.
        devices: Where the rows are filled, as for ``--devices``; None for every GPU, or the CPU.
        trust_code: Whether code that does not come with this package may run.
        run_generated_code: Whether programs that the model writes may run.
        on_event: Called with every event, in this process.

    Returns:
        The result, as it is written to ``search.json``.

    Raises:
        InputError: If the config or an argument cannot be used.
        RunError: If the run fails.
    """
    from mdm_tune.commands.search import search as search_command  # it imports optuna, which the others do not need

    loaded = _config(config)
    return search_command(
        loaded,
        resume=resume,
        overwrite=overwrite,
        notify=_notify(on_event),
        take_over=take_over,
        devices=devices_for(loaded.model, devices),
        allow=Permissions(trust_code, run_generated_code),
    )


def evaluate(
    config: Config | str | Path,
    schedules: Sequence[str] = (),
    steps: Sequence[int] = (),
    *,
    differences: bool = False,
    devices: str | None = None,
    trust_code: bool = False,
    run_generated_code: GeneratedCode = False,
    on_event: OnEvent | None = None,
) -> EvaluateResult:
    """Score schedules on the report split, as ``mdm-tune evaluate`` does, and write the run folder. Nothing is printed.

    Args:
        config: The config, or the path of its YAML file.
        schedules: Names of schedules or adaptive plans, and files; empty for those of the config.
        steps: Budgets; empty for those of the config.
        differences: Whether the result has the examples on which linear and the last schedule differ most.
        devices: As for ``search``.
        trust_code: As for ``search``.
        run_generated_code: As for ``search``.
        on_event: Called with every event, in this process.

    Returns:
        The result, as it is written to ``evaluate.json``.

    Raises:
        InputError: If the config or an argument cannot be used.
        RunError: If the run fails.
    """
    if isinstance(schedules, str):
        raise InputError(f"schedules must be a list of names, got {shown(schedules)}; put it in brackets")
    check_budgets(steps)
    loaded = _config(config)
    return evaluate_command(
        loaded,
        schedules,
        steps,
        differences=differences,
        notify=_notify(on_event),
        devices=devices_for(loaded.model, devices),
        allow=Permissions(trust_code, run_generated_code),
    )


def sample(
    config: Config | str | Path,
    schedule: str | None = None,
    steps: int | None = None,
    *,
    number: int = 8,
    devices: str | None = None,
    trust_code: bool = False,
    run_generated_code: GeneratedCode = False,
    on_event: OnEvent | None = None,
) -> SampleResult:
    """Draw samples with one schedule, as ``mdm-tune sample`` does, and write the run folder. Nothing is printed.

    Args:
        config: The config, or the path of its YAML file.
        schedule: The name of a schedule, or a file; None for the run's own schedule file, or linear without one.
        steps: The budget; None for the first budget of the config, or of the schedule if it lacks that one.
        number: Samples to draw, from 1 to 100,000.
        devices: As for ``search``.
        trust_code: As for ``search``.
        run_generated_code: As for ``search``.
        on_event: Called with every event, in this process.

    Returns:
        The result, as it is written to ``samples.json``.

    Raises:
        InputError: If the config or an argument cannot be used.
        RunError: If the run fails.
    """
    check_budgets(() if steps is None else (steps,))
    check_count("number", number, MOST_SAMPLES, "which are held in memory and written as one file")
    loaded = _config(config)
    return sample_command(
        loaded,
        schedule,
        steps,
        number,
        lambda codec, mask_id: None,
        devices=devices_for(loaded.model, devices),
        allow=Permissions(trust_code, run_generated_code),
        notify=_notify(on_event),
    )


def export(
    schedule: str | Path,
    to: str,
    *,
    length: int | None = None,
    steps: int | None = None,
    block_length: int | None = None,
    output: str | Path | None = None,
    verify: str | Path | None = None,
    trust_code: bool = False,
) -> ExportResult:
    """Write a schedule in the form of another sampler, as ``mdm-tune export`` does. Nothing is printed.

    Args:
        schedule: A run folder, a schedule file, or the name of a schedule or of an adaptive plan.
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
    return export_command(
        str(schedule),
        to,
        length=length,
        steps=steps,
        block_length=block_length,
        output=None if output is None else str(output),
        verify=None if verify is None else str(verify),
        trust_code=trust_code,
    )


def _config(config: Config | str | Path) -> Config:
    if isinstance(config, Config):
        return config
    if isinstance(config, str | Path):
        return load_config(Path(config))
    raise InputError(f"config must be a Config or the path of a YAML file, got {shown(config)}; use load_config(path)")


def _notify(on_event: OnEvent | None) -> OnEvent:
    return (lambda event: None) if on_event is None else on_event
