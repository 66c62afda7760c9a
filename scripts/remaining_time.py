"""How far the remaining time that commands show is from what remains: nine runs of different kinds.

    python scripts/remaining_time.py                                  # the table, on stdout
    python scripts/remaining_time.py --page docs/remaining-time.md
    python scripts/remaining_time.py --only markov --trace            # every estimate of one run
    python scripts/remaining_time.py --kept FOLDER                    # keeps what happened in each run, or replays it

The runs are those of the commands, in this process. Seconds are CPU time, so that other work on the machine counts as
little as possible. A kept run is replayed in a second: the estimates are made anew of the same rows and events at the
same times. Only open files of your own, since they are Python pickles.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from textwrap import fill
from typing import Any

from pages import commit

from mdm_tune import evaluate, load_config, search
from mdm_tune.commands import progress
from mdm_tune.commands.events import ModelLoaded, Progress
from mdm_tune.commands.progress import Following, Stages
from mdm_tune.commands.search_plan import SearchPlan
from mdm_tune.core.messages import quantity
from mdm_tune.run.build import build

ROOT = Path(__file__).parent.parent
SHARES = (0.25, 0.5, 0.75)  # of the way, at which estimates are compared with what remained
GOAL = 0.3
LEAST = 1.0  # seconds that must be left; a line then says "a few seconds left" for any estimate below 15

PAGE = """# How long a command will still take

`search`, `evaluate`, `sample` and `profile` show how far they are and about how long they will still take. The estimate
counts work: the denoiser rows and the proposals that are still expected, at the recent speed. There is no estimate
before a second of work and, in a search, before the first trial is finished. The estimate is made whenever a denoiser
batch has gone through all of its steps. Until the next one, the time that is shown counts down.

- *Races.* A trial takes about half of its rows. This guess is replaced by what the trials so far took, of this budget
  and of those before.
- *Adaptive policies in a search.* Such a trial also looks for the value at which it makes the calls of the budget. The
  first trial of a kind of policy at a budget takes about 0.8 of the most rows that this usually can take. Later ones
  take about 0.4, since they begin at the value of the one before and may be dropped in their race. These guesses too
  are replaced by what the trials so far took, first ones and later ones apart, but slowly, since budgets differ. A
  trial that took more than this most counts as the most.
- *Trials that may be left out.* `search.auto_stop`, `search.rows` and `search.timeout` may end the trials early. Then
  all trials are counted, and the line says *at most*.
- *The comparison on unseen examples.* The finalists are as many as trials reached the end of their race, in the mean.
  One more schedule is scored on the report split if a finalist wins. The estimate takes this for one half, or for the
  share of the budgets so far. Where several kinds of policy are searched, the best of each is scored.
- *Adaptive policies in `evaluate`.* Finding the value of a policy takes 6 tries on 16 examples and 3 on 64, in the
  mean, at the calls of the budget. While tries on the 16 examples go on, at least 3 of them are expected, and 2.3 on
  the 64. The rows of a value are left unfinished once they make 1.5 times the calls of the budget.
- *Proposals.* The time of a proposal grows with the square of the trials so far, and is twice as long after 120.
- *The end.* The page of a search takes 0.15 seconds, 0.05 more for each budget and 0.0002 more for each trial.

Other work without denoiser rows, such as the simulation after the pilot, is not estimated.

`python scripts/remaining_time.py --page docs/remaining-time.md` writes this page; with `--kept FOLDER` it keeps what
happens in each run, and makes the estimates of a kept run anew without running it. Each run was run once, at commit
{commit}. The estimates are those of the code of this page, made anew of what was kept. Some of its numbers, such as
those of proposals, were chosen with earlier runs of this kind at hand, none of them with seed 5; the seconds of the end
were chosen with all runs of this page. Seconds are CPU time of one thread, since the machine did other work too: its
load was {load} on {cores}. Rows then take unequal times, which makes the rest harder to foresee. A command itself shows
seconds of the clock, and does not foresee that the load of the machine changes. "None shown" means that there was no
estimate yet. The error is (estimate - rest) / rest. The table has it at a quarter, a half and three quarters of the
command's CPU time, from the call of the command to its end, and the least and the largest error from a quarter to nine
tenths of the way. *Within 30 %* is the share of all lines from a quarter of the way on, while more than one second is
left. *At most* is the share of these lines that say so. *Rows* are denoiser rows.

{table}

{verdict}

The CPU time of a row is not constant either: it depends on what else the machine does. In the second table the same
runs are told as if every denoiser row had taken the mean time of all rows of the run, and all else the time that it
took. It shows how well the work is foreseen, apart from the speed.

{even}

{even_verdict}

The runs:

{runs}

*five policies* and *policies* vary most. They were also run with seeds 1 to 4, at commit 15353ed. Of these 24 estimates
19 meet the goal. *five policies* with seed 2 was 34 % too short at a quarter: its values took more tries than usual.
*policies* was 37 and 50 % too long at a half and at three quarters with seed 1, and 39 and 53 % with seed 4: the trials
at 4 steps took many rows, and those at 8 steps were dropped early. What trials take varies that much, and few of them
are left at that point.
"""


@dataclass(frozen=True)
class Case:
    """A run.

    Attributes:
        name: Its name in the table.
        what: What it is, for a reader.
        config: The config in ``configs``.
        sets: Options of the config.
        schedules: Schedules to evaluate; () for a search.
    """

    name: str
    what: str
    config: str
    sets: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ()


SMALL = ("dataset.choose=32", "dataset.report=48")
CASES = (
    Case(
        "text",
        "a search of the bundled text in order of confidence, 16 steps, 16 trials, 32 examples to tune on",
        "text",
        ("dataset.tune=32", *SMALL, "search.trials=16"),
    ),
    Case(
        "markov", "an exact search: a Markov chain at 4 and 8 steps, 200 trials each", "markov", ("search.trials=200",)
    ),
    Case(
        "many trials",
        "a search of the text with a race of 40 trials at 8 steps, 48 examples to tune on",
        "text",
        ("dataset.tune=48", *SMALL, "sampler.steps=[8]", "search.trials=40", "search.auto_stop=false"),
    ),
    Case(
        "three budgets",
        "a search of the text at 4, 8 and 16 steps, 10 trials each, 32 examples to tune on",
        "text",
        ("dataset.tune=32", *SMALL, "sampler.steps=[4,8,16]", "search.trials=10"),
    ),
    Case(
        "evaluate",
        "an evaluation of three schedules and an adaptive policy of the text at 6 and 12 steps on 64 examples",
        "text",
        ("dataset.tune=32", "dataset.report=64", "evaluate.steps=[6,12]"),
        ("linear", "sine", "maskgit-cosine", "threshold"),
    ),
    Case(
        "five policies",
        "an evaluation of linear and five adaptive policies of the task model at 4 and 8 steps on 64 examples",
        "arithmetic",
        ("dataset.tune=64", "dataset.choose=32", "dataset.report=64", "evaluate.steps=[4,8]"),
        ("linear", "threshold", "entropy-bound", "quota:linear", "cap:linear", "klass"),
    ),
    Case(
        "policies",
        "a search of the task model over counts, a threshold and a quota at 4 and 8 steps, 8 trials each, 64 examples "
        "to tune on, with the frontier",
        "arithmetic",
        (
            "search.policies=[counts,threshold,quota]",
            "search.trials=8",
            "search.frontier=true",
            "sampler.steps=[4,8]",
            "dataset.tune=64",
            *SMALL,
        ),
    ),
)
AGAIN = tuple(  # these vary most, and no number of the estimate was chosen by them
    replace(case, name=f"{case.name}, seed 5", what=f"as *{case.name}*, with seed 5", sets=(*case.sets, "seed=5"))
    for case in CASES[-2:]
)


@dataclass(frozen=True)
class Trace:
    """The estimates of a run.

    Attributes:
        kept: What happened in the run.
        points: CPU seconds since the beginning, with the estimate of the rest; None where none was shown.
        limits: Whether each estimate was shown as a limit, "at most".
        doing: What the command did at each, as it was shown.
    """

    kept: Kept
    points: list[tuple[float, float | None]]
    limits: list[bool]
    doing: list[str]

    @property
    def total(self) -> float:
        """The CPU seconds of the run."""
        return self.kept.total

    def error(self, share: float) -> float | None:
        """The relative error of the estimate that was shown at a share of the way; None if none was shown."""
        moment = share * self.total
        at, left = next((point for point in reversed(self.points) if point[0] <= moment), (0.0, None))
        return None if left is None else max(0.0, left - (moment - at)) / (self.total - moment) - 1

    @property
    def extremes(self) -> tuple[float | None, float | None]:
        """The least and the largest error from a quarter to nine tenths of the way; None if some was not shown."""
        errors = [self.error(0.25 + 0.65 * step / 100) for step in range(101)]
        known = [error for error in errors if error is not None]
        return (min(known), max(known)) if len(known) == len(errors) else (None, None)

    @property
    def counted(self) -> list[int]:
        """The places of the lines from a quarter of the way on, while more than ``LEAST`` is left."""
        return [n for n, (at, _) in enumerate(self.points) if 0.25 * self.total <= at < self.total - LEAST]

    @property
    def lines(self) -> list[bool]:
        """Whether each of these lines meets the goal."""
        points = [self.points[n] for n in self.counted]
        return [left is not None and abs(left / (self.total - at) - 1) <= GOAL for at, left in points]

    @property
    def limited(self) -> float:
        """The share of these lines that say "at most"."""
        return sum(self.limits[n] for n in self.counted) / max(1, len(self.counted))

    @property
    def missed(self) -> list[str]:
        """What the command did at those of these lines that do not meet the goal."""
        return [self.doing[n] for n, met in zip(self.counted, self.lines, strict=True) if not met]


@dataclass(frozen=True)
class Kept:
    """What happened in a run.

    Attributes:
        sets: The options of its config.
        total: The CPU seconds of the run.
        calls: CPU seconds since the beginning, the name of a method of ``Following``, and its arguments.
        commit: The commit that ran.
        load: The mean number of processes that wanted to run, over the minute before the beginning and before the end.
    """

    sets: tuple[str, ...]
    total: float
    calls: list[tuple[float, str, tuple[Any, ...]]]
    commit: str
    load: tuple[float, float]

    @property
    def rows(self) -> int:
        """The denoiser rows that were computed."""
        return sum(given[0] for _, name, given in self.calls if name == "count")

    def even(self) -> Kept:
        """The same run if each denoiser row took equally long, and all else what it took."""
        before = [0.0, *(at for at, _, _ in self.calls)]
        spent = [at - last for (at, _, _), last in zip(self.calls, before, strict=False)]
        of_rows = sum(each for each, (_, name, _) in zip(spent, self.calls, strict=True) if name == "count")
        row, at, calls = of_rows / max(1, self.rows), 0.0, []
        for each, (_, name, given) in zip(spent, self.calls, strict=True):
            at += row * given[0] if name == "count" else each
            calls.append((at, name, given))
        return replace(self, calls=calls)  # the total is the same


FOLLOWED = ("__call__", "begin", "count", "stage", "foresee")  # methods of ``Following`` that are kept


class Follower:
    """The estimates of a run, as they are reported.

    Args:
        seconds: Returns the CPU seconds since the beginning.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.seconds = seconds
        self.points: list[tuple[float, float | None]] = []
        self.limits: list[bool] = []
        self.doing: list[str] = []

    def __call__(self, event: object) -> None:
        if isinstance(event, Progress):
            self.points.append((self.seconds(), event.seconds_left))
            self.limits.append(event.at_most)
            self.doing.append(event.doing)


def run_case(case: Case) -> Trace:
    """Run a case and follow its estimates."""
    calls: list[tuple[float, str, tuple[Any, ...]]] = []
    inside: list[str] = []  # methods that call one another are kept once

    def kept(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def called(self: Following, *given: Any) -> Any:
            if not inside:
                what = given[:1] if name == "begin" else given  # a run cannot be kept
                if not any(isinstance(each, ModelLoaded) for each in what):
                    calls.append((seconds(), name, tuple(map(of_plan, what)) if name == "begin" else what))
            inside.append(name)
            try:
                return method(self, *given)
            finally:
                inside.pop()

        return called

    def seconds() -> float:
        return time.process_time() - began

    methods = {name: getattr(Following, name) for name in FOLLOWED}
    progress.now = time.process_time
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(ROOT / "configs" / f"{case.config}.yaml", case.sets, output=folder)
        began, follower, load = time.process_time(), Follower(seconds), os.getloadavg()[0]
        try:
            for name, method in methods.items():
                setattr(Following, name, kept(name, method))
            if case.schedules:
                evaluate(config, case.schedules, on_event=follower)
            else:
                search(config, on_event=follower)
        finally:
            for name, method in methods.items():
                setattr(Following, name, method)
        both = load, os.getloadavg()[0]
        kept_run = Kept(case.sets, seconds(), calls, commit=commit(), load=both)
        return Trace(kept_run, follower.points, follower.limits, follower.doing)


def of_plan(plan: Any) -> Any:
    """What a plan is made of again: its stages, or the rows before the first budget of a search."""
    return plan.profile if isinstance(plan, SearchPlan) else [*plan.stages]


def replayed(case: Case, kept: Kept) -> Trace:
    """The estimates that a run would show now."""
    at = [0.0]
    progress.now = lambda: at[0]
    with tempfile.TemporaryDirectory() as folder:
        run = build(load_config(ROOT / "configs" / f"{case.config}.yaml", kept.sets, output=folder))
        follower = Follower(lambda: at[0])
        following = Following(follower)
        for seconds, name, given in kept.calls:
            at[0] = seconds
            if name == "begin":
                (plan,) = given
                following.begin(Stages(plan) if isinstance(plan, list) else SearchPlan(run, plan), run)
            else:
                getattr(following, name)(*given)
    return Trace(kept, follower.points, follower.limits, follower.doing)


def trace_of(case: Case, folder: Path | None) -> Trace:
    """The estimates of a case: of the run that is kept in the folder, or of a new one, which is then kept."""
    path = None if folder is None else folder / f"{case.name.replace(' ', '-')}.pickle"
    if path is not None and path.is_file():
        return replayed(case, pickle.loads(path.read_bytes()))
    trace = run_case(case)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(trace.kept))
    return trace


def shown_error(error: float | None) -> str:
    """An error in per cent; "none shown" where there is none."""
    return "none shown" if error is None else f"{100 * error:+.0f} %"


def table(traces: Mapping[str, Trace]) -> str:
    """The table of all runs in Markdown."""
    heads = (
        "run",
        "rows",
        "CPU seconds",
        "at 1/4",
        "at 1/2",
        "at 3/4",
        "least",
        "largest",
        "lines",
        "within 30 %",
        "at most",
    )
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for name, trace in traces.items():
        errors = " | ".join(shown_error(error) for error in (*map(trace.error, SHARES), *trace.extremes))
        met = f"{100 * sum(trace.lines) / max(1, len(trace.lines)):.0f} % | {100 * trace.limited:.0f} %"
        lines.append(f"| {name} | {trace.kept.rows:,} | {trace.total:.1f} | {errors} | {len(trace.lines)} | {met} |")
    return "\n".join(lines)


def verdict(traces: Mapping[str, Trace]) -> str:
    """Sentences that say how many of the estimates meet the goal."""
    errors = [trace.error(share) for trace in traces.values() for share in SHARES]
    met = sum(error is not None and abs(error) <= GOAL for error in errors)
    lines = [line for trace in traces.values() for line in trace.lines]
    held = sum(all(trace.lines) for trace in traces.values())
    missed = [
        f"*{name}* misses it in {quantity(count, 'line')} while it shows “{doing}”."
        for name, trace in traces.items()
        for doing, count in Counter(re.sub(r"(trial|split).*", r"\1", shown) for shown in trace.missed).items()
    ]
    return (
        f"Of the {len(errors)} estimates at a quarter, a half and three quarters {met} meet it. Of all {len(lines)} "
        f"lines {sum(lines)} meet it, in {held} of {len(traces)} runs every one."
        + "".join(f" {line}" for line in missed)
    )


def main(words: Sequence[str] | None = None) -> None:
    """Run the cases and write the table or the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", action="append", choices=[case.name for case in (*CASES, *AGAIN)], help="a run; repeatable"
    )
    parser.add_argument("--page", type=Path, help="the page to write")
    parser.add_argument("--trace", action="store_true", help="print every estimate")
    parser.add_argument("--kept", type=Path, help="the folder of runs that are kept")
    given = parser.parse_args(words)
    traces, even = dict[str, Trace](), dict[str, Trace]()
    for case in (*CASES, *AGAIN):
        if given.only and case.name not in given.only:
            continue
        traces[case.name] = trace = trace_of(case, given.kept)
        even[case.name] = replayed(case, trace.kept.even())
        if given.trace:
            for at, left in trace.points:
                print(f"{at:8.2f} s  rest {trace.total - at:8.2f}  shown {'none' if left is None else f'{left:8.2f}'}")
    print(table(traces), table(even), sep="\n\n")
    if given.page:
        runs = "\n".join(
            fill(f"- **{case.name}**: {case.what}.", 120, subsequent_indent="  ") for case in (*CASES, *AGAIN)
        )
        loads = [load for trace in traces.values() for load in trace.kept.load]
        text = PAGE.format(
            commit=" and ".join(dict.fromkeys(trace.kept.commit for trace in traces.values())),
            load=f"{min(loads):.0f} to {max(loads):.0f}",
            cores=quantity(os.cpu_count() or 1, "core"),
            table=table(traces),
            verdict=fill(f"The goal is {100 * GOAL:.0f} % from a quarter of the way on. {verdict(traces)}", 120),
            even=table(even),
            even_verdict=fill(verdict(even), 120),
            runs=runs,
        )
        given.page.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
