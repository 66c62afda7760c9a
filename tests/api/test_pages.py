from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mdm_tune
from mdm_tune.api.pages import report
from mdm_tune.core.errors import InputError
from tests.support.search_results import two_budgets


def test_report_is_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "search.json").write_text(json.dumps(two_budgets()), encoding="utf-8")
    result = mdm_tune.report(tmp_path / "run")
    assert isinstance(result, mdm_tune.ReportResult)
    assert result.page == str(tmp_path / "run" / "report.html") and Path(result.page).is_file()
    both = report(tmp_path / "run", str(tmp_path / "run"), output=tmp_path / "both.html")
    assert both.states == ("finished", "finished") and (tmp_path / "both.html").is_file()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("runs", "words"), [((), "got none"), ((3,), "got 3"), (("runs/none",), "is no folder")])
def test_wrong_arguments(runs: tuple[Any, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        report(*runs)
