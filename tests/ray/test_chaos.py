"""The short form of scripts/chaos.py: events at chosen pieces, before which the driver waits."""

from __future__ import annotations

from pathlib import Path

from scripts.chaos import PHASES, Event, Storm, differences, undisturbed

CONFIG = """\
model: {type: transformer, path: "package:text"}
dataset: {type: text, path: "package:text", tune: 12, choose: 10, report: 12}
sampler: {order: random, steps: [4], batch: 4}
objective: {metric: spelling}
search: {strategy: tpe, trials: 5, together: 2, finalists: 1, auto_stop: false}
output: unused
"""


def test_a_search_on_a_cluster_on_which_everything_dies_once(tmp_path: Path) -> None:
    """Replicas, a node and the driver are killed, and a node is added; the record is that of one process."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG, "utf-8")
    calm = undisturbed(config, tmp_path / "calm")
    places = {phase: [place for place, piece in enumerate(calm) if piece.phase == phase] for phase in PHASES}
    events = [
        Event(places["profile"][2], "replica", held=True),
        Event(places["pilot"][1], "add", held=True),
        Event(places["trials"][1], "node", held=True),
        Event(places["trials"][-1], "torn", held=True),
        Event(places["choose"][1], "replica", held=True),
        Event(places["report"][-1], "driver", held=True),
    ]
    told = Storm(config, tmp_path / "storm", calm, events, nodes=2).run()
    assert [kind for kind, _ in told.thrown] == [event.kind for event in events]
    assert told.killed == 2
    assert differences(tmp_path / "calm", tmp_path / "storm") == []
