"""The report command, and the page at the end of a search and of an evaluation.

Covers: report_page, report_reading.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from mdm_tune.commands import report_page
from mdm_tune.commands.events import Note, RunEvent
from mdm_tune.commands.report import report
from mdm_tune.commands.report_page import write_page
from mdm_tune.commands.report_reading import read_folder, view_of_folder
from mdm_tune.core.errors import InputError
from mdm_tune.pages.run_views import State
from mdm_tune.run.folder import RunFolder
from tests.support.fonts import needs_png
from tests.support.html_pages import problems_of, read_page
from tests.support.page_runs import PageRun
from tests.test_architecture import loaded_by
from tests.test_cli import call, refused


@pytest.fixture(autouse=True)
def pages() -> None:
    """Make whole pages here."""


@pytest.fixture
def folder(text_run: PageRun, tmp_path: Path) -> Path:
    """A copy of the run folder, without its page."""
    copy = tmp_path / "text"
    shutil.copytree(text_run.folder, copy)
    (copy / "report.html").unlink()
    return copy


def changed(path: Path, **changes: Any) -> None:
    """Change or remove (with None) keys of a JSON file."""
    record = json.loads(path.read_text("utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}), encoding="utf-8")


def test_search_and_evaluate_leave_a_page(text_run: PageRun) -> None:
    text = (text_run.folder / "report.html").read_text("utf-8")
    assert problems_of(text) == []
    assert {row["value"] for row in text_run.evaluate["rows"]} <= read_page(
        text
    ).numbers  # the second one wrote it last


def test_the_command_makes_the_same_page_again(folder: Path, text_run: PageRun) -> None:
    done = call("report", str(folder))
    assert (done.exit_code, done.stdout) == (0, f"{folder / 'report.html'}\n")
    again = (folder / "report.html").read_text("utf-8")
    first = (text_run.folder / "report.html").read_text("utf-8")
    assert again == first.replace(str(text_run.folder), str(folder))
    assert not list(folder.glob("*.unfinished"))


def test_output_json_and_quiet(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "pages" / "a.html"
    done = call("report", str(folder), "--output", str(target), "--json", "--quiet")
    record = json.loads(done.stdout)
    assert record == {
        "runs": [str(folder)],
        "states": ["finished"],
        "headlines": record["headlines"],
        "page": str(target),
        "figures": [],
    }
    assert done.stderr == "" and target.is_file() and not (folder / "report.html").exists()
    assert "is a folder; give the file of the page" in refused("report", str(folder), "--output", str(tmp_path))


def test_several_runs_make_one_page(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder, tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    result = report([str(folder), "other"])
    assert result.page == "comparison.html" and result.states == ("finished", "finished")
    text = Path(result.page).read_text("utf-8")
    assert problems_of(text) == [] and "2 searches" in text and not (folder / "report.html").exists()


def test_a_page_needs_neither_torch_nor_optuna(folder: Path) -> None:
    arguments = ["mdm-tune", "report", str(folder), "--quiet"]
    code = (
        f"import runpy, sys\nsys.argv = {arguments}\n"
        "try:\n    runpy.run_module('mdm_tune', run_name='__main__')\n"
        "except SystemExit as done:\n    assert not done.code, done.code"
    )
    assert {"torch", "optuna", "ray", "matplotlib"}.isdisjoint(loaded_by(code))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, "is no folder; give the run folder of a search"),
        (
            lambda path: [file.unlink() for file in path.iterdir()],
            "holds no result: none of search.json, evaluate.json",
        ),
        (lambda path: (path / "search.json").write_text("{"), "search.json is not JSON"),
        (lambda path: (path / "search.json").write_text("[1]"), "search.json is damaged: it must be an object"),
        (lambda path: (path / "evaluate.json").write_bytes(b"\xff"), "evaluate.json must be UTF-8"),
        (
            lambda path: changed(path / "search.json", budgets=[{"steps": 3}]),
            "(search.json, evaluate.json) are damaged",
        ),
        (lambda path: changed(path / "search.json", budgets=7), "are damaged or of another program"),
        (lambda path: changed(path / "search.json", frontier={"headline": "odd"}), "are damaged or of another program"),
        (lambda path: changed(path / "evaluate.json", rows=[None]), "are damaged or of another program"),
    ],
)
def test_a_folder_that_cannot_be_used_gets_one_message(folder: Path, spoil: Any, words: str) -> None:
    spoil(folder)
    assert words in refused("report", str(folder))


def test_a_path_that_no_system_has() -> None:
    with pytest.raises(InputError, match="is no folder"):
        view_of_folder("a\0b")


def older(folder: Path) -> None:
    """Make the records those of a version that kept nothing for its page."""
    (folder / "evaluate.json").unlink()
    record = json.loads((folder / "search.json").read_text("utf-8"))
    for key in ("description", "profile_curves", "sample_pairs"):
        del record[key]
    for budget in record["budgets"]:
        for key in ("trial_points", "baseline_calls", "paper_grid"):
            del budget[key]
    (folder / "search.json").write_text(json.dumps(record), encoding="utf-8")


def test_an_older_folder_has_its_trials_from_the_journal_and_samples_from_the_scores(folder: Path) -> None:
    new = view_of_folder(str(folder))
    older(folder)
    old = view_of_folder(str(folder))
    assert [[(point.a, point.b, point.value, point.dropped) for point in budget.points] for budget in old.budgets] == [
        [(point.a, point.b, point.value, point.dropped) for point in budget.points] for budget in new.budgets
    ]
    assert old.about.metric == "spelling" and old.about.maximize and old.about.length == 64
    assert old.about.config["search"]["trials"] == 6 and not old.about.exact
    for pair in old.pairs:
        assert pair.first.label == "linear" and len("".join(text for text, _ in pair.second.pieces)) == 64
    assert problems_of(call_page(folder)) == []


def call_page(folder: Path) -> str:
    result = report([str(folder)])
    assert result.page is not None
    return Path(result.page).read_text("utf-8")


def test_an_older_folder_without_anything_beside_the_result_says_what_it_lacks(folder: Path) -> None:
    older(folder)
    for file in ("study.journal", "search-scores.jsonl", "run.json", "config.yaml"):
        (folder / file).unlink()
    text = read_page(call_page(folder)).text
    assert "does not list its trials" in text and "no samples of two schedules" in text
    assert "Repeat the run" not in text


def test_samples_that_cannot_be_read_are_left_out(folder: Path) -> None:
    older(folder)
    (folder / "search-scores.jsonl").write_text('{"steps": 8}\n', encoding="utf-8")
    assert view_of_folder(str(folder)).pairs == ()


def test_a_stored_profile_is_shown(folder: Path) -> None:
    profile = {"length": 64, "block_length": 64, "vocab_size": 28, "exact": False, "precision": None}
    profile |= {"denoiser_rows": 9, "denoiser_tokens": 9, "seconds": 1.0, "revealed": [0, 31, 63], "entropies": None}
    profile |= {"values": [[3.0, 2.0, 1.0], [3.2, 2.1, 1.3]] * 8, "apart": None, "sizes": None, "groups": None}
    (folder / "profile-values.json").write_text(json.dumps({"key": {}, "profile": profile}), encoding="utf-8")
    (folder / "profile-values-choose.json").write_text("{}", encoding="utf-8")
    (folder / "profile-values-blocks-8.json").write_text("{", encoding="utf-8")
    (curve,) = view_of_folder(str(folder)).curves
    assert curve.mean == pytest.approx((3.1, 2.05, 1.15)) and curve.low is not None and len(curve.pricing) == 64
    page = read_page(call_page(folder))
    assert "Information profile" in page.text and "from the information profile" in page.text


def test_a_search_without_a_result_has_a_page_from_its_journal(folder: Path) -> None:
    for file in ("search.json", "evaluate.json"):
        (folder / file).unlink()
    view = view_of_folder(str(folder))
    assert view.state is State.STOPPED and view.progress is not None and "--resume" in view.progress.resume
    assert problems_of(call_page(folder)) == []
    assert "was stopped" in read_page(call_page(folder)).text


def test_the_evaluation_alone_has_a_page(folder: Path) -> None:
    (folder / "search.json").unlink()
    (folder / "study.journal").unlink()
    text = call_page(folder)
    assert problems_of(text) == [] and "3 schedules and policies were compared at 2 budgets" in text
    assert "mdm-tune evaluate" in text


def test_a_page_that_cannot_be_written_is_said_and_ends_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[RunEvent] = []
    (folder / "report.html").mkdir()
    assert write_page(RunFolder(folder), events.append) is None

    def fail(view: object) -> str:
        raise RecursionError("too deep")

    monkeypatch.setattr(report_page, "run_page", fail)
    assert write_page(RunFolder(folder), events.append) is None
    texts = [event.text for event in events if isinstance(event, Note) and event.code is None]
    assert len(texts) == 2 and all("the result is not affected" in text for text in texts)
    assert "RecursionError: too deep" in texts[1]


def test_figures_as_files(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_png()
    keep = ("gains", "counts-2")
    from mdm_tune.commands import report as module

    every = module.figures_of
    monkeypatch.setattr(
        module, "figures_of", lambda view, detail: {name: each for name, each in every(view, 9).items() if name in keep}
    )
    result = report([str(folder)], figures=str(tmp_path / "figures"))
    names = sorted(Path(path).name for path in result.figures)
    assert names == sorted(f"{name}{end}" for name in keep for end in (".svg", "-dark.svg", ".png"))
    assert result.page is None and not (folder / "report.html").exists()
    assert (tmp_path / "figures" / "gains.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "figures" / "gains.svg").read_text("utf-8").startswith("<svg")


def test_where_no_png_can_be_drawn_the_svg_figures_are_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    figures = tmp_path / "figures"
    said = refused("report", str(folder), "--figures", str(figures))
    assert "error: --figures: PNG figures need the package resvg-py, which is not installed: install it by" in said
    assert said.strip().endswith(f"; the SVG figures, which need nothing, are in {figures}")
    names = {path.name for path in figures.iterdir()}
    assert {"gains.svg", "gains-dark.svg", "quality.svg"} <= names and not any(name.endswith("png") for name in names)


def test_figures_need_data(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if file.name != "study.journal":
            file.unlink()
    assert "no data for a figure yet" in refused("report", str(folder), "--figures", str(tmp_path / "figures"))


def test_the_records_of_a_folder_keep_what_they_are(folder: Path, text_run: PageRun) -> None:
    records = read_folder(str(folder))
    assert records.search == text_run.search and records.evaluate == text_run.evaluate
    assert records.name == "text" and records.trials == {} and records.pairs == []
