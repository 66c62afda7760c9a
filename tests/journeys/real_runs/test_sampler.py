"""How samples are drawn: guidance, the settings of a family, adaptive policies, and answers that end early."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mdm_tune.config.file import load_config
from mdm_tune.core.plain_yaml import yaml_text
from tests.support.real_runs import ANSWERS, LIKELIHOOD, SIZES, TASK, answered, call, config, refused
from tests.support.tiny_models import RESIDUES


def test_samples_end_where_evaluate_ends_answers(place: Path, tmp_path: Path) -> None:
    stops = [*RESIDUES[:10]]
    task = {**TASK, "dataset": {**ANSWERS, **SIZES, "stop": stops}}
    task |= {"objective": {"metric": "exact_match"}, "metrics": {}}
    drawn, _ = answered("sample", config(place, tmp_path, task), "--number", "12", "--schedule", "linear")
    cut = 0
    for each in drawn["samples"]:
        whole = "".join(RESIDUES[token - 5] for token in each["tokens"][-5:-1] if token >= 5)
        expected = whole[: min((at for stop in stops if (at := whole.find(stop)) >= 0), default=len(whole))]
        assert each["text"] == expected
        cut += expected != whole
    assert cut > 6  # half of the letters end an answer


def test_guidance_costs_two_rows_and_nothing_else_changes_its_scale_0(place: Path, tmp_path: Path) -> None:
    task = {**TASK, "objective": {"metric": "exact_match"}, "metrics": {}}
    costs, texts = {}, {}
    for scale in (0.0, 1.5):
        file = config(place, tmp_path, task, sampler={"guidance": scale})
        found, _ = answered("sample", file, "--number", "6", "--schedule", "linear", "--output", str(tmp_path / "g"))
        costs[scale], texts[scale] = found["denoiser_rows"], [sample["text"] for sample in found["samples"]]
        assert found["nfe"] == 2
        priced, _ = answered("search", file, "--dry-run", "--output", str(tmp_path / "d"))
        costs[scale, "dry"] = sum(phase["denoiser_rows"] for phase in priced["phases"])
        assert all(phase["denoiser_tokens"] > 8 * phase["denoiser_rows"] for phase in priced["phases"])  # with prompts
    assert costs[1.5] == 2 * costs[0.0] and texts[0.0] != texts[1.5]
    assert costs[1.5, "dry"] == 2 * costs[0.0, "dry"]


def test_a_profile_under_guidance_is_not_taken_for_one_without(place: Path, tmp_path: Path) -> None:
    file = config(place, tmp_path, {**LIKELIHOOD, "dataset": {**ANSWERS, **SIZES}})
    with_it, _ = answered("profile", file, "--set", "sampler.guidance=1.0")
    without, said = answered("profile", file)
    assert not without["reused"] and "measured anew, because of another guidance" in said
    assert without["cross_entropy"] != with_it["cross_entropy"] and with_it["denoiser_rows"] > without["denoiser_rows"]
    drawn = ("--set", "profile.answers=model", "--output", str(tmp_path / "drawn"))
    answered("profile", file, *drawn)
    _, said = answered("profile", file, *drawn, "--set", "sampler.top_p=0.5", "--set", "objective.metric=exact_match")
    assert "measured anew, because of another sampler" in said


def test_guidance_needs_prompts_of_one_kind(place: Path, tmp_path: Path) -> None:
    file = config(place, tmp_path, LIKELIHOOD, sampler={"guidance": 1.0})
    assert "sampler.guidance: hides what stands before" in refused("profile", file)


def test_the_familys_own_settings_are_used_and_named(place: Path, tmp_path: Path) -> None:
    file = Path(config(place, tmp_path, TASK, model={"family": "llada"}))
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    document["sampler"] = {"steps": [2]}
    file.write_text(yaml_text(document), encoding="utf-8")
    loaded = load_config(file)
    assert loaded.sampler.order == "confidence" and loaded.sampler.temperature == 0.0
    assert loaded.family_settings == ("order confidence", "temperature 0.0")
    document["sampler"] = {"steps": [2], "temperature": 0.5, "order": "topk_margin"}
    file.write_text(yaml_text(document), encoding="utf-8")
    assert load_config(file).family_settings == () and load_config(file).sampler.order == "margin"
    document["model"]["family"] = "dream"
    document["sampler"] = {"steps": [2]}
    file.write_text(yaml_text(document), encoding="utf-8")
    dream = load_config(file).sampler
    assert (dream.order, dream.temperature, dream.top_p, dream.tempered_scores) == ("entropy", 0.1, 0.9, True)


@pytest.mark.parametrize(
    ("family", "sampler", "metric", "taken"),
    [
        ("dream", {}, "nelbo", ()),  # nothing is drawn
        ("dream", {}, "path_nll", ("order entropy",)),
        ("llada", {}, "path_nll", ("order confidence", "temperature 0.0")),
        ("dream", {"order": "random"}, "exact_match", ("temperature 0.1", "top_p 0.9")),  # nothing ranks positions
        ("llada", {"reveal": "bernoulli"}, "exact_match", ("temperature 0.0",)),
        ("dream", {"type": "external", "target": "mine.py:generate"}, "exact_match", ()),
    ],
)
def test_the_familys_settings_give_way_to_what_the_config_asks_for(
    place: Path, tmp_path: Path, family: str, sampler: dict[str, Any], metric: str, taken: tuple[str, ...]
) -> None:
    sections = {**TASK, "sampler": {"steps": [2], **sampler}, "objective": {"metric": metric}, "metrics": {}}
    assert load_config(Path(config(place, tmp_path, sections, model={"family": family}))).family_settings == taken


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": {"metric": "regex"}}, r"metrics\.regex: is required by objective\.metric and is missing"),
        (
            {"sampler": {"stop_at_end": True, "end_drawn": False}},
            r"sampler\.stop_at_end: needs tokens that end the text",
        ),
        ({"sampler": {"order": "random", "end_confident": False}}, r"sampler\.end_confident: needs an order that"),
        ({"sampler": {"type": "external"}}, "target goes with type: external"),
        ({"dataset": {"type": "text"}}, "dataset"),
        (
            {"objective": {"metric": "path_nll"}, "sampler": {"order": "margin", "top_p": 0.9}},
            r"sampler\.top_p: metric",
        ),
    ],
)
def test_what_does_not_go_together_is_named(place: Path, tmp_path: Path, changes: Any, message: str) -> None:
    assert re.search(message, refused("search", config(place, tmp_path, TASK, **changes)))


def test_adaptive_policies_stand_beside_schedules_at_equal_cost(place: Path, tmp_path: Path) -> None:
    task = {**TASK, "objective": {"metric": "exact_match"}, "metrics": {}}
    file = config(place, tmp_path, task, evaluate={"schedules": ["linear", "threshold", "quota:linear@0.9"]})
    names = ("linear", "threshold", "threshold:0.05", "entropy-bound", "quota:linear@0.05", "quota:squared-sine")
    found, _ = answered("evaluate", file, *(part for name in names for part in ("--schedule", name)), "--steps", "2")
    rows = {row["schedule"]: row for row in found["rows"]}
    assert len(rows) == 6 and rows["linear"]["nfe"] == 2 and rows["linear"]["nfe_ci"] is None
    for name, row in rows.items():
        assert row["steps"] == 2 and row["n"] == 12
        if name != "linear":
            low, high = row["nfe_ci"]
            assert 1 <= low <= row["nfe"] <= high <= 4 and row["counts"] is None
    assert rows["quota:linear@0.05"]["nfe"] <= 2  # a quota is never slower than its counts
    (swept,) = (row for name, row in rows.items() if name.startswith("threshold:") and name != "threshold:0.05")
    assert abs(swept["nfe"] - 2) < 0.75
    assert {(pair["first"], pair["second"]) for pair in found["comparisons"]} >= {("linear", "threshold:0.05")}
    whole, _ = answered("evaluate", file, *(part for name in names for part in ("--schedule", name)), "--frontier")
    assert whole["rows"] == found["rows"]
    policies = ["linear", "threshold", "entropy-bound", "quota:linear", "quota:squared-sine"]
    assert [policy["policy"] for policy in whole["frontier"]["policies"]] == policies
    for point in whole["frontier"]["points"]:
        assert point["tpf"]["value"] == pytest.approx(4 / point["nfe"])  # answers of four tokens
    assert whole["frontier"]["reference"]["nfe"] == 4 and whole["frontier"]["cheapest"] is None
    usual, _ = answered("evaluate", file)
    assert [row["schedule"].partition("@")[0].partition(":0")[0] for row in usual["rows"]] == [
        *("linear", "threshold", "quota:linear")
    ]


def test_answers_that_end_early_save_calls_and_both_are_shown(place: Path, tmp_path: Path) -> None:
    task = {**TASK, "objective": {"metric": "exact_match"}, "metrics": {}}
    file = config(place, tmp_path, task, model={"end_tokens": [*RESIDUES[:14]]}, sampler={"stop_at_end": True})
    steps = ("--set", "sampler.steps=[4]")
    (budget,) = answered("search", file, *steps)[0]["budgets"]
    low, high = budget["nfe_ci"]
    assert 1 <= low <= budget["nfe"] <= high <= 4 and budget["nfe"] < 4
    said = call("search", file, *steps, "--resume").stderr
    assert "denoiser calls in the mean, not 4: some answers end early" in said
    names = ("linear", "threshold", "quota:linear", f"quota:{tmp_path / 'run' / 'schedule.yaml'}@1")
    chosen = [part for name in names for part in ("--schedule", name)]
    compared, _ = answered("evaluate", file, *steps, *chosen)
    linear, swept, quota, kept = compared["rows"]
    assert linear["steps"] == 4 and linear["nfe"] == budget["nfe"] and linear["nfe_ci"] == budget["nfe_ci"]
    # Policies are swept to what linear takes, not to its steps: 8 tune examples tell it within a call and a half.
    assert abs(swept["nfe"] - linear["nfe"]) < 1.5 and abs(quota["nfe"] - linear["nfe"]) < 1.5
    assert kept["value"] == linear["value"] and kept["nfe"] == linear["nfe"]  # 4 steps have one count vector
    table = call("evaluate", file, *steps, *chosen[:2]).stderr
    assert re.search(rf" 4 +linear .* {int(linear['nfe'])}\.\d+ \[", table)
    lacking = refused("evaluate", file, *steps, "--schedule", f"quota:{tmp_path / 'run' / 'schedule.yaml'}")
    assert "needs counts of twice the budget's 4 steps where no threshold is given" in lacking


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("threshold:x", "threshold needs a probability from 0 to 1, got 'threshold:x'"),
        ("entropy-bound:-1", "needs a number of at least 0"),
        ("quota:", "quota needs a schedule"),
        ("quota:counts:2,2", "counts:2,2"),
        ("quota:nonsense@0.5", "nonsense"),
    ],
)
def test_bad_adaptive_policies_are_named(place: Path, tmp_path: Path, name: str, message: str) -> None:
    task = {**TASK, "objective": {"metric": "exact_match"}, "metrics": {}}
    assert message in refused("evaluate", config(place, tmp_path, task), "--schedule", name, "--steps", "2")


def test_adaptive_policies_need_samples(place: Path, tmp_path: Path) -> None:
    text = refused("evaluate", config(place, tmp_path, LIKELIHOOD), "--schedule", "threshold:0.9")
    assert "metric nelbo draws nothing" in text
