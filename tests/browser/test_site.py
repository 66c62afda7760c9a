"""The site of the documentation in Firefox, opened as files."""

from __future__ import annotations

import shutil
from pathlib import Path

import firefox
import pytest

WORKER = Path(__file__).parents[2] / "docs" / "assets" / "iframe-worker.js"
PAGE = """<!doctype html><body><script src="iframe-worker.js"></script><script>
var worker = new Worker("worker.js");
var answer = new Promise((done) => worker.addEventListener("message", (event) => done(event.data)));
worker.postMessage("question");
</script></body>"""


@pytest.mark.skipif(firefox.command() is None, reason="Firefox is not installed")
def test_the_worker_of_the_search_answers(tmp_path: Path) -> None:
    shutil.copy(WORKER, tmp_path)
    (tmp_path / "worker.js").write_text('addEventListener("message", (event) => postMessage(event.data + ", answer"));')
    page = tmp_path / "page.html"
    page.write_text(PAGE, "utf-8")
    with firefox.firefox("light") as window:
        window.show(page, 1280, 900)
        assert window.text_of("answer") == "question, answer"
