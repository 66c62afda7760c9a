"""The flags of the commands that need no config: ``init``, ``list``, ``report``. Heavy modules are imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdm_tune.core.signals import raise_on_signals
from mdm_tune.terminal.console import Screen
from mdm_tune.terminal.exit_codes import command, exit_codes
from mdm_tune.terminal.usage import whole_number

__all__ = ["AsJson", "LogTo", "Quiet", "Verbose", "init", "listed", "report"]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show nothing but errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show more lines: what the command does, and why.")]
LogTo = Annotated[
    Path | None,
    typer.Option("--log-file", metavar="FILE", help="Append all events as plain lines, also with --quiet."),
]


def text_option(flag: str, help: str, metavar: str | None = None) -> typer.models.OptionInfo:
    """An option with a text."""
    option: typer.models.OptionInfo = typer.Option(flag, help=help, metavar=metavar, show_default=False)
    return option


def init(
    model: Annotated[
        str,
        typer.Argument(
            help="A folder of a checkpoint, a name on the Hub, package:text, or FILE.py:FUNCTION.",
            metavar="MODEL",
            show_default=False,
        ),
    ],
    task: Annotated[
        str,
        typer.Argument(
            help="A file (JSON lines, CSV, or text), a data set (folder or owner/name on the Hub), package:text, or a "
            "task of lm-evaluation-harness.",
            metavar="TASK",
            show_default=False,
        ),
    ],
    steps: Annotated[
        list[int] | None,
        typer.Option(
            "--steps", help="A step budget; may be repeated.", parser=whole_number, metavar="N", show_default=False
        ),
    ] = None,
    output: Annotated[str | None, text_option("--output", "The file to write; mdm-tune.yaml if not given.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    family: Annotated[str | None, text_option("--family", "The family of the checkpoint.")] = None,
    prompt: Annotated[
        str | None, text_option("--prompt", "The prompt of a record: a field, or 'Q: {field}'.", "FIELD")
    ] = None,
    answer: Annotated[str | None, text_option("--answer", "The reference answer of a record.", "FIELD")] = None,
    text: Annotated[
        str | None, text_option("--text", "The text of a record that is filled in as a whole.", "FIELD")
    ] = None,
    length: Annotated[
        int | None,
        typer.Option("--length", help="Tokens of an answer.", parser=whole_number, metavar="N", show_default=False),
    ] = None,
    include_path: Annotated[str | None, text_option("--include-path", "A folder with tasks of the harness.")] = None,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Run foreign code to learn more.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogTo = None,
) -> None:
    """Write a configuration with comments for a model and a task."""
    screen = Screen(quiet=quiet, as_json=as_json, verbose=verbose, log_file=log_file)
    with exit_codes(screen):
        screen.begin(f"mdm-tune init {model} {task}: reading")
        from mdm_tune.commands.init import init as write
        from mdm_tune.commands.init import init_lines
        from mdm_tune.start.tasks import Named

        named = Named(
            prompt=prompt,
            answer=answer,
            text=text,
            length=length,
            include_path=include_path,
            trust_code=trust_code,
        )
        raise_on_signals()
        result = write(
            model,
            task,
            steps or (),
            output=output,
            force=force,
            family=family,
            named=named,
            doing=screen.doing,
        )
        screen.end()
        for line in init_lines(result):
            screen.say(line)
        if as_json:
            screen.json(result)
            return
        screen.next([command(["search", result.file, *words, *result.needs]) for words in (["--dry-run"], [])])
        screen.out(result.file)


def listed(
    what: Annotated[
        str, typer.Argument(help="families, metrics, schedules, tasks, denoisers, datasets or exports.", metavar="WHAT")
    ],
    word: Annotated[
        str | None, typer.Argument(help="A part of the name.", metavar="[WORD]", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what a configuration or --to can name, plugins of other packages too."""
    screen = Screen(quiet=False, as_json=as_json)
    with exit_codes(screen):
        from mdm_tune.commands.listing import listing, listing_lines

        result = listing(what, word)
        if as_json:
            screen.json(result)
            return
        for line in listing_lines(result):
            screen.out(line)


def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="The folder of a run, such as runs/text; several are compared on one page.",
            metavar="RUN...",
            show_default=False,
        ),
    ],
    figures: Annotated[
        str | None,
        text_option("--figures", "Write the figures as SVG and PNG into this folder, and no page.", "DIR"),
    ] = None,
    output: Annotated[
        str | None,
        text_option(
            "--output", "The file of the page. Default: report.html in RUN; comparison.html here for several.", "FILE"
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogTo = None,
) -> None:
    """Write one HTML page about a run, one that compares several runs, or their figures."""
    screen = Screen(quiet=quiet, as_json=as_json, verbose=verbose, log_file=log_file)
    with exit_codes(screen):
        screen.begin(f"mdm-tune report {' '.join(runs)}: reading")
        from mdm_tune.commands.report import report as write

        raise_on_signals()
        result = write(runs, figures=figures, output=output, doing=screen.doing)
        screen.end()
        for text in result.headlines:
            screen.say(text)
        if as_json:
            screen.json(result)
            return
        for path in (*([] if result.page is None else [result.page]), *result.figures):
            screen.out(path)
