"""Rich on stderr, results on stdout: progress, tables, the live view of unmasking. The only room that prints."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mdm_tune.errors import RunError
from mdm_tune.messages import system_reason
from mdm_tune.profile_tables import curve_table, left_behind, prices_table
from mdm_tune.streams import drop_results, results
from mdm_tune.tables import (
    budget_table,
    budgets_table,
    calls,
    detectable_lines,
    diversity_table,
    headline,
    interval,
    paste,
    reach_lines,
    reported_table,
    short_names,
    verdict,
    warning_lines,
)

if TYPE_CHECKING:  # these rooms load torch, and the console greets before torch is loaded
    from mdm_tune.commands.events import RunEvent
    from mdm_tune.sampling.unmasking import Step
    from mdm_tune.text import Codec

__all__ = ["Screen"]

EVERY = 2.0  # seconds between lines of frequent progress

Record = dict[str, Any]


class Stderr(Console):
    """A console whose reader may leave: Rich's own answer to a closed pipe would end the run."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Screen:
    """What a command shows. quiet: nothing on stderr but errors. as_json: one object on stdout and nothing else."""

    def __init__(self, *, quiet: bool, as_json: bool) -> None:
        # Rich takes 80 columns where there is no terminal, too few for a table with intervals.
        width = None if sys.stderr is not None and sys.stderr.isatty() else 120
        self.err = Stderr(stderr=True, quiet=quiet, highlight=False, width=width)
        self.quiet, self.as_json = quiet, as_json
        self.told = time.monotonic()  # when a line of frequent progress was last shown
        self.searching = False  # whether the run folder has been touched

    def say(self, text: str) -> None:
        """One line of progress."""
        self.err.print(text, markup=False, soft_wrap=True)

    def out(self, text: str) -> None:
        """One line of the result."""
        stdout = results()
        if stdout is None:  # the shell has closed it
            return
        try:
            stdout.write(text + "\n")
            stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            drop_results()
            raise RunError(
                f"cannot write the result to stdout: {system_reason(error)}; the run folder has it"
            ) from None

    def json(self, record: Record) -> None:
        """The result as one JSON object."""
        self.out(json.dumps(record, allow_nan=False))

    def on_event(self, event: RunEvent) -> None:
        """A line per finished piece of work."""
        from mdm_tune.commands import events
        from mdm_tune.profile import measuring
        from mdm_tune.records import detectable_record, reach_record
        from mdm_tune.search import budget, claims, confirmation, tuning

        match event:
            case events.Loaded(run):
                metric = run.evaluator.metric
                self.say(
                    f"  {run.config.model.type}, {run.evaluator.length} tokens; {run.config.sampler.described}; "
                    f"{metric.label} ({metric.direction})"
                )
            case events.Note():
                self.say(f"  note: {event.said}")
            case events.SearchBegun():
                self.searching = True
            case events.Reachable(found, length):
                for line in reach_lines([reach_record(each, length) for each in found]):
                    self.say(f"  {line}")
            case events.BudgetStarted(steps):
                self.say(f"\n{steps} steps")
            case budget.BlocksBegun(size):
                self.say(f"  blocks of {size}")
            case claims.Detectable():
                for line in detectable_lines(detectable_record(event)):
                    self.say(f"  {line}")
            case tuning.TrialDone():
                name = {(0.5, 0.5): "  linear", (1.0, 1.0): "  squared-sine"}.get(
                    (event.schedule.a, event.schedule.b), ""
                )
                note = name + ("" if event.fresh else "  (scored before)")
                if event.dropped:
                    note += f"  (dropped after {event.dropped} examples)"
                point = f"a {event.schedule.a:<8.4g} b {event.schedule.b:<8.4g}"
                self.say(
                    f"  trial {event.number + 1:>3}/{event.trials}  {point} "
                    f"{event.value:>9.5g}  best {event.best:<9.5g}{note}"
                )
            case confirmation.Comparing():
                (name,) = short_names([event.setting.label]).values()
                self.say(f"  {event.use:<7} {event.done + 1}/{event.total}  {name}")
            case measuring.PointMeasured() if time.monotonic() - self.told > EVERY:
                self.told = time.monotonic()
                self.say(
                    f"  {event.revealed:>4} visible  {event.loss:>8.4f} nats per token  "
                    f"({event.points} points, {event.examples} examples, {event.denoiser_rows:,} rows)"
                )
            case events.Scored(scores, done, total):
                value = interval(scores.estimate.value, scores.estimate.ci)
                self.say(f"  {done}/{total}  {scores.setting.label} at {scores.setting.steps} steps: {value}")

    def search_result(self, record: Record, next_commands: Sequence[str]) -> None:
        """The tuned schedule beside the baselines, the verdict, the files, and counts to paste."""
        for budget in record["budgets"]:
            self.err.print(budget_table(budget))
            if (figures := diversity_table(budget)) is not None:
                self.err.print(figures)
            for line in verdict(budget):
                self.say(line)
        for table in (budgets_table(record), reported_table(record)):
            if table is not None:
                self.err.print(table)
        for line in headline(record):
            self.say(line)
        rows, tokens = record["denoiser_rows"], record["denoiser_tokens"]
        self.say(f"\n{record['trials']} trials, {rows:,} denoiser rows ({tokens:,} tokens), {record['seconds']:.0f} s")
        if rows:
            parts = (f"{each:,} {name}" for name, each in record["denoiser_rows_of"].items() if each)
            self.say(f"of these rows: {', '.join(parts)}")
        self.say(f"schedule file  {record['files']['schedule']}\nrun folder     {record['files']['run']}")
        self.warnings(record)
        self.say("next\n" + "\n".join(f"  {command}" for command in next_commands) + "\n")
        for budget in record["budgets"]:
            self.out(paste(budget))

    def evaluate_result(self, record: Record) -> None:
        """One table, then the differences where they were asked for."""
        rows = record["rows"]
        exact = rows[0]["n"] is None
        of = "computed exactly" if exact else f"{rows[0]['n']} examples, 95 % intervals"
        linear = record["reference"]
        of += f"; compared with {linear}" if linear != "linear" else ""
        table = Table(title=f"{rows[0]['metric']}, {of}", title_justify="left", box=SIMPLE_HEAD)
        compared = any(linear in (pair["first"], pair["second"]) for pair in record["comparisons"])
        for heading in ("steps", "schedule", "value", *(["minus linear"] if compared else []), "NFE"):
            table.add_column(heading, justify="left" if heading == "schedule" else "right", no_wrap=True)
        against = {}
        for pair in record["comparisons"]:
            for name, other, sign in ((pair["second"], pair["first"], -1), (pair["first"], pair["second"], 1)):
                if other == linear:
                    bounds = pair["ci"] and sorted(sign * bound + 0.0 for bound in pair["ci"])  # no -0.0
                    gap = pair["difference"]
                    against[pair["steps"], name] = interval(gap and sign * gap, bounds)
        short = short_names([row["schedule"] for row in rows])
        for row in rows:
            table.add_row(
                str(row["steps"]),
                short[row["schedule"]],
                interval(row["value"], row["ci"]),
                *([against.get((row["steps"], row["schedule"]), "")] if compared else []),
                calls(row),
            )
        if record["data"] is not None:
            table.add_row("", "the data itself", interval(record["data"]["value"], record["data"]["ci"]), style="dim")
        self.err.print(table)
        self._diversity(record, short)
        if (beside := reported_table(record)) is not None:
            self.err.print(beside)
        if record.get("differences") == []:
            self.say("linear and the last schedule differ on no example")
        for found in record.get("differences", []):
            self.say(f"\n{found['steps']} steps, example {found['id']}")
            for side in (found["first"], found["second"]):
                self.say(f"  {side['value']:>8.4g}  {side['text']}  {side['schedule']}")
        self.say(f"\n{record['denoiser_rows']:,} denoiser rows, {record['seconds']:.1f} s")
        self.say(f"table       {record['files']['table']}\nrun folder  {record['files']['run']}")
        self.warnings(record)

    def warnings(self, record: Record) -> None:
        """What was told while the command ran and should be known of its result."""
        for line in warning_lines(record):
            self.say(line)

    def _diversity(self, record: Record, short: dict[str, str]) -> None:
        """The figures that fall when samples become alike, where the metric has any."""
        known = ("token_entropy", "distinct_tokens", "answer_length", "distinct_words")
        figures = [name for name in known if name in record["rows"][0]]
        if not figures:
            return
        table = Table(title="diversity", title_justify="left", box=SIMPLE_HEAD)
        for heading in ("steps", "schedule", *figures):
            table.add_column(
                heading.replace("_", " "),
                justify="left" if heading == "schedule" else "right",
                no_wrap=heading in ("steps", "schedule"),
            )
        for row in record["rows"]:
            table.add_row(str(row["steps"]), short[row["schedule"]], *(f"{row[name]:.3f}" for name in figures))
        if record["data"] is not None:
            table.add_row("", "the data itself", *(f"{record['data'][name]:.3f}" for name in figures), style="dim")
        self.err.print(table)

    def profile_result(self, record: Record) -> None:
        """The curve in a few points, every budget, what the family leaves behind, and counts to paste."""
        of = "computed exactly" if record["exact"] else f"{record['examples']} examples, 95 % intervals"
        measured = [record, *record["other_block_lengths"]]
        for profile in measured:
            blocks = f"blocks of {profile['block_length']}, {of}" if len(measured) > 1 else of
            self.err.print(curve_table(profile, blocks))
            self.err.print(prices_table(profile, blocks))
            for budget in profile["budgets"]:
                self.say(left_behind(budget))
        files = record["files"]
        self.say(f"\n{record['denoiser_rows']:,} denoiser rows, {record['seconds']:.1f} s")
        self.say(f"schedule files  {files['beta']}, {files['optimum']}\nrun folder      {files['run']}")
        self.warnings(record)
        self.say("")
        for same in zip(*(profile["budgets"] for profile in measured), strict=True):
            best = min(same, key=lambda budget: budget["beta"]["nelbo"])
            self.out(paste({**best["beta"], "steps": best["steps"]}))

    def dry_run_result(self, record: Record) -> None:
        """What the search would cost, phase by phase."""
        headings = ("phase", "schedules", "denoiser rows", "tokens", "seconds", "memory, MiB")
        on, workers = record["devices"], record["workers"]
        title = "at most" if len(on) == 1 else f"at most, on {len(on)} replicas ({', '.join(on)})"
        title += f", shared equally by {workers} workers but for a profile" if workers > 1 else ""
        table = Table(*headings, title=title, title_justify="left")
        for phase in record["phases"]:
            cells = (f"{phase[name]:,}" for name in ("schedules", "denoiser_rows", "denoiser_tokens"))
            memory = "" if phase["memory_bytes"] is None else f"{phase['memory_bytes'] / 2**20:.0f}"
            table.add_row(phase["phase"], *cells, f"{phase['seconds']:.1f}", memory)
        for column in table.columns[1:]:
            column.justify = "right"
        self.err.print(table)
        for line in reach_lines(record["reach"]):
            self.say(line)
        compared = sum(phase["seconds"] for phase in record["phases"] if phase["phase"] in ("choose", "report"))
        if record["timeout"] is not None and compared > record["timeout"]:
            self.say(
                f"search.timeout: {record['timeout']:g} s are given, and the comparison on unseen examples, which is "
                f"never cut, takes about {compared:.0f}; raise it, or lower search.finalists, dataset.choose or "
                "dataset.report"
            )
        if record["detectable_gain"] is not None:
            self.say(
                f"smallest gain that the report split shows with 80 % power: about {record['detectable_gain']:.3g}"
            )
        self.warnings(record)

    def live(self, codec: Codec, mask_id: int) -> LiveView | None:
        """A view of the first row being filled, where stderr is a terminal."""
        shows = self.err.is_terminal and not self.quiet and not self.as_json
        return LiveView(self.err, codec, mask_id) if shows else None


class LiveView:
    """The first row while it is being unmasked, newly revealed tokens in colour."""

    def __init__(self, console: Console, codec: Codec, mask_id: int) -> None:
        self.console, self.codec, self.mask_id = console, codec, mask_id
        self.filled: list[bool] = []  # whether a position is the model's to fill

    def __call__(self, step: Step) -> None:
        text = Text(f"{step.number + 1:>4}  ")
        tokens, revealed = step.tokens[0].tolist(), step.revealed[0].tolist()
        self.filled = self.filled or [
            token == self.mask_id or fresh for token, fresh in zip(tokens, revealed, strict=True)
        ]
        for token, fresh, filled in zip(tokens, revealed, self.filled, strict=True):
            if token == self.mask_id:
                text.append("·", style="dim")
            elif filled:
                text.append(self.codec.decode([token]), style="bold green" if fresh else "")
        self.console.print(text)
