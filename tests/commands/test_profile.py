"""``mdm-tune profile`` as a user meets it: what it prints, writes, notes and refuses."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

import mdm_tune
from mdm_tune.cli import app
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.denoisers.transformer import Transformer, TransformerConfig, save_transformer
from mdm_tune.run import profiles
from mdm_tune.schedules.curves import parse_schedule
from mdm_tune.schedules.profile import Profile

CONFIGS = Path(__file__).parents[2] / "configs"
MARKOV = str(CONFIGS / "markov.yaml")
CHAIN = MarkovChain.sticky(2, 0.05, 32)
TEXT = (
    *(str(CONFIGS / "text.yaml"), "--set", "dataset.tune=16", "--set", "dataset.choose=8", "--set", "dataset.report=8"),
    *("--set", "profile.points=6", "--set", "profile.examples=12", "--set", "sampler.steps=[4, 8]"),
)
KEYS = {
    *("other_block_lengths", "length", "block_length", "exact", "examples", "revealed", "cross_entropy"),
    *(
        "stderr",
        "cross_entropy_ci",
        "cross_entropy_no_interval",
        "one_token_per_step",
        "held_out",
        "prices_the_sampler",
    ),
    *("content", "end_of_text", "energies"),
    *("budgets", "optimum_nelbo", "worse_than_uniform", "rises", "precision", "reused", "files"),
    *("denoiser_rows", "denoiser_tokens", "seconds", "measured", "notes", "warnings"),
}


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def answer(*arguments: str) -> dict[str, Any]:
    result = call(*arguments, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    (line,) = result.stdout.splitlines()
    record: dict[str, Any] = json.loads(line)
    return record


def refused(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output and result.stdout == ""
    return re.sub(r"\s+", " ", result.stderr)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result, dict[str, Any]]:
    """Twelve windows of the bundled text at six numbers of visible characters."""
    folder = tmp_path_factory.mktemp("profile") / "text"
    result = call("profile", *TEXT, "--output", str(folder))
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads((folder / "profile.json").read_text(encoding="utf-8"))
    return folder, result, record


def test_steps_of_the_command_line_replace_those_of_the_config(tmp_path: Path) -> None:
    record = answer("profile", MARKOV, "--steps", "40", "--steps", "1", "--output", str(tmp_path / "run"))
    many, one = record["budgets"]
    assert (many["steps"], one["steps"]) == (40, 1)
    assert many["optimum"]["counts"] == many["linear"]["counts"] == [1] * 32
    measured = {"nelbo": 0.0, "ci": None, "no_interval": "exact"}
    gap = {"nelbo": 0.0, "excess_ratio": None, "measured": measured, "on_choosing_curve": 0.0}
    assert {name: many["gap"][name] for name in gap} == gap and not many["gain_expected"]
    assert one["beta"]["counts"] == [32] and one["beta"]["nelbo"] == pytest.approx(32 * math.log(2))


@pytest.mark.parametrize("reveal", ["fixed", "bernoulli"])
def test_the_schedule_files_load_and_can_be_evaluated_and_sampled(tmp_path: Path, reveal: str) -> None:
    common = (MARKOV, "--set", f"sampler.reveal={reveal}", "--output", str(tmp_path / "run"))
    record = answer("profile", *common)
    assert set(record["files"]) == {"run", "profile", "beta", "optimum"}
    for kind in ("beta", "optimum"):
        file = record["files"][kind]
        assert file == str(tmp_path / "run" / f"profile-{kind}.yaml")
        loaded = mdm_tune.load_schedule(file)
        rows = {row["steps"]: row for row in answer("evaluate", *common, "--schedule", file)["rows"]}
        assert loaded.length == 32 and set(loaded.budgets) == set(rows) == {4, 8}
        for budget in record["budgets"]:
            found, entry = loaded.budget(budget["steps"]), budget[kind]
            assert found.counts == (entry["counts"] and tuple(entry["counts"]))
            assert found.alphas == (entry["alphas"] and tuple(entry["alphas"]))
            value = rows[budget["steps"]]["value"]
            assert value == pytest.approx(entry["nelbo"] - CHAIN.entropy(), abs=1e-9)
        drawn = answer("sample", *common, "--schedule", file, "--number", "2", "--steps", "8")
        assert drawn["counts"] == record["budgets"][1][kind]["counts"] and len(drawn["samples"]) == 2
    entry = yaml.safe_load(Path(record["files"]["optimum"]).read_text(encoding="utf-8"))["budgets"][0]
    assert parse_schedule(entry["schedule"]).name.startswith("counts:" if reveal == "fixed" else "alphas:")
    assert (entry["split"], entry["metric"]) == ("tune", "nelbo")
    assert not (tmp_path / "run" / "schedule.yaml").exists()


def test_a_measured_profile_has_intervals(text: tuple[Path, Result, dict[str, Any]]) -> None:
    _, _, record = text
    assert record.keys() == KEYS
    assert (record["length"], record["exact"], record["examples"]) == (64, False, 12)
    assert len(record["revealed"]) == len(record["cross_entropy"]) == len(record["stderr"]) == 6
    assert (record["revealed"][0], record["revealed"][-1]) == (0, 63)
    assert record["revealed"] == sorted(set(record["revealed"])) and min(record["stderr"]) > 0
    assert 0 < record["denoiser_rows"] <= 6 * 12
    assert record["denoiser_tokens"] == 64 * record["denoiser_rows"] and record["seconds"] > 0
    for budget in record["budgets"]:
        for name in ("linear", "squared-sine", "beta", "optimum"):
            found = budget[name]
            assert found["ci"][0] < found["nelbo"] < found["ci"][1]
            paired = found["minus_linear"]
            assert paired["nelbo"] == pytest.approx(found["nelbo"] - budget["linear"]["nelbo"])
            if name != "linear":
                assert paired["ci"][1] - paired["ci"][0] < found["ci"][1] - found["ci"][0]
        measured = budget["gap"]["measured"]
        assert measured["nelbo"] == budget["gap"]["nelbo"] and budget["gap"]["on_choosing_curve"] >= 0
        assert measured["ci"][0] <= measured["nelbo"] <= measured["ci"][1]


def test_few_examples_have_no_intervals_and_the_reason_is_given(tmp_path: Path) -> None:
    """9 examples: of the curve, as of prices, there is no interval, in the JSON, the table and the note."""
    result = call("profile", *TEXT, "--set", "profile.examples=9", "--output", str(tmp_path / "run"))
    record = json.loads((tmp_path / "run" / "profile.json").read_text(encoding="utf-8"))
    assert (record["cross_entropy_ci"], record["cross_entropy_no_interval"]) == (None, "too few examples")
    none = {"ci": None, "no_interval": "too few examples"}
    for found in (record["one_token_per_step"], *(budget["beta"]["minus_linear"] for budget in record["budgets"])):
        assert {name: found[name] for name in none} == none
    assert re.search(rf"\n +63 +{record['cross_entropy'][-1]:.4f} +too few examples +█", result.stderr)
    said = " ".join(result.stderr.split())
    assert "the profile rests on 9 independent examples: it has no intervals, and what it chooses" in said
    assert not any(budget["gain_expected"] for budget in record["budgets"])


def test_a_profile_is_kept_under_another_objective_where_its_examples_are_the_same(tmp_path: Path) -> None:
    """The objective says how many examples there are only where the config does not, and nothing else."""
    output = ("--output", str(tmp_path / "run"))
    assert not answer("profile", *TEXT, *output)["reused"]
    again = answer("profile", *TEXT, "--set", "objective.metric=nelbo", "--set", "sampler.order=random", *output)
    assert again["reused"] and again["denoiser_rows"] == 0


def test_measured_prices_are_interpolated_example_by_example(text: tuple[Path, Result, dict[str, Any]]) -> None:
    folder, _, record = text
    kept = json.loads((folder / "profile-values.json").read_text(encoding="utf-8"))["profile"]
    by_example = np.array([np.interp(np.arange(64), kept["revealed"], row) for row in kept["values"]])
    np.testing.assert_allclose(record["cross_entropy"], np.mean(kept["values"], axis=0))
    for budget in record["budgets"]:
        for name in ("linear", "sine"):
            counts = np.array(budget[name]["counts"])
            prices = by_example[:, np.cumsum(counts) - counts] @ counts
            assert budget[name]["nelbo"] == pytest.approx(prices.mean())
    assert record["one_token_per_step"]["nelbo"] == pytest.approx(by_example.sum(axis=1).mean())


def test_human_output_has_the_curve_the_budgets_and_counts_to_paste(
    text: tuple[Path, Result, dict[str, Any]],
) -> None:
    folder, result, record = text
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    for line, budget in zip(lines, record["budgets"], strict=True):
        match = re.fullmatch(r"counts = (\[[\d, ]+\])  # (\d+) steps, tokens to reveal at each", line)
        assert match and json.loads(match[1]) == budget["beta"]["counts"] and int(match[2]) == budget["steps"]
    shown = result.stderr
    assert "information profile, 12 examples, 95 % intervals" in shown and "nats per token" in shown
    low, high = record["cross_entropy_ci"][-1]
    assert re.search(rf"\n +63 +{record['cross_entropy'][-1]:.4f} +\[{low:.4f}, {high:.4f}\] +█", shown)
    for budget in record["budgets"]:
        for name in (
            "linear",
            "squared-sine",
            "sine",
            r"best Beta: \([\d., ]+\)",
            "optimum(?:: that of the best Beta)?",
        ):
            assert re.search(rf"\n +{budget['steps']} +{name} +[\d.]+ \[[\d.]+, [\d.]+\] ", shown)
        assert f"{budget['steps']} steps: " in shown and "the best Beta is" in shown
    assert re.search(r"\n +64 +one token per step +\d", shown)
    assert "note: the profile prices random order at temperature 1; for order confidence at temperature 1" in shown
    assert f"{record['denoiser_rows']} denoiser rows" in shown and str(folder / "profile-optimum.yaml") in shown
    assert "…" not in shown
    flags = f"{TEXT[0]} --set"
    for command in ("evaluate", "sample", "search"):
        assert f"\n  mdm-tune {command} {flags}" in shown


def test_sample_beside_a_profile_says_what_it_uses(tmp_path: Path) -> None:
    folder = ("--output", str(tmp_path / "run"))
    alone = " ".join(call("sample", MARKOV, *folder, "--number", "1").stderr.split())
    assert f"linear is used, since {tmp_path / 'run'} holds no search; give --schedule FOLDER" in alone
    assert call("profile", MARKOV, *folder, "--quiet").exit_code == 0
    said = " ".join(call("sample", MARKOV, *folder, "--number", "1").stderr.split())
    beta, optimum = (str(tmp_path / "run" / f"profile-{kind}.yaml") for kind in ("beta", "optimum"))
    assert f"the profile's schedules are {beta} and {optimum}: give --schedule {beta} to use one" in said
    assert "schedule linear, since no other was given; 4 steps" in said
    own = call("sample", MARKOV, *folder, "--number", "1", "--schedule", beta)
    assert "no search" not in own.stderr and f"schedule {beta}; 4 steps" in " ".join(own.stderr.split())


def test_quiet_leaves_the_counts_alone(tmp_path: Path) -> None:
    result = call("profile", MARKOV, "--quiet", "--output", str(tmp_path / "run"))
    assert result.exit_code == 0 and result.stderr == ""
    assert result.stdout.splitlines() == [
        "counts = [3, 5, 9, 15]  # 4 steps, tokens to reveal at each",
        "counts = [1, 2, 2, 3, 4, 5, 6, 9]  # 8 steps, tokens to reveal at each",
    ]


def test_an_exact_profile_in_random_order_needs_no_note(tmp_path: Path) -> None:
    result = call("profile", MARKOV, "--output", str(tmp_path / "run"))
    assert "note:" not in result.stderr and "computed exactly" in result.stderr
    margin = ("--set", "objective.metric=path_nll", "--set", "sampler.order=margin")
    data = ("--set", "dataset={type: law, tune: 8, choose: 8, report: 8}")
    warm = call("profile", MARKOV, *margin, *data, "--output", str(tmp_path / "other"))
    assert "note: the profile prices random order at temperature 1; for order margin" in warm.stderr


def test_a_model_worse_than_uniform_is_noted(tmp_path: Path) -> None:
    """Random weights, scaled up: sure of themselves and wrong."""
    model = Transformer(TransformerConfig(symbols="abcd", length=8, width=16, depth=1, heads=2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(3 * torch.randn(weight.shape, generator=generator))
    save_transformer(model, tmp_path / "model")
    letters = np.random.default_rng(0).integers(0, 4, (3, 128))
    for use, row in zip(("tune", "choose", "report"), letters, strict=True):
        (tmp_path / f"{use}.txt").write_text("".join("abcd"[i] for i in row), encoding="utf-8")
    config = {
        "model": {"type": "transformer", "path": "model"},
        "dataset": {"type": "text", "path": ".", "tune": 16, "choose": 8, "report": 8},
        "sampler": {"steps": [2]},
        "objective": {"metric": "nelbo"},
        "output": str(tmp_path / "run"),
    }
    (tmp_path / "c.yaml").write_text(yaml_text(config), encoding="utf-8")
    result = call("profile", str(tmp_path / "c.yaml"))
    assert result.exit_code == 0, result.output
    first, last = json.loads((tmp_path / "run" / "profile.json").read_text(encoding="utf-8"))["worse_than_uniform"]
    assert f"note: with {first} to {last} tokens visible the model predicts worse than uniform" in result.stderr
    assert f"({math.log(4):.3f} nats per token)" in result.stderr


def test_a_rise_is_noted_and_optima_do_not_chase_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example loses more with 8 tokens visible than with 4; the fit levels the rise."""
    rows = np.array([1.5, 0.5, 1.0, 0.3]) + np.linspace(-0.01, 0.01, 8)[:, None] * np.array([1, -1, 1, 1])
    fake = Profile(
        length=16,
        block_length=16,
        vocab_size=27,
        revealed=np.array([0, 4, 8, 15]),
        values=rows,
        exact=False,
        denoiser_rows=7,
        denoiser_tokens=70,
        seconds=0.5,
    )
    monkeypatch.setattr(profiles, "measure_profile", lambda *args, **kwargs: fake)
    config = {
        "model": {"type": "mixture", "weights": [1.0], "components": [[[0.5, 0.5]] * 16]},
        "dataset": {"type": "law", "tune": 8, "choose": 8, "report": 8},
        "sampler": {"steps": [3]},
        "objective": {"metric": "nelbo"},
    }
    monkeypatch.setattr(profiles.Profiles, "_exact_curve", None)
    (tmp_path / "c.yaml").write_text(yaml_text(config), encoding="utf-8")
    found = {}
    for monotone in ("true", "false"):
        output = ("--output", str(tmp_path / monotone))
        result = call("profile", str(tmp_path / "c.yaml"), "--set", f"profile.monotone={monotone}", *output)
        assert result.exit_code == 0, result.output
        assert "note: the loss rises by 0.5 +- " in result.stderr and "from 4 to 8 visible tokens" in result.stderr
        found[monotone] = json.loads((tmp_path / monotone / "profile.json").read_text(encoding="utf-8"))
    (rise,) = found["true"]["rises"]
    assert (rise["first"], rise["last"]) == (4, 8) and rise["amount"] == pytest.approx(0.5)
    assert found["true"]["denoiser_rows"] == 7
    price = {key: record["budgets"][0]["optimum"]["nelbo"] for key, record in found.items()}
    assert price["false"] < price["true"]  # priced on the measured curve, whose dip only one of them was shown


def test_a_tolerance_that_the_examples_cannot_give_is_noted(tmp_path: Path) -> None:
    common = ("profile", *TEXT[:-2], "--set", "sampler.steps=[4]", "--set", "profile.tolerance=0.001")
    result = call(*common, "--output", str(tmp_path / "run"))
    record = json.loads((tmp_path / "run" / "profile.json").read_text(encoding="utf-8"))
    assert record["precision"] > 0.001 and record["examples"] == 16
    assert f"note: all 16 tune examples tell the best price to {record['precision']:.2%} only" in result.stderr
    assert "not to 0.10%; raise dataset.tune" in result.stderr


BLOCKS = ("--set", "sampler.block_length=8", "--set", "sampler.steps=[4, 8]")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TEXT[0], "--set", "dataset=null", "--set", "objective.metric=nelbo"), "nelbo is measured on examples"),
        ((*TEXT, "--set", "profile.examples=17"), "profile.examples: must be at most dataset.tune"),
        ((MARKOV, "--steps", "4", "--steps", "4"), "--steps must not repeat, got [4, 4]; give each budget once"),
        ((MARKOV, "--steps", "0"), "got 0; give 1 or more"),
        ((MARKOV, *BLOCKS, "--steps", "3"), "3 steps are fewer than the 4 blocks of 8 tokens"),
        ((MARKOV, "--set", "search.baselines=[linear, 'counts:16,16']"), "has 2 steps but the budget is 4"),
        ((MARKOV, "--schedule", "linear"), "mdm-tune profile has no option '--schedule'; "),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("profile", *arguments, "--output", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_law_too_large_to_enumerate_needs_examples(tmp_path: Path) -> None:
    config = {
        "model": {"type": "mixture", "weights": [0.5, 0.5], "components": [[[0.9, 0.1]] * 20, [[0.1, 0.9]] * 20]},
        "sampler": {"steps": [2]},
        "objective": {"metric": "order_kl"},
    }
    (tmp_path / "c.yaml").write_text(yaml_text(config), encoding="utf-8")
    assert "use a shorter law" in refused("profile", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run"))
