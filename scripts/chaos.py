"""A search on a cluster whose nodes, replicas and driver are killed at random, against one of an undisturbed process.

    python scripts/chaos.py --seeds 3 --output docs/chaos.md     # a quarter of an hour on two cores

Each seed is one search on a simulated cluster of three nodes (``ray.cluster_utils``), all of them on this machine.
Meanwhile replicas and nodes are killed and nodes are added; the driver is killed and goes on with --resume; at the end
of a seed's events the head node dies, and the search goes on on a new cluster. Then the run folder is compared with
that of one process without Ray: everything but times must be the same. Ends with 1 where something differs.

An event is thrown when a given piece of rows is dealt, so that it falls into a given phase however fast the
machine is.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from chaos_cluster import QUIET, Failure, Nodes, cluster, runs, until
from pages import commit

from mdm_tune.core.messages import quantity

Kind = Literal["replica", "node", "add", "nodes", "driver", "torn", "head"]
WORDS: dict[str, str] = {
    "replica": "a replica killed",
    "node": "a node killed",
    "add": "a node added",
    "nodes": "all nodes but the head killed",
    "driver": "the driver killed, then --resume",
    "torn": "the driver killed within a write, then --resume",
    "head": "the head node killed, then --resume on a new cluster",
}
RESUMED = ("driver", "torn", "head")
PHASES = ("profile", "pilot", "trials", "choose", "report")
TORN = b'{"op_code":6,"worker_id":"torn'
PROGRAM = Path(__file__).with_name("chaos_driver.py")
CONFIG = """\
model: {type: transformer, path: "package:text"}
dataset: {type: text, path: "package:text", tune: 64, choose: 96, report: 128}
sampler: {order: random, steps: [8, 12], batch: 4}
objective: {metric: spelling}
search: {strategy: tpe, trials: 13, together: 4, finalists: 2, auto_stop: false}
output: unused
"""


@dataclass(frozen=True)
class Piece:
    """One piece of the undisturbed process: what it is of, for which phase, and its denoiser rows."""

    key: str
    phase: str
    rows: int


@dataclass(frozen=True)
class Event:
    """at: the piece at which it is thrown, as a place in the undisturbed process. chance: chooses whom it hits.

    held: the driver waits before it gives the piece, and the replica that is killed is that which is to have it.
    """

    at: int
    kind: Kind
    chance: float = 0.0
    held: bool = False


@dataclass
class Told:
    """What became of one disturbed search. thrown: phases of the events by kind. given: pieces given out, by key;
    started: of these what replicas began with, at most; killed: processes of replicas that were seen to end; deaths: of
    replicas, as the driver saw them, which sees none that was started again before its next piece; back: pieces that
    these had.
    """

    thrown: list[tuple[str, str]] = field(default_factory=list)
    given: Counter[str] = field(default_factory=Counter)
    started: Counter[str] = field(default_factory=Counter)
    killed: int = 0
    deaths: int = 0
    back: int = 0
    seconds: float = 0.0
    differences: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Told:
        counts = {name: Counter(record[name]) for name in ("given", "started")}
        return cls(**{**record, **counts, "thrown": [tuple(pair) for pair in record["thrown"]]})

    def rows(self, calm: Sequence[Piece]) -> int:
        """Denoiser rows of everything that was begun, also of what was lost."""
        rows = {piece.key: piece.rows for piece in calm}
        return sum(rows[key] * times for key, times in self.started.items())


# -- the search


class Lines:
    """The lines of a file that grows."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def new(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]
        self._read += len(whole) + bool(whole)
        return [json.loads(line) for line in whole.splitlines()]


def drive(config: Path, folder: Path, *flags: str) -> subprocess.Popen[str]:
    """Start the search command."""
    trace, log = folder.with_suffix(".trace"), folder.with_suffix(".log").open("a")
    command = [sys.executable, str(PROGRAM), str(trace), "search", str(config), "--output", str(folder), "--quiet"]
    root = str(PROGRAM.parent.parent)
    env = {**os.environ, **QUIET, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    with log:
        return subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL, stderr=log, text=True, env=env)


def undisturbed(config: Path, folder: Path) -> list[Piece]:
    """The search in one process without Ray; what is there already is taken."""
    if (folder / "search.json").exists():
        pass
    elif (code := drive(config, folder, "--devices", "cpu").wait()) != 0:
        raise Failure(f"the undisturbed search ended with {code}: {said(folder)}")
    return [Piece(line["key"], line["phase"], line["rows"]) for line in Lines(folder.with_suffix(".trace")).new()]


def said(folder: Path) -> str:
    """What the drivers of a folder have written on stderr."""
    log = folder.with_suffix(".log")
    return log.read_text("utf-8") if log.exists() else ""


class Storm:
    """One search on a cluster, and what happens to it."""

    def __init__(self, config: Path, folder: Path, calm: Sequence[Piece], events: Sequence[Event], nodes: int) -> None:
        self.config, self.folder, self.count = config, folder, nodes
        self.place = {piece.key: number for number, piece in enumerate(calm)}
        self.phase = [piece.phase for piece in calm]
        self.left, self.told = sorted(events, key=lambda event: event.at), Told()
        self.lines, self.reached = Lines(folder.with_suffix(".trace")), -1
        self.seen: set[int] = set()  # processes of replicas
        self.at_work = False  # whether the present driver has dealt something
        self.keys = [piece.key for piece in calm]
        self.stopped: dict[str, str] = {}  # pieces that the driver waits with, and the actor that is to have each
        stops = "\n".join(self.keys[event.at] for event in events if event.held)
        folder.with_suffix(".stops").write_text(stops, "utf-8")

    def run(self) -> Told:
        """Raises Failure where the search ends otherwise than it must."""
        began, resume = time.monotonic(), False
        while True:
            with cluster(self.count) as nodes:
                while (ended := self._attempt(nodes, resume)) in ("driver", "torn"):
                    resume = True
                if ended == "end":
                    until(lambda: not any(map(runs, self.seen)), "replicas of drivers that have ended to end")
                    break
            resume = True
        if self.left:
            raise Failure(f"the search ended before these: {self.left}")
        self.told.seconds = time.monotonic() - began
        if lines := [line for line in said(self.folder).splitlines() if NOISE.search(line)]:
            raise Failure(f"on stderr are lines of Ray or a traceback: {lines[:5]}")
        return self.told

    def _attempt(self, nodes: Nodes, resume: bool) -> str:
        """One driver from its start to its end; which event has ended it, or "end"."""
        flags = ["--devices", "ray", "--ray-address", nodes.address, *(["--resume"] if resume else [])]
        before, self.at_work = len(said(self.folder)), False
        driver = drive(self.config, self.folder, *flags)
        try:
            while driver.poll() is None:
                self._read()
                while self.left and self._due(self.left[0]):
                    event = self.left.pop(0)
                    self.told.thrown.append((event.kind, self.phase[event.at]))
                    self._throw(event, nodes, driver, before)
                    if event.held:
                        with self.folder.with_suffix(".go").open("a", encoding="utf-8") as file:
                            file.write(f"{self.keys[event.at]}\n")
                    if event.kind in RESUMED:
                        return event.kind
                time.sleep(0.01)
            self._read()
            if driver.returncode != 0:
                raise Failure(f"the search ended with {driver.returncode}: {said(self.folder)}")
            return "end"
        finally:
            if driver.poll() is None:
                driver.kill()
            driver.wait()
            self._read()

    def _due(self, event: Event) -> bool:
        if event.held:
            return self.keys[event.at] in self.stopped
        return event.at <= self.reached and (event.kind != "head" or self.at_work)

    def _throw(self, event: Event, nodes: Nodes, driver: subprocess.Popen[str], before: int) -> None:
        self.seen |= {*nodes.replicas().values()}
        if event.kind == "replica" and event.held:
            victim = nodes.replicas()[self.stopped[self.keys[event.at]]]
            os.kill(victim, signal.SIGKILL)
            until(lambda: not runs(victim), "a replica to end")
            self.told.killed += 1
        elif event.kind == "replica":
            there = [*until(nodes.replicas, "a replica to kill").values()]
            os.kill(there[int(event.chance * len(there))], signal.SIGKILL)
        elif event.kind == "node":
            nodes.kill(event.chance)
        elif event.kind == "nodes":
            while nodes.others:
                nodes.kill(0.0)
        elif event.kind == "add":
            nodes.add()
        elif event.kind == "head":
            nodes.kill_head(event.chance < 0.5)
            until(lambda: driver.poll() is not None, "the driver to end after the head node")
            text = said(self.folder)[before:]
            if driver.returncode == 0 and event.chance >= 0.5:
                return  # replicas on other nodes had the rest done before anybody saw it
            if driver.returncode != 1 or "--resume" not in text or "Traceback" in text or len(text.splitlines()) > 5:
                raise Failure(f"without its head node the search ended with {driver.returncode}: {text}")
        else:
            driver.kill()
            driver.wait()
            journal = self.folder / "study.journal"
            if event.kind == "torn" and journal.exists():
                with journal.open("ab") as file:
                    file.write(TORN)

    def _read(self) -> None:
        for line in self.lines.new():
            if line["what"] == "given":
                if line["key"] not in self.place:
                    raise Failure("a piece was dealt that one process does not have")
                self.at_work = True
                self.told.given[line["key"]] += 1
                self.told.started[line["key"]] += 1
                self.reached = max(self.reached, self.place[line["key"]])
            elif line["what"] == "stopped":
                self.stopped[line["key"]] = line["actor"]
            elif line["what"] == "died":
                self.told.deaths += 1
                self.told.back += len(line["keys"])
                self.told.started.subtract(line["keys"][1:])  # these it had not begun


def planned(calm: Sequence[Piece], seed: int, events: int, kills: int, nodes: int, head: bool) -> list[Event]:
    """Events in all phases by turns, at a random piece of each; kinds at random, as far as there are nodes for them."""
    chance = random.Random(seed)
    phases = [phase for phase in PHASES if any(piece.phase == phase for piece in calm)]

    def somewhere(number: int) -> int:
        phase = phases[number % len(phases)]
        there = [place for place, piece in enumerate(calm) if piece.phase == phase]
        return chance.choices(there, [calm[place].rows for place in there])[0]

    found: list[Event] = []
    others = nodes - 1
    for at in sorted(somewhere(number) for number in range(events)):
        kinds = ["replica", *(["node"] if others else []), *(["nodes"] if others >= 2 else [])]
        kinds += ["add", "add"] if others < nodes else []
        kind: Any = chance.choice(kinds)
        others += {"add": 1, "node": -1, "nodes": -others}.get(kind, 0)
        found.append(Event(at, kind, chance.random()))
    first = chance.randrange(len(phases))
    found += [Event(somewhere(first + number), "torn" if number % 2 else "driver") for number in range(kills)]
    if head:  # the new cluster has all its nodes
        found.append(Event(min(1 + max(event.at for event in found), len(calm) - 1), "head", (seed % 2) / 2))
    return found


# -- what must be the same

NOISE = re.compile(r"Traceback|\(raylet|^\[\d{4}-\d\d-\d\d .* [EWF] ")
TIMES = re.compile(r"seconds|created")


def differences(calm: Path, stormy: Path) -> list[str]:
    """Where two run folders differ in more than in times, in the devices' names and in their own path."""
    found = []
    for name in ("search.json", "schedule.yaml", "search-scores.jsonl", "profile-values.json"):
        one, two = (contents(folder / name, folder) for folder in (calm, stormy))
        found += [f"{name}: {text}" for text in compared(one, two)]
    return found


def contents(path: Path, folder: Path) -> Any:
    if not path.exists():
        return None
    text = path.read_text("utf-8").replace(str(folder), "FOLDER")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)


def compared(one: Any, two: Any, where: str = "") -> list[str]:
    """Paths at which two records differ, and both values."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        keys = [key for key in {**one, **two} if not TIMES.search(str(key)) and key != "devices"]
        return [text for key in keys for text in compared(one.get(key), two.get(key), f"{where}.{key}")]
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        return [
            text
            for place, pair in enumerate(zip(one, two, strict=True))
            for text in compared(*pair, f"{where}[{place}]")
        ]
    same = one == two and type(one) is type(two)
    return [] if same else [f"{where}: {str(one)[:60]} in one process, {str(two)[:60]} here"]


# -- what is told


PAGE = """\
# Searches whose replicas, nodes and drivers are killed

Does a search end with the same result if parts of its cluster fail at random moments? This page compares such
searches with an undisturbed one.

{verdict}

Commit: {commit}.

## How it was measured

Each seed is one search of the bundled text model. It runs on a simulated cluster of three nodes, on one machine.
While it runs, events happen:

- Each event happens when a given piece of rows is sent to a replica. The seed determines the pieces and the kinds of
  events. Events take turns through the phases of the search.
- After every killed driver, the search continues with `--resume`.
- At the end, the head node is killed, and the search continues on a new cluster. In odd seeds, only the process that
  connects the driver to the cluster is killed.

Then search.json, schedule.yaml, search-scores.jsonl and profile-values.json are compared with those of a process
without Ray. All digits must be the same, except for times and names of devices.

`python scripts/chaos.py --output docs/chaos.md` makes this page. A short form is tests/ray/test_chaos.py.

## Results

A row counts each time that a replica begins with it, so lost rows count too. They are divided by the rows of one
undisturbed process.

"""


def verdict(told: Mapping[int, Told], calm: Sequence[Piece]) -> str:
    """How many searches ended as the undisturbed one, after how many events, and what that cost."""
    same, kinds = sum(not each.differences for each in told.values()), Counter[bool]()
    for each in told.values():
        kinds.update(kind in RESUMED for kind, _ in each.thrown)
    happened = f"{quantity(kinds[False], 'event')} and {quantity(kinds[True], 'killed driver')}"
    return (
        f"{same} of {len(told)} disturbed searches ended with the record of an undisturbed one, in every digit. There "
        f"were\n{happened}. The searches computed up to {most_rows(told, calm) - 1:.1%} more denoiser rows."
    )


def most_rows(told: Mapping[int, Told], calm: Sequence[Piece]) -> float:
    """The most denoiser rows of a search, of those of the undisturbed one."""
    return max(each.rows(calm) for each in told.values()) / sum(piece.rows for piece in calm)


def table(told: Mapping[int, Told], calm: Sequence[Piece]) -> list[str]:
    """Markdown: events by kind and phase, and what each seed cost."""
    thrown = Counter(event for each in told.values() for event in each.thrown)
    phases = [phase for phase in PHASES if any(piece.phase == phase for piece in calm)]
    lines = [f"| event | {' | '.join(phases)} | in all |", "|---|" + "---|" * (len(phases) + 1)]
    for kind, words in WORDS.items():
        counts = [thrown[kind, phase] for phase in phases]
        if sum(counts):
            lines.append(f"| {words} | {' | '.join(map(str, counts))} | {sum(counts)} |")
    rows = sum(piece.rows for piece in calm)
    lines += [
        "",
        "| seed | events | killed drivers | deaths of replicas that the driver saw | pieces that these had | denoiser "
        "rows, of one undisturbed process | seconds | what differs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for seed, each in told.items():
        kinds = Counter("kill" if kind in RESUMED else "event" for kind, _ in each.thrown)
        cells = [seed, kinds["event"], kinds["kill"], each.deaths, each.back, f"{each.rows(calm) / rows:.3f}"]
        cells += [f"{each.seconds:.0f}", len(each.differences) or "nothing"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, help="a search to run in place of the script's own")
    parser.add_argument("--seeds", type=int, default=3, help="searches, each with other events")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--events", type=int, default=10, help="of each seed, besides killed drivers")
    parser.add_argument("--kills", type=int, default=2, help="of each seed's drivers, besides that of the dead head")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument(
        "--work", type=Path, help="where to keep the run folders, that of the undisturbed process for later calls"
    )
    parser.add_argument("--output", type=Path, help="also write the tables here")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="chaos-runs-"))
    work.mkdir(parents=True, exist_ok=True)
    config = options.config
    if config is None:
        config = work / "config.yaml"
        config.write_text(CONFIG, "utf-8")
    began = time.monotonic()
    calm = undisturbed(config, work / "calm")
    alone, told = time.monotonic() - began, dict[int, Told]()
    print(f"one process: {len(calm)} pieces, {alone:.0f} s", file=sys.stderr)
    for seed in range(options.first, options.first + options.seeds):
        events = planned(calm, seed, options.events, options.kills, options.nodes, head=True)
        kept = work / f"seed-{seed}.json"
        if not kept.exists():
            found = Storm(config, work / f"seed-{seed}", calm, events, options.nodes).run()
            found.differences = differences(work / "calm", work / f"seed-{seed}")
            kept.write_text(json.dumps(vars(found)), "utf-8")
        told[seed] = Told.read(json.loads(kept.read_text("utf-8")))
        print(f"seed {seed}: {told[seed].seconds:.0f} s", *told[seed].differences, sep="\n", file=sys.stderr)
        text = PAGE.format(verdict=verdict(told, calm), commit=commit()) + "\n".join(table(told, calm)) + "\n"
        if options.output is not None:
            options.output.write_text(text, "utf-8")
    print(text, end="")
    return int(any(each.differences for each in told.values()) or most_rows(told, calm) > 1.1)


if __name__ == "__main__":
    sys.exit(main())
