"""The model's own answers of a run: stored with a search, in its folder, and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mdm_tune.commands import evaluate, search
from mdm_tune.commands.dry_run import dry_run
from mdm_tune.config.file import Config
from mdm_tune.core.errors import InputError
from mdm_tune.run.build import build
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.own_answers import one_token_rows, own_uses, with_own_answers

LENGTH = 6


def config(output: Path, **changes: Any) -> Config:
    sections: dict[str, Any] = {
        "model": {"type": "markov", "length": LENGTH, "symbols": 2, "flip": 0.3},
        "dataset": {"type": "law", "tune": 8, "choose": 8, "report": 10},
        "sampler": {"order": "margin", "steps": [2]},
        "objective": {"metric": "agreement"},
        "search": {"trials": 2, "finalists": 1, "racing": False, "baselines": ["linear", "squared-sine"]},
        "output": str(output),
    }
    return Config.model_validate({**sections, **changes})


def searched(settings: Config, *, resume: bool = False) -> Any:
    return search.search(settings, resume=resume, overwrite=not resume, notify=lambda event: None)


def _value(result: Any) -> float:
    return float(result.rows[0].to_json()["value"])


def test_a_resumed_search_draws_no_own_answer_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(tmp_path / "run")
    whole = searched(settings)
    rows = whole.denoiser_rows_of
    assert rows.own_answers > 0
    assert whole.cost.denoiser_rows == rows.own_answers + rows.pilots + rows.trials + rows.comparison
    folder, asked = RunFolder(settings.output), list[int]()
    folder.result.unlink()
    for use in ("tune", "choose", "report"):
        folder.own_answers(use).unlink()
    monkeypatch.setattr("mdm_tune.evaluation.evaluator.Evaluator.one_by_one", lambda *args: asked.append(1))
    again = searched(settings, resume=True)
    assert not asked and again.denoiser_rows_of == rows
    assert [each.to_json() for each in again.budgets] == [each.to_json() for each in whole.budgets]
    # What the search drew for the report split is not drawn again by an evaluation in its folder, and costs nothing.
    result = evaluate.evaluate(settings, ["linear"], [2], differences=False, notify=lambda event: None)
    assert not asked and _value(result) == whole.budgets[0].to_json()["baselines"]["linear"]["value"]
    assert result.cost.denoiser_rows <= 2 * 10


def test_answers_of_another_model_are_not_read(tmp_path: Path) -> None:
    values = []
    for flip in (0.3, 0.1):
        settings = config(
            tmp_path / "run",
            model={"type": "markov", "length": LENGTH, "symbols": 2, "flip": flip, "start": [0.5, 0.5]},
        )
        result = evaluate.evaluate(settings, ["linear"], [6], differences=False, notify=lambda event: None)
        values.append(_value(result))
        stored = json.loads(RunFolder(settings.output).own_answers("report").read_text())
        assert result.cost.denoiser_rows > 10 and stored["key"]["model"] == build(settings).fingerprints["model"]
    assert values == [1.0, 1.0]  # at one token per step a model agrees with itself
    RunFolder(settings.output).own_answers("report").write_text("{")
    with pytest.raises(InputError, match=r"own-answers-report\.json is damaged; delete it"):
        evaluate.evaluate(settings, ["linear"], [6], differences=False, notify=lambda event: None)


def test_path_nll_prices_the_own_answers(tmp_path: Path) -> None:
    settings = config(tmp_path / "run", objective={"metric": "path_nll", "answers": "model"})
    run = with_own_answers(build(settings), None)
    evaluator, split = run.evaluator, run.evaluator.split("report")
    setting = evaluator.setting(next(iter(settings_of(run))), 2)
    told = evaluator.fill([setting], split.start, split.seeds, evaluator.one_by_one(split).tokens).nll
    assert evaluator.score(setting, "report").values.tolist() == told.tolist()
    assert "own answers" in evaluator.metric.label
    on_data = build(config(tmp_path / "run", objective={"metric": "path_nll"})).evaluator
    assert on_data.own is None and on_data.score(setting, "report").values.tolist() != told.tolist()


def settings_of(run: Any) -> list[Any]:
    from mdm_tune.schedules.curves import parse_schedule

    return [parse_schedule(run.config.search.baselines[0])]


def test_agreement_beside_another_objective_needs_the_report_split_only(tmp_path: Path) -> None:
    settings = config(tmp_path / "run", objective={"metric": "agreement"})
    run = build(settings)
    assert own_uses(run) == ("tune", "choose", "report") and one_token_rows(run, ["tune", "report"]) == 18 * LENGTH
    beside = build(config(tmp_path / "run", objective={"metric": "path_nll"}, metrics={"agreement": {"whole": True}}))
    assert beside.evaluator.own is None and own_uses(beside) == ("report",)
    plain = build(config(tmp_path / "run", objective={"metric": "path_nll"}))
    assert plain.own is None and own_uses(plain) == () and with_own_answers(plain, None) is plain


def test_a_dry_run_prices_the_own_answers_and_stores_nothing(tmp_path: Path) -> None:
    result = dry_run(config(tmp_path / "run"))
    phase = next(phase for phase in result.phases if phase.phase == "own answers")
    assert phase.cost.denoiser_rows == 26 * LENGTH and not (tmp_path / "run").exists()
