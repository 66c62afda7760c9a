"""The search command is killed at random moments: what was finished is kept, and the end is that of a quiet run."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from mdm_tune.commands.search import search
from mdm_tune.config.file import load_config
from tests.support.killing import kill_and_resume
from tests.support.processes import start

KILLS = 24
CONFIG = """\
model: {type: markov, length: 24, symbols: 3, flip: 0.15}
dataset: {type: law, tune: 48, choose: 32, report: 32}
sampler: {order: confidence, temperature: 0.0, steps: [4, 6]}
objective: {metric: path_nll}
search: {strategy: tpe, trials: 80, together: 2, finalists: 2, auto_stop: false}
output: unused
"""


def test_a_search_survives_kills(tmp_path: Path) -> None:
    """24 kills, torn lines and Optuna's stale locks among them; winner, counts and values are those of a quiet run."""
    config, folder = tmp_path / "config.yaml", tmp_path / "killed"
    config.write_text(CONFIG, "utf-8")
    process = start(kill_and_resume, config, folder, KILLS, 0, tmp_path / "told.json")
    process.join(300)
    assert process.exitcode == 0
    told = json.loads((tmp_path / "told.json").read_text("utf-8"))
    assert told["code"] == 0 and told["kept"]
    assert told["kills"] == KILLS and told["torn"] >= 3 and told["locks"] >= 3
    assert told["before_the_last"] >= 5  # the kills hit a search that got somewhere

    quiet = search(
        load_config(config, output=str(tmp_path / "quiet")), resume=False, overwrite=False, notify=lambda event: None
    ).to_json()
    killed = json.loads((folder / "search.json").read_text("utf-8"))
    for one, two in zip(killed["budgets"], quiet["budgets"], strict=True):
        for name in ("schedule", "counts", "value", "ci", "baselines", "gain_over_linear", "choose", "trials"):
            assert one[name] == two[name], name
    assert killed["denoiser_rows"] == quiet["denoiser_rows"]
    folders = (folder, tmp_path / "quiet")
    kept, calm = (yaml.safe_load((where / "schedule.yaml").read_text("utf-8")) for where in folders)
    assert kept["budgets"] == calm["budgets"]
