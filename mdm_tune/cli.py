"""The flags of the command line. Heavy modules are imported inside the commands, so that ``--help`` is quick."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from mdm_tune import cli_start
from mdm_tune.cli_start import AsJson, LogTo, Quiet, Verbose
from mdm_tune.commands.flags import Command, Flags, generated
from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.memory import collecting_later, keep_freed_memory
from mdm_tune.core.signals import INTERRUPTED, raise_on_signals
from mdm_tune.core.streams import redirect_rest_to_stderr
from mdm_tune.terminal.console import Screen
from mdm_tune.terminal.exit_codes import command, exit_codes, unforeseen
from mdm_tune.terminal.usage import Commands, whole_number
from mdm_tune.version import __version__

__all__ = ["app", "main"]

MOST_SAMPLES = 100_000  # samples are held in memory and written to one file

app = typer.Typer(
    name="mdm-tune",
    cls=Commands,
    help="Tune the mask schedule of masked diffusion models: better samples at the same number of denoiser calls.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigFile = Annotated[Path, typer.Argument(help="The YAML file of the run.", metavar="CONFIG", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one value of the config; may be repeated."),
]
NUMBER: dict[str, Any] = {"parser": whole_number, "metavar": "N", "show_default": False}
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.", **NUMBER)]
Steps = Annotated[list[int] | None, typer.Option("--steps", help="A step budget; may be repeated.", **NUMBER)]
Output = Annotated[str | None, typer.Option("--output", help="The run folder.", show_default=False)]
OnDevices = Annotated[
    str | None,
    typer.Option(
        "--devices",
        help="Replicas of the model that share the rows: cpu, cpu:N, cuda:0,cuda:1 or all; on a Ray cluster ray, or "
        "ray:N for N replicas. Default: every GPU for models of type huggingface and custom, else cpu.",
        show_default=False,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="HOST:PORT",
        help="The cluster of --devices ray; auto: the one that this machine belongs to. Default: RAY_ADDRESS.",
        show_default=False,
    ),
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Run code that the config names or that comes with a checkpoint.")
]
RunGenerated = Annotated[
    Any,
    typer.Option(
        "--run-generated-code",
        metavar="[=unsafe]",
        parser=generated,
        help="Run the programs that a model writes, in processes of their own; =unsafe: also where this machine does "
        "not hold them to every limit.",
        show_default=False,
    ),
]
Schedules = Annotated[
    list[str] | None,
    typer.Option(
        "--schedule",
        metavar="S",
        help="linear, sine, squared-sine, maskgit-cosine, llada, dream, dllm, optimum (on the profile), beta:A,B, "
        "shift:S, counts:N,N,..., alphas:0,S,...,1, a schedule file or its folder; threshold:T, "
        "entropy-bound:NATS, quota:S@T, cap:S@T, klass@T, for evaluate also without a value; repeatable.",
    ),
]


def show_version(wanted: bool) -> None:
    """Print the version, and end."""
    if wanted:
        print(f"mdm-tune {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The options of the program itself."""


@app.command(cls=Command)
def search(
    config: ConfigFile,
    overrides: Overrides = None,
    seed: Seed = None,
    output: Output = None,
    trials: Annotated[int | None, typer.Option("--trials", help="Trials per budget.", **NUMBER)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in the run folder.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the search in the run folder.")] = False,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            help="Take a search over from a process that is gone, where that cannot be seen from here.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Time batches and proposals, price the search, and stop.")
    ] = False,
    devices: OnDevices = None,
    ray_address: RayAddress = None,
    trust_code: TrustCode = False,
    run_generated_code: RunGenerated = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogTo = None,
) -> None:
    """Find the best Beta(a, b) schedule for each step budget and write it to disk."""
    screen = Screen(quiet=quiet, as_json=as_json, verbose=verbose, log_file=log_file)
    with exit_codes(screen, resumable=not dry_run):
        if resume and overwrite:
            raise InputError("--resume goes on with a search and --overwrite replaces it; give one of them")
        screen.begin(f"mdm-tune search {config}: loading")
        since = time.monotonic()  # before torch is imported
        with collecting_later():
            from mdm_tune.commands.dry_run import dry_run as price
            from mdm_tune.commands.search import search as tune

        flags = Flags(
            config=config,
            overrides=overrides,
            seed=seed,
            output=output,
            devices=devices,
            ray_address=ray_address,
            trust_code=trust_code,
            run_generated_code=run_generated_code,
        )
        loaded, used = flags.load(trials)
        if dry_run:
            priced = price(loaded, used, flags.allow, notify=screen.on_event, since=since)
            screen.json(priced) if as_json else screen.dry_run_result(priced)
            return
        result = tune(
            loaded,
            resume=resume,
            overwrite=overwrite,
            take_over=take_over,
            notify=screen.on_event,
            devices=used,
            allow=flags.allow,
            since=since,
        )
        commands = [command([name, *flags.words()]) for name in ("evaluate", "sample")]
        commands.append(f"{command(['export', result.files.run])} --to FORMAT  # mdm-tune list exports names them")
        screen.json(result) if as_json else screen.search_result(result, commands)


@app.command(cls=Command)
def evaluate(
    config: ConfigFile,
    schedule: Schedules = None,
    steps: Steps = None,
    show_differences: Annotated[
        bool, typer.Option("--show-differences", help="Print samples on which linear and tuned differ most.")
    ] = False,
    frontier: Annotated[
        bool,
        typer.Option("--frontier", help="Name the cheapest policy as good as one token per step (measured too)."),
    ] = False,
    overrides: Overrides = None,
    seed: Seed = None,
    output: Output = None,
    devices: OnDevices = None,
    ray_address: RayAddress = None,
    trust_code: TrustCode = False,
    run_generated_code: RunGenerated = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogTo = None,
) -> None:
    """Compare schedules over step budgets, with 95 % intervals, on the report split."""
    screen = Screen(quiet=quiet, as_json=as_json, verbose=verbose, log_file=log_file)
    with exit_codes(screen):
        from mdm_tune.config.flag_bounds import check_budgets

        check_budgets(steps or ())
        screen.begin(f"mdm-tune evaluate {config}: loading")
        with collecting_later():
            from mdm_tune.commands.evaluate import evaluate as score

        flags = Flags(
            config=config,
            overrides=overrides,
            seed=seed,
            output=output,
            devices=devices,
            ray_address=ray_address,
            trust_code=trust_code,
            run_generated_code=run_generated_code,
        )
        loaded, used = flags.load()
        result = score(
            loaded,
            schedule or (),
            steps or (),
            differences=show_differences,
            frontier=frontier,
            notify=screen.on_event,
            devices=used,
            allow=flags.allow,
        )
        screen.json(result) if as_json else screen.evaluate_result(result)


@app.command(cls=Command)
def sample(
    config: ConfigFile,
    schedule: Annotated[
        str | None, typer.Option("--schedule", metavar="S", help="As in evaluate; default: the run's own, or linear.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="The step budget.", **NUMBER)] = None,
    number: Annotated[int, typer.Option("--number", help="How many samples; 8 if not given.", **NUMBER)] = 8,
    watch: Annotated[
        str | None,
        typer.Option(
            "--watch",
            metavar="[S]",
            help="Show the first sample step by step, beside that of a second schedule S if one is given.",
            show_default=False,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE.svg", help="Write the steps as an animated SVG.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    seed: Seed = None,
    output: Output = None,
    devices: OnDevices = None,
    ray_address: RayAddress = None,
    trust_code: TrustCode = False,
    run_generated_code: RunGenerated = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogTo = None,
) -> None:
    """Draw samples with a schedule."""
    screen = Screen(quiet=quiet, as_json=as_json, verbose=verbose, log_file=log_file)
    with exit_codes(screen):
        from mdm_tune.config.flag_bounds import check_budgets, check_count

        check_count("--number", number, MOST_SAMPLES, "which are held in memory and written as one file")
        check_budgets(() if steps is None else (steps,))
        screen.watch(watch is not None, saves=save is not None)
        screen.begin(f"mdm-tune sample {config}: loading")
        with collecting_later():
            from mdm_tune.commands.sample import sample as draw
            from mdm_tune.commands.watching import wanted

        flags = Flags(
            config=config,
            overrides=overrides,
            seed=seed,
            output=output,
            devices=devices,
            ray_address=ray_address,
            trust_code=trust_code,
            run_generated_code=run_generated_code,
        )
        watched = wanted(watch, save)
        loaded, used = flags.load()
        result = draw(
            loaded,
            schedule,
            steps,
            number,
            watched,
            devices=used,
            allow=flags.allow,
            notify=screen.on_event,
        )
        screen.json(result) if as_json else screen.sample_result(result)


@app.command(cls=Command)
def profile(
    config: ConfigFile,
    steps: Steps = None,
    overrides: Overrides = None,
    seed: Seed = None,
    output: Output = None,
    devices: OnDevices = None,
    ray_address: RayAddress = None,
    trust_code: TrustCode = False,
    run_generated_code: RunGenerated = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogTo = None,
) -> None:
    """Measure the information profile and price every budget without drawing a sample."""
    screen = Screen(quiet=quiet, as_json=as_json, verbose=verbose, log_file=log_file)
    with exit_codes(screen):
        from mdm_tune.config.flag_bounds import check_budgets

        check_budgets(steps or ())
        screen.begin(f"mdm-tune profile {config}: loading")
        with collecting_later():
            from mdm_tune.commands.profile import profile as measure

        flags = Flags(
            config=config,
            overrides=overrides,
            seed=seed,
            output=output,
            devices=devices,
            ray_address=ray_address,
            trust_code=trust_code,
            run_generated_code=run_generated_code,
        )
        loaded, used = flags.load()
        result = measure(loaded, steps or (), notify=screen.on_event, devices=used, allow=flags.allow)
        same = flags.words()
        beta = ["--schedule", result.files["beta"]]
        commands = [["evaluate", *same, "--schedule", "linear", *beta], ["sample", *same, *beta]]
        commands.append(["search", *flags.words(searches=True)])
        screen.json(result) if as_json else screen.profile_result(result, [command(words) for words in commands])


@app.command(cls=Command)
def export(
    run: Annotated[
        str,
        typer.Argument(
            help="A run folder, a schedule file, or a schedule as for --schedule of evaluate.",
            metavar="RUN",
            show_default=False,
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="FORMAT", help="The sampler to export to, such as llada or json.", show_default=False
        ),
    ],
    length: Annotated[int | None, typer.Option("--length", help="Tokens to fill.", **NUMBER)] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="The step budget.", **NUMBER)] = None,
    block_length: Annotated[int | None, typer.Option("--block-length", help="Tokens of a block.", **NUMBER)] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", help="The folder to write to. Default: export-FORMAT in RUN.", show_default=False),
    ] = None,
    verify: Annotated[
        str | None,
        typer.Option(
            "--verify",
            metavar="PEER_FOLDER",
            help="Run the sampler's own code from this folder on the export; needs --trust-code.",
            show_default=False,
        ),
    ] = None,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogTo = None,
) -> None:
    """Write a schedule in the form of another sampler, with instructions where to put it."""
    screen = Screen(quiet=quiet, as_json=as_json, verbose=verbose, log_file=log_file)
    with exit_codes(screen):
        screen.begin(f"mdm-tune export {run} --to {to}: reading")
        from mdm_tune.commands.export import export as write
        from mdm_tune.config.flag_bounds import check_budgets, check_length

        check_budgets(() if steps is None else (steps,))
        for flag, number in (("--length", length), ("--block-length", block_length)):
            if number is not None:
                check_length(flag, number)
        raise_on_signals()
        result = write(
            run,
            to,
            length=length,
            steps=steps,
            block_length=block_length,
            output=output,
            verify=verify,
            trust_code=trust_code,
            doing=screen.doing,
        )
        screen.json(result) if as_json else screen.export_result(result)
        if result.verification is not None and not result.verification.equal:
            raise RunError("--verify: the realised numbers differ from those that were wanted; see the lines above")


app.command("init", cls=Command)(cli_start.init)
app.command("list", cls=Command)(cli_start.listed)
app.command("report", cls=Command)(cli_start.report)


def main() -> None:
    """The entry point of ``mdm-tune``, called by ``__main__``."""
    sys.excepthook = unforeseen
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):  # characters that the encoding lacks are shown as escapes
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="mdm-tune")
    except KeyboardInterrupt:  # a signal before a command has begun
        sys.exit(INTERRUPTED)
    finally:
        redirect_rest_to_stderr()
