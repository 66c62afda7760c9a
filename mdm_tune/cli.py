"""The command line: thin, and quick to answer, since everything heavy is imported inside the commands."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mdm_tune.console import Screen
from mdm_tune.errors import InputError, MdmTuneError
from mdm_tune.messages import bounded, shown_path, system_reason
from mdm_tune.permissions import Permissions
from mdm_tune.streams import drop_results, kept_for_results, silence_rest

__all__ = ["app", "main"]

app = typer.Typer(
    name="mdm-tune",
    help="Tune the mask schedule of masked diffusion models: better samples at the same number of denoiser calls.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130  # what shells report for a command that Ctrl-C ended

ConfigFile = Annotated[Path, typer.Argument(help="The YAML file of the run.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one value of the config; may be repeated."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.", show_default=False)]
Output = Annotated[str | None, typer.Option("--output", help="The run folder.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no tables.")]
Devices = Annotated[
    str | None,
    typer.Option(
        "--devices",
        help="Replicas of the model that share the rows: cpu, cpu:N, cuda:0,cuda:1 or all. Default: every GPU for "
        "models of type huggingface and custom, else cpu.",
        show_default=False,
    ),
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Run code that the config names or that comes with a checkpoint.")
]
RunGenerated = Annotated[
    bool, typer.Option("--run-generated-code", help="Run the programs that a model writes, in a process of their own.")
]
Schedules = Annotated[
    list[str] | None,
    typer.Option(
        "--schedule",
        metavar="S",
        help="linear, sine, squared-sine, maskgit-cosine, llada, dream, optimum (on the profile), beta:A,B, "
        "counts:N,N,..., alphas:0,S,...,1, a schedule file or its folder; for evaluate also threshold, entropy-bound "
        "and quota:S; repeatable.",
    ),
]


@app.command()
def search(
    config: ConfigFile,
    overrides: Overrides = None,
    seed: Seed = None,
    output: Output = None,
    trials: Annotated[int | None, typer.Option("--trials", help="Trials per budget.", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in the run folder.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the search in the run folder.")] = False,
    workers: Annotated[
        int, typer.Option("--workers", help="Processes on this machine that share the search, each with its own model.")
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Time two batches, price the search, and stop.")] = False,
    devices: Devices = None,
    trust_code: TrustCode = False,
    run_generated_code: RunGenerated = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Find the best Beta(a, b) schedule for each step budget and write it to disk."""
    screen = Screen(quiet=quiet, as_json=as_json)
    with reporting(screen, resumable=not dry_run):
        if resume and overwrite:
            raise InputError("--resume goes on with a search and --overwrite replaces it; give one of them")
        screen.say(f"mdm-tune search {config}: loading")
        since = time.monotonic()  # before torch is imported
        from mdm_tune.config.file import load_config
        from mdm_tune.sampling.devices import devices_for

        loaded = load_config(config, overrides or (), seed=seed, output=output, trials=trials)
        used, allow = devices_for(loaded.model, devices), Permissions(trust_code, run_generated_code)
        from mdm_tune.search.team import Team, shared_out

        mine, *others = shared_out(used, workers)
        if dry_run:
            from mdm_tune.commands.dry_run import dry_run as price

            record = price(loaded, mine, allow, workers=workers, notify=screen.on_event)
            screen.json(record) if as_json else screen.dry_run_result(record)
            return
        from mdm_tune.commands.search_run import search as tune

        with Team(loaded, others, allow, since) as team:
            record = tune(
                loaded,
                resume=resume,
                overwrite=overwrite,
                notify=screen.on_event,
                devices=mine,
                allow=allow,
                begun=team.start,
                since=since,
            )
        same = [str(config), *(part for text in overrides or () for part in ("--set", text))]
        same += [] if output is None else ["--output", output]
        same += [] if seed is None else ["--seed", str(seed)]
        same += ["--trust-code"] * trust_code + ["--run-generated-code"] * run_generated_code
        commands = [shlex.join(["mdm-tune", name, *same]) for name in ("evaluate", "sample")]
        screen.json(record) if as_json else screen.search_result(record, commands)
        for name in team.failed:
            screen.say(f"note: {name} ended with an error; its log is in {record['files']['run']}")


@app.command()
def evaluate(
    config: ConfigFile,
    schedule: Schedules = None,
    steps: Annotated[list[int] | None, typer.Option("--steps", help="A step budget; may be repeated.")] = None,
    show_differences: Annotated[
        bool, typer.Option("--show-differences", help="Print samples on which linear and tuned differ most.")
    ] = False,
    overrides: Overrides = None,
    seed: Seed = None,
    output: Output = None,
    devices: Devices = None,
    trust_code: TrustCode = False,
    run_generated_code: RunGenerated = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare schedules over step budgets, with 95 % intervals, on the report split."""
    screen = Screen(quiet=quiet, as_json=as_json)
    with reporting(screen):
        screen.say(f"mdm-tune evaluate {config}: loading")
        from mdm_tune.commands import runs
        from mdm_tune.config.file import load_config
        from mdm_tune.sampling.devices import devices_for

        loaded = load_config(config, overrides or (), seed=seed, output=output)
        record = runs.evaluate(
            loaded,
            schedule or (),
            steps or (),
            differences=show_differences,
            notify=screen.on_event,
            devices=devices_for(loaded.model, devices),
            allow=Permissions(trust_code, run_generated_code),
        )
        screen.json(record) if as_json else screen.evaluate_result(record)


@app.command()
def sample(
    config: ConfigFile,
    schedule: Annotated[
        str | None, typer.Option("--schedule", metavar="S", help="As in evaluate; default: the run's own, or linear.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="The step budget.", show_default=False)] = None,
    number: Annotated[int, typer.Option("--number", help="How many samples.")] = 8,
    overrides: Overrides = None,
    seed: Seed = None,
    output: Output = None,
    devices: Devices = None,
    trust_code: TrustCode = False,
    run_generated_code: RunGenerated = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Draw samples with a schedule."""
    screen = Screen(quiet=quiet, as_json=as_json)
    with reporting(screen):
        if number < 1:
            raise InputError(f"--number must be at least 1, got {number}; give 1 or leave it out")
        screen.say(f"mdm-tune sample {config}: loading")
        from mdm_tune.commands import runs
        from mdm_tune.config.file import load_config
        from mdm_tune.sampling.devices import devices_for

        loaded = load_config(config, overrides or (), seed=seed, output=output)
        allow = Permissions(trust_code, run_generated_code)
        record = runs.sample(
            loaded,
            schedule,
            steps,
            number,
            screen.live,
            devices=devices_for(loaded.model, devices),
            allow=allow,
            notify=screen.on_event,
        )
        if as_json:
            screen.json(record)
            return
        screen.say(
            f"  schedule {record['schedule']}, {record['steps']} steps, {record['denoiser_rows']:,} denoiser rows"
        )
        for drawn in record["samples"]:
            screen.out(drawn["text"])
        screen.warnings(record)


@app.command()
def profile(
    config: ConfigFile,
    steps: Annotated[list[int] | None, typer.Option("--steps", help="A step budget; may be repeated.")] = None,
    overrides: Overrides = None,
    seed: Seed = None,
    output: Output = None,
    devices: Devices = None,
    trust_code: TrustCode = False,
    run_generated_code: RunGenerated = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure the information profile and price every budget without drawing a sample."""
    screen = Screen(quiet=quiet, as_json=as_json)
    with reporting(screen):
        screen.say(f"mdm-tune profile {config}: loading")
        from mdm_tune.commands.profile_run import profile as measure
        from mdm_tune.config.file import load_config
        from mdm_tune.sampling.devices import devices_for

        loaded = load_config(config, overrides or (), seed=seed, output=output)
        allow = Permissions(trust_code, run_generated_code)
        record = measure(
            loaded, steps or (), notify=screen.on_event, devices=devices_for(loaded.model, devices), allow=allow
        )
        screen.json(record) if as_json else screen.profile_result(record)


@contextmanager
def reporting(screen: Screen, resumable: bool = False) -> Iterator[None]:
    """Turn what can go wrong into one message and an exit code: 2 for the user's input, 1 for a failed run."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with kept_for_results():
            yield
    except BrokenPipeError:  # the reader has seen enough
        drop_results()
    except OSError as error:
        at = "" if error.filename is None else f"{shown_path(error.filename)}: "
        print(f"error: {at}{system_reason(error)}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print("\ninterrupted" + (f"; resume with: {_again(screen)}" if resumable else ""), file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except SystemExit as error:  # typer ends a command by another; so code of others that nothing else has caught
        print(f"error: code from outside this package ended the process ({error.code}); remove that", file=sys.stderr)
        raise typer.Exit(1) from None
    except MdmTuneError as error:
        print(f"error: {bounded(str(error))}", file=sys.stderr)
        raise typer.Exit(2 if isinstance(error, InputError) else 1) from None


def _again(screen: Screen) -> str:
    """The command that goes on: the same one, with --resume once the search has begun."""
    words = sys.argv[1:]
    if screen.searching and "--resume" not in words:
        words = [word for word in words if word != "--overwrite"] + ["--resume"]
    return shlex.join(["mdm-tune", *words])


def main() -> None:
    """The entry point of ``mdm-tune``."""
    try:
        app()
    except KeyboardInterrupt:  # before a command has begun
        sys.exit(INTERRUPTED)
    finally:
        silence_rest()
