"""The console of a command: progress and tables on stderr, results on stdout.

Only this module prints, and on its console the view of unmasking. It redacts and escapes every text (see
``core/redaction.py``), and folds lines at spaces on a terminal.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.json_record import JsonRecord, as_json
from mdm_tune.core.messages import quantity, system_reason
from mdm_tune.core.numerals import significant
from mdm_tune.core.redaction import one_line, printable, redacted, shown_as
from mdm_tune.core.signals import interrupted
from mdm_tune.core.streams import discard_stdout, results_stream
from mdm_tune.run.record_parts import WarningRecord
from mdm_tune.schedules.labels import short_label
from mdm_tune.terminal.cost_tables import busy_replicas, cannot_be_shown, phases_table, pilot_text
from mdm_tune.terminal.evaluate_tables import difference_lines, evaluate_table, figures_table
from mdm_tune.terminal.event_lines import DETAIL, INFO, WARNING, EventLines, progress_parts
from mdm_tune.terminal.export_lines import export_lines
from mdm_tune.terminal.frontier_tables import frontier_lines, frontier_table, policies_table
from mdm_tune.terminal.layout import Grid, folded
from mdm_tune.terminal.log_file import LogFile
from mdm_tune.terminal.policy_tables import kinds_table, other_pastes, policy_notes
from mdm_tune.terminal.profile_tables import curve_table, energies_table, left_behind, prices_table
from mdm_tune.terminal.shared_tables import SHARED_FILE, shared_lines, shared_table
from mdm_tune.terminal.status import Status
from mdm_tune.terminal.tables import (
    budget_table,
    budgets_table,
    diversity_table,
    headline,
    outlook_lines,
    paste,
    pastes,
    reported_table,
    verdict,
    warning_lines,
)
from mdm_tune.terminal.unmasking_view import UnmaskingView
from mdm_tune.version import __version__

if TYPE_CHECKING:  # these load torch, and the console shows its first line before torch is loaded
    from mdm_tune.commands.events import Progress, RunEvent
    from mdm_tune.run.dry_run_records import DryRunResult
    from mdm_tune.run.evaluate_records import EvaluateResult, HarnessResult
    from mdm_tune.run.export_records import ExportResult
    from mdm_tune.run.profile_records import ProfileResult
    from mdm_tune.run.sample_records import SampleResult
    from mdm_tune.run.search_records import SearchResult

__all__ = ["Screen", "complain"]

EVERY = 2.0  # seconds between lines of frequent progress
HANG = "    "  # the indent of a line that continues a folded one
SILENCE = 30.0  # seconds without a line, after which a line says how far the command is
LOGGED = 10_000  # columns of a line in a log, which is never folded
PIPED = 120  # columns of tables without a terminal; Rich's 80 are too few for rows with several intervals

Record = dict[str, Any]


def complain(text: str) -> None:
    """Show on stderr why a command ends. A stderr that is closed or full raises nothing."""
    if sys.stderr is not None:
        show_line(Stderr(quiet=False), text)


def _size() -> tuple[int | None, int | None]:
    """Columns and lines of stderr; None where Rich finds them by itself."""
    if sys.stderr is None or not sys.stderr.isatty():
        return PIPED, None
    if os.environ.get("TERM", "").lower() in ("dumb", "unknown"):
        # Rich takes these terminals to have 80 columns, and lines would break within words on narrower ones.
        with suppress(OSError, ValueError):
            columns, lines = os.get_terminal_size(sys.stderr.fileno())
            return columns or None, lines or None
    return None, None


class Stderr(Console):
    """The console of stderr. It shows text without markup, and falls silent when its reader closes the pipe.

    Rich by itself would end the run on a closed pipe.

    Args:
        quiet: Whether nothing is shown.

    Attributes:
        last_line: The last line of the terminal, below all output.
    """

    def __init__(self, *, quiet: bool) -> None:
        width, height = _size()
        super().__init__(
            stderr=True, quiet=quiet, highlight=False, markup=False, emoji=False, width=width, height=height
        )
        self.last_line = Status(self)

    def on_broken_pipe(self) -> None:
        self.quiet = True


def show(console: Console, content: Grid | Text) -> None:
    """Print a table or a text in full. If writing fails, the console becomes quiet."""
    try:
        with console.last_line.hidden() if isinstance(console, Stderr) else nullcontext():
            console.print(content, crop=False, overflow="ignore", no_wrap=True)
    except (OSError, ValueError):  # stderr is a file on a full disk, or was closed
        console.quiet = True


def show_line(console: Console, text: str, *, whole: bool = False) -> None:
    """Print a text.

    Args:
        console: Where it is printed.
        text: It is redacted and escaped first.
        whole: Whether lines stay unfolded on a terminal, because the text is for pasting.
    """
    text = printable(redacted(text))
    show(console, Text(folded(text, console.width, HANG) if console.is_terminal and not whole else text))


class Screen:
    """What a command shows.

    Args:
        quiet: Whether stderr shows nothing but errors.
        as_json: Whether stdout gets one JSON object and nothing else.
        verbose: Whether details of events are shown.
        log_file: The file to which all events are written; None for none.

    Attributes:
        err: The console of stderr.
        status: The last line of the terminal while the command runs.
        lines: Makes the lines of events.
        searching: Whether the search has begun to write, so that it has to be resumed.
        view: Shows how samples are unmasked; None if nobody watches.
    """

    def __init__(self, *, quiet: bool, as_json: bool, verbose: bool = False, log_file: Path | None = None) -> None:
        stderr = Stderr(quiet=quiet)
        self.err: Console = stderr
        self.status, self.lines = stderr.last_line, EventLines()
        self.quiet, self.as_json, self.verbose = quiet, as_json, verbose
        self.last_progress = self.last_logged = time.monotonic()  # of the last line of an event, shown and logged
        self.searching = False
        self.view: UnmaskingView | None = None
        self._log_file = log_file
        self._log: LogFile | None = None

    def begin(self, text: str) -> None:
        """Show the first line of a command, and from now on what it does.

        Args:
            text: The line.

        Raises:
            InputError: If the log file cannot be written.
        """
        self._log = None if self._log_file is None else LogFile(self._log_file)
        self.log(INFO, f"mdm-tune {__version__}")
        self.say(text)
        self.status.begin()
        self.status.update("loading")

    def end(self, error: str | None = None) -> None:
        """Show no progress any more. error: the message with which the command ends; None if there is none."""
        self.status.end()
        if error is not None:
            self.log("ERROR", error)

    def log(self, level: str, text: str) -> None:
        """Write a line to the log file, if there is one."""
        if self._log is not None:
            self.last_logged = time.monotonic()
            self._log.write(level, text)

    def say(self, text: str, *, whole: bool = False) -> None:
        """Show a line on stderr and log it. whole: it is not folded."""
        if text.strip():
            self.log(WARNING if text.startswith("warning") else INFO, text)
        show_line(self.err, text, whole=whole)

    def doing(self, text: str, detail: str) -> None:
        """Show what the command does now in the last line of the terminal, with ``verbose`` in a line; log it.

        Args:
            text: What it does.
            detail: More of it; a narrow terminal leaves it out.
        """
        if interrupted():  # foreign code has caught the exception of the signal
            raise KeyboardInterrupt
        self.log(DETAIL, f"{text}: {detail}")
        self.status.update(text, detail)
        if self.verbose:
            show_line(self.err, f"  {text}: {detail}")

    def out(self, text: str) -> None:
        """Write a line of the result to stdout.

        Raises:
            RunError: If stdout cannot be written to.
            BrokenPipeError: If its reader has closed it.
        """
        stdout = results_stream()
        if stdout is None:  # the shell started the process with stdout closed
            return
        self.status.end()  # stdout may be the same terminal
        text = redacted(text)
        try:
            stdout.write(shown_as(printable(text) if stdout.isatty() else text, stdout.encoding) + "\n")
            stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            discard_stdout()
            raise RunError(
                f"cannot write the result to stdout: {system_reason(error)}; the run folder has it"
            ) from None

    def json(self, result: JsonRecord | Record) -> None:
        """Write the result to stdout as one JSON object, in ASCII."""
        self.out(json.dumps(redacted(as_json(result)), allow_nan=False).replace("\x7f", "\\u007f"))

    def on_event(self, event: RunEvent) -> None:
        """Show an event as lines, as the last line of the terminal, or not at all, and write it to the log."""
        from mdm_tune.commands import events
        from mdm_tune.run.measuring import PointMeasured

        if interrupted():  # foreign code has caught the exception of the signal
            raise KeyboardInterrupt
        match event:
            case events.Progress():
                self._progress(event)
            case events.Watched(rows):
                if self.view is not None:
                    self.status.end()  # the view rewrites lines of its own
                    self.view.show(rows)
            case events.SearchStarted():
                self.searching = True
            case events.ModelLoaded():
                self.status.update("preparing")
        often = isinstance(event, PointMeasured) and not self.status.active
        told = often and time.monotonic() - self.last_progress > EVERY
        for (level, line), (_, logged) in zip(
            self.lines.of(event, self.err.width if self.err.is_terminal else PIPED),
            self.lines.of(event, LOGGED),
            strict=True,
        ):
            self.log(level, logged)
            if level != DETAIL or self.verbose or told:
                self.last_progress = time.monotonic()
                show_line(self.err, line)

    def _progress(self, event: Progress) -> None:
        """Show how far the command is: in the last line of a terminal, elsewhere in a line of its own now and then."""
        best = self.lines.best
        parts = progress_parts(event, best)
        self.status.follow(lambda age: progress_parts(event, best, age))
        if not self.status.active and time.monotonic() - self.last_progress > SILENCE:
            self.last_progress = time.monotonic()
            show_line(self.err, f"  {', '.join(parts)}")
        if time.monotonic() - self.last_logged > SILENCE:
            self.log(INFO, ", ".join(parts))

    def search_result(self, result: SearchResult, next_commands: Sequence[str]) -> None:
        """Show the tables and verdicts of a search, its files, the next commands, and counts to paste.

        Args:
            result: The result of the search.
            next_commands: Commands that may follow.
        """
        self.end()
        for budget in result.budgets:
            self.say("")
            self._tables(budget_table(budget), kinds_table(budget))
            self._lines(policy_notes(budget))
            self._tables(diversity_table(budget))
            self._lines(verdict(budget))
        self._tables_below(budgets_table(result), reported_table(result.reported))
        self._tables(frontier_table(result.policy_frontier), policies_table(result.policy_frontier))
        self._lines([*headline(result), *frontier_lines(result.policy_frontier)])
        if result.shared is not None:
            self._tables(shared_table(result.shared))
            self._lines([result.shared.text, *shared_lines(result.shared), SHARED_FILE])
        cost = result.cost
        self.say(
            f"\n{quantity(result.trials, 'trial')}, {quantity(cost.denoiser_rows, 'denoiser row')} "
            f"({quantity(cost.denoiser_tokens, 'token')}), {cost.seconds:.0f} s"
        )
        if cost.denoiser_rows:
            parts = (
                f"{rows:,} {name.replace('_', ' ')}" for name, rows in result.denoiser_rows_of.to_json().items() if rows
            )
            self.say(f"of these rows: {', '.join(parts)}")
        self.say(f"schedule file  {one_line(result.files.schedule)}", whole=True)
        self.say(f"run folder     {one_line(result.files.run)}", whole=True)
        self.say(f"page           {one_line(str(Path(result.files.run) / 'report.html'))}", whole=True)
        self.warnings(result.warnings)
        self.next(next_commands)
        for line in (*other_pastes(result), *pastes(result)):
            self.out(line)

    def next(self, commands: Sequence[str]) -> None:
        """Show the commands that may follow."""
        self.say("next")
        for command in commands:
            self.say(f"  {one_line(command)}", whole=True)
        self.say("")

    def _tables(self, *tables: Grid | None) -> None:
        for table in tables:
            if table is not None:
                show(self.err, table)

    def _tables_below(self, *tables: Grid | None) -> None:
        """Show tables, if there are any, apart from the lines above them."""
        if any(table is not None for table in tables):
            self.say("")
            self._tables(*tables)

    def _lines(self, lines: Sequence[str] | Iterator[str]) -> None:
        for line in lines:
            self.say(line)

    def evaluate_result(self, result: EvaluateResult | HarnessResult) -> None:
        """Show the tables of ``evaluate`` or of lm-evaluation-harness, and the differences if they were requested."""
        self.end()
        self._tables_below(evaluate_table(result), figures_table(result), reported_table(result.reported))
        self._tables(frontier_table(result.frontier), policies_table(result.frontier))
        self._lines(difference_lines(result))
        self._lines(frontier_lines(result.frontier))
        self.say(f"\n{quantity(result.cost.denoiser_rows, 'denoiser row')}, {result.cost.seconds:.1f} s")
        self.say(f"table       {one_line(result.files['table'])}", whole=True)
        self.say(f"run folder  {one_line(result.files['run'])}", whole=True)
        self.warnings(result.warnings)

    def warnings(self, warnings: Sequence[WarningRecord]) -> None:
        """Show the first warning of each code."""
        self._lines(warning_lines(warnings))

    def sample_result(self, result: SampleResult) -> None:
        """Write the samples to stdout, each within the visible text of its example if it has any."""
        self.end()
        from mdm_tune.run.sample_records import ScheduleSource

        source = {
            ScheduleSource.SEARCH: ", the search's own",
            ScheduleSource.DEFAULT: ", since no other was given",
            ScheduleSource.NAMED: "",
        }[result.schedule_from]
        policy, calls = result.plan.policy, quantity(result.steps, "step")
        if policy is not None:
            source += "" if policy == result.schedule else f", policy {one_line(policy)}"
            calls = f"{significant(result.nfe, 4)} denoiser calls in the mean"
        name = result.schedule if result.schedule.endswith((".yaml", ".yml")) else short_label(result.schedule)
        self.say(
            f"  schedule {one_line(name)}{source}; {calls}, "
            f"{quantity(result.cost.denoiser_rows, 'denoiser row')}, {result.cost.seconds:.1f} s"
        )
        for drawn in result.samples:
            if drawn.example is not None and drawn.example.conditional:
                example = drawn.example
                self.out(f"example {one_line(example.id)}, what was drawn in brackets:\n{example.shown}\n")
            else:
                self.out(drawn.text)
        self.warnings(result.warnings)

    def profile_result(self, result: ProfileResult, next_commands: Sequence[str] = ()) -> None:
        """Show the profile, its prices and energies, the files, the next commands, and counts to paste.

        Args:
            result: The result of ``profile``.
            next_commands: Commands that may follow.
        """
        self.end()
        first = result.profiles[0]
        source = "computed exactly" if first.exact else f"{quantity(first.examples or 0, 'example')}, 95 % intervals"
        for profile in result.profiles:
            title = f"blocks of {profile.block_length}, {source}" if len(result.profiles) > 1 else source
            self._tables_below(curve_table(profile, title), prices_table(profile, title))
            for budget in profile.budgets:
                self.say(left_behind(budget))
        self._tables_below(energies_table(first))
        self.say(f"\n{quantity(result.cost.denoiser_rows, 'denoiser row')}, {result.cost.seconds:.1f} s")
        for name, kind in (("best Beta", "beta"), ("optimum", "optimum"), ("run folder", "run")):
            self.say(f"{name:<10}  {one_line(result.files[kind])}", whole=True)
        self.warnings(result.warnings)
        self.next(next_commands)
        for priced in result.cheapest_betas:
            self.out(paste(priced.setting.steps, priced.plan))

    def dry_run_result(self, result: DryRunResult) -> None:
        """Show the cost of each phase, the reachable counts, and the smallest gain that can be shown."""
        self.end()
        self._tables_below(phases_table(result))
        self._lines(outlook_lines(result.reach))
        if result.late:
            self.say(
                f"search.timeout: {result.timeout:g} s are given, and the comparison on unseen examples, which is "
                f"never cut, takes about {result.comparison_seconds:.0f} s; raise it, or lower search.finalists, "
                "dataset.choose or dataset.report"
            )
        shown = result.shown_gain
        if shown.detectable_gain is not None and shown.size is not None:
            guess = pilot_text(shown.size.pilot_steps or 0, shown.size.pilot_examples)
            self.say(
                f"smallest gain that the report split shows with 80 % power: about {shown.detectable_gain:.3g}, "
                f"{guess}; the search guesses again, for each budget on a pilot of its own"
            )
        elif shown.gain_can_be_shown is False and shown.size is not None:
            self.say(cannot_be_shown(shown.size.report_examples, shown.size.report_independent))
        if result.busy_replicas is not None:
            self.say(busy_replicas(result.busy_replicas))
        self.warnings(result.warnings)

    def export_result(self, result: ExportResult) -> None:
        """Show what was exported, what is lost, the verification and the instructions; stdout gets the paths."""
        self.end()
        self._lines(export_lines(result))
        for path in result.files.values():
            self.out(path)

    def watch(self, wanted: bool, *, saves: bool) -> None:
        """Show how samples are unmasked from now on, if that is wanted.

        Args:
            wanted: Whether the user asked for it.
            saves: Whether it is also written to a file, which has a use without a view.

        Raises:
            InputError: If nothing may be shown.
        """
        if wanted and self.as_json:
            raise InputError(
                "--watch shows the text for people, and --json prints one object for programs; give one of them. "
                "--save can be given with both"
            )
        if wanted and self.quiet and not saves:
            raise InputError("--watch shows the text, and --quiet shows nothing; give one of them, or add --save")
        self.view = UnmaskingView(self.err) if wanted and not self.quiet else None
