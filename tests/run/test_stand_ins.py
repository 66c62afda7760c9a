"""Stand-ins in the results of whole searches: true values on an exact law; JSON, schedule file, page and terminal."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from mdm_tune.commands import search as search_run
from mdm_tune.config.file import load_config
from mdm_tune.core.plain_yaml import read_yaml_file
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.pages.run_page import Detail, page_of
from mdm_tune.pages.run_reading import RunRecords, read_run
from mdm_tune.run.search_records import SearchResult
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import parse_schedule
from mdm_tune.schedules.pricing import order_kl
from mdm_tune.search.gains import Gain
from mdm_tune.search.stand_ins import StandIns
from mdm_tune.terminal.shared_tables import shared_lines
from mdm_tune.terminal.tables import pastes, verdict
from tests.support.profile_runs import CONFIGS, config

BY_TRIALS: dict[str, Any] = {"sampler__order": "entropy", "objective__metric": "path_nll"}
CHAIN = MarkovChain.sticky(2, 0.05, 32)
CURVE, ENTROPY = CHAIN.profile(32), CHAIN.entropy()


def kl(schedule: str, steps: int) -> float:
    """The true KL of the law of configs/markov.yaml."""
    return order_kl(CURVE, ENTROPY, to_counts(parse_schedule(schedule), steps, 32))


def searched(folder: Path, *settings: str, seed: int = 0, trials: int = 6) -> SearchResult:
    settings = (*settings, "search.strategy=qmc")
    chosen = load_config(CONFIGS / "markov.yaml", settings, seed=seed, trials=trials, output=str(folder))
    return search_run.search(chosen, resume=False, overwrite=False, notify=lambda event: None)


@pytest.mark.parametrize(("seed", "shared"), [(0, False), (1, False), (2, True), (3, True)])
def test_what_is_named_loses_no_more_than_is_said_and_what_is_left_out_loses_more(
    tmp_path: Path, seed: int, shared: bool
) -> None:
    settings = f"search.shared={json.dumps(shared)}", "sampler.steps=[4, 8, 16]"
    result = searched(tmp_path / "run", *settings, seed=seed)
    entry: Any = read_yaml_file(tmp_path / "run" / "schedule.yaml", "schedule file")
    found = result.budgets if result.shared is None else result.shared.budgets
    assert [each["stand_ins"] for each in entry["budgets"]] == [
        None if each.stand_ins is None else each.stand_ins.to_json() for each in found
    ]
    for budget, row in zip(found, entry["budgets"], strict=True):
        winner = kl(row["schedule"], budget.steps)
        most = 0.05 * max(kl("linear", budget.steps) - winner, 0.0) + 1e-9
        assert budget.stand_ins is not None
        for name in ("linear", "squared-sine", "sine", "maskgit-cosine"):
            loss = kl(name, budget.steps) - winner
            assert (name in budget.stand_ins.baselines) == (loss <= most and name != row["schedule"])
        assert row["schedule"] not in re.findall(r"[^ ;()]+(?=[ ;,)])", f"{budget.stand_ins.text} ")
        rounder = budget.stand_ins.rounder
        if rounder is not None:
            loss = kl(rounder.schedule, budget.steps) - winner
            assert rounder.loss == pytest.approx(loss, abs=1e-9) and loss <= most
            assert rounder.schedule in budget.stand_ins.text and rounder.schedule != row["schedule"]


def on_pages(text: str) -> str:
    """The text with names as pages write them: ``beta:0.4,0.7`` as Beta(0.4, 0.7)."""
    return re.sub(r"beta:([0-9.]+),([0-9.]+)", lambda found: f"Beta({float(found[1]):g}, {float(found[2]):g})", text)


@pytest.mark.parametrize("changes", [{}, BY_TRIALS])
def test_the_files_the_page_and_the_terminal_say_the_same(tmp_path: Path, changes: dict[str, Any]) -> None:
    chosen = config(tmp_path, sampler__steps=[4], search__baselines=["linear", "sine"], **changes)
    result = search_run.search(chosen, resume=False, overwrite=False, notify=lambda event: None)
    folder = Path(chosen.output)
    record = json.loads((folder / "search.json").read_text("utf-8"))
    (budget,), said = result.budgets, record["budgets"][0]["stand_ins"]
    assert budget.stand_ins is not None and StandIns.from_json(said) == budget.stand_ins
    gains = {"linear": record["budgets"][0]["gain_over_linear"], **record["budgets"][0]["gains_over_baselines"]}
    unshown = {name for name, gain in gains.items() if not gain["shown"]} - {budget.schedule.type}
    assert {*said["baselines"]} == unshown and all(Gain.from_json(gains[name]) for name in unshown)
    worse = {name for name in gains if name not in {*said["baselines"], budget.schedule.type}}
    if not said["baselines"]:
        assert worse and all(name in said["text"] for name in worse) and "shown to be worse" in said["text"]
    entry: Any = read_yaml_file(folder / "schedule.yaml", "schedule file")
    assert entry["budgets"][0]["stand_ins"] == said and said["text"]
    assert f"in place of the winner: {said['text']}" in verdict(budget)
    view = read_run(RunRecords(name="x", path="x", search=record))
    page = unescape(page_of(view, Detail(landscape=8, pairs=0, characters=0, budgets=1)))
    assert f"In place of the winner at 4 steps: {on_pages(said['text'])}." in page


def test_a_shared_schedule_has_its_own_counts_and_stand_ins(tmp_path: Path) -> None:
    result = searched(tmp_path / "run", "search.shared=true", "sampler.steps=[4, 16]", trials=9)
    shared, record = result.shared, json.loads((tmp_path / "run" / "search.json").read_text("utf-8"))
    assert shared is not None and result.trials == record["trials"] == shared.trials == 9
    entry: Any = read_yaml_file(tmp_path / "run" / "schedule.yaml", "schedule file")
    page = page_of(
        read_run(RunRecords(name="x", path="x", search=record)),
        Detail(landscape=4, pairs=0, characters=0, budgets=1),
    )
    lines = [f"counts = {row['counts']}  # {row['steps']} steps" for row in entry["budgets"]]
    assert [line.split(", tokens")[0] for line in pastes(result)] == lines
    assert all(line.endswith("shared schedule") for line in pastes(result))
    for each, row in zip(shared.budgets, entry["budgets"], strict=True):
        assert each.plan is not None and list(each.plan.counts or ()) == row["counts"]
        assert tuple(row["counts"]) == to_counts(parse_schedule(entry["shared"]), each.steps, 32)
        assert f"{each.steps} steps: the shared schedule" in page and f"counts = {row['counts']}" in page
        assert each.stand_ins is not None
        assert f"in place of the shared schedule at {each.steps} steps: {each.stand_ins.text}" in shared_lines(shared)
        assert f"In place of the shared schedule at {each.steps} steps: {on_pages(each.stand_ins.text)}." in page
